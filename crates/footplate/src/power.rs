//! Power beside a run: the machine's meter on the run's clock, its records into the run log, the run's energy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use footplate_core::ports::{Clock, WindowReading};
use footplate_core::record::{Record, WarningRecord};
use footplate_core::{Joules, Reading};
use footplate_device::meter::{INTERVAL_NS, Meter};
use footplate_device::{Device, Root};
use footplate_train::records::{RecordSink, RunClock};

use crate::view::percent;

/// A power record enters the log this often.
const RECORD_EVERY: Duration = Duration::from_secs(1);
/// Less of the run than this covered by samples is told.
const COVERAGE_LOW: f64 = 0.95;

/// Watches the machine's power while a run goes on. Without sensors it does nothing.
pub(crate) struct PowerWatch {
    watch: Option<(Arc<Meter>, JoinHandle<()>)>,
    stop: Arc<AtomicBool>,
    clock: RunClock,
}

impl PowerWatch {
    /// Begins. A machine whose power cannot be read, for whatever reason, is no reason not to train. `meter`: one that
    /// runs already, on the same clock.
    pub(crate) fn start(clock: RunClock, sink: RecordSink, meter: Option<Arc<Meter>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let device = Device::discover(Root::system());
        let watch =
            if device.rails.is_empty() { None } else { begin(&device, clock, sink, stop.clone(), meter) };
        Self { watch, stop, clock }
    }

    /// Ends, and gives the energy since the clock's beginning with what there is to say of it.
    pub(crate) fn finish(self) -> (Reading<Joules>, Vec<Record>) {
        let Some((meter, thread)) = self.watch else { return (Reading::Absent, Vec::new()) };
        self.stop.store(true, Ordering::Relaxed);
        thread.thread().unpark();
        let _ = thread.join();
        let to_ns = self.clock.now_ns();
        let reading = meter.between(0, to_ns);
        let mut records: Vec<Record> = meter.record(to_ns).map(Record::Power).into_iter().collect();
        let warnings = doubts(&reading).into_iter().map(|message| Record::Warning(WarningRecord { message }));
        records.extend(warnings);
        (energy(&reading), records)
    }
}

fn begin(
    device: &Device,
    clock: RunClock,
    sink: RecordSink,
    stop: Arc<AtomicBool>,
    meter: Option<Arc<Meter>>,
) -> Option<(Arc<Meter>, JoinHandle<()>)> {
    let its_clock: Arc<dyn Clock + Send + Sync> = Arc::new(clock);
    let own = || Meter::start(device, INTERVAL_NS, its_clock).ok().map(Arc::new);
    let meter = meter.or_else(own)?;
    let its_meter = meter.clone();
    let record = move || {
        while !stop.load(Ordering::Relaxed) {
            thread::park_timeout(RECORD_EVERY);
            if let Some(record) = its_meter.record(clock.now_ns()) {
                sink.send(Record::Power(record));
            }
        }
    };
    let thread = thread::Builder::new().name("power".to_owned()).spawn(record).ok()?;
    Some((meter, thread))
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
