//! Errors as the user meets them: a kind with its exit code, a message, and what can be done.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use footplate_core::steps::StepError;
use footplate_data::{BadSample, DataError};
use footplate_device::SimBoard;
use footplate_run::{ErrorKind, RunError};
use footplate_train::TrainError;
use footplate_train::checkpoint::CheckpointError;
#[cfg(feature = "autotune")]
use footplate_train::kernels::KernelsError;
use footplate_train::model::models;
use footplate_train::weights::WeightsError;
use footplate_tune::tuner::TuneError;

/// What went wrong, as far as a script needs to know. The README lists the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A fault inside, or training that diverged.
    Internal = 1,
    /// Arguments or settings that make no sense.
    Usage = 2,
    /// Data that cannot be used.
    Data = 3,
    /// A device, a permission or storage that is not to be had.
    Machine = 4,
    /// No setting holds the limits.
    Infeasible = 5,
    /// Not enough memory.
    Memory = 6,
    /// Interrupted, and resumable.
    Interrupted = 7,
}

impl Kind {
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// Samples that are listed by name when there are too many bad ones.
const BAD_LISTED: usize = 20;

/// Why the program ends without a result.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    /// Further lines, such as a list of files.
    pub(crate) details: Vec<String>,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), details: Vec::new(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The system refused something about a file of ours (not of the user's data).
    pub(crate) fn io(action: &str, path: &Path, error: &io::Error) -> Self {
        let failure = Self::new(kind_of(error), format!("cannot {action} {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                failure.hint("choose a folder that you may write with --run-dir or --cache-dir")
            }
            io::ErrorKind::StorageFull => {
                failure.hint("free some space, or choose another disk with --run-dir")
            }
            _ => failure,
        }
    }
}

fn kind_of(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData => Kind::Data,
        _ => Kind::Machine,
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let message = error.to_string();
        let kind = match error.kind() {
            ErrorKind::Internal => Kind::Internal,
            ErrorKind::Usage => Kind::Usage,
            ErrorKind::Data => Kind::Data,
            ErrorKind::Machine => Kind::Machine,
            ErrorKind::Infeasible => Kind::Infeasible,
            ErrorKind::Interrupted => Kind::Interrupted,
        };
        let failure = Self::new(kind, message);
        match error {
            RunError::File { action, path, source } => Self::io(action, &path, &source),
            RunError::Device(error) => error.into(),
            RunError::Control(error) => error.into(),
            RunError::HoldsARun { folder } => failure
                .hint(format!("go on with it by --resume {}, or name another --run-dir", folder.display())),
            RunError::NotARun { .. } | RunError::NoRun { .. } => {
                failure.hint("runs are kept under runs/ unless --run-dir says otherwise")
            }
            RunError::NewerLog { .. } => failure.hint("look at it with the footplate that wrote it"),
            RunError::Table { .. } => failure.hint("docs/profile-table.md describes the columns"),
            RunError::StudyHeld { .. } => failure.hint("wait for it, or name another folder with --out"),
            RunError::Tune { error, records } => of_tune(&error, records.as_deref()),
            RunError::Infeasible { .. } => failure.hint(
                "the steps made so far are kept; another budget needs a new run, or --weights from this one",
            ),
            RunError::NotRestored(_) => failure.hint("`footplate mode restore` tries again"),
            RunError::NoBoard(_) => {
                failure.hint(format!("the simulated boards are {}", SimBoard::names().join(", ")))
            }
            RunError::NoSimulatedJob { .. } => failure.hint(format!("the models are {}", model_names())),
            RunError::NoData { .. } => failure.hint("paths of a study are relative to its file"),
            _ => failure,
        }
    }
}

impl Failure {
    /// Why a job failed that makes steps.
    pub(crate) fn of_steps(error: StepError) -> Self {
        match error.downcast::<TrainError>() {
            Ok(error) => (*error).into(),
            Err(other) => Self::new(Kind::Internal, other.to_string()),
        }
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        let message = error.to_string();
        match error {
            TrainError::UnknownModel { name } => {
                let names: Vec<_> = models().iter().map(|m| m.name).collect();
                let hint = match nearest(&name, &names) {
                    Some(near) => format!("did you mean `{near}`? the models are {}", names.join(", ")),
                    None => format!("the models are {}", names.join(", ")),
                };
                Self::new(Kind::Usage, message).hint(hint)
            }
            TrainError::Setting { .. } => Self::new(Kind::Usage, message),
            TrainError::NeedsText { .. } => {
                Self::new(Kind::Usage, message).hint("name a text file with --data")
            }
            TrainError::Path { path, source } => Self::io("use", &path, &source),
            TrainError::NoCacheFolder => {
                Self::new(Kind::Machine, message).hint("name one with --cache-dir")
            }
            TrainError::EmbeddedData(_) => Self::new(Kind::Machine, message)
                .hint("choose a folder that you may write, on a disk with 20 MB free, with --cache-dir"),
            TrainError::SettingsText(_) => Self::new(Kind::Internal, message),
            TrainError::WrongData { .. } => Self::new(Kind::Data, message)
                .hint("image models take folders, tar shards, idx or CIFAR files; lstm takes a text file"),
            TrainError::Device { .. } => Self::new(Kind::Machine, message)
                .hint("`--device auto` falls back to the cpu; a GPU needs a build with the cargo feature `vulkan`"),
            TrainError::DeviceFailed { .. } => Self::new(Kind::Machine, message)
                .hint("what was computed since the last checkpoint is lost with the device"),
            TrainError::DeviceMemory { batch_size, largest_batch: None, .. } => {
                let smaller = (batch_size / 2).max(1);
                Self::new(Kind::Memory, message)
                    .hint(format!("try --batch-size {smaller}; --accumulate 2 keeps the size of a step"))
            }
            TrainError::DeviceMemory { largest_batch: Some(largest), .. } => memory(message, largest),
            TrainError::Memory { largest_batch, .. } => memory(message, largest_batch),
            TrainError::Diverged { .. } => Self::new(Kind::Internal, message)
                .hint("lower --learning-rate, add --warmup-steps or --clip-norm 1.0; --resume goes back to the last checkpoint"),
            TrainError::Data(error) => error.into(),
            TrainError::Checkpoint(error) => error.into(),
            TrainError::Weights(error) => error.into(),
            TrainError::Params(_) => Self::new(Kind::Data, message),
            TrainError::DataChanged { .. } => Self::new(Kind::Data, message)
                .hint("put the data back as it was, or start a new run with --weights"),
            TrainError::NoCheckpoint { rejected, .. } => {
                let failure = Self::new(Kind::Data, message)
                    .hint("the run ended before its first checkpoint: start it anew in another --run-dir");
                Self { details: rejected, ..failure }
            }
        }
    }
}

/// The names of all models, for a hint.
fn model_names() -> String {
    models().iter().map(|m| m.name).collect::<Vec<_>>().join(", ")
}

fn memory(message: String, largest_batch: usize) -> Failure {
    let failure = Failure::new(Kind::Memory, message);
    match largest_batch {
        0 => failure.hint("not even one sample fits: choose a smaller --image-size or model"),
        n => failure
            .hint(format!("the largest batch that fits is {n}: --batch-size {n}, or --batch-size auto")),
    }
}

#[cfg(feature = "autotune")]
impl From<KernelsError> for Failure {
    fn from(error: KernelsError) -> Self {
        let message = error.to_string();
        match error {
            KernelsError::File { .. } => Self::new(Kind::Data, message),
            KernelsError::Write { .. } => Self::new(Kind::Machine, message),
            KernelsError::OtherDevice { .. } => Self::new(Kind::Data, message)
                .hint("what is fastest on one GPU and driver need not run on another: tune here"),
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let message = error.to_string();
        if let DataError::TooManyBad { bad, .. } = error {
            let mut failure = Self::new(Kind::Data, message)
                .hint("repair or remove them, or allow more with --max-bad-fraction");
            failure.details = listed(&bad);
            return failure;
        }
        let kind = if error.is_permission() { Kind::Machine } else { Kind::Data };
        Self::new(kind, message)
    }
}

fn listed(bad: &[BadSample]) -> Vec<String> {
    let mut lines: Vec<String> =
        bad.iter().take(BAD_LISTED).map(|sample| format!("{}: {}", sample.name, sample.reason)).collect();
    if bad.len() > BAD_LISTED {
        lines.push(format!("… and {} more", bad.len() - BAD_LISTED));
    }
    lines
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        let message = error.to_string();
        match error {
            CheckpointError::Io { action, path, source } => Self::io(action, &path, &source),
            _ => Self::new(Kind::Data, message),
        }
    }
}

impl From<WeightsError> for Failure {
    fn from(error: WeightsError) -> Self {
        let kind = if error.is_write() { Kind::Machine } else { Kind::Data };
        Self { hint: error.hint(), ..Self::new(kind, error.to_string()) }
    }
}

/// The name that a mistyped one is most likely meant to be.
fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let close = |candidate: &&&str| distance(name, candidate) <= name.len().div_ceil(3);
    names.iter().filter(close).min_by_key(|candidate| distance(name, candidate)).copied()
}

/// Levenshtein's distance: insertions, deletions and replacements of characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// What helps after a tune without a result.
fn of_tune(error: &TuneError, records: Option<&Path>) -> Failure {
    let kind = match error {
        TuneError::Interrupted { .. } => Kind::Interrupted,
        TuneError::Infeasible => Kind::Infeasible,
        _ => Kind::Machine,
    };
    let failure = Failure::new(kind, error.to_string());
    match (error, records) {
        (TuneError::NoPower { .. }, _) => failure.hint(
            "without a power sensor only the time can be tuned: --minimise time, with --time-max or --max-slowdown at most",
        ),
        (TuneError::NothingToSet { .. }, _) => {
            failure.hint("setting modes needs root on most boards: try again with sudo, or with --sim BOARD")
        }
        (TuneError::ChoiceNotSet(source), _) if source.permission => failure.hint("sudo"),
        (TuneError::Interrupted { .. }, Some(folder)) => failure.hint(format!(
            "what was measured is in {}: the same command goes on from there",
            folder.display()
        )),
        (TuneError::Interrupted { .. }, None) => {
            failure.hint("with --records DIR an interrupted tune can go on")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_model_finds_its_name() {
        let names = ["lenet5", "resnet18", "resnet50"];
        assert_eq!(nearest("resnet-18", &names), Some("resnet18"));
        assert_eq!(nearest("lenet", &names), Some("lenet5"));
        assert_eq!(nearest("vit_b_16", &names), None);
    }

    #[test]
    fn a_full_disk_is_the_machines_and_a_missing_file_the_datas() {
        let path = Path::new("x");
        let kind = |error: io::ErrorKind| Failure::io("write", path, &error.into()).kind;
        assert_eq!(kind(io::ErrorKind::StorageFull), Kind::Machine);
        assert_eq!(kind(io::ErrorKind::PermissionDenied), Kind::Machine);
        assert_eq!(kind(io::ErrorKind::NotFound), Kind::Data);
    }
}
