//! New plans for a job that is no longer as it was when its mode was chosen.

use footplate_core::PowerMode;
use footplate_core::ports::{ControlError, Recovery, WorkError};
use footplate_tune::Setting;
use footplate_tune::drift::REPLANS_MAX;
use footplate_tune::predict::{Estimate, Prediction};
use footplate_tune::tuner::{Answer, Ask, TuneError, TuneOptions, Tuned, Tuner};

use crate::formula::{Fault, Notes, Port, best_time, chosen, drive_on, settings, truth, under};
use crate::own_loop::{AGES_NS, OwnLoop, STEPS, tuner};
use crate::settings::few;

/// The choice of a tune under 9 W and, after `change` has come over the machine, that of the new plan.
#[expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
fn replan(port: &Port, notes: &mut Notes, change: impl Fn()) -> (PowerMode, Tuned) {
    let mut tuner = Tuner::new(settings(), under(9.0), TuneOptions::default());
    let present = chosen(&drive_on(&mut tuner, port, &mut Notes::default()).unwrap());
    change();
    (present, drive_on(&mut tuner, port, notes).unwrap())
}

#[test]
fn a_new_plan_follows_a_power_that_has_risen_and_is_short() {
    let port = Port::new(Fault::Nothing, u64::MAX);
    let mut notes = Notes::default();
    let (present, tuned) = replan(&port, &mut notes, || port.0.drift.set(1.25));
    assert!(1.25 * truth(&present).1 > 9.0, "nothing was to be planned anew");
    let (time, power) = truth(&chosen(&tuned));
    assert!(1.25 * power <= 9.0, "{} W", 1.25 * power);
    // Three measurements, and records that may be believed by half: 8.4 % above the best was seen.
    assert!(time <= 1.10 * best_time(9.0 / 1.25), "{time} s, best {}", best_time(9.0 / 1.25));
    assert!(notes.records.len() <= 3 + 1 + 8, "{} measurements", notes.records.len());
    assert!(notes.warnings[0].contains("planning anew"), "{:?}", notes.warnings);
}

#[test]
fn a_new_plan_without_cause_keeps_the_mode() {
    let port = Port::new(Fault::Nothing, u64::MAX);
    // The looks show what a measurement does not.
    let (present, tuned) = replan(&port, &mut Notes::default(), || port.0.alarm.set(1.1));
    assert!(truth(&chosen(&tuned)).0 >= 0.98 * truth(&present).0 || chosen(&tuned) == present);
}

#[test]
fn a_mode_that_throttles_is_left_for_one_that_draws_less() {
    let port = Port::new(Fault::Nothing, u64::MAX);
    let (present, tuned) =
        replan(&port, &mut Notes::default(), || port.0.fault.set(Fault::ThrottlesAbove(7.5)));
    assert!(truth(&present).1 > 7.5);
    assert_ne!(chosen(&tuned), present);
    assert!(truth(&chosen(&tuned)).1 <= 7.5, "{} W", truth(&chosen(&tuned)).1);
}

/// A tuner that takes over `setting` as the choice, with what it truly takes and draws as expected, in `space`.
fn watching(setting: Setting, space: Vec<Setting>) -> Tuner {
    let mut tuner = Tuner::new(space, under(9.0), TuneOptions::default());
    let exact = |value| Some(Estimate { value, log_sd: 0.0 });
    let (time, power) = truth(&setting.mode);
    let expected = Prediction { time_s: exact(time), power_w: exact(power), energy_j: exact(time * power) };
    tuner.resume_choice(setting, expected);
    tuner
}

/// The few modes' slowest, which draws least.
fn least() -> Setting {
    let mut few = few();
    few.sort_by(|a, b| truth(&a.mode).1.total_cmp(&truth(&b.mode).1));
    few[0]
}

#[test]
fn a_choice_that_is_taken_over_is_set_and_trained_in_to_the_end() {
    let mut job = OwnLoop::new(300);
    let mut asked = Vec::new();
    let result = job.follow(&mut watching(least(), few()), |_, ask| asked.push(ask.name()));
    assert_eq!(result, Ok(()));
    assert_eq!((job.mode, job.steps_left, job.records.len()), (least().mode, 0, 0));
    assert_eq!(asked[..3], ["Apply", "Train", "Window"]);
}

#[test]
fn with_one_mode_a_change_is_told_once_and_becomes_what_is_expected() {
    let mut job = OwnLoop { ages_at_ns: 30_000_000_000, ..OwnLoop::new(1500) };
    assert_eq!(job.follow(&mut watching(least(), vec![least()]), |_, _| {}), Ok(()));
    assert_eq!(job.warnings.len(), 1, "{:?}", job.warnings);
    assert!(job.warnings[0].contains("there is no other mode to choose"), "{:?}", job.warnings);
}

#[test]
fn a_job_whose_limits_no_mode_holds_any_more_goes_on_in_its_mode() {
    // Even the least mode draws more than the budget now.
    let budget = 1.1 * truth(&least().mode).1;
    let mut job = OwnLoop { ages_at_ns: AGES_NS, ..OwnLoop::new(STEPS) };
    let mut tuner = Tuner::new(few(), under(budget), TuneOptions::default());
    assert_eq!(job.follow(&mut tuner, |_, _| {}), Ok(()));
    assert!(job.chosen >= 2, "no new plan was made");
    let told = job.warnings.iter().find(|w| w.ends_with("the mode stays")).expect("not told");
    assert!(told.contains("no mode holds the limits; the closest is"), "{told}");
    assert_eq!((job.steps_left, Some(job.mode)), (0, job.choice().map(|setting| setting.mode)));
}

#[test]
fn a_first_search_without_a_choice_ends_as_infeasible() {
    let mut job = OwnLoop::new(STEPS);
    let mut tuner = Tuner::new(few(), under(1.0), TuneOptions::default());
    assert_eq!(job.follow(&mut tuner, |_, _| {}), Err(TuneError::Infeasible));
    assert_eq!((job.chosen, job.choice), (1, None));
}

#[test]
fn a_job_that_ends_while_it_is_planned_anew_has_ended_well() {
    let mut whole = OwnLoop { ages_at_ns: AGES_NS, ..OwnLoop::new(STEPS) };
    let mut left = Vec::new();
    let result = whole.follow(&mut tuner(), |job, ask| left.push((job.steps_left, job.chosen, ask.name())));
    assert_eq!(result, Ok(()));
    let (from, _) = left.iter().enumerate().find(|(_, l)| l.1 == 1 && l.2 == "Train").expect("never trained");
    let replan = left[from..].iter().filter(|l| l.1 == 1 && l.2 == "Steps").map(|l| l.0);
    for end in replan {
        let mut job = OwnLoop { ages_at_ns: AGES_NS, ..OwnLoop::new(STEPS - end) };
        assert_eq!(job.follow(&mut tuner(), |_, _| {}), Ok(()), "with {} steps", STEPS - end);
        assert_eq!(job.steps_left, 0);
    }
}

/// The answers of a loop, but for asks of one kind once it trains.
fn follow_but(
    job: &mut OwnLoop,
    tuner: &mut Tuner,
    mut odd: impl FnMut(&Ask) -> Option<Answer>,
) -> Result<(), TuneError> {
    loop {
        let ask = tuner.next(job.now_ns);
        if let Ask::Done(result) = ask {
            return result;
        }
        let answer = odd(&ask).unwrap_or_else(|| job.answer(&ask));
        assert_eq!(tuner.answer(answer), Ok(()));
    }
}

#[test]
fn a_choice_that_cannot_be_set_is_an_error_of_its_own() {
    let error = ControlError { recovery: Recovery::Fatal, permission: true, message: "read-only".into() };
    let refuse = |ask: &Ask| {
        let is_apply = matches!(ask, Ask::Apply { .. });
        is_apply.then(|| Answer::Applied(Err(error.clone())))
    };
    let end = follow_but(&mut OwnLoop::new(100), &mut watching(least(), few()), refuse);
    assert_eq!(end, Err(TuneError::ChoiceNotSet(error.clone())));
    assert_eq!(end.unwrap_err().to_string(), "the chosen mode cannot be set: read-only");
}

#[test]
fn whatever_ends_the_job_ends_the_conversation_without_an_error() {
    for error in [WorkError::Finished, WorkError::Interrupted, WorkError::Failed("lost".into())] {
        let gone = |ask: &Ask| {
            let trains = matches!(ask, Ask::Train { .. });
            trains.then(|| Answer::Steps(Err(error.clone())))
        };
        assert_eq!(follow_but(&mut OwnLoop::new(100), &mut watching(least(), few()), gone), Ok(()));
    }
}

#[test]
fn new_plans_are_bounded_and_the_end_of_them_is_told_once() {
    // Windows of training swing between two powers, each for some looks; measurements show neither.
    let mut job = OwnLoop::new(60_000);
    let (mut looks, mut trains) = (0, false);
    let (mode, few) = (least(), few());
    let mut tuner = watching(mode, few);
    let end = loop {
        let ask = tuner.next(job.now_ns);
        if let Ask::Done(result) = ask {
            break result;
        }
        trains = matches!(ask, Ask::Train { .. }) || (trains && matches!(ask, Ask::Window { .. }));
        let mut answer = job.answer(&ask);
        if let (true, Answer::Window(reading)) = (trains, &mut answer) {
            looks += 1;
            let factor = if looks / 20 % 2 == 0 { 0.5 } else { 1.0 };
            reading.total = reading.total.clone().map(|mut total| {
                total.mean_power_w.0 *= factor;
                total
            });
        }
        assert_eq!(tuner.answer(answer), Ok(()));
    };
    assert_eq!((end, job.steps_left), (Ok(()), 0));
    let told = |part: &str| job.warnings.iter().filter(|w| w.contains(part)).count();
    assert_eq!(
        (told("planning anew"), told("made already")),
        (REPLANS_MAX as usize, 1),
        "{:?}",
        job.warnings
    );
}
