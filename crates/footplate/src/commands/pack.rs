//! `footplate pack`: a data set of images as indexed shards.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::Args;
use footplate_core::{Bytes, Share};
use footplate_data::pack::{self, ImageChange, JobControl, PackError, PackOptions, Packed, Verified};
use footplate_data::{BadSample, Format};
use footplate_device::host;
use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::view::{Detail, Progress};
use crate::{output, signals};

/// Large enough that a disk reads it at full speed, small enough to copy and to mix.
const SHARD_BYTES: u64 = 256 << 20;
/// Damaged samples that are named on the screen; the JSON document has all.
const NAMED_MAX: usize = 20;

const EXAMPLES: &str = "\
Examples:
  footplate pack photos/ shards/                       images as they are, in tars of about 256 MiB
  footplate pack photos/ shards/ --verify              and read everything again
  footplate pack 'old-{000..009}.tar' shards/ --resize 256
  footplate pack --verify shards/                      check shards that are there

The shards are tars that any tool can read (WebDataset's convention), each with a side index that footplate
train uses: docs/shards.md. A packing that was interrupted goes on when the same command is given again.

Exit codes: 0 done, 2 usage, 3 bad input data, 4 permission or storage, 7 interrupted.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PackArguments {
    /// Folder of images, tar shards, idx or CIFAR files; with --verify alone: the shards
    pub(crate) source: PathBuf,

    /// Folder for the shards: a new or empty one, or one in which the same was begun
    pub(crate) shards: Option<PathBuf>,

    /// image-folder, idx, cifar or tar [default: found out from the path]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,

    /// Size of a shard, about [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) shard_size: Option<Bytes>,

    /// Seed of the order of samples in the shards
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Share of images that may be damaged before packing stops; damaged ones are left out
    #[arg(long, value_name = "SHARE", default_value = "1%")]
    pub(crate) max_bad_fraction: Share,

    /// Make larger images smaller, to this shorter side; this changes them for good
    #[arg(long, value_name = "PIXELS")]
    pub(crate) resize: Option<u32>,

    /// Encode JPEGs anew with this quality (1 to 100); this changes them for good
    #[arg(long, value_name = "QUALITY")]
    pub(crate) quality: Option<u8>,

    /// Read all shards again and compare every image with its index
    #[arg(long)]
    pub(crate) verify: bool,

    /// Shards that are made at once [default: cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Print one JSON document on stdout
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Print nothing but errors and the result
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
}

pub(crate) fn run(arguments: &PackArguments) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let detail = Detail::of_terminal(arguments.quiet);
    let stop = signals::stop_flag()?;
    let packed = match (&arguments.shards, arguments.verify) {
        (Some(shards), _) => Some(packed(arguments, shards, &stop, detail)?),
        (None, true) => None,
        (None, false) => {
            return Err(Failure::new(Kind::Usage, "no folder for the shards was given")
                .hint("footplate pack SOURCE SHARDS, or footplate pack --verify SHARDS"));
        }
    };
    let folder = arguments.shards.as_ref().unwrap_or(&arguments.source);
    let verified = match arguments.verify {
        true => Some(watched("checking shards", detail, &stop, |watch| {
            pack::verify(folder, threads(arguments), watch)
        })?),
        false => None,
    };
    tell(folder, packed.as_ref(), verified.as_ref(), begun, arguments.json)?;
    match verified {
        Some(verified) if !verified.problems.is_empty() => Err(damaged(folder, verified)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn threads(arguments: &PackArguments) -> usize {
    arguments.threads.unwrap_or_else(host::cores).max(1)
}

fn packed(
    arguments: &PackArguments,
    shards: &Path,
    stop: &AtomicBool,
    detail: Detail,
) -> Result<Packed, Failure> {
    let usage = |message: String| Failure::new(Kind::Usage, message);
    let format: Option<Format> = arguments
        .format
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|e| usage(format!("--format: {e}")))?;
    if !(0.0..=1.0).contains(&arguments.max_bad_fraction.0) {
        return Err(usage(format!("--max-bad-fraction {}: must be 0 to 1", arguments.max_bad_fraction.0)));
    }
    let options = PackOptions {
        format,
        seed: arguments.seed,
        shard_bytes: arguments.shard_size.map_or(SHARD_BYTES, |size| size.0),
        change: ImageChange { resize: arguments.resize, quality: arguments.quality },
        max_bad_fraction: arguments.max_bad_fraction.0,
        threads: threads(arguments),
    };
    let packed =
        watched("packing", detail, stop, |watch| pack::pack(&arguments.source, shards, &options, watch))?;
    for warning in &packed.warnings {
        output::warning(warning);
    }
    for BadSample { name, reason, .. } in packed.left_out.iter().take(NAMED_MAX) {
        output::warning(&format!("left out {name}: {reason}"));
    }
    if packed.left_out.len() > NAMED_MAX {
        output::warning(&format!("left out {} more (--json names all)", packed.left_out.len() - NAMED_MAX));
    }
    Ok(packed)
}

/// Does a piece of work with its progress shown.
fn watched<T>(
    what: &str,
    detail: Detail,
    stop: &AtomicBool,
    work: impl FnOnce(JobControl<'_>) -> Result<T, PackError>,
) -> Result<T, PackError> {
    let shown = Mutex::new(Progress::new(detail));
    let progress = |done: u64, total: u64| {
        // A thread that finds another one at it goes on with its work.
        if let Ok(mut shown) = shown.try_lock() {
            shown.counted(what, done, total);
        }
    };
    let result = work(JobControl { stop, progress: &progress });
    if let Ok(mut shown) = shown.lock() {
        shown.clear();
    }
    result
}

/// Prints what was done: for people, or as one JSON document.
fn tell(
    folder: &Path,
    packed: Option<&Packed>,
    verified: Option<&Verified>,
    begun: Instant,
    json: bool,
) -> Result<(), Failure> {
    let seconds = begun.elapsed().as_secs_f64();
    if json {
        let document = Document {
            folder,
            seconds,
            packed: packed.map(PackedDocument::from),
            verified: verified.map(|v| VerifiedDocument {
                shards: v.shards,
                samples: v.samples,
                bytes: v.bytes,
                problems: &v.problems,
            }),
        };
        let text = serde_json::to_string_pretty(&document);
        output::result(&text.map_err(|e| Failure::new(Kind::Internal, e.to_string()))?);
        return Ok(());
    }
    if let Some(packed) = packed {
        output::result(&format!(
            "packed      {} images of {} classes into {} shards ({} were there), {} left out\n\
             size        {} of tars, {} of side indices; checkpoints for {} images\n\
             time        {seconds:.1} s\n\
             train       footplate train --data {}",
            packed.samples,
            packed.classes.len(),
            packed.shards,
            packed.kept,
            packed.left_out.len(),
            Bytes(packed.tar_bytes),
            Bytes(packed.index_bytes),
            packed.with_checkpoints,
            folder.display(),
        ));
    }
    if let Some(verified) = verified {
        output::result(&format!(
            "checked     {} images in {} shards ({}): {} problems",
            verified.samples,
            verified.shards,
            Bytes(verified.bytes),
            verified.problems.len(),
        ));
    }
    Ok(())
}

fn damaged(folder: &Path, verified: Verified) -> Failure {
    let message = format!("{}: the shards are not as they were packed", folder.display());
    let mut failure = Failure::new(Kind::Data, message)
        .hint("remove the damaged shards and run `footplate pack` again: the others are kept");
    failure.details = verified.problems;
    failure
}

#[derive(Serialize)]
struct Document<'a> {
    folder: &'a Path,
    seconds: f64,
    packed: Option<PackedDocument<'a>>,
    verified: Option<VerifiedDocument<'a>>,
}

#[derive(Serialize)]
struct PackedDocument<'a> {
    shards: usize,
    kept_shards: usize,
    samples: u64,
    left_out: Vec<LeftOut<'a>>,
    tar_bytes: u64,
    index_bytes: u64,
    with_checkpoints: u64,
    classes: &'a [String],
}

#[derive(Serialize)]
struct LeftOut<'a> {
    name: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct VerifiedDocument<'a> {
    shards: usize,
    samples: u64,
    bytes: u64,
    problems: &'a [String],
}

impl<'a> From<&'a Packed> for PackedDocument<'a> {
    fn from(packed: &'a Packed) -> Self {
        Self {
            shards: packed.shards,
            kept_shards: packed.kept,
            samples: packed.samples,
            left_out: packed
                .left_out
                .iter()
                .map(|bad| LeftOut { name: &bad.name, reason: &bad.reason })
                .collect(),
            tar_bytes: packed.tar_bytes,
            index_bytes: packed.index_bytes,
            with_checkpoints: packed.with_checkpoints,
            classes: &packed.classes,
        }
    }
}

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        const AGAIN: &str = "run the same command again to go on: whole shards are kept";
        let message = error.to_string();
        match error {
            PackError::Data(error) => error.into(),
            PackError::NotImages { .. } => Self::new(Kind::Data, message),
            PackError::Write { source, .. } => {
                let failure = Self::new(Kind::Machine, message);
                match source.kind() {
                    std::io::ErrorKind::StorageFull => {
                        failure.hint(format!("the disk is full: free some space, then {AGAIN}"))
                    }
                    std::io::ErrorKind::FileTooLarge => {
                        failure.hint("choose a smaller --shard-size, or a disk without that limit")
                    }
                    _ => failure.hint("choose a folder that you may write"),
                }
            }
            PackError::Foreign { .. } => {
                Self::new(Kind::Usage, message).hint("choose a new or an empty folder")
            }
            PackError::OtherPack { .. } => Self::new(Kind::Usage, message)
                .hint("its pack.toml tells which; choose another folder, or give the same data and options"),
            PackError::Inside { .. } => Self::new(Kind::Usage, message).hint("choose a folder outside of it"),
            PackError::Option(_) => Self::new(Kind::Usage, message),
            PackError::Busy { .. } => Self::new(Kind::Machine, message),
            PackError::Stopped => Self::new(Kind::Interrupted, message).hint(AGAIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_the_machines_and_tells_how_to_go_on() {
        let source = std::io::ErrorKind::StorageFull.into();
        let failure: Failure = PackError::Write { action: "write", path: "s.tar".into(), source }.into();
        assert_eq!(failure.kind, Kind::Machine);
        assert!(failure.hint.is_some_and(|hint| hint.contains("free some space")));
    }
}
