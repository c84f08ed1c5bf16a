//! Files of profiles: tables of measured modes, and the records that `tune` appends to.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use footplate_core::framed::{self, LineError};
use footplate_core::profile_table::ProfileTable;
use footplate_tune::evaluate::{self, Truth};
use footplate_tune::records::KeptProfile;

use crate::failure::{Failure, Kind};

/// Reads a table of measured modes.
pub(crate) fn table(path: &Path) -> Result<ProfileTable, Failure> {
    let text = fs::read_to_string(path).map_err(|e| Failure::io("read", path, &e))?;
    ProfileTable::parse(&text).map_err(|e| bad(path, &e.to_string()))
}

/// The settings of one workload of a table, each with its repeats, in the order of the table.
pub(crate) fn truths(path: &Path, table: &ProfileTable, workload: &str) -> Result<Vec<Truth>, Failure> {
    evaluate::truths(table, workload).map_err(|problem| bad(path, &problem.to_string()))
}

fn bad(path: &Path, problem: &str) -> Failure {
    Failure::new(Kind::Data, format!("{}: {problem}", path.display()))
        .hint("docs/profile-table.md describes the columns")
}

/// The file in a folder of records.
const RECORDS_FILE: &str = "profiles.jsonl";

/// Kept profiles: read once, then appended one at a time.
#[derive(Debug)]
pub(crate) struct ProfileStore {
    path: PathBuf,
    file: File,
}

impl ProfileStore {
    /// Opens (or makes) the records in `folder`, and reads what is there. Damaged lines are told in words.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Vec<KeptProfile>, Vec<String>), Failure> {
        fs::create_dir_all(folder).map_err(|e| Failure::io("create", folder, &e))?;
        let path = folder.join(RECORDS_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Failure::io("read", &path, &error)),
        };
        let decoded = framed::decode_all::<KeptProfile>(&bytes);
        let newer = |e: &LineError| matches!(e, LineError::Version { .. });
        if let Some((line, error)) = decoded.damaged.iter().find(|(_, e)| newer(e)) {
            let message = format!("{}: line {line}: {error}", path.display());
            return Err(Failure::new(Kind::Data, message));
        }
        let damaged = decoded
            .damaged
            .iter()
            .map(|(line, error)| format!("{}: line {line} is left out: {error}", path.display()));
        let damaged = damaged.collect();
        let open = || -> std::io::Result<File> {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            // A line that a crash cut off would spoil the next one.
            if decoded.whole_bytes < bytes.len() as u64 {
                file.set_len(decoded.whole_bytes)?;
            }
            File::open(folder)?.sync_all()?;
            Ok(file)
        };
        let file = open().map_err(|e| Failure::io("write", &path, &e))?;
        Ok((Self { path, file }, decoded.records, damaged))
    }

    /// Appends a profile; it is on disk when this returns.
    pub(crate) fn append(&mut self, kept: &KeptProfile) -> Result<(), String> {
        let line = framed::encode(kept).map_err(|e| e.to_string())?;
        let write = |file: &mut File| file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
        write(&mut self.file).map_err(|e| format!("{}: {e}", self.path.display()))
    }
}
