//! Tar shards in WebDataset's convention: the files of a sample follow each other and share their path up to
//! the first dot of the file name; `.jpg`, `.jpeg` or `.png` is the image, `.cls` its class as a number.

use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use super::{Found, Store, is_image_name};
use crate::error::DataError;

/// An image of more bytes is refused.
const MEMBER_BYTES_MAX: u64 = 256 << 20;
/// A class number has few digits.
const CLASS_BYTES_MAX: u64 = 32;
/// Headers and padding of a sample of two members.
const MEMBER_OVERHEAD: u64 = 2048;
/// Members with less between them are read in one go.
const GAP_MAX: u64 = 64 << 10;
/// More classes are taken for a mistake.
const CLASSES_MAX: u32 = 1_000_000;
/// Shards of a brace pattern, at most.
const SHARDS_MAX: u64 = 100_000;

#[derive(Debug)]
struct Member {
    shard: u32,
    size: u32,
    offset: u64,
    /// Of its name, for the fingerprint.
    name_crc: u32,
}

/// Members of archives that stay open.
#[derive(Debug)]
pub(crate) struct TarStore {
    shards: Vec<(PathBuf, File)>,
    members: Vec<Member>,
}

impl TarStore {
    pub(crate) fn read(&self, index: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let member = &self.members[index];
        buffer.resize(member.size as usize, 0);
        self.shards[member.shard as usize].1.read_exact_at(buffer, member.offset)
    }

    /// The mean size of a member with its share of headers and padding, in bytes.
    pub(crate) fn mean_bytes(&self) -> u64 {
        let total: u64 = self.members.iter().map(|member| u64::from(member.size) + MEMBER_OVERHEAD).sum();
        total / (self.members.len() as u64).max(1)
    }

    /// Has the members read to the page cache; those that follow each other in one go.
    pub(crate) fn advise(&self, samples: &[u32]) {
        let mut run: Option<(u32, u64, u64)> = None;
        for index in samples {
            let member = &self.members[*index as usize];
            let (from, to) = (member.offset, member.offset + u64::from(member.size));
            run = match run {
                Some((shard, begin, end)) if shard == member.shard && from >= end && from - end < GAP_MAX => {
                    Some((shard, begin, to))
                }
                other => {
                    self.advise_range(other);
                    Some((member.shard, from, to))
                }
            };
        }
        self.advise_range(run);
    }

    fn advise_range(&self, range: Option<(u32, u64, u64)>) {
        if let Some((shard, begin, end)) = range {
            let file = &self.shards[shard as usize].1;
            let _ = fadvise(file, begin, NonZeroU64::new(end - begin), Advice::WillNeed);
        }
    }

    pub(crate) fn name(&self, index: usize) -> String {
        let member = &self.members[index];
        format!("{} at byte {}", self.shards[member.shard as usize].0.display(), member.offset)
    }

    pub(crate) fn identity(&self, index: usize) -> u32 {
        let member = &self.members[index];
        member.name_crc ^ member.size
    }
}

/// Whether `path` is a pattern such as `train-{000..009}.tar`.
pub(crate) fn is_pattern(path: &Path) -> bool {
    path.to_str().and_then(range).is_some()
}

/// Prefix, first, last, digits and suffix of a pattern.
fn range(text: &str) -> Option<(&str, u64, u64, usize, &str)> {
    let (prefix, rest) = text.split_once('{')?;
    let (inner, suffix) = rest.split_once('}')?;
    let (first, last) = inner.split_once("..")?;
    let (from, to): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (from <= to && to - from < SHARDS_MAX).then_some((prefix, from, to, first.len(), suffix))
}

/// The archives that `path` means, first those for training, and how many these are if the names tell.
fn shards(path: &Path) -> Result<(Vec<PathBuf>, Option<usize>), DataError> {
    if let Some((prefix, from, to, digits, suffix)) = path.to_str().and_then(range) {
        let name = |n: u64| PathBuf::from(format!("{prefix}{n:0digits$}{suffix}"));
        return Ok(((from..=to).map(name).collect(), None));
    }
    if !path.is_dir() {
        return Ok((vec![path.to_owned()], None));
    }
    let mut found = tars_in(path)?;
    for folder in ["train", "val"] {
        let folder = path.join(folder);
        if folder.is_dir() {
            found.extend(tars_in(&folder)?);
        }
    }
    if found.is_empty() {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    let (validation, train): (Vec<PathBuf>, Vec<PathBuf>) =
        found.into_iter().partition(|shard| is_validation(path, shard));
    if validation.is_empty() || train.is_empty() {
        let all = [train, validation].concat();
        return Ok((all, None));
    }
    let count = train.len();
    Ok(([train, validation].concat(), Some(count)))
}

/// `val…` in its file name or as its folder.
fn is_validation(root: &Path, shard: &Path) -> bool {
    let relative = shard.strip_prefix(root).unwrap_or(shard);
    relative.to_string_lossy().starts_with("val")
}

fn tars_in(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        if path.extension().is_some_and(|e| e == "tar") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a folder holds archives.
pub(crate) fn has_tars(folder: &Path) -> bool {
    let any = |folder: &Path| tars_in(folder).is_ok_and(|found| !found.is_empty());
    any(folder) || any(&folder.join("train"))
}

/// Reads the archives' headers.
pub(crate) fn open(path: &Path) -> Result<Found, DataError> {
    let (paths, train_shards) = shards(path)?;
    let mut index = Index::default();
    let mut validation_from = None;
    for (number, path) in paths.iter().enumerate() {
        if train_shards == Some(number) {
            validation_from = Some(index.members.len());
        }
        index.add(path, number as u32)?;
    }
    if index.members.is_empty() {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    let classes = index.labels.iter().max().map_or(0, |max| max + 1);
    Ok(Found {
        store: Store::Tar(TarStore { shards: index.shards, members: index.members }),
        labels: index.labels,
        classes: (0..classes).map(|n| n.to_string()).collect(),
        validation_from,
        warnings: index.warnings,
    })
}

/// What was found so far.
#[derive(Default)]
struct Index {
    shards: Vec<(PathBuf, File)>,
    members: Vec<Member>,
    labels: Vec<u32>,
    warnings: Vec<String>,
}

/// The files of one sample that were found so far.
#[derive(Default)]
struct Sample {
    key: String,
    image: Option<(u64, u64)>,
    class: Option<u32>,
}

impl Index {
    fn add(&mut self, path: &Path, shard: u32) -> Result<(), DataError> {
        let file = File::open(path).map_err(DataError::io(path))?;
        let size = file.metadata().map_err(DataError::io(path))?.len();
        let malformed = |reason: String| DataError::Malformed { path: path.to_owned(), reason };
        let mut archive = ::tar::Archive::new(&file);
        let entries = archive.entries_with_seek().map_err(|e| malformed(e.to_string()))?;
        let mut sample = Sample::default();
        let mut incomplete = 0;
        for entry in entries {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(error) if self.members.is_empty() => {
                    return Err(malformed(format!("not a tar archive: {error}")));
                }
                Err(error) => {
                    self.warnings.push(format!(
                        "{}: damaged or cut off, the rest is left out: {error}",
                        path.display()
                    ));
                    break;
                }
            };
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = entry.path().map_err(|e| malformed(e.to_string()))?.to_string_lossy().into_owned();
            let (key, ending) = split_name(&name);
            if key != sample.key {
                incomplete += self.finish(&std::mem::take(&mut sample), shard);
                sample.key = key.to_owned();
            }
            let (offset, length) = (entry.raw_file_position(), entry.size());
            if offset.saturating_add(length) > size {
                self.warnings.push(format!("{}: cut off inside {name}", path.display()));
                break;
            }
            if is_image_name(&name) && length <= MEMBER_BYTES_MAX {
                sample.image = Some((offset, length));
            } else if ending == "cls" && length <= CLASS_BYTES_MAX {
                sample.class = read_class(&mut entry);
            }
        }
        incomplete += self.finish(&sample, shard);
        if incomplete > 0 {
            self.warnings.push(format!(
                "{}: {incomplete} samples without an image or a class number are left out",
                path.display()
            ));
        }
        self.shards.push((path.to_owned(), file));
        Ok(())
    }

    /// Keeps a complete sample; 1 if it is not one.
    fn finish(&mut self, sample: &Sample, shard: u32) -> usize {
        match (sample.image, sample.class) {
            (Some((offset, length)), Some(class)) => {
                let name_crc = crc32fast::hash(sample.key.as_bytes());
                self.members.push(Member { shard, size: length as u32, offset, name_crc });
                self.labels.push(class);
                0
            }
            (None, None) => 0,
            _ => 1,
        }
    }
}

/// A member's key and the rest after the first dot of its file name.
fn split_name(name: &str) -> (&str, &str) {
    let file = name.rfind('/').map_or(0, |i| i + 1);
    match name[file..].find('.') {
        Some(dot) => (&name[..file + dot], &name[file + dot + 1..]),
        None => (name, ""),
    }
}

fn read_class(entry: &mut impl Read) -> Option<u32> {
    let mut text = String::new();
    entry.take(CLASS_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|class| *class < CLASSES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_at_the_first_dot_of_the_file_name() {
        assert_eq!(split_name("a.b/x.seg.png"), ("a.b/x", "seg.png"));
        assert_eq!(split_name("plain"), ("plain", ""));
    }

    #[test]
    fn patterns_count_with_their_zeros() {
        let (paths, _) = shards(Path::new("s-{008..011}.tar")).unwrap();
        let names: Vec<_> = paths.iter().map(|p| p.to_str().unwrap()).collect();
        assert_eq!(names, ["s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar"]);
        for bad in ["plain.tar", "s-{3..1}.tar", "s-{a..b}.tar", "s-{0..9999999}.tar"] {
            assert!(!is_pattern(Path::new(bad)), "{bad}");
        }
    }
}
