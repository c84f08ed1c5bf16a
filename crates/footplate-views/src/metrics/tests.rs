use std::collections::BTreeSet;

use footplate_core::record::{
    ClockState, LoaderRecord, MachineRecord, MinibatchRecord, PowerRecord, RunStart, TuneRecord,
};
use footplate_core::{Bytes, Celsius, Hertz, Record, Watts};
use proptest::prelude::*;

use super::*;
use crate::testing::{self, HOSTILE};

fn start(model: &str) -> Record {
    Record::RunStart(RunStart {
        model: model.into(),
        data: "64 images".into(),
        validation_items: 320,
        steps_per_epoch: 50,
        steps_total: 100,
        ..testing::start()
    })
}

fn step() -> Record {
    Record::Minibatch(MinibatchRecord {
        t_ns: 1_000_000_000,
        epoch: 0,
        step: 0,
        items: 32,
        fetch_ns: 1,
        prep_ns: 1,
        transfer_ns: 0,
        stall_ns: 250_000_000,
        compute_ns: 700_000_000,
        step_ns: 1_000_000_000,
        learning_rate: 0.1,
        loss: Some(2.0),
        synced: true,
        copied_bytes: None,
        ingest_ns: None,
    })
}

fn machine() -> Vec<Record> {
    fn denied<T>() -> Reading<T> {
        Reading::unreadable("permission denied")
    }
    vec![
        Record::Power(PowerRecord {
            t_ns: 2_000_000_000,
            span_ns: 2_000_000_000,
            total_w: Reading::Value(Watts(7.5)),
            rails: vec![
                ("VDD_IN".into(), Reading::Value(Watts(7.5))),
                ("VDD_SOC".into(), denied()),
                ("VDD_CV".into(), Reading::Value(Watts(0.0))),
            ],
            temperature_c: Reading::Absent,
            throttled: Vec::new(),
            simulated: true,
        }),
        Record::Machine(MachineRecord {
            t_ns: 2_000_000_000,
            cpu_cores: Reading::Value(6),
            clocks: vec![ClockState {
                label: "GPU".into(),
                asked_hz: Reading::Value(Hertz(624_750_000)),
                got_hz: denied(),
            }],
            trip_c: Reading::Value(Celsius(97.0)),
            trip_distance_c: Reading::Value(Celsius(42.5)),
            memory_bytes: Reading::Value(Bytes(600)),
            simulated: true,
        }),
    ]
}

fn page(records: impl IntoIterator<Item = Record>) -> String {
    let mut state = LiveState::default();
    for record in records {
        state.push(&record);
    }
    text(&state, 0.5)
}

/// The rules of the text format that a scrape depends on, for each line.
pub(crate) fn check(page: &str) {
    assert!(page.is_empty() || page.ends_with('\n'));
    let mut family = "";
    let mut seen = Vec::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap();
            assert!(!seen.contains(&family), "{family} twice");
            seen.push(family);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(name.split('{').next().unwrap(), family, "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(family.starts_with("footplate_"));
        }
    }
}

#[test]
fn names_types_and_values_follow_the_format() {
    let all = page([start("lenet5"), step()].into_iter().chain(machine()));
    check(&all);
    for line in [
        "footplate_run_info{version=\"0.1.0\",model=\"lenet5\",device=\"cpu\"} 1",
        "footplate_step_seconds_total{part=\"compute\"} 0.7",
        "footplate_step_seconds_total{part=\"prep\"} 0.125",
        "footplate_items_per_second 32",
        "footplate_power_watts 7.5",
        "footplate_rail_power_watts{rail=\"VDD_CV\"} 0",
        "footplate_energy_joules_total 15",
        "footplate_clock_limit_hertz{clock=\"GPU\"} 624750000",
        "footplate_run_phase{phase=\"training\"} 1",
        "footplate_simulated 1",
    ] {
        assert!(all.lines().any(|l| l == line), "{line} is not in\n{all}");
    }
}

#[test]
fn what_is_absent_or_unreadable_is_left_out_and_zero_is_not() {
    let all = page([start("lenet5"), step()].into_iter().chain(machine()));
    for word in ["VDD_SOC", "temperature_celsius", "clock_hertz{", "validation", "power_budget"] {
        assert!(!all.contains(word), "{word} is in\n{all}");
    }
    let early = page([]);
    check(&early);
    for word in ["train_loss", "step_seconds", "power", "memory", "run_step"] {
        assert!(!early.contains(&format!("footplate_{word}")), "{word} is in\n{early}");
    }
}

#[test]
fn labels_are_escaped() {
    let all = page([start("a\"b\\c\nd")]);
    check(&all);
    assert!(all.contains("model=\"a\\\"b\\\\c\\nd\""), "{all}");
}

#[test]
fn numbers_that_are_none_are_written_as_the_format_has_them() {
    assert_eq!([f64::NAN, f64::INFINITY, -f64::INFINITY, 0.1].map(number), ["NaN", "+Inf", "-Inf", "0.1"]);
}

/// A run of which everything is known that there is a metric for.
fn complete() -> String {
    let Record::Power(power) = machine().remove(0) else { unreachable!() };
    let Record::Machine(machine) = machine().remove(1) else { unreachable!() };
    let clocks =
        machine.clocks.iter().map(|clock| ClockState { got_hz: clock.asked_hz.clone(), ..clock.clone() });
    page([
        start("lenet5"),
        Record::Tune(TuneRecord {
            t_ns: 1,
            goal: "least time".into(),
            power_max_w: Some(15.0),
            step_max_s: None,
            energy_max_j: None,
            profiles: 0,
            points: Vec::new(),
            space: 1,
            choice: None,
            verified: false,
            probability: None,
            message: None,
            simulated: true,
        }),
        Record::Loader(LoaderRecord { t_ns: 1, workers: 2, depth: 4 }),
        step(),
        testing::validation(0, 0.75),
        Record::Power(PowerRecord { temperature_c: Reading::Value(Celsius(58.5)), ..power }),
        Record::Machine(MachineRecord { clocks: clocks.collect(), ..machine }),
    ])
}

/// All words of a text that begin with `footplate_`.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text.match_indices("footplate_").map(|(at, _)| at);
    starts.map(|at| text[at..].chars().take_while(|c| is_part(*c)).collect()).collect()
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are_and_the_manual_names_each() {
    let dashboard = names(include_str!("../../../../contrib/grafana-footplate.json"));
    let manual = include_str!("../../../../docs/metrics.md");
    let page = complete();
    check(&page);
    let made = names(&page);
    assert_eq!(made.len(), 36, "{made:?}");
    assert!(dashboard.len() > 15 && dashboard.is_subset(&made), "{:?}", dashboard.difference(&made));
    let untold: Vec<&String> =
        made.iter().filter(|name| !manual.contains(name.trim_start_matches("footplate"))).collect();
    assert!(untold.is_empty(), "{untold:?}");
}

/// A label's value, read back as a scrape reads it: up to the quote that is not escaped.
fn read_label(line: &str) -> String {
    let (_, mut rest) = line.split_once("=\"").unwrap();
    let mut value = String::new();
    loop {
        let c = rest.chars().next().unwrap();
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => return value,
            '\\' => {
                let escaped = rest.chars().next().unwrap();
                rest = &rest[1..];
                value.push(if escaped == 'n' { '\n' } else { escaped });
            }
            c => value.push(c),
        }
    }
}

fn rail(label: &str) -> String {
    let power = testing::power(1, Reading::Value(Watts(1.0)));
    let rails = vec![(label.to_owned(), Reading::Value(Watts(2.5)))];
    page([Record::Power(PowerRecord { rails, ..power })])
}

#[test]
fn a_hostile_label_is_one_label_of_one_line() {
    let page = rail(HOSTILE);
    check(&page);
    let lines: Vec<&str> =
        page.lines().filter(|line| line.starts_with("footplate_rail_power_watts{")).collect();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with("\"} 2.5"), "{}", lines[0]);
}

proptest! {
    #[test]
    fn any_label_is_read_back_as_it_was(label in any::<String>()) {
        let page = rail(&label);
        check(&page);
        let line = page.split('\n').find(|line| line.starts_with("footplate_rail_power_watts{")).unwrap();
        prop_assert_eq!(read_label(line), label);
    }

    #[test]
    fn any_number_is_read_back_as_it_was(value: f64) {
        let text = number(value);
        let read: f64 = text.parse().unwrap();
        prop_assert!(read == value || read.is_nan() && value.is_nan(), "{value} as {text}");
    }
}
