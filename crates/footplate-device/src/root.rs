//! The one gate to a machine's control files: the running system, a captured tree or a simulated board.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::DeviceError;
use crate::memory_tree::{MemoryTree, Reader};
use crate::nvml_tree::WithGpus;

/// Control files are short; what is longer than this is not one.
const NODE_BYTES_MAX: u64 = 1 << 20;

/// A tree of nodes. Paths are absolute as the running system has them, such as `/sys/class/hwmon`.
pub trait Tree: Send + Sync {
    /// The node's whole content.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// Writes a node's content in one write, as `echo -n VALUE > path` does. Never creates a node.
    fn write(&self, path: &str, value: &str) -> io::Result<()>;
    /// Names in a folder, sorted.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// What a symbolic link says, as it stands there.
    fn link(&self, path: &str) -> io::Result<String>;
    /// Whether something is there; links are followed. An error when that cannot be known.
    fn exists(&self, path: &str) -> io::Result<bool>;
    /// Whether a write would be let through, without writing. `Ok` does not promise that the value is taken.
    fn writable(&self, path: &str) -> io::Result<()>;
    /// Keeps a node open to read it again and again.
    fn open(&self, path: &str) -> io::Result<Box<dyn Probe>>;
}

/// A node that is kept open.
pub trait Probe: Send {
    /// Reads the node anew from its beginning and puts it in place of what `text` held.
    fn read(&mut self, text: &mut String) -> io::Result<()>;
}

/// Where a tree comes from. Figures from anything but the system are labelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The running machine.
    System,
    /// A captured tree.
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
    /// The running machine.
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

    /// A simulated board.
    pub fn simulated(board: &str, tree: Arc<dyn Tree>) -> Self {
        Self { tree, source: Source::Simulated(board.to_owned()) }
    }

    /// Any tree, told to come from `source`.
    pub fn from_tree(tree: Arc<dyn Tree>, source: Source) -> Self {
        Self { tree, source }
    }

    /// The tree behind.
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

    /// Writes a node.
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
                    if matches_name(part, &name) {
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

/// Whether a name fits a pattern with `*`.
pub(crate) fn matches_name(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    if after.is_empty() {
        return true;
    }
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches_name(after, &rest[at..]))
}

fn node(action: &str, path: &str, source: io::Error) -> DeviceError {
    DeviceError::Node { action: action.to_owned(), path: path.to_owned(), source }
}

fn cannot_open(path: &Path, source: io::Error) -> DeviceError {
    node("open", &path.display().to_string(), source)
}

/// A node that holds what nobody expects there.
pub(crate) fn content(path: &str, found: &str, expected: &'static str) -> DeviceError {
    DeviceError::Content { path: path.to_owned(), found: found.chars().take(40).collect(), expected }
}

/// A tree of real files below a folder; `/` is the running system.
struct Folder {
    base: PathBuf,
}

impl Folder {
    fn path(&self, path: &str) -> PathBuf {
        self.base.join(path.trim_start_matches('/'))
    }
}

impl Tree for Folder {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(path))?.take(NODE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let file = File::options().write(true).open(self.path(path))?;
        // One write call: the kernel takes a value whole or not at all.
        let is_system = self.base == Path::new("/");
        let bytes = if is_system { value.to_owned() } else { format!("{value}\n") };
        if io::Write::write(&mut &file, bytes.as_bytes())? != bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        // A plain file is cut behind the new value, and not emptied before it: a kill in between loses nothing.
        if is_system { Ok(()) } else { file.set_len(bytes.len() as u64) }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(path))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        Ok(fs::read_link(self.path(path))?.to_string_lossy().into_owned())
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.path(path).try_exists()
    }

    fn writable(&self, path: &str) -> io::Result<()> {
        Ok(rustix::fs::access(self.path(path), rustix::fs::Access::WRITE_OK)?)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Probe>> {
        Ok(Box::new(OpenFile { file: File::open(self.path(path))?, buffer: vec![0; 256] }))
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
