//! One reader of everything that a meter watches: called when something is due, it says when to call again.

use std::collections::VecDeque;

use footplate_core::ports::{WindowEnergy, WindowReading};
use footplate_core::record::PowerRecord;
use footplate_core::{Celsius, Reading, Watts};

use crate::discover::{Device, RailKind, RailSource, ThermalZone, celsius};
use crate::error::DeviceError;
use crate::rail::{RailModel, RailReader, RailValue, Timing, timing};
use crate::root::Root;
use crate::throttle::ThrottleWatch;
use crate::tree::Probe;

use super::series::{Series, sum};
use super::usage::Usage;

/// A sensor that averages over less than this is read like one that shows a moment.
const AVERAGE_MIN_NS: u64 = 20_000_000;
/// Temperatures and throttling are looked at this often.
const HEAT_NS: u64 = 500_000_000;
/// A rail that fails is opened anew this often.
const REOPEN_NS: u64 = 2_000_000_000;
/// Temperatures and evidence that are kept.
const HEAT_KEPT: usize = 4096;

/// A change of power that the board's total cannot miss, and how long it may take to show it.
const MOVE_W: f64 = 0.5;
const STALL_NS: u64 = 5_000_000_000;

struct Rail {
    source: RailSource,
    timing: Timing,
    reader: Result<RailReader, DeviceError>,
    series: Series,
    interval_ns: u64,
    due_ns: u64,
    last_error: Option<String>,
    retry_ns: u64,
    last_value: Option<RailValue>,
    /// When its value changed last, and whether a part of it changed much since.
    changed_ns: u64,
    moved_since: bool,
}

/// What a meter watches.
pub(super) struct Sampler {
    root: Root,
    rails: Vec<Rail>,
    /// Indices of the rails that make up the board's total.
    total: Vec<usize>,
    zones: Vec<(Box<dyn Probe>, String)>,
    heat: VecDeque<(u64, f64)>,
    heat_due_ns: u64,
    usage: Usage,
    throttle: ThrottleWatch,
    evidence: VecDeque<(u64, u64, String)>,
    logged_ns: u64,
    text: String,
}

impl Sampler {
    /// Opens a machine's rails and zones. `interval_ns`: how often to read at most, where the sensor allows it.
    pub(super) fn new(device: &Device, interval_ns: u64, now_ns: u64) -> Self {
        let root = device.root.clone();
        let rails: Vec<Rail> =
            device.rails.iter().map(|source| Rail::new(device, source, interval_ns, now_ns)).collect();
        let labels = device.total.as_ref().map(|total| total.rails.as_slice()).unwrap_or_default();
        let total =
            labels.iter().filter_map(|label| rails.iter().position(|rail| rail.source.label == *label));
        let total: Vec<usize> = total.collect();
        let is_measured = |zone: &&ThermalZone| zone.is_measured();
        let zones = device.zones.iter().filter(is_measured);
        let zones = zones
            .filter_map(|zone| Some((root.open(&format!("{}/temp", zone.path)).ok()?, zone.name.clone())));
        Self {
            zones: zones.collect(),
            usage: Usage::new(device),
            throttle: ThrottleWatch::new(device),
            rails,
            total,
            root,
            heat: VecDeque::new(),
            heat_due_ns: now_ns,
            evidence: VecDeque::new(),
            logged_ns: now_ns,
            text: String::new(),
        }
    }

    /// Reads what is due, and says when to come again.
    pub(super) fn tick(&mut self, now_ns: u64) -> u64 {
        let mut moved = false;
        for rail in &mut self.rails {
            if rail.due_ns <= now_ns {
                let before = rail.last_value;
                rail.sample(&self.root, now_ns);
                moved |= is_move(before, rail.last_value);
            }
        }
        if let ([only], true) = (self.total.as_slice(), moved) {
            self.rails[*only].moved_since = true;
        }
        if self.heat_due_ns <= now_ns {
            self.look_at_heat(now_ns);
            self.heat_due_ns = now_ns + HEAT_NS;
        }
        self.rails.iter().map(|rail| rail.due_ns).min().unwrap_or(u64::MAX).min(self.heat_due_ns)
    }

    fn look_at_heat(&mut self, now_ns: u64) {
        let mut highest: Option<f64> = None;
        for (file, _) in &mut self.zones {
            // An engine that is off, or a zone that is not ready (EAGAIN), leaves the others.
            if file.read(&mut self.text).is_err() {
                continue;
            }
            let celsius = self.text.trim().parse::<i64>().ok().and_then(celsius);
            highest = highest.into_iter().chain(celsius.map(|c| c.0)).reduce(f64::max);
        }
        self.heat.extend(highest.map(|celsius| (now_ns, celsius)));
        self.usage.look(now_ns);
        for found in self.throttle.look() {
            // What was seen at the last look and still is, is the same.
            let same = self.evidence.iter_mut().rev().take(16);
            let mut same = same.filter(|(_, to, what)| *what == found && now_ns <= *to + 2 * HEAT_NS);
            match same.next() {
                Some((_, to, _)) => *to = now_ns,
                None => self.evidence.push_back((now_ns.saturating_sub(HEAT_NS), now_ns, found)),
            }
        }
        if self.heat.len() > HEAT_KEPT {
            // Half as many, each the hotter of two: the past stays, coarser.
            let hotter =
                |pair: &[(u64, f64)]| pair.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
            self.heat = self.heat.make_contiguous().chunks(2).filter_map(hotter).collect();
        }
        while self.evidence.len() > HEAT_KEPT {
            self.evidence.pop_front();
        }
    }

    /// What was seen in a window.
    pub(super) fn window(&self, from_ns: u64, to_ns: u64) -> WindowReading {
        let rails: Vec<(String, Reading<WindowEnergy>)> =
            self.rails.iter().map(|rail| (rail.source.label.clone(), rail.window(from_ns, to_ns))).collect();
        let of_total: Vec<_> = self.total.iter().map(|index| rails[*index].clone()).collect();
        WindowReading {
            total: sum(&of_total),
            temperature_c: self.temperature(from_ns, to_ns),
            throttled: self.throttled(from_ns, to_ns),
            simulated: self.root.is_simulated(),
            rails,
        }
    }

    fn temperature(&self, from_ns: u64, to_ns: u64) -> Reading<Celsius> {
        if self.zones.is_empty() {
            return Reading::Absent;
        }
        let near = |t: u64| t + 2 * HEAT_NS >= from_ns && t <= to_ns + HEAT_NS;
        let highest = self.heat.iter().filter(|(t, _)| near(*t)).map(|(_, c)| *c).reduce(f64::max);
        match highest {
            Some(celsius) => Reading::Value(Celsius(celsius)),
            None => Reading::unreadable("no thermal zone gave a temperature"),
        }
    }

    fn throttled(&self, from_ns: u64, to_ns: u64) -> Vec<String> {
        let in_window = self.evidence.iter().filter(|(first, last, _)| *first < to_ns && *last > from_ns);
        let mut found: Vec<String> = in_window.map(|(_, _, what)| what.clone()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// How busy CPU and GPU were in a window, each 0 to 1.
    pub(super) fn usage(&self, from_ns: u64, to_ns: u64) -> (Reading<f64>, Reading<f64>) {
        self.usage.between(from_ns, to_ns)
    }

    /// The longest of the least windows of the rails that count.
    pub(super) fn least_window_ns(&self) -> Option<u64> {
        let of_total = self.total.iter().map(|index| &self.rails[*index]);
        let least = |rail: &Rail| match rail.timing.model(rail.interval_ns) {
            RailModel::Power(sensor) => sensor.least_window_ns(),
            RailModel::Counter(counter) => 4 * counter.interval_ns,
        };
        of_total.filter(|rail| rail.reader.is_ok()).map(least).max()
    }

    /// Mean powers since the last call, for the run log; `None` while there is nothing new.
    pub(super) fn record(&mut self, now_ns: u64) -> Option<PowerRecord> {
        if self.rails.is_empty() {
            return None;
        }
        let since = std::mem::replace(&mut self.logged_ns, now_ns);
        let power = |rail: &Rail| match (rail.series.mean_since(since), &rail.last_error) {
            (Some(watts), _) => Reading::Value(watts),
            (None, Some(reason)) => Reading::unreadable(reason),
            (None, None) => Reading::unreadable("no new value"),
        };
        let rails: Vec<(String, Reading<Watts>)> =
            self.rails.iter().map(|rail| (rail.source.label.clone(), power(rail))).collect();
        let add = |total: Reading<Watts>, index: &usize| {
            total.and_then(|sum| rails[*index].1.clone().map(|watts| Watts(sum.0 + watts.0)))
        };
        let total = self.total.iter().fold(Reading::Value(Watts(0.0)), add);
        Some(PowerRecord {
            t_ns: now_ns,
            span_ns: now_ns - since,
            total_w: if self.total.is_empty() { Reading::Absent } else { total },
            rails,
            temperature_c: self.temperature(since, now_ns),
            throttled: self.throttled(since, now_ns),
            simulated: self.root.is_simulated(),
        })
    }

    /// What is assumed of the sensors, and rails that cannot be read, in words.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for rail in &self.rails {
            if let Err(error) = &rail.reader {
                notes.push(format!("{} cannot be read: {error}", rail.source.label));
            } else if let Some(reason) = &rail.last_error {
                notes.push(format!("{}: {reason}", rail.source.label));
            } else if rail.moved_since && rail.due_ns.saturating_sub(rail.changed_ns) > STALL_NS {
                let what = "has shown the same value for seconds while a part of it changed: is it stuck?";
                notes.push(format!("{} {what}", rail.source.label));
            }
        }
        notes
    }
}

/// Whether a rail's power changed by far more than its sensor's steps.
fn is_move(before: Option<RailValue>, after: Option<RailValue>) -> bool {
    match (before, after) {
        (Some(RailValue::Power(a)), Some(RailValue::Power(b))) => (a - b).abs() > MOVE_W,
        _ => false,
    }
}

impl Rail {
    fn new(device: &Device, source: &RailSource, interval_ns: u64, now_ns: u64) -> Self {
        let timing = timing(device, source);
        // An averaging sensor is read at its own period: then nothing goes unseen. One that shows a moment is
        // read as often as wanted; neither is read faster than it has new values.
        let averages = timing.average_ns >= timing.period_ns && timing.period_ns >= AVERAGE_MIN_NS;
        let is_gauge = source.kind == RailKind::Battery;
        let wanted = interval_ns.max(timing.period_ns);
        let interval_ns = if averages && !is_gauge { timing.period_ns } else { wanted };
        Self {
            reader: RailReader::open(&device.root, source, timing.limit_w),
            series: Series::new(timing.model(interval_ns)),
            source: source.clone(),
            interval_ns,
            due_ns: now_ns,
            last_error: None,
            retry_ns: now_ns,
            last_value: None,
            changed_ns: now_ns,
            moved_since: false,
            timing,
        }
    }

    fn sample(&mut self, root: &Root, now_ns: u64) {
        self.due_ns = now_ns + self.interval_ns;
        if self.reader.is_err() || self.last_error.is_some() {
            if now_ns < self.retry_ns {
                return;
            }
            self.reader = RailReader::open(root, &self.source, self.timing.limit_w);
        }
        let Ok(reader) = &mut self.reader else {
            self.retry_ns = now_ns + REOPEN_NS;
            return;
        };
        match reader.read() {
            Ok(value) => {
                self.last_error = None;
                if self.last_value != Some(value) {
                    self.changed_ns = now_ns;
                    self.moved_since = false;
                }
                self.last_value = Some(value);
                self.series.push(now_ns, value);
            }
            Err(error) => {
                // A chip that is busy (EAGAIN) is asked again at the next turn; a vanished file is opened anew.
                self.retry_ns = if self.last_error.is_none() { now_ns } else { now_ns + REOPEN_NS };
                self.last_error = Some(error.to_string());
            }
        }
    }

    fn window(&self, from_ns: u64, to_ns: u64) -> Reading<WindowEnergy> {
        let failed = match (&self.reader, &self.last_error) {
            (Err(error), _) => Some(error.to_string()),
            (Ok(_), last) => last.clone(),
        };
        match (self.series.window(from_ns, to_ns), failed) {
            (Reading::Unreadable { .. }, Some(reason)) => Reading::Unreadable { reason },
            (energy, _) => energy,
        }
    }
}
