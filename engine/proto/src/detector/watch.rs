//! Whose turn is it? (rule D-2)
//!
//! An observer pings each of its subjects once a period of K intervals, so that it sends one
//! direct ping an interval and each member gets one an interval. The turns of different subjects
//! are independent: each subject moves its own (see `phase`).
//!
//! Invariant: the list holds each subject once; a turn lies at most one and a half periods ahead.

use alloc::vec::Vec;

use crate::detector::phase;
use crate::member::MemberId;
use crate::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
struct Turn {
    subject: MemberId,
    at: Instant,
}

/// The turns of one observer.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    turns: Vec<Turn>,
}

impl Watch {
    /// The subjects changed: known ones keep their turn, new ones get a random one within
    /// `soon`: whoever observed them before may be gone, and they with it.
    pub fn observe(
        &mut self,
        now: Instant,
        subjects: &[MemberId],
        soon: Duration,
        rng: &mut fastrand::Rng,
    ) {
        let mut turns = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let known = self.turns.iter().find(|turn| turn.subject == *subject);
            let at = known.map_or_else(|| now + soon.mul_f64(rng.f64()), |turn| turn.at);
            turns.push(Turn { subject: *subject, at });
        }
        self.turns = turns;
    }

    /// The subjects, in ring order.
    pub fn subjects(&self) -> impl Iterator<Item = MemberId> {
        self.turns.iter().map(|turn| turn.subject)
    }

    /// Whether we observe `id`.
    pub fn observes(&self, id: MemberId) -> bool {
        self.turns.iter().any(|turn| turn.subject == id)
    }

    /// A subject whose turn has come; its next one is a period later.
    pub fn take_due(&mut self, now: Instant, period: Duration) -> Option<MemberId> {
        let turn = self.turns.iter_mut().find(|turn| turn.at <= now)?;
        // After a pause the turns missed are not caught up with.
        let next = turn.at + period;
        turn.at = if next <= now { now + period } else { next };
        Some(turn.subject)
    }

    /// An ack of `subject` told by how much the ping sent at `sent` missed our slot. A ping that was
    /// early by no more than `early` stands for the turn in that slot.
    pub fn shift(
        &mut self,
        now: Instant,
        subject: MemberId,
        sent: Instant,
        error_ms: i16,
        period: Duration,
        early: Duration,
    ) {
        let turn = self.turns.iter_mut().find(|turn| turn.subject == subject);
        if let (Some(turn), Some(at)) = (turn, phase::next_turn(sent, error_ms, period, early)) {
            turn.at = at.max(now);
        }
    }

    /// Where the turns stand in memory.
    pub fn at(&self) -> *const u8 {
        self.turns.as_ptr().cast()
    }

    /// Whose turn is next.
    pub fn next_subject(&self) -> Option<MemberId> {
        self.turns.iter().min_by_key(|turn| turn.at).map(|turn| turn.subject)
    }

    /// The next turn.
    pub fn next(&self) -> Option<Instant> {
        self.turns.iter().map(|turn| turn.at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    /// Rule D-2: every subject once a period, whatever changes among the others.
    #[test]
    fn every_subject_has_one_turn_a_period() {
        let period = Duration::from_secs(8);
        let mut rng = fastrand::Rng::with_seed(3);
        let mut watch = Watch::default();
        let subjects: Vec<_> = (1..=8).map(id).collect();
        watch.observe(Instant::ORIGIN, &subjects, period, &mut rng);
        let mut counts = [0; 10];
        let mut now = Instant::ORIGIN;
        while let Some(at) = watch.next().filter(|at| *at < Instant::ORIGIN + period * 10) {
            now = at;
            let (mut clone, next) = (watch.clone(), watch.next_subject());
            assert_eq!(clone.take_due(now, period), next, "turns lie apart");
            while let Some(subject) = watch.take_due(now, period) {
                counts[usize::from(subject.0[0])] += 1;
            }
        }
        assert_eq!(counts, [0, 10, 10, 10, 10, 10, 10, 10, 10, 0]);
        let before = watch.next();
        let with_another: Vec<_> = (1..=9).map(id).collect();
        watch.observe(now, &with_another, period, &mut rng);
        assert!(watch.next() <= before && watch.observes(id(9)));
        watch.observe(now, &[], period, &mut rng);
        assert_eq!(watch.next(), None);
    }

    #[test]
    fn a_pause_is_not_caught_up_with_and_a_shift_moves_one_turn() {
        let period = Duration::from_secs(2);
        let mut watch = Watch::default();
        let mut rng = fastrand::Rng::with_seed(3);
        watch.observe(Instant::ORIGIN, &[id(1)], period, &mut rng);
        let late = Instant::ORIGIN + Duration::from_secs(60);
        assert_eq!(watch.take_due(late, period), Some(id(1)));
        assert_eq!(watch.take_due(late, period), None);
        watch.shift(late, id(1), late, 500, period, period / 4);
        assert_eq!(watch.next(), Some(late + Duration::from_millis(1_500)));
        watch.shift(late, id(2), late, 500, period, period / 4);
    }
}
