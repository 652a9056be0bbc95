//! Other implementations of SWIM, driven for the same operations as ours.

pub mod memberlist_queue;
pub mod ours;
pub mod scuttlebutt;
pub mod swim_foca;
pub mod swim_memberlist;

use std::time::{Duration, Instant};

/// Measures `operation` alone: what it works on is prepared in batches, off the clock.
pub fn timed<T>(
    iterations: u64,
    mut prepare: impl FnMut() -> T,
    mut operation: impl FnMut(T),
) -> Duration {
    const BATCH: u64 = 64;
    let (mut left, mut sum) = (iterations, Duration::ZERO);
    while left > 0 {
        let batch: Vec<T> = (0..left.min(BATCH)).map(|_| prepare()).collect();
        left -= batch.len() as u64;
        let begun = Instant::now();
        batch.into_iter().for_each(&mut operation);
        sum += begun.elapsed();
    }
    sum
}
