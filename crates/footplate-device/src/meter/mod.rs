//! The meter: reads the rails on a thread of its own, on the clock of whoever wants to know.
#![expect(
    clippy::disallowed_methods,
    reason = "the meter reads its sensors on a thread of its own, which naps"
)]

mod sampler;
mod series;
mod usage;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use footplate_core::Reading;
use footplate_core::ports::{Clock, PowerMeter, WindowReading};
use footplate_core::record::PowerRecord;

use crate::discover::Device;
use crate::error::DeviceError;
use crate::sim::SimBoard;

use self::sampler::Sampler;
pub use crate::clock::RealClock;

/// How often sensors that show a moment are read, unless something else is wanted.
pub const INTERVAL_NS: u64 = 100_000_000;
/// The thread looks at least this often whether it should end.
const NAP_MAX: Duration = Duration::from_millis(200);

/// Reads a machine's power until it is dropped.
///
/// ```
/// use footplate_core::ports::Clock;
/// use footplate_device::meter::INTERVAL_NS;
/// use footplate_device::sim::{Activity, SimOptions};
/// use footplate_device::{Device, Meter, SimBoard};
///
/// let board = SimBoard::new("nano", SimOptions { heat: false, ..SimOptions::default() })?;
/// let device = Device::discover(board.root());
/// let meter = Meter::on_board(&board, &device, INTERVAL_NS);
/// let clock = board.clock();
/// clock.wait_ns(1_000_000_000);
/// board.set_activity(Activity { cpu: 0.5, gpu: 1.0, memory: 0.5 });
/// let (from, before) = (clock.now_ns(), board.true_energy());
/// clock.wait_ns(10_000_000_000);
/// let (to, after) = (clock.now_ns(), board.true_energy());
/// clock.wait_ns(1_000_000_000);
///
/// let reading = meter.between(from, to);
/// let energy = reading.total.value().ok_or("the board has a sensor of its input")?;
/// assert!((energy.energy_j.0 - (after.0 - before.0)).abs() <= energy.error_j.0);
/// assert!(energy.coverage > 0.99 && reading.simulated);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Meter {
    sampler: Arc<Mutex<Sampler>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    /// A meter with a thread of its own. `interval_ns`: how often to read at most; a sensor is never read more
    /// often than it has new values, and one that averages is read once in each of its periods.
    pub fn start(
        device: &Device,
        interval_ns: u64,
        clock: Arc<dyn Clock + Send + Sync>,
    ) -> Result<Self, DeviceError> {
        let sampler = Arc::new(Mutex::new(Sampler::new(device, interval_ns, clock.now_ns())));
        let stop = Arc::new(AtomicBool::new(false));
        let (its_sampler, its_stop) = (sampler.clone(), stop.clone());
        let run = move || {
            while !its_stop.load(Ordering::Relaxed) {
                let due = lock(&its_sampler).tick(clock.now_ns());
                let nap = Duration::from_nanos(due.saturating_sub(clock.now_ns()));
                thread::park_timeout(nap.min(NAP_MAX));
            }
        };
        let thread = thread::Builder::new()
            .name("meter".to_owned())
            .spawn(run)
            .map_err(|e| DeviceError::Other(format!("cannot start the meter's thread: {e}")))?;
        Ok(Self { sampler, stop, thread: Some(thread) })
    }

    /// A meter of a simulated board with a manual clock: it reads whenever the clock passes the moment.
    pub fn on_board(board: &SimBoard, device: &Device, interval_ns: u64) -> Self {
        let now = board.clock().now_ns();
        let sampler = Arc::new(Mutex::new(Sampler::new(device, interval_ns, now)));
        let stop = Arc::new(AtomicBool::new(false));
        let (its_sampler, its_stop) = (sampler.clone(), stop.clone());
        let tick = move |now_ns| {
            if its_stop.load(Ordering::Relaxed) { u64::MAX } else { lock(&its_sampler).tick(now_ns) }
        };
        board.call_at(now, Box::new(tick));
        Self { sampler, stop, thread: None }
    }

    /// Mean powers since the last call, for the run log; `None` on a machine without sensors.
    pub fn record(&self, now_ns: u64) -> Option<PowerRecord> {
        lock(&self.sampler).record(now_ns)
    }

    /// What was seen from one moment to another: [`PowerMeter::window`] for a meter that is shared.
    pub fn between(&self, from_ns: u64, to_ns: u64) -> WindowReading {
        lock(&self.sampler).window(from_ns, to_ns)
    }

    /// How busy the CPU's cores online and the GPU were in a window, each 0 to 1.
    pub fn usage(&self, from_ns: u64, to_ns: u64) -> (Reading<f64>, Reading<f64>) {
        lock(&self.sampler).usage(from_ns, to_ns)
    }

    /// Rails that cannot be read, and why.
    pub fn notes(&self) -> Vec<String> {
        lock(&self.sampler).notes()
    }
}

impl PowerMeter for Meter {
    fn window(&mut self, from_ns: u64, to_ns: u64) -> WindowReading {
        self.between(from_ns, to_ns)
    }

    fn least_window_ns(&self) -> Option<u64> {
        lock(&self.sampler).least_window_ns()
    }
}

/// A meter that others read too.
pub struct SharedMeter(pub Arc<Meter>);

impl PowerMeter for SharedMeter {
    fn window(&mut self, from_ns: u64, to_ns: u64) -> WindowReading {
        self.0.between(from_ns, to_ns)
    }

    fn least_window_ns(&self) -> Option<u64> {
        lock(&self.0.sampler).least_window_ns()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of the thread was told already.
            let _ = thread.join();
        }
    }
}

fn lock(sampler: &Mutex<Sampler>) -> MutexGuard<'_, Sampler> {
    sampler.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
