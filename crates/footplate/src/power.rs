//! The machine beside a run: its meter on the run's clock, its state once a second, both into the run log; the run's
//! energy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use footplate_core::ports::{Clock, WindowReading};
use footplate_core::record::{Record, WarningRecord};
use footplate_core::sink::RecordSink;
use footplate_core::{Joules, Reading};
use footplate_device::meter::{INTERVAL_NS, Meter};
use footplate_device::{Device, Root, state_now};

use crate::host;
use crate::view::percent;

/// The clock of a run: records, steps and sensors read the same one.
pub(crate) type RunClock = Arc<dyn Clock + Send + Sync>;

/// A power record enters the log this often.
const RECORD_EVERY: Duration = Duration::from_secs(1);
/// Less of the run than this covered by samples is told.
const COVERAGE_LOW: f64 = 0.95;

/// Watches the machine while a run goes on. Without sensors of power there is still its state.
pub(crate) struct PowerWatch {
    meter: Option<Arc<Meter>>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    clock: RunClock,
}

impl PowerWatch {
    /// Begins. A machine that cannot be read, for whatever reason, is no reason not to train. `meter`: one that runs
    /// already, on the same clock. `board`: a simulated one, whose state is told in the place of this machine's; its
    /// power is that of its own time, of which a run's is no multiple, and is left to the profiles.
    pub(crate) fn start(
        clock: RunClock,
        sink: RecordSink,
        meter: Option<Arc<Meter>>,
        board: Option<Device>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let device = board.unwrap_or_else(|| Device::discover(Root::system()));
        let (meters_clock, its_clock) = (clock.clone(), clock.clone());
        let has_rails = !device.rails.is_empty() && !device.root.is_simulated();
        let own = || Meter::start(&device, INTERVAL_NS, meters_clock).ok().map(Arc::new);
        let meter = if has_rails { meter.or_else(own) } else { None };
        let (its_meter, its_stop) = (meter.clone(), stop.clone());
        let record = move || {
            while !its_stop.load(Ordering::Relaxed) {
                let memory = host::resident_memory();
                sink.send(Record::Machine(state_now::read(&device, its_clock.now_ns(), memory)));
                thread::park_timeout(RECORD_EVERY);
                if let Some(power) = its_meter.as_ref().and_then(|meter| meter.record(its_clock.now_ns())) {
                    sink.send(Record::Power(power));
                }
            }
        };
        let thread = thread::Builder::new().name("machine".to_owned()).spawn(record).ok();
        Self { meter, thread, stop, clock }
    }

    /// Ends, and gives the energy since the clock's beginning with what there is to say of it.
    pub(crate) fn finish(self) -> (Reading<Joules>, Vec<Record>) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread {
            thread.thread().unpark();
            let _ = thread.join();
        }
        let Some(meter) = self.meter else { return (Reading::Absent, Vec::new()) };
        let to_ns = self.clock.now_ns();
        let reading = meter.between(0, to_ns);
        let mut records: Vec<Record> = meter.record(to_ns).map(Record::Power).into_iter().collect();
        let warnings = doubts(&reading).into_iter().map(|message| Record::Warning(WarningRecord { message }));
        records.extend(warnings);
        (energy(&reading), records)
    }
}

fn energy(reading: &WindowReading) -> Reading<Joules> {
    match &reading.total {
        Reading::Value(total) => Reading::Value(total.energy_j),
        Reading::Absent => Reading::Absent,
        Reading::Unreadable { reason } => Reading::Unreadable { reason: reason.clone() },
    }
}

fn doubts(reading: &WindowReading) -> Vec<String> {
    let mut doubts = Vec::new();
    match &reading.total {
        Reading::Value(total) if total.coverage < COVERAGE_LOW => {
            let share = percent(total.coverage);
            doubts.push(format!("power samples cover only {share} of the run; its energy is of that part"));
        }
        Reading::Unreadable { reason } => doubts.push(format!("the run's energy is not known: {reason}")),
        _ => {}
    }
    doubts.extend(reading.throttled.iter().map(|evidence| format!("throttled: {evidence}")));
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::Watts;
    use footplate_core::ports::WindowEnergy;

    #[test]
    fn energy_and_doubts_follow_the_reading() {
        let total = WindowEnergy {
            energy_j: Joules(100.0),
            error_j: Joules(1.0),
            coverage: 0.5,
            mean_power_w: Watts(10.0),
            peak_power_w: Watts(12.0),
            samples: 100,
        };
        let mut reading = WindowReading {
            total: Reading::Value(total),
            rails: Vec::new(),
            temperature_c: Reading::Absent,
            throttled: vec!["over-current events (oc3)".into()],
            simulated: false,
        };
        assert_eq!(energy(&reading), Reading::Value(Joules(100.0)));
        assert_eq!(doubts(&reading).len(), 2);
        reading.total = Reading::Absent;
        assert_eq!(energy(&reading), Reading::Absent);
        assert_eq!(doubts(&reading), ["throttled: over-current events (oc3)"]);
        reading.total = Reading::Unreadable { reason: "permission denied".into() };
        assert!(doubts(&reading)[0].ends_with("permission denied"));
    }
}
