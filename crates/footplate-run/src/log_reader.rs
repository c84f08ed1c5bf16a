//! Reads run logs: whole ones line by line, and those that are still being written.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "files of a run are opened here")]

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use footplate_core::runlog::{Decoder, LineError};
use footplate_core::{Record, framed};
use footplate_files::append;

use crate::error::RunError;

/// The run log's name in a run's folder.
pub const LOG_FILE: &str = "records.jsonl";
/// A log that is being written is read in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;
/// A whole log is read through a buffer of this size.
const READ_BYTES: usize = 256 << 10;
/// A longer line is not a record; the record of a tune of ten thousand settings has 3 MiB.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// What reading on gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// A piece was read, and there is more.
    More,
    /// It has been read up to its end.
    End,
    /// It is another file than before: what was read of the old one no longer holds.
    Anew,
}

/// Reads a run log while it is being written, and goes on when a resumed process goes on with it.
pub struct LogFollower {
    path: PathBuf,
    file: Option<File>,
    decoder: Decoder,
    offset: u64,
}

impl LogFollower {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, decoder: Decoder::default(), offset: 0 }
    }

    /// Reads the next piece and gives its records to `take`.
    pub fn advance(&mut self, take: impl FnMut(Record)) -> Result<Advance, RunError> {
        self.next_piece(take).map_err(|e| RunError::file("read", &self.path)(e))
    }

    fn next_piece(&mut self, take: impl FnMut(Record)) -> io::Result<Advance> {
        let there = match fs::metadata(&self.path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Advance::End),
            Err(error) => return Err(error),
        };
        if let Some(file) = &self.file {
            let open = file.metadata()?;
            let same = (open.dev(), open.ino()) == (there.dev(), there.ino());
            // Whole lines are never taken back: a shorter log is another one.
            if !same || there.len() < self.decoder.whole_bytes() {
                (self.file, self.decoder, self.offset) = (None, Decoder::default(), 0);
                return Ok(Advance::Anew);
            }
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path)?),
        };
        let mut piece = vec![0; PIECE_BYTES];
        let count = file.read_at(&mut piece, self.offset)?;
        self.decoder.push(&piece[..count], take);
        self.offset += count as u64;
        if count == piece.len() {
            return Ok(Advance::More);
        }
        // The last line may be cut off before the log goes on: it is read anew each time until it is whole.
        self.decoder.forget_partial();
        self.offset = self.decoder.whole_bytes();
        Ok(Advance::End)
    }

    /// Number of damaged lines so far.
    pub fn damaged(&self) -> u64 {
        self.decoder.damaged()
    }

    /// Bytes that were read, and the bytes that there are.
    pub fn progress(&self) -> (u64, u64) {
        (self.offset, fs::metadata(&self.path).map_or(0, |there| there.len()))
    }

    /// How long before `now` the log was last written to, by the clock of its disk; zero if that cannot be read.
    pub fn age(&self, now: SystemTime) -> Duration {
        let written = fs::metadata(&self.path).and_then(|there| there.modified());
        written.ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default()
    }

    /// Refuses a log that a newer program wrote, which would otherwise look damaged.
    pub fn refuse_newer(&self) -> Result<(), RunError> {
        match self.decoder.first_damage() {
            Some((line, error @ LineError::Version { .. })) => {
                let (line, problem) = (*line, error.to_string());
                Err(RunError::NewerLog { path: self.path.clone(), line, problem })
            }
            _ => Ok(()),
        }
    }
}

/// A log's file: a run's folder holds it under its own name; a file is taken as it is.
pub fn log_of(run: &Path) -> Result<PathBuf, RunError> {
    if run.is_file() {
        return Ok(run.to_owned());
    }
    let log = run.join(LOG_FILE);
    if log.is_file() {
        return Ok(log);
    }
    let folder = run.to_owned();
    match run.exists() {
        true => Err(RunError::NotARun { folder, missing: LOG_FILE }),
        false => Err(RunError::NoRun { folder }),
    }
}

/// Reads a log from its beginning, line by line, in bounded memory: each whole line's number and record, or what is wrong
/// with it. A last line without its end is being written, or was when the process died: it is left out.
pub fn read_log(path: &Path, mut take: impl FnMut(usize, Result<Record, LineError>)) -> Result<(), RunError> {
    let failed = |e: io::Error| RunError::file("read", path)(e);
    let file = File::open(path).map_err(failed)?;
    let reader = BufReader::with_capacity(READ_BYTES, file);
    let malformed = || LineError::Malformed { format: "run log" };
    append::read_lines(reader, LINE_BYTES_MAX, |number, line| {
        take(number, line.map_or_else(|| Err(malformed()), framed::decode_bytes));
    })
    .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::testing::{ManualClock, warning};
    use footplate_core::runlog;

    fn line(text: &str) -> String {
        runlog::encode(&warning(text)).unwrap()
    }

    /// The texts of the warnings that were read.
    fn advance(follower: &mut LogFollower) -> (Advance, Vec<Record>) {
        let mut read = Vec::new();
        let advance = follower.advance(|record| read.push(record)).unwrap();
        (advance, read)
    }

    #[test]
    fn a_log_is_read_line_by_line_and_damage_costs_its_line() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(LOG_FILE);
        let good = line("good");
        fs::write(
            &path,
            [good.as_bytes(), b"bad\n", b"\xff\xfe\n", good.as_bytes(), &good.as_bytes()[..20]].concat(),
        )
        .unwrap();
        let mut read = Vec::new();
        read_log(&path, |number, record| read.push((number, record.is_ok()))).unwrap();
        assert_eq!(read, [(1, true), (2, false), (3, false), (4, true)]);
        fs::write(&path, "").unwrap();
        read_log(&path, |_, _| panic!("an empty log has no line")).unwrap();
        assert_eq!(read_log(&place.path().join("none"), |_, _| {}).unwrap_err().kind(), ErrorKind::Data);
    }

    #[test]
    fn a_log_is_found_in_its_folder_and_a_file_is_taken_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        assert!(matches!(log_of(place.path()), Err(RunError::NotARun { missing: LOG_FILE, .. })));
        assert!(matches!(log_of(&place.path().join("gone")), Err(RunError::NoRun { .. })));
        let path = place.path().join(LOG_FILE);
        fs::write(&path, "").unwrap();
        assert_eq!(log_of(place.path()).unwrap(), path);
        assert_eq!(log_of(&path).unwrap(), path);
    }

    #[test]
    fn a_log_is_followed_across_a_torn_line_a_resume_and_a_new_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(LOG_FILE);
        let mut follower = LogFollower::new(path.clone());
        assert_eq!(advance(&mut follower), (Advance::End, vec![]));
        // The writer dies in the middle of its second line.
        fs::write(&path, format!("{}{}", line("first"), &line("second, lost")[..20])).unwrap();
        assert_eq!(advance(&mut follower), (Advance::End, vec![warning("first")]));
        // The next one cuts it off and writes another line.
        let mut log = crate::log_writer::LogWriter::open(&path, ManualClock::shared()).unwrap();
        log.write(&warning("third"));
        log.finish().unwrap();
        assert_eq!(advance(&mut follower), (Advance::End, vec![warning("third")]));
        assert_eq!(follower.damaged(), 0);
        // A new run in the same folder.
        fs::remove_file(&path).unwrap();
        fs::write(&path, line("another run")).unwrap();
        assert_eq!(advance(&mut follower), (Advance::Anew, vec![]));
        assert_eq!(advance(&mut follower), (Advance::End, vec![warning("another run")]));
        let bytes = line("another run").len() as u64;
        assert_eq!(follower.progress(), (bytes, bytes));
    }

    #[test]
    fn a_log_of_a_newer_program_is_refused_and_a_damaged_one_is_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(LOG_FILE);
        let refused = |text: String| {
            fs::write(&path, text).unwrap();
            let mut follower = LogFollower::new(path.clone());
            advance(&mut follower);
            follower.refuse_newer()
        };
        let error = refused(line("x").replace("{\"v\":", "{\"v\":9")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains("line 1"), "{error}");
        refused("damaged\n".to_owned()).unwrap();
    }

    #[test]
    fn the_age_of_a_log_is_counted_from_its_last_change() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(LOG_FILE);
        let follower = LogFollower::new(path.clone());
        assert_eq!(follower.age(SystemTime::UNIX_EPOCH), Duration::ZERO);
        fs::write(&path, "").unwrap();
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(follower.age(written + Duration::from_secs(90)), Duration::from_secs(90));
        // A clock that was set back gives no negative age.
        assert_eq!(follower.age(written - Duration::from_secs(90)), Duration::ZERO);
    }
}
