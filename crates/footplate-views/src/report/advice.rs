//! The one change that would help most, with the arithmetic behind it, from what is in the log.

use super::figures::{number, percent, seconds};
use super::log_data::RunView;
use super::settings::Flat;
use super::totals::Totals;

/// A change that gains less than this share of the training time is not named.
const WORTH: f64 = 0.03;

/// A change and what it could gain.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Advice {
    pub(crate) change: String,
    /// The reason, with the figures behind it.
    pub(crate) because: String,
    /// Most that it could save, in seconds of training time.
    gain_s: f64,
}

/// The change with the largest gain, or why none is named.
pub(crate) fn advice(view: &RunView) -> Result<Advice, String> {
    let totals = &view.log.recent;
    if totals.steps == 0 {
        return Err("The log holds no step yet.".to_owned());
    }
    let all_s = totals.step_ns as f64 / 1e9;
    let mut found: Vec<Advice> =
        [stall(view, totals), checkpoints(totals), throttling(view)].into_iter().flatten().collect();
    found.retain(|advice| advice.gain_s >= WORTH * all_s);
    found.sort_by(|a, b| b.gain_s.total_cmp(&a.gain_s));
    found.into_iter().next().ok_or_else(|| nothing(view, totals))
}

fn nothing(view: &RunView, totals: &Totals) -> String {
    let throttled = match (view.log.throttling.watched_ns, view.log.throttling.slowed_ns) {
        (0, _) => "no sensor",
        (_, 0) => "none seen",
        _ => "seen, but its cost cannot be told from this log",
    };
    format!(
        "No single change stands out: {} of the time is compute, {} waiting for data, {} copying state for checkpoints. \
         Throttling: {throttled}. Other batch sizes, devices and power modes were not measured in this run.",
        percent(totals.share(totals.compute_ns)),
        percent(totals.share(totals.stall_ns())),
        percent(totals.share(totals.snapshot_ns)),
    )
}

/// Gain without the largest of the waits for data.
fn stall(view: &RunView, totals: &Totals) -> Option<Advice> {
    let parts =
        [(totals.fetch_stall_ns, "fetch"), (totals.prep_stall_ns, "prep"), (totals.transfer_ns, "transfer")];
    let (ns, name) = parts.into_iter().max_by_key(|(ns, _)| *ns)?;
    let gain_s = ns as f64 / 1e9;
    let all_s = totals.step_ns as f64 / 1e9;
    let change = match name {
        "fetch" => "Read the data from faster storage or as shards (footplate pack), or keep part of it in memory (--cache)".to_owned(),
        "prep" => prep_change(view, totals),
        _ => "Transfer fewer bytes to the device".to_owned(),
    };
    let mut because = format!(
        "The steps waited {} of {} for {} ({}). Without that wait they would take at least {}: at most {} times as fast.",
        seconds(gain_s),
        seconds(all_s),
        what(name),
        percent(Some(gain_s / all_s)),
        seconds(all_s - gain_s),
        number(all_s / (all_s - gain_s).max(f64::MIN_POSITIVE)),
    );
    if name != "transfer" {
        because
            .push_str(" The wait for the loader is attributed to fetch and prep in proportion to its workers' time on each.");
    }
    Some(Advice { change, because, gain_s })
}

fn what(part: &str) -> &'static str {
    match part {
        "fetch" => "reading the samples",
        "prep" => "decoding and augmenting",
        _ => "the transfer to the device",
    }
}

/// More workers if there are cores for them, otherwise less work per sample.
fn prep_change(view: &RunView, totals: &Totals) -> String {
    let less = "reduce the work per sample: indexed shards (footplate pack), or a smaller --image-size";
    let flat = Flat::parse(&view.start.settings_toml);
    let workers: Option<u64> = view
        .log
        .loaders
        .kept
        .last()
        .map(|(_, loader)| u64::from(loader.workers))
        .or_else(|| flat.get("workers").and_then(|n| n.parse().ok()));
    let cores = cores(&view.start.host);
    let worked = totals.worker_fetch_ns.saturating_add(totals.worker_prep_ns);
    let rest =
        totals.step_ns.saturating_sub(totals.fetch_stall_ns.saturating_add(totals.prep_stall_ns)).max(1);
    let needed = worked.div_ceil(rest);
    let sum = format!(
        "a worker needs {} per minibatch, the rest of a step takes {}: {needed} workers would keep up",
        seconds(worked as f64 / totals.steps as f64 / 1e9),
        seconds(rest as f64 / totals.steps as f64 / 1e9),
    );
    match (workers, cores) {
        (Some(has), Some(cores)) if needed > has && needed <= cores => {
            format!(
                "Use --workers {needed} instead of {has} ({sum}; the {cores} cores are shared with the step)"
            )
        }
        (Some(has), Some(cores)) if needed > cores => {
            format!("Too few cores for decoding: {less} ({sum}; there are {cores} cores and {has} workers)")
        }
        _ => format!("Find what slows the loader with footplate stalls, or {less} ({sum})"),
    }
}

/// The number of cores, from the host's description in the start record.
fn cores(host: &str) -> Option<u64> {
    host.strip_suffix(" cores")?.rsplit(' ').next()?.parse().ok()
}

fn checkpoints(totals: &Totals) -> Option<Advice> {
    let gain_s = totals.snapshot_ns as f64 / 1e9;
    (totals.snapshot_ns > 0).then(|| Advice {
        change: "Write checkpoints less often: a longer --checkpoint-every".to_owned(),
        because: format!(
            "Copying the state for checkpoints took {} of {} of training ({}); twice the time between them saves half of it.",
            seconds(gain_s),
            seconds(totals.step_ns as f64 / 1e9),
            percent(totals.share(totals.snapshot_ns)),
        ),
        gain_s: gain_s / 2.0,
    })
}

/// Gain without throttling; only within one power mode, since steps take another time in another one.
fn throttling(view: &RunView) -> Option<Advice> {
    let throttling = &view.log.throttling;
    let (slowed_s, free_s) = throttling.means_s()?;
    let gain_s = throttling.slowed.0 as f64 * (slowed_s - free_s);
    (throttling.modes == 0 && gain_s > 0.0).then(|| Advice {
        change: "Cool the machine better, or choose a mode that it can hold (footplate tune)".to_owned(),
        because: format!(
            "{} steps took {} each while the machine throttled, the other {} took {}: {} in all.",
            throttling.slowed.0,
            seconds(slowed_s),
            throttling.free.0,
            seconds(free_s),
            seconds(gain_s),
        ),
        gain_s,
    })
}

#[cfg(test)]
mod tests {
    use footplate_core::power_mode::PowerMode;
    use footplate_core::record::{CheckpointRecord, ModePurpose, ModeRecord, PowerRecord};
    use footplate_core::{Bytes, Reading, Record, Watts};

    use super::*;
    use crate::testing::{self, RunLog, minibatch};

    #[test]
    fn a_stall_of_decoding_asks_for_the_workers_that_keep_up() {
        // 60 ms of a 100 ms step waits for decoding; a minibatch takes the one worker 90 ms, the rest of the step 40 ms.
        let view = RunLog::new("linux x86_64, 8 cores").settings("workers = 1\n").steps(50, |step| {
            let mut m = minibatch(step, 100_000_000);
            (m.fetch_ns, m.prep_ns, m.stall_ns, m.compute_ns) = (0, 90_000_000, 60_000_000, 40_000_000);
            m
        });
        let advice = advice(&view.view()).unwrap();
        assert!(advice.change.starts_with("Use --workers 3 instead of 1"), "{}", advice.change);
        assert!(advice.because.contains("waited 3.00 s of 5.00 s"), "{}", advice.because);
        assert!(advice.because.contains("at most 2.50 times as fast"), "{}", advice.because);
    }

    #[test]
    fn with_too_few_cores_more_workers_are_not_the_advice() {
        let view = RunLog::new("linux x86_64, 2 cores").settings("workers = 1\n").steps(50, |step| {
            let mut m = minibatch(step, 100_000_000);
            (m.fetch_ns, m.prep_ns, m.stall_ns, m.compute_ns) = (0, 190_000_000, 60_000_000, 40_000_000);
            m
        });
        assert!(advice(&view.view()).unwrap().change.starts_with("Too few cores"));
    }

    #[test]
    fn where_nothing_is_to_be_won_that_is_said_with_the_figures() {
        let view = RunLog::new("linux x86_64, 2 cores").steps(20, |step| {
            let mut m = minibatch(step, 100_000_000);
            (m.stall_ns, m.compute_ns) = (1_000_000, 99_000_000);
            m
        });
        let none = advice(&view.view()).unwrap_err();
        assert!(none.contains("99.0 % of the time is compute, 1.0 % waiting for data"), "{none}");
        assert!(none.contains("Throttling: no sensor."), "{none}");
        assert!(advice(&RunLog::new("x").view()).unwrap_err().contains("no step"));
    }

    #[test]
    fn the_largest_wait_decides_what_is_advised() {
        let waiting = |fetch_ns: u64, transfer_ns: u64| {
            let log = RunLog::new("linux x86_64, 2 cores").steps(50, |step| {
                let mut m = minibatch(step, 100_000_000);
                (m.fetch_ns, m.prep_ns, m.transfer_ns) = (fetch_ns, 0, transfer_ns);
                (m.stall_ns, m.compute_ns) = (fetch_ns + transfer_ns, 100_000_000 - fetch_ns - transfer_ns);
                m
            });
            advice(&log.view()).unwrap()
        };
        let fetch = waiting(50_000_000, 10_000_000);
        assert!(fetch.change.starts_with("Read the data from faster storage"), "{}", fetch.change);
        assert!(
            fetch.because.contains("2.50 s of 5.00 s for reading the samples (50.0 %)"),
            "{}",
            fetch.because
        );
        let transfer = waiting(10_000_000, 20_000_000);
        assert_eq!(transfer.change, "Transfer fewer bytes to the device");
        // The transfer is measured itself: nothing is attributed.
        assert!(!transfer.because.contains("attributed"), "{}", transfer.because);
    }

    #[test]
    fn copying_for_checkpoints_counts_half() {
        let checkpoint = |snapshot_ns| {
            Record::Checkpoint(CheckpointRecord {
                t_ns: 1,
                step: 1,
                file: "x".into(),
                size_bytes: Bytes(1),
                snapshot_ns,
                write_ns: 0,
            })
        };
        let log = |snapshot_ns| {
            let steps = RunLog::new("x").steps(10, |step| {
                let mut m = minibatch(step, 100_000_000);
                (m.stall_ns, m.compute_ns) = (0, 100_000_000);
                m
            });
            steps.push(checkpoint(snapshot_ns)).view()
        };
        let advised = advice(&log(61_000_000)).unwrap();
        assert!(advised.change.contains("--checkpoint-every"), "{}", advised.change);
        assert!(advised.because.contains("61.0 ms of 1.00 s of training (6.1 %)"), "{}", advised.because);
        // Half of it is less than 3 %.
        assert!(advice(&log(59_000_000)).is_err());
    }

    /// Ten steps at `fast_ns` each, then ten at twice that while the machine throttles.
    fn throttled(fast_ns: u64) -> RunLog {
        let step = |n: u64, step_ns: u64| {
            let mut m = minibatch(n, step_ns);
            (m.stall_ns, m.compute_ns) = (0, step_ns);
            Record::Minibatch(m)
        };
        let power = |throttled: &[&str]| {
            let power = testing::power(1, Reading::Value(Watts(5.0)));
            let throttled = throttled.iter().map(|text| (*text).to_owned()).collect();
            Record::Power(PowerRecord { throttled, ..power })
        };
        let log = (0..10).fold(RunLog::new("x"), |log, n| log.push(step(n, fast_ns)));
        let log = log.push(power(&[]));
        (10..20).fold(log, |log, n| log.push(step(n, 2 * fast_ns))).push(power(&["too hot"]))
    }

    #[test]
    fn throttling_costs_what_the_slowed_steps_took_longer() {
        let advised = advice(&throttled(100_000_000).view()).unwrap();
        assert!(advised.change.starts_with("Cool the machine better"), "{}", advised.change);
        let because =
            "10 steps took 200 ms each while the machine throttled, the other 10 took 100 ms: 1.00 s in all.";
        assert_eq!(advised.because, because);
    }

    #[test]
    fn steps_of_different_modes_say_nothing_about_throttling() {
        let mode = |purpose| {
            let (asked, got) = (PowerMode::default(), PowerMode::default());
            Record::Mode(ModeRecord { t_ns: 1, purpose, asked, got, warnings: Vec::new() })
        };
        let mut log = throttled(100_000_000);
        log.records.insert(12, mode(ModePurpose::Profile));
        let none = advice(&log.view()).unwrap_err();
        assert!(none.contains("Throttling: seen, but its cost cannot be told"), "{none}");
    }
}
