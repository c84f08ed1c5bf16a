//! Finds the samples of a tar by its headers.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::DataError;
use crate::source::is_image_ending;

/// Larger images are ignored.
pub(crate) const MEMBER_BYTES_MAX: u64 = 256 << 20;
/// Larger `.cls` files are ignored.
const CLASS_BYTES_MAX: u64 = 32;
/// Greater class numbers are taken for a mistake.
const CLASSES_MAX: u32 = 1_000_000;

/// A sample: an image with its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scanned<'a> {
    pub(crate) key: &'a str,
    /// Offset of the image's bytes in the tar.
    pub(crate) offset: u64,
    /// Length of the image in bytes.
    pub(crate) size: u32,
    pub(crate) label: u32,
}

/// What was found of one sample so far.
#[derive(Default)]
struct Sample {
    key: String,
    /// Offset and length in bytes.
    image: Option<(u64, u64)>,
    class: Option<u32>,
}

impl Sample {
    /// Passes a complete sample to `found`; returns the number of incomplete samples, 0 or 1.
    fn finish(&self, found: &mut dyn FnMut(Scanned<'_>)) -> usize {
        match (self.image, self.class) {
            (Some((offset, size)), Some(label)) => {
                found(Scanned { key: &self.key, offset, size: size as u32, label });
                0
            }
            (None, None) => 0,
            _ => 1,
        }
    }
}

/// Passes each sample of an archive to `found`, in order; returns warnings about samples that are left out.
///
/// # Errors
/// If the file cannot be read, or its first header is none.
pub(crate) fn scan(
    path: &Path,
    file: &File,
    found: &mut dyn FnMut(Scanned<'_>),
) -> Result<Vec<String>, DataError> {
    let size = file.metadata().map_err(DataError::io(path))?.len();
    let malformed = |reason: String| DataError::Malformed { path: path.to_owned(), reason };
    let mut archive = ::tar::Archive::new(file);
    let entries = archive.entries_with_seek().map_err(|e| malformed(e.to_string()))?;
    let mut warnings = Vec::new();
    let (mut sample, mut incomplete, mut any) = (Sample::default(), 0, false);
    for entry in entries {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) if !any => return Err(malformed(format!("not a tar archive: {error}"))),
            Err(error) => {
                warnings
                    .push(format!("{}: damaged or cut off, the rest is left out: {error}", path.display()));
                break;
            }
        };
        any = true;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().map_err(|e| malformed(e.to_string()))?.to_string_lossy().into_owned();
        let (key, ending) = split_name(&name);
        if key != sample.key {
            incomplete += sample.finish(found);
            sample = Sample { key: key.to_owned(), ..Sample::default() };
        }
        let (offset, length) = (entry.raw_file_position(), entry.size());
        if offset.saturating_add(length) > size {
            warnings.push(format!("{}: cut off inside {name}", path.display()));
            break;
        }
        if is_image_ending(ending) && length <= MEMBER_BYTES_MAX {
            sample.image = Some((offset, length));
        } else if ending == "cls" && length <= CLASS_BYTES_MAX {
            sample.class = read_class(&mut entry);
        }
    }
    incomplete += sample.finish(found);
    if incomplete > 0 {
        warnings.push(format!(
            "{}: {incomplete} samples without an image or a class number are left out",
            path.display()
        ));
    }
    Ok(warnings)
}

/// A member's key, and what follows the first dot of its file name.
pub(crate) fn split_name(name: &str) -> (&str, &str) {
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

/// A member's name and size, from the header block before its bytes.
pub(crate) fn header_of(block: &[u8; 512]) -> io::Result<(String, u64)> {
    let header = ::tar::Header::from_byte_slice(block);
    // The checksum is the sum of all bytes, with its own eight taken as spaces.
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(i, b)| u32::from(if (148..156).contains(&i) { b' ' } else { *b }))
        .sum();
    if header.cksum()? != sum {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a header"));
    }
    let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
    Ok((name, header.entry_size()?))
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
    fn a_header_tells_its_name_and_size_and_others_are_refused() {
        let mut header = ::tar::Header::new_ustar();
        header.set_path("a/1.jpg").unwrap();
        header.set_size(77);
        header.set_cksum();
        let mut block = *header.as_bytes();
        assert_eq!(header_of(&block).unwrap(), ("a/1.jpg".to_owned(), 77));
        block[0] ^= 1;
        assert!(header_of(&block).is_err());
        assert!(header_of(&[0; 512]).is_err());
    }
}
