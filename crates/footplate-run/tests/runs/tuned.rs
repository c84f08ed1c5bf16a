//! Runs whose mode is chosen on their own first steps, on a simulated board.

use footplate_core::PowerMode;
use footplate_core::record::{ModePurpose, Record, TuneRecord};
use footplate_core::steps::Ending;
use footplate_core::units::Watts;
use footplate_device::{Machine, SimBoard};
use footplate_run::ErrorKind;
use footplate_run::ModeRequest;
use footplate_run::mode_request::{GoalRequest, JobSize};
use footplate_run::run::FinishedRun;
use footplate_run::run_machine::{JobOnBoard, RunMachine, simulated_board};
use footplate_run::tuned_run::{AfterTune, Tuning};

use super::fake::Fate;
use super::{Place, has_profiles, warnings};

/// Enough for a search and a few looks.
const STEPS: u64 = 2000;

struct Tuned {
    place: Place,
    board: SimBoard,
    before: PowerMode,
}

impl Tuned {
    fn new() -> Self {
        let board = simulated_board("tx2", 0).unwrap();
        let before = present(&board);
        Self { place: Place::new(), board, before }
    }

    fn mode(&self, power_max_w: f64, after: AfterTune, changes: &[&str]) -> (Tuning, RunMachine) {
        let goal = GoalRequest { power_max: Some(Watts(power_max_w)), ..GoalRequest::default() };
        let size = JobSize { steps_per_epoch: 10, steps: STEPS };
        let earlier = self.place.folder.last_choice().unwrap();
        let request = ModeRequest { goal, ..ModeRequest::default() };
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        let job = JobOnBoard { model: "resnet18", batch_size: 16, seed: 0 };
        let machine = RunMachine::stand_in(&self.board, &changes, job).unwrap();
        (Tuning { request, size, seed: 0, earlier, after }, machine)
    }

    fn run(&self, fate: Fate, mode: (Tuning, RunMachine)) -> FinishedRun {
        self.place.run(fate, Some(mode)).unwrap()
    }

    fn train(&self, power_max_w: f64, changes: &[&str]) -> FinishedRun {
        let fate = Fate { steps: STEPS, ..Fate::default() };
        self.run(fate, self.mode(power_max_w, AfterTune::Train, changes))
    }

    fn is_as_before(&self) -> bool {
        present(&self.board) == self.before
    }
}

/// The mode that a board is in, as another program would read it.
fn present(board: &SimBoard) -> PowerMode {
    Machine::simulated(board).control().present().unwrap()
}

fn tunes(log: &[Record]) -> Vec<&TuneRecord> {
    log.iter()
        .filter_map(|record| match record {
            Record::Tune(tune) => Some(tune),
            _ => None,
        })
        .collect()
}

/// Why modes were set, without repeats.
fn purposes(log: &[Record]) -> Vec<ModePurpose> {
    let mut purposes: Vec<ModePurpose> = log
        .iter()
        .filter_map(|record| match record {
            Record::Mode(mode) => Some(mode.purpose),
            _ => None,
        })
        .collect();
    purposes.dedup();
    purposes
}

#[test]
fn a_mode_is_chosen_on_the_first_steps_trained_in_and_put_back() {
    let tuned = Tuned::new();
    let finished = tuned.train(8.0, &[]);
    assert!(finished.mode_error.is_none(), "{:?}", finished.mode_error);
    assert_eq!(finished.ended.unwrap().steps, STEPS);
    let log = tuned.place.log();
    assert_eq!(purposes(&log), [ModePurpose::Profile, ModePurpose::Train, ModePurpose::Restore]);
    let [tune] = tunes(&log)[..] else { panic!("{:?}", tunes(&log)) };
    assert!(tune.verified && tune.simulated && tune.power_max_w == Some(8.0));
    let report = finished.report.unwrap();
    let choice = &tune.points[tune.choice.unwrap()];
    assert_eq!(report.tuned.chosen().map(|setting| setting.mode), Some(choice.mode));
    let profiles = log.iter().filter(|record| matches!(record, Record::Profile(_))).count();
    assert_eq!(profiles, report.records.len());
    assert!(warnings(&log).iter().any(|text| text.contains("the machine is not")), "{:?}", warnings(&log));
    assert!(has_profiles(tuned.place.folder.path()));
    assert!(tuned.is_as_before());
}

#[test]
fn what_was_chosen_once_holds_for_the_rest_of_the_run() {
    let tuned = Tuned::new();
    let stop = AfterTune::Stop { keep: false };
    let fate = Fate { steps: STEPS, ..Fate::default() };
    let first = tuned.run(fate, tuned.mode(8.0, stop, &[]));
    let end = first.ended.unwrap();
    assert_eq!(end.ending, Ending::Interrupted);
    assert!(end.steps < STEPS && tuned.is_as_before());
    let chosen = first.report.unwrap().tuned.chosen().unwrap();
    let before = tuned.place.log().len();
    tuned.train(8.0, &[]);
    let log = tuned.place.log().split_off(before);
    assert_eq!(purposes(&log), [ModePurpose::Train, ModePurpose::Restore]);
    let set = log.iter().find_map(|record| match record {
        Record::Mode(mode) => Some(mode.asked),
        _ => None,
    });
    assert_eq!(set, Some(chosen.mode));
    assert!(!log.iter().any(|record| matches!(record, Record::Profile(_) | Record::Tune(_))));
}

#[test]
fn a_choice_that_is_kept_stays_set() {
    let tuned = Tuned::new();
    let fate = Fate { steps: STEPS, ..Fate::default() };
    let finished = tuned.run(fate, tuned.mode(8.0, AfterTune::Stop { keep: true }, &[]));
    let chosen = finished.report.unwrap().tuned.chosen().unwrap();
    assert_eq!(present(&tuned.board), chosen.mode);
    assert!(!tuned.is_as_before());
}

#[test]
fn limits_that_no_mode_holds_end_the_run_with_what_would_do() {
    let tuned = Tuned::new();
    let finished = tuned.train(0.5, &[]);
    let error = finished.mode_error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Infeasible);
    assert!(error.to_string().contains("a budget that would do"), "{error}");
    assert_eq!(finished.ended.unwrap().ending, Ending::Interrupted);
    assert!(finished.report.unwrap().tuned.chosen().is_none());
    assert!(tuned.is_as_before());
}

#[test]
fn a_machine_that_changes_under_the_run_gets_a_new_plan() {
    let tuned = Tuned::new();
    let finished = tuned.train(8.0, &["power=1.3@20s"]);
    assert!(finished.mode_error.is_none(), "{:?}", finished.mode_error);
    let log = tuned.place.log();
    let plans = tunes(&log);
    assert!(plans.len() > 1, "no new plan: {:?}", warnings(&log));
    let message = plans[1].message.as_deref().unwrap();
    assert!(message.starts_with("a new plan: the power is"), "{message}");
    assert!(tuned.is_as_before());
}

#[test]
fn a_job_that_ends_before_a_mode_is_measured_is_no_failure_of_the_mode() {
    let tuned = Tuned::new();
    let finished = tuned.run(Fate { steps: 1, ..Fate::default() }, tuned.mode(8.0, AfterTune::Train, &[]));
    assert!(finished.mode_error.is_none(), "{:?}", finished.mode_error);
    assert!(finished.report.is_none());
    assert_eq!(finished.ended.unwrap().ending, Ending::Completed);
    let log = tuned.place.log();
    assert!(
        warnings(&log).contains(&"the run ended before a mode could be measured"),
        "{:?}",
        warnings(&log)
    );
    assert!(tuned.is_as_before());
}

/// Whichever step fails or is the last before the user's stop, the mode of before is back and the steps' own end is told.
#[test]
fn whenever_the_steps_end_the_mode_of_before_is_back() {
    let whole = Fate { steps: STEPS, ..Fate::default() };
    for step in [0, 1, 3, 8, 40, 400, 1500] {
        let tuned = Tuned::new();
        let fate = Fate { fails_at: Some(step), ..whole };
        let finished = tuned.run(fate, tuned.mode(8.0, AfterTune::Train, &[]));
        assert_eq!(finished.ended.unwrap_err().to_string(), "the device is gone", "step {step}");
        assert!(tuned.is_as_before(), "step {step} failed");

        let tuned = Tuned::new();
        let fate = Fate { stopped_at: Some(step), ..whole };
        let finished = tuned.run(fate, tuned.mode(8.0, AfterTune::Train, &[]));
        assert_eq!(finished.ended.unwrap().ending, Ending::Interrupted, "step {step}");
        let interrupted = finished.mode_error.is_none_or(|error| error.kind() == ErrorKind::Interrupted);
        assert!(interrupted && tuned.is_as_before(), "stopped at step {step}");
    }
}

#[test]
fn a_goal_that_makes_no_sense_is_refused_before_anything_is_set() {
    let tuned = Tuned::new();
    let finished = tuned.train(f64::NAN, &[]);
    assert_eq!(finished.mode_error.unwrap().kind(), ErrorKind::Usage);
    assert!(purposes(&tuned.place.log()).is_empty());
}
