//! Files of profiles: tables of measured modes, and the profiles that tunes append to.
#![expect(clippy::disallowed_methods, reason = "files of a run are opened here")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use footplate_core::framed::{self, LineError};
use footplate_core::profile_table::ProfileTable;
use footplate_files::append::AppendLog;
use footplate_tune::evaluate::{self, Truth};
use footplate_tune::records::KeptProfile;

use crate::error::RunError;

/// Reads a table of measured modes (docs/profile-table.md).
pub fn table(path: &Path) -> Result<ProfileTable, RunError> {
    let text = fs::read_to_string(path).map_err(RunError::file("read", path))?;
    ProfileTable::parse(&text).map_err(|e| bad_table(path, e.to_string()))
}

/// The settings of one workload of a table, each with its repeats, in the order of the table. `path` is for the text of
/// an error.
pub fn truths(path: &Path, table: &ProfileTable, workload: &str) -> Result<Vec<Truth>, RunError> {
    evaluate::truths(table, workload).map_err(|problem| bad_table(path, problem.to_string()))
}

fn bad_table(path: &Path, problem: String) -> RunError {
    RunError::Table { path: path.to_owned(), problem }
}

/// The file in a folder of profiles.
const PROFILES_FILE: &str = "profiles.jsonl";

/// Kept profiles: read once, then appended one at a time.
#[derive(Debug)]
pub struct ProfileStore {
    path: PathBuf,
    log: AppendLog,
}

/// What a folder of profiles held when it was opened.
#[derive(Debug)]
pub struct OpenedProfiles {
    /// The store, open for appending.
    pub store: ProfileStore,
    /// All whole profiles, in the order in which they were measured.
    pub profiles: Vec<KeptProfile>,
    /// Lines that were left out, in words.
    pub damaged: Vec<String>,
}

impl ProfileStore {
    /// Opens (or makes) the profiles in `folder`, and reads what is there. A file of a newer program is refused.
    pub fn open(folder: &Path) -> Result<OpenedProfiles, RunError> {
        fs::create_dir_all(folder).map_err(RunError::file("create", folder))?;
        let path = folder.join(PROFILES_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(RunError::file("read", &path)(error)),
        };
        let decoded = framed::decode_all::<KeptProfile>(&bytes);
        let newer = |e: &LineError| matches!(e, LineError::Version { .. });
        if let Some((line, error)) = decoded.damaged.iter().find(|(_, e)| newer(e)) {
            return Err(RunError::Content { path, problem: format!("line {line}: {error}") });
        }
        let left_out =
            |(line, error): &(_, _)| format!("{}: line {line} is left out: {error}", path.display());
        let damaged = decoded.damaged.iter().map(left_out).collect();
        // A line that a crash cut off would spoil the next one.
        let log = AppendLog::open_at(&path, decoded.whole_bytes).map_err(RunError::file("write", &path))?;
        Ok(OpenedProfiles { store: Self { path, log }, profiles: decoded.records, damaged })
    }

    /// Appends a profile; it is on disk when this returns.
    pub fn append(&mut self, kept: &KeptProfile) -> Result<(), RunError> {
        let line = framed::encode(kept).map_err(|e| RunError::Encoding(e.to_string()))?;
        let written = self.log.append(line.as_bytes()).and_then(|()| self.log.sync());
        written.map_err(RunError::file("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::testing::kept_profile;

    fn open(folder: &Path) -> OpenedProfiles {
        ProfileStore::open(folder).unwrap()
    }

    #[test]
    fn profiles_are_on_disk_at_once_and_read_again_in_order() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("new/folder");
        let mut opened = open(&folder);
        assert!(opened.profiles.is_empty() && opened.damaged.is_empty());
        for (workload, step_s) in [("a", 0.1), ("b", 0.2)] {
            opened.store.append(&kept_profile("tx2", workload, step_s)).unwrap();
            // Not dropped yet: as after a crash.
            assert_eq!(open(&folder).profiles.last().unwrap().workload, workload);
        }
        let read: Vec<f64> = open(&folder).profiles.iter().map(|kept| kept.profile.step_s).collect();
        assert_eq!(read, [0.1, 0.2]);
    }

    #[test]
    fn a_torn_line_is_cut_off_and_a_damaged_one_is_told() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(PROFILES_FILE);
        open(place.path()).store.append(&kept_profile("tx2", "a", 0.1)).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{good}{}{}", good.replace("0.1", "0.7"), &good[..30])).unwrap();
        let mut opened = open(place.path());
        assert_eq!(opened.profiles.len(), 1);
        let [damaged] = &opened.damaged[..] else { panic!("{:?}", opened.damaged) };
        assert!(damaged.contains("line 2 is left out"), "{damaged}");
        opened.store.append(&kept_profile("tx2", "a", 0.2)).unwrap();
        assert_eq!(open(place.path()).profiles.len(), 2);
    }

    #[test]
    fn profiles_of_a_newer_program_are_refused() {
        let place = tempfile::tempdir().unwrap();
        open(place.path()).store.append(&kept_profile("tx2", "a", 0.1)).unwrap();
        let path = place.path().join(PROFILES_FILE);
        let text = fs::read_to_string(&path).unwrap().replacen("{\"v\":1", "{\"v\":9", 1);
        fs::write(&path, text).unwrap();
        let error = ProfileStore::open(place.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains("line 1"), "{error}");
    }

    #[test]
    fn a_table_that_cannot_be_used_is_named_with_its_problem() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("table.csv");
        assert!(matches!(table(&path), Err(RunError::File { action: "read", .. })));
        fs::write(&path, "colour\nred\n").unwrap();
        assert!(matches!(table(&path), Err(RunError::Table { .. })));
        fs::write(&path, "workload,gpu_hz,time_s\na,1000000000,0.5\n").unwrap();
        let read = table(&path).unwrap();
        assert_eq!(truths(&path, &read, "a").unwrap().len(), 1);
    }
}
