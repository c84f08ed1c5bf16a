//! New plans for a job that is no longer as it was when its mode was chosen.

use footplate_core::PowerMode;
use footplate_tune::tuner::{TuneOptions, Tuned, Tuner};

use crate::formula::{Fault, Notes, Port, best_time, chosen, drive_on, settings, truth, under};

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
