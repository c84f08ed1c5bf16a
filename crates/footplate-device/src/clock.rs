//! The one clock of real time: the training loop, the sensors and the tuner count from the same origin.
#![expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]

use std::thread;
use std::time::{Duration, Instant};

use footplate_core::ports::Clock;

/// Real time, counted from an origin that others may share.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    origin: Instant,
}

impl RealClock {
    /// A clock that shows 0 at `origin`.
    pub fn since(origin: Instant) -> Self {
        Self { origin }
    }
}

/// Lets real time pass.
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}

impl Clock for RealClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn wait_ns(&self, duration_ns: u64) {
        pause(Duration::from_nanos(duration_ns));
    }
}
