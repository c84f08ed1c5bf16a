//! Folders of images: `ROOT/CLASS/…`, or `ROOT/train/CLASS/…` and `ROOT/val/CLASS/…`. Class folders may have folders
//! inside.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, File};
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags, fadvise};

use super::{SourceContents, Store, is_image_name};
use crate::error::DataError;

/// Name of the folder of the training split.
const TRAIN: &str = "train";
/// Names of the folder of the validation split; the first one that exists is taken.
const VALIDATION: [&str; 4] = ["val", "valid", "validation", "test"];
/// Depth of folders inside a class folder that is searched: a bound for links that form a loop.
const DEPTH_MAX: usize = 16;
/// Larger files are refused.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Bytes of one file that are read ahead, at most.
const ADVISED_BYTES_MAX: u64 = 4 << 20;

/// The files below a root. Each folder's name is stored once.
#[derive(Debug)]
pub(crate) struct FolderStore {
    root: PathBuf,
    folders: Vec<PathBuf>,
    /// Each sample's place in `folders`, and its file name.
    files: Vec<(u32, OsString)>,
}

impl FolderStore {
    /// A sample's path below the root.
    pub(crate) fn relative(&self, index: usize) -> PathBuf {
        let (folder, name) = &self.files[index];
        self.folders[*folder as usize].join(name)
    }

    pub(crate) fn path(&self, index: usize) -> PathBuf {
        self.root.join(self.relative(index))
    }

    fn write_path(&self, index: usize, out: &mut Vec<u8>) {
        let (folder, name) = &self.files[index];
        let folder = &self.folders[*folder as usize];
        out.clear();
        for (i, part) in [self.root.as_os_str(), folder.as_os_str(), name].into_iter().enumerate() {
            if i > 0 && !out.ends_with(b"/") {
                out.push(b'/');
            }
            out.extend_from_slice(part.as_bytes());
        }
    }

    /// Opens a file without waiting: it may have been replaced by a pipe to which nobody writes. `scratch` is used for the
    /// path, so that a sample costs no allocation.
    fn open(&self, index: usize, scratch: &mut Vec<u8>) -> io::Result<File> {
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        self.write_path(index, scratch);
        File::options().read(true).custom_flags(nonblocking).open(OsStr::from_bytes(scratch))
    }

    /// Asks the system to read the file ahead, from its first byte.
    pub(crate) fn advise(&self, index: usize, scratch: &mut Vec<u8>) {
        if let Ok(file) = self.open(index, scratch) {
            let _ = fadvise(&file, 0, NonZeroU64::new(ADVISED_BYTES_MAX), Advice::WillNeed);
        }
    }

    pub(crate) fn read(&self, index: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let file = self.open(index, buffer)?;
        buffer.clear();
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a file"));
        }
        let size = metadata.len();
        if size > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{size} bytes")));
        }
        buffer.reserve(size as usize + 1);
        file.take(FILE_BYTES_MAX).read_to_end(buffer)?;
        Ok(())
    }
}

/// A class and its files.
struct Class {
    name: String,
    files: Vec<PathBuf>,
}

/// Finds the images below `root`.
pub(crate) fn open(root: &Path) -> Result<SourceContents, DataError> {
    let subfolders = subfolders(root)?;
    let train = subfolders.iter().find(|(name, _)| name == TRAIN);
    let validation = VALIDATION.iter().find_map(|v| subfolders.iter().find(|(name, _)| name == v));
    let searched = train.map_or(root, |(_, path)| path);
    let mut builder = Builder::new(root);
    match train {
        Some((_, train)) => {
            builder.add(train, None)?;
            if builder.labels.is_empty() {
                return builder.finish(searched);
            }
            let from = builder.store.files.len();
            if let Some((_, validation)) = validation {
                let classes = builder.classes.clone();
                builder.add(validation, Some(&classes))?;
                builder.validation_from = Some(from);
            }
        }
        None => builder.add(root, None)?,
    }
    builder.finish(searched)
}

struct Builder {
    store: FolderStore,
    labels: Vec<u32>,
    classes: Vec<String>,
    validation_from: Option<usize>,
    warnings: Vec<String>,
    folder_numbers: BTreeMap<PathBuf, u32>,
}

impl Builder {
    fn new(root: &Path) -> Self {
        Self {
            store: FolderStore { root: root.to_owned(), folders: Vec::new(), files: Vec::new() },
            labels: Vec::new(),
            classes: Vec::new(),
            validation_from: None,
            warnings: Vec::new(),
            folder_numbers: BTreeMap::new(),
        }
    }

    /// Adds all classes below `folder`. With `known`, a class of another name is an error.
    fn add(&mut self, folder: &Path, known: Option<&[String]>) -> Result<(), DataError> {
        for class in self.classes_in(folder)? {
            let label = match known {
                None => {
                    self.classes.push(class.name);
                    self.classes.len() - 1
                }
                Some(known) => known.iter().position(|name| *name == class.name).ok_or_else(|| {
                    DataError::UnknownClass { path: folder.to_owned(), class: class.name.clone() }
                })?,
            };
            for path in class.files {
                self.add_file(&path, label as u32);
            }
        }
        Ok(())
    }

    fn classes_in(&mut self, folder: &Path) -> Result<Vec<Class>, DataError> {
        let mut classes = Vec::new();
        for (name, path) in subfolders(folder)? {
            let mut files = Vec::new();
            let mut others = 0;
            collect_images(&path, 0, &mut files, &mut others)?;
            files.sort();
            if others > 0 {
                self.warnings.push(format!(
                    "{}: {others} files that are not .jpg, .jpeg or .png are left out",
                    path.display()
                ));
            }
            if files.is_empty() {
                self.warnings.push(format!("{}: a class folder without images is left out", path.display()));
                continue;
            }
            classes.push(Class { name, files });
        }
        Ok(classes)
    }

    fn add_file(&mut self, path: &Path, label: u32) {
        let relative = path.strip_prefix(&self.store.root).unwrap_or(path);
        let (Some(folder), Some(name)) = (relative.parent(), relative.file_name()) else { return };
        let number = match self.folder_numbers.get(folder) {
            Some(number) => *number,
            None => {
                let number = self.store.folders.len() as u32;
                self.store.folders.push(folder.to_owned());
                self.folder_numbers.insert(folder.to_owned(), number);
                number
            }
        };
        self.store.files.push((number, name.to_owned()));
        self.labels.push(label);
    }

    /// `searched` is the folder in which the class folders should be.
    fn finish(mut self, searched: &Path) -> Result<SourceContents, DataError> {
        let loose = loose_images(searched)?;
        match (self.labels.is_empty(), loose) {
            (true, 0) => return Err(DataError::Empty { path: self.store.root }),
            (true, count) => return Err(DataError::LooseImages { path: searched.to_owned(), count }),
            (false, 0) => {}
            (false, count) => self.warnings.push(format!(
                "{}: {count} images outside the class folders are left out",
                searched.display()
            )),
        }
        Ok(SourceContents {
            store: Store::Folder(self.store),
            labels: self.labels,
            classes: self.classes,
            validation_from: self.validation_from,
            warnings: self.warnings,
        })
    }
}

/// The folders in `folder` that are not hidden, in the byte order of their names.
fn subfolders(folder: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let mut found = Vec::new();
    for entry in entries(folder)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Images that lie directly in `folder`.
fn loose_images(folder: &Path) -> Result<usize, DataError> {
    let is_image =
        |entry: &DirEntry| is_image_name(&entry.file_name().to_string_lossy()) && entry.path().is_file();
    Ok(entries(folder)?.iter().filter(|entry| is_image(entry)).count())
}

/// The entries of `folder` without hidden files, among them macOS's `._*`.
fn entries(folder: &Path) -> Result<Vec<DirEntry>, DataError> {
    let list = fs::read_dir(folder).map_err(DataError::io(folder))?;
    let entries: io::Result<Vec<DirEntry>> = list.collect();
    let mut entries = entries.map_err(DataError::io(folder))?;
    entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    Ok(entries)
}

/// Adds the images below `folder` to `files`, and counts other files.
fn collect_images(
    folder: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
    others: &mut usize,
) -> Result<(), DataError> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    for entry in entries(folder)? {
        let path = entry.path();
        // The directory record tells what an entry is; only a link needs another system call.
        let kind = entry.file_type().map_err(DataError::io(&path))?;
        if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
            collect_images(&path, depth + 1, files, others)?;
        } else if is_image_name(&entry.file_name().to_string_lossy()) {
            files.push(path);
        } else {
            *others += 1;
        }
    }
    Ok(())
}
