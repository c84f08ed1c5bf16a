//! Kernels that are chosen by measuring candidates (Burn's autotune; cargo feature `autotune`), and where the choices
//! are kept from run to run: one file for each device and driver.
//!
//! A choice is made where a shape is met for the first time, in the middle of a step, and takes seconds. CubeCL keeps
//! choices and compiled kernels in a database, an *environment*; a *bundle* is one that can be carried elsewhere.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::cubecl::bundle::{BundleError, BundleFormat, SqliteBundle, import};
use burn::cubecl::config::cache::CacheConfig;
use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use burn::cubecl::environment;
use footplate_core::Record;
use footplate_core::ports::Clock;
use footplate_core::record::KernelsRecord;
use footplate_core::sink::RecordSink;
use log::{LevelFilter, Log, Metadata};
use thiserror::Error;

/// Where CubeCL says, in a line of its log, that it begins to measure candidates.
const TUNER: &str = "cubecl_runtime::tune::tuner";

/// Where choices are kept; the first who says so decides. Without it nothing is kept.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();
/// Choices that this process has begun to measure.
static TUNED: AtomicU64 = AtomicU64::new(0);
/// Who is told of them.
static WATCHER: Mutex<Option<(RecordSink, Arc<dyn Clock + Send + Sync>)>> = Mutex::new(None);

/// Why choices cannot be carried.
#[derive(Debug, Error)]
pub enum KernelsError {
    /// The file cannot be read, or is no bundle.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file that holds the choices.
        path: PathBuf,
        /// What is wrong with it, in words.
        reason: String,
    },
    /// Nothing can be written there.
    #[error("{}: {reason}", path.display())]
    Write {
        /// The file that holds the choices.
        path: PathBuf,
        /// Why it cannot be written, in words.
        reason: String,
    },
    /// Its choices were made for something else.
    #[error("{}: made on `{found}`, and this device is `{expected}`", path.display())]
    OtherDevice {
        /// The file that holds the choices.
        path: PathBuf,
        /// What it was made on.
        found: String,
        /// This device and driver.
        expected: String,
    },
}

/// CubeCL's words without its prefixes.
fn reason(error: &BundleError) -> String {
    match error {
        BundleError::Io(error) => error.to_string(),
        BundleError::NotABundle => "no file that `kernels export` wrote".to_owned(),
        error => error.to_string(),
    }
}

/// Keeps choices below `folder`. To be said before a device is opened; what is said later has no effect.
pub fn keep_in(folder: &Path) {
    // Whoever said it first was asked for the same process.
    let _ = FOLDER.set(folder.to_owned());
}

/// What is kept for the device that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The device and driver, as the file is named.
    pub device: String,
    /// The file that holds the choices.
    pub path: PathBuf,
    /// Whether it is there. Where it cannot be written, choices are kept for the process only.
    pub written: bool,
    /// Kernels that were chosen by measuring candidates.
    pub choices: u64,
    /// Kernels in compiled form.
    pub compiled: u64,
}

/// What is kept for the device that is open.
#[expect(clippy::disallowed_methods, reason = "tells whether the file is there")]
pub fn kept() -> Kept {
    let count = |namespace: &str| -> u64 {
        let all = environment::namespaces().into_iter();
        all.filter(|kept| kept.namespace.starts_with(namespace)).map(|kept| kept.entries).sum()
    };
    let choices = count("autotune/");
    let compiled = count("").saturating_sub(choices + count("throughput/"));
    let path = environment::path();
    Kept { device: environment::active().to_string(), written: path.exists(), path, choices, compiled }
}

/// Writes what is kept for the device that is open into the bundle `path`, for another machine of its kind.
pub fn export(path: &Path) -> Result<(), KernelsError> {
    let failed = |e| KernelsError::Write { path: path.to_owned(), reason: reason(&e) };
    environment::bundle().save(path, BundleFormat::Sqlite).map_err(failed)?;
    Ok(())
}

/// Takes over the choices of the bundle `path`: how many there were, and how many of them were known.
///
/// What this machine chose itself stays.
pub fn take_over(path: &Path) -> Result<(usize, usize), KernelsError> {
    let failed = |e| KernelsError::File { path: path.to_owned(), reason: reason(&e) };
    let bundle = SqliteBundle::open(path).map_err(failed)?;
    let (found, expected) = (bundle.manifest().name.clone(), environment::active().to_string());
    if found != expected {
        return Err(KernelsError::OtherDevice { path: path.to_owned(), found, expected });
    }
    let report = import(&bundle);
    if report.failed > 0 {
        let reason = format!("{} entries could not be stored", report.failed);
        return Err(KernelsError::Write { path: environment::path(), reason });
    }
    Ok((report.imported, report.skipped))
}

/// Sets CubeCL up; before its first use in the process.
pub(crate) fn prepare() {
    let mut config = CubeClRuntimeConfig::default();
    match FOLDER.get() {
        Some(folder) => config.environment.path = CacheConfig::Directory(folder.clone()),
        None => config.autotune.disable_cache = true,
    }
    // Not the first: somebody else in this process has set it up, and that holds.
    let _ = CubeClRuntimeConfig::try_set(config);
    // A program that has a logger of its own keeps it, and is told nothing of kernels.
    if log::set_logger(&Listener).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Goes on with what is kept for `device`.
pub(crate) fn activate(device: &str) {
    environment::activate(device);
}

/// Hears of choices in the log of CubeCL, which has no other word for them.
struct Listener;

impl Log for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TUNER
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) || !record.args().to_string().starts_with("Tuning ") {
            return;
        }
        let tuned = TUNED.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some((sink, clock)) = WATCHER.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            sink.send(Record::Kernels(KernelsRecord { t_ns: clock.now_ns(), tuned }));
        }
    }

    fn flush(&self) {}
}

/// Tells choices to a run for as long as it lives.
pub(crate) struct Watch;

impl Watch {
    pub(crate) fn begin(sink: RecordSink, clock: Arc<dyn Clock + Send + Sync>) -> Self {
        *WATCHER.lock().unwrap_or_else(PoisonError::into_inner) = Some((sink, clock));
        Self
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *WATCHER.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests write what is no bundle")]

    use super::*;
    use crate::testing::TestClock;

    #[test]
    fn a_run_is_told_of_choices_while_it_lives_and_of_nothing_else() {
        let (sink, records) = RecordSink::bounded();
        let says = |target: &str, text: &str| {
            let arguments = format_args!("{text}");
            let record = log::Record::builder().target(target).args(arguments).build();
            Listener.log(&record);
        };
        let before = TUNED.load(Ordering::Relaxed);
        let watch = Watch::begin(sink, Arc::new(TestClock::default()));
        says(TUNER, "Tuning MatmulKey");
        says(TUNER, "Loaded 3 autotune cached entries");
        says("wgpu_core::device", "Tuning");
        drop(watch);
        says(TUNER, "Tuning ReduceKey");
        let told: Vec<Record> = records.iter().collect();
        let [Record::Kernels(told)] = &told[..] else { panic!("{told:?}") };
        assert!(told.tuned > before);
    }

    #[test]
    fn what_was_made_for_another_device_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        environment::set_root(folder.path());
        let file = folder.path().join("carried");
        activate("one, driver 1.0");
        export(&file).unwrap();
        assert_eq!(take_over(&file).unwrap(), (0, 0));
        activate("one, driver 2.0");
        let error = take_over(&file).unwrap_err().to_string();
        assert!(error.contains("made on `one__driver_1.0`, and this device is `one__driver_2.0`"), "{error}");
        std::fs::write(&file, "something else").unwrap();
        assert!(take_over(&file).unwrap_err().to_string().contains("`kernels export`"));
        assert!(export(&file).is_err(), "another file was written over");
        let none = take_over(&folder.path().join("nowhere")).unwrap_err().to_string();
        assert!(none.contains("nowhere: No such file"), "{none}");
    }
}
