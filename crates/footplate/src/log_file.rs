//! Files that views read and write: a run's log, line by line, and pages that appear whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use footplate_core::runlog::LineError;
use footplate_core::{Record, framed};

use crate::failure::{Failure, Kind};
use crate::run_store::LOG_FILE;

/// A log is read in pieces of this size.
const READ_BYTES: usize = 256 << 10;
/// A longer line is none of ours; a tune of ten thousand settings has 3 MiB.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Writes a file, whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    footplate_files::whole::write_bytes(path, bytes).map_err(|e| Failure::io("write", path, &e))
}

/// A log's file: a run's folder holds it under its own name; a file is taken as it is.
pub(crate) fn log_of(run: &Path) -> Result<PathBuf, Failure> {
    if run.is_file() {
        return Ok(run.to_owned());
    }
    let log = run.join(LOG_FILE);
    if log.is_file() {
        return Ok(log);
    }
    let message = match run.exists() {
        true => format!("{} is not a run: it holds no {LOG_FILE}", run.display()),
        false => format!("there is no run {}", run.display()),
    };
    Err(Failure::new(Kind::Data, message).hint("runs are kept under runs/ unless --run-dir says otherwise"))
}

/// Reads a log from its beginning, line by line, in bounded memory: each whole line's number and record, or what is wrong
/// with it. A last line without its end is being written, or was when the process died: it is left out.
pub(crate) fn read_log(
    path: &Path,
    mut take: impl FnMut(usize, Result<Record, LineError>),
) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::io("read", path, &e);
    let file = File::open(path).map_err(failed)?;
    read_lines(BufReader::with_capacity(READ_BYTES, file), LINE_BYTES_MAX, &mut take).map_err(failed)
}

fn read_lines(
    mut reader: impl BufRead,
    most: u64,
    take: &mut impl FnMut(usize, Result<Record, LineError>),
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        reader.by_ref().take(most).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            if (line.len() as u64) < most {
                break;
            }
            // No line of ours is that long: what is left of it is passed over.
            reader.skip_until(b'\n')?;
        }
        take(number, framed::decode_bytes(&line));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::record::WarningRecord;
    use footplate_core::runlog;

    fn warning(message: &str) -> Record {
        Record::Warning(WarningRecord { message: message.into() })
    }

    #[test]
    fn a_log_is_read_line_by_line_and_damage_costs_its_line() {
        let good = runlog::encode(&warning("good")).unwrap();
        let long = vec![b'x'; 500];
        let parts: [&[u8]; 6] =
            [good.as_bytes(), b"bad\n", &long, b"\n", good.as_bytes(), &good.as_bytes()[..20]];
        let mut read = Vec::new();
        let log = parts.concat();
        read_lines(log.as_slice(), 200, &mut |number, record| read.push((number, record.is_ok()))).unwrap();
        assert_eq!(read, [(1, true), (2, false), (3, false), (4, true)]);
        read_lines(&b""[..], 200, &mut |_, _| panic!("an empty log has no line")).unwrap();
    }
}
