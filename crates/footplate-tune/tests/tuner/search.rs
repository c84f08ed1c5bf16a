//! The search and the predictor alone: no machine, only measurements.

use footplate_tune::Setting;
use footplate_tune::evaluate::{Metric, Options, Sampling, Truth, evaluate};
use footplate_tune::plan::{Next, Search, SearchOptions};
use footplate_tune::predict::{Measurement, Predictor};
use proptest::prelude::*;

use crate::formula::{measured, settings, space, under};

#[test]
fn evaluation_tells_errors_and_regret_of_a_table() {
    let table: Vec<Truth> = space()
        .modes()
        .iter()
        .map(|mode| Truth { setting: Setting::of(*mode), repeats: vec![measured(mode, 0.0)] })
        .collect();
    let options = Options { profiles: vec![12, 1000], seeds: 2, budgets: 3, ..Options::default() };
    let rows = evaluate("formula", &table, &options);
    assert_eq!(rows.len(), 6, "three targets, two samplings, one count that fits");
    let planned =
        |target| rows.iter().find(|r| r.target == target && r.sampling == Sampling::Planned).unwrap();
    let time = planned(Metric::Time);
    assert!(time.mape_pct_median.unwrap() < 4.0, "{time:?}");
    assert_eq!(time.limit, Some(Metric::Power));
    assert!(time.regret_pct_mean.unwrap() < 3.0, "{time:?}");
    assert_eq!(time.limit_broken_fraction, Some(0.0), "{time:?}");
    assert_eq!(rows, evaluate("formula", &table, &options), "the same seeds give the same figures");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_same_seed_gives_the_same_plan(seed in 0u64..1000, budget in 4.0f64..14.0) {
        let plan = |seed| {
            let options = SearchOptions { profiles: 7, seed, ..SearchOptions::default() };
            let mut search = Search::new(settings(), under(budget), options);
            let mut asked = Vec::new();
            while let Next::Profile(setting) = search.next() {
                asked.push(setting);
                search.record(measured(&setting.mode, 0.01));
            }
            asked
        };
        prop_assert_eq!(plan(seed), plan(seed));
    }

    #[test]
    fn a_further_record_never_takes_a_verified_mode_away(
        picks in proptest::collection::vec(0usize..486, 3..10),
        budget in 3.0f64..14.0,
    ) {
        let modes = space();
        let mut search = Search::new(settings(), under(budget), SearchOptions::default());
        let mut best: Option<f64> = None;
        for pick in picks {
            search.record(measured(&modes.modes()[pick % modes.modes().len()], 0.01));
            let now = search.outlook().verified.map(|choice| choice.objective.value);
            if let Some(before) = best {
                // It may only give way to a better one, or to one as good that draws less.
                prop_assert!(now.is_some_and(|now| now <= before * 1.0051), "{before} to {now:?}");
            }
            best = now;
        }
    }

    #[test]
    fn any_measurements_give_finite_predictions(
        values in proptest::collection::vec((0usize..486, 1e-6f64..1e6, 1e-3f64..1e4), 0..9),
    ) {
        let modes = space();
        let all = settings();
        let knobs = footplate_tune::Knobs::of(&all);
        let measured: Vec<Measurement> = values
            .iter()
            .map(|(pick, time, power)| Measurement {
                setting: Setting::of(modes.modes()[pick % modes.modes().len()]),
                time_s: Some(*time),
                power_w: Some(*power),
                time_error: 0.0,
                power_error: 0.0,
                stall_share: None,
            })
            .collect();
        for prediction in Predictor::fit(&knobs, &measured).predict(&all) {
            for estimate in [prediction.time_s, prediction.power_w, prediction.energy_j].into_iter().flatten() {
                prop_assert!(estimate.value.is_finite() && estimate.value > 0.0, "{estimate:?}");
                prop_assert!(estimate.log_sd.is_finite() && estimate.log_sd >= 0.0, "{estimate:?}");
            }
        }
    }
}
