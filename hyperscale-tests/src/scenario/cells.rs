//! The six cells of the interval experiment (H3): how long an anomalous member is blocked, and
//! how long it runs before it is blocked again.
//!
//! The paper on Lifeguard (Dadgar, Phillips, Currey 2018) blocks for 128 ms to 32.768 s and runs
//! for 1 ms to 16.384 s. The cells walk through that grid from corner to corner, so that every
//! length of both kinds of interval occurs. The names are ours.

use std::time::Duration;

use crate::plan::PlanError;

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What we call it.
    pub name: &'static str,
    /// Blocked so long.
    pub block: Duration,
    /// Running so long in between.
    pub run: Duration,
}

const fn cell(name: &'static str, block_ms: u64, run_ms: u64) -> Cell {
    Cell { name, block: Duration::from_millis(block_ms), run: Duration::from_millis(run_ms) }
}

/// All six, from the shortest to the longest block.
pub const CELLS: [Cell; 6] = [
    cell("stutter", 128, 1),
    cell("limp", 512, 16),
    cell("drag", 2_048, 64),
    cell("choke", 8_192, 256),
    cell("faint", 16_384, 1_024),
    cell("coma", 32_768, 16_384),
];

/// Reads a name.
pub fn parse(text: &str) -> Result<Cell, PlanError> {
    let found = CELLS.into_iter().find(|cell| cell.name == text);
    found.ok_or_else(|| PlanError::Unknown {
        flag: "--cell",
        given: text.into(),
        known: CELLS.map(|cell| cell.name).join(", "),
    })
}
