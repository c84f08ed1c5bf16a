//! `footplate mode set`: plans, shows or performs, reads back, holds, puts back.

use std::process::ExitCode;

use clap::Args;
use footplate_core::ports::{Applied, PowerControl};
use footplate_core::{PowerMode, Seconds};
use footplate_device::Device;
use footplate_device::control::{Control, first_refusal};
use footplate_device::guard::Guard;
use footplate_device::knob::{Hold, ModeTarget, Snapshot, plan};
use footplate_device::preset::{NamedMode, Presets};
use serde_json::json;

use crate::failure::{Failure, Kind};
use crate::machine::MachineArguments;
use crate::output;

use super::hold::{End, until};
use super::wanted::WantedMode;
use crate::signals::Held;

#[derive(Args, Debug)]
pub(crate) struct SetArguments {
    /// A preset by its name
    pub(super) preset: Option<String>,

    #[command(flatten)]
    wanted: WantedMode,

    /// Set upper limits only, instead of holding the clocks still; presets always do
    #[arg(long, help_heading = "Mode")]
    limit: bool,

    /// Allow settings of discrete NVIDIA GPUs
    #[arg(long, help_heading = "Mode")]
    allow_gpu_settings: bool,

    /// Print the writes in order and do nothing; needs no rights
    #[arg(long, help_heading = "Hold")]
    dry_run: bool,

    /// Hold the mode for so long, then put back what was set
    #[arg(long = "for", value_name = "TIME", help_heading = "Hold", conflicts_with_all = ["keep", "command"])]
    duration: Option<Seconds>,

    /// Leave the mode set
    #[arg(long, help_heading = "Hold", conflicts_with = "command")]
    keep: bool,

    /// Hold the mode while a command runs; its exit code becomes ours
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,

    #[command(flatten)]
    machine: MachineArguments,

    /// Print one JSON document on stdout
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(super) fn run(arguments: &SetArguments) -> Result<ExitCode, Failure> {
    let (device, presets) = super::opened(&arguments.machine)?;
    let device = if arguments.allow_gpu_settings { device.allow_gpu_settings() } else { device };
    let (asked, target) = target(arguments, &device, &presets)?;
    let writes = plan(&device, &Snapshot::read(&device.root, &device), &target);
    if arguments.dry_run {
        return Ok(dry_run(arguments, &device, &asked, &writes));
    }
    if let Some(refusal) = first_refusal(&device, &writes) {
        return Err(refusal.into());
    }
    let held = Held::register()?;
    if arguments.machine.look_for_stale(&device)? {
        let message =
            "a dead process's settings were not put back: setting more would lose what was before it";
        return Err(Failure::new(Kind::Machine, message).hint("--restore-stale, or `footplate mode restore`"));
    }
    let guard = match arguments.machine.state_folder(&device.root) {
        Some(folder) => Some(Guard::take(&folder)?),
        None => None,
    };
    let mut control = Control::new(device, &presets, Hold::Pinned, guard);
    let applied = control.set(&target, &asked)?;
    tell(arguments, &control, &applied);
    if arguments.keep {
        control.keep()?;
        return Ok(ExitCode::SUCCESS);
    }
    let end = until(&held, arguments.duration.map(|time| time.0), &arguments.command);
    // What was set before comes back whatever the end was; a failure of that is told before any other.
    control.restore()?;
    match end? {
        End::Time | End::Asked => Ok(ExitCode::SUCCESS),
        End::Command(code) => Ok(ExitCode::from(code)),
        End::Interrupted => Err(Failure::new(Kind::Interrupted, "interrupted; what was set before is back")),
    }
}

fn target(
    arguments: &SetArguments,
    device: &Device,
    presets: &Presets,
) -> Result<(PowerMode, ModeTarget), Failure> {
    let own = arguments.wanted.resolve(device)?;
    let Some(name) = &arguments.preset else {
        if own == PowerMode::default() {
            return Err(Failure::new(Kind::Usage, "nothing to set: name a preset or a knob")
                .hint("`footplate mode list` shows both"));
        }
        let hold = if arguments.limit { Hold::Limited } else { Hold::Pinned };
        return Ok((own, ModeTarget::of(device, &own, hold)));
    };
    if own != PowerMode::default() {
        return Err(Failure::new(Kind::Usage, "a preset and knobs beside it cannot both be set"));
    }
    let named = super::preset(presets, name)?;
    refuse_reboot(device, named)?;
    if !named.left_out.is_empty() {
        output::note(&format!("not set by footplate: {}", named.left_out.join(", ")));
    }
    Ok((named.mode, named.target()))
}

/// A mask that differs takes effect with a reboot only, and that is the user's to decide.
fn refuse_reboot(device: &Device, named: &NamedMode) -> Result<(), Failure> {
    let Some(mask) = named.reboot_needed(&device.root).into_iter().next() else { return Ok(()) };
    let message = format!(
        "{} needs a reboot: {} is {}, the preset has {}",
        named.name, mask.path, mask.present, mask.wanted
    );
    let hint =
        format!("`sudo nvpmodel -m {}` asks before it reboots; footplate does not answer for you", named.id);
    Err(Failure::new(Kind::Machine, message).hint(hint))
}

fn dry_run(
    arguments: &SetArguments,
    device: &Device,
    asked: &PowerMode,
    writes: &[footplate_device::knob::Write],
) -> ExitCode {
    if arguments.json {
        let document = json!({
            "asked": asked, "writes": writes, "dry_run": true, "simulated": device.root.is_simulated(),
        });
        output::result(&format!("{document:#}"));
    } else {
        let lines: Vec<String> = writes.iter().map(ToString::to_string).collect();
        output::result(&lines.join("\n"));
    }
    ExitCode::SUCCESS
}

fn tell(arguments: &SetArguments, control: &Control, applied: &Applied) {
    let simulated = control.device().root.is_simulated();
    for warning in &applied.warnings {
        output::warning(warning);
    }
    let label = if simulated { " (simulated)" } else { "" };
    if arguments.json {
        let document = json!({"asked": applied.asked, "got": applied.got, "warnings": applied.warnings,
                              "kept": arguments.keep, "simulated": simulated});
        output::result(&format!("{document:#}"));
    } else {
        let text = format!("set and read back: {}{label}", applied.got);
        // The output of a command that runs in this mode stays clean.
        if arguments.command.is_empty() { output::result(&text) } else { output::note(&text) }
    }
    if arguments.command.is_empty() && arguments.duration.is_none() && !arguments.keep {
        output::note("held until Ctrl-C, then put back; --keep leaves it set");
    }
}
