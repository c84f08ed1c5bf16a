//! A run's folder: `run.toml` (what was asked for), `records.jsonl` (the run log), `checkpoints/`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use footplate_core::record::TuneRecord;
use footplate_core::runlog::{Decoder, LineError};
use footplate_core::{Record, runlog};
use footplate_train::settings::TrainSettings;
use serde::{Deserialize, Serialize};

use crate::commands::tune::Wish;
use crate::failure::{Failure, Kind};
use crate::log_file::write_whole;

const RUN_FILE: &str = "run.toml";
pub(crate) const LOG_FILE: &str = "records.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const VERSION: u32 = 1;
/// Records wait so long in memory before they are handed to the system.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
const BUFFER_BYTES: usize = 64 << 10;
/// A log is read in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// `run.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RunFile {
    /// Of this file's format.
    pub(crate) version: u32,
    /// That made the run.
    pub(crate) footplate: String,
    /// Where the data is; an absolute path (or pattern), so that a resume works from anywhere.
    pub(crate) data: PathBuf,
    /// The format's name, if the user gave one.
    pub(crate) format: Option<String>,
    pub(crate) validation_fraction: f64,
    pub(crate) device: String,
    pub(crate) settings: TrainSettings,
    /// The mode that is wanted for the run, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tune: Option<Wish>,
}

impl RunFile {
    pub(crate) fn new(
        data: PathBuf,
        format: Option<String>,
        validation_fraction: f64,
        device: String,
        settings: TrainSettings,
    ) -> Self {
        let footplate = env!("CARGO_PKG_VERSION").to_owned();
        Self { version: VERSION, footplate, data, format, validation_fraction, device, settings, tune: None }
    }
}

/// A run's folder.
#[derive(Clone, Debug)]
pub(crate) struct RunStore {
    folder: PathBuf,
}

impl RunStore {
    /// A folder for a new run: the one that was asked for, which must not hold a run, or one named by time
    /// and model under `runs/`.
    pub(crate) fn create(asked: Option<&Path>, model: &str, now: &str) -> Result<Self, Failure> {
        let folder = match asked {
            Some(folder) if folder.join(RUN_FILE).exists() => {
                let message = format!("{} already holds a run", folder.display());
                let hint =
                    format!("go on with it by --resume {}, or name another --run-dir", folder.display());
                return Err(Failure::new(Kind::Usage, message).hint(hint));
            }
            Some(folder) => folder.to_owned(),
            None => unused(&Path::new("runs").join(format!("{now}-{model}"))),
        };
        fs::create_dir_all(&folder).map_err(|e| Failure::io("create the run folder", &folder, &e))?;
        Ok(Self { folder })
    }

    /// The folder of a run that is there.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        if !folder.join(RUN_FILE).is_file() {
            let message = format!("{} is not a run: it holds no {RUN_FILE}", folder.display());
            return Err(Failure::new(Kind::Data, message)
                .hint("runs are kept under runs/ unless --run-dir says otherwise"));
        }
        Ok(Self { folder: folder.to_owned() })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.folder.join(CHECKPOINTS)
    }

    /// Writes `run.toml`, whole or not at all.
    pub(crate) fn write_run_file(&self, run: &RunFile) -> Result<(), Failure> {
        let text = toml::to_string(run).map_err(|e| Failure::new(Kind::Internal, e.to_string()))?;
        write_whole(&self.folder.join(RUN_FILE), text.as_bytes())
    }

    pub(crate) fn read_run_file(&self) -> Result<RunFile, Failure> {
        let path = self.folder.join(RUN_FILE);
        let text = fs::read_to_string(&path).map_err(|e| Failure::io("read", &path, &e))?;
        let run: RunFile = toml::from_str(&text)
            .map_err(|e| Failure::new(Kind::Data, format!("{}: {e}", path.display())))?;
        if run.version > VERSION {
            let message =
                format!("{}: version {}; this program reads up to {VERSION}", path.display(), run.version);
            return Err(Failure::new(Kind::Data, message));
        }
        Ok(run)
    }

    /// The last mode that was chosen for the run, if one was.
    pub(crate) fn last_choice(&self) -> Result<Option<TuneRecord>, Failure> {
        let path = self.folder.join(LOG_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io("read", &path, &error)),
        };
        let chosen = |record| match record {
            Record::Tune(tune) if tune.choice.is_some() => Some(tune),
            _ => None,
        };
        Ok(runlog::decode_all(&bytes).records.into_iter().rev().find_map(chosen))
    }

    /// Opens the run log to append to it, after cutting off what a crash left of a last line.
    pub(crate) fn append_log(&self) -> Result<LogWriter, Failure> {
        let path = self.folder.join(LOG_FILE);
        let open = || -> io::Result<File> {
            let whole = match fs::read(&path) {
                Ok(bytes) => runlog::decode_all(&bytes).whole_bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(error),
            };
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.set_len(whole)?;
            Ok(file)
        };
        let file = open().map_err(|e| Failure::io("open", &path, &e))?;
        Ok(LogWriter { path, file, buffer: Vec::new(), flushed: Instant::now(), failed: None })
    }
}

impl RunStore {
    /// Reads the run's log as far as it goes; no log is an empty one.
    pub(crate) fn read_log(&self, mut take: impl FnMut(Record)) -> Result<LogReader, Failure> {
        let mut reader = self.log_reader();
        while reader.advance(&mut take)? == Advance::More {}
        Ok(reader)
    }

    /// A reader at the log's beginning.
    pub(crate) fn log_reader(&self) -> LogReader {
        LogReader { path: self.folder.join(LOG_FILE), file: None, decoder: Decoder::default(), offset: 0 }
    }
}

/// What came of reading on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    /// A piece was read, and there is more.
    More,
    /// It has been read up to its end.
    End,
    /// It is another file than before: what was taken from the old one is void.
    Anew,
}

/// Reads a run log while it is being written, and goes on when a resumed process goes on with it.
pub(crate) struct LogReader {
    path: PathBuf,
    file: Option<File>,
    decoder: Decoder,
    offset: u64,
}

impl LogReader {
    /// Takes the next piece.
    pub(crate) fn advance(&mut self, take: impl FnMut(Record)) -> Result<Advance, Failure> {
        self.next_piece(take).map_err(|e| Failure::io("read", &self.path, &e))
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

    /// Damaged lines so far.
    pub(crate) fn damaged(&self) -> u64 {
        self.decoder.damaged()
    }

    /// Bytes taken, and how many there are.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.offset, fs::metadata(&self.path).map_or(0, |there| there.len()))
    }

    /// How long ago the log was last written to, by the clock of its disk.
    pub(crate) fn age(&self) -> Duration {
        let written = fs::metadata(&self.path).and_then(|there| there.modified());
        written.ok().and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default()
    }

    /// A log of a newer program is refused rather than shown as damaged.
    pub(crate) fn refuse_newer(&self) -> Result<(), Failure> {
        match self.decoder.first_damage() {
            Some((line, error @ LineError::Version { .. })) => {
                let message = format!("{}, line {line}: {error}", self.path.display());
                Err(Failure::new(Kind::Data, message).hint("look at it with the footplate that wrote it"))
            }
            _ => Ok(()),
        }
    }
}

/// `folder`, or the first of `folder-2`, `folder-3`, … that is not there.
fn unused(folder: &Path) -> PathBuf {
    let numbered = |n: u32| PathBuf::from(format!("{}-{n}", folder.display()));
    let mut candidates = std::iter::once(folder.to_owned()).chain((2..).map(numbered));
    candidates.find(|path| !path.exists()).unwrap_or_else(|| folder.to_owned())
}

/// Appends records to a run log. A disk that refuses does not end the training: the first error is kept.
pub(crate) struct LogWriter {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    flushed: Instant,
    failed: Option<io::Error>,
}

impl LogWriter {
    /// Appends one record. Minibatches may wait a second in memory; everything else goes out at once.
    pub(crate) fn write(&mut self, record: &Record) {
        match runlog::encode(record) {
            Ok(line) => self.buffer.extend_from_slice(line.as_bytes()),
            Err(error) => self.failed = Some(io::Error::other(error)),
        }
        let urgent = !matches!(record, Record::Minibatch(_));
        if urgent || self.buffer.len() > BUFFER_BYTES || self.flushed.elapsed() >= FLUSH_EVERY {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.flushed = Instant::now();
        if let Err(error) = self.file.write_all(&self.buffer) {
            self.failed.get_or_insert(error);
        }
        self.buffer.clear();
    }

    /// Writes what is left, and tells the first error of all.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.flush();
        if let Err(error) = self.file.sync_all() {
            self.failed.get_or_insert(error);
        }
        self.failed.map_or(Ok(()), |error| Err(Failure::io("write", &self.path, &error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::record::WarningRecord;

    fn warning(message: &str) -> Record {
        Record::Warning(WarningRecord { message: message.into() })
    }

    #[test]
    fn a_torn_tail_is_cut_off_before_the_log_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = RunStore { folder: folder.path().to_owned() };
        let mut log = store.append_log().unwrap();
        log.write(&warning("first"));
        log.finish().unwrap();
        let path = folder.path().join(LOG_FILE);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"v\":2,\"crc32\":\"00");
        fs::write(&path, &bytes).unwrap();
        let mut log = store.append_log().unwrap();
        log.write(&warning("second"));
        log.finish().unwrap();
        let read = runlog::decode_all(&fs::read(&path).unwrap());
        assert_eq!(read.records, [warning("first"), warning("second")]);
        assert!(read.damaged.is_empty());
    }

    #[test]
    fn a_log_is_followed_across_a_torn_line_a_resume_and_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = RunStore { folder: folder.path().to_owned() };
        let path = folder.path().join(LOG_FILE);
        let mut reader = store.log_reader();
        let mut seen = Vec::new();
        assert_eq!(reader.advance(|record| seen.push(record)).unwrap(), Advance::End);
        let line = |text: &str| runlog::encode(&warning(text)).unwrap();
        // The writer dies in the middle of its second line.
        fs::write(&path, format!("{}{}", line("first"), &line("second, lost")[..20])).unwrap();
        reader.advance(|record| seen.push(record)).unwrap();
        assert_eq!(seen, [warning("first")]);
        // The next one cuts it off and writes another line.
        let mut log = store.append_log().unwrap();
        log.write(&warning("third"));
        log.finish().unwrap();
        reader.advance(|record| seen.push(record)).unwrap();
        assert_eq!((seen.len(), reader.damaged()), (2, 0));
        assert_eq!(seen[1], warning("third"));
        // A new run in the same folder.
        fs::remove_file(&path).unwrap();
        fs::write(&path, line("another run")).unwrap();
        assert_eq!(reader.advance(|record| seen.push(record)).unwrap(), Advance::Anew);
        reader.advance(|record| seen.push(record)).unwrap();
        assert_eq!(seen[2..], [warning("another run")]);
    }

    #[test]
    fn a_log_of_a_newer_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = RunStore { folder: folder.path().to_owned() };
        let newer = runlog::encode(&warning("x")).unwrap().replace("{\"v\":", "{\"v\":9");
        fs::write(folder.path().join(LOG_FILE), newer).unwrap();
        let reader = store.read_log(|_| {}).unwrap();
        assert_eq!(reader.refuse_newer().unwrap_err().kind, Kind::Data);
    }

    #[test]
    fn a_folder_with_a_run_is_not_used_for_another() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RUN_FILE), "").unwrap();
        let error = RunStore::create(Some(folder.path()), "lenet5", "now").unwrap_err();
        assert_eq!(error.kind, Kind::Usage);
    }
}
