//! Alternatives that take turns on one core, and what came of it.
//!
//! A busy machine, a changing clock and a noisy neighbour disturb whatever runs at that moment; in
//! slices of a few milliseconds they disturb every alternative alike. So only ratios of one run are
//! compared, and a run yields the ratio of two medians.
//!
//! A batch in which the kernel took the core away is not counted either, or a machine with other work
//! would measure that work.
//!
//! Invariant: the clock runs only while an alternative serves. What its peers do before and after
//! is not counted, and is the same for all but for how they seal.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// How long an alternative serves before the next one does.
const SLICE: Duration = Duration::from_millis(4);
/// A slice of an alternative that loses everything ends all the same.
const SLICE_MAX_BATCHES: u32 = 400;

/// One way to receive datagrams and to answer them.
pub(crate) trait Alternative {
    /// What it is called in tables and plots.
    fn name(&self) -> &'static str;

    /// Off the clock: every peer says what it says in a batch; returns how much must be answered.
    fn prepare(&mut self) -> usize;

    /// On the clock: receives and answers; returns how many were answered.
    fn serve(&mut self) -> usize;

    /// Off the clock: the peers take what was answered.
    ///
    /// # Errors
    /// They were told something else.
    fn collect(&mut self) -> Result<(), Mistake>;
}

/// An alternative does not do what it is measured for.
#[derive(Debug)]
pub(crate) struct Mistake(pub(crate) &'static str);

/// The smallest, the median and the largest of a few runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// # Panics
    /// Of nothing.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
        Self { min, median: median(&sorted), max }
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// What several runs found: nanoseconds for one, by alternative and run.
pub(crate) struct Found {
    names: Vec<&'static str>,
    /// The median of a run's slices.
    ns: Vec<Vec<f64>>,
}

impl Found {
    fn place(&self, name: &str) -> usize {
        self.names.iter().position(|own| *own == name).expect("it took its turns")
    }

    /// Nanoseconds for one.
    pub(crate) fn ns(&self, name: &str) -> Spread {
        Spread::of(&self.ns[self.place(name)])
    }

    /// How many times as fast `name` is as `reference`, run by run.
    pub(crate) fn ratio(&self, name: &str, reference: &str) -> Spread {
        let (own, other) = (&self.ns[self.place(name)], &self.ns[self.place(reference)]);
        Spread::of(&own.iter().zip(other).map(|(own, other)| other / own).collect::<Vec<_>>())
    }

    /// Who took turns.
    pub(crate) fn names(&self) -> &[&'static str] {
        &self.names
    }
}

/// How long is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) runs: usize,
    /// Of one run, what is off the clock included.
    pub(crate) run: Duration,
}

/// Lets all take turns.
///
/// # Errors
/// One of them does not do what it should.
pub(crate) fn take_turns(
    plan: Plan,
    alternatives: &mut [Box<dyn Alternative + '_>],
) -> Result<Found, Mistake> {
    // Sessions, caches and buffers are warm before anything counts.
    for alternative in alternatives.iter_mut() {
        slice(alternative.as_mut())?;
    }
    let mut ns = vec![Vec::new(); alternatives.len()];
    for _ in 0..plan.runs {
        let ends = Instant::now() + plan.run;
        let mut slices = vec![Vec::new(); alternatives.len()];
        // A median of fewer than three would be a single look.
        while Instant::now() < ends || slices[0].len() < 3 {
            for (slices, alternative) in slices.iter_mut().zip(alternatives.iter_mut()) {
                slices.push(slice(alternative.as_mut())?);
            }
        }
        for (ns, slices) in ns.iter_mut().zip(slices) {
            ns.push(Spread::of(&slices).median);
        }
    }
    Ok(Found { names: alternatives.iter().map(|alternative| alternative.name()).collect(), ns })
}

/// How often the core was taken away from this thread.
fn interruptions() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

/// One slice; nanoseconds for one that was answered.
fn slice(alternative: &mut dyn Alternative) -> Result<f64, Mistake> {
    let (mut spent, mut counted, mut served, mut expected) = (Duration::ZERO, 0, 0, 0);
    for _ in 0..SLICE_MAX_BATCHES {
        let wanted = alternative.prepare();
        expected += wanted;
        let (before, begun) = (interruptions(), Instant::now());
        let answered = alternative.serve();
        let took = begun.elapsed();
        served += answered;
        // A batch that had to be waited for says how patient it was.
        if interruptions() == before && answered >= wanted {
            spent += took;
            counted += answered;
        }
        alternative.collect()?;
        if spent >= SLICE {
            break;
        }
    }
    // Loopback loses next to nothing; whoever answers half as much would look twice as good.
    if served * 10 < expected * 9 {
        eprintln!("{}: {served} answers to {expected} datagrams", alternative.name());
        return Err(Mistake("it answers fewer datagrams than it was sent"));
    }
    if counted == 0 {
        return Err(Mistake("the machine is too busy: no batch ran undisturbed"));
    }
    Ok(spent.as_secs_f64() * 1e9 / counted as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_of_the_values_given() {
        let spread = Spread::of(&[3.0, 1.0, 2.0, 10.0]);
        assert_eq!(spread, Spread { min: 1.0, median: 2.5, max: 10.0 });
    }

    #[test]
    fn ratios_say_how_many_times_as_fast() {
        let found = Found { names: vec!["a", "b"], ns: vec![vec![10.0, 20.0], vec![20.0, 60.0]] };
        let ratio = found.ratio("a", "b");
        assert_eq!(ratio, Spread { min: 2.0, median: 2.5, max: 3.0 });
    }

    /// Answers a share of what it is sent.
    struct Lossy(usize);

    impl Alternative for Lossy {
        fn name(&self) -> &'static str {
            "lossy"
        }

        fn prepare(&mut self) -> usize {
            64
        }

        fn serve(&mut self) -> usize {
            std::thread::sleep(Duration::from_micros(200));
            self.0
        }

        fn collect(&mut self) -> Result<(), Mistake> {
            Ok(())
        }
    }

    #[test]
    fn whoever_does_less_is_not_measured() {
        let plan = Plan { runs: 2, run: Duration::from_millis(1) };
        assert!(take_turns(plan, &mut [Box::new(Lossy(50))]).is_err());
        let found = take_turns(plan, &mut [Box::new(Lossy(64))]).unwrap();
        assert!(found.ns("lossy").min > 0.0);
    }
}
