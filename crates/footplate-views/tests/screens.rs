//! Screens as they were looked at and found good. `FOOTPLATE_UPDATE_SCREENS=1 cargo test -p footplate-views` writes
//! them anew: read them before they are committed.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(
    clippy::disallowed_methods,
    reason = "screens are kept in files, and written anew when a variable asks for it"
)]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use footplate_core::record::{
    BadSampleRecord, CheckpointRecord, ClockState, EpochRecord, KernelsRecord, LoaderRecord, MachineRecord,
    MinibatchRecord, PowerRecord, RunEnd, RunStart, RunStatus, TuneRecord, ValidationRecord, WarningRecord,
};
use footplate_core::{Bytes, Celsius, Hertz, Joules, Reading, Record, Watts, runlog};
use footplate_views::live::{LiveState, Look, Moment, Phase, draw};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::Color;

const KEYS: &str = "q leave this screen, the run goes on   Ctrl-C stop the run";
const S: u64 = 1_000_000_000;

fn screen(state: &LiveState, moment: &Moment, look: Look, size: (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal.draw(|frame| draw(frame, state, moment, look)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width).map(|row| {
        let row: String = row.iter().map(Cell::symbol).collect();
        format!("{}\n", row.trim_end())
    });
    rows.collect()
}

fn check(name: &str, state: &LiveState, since_last: Duration, look: Look, size: (u16, u16)) {
    let moment = Moment { since_last, keys: KEYS, notice: None };
    let shown = text(&screen(state, &moment, look, size));
    assert_eq!(shown.lines().count(), usize::from(size.1));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/screens/{name}.txt"));
    if std::env::var_os("FOOTPLATE_UPDATE_SCREENS").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shown == expected, "{name} has changed; it is now\n{shown}\nand was\n{expected}");
}

fn start() -> RunStart {
    RunStart {
        started_at: "2026-11-24T10:00:00Z".into(),
        version: "0.1.0".into(),
        model: "resnet18".into(),
        device: "vulkan (the first that works)".into(),
        data: "8 000 training and 2 000 validation images of 4 classes in photos/".into(),
        host: "linux aarch64, 12 cores".into(),
        parameters: 11_178_564,
        train_items: 8000,
        validation_items: 2000,
        batch_size: 16,
        epochs: 4,
        steps_per_epoch: 500,
        steps_total: 2000,
        first_step: 0,
        planned_memory_bytes: Bytes(1800 << 20),
        settings_toml: String::new(),
    }
}

/// 20 steps a second; the loss falls, with some waves on it.
fn minibatch(step: u64) -> Record {
    let x = step as f64 / 2000.0;
    Record::Minibatch(MinibatchRecord {
        t_ns: (step + 1) * S / 20,
        epoch: (step / 500) as u32,
        step,
        items: 16,
        fetch_ns: 10_000_000,
        prep_ns: 30_000_000,
        transfer_ns: 1_000_000,
        stall_ns: 5_000_000,
        compute_ns: 44_000_000,
        step_ns: S / 20,
        learning_rate: 0.1,
        loss: Some((1.4 * (-3.0 * x).exp() + 0.1 * (step as f64 / 30.0).sin().abs()) as f32),
        synced: true,
        copied_bytes: None,
        ingest_ns: None,
    })
}

fn power(second: u64, throttled: &[&str]) -> Record {
    let watts = 14.0 + (second as f64 / 7.0).sin();
    Record::Power(PowerRecord {
        t_ns: second * S,
        span_ns: S,
        total_w: Reading::Value(Watts(watts)),
        rails: vec![
            ("VDD_GPU_SOC".into(), Reading::Value(Watts(watts * 0.5))),
            ("VDD_CPU_CV".into(), Reading::Value(Watts(watts * 0.25))),
            ("VIN_SYS_5V0".into(), Reading::Value(Watts(watts * 0.25))),
            ("VDDQ_VDD2_1V8AO".into(), Reading::Value(Watts(0.0))),
        ],
        temperature_c: Reading::Value(Celsius(58.5)),
        throttled: throttled.iter().map(|text| (*text).to_owned()).collect(),
        simulated: false,
    })
}

fn clock(label: &str, asked: u64, got: Reading<Hertz>) -> ClockState {
    ClockState { label: label.into(), asked_hz: Reading::Value(Hertz(asked)), got_hz: got }
}

fn machine(second: u64) -> Record {
    Record::Machine(MachineRecord {
        t_ns: second * S,
        cpu_cores: Reading::Value(8),
        clocks: vec![
            clock("CPU", 2_201_600_000, Reading::Value(Hertz(1_971_200_000))),
            clock("GPU", 930_750_000, Reading::Value(Hertz(930_750_000))),
            clock("EMC", 3_199_000_000, Reading::Value(Hertz(3_199_000_000))),
        ],
        trip_c: Reading::Value(Celsius(99.0)),
        trip_distance_c: Reading::Value(Celsius(40.5)),
        memory_bytes: Reading::Value(Bytes(1500 << 20)),
        simulated: false,
    })
}

fn budget() -> Record {
    Record::Tune(TuneRecord {
        t_ns: 1,
        goal: "least time under 15 W".into(),
        power_max_w: Some(15.0),
        step_max_s: None,
        energy_max_j: None,
        profiles: 12,
        points: Vec::new(),
        space: 1000,
        choice: None,
        verified: true,
        probability: Some(0.95),
        message: None,
        simulated: false,
    })
}

fn seen(records: impl IntoIterator<Item = Record>) -> LiveState {
    let mut state = LiveState::default();
    for record in records {
        state.push(&record);
    }
    state
}

/// A run in its third epoch, with everything that a large board tells.
fn training() -> Vec<Record> {
    let mut records = vec![Record::RunStart(start()), budget()];
    records.push(Record::Loader(LoaderRecord { t_ns: 0, workers: 3, depth: 4 }));
    for step in 0..1240 {
        records.push(minibatch(step));
        if step % 20 == 0 {
            records.extend([power(step / 20 + 1, &[]), machine(step / 20 + 1)]);
        }
        if step % 500 == 499 {
            let (epoch, t_ns) = ((step / 500) as u32, (step + 1) * S / 20);
            let epoch_record =
                EpochRecord { t_ns, epoch, items: 8000, train_loss: Some(0.4), duration_ns: 25 * S };
            records.push(Record::Epoch(epoch_record));
            records.push(Record::Validation(ValidationRecord {
                t_ns,
                epoch,
                items: 2000,
                loss: 0.61 - 0.1 * f64::from(epoch),
                top1: 0.74 + 0.08 * f64::from(epoch),
                top5: None,
                best: true,
                duration_ns: 4 * S,
            }));
            records.push(Record::Checkpoint(CheckpointRecord {
                t_ns,
                step: step + 1,
                file: "x".into(),
                size_bytes: Bytes(90 << 20),
                snapshot_ns: 1,
                write_ns: 1,
            }));
        }
    }
    records.push(Record::BadSample(BadSampleRecord {
        name: "photos/red/0017.jpg".into(),
        reason: "the file ends in the middle of the image".into(),
    }));
    records.push(power(62, &["cooling device cpu-balanced is active"]));
    records
}

#[test]
fn a_run_at_80x24() {
    check("training_80x24", &seen(training()), Duration::ZERO, Look::FULL, (80, 24));
}

#[test]
fn a_run_at_120x40() {
    check("training_120x40", &seen(training()), Duration::ZERO, Look::FULL, (120, 40));
}

#[test]
fn a_run_at_40x12() {
    check("training_40x12", &seen(training()), Duration::ZERO, Look::FULL, (40, 12));
}

#[test]
fn a_run_in_ascii() {
    let state = seen(training());
    check("training_ascii_80x24", &state, Duration::ZERO, Look::BARE, (80, 24));
    let bare = screen(&state, &Moment::default(), Look::BARE, (80, 24));
    assert!(bare.content.iter().all(|cell| cell.fg == Color::Reset && cell.symbol().is_ascii()));
    let full = screen(&state, &Moment::default(), Look::FULL, (80, 24));
    assert!(full.content.iter().any(|cell| cell.fg != Color::Reset));
}

#[test]
fn warming_up() {
    let records = [Record::RunStart(start()), machine(11)];
    check("warming_up_80x24", &seen(records), Duration::from_millis(400), Look::FULL, (80, 24));
}

#[test]
fn kernels_are_tuned() {
    let kernels = |tuned| Record::Kernels(KernelsRecord { t_ns: 11_000_000_000, tuned });
    let records = [Record::RunStart(start()), machine(11), kernels(1), kernels(12)];
    let state = seen(records);
    check("tuning_kernels_80x24", &state, Duration::from_millis(400), Look::FULL, (80, 24));
    // Of no more interest once steps are made, and the next process begins at none.
    let step = training().into_iter().find(|record| matches!(record, Record::Minibatch(_))).unwrap();
    let state = seen([Record::RunStart(start()), kernels(1), step]);
    assert_eq!(*state.phase(), Phase::Training);
}

#[test]
fn before_the_run_begins() {
    let mut state = LiveState::default();
    state.preparing("measuring the memory of two small steps");
    check("preparing_80x24", &state, Duration::from_secs(3), Look::FULL, (80, 24));
    check("preparing_40x12", &state, Duration::from_secs(3), Look::FULL, (40, 12));
}

#[test]
fn absent_unreadable_and_zero_are_different() {
    let mut records = vec![Record::RunStart(start())];
    records.extend((0..30).map(minibatch));
    let denied = || Reading::unreadable("permission denied");
    records.push(Record::Power(PowerRecord {
        t_ns: 2 * S,
        span_ns: S,
        total_w: Reading::unreadable("VDD_IN: permission denied"),
        rails: vec![
            ("VDD_IN".into(), denied()),
            ("VDD_SOC".into(), Reading::Absent),
            ("VDD_CV".into(), Reading::Value(Watts(0.0))),
        ],
        temperature_c: Reading::Absent,
        throttled: Vec::new(),
        simulated: true,
    }));
    records.push(Record::Machine(MachineRecord {
        t_ns: 2 * S,
        cpu_cores: Reading::Value(6),
        clocks: vec![
            clock("CPU", 1_510_400_000, denied_hz()),
            clock("GPU", 624_750_000, Reading::Value(Hertz(0))),
            ClockState { label: "EMC".into(), asked_hz: Reading::Absent, got_hz: denied_hz() },
        ],
        trip_c: Reading::Absent,
        trip_distance_c: Reading::Absent,
        memory_bytes: Reading::Absent,
        simulated: true,
    }));
    check("missing_80x24", &seen(records), Duration::ZERO, Look::FULL, (80, 24));
}

fn denied_hz() -> Reading<Hertz> {
    Reading::unreadable("permission denied")
}

fn end(status: RunStatus) -> Record {
    Record::RunEnd(RunEnd {
        t_ns: 63 * S,
        status,
        steps: 1240,
        bad_samples: 1,
        dropped_records: 0,
        peak_memory_bytes: Reading::Value(Bytes(1620 << 20)),
        energy_j: Reading::Value(Joules(884.0)),
    })
}

#[test]
fn the_axis_of_an_accuracy_ends_at_100_per_cent() {
    let mut records = vec![Record::RunStart(start())];
    records.push(Record::Validation(ValidationRecord {
        t_ns: S,
        epoch: 0,
        items: 2000,
        loss: 0.1,
        top1: 0.99,
        top5: None,
        best: true,
        duration_ns: S,
    }));
    let shown = text(&screen(&seen(records), &Moment::default(), Look::FULL, (80, 24)));
    assert!(shown.contains("100.0│") && !shown.contains("108.9│"), "{shown}");
}

#[test]
fn a_finished_run() {
    let mut records = training();
    records.push(end(RunStatus::EarlyStopped));
    check("finished_80x24", &seen(records), Duration::from_secs(9000), Look::FULL, (80, 24));
}

#[test]
fn a_failed_run() {
    let mut records = vec![Record::RunStart(start())];
    records.extend((0..40).map(minibatch));
    let message = "the loss is no longer a number after step 40".to_owned();
    records.push(Record::Warning(WarningRecord { message }));
    records.push(end(RunStatus::Failed));
    check("failed_80x24", &seen(records), Duration::ZERO, Look::FULL, (80, 24));
}

#[test]
fn a_run_that_says_nothing_more() {
    let since = Duration::from_secs(4000);
    check("silent_80x24", &seen(training()), since, Look::FULL, (80, 24));
}

/// Resized to anything, at any point of the run: there is a screen, and from four rows on it shows the step.
#[test]
fn any_size_has_a_screen() {
    let records = training();
    for count in [0, 1, 5, 400, records.len()] {
        let state = seen(records.iter().take(count).cloned());
        for width in [1, 2, 9, 20, 40, 69, 70, 79, 80, 133, 250] {
            for height in [1, 2, 3, 4, 7, 11, 12, 16, 23, 24, 30, 41, 90] {
                for look in [Look::FULL, Look::BARE] {
                    let buffer = screen(&state, &Moment::default(), look, (width, height));
                    if count > 5 && width >= 40 && height >= 4 {
                        assert!(text(&buffer).contains("step "), "{width}x{height}");
                    }
                }
            }
        }
    }
}

proptest::proptest! {
    /// A log that ends anywhere, as after a power cut, is shown as far as it goes.
    #[test]
    fn a_log_cut_at_any_byte_is_shown(cut in 0usize..usize::MAX, flip in proptest::option::of(0usize..usize::MAX)) {
        static LOG: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let mut records = training();
            records.truncate(60);
            records.push(end(RunStatus::Interrupted));
            records.iter().flat_map(|record| runlog::encode(record).unwrap().into_bytes()).collect()
        });
        let mut log = LOG[..cut % (LOG.len() + 1)].to_vec();
        if let Some(at) = flip.filter(|_| !log.is_empty()) {
            let at = at % log.len();
            log[at] ^= 0x10;
        }
        let (mut decoder, mut state) = (runlog::Decoder::default(), LiveState::default());
        let mut count = 0;
        decoder.push(&log, |record| {
            state.push(&record);
            count += 1;
        });
        state.damaged_lines(decoder.damaged());
        let lines = log.iter().filter(|byte| **byte == b'\n').count();
        // A flipped bit makes two lines of one, or one of two: at most two are lost.
        proptest::prop_assert!(count + 2 >= lines || flip.is_none() && count == lines);
        let shown = text(&screen(&state, &Moment::default(), Look::FULL, (80, 24)));
        proptest::prop_assert_eq!(shown.lines().count(), 24);
        proptest::prop_assert!(!footplate_views::metrics::text(&state, 1.0).is_empty());
    }
}

/// What a file name holds must not steer the terminal.
#[test]
fn control_characters_do_not_reach_the_terminal() {
    let mut records = training();
    records.push(Record::Warning(WarningRecord { message: "evil \u{1b}[2J\u{7}\nname".into() }));
    let buffer = screen(&seen(records), &Moment::default(), Look::FULL, (80, 24));
    assert!(buffer.content.iter().all(|cell| !cell.symbol().chars().any(char::is_control)));
}
