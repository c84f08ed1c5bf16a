//! What a job must know of the machine. Whoever starts it finds this out: nothing is read from the system here.

use std::path::PathBuf;

use footplate_core::{Bytes, Reading};

/// What a job must know of the machine and of this process.
#[derive(Clone, Debug)]
pub struct Host {
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory that this process may still take. Absent or unreadable: nothing is refused for want of memory.
    pub available_memory: Reading<Bytes>,
    /// Resident memory of this process now: code and what the system holds for it, besides the heap.
    pub resident_memory: Reading<Bytes>,
    /// The user's cache folder, for the embedded data set and kernels that were chosen by measuring; `None`: the system
    /// names none.
    pub cache_folder: Option<PathBuf>,
}
