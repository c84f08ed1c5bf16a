//! The file `pack.toml` in a folder of shards: what the shards were made from, and whether all of them are there.
#![expect(clippy::disallowed_methods, reason = "the marker is a file")]

use std::fs;
use std::path::Path;

/// Name of the file.
pub(crate) const MARKER: &str = "pack.toml";
/// The line of a folder with all of its shards.
pub(crate) const COMPLETE: &str = "complete = true";
/// The line of a folder in which shards are missing.
pub(crate) const INCOMPLETE: &str = "complete = false";
/// Beginning of the line with the checksum of the source and the options.
pub(crate) const ORIGIN: &str = "origin = ";

/// Whether shards are missing in a folder because `footplate pack` was interrupted, or is still running.
pub(crate) fn is_incomplete(folder: &Path) -> bool {
    fs::read_to_string(folder.join(MARKER)).is_ok_and(|text| text.lines().any(|line| line == INCOMPLETE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_marker_that_says_so_makes_a_folder_incomplete() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_incomplete(folder.path()), "no marker");
        for (text, incomplete) in [
            ("origin = \"1\"\ncomplete = false\n", true),
            ("origin = \"1\"\ncomplete = true\n", false),
            ("# complete = false\n", false),
            ("", false),
        ] {
            fs::write(folder.path().join(MARKER), text).unwrap();
            assert_eq!(is_incomplete(folder.path()), incomplete, "{text}");
        }
        assert!(!is_incomplete(&folder.path().join("other")));
    }
}
