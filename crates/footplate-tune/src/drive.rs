//! Answers a tuner for those who have the ports of [`footplate_core::ports`].

use footplate_core::ports::{Applied, Clock, PowerControl, PowerMeter, Workload};
use footplate_core::record::ModePurpose;

use crate::drift::Verdict;
use crate::profiler::ProfileRecord;
use crate::tuner::{Answer, Ask, NotKept, Purpose, TuneError, Tuned, Tuner};

/// The machine and the job.
pub struct Ports<'a> {
    /// Sets modes.
    pub control: &'a mut dyn PowerControl,
    /// Reads power.
    pub meter: &'a mut dyn PowerMeter,
    /// Makes steps.
    pub workload: &'a mut dyn Workload,
    /// The clock that all of them read.
    pub clock: &'a dyn Clock,
}

/// Hears of everything that happens, as it happens.
pub trait Observer {
    /// A setting was measured: the record is to be kept. An error ends the tune: what is not kept is lost.
    fn profiled(&mut self, record: &ProfileRecord, purpose: Purpose) -> Result<(), NotKept>;
    /// Something that the user should know.
    fn warn(&mut self, message: &str);
    /// A search has ended. `because`: why a new plan was made; `None`: it is the first.
    fn chosen(&mut self, _tuned: &Tuned, _because: Option<&Verdict>) {}
    /// A mode was set and read back.
    fn mode_set(&mut self, _applied: &Applied, _purpose: ModePurpose) {}
    /// Whether the user asked to stop.
    fn stopped(&self) -> bool {
        false
    }
}

/// Searches, and ends with the choice: the mode that is set then is the last one that was measured, and the caller
/// sets the choice or puts back what was there. [`drive`] with the same tuner goes on from there.
pub fn drive_to_choice(
    tuner: &mut Tuner,
    ports: &mut Ports<'_>,
    observer: &mut dyn Observer,
) -> Result<Tuned, TuneError> {
    loop {
        match ask(tuner, ports, observer) {
            Ask::Chosen { tuned, because } => {
                observer.chosen(&tuned, because.as_ref());
                tuner.answer(Answer::Done)?;
                return Ok(std::sync::Arc::unwrap_or_clone(tuned));
            }
            Ask::Done(result) => return Err(result.err().unwrap_or(TuneError::Infeasible)),
            ask => tuner.answer(answer(ask, ports, observer))?,
        }
    }
}

/// Searches (unless the tuner has a choice already), sets the choice, and trains in it to the end of the job, with new
/// plans where they are needed. The mode that is set then is the last one that was set: the caller puts back what
/// was there before.
pub fn drive(tuner: &mut Tuner, ports: &mut Ports<'_>, observer: &mut dyn Observer) -> Result<(), TuneError> {
    loop {
        match ask(tuner, ports, observer) {
            Ask::Done(result) => return result,
            ask => tuner.answer(answer(ask, ports, observer))?,
        }
    }
}

fn ask(tuner: &mut Tuner, ports: &Ports<'_>, observer: &dyn Observer) -> Ask {
    if observer.stopped() {
        tuner.stop();
    }
    tuner.set_least_window_ns(ports.meter.least_window_ns());
    tuner.next(ports.clock.now_ns())
}

fn answer(ask: Ask, ports: &mut Ports<'_>, observer: &mut dyn Observer) -> Answer {
    match ask {
        Ask::Apply { mode, purpose } => {
            let result = ports.control.apply(&mode);
            if let Ok(applied) = &result {
                observer.mode_set(applied, purpose);
            }
            return Answer::Applied(result);
        }
        Ask::Steps { min, time_min_ns, max } => {
            return Answer::Steps(ports.workload.run(min, time_min_ns, max));
        }
        Ask::Train { steps_min, time_min_ns } => {
            return Answer::Steps(ports.workload.train(steps_min, time_min_ns));
        }
        Ask::Window { from_ns, to_ns } => return Answer::Window(ports.meter.window(from_ns, to_ns)),
        Ask::Keep { record, purpose } => {
            return observer.profiled(&record, purpose).map_or_else(Answer::NotKept, |()| Answer::Done);
        }
        Ask::SetWorkers(workers) => ports.workload.set_workers(workers),
        Ask::Wait { ns } => ports.clock.wait_ns(ns),
        Ask::Chosen { tuned, because } => observer.chosen(&tuned, because.as_ref()),
        Ask::Warn(message) => observer.warn(&message),
        Ask::Done(_) => {}
    }
    Answer::Done
}
