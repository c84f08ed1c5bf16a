//! A memory plan in words.

use footplate_core::{Bytes, Reading};
use footplate_train::memory::MemoryPlan;

/// The plan with its parts, and the memory that there is.
pub(crate) fn text(plan: &MemoryPlan, available: &Reading<Bytes>) -> String {
    let parts = [
        ("program", plan.program),
        ("parameters", plan.parameters),
        ("gradients", plan.gradients),
        ("optimizer", plan.optimizer),
        ("activations", plan.activations),
        ("pipeline", plan.pipeline),
        ("checkpoint", plan.checkpoint),
    ];
    let parts: Vec<String> = parts.iter().map(|(name, bytes)| format!("{name} {}", Bytes(*bytes))).collect();
    let available = available.value().map_or("unknown".to_owned(), Bytes::to_string);
    format!(
        "memory plan (estimate for batch size {}): {} of {available} available\n  {}",
        plan.batch_size,
        plan.total(),
        parts.join(", ")
    )
}
