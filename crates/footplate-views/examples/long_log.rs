//! Writes the log of a long run that never was, to see how a report copes: `long_log FILE HOURS [STEPS_PER_SECOND]`.
#![expect(clippy::unwrap_used, reason = "an example ends at the first surprise")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it writes the file that its arguments name"
)]

use std::fs::File;
use std::io::{BufWriter, Write};

use footplate_core::power_mode::PowerMode;
use footplate_core::record::{
    ClockState, EpochRecord, Estimated, MachineRecord, MinibatchRecord, ModePurpose, ModeRecord, PowerRecord,
    ProfilePurpose, ProfiledRecord, RunEnd, RunStart, RunStatus, TunePoint, TuneRecord, ValidationRecord,
};
use footplate_core::{Bytes, Celsius, Hertz, Joules, Reading, Record, Watts, runlog};

/// Modes that are measured first: GPU clock in MHz, with the time of a step and the power that the model gives them.
const MODES: [u64; 8] = [306, 408, 510, 612, 714, 816, 918, 1300];
const PROFILE_S: u64 = 20;

fn mode(gpu_mhz: u64) -> PowerMode {
    PowerMode { cpu_cores: Some(6), gpu_hz: Some(Hertz(gpu_mhz * 1_000_000)), ..PowerMode::default() }
}

fn step_s(gpu_mhz: u64, per_s: f64) -> f64 {
    (1.0 / per_s) * (0.3 + 0.7 * 816.0 / gpu_mhz as f64)
}

fn watts(gpu_mhz: u64) -> f64 {
    6.0 + 14.0 * (gpu_mhz as f64 / 1300.0).powi(2) + 4.0 * gpu_mhz as f64 / 1300.0
}

/// A draw from 0 to 1 that is the same each time.
fn noise(n: u64) -> f64 {
    let mixed = (n ^ 0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 40) as f64 / f64::from(1 << 24)
}

struct Log(BufWriter<File>);

impl Log {
    fn add(&mut self, record: &Record) {
        self.0.write_all(runlog::encode(record).unwrap().as_bytes()).unwrap();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let hours: f64 = arguments[2].parse().unwrap();
    let per_s: f64 = arguments.get(3).map_or(10.0, |n| n.parse().unwrap());
    let seconds = (hours * 3600.0) as u64;
    let steps_total = (seconds as f64 * per_s) as u64;
    let mut log = Log(BufWriter::new(File::create(&arguments[1]).unwrap()));
    log.add(&Record::RunStart(start(steps_total)));
    let (mut now_s, mut step, mut second, mut epoch) = (0.0, 0u64, 0u64, 0u32);
    let mut energy = 0.0;
    let mut clock = MODES[0];
    while second < seconds {
        let phase = (second / PROFILE_S) as usize;
        let wanted = MODES.get(phase).copied().unwrap_or(816);
        if second.is_multiple_of(PROFILE_S) && phase <= MODES.len() {
            clock = wanted;
            changes(&mut log, now_s, phase, per_s);
        }
        let target = (second + 1) as f64;
        while now_s < target {
            let hot = clock == 816 && (second % 3000) > 2500;
            let slow = if hot { 1.25 } else { 1.0 };
            let duration = step_s(clock, per_s) * slow * (0.95 + 0.1 * noise(step));
            now_s += duration;
            log.add(&Record::Minibatch(minibatch(step, now_s, duration, steps_total, epoch)));
            step += 1;
        }
        second += 1;
        energy += sample(&mut log, second, clock, (second % 3000) > 2500);
        if second.is_multiple_of((seconds / 20).max(1)) {
            epoch_end(&mut log, now_s, epoch);
            epoch += 1;
        }
    }
    log.add(&Record::RunEnd(RunEnd {
        t_ns: (now_s * 1e9) as u64,
        status: RunStatus::Completed,
        steps: step,
        bad_samples: 0,
        dropped_records: 0,
        peak_memory_bytes: Reading::Value(Bytes(1_400 << 20)),
        energy_j: Reading::Value(Joules(energy)),
    }));
}

fn start(steps_total: u64) -> RunStart {
    RunStart {
        started_at: "2026-11-26T18:00:00Z".into(),
        version: "0.1.0".into(),
        model: "resnet18".into(),
        device: "generated (no run was made)".into(),
        data: "25 000 images in 10 classes that do not exist".into(),
        host: "linux aarch64, 6 cores".into(),
        parameters: 11_181_642,
        train_items: 25_000,
        validation_items: 5_000,
        batch_size: 16,
        epochs: 20,
        steps_per_epoch: steps_total / 20,
        steps_total,
        first_step: 0,
        planned_memory_bytes: Bytes(1_500 << 20),
        settings_toml: "model = \"resnet18\"\nbatch-size = 16\nworkers = 3\nseed = 0\n".into(),
    }
}

fn minibatch(step: u64, now_s: f64, duration: f64, total: u64, epoch: u32) -> MinibatchRecord {
    let ns = (duration * 1e9) as u64;
    let stall = (ns as f64 * (0.12 + 0.1 * noise(step + 7))) as u64;
    let done = step as f64 / total as f64;
    MinibatchRecord {
        t_ns: (now_s * 1e9) as u64,
        epoch,
        step,
        items: 16,
        fetch_ns: ns / 9,
        prep_ns: ns * 2,
        transfer_ns: ns / 200,
        stall_ns: stall,
        compute_ns: ns - stall - ns / 100,
        step_ns: ns,
        learning_rate: 0.05 * (1.0 + (done * std::f64::consts::PI).cos()),
        loss: Some((2.3 * (-3.0 * done).exp() + 0.15 + 0.3 * noise(step + 3)) as f32),
        synced: true,
        copied_bytes: Some(16 * 3 * 224 * 224),
        ingest_ns: None,
    }
}

fn sample(log: &mut Log, second: u64, clock: u64, hot: bool) -> f64 {
    let throttled = hot && clock == 816;
    let got = if throttled { 714 } else { clock };
    let total = watts(got) + noise(second);
    let temperature = 45.0
        + 30.0 * (1.0 - (-(second as f64) / 900.0).exp())
        + if throttled { 14.0 } else { 0.0 }
        + noise(second * 3);
    let t_ns = second * 1_000_000_000;
    let evidence =
        if throttled { vec!["cooling device gpu-balanced is active".to_owned()] } else { Vec::new() };
    log.add(&Record::Power(PowerRecord {
        t_ns,
        span_ns: 1_000_000_000,
        total_w: Reading::Value(Watts(total)),
        rails: vec![
            ("VDD_GPU_SOC".into(), Reading::Value(Watts(total * 0.55))),
            ("VDD_CPU_CV".into(), Reading::Value(Watts(total * 0.2))),
            (
                "VDDQ_VDD2_1V8AO".into(),
                if second % 900 < 60 {
                    Reading::Unreadable { reason: "device busy".into() }
                } else {
                    Reading::Value(Watts(total * 0.15))
                },
            ),
            ("VIN_SYS_5V0".into(), Reading::Absent),
        ],
        temperature_c: Reading::Value(Celsius(temperature)),
        throttled: evidence,
        simulated: true,
    }));
    let hz = |mhz: u64| Reading::Value(Hertz(mhz * 1_000_000));
    log.add(&Record::Machine(MachineRecord {
        t_ns,
        cpu_cores: Reading::Value(6),
        clocks: vec![
            ClockState { label: "CPU".into(), asked_hz: hz(1510), got_hz: hz(1510) },
            ClockState { label: "GPU".into(), asked_hz: hz(clock), got_hz: hz(got) },
            ClockState { label: "EMC".into(), asked_hz: hz(2133), got_hz: Reading::Absent },
        ],
        trip_c: Reading::Value(Celsius(97.0)),
        trip_distance_c: Reading::Value(Celsius(97.0 - temperature)),
        memory_bytes: Reading::Value(Bytes((1_300 << 20) + (noise(second) * 5e7) as u64)),
        simulated: true,
    }));
    total
}

fn changes(log: &mut Log, now_s: f64, phase: usize, per_s: f64) {
    let t_ns = (now_s * 1e9) as u64;
    if let Some(before) = phase.checked_sub(1).and_then(|p| MODES.get(p)) {
        log.add(&Record::Profile(ProfiledRecord {
            t_ns,
            purpose: ProfilePurpose::Search,
            mode: mode(*before),
            got: mode(*before),
            workers: None,
            steps: 180,
            step_s: step_s(*before, per_s),
            step_error_s: 0.0004,
            stall_share: Some(0.17),
            power_w: Reading::Value(Watts(watts(*before))),
            throttled: Vec::new(),
            simulated: true,
        }));
    }
    let last = phase == MODES.len();
    if last {
        log.add(&Record::Tune(tune(t_ns, per_s)));
    }
    let wanted = mode(MODES.get(phase).copied().unwrap_or(816));
    let purpose = if last { ModePurpose::Train } else { ModePurpose::Profile };
    log.add(&Record::Mode(ModeRecord { t_ns, purpose, asked: wanted, got: wanted, warnings: Vec::new() }));
}

fn tune(t_ns: u64, per_s: f64) -> TuneRecord {
    let clocks: Vec<u64> = (306..=1300).step_by(51).collect();
    let point = |clock: &u64| {
        let measured = MODES.contains(clock);
        let (time, power) = (step_s(*clock, per_s), watts(*clock));
        let near = |value: f64| Some(Estimated { value, low90: value * 0.96, high90: value * 1.05 });
        TunePoint {
            mode: mode(*clock),
            workers: None,
            presets: match clock {
                612 => vec!["MODE_15W".to_owned()],
                1300 => vec!["MAXN".to_owned()],
                _ => Vec::new(),
            },
            measured,
            on_front: true,
            largest: *clock == 1300,
            step_s: near(time),
            power_w: near(power),
            energy_j: near(time * power),
        }
    };
    let mut all: Vec<u64> = clocks.iter().copied().filter(|c| !MODES.contains(c)).collect();
    all.extend(MODES);
    TuneRecord {
        t_ns,
        goal: "least time of a step with a mean power of at most 15 W, with 90 % confidence".into(),
        power_max_w: Some(15.0),
        step_max_s: None,
        energy_max_j: None,
        profiles: MODES.len() as u32,
        points: all.iter().map(point).collect(),
        space: 4_368,
        choice: all.iter().position(|clock| *clock == 816),
        verified: true,
        probability: Some(0.94),
        message: None,
        simulated: true,
    }
}

fn epoch_end(log: &mut Log, now_s: f64, epoch: u32) {
    let done = f64::from(epoch + 1) / 20.0;
    let t_ns = (now_s * 1e9) as u64;
    log.add(&Record::Epoch(EpochRecord {
        t_ns,
        epoch,
        items: 25_000,
        train_loss: Some(2.3 * (-3.0 * done).exp() + 0.3),
        duration_ns: (now_s / f64::from(epoch + 1) * 1e9) as u64,
    }));
    log.add(&Record::Validation(ValidationRecord {
        t_ns,
        epoch,
        items: 5_000,
        loss: 2.2 * (-2.6 * done).exp() + 0.35 + 0.03 * noise(u64::from(epoch)),
        top1: 0.93 - 0.8 * (-3.0 * done).exp(),
        top5: Some(0.99 - 0.4 * (-3.0 * done).exp()),
        best: true,
        duration_ns: 9_000_000_000,
    }));
}
