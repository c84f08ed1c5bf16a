//! The one gate to a machine's control files: the running system, a captured tree or a simulated board.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the one gate to control files")]

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::DeviceError;
use crate::memory_tree::{MemoryTree, Reader};
use crate::nvml_tree::WithGpus;
use crate::tree::{Probe, Tree, fits};

/// Control files are short; what is longer than this is not one.
const NODE_BYTES_MAX: u64 = 1 << 20;

/// Where a tree comes from. Figures from anything but the system are labelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The machine that this process runs on.
    System,
    /// A captured tree, by the path that was opened.
    Capture(PathBuf),
    /// A simulated board, by its name.
    Simulated(String),
}

/// A machine's control files, seen through a [`Tree`].
#[derive(Clone)]
pub struct Root {
    tree: Arc<dyn Tree>,
    source: Source,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Root").field(&self.source).finish()
    }
}

impl Root {
    /// The machine that this process runs on, with its discrete GPUs below `/nvml`.
    pub fn system() -> Self {
        let folder = Arc::new(Folder { base: PathBuf::from("/") });
        Self { tree: Arc::new(WithGpus { inner: folder }), source: Source::System }
    }

    /// A captured tree: a folder of files, a folder with the `tree.txt` of an unpacked capture, such a text file
    /// itself, or a capture's `tar.gz`. Only the first can be written to.
    pub fn at(path: &Path) -> Result<Self, DeviceError> {
        let source = Source::Capture(path.to_owned());
        let text_file = path.join(crate::memory_tree::FILE_NAME);
        let text = if path.is_dir() && !text_file.is_file() {
            let base = fs::canonicalize(path).map_err(|e| cannot_open(path, e))?;
            return Ok(Self { tree: Arc::new(Folder { base }), source });
        } else if path.is_dir() {
            fs::read_to_string(&text_file).map_err(|e| cannot_open(&text_file, e))?
        } else if path.extension().is_some_and(|e| e == "gz" || e == "tgz") {
            crate::memory_tree::text_of_archive(path)?
        } else {
            fs::read_to_string(path).map_err(|e| cannot_open(path, e))?
        };
        let tree = MemoryTree::parse(&text, &path.display().to_string(), Reader::AsCaptured)?.read_only();
        Ok(Self { tree: Arc::new(tree), source })
    }

    /// The files of a simulated board, by the board's name.
    pub fn simulated(board: &str, tree: Arc<dyn Tree>) -> Self {
        Self { tree, source: Source::Simulated(board.to_owned()) }
    }

    /// Any tree, told to come from `source`.
    pub fn from_tree(tree: Arc<dyn Tree>, source: Source) -> Self {
        Self { tree, source }
    }

    /// The tree that all paths go to.
    pub fn tree(&self) -> &Arc<dyn Tree> {
        &self.tree
    }

    /// Where it comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether figures from here are simulated.
    pub fn is_simulated(&self) -> bool {
        matches!(self.source, Source::Simulated(_))
    }

    /// A node's text without the white space and NULs at its end.
    pub fn text(&self, path: &str) -> Result<String, DeviceError> {
        let bytes = self.tree.read(path).map_err(|e| node("read", path, e))?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.trim_end_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
    }

    /// A node's content as it is.
    pub fn bytes(&self, path: &str) -> Result<Vec<u8>, DeviceError> {
        self.tree.read(path).map_err(|e| node("read", path, e))
    }

    /// A node that holds one whole number.
    pub fn number<T: std::str::FromStr>(&self, path: &str) -> Result<T, DeviceError> {
        let text = self.text(path)?;
        text.trim().parse().map_err(|_| content(path, &text, "a number"))
    }

    /// Writes a node that exists, with one write.
    pub fn write(&self, path: &str, value: &str) -> Result<(), DeviceError> {
        self.tree.write(path, value).map_err(|e| node(&format!("write {value} to"), path, e))
    }

    /// Names in a folder, sorted.
    pub fn list(&self, path: &str) -> Result<Vec<String>, DeviceError> {
        self.tree.list(path).map_err(|e| node("list", path, e))
    }

    /// What a symbolic link says.
    pub fn link(&self, path: &str) -> Result<String, DeviceError> {
        self.tree.link(path).map_err(|e| node("read the link", path, e))
    }

    /// Whether something is there, as far as can be known.
    pub fn exists(&self, path: &str) -> bool {
        self.tree.exists(path).unwrap_or(false)
    }

    /// Whether a write would be let through.
    pub fn writable(&self, path: &str) -> Result<(), DeviceError> {
        self.tree.writable(path).map_err(|e| node("write to", path, e))
    }

    /// Keeps a node open.
    pub fn open(&self, path: &str) -> Result<Box<dyn Probe>, DeviceError> {
        self.tree.open(path).map_err(|e| node("open", path, e))
    }

    /// Paths that match a pattern in which `*` stands for any part of one name; sorted. What cannot be listed
    /// has no matches.
    pub fn matches(&self, pattern: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            let mut next = Vec::new();
            for base in found {
                if !part.contains('*') {
                    next.push(format!("{base}/{part}"));
                    continue;
                }
                let folder = if base.is_empty() { "/" } else { base.as_str() };
                for name in self.tree.list(folder).unwrap_or_default() {
                    if fits(part, &name) {
                        next.push(format!("{base}/{name}"));
                    }
                }
            }
            found = next;
        }
        found.retain(|path| self.exists(path));
        found
    }
}

fn node(action: &str, path: &str, source: io::Error) -> DeviceError {
    DeviceError::Node { action: action.to_owned(), path: path.to_owned(), source }
}

fn cannot_open(path: &Path, source: io::Error) -> DeviceError {
    node("open", &path.display().to_string(), source)
}

/// The error of a node that holds something unexpected.
pub(crate) fn content(path: &str, found: &str, expected: &'static str) -> DeviceError {
    DeviceError::Content { path: path.to_owned(), found: found.chars().take(40).collect(), expected }
}

/// Links that one path may go through, as Linux counts them.
const LINKS_MAX: usize = 40;
const ELOOP: i32 = 40;

/// A tree of real files below a folder; `/` is the running system.
struct Folder {
    base: PathBuf,
}

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LastLink {
    Follow,
    Keep,
}

impl Folder {
    fn is_system(&self) -> bool {
        self.base == Path::new("/")
    }

    /// The real path of a node. In a captured tree links are followed as if its folder were the root: a capture that
    /// holds `/proc/device-tree -> /sys/firmware/devicetree/base`, or one that was made to do harm, never leads to a
    /// file of the running system.
    fn path(&self, path: &str, last: LastLink) -> io::Result<PathBuf> {
        if self.is_system() {
            return Ok(self.base.join(path.trim_start_matches('/')));
        }
        let mut todo: Vec<String> = parts(path);
        let mut real = self.base.clone();
        let mut depth = 0_usize;
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                if depth > 0 {
                    depth -= 1;
                    real.pop();
                }
                continue;
            }
            real.push(&part);
            depth += 1;
            let is_last = todo.is_empty() && last == LastLink::Keep;
            // What is no link, or cannot be looked at, is told when it is opened.
            let Some(target) = fs::read_link(&real).ok().filter(|_| !is_last) else { continue };
            links += 1;
            if links > LINKS_MAX {
                return Err(io::Error::from_raw_os_error(ELOOP));
            }
            real.pop();
            depth -= 1;
            if target.is_absolute() {
                real.clone_from(&self.base);
                depth = 0;
            }
            todo.extend(parts(&target.to_string_lossy()));
        }
        Ok(real)
    }
}

/// A path's parts, the last one first.
fn parts(path: &str) -> Vec<String> {
    path.rsplit('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
}

impl Tree for Folder {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(path, LastLink::Follow)?)?.take(NODE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let file = File::options().write(true).open(self.path(path, LastLink::Follow)?)?;
        // One write call: the kernel takes a value whole or not at all.
        let bytes = if self.is_system() { value.to_owned() } else { format!("{value}\n") };
        if io::Write::write(&mut &file, bytes.as_bytes())? != bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        // A plain file is cut behind the new value, and not emptied before it: a kill in between loses nothing.
        if self.is_system() { Ok(()) } else { file.set_len(bytes.len() as u64) }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(path, LastLink::Follow)?)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        Ok(fs::read_link(self.path(path, LastLink::Keep)?)?.to_string_lossy().into_owned())
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.path(path, LastLink::Follow)?.try_exists()
    }

    fn writable(&self, path: &str) -> io::Result<()> {
        Ok(rustix::fs::access(self.path(path, LastLink::Follow)?, rustix::fs::Access::WRITE_OK)?)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Probe>> {
        let file = File::open(self.path(path, LastLink::Follow)?)?;
        Ok(Box::new(OpenFile { file, buffer: vec![0; 256] }))
    }
}

struct OpenFile {
    file: File,
    buffer: Vec<u8>,
}

impl Probe for OpenFile {
    fn read(&mut self, text: &mut String) -> io::Result<()> {
        // Reading at offset 0 makes sysfs ask the driver again; sensor values are far below the buffer's size.
        let count = self.file.read_at(&mut self.buffer, 0)?;
        text.clear();
        text.push_str(&String::from_utf8_lossy(&self.buffer[..count]));
        Ok(())
    }
}
