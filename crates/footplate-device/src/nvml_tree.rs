//! Power limits and application clocks of discrete NVIDIA GPUs as nodes, such as `/nvml/N/power_limit_mw`, beside the
//! system's own tree. Application clocks are taken and not locked ones, because what is locked cannot be read back,
//! and so could not be put back. A GPU without them (GeForce, as a rule) has no such node.
//!
//! So they are found, planned, written down in the journal, read back and put back like every other control. The
//! library is loaded when somebody lists `/nvml`, which happens on machines that are no Jetson only.

use std::io;
use std::sync::Arc;

use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::error::NvmlError;

use crate::nvml;
use crate::tree::{Probe, Tree};

/// The folder of the GPUs.
pub(crate) const FOLDER: &str = "/nvml";
/// A GPU's power limit in milliwatts; written by root.
pub(crate) const LIMIT: &str = "power_limit_mw";
/// The least limit that the board takes.
pub(crate) const LIMIT_MIN: &str = "power_limit_min_mw";
/// The largest limit that the board takes.
pub(crate) const LIMIT_MAX: &str = "power_limit_max_mw";
/// A GPU's application clock of its graphics domain in MHz; written by root.
pub(crate) const CLOCK: &str = "graphics_clock_mhz";
/// The clocks that it takes, ascending.
pub(crate) const CLOCKS: &str = "graphics_clocks_mhz";
/// The clock that it runs at.
pub(crate) const CLOCK_NOW: &str = "graphics_clock_now_mhz";
const FILES: [&str; 6] = [CLOCK, CLOCK_NOW, CLOCKS, LIMIT, LIMIT_MAX, LIMIT_MIN];

/// A tree with the GPUs beside it.
pub(crate) struct WithGpus {
    pub(crate) inner: Arc<dyn Tree>,
}

/// What a path below `/nvml` is.
enum NvmlPath<'a> {
    Folder,
    Gpu(u32),
    File(u32, &'a str),
    Nothing,
}

fn parsed(path: &str) -> Option<NvmlPath<'_>> {
    let rest = path.strip_prefix(FOLDER)?;
    let mut parts = rest.split('/').filter(|part| !part.is_empty());
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    Some(match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => NvmlPath::Folder,
        (Some(index), file, None) => match (index.parse(), file) {
            (Ok(index), None) => NvmlPath::Gpu(index),
            (Ok(index), Some(file)) if FILES.contains(&file) => NvmlPath::File(index, file),
            _ => NvmlPath::Nothing,
        },
        _ => NvmlPath::Nothing,
    })
}

fn count() -> u32 {
    nvml::library().and_then(|library| library.device_count().ok()).unwrap_or(0)
}

fn read(index: u32, file: &str) -> io::Result<Vec<u8>> {
    let library = nvml::library().ok_or(io::ErrorKind::NotFound)?;
    let values = || -> Result<Vec<u32>, NvmlError> {
        let gpu = library.device_by_index(index)?;
        let one = match file {
            CLOCKS => {
                let mut clocks = gpu.supported_graphics_clocks(gpu.applications_clock(Clock::Memory)?)?;
                clocks.sort_unstable();
                return Ok(clocks);
            }
            CLOCK => gpu.applications_clock(Clock::Graphics),
            CLOCK_NOW => gpu.clock_info(Clock::Graphics),
            LIMIT => gpu.power_management_limit(),
            LIMIT_MIN => gpu.power_management_limit_constraints().map(|range| range.min_limit),
            _ => gpu.power_management_limit_constraints().map(|range| range.max_limit),
        };
        one.map(|value| vec![value])
    };
    let text = |values: Vec<u32>| values.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    values().map(|values| format!("{}\n", text(values)).into_bytes()).map_err(|e| system_error(&e))
}

fn write(index: u32, file: &str, value: &str) -> io::Result<()> {
    let library = nvml::library().ok_or(io::ErrorKind::NotFound)?;
    let value: u32 = value.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let set = || {
        let mut gpu = library.device_by_index(index)?;
        match file {
            CLOCK => gpu.set_applications_clocks(gpu.applications_clock(Clock::Memory)?, value),
            _ => gpu.set_power_management_limit(value),
        }
    };
    set().map_err(|e| system_error(&e))
}

/// An error of the library as the system would say it, so that the same rules of retry and hints apply.
fn system_error(error: &NvmlError) -> io::Error {
    let kind = match error {
        NvmlError::NoPermission => io::ErrorKind::PermissionDenied,
        NvmlError::InvalidArg => io::ErrorKind::InvalidInput,
        NvmlError::NotSupported | NvmlError::NotFound => io::ErrorKind::NotFound,
        NvmlError::InUse => io::ErrorKind::ResourceBusy,
        _ => io::ErrorKind::Other,
    };
    match kind {
        io::ErrorKind::Other => io::Error::other(error.to_string()),
        kind => kind.into(),
    }
}

impl Tree for WithGpus {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        match parsed(path) {
            None => self.inner.read(path),
            Some(NvmlPath::File(index, file)) => read(index, file),
            Some(_) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        match parsed(path) {
            None => self.inner.write(path, value),
            Some(NvmlPath::File(index, file @ (LIMIT | CLOCK))) => write(index, file, value),
            Some(_) => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        match parsed(path) {
            None => self.inner.list(path),
            Some(NvmlPath::Folder) => Ok((0..count()).map(|index| index.to_string()).collect()),
            Some(NvmlPath::Gpu(index)) if index < count() => Ok(FILES.map(str::to_owned).to_vec()),
            Some(_) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn link(&self, path: &str) -> io::Result<String> {
        match parsed(path) {
            None => self.inner.link(path),
            Some(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        match parsed(path) {
            None => self.inner.exists(path),
            Some(NvmlPath::File(index, file)) => Ok(read(index, file).is_ok()),
            Some(NvmlPath::Gpu(index)) => Ok(index < count()),
            Some(NvmlPath::Folder) => Ok(count() > 0),
            Some(NvmlPath::Nothing) => Ok(false),
        }
    }

    fn writable(&self, path: &str) -> io::Result<()> {
        match parsed(path) {
            None => self.inner.writable(path),
            // The library tells only when it is asked to set; the driver takes limits from root.
            Some(NvmlPath::File(index, file @ (LIMIT | CLOCK))) => match rustix::process::geteuid().is_root()
            {
                true => read(index, file).map(drop),
                false => Err(io::ErrorKind::PermissionDenied.into()),
            },
            Some(_) => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Probe>> {
        match parsed(path) {
            None => self.inner.open(path),
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_tree::MemoryTree;

    /// Whether or not a GPU is here, the system's own tree is untouched and nothing is made up.
    #[test]
    fn gpus_stand_beside_the_tree() {
        let inner = MemoryTree::new();
        inner.file("/nvmlx", "mine", 0o644);
        let tree = WithGpus { inner: Arc::new(inner) };
        assert_eq!(tree.read("/nvmlx").ok(), Some(b"mine\n".to_vec()));
        assert_eq!(tree.list("/nvml").map(|names| names.len()).ok(), Some(count() as usize));
        for path in ["/nvml/99/power_limit_mw", "/nvml/0/fan", "/nvml/x", "/nvml/0/power_limit_mw/x"] {
            assert!(tree.read(path).is_err() && tree.write(path, "1").is_err(), "{path}");
        }
    }
}
