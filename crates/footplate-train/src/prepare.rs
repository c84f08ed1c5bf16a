//! From what is asked for to a run that is ready: data, settings, memory plan, network.
//!
//! [`prepare`] does all but the last. A [`JobPlan`] can be shown, measured, or built into a [`PreparedRun`]; [`resume`]
//! makes one from what an earlier process has left.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use footplate_core::{Bytes, Reading};
use footplate_data::generated::{self, GeneratedSettings};
use footplate_data::{Dataset, Format, OpenOptions, Split};

use crate::checkpoint::CheckpointStore;
use crate::device::{self, ChosenDevice, DeviceChoice};
use crate::error::TrainError;
use crate::feed_path::FeedChoice;
use crate::host::Host;
use crate::job::Job;
use crate::memory::{HeapMeter, MemoryPlan};
use crate::memory_planner::MemoryPlanner;
use crate::model::{self, ModelEntry, Task};
use crate::prepared_run::PreparedRun;
use crate::request::{BatchSize, CacheChoice, JobRequest};
use crate::settings::TrainSettings;
use crate::{auto_cache, defaults};

/// The data set that the program makes itself, where none is named.
const EMBEDDED: GeneratedSettings =
    GeneratedSettings { seed: 1, train_per_class: 500, val_per_class: 125, size: 48 };

/// What is being done before a run is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparing {
    /// Images of the embedded data set are made.
    EmbeddedData {
        /// How many there are.
        done: u64,
        /// How many there will be.
        total: u64,
    },
    /// The data set's list of samples is read.
    Data,
    /// The memory plan's trials run.
    Memory,
    /// The network is built on the device.
    Model,
    /// The network is taken up from a checkpoint.
    Checkpoint,
}

impl fmt::Display for Preparing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmbeddedData { .. } => "making the embedded data set",
            Self::Data => "reading the data set's list of samples",
            Self::Memory => "planning the memory: two small steps are measured",
            Self::Model => "making the model on the device",
            Self::Checkpoint => "taking the model up from its checkpoint",
        })
    }
}

/// Who is told what is being done.
pub type Tell<'a> = dyn FnMut(Preparing) + 'a;

/// The registry's entry for the model that is asked for, or for the default.
pub fn entry(request: &JobRequest) -> Result<&'static ModelEntry, TrainError> {
    let name = request.model.as_deref().unwrap_or(defaults::MODEL);
    model::find(name).ok_or_else(|| TrainError::UnknownModel { name: name.to_owned() })
}

/// A job whose data is open.
pub struct OpenJob {
    /// What was asked for.
    pub request: JobRequest,
    /// The registry's entry of the model.
    pub entry: &'static ModelEntry,
    /// Where the data is: an absolute path.
    pub data: PathBuf,
    /// Share of the data for validation where the data set has no split of its own, 0 to below 1.
    pub validation_fraction: f64,
    /// The data set that was opened.
    pub dataset: Arc<Dataset>,
}

impl OpenJob {
    /// Opens the data that is asked for, or the embedded data set, which is made where it is not there yet.
    pub fn open(request: &JobRequest, host: &Host, tell: &mut Tell<'_>) -> Result<Self, TrainError> {
        let entry = entry(request)?;
        let data = match &request.data {
            Some(path) => {
                std::path::absolute(path).map_err(|source| TrainError::Path { path: path.clone(), source })?
            }
            None if entry.task == Task::CharacterLm => {
                return Err(TrainError::NeedsText { model: entry.name });
            }
            None => embedded_data(cache_folder(request, host), tell)?,
        };
        tell(Preparing::Data);
        let validation_fraction = defaults::validation_fraction(request, entry.task);
        let dataset = open(
            &data,
            request.format.as_deref(),
            validation_fraction,
            (request.seed.unwrap_or(0), defaults::sequence_length(request)),
        )?;
        Ok(Self { request: request.clone(), entry, data, validation_fraction, dataset })
    }

    /// All settings: a batch size of `auto` gets the model's, and a cache of `auto` none.
    pub fn settings(&self, cores: usize) -> TrainSettings {
        self.settings_with(self.request.batch_size, cores)
    }

    fn settings_with(&self, batch_size: Option<BatchSize>, cores: usize) -> TrainSettings {
        let side = match self.dataset.as_ref() {
            Dataset::Images(images) => images.typical_side(),
            Dataset::Text(_) => None,
        };
        let request = JobRequest { batch_size, ..self.request.clone() };
        defaults::settings(&request, self.entry, side, self.dataset.len(Split::Train), cores)
    }
}

/// The folder of the embedded data set below a cache folder; makes it if it is not there.
pub fn embedded_data(cache: Option<&Path>, tell: &mut Tell<'_>) -> Result<PathBuf, TrainError> {
    let cache = cache.ok_or(TrainError::NoCacheFolder)?;
    let mut told = |done, total| tell(Preparing::EmbeddedData { done, total });
    Ok(generated::generate(cache, &EMBEDDED, &mut told)?)
}

fn cache_folder<'a>(request: &'a JobRequest, host: &'a Host) -> Option<&'a Path> {
    request.cache_dir.as_deref().or(host.cache_folder.as_deref())
}

fn open(
    path: &Path,
    format: Option<&str>,
    validation_fraction: f64,
    (seed, sequence_length): (u64, usize),
) -> Result<Arc<Dataset>, TrainError> {
    let setting = |setting, value: &str, reason: String| TrainError::Setting {
        setting,
        value: value.to_owned(),
        reason,
    };
    let read = |name: &str| name.parse::<Format>().map_err(|e| setting("format", name, e.to_string()));
    let format = format.map(read).transpose()?;
    if !(0.0..1.0).contains(&validation_fraction) {
        let reason = "must be 0 or more and less than 1".to_owned();
        return Err(setting("validation-fraction", &validation_fraction.to_string(), reason));
    }
    let options = OpenOptions { format, seed, validation_fraction, sequence_length };
    Ok(Arc::new(footplate_data::open(path, &options)?))
}

/// Opens the device that is asked for, or the cpu if none is.
pub fn open_device(request: &JobRequest, host: &Host) -> Result<ChosenDevice, TrainError> {
    let kernels = cache_folder(request, host).map(|folder| folder.join("kernels"));
    let choice = request.device.unwrap_or(DeviceChoice::Cpu);
    let mut device = device::open(choice, request.feed.unwrap_or_default(), kernels.as_deref())?;
    if request.device.is_none() {
        "default; --device auto looks for a GPU".clone_into(&mut device.reason);
    }
    Ok(device)
}

/// A job of which everything is decided, and nothing built yet.
pub struct JobPlan {
    /// The request, its model and its data set.
    pub open: OpenJob,
    /// All settings: nothing is left to a default.
    pub settings: TrainSettings,
    /// The device that it computes on.
    pub device: ChosenDevice,
    /// What it will need of memory.
    pub memory: MemoryPlan,
    /// What the system still gives, or less if that was asked for.
    pub available: Reading<Bytes>,
    /// What the user should know of the decisions.
    pub notes: Vec<String>,
    pub(crate) planner: MemoryPlanner,
    pub(crate) cores: usize,
}

/// Decides all about a job: opens its device and its data, and plans its memory by a few small steps, whose heap
/// `heap` measures. Nothing is written but the embedded data set, where it is asked for and not there yet.
///
/// ```
/// use footplate_core::Reading;
/// use footplate_train::memory::HeapMeter;
/// use footplate_train::{Host, JobRequest, prepare};
///
/// /// A program's allocator counts; this one does not.
/// struct NoCount;
/// impl HeapMeter for NoCount {
///     fn live_bytes(&self) -> u64 { 0 }
///     fn peak_bytes(&self) -> u64 { 0 }
///     fn reset_peak(&self) {}
/// }
///
/// let folder = tempfile::tempdir()?;
/// let text = folder.path().join("rhyme.txt");
/// std::fs::write(&text, "she sells sea shells by the sea shore. ".repeat(20))?;
/// let request = JobRequest {
///     model: Some("lstm".to_owned()),
///     data: Some(text),
///     lstm_hidden: Some(8),
///     ..JobRequest::default()
/// };
/// let host = Host {
///     cores: 2,
///     available_memory: Reading::Absent,
///     resident_memory: Reading::Absent,
///     cache_folder: None,
/// };
/// let plan = prepare(&request, &host, &NoCount, &mut |step| println!("{step}"))?;
/// assert_eq!((plan.settings.epochs, plan.settings.lstm.hidden), (3, 8));
/// let run = plan.build(&mut |_| {})?;
/// assert!(run.job().parameter_count() > 1000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Names, settings, data and devices that cannot be had, and a plan that exceeds the available memory.
pub fn prepare(
    request: &JobRequest,
    host: &Host,
    heap: &dyn HeapMeter,
    tell: &mut Tell<'_>,
) -> Result<JobPlan, TrainError> {
    // What is mistyped is told before anything takes time.
    entry(request)?;
    let device = open_device(request, host)?;
    let open = OpenJob::open(request, host, tell)?;
    let mut settings = open.settings(host.cores);
    let mut notes = Vec::new();
    let available = available(host, request);
    let known = known(&available, &mut notes);
    tell(Preparing::Memory);
    let planner =
        MemoryPlanner::new(&settings, &open.dataset, heap, program(host, heap, &mut notes))?.on(&device);
    if request.batch_size == Some(BatchSize::Auto) {
        let batch_size = planner.auto_batch(known)?;
        settings = open.settings_with(Some(BatchSize::Fixed(batch_size)), host.cores);
    }
    let planner = planner.with_batch_size(settings.batch_size);
    let mut memory = planner.checked(known)?;
    if request.cache == Some(CacheChoice::Auto) {
        let (cache, why) = auto_cache::choose(&open.dataset, known, memory.total());
        notes.push(why);
        settings.cache = cache;
        // It takes a part of what the plan leaves: nothing needs to be measured again.
        memory.pipeline += settings.cache.as_ref().map_or(0, |cache| cache.memory_bytes(&open.dataset));
    }
    let cores = host.cores;
    Ok(JobPlan { open, settings, device, memory, available, notes, planner, cores })
}

impl JobPlan {
    /// Builds the network on the device, with random parameters or the weights that were asked for.
    pub fn build(self, tell: &mut Tell<'_>) -> Result<PreparedRun, TrainError> {
        tell(Preparing::Model);
        let dataset = self.open.dataset;
        let mut warnings = dataset.warnings().to_vec();
        let (job, report) = Job::new(self.settings, dataset, self.device)?;
        warnings.extend(report.iter().flat_map(crate::weights::LoadReport::warnings));
        PreparedRun::new(job, self.memory, warnings, self.cores)
    }
}

/// What is known of a run that an earlier process began.
#[derive(Clone, Debug)]
pub struct ResumeRequest {
    /// Where its data is.
    pub data: PathBuf,
    /// The data's format, where it was said.
    pub format: Option<String>,
    /// Share of the data for validation where the data set has no split of its own, 0 to below 1.
    pub validation_fraction: f64,
    /// The device that it computes on.
    pub device: DeviceChoice,
    /// All settings: nothing is left to a default.
    pub settings: TrainSettings,
    /// The folder of its checkpoints.
    pub checkpoints: PathBuf,
}

/// Takes a run up from its newest checkpoint that can be used, or from its beginning where it has none yet.
///
/// # Errors
///
/// As [`prepare`]; data that is not what the run began with; and [`TrainError::NoCheckpoint`] where there are
/// checkpoints, but all of them are damaged.
pub fn resume(
    request: ResumeRequest,
    host: &Host,
    heap: &dyn HeapMeter,
    tell: &mut Tell<'_>,
) -> Result<PreparedRun, TrainError> {
    tell(Preparing::Data);
    let (checkpoint, rejected) = CheckpointStore::open(&request.checkpoints).newest_if_any()?;
    let mut warnings: Vec<String> = rejected
        .iter()
        .map(|r| format!("{} cannot be used ({}); taking the one before", r.path.display(), r.error))
        .collect();
    let kernels = host.cache_folder.as_ref().map(|folder| folder.join("kernels"));
    // How minibatches get there makes no difference to what is computed.
    let device = device::open(request.device, FeedChoice::Auto, kernels.as_deref())?;
    let settings = request.settings;
    let order = (settings.seed, settings.sequence_length);
    let dataset = open(&request.data, request.format.as_deref(), request.validation_fraction, order)?;
    tell(Preparing::Memory);
    let program = program(host, heap, &mut warnings);
    let available = known(&host.available_memory, &mut warnings);
    let memory = MemoryPlanner::new(&settings, &dataset, heap, program)?.on(&device).checked(available)?;
    tell(Preparing::Checkpoint);
    let job = match checkpoint {
        Some(checkpoint) => Job::resume(checkpoint, dataset, device)?,
        // Killed before its first checkpoint: the beginning is where it stands.
        None if rejected.is_empty() => Job::new(settings, dataset, device)?.0,
        None => {
            let folder = request.checkpoints;
            return Err(TrainError::NoCheckpoint { folder, rejected: warnings });
        }
    };
    PreparedRun::new(job, memory, warnings, host.cores)
}

/// Memory that the job may use: what the system still gives, or less if that was asked for.
fn available(host: &Host, request: &JobRequest) -> Reading<Bytes> {
    match (&host.available_memory, request.memory_max) {
        (system, None) => system.clone(),
        (Reading::Value(system), Some(max)) => Reading::Value((*system).min(max)),
        (_, Some(max)) => Reading::Value(max),
    }
}

/// The available memory, where it is known. That it cannot be read is told.
fn known(available: &Reading<Bytes>, notes: &mut Vec<String>) -> Option<Bytes> {
    match available {
        Reading::Value(bytes) => Some(*bytes),
        Reading::Absent => None,
        Reading::Unreadable { reason } => {
            notes.push(format!("the memory plan is not checked: free memory cannot be read ({reason})"));
            None
        }
    }
}

/// What the process holds already: its resident memory, or at least its heap where that cannot be read.
fn program(host: &Host, heap: &dyn HeapMeter, notes: &mut Vec<String>) -> Bytes {
    let heap = Bytes(heap.live_bytes());
    match &host.resident_memory {
        Reading::Value(resident) => heap.max(*resident),
        Reading::Absent => heap,
        Reading::Unreadable { reason } => {
            notes.push(format!(
                "the memory plan leaves out the program's code: its resident memory cannot be read ({reason})"
            ));
            heap
        }
    }
}

#[cfg(test)]
mod tests;
