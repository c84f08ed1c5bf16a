use footplate_core::record::RunEnd;
use footplate_core::{Joules, Reading, Record};

use super::*;
use crate::testing::{RunLog, assert_well_formed, end, minibatch};

/// A finished run of twenty steps with these settings, time of a step, and energy.
fn run(name: &str, settings: &str, step_ms: u64, energy_j: Reading<Joules>) -> RunView {
    let log = RunLog::new("x").settings(settings).steps(20, |step| minibatch(step, step_ms * 1_000_000));
    let Record::RunEnd(end) = end(20 * step_ms * 1_000_000, 20) else { unreachable!() };
    RunView { name: name.to_owned(), ..log.push(Record::RunEnd(RunEnd { energy_j, ..end })).view() }
}

fn text(views: &[RunView]) -> String {
    let html = compare("A comparison", views, &[]);
    assert_well_formed(&html);
    html
}

#[test]
fn the_best_and_the_worst_of_each_figure_are_named() {
    let views = [
        run("a", "workers = 1", 100, Reading::Value(Joules(640.0))),
        run("b", "workers = 2", 50, Reading::Value(Joules(1280.0))),
        run("c", "workers = 4", 80, Reading::Value(Joules(960.0))),
    ];
    let html = text(&views);
    for line in [
        "Fastest: 2 workers with 640 items/s; slowest: 1 worker with 320 items/s",
        "Least energy per image: 1 worker with 1.00 J; most: 2 workers with 2.00 J",
        "Least waiting for data: the same in all (2.00 %)",
        "Highest accuracy: - (not measured)",
    ] {
        assert!(html.contains(line), "`{line}` is not in {html}");
    }
}

#[test]
fn a_difference_within_the_spread_of_the_repeats_is_not_called_one() {
    let views = [
        run("a", "seed = 1\nworkers = 1", 100, Reading::Absent),
        run("b", "seed = 2\nworkers = 1", 120, Reading::Absent),
        run("c", "seed = 1\nworkers = 2", 104, Reading::Absent),
        run("d", "seed = 2\nworkers = 2", 124, Reading::Absent),
    ];
    assert!(text(&views).contains("Fastest: no difference beyond the spread of the repeats"));
}

#[test]
fn an_energy_that_is_zero_unreadable_or_absent_looks_different() {
    let compared = |energy| {
        text(&[
            run("a", "workers = 1", 100, energy),
            run("b", "workers = 2", 100, Reading::Value(Joules(5.0))),
        ])
    };
    let zero = compared(Reading::Value(Joules(0.0)));
    let absent = compared(Reading::Absent);
    let unreadable = compared(Reading::unreadable("denied"));
    let cell = |html: &str| {
        let row = html.split("<th scope=\"row\">1 worker</th>").nth(1).unwrap();
        row.split("</td>").nth(5).unwrap().rsplit('>').next().unwrap().to_owned()
    };
    assert_eq!([zero, absent, unreadable].map(|html| cell(&html)), ["0", "-", "x"]);
}

#[test]
fn figures_that_no_run_has_are_named_instead_of_shown() {
    let html =
        text(&[run("a", "workers = 1", 100, Reading::Absent), run("b", "workers = 2", 90, Reading::Absent)]);
    assert!(html.contains("Not measured in any run: energy of the run (J), energy per image (J)"), "{html}");
}

#[test]
fn runs_that_are_unfinished_say_so() {
    let log = RunLog::new("x").steps(3, |step| minibatch(step, 1_000_000));
    assert!(text(&[log.view(), log.view()]).contains("unfinished (still running, or killed)"));
}

#[test]
fn settings_that_differ_are_listed_by_their_path() {
    let html = text(&[
        run("a", "[optimizer]\nmomentum = 0.9\nname = \"sgd\"", 100, Reading::Absent),
        run("b", "[optimizer]\nmomentum = 0.5\nname = \"sgd\"", 100, Reading::Absent),
    ]);
    assert!(html.contains("optimizer.momentum") && !html.contains("optimizer.name"), "{html}");
    let same = text(&[run("a", "seed = 1", 1, Reading::Absent), run("b", "seed = 1", 1, Reading::Absent)]);
    assert!(same.contains("The settings of all runs are the same."));
}

#[test]
fn a_comparison_of_nothing_is_a_page() {
    assert!(text(&[]).contains("0 runs, 0 settings"));
    assert_eq!(title(&[]), "Comparison of ");
}

#[test]
fn a_title_names_few_runs_and_counts_many() {
    let views = ["a", "b", "c", "d"].map(|name| run(name, "", 1, Reading::Absent));
    assert_eq!(title(&views[..2]), "Comparison of a, b");
    assert_eq!(title(&views), "Comparison of 4 runs");
}

#[test]
fn the_same_data_in_two_folders_is_a_difference_of_storage() {
    let with = |label: &str, value: &str| {
        let mut view = run("a", "", 1, Reading::Absent);
        view.labels.insert(label.to_owned(), value.to_owned());
        view
    };
    let storage = |mut views: Vec<RunView>| {
        tell_storage_apart(&mut views);
        views.iter().map(|view| view.labels.get("storage").cloned()).collect::<Vec<_>>()
    };
    let (card, disk) = (with(DATA_FOLDER, "/card"), with(DATA_FOLDER, "/disk"));
    assert_eq!(
        storage(vec![card.clone(), disk.clone()]),
        [Some("/card".to_owned()), Some("/disk".to_owned())]
    );
    assert_eq!(storage(vec![card.clone(), card.clone()]), [None, None]);
    // A study has named the kinds of storage already.
    assert_eq!(storage(vec![with("storage", "SD"), disk.clone()]), [Some("SD".to_owned()), None]);
    // Other data is another factor.
    let mut other = disk;
    other.start.data = "other images".to_owned();
    assert_eq!(storage(vec![card, other]), [None, None]);
}
