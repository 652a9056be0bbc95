//! One suspect, one deadline (rules F-5 and F-6).
//!
//! A suspect has time to refute. The more members doubt it independently, the less: Lifeguard's
//! T(c) = max(min, max − (max − min)·ln(c+1)/ln(k+1)). In a small cluster the deadline follows
//! from the user's promise instead: so long after our last contact, whoever doubts.
//!
//! Invariants: accusers only move the deadline earlier, each counts once, and none moves it into
//! time that was granted for a reason of our own (rules F-8 and H-3).

use alloc::vec::Vec;

use crate::detector::order::KEEPS_ORDER;
use crate::member::MemberId;
use crate::time::{Duration, Instant};

/// α of the suspicion timeout: min = α·max(1, log10 n)·interval.
const ALPHA: u32 = 4;
/// β: max = β·min.
const BETA: u32 = 6;

/// How a suspicion's deadline is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    min: Duration,
    max: Duration,
    /// k: confirmations after which the deadline is the earliest.
    confirmations: u32,
    /// Within the promise's range: the wait after the last contact.
    after_contact: Option<Duration>,
}

/// What a schedule depends on.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// When the suspicion starts.
    pub now: Instant,
    /// Present members, ourselves included.
    pub members: usize,
    /// Probe interval.
    pub interval: Duration,
    /// The promise S from the end of a member to its removal.
    pub suspicion_interval: Duration,
    /// Our last contact with the suspect.
    pub last_contact: Option<Instant>,
    /// Whether independent accusers shorten the wait (Lifeguard) or not (SWIM).
    pub dynamic: bool,
    /// Whether the promise replaces the papers' formula in a small cluster.
    pub promise: bool,
}

impl Schedule {
    /// The schedule under these circumstances.
    pub fn new(circumstances: &Circumstances) -> Self {
        let Circumstances { members, interval, suspicion_interval, dynamic, promise, .. } =
            *circumstances;
        let small = members <= KEEPS_ORDER && suspicion_interval >= interval * 5;
        if dynamic && promise && small {
            return Self::promised(circumstances);
        }
        let min = (interval * ALPHA).mul_f64(libm::log10(members.max(1) as f64).max(1.0));
        if !dynamic {
            return Self { min, max: min, confirmations: 0, after_contact: None };
        }
        // As many confirmations as α − 2, where so many others exist (memberlist's choice).
        let expected = ALPHA - 2;
        let confirmations = if members < expected as usize + 2 { 0 } else { expected };
        let max = if confirmations == 0 { min } else { min * BETA };
        Self { min, max, confirmations, after_contact: None }
    }

    /// deadline = max(last contact + S − interval, start + S/4).
    fn promised(circumstances: &Circumstances) -> Self {
        let Circumstances { now, interval, suspicion_interval, last_contact, .. } = *circumstances;
        let least = suspicion_interval / 4;
        let budget = suspicion_interval.saturating_sub(interval);
        let left = last_contact.map_or(least, |last| (last + budget).since(now));
        let wait = left.max(least);
        Self { min: wait, max: wait, confirmations: 0, after_contact: Some(budget) }
    }

    /// How long after its start a suspicion with `confirmed` independent accusers beyond the
    /// first matures.
    pub fn after(&self, confirmed: u32) -> Duration {
        if self.confirmations == 0 {
            return self.min;
        }
        let c = confirmed.min(self.confirmations);
        let fraction = libm::log(f64::from(c + 1)) / libm::log(f64::from(self.confirmations + 1));
        let shortened = (self.max - self.min).mul_f64(fraction);
        self.max.saturating_sub(shortened).max(self.min)
    }
}

/// One suspicion.
#[derive(Clone, Debug)]
pub struct Suspicion {
    started: Instant,
    schedule: Schedule,
    deadline: Instant,
    spared: Instant,
    accusers: Vec<MemberId>,
}

impl Suspicion {
    /// Begins with the first accuser.
    pub fn begin(now: Instant, schedule: Schedule, accuser: MemberId) -> Self {
        Self {
            started: now,
            schedule,
            deadline: now + schedule.after(0),
            spared: now,
            accusers: Vec::from([accuser]),
        }
    }

    /// When it matures.
    pub fn deadline(&self) -> Instant {
        self.deadline.max(self.spared)
    }

    /// Grants time: whoever accuses, it does not mature before `at`.
    pub fn spare_until(&mut self, at: Instant) {
        self.spared = self.spared.max(at);
    }

    /// The deadline that a contact at `last` earns: none unless it came since the suspicion began
    /// and the promise counts from contacts.
    pub fn deadline_after_contact(&self, last: Instant) -> Option<Instant> {
        let wait = self.schedule.after_contact?;
        (last > self.started).then(|| last + wait)
    }

    /// Counts an independent accuser; returns whether the suspicion is news to others (it stays
    /// so until k accusers beyond the first are known).
    pub fn confirm(&mut self, accuser: MemberId) -> bool {
        let full = self.accusers.len() > self.schedule.confirmations as usize;
        if full || self.accusers.contains(&accuser) {
            return false;
        }
        self.accusers.push(accuser);
        let deadline = self.started + self.schedule.after(self.accusers.len() as u32 - 1);
        assert!(deadline <= self.deadline, "a confirmation never extends a suspicion");
        self.deadline = deadline;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    fn circumstances(members: usize) -> Circumstances {
        Circumstances {
            now: Instant::ORIGIN + Duration::from_secs(100),
            members,
            interval: Duration::from_secs(1),
            suspicion_interval: Duration::from_secs(5),
            last_contact: None,
            dynamic: true,
            promise: true,
        }
    }

    /// Rule F-5: T(c) = max(min, max − (max − min)·ln(c+1)/ln(k+1)), min = α·max(1, log10 n)
    /// intervals, max = β·min, with α = 4, β = 6, k = 2; below four members k = 0 and T = min.
    #[test]
    fn the_wait_follows_the_papers_formula() {
        for members in [1usize, 2, 3, 4, 5, 10, 11, 64, 100, 128, 1_000, 10_000, 100_000] {
            let paper = Circumstances { promise: false, ..circumstances(members) };
            let schedule = Schedule::new(&paper);
            let min = 4.0 * (members as f64).log10().max(1.0);
            let (k, max) = if members < 4 { (0, min) } else { (2, 6.0 * min) };
            for c in 0..5 {
                let fraction = f64::from(c.min(k) + 1).ln() / f64::from(k + 1).ln();
                let expected = if k == 0 { min } else { (max - (max - min) * fraction).max(min) };
                let found = schedule.after(c).as_secs_f64();
                assert!((found - expected).abs() < 1e-6, "n {members}, c {c}: {found} {expected}");
            }
        }
    }

    /// Rule F-5: the figures that follow for 100 members, in whole milliseconds.
    #[test]
    fn independent_accusers_shorten_the_wait() {
        let schedule = Schedule::new(&circumstances(100));
        let ms: Vec<_> = (0..4).map(|c| schedule.after(c).as_millis()).collect();
        assert_eq!(ms, [48_000, 22_762, 8_000, 8_000], "further accusers change nothing");
    }

    #[test]
    fn an_accuser_counts_once_and_the_deadline_only_moves_earlier() {
        let schedule = Schedule::new(&circumstances(100));
        let mut suspicion = Suspicion::begin(Instant::ORIGIN, schedule, id(1));
        let first = suspicion.deadline();
        assert!(!suspicion.confirm(id(1)));
        assert_eq!(suspicion.deadline(), first);
        assert!(suspicion.confirm(id(2)));
        assert!(suspicion.deadline() < first);
        assert!(suspicion.confirm(id(3)));
        let last = suspicion.deadline();
        assert!(!suspicion.confirm(id(4)), "two confirmations beyond the first are all");
        assert_eq!(suspicion.deadline(), last);
    }

    /// Rules F-8 and H-3: time that was granted is not taken back by a further accuser.
    #[test]
    fn accusers_do_not_take_granted_time_back() {
        let schedule = Schedule::new(&circumstances(100));
        let mut suspicion = Suspicion::begin(Instant::ORIGIN, schedule, id(1));
        let granted = Instant::ORIGIN + Duration::from_secs(30);
        suspicion.spare_until(granted);
        assert!(suspicion.deadline() > granted, "it has longer anyway");
        assert!(suspicion.confirm(id(2)) && suspicion.confirm(id(3)));
        assert_eq!(suspicion.deadline(), granted);
    }

    /// SWIM has one fixed timeout, whoever doubts.
    #[test]
    fn swim_waits_a_fixed_time() {
        let schedule = Schedule::new(&Circumstances { dynamic: false, ..circumstances(100) });
        assert_eq!(schedule.after(0), schedule.after(5));
        let small = Schedule::new(&Circumstances { dynamic: false, ..circumstances(3) });
        assert_eq!(small.after(0), Duration::from_secs(4));
    }

    /// Rule F-6: the promise, from the last contact and never below S/4.
    #[test]
    fn a_small_cluster_keeps_the_promise_from_the_last_contact() {
        let base = circumstances(3);
        let heard = |ago_ms| Some(base.now - Duration::from_millis(ago_ms));
        let wait = |last_contact| {
            Schedule::new(&Circumstances { last_contact, ..base }).after(0).as_millis()
        };
        assert_eq!(wait(heard(1_500)), 2_500, "last contact + 5 s − 1 s");
        assert_eq!(wait(heard(60_000)), 1_250, "never below S/4");
        assert_eq!(wait(None), 1_250);
    }

    /// Rule F-6: a contact since the start earns time, an older one does not.
    #[test]
    fn hearing_from_a_suspect_earns_it_time() {
        let base = circumstances(3);
        let schedule = Schedule::new(&base);
        let suspicion = Suspicion::begin(base.now, schedule, id(1));
        assert_eq!(suspicion.deadline_after_contact(base.now), None);
        let later = base.now + Duration::from_millis(900);
        let earned = later + Duration::from_secs(4);
        assert_eq!(suspicion.deadline_after_contact(later), Some(earned));
        let large = Suspicion::begin(base.now, Schedule::new(&circumstances(100)), id(1));
        assert_eq!(large.deadline_after_contact(later), None, "Lifeguard's formula stays as it is");
    }
}
