//! Tar shards in WebDataset's convention: the files of a sample follow each other and share their path up to the first dot
//! of the file name; `.jpg`, `.jpeg` or `.png` is the image, `.cls` its class as a number. A side index beside a shard
//! (docs/shards.md) saves reading the shard's headers.

pub(crate) mod scan;
mod store;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub(crate) use store::TarStore;
use store::{Member, Shard};

use super::{SourceContents, Store};
use crate::error::DataError;
use crate::pack_marker;
use crate::shard_index::{self, BLOCK, IndexBody, IndexError};

/// The most shards in a brace pattern.
const SHARDS_MAX: u64 = 100_000;
/// A file with one class name in each line, for shards without a side index.
pub(crate) const CLASSES_FILE: &str = "classes.txt";

/// Whether `path` is a pattern such as `train-{000..009}.tar`.
pub(crate) fn is_pattern(path: &Path) -> bool {
    path.to_str().and_then(range).is_some()
}

/// Prefix, first and last number, number of digits, and suffix of a pattern.
fn range(text: &str) -> Option<(&str, u64, u64, usize, &str)> {
    let (prefix, rest) = text.split_once('{')?;
    let (inner, suffix) = rest.split_once('}')?;
    let (first, last) = inner.split_once("..")?;
    let (from, to): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (from <= to && to - from < SHARDS_MAX).then_some((prefix, from, to, first.len(), suffix))
}

/// The archives at `path`, first those for training; and the number of these, if the names tell training and validation
/// apart.
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

/// Whether the name of a shard below `root`, or of its folder, begins with `val`.
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

/// The archives at `path`.
pub(crate) fn shard_paths(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    shards(path).map(|(paths, _)| paths)
}

/// Finds the samples by the shards' side indices, or by the archives' headers if there are none.
pub(crate) fn open(path: &Path) -> Result<SourceContents, DataError> {
    let (paths, train_shards) = shards(path)?;
    let mut reader = ShardReader::for_shards(&paths);
    let mut validation_from = None;
    for (number, path) in paths.iter().enumerate() {
        if train_shards == Some(number) {
            validation_from = Some(reader.members.len());
        }
        reader.add(path)?;
    }
    if pack_marker::is_incomplete(path) {
        let warning = "`footplate pack` has not finished here: a part of the data is missing";
        reader.warnings.push(format!("{}: {warning}", path.display()));
    }
    if reader.members.is_empty() {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    let (classes, warnings) = (reader.class_names(&paths)?, reader.warnings());
    Ok(SourceContents {
        store: Store::Tar(TarStore::new(reader.shards, reader.members)),
        labels: reader.labels,
        classes,
        validation_from,
        warnings,
    })
}

/// Collects the samples of shards.
#[derive(Default)]
struct ShardReader {
    shards: Vec<Shard>,
    members: Vec<Member>,
    labels: Vec<u32>,
    /// The class names of the first index: as stored in it, as strings, and the index's shard.
    names: Option<(Vec<u8>, Vec<String>, PathBuf)>,
    warnings: Vec<String>,
    /// Warnings about shards without an index, which are shown only if other shards have one.
    missing: Vec<String>,
    buffer: Vec<u8>,
}

impl ShardReader {
    /// Reserves memory for all samples of the indices; growing step by step would take twice as much.
    fn for_shards(paths: &[PathBuf]) -> Self {
        let samples = |path: &PathBuf| {
            let size = path.metadata().ok()?.len();
            shard_index::open_beside(path, size).ok().map(|(_, header)| header.samples as usize)
        };
        let total = paths.iter().filter_map(samples).sum();
        Self {
            shards: Vec::with_capacity(paths.len()),
            members: Vec::with_capacity(total),
            labels: Vec::with_capacity(total),
            ..Self::default()
        }
    }

    fn add(&mut self, path: &Path) -> Result<(), DataError> {
        let result = self.add_indexed(path);
        let error = match result {
            Ok(()) => return Ok(()),
            Err(ShardError::Data(error)) => return Err(error),
            Err(ShardError::Index(error)) => error,
        };
        let warning = format!("{}: {error}; its headers are read instead", path.display());
        let list = if matches!(error, IndexError::Missing) { &mut self.missing } else { &mut self.warnings };
        list.push(warning);
        self.add_scanned(path)
    }

    fn add_indexed(&mut self, path: &Path) -> Result<(), ShardError> {
        let tar = path.metadata().map_err(DataError::io(path))?;
        let (file, header) = shard_index::open_beside(path, tar.len())?;
        let body = IndexBody::read(&file, &header, &mut self.buffer)?;
        match &self.names {
            None => {
                let names = body.class_names(&header)?;
                self.names = Some((body.names.to_vec(), names, path.to_owned()));
            }
            Some((names, _, first)) if names != body.names => {
                let reason = format!("its class names are not those of {}", first.display());
                return Err(DataError::Malformed { path: path.to_owned(), reason }.into());
            }
            Some(_) => {}
        }
        self.shards.push(Shard::new(path.to_owned(), &tar, self.members.len() as u32, Some(header)));
        self.labels.extend(body.records().map(|record| record.label));
        self.members.extend(body.records().map(|record| Member {
            block: record.block,
            size: record.size,
            name_crc: record.name_crc,
            blob: record.blob,
        }));
        Ok(())
    }

    fn add_scanned(&mut self, path: &Path) -> Result<(), DataError> {
        let file = File::open(path).map_err(DataError::io(path))?;
        let tar = file.metadata().map_err(DataError::io(path))?;
        let first = self.members.len() as u32;
        let (members, labels) = (&mut self.members, &mut self.labels);
        let mut far = 0;
        let mut keep = |found: scan::Scanned<'_>| {
            let Ok(block) = u32::try_from(found.offset / BLOCK) else {
                far += 1;
                return;
            };
            let name_crc = crc32fast::hash(found.key.as_bytes());
            members.push(Member { block, size: found.size, name_crc, blob: 0 });
            labels.push(found.label);
        };
        match scan::scan(path, &file, &mut keep) {
            Ok(warnings) => self.warnings.extend(warnings),
            Err(error) if self.members.is_empty() => return Err(error),
            Err(error) => self.warnings.push(format!("{error}; it is left out")),
        }
        if far > 0 {
            self.warnings.push(format!("{}: {far} samples beyond 2 TiB are left out", path.display()));
        }
        self.shards.push(Shard::new(path.to_owned(), &tar, first, None));
        Ok(())
    }

    /// The class names: from an index, or `classes.txt`, or else the numbers as text.
    fn class_names(&self, paths: &[PathBuf]) -> Result<Vec<String>, DataError> {
        let classes = self.labels.iter().max().map_or(0, |max| *max as usize + 1);
        let known = match &self.names {
            Some((_, names, _)) => names.clone(),
            None => names_beside(paths).unwrap_or_default(),
        };
        let numbers = (known.len()..classes).map(|number| number.to_string());
        Ok(known.iter().cloned().chain(numbers).collect())
    }

    /// All warnings. Missing indices are not mentioned if no shard has one.
    fn warnings(&mut self) -> Vec<String> {
        if self.missing.len() < self.shards.len() {
            self.warnings.append(&mut self.missing);
        }
        std::mem::take(&mut self.warnings)
    }
}

/// Why a shard could not be read by its index.
enum ShardError {
    Index(IndexError),
    Data(DataError),
}

impl From<IndexError> for ShardError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl From<DataError> for ShardError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

/// The lines of a `classes.txt` in the shards' folder, or in its parent.
fn names_beside(paths: &[PathBuf]) -> Option<Vec<String>> {
    let folder = paths.first()?.parent()?;
    let above = folder.parent().map(|above| above.join(CLASSES_FILE));
    let files = [Some(folder.join(CLASSES_FILE)), above];
    let text = files.into_iter().flatten().find_map(|path| fs::read_to_string(path).ok())?;
    Some(text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
