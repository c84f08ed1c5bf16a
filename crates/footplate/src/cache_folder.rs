//! The user's cache folder.

use std::env;
use std::path::PathBuf;

/// `$XDG_CACHE_HOME/footplate`, or `~/.cache/footplate` (XDG Base Directory Specification 0.8); `None` where neither is
/// set.
pub(crate) fn user_cache() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("footplate"))
}
