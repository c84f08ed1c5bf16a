//! Text for a character language model: one UTF-8 file, cut into windows.
#![expect(clippy::disallowed_methods, reason = "a text is read from its file")]

use std::fs;
use std::path::Path;

use crate::error::DataError;
use crate::rng::{SampleKey, SampleRng};
use crate::split::Split;

/// Longer texts are refused: they are held in memory, with four bytes for each character.
const BYTES_MAX: u64 = 1 << 30;
/// A number that no sample has, so that the offset is drawn independently of any sample.
const OFFSET_INDEX: u64 = u64::MAX - 1;

/// A text, cut into windows. Each window has one character more than the sequence length: its first characters are the
/// inputs, and the same moved by one are the targets.
#[derive(Debug)]
pub struct TextDataset {
    vocabulary: Vec<char>,
    tokens: Vec<i32>,
    /// Tokens before this one are for training, the others for validation.
    train_end: usize,
    sequence_length: usize,
}

impl TextDataset {
    pub(crate) fn open(
        path: &Path,
        validation_fraction: f64,
        sequence_length: usize,
    ) -> Result<Self, DataError> {
        let malformed = |reason: String| DataError::Malformed { path: path.to_owned(), reason };
        let size = fs::metadata(path).map_err(DataError::io(path))?.len();
        if size > BYTES_MAX {
            return Err(malformed(format!("{size} bytes of text are more than the limit of {BYTES_MAX}")));
        }
        let bytes = fs::read(path).map_err(DataError::io(path))?;
        let text = String::from_utf8(bytes)
            .map_err(|e| malformed(format!("not UTF-8 text: byte {}", e.utf8_error().valid_up_to())))?;
        Self::new(&text, path, validation_fraction, sequence_length)
    }

    /// `path` names the text in error messages.
    pub(crate) fn new(
        text: &str,
        path: &Path,
        validation_fraction: f64,
        sequence_length: usize,
    ) -> Result<Self, DataError> {
        let malformed = |reason: String| DataError::Malformed { path: path.to_owned(), reason };
        let dataset = Self::tokenised(text, validation_fraction, sequence_length);
        if dataset.windows(Split::Train) < 1 {
            let needed = 2 * (sequence_length + 1);
            let found = dataset.tokens.len();
            return Err(malformed(format!(
                "{found} characters are too few for sequences of {sequence_length}: at least {needed} are needed"
            )));
        }
        if dataset.vocabulary.len() < 2 {
            return Err(malformed("the text has only one different character".to_owned()));
        }
        Ok(dataset)
    }

    fn tokenised(text: &str, validation_fraction: f64, sequence_length: usize) -> Self {
        let mut vocabulary: Vec<char> = text.chars().collect();
        vocabulary.sort_unstable();
        vocabulary.dedup();
        let number = |c: char| vocabulary.binary_search(&c).map_or(-1, |i| i as i32);
        let tokens: Vec<i32> = text.chars().map(number).collect();
        let train_end = tokens.len() - (tokens.len() as f64 * validation_fraction) as usize;
        Self { vocabulary, tokens, train_end, sequence_length }
    }

    /// The different characters of the text, sorted; a token is a place in this list.
    pub fn vocabulary(&self) -> &[char] {
        &self.vocabulary
    }

    /// The number of characters that are predicted in one window.
    pub fn sequence_length(&self) -> usize {
        self.sequence_length
    }

    /// The number of characters in the text.
    pub fn characters(&self) -> usize {
        self.tokens.len()
    }

    fn part(&self, split: Split) -> &[i32] {
        match split {
            Split::Train => &self.tokens[..self.train_end],
            Split::Validation => &self.tokens[self.train_end..],
        }
    }

    /// Windows in an epoch. Training has one window less than fits, so that the others can be shifted.
    pub(crate) fn windows(&self, split: Split) -> usize {
        let windows = self.part(split).len().saturating_sub(1) / self.sequence_length;
        match split {
            Split::Train => windows.saturating_sub(1),
            Split::Validation => windows,
        }
    }

    /// Writes a window's `sequence_length + 1` tokens. In training all windows of an epoch are shifted by the same number
    /// of characters, a pure function of (seed, epoch).
    pub(crate) fn window(&self, split: Split, seed: u64, epoch: u32, index: u64, out: &mut [i32]) {
        let offset = match split {
            Split::Validation => 0,
            Split::Train => {
                let key = SampleKey { seed, epoch, index: OFFSET_INDEX };
                SampleRng::new(key, 0).below(self.sequence_length as u64) as usize
            }
        };
        let start = offset + index as usize * self.sequence_length;
        out.copy_from_slice(&self.part(split)[start..start + out.len()]);
    }

    /// A checksum of the text and of how it is cut.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut crc = crc32fast::Hasher::new();
        for token in &self.tokens {
            crc.update(&token.to_le_bytes());
        }
        for c in &self.vocabulary {
            crc.update(&u32::from(*c).to_le_bytes());
        }
        u64::from(crc.finalize()) << 32
            | ((self.train_end as u64) << 8 ^ self.sequence_length as u64) & 0xffff_ffff
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dataset() -> TextDataset {
        let text: String = (0..100).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
        TextDataset::tokenised(&text, 0.2, 8)
    }

    #[test]
    fn windows_follow_each_other_and_stay_in_their_part() {
        let text = dataset();
        assert_eq!((text.windows(Split::Train), text.windows(Split::Validation)), (8, 2));
        let mut window = [0; 9];
        for epoch in 0..20 {
            let mut next = None;
            for index in 0..8 {
                text.window(Split::Train, 1, epoch, index, &mut window);
                assert!(next.is_none_or(|n| n == window[0]));
                next = Some(window[8]);
            }
        }
        text.window(Split::Validation, 1, 0, 1, &mut window);
        assert_eq!(window[0], (88 % 26));
    }

    #[test]
    fn epochs_are_cut_at_different_places() {
        let text = dataset();
        let firsts: std::collections::BTreeSet<i32> = (0..40)
            .map(|epoch| {
                let mut window = [0; 9];
                text.window(Split::Train, 1, epoch, 0, &mut window);
                window[0]
            })
            .collect();
        assert_eq!(firsts.len(), 8);
    }

    #[test]
    fn a_text_that_is_none_and_one_that_is_too_short_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.txt");
        fs::write(&path, b"good \xff bad").unwrap();
        let error = TextDataset::open(&path, 0.1, 4).unwrap_err().to_string();
        assert!(error.contains("not UTF-8 text: byte 5"), "{error}");
        fs::write(&path, "too short").unwrap();
        assert!(TextDataset::open(&path, 0.1, 8).unwrap_err().to_string().contains("too few"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Windows of any text lie in their part, follow each other, and hold the text's characters.
        #[test]
        fn windows_hold_the_text(text in "[a-dü ]{30,200}", length in 1usize..9, fraction in 0.0f64..0.5, seed: u64) {
            let Ok(dataset) = TextDataset::new(&text, Path::new("t"), fraction, length) else { return Ok(()) };
            let characters: Vec<char> = text.chars().collect();
            let train = characters.len() - (characters.len() as f64 * fraction) as usize;
            for (split, from, to) in [(Split::Train, 0, train), (Split::Validation, train, characters.len())] {
                let mut window = vec![0; length + 1];
                for index in 0..dataset.windows(split) {
                    dataset.window(split, seed, 1, index as u64, &mut window);
                    let read: String = window.iter().map(|token| dataset.vocabulary()[*token as usize]).collect();
                    let part: String = characters[from..to].iter().collect();
                    prop_assert!(part.contains(&read));
                }
            }
            prop_assert_eq!(dataset.characters(), characters.len());
        }
    }

    #[test]
    fn the_fingerprint_tells_texts_and_cuts_apart() {
        let text = "the cat sat on the mat. ".repeat(10);
        let of = |text: &str, fraction, length| TextDataset::tokenised(text, fraction, length).fingerprint();
        let same = of(&text, 0.2, 8);
        assert_eq!(of(&text, 0.2, 8), same);
        for other in [
            of(&text.replace('c', "b"), 0.2, 8),
            of(&text, 0.3, 8),
            of(&text, 0.2, 9),
            of(&text[1..], 0.2, 8),
        ] {
            assert_ne!(other, same);
        }
    }

    #[test]
    fn a_text_of_one_character_is_an_error() {
        let error = TextDataset::new(&"a".repeat(100), Path::new("a.txt"), 0.1, 4).unwrap_err();
        assert_eq!(error.to_string(), "a.txt: the text has only one different character");
    }
}
