//! A tree of nodes held in memory, and its text form: captures and fixtures are such texts (docs/capture.md).

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::DeviceError;
use crate::tree::{Probe, Tree};

/// The file of an unpacked capture.
pub const FILE_NAME: &str = "tree.txt";
/// The first line of the text form.
pub const HEADER: &str = "# footplate tree 1";
const LINKS_MAX: usize = 40;
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// Errors that a node can be said to give, by their names in C.
const ERRORS: [(&str, i32); 10] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EIO", 5),
    ("ENXIO", 6),
    ("EAGAIN", 11),
    ("EACCES", 13),
    ("EBUSY", 16),
    ("ENODEV", 19),
    ("EINVAL", 22),
    ("ENODATA", 61),
];

/// Who reads a tree: files have modes, and root passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Root: modes do not matter, errors do.
    Root,
    /// Anyone else: the mode's last digit counts.
    Other,
    /// What the text's `reader` line says; root without one.
    AsCaptured,
}

/// A node of a tree in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file with its content and permission bits.
    File {
        /// Its content, with the newline at its end if it has one.
        bytes: Vec<u8>,
        /// Permission bits, such as 0o444.
        mode: u32,
    },
    /// A file that gives an error when it is read.
    Failing {
        /// The error's number as Linux has it, such as 13 for EACCES.
        errno: i32,
    },
    /// A symbolic link, with its target as it stands there.
    Link(String),
    /// A folder that is there though nothing below it is listed.
    Folder,
}

/// Nodes by their path.
#[derive(Debug)]
pub struct MemoryTree {
    nodes: Mutex<BTreeMap<String, Node>>,
    root: bool,
    read_only: bool,
}

impl MemoryTree {
    /// An empty tree, seen by root.
    pub fn new() -> Self {
        Self { nodes: Mutex::default(), root: true, read_only: false }
    }

    /// Reads the text form. `file` is told in errors.
    pub fn parse(text: &str, file: &str, reader: Reader) -> Result<Self, DeviceError> {
        let wrong = |line: usize, problem: &str| DeviceError::Capture {
            file: file.to_owned(),
            line: line + 1,
            problem: problem.to_owned(),
        };
        if text.lines().next().map(str::trim_end) != Some(HEADER) {
            return Err(wrong(0, &format!("a captured tree begins with `{HEADER}`")));
        }
        let mut nodes = BTreeMap::new();
        let mut root = reader != Reader::Other;
        for (number, line) in text.lines().enumerate() {
            if let Some(who) = line.strip_prefix("# reader: ") {
                root = if reader == Reader::AsCaptured { who.trim() == "root" } else { root };
            }
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (path, node) = parse_line(line).map_err(|problem| wrong(number, problem))?;
            nodes.insert(path, node);
        }
        Ok(Self { nodes: Mutex::new(nodes), root, read_only: false })
    }

    /// The same tree, which refuses writes.
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    /// The same tree, seen by root or by anyone else.
    pub fn seen_by_root(self, root: bool) -> Self {
        Self { root, ..self }
    }

    /// Puts a node in its place.
    pub fn insert(&self, path: &str, node: Node) {
        self.lock().insert(path.to_owned(), node);
    }

    /// Puts a file in its place; a newline is added.
    pub fn file(&self, path: &str, text: &str, mode: u32) {
        self.insert(path, Node::File { bytes: format!("{text}\n").into_bytes(), mode });
    }

    /// Takes a node away, and all below it.
    pub fn remove(&self, path: &str) {
        let below = format!("{path}/");
        self.lock().retain(|name, _| name != path && !name.starts_with(&below));
    }

    /// Where a path leads when all links are followed, whether something is there or not.
    pub(crate) fn resolved(&self, path: &str) -> io::Result<String> {
        resolve(&self.lock(), path)
    }

    /// All nodes in order.
    pub fn nodes(&self) -> BTreeMap<String, Node> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text form, without a `reader` line.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for (path, node) in self.lock().iter() {
            text.push_str(&line(path, node));
            text.push('\n');
        }
        text
    }
}

impl Default for MemoryTree {
    fn default() -> Self {
        Self::new()
    }
}

/// One line of the text form.
pub fn line(path: &str, node: &Node) -> String {
    match node {
        Node::File { bytes, mode } => {
            let (body, sign) = match bytes.strip_suffix(b"\n") {
                Some(body) => (body, "="),
                None => (bytes.as_slice(), ":="),
            };
            format!("{path} {mode:04o} {sign} {}", escaped(&String::from_utf8_lossy(body)))
        }
        Node::Failing { errno } => format!("{path} ! {}", error_name(*errno)),
        Node::Link(target) => format!("{path} -> {target}"),
        Node::Folder => format!("{path}/"),
    }
}

/// The name of an error number that the text form knows; others become EIO.
pub fn error_name(errno: i32) -> &'static str {
    ERRORS.iter().find(|(_, number)| *number == errno).map_or("EIO", |(name, _)| name)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            c if c.is_control() && c != '\t' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn unescaped(text: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('\\') => '\\',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('0') => '\0',
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                Some(&digits)
                    .filter(|digits| digits.len() == 4)
                    .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                    .and_then(char::from_u32)
                    .ok_or("four digits follow `\\u`")?
            }
            _ => return Err("an unknown escape after `\\`"),
        });
    }
    Ok(out)
}

/// `PATH = VALUE`, `PATH MODE = VALUE`, with `:=` for no newline at the end; `PATH ! ERROR`; `PATH -> TARGET`; `PATH/`.
fn parse_line(line: &str) -> Result<(String, Node), &'static str> {
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err("control characters are escaped");
    }
    let (path, rest) = line.split_once(' ').unwrap_or((line, ""));
    if !path.starts_with('/')
        || path.contains("//")
        || path.split('/').any(|part| part == "." || part == "..")
    {
        return Err("a line begins with an absolute path");
    }
    if rest.is_empty() {
        return match path.strip_suffix('/') {
            Some(folder) if !folder.is_empty() => Ok((folder.to_owned(), Node::Folder)),
            _ => Err("a path without `=`, `!` or `->` is a folder and ends with `/`"),
        };
    }
    let path = path.to_owned();
    if let Some(target) = rest.strip_prefix("-> ") {
        if target.is_empty() {
            return Err("a link without a target");
        }
        return Ok((path, Node::Link(target.to_owned())));
    }
    if let Some(name) = rest.strip_prefix("! ") {
        let errno = ERRORS.iter().find(|(known, _)| *known == name.trim()).ok_or("an unknown error name")?;
        return Ok((path, Node::Failing { errno: errno.1 }));
    }
    let (mode, value) = match rest.split_once(' ') {
        Some((mode, value)) if mode.len() == 4 && mode.bytes().all(|b| (b'0'..=b'7').contains(&b)) => {
            (u32::from_str_radix(mode, 8).map_err(|_| "a mode is four octal digits")?, value)
        }
        _ => (0o644, rest),
    };
    let (value, newline) = match (value.strip_prefix(":="), value.strip_prefix('=')) {
        (Some(value), _) => (value, ""),
        (None, Some(value)) => (value, "\n"),
        (None, None) => return Err("expected `=`, `:=`, `!` or `->` after the path"),
    };
    let value = unescaped(value.strip_prefix(' ').unwrap_or(value))?;
    Ok((path, Node::File { bytes: format!("{value}{newline}").into_bytes(), mode }))
}

/// The text of a capture's archive.
#[expect(clippy::disallowed_types, reason = "a capture is a file of the user's, and no control file")]
pub(crate) fn text_of_archive(path: &Path) -> Result<String, DeviceError> {
    let failed = |problem: String| DeviceError::Other(format!("{}: {problem}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| failed(e.to_string()))?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in archive.entries().map_err(|e| failed(e.to_string()))? {
        let mut entry = entry.map_err(|e| failed(e.to_string()))?;
        let is_tree = entry.path().is_ok_and(|p| p.file_name().is_some_and(|name| name == FILE_NAME));
        if is_tree {
            let mut text = String::new();
            entry
                .by_ref()
                .take(TEXT_BYTES_MAX)
                .read_to_string(&mut text)
                .map_err(|e| failed(e.to_string()))?;
            return Ok(text);
        }
    }
    Err(failed(format!("no {FILE_NAME} inside: this is not a capture")))
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const EINVAL: i32 = 22;
const EROFS: i32 = 30;
const ELOOP: i32 = 40;

/// Follows all links of a path.
fn resolve(nodes: &BTreeMap<String, Node>, path: &str) -> io::Result<String> {
    let mut todo: Vec<&str> = parts(path).collect();
    let mut done = String::with_capacity(path.len());
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part == ".." {
            done.truncate(done.rfind('/').unwrap_or(0));
            continue;
        }
        let before = done.len();
        done.push('/');
        done.push_str(part);
        match nodes.get(&done) {
            Some(Node::Link(target)) => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(error(ELOOP));
                }
                done.truncate(if target.starts_with('/') { 0 } else { before });
                todo.extend(parts(target));
            }
            // A folder that cannot be entered hides all below it.
            Some(Node::Failing { errno }) if !todo.is_empty() => return Err(error(*errno)),
            _ => {}
        }
    }
    if done.is_empty() {
        done.push('/');
    }
    Ok(done)
}

/// A path's parts, last first.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.rsplit('/').filter(|part| !part.is_empty() && *part != ".")
}

fn has_below(nodes: &BTreeMap<String, Node>, path: &str) -> bool {
    let below = if path == "/" { "/".to_owned() } else { format!("{path}/") };
    nodes.range(below.clone()..).next().is_some_and(|(name, _)| name.starts_with(&below))
}

impl Tree for MemoryTree {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let nodes = self.lock();
        let path = resolve(&nodes, path)?;
        match nodes.get(&path) {
            Some(Node::File { bytes, mode }) if self.root || mode & 0o004 != 0 => Ok(bytes.clone()),
            Some(Node::File { .. }) => Err(error(EACCES)),
            Some(Node::Failing { errno }) => Err(error(*errno)),
            Some(Node::Folder) => Err(error(EISDIR)),
            Some(Node::Link(_)) => Err(error(ENOENT)),
            None if has_below(&nodes, &path) => Err(error(EISDIR)),
            None => Err(error(ENOENT)),
        }
    }

    fn write(&self, path: &str, value: &str) -> io::Result<()> {
        self.writable(path)?;
        if self.read_only {
            return Err(error(EROFS));
        }
        let mut nodes = self.lock();
        let path = resolve(&nodes, path)?;
        match nodes.get_mut(&path) {
            Some(Node::File { bytes, .. }) => *bytes = format!("{value}\n").into_bytes(),
            _ => return Err(error(EINVAL)),
        }
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let nodes = self.lock();
        let path = resolve(&nodes, path)?;
        match nodes.get(&path) {
            Some(Node::Failing { errno }) => return Err(error(*errno)),
            Some(Node::File { .. }) => return Err(error(ENOTDIR)),
            None if !has_below(&nodes, &path) => return Err(error(ENOENT)),
            _ => {}
        }
        let below = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let mut names: Vec<String> = nodes
            .range(below.clone()..)
            .take_while(|(name, _)| name.starts_with(&below))
            .filter_map(|(name, _)| name[below.len()..].split('/').next().map(str::to_owned))
            .collect();
        names.dedup();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        let nodes = self.lock();
        let (folder, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
        let folder = resolve(&nodes, folder)?;
        let here = if folder == "/" { format!("/{name}") } else { format!("{folder}/{name}") };
        match nodes.get(&here) {
            Some(Node::Link(target)) => Ok(target.clone()),
            Some(_) => Err(error(EINVAL)),
            None if has_below(&nodes, &here) => Err(error(EINVAL)),
            None => Err(error(ENOENT)),
        }
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let nodes = self.lock();
        let path = resolve(&nodes, path)?;
        Ok(nodes.contains_key(&path) || has_below(&nodes, &path))
    }

    fn writable(&self, path: &str) -> io::Result<()> {
        let nodes = self.lock();
        let path = resolve(&nodes, path)?;
        match nodes.get(&path) {
            Some(Node::File { mode, .. }) if !self.root && mode & 0o002 == 0 => Err(error(EACCES)),
            // sysfs refuses root, too, where the driver has no store function.
            Some(Node::File { mode, .. }) if mode & 0o222 == 0 => Err(error(EACCES)),
            Some(Node::File { .. }) => Ok(()),
            Some(Node::Failing { errno }) => Err(error(*errno)),
            Some(Node::Folder | Node::Link(_)) => Err(error(EISDIR)),
            None => Err(error(ENOENT)),
        }
    }

    /// The probe sees the node as it is now: a tree in memory does not change by itself.
    fn open(&self, path: &str) -> io::Result<Box<dyn Probe>> {
        Ok(Box::new(Held { bytes: self.read(path)? }))
    }
}

struct Held {
    bytes: Vec<u8>,
}

impl Probe for Held {
    fn read(&mut self, text: &mut String) -> io::Result<()> {
        text.clear();
        text.push_str(&String::from_utf8_lossy(&self.bytes));
        Ok(())
    }
}
