//! Transforms an encoded image to the pixels of one training or validation sample.
//!
//! The crop is known before an image is decoded: it follows from the sample's key and the size in the header.

use crate::augment::{ColorJitter, CropBox, eval_crop, mirror, random_crop};
use crate::decode::checkpoint_cache::{CheckpointCache, ContentStamp};
use crate::decode::fused::{CropSpec, Decoder, Header, Picture};
use crate::decode::index::{CheckpointRecorder, Checkpoints};
use crate::decode::{DecodeError, ImageInfo, decode_rgb, fused_header};
pub use crate::pixel_sink::PixelSink;
use crate::rng::{SampleKey, SampleRng};

/// The default of [`Transform::max_pixels`]: an image of 10,000 × 10,000.
const MAX_PIXELS: u64 = 100_000_000;
/// Streams of a sample's random numbers: crop, mirroring and colour changes are drawn independently.
const CROP_STREAM: u64 = 1;
const FLIP_STREAM: u64 = 2;
const JITTER_STREAM: u64 = 3;

/// How an image becomes a sample: crop, resize, and augmentation in training.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// Height and width of a sample in pixels.
    pub image_size: u32,
    /// The crop, and the random changes in training.
    pub mode: TransformMode,
    /// Whether an EXIF orientation is applied.
    pub exif: ExifPolicy,
    /// Images with more pixels are refused when their header is read.
    pub max_pixels: u64,
}

/// Which part of an image a sample shows, and its random changes.
#[derive(Clone, Debug, PartialEq)]
pub enum TransformMode {
    /// For training: a random crop, resized to the sample (torchvision's `RandomResizedCrop`).
    Train {
        /// Least and greatest area of the crop, as shares of the image's.
        scale: [f64; 2],
        /// Least and greatest aspect of the crop, width over height.
        ratio: [f64; 2],
        /// Whether half of the samples, chosen at random, are mirrored.
        flip: bool,
        /// Strengths of random colour changes; `None` for no changes.
        jitter: Option<ColorJitter>,
    },
    /// For validation: the centre (torchvision's `Resize` and `CenterCrop`).
    Eval {
        /// The length that the image's shorter side would be resized to before the centre is cropped, in pixels.
        resize_to: u32,
    },
}

/// Whether an EXIF orientation is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExifPolicy {
    /// The image is turned upright, as viewers show it. torchvision's and Pillow's loaders do not do this.
    Apply,
    /// The pixels are taken as they are stored.
    Ignore,
}

/// An image as a source gives it.
#[derive(Clone, Copy, Debug)]
pub enum Encoded<'a> {
    /// The bytes of a JPEG or PNG file.
    File(&'a [u8]),
    /// The bytes of a JPEG file with its index of entropy checkpoints (see [`crate::decode::index`]).
    Indexed {
        /// The bytes of the JPEG file.
        file: &'a [u8],
        /// The index. One that does not belong to the file is ignored.
        index: &'a [u8],
    },
    /// Pixels that need no decoding.
    Raw {
        /// `height * width * channels` bytes, row by row, with a pixel's channels together.
        pixels: &'a [u8],
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// 1 (gray) or 3 (RGB).
        channels: u32,
    },
}

/// Buffers of one thread, which are used again for each sample.
#[derive(Default)]
pub struct Scratch {
    /// The decoded image, where a library decodes all of it.
    rgb: Vec<u8>,
    /// The sample's pixels, where they cannot be written to the sink at once.
    sample: Vec<u8>,
    /// The known checkpoints of a file, and those that were found.
    rows: [Vec<u8>; 2],
    decoder: Decoder,
}

impl Scratch {
    /// Empty buffers, which grow with the first samples.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Transform {
    /// torchvision's reference transform for training: a crop of 8 % to 100 % of the area with an aspect of 3/4 to 4/3,
    /// mirrored with probability 1/2.
    pub fn train(image_size: u32) -> Self {
        let mode = TransformMode::Train {
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip: true,
            jitter: None,
        };
        Self { mode, ..Self::eval(image_size) }
    }

    /// torchvision's reference transform for validation: the shorter side is resized to 256/224 of the size, then the
    /// centre is cropped.
    pub fn eval(image_size: u32) -> Self {
        let resize_to = (f64::from(image_size) * 256.0 / 224.0).round() as u32;
        Self {
            image_size,
            mode: TransformMode::Eval { resize_to },
            exif: ExifPolicy::Apply,
            max_pixels: MAX_PIXELS,
        }
    }

    /// Writes the sample's `image_size * image_size` pixels to `out`. They are a pure function of the image and `key`.
    ///
    /// After an error `out` may hold part of the sample.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no image, damaged, or have more pixels than `max_pixels`; and if `out` does not
    /// have the length `3 * image_size * image_size`.
    pub fn apply(
        &self,
        image: Encoded<'_>,
        key: SampleKey,
        scratch: &mut Scratch,
        out: PixelSink<'_>,
    ) -> Result<(), DecodeError> {
        self.apply_cached(image, key, None, scratch, out)
    }

    /// As [`Transform::apply`]. The checkpoints of a plain file that are found on the way are kept in `cache` under the
    /// sample's number, and make the next crops of it faster. No pixel depends on it.
    ///
    /// # Errors
    /// Those of [`Transform::apply`].
    pub fn apply_cached(
        &self,
        image: Encoded<'_>,
        key: SampleKey,
        cache: Option<&CheckpointCache>,
        scratch: &mut Scratch,
        out: PixelSink<'_>,
    ) -> Result<(), DecodeError> {
        let size = self.image_size as usize;
        let mut out = out;
        if out.values() != size * size * 3 {
            let reason = format!("{} values of output for {size} x {size} pixels", out.values());
            return Err(DecodeError::Damaged { reason });
        }
        let (file, index) = match image {
            Encoded::File(file) => (file, None),
            Encoded::Indexed { file, index } => (file, Some(index)),
            Encoded::Raw { .. } => return self.by_library(image, key, scratch, out),
        };
        if let Some(header) = fused_header(file).filter(|header| self.accepts(header)) {
            let checkpoints = index.and_then(|index| Checkpoints::new(index, file, &header));
            let done = match (checkpoints, cache) {
                (Some(checkpoints), _) => {
                    self.by_crop(file, &header, (Some(checkpoints), None), key, scratch, &mut out)
                        || self.by_crop(file, &header, (None, None), key, scratch, &mut out)
                }
                (None, None) => self.by_crop(file, &header, (None, None), key, scratch, &mut out),
                (None, Some(cache)) => self.by_cached(file, &header, key, cache, scratch, &mut out),
            };
            if done {
                return Ok(());
            }
        }
        self.by_library(image, key, scratch, out)
    }

    /// Decodes only what the sample shows, with the checkpoints of earlier samples of the same bytes.
    fn by_cached(
        &self,
        file: &[u8],
        header: &Header<'_>,
        key: SampleKey,
        cache: &CheckpointCache,
        scratch: &mut Scratch,
        out: &mut PixelSink<'_>,
    ) -> bool {
        let stamp = ContentStamp::of(file);
        let [mut rows, mut found] = std::mem::take(&mut scratch.rows);
        cache.recall(key.index, stamp, &mut rows);
        let known = Checkpoints::of_rows(&rows, file, header);
        let recorder = CheckpointRecorder::after(&rows, file, header, &mut found);
        let done = self.by_crop(file, header, (Some(known), Some(recorder)), key, scratch, out);
        if done {
            cache.keep(key.index, stamp, rows.len(), &found, header.mcus().1);
        }
        scratch.rows = [rows, found];
        done
    }

    fn accepts(&self, header: &Header<'_>) -> bool {
        let info = header.info();
        u64::from(info.width) * u64::from(info.height) <= self.max_pixels
    }

    /// Decodes only what the sample shows. `false` if the file does not keep what its header promises.
    fn by_crop(
        &self,
        file: &[u8],
        header: &Header<'_>,
        checkpoints: (Option<Checkpoints<'_>>, Option<CheckpointRecorder<'_>>),
        key: SampleKey,
        scratch: &mut Scratch,
        out: &mut PixelSink<'_>,
    ) -> bool {
        let info = self.oriented(header.info());
        let size = self.image_size as usize;
        let (spec, at_once) = self.spec(&info, key);
        if at_once {
            return scratch.decoder.sample(file, header, checkpoints, &spec, out.reborrow()).is_ok();
        }
        scratch.sample.resize(size * size * 3, 0);
        let pixels = PixelSink::U8Nhwc(&mut scratch.sample);
        if scratch.decoder.sample(file, header, checkpoints, &spec, pixels).is_err() {
            return false;
        }
        self.finish(info.orientation, key, &mut scratch.sample, &mut scratch.rgb);
        out.reborrow().put(&scratch.sample, size);
        true
    }

    /// Decodes the whole image with a library, and crops its pixels.
    fn by_library(
        &self,
        image: Encoded<'_>,
        key: SampleKey,
        scratch: &mut Scratch,
        out: PixelSink<'_>,
    ) -> Result<(), DecodeError> {
        let Scratch { rgb, sample, decoder, .. } = scratch;
        let (info, picture) = load(image, self.max_pixels, rgb)?;
        let info = self.oriented(info);
        let (spec, at_once) = self.spec(&info, key);
        let damaged =
            |_| DecodeError::Damaged { reason: "its pixels are not as many as it promises".to_owned() };
        if at_once {
            return decoder.resample(&picture, &spec, out).map_err(damaged);
        }
        let size = self.image_size as usize;
        sample.resize(size * size * 3, 0);
        decoder.resample(&picture, &spec, PixelSink::U8Nhwc(sample)).map_err(damaged)?;
        self.finish(info.orientation, key, sample, rgb);
        out.put(sample, size);
        Ok(())
    }

    /// Which part of the stored image becomes the sample, and whether it can be written at once: a turn by 90 degrees and
    /// colour changes need the whole sample, and come after it.
    fn spec(&self, info: &ImageInfo, key: SampleKey) -> (CropSpec, bool) {
        let (width, height) = info.upright();
        let crop = inside(as_stored(self.crop(width, height, key), info), info);
        let at_once = info.orientation <= 4 && self.jitter().is_none();
        let spec = CropSpec {
            crop,
            size: self.image_size as usize,
            mirrored: at_once && matches!(info.orientation, 2 | 3) != self.mirrors(key),
            upside_down: at_once && matches!(info.orientation, 3 | 4),
        };
        (spec, at_once)
    }

    /// What remains to be done to the pixels of a sample that could not be written at once.
    fn finish(&self, orientation: u8, key: SampleKey, pixels: &mut [u8], scratch: &mut Vec<u8>) {
        let size = self.image_size as usize;
        turn_upright(pixels, size, orientation, scratch);
        if self.mirrors(key) {
            mirror(pixels, size);
        }
        if let Some(jitter) = self.jitter() {
            jitter.apply(pixels, &mut SampleRng::new(key, JITTER_STREAM));
        }
    }

    fn oriented(&self, info: ImageInfo) -> ImageInfo {
        match self.exif {
            ExifPolicy::Apply => info,
            ExifPolicy::Ignore => ImageInfo { orientation: 1, ..info },
        }
    }

    fn mirrors(&self, key: SampleKey) -> bool {
        let flips = matches!(self.mode, TransformMode::Train { flip: true, .. });
        flips && SampleRng::new(key, FLIP_STREAM).below(2) == 1
    }

    fn jitter(&self) -> Option<&ColorJitter> {
        match &self.mode {
            TransformMode::Train { jitter, .. } => jitter.as_ref(),
            TransformMode::Eval { .. } => None,
        }
    }

    /// The part of an upright image of this size that the sample shows; for training, by the key.
    fn crop(&self, width: u32, height: u32, key: SampleKey) -> CropBox {
        match &self.mode {
            TransformMode::Eval { resize_to } => eval_crop(width, height, *resize_to, self.image_size),
            TransformMode::Train { scale, ratio, .. } => {
                random_crop(width, height, *scale, *ratio, &mut SampleRng::new(key, CROP_STREAM))
            }
        }
    }
}

/// The image's pixels; those of a file are decoded to `rgb`.
fn load<'p>(
    image: Encoded<'p>,
    max_pixels: u64,
    rgb: &'p mut Vec<u8>,
) -> Result<(ImageInfo, Picture<'p>), DecodeError> {
    let (info, pixels, channels) = match image {
        Encoded::File(bytes) | Encoded::Indexed { file: bytes, .. } => {
            let info = decode_rgb(bytes, max_pixels, rgb)?;
            (info, rgb.as_slice(), 3)
        }
        Encoded::Raw { pixels, width, height, channels } => {
            let count = width as usize * height as usize;
            if count == 0 || pixels.len() != count * channels as usize || ![1, 3].contains(&channels) {
                let reason = format!("{} bytes for {width} x {height} x {channels}", pixels.len());
                return Err(DecodeError::Damaged { reason });
            }
            (ImageInfo { width, height, orientation: 1 }, pixels, channels as usize)
        }
    };
    let (width, height) = (info.width as usize, info.height as usize);
    Ok((info, Picture { pixels, width, height, channels }))
}

/// The part of the stored image that becomes this part of the upright image.
fn as_stored(crop: CropBox, info: &ImageInfo) -> CropBox {
    let (width, height) = (f64::from(info.width), f64::from(info.height));
    // For orientations 5 to 8 the upright image's x runs along the stored image's y.
    let CropBox { left, top, width: w, height: h } = match info.orientation {
        5..=8 => CropBox { left: crop.top, top: crop.left, width: crop.height, height: crop.width },
        _ => crop,
    };
    let from_right = matches!(info.orientation, 2 | 3 | 7 | 8);
    let from_below = matches!(info.orientation, 3 | 4 | 6 | 7);
    CropBox {
        left: if from_right { width - left - w } else { left }.max(0.0),
        top: if from_below { height - top - h } else { top }.max(0.0),
        width: w,
        height: h,
    }
}

/// Corrects an edge that rounding may have put just outside the image.
fn inside(crop: CropBox, info: &ImageInfo) -> CropBox {
    let width = crop.width.min(f64::from(info.width) - crop.left);
    let height = crop.height.min(f64::from(info.height) - crop.top);
    CropBox { width, height, ..crop }
}

/// Turns a square image of RGB pixels upright, given its EXIF orientation.
fn turn_upright(pixels: &mut [u8], size: usize, orientation: u8, scratch: &mut Vec<u8>) {
    if orientation <= 1 {
        return;
    }
    scratch.clear();
    scratch.extend_from_slice(pixels);
    let last = size - 1;
    for (i, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let (x, y) = (i % size, i / size);
        // Where the pixel that belongs at (x, y) is stored.
        let (from_x, from_y) = match orientation {
            2 => (last - x, y),
            3 => (last - x, last - y),
            4 => (x, last - y),
            5 => (y, x),
            6 => (y, last - x),
            7 => (last - y, last - x),
            _ => (last - y, x),
        };
        let from = (from_y * size + from_x) * 3;
        pixel.copy_from_slice(&scratch[from..from + 3]);
    }
}

#[cfg(test)]
mod tests;
