use footplate_core::power_mode::PowerMode;
use footplate_core::record::{BadSampleRecord, KernelsRecord, ModeRecord, RunStart, WarningRecord};
use footplate_core::{Hertz, Reading, Watts};
use proptest::prelude::*;

use super::*;
use crate::testing::{self, machine, validation};

fn mode(gpu_mhz: u64) -> PowerMode {
    PowerMode { gpu_hz: Some(Hertz(gpu_mhz * 1_000_000)), ..PowerMode::default() }
}

fn epoch() -> Record {
    Record::Epoch(EpochRecord { t_ns: 1, epoch: 0, items: 64, train_loss: Some(0.25), duration_ns: 1 })
}

fn start(validation_items: u64) -> Record {
    Record::RunStart(RunStart { validation_items, ..testing::start() })
}

fn step(step: u64) -> Record {
    Record::Minibatch(testing::minibatch(step, 100_000_000))
}

/// The messages of the last record, after a state that has been told of all.
fn last(records: &[Record]) -> Vec<Message> {
    let mut state = LiveState::default();
    records.iter().for_each(|record| state.push(record));
    records.last().map_or(Vec::new(), |record| messages(record, &state))
}

fn line(text: &str) -> Vec<Message> {
    vec![Message::Line(text.to_owned())]
}

#[test]
fn an_epoch_is_one_line_with_its_validation_if_there_is_one() {
    assert_eq!(last(&[start(0), epoch()]), line("epoch 1/2: train loss 0.2500"));
    assert_eq!(last(&[start(16), epoch()]), []);
    let validated = [start(16), epoch(), validation(0, 0.75)];
    assert_eq!(
        last(&validated),
        line("epoch 1/2: train loss 0.2500  val loss 0.5000  accuracy 75.0 %  best")
    );
    // A log whose record of the epoch was damaged.
    assert_eq!(last(&[start(16), validation(0, 0.75)]), line("val loss 0.5000  accuracy 75.0 %  best"));
}

#[test]
fn modes_are_told_when_one_is_kept_and_not_while_they_are_measured() {
    let set = |purpose| {
        Record::Mode(ModeRecord { t_ns: 1, purpose, asked: mode(900), got: mode(900), warnings: Vec::new() })
    };
    let [train, restore, profile] =
        [ModePurpose::Train, ModePurpose::Restore, ModePurpose::Profile].map(|purpose| last(&[set(purpose)]));
    assert_eq!(train, line(&format!("training in {}", mode(900))));
    assert_eq!(restore, line(&format!("set as before: {}", mode(900))));
    assert_eq!(profile, []);
}

#[test]
fn bad_samples_and_warnings_are_warnings() {
    let bad = Record::BadSample(BadSampleRecord { name: "a.jpg".into(), reason: "cut off".into() });
    assert_eq!(last(&[bad]), [Message::Warning("left out a.jpg: cut off".into())]);
    let warning = Record::Warning(WarningRecord { message: "hot".into() });
    assert_eq!(last(&[warning]), [Message::Warning("hot".into())]);
}

fn profiled(power_w: Reading<Watts>) -> Record {
    Record::Profile(ProfiledRecord {
        t_ns: 1,
        purpose: ProfilePurpose::Search,
        mode: mode(900),
        got: mode(900),
        workers: Some(2),
        steps: 40,
        step_s: 0.1,
        step_error_s: 0.002,
        stall_share: Some(0.02),
        power_w,
        throttled: Vec::new(),
        simulated: true,
    })
}

#[test]
fn a_profiles_power_that_is_zero_unreadable_or_absent_looks_different() {
    let unreadable = Reading::unreadable("denied");
    let shown = [Reading::Value(Watts(0.0)), unreadable, Reading::Absent].map(|power| {
        let told = last(&[profiled(power)]);
        let [Message::Line(text)] = told.as_slice() else { panic!("{told:?}") };
        text.split_once(" a step, ").unwrap().1.to_owned()
    });
    assert_eq!(shown, ["0.00 W, 40 steps, simulated", "x, 40 steps, simulated", "-, 40 steps, simulated"]);
}

fn point(measured: bool, largest: bool) -> TunePoint {
    TunePoint {
        mode: mode(if largest { 1300 } else { 900 }),
        workers: Some(1),
        presets: Vec::new(),
        measured,
        on_front: true,
        largest,
        step_s: Some(Estimated { value: 0.1, low90: 0.1, high90: 0.1 }),
        power_w: None,
        energy_j: None,
    }
}

#[test]
fn a_tune_tells_its_choice_and_what_it_is_compared_with() {
    let mut tune = TuneRecord {
        t_ns: 1,
        goal: "least time".into(),
        power_max_w: None,
        step_max_s: None,
        energy_max_j: None,
        profiles: 5,
        points: vec![point(false, false), point(true, true)],
        space: 100,
        choice: Some(0),
        verified: false,
        probability: None,
        message: Some("a message".into()),
        simulated: true,
    };
    let told = last(&[Record::Tune(tune.clone())]);
    let expected = [
        "a message".to_owned(),
        format!("choice: {}, 1 worker: 100.00 ms a step, -, - a step (estimate)", mode(900)),
        "not measured again; least time; the limits hold with a probability of -; 5 of 100 modes were measured"
            .to_owned(),
        format!("largest: {}, 1 worker: 100.00 ms a step, -, - a step (simulated)", mode(1300)),
    ];
    assert_eq!(told, expected.map(Message::Line));
    // An index that a damaged log could hold is no choice.
    tune.choice = Some(7);
    assert_eq!(last(&[Record::Tune(tune)]).len(), 2);
}

#[test]
fn progress_is_about_steps_and_kernels_only() {
    let mut state = LiveState::default();
    let records = [start(16), machine(Reading::Absent), step(0)];
    records.iter().for_each(|record| state.push(record));
    let text = progress(&records[2], &state).unwrap();
    assert!(text.starts_with("epoch 1/2  step 1/4  loss 2.000  val acc -  320 items/s"), "{text}");
    assert!(text.ends_with("mem -"), "{text}");
    let kernels = Record::Kernels(KernelsRecord { t_ns: 1, tuned: 12 });
    assert_eq!(progress(&kernels, &state).as_deref(), Some("tuning kernels: 12 so far"));
    assert_eq!(progress(&epoch(), &state), None);
}

#[test]
fn having_nothing_to_say_costs_no_turn() {
    let mut pace = Pace::new(Duration::from_secs(10));
    assert_eq!(pace.when_due(Duration::from_secs(9), || Some(1)), None);
    assert_eq!(pace.when_due(Duration::from_secs(11), || None::<i32>), None);
    assert_eq!(pace.when_due(Duration::from_secs(12), || Some(2)), Some(2));
    assert_eq!(pace.when_due(Duration::from_secs(13), || Some(3)), None);
}

proptest! {
    /// However often it is asked, two texts are never nearer to each other than the pace allows.
    #[test]
    fn a_pace_is_kept(every in 1u64..5000, gaps in prop::collection::vec(0u64..2000, 0..200)) {
        let mut pace = Pace::new(Duration::from_millis(every));
        let (mut now, mut last) = (0, 0);
        for gap in gaps {
            now += gap;
            let due = pace.when_due(Duration::from_millis(now), || Some(())).is_some();
            prop_assert_eq!(due, now - last >= every);
            if due {
                last = now;
            }
        }
    }
}
