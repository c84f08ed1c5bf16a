//! Evicts samples from the kernel's page cache, so that the next read comes from storage, and tells whether that worked. It
//! needs no rights beyond reading the file. Its only effect on others is a slower next read.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::Store;

/// The kernel caches files in folios of up to 2 MiB, and evicts only whole ones (Linux 6.x).
const FOLIO_MAX: u64 = 2 << 20;
const PAGE_MIN: u64 = 4 << 10;

/// Whether a sample is in the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Residency {
    /// A read would go to storage.
    OnStorage,
    /// A read would be served from memory.
    Cached,
    /// The file system does not tell.
    Unknown,
}

impl Store {
    /// Asks the kernel to evict a sample. Pages that wait to be written stay, and so do files of file systems that are in
    /// memory.
    pub(crate) fn evict(&self, index: usize) -> io::Result<()> {
        self.with_range(index, |file, offset, length| {
            // The range is widened to whole folios.
            let from = offset / FOLIO_MAX * FOLIO_MAX;
            let to = (offset + length).next_multiple_of(FOLIO_MAX);
            fadvise(file, from, NonZeroU64::new(to - from), Advice::DontNeed)?;
            Ok(())
        })
    }

    /// As [`Self::evict`], for a sample that was just read while its neighbours are about to be read: pages that it shares
    /// with them stay.
    pub(crate) fn evict_own(&self, index: usize) -> io::Result<()> {
        self.with_range(index, |file, offset, length| {
            if matches!(self, Self::Folder(_)) {
                // The whole file, with its last page.
                return Ok(fadvise(file, 0, None, Advice::DontNeed)?);
            }
            let from = offset.next_multiple_of(PAGE_MIN);
            let to = (offset + length) / PAGE_MIN * PAGE_MIN;
            if let Some(length) = to.checked_sub(from).and_then(NonZeroU64::new) {
                fadvise(file, from, Some(length), Advice::DontNeed)?;
            }
            Ok(())
        })
    }

    /// Whether a sample's middle is in the page cache. Asking may start to read it in.
    pub(crate) fn residency(&self, index: usize) -> io::Result<Residency> {
        self.with_range(index, |file, offset, length| {
            let mut byte = [0u8];
            let mut buffers = [IoSliceMut::new(&mut byte)];
            let result = preadv2(file, &mut buffers, offset + length / 2, ReadWriteFlags::NOWAIT);
            Ok(match result {
                Ok(_) => Residency::Cached,
                Err(Errno::AGAIN) => Residency::OnStorage,
                Err(_) => Residency::Unknown,
            })
        })
    }

    /// Calls `with` with the file that holds a sample, and the offset and length of its bytes.
    fn with_range<T>(
        &self,
        index: usize,
        with: impl FnOnce(&File, u64, u64) -> io::Result<T>,
    ) -> io::Result<T> {
        match self {
            Self::Folder(store) => {
                let file = File::open(store.path(index))?;
                let length = file.metadata()?.len();
                with(&file, 0, length)
            }
            Self::Tar(store) => store.with_range(index, with),
            Self::Pixels(_) | Self::Memory(_) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "these samples are not in files"))
            }
        }
    }
}
