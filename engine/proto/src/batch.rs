//! Changes that belong together reach a host together (rule D-16).
//!
//! A rack dies, and within two seconds ten members are reported one after the other. A host that
//! acts on each report by itself moves its work ten times. So changes are gathered like the post:
//! the bag leaves once nothing has come for a second, and after five seconds in any case.
//!
//! Invariant: a batch is never empty, keeps the order in which its changes came, and is due no
//! later than [`LATEST`] after its first change.

use alloc::vec::Vec;

use crate::time::{Duration, Instant};

/// A batch ends once nothing was added for so long,
pub const QUIET: Duration = Duration::from_secs(1);
/// and no later than so long after its first change.
pub const LATEST: Duration = Duration::from_secs(5);

/// When changes are handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Together with those that come at about the same time.
    #[default]
    Batched,
    /// At once, each by itself.
    Immediate,
}

/// Changes on their way to somebody who wants them together.
#[derive(Clone, Debug)]
pub struct Batches<E> {
    delivery: Delivery,
    gathered: Vec<E>,
    /// When the first and the last of them came.
    span: (Instant, Instant),
}

impl<E> Batches<E> {
    /// None so far.
    pub fn new(delivery: Delivery) -> Self {
        Self { delivery, gathered: Vec::new(), span: (Instant::ORIGIN, Instant::ORIGIN) }
    }

    /// A change came.
    pub fn add(&mut self, now: Instant, change: E) {
        let first = if self.gathered.is_empty() { now } else { self.span.0 };
        self.span = (first, now.max(first));
        self.gathered.push(change);
    }

    /// When the batch is to be taken.
    pub fn due(&self) -> Option<Instant> {
        let (first, last) = self.span;
        let due = match self.delivery {
            Delivery::Batched => (last + QUIET).min(first + LATEST),
            Delivery::Immediate => first,
        };
        (!self.gathered.is_empty()).then_some(due)
    }

    /// The batch, if it is due. [`Delivery::Immediate`] gives one change at a time.
    pub fn take_due(&mut self, now: Instant) -> Option<Vec<E>> {
        self.due().filter(|due| *due <= now)?;
        match self.delivery {
            Delivery::Batched => self.take(),
            Delivery::Immediate => Some(self.gathered.drain(..1).collect()),
        }
    }

    /// The batch as it stands, due or not: something is told that must not overtake it.
    pub fn take(&mut self) -> Option<Vec<E>> {
        let batch = core::mem::take(&mut self.gathered);
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    /// Adds a change at each of `times`, taking what is due as a timer would; the batches with the
    /// times at which they left.
    fn batches(delivery: Delivery, times: &[u64]) -> Vec<(u64, Vec<u64>)> {
        let mut batches = Batches::new(delivery);
        let mut taken = Vec::new();
        let mut take_until = |batches: &mut Batches<u64>, until: Instant| {
            while let Some(due) = batches.due().filter(|due| *due <= until) {
                let batch = batches.take_due(due).expect("it is due");
                taken.push((due.since(Instant::ORIGIN).as_millis() as u64, batch));
            }
        };
        for time in times {
            take_until(&mut batches, at(*time));
            batches.add(at(*time), *time);
        }
        take_until(&mut batches, at(u64::MAX / 2_000_000));
        taken
    }

    /// Rule D-16.
    #[test]
    fn a_batch_ends_with_a_quiet_second() {
        let times = [0, 400, 1_399, 2_399, 9_000];
        let expected =
            vec![(2_399, vec![0, 400, 1_399]), (3_399, vec![2_399]), (10_000, vec![9_000])];
        assert_eq!(batches(Delivery::Batched, &times), expected);
    }

    /// Rule D-16: where it never gets quiet, nobody waits longer than five seconds.
    #[test]
    fn a_batch_ends_five_seconds_after_its_first_change() {
        let times: Vec<u64> = (0..100).map(|n| n * 100).collect();
        let found = batches(Delivery::Batched, &times);
        let ends: Vec<u64> = found.iter().map(|(end, _)| *end).collect();
        assert_eq!(ends, [5_000, 10_000]);
        let all: Vec<u64> = found.into_iter().flat_map(|(_, batch)| batch).collect();
        assert_eq!(all, times, "in order, each once");
    }

    /// Rule D-16: ten members that die at once are found within four seconds.
    #[test]
    fn ten_concurrent_deaths_are_at_most_three_batches() {
        let mut rng = fastrand::Rng::with_seed(16);
        for _ in 0..1_000 {
            let mut times: Vec<u64> = (0..10).map(|_| 2_250 + rng.u64(0..1_400)).collect();
            times.sort_unstable();
            assert!(batches(Delivery::Batched, &times).len() <= 3, "{times:?}");
        }
    }

    /// Rule D-16: on request each change goes at once.
    #[test]
    fn immediate_changes_go_one_by_one() {
        let found = batches(Delivery::Immediate, &[0, 10, 10, 500]);
        let expected = vec![(0, vec![0]), (10, vec![10]), (10, vec![10]), (500, vec![500])];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_must_not_be_overtaken_is_taken_before_it_is_due() {
        let mut batches = Batches::new(Delivery::Batched);
        assert_eq!((batches.due(), batches.take()), (None, None));
        batches.add(at(0), 'a');
        batches.add(at(10), 'b');
        assert_eq!(batches.take_due(at(1_009)), None);
        assert_eq!(batches.take(), Some(vec!['a', 'b']));
        assert_eq!((batches.due(), batches.take()), (None, None));
        batches.add(at(2_000), 'c');
        assert_eq!(batches.due(), Some(at(3_000)), "a new batch, a new clock");
    }
}
