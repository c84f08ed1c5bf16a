//! The memory of a job at any batch size, and the batch size that fits.

use std::sync::Arc;

use footplate_core::Bytes;
use footplate_data::{Dataset, Split};

use crate::check::fitted;
use crate::device::ChosenDevice;
use crate::error::TrainError;
use crate::loader::loader_settings;
use crate::memory::{self, HeapMeter, MemoryPlan, StepMemory};
use crate::settings::TrainSettings;

/// The largest batch that `auto` chooses: larger ones seldom learn better.
pub(crate) const AUTO_BATCH_MAX: usize = 256;
/// `auto` leaves this share of the available memory to others.
const AUTO_HEADROOM: f64 = 0.2;
/// `auto` leaves an epoch at least so many steps.
const AUTO_STEPS_MIN: usize = 10;
/// The largest batch that an error names leaves one part in so many of the memory free.
const ADVICE_MARGIN: u64 = 50;

/// The memory of jobs of one network at any batch size. In all questions `available` is what the system still gives;
/// `None`: unknown, and nothing is refused on a guess.
pub struct MemoryPlanner {
    step: StepMemory,
    settings: TrainSettings,
    dataset: Arc<Dataset>,
    /// What the process holds already, in bytes.
    program: u64,
    /// The memory of a device that has its own, and the device's name.
    own: Option<(Bytes, &'static str)>,
}

impl MemoryPlanner {
    /// Runs the trials (some small steps on zeros). `program` is what the process holds already.
    pub fn new(
        settings: &TrainSettings,
        dataset: &Arc<Dataset>,
        heap: &dyn HeapMeter,
        program: Bytes,
    ) -> Result<Self, TrainError> {
        let (entry, shape) = fitted(settings, dataset)?;
        let step = memory::try_steps(entry, &shape, settings, heap);
        let (settings, dataset) = (settings.clone(), dataset.clone());
        Ok(Self { step, settings, dataset, program: program.0, own: None })
    }

    /// The same planner for jobs on `device`, whose own memory, if it has one, must hold its part.
    pub fn on(self, device: &ChosenDevice) -> Self {
        Self { own: device.own_memory().map(|bytes| (bytes, device.name)), ..self }
    }

    /// The same planner for another wanted batch size.
    pub fn with_batch_size(mut self, batch_size: usize) -> Self {
        self.settings.batch_size = batch_size;
        self
    }

    /// The plan for one batch size.
    pub fn plan(&self, batch_size: usize) -> MemoryPlan {
        let pipeline = [Split::Train, Split::Validation]
            .map(|split| loader_settings(&self.settings, split, batch_size).planned_bytes(&self.dataset))
            .iter()
            .sum();
        memory::plan(&self.step, &self.settings, batch_size, self.program, pipeline)
    }

    /// The largest batch size up to `limit` that fits; 0 if none does.
    pub fn largest_batch(&self, limit: usize, available: Option<Bytes>) -> usize {
        let largest = match available {
            Some(available) => memory::largest_batch(limit, available, |n| self.plan(n).total()),
            None => limit,
        };
        match self.own {
            Some((own, _)) => memory::largest_batch(largest, own, |n| self.plan(n).on_device()),
            None => largest,
        }
    }

    /// The largest power of two that fits with some headroom, and that gives an epoch at least ten steps.
    pub fn auto_batch(&self, available: Option<Bytes>) -> Result<usize, TrainError> {
        let headroom = available.map(|bytes| Bytes((bytes.0 as f64 * (1.0 - AUTO_HEADROOM)) as u64));
        let limit = AUTO_BATCH_MAX.min((self.dataset.len(Split::Train) / AUTO_STEPS_MIN).max(1));
        let largest = self.largest_batch(limit, headroom);
        let smallest = self.plan(1);
        match self.excess(&smallest, headroom).filter(|_| largest == 0) {
            Some(excess) => Err(excess.refuse(&smallest, 0)),
            None => Ok(1 << largest.max(1).ilog2()),
        }
    }

    /// The plan for the settings' batch size, or what would fit in its place.
    pub fn checked(&self, available: Option<Bytes>) -> Result<MemoryPlan, TrainError> {
        let plan = self.plan(self.settings.batch_size);
        let Some(excess) = self.excess(&plan, available) else { return Ok(plan) };
        // What is named must still fit when it is tried: the program's own memory differs a little each time.
        let sure = available.map(|bytes| Bytes(bytes.0 - bytes.0 / ADVICE_MARGIN));
        Err(excess.refuse(&plan, self.largest_batch(plan.batch_size, sure)))
    }

    /// Whose memory a plan exceeds, if it does.
    fn excess(&self, plan: &MemoryPlan, available: Option<Bytes>) -> Option<Excess> {
        let system = available.filter(|available| plan.total() > *available).map(Excess::System);
        let device = || {
            let (own, device) = self.own.filter(|(own, _)| plan.on_device() > *own)?;
            Some(Excess::Device { own, device })
        };
        system.or_else(device)
    }
}

/// The memory that a plan exceeds.
enum Excess {
    /// The process's, of which so much is available.
    System(Bytes),
    /// A device's own, of that size.
    Device { own: Bytes, device: &'static str },
}

impl Excess {
    /// The error that says so. `largest_batch`: what fits in its place.
    fn refuse(&self, plan: &MemoryPlan, largest_batch: usize) -> TrainError {
        let batch_size = plan.batch_size;
        match *self {
            Self::System(available) => {
                TrainError::Memory { batch_size, needed: plan.total(), available, largest_batch }
            }
            Self::Device { own, device } => TrainError::DeviceMemory {
                device: device.to_owned(),
                batch_size,
                largest_batch: Some(largest_batch),
                reason: format!("it needs about {} (estimate), and the device has {own}", plan.on_device()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{rhyme, small_settings};

    /// A planner whose step takes 1 MiB, and 1 MiB more for each sample, on a text of so many rhymes.
    fn planner(batch_size: usize, rhymes: usize) -> MemoryPlanner {
        let folder = tempfile::tempdir().unwrap();
        MemoryPlanner {
            step: StepMemory::through(1 << 20, [(1, 2 << 20), (2, 3 << 20)]),
            settings: TrainSettings { batch_size, ..small_settings("lstm") },
            dataset: rhyme(folder.path(), rhymes),
            program: 0,
            own: None,
        }
    }

    #[test]
    fn a_device_with_its_own_memory_limits_the_batch() {
        let mut planner = planner(32, 30);
        let (enough, of_8) = (Some(Bytes(1 << 40)), planner.plan(8).on_device());
        assert!(of_8 < planner.plan(9).on_device() && planner.checked(enough).is_ok());
        planner.own = Some((of_8, "vulkan"));
        let error = planner.checked(enough).unwrap_err();
        let TrainError::DeviceMemory { batch_size, largest_batch, .. } = error else { panic!("{error}") };
        assert_eq!((batch_size, largest_batch), (32, Some(8)));
        assert_eq!(planner.largest_batch(100, enough), 8);
        assert!(planner.with_batch_size(8).checked(enough).is_ok());
    }

    #[test]
    fn a_batch_that_is_too_large_names_one_that_fits_with_a_margin() {
        let planner = planner(64, 30);
        let available = planner.plan(20).total();
        let error = planner.checked(Some(available)).unwrap_err();
        let TrainError::Memory { batch_size, needed, available: had, largest_batch } = error else {
            panic!("{error}")
        };
        assert_eq!((batch_size, needed, had), (64, planner.plan(64).total(), available));
        assert!((18..20).contains(&largest_batch), "{largest_batch}");
        let none = planner.checked(Some(Bytes(1))).unwrap_err();
        assert!(matches!(none, TrainError::Memory { largest_batch: 0, .. }), "{none}");
    }

    #[test]
    fn nothing_is_refused_where_the_available_memory_is_not_known() {
        let planner = planner(1 << 20, 30);
        assert!(planner.checked(None).is_ok());
        assert_eq!(planner.largest_batch(12_345, None), 12_345);
    }

    /// 30 rhymes of 39 characters, of which four fifths train, give 116 windows: at most 11 of them in a batch.
    #[test]
    fn auto_leaves_an_epoch_ten_steps_and_stops_at_the_largest_that_learns_well() {
        assert_eq!(planner(1, 30).auto_batch(None).unwrap(), 8);
        assert_eq!(planner(1, 5).auto_batch(None).unwrap(), 1, "fewer than ten windows");
        assert_eq!(planner(1, 3000).auto_batch(None).unwrap(), AUTO_BATCH_MAX);
    }

    #[test]
    fn auto_refuses_where_not_one_sample_fits() {
        let mut planner = planner(1, 30);
        let error = planner.auto_batch(Some(Bytes(1000))).unwrap_err();
        let TrainError::Memory { batch_size: 1, available, largest_batch: 0, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(available, Bytes(800), "a fifth is left to others");
        planner.own = Some((Bytes(1000), "vulkan"));
        let error = planner.auto_batch(None).unwrap_err();
        assert!(matches!(error, TrainError::DeviceMemory { largest_batch: Some(0), .. }), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// What `auto` chooses is a power of two that fits with headroom, and twice as much does not, or is too many.
        #[test]
        fn auto_takes_all_that_fits_and_no_more(mib in 20u64..400) {
            let planner = planner(1, 3000);
            let available = Bytes(mib << 20);
            let Ok(batch) = planner.auto_batch(Some(available)) else {
                prop_assert!(planner.plan(1).total().0 as f64 > available.0 as f64 * 0.8);
                return Ok(());
            };
            let fits = |n: usize| planner.plan(n).total().0 as f64 <= available.0 as f64 * 0.8;
            prop_assert!(batch.is_power_of_two() && batch <= AUTO_BATCH_MAX && fits(batch));
            prop_assert!(batch == AUTO_BATCH_MAX || !fits(batch * 2), "{batch} of {mib} MiB");
        }
    }
}
