//! Which machine a command looks at: the running one, a captured tree or a simulated board.

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use footplate_core::ports::ControlError;
use footplate_device::guard::{self, SYSTEM_FOLDER};
use footplate_device::sim::{SimBoard, SimOptions};
use footplate_device::{Device, DeviceError, Root, host};
use footplate_train::Host;

use crate::failure::{Failure, Kind};
use crate::{cache_folder, output};

/// The machine.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct MachineArguments {
    /// A captured tree: a folder, or a capture's tar.gz
    #[arg(long, value_name = "DIR", help_heading = "Machine", conflicts_with = "sim")]
    pub(crate) root: Option<PathBuf>,

    /// A simulated board: tx1, tx2, nano, xavier-nx, agx-xavier, orin-nano, orin-nx, agx-orin or thor; BOARD@r35
    /// for one of its releases
    #[arg(long, value_name = "BOARD", help_heading = "Machine")]
    pub(crate) sim: Option<String>,

    /// Folder of the journal of what was set before [default: /var/lib/footplate]
    #[arg(long, value_name = "DIR", help_heading = "Machine")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Put back what a dead process left set, without asking
    #[arg(long, help_heading = "Machine")]
    pub(crate) restore_stale: bool,
}

impl MachineArguments {
    /// The machine's control files.
    pub(crate) fn open(&self) -> Result<Root, Failure> {
        match (&self.root, &self.sim) {
            (Some(path), _) => Ok(Root::at(path)?),
            (None, Some(name)) => Ok(self.simulated(name)?.root()),
            (None, None) => Ok(Root::system()),
        }
    }

    /// The simulated board, in real time.
    pub(crate) fn simulated(&self, name: &str) -> Result<SimBoard, Failure> {
        SimBoard::in_real_time(name, SimOptions::default(), Instant::now()).map_err(|error| {
            let names = SimBoard::names().join(", ");
            Failure::new(Kind::Usage, error.to_string()).hint(format!("the boards are {names}"))
        })
    }

    /// Where the journal is; `None` for a simulated board, whose state ends with the process.
    pub(crate) fn state_folder(&self, root: &Root) -> Option<PathBuf> {
        if let Some(folder) = &self.state_dir {
            return Some(folder.clone());
        }
        guard::state_folder(root)
    }

    /// Tells of a dead process's journal; puts back what it holds if the user says so. Gives whether one is left.
    pub(crate) fn look_for_stale(&self, device: &Device) -> Result<bool, Failure> {
        let Some(folder) = self.state_folder(&device.root) else { return Ok(false) };
        let Some(journal) = guard::stale(&folder)? else { return Ok(false) };
        let told = format!(
            "process {} changed the controls of this {} and ended without putting them back",
            journal.owner_pid, journal.board
        );
        if self.restore_stale || asked(&told) {
            guard::put_back(device, &folder)?;
            return Ok(false);
        }
        output::warning(&format!("{told}; put them back with `footplate mode restore` or --restore-stale"));
        Ok(true)
    }
}

/// Tells of a dead process's journal on the running machine, for commands that do not touch the controls: figures
/// that they give would be those of a mode that nobody asked for.
pub(crate) fn tell_of_stale() {
    if let Ok(Some(journal)) = guard::stale(Path::new(SYSTEM_FOLDER)) {
        output::warning(&format!(
            "process {} changed the controls of this {} and ended without putting them back: `footplate mode restore`",
            journal.owner_pid, journal.board
        ));
    }
}

/// What a training job must know of this machine and this process.
pub(crate) fn of_process() -> Host {
    Host {
        cores: host::cores(),
        available_memory: host::available_memory(),
        resident_memory: host::resident_memory(),
        cache_folder: cache_folder::user_cache(),
    }
}

/// Asks a person at a terminal; nobody there means no.
fn asked(told: &str) -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    output::note(&format!("{told}. Put them back now? [y/N]"));
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        let error = match error {
            DeviceError::Control(error) => return error.into(),
            error => error,
        };
        let kind = match &error {
            DeviceError::Content { .. } | DeviceError::Capture { .. } | DeviceError::OtherBoard { .. } => {
                Kind::Data
            }
            _ if error.is_absent() => Kind::Data,
            _ => Kind::Machine,
        };
        let failure = Self::new(kind, error.to_string());
        match &error {
            DeviceError::Held { .. } => failure.hint("wait for it to end, or end it"),
            DeviceError::OtherBoard { .. } => failure.hint("remove the journal by hand if it is of no use"),
            DeviceError::Stale { .. } => failure.hint("--restore-stale, or `footplate mode restore`"),
            _ if error.is_permission() => failure.hint("sudo, or --dry-run to see the writes"),
            _ => failure,
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let failure = Self::new(Kind::Machine, error.message);
        if error.permission { failure.hint("sudo, or --dry-run to see the writes") } else { failure }
    }
}
