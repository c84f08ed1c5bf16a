//! idx files, plain or gzipped: MNIST and its family. The format is described by LeCun, Cortes and Burges, "The MNIST
//! database of handwritten digits".

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::memory::PixelStore;
use super::{SourceContents, Store};
use crate::error::DataError;

/// Larger files (unpacked) are refused: they are held in memory.
const BYTES_MAX: u64 = 4 << 30;

/// Images and labels of one split.
struct IdxSplit {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

/// Whether a folder holds idx files.
pub(crate) fn is_here(folder: &Path) -> bool {
    find(folder, "train", "images", 3).is_some()
}

/// The path of a file such as `train-images-idx3-ubyte.gz` or `train-images.idx3-ubyte`.
fn find(folder: &Path, split: &str, what: &str, dimensions: u8) -> Option<PathBuf> {
    let names = ["-", "."].map(|dot| format!("{split}-{what}{dot}idx{dimensions}-ubyte"));
    let names = names.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
    names.map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Reads all images into memory.
pub(crate) fn open(folder: &Path) -> Result<SourceContents, DataError> {
    let train = read_split(folder, "train")?.ok_or_else(|| DataError::Empty { path: folder.to_owned() })?;
    let validation = read_split(folder, "t10k")?;
    let validation_from = validation.as_ref().map(|_| train.labels.len());
    let (mut pixels, mut labels) = (train.pixels, train.labels);
    if let Some(validation) = validation {
        if (validation.width, validation.height) != (train.width, train.height) {
            let reason = "the images for validation are of another size".to_owned();
            return Err(DataError::Malformed { path: folder.to_owned(), reason });
        }
        pixels.extend(validation.pixels);
        labels.extend(validation.labels);
    }
    let classes = labels.iter().max().map_or(0, |max| u32::from(*max) + 1);
    let store = PixelStore {
        name: folder.display().to_string(),
        width: train.width,
        height: train.height,
        channels: 1,
        data: pixels,
    };
    Ok(SourceContents {
        store: Store::Pixels(store),
        labels: labels.into_iter().map(u32::from).collect(),
        classes: (0..classes).map(|n| n.to_string()).collect(),
        validation_from,
        warnings: Vec::new(),
    })
}

fn read_split(folder: &Path, split: &str) -> Result<Option<IdxSplit>, DataError> {
    let Some(images) = find(folder, split, "images", 3) else { return Ok(None) };
    let Some(labels) = find(folder, split, "labels", 1) else {
        let reason = format!("there is no {split}-labels-idx1-ubyte beside it");
        return Err(DataError::Malformed { path: images, reason });
    };
    let (sides, pixels) = read::<3>(&images)?;
    let (_, labels_data) = read::<1>(&labels)?;
    if labels_data.len() != sides[0] as usize {
        let reason = format!("{} labels for {} images", labels_data.len(), sides[0]);
        return Err(DataError::Malformed { path: labels, reason });
    }
    Ok(Some(IdxSplit { width: sides[2], height: sides[1], pixels, labels: labels_data }))
}

/// Reads an idx file of unsigned bytes; returns the sizes of its `D` dimensions, and the bytes.
fn read<const D: usize>(path: &Path) -> Result<([u32; D], Vec<u8>), DataError> {
    let malformed = |reason: String| DataError::Malformed { path: path.to_owned(), reason };
    let file = File::open(path).map_err(DataError::io(path))?;
    let packed = path.extension().is_some_and(|e| e == "gz");
    let mut reader: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut word = || -> io::Result<u32> {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    };
    let short = |e: io::Error| malformed(format!("the header cannot be read: {e}"));
    let magic = word().map_err(short)?;
    // Two zero bytes, 8 for unsigned bytes, and the number of dimensions.
    if magic != 0x0800 | D as u32 {
        return Err(malformed(format!(
            "not an idx file of {D} dimensions of bytes (it begins with {magic:08x})"
        )));
    }
    let mut sizes = [0; D];
    for size in &mut sizes {
        *size = word().map_err(short)?;
    }
    let expected =
        sizes.iter().try_fold(1u64, |n, s| n.checked_mul(u64::from(*s))).filter(|n| *n <= BYTES_MAX);
    let expected = expected.ok_or_else(|| malformed(format!("{sizes:?} is too large")))?;
    let mut data = Vec::new();
    // One byte more is read to notice a file that is longer than its header says.
    reader.take(expected + 1).read_to_end(&mut data).map_err(|e| malformed(e.to_string()))?;
    if data.len() as u64 != expected {
        let relation = if data.len() as u64 > expected { "more" } else { "less" };
        return Err(malformed(format!("it holds {relation} than the {expected} bytes of its header")));
    }
    Ok((sizes, data))
}
