//! Pings in flight and what each of them was for.
//!
//! Invariants: a sequence number is in flight once; only its target can answer it; whatever is
//! older than the memory is forgotten, so that the number is bounded by rate × memory.

use alloc::collections::VecDeque;

use crate::member::MemberId;
use crate::time::{Duration, Instant};

/// Answers later than this are no answers.
const MEMORY: Duration = Duration::from_secs(25);

/// Why a ping was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An observer's turn (rule D-2).
    Watch,
    /// Part of the test of its target (rules D-5 and D-7).
    Test,
    /// A control of the test of this subject (rule D-7).
    Control(MemberId),
    /// A look at a random member (rule D-11).
    Audit,
}

/// One ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// To whom.
    pub target: MemberId,
    /// When it left.
    pub sent: Instant,
    /// When it counts as lost.
    pub due: Instant,
    /// For what.
    pub purpose: Purpose,
}

/// All pings in flight, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Pings {
    in_flight: VecDeque<(u32, Ping)>,
}

impl Pings {
    /// A ping leaves.
    pub fn sent(&mut self, sequence: u32, ping: Ping) {
        while let Some((_, oldest)) = self.in_flight.front() {
            if ping.sent.since(oldest.sent) < MEMORY {
                break;
            }
            self.in_flight.pop_front();
        }
        if self.in_flight.is_empty() {
            // To its beginning: a ring would wander through memory.
            self.in_flight.clear();
        }
        self.in_flight.push_back((sequence, ping));
    }

    /// Where the ping with this number stands. Numbers rise, beyond the last one from 0.
    fn place_of(&self, sequence: u32) -> Option<usize> {
        let (first, _) = self.in_flight.front()?;
        let since = |number: u32| number.wrapping_sub(*first);
        self.in_flight.binary_search_by_key(&since(sequence), |(other, _)| since(*other)).ok()
    }

    /// `from` answered.
    pub fn acked(&mut self, sequence: u32, from: MemberId) -> Option<Ping> {
        let place = self.place_of(sequence)?;
        if self.in_flight[place].1.target != from {
            return None;
        }
        self.in_flight.remove(place).map(|(_, ping)| ping)
    }

    /// Where they stand in memory.
    pub fn at(&self) -> *const u8 {
        self.in_flight.as_slices().0.as_ptr().cast()
    }

    /// A ping, if it is still unanswered.
    pub fn get(&self, sequence: u32) -> Option<&Ping> {
        self.place_of(sequence).map(|place| &self.in_flight[place].1)
    }

    /// The lost ping of an observer's turn is the first of a test.
    pub fn becomes_a_test(&mut self, sequence: u32) {
        if let Some(place) = self.place_of(sequence) {
            self.in_flight[place].1.purpose = Purpose::Test;
        }
    }

    /// Forgets a ping.
    pub fn forget(&mut self, sequence: u32) {
        if let Some(place) = self.place_of(sequence) {
            self.in_flight.remove(place);
        }
    }

    /// The oldest unanswered ping to `target`, whatever it was for.
    pub fn oldest_to(&self, target: MemberId) -> Option<u32> {
        let mut to = self.in_flight.iter().filter(|(_, ping)| ping.target == target);
        to.next().map(|(sequence, _)| *sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_target_answers_and_only_once() {
        let (a, b) = (MemberId([1; 16]), MemberId([2; 16]));
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let ping =
            |ms| Ping { target: a, sent: at(ms), due: at(ms + 100), purpose: Purpose::Watch };
        let mut pings = Pings::default();
        pings.sent(1, ping(0));
        pings.sent(2, ping(10));
        assert_eq!(pings.acked(1, b), None);
        assert_eq!(pings.oldest_to(a), Some(1));
        assert_eq!(pings.acked(1, a), Some(ping(0)));
        assert_eq!(pings.acked(1, a), None);
        pings.sent(3, ping(26_000));
        assert_eq!(pings.get(2), None, "what is too old is forgotten");
        assert_eq!(pings.in_flight.len(), 1);
    }

    #[test]
    fn numbers_may_wrap() {
        let ping = |n| Ping {
            target: MemberId([n; 16]),
            sent: Instant::ORIGIN,
            due: Instant::ORIGIN,
            purpose: Purpose::Watch,
        };
        let mut pings = Pings::default();
        for n in 0..6 {
            pings.sent((u32::MAX - 2).wrapping_add(n.into()), ping(n));
        }
        pings.forget(u32::MAX);
        pings.becomes_a_test(1);
        let found = |sequence| pings.get(sequence).map(|ping| (ping.target.0[0], ping.purpose));
        assert_eq!(found(u32::MAX - 1), Some((1, Purpose::Watch)));
        assert_eq!(found(1), Some((4, Purpose::Test)));
        assert_eq!((found(u32::MAX), found(3), found(u32::MAX / 2)), (None, None, None));
    }
}
