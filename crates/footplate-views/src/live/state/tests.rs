use footplate_core::record::WarningRecord;
use footplate_core::{Celsius, Reading};
use proptest::prelude::*;

use super::*;
use crate::live::notices::NOTICES;
use crate::testing;

fn start(first_step: u64) -> Record {
    Record::RunStart(RunStart {
        data: "64 images".into(),
        validation_items: 320,
        steps_per_epoch: 50,
        steps_total: 100,
        first_step,
        ..testing::start()
    })
}

fn step(step: u64, step_ns: u64) -> Record {
    Record::Minibatch(testing::minibatch(step, step_ns))
}

fn validation(epoch: u32, duration_ns: u64) -> Record {
    Record::Validation(ValidationRecord {
        t_ns: 60_000_000_000,
        epoch,
        items: 320,
        loss: 0.5,
        top1: 0.9,
        top5: None,
        best: true,
        duration_ns,
    })
}

fn power(throttled: &[&str], total_w: Reading<Watts>) -> Record {
    Record::Power(PowerRecord {
        t_ns: 1_000_000_000,
        span_ns: 1_000_000_000,
        total_w,
        rails: Vec::new(),
        temperature_c: Reading::Value(Celsius(50.0)),
        throttled: throttled.iter().map(|text| (*text).to_owned()).collect(),
        simulated: true,
    })
}

fn seen(records: &[Record]) -> LiveState {
    let mut state = LiveState::default();
    for record in records {
        state.push(record);
    }
    state
}

#[test]
fn phases_follow_the_records() {
    let mut state = LiveState::default();
    assert_eq!(*state.phase(), Phase::Preparing("starting".into()));
    state.preparing("reading the data set");
    assert_eq!(*state.phase(), Phase::Preparing("reading the data set".into()));
    state.push(&start(0));
    assert_eq!(*state.phase(), Phase::WarmingUp);
    state.preparing("too late");
    assert_eq!(*state.phase(), Phase::WarmingUp);
    state.push(&step(0, 1_000_000));
    assert_eq!(*state.phase(), Phase::Training);
    let epoch = EpochRecord { t_ns: 2_000_000, epoch: 0, items: 64, train_loss: None, duration_ns: 1 };
    state.push(&Record::Epoch(epoch));
    assert_eq!(*state.phase(), Phase::Validating);
    state.push(&validation(0, 5));
    assert_eq!(*state.phase(), Phase::Training);
}

#[test]
fn the_time_left_counts_validations_before_the_first_one() {
    let mut state = seen(&[start(0), step(0, 1_000_000_000)]);
    // 99 steps of 1 s; two validations of 320 items at 0.35 of a 32nd of a second.
    let expected = 99.0 + 2.0 * 320.0 / 32.0 * FORWARD_SHARE;
    assert!((state.time_left().unwrap().as_secs_f64() - expected).abs() < 1e-6);
    state.push(&validation(0, 4_000_000_000));
    assert!((state.time_left().unwrap().as_secs_f64() - (99.0 + 2.0 * 4.0)).abs() < 1e-6);
}

#[test]
fn a_resume_goes_on_with_the_curves_and_begins_the_counts_anew() {
    let mut records = vec![start(0)];
    records.extend((0..60).map(|n| step(n, 1_000_000_000)));
    records.insert(51, validation(0, 1));
    records.push(start(50));
    let mut state = seen(&records);
    assert_eq!(state.curves.train_loss.buckets().len(), 50);
    // The validation after epoch 1 was before the checkpoint.
    assert_eq!(state.curves.accuracy.buckets().len(), 1);
    assert_eq!((state.steps_done(), state.all().steps, state.resumes), (50, 0, 1));
    state.push(&step(50, 1_000_000_000));
    let last = state.curves.items_per_s.buckets().last().unwrap().to;
    // The clock of the second process begins at 0 again: its steps come after those of the first.
    assert!(last > 60.0, "{last}");
    assert_eq!(state.elapsed(Duration::ZERO), Duration::from_secs(51));
}

#[test]
fn throttling_is_told_once_while_it_lasts() {
    let hot = power(&["cooling device cpu is active"], Reading::Value(Watts(7.0)));
    let cool = power(&[], Reading::Value(Watts(5.0)));
    let state = seen(&[start(0), hot.clone(), hot.clone(), cool, hot]);
    assert_eq!((state.notices().total(), state.throttled_records), (2, 3));
    assert_eq!(state.energy.unwrap(), EnergySoFar { energy_j: 26.0, covered_ns: 4_000_000_000 });
}

#[test]
fn power_that_cannot_be_read_is_no_energy() {
    let state = seen(&[start(0), power(&[], Reading::Absent)]);
    assert_eq!((state.energy, state.curves.power_w.buckets().len()), (None, 0));
}

#[test]
fn a_message_that_repeats_itself_is_counted() {
    let warning = |text: &str| Record::Warning(WarningRecord { message: text.into() });
    let state = seen(&[warning("a"), warning("a"), warning("b")]);
    let notices: Vec<(String, u64)> = state.notices().last().map(|n| (n.text.clone(), n.count)).collect();
    assert_eq!(notices, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
}

#[test]
fn silence_is_told_only_when_it_is_longer_than_some_steps() {
    let mut state = seen(&[start(0), step(0, 20_000_000_000)]);
    assert_eq!(state.silent(Duration::from_secs(30)), None);
    assert!(state.silent(Duration::from_secs(61)).is_some());
    state.push(&Record::RunEnd(RunEnd {
        t_ns: 1,
        status: RunStatus::Completed,
        steps: 1,
        bad_samples: 0,
        dropped_records: 0,
        peak_memory_bytes: Reading::Absent,
        energy_j: Reading::Absent,
    }));
    assert_eq!(state.silent(Duration::from_secs(1000)), None);
    assert_eq!(state.time_left(), None);
}

/// What a log of any length may cost: this is the state's own size, so that ten hours cost what ten minutes do.
#[test]
fn a_long_log_costs_no_more_than_a_short_one() {
    let mut state = seen(&[start(0)]);
    for n in 0..200_000 {
        state.push(&step(n, 100_000_000));
        if n % 100 == 0 {
            state.push(&Record::Warning(WarningRecord { message: format!("{n}") }));
        }
    }
    let curves = &state.curves;
    let sizes = [&curves.train_loss, &curves.items_per_s].map(|curve| curve.buckets().len());
    assert!(sizes.iter().all(|size| *size <= CURVE), "{sizes:?}");
    assert_eq!((state.notices().last().len(), state.notices().total()), (NOTICES, 2000));
    assert!(state.recent().steps <= 200);
}

proptest! {
    /// Whatever order damage leaves the records in, there is a state.
    #[test]
    fn any_order_of_records_gives_a_state(order in prop::collection::vec(0usize..6, 0..60), huge in any::<u64>()) {
        let mut weird = start(huge);
        if let Record::RunStart(start) = &mut weird {
            (start.steps_total, start.steps_per_epoch) = (huge / 2, huge % 3);
        }
        let all = [weird, step(huge / 2, 5), step(3, huge / 8), validation(7, huge), power(&["x"], Reading::Absent), start(0)];
        let mut state = LiveState::default();
        for index in order {
            if index == 1 {
                // A step whose time is near the largest number that there is.
                let Record::Minibatch(mut step) = step(3, 1) else { unreachable!() };
                (step.t_ns, step.step_ns, step.stall_ns) = (huge, huge, huge / 3);
                state.push(&Record::Minibatch(step));
            } else {
                state.push(&if index == 2 { step(3, 7) } else { all[index].clone() });
            }
            let _ = (state.time_left(), state.elapsed(Duration::MAX), state.silent(Duration::MAX), state.recent());
        }
    }
}
