//! Who hears of a run while it goes on.

use footplate_core::Record;
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::tuner::Purpose;

/// Hears of a run while it goes on. Called from the run's own threads: whoever takes long must hand it on.
pub trait Listener: Send + Sync {
    /// A record was given to the run log.
    fn record(&self, record: &Record);
    /// Something about the way to the result, in words.
    fn note(&self, text: &str);
    /// Something that the user should know, in words.
    fn warn(&self, text: &str);
    /// A mode was measured, the `number`th counted from 1. Called only for tunes without a run log; with one, the
    /// record says so.
    fn profiled(&self, number: usize, record: &ProfileRecord, purpose: Purpose) {
        let _ = (number, record, purpose);
    }
}

/// A listener for whoever does not want to hear anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoListener;

impl Listener for NoListener {
    fn record(&self, _record: &Record) {}

    fn note(&self, _text: &str) {}

    fn warn(&self, _text: &str) {}
}
