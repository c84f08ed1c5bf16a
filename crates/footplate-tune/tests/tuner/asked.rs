//! The tuner as a loop of its own asks it: no port, another thread, wrong answers, and a holder that is lost.

use std::sync::mpsc;
use std::thread;

use footplate_core::Reading;
use footplate_core::ports::{Applied, ControlError, Recovery, WindowReading, WorkError, WorkStep};
use footplate_tune::Setting;
use footplate_tune::plan::SearchOptions;
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::tuner::{Answer, AnswerError, Ask, NotKept, Purpose, TuneError, TuneOptions, Tuner};
use proptest::prelude::*;

use crate::common::steady;
use crate::formula::{truth, under};
use crate::own_loop::{AGES_NS, OwnLoop, STEPS, tuner};
use crate::settings::few;

/// The fastest of the few modes that draws at most this.
fn best(power_w: f64) -> Option<Setting> {
    let allowed = few().into_iter().filter(|setting| truth(&setting.mode).1 <= power_w);
    allowed.min_by(|a, b| truth(&a.mode).0.total_cmp(&truth(&b.mode).0))
}

#[test]
fn a_loop_without_ports_is_tuned_trained_and_planned_anew() {
    let mut job = OwnLoop { ages_at_ns: AGES_NS, ..OwnLoop::new(STEPS) };
    let mut first = None;
    let result = job.follow(&mut tuner(), |job, _| first = first.or(job.choice()));
    assert_eq!(result, Ok(()));
    assert_eq!(job.steps_left, 0, "the job was not trained to its end");
    let (first, last) = (first.unwrap(), job.choice().unwrap());
    assert!(truth(&first.mode).0 <= 1.02 * truth(&best(9.0).unwrap().mode).0, "{first}");
    assert!(1.25 * truth(&last.mode).1 <= 9.0, "{last} draws too much on the aged machine");
    assert_eq!(job.mode, last.mode, "the choice is not set at the end");
    assert!(job.warnings.iter().any(|w| w.contains("planning anew")), "{:?}", job.warnings);
    assert_eq!(job.chosen, 2, "{:?}", job.warnings);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of a tuner on a thread of its own")]
fn a_tuner_on_another_thread_makes_the_same_choices() {
    let mut near = OwnLoop { ages_at_ns: AGES_NS, ..OwnLoop::new(STEPS) };
    near.follow(&mut tuner(), |_, _| {}).unwrap();

    let (asks, asked) = mpsc::channel();
    let (answers, answered) = mpsc::channel::<(u64, Answer)>();
    let far = thread::spawn(move || {
        let (mut tuner, mut now_ns) = (tuner(), 0);
        loop {
            let ask = tuner.next(now_ns);
            let is_done = matches!(ask, Ask::Done(_));
            asks.send(ask).unwrap();
            if is_done {
                return;
            }
            let (then_ns, answer) = answered.recv().unwrap();
            now_ns = then_ns;
            tuner.answer(answer).unwrap();
        }
    });
    let mut job = OwnLoop { ages_at_ns: AGES_NS, ..OwnLoop::new(STEPS) };
    for ask in asked {
        if let Ask::Done(result) = ask {
            assert_eq!(result, Ok(()));
            break;
        }
        let answer = job.answer(&ask);
        answers.send((job.now_ns, answer)).unwrap();
    }
    far.join().unwrap();
    assert_eq!(job.records, near.records);
    assert_eq!((job.choice(), job.mode, job.now_ns), (near.choice(), near.mode, near.now_ns));
}

/// The tuner is lost at each ask in turn, and one made anew is told what was kept: all come to the same end.
#[test]
fn a_tuner_made_anew_from_the_records_comes_to_the_same_choice() {
    let mut whole = OwnLoop { ages_at_ns: AGES_NS, ..OwnLoop::new(STEPS) };
    let mut cuts = Vec::new();
    let result = whole.follow(&mut tuner(), |job, ask| cuts.push((job.clone(), ask.name())));
    assert_eq!((result, whole.chosen), (Ok(()), 2));
    assert!(cuts.len() > 60, "{} asks", cuts.len());
    for (number, (mut job, name)) in cuts.into_iter().enumerate() {
        let mut anew = tuner();
        match job.choice {
            Some((setting, expected, count)) => {
                anew.resume_choice(setting, expected);
                anew.resume_measured(job.records.iter().take(count).map(|r| r.0.clone()));
            }
            None => {
                for (record, purpose) in job.records.clone() {
                    anew.resume(record, purpose == Purpose::Search);
                }
            }
        }
        assert_eq!(job.follow(&mut anew, |_, _| {}), Ok(()), "cut at ask {number}, {name}");
        assert_eq!(job.choice(), whole.choice(), "cut at ask {number}, {name}");
    }
}

#[test]
fn an_ask_stands_until_it_is_answered_and_an_answer_must_fit_it() {
    let mut tuner = tuner();
    assert_eq!(tuner.answer(Answer::Done), Err(AnswerError::NothingAsked));
    let (mut job, mut kinds) = (OwnLoop::new(500), std::collections::BTreeSet::new());
    loop {
        let ask = tuner.next(job.now_ns);
        kinds.insert(ask.name());
        assert_eq!(format!("{:?}", tuner.next(u64::MAX)), format!("{ask:?}"), "asked twice");
        let answers = [
            Answer::Applied(Err(error(Recovery::NextMode))),
            Answer::Steps(Ok(Vec::new())),
            Answer::Window(job.window(0, 1)),
            Answer::Done,
            Answer::NotKept(NotKept { reason: "full".into() }),
        ];
        let fits: &[&str] = match ask {
            Ask::Apply { .. } => &["Applied"],
            Ask::Steps { .. } | Ask::Train { .. } => &["Steps"],
            Ask::Window { .. } => &["Window"],
            Ask::Keep { .. } => &["Done", "NotKept"],
            Ask::Wait { .. } | Ask::SetWorkers(_) | Ask::Chosen { .. } | Ask::Warn(_) => &["Done"],
            Ask::Done(_) => &[],
        };
        for wrong in answers.into_iter().filter(|answer| !fits.contains(&answer.name())) {
            let error = match ask {
                Ask::Done(_) => AnswerError::Ended,
                _ => AnswerError::Unexpected { ask: ask.name(), answer: wrong.name() },
            };
            assert_eq!(tuner.answer(wrong), Err(error));
        }
        if let Ask::Done(result) = ask {
            assert_eq!(result, Ok(()));
            break;
        }
        let answer = job.answer(&ask);
        assert_eq!(tuner.answer(answer), Ok(()));
    }
    let all = ["Apply", "Chosen", "Done", "Keep", "Steps", "Train", "Wait", "Warn", "Window"];
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        all.into_iter().filter(|k| *k != "Warn").collect::<Vec<_>>()
    );
}

#[test]
fn without_a_setting_or_an_allowance_there_is_nothing_to_choose() {
    let none = SearchOptions { profiles: 0, ..SearchOptions::default() };
    for (space, search) in [(Vec::new(), SearchOptions::default()), (few(), none)] {
        let options = TuneOptions { search, ..TuneOptions::default() };
        let mut tuner = Tuner::new(space, under(9.0), options);
        let Ask::Done(Err(error)) = tuner.next(0) else { panic!("something was asked") };
        assert!(matches!(error, TuneError::NothingToSet { .. }), "{error}");
    }
}

#[test]
fn the_time_for_measurements_is_a_bound_but_for_the_one_in_progress() {
    let profile_time_ns = Some(20_000_000_000);
    let options = TuneOptions { profile_time_ns, ..TuneOptions::default() };
    let (mut short, mut long) = (OwnLoop::new(STEPS), OwnLoop::new(STEPS));
    assert_eq!(short.follow(&mut Tuner::new(few(), under(9.0), options), |_, _| {}), Ok(()));
    assert_eq!(long.follow(&mut tuner(), |_, _| {}), Ok(()));
    assert!(short.records.len() < long.records.len());
    // All but the check of the choice began within the time.
    let began = |record: &ProfileRecord| record.t_ns - record.duration_ns;
    let late = short.records.iter().filter(|(record, _)| began(record) > 20_000_000_000);
    assert!(late.clone().all(|(_, purpose)| *purpose == Purpose::Verify) && late.count() <= 4);
    assert!(short.choice().is_some_and(|setting| truth(&setting.mode).1 <= 9.0));
}

fn error(recovery: Recovery) -> ControlError {
    ControlError { recovery, permission: false, message: "refused".into() }
}

/// Anything that a broken holder may say.
fn any_answer() -> impl Strategy<Value = Answer> {
    let number = prop_oneof![
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(0.0),
        Just(-1.0),
        Just(f64::MIN_POSITIVE),
        Just(f64::MAX),
        0.1f64..30.0,
    ];
    let nanoseconds = prop_oneof![Just(0), Just(1), Just(u64::MAX), 1u64..10_000_000_000];
    let step = (nanoseconds.clone(), nanoseconds.clone(), nanoseconds, any::<u32>())
        .prop_map(|(end_ns, step_ns, stall_ns, items)| WorkStep { end_ns, step_ns, stall_ns, items });
    let steps = proptest::collection::vec(step, 0..5).prop_map(|mut steps| {
        // Half of what is made up could be.
        if steps.len() % 2 == 0 {
            steps.sort_by_key(|step| step.end_ns);
        }
        steps
    });
    let applied = proptest::sample::select(few()).prop_map(|setting| {
        Answer::Applied(Ok(Applied { asked: setting.mode, got: setting.mode, warnings: vec!["odd".into()] }))
    });
    let refused = proptest::sample::select(vec![Recovery::Retry, Recovery::NextMode, Recovery::Fatal]);
    let no_steps = [WorkError::Finished, WorkError::Interrupted, WorkError::Failed("broken".into())];
    let window = (number.clone(), number.clone(), number, any::<bool>()).prop_map(
        |(power, energy, temperature, throttled)| {
            let mut total = steady(power, 0, 1_000_000_000);
            total.energy_j.0 = energy;
            Answer::Window(WindowReading {
                total: Reading::Value(total),
                rails: Vec::new(),
                temperature_c: Reading::Value(footplate_core::Celsius(temperature)),
                throttled: if throttled { vec!["hot".into()] } else { Vec::new() },
                simulated: false,
            })
        },
    );
    prop_oneof![
        applied,
        refused.prop_map(|recovery| Answer::Applied(Err(error(recovery)))),
        steps.prop_map(|steps| Answer::Steps(Ok(steps))),
        proptest::sample::select(no_steps.to_vec()).prop_map(|error| Answer::Steps(Err(error))),
        window,
        Just(Answer::Done),
        Just(Answer::NotKept(NotKept { reason: "full".into() })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Between good answers the holder says anything: what does not fit is refused and changes nothing, what fits is
    /// taken however odd it is, and the tuner neither panics nor stands still.
    #[test]
    fn any_answers_give_errors_and_never_a_panic(
        broken in proptest::collection::vec(proptest::option::weighted(0.4, any_answer()), 1..80),
    ) {
        let (mut tuner, mut job) = (tuner(), OwnLoop::new(STEPS));
        for broken in broken {
            let ask = tuner.next(job.now_ns);
            if let Some(broken) = broken {
                let taken = tuner.answer(broken);
                if taken.is_err() {
                    prop_assert_eq!(format!("{:?}", tuner.next(0)), format!("{:?}", &ask));
                } else {
                    prop_assert_eq!(tuner.answer(Answer::Done), Err(AnswerError::NothingAsked));
                    continue;
                }
            }
            if matches!(ask, Ask::Done(_)) {
                break;
            }
            let answer = job.answer(&ask);
            prop_assert_eq!(tuner.answer(answer), Ok(()));
        }
        tuner.stop();
        for _ in 0..40 {
            let ask = tuner.next(job.now_ns);
            if matches!(ask, Ask::Done(_)) {
                return Ok(());
            }
            let answer = match job.answer(&ask) {
                Answer::Steps(_) => Answer::Steps(Err(WorkError::Interrupted)),
                answer => answer,
            };
            prop_assert_eq!(tuner.answer(answer), Ok(()));
        }
        prop_assert!(false, "a tuner that is stopped goes on asking");
    }
}
