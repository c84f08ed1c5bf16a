//! The CPU time that this process has used, and how much of the cores it can have.
#![expect(clippy::disallowed_methods, reason = "the cores that are got are measured by the clock")]

use std::hint;
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// CPU time in seconds of all threads of this process since its start.
pub fn process_cpu_s() -> f64 {
    seconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// The number of cores, up to `cores`, that this process gets while it keeps all of them busy for `time`: fewer if other
/// programs run, or if a control group sets a quota.
pub fn cores_got(cores: usize, time: Duration) -> f64 {
    let (begun, cpu_s) = (Instant::now(), process_cpu_s());
    let spin = || {
        while begun.elapsed() < time {
            hint::spin_loop();
        }
    };
    thread::scope(|scope| {
        (1..cores).for_each(|_| {
            scope.spawn(spin);
        });
        spin();
    });
    let got = (process_cpu_s() - cpu_s) / begun.elapsed().as_secs_f64().max(1e-9);
    got.min(cores.max(1) as f64)
}

fn seconds(time: Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn work_takes_cpu_time() {
        let before = process_cpu_s();
        let mut x = 1u64;
        for i in 0..20_000_000u64 {
            x = black_box(x.wrapping_mul(i | 1));
        }
        assert!(process_cpu_s() > before, "{x}");
    }

    #[test]
    fn a_process_gets_some_of_the_cores_and_not_more_than_it_asks_for() {
        let got = cores_got(2, Duration::from_millis(40));
        assert!(got > 0.0 && got <= 2.0, "{got}");
    }
}
