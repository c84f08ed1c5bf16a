//! Makes indexed shards (docs/shards.md) from any data set of images.
//!
//! What is made is a pure function of the data and the options, so that a packing that was interrupted goes on
//! where it stood: whole shards are kept, the others are made.

mod folder;
pub(crate) mod index;
mod plan;
mod prepare;
mod shard;
mod verify;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use thiserror::Error;

use crate::atomic_file;
use crate::batch::BadSample;
use crate::dataset::{self, Format};
use crate::error::DataError;
use crate::source::Found;
use folder::Folder;
pub(crate) use folder::is_incomplete;
use plan::Plan;
pub use prepare::ImageChange;
use shard::Made;
pub use verify::{Verified, verify};

/// How to pack.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The source's format; found out from the path if not given.
    pub format: Option<Format>,
    /// Of the order of samples in the shards.
    pub seed: u64,
    /// Bytes of a shard, about.
    pub shard_bytes: u64,
    /// What is done to images; by default nothing.
    pub change: ImageChange,
    /// Share of samples that may be damaged before packing stops; they are left out.
    pub max_bad_fraction: f64,
    /// Shards that are made at once.
    pub threads: usize,
}

/// What was packed.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// Shards in the folder.
    pub shards: usize,
    /// Of these, the ones that were there before.
    pub kept: usize,
    /// Samples in the shards.
    pub samples: u64,
    /// Samples that were left out.
    pub left_out: Vec<BadSample>,
    /// Bytes of the tars.
    pub tar_bytes: u64,
    /// Bytes of their side indices.
    pub index_bytes: u64,
    /// Samples with checkpoints for the decoder.
    pub with_checkpoints: u64,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// What the source's reader had to say.
    pub warnings: Vec<String>,
}

/// Why nothing, or not everything, was packed.
#[derive(Debug, Error)]
pub enum PackError {
    /// The source cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A text.
    #[error("{}: a text cannot be packed, only images", path.display())]
    NotImages {
        /// The source.
        path: PathBuf,
    },
    /// The system refused to write.
    #[error("cannot {action} {}: {source}", path.display())]
    Write {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The destination is in use for something else.
    #[error("{} is not empty, and holds no shards of a packing that was begun there ({found})", folder.display())]
    Foreign {
        /// The destination.
        folder: PathBuf,
        /// A file in it.
        found: String,
    },
    /// The destination holds shards of other data or made with other options.
    #[error("{} holds shards of other data, or made with other options", folder.display())]
    OtherPack {
        /// The destination.
        folder: PathBuf,
    },
    /// Two programs would write the same shards.
    #[error("another process is packing into {}", folder.display())]
    Busy {
        /// The destination.
        folder: PathBuf,
    },
    /// The source would contain its own shards.
    #[error("{} is inside the data that is to be packed", folder.display())]
    Inside {
        /// The destination.
        folder: PathBuf,
    },
    /// An option that makes no sense.
    #[error("{0}")]
    Option(String),
    /// Asked to stop.
    #[error("interrupted")]
    Stopped,
}

impl PackError {
    fn write(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { action, path: path.to_owned(), source }
    }
}

/// How a caller follows and stops the work.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Set to stop: shards that are being made are given up.
    pub stop: &'a AtomicBool,
    /// Told the number of samples done and of all, by any thread.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// Where files are written.
trait Disk: Sync {
    /// Writes a file that appears whole or not at all.
    fn write(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()>;
}

struct System;

impl Disk for System {
    fn write(&self, path: &Path, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        atomic_file::write(path, |file| fill(file))
    }
}

/// Packs the images at `source` into shards in `folder`.
///
/// # Errors
/// [`PackError`]. Whole shards stay where they are, and a second call goes on from there; nothing else is left.
pub fn pack(
    source: &Path,
    folder: &Path,
    options: &PackOptions,
    watch: Watch<'_>,
) -> Result<Packed, PackError> {
    pack_to(&System, source, folder, options, watch)
}

fn pack_to(
    disk: &dyn Disk,
    source: &Path,
    folder: &Path,
    options: &PackOptions,
    watch: Watch<'_>,
) -> Result<Packed, PackError> {
    options.change.check().map_err(PackError::Option)?;
    folder::not_inside(source, folder)?;
    let format = dataset::format_of(source, options.format)?;
    if format == Format::Text {
        return Err(PackError::NotImages { path: source.to_owned() });
    }
    let found = dataset::find(source, format)?;
    let plan = Plan::new(&found, options)?;
    let folder = Folder::begin(disk, folder, &plan, source, options)?;
    let job = Job { disk, found: &found, plan: &plan, folder: &folder, options, watch };
    let made = job.run()?;
    folder.finish(disk, &found.classes)?;
    Ok(sum(made, found))
}

/// What the threads share.
struct Job<'a> {
    disk: &'a dyn Disk,
    found: &'a Found,
    plan: &'a Plan,
    folder: &'a Folder,
    options: &'a PackOptions,
    watch: Watch<'a>,
}

/// How far all threads are.
#[derive(Default)]
struct State {
    next: AtomicUsize,
    done: AtomicU64,
    made: Mutex<Vec<Made>>,
    bad: Mutex<Vec<BadSample>>,
    /// The first error: the others are of its making.
    error: Mutex<Option<PackError>>,
    given_up: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job<'_> {
    fn run(&self) -> Result<Vec<Made>, PackError> {
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
                    // First the error: who sees that all is given up has none of its own.
                    lock(&state.error).get_or_insert(error);
                    state.given_up.store(true, Ordering::Release);
                    return;
                }
            }
        }
    }

    fn stopped(&self, state: &State) -> bool {
        self.watch.stop.load(Ordering::Relaxed) || state.given_up.load(Ordering::Acquire)
    }

    fn advance(&self, state: &State, samples: u64) {
        let done = state.done.fetch_add(samples, Ordering::Relaxed) + samples;
        (self.watch.progress)(done, self.plan.samples);
    }

    /// Notes a sample that is left out; an error if there are too many.
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

fn sum(made: Vec<Made>, found: Found) -> Packed {
    let mut packed =
        Packed { classes: found.classes, warnings: found.warnings, shards: made.len(), ..Packed::default() };
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
