//! Energy over a window of time from power samples: trapezoid, coverage and an error bound.
//!
//! A sensor that averages shows a value that is already past: read at `t`, it was converted at some moment of
//! the last `refresh_ns` and is the mean over `average_ns` before that. A value is therefore put at the middle
//! of what it is expected to describe. How old values are is not known at first. Where the load changes at an end
//! of the window (a command starts), the value that mixes both sides tells it; the error bound does not trust
//! that. At both ends of the window the load is likely to change (a command starts, a step
//! ends), so that the values there mix inside and outside; in their place the nearest value that surely lies
//! inside is held. What regular sampling should have covered and did not is left out of energy and coverage.

use crate::ports::WindowEnergy;
use crate::reading::Reading;
use crate::units::{Joules, Watts};

/// Fewer samples than this give no energy.
pub const SAMPLES_MIN: usize = 3;

/// A gap between samples longer than this many intervals is not covered.
const GAP_INTERVALS: f64 = 2.5;

/// How a power sensor works and how it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SensorModel {
    /// Time between two reads.
    pub interval_ns: u64,
    /// Time between two new values of the sensor.
    pub refresh_ns: u64,
    /// Expected age of a value when it is read: half of `refresh_ns` if nothing is known.
    pub age_ns: u64,
    /// Time over which one value is the mean; 0 for a value of a moment.
    pub average_ns: u64,
    /// Step between two neighbouring values.
    pub step_w: f64,
    /// Time between the readings that one value is made of (voltage and current), and between rails of a sum.
    pub skew_ns: u64,
}

impl SensorModel {
    /// How far back what a value describes can lie.
    pub fn lag_ns(&self) -> u64 {
        self.refresh_ns + self.average_ns
    }

    /// How far a value's moment lies before its reading, and how far what it describes may reach to both
    /// sides of that moment, in seconds. An age that is not half the refresh is a known one.
    fn shift_and_reach(&self) -> (f64, f64) {
        let half = self.average_ns as f64 / 2e9;
        let age = self.age_ns.min(self.refresh_ns);
        (half + age as f64 / 1e9, half + age.min(self.refresh_ns - age) as f64 / 1e9)
    }

    /// The shortest window that is sure to hold enough samples.
    pub fn least_window_ns(&self) -> u64 {
        self.interval_ns.max(self.refresh_ns) * (SAMPLES_MIN as u64 + 1)
    }

    /// The same sensor read at another interval.
    pub fn read_each(self, interval_ns: u64) -> Self {
        Self { interval_ns: interval_ns.max(1), ..self }
    }
}

/// A power read at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerSample {
    /// When it was read.
    pub t_ns: u64,
    /// The power that the sensor gave.
    pub power_w: f64,
}

/// The energy from `from_ns` to `to_ns`. `samples` are in the order of time and should begin before the window
/// and end after it. Too few in the window are `Unreadable` with a reason that begins with "insufficient".
pub fn window_energy(
    samples: &[PowerSample],
    from_ns: u64,
    to_ns: u64,
    sensor: &SensorModel,
) -> Reading<WindowEnergy> {
    let known = SensorModel { age_ns: age_from_edges(samples, from_ns, to_ns, sensor), ..*sensor };
    let sensor = &known;
    let (shift, reach) = sensor.shift_and_reach();
    // Seconds from the window's start; negative before it.
    let seconds = |t_ns: u64| (i128::from(t_ns) - i128::from(from_ns)) as f64 / 1e9;
    let length = seconds(to_ns);
    let points: Vec<(f64, f64)> = samples.iter().map(|s| (seconds(s.t_ns) - shift, s.power_w)).collect();
    let first = points.iter().position(|(t, _)| *t >= 0.0).unwrap_or(points.len());
    let end = points.iter().rposition(|(t, _)| *t <= length).map_or(0, |last| last + 1);
    let count = end.saturating_sub(first);
    if length <= 0.0 || count < SAMPLES_MIN {
        return insufficient(count, sensor.interval_ns.max(sensor.refresh_ns));
    }
    // Those whose whole past is in the window, if there are any.
    let is_inside = |i: &usize| points[*i].0 >= reach && points[*i].0 <= length - reach;
    let surely: Vec<usize> = (first..end).filter(is_inside).collect();
    let (lo, hi) = match (surely.first(), surely.last()) {
        (Some(lo), Some(hi)) => (*lo, *hi),
        _ => (first, end - 1),
    };
    Reading::Value(integrate(&points, lo, hi, length, sensor, count))
}

/// The age of values as the window's ends show it, or what the model expects.
///
/// Before the end the load is steady at one power, after it at another. Averages that follow each other without
/// a gap then hold exactly as much of the second as lies between the end and their last conversion. Values of a
/// moment only tell between which two conversions the end lies.
fn age_from_edges(samples: &[PowerSample], from_ns: u64, to_ns: u64, sensor: &SensorModel) -> u64 {
    let refresh = sensor.refresh_ns as f64;
    if (sensor.interval_ns as f64 / refresh - 1.0).abs() > 0.2 {
        return sensor.age_ns;
    }
    let found = [from_ns, to_ns].map(|edge| age_from_edge(samples, edge, sensor));
    let narrow = |range: (f64, f64), edge: &(f64, f64)| (range.0.max(edge.0), range.1.min(edge.1));
    let range = found.iter().flatten().fold((0.0, refresh), narrow);
    if found.iter().all(Option::is_none) {
        return sensor.age_ns;
    }
    // Two ends that contradict each other by a little: the middle is still the best guess.
    ((range.0 + range.1) / 2.0).clamp(0.0, refresh) as u64
}

/// The least and the largest age that fit the samples at one end of a window.
fn age_from_edge(samples: &[PowerSample], edge_ns: u64, sensor: &SensorModel) -> Option<(f64, f64)> {
    let (refresh, average) = (sensor.refresh_ns as f64, sensor.average_ns as f64);
    let first = samples.partition_point(|s| s.t_ns <= edge_ns);
    let near = samples.get(first.checked_sub(2)?..first + 4)?;
    let power = |i: usize| near[i].power_w;
    let change = power(4) - power(1);
    let is_steady = |a: usize, b: usize| (power(a) - power(b)).abs() < 0.2 * change.abs();
    if change.abs() < 4.0 * sensor.step_w.max(1e-9) || !is_steady(0, 1) || !is_steady(4, 5) {
        return None;
    }
    let share = |i: usize| (power(i) - power(1)) / change;
    let since = |i: usize| (near[i].t_ns - edge_ns) as f64;
    let (least, most) = if average > 0.8 * refresh {
        let age = since(2) - (share(2) + share(3) - 1.0) * average;
        (age, age)
    } else {
        // The first value that has something of what comes after.
        let i = if share(2) > 0.1 { 2 } else { 3 };
        if share(i) < 0.9 {
            let age = since(i) - share(i) * average;
            (age, age)
        } else {
            (since(i) - refresh, since(i) - average)
        }
    };
    let slack = 0.1 * refresh;
    (most >= -slack && least <= refresh + slack).then_some((least.max(0.0), most.min(refresh)))
}

fn integrate(
    points: &[(f64, f64)],
    lo: usize,
    hi: usize,
    length: f64,
    sensor: &SensorModel,
    count: usize,
) -> WindowEnergy {
    let interval = sensor.interval_ns.max(sensor.refresh_ns) as f64 / 1e9;
    let gap_max = interval * GAP_INTERVALS;
    let edge_max = sensor.lag_ns() as f64 / 1e9 + interval * (GAP_INTERVALS - 1.0);
    let inside = &points[lo..=hi];
    let (mut energy, mut covered) = (0.0, 0.0);
    for pair in inside.windows(2) {
        let width = pair[1].0 - pair[0].0;
        if width > 0.0 && width <= gap_max {
            energy += width * (pair[0].1 + pair[1].1) / 2.0;
            covered += width;
        }
    }
    let head = inside[0].0.min(edge_max);
    let tail = (length - inside[inside.len() - 1].0).min(edge_max);
    energy += head * inside[0].1 + tail * inside[inside.len() - 1].1;
    covered += head + tail;
    let near = |at: usize, beyond: Option<usize>| -> f64 {
        let neighbours = [beyond, at.checked_sub(1), Some(at + 1)];
        let far = |i: &usize| points.get(*i).map(|p| (p.1 - points[at].1).abs());
        neighbours.iter().flatten().filter_map(far).fold(0.0, f64::max)
    };
    let edges = head * near(lo, lo.checked_sub(2)) + tail * near(hi, Some(hi + 2));
    let step_lost = sensor.refresh_ns as f64 / 2e9 * (inside[0].1 - inside[inside.len() - 1].1).abs();
    let error = edges + step_lost + covered * sensor.step_w / 2.0 + unseen(inside, sensor);
    let peak = inside.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    WindowEnergy {
        energy_j: Joules(energy),
        error_j: Joules(error),
        coverage: (covered / length).clamp(0.0, 1.0),
        mean_power_w: Watts(energy / covered),
        peak_power_w: Watts(peak),
        samples: u32::try_from(count).unwrap_or(u32::MAX),
    }
}

/// What may have happened between the samples: three standard errors of the mean over the time that no value
/// describes, and the change during the skew. The variance is that of successive differences, so that a slow
/// change of load does not count.
fn unseen(inside: &[(f64, f64)], sensor: &SensorModel) -> f64 {
    let differences: Vec<f64> = inside.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    if differences.is_empty() {
        return 0.0;
    }
    let interval = sensor.interval_ns.max(sensor.refresh_ns) as f64 / 1e9;
    let share = (1.0 - sensor.average_ns as f64 / 1e9 / interval).clamp(0.0, 1.0);
    let n = differences.len() as f64;
    let variance = differences.iter().map(|d| d * d).sum::<f64>() / (2.0 * n);
    let changes: f64 = differences.iter().map(|d| d.abs()).sum();
    3.0 * (variance * n).sqrt() * interval * share + changes * sensor.skew_ns as f64 / 1e9
}

fn insufficient(count: usize, interval_ns: u64) -> Reading<WindowEnergy> {
    let each = interval_ns as f64 / 1e6;
    let reason = format!(
        "insufficient: {count} samples in the window where {SAMPLES_MIN} are needed; there is one each {each:.0} ms"
    );
    Reading::Unreadable { reason }
}

/// A count of energy read at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterSample {
    /// When it was read.
    pub t_ns: u64,
    /// What was read, in the counter's unit.
    pub count: u64,
}

/// How a counter of energy works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CounterModel {
    /// Time between two reads.
    pub interval_ns: u64,
    /// Energy of one count as it is shown.
    pub unit_j: f64,
    /// The smallest change of the counter itself.
    pub step_j: f64,
    /// The largest count, after which it begins again at 0; `None`: it does not.
    pub range: Option<u64>,
    /// Time between two changes of the counter.
    pub refresh_ns: u64,
    /// More than this is no power of this machine: the counter was reset, or wrapped more than once.
    pub power_max_w: f64,
}

impl CounterModel {
    /// Energy between two reads; `None` where the counter does not tell.
    fn between(&self, a: CounterSample, b: CounterSample) -> Option<f64> {
        let counts = if b.count >= a.count {
            b.count - a.count
        } else {
            let range = self.range?;
            // A count above the range is not of this counter.
            range.checked_sub(a.count)? + b.count
        };
        let seconds = b.t_ns.checked_sub(a.t_ns).filter(|ns| *ns > 0)? as f64 / 1e9;
        let wraps_unseen =
            self.range.is_some_and(|range| self.power_max_w * seconds > range as f64 * self.unit_j);
        let energy = counts as f64 * self.unit_j;
        (!wraps_unseen && energy <= self.power_max_w * seconds + self.step_j).then_some(energy)
    }
}

/// The energy from `from_ns` to `to_ns` by a counter. Reads should begin before the window and end after it;
/// between two reads the power is taken as even.
pub fn counted_energy(
    samples: &[CounterSample],
    from_ns: u64,
    to_ns: u64,
    counter: &CounterModel,
) -> Reading<WindowEnergy> {
    let inside = samples.iter().filter(|s| (from_ns..=to_ns).contains(&s.t_ns)).count();
    if to_ns <= from_ns || inside < SAMPLES_MIN {
        return insufficient(inside, counter.interval_ns);
    }
    let (mut energy, mut error, mut covered, mut peak) = (0.0, 2.0 * counter.step_j, 0.0, 0.0_f64);
    for pair in samples.windows(2) {
        let (start, end) = (pair[0].t_ns.max(from_ns), pair[1].t_ns.min(to_ns));
        let Some(between) = counter.between(pair[0], pair[1]).filter(|_| end > start) else { continue };
        let width = (pair[1].t_ns - pair[0].t_ns) as f64 / 1e9;
        let part = (end - start) as f64 / 1e9;
        energy += between * part / width;
        covered += part;
        peak = peak.max(between / width);
        if part < width {
            // The load may have begun or ended anywhere in this interval.
            error += between.min(between / width * (width - part));
        }
    }
    let length = (to_ns - from_ns) as f64 / 1e9;
    if covered <= 0.0 {
        return Reading::Unreadable { reason: "the counter of energy was reset between all reads".into() };
    }
    error += energy / covered * counter.refresh_ns as f64 / 1e9;
    Reading::Value(WindowEnergy {
        energy_j: Joules(energy),
        error_j: Joules(error),
        coverage: (covered / length).clamp(0.0, 1.0),
        mean_power_w: Watts(energy / covered),
        peak_power_w: Watts(peak),
        samples: u32::try_from(inside).unwrap_or(u32::MAX),
    })
}

#[cfg(test)]
mod tests;
