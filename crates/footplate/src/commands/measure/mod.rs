//! `footplate measure`: time, energy, heat and throttling of any command.

mod child;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use footplate_core::Seconds;
use footplate_core::ports::{Clock, PowerMeter};
use footplate_core::quantity::QuantityError;
use footplate_device::host;
use footplate_device::meter::{INTERVAL_NS, Meter, RealClock};
use footplate_device::sim::{Activity, SimBoard, SimOptions};
use footplate_device::{Device, Root, Source};
use footplate_views::measured::{Figures, Run};

use crate::failure::{Failure, Kind};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  footplate measure -- python train.py             time, energy of each rail, heat, throttling
  footplate measure --repeat 5 -- ./benchmark      the mean of five runs and their spread
  sudo footplate measure --json -- make            one JSON document; the command's own output goes to stderr
  footplate measure --sim agx-orin -- sleep 5      on a simulated board, whose CPU is as busy as this machine's

The command keeps stdout; the figures go to stderr, with --json to stdout. The exit code is the command's.
The meter begins a little before the command and ends a little after it (4 values of the slowest sensor, at most 2 s).
A sensor that averages is read once in each of its periods. Energies are sums over samples with their coverage; on a
machine without sensors there is the time, and what is missing is told.";

/// Waits before and after the command: so long at most.
const LEAD_MAX_NS: u64 = 2_000_000_000;
/// How often a simulated board is told how busy this machine is.
const MIRROR: Duration = Duration::from_millis(100);

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MeasureArguments {
    /// How often to read a sensor that shows a moment, such as 50ms or 1s; never faster than it has new values
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "100ms")]
    interval: u64,

    /// Run the command that often, and tell mean and spread
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeat: u32,

    /// A simulated board: tx1, tx2, nano, xavier-nx, agx-xavier, orin-nano, orin-nx, agx-orin or thor; BOARD@r35
    /// for one of its releases
    #[arg(long, value_name = "BOARD", help_heading = "Machine")]
    sim: Option<String>,

    /// Print one JSON document on stdout
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// A time in nanoseconds; 1 ms to 1 minute.
fn interval(text: &str) -> Result<u64, String> {
    let Seconds(seconds) = text.parse().map_err(|e: QuantityError| e.to_string())?;
    let ns = seconds * 1e9;
    if (1e6..=6e10).contains(&ns) { Ok(ns as u64) } else { Err("must be 1ms to 60s".to_owned()) }
}

pub(crate) fn run(arguments: &MeasureArguments) -> Result<ExitCode, Failure> {
    let origin = Instant::now();
    let board = match &arguments.sim {
        Some(name) => Some(simulated(name, origin)?),
        None => None,
    };
    let device = Device::discover(board.as_ref().map_or_else(Root::system, SimBoard::root));
    let clock = Arc::new(RealClock::since(origin));
    let meter = Meter::start(&device, arguments.interval, clock.clone())?;
    let mirror = board.map(Mirror::start).transpose()?;
    let mut session = Session { arguments, device: &device, clock: &clock, meter };
    let mut runs = Vec::new();
    for _ in 0..arguments.repeat {
        let run = session.once()?;
        let failed = run.exit_code != 0;
        runs.push(run);
        if failed {
            break;
        }
    }
    let mut warnings = session.warnings(&runs);
    if mirror.is_some() {
        warnings.push(
            "simulated: power and heat are of a model of a board whose CPU is as busy as this machine's, with an idle GPU"
                .to_owned(),
        );
    }
    let asked = arguments.repeat as usize;
    if runs.len() < asked {
        warnings.push(format!("the command failed: {} of {asked} runs were made", runs.len()));
    }
    let code = runs.last().map_or(0, |run| run.exit_code);
    let figures = figures(&device, &arguments.command, runs, warnings);
    if arguments.json {
        output::result(&figures.json());
    } else {
        output::note(&figures.text());
    }
    Ok(ExitCode::from(code))
}

fn figures(device: &Device, command: &[OsString], runs: Vec<Run>, warnings: Vec<String>) -> Figures {
    let machine = match device.root.source() {
        Source::Simulated(board) => format!("{board} (simulated)"),
        _ => device.facts.name.to_owned(),
    };
    Figures {
        machine,
        simulated: device.root.is_simulated(),
        total_note: device.total.as_ref().map(|total| total.note.clone()),
        command: command.iter().map(|part| part.to_string_lossy().into_owned()).collect(),
        runs,
        warnings,
    }
}

fn simulated(name: &str, origin: Instant) -> Result<SimBoard, Failure> {
    SimBoard::in_real_time(name, SimOptions::default(), origin)
        .map_err(|error| Failure::new(Kind::Usage, error.to_string()))
}

/// All that one run needs.
struct Session<'a> {
    arguments: &'a MeasureArguments,
    device: &'a Device,
    clock: &'a RealClock,
    meter: Meter,
}

impl Session<'_> {
    fn once(&mut self) -> Result<Run, Failure> {
        // Values before and after the command tell how old the sensor's values are.
        let lead = self.meter.least_window_ns().map_or(0, |least| least.min(LEAD_MAX_NS));
        self.clock.wait_ns(lead);
        let cpu_before = host::children_cpu_s();
        let from = self.clock.now_ns();
        let exit_code = child::run(&self.arguments.command, self.arguments.json)?;
        let to = self.clock.now_ns();
        let cpu_s = host::children_cpu_s().zip(cpu_before).map(|(after, before)| after - before);
        self.clock.wait_ns(lead);
        let (cpu_use, gpu_use) = self.meter.usage(from, to);
        Ok(Run {
            exit_code,
            wall_s: (to - from) as f64 / 1e9,
            cpu_s,
            cpu_use,
            gpu_use,
            window: self.meter.window(from, to),
        })
    }

    /// What the user should know of the figures.
    fn warnings(&self, runs: &[Run]) -> Vec<String> {
        let concerns_power = |what: &str| {
            ["power", "board total", "RAPL", "battery", "hwmon"].contains(&what) || what.starts_with("power")
        };
        let problems = self.device.problems.iter().filter(|problem| concerns_power(&problem.what));
        let mut warnings: Vec<String> = problems.map(|p| format!("{}: {}", p.what, p.cause)).collect();
        warnings.extend(self.meter.notes());
        warnings.extend(runs.iter().flat_map(Run::warnings));
        if self.arguments.interval != INTERVAL_NS && self.device.rails.is_empty() {
            warnings.push("--interval has no effect: there is no sensor".to_owned());
        }
        let mut seen = Vec::new();
        warnings.retain(|warning| {
            let is_new = !seen.contains(warning);
            seen.push(warning.clone());
            is_new
        });
        warnings
    }
}

/// Makes a simulated board's CPU as busy as this machine's.
struct Mirror {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Mirror {
    fn start(board: SimBoard) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let its_stop = stop.clone();
        let mirror = move || {
            let mut before = host::cpu_ticks();
            while !its_stop.load(Ordering::Relaxed) {
                thread::sleep(MIRROR);
                let now = host::cpu_ticks();
                if let (Some(a), Some(b)) = (before, now) {
                    let share = (b.0 - a.0) as f64 / (b.1 - a.1).max(1) as f64;
                    let cpu = share.clamp(0.0, 1.0);
                    // Memory traffic grows with the work of the cores: a tenth of the bus at full use.
                    board.set_activity(Activity { cpu, gpu: 0.0, memory: cpu / 10.0 });
                }
                before = now;
            }
        };
        let thread = thread::Builder::new().name("mirror".to_owned()).spawn(mirror);
        let thread =
            thread.map_err(|e| Failure::new(Kind::Machine, format!("cannot start a thread: {e}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_unit_and_bounds() {
        assert_eq!(interval("100ms"), Ok(INTERVAL_NS));
        assert_eq!(interval("0.5s"), Ok(500_000_000));
        for wrong in ["100", "0ms", "5 minutes", "ms", "-1s", "2h", "NaNs"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
