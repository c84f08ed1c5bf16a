//! What a page shows of a log, in bounded memory: series are thinned, lists have a limit and a count of what they leave
//! out.

use std::collections::{BTreeMap, VecDeque};

use footplate_core::Reading;
use footplate_core::record::{
    EpochRecord, LoaderRecord, ModeRecord, ProfiledRecord, RunStart, TuneRecord, ValidationRecord,
};
use footplate_core::summary::Summary;

use super::thin::Thin;
use super::totals::{Process, Throttling, Totals};

/// Entries of a list that are kept.
pub(super) const LISTED_MAX: usize = 200;
/// Periods of throttling, changes of the power mode and of the loader that are kept.
const MARKS_MAX: usize = 400;
/// Points closer together than this are merged, in seconds.
const TIME_STEP_S: f64 = 0.02;

/// A list with a limit.
#[derive(Clone, Debug)]
pub(crate) struct Listed<T> {
    /// The first items, up to the limit.
    pub(crate) kept: Vec<T>,
    /// All items, kept or not.
    pub(crate) count: u64,
    limit: usize,
}

impl<T> Listed<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), count: 0, limit }
    }

    pub(super) fn push(&mut self, item: T) {
        self.count += 1;
        if self.kept.len() < self.limit {
            self.kept.push(item);
        }
    }

    /// How many items were not kept.
    pub(crate) fn left_out(&self) -> u64 {
        self.count - self.kept.len() as u64
    }
}

/// A quantity over time, which may be absent or unreadable now and then.
#[derive(Clone, Debug)]
pub(crate) struct Gauge {
    /// The measured values over seconds of the run.
    pub(crate) series: Thin<1>,
    /// How often it was absent.
    pub(crate) absent: u64,
    /// How often it could not be read, and the last reason.
    pub(crate) unreadable: Option<(u64, String)>,
}

impl Default for Gauge {
    fn default() -> Self {
        Self { series: Thin::new(TIME_STEP_S), absent: 0, unreadable: None }
    }
}

impl Gauge {
    pub(super) fn push<T>(&mut self, t_s: f64, reading: &Reading<T>, value: impl Fn(&T) -> f64) {
        match reading {
            Reading::Value(measured) => self.series.push(t_s, [value(measured)]),
            Reading::Absent => self.absent += 1,
            Reading::Unreadable { reason } => {
                let count = self.unreadable.as_ref().map_or(0, |(count, _)| *count);
                self.unreadable = Some((count + 1, reason.clone()));
                self.series.gap(t_s);
            }
        }
    }

    /// "-" or "x (reason)" for a quantity without a single value.
    pub(crate) fn missing(&self) -> Option<String> {
        match (&self.unreadable, self.series.is_empty()) {
            (_, false) => None,
            (Some((_, reason)), true) => Some(format!("x ({reason})")),
            (None, true) => Some("-".to_owned()),
        }
    }
}

/// A clock: the limit set for it and its actual rate, in MHz.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClockGauge {
    pub(crate) asked: Gauge,
    pub(crate) got: Gauge,
}

/// A period in which the machine throttled, in seconds of the run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stretch {
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    pub(crate) evidence: Vec<String>,
}

/// What a page shows of a run.
#[derive(Clone, Debug)]
pub struct RunView {
    /// What the run is called: its folder, or the name it has in a study.
    pub name: String,
    /// What the log does not contain, such as the name of a preset or of a kind of storage. Replaces the log's own value of
    /// the same key: `model`, `data`, `storage`, `page cache`, `mode`, `batch size` or `workers`.
    pub labels: BTreeMap<String, String>,
    /// The start record of the last process.
    pub(crate) start: RunStart,
    /// The figures of the whole log.
    pub(crate) summary: Summary,
    pub(crate) log: LogData,
}

/// Everything that a page shows, apart from the summary.
#[derive(Clone, Debug)]
pub(crate) struct LogData {
    pub(crate) starts: Listed<RunStart>,
    pub(crate) processes: Vec<Process>,
    pub(crate) totals: Totals,
    /// Since the last power mode that was set for training; equal to `totals` if none was.
    pub(crate) recent: Totals,
    pub(crate) throttling: Throttling,
    pub(crate) loss: Thin<1>,
    pub(crate) rate: Thin<1>,
    pub(crate) val_loss: Thin<1>,
    pub(crate) val_top1: Thin<1>,
    /// Fetch, prep, transfer, compute, other, in milliseconds a step.
    pub(crate) parts: Thin<5>,
    pub(crate) epochs: VecDeque<(EpochRecord, Option<ValidationRecord>)>,
    pub(crate) total_w: Gauge,
    pub(crate) rails: BTreeMap<String, Gauge>,
    pub(crate) temperature: Gauge,
    pub(crate) trip: Gauge,
    pub(crate) clocks: BTreeMap<String, ClockGauge>,
    pub(crate) cores: Gauge,
    /// Resident memory in MiB.
    pub(crate) memory: Gauge,
    pub(crate) stretches: Listed<Stretch>,
    pub(crate) modes: Listed<(f64, ModeRecord)>,
    pub(crate) profiles: Listed<ProfiledRecord>,
    /// The last tuning result.
    pub(crate) tune: Option<TuneRecord>,
    pub(crate) tunes: u64,
    pub(crate) loaders: Listed<(f64, LoaderRecord)>,
    pub(crate) bad: Listed<(String, String)>,
    pub(crate) warnings: Listed<(String, u64)>,
    pub(crate) damaged: Listed<(usize, String)>,
    /// Whether power, temperatures, clocks or the tuning result are those of a simulated board.
    pub(crate) simulated: bool,
    /// Whether the steps themselves were simulated.
    pub(crate) simulated_steps: bool,
    /// Bytes copied to bring inputs to the device; `None` if they were not counted.
    pub(crate) copied_bytes: Option<u64>,
}

impl Default for LogData {
    fn default() -> Self {
        Self {
            starts: Listed::new(LISTED_MAX),
            processes: Vec::new(),
            totals: Totals::default(),
            recent: Totals::default(),
            throttling: Throttling::default(),
            loss: Thin::new(1.0),
            rate: Thin::new(1.0),
            val_loss: Thin::new(1.0),
            val_top1: Thin::new(1.0),
            parts: Thin::new(TIME_STEP_S),
            epochs: VecDeque::new(),
            total_w: Gauge::default(),
            rails: BTreeMap::new(),
            temperature: Gauge::default(),
            trip: Gauge::default(),
            clocks: BTreeMap::new(),
            cores: Gauge::default(),
            memory: Gauge::default(),
            stretches: Listed::new(MARKS_MAX),
            modes: Listed::new(MARKS_MAX),
            profiles: Listed::new(MARKS_MAX),
            tune: None,
            tunes: 0,
            loaders: Listed::new(MARKS_MAX),
            bad: Listed::new(LISTED_MAX),
            warnings: Listed::new(LISTED_MAX),
            damaged: Listed::new(LISTED_MAX),
            simulated: false,
            simulated_steps: false,
            copied_bytes: None,
        }
    }
}
