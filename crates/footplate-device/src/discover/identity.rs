//! Which board, module, release and storage a machine has.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use footplate_core::{Bytes, Reading};

use crate::board::{self, BoardFacts, Module};
use crate::error::reading;
use crate::parse::{self, L4t};
use crate::root::{Root, content};

use super::{Problem, note};

/// What a machine says it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// `/proc/device-tree/model`, or the product's name on a PC.
    pub model: Reading<String>,
    /// The entries of `/proc/device-tree/compatible`, the most specific first.
    pub compatible: Vec<String>,
    /// The release of L4T.
    pub l4t: Option<L4t>,
    /// The kernel's release, such as `5.15.148-tegra`.
    pub kernel: Reading<String>,
    /// Memory that Linux sees.
    pub memory: Reading<Bytes>,
}

impl Identity {
    pub(super) fn read(root: &Root, problems: &mut Vec<Problem>) -> Self {
        let tree = "/proc/device-tree";
        let compatible = match note(problems, "board", root.bytes(&format!("{tree}/compatible"))) {
            Some(bytes) => parse::nul_list(&bytes),
            None => old_machine(root).into_iter().collect(),
        };
        let mut model = reading(root.text(&format!("{tree}/model")));
        if model == Reading::Absent {
            model = reading(root.text("/sys/class/dmi/id/product_name"));
        }
        let release = "/etc/nv_tegra_release";
        let l4t = note(problems, "L4T release", root.text(release)).and_then(|text| {
            let parsed = L4t::parse(&text);
            if parsed.is_none() {
                problems
                    .push(Problem::new("L4T release", content(release, &text, "a release line").to_string()));
            }
            parsed
        });
        let memory = root.text("/proc/meminfo").and_then(|text| {
            parse::meminfo(&text, "MemTotal")
                .map(Bytes)
                .ok_or_else(|| content("/proc/meminfo", &text, "MemTotal in kB"))
        });
        let kernel = reading(root.text("/proc/sys/kernel/osrelease"));
        Self { model, compatible, l4t, kernel, memory: reading(memory) }
    }

    pub(super) fn board(&self) -> (&'static BoardFacts, Option<&'static Module>) {
        let entries: Vec<&str> = self.compatible.iter().map(String::as_str).collect();
        board::by_compatible(&entries).unwrap_or((&board::GENERIC, None))
    }
}

/// R28 on a TX1 names the board in the system-on-chip's device.
fn old_machine(root: &Root) -> Option<String> {
    match root.text("/sys/devices/soc0/machine").ok()?.as_str() {
        "jetson_tx1" | "jetson_cv" => Some("nvidia,jetson-cv".to_owned()),
        other => Some(other.to_owned()),
    }
}

/// What a folder's storage is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageKind {
    /// An SD card (`mmcblk` of type SD).
    Sd,
    /// Soldered flash (`mmcblk` of another type).
    Emmc,
    /// A disk behind NVMe.
    Nvme,
    /// A disk that turns.
    Rotational,
    /// Another disk without moving parts.
    SolidState,
}

/// The storage of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// The disk, such as `mmcblk0`.
    pub disk: String,
    /// What the disk is made of.
    pub kind: StorageKind,
}

/// The storage of a folder of the running system.
#[expect(clippy::disallowed_methods, reason = "the folder is one of the user's, and no control file")]
pub fn storage_of_folder(root: &Root, folder: &Path) -> Reading<Storage> {
    match std::fs::metadata(folder) {
        Ok(metadata) => {
            let device = metadata.dev();
            storage_of(root, rustix::fs::major(device), rustix::fs::minor(device))
        }
        Err(error) => Reading::unreadable(error),
    }
}

/// The storage behind a block device number (as `stat` gives it for a folder). `Absent`: no block device is
/// behind it, such as a file system in memory or over the network.
pub fn storage_of(root: &Root, major: u32, minor: u32) -> Reading<Storage> {
    let target = match root.link(&format!("/sys/dev/block/{major}:{minor}")) {
        Ok(target) => target,
        Err(error) => return error.into_reading(),
    };
    // …/block/mmcblk0/mmcblk0p1 or …/block/sda: the part after `block` is the disk.
    let Some(disk) = target.split('/').skip_while(|part| *part != "block").nth(1) else {
        return Reading::unreadable(format!("{target} names no disk"));
    };
    let folder = format!("/sys/block/{disk}");
    let kind = if disk.starts_with("nvme") {
        StorageKind::Nvme
    } else if disk.starts_with("mmcblk") {
        match root.text(&format!("{folder}/device/type")).as_deref() {
            Ok("SD") => StorageKind::Sd,
            Ok(_) => StorageKind::Emmc,
            Err(error) => return Reading::unreadable(error),
        }
    } else {
        match root.number::<u32>(&format!("{folder}/queue/rotational")) {
            Ok(0) => StorageKind::SolidState,
            Ok(_) => StorageKind::Rotational,
            Err(error) => return Reading::unreadable(error),
        }
    };
    Reading::Value(Storage { disk: disk.to_owned(), kind })
}
