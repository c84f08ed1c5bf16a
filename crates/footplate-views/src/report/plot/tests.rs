use proptest::prelude::*;

use super::*;
use crate::testing::{HOSTILE, assert_well_formed};

fn plot() -> Plot {
    let x = Axis::exact("time", Along::Time, 0.0, 10.0);
    let y = Axis::over("power", Along::Quantity("W"), [2.0, 8.0].into_iter(), true);
    let mut plot = Plot::new("p", "Power <by rail>", x, y);
    plot.lines.push(Line {
        name: "a\"><script>".to_owned(),
        runs: vec![vec![(0.0, 2.0), (5.0, 8.0)], vec![(9.0, 4.0)]],
        ..Line::default()
    });
    plot
}

#[test]
fn a_chart_escapes_names_and_says_what_it_is() {
    let html = plot().html();
    assert!(!html.contains("<script"), "{html}");
    assert!(html.contains("Power &lt;by rail&gt;") && html.contains("role=\"img\""), "{html}");
    assert!(html.contains("<desc id=\"p-d\">Across: time (s). Upwards: power (W).</desc>"), "{html}");
}

#[test]
fn gaps_are_not_joined_and_lone_places_are_points() {
    let html = plot().html();
    assert!(html.contains("d=\"M0.0 228.6L500.0 14.3M900.0 157.1h0\""), "{html}");
}

#[test]
fn ticks_are_round_and_inside() {
    let axis = Axis::exact("time", Along::Time, 0.0, 36_000.0);
    let labels: Vec<String> = axis.ticks(6.0).into_iter().map(|t| t.1).collect();
    assert_eq!(labels, ["0", "2", "4", "6", "8", "10"]);
    let axis = Axis::over("x", Along::Quantity(""), [0.012, 0.019].into_iter(), false);
    assert!(axis.ticks(5.0).iter().all(|(v, _)| (axis.from..=axis.to).contains(v)));
    for (values, zero) in [(vec![], true), (vec![5.0], false), (vec![0.0], true), (vec![f64::NAN], false)] {
        let axis = Axis::over("x", Along::Time, values.into_iter(), zero);
        assert!(axis.to > axis.from && (2..=21).contains(&axis.ticks(5.0).len()), "{axis:?}");
    }
}

/// A page around a figure, as the check of its markup wants it.
fn page_of(figure: &str) -> String {
    format!("<body>{figure}<script></script>")
}

#[test]
fn everything_that_a_chart_can_hold_is_escaped_and_closed() {
    let mut plot = plot();
    let name = || HOSTILE.to_owned();
    (plot.id, plot.title, plot.description) = (name(), name(), name());
    (plot.x.name, plot.y.name) = (name(), name());
    plot.lines[0].name = name();
    plot.lines[0].band = vec![vec![(0.0, 1.0, 3.0), (5.0, 7.0, 9.0)]];
    plot.layers.push(Layer { name: name(), colour: 1, points: vec![(0.0, 0.0, 1.0), (1.0, 0.0, 2.0)] });
    plot.limits.push((7.0, name()));
    plot.walls.push((3.0, name()));
    plot.marks.push((4.0, name()));
    plot.shades.push((2.0, 4.0));
    plot.dots.push(Dot {
        x: 1.0,
        y: 2.0,
        class: "measured",
        label: name(),
        x_interval: Some((0.5, 1.5)),
        y_interval: Some((1.0, 3.0)),
    });
    let html = plot.html();
    assert_well_formed(&page_of(&html));
    for part in
        ["class=\"band", "class=\"layer", "limitname", "wallname", "markname", "shade", "whisker", "<button"]
    {
        assert!(html.contains(part), "{part} is not in {html}");
    }
}

#[test]
fn numbers_of_marks_that_would_cover_each_other_are_left_out() {
    let mut plot = plot();
    plot.marks = [1.0, 1.1, 5.0].map(|at| (at, at.to_string())).to_vec();
    let html = plot.html();
    assert_eq!((html.matches("markname").count(), html.matches("class=\"mark\"").count()), (2, 3));
}

#[test]
fn a_time_axis_is_labelled_in_the_unit_that_fits() {
    let unit = |to| Axis::exact("time", Along::Time, 0.0, to).title();
    assert_eq!([119.0, 120.0, 7200.0].map(unit), ["time (s)", "time (min)", "time (h)"]);
    assert_eq!(Axis::exact("step", Along::Quantity(""), 0.0, 10.0).title(), "step");
}

fn value() -> impl Strategy<Value = f64> {
    (-1.0f64..1.0, -9i32..10).prop_map(|(mantissa, power)| mantissa * 10f64.powi(power))
}

proptest! {
    #[test]
    fn an_axis_shows_all_values_and_has_room(values in prop::collection::vec(value(), 0..20), zero: bool) {
        let axis = Axis::over("x", Along::Quantity(""), values.iter().copied(), zero);
        prop_assert!(axis.to > axis.from);
        for value in &values {
            let share = axis.share(*value);
            prop_assert!((-1e-9..=1.0 + 1e-9).contains(&share), "{value} on {axis:?}");
        }
        prop_assert!(!zero || axis.from <= 0.0 && axis.to >= 0.0);
    }

    #[test]
    fn ticks_are_few_round_evenly_spaced_and_told_apart(from in value(), span in 1e-6f64..1e9, time: bool) {
        let along = if time { Along::Time } else { Along::Quantity("W") };
        let axis = Axis::exact("x", along, from, from + span);
        // A span that vanishes beside the value itself has no ticks that could be told apart.
        prop_assume!(span > 1e-6 * from.abs());
        let ticks = axis.ticks(5.0);
        prop_assert!((2..=11).contains(&ticks.len()), "{ticks:?}");
        let step = ticks[1].0 - ticks[0].0;
        for pair in ticks.windows(2) {
            prop_assert!((pair[1].0 - pair[0].0 - step).abs() < 1e-6 * step.abs().max(from.abs()), "{ticks:?}");
            prop_assert!(pair[0].1 != pair[1].1 || step < 1e-8, "{ticks:?}");
        }
        for (at, _) in &ticks {
            prop_assert!((-1e-6..=1.0 + 1e-6).contains(&axis.share(*at)), "{at} on {axis:?}");
        }
        let (scale, _) = axis.unit();
        let digits = step * scale / 10f64.powf((step * scale).log10().floor());
        let is_round = [1.0, 2.0, 5.0, 10.0].iter().any(|round| (digits / round - 1.0).abs() < 1e-3);
        prop_assert!(is_round, "a step of {step}: {ticks:?}");
    }

    /// Whatever the values, no coordinate lies so far outside that a browser would draw it badly.
    #[test]
    fn no_line_goes_far_outside(points in prop::collection::vec((value(), value()), 1..20), limit in value()) {
        let x = Axis::over("x", Along::Quantity(""), [0.0, 1.0].into_iter(), true);
        let y = Axis::over("y", Along::Quantity(""), [0.0, 1.0].into_iter(), true);
        let mut plot = Plot::new("p", "p", x, y);
        plot.limits.push((limit, "limit".to_owned()));
        plot.lines.push(Line { name: "l".to_owned(), runs: vec![points], ..Line::default() });
        let html = plot.html();
        assert_well_formed(&page_of(&html));
        let (_, d) = html.split_once("data-n=\"l\" d=\"").unwrap();
        let (d, _) = d.split_once('"').unwrap();
        for point in d.trim_end_matches("h0").split(['M', 'L']).skip(1) {
            let (_, y) = point.split_once(' ').unwrap();
            let y: f64 = y.parse().unwrap();
            prop_assert!((-4.0 * HEIGHT - 0.1..=6.0 * HEIGHT + 0.1).contains(&y), "{d}");
        }
    }
}
