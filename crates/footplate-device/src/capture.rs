//! Packs the nodes that a discovery looked at, for a bug report; fixtures are made of the same text.
//!
//! Serial numbers and network addresses are not among the nodes that discovery reads; a last look over the text
//! makes sure (docs/capture.md).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use footplate_files::whole;

use crate::discover::{Device, Problem};
use crate::error::DeviceError;
use crate::memory_tree::{self, Node};
use crate::preset::Presets;
use crate::root::Root;
use crate::tree::{Probe, Tree};

/// Names of nodes that tell one machine from all others.
const PRIVATE: [&str; 7] = ["serial", "uuid", "mac", "address", "asset_tag", "machine-id", "ecid"];

/// A tree that notes every node that is looked at.
struct Recorder {
    inner: Arc<dyn Tree>,
    seen: Mutex<BTreeMap<String, Node>>,
}

impl Recorder {
    fn note(&self, path: &str, node: Node) {
        if !is_private(path) {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), node);
        }
    }

    fn note_folder(&self, path: &str) {
        if !is_private(path) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.entry(path.to_owned()).or_insert(Node::Folder);
        }
    }

    fn note_closed(&self, path: &str, errno: i32) {
        let mut path = path;
        while let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            if self.inner.exists(parent).is_ok_and(|exists| exists) {
                return self.note(parent, Node::Failing { errno });
            }
            path = parent;
        }
    }

    fn note_error(&self, path: &str, error: &io::Error) {
        match error.raw_os_error() {
            // What is not there need not be told; a folder is no file.
            None | Some(2 | 20 | 21 | 22) => {}
            // Not the node but a folder above it is closed: that folder is what there is to tell.
            Some(errno) if self.inner.exists(path).is_err() => self.note_closed(path, errno),
            Some(errno) => self.note(path, Node::Failing { errno }),
        }
    }
}

/// Whether a node's own name speaks of something private.
fn is_private(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    PRIVATE.iter().any(|word| name.split(['_', '-', '.']).any(|part| part == *word) || name == *word)
}

impl Tree for Recorder {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let result = self.inner.read(path);
        match &result {
            Ok(bytes) => {
                // Modes are recorded as what this user may do: readable by all, writable if a write is let through.
                let mode = if self.inner.writable(path).is_ok() { 0o644 } else { 0o444 };
                self.note(path, Node::File { bytes: bytes.clone(), mode });
            }
            Err(error) => self.note_error(path, error),
        }
        result
    }

    fn write(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let result = self.inner.list(path);
        match &result {
            Ok(names) if names.is_empty() => self.note(path, Node::Folder),
            // Names of folders may be all that was wanted of them, such as the EMC's clocks.
            Ok(names) => {
                for child in names.iter().map(|name| format!("{path}/{name}")) {
                    if self.inner.link(&child).is_err() && self.inner.list(&child).is_ok() {
                        self.note_folder(&child);
                    }
                }
            }
            Err(error) => self.note_error(path, error),
        }
        result
    }

    fn link(&self, path: &str) -> io::Result<String> {
        let result = self.inner.link(path);
        if let Ok(target) = &result {
            self.note(path, Node::Link(target.clone()));
        }
        result
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let result = self.inner.exists(path);
        match &result {
            Ok(true) => {
                // Its content may be asked for when the capture is looked at.
                let _ = self.read(path);
            }
            Ok(false) => {}
            Err(error) => self.note_error(path, error),
        }
        result
    }

    fn writable(&self, path: &str) -> io::Result<()> {
        self.inner.writable(path)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Probe>> {
        self.inner.open(path)
    }
}

/// The text of a capture of a machine.
pub fn text(root: &Root) -> String {
    let recorder = Arc::new(Recorder { inner: root.tree().clone(), seen: Mutex::default() });
    let watched = Root::from_tree(recorder.clone(), root.source().clone());
    let device = Device::discover(watched.clone());
    let mut problems: Vec<Problem> = Vec::new();
    let _ = Presets::read(&device, &mut problems);
    crate::report::read_all(&device);
    let seen = recorder.seen.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = format!("{}\n# footplate {}\n", memory_tree::HEADER, env!("CARGO_PKG_VERSION"));
    for (path, node) in seen.iter() {
        // Nodes below a link were read through it and stand under its own path.
        let below = format!("{path}/");
        let has_below =
            || seen.range(below.clone()..).next().is_some_and(|(name, _)| name.starts_with(&below));
        if matches!(node, Node::Link(_) | Node::Folder) && has_below() {
            continue;
        }
        text.push_str(&without_addresses(&memory_tree::line(path, node)));
        text.push('\n');
    }
    text
}

/// A line in which anything of a network address's form is blanked: six pairs of hexadecimal digits with colons.
fn without_addresses(line: &str) -> String {
    let is_address = |part: &[u8]| {
        part.iter().enumerate().all(|(i, b)| if i % 3 == 2 { *b == b':' } else { b.is_ascii_hexdigit() })
    };
    let mut bytes = line.as_bytes().to_vec();
    let mut at = 0;
    while at + 17 <= bytes.len() {
        if is_address(&bytes[at..at + 17]) {
            bytes[at..at + 17].copy_from_slice(b"xx:xx:xx:xx:xx:xx");
            at += 17;
        } else {
            at += 1;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes a capture as `OUT.tar.gz` with the text inside. Appears whole or not at all.
pub fn write(root: &Root, out: &Path) -> Result<usize, DeviceError> {
    let text = text(root);
    let failed = |source: io::Error| DeviceError::Node {
        action: "write".to_owned(),
        path: out.display().to_string(),
        source,
    };
    whole::write(out, |file| {
        let encoder = flate2::write::GzEncoder::new(file, flate2::Compression::best());
        let mut archive = tar::Builder::new(encoder);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        let name = format!("footplate-capture/{}", memory_tree::FILE_NAME);
        archive.append_data(&mut header, name, text.as_bytes())?;
        archive.into_inner()?.finish().map(drop)
    })
    .map_err(failed)?;
    Ok(text.lines().filter(|line| line.starts_with('/')).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_addresses_are_blanked_and_private_names_left_out() {
        assert_eq!(without_addresses("/x = a 48:b0:2d:00:11:ff b"), "/x = a xx:xx:xx:xx:xx:xx b");
        assert_eq!(without_addresses("/x = 12:34"), "/x = 12:34");
        assert!(is_private("/sys/class/net/eth0/address") && is_private("/proc/device-tree/serial-number"));
        assert!(!is_private("/sys/class/thermal/thermal_zone0/type"));
    }
}
