//! Keeps every measurement of a tune at once, and reports it: in the run log, or to the listener.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use footplate_core::Watts;
use footplate_core::record::{ProfilePurpose, ProfiledRecord, Record, WarningRecord};
use footplate_core::sink::RecordSink;
use footplate_tune::drive::Observer;
use footplate_tune::predict::Source;
use footplate_tune::profiler::ProfileRecord;
use footplate_tune::records::{KeptProfile, sources};
use footplate_tune::tuner::{NotKept, Purpose};
use footplate_tune::{Knobs, Setting};

use crate::SharedClock;
use crate::error::RunError;
use crate::listener::Listener;
use crate::profile_store::ProfileStore;

/// Whose measurements are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The machine: its board and release.
    pub machine: String,
    /// The job, as its records are filed under.
    pub workload: String,
    /// The goal of the tune, in words.
    pub goal: String,
}

/// Where measurements are reported.
enum Report {
    /// In the run log, at the time of its clock.
    Log(RecordSink, SharedClock),
    Listener(Arc<dyn Listener>),
}

/// Keeps every measurement of a tune at once, and reports it.
pub struct ProfileRecorder {
    store: Option<ProfileStore>,
    subject: Subject,
    earlier: Vec<KeptProfile>,
    /// Of other jobs and machines.
    others: Vec<KeptProfile>,
    records: Vec<(ProfileRecord, Purpose)>,
    stop: Arc<AtomicBool>,
    report: Report,
}

impl ProfileRecorder {
    /// Opens the profiles in `folder`, if one is given, and tells the listener what is there. `stop` ends the tune.
    pub fn open(
        folder: Option<&Path>,
        subject: Subject,
        stop: Arc<AtomicBool>,
        listener: Arc<dyn Listener>,
    ) -> Result<Self, RunError> {
        let (mut earlier, mut others) = (Vec::new(), Vec::new());
        let mut store = None;
        if let Some(folder) = folder {
            let opened = ProfileStore::open(folder)?;
            opened.damaged.iter().for_each(|line| listener.warn(line));
            let is_own = |kept: &KeptProfile| kept.is_of(&subject.machine, &subject.workload);
            (earlier, others) = opened.profiles.into_iter().partition(is_own);
            store = Some(opened.store);
        }
        if !earlier.is_empty() {
            let count = earlier.len();
            listener.note(&format!("{count} earlier profiles of this job on this machine are used"));
        }
        let report = Report::Listener(listener);
        Ok(Self { store, subject, earlier, others, records: Vec::new(), stop, report })
    }

    /// Reports in the run log instead of to the listener.
    pub fn logged(self, sink: RecordSink, clock: SharedClock) -> Self {
        Self { report: Report::Log(sink, clock), ..self }
    }

    /// Takes the profiles of this job on this machine from earlier tunes, each with whether it is one of a tune with
    /// the same goal that was interrupted, and so counts towards this one's allowance.
    pub fn take_earlier(&mut self) -> Vec<(ProfileRecord, bool)> {
        let goal = &self.subject.goal;
        let counts = |kept: &KeptProfile| kept.goal == *goal && !kept.verifies;
        let earlier = std::mem::take(&mut self.earlier).into_iter();
        earlier.map(|kept| (counts(&kept), kept)).map(|(counts, kept)| (kept.profile, counts)).collect()
    }

    /// What other jobs on this machine, or this job on other machines, may tell.
    pub fn sources(&self, space: &[Setting]) -> Vec<Source> {
        sources(&self.others, &self.subject.machine, &self.subject.workload, &Knobs::of(space))
    }

    /// All that was measured since it was opened.
    pub fn into_records(self) -> Vec<(ProfileRecord, Purpose)> {
        self.records
    }

    /// All that was measured since it was opened.
    pub fn records(&self) -> &[(ProfileRecord, Purpose)] {
        &self.records
    }
}

impl Observer for ProfileRecorder {
    fn profiled(&mut self, record: &ProfileRecord, purpose: Purpose) -> Result<(), NotKept> {
        if let Some(store) = &mut self.store {
            let Subject { machine, workload, goal } = self.subject.clone();
            let verifies = purpose == Purpose::Verify;
            let kept = KeptProfile { machine, workload, goal, verifies, profile: record.clone() };
            store.append(&kept).map_err(|e| NotKept { reason: e.to_string() })?;
        }
        self.records.push((record.clone(), purpose));
        match &self.report {
            Report::Log(sink, clock) => sink.send(Record::Profile(logged(record, purpose, clock.now_ns()))),
            Report::Listener(listener) => listener.profiled(self.records.len(), record, purpose),
        }
        Ok(())
    }

    fn warn(&mut self, message: &str) {
        match &self.report {
            Report::Log(sink, _) => sink.send(Record::Warning(WarningRecord { message: message.to_owned() })),
            Report::Listener(listener) => listener.warn(message),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A measurement as the run log keeps it.
fn logged(record: &ProfileRecord, purpose: Purpose, t_ns: u64) -> ProfiledRecord {
    ProfiledRecord {
        t_ns,
        purpose: match purpose {
            Purpose::Search => ProfilePurpose::Search,
            Purpose::Verify => ProfilePurpose::Verify,
        },
        mode: record.setting.mode,
        got: record.got,
        workers: record.setting.workers.and_then(|n| u32::try_from(n).ok()),
        steps: record.steps,
        step_s: record.step_s,
        step_error_s: record.step_error_s,
        stall_share: record.stall_share,
        power_w: record.power.as_ref().map(|power| Watts(power.mean_w)),
        throttled: record.throttled.clone(),
        simulated: record.simulated,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests lay out files")]
    use super::*;
    use crate::profile_store::ProfileStore;
    use crate::testing::{Heard, ManualClock, kept_profile, profile};

    fn subject() -> Subject {
        Subject { machine: "tx2".into(), workload: "a".into(), goal: "least time".into() }
    }

    fn recorder(folder: Option<&Path>, heard: &Arc<Heard>) -> ProfileRecorder {
        ProfileRecorder::open(folder, subject(), Arc::default(), heard.clone()).unwrap()
    }

    #[test]
    fn a_measurement_is_kept_with_what_it_was_made_for() {
        let place = tempfile::tempdir().unwrap();
        let mut recorder = recorder(Some(place.path()), &Arc::default());
        recorder.profiled(&profile(0.1), Purpose::Search).unwrap();
        recorder.profiled(&profile(0.2), Purpose::Verify).unwrap();
        assert_eq!(recorder.records().len(), 2);
        let kept = ProfileStore::open(place.path()).unwrap().profiles;
        assert!(kept.iter().all(|kept| kept.is_of("tx2", "a") && kept.goal == "least time"));
        assert_eq!(kept.iter().map(|kept| kept.verifies).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn own_profiles_count_if_they_searched_for_the_same_goal_and_others_become_sources() {
        let place = tempfile::tempdir().unwrap();
        let mut store = ProfileStore::open(place.path()).unwrap().store;
        let own = kept_profile("tx2", "a", 0.1);
        let other_goal = KeptProfile { goal: "least energy".into(), ..own.clone() };
        let verified = KeptProfile { verifies: true, ..own.clone() };
        let foreign = kept_profile("tx2", "b", 0.4);
        for kept in [&own, &other_goal, &verified, &foreign] {
            store.append(kept).unwrap();
        }
        let heard = Arc::new(Heard::default());
        let mut recorder = recorder(Some(place.path()), &heard);
        assert_eq!(heard.take(), ["note 3 earlier profiles of this job on this machine are used"]);
        let counts: Vec<bool> = recorder.take_earlier().into_iter().map(|(_, counts)| counts).collect();
        assert_eq!(counts, [true, false, false]);
        assert!(recorder.take_earlier().is_empty());
    }

    #[test]
    fn without_a_run_log_the_listener_hears_and_with_one_the_log_does() {
        let heard = Arc::new(Heard::default());
        let mut recorder = recorder(None, &heard);
        recorder.profiled(&profile(0.1), Purpose::Search).unwrap();
        recorder.warn("hot");
        assert_eq!(heard.take(), ["profiled 1", "warn hot"]);
        let (sink, records) = RecordSink::bounded();
        let clock = ManualClock::shared();
        let mut recorder = recorder.logged(sink, clock);
        recorder.profiled(&profile(0.1), Purpose::Verify).unwrap();
        recorder.warn("hot");
        assert!(heard.take().is_empty());
        let Ok(Record::Profile(logged)) = records.try_recv() else { panic!("no profile") };
        assert_eq!((logged.purpose, logged.step_s), (ProfilePurpose::Verify, 0.1));
        assert!(matches!(records.try_recv(), Ok(Record::Warning(_))));
    }

    #[test]
    fn a_measurement_that_cannot_be_kept_ends_the_tune_and_names_the_folder() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        let below_a_file = place.path().join("file/profiles");
        let error =
            ProfileRecorder::open(Some(&below_a_file), subject(), Arc::default(), Arc::new(Heard::default()));
        let error = error.err().unwrap();
        assert!(error.to_string().contains("file/profiles"), "{error}");
    }

    #[test]
    fn the_flag_of_the_user_stops_it() {
        let stop = Arc::new(AtomicBool::new(false));
        let recorder =
            ProfileRecorder::open(None, subject(), stop.clone(), Arc::new(Heard::default())).unwrap();
        assert!(!recorder.stopped());
        stop.store(true, Ordering::Relaxed);
        assert!(recorder.stopped());
    }
}
