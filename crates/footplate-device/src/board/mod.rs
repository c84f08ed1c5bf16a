//! Facts of the boards: identity, tables as documented, paths of each L4T release, rails, trips and limits.
//!
//! One file of facts for each board. They identify a machine, give the rules that it does not tell itself (which
//! rails make its total, what counts as throttling), and are what simulated boards are built from. Tables that
//! the machine tells are read from it and never taken from here.

mod agx_orin;
mod agx_xavier;
mod build;
pub mod conf;
mod facts;
mod generic;
mod nano;
mod orin;
mod orin_nano;
mod orin_nx;
mod release;
mod thor;
mod tx1;
mod tx2;
mod xavier_nx;

pub use facts::{BoardFacts, Gpu, Module, Soc, TotalRule};
pub use generic::GENERIC;
pub use release::{
    Channel, EmcCap, EmcPaths, GpuPaths, Kernel, Odd, OverCurrent, PowerGate, Release, SensorChip,
    SensorKind, StockMode, Zone,
};

/// All boards, in the order in which they are tried. The generic machine comes last and is not among them.
pub const BOARDS: [&BoardFacts; 9] = [
    &tx1::FACTS,
    &tx2::FACTS,
    &nano::FACTS,
    &xavier_nx::FACTS,
    &agx_xavier::FACTS,
    &orin_nano::FACTS,
    &orin_nx::FACTS,
    &agx_orin::FACTS,
    &thor::FACTS,
];

/// Whether a cooling device's type fits a pattern of the facts, in which `*` stands for anything.
pub fn matches_kind(pattern: &str, kind: &str) -> bool {
    crate::tree::fits(pattern, kind)
}

/// A board by its name in commands.
pub fn by_id(id: &str) -> Option<&'static BoardFacts> {
    BOARDS.into_iter().find(|board| board.id == id)
}

/// The board and module that a device tree's `compatible` list means. Where a module is made to behave as
/// another (`-as-`), the emulated one counts.
pub fn by_compatible(entries: &[&str]) -> Option<(&'static BoardFacts, Option<&'static Module>)> {
    let effective = |entry: &str| entry.rsplit("-as-").next().unwrap_or(entry).to_owned();
    let entries: Vec<String> = entries.iter().map(|entry| effective(entry)).collect();
    let of_entry = |entry: &String| {
        BOARDS.into_iter().find(|board| board.compatible.iter().any(|part| entry.contains(part)))
    };
    let board = entries.iter().find_map(of_entry)?;
    // The first entry is the most specific one: it decides where several parts are listed together.
    let module = entries
        .iter()
        .find_map(|entry| board.modules.iter().find(|m| m.parts.iter().any(|part| entry.contains(part))));
    Some((board, module))
}
