//! Makes one shard: first the tar, then its side index.

use std::io::{self, Write};
use std::path::Path;

use super::plan::ShardPlan;
use super::prepare::Preparer;
use super::{Job, PackError, State};
use crate::sample::BadSample;
use crate::shard_index::{self, BLOCK, IndexBody, IndexBuilder, IndexHeader, IndexRecord};
use crate::source::Store;

/// The most characters of a sample's own name in its key: a plain tar header holds a name of 100 bytes.
const STEM_MAX: usize = 60;

/// The result of making a shard.
#[derive(Debug, Default)]
pub(super) struct ShardReport {
    /// Whether an earlier call had completed it.
    pub(super) kept: bool,
    pub(super) samples: u64,
    pub(super) left_out: Vec<BadSample>,
    pub(super) tar_bytes: u64,
    pub(super) index_bytes: u64,
    pub(super) with_checkpoints: u64,
}

/// The key of a sample in its shard: its number, and its own name if it has one.
fn key(store: &Store, index: usize) -> String {
    let stem: String = store.stem(index).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let stem: String = stem.chars().take(STEM_MAX).map(plain).collect();
    if stem.is_empty() { format!("{index:08}") } else { format!("{index:08}-{stem}") }
}

/// Writes a tar and counts its bytes.
struct TarWriter<'a> {
    out: &'a mut dyn Write,
    at: u64,
}

impl TarWriter<'_> {
    /// Writes a member; returns the offset of its bytes. Owner, time and mode are the same for all, so that the same data
    /// gives the same tar.
    fn add(&mut self, name: &str, bytes: &[u8]) -> io::Result<u64> {
        let mut header = ::tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(::tar::EntryType::Regular);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        let begin = self.at + BLOCK;
        self.out.write_all(bytes)?;
        let padding = bytes.len().next_multiple_of(BLOCK as usize) - bytes.len();
        self.out.write_all(&[0; BLOCK as usize][..padding])?;
        self.at = begin + (bytes.len() + padding) as u64;
        Ok(begin)
    }

    /// Writes the two empty blocks that end a tar; returns its length in bytes.
    fn finish(mut self) -> io::Result<u64> {
        self.out.write_all(&[0; 2 * BLOCK as usize])?;
        self.at += 2 * BLOCK;
        Ok(self.at)
    }
}

impl Job<'_> {
    /// Makes a shard, or keeps it if it is complete already.
    pub(super) fn shard(
        &self,
        shard: &ShardPlan,
        preparer: &mut Preparer,
        state: &State,
    ) -> Result<ShardReport, PackError> {
        let tar = self.folder.path(&format!("{}.tar", shard.name));
        if let Some(made) = self.kept(shard, &tar) {
            for sample in &made.left_out {
                self.left_out(state, sample.clone())?;
            }
            self.advance(state, shard.len());
            return Ok(made);
        }
        let mut draft = ShardDraft::default();
        let written = self.disk.write(&tar, &mut |out| {
            draft = ShardDraft::default();
            self.fill(shard, preparer, state, out, &mut draft)
        });
        // An error of the content explains more than the failed write that it caused.
        if let Some(error) = draft.error.take() {
            return Err(error);
        }
        written.map_err(PackError::write("write", &tar))?;
        self.write_index(shard, &tar, draft)
    }

    fn fill(
        &self,
        shard: &ShardPlan,
        preparer: &mut Preparer,
        state: &State,
        out: &mut dyn Write,
        draft: &mut ShardDraft,
    ) -> io::Result<()> {
        let mut tar = TarWriter { out, at: 0 };
        for index in self.plan.samples(shard) {
            if self.stopped(state) {
                return draft.give_up(PackError::Stopped);
            }
            let store = &self.contents.store;
            match preparer.prepare(store, index) {
                Ok(prepared) => {
                    let key = key(store, index);
                    let label = self.contents.labels[index];
                    tar.add(&format!("{key}.cls"), label.to_string().as_bytes())?;
                    let at = tar.add(&format!("{key}.{}", prepared.ending), prepared.bytes)?;
                    let record = IndexRecord {
                        block: u32::try_from(at / BLOCK).map_err(|_| io::ErrorKind::FileTooLarge)?,
                        size: prepared.bytes.len() as u32,
                        label,
                        name_crc: crc32fast::hash(key.as_bytes()),
                        data_crc: crc32fast::hash(prepared.bytes),
                        blob: 0,
                    };
                    let checkpoints = prepared.checkpoints.unwrap_or_default();
                    draft.index.add(record, &checkpoints)?;
                    draft.with_checkpoints += u64::from(!checkpoints.is_empty());
                }
                Err(reason) => {
                    let sample = BadSample { index: index as u64, name: store.name(index), reason };
                    draft.left_out.push(sample.clone());
                    if let Err(error) = self.left_out(state, sample) {
                        return draft.give_up(error);
                    }
                }
            }
            self.advance(state, 1);
        }
        draft.tar_bytes = tar.finish()?;
        Ok(())
    }

    fn write_index(
        &self,
        shard: &ShardPlan,
        tar: &Path,
        draft: ShardDraft,
    ) -> Result<ShardReport, PackError> {
        let path = shard_index::path_beside(tar);
        let ShardDraft { index, tar_bytes, left_out, with_checkpoints, .. } = draft;
        let (origin, planned) = (self.plan.origin, shard.len() as u32);
        let fill =
            &mut |out: &mut dyn Write| index.write(out, tar_bytes, origin, planned, &self.contents.classes);
        self.disk.write(&path, fill).map_err(PackError::write("write", &path))?;
        let index_bytes = path.metadata().map_err(PackError::write("look at", &path))?.len();
        let samples = index.records.len() as u64;
        Ok(ShardReport { kept: false, samples, left_out, tar_bytes, index_bytes, with_checkpoints })
    }

    /// The result of a shard that is complete already and was made from the same data with the same options.
    fn kept(&self, shard: &ShardPlan, tar: &Path) -> Option<ShardReport> {
        let tar_bytes = tar.metadata().ok()?.len();
        let (file, header) = shard_index::open_beside(tar, tar_bytes).ok()?;
        if header.origin != self.plan.origin || u64::from(header.planned) != shard.len() {
            return None;
        }
        let mut buffer = Vec::new();
        let records: Vec<IndexRecord> =
            IndexBody::read(&file, &header, &mut buffer).ok()?.records().collect();
        let left_out = self.missing(shard, &header, &records);
        let with_checkpoints = checkpoints(&records, header.blobs_bytes);
        let (samples, index_bytes) = (records.len() as u64, header.file_bytes());
        Some(ShardReport { kept: true, samples, left_out, tar_bytes, index_bytes, with_checkpoints })
    }

    /// The samples that were planned for a complete shard and are not in it.
    fn missing(&self, shard: &ShardPlan, header: &IndexHeader, records: &[IndexRecord]) -> Vec<BadSample> {
        if header.planned == header.samples {
            return Vec::new();
        }
        let reason = "left out when its shard was made";
        let store = &self.contents.store;
        let mut records = records.iter().peekable();
        let mut missing = Vec::new();
        for index in self.plan.samples(shard) {
            // Both are in the same order.
            let name_crc = crc32fast::hash(key(store, index).as_bytes());
            if records.next_if(|record| record.name_crc == name_crc).is_none() {
                let name = store.name(index);
                missing.push(BadSample { index: index as u64, name, reason: reason.to_owned() });
            }
        }
        missing
    }
}

/// The number of samples with a blob.
fn checkpoints(records: &[IndexRecord], blobs_bytes: u32) -> u64 {
    let ends = records.iter().skip(1).map(|record| record.blob).chain([blobs_bytes]);
    records.iter().zip(ends).filter(|(record, end)| record.blob < *end).count() as u64
}

/// What is known of a shard while its tar is written.
#[derive(Default)]
struct ShardDraft {
    index: IndexBuilder,
    tar_bytes: u64,
    left_out: Vec<BadSample>,
    with_checkpoints: u64,
    error: Option<PackError>,
}

impl ShardDraft {
    /// Stops writing the file because of an error that is not the file system's.
    fn give_up(&mut self, error: PackError) -> io::Result<()> {
        self.error = Some(error);
        Err(io::ErrorKind::Interrupted.into())
    }
}
