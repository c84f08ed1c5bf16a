//! The GPU, permissions, sensors, the power mode, clocks, heat and the supply.

use footplate_core::Reading;

use crate::board::{self, Soc};
use crate::discover::Device;
use crate::parse;
use crate::preset::Presets;
use crate::report::Report;

use super::system::gpu_nodes;
use super::{Finding, Level};

/// Nearer to throttling than this before any load: the cooling is at its end.
const HEAT_NEAR_K: f64 = 15.0;

/// The driver. Which device a run would use only the engine knows.
pub(super) fn gpu(device: &Device) -> Finding {
    let check = "gpu driver";
    let root = &device.root;
    if device.facts.soc != Soc::Other {
        return match &device.gpu {
            Some(gpu) if gpu.table_hz.is_empty() => {
                Finding::new(check, Level::Warning, "the GPU's clocks cannot be read")
                    .repair("sudo footplate device tells why")
            }
            Some(_) => Finding::new(check, Level::Ok, "nvgpu"),
            None => Finding::new(
                check,
                Level::Problem,
                "no GPU among /sys/class/devfreq: its driver is not loaded",
            )
            .repair("sudo modprobe nvgpu; dmesg | grep nvgpu tells why it failed"),
        };
    }
    match root.text("/proc/driver/nvidia/version") {
        Ok(text) => {
            let version =
                text.lines().next().and_then(driver_version).unwrap_or("of unknown version").to_owned();
            if device.rails.iter().any(|rail| rail.folder.contains("nvml")) || !device.gpu_limits.is_empty() {
                Finding::new(check, Level::Ok, format!("NVIDIA {version}"))
            } else {
                let told = format!("NVIDIA {version}, and its library (NVML) gives no GPU");
                Finding::new(check, Level::Warning, told)
                    .repair("nvidia-smi tells why: a driver that was updated needs a restart of the machine")
            }
        }
        Err(_) if !root.matches("/dev/dri/renderD*").is_empty() => {
            Finding::new(check, Level::Ok, "none of NVIDIA's; there is a GPU for Vulkan (/dev/dri)")
        }
        Err(_) => Finding::new(check, Level::Note, "no GPU: runs go to the cpu"),
    }
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 …`: the first word that is a version.
fn driver_version(line: &str) -> Option<&str> {
    line.split_whitespace()
        .find(|word| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// Nodes that the user may not open or write.
pub(super) fn permissions(device: &Device) -> Vec<Finding> {
    let check = "permissions";
    let root = &device.root;
    let mut findings = Vec::new();
    let mut nodes = gpu_nodes(root);
    nodes.extend(root.matches("/dev/dri/renderD*"));
    let denied: Vec<String> =
        nodes.into_iter().filter(|node| root.writable(node).is_err_and(|e| e.is_permission())).collect();
    if !denied.is_empty() {
        let told = format!("this user may not use {}", denied.join(", "));
        findings.push(
            Finding::new(check, Level::Warning, told)
                .repair("sudo usermod -aG video,render $USER, then log in again"),
        );
    }
    let report = Report::read(device);
    let set: Vec<&str> = report.needs_root.iter().filter_map(|what| what.strip_prefix("set ")).collect();
    if !set.is_empty() {
        let told = format!("only root can set {}; training itself does not need it", set.join(", "));
        findings
            .push(Finding::new(check, Level::Note, told).repair("sudo, for `footplate mode set` and `tune`"));
    }
    if findings.is_empty() {
        findings.push(Finding::new(check, Level::Ok, "nothing is out of reach"));
    }
    findings
}

/// Whether power and temperatures can be read.
pub(super) fn sensors(device: &Device) -> Vec<Finding> {
    let check = "sensors";
    let mut findings = Vec::new();
    let mut unreadable = Vec::new();
    let mut first_reason = None;
    for rail in &device.rails {
        if let Reading::Unreadable { reason } = crate::rail::power_now(device, rail) {
            unreadable.push(rail.label.as_str());
            first_reason.get_or_insert(reason);
        }
    }
    if let Some(reason) = first_reason {
        let told = format!("power of {} cannot be read: {reason}", unreadable.join(", "));
        findings.push(Finding::new(check, Level::Warning, told).repair(
            "sudo; L4T R32.5 to R35 show power to root only. Without it a run's energy is not known",
        ));
    }
    let is_jetson = device.facts.soc != Soc::Other;
    match (&device.total, device.rails.is_empty()) {
        (_, true) if is_jetson => {
            let told = "no power sensor was found on a board that has some";
            findings.push(
                Finding::new(check, Level::Warning, told).repair("footplate device tells what is missing"),
            );
        }
        (_, true) => {
            findings.push(Finding::new(check, Level::Note, "no power sensor: energy is shown as \"-\""));
        }
        (None, false) => {
            findings.push(Finding::new(
                check,
                Level::Note,
                "no rail measures the whole board: a run's energy is \"-\"",
            ));
        }
        (Some(_), false) if findings.is_empty() => {
            let told = format!("{} rails, {} temperatures", device.rails.len(), device.zones.len());
            findings.push(Finding::new(check, Level::Ok, told));
        }
        (Some(_), false) => {}
    }
    findings
}

/// The vendor's preset that is active.
pub(super) fn power_mode(device: &Device) -> Option<Finding> {
    let check = "power mode";
    let mut problems = Vec::new();
    let presets = Presets::read(device, &mut problems);
    if presets.modes.is_empty() {
        let is_jetson = device.facts.soc != Soc::Other;
        return is_jetson.then(|| {
            let cause =
                problems.first().map_or("there is no /etc/nvpmodel.conf".to_owned(), |p| p.cause.clone());
            Finding::new(check, Level::Note, format!("presets are not known: {cause}"))
        });
    }
    let names: Vec<&str> = presets.modes.iter().map(|mode| mode.name.as_str()).collect();
    let Some(active) = &presets.active else {
        let told = format!("nvpmodel does not say which of {} is active", names.join(", "));
        return Some(Finding::new(check, Level::Note, told).repair("sudo nvpmodel -q"));
    };
    let is_unlimited = active.starts_with("MAXN");
    let largest = names.iter().find(|name| name.starts_with("MAXN"));
    Some(match largest {
        Some(largest) if !is_unlimited => {
            let told = format!("{active} is active and holds clocks down; {largest} is the fastest");
            Finding::new(check, Level::Note, told)
                .repair(format!("sudo footplate mode set {largest}, if the supply and the cooling allow it"))
        }
        _ => Finding::new(check, Level::Ok, active.clone()),
    })
}

/// Governors that keep the CPU slow.
pub(super) fn governor(device: &Device) -> Option<Finding> {
    let check = "cpu governor";
    let root = &device.root;
    let mut names: Vec<String> = Vec::new();
    let mut driver = String::new();
    for policy in &device.cpu.policies {
        names.extend(root.text(&format!("{}/scaling_governor", policy.path)).ok());
        driver = root.text(&format!("{}/scaling_driver", policy.path)).unwrap_or(driver);
    }
    names.sort();
    names.dedup();
    if names.is_empty() {
        return None;
    }
    let told = names.join(", ");
    // With these drivers `powersave` goes up and down with the load like `schedutil`.
    let is_scaled = driver.starts_with("intel_pstate") || driver.starts_with("amd-pstate");
    let is_slow =
        names.iter().any(|name| name == "powersave" || name == "userspace" || name == "conservative");
    Some(if is_slow && !is_scaled {
        Finding::new(check, Level::Warning, format!("{told}: the CPU may stay slow under load"))
            .repair("echo schedutil | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor")
    } else {
        Finding::new(check, Level::Ok, told)
    })
}

/// Cores that are off.
pub(super) fn cores(device: &Device) -> Option<Finding> {
    let read = |name: &str| {
        let text = device.root.text(&format!("/sys/devices/system/cpu/{name}")).ok()?;
        parse::cpu_list(&text)
    };
    let (present, online) = (read("present")?, read("online")?);
    let off: Vec<u32> = present.iter().copied().filter(|cpu| !online.contains(cpu)).collect();
    let told = format!("{} of {} on", online.len(), present.len());
    Some(if off.is_empty() {
        Finding::new("cpu cores", Level::Ok, told)
    } else {
        Finding::new("cpu cores", Level::Note, format!("{told}; off: {}", parse::show_cpu_list(&off)))
            .repair("a power mode switches them: footplate mode list")
    })
}

/// Throttling now, or soon.
pub(super) fn heat(device: &Device) -> Option<Finding> {
    let check = "heat";
    let fits = |patterns: &[&str], kind: &str| patterns.iter().any(|p| board::matches_kind(p, kind));
    let report = Report::read(device);
    if !report.throttled.is_empty() {
        let told = format!("the machine has lowered its clocks: {} active", report.throttled.join(", "));
        return Some(
            Finding::new(check, Level::Warning, told).repair("better cooling, or a smaller power mode"),
        );
    }
    let nearest = report.temperatures.iter().filter_map(|zone| Some((zone, zone.to_throttling?)));
    let Some((zone, distance)) = nearest.min_by(|a, b| a.1.total_cmp(&b.1)) else {
        let has_some = !report.temperatures.is_empty();
        return has_some.then(|| {
            let told = "temperatures are there, and none tells where throttling begins";
            Finding::new(check, Level::Note, told)
        });
    };
    let told = format!("{} is at {}, {distance:.1} K below throttling", zone.name, zone.celsius);
    let has_fan = device.cooling.iter().any(|c| fits(&["pwm-fan*", "*fan*"], &c.kind));
    Some(if distance < HEAT_NEAR_K {
        let repair =
            if has_fan { "see that the fan turns and the sink is free of dust" } else { "better cooling" };
        Finding::new(check, Level::Warning, told).repair(repair)
    } else {
        Finding::new(check, Level::Ok, told)
    })
}

/// Events of a supply that gives in, or of a board that draws too much, since it was started.
pub(super) fn supply(device: &Device) -> Option<Finding> {
    let check = "power supply";
    let report = Report::read(device);
    if !report.over_current.is_empty() {
        let counts: Vec<String> = report.over_current.iter().map(|(name, n)| format!("{name} {n}")).collect();
        let told = format!(
            "events of under-voltage or over-current since the start: {}; each throttles the clocks",
            counts.join(", ")
        );
        return Some(Finding::new(check, Level::Warning, told).repair(
            "a stronger supply (barrel jack instead of USB), a shorter cable, or a smaller power mode",
        ));
    }
    if let Some(alarm) = low_voltage(device) {
        return Some(
            Finding::new(
                check,
                Level::Warning,
                format!("{alarm} has seen too low a voltage since the start"),
            )
            .repair("a stronger supply, or a shorter cable"),
        );
    }
    (!device.over_current.is_empty()).then(|| Finding::new(check, Level::Ok, "no events since the start"))
}

/// The kernel's alarm of low voltage (`in0_lcrit_alarm` of hwmon, as the Raspberry Pi's `rpi_volt` has it).
fn low_voltage(device: &Device) -> Option<String> {
    let root = &device.root;
    let alarm = root
        .matches("/sys/class/hwmon/hwmon*/in*_lcrit_alarm")
        .into_iter()
        .find(|path| root.number::<u32>(path).is_ok_and(|value| value > 0))?;
    let folder = alarm.rsplit_once('/')?.0;
    Some(root.text(&format!("{folder}/name")).unwrap_or_else(|_| folder.to_owned()))
}
