//! The summary of a comparison: the best and the worst setting by each figure, and notes.

use std::fmt::Write;

use super::Comparison;
use crate::report::groups::{Group, Metric, spread_text};
use crate::report::html::{escape, paragraph};
use crate::spread::Spread;

/// The best and the worst setting by a metric, in words.
#[derive(Clone, Copy)]
struct Extremes {
    metric: Metric,
    best: &'static str,
    worst: &'static str,
    /// Whether the largest value is the best one.
    largest: bool,
}

const EXTREMES: &[Extremes] = &[
    Extremes { metric: Metric::ItemsPerS, best: "Fastest", worst: "slowest", largest: true },
    Extremes { metric: Metric::EnergyEachJ, best: "Least energy per image", worst: "most", largest: false },
    Extremes { metric: Metric::StallPercent, best: "Least waiting for data", worst: "most", largest: false },
    Extremes { metric: Metric::AccuracyPercent, best: "Highest accuracy", worst: "lowest", largest: true },
];

impl Comparison<'_> {
    pub(super) fn summary(&self, notes: &[String]) -> String {
        let mut out = String::new();
        for family in self.families() {
            let first = family[0];
            let same = family.iter().all(|group| group.factors[..2] == first.factors[..2]);
            let name = if same {
                format!("{} on {}", first.factors[0], first.factors[1])
            } else {
                "All runs".to_owned()
            };
            let _ = write!(out, "<h3>{}</h3>\n<ul class=\"plain\">", escape(&name));
            for extremes in EXTREMES {
                let _ = write!(out, "<li>{}</li>", escape(&self.extremes(&family, extremes)));
            }
            out.push_str("</ul>\n");
        }
        if self.groups.len() > 1 && self.groups.iter().all(|group| group.runs.len() == 1) {
            out.push_str(&paragraph(
                "One run per setting: how much repeats differ is unknown, so small differences may be noise.",
            ));
        }
        if !notes.is_empty() {
            let items: Vec<String> = notes.iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
            let _ = write!(out, "<h3>Notes</h3>\n<ul class=\"plain\">{}</ul>\n", items.concat());
        }
        out
    }

    fn extremes(&self, family: &[&Group<'_>], extremes: &Extremes) -> String {
        let Extremes { metric, best: word, worst: other_word, largest } = *extremes;
        let mut known: Vec<(&Group<'_>, Spread)> =
            family.iter().filter_map(|group| Some((*group, group.spread(metric)?))).collect();
        known.sort_by(|a, b| a.1.mean.total_cmp(&b.1.mean));
        if largest {
            known.reverse();
        }
        let (Some((best, its)), Some((worst, worst_its))) = (known.first(), known.last()) else {
            return format!("{word}: - (not measured)");
        };
        let figure = format!("{word}: {} with {}", self.label_in_family(best), with_unit(metric, *its));
        if known.len() < 2 {
            return figure;
        }
        // A difference within the spread of the repeats is not called one.
        let noise = its.sd.unwrap_or(0.0) + worst_its.sd.unwrap_or(0.0);
        if (its.mean - worst_its.mean).abs() <= noise {
            let same = if noise == 0.0 {
                "the same in all"
            } else {
                "no difference beyond the spread of the repeats"
            };
            return format!("{word}: {same} ({})", with_unit(metric, *its));
        }
        format!(
            "{figure}; {other_word}: {} with {}",
            self.label_in_family(worst),
            with_unit(metric, *worst_its)
        )
    }
}

/// A figure with its unit.
fn with_unit(metric: Metric, spread: Spread) -> String {
    let repeats = if spread.count > 1 { format!(", {} runs", spread.count) } else { String::new() };
    format!("{} {}{repeats}", spread_text(spread), metric.unit())
}
