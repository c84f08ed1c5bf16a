//! Makes indexed shards (docs/shards.md) from any data set of images.
//!
//! The shards are a pure function of the data and the options, so that an interrupted job is continued by the same
//! command: complete shards are kept, the others are made.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "shards are written, listed and checked"
)]

mod folder;
mod plan;
mod prepare;
mod shard;
mod verify;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use footplate_files::whole;
use thiserror::Error;

use crate::error::DataError;
use crate::format::{self, Format};
use crate::sample::BadSample;
use crate::source::SourceContents;
use folder::Folder;
use plan::Plan;
pub use prepare::ImageChange;
use shard::ShardReport;
pub use verify::{Verified, verify};

/// How to pack.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The source's format; `None`: recognised by the files at the path.
    pub format: Option<Format>,
    /// Decides the order of samples in the shards.
    pub seed: u64,
    /// The approximate size of a shard in bytes.
    pub shard_bytes: u64,
    /// Changes of the images; by default none.
    pub change: ImageChange,
    /// The share of samples, 0 to 1, that may be damaged before packing stops; damaged samples are left out.
    pub max_bad_fraction: f64,
    /// Threads; each makes one shard at a time.
    pub threads: usize,
}

/// The result of packing.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// Number of shards in the folder.
    pub shards: usize,
    /// How many of them an earlier call had completed.
    pub kept: usize,
    /// Number of samples in the shards.
    pub samples: u64,
    /// Damaged samples, which were left out.
    pub left_out: Vec<BadSample>,
    /// Size of the tars in bytes.
    pub tar_bytes: u64,
    /// Size of their side indices in bytes.
    pub index_bytes: u64,
    /// Number of samples with checkpoints for the decoder.
    pub with_checkpoints: u64,
    /// Names of the classes, by class number.
    pub classes: Vec<String>,
    /// Warnings of the source, such as files that are left out.
    pub warnings: Vec<String>,
}

/// Why nothing, or not everything, was packed.
#[derive(Debug, Error)]
pub enum PackError {
    /// The source cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The source is a text.
    #[error("{}: a text cannot be packed, only images", path.display())]
    NotImages {
        /// The source.
        path: PathBuf,
    },
    /// The system refused to write.
    #[error("cannot {action} {}: {source}", path.display())]
    Write {
        /// What failed, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason that the system gave.
        source: io::Error,
    },
    /// The destination holds other files and no shards.
    #[error("{} is not empty and holds no shards (found {found}); choose an empty folder", folder.display())]
    Foreign {
        /// The destination folder.
        folder: PathBuf,
        /// A file in it.
        found: String,
    },
    /// The destination holds shards of other data, or shards that were made with other options.
    #[error("{} holds shards of other data, or shards that were made with other options; choose another folder", folder.display())]
    OtherPack {
        /// The destination folder.
        folder: PathBuf,
    },
    /// Another process is writing there.
    #[error("another process is packing into {}", folder.display())]
    Busy {
        /// The destination folder.
        folder: PathBuf,
    },
    /// The destination is inside the source, which would then contain its own shards.
    #[error("{} is inside the data that is to be packed", folder.display())]
    Inside {
        /// The destination folder.
        folder: PathBuf,
    },
    /// An option is out of its range.
    #[error("{0}")]
    Option(String),
    /// [`JobControl::stop`] was set.
    #[error("interrupted")]
    Stopped,
}

impl PackError {
    fn write(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { action, path: path.to_owned(), source }
    }
}

/// How a caller watches the work and stops it.
#[derive(Clone, Copy)]
pub struct JobControl<'a> {
    /// Set it to stop: unfinished shards are discarded.
    pub stop: &'a AtomicBool,
    /// Called by any thread with the number of samples that are done, and of all.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// Writes files; a test injects failures here.
trait FileWriter: Sync {
    /// Writes a file that appears completely or not at all.
    fn write(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()>;
}

/// Writes to the file system.
struct SystemWriter;

impl FileWriter for SystemWriter {
    fn write(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        whole::write(path, |file| fill(file))
    }
}

/// Packs the images at `source` into shards in `folder`.
///
/// # Errors
/// [`PackError`]. Complete shards stay, and the next call continues from them; nothing else is left behind.
pub fn pack(
    source: &Path,
    folder: &Path,
    options: &PackOptions,
    control: JobControl<'_>,
) -> Result<Packed, PackError> {
    pack_to(&SystemWriter, source, folder, options, control)
}

fn pack_to(
    disk: &dyn FileWriter,
    source: &Path,
    folder: &Path,
    options: &PackOptions,
    control: JobControl<'_>,
) -> Result<Packed, PackError> {
    options.change.check().map_err(PackError::Option)?;
    folder::not_inside(source, folder)?;
    let format = format::format_of(source, options.format)?;
    if format == Format::Text {
        return Err(PackError::NotImages { path: source.to_owned() });
    }
    let contents = format::find(source, format)?;
    let plan = Plan::new(&contents, options)?;
    let folder = Folder::begin(disk, folder, &plan, source, options)?;
    let job = Job { disk, contents: &contents, plan: &plan, folder: &folder, options, control };
    let made = job.run()?;
    folder.finish(disk, &contents.classes)?;
    Ok(sum(made, contents))
}

/// What the threads share and do not change.
struct Job<'a> {
    disk: &'a dyn FileWriter,
    contents: &'a SourceContents,
    plan: &'a Plan,
    folder: &'a Folder,
    options: &'a PackOptions,
    control: JobControl<'a>,
}

/// The progress of all threads.
#[derive(Default)]
struct State {
    next: AtomicUsize,
    done: AtomicU64,
    made: Mutex<Vec<ShardReport>>,
    bad: Mutex<Vec<BadSample>>,
    /// The first error; later ones follow from it.
    error: Mutex<Option<PackError>>,
    given_up: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job<'_> {
    fn run(&self) -> Result<Vec<ShardReport>, PackError> {
        let state = State::default();
        let threads = self.options.threads.clamp(1, self.plan.shards.len().max(1));
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| self.work(&state));
            }
        });
        if let Some(error) = lock(&state.error).take() {
            return Err(error);
        }
        let made = std::mem::take(&mut *lock(&state.made));
        Ok(made)
    }

    fn work(&self, state: &State) {
        let mut preparer = prepare::Preparer::new(self.options.change);
        loop {
            let number = state.next.fetch_add(1, Ordering::Relaxed);
            let Some(shard) = self.plan.shards.get(number) else { return };
            if state.given_up.load(Ordering::Acquire) {
                return;
            }
            match self.shard(shard, &mut preparer, state) {
                Ok(made) => lock(&state.made).push(made),
                Err(error) => {
                    // The error first: a thread that sees `given_up` reports no error of its own.
                    lock(&state.error).get_or_insert(error);
                    state.given_up.store(true, Ordering::Release);
                    return;
                }
            }
        }
    }

    fn stopped(&self, state: &State) -> bool {
        self.control.stop.load(Ordering::Relaxed) || state.given_up.load(Ordering::Acquire)
    }

    fn advance(&self, state: &State, samples: u64) {
        let done = state.done.fetch_add(samples, Ordering::Relaxed) + samples;
        (self.control.progress)(done, self.plan.samples);
    }

    /// Records a sample that is left out.
    ///
    /// # Errors
    /// If there are too many of them.
    fn left_out(&self, state: &State, sample: BadSample) -> Result<(), PackError> {
        let mut bad = lock(&state.bad);
        bad.push(sample);
        let (total, limit) = (self.plan.samples, self.options.max_bad_fraction);
        if bad.len() as f64 > limit * total as f64 {
            return Err(DataError::TooManyBad { bad: bad.clone(), total, limit }.into());
        }
        Ok(())
    }
}

fn sum(made: Vec<ShardReport>, contents: SourceContents) -> Packed {
    let mut packed = Packed {
        classes: contents.classes,
        warnings: contents.warnings,
        shards: made.len(),
        ..Packed::default()
    };
    for made in made {
        packed.kept += usize::from(made.kept);
        packed.samples += made.samples;
        packed.tar_bytes += made.tar_bytes;
        packed.index_bytes += made.index_bytes;
        packed.with_checkpoints += made.with_checkpoints;
        packed.left_out.extend(made.left_out);
    }
    packed.left_out.sort_by_key(|sample| sample.index);
    packed
}

#[cfg(test)]
mod tests;
