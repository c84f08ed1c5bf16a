//! Time and CPU time of a minibatch's way to the GPU: `cargo run --release -p footplate-train --features vulkan
//! --example feed -- [SIDE] [ROUNDS]`. Prints a table for benches/README.md.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example measures time, and prints it"
)]

use std::error::Error;
use std::time::{Duration, Instant};

use footplate_core::ports::Clock;
use footplate_train::TrainError;
use footplate_train::feed_cost::{Form, device_name, measure};

/// The time since it was made.
struct WallClock(Instant);

impl Clock for WallClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn wait_ns(&self, duration_ns: u64) {
        std::thread::sleep(Duration::from_nanos(duration_ns));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let clock = WallClock(Instant::now());
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let side = arguments.next().transpose()?.unwrap_or(224);
    let rounds = arguments.next().transpose()?.unwrap_or(15);
    println!("{}; {side} px; median of {rounds} rounds", device_name()?);
    println!("| batch | way | wall, ms | CPU time, ms | copied, MiB | kernel, ms |");
    println!("|---|---|---|---|---|---|");
    for items in [16, 32, 64, 128, 256] {
        let forms =
            [("staged f32", Form::StagedF32), ("staged u8", Form::StagedU8), ("mapped u8", Form::MappedU8)];
        for (name, form) in forms {
            let mut cost = match measure(form, (items, side), rounds, &clock) {
                Ok(cost) => cost,
                Err(error @ TrainError::DeviceMemory { .. }) => {
                    println!("| {items} | {name} | - | - | - | {error} |");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            cost.wall_s.sort_by(f64::total_cmp);
            let median = cost.wall_s[cost.wall_s.len() / 2] * 1e3;
            let kernel = cost.kernel_s.map_or("-".to_owned(), |s| format!("{:.2}", s * 1e3));
            let (cpu, copied) = (cost.cpu_s * 1e3, cost.copied_bytes as f64 / f64::from(1 << 20));
            println!("| {items} | {name} | {median:.2} | {cpu:.2} | {copied:.1} | {kernel} |");
        }
    }
    Ok(())
}
