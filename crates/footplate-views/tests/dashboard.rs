//! The dashboard asks for metrics that there are.

use std::collections::BTreeSet;
use std::path::Path;

const DASHBOARD: &str = include_str!("../../../contrib/grafana-footplate.json");

/// All words of a text that begin with `footplate_`.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text.match_indices("footplate_").map(|(at, _)| at);
    starts.map(|at| text[at..].chars().take_while(|c| is_part(*c)).collect()).collect()
}

#[test]
fn every_metric_of_the_dashboard_is_made_and_every_one_that_is_made_is_in_the_manual() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(root.join("src/metrics.rs")).unwrap();
    // Calls may be cut over lines.
    let product: String = source.split("#[cfg(test)]").next().unwrap().split_whitespace().collect();
    let mut made = BTreeSet::new();
    for call in ["page.gauge(\"", "page.counter(\"", "page.metric(\""] {
        let names = product.split(call).skip(1).map(|rest| rest.split('"').next().unwrap());
        made.extend(names.map(|name| format!("footplate_{name}")));
    }
    assert!(made.len() > 30, "{made:?}");
    let asked = names(DASHBOARD);
    assert!(asked.len() > 15, "{asked:?}");
    let missing: Vec<&String> = asked.difference(&made).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let manual = std::fs::read_to_string(root.join("../../docs/metrics.md")).unwrap();
    let untold: Vec<&String> =
        made.iter().filter(|name| !manual.contains(name.trim_start_matches("footplate"))).collect();
    assert!(untold.is_empty(), "{untold:?}");
}
