//! Warnings and other messages of a run, in bounded memory.

use std::collections::VecDeque;

/// Most messages that are kept.
pub(super) const NOTICES: usize = 32;

/// A message, and how often it came in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What was reported, in full.
    pub text: String,
    /// How often it came in a row; at least 1.
    pub count: u64,
}

/// The last messages, and the number of all.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    last: VecDeque<Notice>,
    total: u64,
}

impl Notices {
    pub(super) fn push(&mut self, text: String) {
        self.total += 1;
        match self.last.back_mut() {
            Some(last) if last.text == text => last.count += 1,
            _ => {
                if self.last.len() == NOTICES {
                    self.last.pop_front();
                }
                self.last.push_back(Notice { text, count: 1 });
            }
        }
    }

    /// The last messages, oldest first.
    pub fn last(&self) -> impl DoubleEndedIterator<Item = &Notice> + ExactSizeIterator {
        self.last.iter()
    }

    /// The number of all messages, repeated ones included.
    pub fn total(&self) -> u64 {
        self.total
    }
}
