//! Evicted, yet alive: when may we come back? (rule D-13)
//!
//! Whoever was evicted with many others, or by somebody that it holds dead itself, was cut off:
//! it returns at once. Whoever was evicted alone is probably the one that is ill, and shows first
//! that its pings come back as often as everybody's do; otherwise a member that only half of its
//! datagrams leave would flap for ever.
//!
//! Invariants: at most 30 pings are remembered; a quick return happens once in ten minutes; a member
//! that is lost more than once counts once.

use alloc::collections::VecDeque;

use crate::detector::order::KEEPS_ORDER;
use crate::member::{Incarnation, MemberId};
use crate::membership::table::IdMap;
use crate::time::{Duration, Instant};

/// Pings that decide.
const SAMPLE: usize = 30;
/// Fewer acks than these do not tell how others fare: the one that comes may be of somebody ill.
const FEWEST: f64 = 5.0;
/// Standard deviations below the expected number of acks that are chance.
const TOLERANCE: f64 = 3.1;
/// A quick return follows the first word of the eviction, or one that comes this soon after it:
/// what reaches an exile later, from another exile perhaps, tells nothing of how it came about.
const QUICK_WITHIN: Duration = Duration::from_secs(10);
/// A quick return happens at most so often.
const QUICK_EVERY: Duration = Duration::from_secs(600);
/// Losses of others are remembered for so long,
const RECENT: Duration = Duration::from_secs(60);
/// and no more than so many.
const MOST_RECENT: usize = 4_096;
/// The part of the mesh that must be lost with us: 1/16, and two members at least.
const SHARE: usize = 16;
const LEAST: usize = 2;

#[derive(Clone, Copy, Debug)]
struct Sample {
    sequence: u32,
    target: MemberId,
    /// b of the acker, once it acked.
    acked: Option<f64>,
}

/// What a node remembers in case it is evicted, and its eviction while that lasts.
#[derive(Clone, Debug, Default)]
pub struct Exile {
    evicted: Option<(Incarnation, Instant)>,
    pings: VecDeque<Sample>,
    /// When each of them was lost last,
    lost: IdMap<Instant>,
    /// and in which order.
    losses: VecDeque<(Instant, MemberId)>,
    quick: Option<Instant>,
    /// When we last heard somebody again after having heard nobody at all.
    alone: Option<Instant>,
}

impl Exile {
    /// Whether others hold us dead and we have not answered yet.
    pub fn is_exiled(&self) -> bool {
        self.evicted.is_some()
    }

    /// Where it stands in memory where to find its pings.
    pub fn head(&self) -> *const u8 {
        (&raw const self.pings).cast()
    }

    /// Where the last of those pings stands in memory.
    pub fn at(&self) -> *const u8 {
        self.pings.back().map_or(core::ptr::null(), |last| (&raw const *last).cast())
    }

    /// A regular ping to `target` left.
    pub fn pinged(&mut self, sequence: u32, target: MemberId) {
        if self.pings.len() == SAMPLE {
            self.pings.pop_front();
        }
        self.pings.push_back(Sample { sequence, target, acked: None });
    }

    /// `from`, whose baseline is `b`, acked the ping itself. A handshake that answers the probe is
    /// repeated until it comes through, and says nothing of how our pings fare.
    pub fn acked(&mut self, sequence: u32, from: MemberId, b: f64) {
        let mut pings = self.pings.iter_mut().rev();
        let found = pings.find(|sample| sample.sequence == sequence && sample.target == from);
        if let Some(sample) = found {
            sample.acked = Some(b);
        }
    }

    /// We hold `id` dead or unreachable from here on.
    pub fn lost(&mut self, now: Instant, id: MemberId) {
        self.forget_losses(now);
        if self.losses.len() == MOST_RECENT {
            self.forget_a_loss();
        }
        self.losses.push_back((now, id));
        self.lost.insert(id, now);
    }

    fn forget_losses(&mut self, now: Instant) {
        while self.losses.front().is_some_and(|(at, _)| now.since(*at) >= RECENT) {
            self.forget_a_loss();
        }
    }

    /// The oldest goes, and its member with it unless it was lost again.
    fn forget_a_loss(&mut self) {
        let Some((at, id)) = self.losses.pop_front() else { return };
        if self.lost.get(&id) == Some(&at) {
            self.lost.remove(&id);
        }
    }

    /// Members lost within the last minute: one that was marked unreachable and then found dead is
    /// one.
    fn recently_lost(&mut self, now: Instant) -> usize {
        self.forget_losses(now);
        self.lost.len()
    }

    /// Somebody is heard again, after nobody was for a while.
    pub fn was_deaf(&mut self, now: Instant) {
        self.alone = Some(now);
    }

    /// Whether we heard nobody at all for a while within the last minute: then nobody shared what
    /// befell us, and that we hold an announcer unreachable tells of our own ears.
    fn was_alone(&self, now: Instant) -> bool {
        self.alone.is_some_and(|at| now.since(at) < RECENT)
    }

    /// How many members were lost within the last minute, if they are so many of `members` that we
    /// were cut off with others.
    pub fn lost_many(&mut self, now: Instant, members: usize) -> Option<usize> {
        let lost = self.recently_lost(now);
        (lost >= LEAST.max(members / SHARE)).then_some(lost)
    }

    /// When `id` was lost last, if that is not long ago.
    pub fn lost_at(&self, id: MemberId) -> Option<Instant> {
        self.lost.get(&id).copied()
    }

    /// Whether `id` was lost within the last minute.
    pub fn was_lost(&self, now: Instant, id: MemberId) -> bool {
        self.lost_at(id).is_some_and(|at| now.since(at) < RECENT)
    }

    /// Others hold us dead at `incarnation`, our present one. Says whether to return at once:
    /// `announcer_is_gone` tells that we hold the announcer dead or unreachable, or did within the
    /// last minute; `members` counts whom we hold present.
    pub fn evicted(
        &mut self,
        now: Instant,
        incarnation: Incarnation,
        announcer_is_gone: bool,
        members: usize,
    ) -> bool {
        let many = self.lost_many(now, members).is_some();
        // Among many, whoever heard nobody is the odd one out; in a small mesh each may be alone.
        let odd = members > KEEPS_ORDER && self.was_alone(now);
        let gone = announcer_is_gone && !odd;
        let rested = self.quick.is_none_or(|last| now.since(last) >= QUICK_EVERY);
        let known = self.evicted.filter(|(exiled, _)| *exiled == incarnation);
        let in_time = known.is_none_or(|(_, since)| now.since(since) < QUICK_WITHIN);
        if rested && in_time && (gone || many) {
            self.quick = Some(now);
            self.evicted = None;
            return true;
        }
        if known.is_none() {
            // What came back before is what the others had seen too when they judged.
            self.pings.clear();
            self.evicted = Some((incarnation, now));
        }
        false
    }

    /// Whether 30 pings since the eviction, the newest, show that we are well: at least
    /// 30m − 3.1·√(30m(1−m)) of them acked, m the mean b in those acks.
    pub fn may_return(&self) -> bool {
        self.evicted.is_some() && self.fares_well()
    }

    /// Whether our newest thirty pings show as much, exiled or not.
    pub fn fares_well(&self) -> bool {
        if self.pings.len() < SAMPLE {
            return false;
        }
        let acks = self.pings.iter().filter_map(|sample| sample.acked);
        let (count, sum) = acks.fold((0.0, 0.0), |(count, sum), b| (count + 1.0, sum + b));
        if count < FEWEST {
            return false;
        }
        let m: f64 = sum / count;
        let n = SAMPLE as f64;
        count >= n * m - TOLERANCE * libm::sqrt(n * m * (1.0 - m))
    }

    /// We live under a new incarnation.
    pub fn returned(&mut self) {
        self.evicted = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INCARNATION: Incarnation = Incarnation { generation: 1, counter: 0 };

    fn id(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    fn after_pings(acked: usize, of: usize, b: f64) -> Exile {
        let mut exile = Exile::default();
        assert!(!exile.evicted(at(1), INCARNATION, false, 1_000));
        for sequence in 0..of {
            exile.pinged(sequence as u32, id(9));
            if sequence < acked {
                exile.acked(sequence as u32, id(9), b);
            }
        }
        exile
    }

    /// Rule D-13 (b): as many acks as chance allows, measured by how others fare.
    #[test]
    fn a_return_is_earned_by_thirty_pings() {
        assert!(!after_pings(29, 29, 0.98).may_return(), "not thirty yet");
        assert!(after_pings(30, 30, 0.98).may_return());
        assert!(after_pings(28, 30, 0.98).may_return());
        assert!(!after_pings(26, 30, 0.98).may_return());
        assert!(after_pings(12, 30, 0.6).may_return(), "everybody loses as much");
        assert!(!after_pings(6, 30, 0.9).may_return());
        assert!(!after_pings(0, 30, 0.9).may_return());
        assert!(!after_pings(4, 30, 0.2).may_return(), "four that fare badly say little");
        assert!(after_pings(5, 30, 0.2).may_return());
        assert!(!Exile::default().may_return(), "nobody evicted us");
    }

    /// Rule D-13 (a): with many others, or by one that is gone itself; once in ten minutes.
    #[test]
    fn whoever_was_cut_off_returns_at_once() {
        let mut exile = Exile::default();
        assert!(exile.evicted(at(100), INCARNATION, true, 1_000));
        assert!(!exile.is_exiled());
        assert!(!exile.evicted(at(695), INCARNATION, true, 1_000), "once in ten minutes");
        assert!(exile.is_exiled());
        assert!(exile.clone().evicted(at(704), INCARNATION, true, 1_000));
        assert!(!exile.evicted(at(705), INCARNATION, true, 1_000), "too late to tell anything");

        let mut lonely = Exile::default();
        (0..62).for_each(|n| lonely.lost(at(100), id(n)));
        assert!(!lonely.clone().evicted(at(159), INCARNATION, false, 1_024), "62 of 64");
        assert!(lonely.clone().evicted(at(159), INCARNATION, false, 992));
        // A mark, its end and a death are three losses of one member.
        (0..62).for_each(|n| lonely.lost(at(110), id(n)));
        assert!(!lonely.clone().evicted(at(159), INCARNATION, false, 1_024), "62 of 64");
        let mut twice = Exile::default();
        (0..2).for_each(|_| twice.lost(at(100), id(1)));
        assert!(!twice.clone().evicted(at(101), INCARNATION, false, 3), "one member");
        twice.lost(at(102), id(2));
        assert!(twice.evicted(at(103), INCARNATION, false, 3), "two");
        assert!(lonely.was_lost(at(169), id(3)) && !lonely.was_lost(at(170), id(3)));
        assert!(!lonely.evicted(at(170), INCARNATION, false, 992), "a minute ago is long ago");
    }

    /// Rule D-13 (a): whoever heard nobody holds everybody unreachable, the announcer perhaps among
    /// them. In a small mesh each may be alone.
    #[test]
    fn the_deaf_do_not_return_at_once() {
        for (seconds, members, returns) in
            [(159, 1_000, false), (160, 1_000, true), (159, 17, false), (159, 16, true)]
        {
            let mut exile = Exile::default();
            exile.was_deaf(at(100));
            let back = exile.evicted(at(seconds), INCARNATION, true, members);
            assert_eq!(back, returns, "{members} members, {} s later", seconds - 100);
        }
        let mut exile = Exile::default();
        exile.was_deaf(at(100));
        (0..63).for_each(|n| exile.lost(at(100), id(n)));
        assert!(exile.evicted(at(101), INCARNATION, false, 1_000), "cut off with many others");
    }
}
