//! `footplate export`: a run's weights for PyTorch and everyone else.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use footplate_run::RunFolder;
use footplate_train::checkpoint::{Checkpoint, CheckpointStore};
use footplate_train::{TrainError, weights};

use crate::failure::Failure;
use crate::output;

const EXPORT_EXAMPLE: &str = "\
Example:
  footplate export runs/20261124-101500-resnet18 --out resnet18.safetensors

and in PyTorch:
  model = torchvision.models.resnet18(num_classes=4)
  model.load_state_dict(safetensors.torch.load_file('resnet18.safetensors'))";

#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLE)]
pub(crate) struct ExportArguments {
    /// The run's folder
    pub(crate) run: PathBuf,

    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,

    /// Take the newest weights instead of those of the best validation
    #[arg(long)]
    pub(crate) newest: bool,
}

pub(crate) fn run(arguments: &ExportArguments) -> Result<ExitCode, Failure> {
    let run = RunFolder::open(&arguments.run)?;
    let store = CheckpointStore::open(&run.checkpoints());
    let (which, checkpoint) = chosen(&store, arguments.newest)?;
    let model = checkpoint.settings.model.clone();
    weights::export(&checkpoint, &arguments.out)?;
    output::result(&format!(
        "{}: {model} with {} classes, from the {which} after {} steps",
        arguments.out.display(),
        checkpoint.labels.len(),
        checkpoint.progress.steps,
    ));
    Ok(ExitCode::SUCCESS)
}

/// The best checkpoint, or the newest where there is no best one or the newest was asked for.
fn chosen(store: &CheckpointStore, newest: bool) -> Result<(&'static str, Checkpoint), Failure> {
    if !newest {
        match store.best() {
            Ok(Some(checkpoint)) => return Ok(("best checkpoint", checkpoint)),
            Ok(None) => {}
            Err(error) => output::warning(&format!("the best checkpoint cannot be used: {error}")),
        }
    }
    let (checkpoint, rejected) = store.newest()?;
    for rejected in rejected {
        output::warning(&format!("{} cannot be used: {}", rejected.path.display(), rejected.error));
    }
    let none = || TrainError::NoCheckpoint { folder: store.folder().to_owned(), rejected: Vec::new() };
    Ok(("newest checkpoint", checkpoint.ok_or_else(none)?))
}
