//! Many seeds of one mix of faults, on every core, until the first violation.
//!
//! Invariant: a sweep that ends well has run every seed, and every kind of fault has fired in it.

use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::Args;

use crate::fault::Fired;
use crate::progress::Progress;

/// Flags of `hyperscale sweep`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// Runs at one time; as many as there are cores if not given.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    pub jobs: Option<u8>,
}

/// What a sweep showed.
#[derive(Clone, Debug)]
pub struct Swept<V> {
    /// Seeds that ran to their end without a violation.
    pub clean: u64,
    /// The violation with the lowest seed among those found.
    pub violation: Option<(u64, V)>,
    /// How often each kind of fault fired.
    pub fired: Fired,
}

/// Runs `mix` with each seed; stops early at a violation.
pub fn run<V: Display + Send>(
    flags: &Flags,
    mix: impl Fn(u64) -> Result<Fired, V> + Sync,
) -> Swept<V> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = flags.jobs.map_or(cores, usize::from);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let bar = Progress::bar(flags.seeds, "seeds");
    let swept = Mutex::new(Swept { clean: 0, violation: None, fired: Fired::default() });
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= flags.seeds {
                return;
            }
            let seed = flags.first.wrapping_add(number);
            let outcome = mix(seed);
            bar.step("");
            let mut swept = swept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match outcome {
                Ok(fired) => {
                    swept.clean += 1;
                    swept.fired.add(&fired);
                }
                Err(violation) => {
                    stop.store(true, Ordering::Relaxed);
                    if swept.violation.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
                        swept.violation = Some((seed, violation));
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    bar.end();
    swept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(seeds: u64) -> Flags {
        Flags { seeds, first: 10, jobs: Some(2) }
    }

    #[test]
    fn every_seed_runs_and_what_fired_adds_up() {
        let once = |_| Ok::<_, String>(Fired { crashes: 2, ..Fired::default() });
        let swept = run(&flags(50), once);
        assert!(swept.violation.is_none());
        assert_eq!((swept.clean, swept.fired.crashes, swept.fired.lost), (50, 100, 0));
    }

    #[test]
    fn a_violation_ends_the_sweep_with_its_seed() {
        let broken = |seed| if seed < 20 { Ok(Fired::default()) } else { Err("broken") };
        let swept = run(&flags(1_000_000), broken);
        assert_eq!((swept.clean, swept.violation), (10, Some((20, "broken"))));
    }
}
