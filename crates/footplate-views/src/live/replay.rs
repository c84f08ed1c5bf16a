//! Showing a log as it was written, at another speed.

use core::time::Duration;

use footplate_core::Record;

use super::state::time_of;

/// Computes how long to wait before a record is shown. It has no clock: each `now` is the time since a fixed moment.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    speed: f64,
    /// The moment at which the clock of the process that is shown would be 0.
    origin: Duration,
}

impl Replay {
    /// Shows a log `speed` times as fast as it was written; more than 0.
    pub fn new(speed: f64, now: Duration) -> Self {
        Self { speed, origin: now }
    }

    /// How many times as fast as it was written.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// The time to wait before `record` is shown. The clock of each process of a run begins at 0.
    pub fn wait(&mut self, record: &Record, now: Duration) -> Duration {
        if matches!(record, Record::RunStart(_)) {
            self.origin = now;
        }
        let Some(t_ns) = time_of(record) else { return Duration::ZERO };
        let due = Duration::try_from_secs_f64(t_ns as f64 / 1e9 / self.speed).unwrap_or(Duration::MAX);
        due.saturating_sub(now.saturating_sub(self.origin))
    }
}

#[cfg(test)]
mod tests {
    use footplate_core::record::WarningRecord;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{minibatch, start};

    const S: Duration = Duration::from_secs(1);

    fn step(t_ns: u64) -> Record {
        let mut step = minibatch(0, 1);
        step.t_ns = t_ns;
        Record::Minibatch(step)
    }

    #[test]
    fn a_replay_waits_by_the_runs_own_clock() {
        let mut replay = Replay::new(10.0, Duration::ZERO);
        assert_eq!(replay.wait(&Record::RunStart(start()), 100 * S), Duration::ZERO);
        let ten_seconds = step(10_000_000_000);
        assert_eq!(replay.wait(&ten_seconds, 100 * S), S);
        assert_eq!(replay.wait(&ten_seconds, 100 * S + S / 4), S * 3 / 4);
        assert_eq!(replay.wait(&ten_seconds, 200 * S), Duration::ZERO);
        // What does not say when it was is shown at once.
        let warning = Record::Warning(WarningRecord { message: "hot".into() });
        assert_eq!(replay.wait(&warning, 100 * S), Duration::ZERO);
    }

    #[test]
    fn a_resumed_run_begins_its_clock_anew() {
        let mut replay = Replay::new(1.0, Duration::ZERO);
        replay.wait(&Record::RunStart(start()), Duration::ZERO);
        assert_eq!(replay.wait(&step(60_000_000_000), Duration::ZERO), 60 * S);
        replay.wait(&Record::RunStart(start()), 60 * S);
        assert_eq!(replay.wait(&step(1_000_000_000), 60 * S), S);
    }

    proptest! {
        /// Whatever a damaged log says, a wait is a time, and twice the speed is half of it.
        #[test]
        fn any_time_of_any_log_can_be_waited_for(t_ns in any::<u64>(), speed in 1e-9f64..1e9, now in any::<u32>()) {
            let now = Duration::from_millis(u64::from(now));
            let slow = Replay::new(speed, now).wait(&step(t_ns), now);
            let fast = Replay::new(speed * 2.0, now).wait(&step(t_ns), now);
            prop_assert!(fast <= slow);
            if slow < Duration::MAX {
                prop_assert!((slow.as_secs_f64() - 2.0 * fast.as_secs_f64()).abs() <= 1e-6 * slow.as_secs_f64() + 1e-8);
            }
        }
    }
}
