//! The vendor's presets as typed modes: what nvpmodel's configuration means for the knobs of a device.

use serde::Serialize;

use footplate_core::{Hertz, PowerMode};

use crate::discover::{Device, Problem};
use crate::knob::emc::EmcTarget;
use crate::knob::{ModeTarget, Range};
use crate::nvpmodel::{Conf, ParamType, PowerModel, Setting, status_id};
use crate::root::Root;

/// Where the configuration is found.
const CONF: &str = "/etc/nvpmodel.conf";
/// What nvpmodel last set, as far as it knows.
const STATUS: &str = "/var/lib/nvpmodel/status";

/// A preset of the vendor, read as a mode of this device's knobs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NamedMode {
    /// Its number in this configuration; numbers differ between boards, names do not.
    pub id: i64,
    /// Its name in the configuration, such as `MAXN`.
    pub name: String,
    /// Whether it is the default.
    pub default: bool,
    /// The mode as the knobs have it.
    pub mode: PowerMode,
    /// CPUs that are on, where it says so.
    pub online: Option<Vec<u32>>,
    /// The lower limit of the CPU clock in kHz.
    pub cpu_min_khz: Option<u64>,
    /// The lower limit of the GPU clock in Hz.
    pub gpu_min_hz: Option<u64>,
    /// Whether the EMC is left uncapped.
    pub emc_uncapped: bool,
    /// Masks of gated units: node and value.
    pub masks: Vec<(String, u64)>,
    /// Parameters that are not set here (clocks of other engines, limits of current).
    pub left_out: Vec<String>,
}

/// The presets of a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Presets {
    /// The configuration, where there is one.
    pub conf: Option<Conf>,
    /// The presets, in the order of the configuration.
    pub modes: Vec<NamedMode>,
    /// The name of the mode that nvpmodel says is active.
    pub active: Option<String>,
}

/// What a path of the configuration is.
enum Role {
    Online(u32),
    CpuMin,
    CpuMax,
    GpuMin,
    GpuMax,
    Emc,
    Mask,
    Other,
}

impl Role {
    fn of(path: &str, argument: &str) -> Self {
        let last = path.rsplit('/').next().unwrap_or_default();
        if let Some(rest) = path.strip_prefix("/sys/devices/system/cpu/cpu")
            && let Some(cpu) = rest.strip_suffix("/online").and_then(|cpu| cpu.parse().ok())
        {
            return Self::Online(cpu);
        }
        if last.ends_with("_pg_mask") {
            return Self::Mask;
        }
        let is_gpu = path.contains("devfreq") && !path.contains("dla") && !path.contains("nvd");
        match last {
            "scaling_min_freq" => Self::CpuMin,
            "scaling_max_freq" => Self::CpuMax,
            "min_freq" if is_gpu => Self::GpuMin,
            "max_freq" if is_gpu => Self::GpuMax,
            "emc_iso_cap" => Self::Emc,
            "emc" if path.ends_with("nvpmodel_clk_cap/emc") && argument.starts_with("MAX_FREQ") => Self::Emc,
            _ => Self::Other,
        }
    }
}

impl Presets {
    /// Reads the configuration and the active mode. A machine without nvpmodel has none, which is no problem.
    pub fn read(device: &Device, problems: &mut Vec<Problem>) -> Self {
        let text = match device.root.text(CONF) {
            Ok(text) => format!("{text}\n"),
            Err(error) if error.is_absent() => return Self::default(),
            Err(error) => {
                problems.push(Problem { what: "presets".into(), cause: error.to_string() });
                return Self::default();
            }
        };
        let conf = match Conf::parse(&text) {
            Ok(conf) => conf,
            Err(error) => {
                problems.push(Problem { what: "presets".into(), cause: format!("{CONF}, {error}") });
                return Self::default();
            }
        };
        let default = conf.default_mode().map(|mode| mode.id);
        let modes: Vec<NamedMode> =
            conf.modes.iter().map(|mode| typed(device, &conf, mode, default == Some(mode.id))).collect();
        let active = device.root.text(STATUS).ok().and_then(|text| status_id(&text));
        let active =
            active.and_then(|id| modes.iter().find(|mode| mode.id == id)).map(|mode| mode.name.clone());
        Self { conf: Some(conf), modes, active }
    }

    /// A preset by its name; upper and lower case do not matter.
    pub fn named(&self, name: &str) -> Option<&NamedMode> {
        let exact = self.modes.iter().find(|mode| mode.name == name);
        exact.or_else(|| self.modes.iter().find(|mode| mode.name.eq_ignore_ascii_case(name)))
    }
}

/// The path of a setting: newer kernels have their own (`…_KNEXT`), which counts where the other is not there.
fn path_of(root: &Root, conf: &Conf, setting: &Setting) -> Option<(String, ParamType)> {
    if setting.argument.is_empty() {
        return Some((setting.param.clone(), ParamType::File));
    }
    let param = conf.param(&setting.param)?;
    let plain = param.path(&setting.argument);
    let next = param.path(&format!("{}_KNEXT", setting.argument));
    let path = match (plain, next) {
        (Some(plain), Some(next)) if !root.exists(plain) && root.exists(next) => next,
        (Some(path), _) | (None, Some(path)) => path,
        (None, None) => return None,
    };
    Some((path.to_owned(), param.kind))
}

/// The entry of a table that nvpmodel takes for a value: the nearest (inferred from stock modes, docs/boards).
pub fn nearest(table: &[u64], value: u64) -> Option<u64> {
    table.iter().copied().min_by_key(|entry| entry.abs_diff(value))
}

fn typed(device: &Device, conf: &Conf, model: &PowerModel, default: bool) -> NamedMode {
    let mut named = NamedMode {
        id: model.id,
        name: model.name.clone(),
        default,
        mode: PowerMode::default(),
        online: None,
        cpu_min_khz: None,
        gpu_min_hz: None,
        emc_uncapped: false,
        masks: Vec::new(),
        left_out: Vec::new(),
    };
    let cpu_table = device.cpu.table_khz();
    let gpu_table = device.gpu.as_ref().map(|gpu| gpu.table_hz.clone()).unwrap_or_default();
    let emc_table = device.emc.as_ref().map(|emc| emc.table_hz.clone()).unwrap_or_default();
    // Cores that a preset does not name stay as they are; cpu0 always is on.
    let mut online = device.cpu.order.clone();
    let mut names_cores = false;
    for setting in &model.settings {
        let Some((path, _)) = path_of(&device.root, conf, setting) else {
            named.left_out.push(format!("{}.{}", setting.param, setting.argument));
            continue;
        };
        let number: Option<i64> = setting.value.parse().ok();
        let limit = |table: &[u64]| match number {
            Some(-1) => table.last().copied(),
            Some(value) if value >= 0 => nearest(table, value as u64),
            _ => None,
        };
        match Role::of(&path, &setting.argument) {
            Role::Online(cpu) => {
                names_cores = true;
                if number == Some(0) {
                    online.retain(|c| *c != cpu);
                }
            }
            // With several clusters the highest limit counts: each policy takes what its own table allows.
            Role::CpuMax => {
                let hz = limit(&cpu_table).map(|khz| Hertz(khz * 1000));
                named.mode.cpu_hz = named.mode.cpu_hz.max(hz);
            }
            Role::CpuMin => named.cpu_min_khz = named.cpu_min_khz.max(limit(&cpu_table)),
            Role::GpuMax => named.mode.gpu_hz = limit(&gpu_table).map(Hertz),
            Role::GpuMin => named.gpu_min_hz = limit(&gpu_table),
            Role::Emc => {
                named.emc_uncapped = matches!(number, Some(0 | -1));
                let hz = if named.emc_uncapped { emc_table.last().copied() } else { limit(&emc_table) };
                named.mode.emc_hz = hz.map(Hertz);
            }
            Role::Mask => named.masks.extend(number.and_then(|n| u64::try_from(n).ok()).map(|n| (path, n))),
            Role::Other => named.left_out.push(format!("{}.{}", setting.param, setting.argument)),
        }
    }
    if names_cores {
        online.sort_unstable();
        named.mode.cpu_cores = Some(online.len() as u32);
        named.online = Some(online);
    }
    named
}

/// A mask that differs from what the hardware has: the mode needs a reboot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebootNeeded {
    /// The node of the mask, such as `…/tpc_pg_mask`.
    pub path: String,
    /// What the node holds now.
    pub present: u64,
    /// What the mode has.
    pub wanted: u64,
}

impl NamedMode {
    /// What this preset asks of the knobs.
    pub fn target(&self) -> ModeTarget {
        let range =
            |min: Option<u64>, max: Option<u64>| max.map(|max| Range { min: min.unwrap_or(0).min(max), max });
        ModeTarget {
            online: self.online.clone(),
            cpu_khz: range(self.cpu_min_khz, self.mode.cpu_hz.map(|hz| hz.0 / 1000)),
            gpu_hz: range(self.gpu_min_hz, self.mode.gpu_hz.map(|hz| hz.0)),
            emc: match (self.emc_uncapped, self.mode.emc_hz) {
                (true, _) => Some(EmcTarget::Free),
                (false, Some(hz)) => Some(EmcTarget::Cap(hz.0)),
                (false, None) => None,
            },
            gpu_limit_mw: None,
        }
    }

    /// Masks that change only with a reboot and differ now. A mask that cannot be read is not among them.
    pub fn reboot_needed(&self, root: &Root) -> Vec<RebootNeeded> {
        let differs = |(path, wanted): &(String, u64)| {
            let present = mask_value(&root.text(path).ok()?)?;
            (present != *wanted).then(|| RebootNeeded { path: path.clone(), present, wanted: *wanted })
        };
        self.masks.iter().filter_map(differs).collect()
    }
}

/// Masks are shown in decimal or with `0x`.
fn mask_value(text: &str) -> Option<u64> {
    match text.trim().strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.trim().parse().ok(),
    }
}

/// Why a mode cannot be written as a preset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// There is nothing to name the parameters after.
    #[error("{CONF} is not there: a POWER_MODEL block names the parameters of that file")]
    NoConf,
    /// A table of measurements is no board.
    #[error("a table has no nvpmodel configuration")]
    Table,
    /// nvpmodel's names have no spaces.
    #[error("`{0}` is no name for a mode: letters, digits, `_` and `-` only")]
    Name(String),
}

/// A POWER_MODEL block for a mode, in the words of the device's own configuration.
pub fn export(
    device: &Device,
    presets: &Presets,
    name: &str,
    mode: &PowerMode,
) -> Result<String, ExportError> {
    let conf = presets.conf.as_ref().ok_or(ExportError::NoConf)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(ExportError::Name(name.to_owned()));
    }
    let id = conf.modes.iter().map(|mode| mode.id).max().unwrap_or(-1).saturating_add(1);
    let online = mode.cpu_cores.map(|count| device.cpu.first(count));
    let lowest = |table: &[u64]| table.first().copied().unwrap_or(0);
    let mut lines = vec![format!("< POWER_MODEL ID={id} NAME={name} >")];
    for param in &conf.params {
        for (argument, words) in &param.arguments {
            let path = words.first().map(String::as_str).unwrap_or_default();
            let value = match Role::of(path, argument) {
                Role::Online(cpu) => online.as_ref().map(|on| u64::from(on.contains(&cpu))),
                Role::CpuMax => mode.cpu_hz.map(|hz| hz.0 / 1000),
                Role::CpuMin => mode.cpu_hz.map(|_| lowest(&device.cpu.table_khz())),
                Role::GpuMax => mode.gpu_hz.map(|hz| hz.0),
                Role::GpuMin => mode.gpu_hz.map(|_| 0),
                Role::Emc => mode.emc_hz.map(|hz| hz.0),
                // As it is now: the block needs no reboot.
                Role::Mask => device.root.text(path).ok().and_then(|text| mask_value(&text)),
                Role::Other => None,
            };
            if let Some(value) = value {
                let argument = argument.strip_suffix("_KNEXT").unwrap_or(argument);
                lines.push(format!("{} {argument} {value}", param.name));
            }
        }
    }
    lines.dedup();
    Ok(lines.join("\n") + "\n")
}
