//! The container, the time of day, a dead process's journal, a folder's free space.

use footplate_core::Bytes;

use crate::board::Soc;
use crate::discover::Device;
use crate::guard::Journal;
use crate::root::Root;

use super::{Finding, Level};

/// 2025-01-01: no clock that is set shows less. A Jetson without a battery begins at 1970 or at its image's date.
const CLOCK_LEAST_S: i64 = 1_735_689_600;
/// Less free space than this does not hold a run's checkpoints.
const SPACE_NONE: u64 = 200 << 20;
const SPACE_LOW: u64 = 2 << 30;

/// Which container this is, by the marks that they leave.
fn container_name(root: &Root) -> Option<&'static str> {
    if root.exists("/.dockerenv") {
        return Some("Docker");
    }
    if root.exists("/run/.containerenv") {
        return Some("Podman");
    }
    let group = root.text("/proc/1/cgroup").unwrap_or_default();
    let marks =
        [("docker", "Docker"), ("kubepods", "Kubernetes"), ("lxc", "LXC"), ("containerd", "containerd")];
    marks.into_iter().find(|(mark, _)| group.contains(mark)).map(|(_, name)| name)
}

/// A container without what it needs.
pub(super) fn container(device: &Device) -> Option<Finding> {
    let root = &device.root;
    let name = container_name(root)?;
    let is_jetson = device.facts.soc != Soc::Other;
    let mut lacks = Vec::new();
    if is_jetson && gpu_nodes(root).is_empty() {
        lacks.push("the GPU's nodes in /dev (--runtime nvidia)");
    }
    if is_jetson && device.identity.l4t.is_none() {
        lacks.push("/etc/nv_tegra_release (-v /etc/nv_tegra_release:/etc/nv_tegra_release:ro)");
    }
    if is_jetson && device.rails.is_empty() {
        lacks.push("the power sensors in /sys (-v /sys:/sys)");
    }
    if !is_jetson && root.exists("/proc/driver/nvidia/version") && gpu_nodes(root).is_empty() {
        lacks.push("the GPU's nodes in /dev (--gpus all)");
    }
    Some(if lacks.is_empty() {
        Finding::new(
            "container",
            Level::Note,
            format!("this is a container ({name}); modes are set outside of it"),
        )
    } else {
        Finding::new(
            "container",
            Level::Warning,
            format!("this container ({name}) lacks {}", lacks.join(", ")),
        )
        .repair("start it with the options in brackets")
    })
}

/// Nodes of NVIDIA's GPUs: of the chip, or of a card.
pub(super) fn gpu_nodes(root: &Root) -> Vec<String> {
    let mut nodes = root.matches("/dev/nvidia0");
    for pattern in ["/dev/nvhost-gpu", "/dev/nvgpu/igpu0/*", "/dev/nvhost-ctrl-gpu"] {
        nodes.extend(root.matches(pattern));
    }
    nodes
}

/// Whether the clock was set.
pub(super) fn clock(now_unix_s: i64) -> Finding {
    if now_unix_s < CLOCK_LEAST_S {
        let days = now_unix_s.div_euclid(86_400);
        return Finding::new(
            "clock",
            Level::Warning,
            format!("the clock is not set: it shows day {days} since 1970; runs are named after it"),
        )
        .repair("sudo timedatectl set-ntp true, or sudo date -s '2026-01-31 12:00'");
    }
    Finding::new("clock", Level::Ok, "is set")
}

/// A journal that a dead process left: what it had changed is still set.
pub fn journal(stale: Result<Option<Journal>, crate::DeviceError>) -> Finding {
    let check = "journal";
    match stale {
        Ok(None) => Finding::new(check, Level::Ok, "no process has left the controls changed"),
        Ok(Some(journal)) => Finding::new(
            check,
            Level::Warning,
            format!(
                "process {} changed the controls of this {} and ended without putting them back",
                journal.owner_pid, journal.board
            ),
        )
        .repair("sudo footplate mode restore"),
        Err(error) => Finding::new(check, Level::Warning, error.to_string())
            .repair("look at that file; without use it can be removed by hand"),
    }
}

/// Whether a folder's disk has room. `is_read_only`: nothing can be written there at all.
pub fn folder_space(name: &str, free: Bytes, is_read_only: bool) -> Finding {
    let check = "disk";
    if is_read_only {
        return Finding::new(check, Level::Problem, format!("{name}: the file system is read-only"))
            .repair("name another folder with --run-dir, or mount it anew for writing");
    }
    let told = format!("{name}: {free} free");
    match free.0 {
        free if free < SPACE_NONE => {
            Finding::new(check, Level::Problem, format!("{told}: too little for checkpoints"))
                .repair("free some space, or name a folder on another disk with --run-dir")
        }
        free if free < SPACE_LOW => Finding::new(check, Level::Warning, told)
            .repair("free some space: a run keeps several checkpoints of the model and its log"),
        _ => Finding::new(check, Level::Ok, told),
    }
}
