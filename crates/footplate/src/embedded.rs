//! The data set that the program makes itself, in the user's cache folder.

use std::env;
use std::path::{Path, PathBuf};

use footplate_data::generated::{self, GeneratedSettings};

use crate::failure::{Failure, Kind};
use crate::view::Progress;

/// What the main job trains on.
const SETTINGS: GeneratedSettings =
    GeneratedSettings { seed: 1, train_per_class: 500, val_per_class: 125, size: 48 };

/// The folder with the images; makes them if they are not there.
pub(crate) fn folder(cache_dir: Option<&Path>, progress: &mut Progress) -> Result<PathBuf, Failure> {
    let cache = cache_folder(cache_dir)?;
    let made = generated::generate(&cache, &SETTINGS, &mut |done, total| {
        progress.counted("making the embedded data set", done, total);
    });
    progress.clear();
    made.map_err(|e| {
        Failure::new(Kind::Machine, e.to_string())
            .hint("choose a folder that you may write, on a disk with 20 MB free, with --cache-dir")
    })
}

/// The folder that is asked for, or the user's.
pub(crate) fn cache_folder(cache_dir: Option<&Path>) -> Result<PathBuf, Failure> {
    cache_dir.map_or_else(user_cache, |folder| Ok(folder.to_owned()))
}

/// `$XDG_CACHE_HOME/footplate`, or `~/.cache/footplate` (XDG Base Directory Specification 0.8).
fn user_cache() -> Result<PathBuf, Failure> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("footplate")).ok_or_else(|| {
        Failure::new(Kind::Machine, "no cache folder: neither XDG_CACHE_HOME nor HOME is set")
            .hint("name one with --cache-dir")
    })
}
