use footplate_core::record::{ClockState, MachineRecord, MinibatchRecord, PowerRecord, RunStart};
use footplate_core::{Bytes, Celsius, Hertz, Record, Watts};

use super::*;
use crate::testing;

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
        Reading::Unreadable { reason: "permission denied".into() }
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
