//! Images in memory: pixels of one size (idx, CIFAR), and images of a program.

use std::path::Path;

use super::{Form, SourceContents, Store};
use crate::error::DataError;

/// Images of one size, held in memory as pixels.
#[derive(Debug)]
pub(crate) struct PixelStore {
    /// Where they come from, for messages.
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// 1 (gray) or 3 (RGB).
    pub(crate) channels: u32,
    /// All images, one after the other, each row by row with its channels together.
    pub(crate) data: Vec<u8>,
}

impl PixelStore {
    /// Bytes of one image.
    fn image_bytes(&self) -> usize {
        self.width as usize * self.height as usize * self.channels as usize
    }

    pub(super) fn pixels(&self, index: usize) -> &[u8] {
        &self.data[index * self.image_bytes()..(index + 1) * self.image_bytes()]
    }

    pub(super) fn read(&self, index: usize, buffer: &mut Vec<u8>) -> Form {
        buffer.clear();
        buffer.extend_from_slice(self.pixels(index));
        Form::Raw { width: self.width, height: self.height, channels: self.channels }
    }
}

/// Samples in memory, each in a form of its own.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    pub(crate) samples: Vec<MemorySample>,
}

/// A sample as a store reads it.
#[derive(Debug)]
pub(crate) struct MemorySample {
    pub(crate) name: String,
    pub(crate) form: Form,
    pub(crate) bytes: Vec<u8>,
}

impl MemoryStore {
    pub(super) fn read(&self, index: usize, buffer: &mut Vec<u8>) -> Form {
        let sample = &self.samples[index];
        buffer.clear();
        buffer.extend_from_slice(&sample.bytes);
        sample.form
    }
}

/// An image that a program has in memory, with its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryImage {
    /// Its name, for messages about damaged images.
    pub name: String,
    /// Its class, as a place in the list of the classes' names.
    pub label: u32,
    /// What it shows.
    pub data: ImageData,
}

/// The bytes of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageData {
    /// A JPEG or PNG file.
    File(Vec<u8>),
    /// Pixels.
    Pixels {
        /// `height * width * channels` bytes, row by row, with a pixel's channels together.
        pixels: Vec<u8>,
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// 1 (gray) or 3 (RGB).
        channels: u32,
    },
}

/// Checks a program's images and takes them over.
pub(crate) fn contents(classes: Vec<String>, images: Vec<MemoryImage>) -> Result<SourceContents, DataError> {
    let mut labels = Vec::with_capacity(images.len());
    let mut samples = Vec::with_capacity(images.len());
    for image in images {
        let malformed =
            |reason: String| DataError::Malformed { path: Path::new(&image.name).to_owned(), reason };
        if image.label as usize >= classes.len() {
            let reason = format!("its class is number {} of {}, counted from 0", image.label, classes.len());
            return Err(malformed(reason));
        }
        let (form, bytes) = match image.data {
            ImageData::File(bytes) => (Form::File, bytes),
            ImageData::Pixels { pixels, width, height, channels } => {
                let expected = u128::from(width) * u128::from(height) * u128::from(channels);
                if expected == 0 || pixels.len() as u128 != expected || ![1, 3].contains(&channels) {
                    let size = format!("{width} x {height} pixels of {channels} channels");
                    return Err(malformed(format!("{} bytes for {size}", pixels.len())));
                }
                (Form::Raw { width, height, channels }, pixels)
            }
        };
        labels.push(image.label);
        samples.push(MemorySample { name: image.name, form, bytes });
    }
    let store = Store::Memory(MemoryStore { samples });
    Ok(SourceContents { store, labels, classes, validation_from: None, warnings: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(
        name: &str,
        label: u32,
        length: usize,
        (width, height, channels): (u32, u32, u32),
    ) -> MemoryImage {
        let data = ImageData::Pixels { pixels: vec![7; length], width, height, channels };
        MemoryImage { name: name.to_owned(), label, data }
    }

    #[test]
    fn images_that_contradict_themselves_are_refused_by_name() {
        let classes = || vec!["a".to_owned(), "b".to_owned()];
        for (image, reason) in [
            (pixels("one", 2, 12, (2, 2, 3)), "one: its class is number 2 of 2, counted from 0"),
            (pixels("two", 0, 11, (2, 2, 3)), "two: 11 bytes for 2 x 2 pixels of 3 channels"),
            (pixels("three", 0, 8, (2, 2, 2)), "three: 8 bytes for 2 x 2 pixels of 2 channels"),
            (pixels("four", 0, 0, (0, 2, 1)), "four: 0 bytes for 0 x 2 pixels of 1 channels"),
            (pixels("five", 0, 0, (u32::MAX, u32::MAX, 3)), "five: 0 bytes for"),
        ] {
            let error =
                contents(classes(), vec![pixels("good", 1, 4, (2, 2, 1)), image]).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn a_program_s_images_are_read_as_they_were_given() {
        let file = MemoryImage { name: "f.jpg".to_owned(), label: 1, data: ImageData::File(vec![1, 2, 3]) };
        let contents =
            contents(vec!["a".into(), "b".into()], vec![pixels("p", 0, 6, (3, 2, 1)), file]).unwrap();
        assert_eq!(contents.labels, [0, 1]);
        let mut buffer = vec![9; 20];
        assert!(matches!(
            contents.store.read(0, &mut buffer),
            Ok(Form::Raw { width: 3, height: 2, channels: 1 })
        ));
        assert_eq!(buffer, [7; 6]);
        assert!(matches!(contents.store.read(1, &mut buffer), Ok(Form::File)));
        assert_eq!(buffer, [1, 2, 3]);
        assert_eq!((contents.store.name(1), contents.store.size(1)), ("f.jpg".to_owned(), Some(3)));
        assert!(!contents.store.is_on_disk());
    }
}
