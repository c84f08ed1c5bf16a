//! What a run will need of memory, before its first step.
//!
//! Parameters, gradients, optimizer state and the pipeline's buffers follow from their shapes. Activations
//! and the engine's workspace do not: they depend on what the backend keeps for the backward pass. They are
//! found by running real steps of the network on two small batches of zeros with the heap measured, and
//! carrying the line through both on to the wanted batch size.

use burn::tensor::{Device, Int, Tensor};
use footplate_core::Bytes;

use crate::device::training;
use crate::model::{ModelEntry, ModelShape, NetInput, Task};
use crate::optimizer::Optimizer;
use crate::settings::TrainSettings;
use crate::step::{Step, Update};

/// Batch sizes of the two trials: large enough that the engine divides the work as it does for a real batch,
/// small enough for a board's memory.
const TRIALS: [usize; 2] = [4, 12];

/// Resident memory for each byte of activations at the heap's peak. Blocks of many sizes come and go in each
/// step, and what lies between them stays resident: 1.1 to 1.3 was measured with glibc (docs/memory.md).
const FRAGMENTATION: f64 = 1.2;
/// Code and stacks that become resident only when training runs, in bytes.
const PROGRAM_GROWTH: u64 = 8 << 20;

/// A view of the process's heap. The program's allocator keeps the count.
pub trait HeapMeter: Sync {
    /// Bytes that are allocated now.
    fn live_bytes(&self) -> u64;
    /// Largest number of allocated bytes since [`Self::reset_peak`].
    fn peak_bytes(&self) -> u64;
    /// Forgets the peak so far.
    fn reset_peak(&self);
}

/// The memory of one run, in bytes. An estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The batch size that it is for.
    pub batch_size: usize,
    /// What the process held before.
    pub program: u64,
    /// Parameters and running statistics.
    pub parameters: u64,
    /// One gradient for each parameter, and the sum of those where they are accumulated.
    pub gradients: u64,
    /// The optimizer's state: momentum, or the two means of AdamW.
    pub optimizer: u64,
    /// Activations kept for the backward pass, and the engine's workspace.
    pub activations: u64,
    /// The data pipeline's buffers.
    pub pipeline: u64,
    /// The copy that is being written while training goes on.
    pub checkpoint: u64,
}

impl MemoryPlan {
    /// The sum of all parts.
    pub fn total(&self) -> Bytes {
        let parts = [
            self.program,
            self.parameters,
            self.gradients,
            self.optimizer,
            self.activations,
            self.pipeline,
            self.checkpoint,
        ];
        Bytes(parts.iter().sum())
    }

    /// The part that a device with its own memory holds.
    pub fn on_device(&self) -> Bytes {
        Bytes(self.parameters + self.gradients + self.optimizer + self.activations)
    }
}

/// What the trials found of one network: bytes of a step over what is there before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StepMemory {
    /// Parameters and running statistics.
    pub(crate) parameters: u64,
    /// Whatever the batch size.
    fixed: f64,
    /// For each sample of a batch.
    per_item: f64,
}

impl StepMemory {
    /// The line through two trials of `(batch size, bytes)`.
    pub(crate) fn through(parameters: u64, [(n1, bytes1), (n2, bytes2)]: [(usize, u64); 2]) -> Self {
        let per_item = ((bytes2 as f64 - bytes1 as f64) / (n2 as f64 - n1 as f64)).max(0.0);
        let fixed = (bytes1 as f64 - per_item * n1 as f64).max(0.0);
        Self { parameters, fixed, per_item }
    }

    /// Gradients, activations and workspace of a step, in bytes.
    fn step_bytes(&self, batch_size: usize) -> u64 {
        (self.fixed + self.per_item * batch_size as f64) as u64
    }
}

/// Measures two small steps of a network that is built for this and thrown away.
pub(crate) fn try_steps(
    entry: &ModelEntry,
    shape: &ModelShape,
    settings: &TrainSettings,
    heap: &dyn HeapMeter,
) -> StepMemory {
    let device = training(&Device::flex(), settings);
    let mut net = (entry.build)(shape, &device);
    let parameters = net.tensors().iter().map(|tensor| tensor.data.as_bytes().len() as u64).sum();
    let mut optimizer = Optimizer::new(settings.optimizer.clone());
    let mut step = |items: usize| {
        let (input, rows) = zeros(entry.task, shape, settings, items, &device);
        let live = heap.live_bytes();
        heap.reset_peak();
        let targets = Tensor::<1, Int>::zeros([rows], &device);
        let mut step = Step::default();
        step.add(net.as_ref(), (input, targets, rows), settings.label_smoothing, 1.0);
        let update = Update { loss_scale: 1.0, clip_norm: settings.clip_norm, learning_rate: 0.0 };
        step.update(net.as_mut(), &mut optimizer, update);
        heap.peak_bytes().saturating_sub(live)
    };
    step(TRIALS[0]);
    StepMemory::through(parameters, TRIALS.map(|items| (items, step(items))))
}

fn zeros(
    task: Task,
    shape: &ModelShape,
    settings: &TrainSettings,
    items: usize,
    device: &Device,
) -> (NetInput, usize) {
    match task {
        Task::Images => {
            (NetInput::Images(Tensor::zeros([items, 3, shape.image_size, shape.image_size], device)), items)
        }
        Task::CharacterLm => {
            let steps = settings.sequence_length;
            (NetInput::Tokens(Tensor::zeros([items, steps], device)), items * steps)
        }
    }
}

/// The plan for one batch size. `pipeline` gives the pipeline's bytes for a batch size.
pub(crate) fn plan(
    step: &StepMemory,
    settings: &TrainSettings,
    batch_size: usize,
    program: u64,
    pipeline: u64,
) -> MemoryPlan {
    let parameters = step.parameters;
    let optimizer = parameters * Optimizer::state_factor(&settings.optimizer);
    // While minibatches are accumulated their sum is there besides the gradients of one.
    let sums = if settings.accumulate > 1 { parameters } else { 0 };
    let step_bytes = step.step_bytes(batch_size);
    let gradients = parameters.min(step_bytes);
    let activations = ((step_bytes - gradients) as f64 * FRAGMENTATION) as u64;
    MemoryPlan {
        batch_size,
        program: program + PROGRAM_GROWTH,
        parameters,
        gradients: gradients + sums,
        optimizer,
        activations,
        pipeline,
        checkpoint: parameters + optimizer,
    }
}

/// The largest batch size up to `limit` whose plan, given by `total`, fits `available`; 0 if none does.
/// `total` must not fall with the batch size.
pub(crate) fn largest_batch(limit: usize, available: Bytes, total: impl Fn(usize) -> Bytes) -> usize {
    let (mut fits, mut too_large) = (0, limit + 1);
    while too_large - fits > 1 {
        let middle = fits + (too_large - fits) / 2;
        if total(middle) <= available { fits = middle } else { too_large = middle }
    }
    fits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::settings::OptimizerSettings;
    use crate::testing::small_settings;

    #[test]
    fn the_line_through_the_trials_is_carried_on() {
        let step = StepMemory::through(100, [(2, 1200), (4, 2200)]);
        assert_eq!([2, 4, 32].map(|n| step.step_bytes(n)), [1200, 2200, 16_200]);
    }

    #[test]
    fn the_parts_add_up() {
        let step = StepMemory::through(100, [(2, 1200), (4, 2200)]);
        let plan = plan(&step, &small_settings("lenet5"), 4, 7, 11);
        assert_eq!((plan.gradients, plan.activations, plan.optimizer), (100, 2520, 100));
        assert_eq!(plan.total(), Bytes(PROGRAM_GROWTH + 7 + 100 + 100 + 2520 + 100 + 11 + 200));
    }

    /// Bytes of gradients, optimizer state and the checkpoint's copy for 100 bytes of parameters.
    #[test]
    fn what_the_optimizer_keeps_is_counted_twice_and_sums_of_gradients_once() {
        use crate::settings::OptimizerKind::{AdamW, Sgd};
        let step = StepMemory::through(100, [(2, 1200), (4, 2200)]);
        let cases = [
            (Sgd, 0.0, 1, (100, 0, 100)),
            (Sgd, 0.9, 1, (100, 100, 200)),
            (AdamW, 0.0, 1, (100, 200, 300)),
            (AdamW, 0.9, 4, (200, 200, 300)),
        ];
        for (kind, momentum, accumulate, expected) in cases {
            let mut settings = TrainSettings { accumulate, ..small_settings("lenet5") };
            settings.optimizer = OptimizerSettings { kind, momentum, ..settings.optimizer };
            let plan = plan(&step, &settings, 4, 0, 0);
            assert_eq!((plan.gradients, plan.optimizer, plan.checkpoint), expected, "{kind} {momentum}");
        }
    }

    #[test]
    fn a_step_of_less_than_its_gradients_has_no_activations() {
        let step = StepMemory::through(1000, [(4, 300), (12, 300)]);
        let plan = plan(&step, &small_settings("lenet5"), 4, 0, 0);
        assert_eq!((plan.gradients, plan.activations), (300, 0));
        let falling = StepMemory::through(0, [(4, 900), (12, 100)]);
        assert_eq!([4, 12].map(|n| falling.step_bytes(n)), [900, 900], "noise gives no negative slope");
    }

    #[test]
    fn a_device_of_its_own_holds_what_is_computed_with_and_not_what_is_read() {
        let step = StepMemory::through(100, [(2, 1200), (4, 2200)]);
        let plan = plan(&step, &small_settings("lenet5"), 4, 7000, 9000);
        assert_eq!(plan.on_device(), Bytes(100 + 100 + 100 + 2520));
    }

    proptest! {
        #[test]
        fn more_samples_never_need_less(n in 1usize..300, first in 0u64..1 << 30, more in 0u64..1 << 30) {
            let step = StepMemory::through(1 << 20, [(4, first), (12, first + more)]);
            let total = |n| plan(&step, &small_settings("lenet5"), n, 0, 0).total();
            prop_assert!(total(n) <= total(n + 1));
        }

        #[test]
        fn the_largest_batch_fits_and_the_next_does_not(limit in 1usize..500, each in 1u64..50, space in 0u64..5000) {
            let total = |n: usize| Bytes(13 + n as u64 * each);
            let largest = largest_batch(limit, Bytes(space), total);
            prop_assert!(largest == 0 || total(largest) <= Bytes(space));
            prop_assert!(largest == limit || total(largest + 1) > Bytes(space));
        }
    }
}
