//! One state for all views of a live run: the recorder writes, the screen and the metrics read.

use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use footplate_core::Record;

use super::state::LiveState;

/// The state of a run, shared between threads. It has no clock: each `now` is the time since a fixed moment that all
/// callers agree on.
///
/// ```
/// use std::time::Duration;
///
/// use footplate_views::live::SharedState;
///
/// let state = SharedState::default();
/// state.preparing("reading the data set");
/// let silent = state.look(Duration::from_secs(3), |_, since_last, _| since_last);
/// assert_eq!(silent, Duration::from_secs(3));
/// ```
#[derive(Debug, Default)]
pub struct SharedState {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: LiveState,
    /// When the last record was received.
    received: Duration,
    /// How old that record was when it was received.
    age: Duration,
    notice: Option<String>,
}

impl SharedState {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record that was received `now`.
    pub fn push(&self, record: &Record, now: Duration) {
        let mut inner = self.lock();
        inner.state.push(record);
        inner.received = inner.received.max(now);
        inner.age = Duration::ZERO;
    }

    /// Changes the state in any other way; `age` is how old the last record is.
    pub fn change(&self, now: Duration, age: Duration, change: impl FnOnce(&mut LiveState)) {
        let mut inner = self.lock();
        change(&mut inner.state);
        (inner.received, inner.age) = (now, age);
    }

    /// Sets what is being prepared before the run begins. The time shown with it is that of the whole preparation.
    pub fn preparing(&self, what: &str) {
        self.lock().state.preparing(what);
    }

    /// Sets the number of damaged lines in the log.
    pub fn damaged_lines(&self, lines: u64) {
        self.lock().state.damaged_lines(lines);
    }

    /// Sets the message in the last line of the screen; `None`: the keys are shown there.
    pub fn notice(&self, text: Option<String>) {
        self.lock().notice = text;
    }

    /// Calls `look` with the state, the time since the last record, and the message of the last line.
    pub fn look<T>(&self, now: Duration, look: impl FnOnce(&LiveState, Duration, Option<&str>) -> T) -> T {
        let inner = self.lock();
        let since_last = now.saturating_sub(inner.received).saturating_add(inner.age);
        look(&inner.state, since_last, inner.notice.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use footplate_core::record::WarningRecord;

    use super::*;

    fn second(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn warning() -> Record {
        Record::Warning(WarningRecord { message: "hot".into() })
    }

    #[test]
    fn the_age_of_the_news_is_counted_from_the_last_record() {
        let state = SharedState::default();
        let age = |now: u64| state.look(second(now), |_, age, _| age);
        assert_eq!(age(4), second(4));
        state.push(&warning(), second(5));
        state.preparing("reading");
        state.damaged_lines(2);
        assert_eq!(age(7), second(2));
        // A caller whose turn came late does not make the news older, nor does one that looks back see the future.
        state.push(&warning(), second(3));
        assert_eq!((age(7), age(1)), (second(2), Duration::ZERO));
        // A log that was written long before this process began.
        state.change(second(6), second(9000), |state| *state = LiveState::default());
        assert_eq!(age(7), second(9001));
        assert_eq!(state.look(second(7), |state, _, _| state.notices().total()), 0);
        state.push(&warning(), second(8));
        assert_eq!(age(8), Duration::ZERO);
    }

    #[test]
    fn a_notice_stays_until_it_is_taken_back() {
        let state = SharedState::default();
        let notice = || state.look(Duration::ZERO, |_, _, notice| notice.map(ToOwned::to_owned));
        assert_eq!(notice(), None);
        state.notice(Some("stopping".into()));
        state.push(&warning(), second(1));
        assert_eq!(notice().as_deref(), Some("stopping"));
        state.notice(None);
        assert_eq!(notice(), None);
    }

    /// A thread that panics while it looks must not take the screen and the metrics of all others along.
    #[test]
    fn it_can_be_read_after_a_panic() {
        let state = SharedState::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            state.look(Duration::ZERO, |_, _, _| panic!("a bug of a view"));
        }));
        assert!(panicked.is_err());
        state.push(&warning(), second(1));
        assert_eq!(state.look(second(1), |state, _, _| state.notices().total()), 1);
    }
}
