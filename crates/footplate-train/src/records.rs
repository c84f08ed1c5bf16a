//! The loop's side of the run log: its clock.

use std::thread;
use std::time::{Duration, Instant};

use footplate_core::ports::Clock;
pub use footplate_core::sink::RecordSink;

/// Monotonic time since the process began to train. All records of a process carry this clock.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    origin: Instant,
}

impl RunClock {
    /// A clock that shows 0 now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Nanoseconds since the start.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Clock for RunClock {
    fn now_ns(&self) -> u64 {
        Self::now_ns(self)
    }

    fn wait_ns(&self, duration_ns: u64) {
        thread::sleep(Duration::from_nanos(duration_ns));
    }
}
