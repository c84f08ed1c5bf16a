//! A memory plan in words.

use footplate_core::Bytes;
use footplate_train::memory::MemoryPlan;

/// The plan with its parts, and the memory that there is.
pub(crate) fn text(plan: &MemoryPlan, available: Bytes) -> String {
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
    let available = if available == Bytes(u64::MAX) { "unknown".to_owned() } else { available.to_string() };
    format!(
        "memory plan (estimate for batch size {}): {} of {available} available\n  {}",
        plan.batch_size,
        plan.total(),
        parts.join(", ")
    )
}
