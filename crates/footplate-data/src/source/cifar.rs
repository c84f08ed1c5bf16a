//! CIFAR-10 and CIFAR-100 in their binary form (Krizhevsky 2009, "Learning multiple layers of features from tiny images"):
//! records of one or two bytes of labels and 32 × 32 pixels as three planes.

use std::fs;
use std::path::{Path, PathBuf};

use super::memory::PixelStore;
use super::{SourceContents, Store};
use crate::error::DataError;

/// Height and width of an image in pixels.
const SIDE: usize = 32;
/// Pixels of an image.
const AREA: usize = SIDE * SIDE;

/// Which of the two data sets.
#[derive(Clone, Copy)]
enum Variant {
    Cifar10,
    Cifar100,
}

impl Variant {
    fn of(folder: &Path) -> Option<Self> {
        if folder.join("data_batch_1.bin").is_file() {
            Some(Self::Cifar10)
        } else if folder.join("train.bin").is_file() {
            Some(Self::Cifar100)
        } else {
            None
        }
    }

    /// CIFAR-100 has a coarse label before the fine one.
    fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    fn names_file(self) -> &'static str {
        match self {
            Self::Cifar10 => "batches.meta.txt",
            Self::Cifar100 => "fine_label_names.txt",
        }
    }

    fn files(self, folder: &Path) -> (Vec<PathBuf>, PathBuf) {
        match self {
            Self::Cifar10 => {
                let batches = (1..=5).map(|n| folder.join(format!("data_batch_{n}.bin")));
                (batches.filter(|path| path.is_file()).collect(), folder.join("test_batch.bin"))
            }
            Self::Cifar100 => (vec![folder.join("train.bin")], folder.join("test.bin")),
        }
    }
}

/// Whether a folder holds CIFAR's files.
pub(crate) fn is_here(folder: &Path) -> bool {
    Variant::of(folder).is_some()
}

/// Reads all images into memory.
pub(crate) fn open(folder: &Path) -> Result<SourceContents, DataError> {
    let variant = Variant::of(folder).ok_or_else(|| DataError::Empty { path: folder.to_owned() })?;
    let (train, test) = variant.files(folder);
    let (mut data, mut labels) = (Vec::new(), Vec::new());
    for path in train {
        read(&path, variant, &mut data, &mut labels)?;
    }
    let mut validation_from = None;
    if test.is_file() {
        validation_from = Some(labels.len());
        read(&test, variant, &mut data, &mut labels)?;
    }
    let classes = labels.iter().max().map_or(0, |max| *max as usize + 1);
    let store = PixelStore {
        name: folder.display().to_string(),
        width: SIDE as u32,
        height: SIDE as u32,
        channels: 3,
        data,
    };
    Ok(SourceContents {
        store: Store::Pixels(store),
        labels,
        classes: class_names(&folder.join(variant.names_file()), classes),
        validation_from,
        warnings: Vec::new(),
    })
}

fn read(path: &Path, variant: Variant, data: &mut Vec<u8>, labels: &mut Vec<u32>) -> Result<(), DataError> {
    let bytes = fs::read(path).map_err(DataError::io(path))?;
    let label_bytes = variant.label_bytes();
    let record = label_bytes + 3 * AREA;
    if bytes.is_empty() || bytes.len() % record != 0 {
        let reason = format!("{} bytes are not a whole number of records of {record}", bytes.len());
        return Err(DataError::Malformed { path: path.to_owned(), reason });
    }
    for record in bytes.chunks_exact(record) {
        labels.push(u32::from(record[label_bytes - 1]));
        let planes = &record[label_bytes..];
        data.extend((0..AREA).flat_map(|i| [planes[i], planes[AREA + i], planes[2 * AREA + i]]));
    }
    Ok(())
}

/// The class names from a file with one name in each line, or numbers as text if it does not have enough of them.
fn class_names(path: &Path, classes: usize) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    if names.len() >= classes {
        return names.into_iter().take(classes).collect();
    }
    (0..classes).map(|n| n.to_string()).collect()
}
