//! What the views cost: one record into the state, one page of metrics, one screen.
//! `cargo run --release -p footplate-views --example cost`
#![expect(clippy::print_stdout, reason = "a measurement prints")]
#![expect(clippy::disallowed_methods, reason = "a measurement has a clock")]

use std::hint::black_box;
use std::time::Instant;

use footplate_core::record::{ClockState, MachineRecord, MinibatchRecord, PowerRecord};
use footplate_core::{Bytes, Celsius, Hertz, Reading, Record, Watts};
use footplate_views::live::{LiveState, Look, Moment, draw};
use footplate_views::metrics;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

fn step(step: u64) -> Record {
    Record::Minibatch(MinibatchRecord {
        t_ns: step * 10_000_000,
        epoch: 0,
        step,
        items: 16,
        fetch_ns: 1_000_000,
        prep_ns: 3_000_000,
        transfer_ns: 100_000,
        stall_ns: 500_000,
        compute_ns: 9_000_000,
        step_ns: 10_000_000,
        learning_rate: 0.1,
        loss: Some(1.0 / (1.0 + step as f32)),
        synced: true,
        copied_bytes: None,
        ingest_ns: None,
    })
}

fn machine(t_ns: u64) -> [Record; 2] {
    let clock = |label: &str| ClockState {
        label: label.to_owned(),
        asked_hz: Reading::Value(Hertz(1_000_000_000)),
        got_hz: Reading::Value(Hertz(900_000_000)),
    };
    [
        Record::Machine(MachineRecord {
            t_ns,
            cpu_cores: Reading::Value(12),
            clocks: ["CPU0", "CPU4", "CPU8", "GPU", "EMC"].map(clock).to_vec(),
            trip_c: Reading::Value(Celsius(99.0)),
            trip_distance_c: Reading::Value(Celsius(40.0)),
            memory_bytes: Reading::Value(Bytes(1 << 30)),
            simulated: true,
        }),
        Record::Power(PowerRecord {
            t_ns,
            span_ns: 1_000_000_000,
            total_w: Reading::Value(Watts(20.0)),
            rails: ["A", "B", "C", "D"].map(|name| (name.to_owned(), Reading::Value(Watts(5.0)))).to_vec(),
            temperature_c: Reading::Value(Celsius(59.0)),
            throttled: Vec::new(),
            simulated: true,
        }),
    ]
}

/// Median of 21 means over `count` calls, in microseconds.
fn micros(count: u64, mut call: impl FnMut(u64)) -> f64 {
    let mut means: Vec<f64> = (0..21)
        .map(|round| {
            let since = Instant::now();
            for n in 0..count {
                call(round * count + n);
            }
            since.elapsed().as_secs_f64() * 1e6 / count as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    means[10]
}

fn main() {
    let mut state = LiveState::default();
    let push = micros(20_000, |n| state.push(&step(n)));
    for record in machine(1_000_000_000) {
        state.push(&record);
    }
    let page = micros(200, |_| drop(black_box(metrics::text(&state, 0.1))));
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let moment = Moment::default();
    let screen = micros(50, |_| {
        terminal.draw(|frame| draw(frame, &state, &moment, Look::FULL)).unwrap();
    });
    println!("a step's record into the state  {push:9.3} us");
    println!("a page of metrics               {page:9.3} us  ({} bytes)", metrics::text(&state, 0.1).len());
    println!("a screen of 80 x 24             {screen:9.3} us");
    println!(
        "a step of 10 ms, scraped once a second: {:.4} % of it",
        (push + page / 100.0) / 10_000.0 * 100.0
    );
}
