//! Whole pages.

use footplate_core::power_mode::PowerMode;
use footplate_core::record::{
    BadSampleRecord, CheckpointRecord, ClockState, EpochRecord, Estimated, MachineRecord, ModePurpose,
    ModeRecord, PowerRecord, ProfilePurpose, ProfiledRecord, TunePoint, TuneRecord, ValidationRecord,
    WarningRecord,
};
use footplate_core::{Bytes, Celsius, Hertz, Reading, Record, Watts, runlog};
use proptest::prelude::*;

use super::{Gather, NoRun, RunView, compare, page};
use crate::testing::{self, HOSTILE, RunLog, assert_well_formed, end, minibatch};

fn mode(gpu_mhz: u64) -> PowerMode {
    PowerMode { cpu_cores: Some(4), gpu_hz: Some(Hertz(gpu_mhz * 1_000_000)), ..PowerMode::default() }
}

fn power(t_s: u64, watts: Reading<Watts>, throttled: &[&str]) -> Record {
    Record::Power(PowerRecord {
        rails: vec![("VDD_GPU".to_owned(), watts.clone()), (HOSTILE.to_owned(), Reading::Absent)],
        temperature_c: Reading::Value(Celsius(50.0 + t_s as f64)),
        throttled: throttled.iter().map(|t| (*t).to_owned()).collect(),
        ..testing::power(t_s, watts)
    })
}

fn point(gpu_mhz: u64, step_s: f64, power_w: f64, measured: bool) -> TunePoint {
    let near = |value: f64| Some(Estimated { value, low90: value * 0.9, high90: value * 1.1 });
    TunePoint {
        mode: mode(gpu_mhz),
        workers: None,
        presets: if gpu_mhz == 600 { vec![HOSTILE.to_owned()] } else { Vec::new() },
        measured,
        on_front: true,
        largest: gpu_mhz == 1300,
        step_s: near(step_s),
        power_w: near(power_w),
        energy_j: near(step_s * power_w),
    }
}

fn tune() -> TuneRecord {
    TuneRecord {
        t_ns: 6_000_000_000,
        goal: "least time with power at most 20 W".to_owned(),
        power_max_w: Some(20.0),
        step_max_s: None,
        energy_max_j: None,
        profiles: 3,
        points: vec![
            point(600, 0.2, 12.0, true),
            point(900, 0.15, 18.0, false),
            point(1300, 0.1, 30.0, true),
        ],
        space: 120,
        choice: Some(1),
        verified: true,
        probability: Some(0.93),
        message: None,
        simulated: true,
    }
}

/// A log with a record of every kind, and with names as bad as they can be.
fn full() -> RunLog {
    let got = mode(600);
    RunLog::new("linux aarch64, 6 cores")
        .settings("seed = 0\nworkers = 2\n[optimizer]\nkind = \"</pre><script>alert(1)</script>\"\n")
        .push(Record::Warning(WarningRecord { message: HOSTILE.to_owned() }))
        .push(Record::Mode(ModeRecord {
            t_ns: 500_000_000,
            purpose: ModePurpose::Profile,
            asked: mode(900),
            got,
            warnings: vec![HOSTILE.to_owned()],
        }))
        .push(Record::Profile(ProfiledRecord {
            t_ns: 5_000_000_000,
            purpose: ProfilePurpose::Search,
            mode: mode(900),
            got,
            workers: None,
            steps: 40,
            step_s: 0.1,
            step_error_s: 0.002,
            stall_share: Some(0.02),
            power_w: Reading::Value(Watts(18.5)),
            throttled: Vec::new(),
            simulated: true,
        }))
        .push(Record::Tune(tune()))
        .steps(60, |step| minibatch(step, 100_000_000))
        .push(power(1, Reading::Value(Watts(18.0)), &[]))
        .push(power(2, Reading::unreadable(HOSTILE), &["over-current events (oc3)"]))
        .push(power(3, Reading::Value(Watts(19.0)), &["over-current events (oc3)"]))
        .push(Record::Machine(MachineRecord {
            t_ns: 3_000_000_000,
            cpu_cores: Reading::Value(4),
            clocks: vec![ClockState {
                label: HOSTILE.to_owned(),
                asked_hz: Reading::Value(Hertz(900_000_000)),
                got_hz: Reading::Absent,
            }],
            trip_c: Reading::Value(Celsius(97.0)),
            trip_distance_c: Reading::Value(Celsius(40.0)),
            memory_bytes: Reading::Value(Bytes(80 << 20)),
            simulated: true,
        }))
        .push(Record::BadSample(BadSampleRecord { name: HOSTILE.to_owned(), reason: HOSTILE.to_owned() }))
        .push(Record::Epoch(EpochRecord {
            t_ns: 6e9 as u64,
            epoch: 0,
            items: 64,
            train_loss: Some(1.5),
            duration_ns: 6e9 as u64,
        }))
        .push(Record::Validation(ValidationRecord {
            t_ns: 6_500_000_000,
            epoch: 0,
            items: 16,
            loss: 1.25,
            top1: 0.625,
            top5: None,
            best: true,
            duration_ns: 500_000_000,
        }))
        .push(Record::Checkpoint(CheckpointRecord {
            t_ns: 6_600_000_000,
            step: 60,
            file: HOSTILE.to_owned(),
            size_bytes: Bytes(1 << 20),
            snapshot_ns: 3_000_000,
            write_ns: 9_000_000,
        }))
        .push(end(7_000_000_000, 60))
}

fn decoded(log: &[u8]) -> Result<RunView, NoRun> {
    let mut gather = Gather::new(HOSTILE);
    let decoded = runlog::decode_all(log);
    decoded.damaged.iter().for_each(|(line, error)| gather.damaged(*line, error));
    decoded.records.iter().for_each(|record| gather.push(record));
    gather.finish()
}

fn encoded(log: &RunLog) -> Vec<u8> {
    log.records.iter().map(|record| runlog::encode(record).unwrap()).collect::<String>().into_bytes()
}

#[test]
fn a_page_shows_everything_and_nothing_of_a_log_becomes_markup() {
    let view = decoded(&encoded(&full())).unwrap();
    let html = page(&view).replace('\u{a0}', " ");
    assert_well_formed(&html);
    for shown in [
        "62.5 %",
        "Waiting for data",
        "The one change that would help most",
        "limit 20.0 W",
        "slows down at 97.0 °C",
        "plan 100 MiB",
        "-10.0 % against the plan",
        "Against the mode with every knob at its largest",
        "<span class=\"tag\">simulated</span>",
        "to measure it",
        "over-current events (oc3)",
        "1 damaged or unreadable samples",
        "predicted",
        "linux aarch64, 6 cores",
    ] {
        assert!(html.contains(shown), "`{shown}` is not on the page");
    }
    // No network: no address but that of the page's own parts.
    for word in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!html.replace("src=x onerror", "").contains(word), "{word}");
    }
}

#[test]
fn absent_and_unreadable_are_told_apart_and_are_not_zero() {
    let log = RunLog::new("x").steps(3, |step| minibatch(step, 1_000_000)).push(end(3_000_000, 3));
    let html = page(&log.view());
    assert!(html.contains("Energy of the run: - ."), "absent energy is a dash");
    assert!(!html.contains("0 J"), "a missing energy is no zero");
    let log = log.push(power(1, Reading::unreadable("permission denied"), &[]));
    assert!(page(&log.view()).contains("Power: x (permission denied)."));
}

#[test]
fn a_run_that_was_resumed_is_one_run() {
    let Record::RunStart(mut start) = RunLog::new("x").records.remove(0) else { unreachable!() };
    start.first_step = 5;
    let log = RunLog::new("x")
        .steps(8, |step| minibatch(step, 1_000_000_000))
        .push(power(8, Reading::Value(Watts(10.0)), &[]))
        .push(Record::RunStart(start))
        .steps(5, |step| minibatch(step, 1_000_000_000))
        .push(power(5, Reading::Value(Watts(10.0)), &[]));
    let view = log.view();
    let wall: u64 = view.log.processes.iter().map(|p| p.wall_ns).sum();
    assert_eq!((wall, view.log.totals.steps), (13_000_000_000, 13));
    assert_eq!(view.log.parts.points().last().unwrap().x, 13.0);
    assert!(page(&view).contains("in 2 processes"));
}

#[test]
fn a_comparison_groups_repeats_and_tells_differences() {
    let run = |name: &str, settings: &str, step_ns: u64| {
        let log = RunLog::new("x").settings(settings).steps(20, |step| minibatch(step, step_ns));
        RunView { name: name.to_owned(), ..log.view() }
    };
    let views = [
        run(HOSTILE, "seed = 1\nworkers = 1\n", 100_000_000),
        run("b", "seed = 2\nworkers = 1\n", 100_000_000),
        run("c", "seed = 1\nworkers = 2\n", 50_000_000),
        run("d", "seed = 1\nworkers = 4\n", 40_000_000),
    ];
    let html = compare("A <study>", &views, &[HOSTILE.to_owned()]);
    assert_well_formed(&html);
    for shown in
        ["4 runs, 3 settings", "+150.0 %", "100 ± 0", "workers 4", "Fastest: 4 workers", "A &lt;study&gt;"]
    {
        assert!(html.contains(shown), "`{shown}` is not on the page");
    }
}

#[test]
fn a_long_run_gives_a_small_page() {
    let mut log = RunLog::new("x").steps(36_000, |step| {
        let mut m = minibatch(step, 100_000_000);
        m.loss = Some(2.0 / (1.0 + step as f32 / 500.0) + (step % 17) as f32 / 100.0);
        m
    });
    for second in 1..3600 {
        let watts = Reading::Value(Watts(15.0 + (second % 60) as f64 / 10.0));
        log = log.push(power(second, watts, if second % 7 == 0 { &["hot"] } else { &[] }));
    }
    let html = page(&log.view());
    assert!(html.len() < 400_000, "{} bytes", html.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_log_cut_at_any_byte_opens(cut in 0usize..100_000) {
        let log = encoded(&full());
        let cut = cut % (log.len() + 1);
        let first = log.iter().position(|b| *b == b'\n').unwrap();
        match decoded(&log[..cut]) {
            Ok(view) => assert_well_formed(&page(&view)),
            Err(why) => prop_assert!(cut <= first && why == NoRun::Empty, "{why} at {cut} of {}", log.len()),
        }
    }

    #[test]
    fn a_flipped_bit_costs_a_line_at_most(at in 0usize..100_000, bit in 0u8..8) {
        let mut log = encoded(&full());
        let first = log.iter().position(|b| *b == b'\n').unwrap();
        let at = first + 1 + at % (log.len() - first - 1);
        log[at] ^= 1 << bit;
        assert_well_formed(&page(&decoded(&log).unwrap()));
    }
}
