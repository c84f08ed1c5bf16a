//! Records as bad as a damaged log, a broken clock and hostile names can make them.

use footplate_core::power_mode::PowerMode;
use footplate_core::record::{
    BadSampleRecord, CheckpointRecord, ClockState, EpochRecord, Estimated, KernelsRecord, LoaderRecord,
    MachineRecord, MinibatchRecord, ModePurpose, ModeRecord, PowerRecord, ProfilePurpose, ProfiledRecord,
    RunEnd, RunStart, RunStatus, TunePoint, TuneRecord, ValidationRecord, WarningRecord,
};
use footplate_core::{Bytes, Celsius, Hertz, Joules, Reading, Record, Watts};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::HOSTILE;

/// What all the fields of a record are taken from.
#[derive(Clone, Debug)]
struct Pool {
    counts: [u64; 8],
    numbers: [f64; 4],
    texts: [String; 3],
    readings: [Reading<f64>; 4],
    flags: [bool; 4],
    index: Index,
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), 0u64..100, 1_000_000u64..10_000_000_000, Just(u64::MAX / 2), Just(u64::MAX)]
}

fn number() -> impl Strategy<Value = f64> {
    let odd = select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 1e-300]);
    prop_oneof![odd, 0.0..1.0, -1e3..1e3]
}

fn text() -> impl Strategy<Value = String> {
    let odd = [
        HOSTILE,
        "",
        " ",
        "\u{202e}rtl",
        "日本語",
        "e\u{301}",
        "100 % of it",
        "x\ty\r\n",
        "{}",
        "\u{1b}[31m",
    ];
    prop_oneof![select(odd.to_vec()).prop_map(ToOwned::to_owned), "\\PC{0,60}"]
}

fn reading() -> impl Strategy<Value = Reading<f64>> {
    prop_oneof![
        number().prop_map(Reading::Value),
        Just(Reading::Absent),
        text().prop_map(Reading::unreadable),
    ]
}

fn pool() -> impl Strategy<Value = Pool> {
    let counts = proptest::array::uniform8(count());
    let numbers = proptest::array::uniform4(number());
    let texts = proptest::array::uniform3(text());
    let readings = proptest::array::uniform4(reading());
    let parts = (counts, numbers, texts, readings, any::<[bool; 4]>(), any::<Index>());
    parts.prop_map(|(counts, numbers, texts, readings, flags, index)| Pool {
        counts,
        numbers,
        texts,
        readings,
        flags,
        index,
    })
}

impl Pool {
    fn text(&self, index: usize) -> String {
        self.texts[index].clone()
    }

    fn small(&self, index: usize) -> u32 {
        self.counts[index] as u32
    }

    fn reading<T>(&self, index: usize, unit: impl FnOnce(f64) -> T) -> Reading<T> {
        self.readings[index].clone().map(unit)
    }

    fn number(&self, index: usize) -> Option<f64> {
        self.flags[index % 4].then(|| self.numbers[index])
    }

    fn mode(&self) -> PowerMode {
        PowerMode {
            cpu_cores: Some(self.small(0)),
            gpu_hz: Some(Hertz(self.counts[1])),
            ..PowerMode::default()
        }
    }

    fn estimated(&self, index: usize) -> Option<Estimated> {
        self.number(index).map(|value| Estimated { value, low90: self.numbers[0], high90: self.numbers[3] })
    }

    fn one_of<T: Copy>(&self, all: &[T]) -> T {
        all[self.index.index(all.len())]
    }
}

/// A record of any kind with any values.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    let kinds: Vec<fn(&Pool) -> Record> = vec![
        start, minibatch, loader, kernels, epoch, validation, checkpoint, bad_sample, power, machine, mode,
        profile, tune, warning, end,
    ];
    (select(kinds), pool()).prop_map(|(kind, pool)| kind(&pool))
}

fn start(p: &Pool) -> Record {
    let settings_toml =
        if p.flags[0] { format!("seed = {}\nname = '''{}'''", p.small(0), p.text(0)) } else { p.text(0) };
    Record::RunStart(RunStart {
        started_at: p.text(0),
        version: p.text(1),
        model: p.text(2),
        device: p.text(0),
        data: p.text(1),
        host: p.text(2),
        parameters: p.counts[0],
        train_items: p.counts[1],
        validation_items: p.counts[2],
        batch_size: p.counts[3],
        epochs: p.small(4),
        steps_per_epoch: p.counts[5],
        steps_total: p.counts[6],
        first_step: p.counts[7],
        planned_memory_bytes: Bytes(p.counts[0]),
        settings_toml,
    })
}

fn minibatch(p: &Pool) -> Record {
    Record::Minibatch(MinibatchRecord {
        t_ns: p.counts[0],
        epoch: p.small(1),
        step: p.counts[2],
        items: p.small(3),
        fetch_ns: p.counts[4],
        prep_ns: p.counts[5],
        transfer_ns: p.counts[6],
        stall_ns: p.counts[7],
        compute_ns: p.counts[1],
        step_ns: p.counts[3],
        learning_rate: p.numbers[0],
        loss: p.number(1).map(|loss| loss as f32),
        synced: p.flags[0],
        copied_bytes: p.flags[1].then_some(p.counts[2]),
        ingest_ns: p.flags[2].then_some(p.counts[4]),
    })
}

fn loader(p: &Pool) -> Record {
    Record::Loader(LoaderRecord { t_ns: p.counts[0], workers: p.small(1), depth: p.small(2) })
}

fn kernels(p: &Pool) -> Record {
    Record::Kernels(KernelsRecord { t_ns: p.counts[0], tuned: p.counts[1] })
}

fn epoch(p: &Pool) -> Record {
    Record::Epoch(EpochRecord {
        t_ns: p.counts[0],
        epoch: p.small(1),
        items: p.counts[2],
        train_loss: p.number(0),
        duration_ns: p.counts[3],
    })
}

fn validation(p: &Pool) -> Record {
    Record::Validation(ValidationRecord {
        t_ns: p.counts[0],
        epoch: p.small(1),
        items: p.counts[2],
        loss: p.numbers[0],
        top1: p.numbers[1],
        top5: p.number(2),
        best: p.flags[0],
        duration_ns: p.counts[3],
    })
}

fn checkpoint(p: &Pool) -> Record {
    Record::Checkpoint(CheckpointRecord {
        t_ns: p.counts[0],
        step: p.counts[1],
        file: p.text(0),
        size_bytes: Bytes(p.counts[2]),
        snapshot_ns: p.counts[3],
        write_ns: p.counts[4],
    })
}

fn bad_sample(p: &Pool) -> Record {
    Record::BadSample(BadSampleRecord { name: p.text(0), reason: p.text(1) })
}

fn power(p: &Pool) -> Record {
    Record::Power(PowerRecord {
        t_ns: p.counts[0],
        span_ns: p.counts[1],
        total_w: p.reading(0, Watts),
        rails: vec![(p.text(0), p.reading(1, Watts)), (p.text(1), p.reading(2, Watts))],
        temperature_c: p.reading(3, Celsius),
        throttled: if p.flags[0] { vec![p.text(2)] } else { Vec::new() },
        simulated: p.flags[1],
    })
}

fn machine(p: &Pool) -> Record {
    let clock = |label, index| ClockState {
        label: p.text(label),
        asked_hz: p.reading(index, |hz| Hertz(hz as u64)),
        got_hz: p.reading(index + 1, |hz| Hertz(hz as u64)),
    };
    Record::Machine(MachineRecord {
        t_ns: p.counts[0],
        cpu_cores: p.reading(0, |cores| cores as u32),
        clocks: vec![clock(0, 0), clock(1, 2)],
        trip_c: p.reading(1, Celsius),
        trip_distance_c: p.reading(2, Celsius),
        memory_bytes: p.reading(3, |bytes| Bytes(bytes as u64)),
        simulated: p.flags[0],
    })
}

fn mode(p: &Pool) -> Record {
    Record::Mode(ModeRecord {
        t_ns: p.counts[0],
        purpose: p.one_of(&[ModePurpose::Train, ModePurpose::Profile, ModePurpose::Restore]),
        asked: p.mode(),
        got: if p.flags[0] { p.mode() } else { PowerMode::default() },
        warnings: vec![p.text(0)],
    })
}

fn profile(p: &Pool) -> Record {
    Record::Profile(ProfiledRecord {
        t_ns: p.counts[0],
        purpose: p.one_of(&[ProfilePurpose::Search, ProfilePurpose::Verify]),
        mode: p.mode(),
        got: p.mode(),
        workers: p.flags[0].then(|| p.small(1)),
        steps: p.small(2),
        step_s: p.numbers[0],
        step_error_s: p.numbers[1],
        stall_share: p.number(2),
        power_w: p.reading(0, Watts),
        throttled: vec![p.text(1)],
        simulated: p.flags[1],
    })
}

fn tune(p: &Pool) -> Record {
    let point = |measured, largest| TunePoint {
        mode: p.mode(),
        workers: p.flags[0].then(|| p.small(0)),
        presets: vec![p.text(0)],
        measured,
        on_front: p.flags[1],
        largest,
        step_s: p.estimated(0),
        power_w: p.estimated(1),
        energy_j: p.estimated(2),
    };
    Record::Tune(TuneRecord {
        t_ns: p.counts[0],
        goal: p.text(0),
        power_max_w: p.number(0),
        step_max_s: p.number(1),
        energy_max_j: p.number(2),
        profiles: p.small(1),
        points: vec![point(p.flags[2], false), point(p.flags[3], true)],
        space: p.counts[2],
        choice: p.one_of(&[None, Some(0), Some(1), Some(usize::MAX)]),
        verified: p.flags[0],
        probability: p.number(3),
        message: p.flags[1].then(|| p.text(1)),
        simulated: p.flags[2],
    })
}

fn warning(p: &Pool) -> Record {
    Record::Warning(WarningRecord { message: p.text(0) })
}

fn end(p: &Pool) -> Record {
    use RunStatus::{Completed, EarlyStopped, Failed, Interrupted};
    Record::RunEnd(RunEnd {
        t_ns: p.counts[0],
        status: p.one_of(&[Completed, EarlyStopped, Failed, Interrupted]),
        steps: p.counts[1],
        bad_samples: p.counts[2],
        dropped_records: p.counts[3],
        peak_memory_bytes: p.reading(0, |bytes| Bytes(bytes as u64)),
        energy_j: p.reading(1, Joules),
    })
}
