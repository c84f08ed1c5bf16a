//! Logs that are only ever appended to. A crash leaves at most a torn last line, which the next opening cuts off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use crate::whole;

/// A log that is open for appending.
///
/// ```
/// use footplate_files::append::{self, AppendLog};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("log.jsonl");
/// std::fs::write(&path, "{\"n\":1}\n{\"n\"")?;
/// // The torn line goes, and what comes next begins a line of its own.
/// let mut log = AppendLog::open(&path, append::whole_lines)?;
/// log.append(b"{\"n\":2}\n")?;
/// log.sync()?;
/// assert_eq!(std::fs::read_to_string(&path)?, "{\"n\":1}\n{\"n\":2}\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AppendLog {
    file: File,
}

impl AppendLog {
    /// Opens (or makes) a log and cuts it off where `whole_bytes`, which sees all that is there, says that its last
    /// whole line ends. Its presence in its folder is on disk when this returns.
    pub fn open(path: &Path, whole_bytes: impl FnOnce(&[u8]) -> u64) -> io::Result<Self> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Self::open_at(path, whole_bytes(&bytes))
    }

    /// The same where it is known how many bytes are whole. A longer log is cut, a shorter one is left as it is.
    pub fn open_at(path: &Path, whole_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.len() > whole_bytes {
            file.set_len(whole_bytes)?;
        }
        whole::sync_folder(path)?;
        Ok(Self { file })
    }

    /// Appends `bytes` in one write as far as the system takes them so. Not durable before [`AppendLog::sync`].
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Waits until what was appended is on disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Bytes up to the end of the last line that has its newline.
pub fn whole_lines(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last as u64 + 1)
}

/// Reads line by line in bounded memory: each line's number from 1 and its bytes with the newline, or `None` for a
/// line of more than `bytes_max`, which is passed over. A last line without its newline is being written, or was
/// when its writer died: it is left out.
pub fn read_lines(
    mut reader: impl BufRead,
    bytes_max: u64,
    mut take: impl FnMut(usize, Option<&[u8]>),
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        reader.by_ref().take(bytes_max).read_until(b'\n', &mut line)?;
        if line.last() == Some(&b'\n') {
            take(number, Some(&line));
            continue;
        }
        // Up to its end, or to the end of the file: then it is the torn one.
        if (line.len() as u64) < bytes_max || reader.skip_until(b'\n')? == 0 {
            break;
        }
        take(number, None);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_torn_line_is_cut_off_and_whole_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for (before, after) in
            [("", "new\n"), ("a\nb\n", "a\nb\nnew\n"), ("a\nb", "a\nnew\n"), ("torn", "new\n")]
        {
            fs::write(&path, before).unwrap();
            let mut log = AppendLog::open(&path, whole_lines).unwrap();
            log.append(b"new\n").unwrap();
            log.sync().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn a_log_that_is_not_there_is_made_and_one_that_cannot_be_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        AppendLog::open(&folder.path().join("new"), whole_lines).unwrap();
        assert_eq!(fs::read(folder.path().join("new")).unwrap(), b"");
        assert!(AppendLog::open(folder.path(), whole_lines).is_err());
        assert!(AppendLog::open(&folder.path().join("no/folder"), whole_lines).is_err());
    }

    #[test]
    fn a_shorter_log_is_not_filled_with_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "a\n").unwrap();
        AppendLog::open_at(&path, 100).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"a\n");
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_numbered() {
        let mut seen = Vec::new();
        let file = b"one\nfar too long a line\nthree\ntorn";
        read_lines(&file[..], 8, |number, line| seen.push((number, line.map(<[u8]>::to_vec)))).unwrap();
        assert_eq!(seen, [(1, Some(b"one\n".to_vec())), (2, None), (3, Some(b"three\n".to_vec()))]);
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_file_but_for_its_torn_end(file in "[ab\n]{0,60}", bytes_max in 2u64..70) {
            let mut seen = Vec::new();
            read_lines(file.as_bytes(), bytes_max, |number, line| seen.push((number, line.map(<[u8]>::to_vec)))).unwrap();
            let whole = file.split_inclusive('\n').filter(|line| line.ends_with('\n')).enumerate();
            let expected: Vec<_> = whole
                .map(|(at, line)| (at + 1, (line.len() as u64 <= bytes_max).then(|| line.as_bytes().to_vec())))
                .collect();
            // A torn line that is too long is told as such: it was passed over.
            let torn_too_long = seen.len() == expected.len() + 1 && seen.last().is_some_and(|(_, line)| line.is_none());
            prop_assert!(seen[..expected.len()] == expected[..] && (seen.len() == expected.len() || torn_too_long));
            prop_assert_eq!(whole_lines(file.as_bytes()) as usize, file.rfind('\n').map_or(0, |at| at + 1));
        }
    }
}
