//! `footplate device`: what machine this is, what can be set and read on it, and what is missing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use footplate_core::{Hertz, Reading, Watts};
use footplate_device::discover::{RailSource, Storage, StorageKind, storage_of_folder};
use footplate_device::rail::{Timing, power_now, timing};
use footplate_device::report::{KnobReport, Report};
use footplate_device::{Device, Source, capture};
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::machine::MachineArguments;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  footplate device                         the board, its knobs, rails, temperatures, and what is missing
  sudo footplate device --json             the same for a program, with what only root sees
  footplate device capture board.tar.gz    the nodes that were looked at, for a bug report
  footplate device --root board.tar.gz     the machine of a capture
  footplate device --sim agx-orin          a simulated board";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct DeviceArguments {
    #[command(subcommand)]
    command: Option<DeviceCommand>,

    #[command(flatten)]
    machine: MachineArguments,

    /// Print one JSON document on stdout
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// Pack the nodes that are looked at, without serial numbers and network addresses
    Capture {
        /// The file to write: OUT.tar.gz
        out: PathBuf,

        #[command(flatten)]
        machine: MachineArguments,
    },
}

pub(crate) fn run(arguments: &DeviceArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Some(DeviceCommand::Capture { out, machine }) => pack(out, machine),
        None => show(arguments),
    }
}

fn pack(out: &Path, machine: &MachineArguments) -> Result<ExitCode, Failure> {
    if !out.extension().is_some_and(|extension| extension == "gz" || extension == "tgz") {
        let message = format!("{} does not end with .tar.gz", out.display());
        return Err(Failure::new(Kind::Usage, message));
    }
    let nodes = capture::write(&machine.open()?, out)?;
    output::result(&format!(
        "{}: {nodes} nodes. Look at it with `footplate device --root {}`",
        out.display(),
        out.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn show(arguments: &DeviceArguments) -> Result<ExitCode, Failure> {
    let root = arguments.machine.open()?;
    let device = Device::discover(root);
    arguments.machine.look_for_stale(&device)?;
    let view = View::read(&device);
    output::result(&if arguments.json { format!("{:#}", view.json()) } else { view.text() });
    Ok(ExitCode::SUCCESS)
}

struct RailView {
    source: RailSource,
    power: Reading<Watts>,
    timing: Timing,
}

struct View {
    report: Report,
    rails: Vec<RailView>,
    total_power: Reading<Watts>,
    storage: Reading<Storage>,
}

impl View {
    fn read(device: &Device) -> Self {
        let rails: Vec<RailView> = device
            .rails
            .iter()
            .map(|rail| RailView {
                source: rail.clone(),
                power: power_now(device, rail),
                timing: timing(device, rail),
            })
            .collect();
        let total_power = total(device, &rails);
        let storage = match device.root.source() {
            Source::System => storage_of_folder(&device.root, Path::new(".")),
            Source::Capture(_) | Source::Simulated(_) => Reading::Absent,
        };
        Self { report: Report::read(device), rails, total_power, storage }
    }

    fn json(&self) -> Value {
        let report = &self.report;
        let rails: Vec<Value> = self.rails.iter().map(rail_json).collect();
        let temperatures: Vec<Value> = report
            .temperatures
            .iter()
            .map(|zone| {
                let (celsius, reason) = parts(&zone.celsius);
                json!({"name": zone.name, "celsius": celsius, "unreadable": reason,
                       "to_throttling": zone.to_throttling})
            })
            .collect();
        let (total_power_w, total_unreadable) = parts(&self.total_power);
        let storage = self.storage.value().map(|storage| storage_name(storage.kind));
        json!({
            "board": report.board, "board_id": report.board_id, "module": report.module, "soc": report.soc,
            "model": report.model, "l4t": report.l4t, "jetpack": report.jetpack, "kernel": report.kernel,
            "memory_bytes": report.memory_bytes, "storage": storage,
            "knobs": report.knobs.iter().map(knob_json).collect::<Vec<_>>(),
            "rails": rails, "total": report.total, "total_power_w": total_power_w,
            "total_power_unreadable": total_unreadable, "temperatures": temperatures,
            "throttled": report.throttled, "over_current": report.over_current,
            "preset": report.preset, "presets": report.presets, "peak": report.peak,
            "needs_root": report.needs_root, "problems": report.problems, "simulated": report.simulated,
        })
    }

    fn text(&self) -> String {
        let report = &self.report;
        let mut lines = vec![heading(report)];
        if let Some(model) = &report.model {
            lines.push(format!("  model      {model}"));
        }
        let mut system = Vec::new();
        system.extend(report.l4t.as_ref().map(|l4t| format!("L4T {l4t}")));
        system.extend(report.jetpack.map(|jetpack| format!("JetPack {jetpack}")));
        system.extend(report.kernel.as_ref().map(|kernel| format!("kernel {kernel}")));
        system.extend(report.memory_bytes.map(|bytes| format!("memory {bytes}")));
        lines.push(format!("  system     {}", system.join(", ")));
        if let Reading::Value(storage) = &self.storage {
            lines.push(format!("  this folder is on {}, {}", storage.disk, storage_name(storage.kind)));
        }
        let preset = report.preset.as_deref().unwrap_or("-");
        lines.push(format!("  preset     {preset} (of {})", or_dash(&report.presets.join(", "))));
        lines.extend(report.peak.as_ref().map(|peak| {
            let fp16 = peak.fp16_flops.map_or("-".to_owned(), |flops| format!("{:.2}", flops / 1e12));
            format!(
                "  peak       {:.2} TFLOP/s in 32 bit, {fp16} in 16 bit, {:.1} GB/s from memory (from its units, not measured)",
                peak.fp32_flops / 1e12,
                peak.memory_bytes_per_s / 1e9
            )
        }));
        lines.push("\nKnobs".to_owned());
        lines.extend(report.knobs.iter().flat_map(knob_lines));
        lines.push("\nRails".to_owned());
        lines.extend(self.rails.iter().map(rail_line));
        lines.push(self.total_line());
        lines.push("\nTemperatures".to_owned());
        for zone in &report.temperatures {
            let distance =
                zone.to_throttling.map_or(String::new(), |d| format!(", {d:.1} K below throttling"));
            lines.push(format!("  {:<18} {:>9}{distance}", zone.name, zone.celsius));
        }
        lines.push(format!("  throttled: {}", or_dash(&report.throttled.join(", "))));
        let counts: Vec<String> = report.over_current.iter().map(|(name, n)| format!("{name} {n}")).collect();
        if !counts.is_empty() {
            lines.push(format!("  over-current events since boot: {}", counts.join(", ")));
        }
        if !report.needs_root.is_empty() {
            lines.push(format!("\nNeeds root: {}", report.needs_root.join(", ")));
        }
        if !report.problems.is_empty() {
            lines.push("\nProblems".to_owned());
            lines.extend(report.problems.iter().map(|p| format!("  {}: {}", p.what, p.cause)));
        }
        lines.join("\n")
    }

    fn total_line(&self) -> String {
        match &self.report.total {
            Some(total) => format!(
                "  {:<18} {:>9}  = {}; {}",
                "board total",
                self.total_power,
                total.rails.join(" + "),
                total.note
            ),
            None => format!("  {:<18} {:>9}", "board total", "-"),
        }
    }
}

fn heading(report: &Report) -> String {
    let mut text = report.module.clone().unwrap_or_else(|| report.board.clone());
    if let Some(soc) = &report.soc {
        text.push_str(&format!(" ({soc})"));
    }
    if report.simulated {
        text.push_str(" - SIMULATED: no figure here was measured");
    }
    text
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// The sum of the rails that make up the total, if each was read.
fn total(device: &Device, rails: &[RailView]) -> Reading<Watts> {
    let Some(total) = &device.total else { return Reading::Absent };
    let mut sum = 0.0;
    for label in &total.rails {
        match rails.iter().find(|rail| rail.source.label == *label).map(|rail| &rail.power) {
            Some(Reading::Value(watts)) => sum += watts.0,
            Some(Reading::Unreadable { reason }) => {
                return Reading::Unreadable { reason: format!("{label}: {reason}") };
            }
            Some(Reading::Absent) | None => return Reading::Absent,
        }
    }
    Reading::Value(Watts(sum))
}

pub(super) fn storage_name(kind: StorageKind) -> &'static str {
    match kind {
        StorageKind::Sd => "SD card",
        StorageKind::Emmc => "eMMC",
        StorageKind::Nvme => "NVMe",
        StorageKind::Rotational => "rotational disk",
        StorageKind::SolidState => "solid-state disk",
    }
}

/// A reading as JSON: its value, and why there is none.
fn parts<T: serde::Serialize>(reading: &Reading<T>) -> (Option<&T>, Option<&str>) {
    match reading {
        Reading::Value(value) => (Some(value), None),
        Reading::Absent => (None, None),
        Reading::Unreadable { reason } => (None, Some(reason)),
    }
}

fn knob_json(knob: &KnobReport) -> Value {
    let (present, unreadable) = parts(&knob.present);
    json!({
        "name": knob.name, "table": knob.table, "present": present, "unreadable": unreadable,
        "current_hz": knob.current_hz.value(), "writable": knob.writable,
        "not_writable_because": knob.not_writable_because,
    })
}

fn rail_json(rail: &RailView) -> Value {
    let (power_w, unreadable) = parts(&rail.power);
    json!({
        "label": rail.source.label, "kind": rail.source.kind, "folder": rail.source.folder,
        "channel": rail.source.channel, "power_w": power_w, "unreadable": unreadable,
        "period_s": rail.timing.period_ns as f64 / 1e9, "average_s": rail.timing.average_ns as f64 / 1e9,
        "step_w": rail.timing.step_w, "assumed": rail.timing.assumed,
    })
}

fn rail_line(rail: &RailView) -> String {
    let step = rail.timing.step_w.map_or(String::new(), |w| format!(", steps of {:.0} mW", w * 1e3));
    let assumed = match rail.timing.assumed.as_str() {
        "" => String::new(),
        assumed => format!(" (assumed: {assumed})"),
    };
    let period_ms = rail.timing.period_ns as f64 / 1e6;
    format!(
        "  {:<18} {:>9}  new each {period_ms:.1} ms{step}{assumed}",
        rail.source.label,
        rail.power.to_string()
    )
}

fn knob_lines(knob: &KnobReport) -> Vec<String> {
    let is_count = knob.name == "cpu_cores";
    let show = |value: u64| if is_count { value.to_string() } else { Hertz(value).to_string() };
    let present = match &knob.present {
        Reading::Value(value) => show(*value),
        Reading::Absent => "-".to_owned(),
        Reading::Unreadable { .. } => "x".to_owned(),
    };
    let range = match (knob.table.first(), knob.table.last()) {
        (Some(first), Some(last)) => {
            format!("{} to {}, {} values", show(*first), show(*last), knob.table.len())
        }
        _ => "-".to_owned(),
    };
    let now = match &knob.current_hz {
        Reading::Value(Hertz(0)) if !is_count => ", without power now".to_owned(),
        Reading::Value(hz) if !is_count => format!(", runs at {hz}"),
        _ => String::new(),
    };
    let rights = if knob.writable { "" } else { "; read-only" };
    let mut lines = vec![format!("  {:<10} {present}{now}  [{range}]{rights}", knob.name)];
    if let Some(reason) = &knob.not_writable_because {
        lines.push(format!("             {reason}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_device::sim::{SimBoard, SimOptions};

    #[test]
    fn a_simulated_board_says_so_and_has_all_promised_fields() {
        let board = SimBoard::new("agx-orin", SimOptions::default()).expect("a board");
        let view = View::read(&Device::discover(board.root()));
        assert!(view.text().contains("SIMULATED"), "{}", view.text());
        let json = view.json();
        for field in [
            "board",
            "soc",
            "l4t",
            "knobs",
            "rails",
            "total_power_w",
            "temperatures",
            "throttled",
            "preset",
            "problems",
            "simulated",
        ] {
            assert!(json.get(field).is_some(), "{field}");
        }
        assert_eq!(json["simulated"], true);
        assert!(json["total_power_w"].as_f64().is_some_and(|w| w > 1.0), "{json:#}");
    }
}
