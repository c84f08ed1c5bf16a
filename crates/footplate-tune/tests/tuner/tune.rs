//! Searches and whole tunes on a machine that is a formula, with what goes wrong on real ones.

use footplate_core::Hertz;
use footplate_core::ports::{PowerMeter, WindowReading};
use footplate_tune::drift::{DriftCheck, Verdict};
use footplate_tune::drive::{Ports, drive_to_choice};
use footplate_tune::goal::{Goal, Limits};
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::tuner::{Outcome, Purpose, TuneError, TuneOptions, Tuner};

use crate::formula::{Fault, Notes, Port, best_time, chosen, settings, space, truth, tune, under};

#[test]
fn a_tune_ends_near_the_true_best_within_the_limit() {
    for budget in [4.0, 6.0, 9.0, 14.0] {
        let port = Port::new(Fault::Nothing, u64::MAX);
        let mut notes = Notes::default();
        let tuned = tune(&port, under(budget), &mut notes, &[]).unwrap();
        let (time, power) = truth(&chosen(&tuned));
        assert!(power <= budget, "{power} W of {budget} W");
        assert!(time <= 1.02 * best_time(budget), "{budget} W: {time} s, best {}", best_time(budget));
        assert!(matches!(tuned.outcome, Outcome::Chosen { verified: true, .. }));
        assert!(tuned.profiles <= 12);
        assert!(notes.warnings.is_empty(), "{:?}", notes.warnings);
    }
}

#[test]
fn an_impossible_budget_is_refused_with_one_that_would_do() {
    let mut notes = Notes::default();
    let tuned = tune(&Port::new(Fault::Nothing, u64::MAX), under(2.0), &mut notes, &[]).unwrap();
    let Outcome::Infeasible(refusal) = &tuned.outcome else { panic!("chosen") };
    let closest = tuned.outlook.candidates[refusal.closest.unwrap()].setting.mode;
    let least = space().modes().iter().map(|m| truth(m).1).fold(f64::INFINITY, f64::min);
    assert!(truth(&closest).1 < 1.1 * least);
    let would = refusal.would_do.power_w.unwrap();
    assert!(would > least && would < 1.3 * least, "{would} W would do, {least} W is least");
    // And it does.
    let tuned = tune(&Port::new(Fault::Nothing, u64::MAX), under(would), &mut notes, &[]).unwrap();
    assert!(truth(&chosen(&tuned)).1 <= would);
}

#[test]
fn without_a_sensor_time_can_be_tuned_and_power_is_refused() {
    let port = Port::new(Fault::NoSensor, u64::MAX);
    let refused = tune(&port, under(9.0), &mut Notes::default(), &[]);
    assert!(matches!(refused, Err(TuneError::NoPower { .. })), "{refused:?}");
    let goal = Goal { limits: Limits::default(), ..under(9.0) };
    let tuned = tune(&port, goal, &mut Notes::default(), &[]).unwrap();
    assert!(truth(&chosen(&tuned)).0 <= 1.02 * best_time(f64::INFINITY));
    assert!(tuned.outlook.candidates[0].prediction.power_w.is_none());
}

#[test]
fn faults_are_told_and_kept_out_of_the_decision() {
    let mut notes = Notes::default();
    let stuck = Hertz(700_000_000);
    let tuned = tune(&Port::new(Fault::StuckAbove(stuck), u64::MAX), under(14.0), &mut notes, &[]).unwrap();
    assert!(chosen(&tuned).gpu_hz <= Some(stuck));
    assert!(notes.warnings.iter().any(|w| w.contains("was not taken")), "{:?}", notes.warnings);

    let mut notes = Notes::default();
    let goal = Goal { limits: Limits::default(), ..under(1.0) };
    let tuned = tune(&Port::new(Fault::ThrottlesAbove(9.0), u64::MAX), goal, &mut notes, &[]).unwrap();
    assert!(truth(&chosen(&tuned)).1 <= 9.0);
    assert!(notes.warnings.iter().any(|w| w.contains("throttled")), "{:?}", notes.warnings);

    let largest = *space().modes().last().unwrap();
    let mut notes = Notes::default();
    let tuned = tune(&Port::new(Fault::Refuses(largest), u64::MAX), under(9.0), &mut notes, &[]).unwrap();
    assert_ne!(chosen(&tuned), largest);
    assert_eq!(notes.warnings.len(), 1, "{:?}", notes.warnings);

    let refused = tune(&Port::new(Fault::NoPermission, u64::MAX), under(9.0), &mut Notes::default(), &[]);
    assert!(matches!(refused, Err(TuneError::Profile(_) | TuneError::NothingToSet { .. })), "{refused:?}");
}

#[test]
fn a_temperature_limit_holds_in_all_that_was_seen() {
    let goal = Goal { limits: Limits { temperature_c: Some(38.0), ..Limits::default() }, ..under(1.0) };
    let tuned = tune(&Port::new(Fault::Nothing, u64::MAX), goal, &mut Notes::default(), &[]).unwrap();
    assert!(30.0 + truth(&chosen(&tuned)).1 <= 38.0);
}

#[test]
fn an_interrupted_tune_goes_on_from_its_records() {
    let mut notes = Notes { stop_after: Some(5), ..Notes::default() };
    let stopped = tune(&Port::new(Fault::Nothing, u64::MAX), under(9.0), &mut notes, &[]);
    assert_eq!(stopped.unwrap_err(), TuneError::Interrupted { profiles: 5 });
    let earlier: Vec<ProfileRecord> = notes.records.iter().map(|r| r.0.clone()).collect();
    let mut rest = Notes::default();
    let tuned = tune(&Port::new(Fault::Nothing, u64::MAX), under(9.0), &mut rest, &earlier).unwrap();
    let searched = rest.records.iter().filter(|r| r.1 == Purpose::Search).count();
    assert!(searched <= 7, "{searched} more");
    assert!(truth(&chosen(&tuned)).0 <= 1.03 * best_time(9.0));
}

#[test]
fn a_job_that_ends_early_still_gives_a_choice() {
    let mut notes = Notes::default();
    let tuned = tune(&Port::new(Fault::Nothing, 150), under(9.0), &mut notes, &[]).unwrap();
    assert!(notes.warnings.iter().any(|w| w.contains("ended")), "{:?}", notes.warnings);
    assert!(matches!(tuned.outcome, Outcome::Chosen { verified: false, .. } | Outcome::Infeasible(_)));
}

#[test]
fn a_look_asks_for_a_new_plan_only_when_it_should() {
    let port = Port::new(Fault::Nothing, u64::MAX);
    let tuned = tune(&port, under(9.0), &mut Notes::default(), &[]).unwrap();
    let Outcome::Chosen { choice, .. } = tuned.outcome else { panic!("no choice") };
    let check = DriftCheck::new(tuned.outlook.candidates[choice.index].prediction);
    let (time, power) = truth(&chosen(&tuned));
    assert_eq!(check.look(time, Some(power), false), Verdict::AsPredicted);
    assert!(matches!(check.look(1.4 * time, Some(power), false), Verdict::Time(f) if (f - 1.4).abs() < 0.05));
    assert!(matches!(check.look(time, Some(1.3 * power), false), Verdict::Power(_)));
    assert_eq!(check.look(time, Some(power), true), Verdict::Throttled);
    assert_eq!(check.look(time, None, false), Verdict::AsPredicted);
}

/// Each second look draws more than the first: the choice that breaks its limit is given up, and that is said.
#[test]
fn a_choice_that_a_second_look_takes_away_is_told() {
    struct Rising(Port);
    impl PowerMeter for Rising {
        fn window(&mut self, from_ns: u64, to_ns: u64) -> WindowReading {
            let reading = self.0.window(from_ns, to_ns);
            // From the moment of the verification on, everything draws a fifth more.
            if to_ns - from_ns > 5_900_000_000 {
                self.0.0.drift.set(1.2);
                return self.0.window(from_ns, to_ns);
            }
            reading
        }

        fn least_window_ns(&self) -> Option<u64> {
            self.0.least_window_ns()
        }
    }
    let port = Port::new(Fault::Nothing, u64::MAX);
    let (mut control, mut meter, mut workload) = (port.clone(), Rising(port.clone()), port.clone());
    let clock = &port.0.clock;
    let mut ports = Ports { control: &mut control, meter: &mut meter, workload: &mut workload, clock };
    let mut notes = Notes::default();
    let mut tuner = Tuner::new(settings(), under(9.0), TuneOptions::default());
    let tuned = drive_to_choice(&mut tuner, &mut ports, &mut notes).unwrap();
    assert!(notes.warnings.iter().any(|w| w.contains("no longer the choice")), "{:?}", notes.warnings);
    assert!(chosen(&tuned) != notes.records[0].0.setting.mode);
}
