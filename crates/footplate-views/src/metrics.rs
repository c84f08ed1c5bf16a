//! A state as Prometheus text (format 0.0.4): what is absent or unreadable is left out, never written as zero.

use std::fmt::Write;

use footplate_core::Reading;
use footplate_core::record::RunStatus;

use crate::live::{LiveState, Phase};

/// The value of the HTTP header `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The type of a metric, in the format's words.
#[derive(Clone, Copy)]
enum Type {
    Gauge,
    Counter,
}

/// Collects metrics in the order in which they are added.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// Adds a metric with its samples; nothing if there are none.
    fn metric<L: AsRef<[(&'static str, String)]>>(
        &mut self,
        name: &str,
        kind: Type,
        help: &str,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let kind = match kind {
            Type::Gauge => "gauge",
            Type::Counter => "counter",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP footplate_{name} {help}\n# TYPE footplate_{name} {kind}");
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.as_ref().iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.text, "footplate_{name}{labels} {}", number(value));
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: Option<f64>) {
        self.metric(name, Type::Gauge, help, value.map(|value| ([], value)));
    }

    fn counter(&mut self, name: &str, help: &str, value: Option<f64>) {
        self.metric(name, Type::Counter, help, value.map(|value| ([], value)));
    }
}

/// A label's value: backslash, quote and newline are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

/// All metrics of a run; `since_last_s` is the time since its last record, in seconds.
///
/// ```
/// use footplate_core::{Reading, Record, Watts};
/// use footplate_core::record::PowerRecord;
/// use footplate_views::live::LiveState;
/// use footplate_views::metrics;
///
/// let mut state = LiveState::default();
/// state.push(&Record::Power(PowerRecord {
///     t_ns: 1_000_000_000,
///     span_ns: 1_000_000_000,
///     total_w: Reading::Value(Watts(7.5)),
///     rails: vec![("VDD_SOC".into(), Reading::unreadable("permission denied"))],
///     temperature_c: Reading::Absent,
///     throttled: Vec::new(),
///     simulated: false,
/// }));
/// let page = metrics::text(&state, 0.5);
/// assert!(page.contains("\nfootplate_power_watts 7.5\n"));
/// // What could not be read has no sample.
/// assert!(!page.contains("VDD_SOC"));
/// ```
pub fn text(state: &LiveState, since_last_s: f64) -> String {
    let mut page = Page::default();
    run(&mut page, state, since_last_s);
    learning(&mut page, state);
    time(&mut page, state);
    machine(&mut page, state);
    page.text
}

fn run(page: &mut Page, state: &LiveState, since_last_s: f64) {
    if let Some(start) = state.start() {
        let device = start.device.split(" (").next().unwrap_or_default().to_owned();
        let labels = [("version", start.version.clone()), ("model", start.model.clone()), ("device", device)];
        page.metric(
            "run_info",
            Type::Gauge,
            "Version, model and device of the run; always 1.",
            [(labels, 1.0)],
        );
        page.gauge("run_steps", "Planned steps of the whole run.", Some(start.steps_total as f64));
        page.gauge("run_epochs", "Planned epochs of the whole run.", Some(f64::from(start.epochs)));
        page.gauge("run_batch_size", "Samples per minibatch.", Some(start.batch_size as f64));
        page.gauge("run_step", "Steps done, over the whole run.", Some(state.steps_done() as f64));
        let planned = start.planned_memory_bytes.0 as f64;
        page.gauge(
            "memory_planned_bytes",
            "Memory plan: an estimate made before the first step.",
            Some(planned),
        );
    }
    let now = match state.phase() {
        Phase::Preparing(_) => "preparing",
        Phase::WarmingUp => "warming_up",
        Phase::Training => "training",
        Phase::Validating => "validating",
        Phase::Ended(RunStatus::Completed) => "completed",
        Phase::Ended(RunStatus::EarlyStopped) => "early_stopped",
        Phase::Ended(RunStatus::Interrupted) => "interrupted",
        Phase::Ended(RunStatus::Failed) => "failed",
    };
    page.metric(
        "run_phase",
        Type::Gauge,
        "The run's present phase; always 1.",
        [([("phase", now.to_owned())], 1.0)],
    );
    page.gauge("last_record_age_seconds", "Time since the last record of the run.", Some(since_last_s));
    let left = state.time_left().map(|left| left.as_secs_f64());
    page.gauge("run_left_seconds", "Estimated time left at the present pace.", left);
    let warnings = Some(state.notices().total() as f64);
    page.counter("warnings_total", "Warnings, including those for samples left out.", warnings);
    page.counter(
        "bad_samples_total",
        "Samples left out because they could not be decoded.",
        Some(state.bad_samples as f64),
    );
    page.counter("checkpoints_total", "Checkpoints written.", Some(state.checkpoints as f64));
}

fn learning(page: &mut Page, state: &LiveState) {
    page.gauge("train_loss", "Training loss: moving mean over steps.", state.loss());
    let validation = state.last_validation();
    page.gauge("validation_loss", "Loss at the last validation.", validation.map(|v| v.loss));
    page.gauge(
        "validation_accuracy_ratio",
        "Top-1 accuracy at the last validation, 0 to 1.",
        validation.map(|v| v.top1),
    );
    let rate = state.step.as_ref().map(|step| step.learning_rate);
    page.gauge("learning_rate", "Learning rate at the last step.", rate);
}

fn time(page: &mut Page, state: &LiveState) {
    let all = state.all();
    let has_steps = all.steps > 0;
    page.counter("steps_total", "Steps of this process.", has_steps.then_some(all.steps as f64));
    page.counter(
        "items_total",
        "Samples this process has trained on.",
        has_steps.then_some(all.items as f64),
    );
    let parts = [
        ("fetch", all.fetch_ns),
        ("prep", all.prep_ns),
        ("transfer", all.transfer_ns),
        ("compute", all.compute_ns),
        ("other", all.other_ns),
    ];
    let parts = parts.into_iter().filter(|_| has_steps);
    page.metric(
        "step_seconds_total",
        Type::Counter,
        "Time of all steps by part; fetch, prep and transfer are spent waiting for data.",
        parts.map(|(part, ns)| ([("part", part.to_owned())], ns as f64 / 1e9)),
    );
    let recent = state.recent();
    page.gauge(
        "items_per_second",
        "Samples per second over the last ten seconds or so.",
        recent.items_per_s(),
    );
    page.gauge("step_seconds", "Mean time per step over the last ten seconds or so.", recent.step_s());
    page.gauge(
        "stall_ratio",
        "Share of the step time spent waiting for data, 0 to 1, over the last ten seconds or so.",
        recent.stall_share(),
    );
    if let Some(loader) = &state.loader {
        page.gauge("loader_workers", "Worker threads of the data loader.", Some(f64::from(loader.workers)));
        page.gauge(
            "loader_depth",
            "Minibatches the data loader may prepare ahead.",
            Some(f64::from(loader.depth)),
        );
    }
}

fn value<T: Copy>(reading: &Reading<T>) -> Option<T> {
    reading.value().copied()
}

fn machine(page: &mut Page, state: &LiveState) {
    if let Some(power) = &state.power {
        let total = value(&power.total_w).map(|watts| watts.0);
        page.gauge("power_watts", "Power of the whole board, mean over the last second.", total);
        let rails = power
            .rails
            .iter()
            .filter_map(|(label, watts)| Some(([("rail", label.clone())], value(watts)?.0)));
        page.metric("rail_power_watts", Type::Gauge, "Power of a rail, mean over the last second.", rails);
        let heat = value(&power.temperature_c).map(|celsius| celsius.0);
        page.gauge("temperature_celsius", "Highest temperature of all zones.", heat);
        let throttled = if power.throttled.is_empty() { 0.0 } else { 1.0 };
        page.gauge(
            "throttled",
            "1: throttled, the machine has lowered its clocks by itself; 0: not throttled.",
            Some(throttled),
        );
    }
    page.gauge("power_budget_watts", "Power limit of the whole board.", state.budget_w());
    let energy = state.energy_j().map(|joules| joules.0).or(state.energy.map(|so_far| so_far.energy_j));
    page.counter("energy_joules_total", "Energy of the whole board since this process began.", energy);
    let Some(machine) = &state.machine else { return };
    let distance = value(&machine.trip_distance_c).map(|celsius| celsius.0);
    page.gauge(
        "throttling_distance_celsius",
        "Kelvin left until throttling, in the zone nearest to it.",
        distance,
    );
    page.gauge("cpu_cores_online", "CPU cores online.", value(&machine.cpu_cores).map(f64::from));
    let clock = |pick: fn(&footplate_core::record::ClockState) -> &Reading<footplate_core::Hertz>| {
        machine
            .clocks
            .iter()
            .filter_map(move |clock| Some(([("clock", clock.label.clone())], value(pick(clock))?.0 as f64)))
    };
    page.metric("clock_hertz", Type::Gauge, "Actual rate of a clock.", clock(|clock| &clock.got_hz));
    page.metric(
        "clock_limit_hertz",
        Type::Gauge,
        "Upper limit set for a clock.",
        clock(|clock| &clock.asked_hz),
    );
    let memory = value(&machine.memory_bytes).map(|bytes| bytes.0 as f64);
    page.gauge("memory_resident_bytes", "Resident memory of the process.", memory);
    let simulated = if state.is_simulated() { 1.0 } else { 0.0 };
    page.gauge(
        "simulated",
        "1: the machine's figures are from a simulated board; 0: they are measured.",
        Some(simulated),
    );
}

#[cfg(test)]
pub(crate) mod tests;
