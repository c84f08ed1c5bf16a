//! `footplate mode`: power modes and presets, listed, shown, set, put back and exported.

mod hold;
mod set;
pub(crate) mod wanted;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use footplate_core::PowerMode;
use footplate_device::Device;
use footplate_device::control::present_mode;
use footplate_device::guard;
use footplate_device::knob::Snapshot;
use footplate_device::preset::{self, NamedMode, Presets};
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::machine::MachineArguments;
use crate::output;

use self::set::SetArguments;
use self::wanted::WantedMode;

const EXAMPLES: &str = "\
Examples:
  footplate mode list                                   presets and the tables of the knobs
  footplate mode show MODE_30W                          what a preset sets
  footplate mode set MODE_30W --dry-run                 the writes, in order; needs no rights
  sudo footplate mode set --cpu-cores 4 --gpu-clock 612MHz --for 30m
  sudo footplate mode set MAXN -- footplate train resnet18
  sudo footplate mode set MAXN --keep                   leaves it set
  sudo footplate mode restore                           puts back what a killed process left
  footplate mode export --name QUIET --cpu-cores 4      a POWER_MODEL block for nvpmodel";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ModeArguments {
    #[command(subcommand)]
    command: ModeCommand,
}

#[derive(Debug, Subcommand)]
enum ModeCommand {
    /// List presets and the values of the knobs
    List(ShowArguments),
    /// Show the present mode, or what a preset sets
    Show(ShowOneArguments),
    /// Set a mode for a time, for a command, until Ctrl-C, or to stay
    Set(Box<SetArguments>),
    /// Put back what was set before a process was killed
    Restore(RestoreArguments),
    /// Print a POWER_MODEL block that nvpmodel accepts
    Export(ExportModeArguments),
}

#[derive(Args, Debug)]
struct ShowArguments {
    #[command(flatten)]
    machine: MachineArguments,

    /// Print one JSON document on stdout
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Args, Debug)]
struct ShowOneArguments {
    /// A preset; the present mode without one
    name: Option<String>,

    #[command(flatten)]
    show: ShowArguments,
}

#[derive(Args, Debug)]
struct RestoreArguments {
    #[command(flatten)]
    machine: MachineArguments,

    /// Print the writes and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
struct ExportModeArguments {
    /// The new preset's name
    #[arg(long)]
    name: String,

    #[command(flatten)]
    wanted: WantedMode,

    #[command(flatten)]
    machine: MachineArguments,
}

pub(crate) fn run(arguments: &ModeArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        ModeCommand::List(arguments) => list(arguments),
        ModeCommand::Show(arguments) => show(arguments),
        ModeCommand::Set(arguments) => set::run(arguments),
        ModeCommand::Restore(arguments) => restore(arguments),
        ModeCommand::Export(arguments) => export(arguments),
    }
}

/// A machine with its presets; problems of the presets are told.
fn opened(machine: &MachineArguments) -> Result<(Device, Presets), Failure> {
    let device = Device::discover(machine.open()?);
    let mut problems = Vec::new();
    let presets = Presets::read(&device, &mut problems);
    for problem in problems {
        output::warning(&format!("{}: {}", problem.what, problem.cause));
    }
    Ok((device, presets))
}

/// A preset by its name, or why there is none.
fn preset<'a>(presets: &'a Presets, name: &str) -> Result<&'a NamedMode, Failure> {
    presets.named(name).ok_or_else(|| {
        let names: Vec<&str> = presets.modes.iter().map(|mode| mode.name.as_str()).collect();
        let hint = match names.is_empty() {
            true => "this machine has no presets; name the knobs, as in --gpu-clock 612MHz".to_owned(),
            false => format!("the presets are {}", names.join(", ")),
        };
        Failure::new(Kind::Usage, format!("there is no preset `{name}`")).hint(hint)
    })
}

fn label(device: &Device) -> &'static str {
    if device.root.is_simulated() { " (simulated)" } else { "" }
}

fn list(arguments: &ShowArguments) -> Result<ExitCode, Failure> {
    let (device, presets) = opened(&arguments.machine)?;
    arguments.machine.look_for_stale(&device)?;
    let tables = device.tables();
    let space = device.space();
    if arguments.json {
        let document = json!({
            "board": device.facts.name, "simulated": device.root.is_simulated(), "active": presets.active,
            "presets": presets.modes, "tables": tables, "modes": space.modes().len(),
        });
        output::result(&format!("{document:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![format!("{}{}", device.facts.name, label(&device))];
    for preset in &presets.modes {
        let mark = if presets.active.as_deref() == Some(&preset.name) { "*" } else { " " };
        let default = if preset.default { "  (default)" } else { "" };
        lines.push(format!("{mark} {:<20} {}{default}", preset.name, preset.mode));
    }
    if presets.modes.is_empty() {
        lines.push("  no presets".to_owned());
    }
    let clocks = |name: &str, table: &[footplate_core::Hertz]| {
        let values: Vec<String> = table.iter().map(|hz| (hz.0 as f64 / 1e6).to_string()).collect();
        (!table.is_empty()).then(|| format!("{name} in MHz: {}", values.join(" ")))
    };
    lines.push(String::new());
    let cores: Vec<String> = tables.cpu_cores.iter().map(u32::to_string).collect();
    lines.extend((!cores.is_empty()).then(|| format!("CPU cores: {}", cores.join(" "))));
    lines.extend(clocks("CPU", &tables.cpu_hz));
    lines.extend(clocks("GPU", &tables.gpu_hz));
    lines.extend(clocks("EMC", &tables.emc_hz));
    lines.push(format!("{} power modes in all", space.modes().len()));
    output::result(&lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

fn show(arguments: &ShowOneArguments) -> Result<ExitCode, Failure> {
    let (device, presets) = opened(&arguments.show.machine)?;
    arguments.show.machine.look_for_stale(&device)?;
    let (text, document) = match &arguments.name {
        Some(name) => shown_preset(&device, preset(&presets, name)?),
        None => shown_present(&device, &presets),
    };
    output::result(&if arguments.show.json { format!("{document:#}") } else { text });
    Ok(ExitCode::SUCCESS)
}

fn shown_present(device: &Device, presets: &Presets) -> (String, Value) {
    let mode = present_mode(device, &Snapshot::read(&device.root, device));
    let preset = presets.active.as_deref().unwrap_or("-");
    let text = format!("{mode}{}\npreset: {preset}", label(device));
    let document = json!({
        "mode": mode, "preset": presets.active, "simulated": device.root.is_simulated(),
    });
    (text, document)
}

fn shown_preset(device: &Device, named: &NamedMode) -> (String, Value) {
    let reboot = named.reboot_needed(&device.root);
    let mut lines =
        vec![format!("{} (id {}){}", named.name, named.id, label(device)), named.mode.to_string()];
    if let Some(online) = &named.online {
        lines.push(format!("CPUs on: {}", footplate_device::parse::show_cpu_list(online)));
    }
    for mask in &reboot {
        lines.push(format!("needs a reboot: {} is {}, not {}", mask.path, mask.present, mask.wanted));
    }
    if !named.left_out.is_empty() {
        lines.push(format!("not set by footplate: {}", named.left_out.join(", ")));
    }
    let document = json!({
        "preset": named, "needs_reboot": !reboot.is_empty(), "simulated": device.root.is_simulated(),
    });
    (lines.join("\n"), document)
}

fn restore(arguments: &RestoreArguments) -> Result<ExitCode, Failure> {
    let (device, _) = opened(&arguments.machine)?;
    let folder: PathBuf = arguments
        .machine
        .state_folder(&device.root)
        .ok_or_else(|| Failure::new(Kind::Usage, "a simulated board has no journal without --state-dir"))?;
    if arguments.dry_run {
        let Some(journal) = guard::stale(&folder)? else {
            output::result("nothing to put back");
            return Ok(ExitCode::SUCCESS);
        };
        let present = Snapshot::read(&device.root, &device);
        for write in footplate_device::knob::plan_restore(&device, &present, &journal.saved) {
            output::result(&write.to_string());
        }
        return Ok(ExitCode::SUCCESS);
    }
    match guard::put_back(&device, &folder)? {
        Some(journal) => output::result(&format!("put back what process {} had changed", journal.owner_pid)),
        None => output::result("nothing to put back"),
    }
    Ok(ExitCode::SUCCESS)
}

fn export(arguments: &ExportModeArguments) -> Result<ExitCode, Failure> {
    let (device, presets) = opened(&arguments.machine)?;
    let asked = arguments.wanted.resolve(&device)?;
    let mode = if asked == PowerMode::default() {
        present_mode(&device, &Snapshot::read(&device.root, &device))
    } else {
        asked
    };
    let block = preset::export(&device, &presets, &arguments.name, &mode).map_err(|error| {
        let kind = match error {
            preset::ExportError::NoConf => Kind::Machine,
            preset::ExportError::Table | preset::ExportError::Name(_) => Kind::Usage,
        };
        Failure::new(kind, error.to_string())
    })?;
    output::result(block.trim_end());
    Ok(ExitCode::SUCCESS)
}
