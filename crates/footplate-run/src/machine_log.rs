//! The machine beside a run: its meter on the run's clock, its state once a second, both into the run log; the run's
//! energy.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a thread of its own keeps the log")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use footplate_core::ports::WindowReading;
use footplate_core::record::{Record, WarningRecord};
use footplate_core::sink::RecordSink;
use footplate_core::{Joules, Reading, Share};
use footplate_device::meter::{INTERVAL_NS, Meter};
use footplate_device::{Device, host, state_now};

use crate::SharedClock;

/// A power record enters the log this often.
const RECORD_EVERY: Duration = Duration::from_secs(1);
/// A warning is given if samples cover less than this share of the run.
const COVERAGE_LOW: f64 = 0.95;

/// Watches the machine while a run goes on. Without sensors of power there is still its state.
pub struct MachineLog {
    meter: Option<Arc<Meter>>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    clock: SharedClock,
}

impl MachineLog {
    /// Begins to watch `device`. A machine that cannot be read, for whatever reason, is no reason not to train.
    /// `meter`: one that runs already, on the same clock. A simulated board's state is recorded and its power is not:
    /// that is of the board's own time, which has nothing to do with the run's; profiles tell it.
    pub fn start(device: Device, meter: Option<Arc<Meter>>, sink: RecordSink, clock: SharedClock) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let has_rails = !device.rails.is_empty() && !device.root.is_simulated();
        let own = || Meter::start(&device, INTERVAL_NS, clock.clone()).ok().map(Arc::new);
        let meter = if has_rails { meter.or_else(own) } else { None };
        let (its_meter, its_stop, its_clock) = (meter.clone(), stop.clone(), clock.clone());
        let record = move || {
            // A run that is over at once has a record of its machine too.
            loop {
                let memory = host::resident_memory();
                sink.send(Record::Machine(state_now::read(&device, its_clock.now_ns(), memory)));
                thread::park_timeout(RECORD_EVERY);
                if let Some(power) = its_meter.as_ref().and_then(|meter| meter.record(its_clock.now_ns())) {
                    sink.send(Record::Power(power));
                }
                if its_stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("machine".to_owned()).spawn(record).ok();
        Self { meter, thread, stop, clock }
    }

    /// Ends, and gives the energy since the clock's beginning, with the last records: power, and warnings about the energy.
    pub fn finish(self) -> (Reading<Joules>, Vec<Record>) {
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
    reading.total.as_ref().map(|total| total.energy_j)
}

fn doubts(reading: &WindowReading) -> Vec<String> {
    let mut doubts = Vec::new();
    match &reading.total {
        Reading::Value(total) if total.coverage < COVERAGE_LOW => {
            let share = Share(total.coverage);
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
