//! A sweep over mixtures of all faults.

use std::sync::atomic::{AtomicU64, Ordering};

use hyperscale_tests::Fired;
use hyperscale_tests::mix::{fault_mix, never_fired};

/// A sample of what `hyperscale` sweeps by the ten thousand; `FAULT_MIX_SEEDS` takes another number.
const SEEDS: u64 = 96;

/// Runs seeds on every core; what fired, and what was broken.
fn sweep(seeds: u64) -> (Fired, Vec<String>) {
    let next = AtomicU64::new(0);
    let work = || {
        let (mut fired, mut broken) = (Fired::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return (fired, broken);
            }
            match fault_mix(seed) {
                Ok(report) => fired.add(&report.fired),
                Err(violation) => broken.push(violation.to_string()),
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let (mut fired, mut broken) = (Fired::default(), Vec::new());
        for worker in workers {
            let part = worker.join().expect("a mixture never panics");
            fired.add(&part.0);
            broken.extend(part.1);
        }
        (fired, broken)
    })
}

#[test]
fn no_mixture_of_faults_breaks_a_rule_and_every_fault_fires() {
    let wished = std::env::var("FAULT_MIX_SEEDS").ok();
    let seeds = wished.and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    let (fired, broken) = sweep(seeds);
    assert!(broken.is_empty(), "{} of {seeds} broken:\n{}", broken.len(), broken.join("\n"));
    let silent = never_fired(&fired);
    assert!(silent.is_empty(), "never fired in {seeds} seeds: {silent:?}");
}

#[test]
fn one_seed_is_one_history() {
    let [first, second] = [7, 7].map(fault_mix);
    assert!(first.is_ok(), "{first:?}");
    assert_eq!(first, second);
    assert_ne!(first.map(|report| report.trace_hash), fault_mix(8).map(|report| report.trace_hash));
}

/// A sweep that lacks a fault says so.
#[test]
fn a_fault_that_never_fired_is_named() {
    let fired = Fired { lost: 1, ..Fired::default() };
    let silent = never_fired(&fired);
    assert!(silent.contains(&"crashes") && !silent.contains(&"lost"), "{silent:?}");
}
