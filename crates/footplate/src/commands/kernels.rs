//! `footplate kernels`: the kernels that were chosen by measuring on this machine's GPU.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  footplate kernels                       the file, and how many choices are in it
  footplate kernels export orin.kernels   for other boards with the same GPU and driver
  footplate kernels import orin.kernels   on each of them

It is there in programs that were built with --features autotune; see docs/devices.md, Kernels.

Exit codes: 0 done, 2 usage, 3 a file that cannot be read or was made on another device or driver,
4 no GPU, built without the feature, or a file that cannot be written.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct KernelsArguments {
    #[command(subcommand)]
    what: Option<What>,

    /// Where they are kept [default: the user's cache folder]
    #[arg(long, value_name = "DIR", global = true)]
    cache_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write what is kept for this GPU and its driver into a file, for another machine with the same
    Export {
        /// The file to write
        file: PathBuf,
    },
    /// Take over what a file holds; what was measured here stays
    Import {
        /// A file that `kernels export` wrote
        file: PathBuf,
    },
}

#[cfg(not(feature = "autotune"))]
pub(crate) fn run(_arguments: &KernelsArguments) -> Result<ExitCode, Failure> {
    use crate::failure::Kind;

    let message = "this binary was built without the choice of kernels by measuring";
    Err(Failure::new(Kind::Machine, message)
        .hint("cargo build --release --features autotune; what it needs: docs/devices.md, Kernels"))
}

#[cfg(feature = "autotune")]
pub(crate) use with_autotune::run;

#[cfg(feature = "autotune")]
mod with_autotune {
    use super::*;

    use footplate_train::device::DeviceChoice;
    use footplate_train::feed_path::FeedChoice;
    use footplate_train::{device, kernels};

    use crate::{cache_folder, output};

    pub(crate) fn run(arguments: &KernelsArguments) -> Result<ExitCode, Failure> {
        // What is kept belongs to a device and its driver, which only the driver can name.
        let cache = arguments.cache_dir.clone().or_else(cache_folder::user_cache);
        let kept = cache.map(|folder| folder.join("kernels"));
        device::open(DeviceChoice::Vulkan, FeedChoice::Auto, kept.as_deref())?;
        match &arguments.what {
            None => {
                let kept = kernels::kept();
                let not =
                    if kept.written { "" } else { " cannot be written: nothing is kept from run to run" };
                output::result(&format!(
                    "device    {}\nfile      {}{not}\nchoices   {}\ncompiled  {}",
                    kept.device,
                    kept.path.display(),
                    kept.choices,
                    kept.compiled
                ));
            }
            Some(What::Export { file }) => {
                kernels::export(file)?;
                let kept = kernels::kept();
                output::result(&format!("{}: {} choices for {}", file.display(), kept.choices, kept.device));
            }
            Some(What::Import { file }) => {
                let (new, known) = kernels::take_over(file)?;
                output::result(&format!("{}: {new} new entries, {known} known", file.display()));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
