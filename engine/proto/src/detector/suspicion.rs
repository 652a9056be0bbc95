//! One suspect, one deadline (rules F-5 and F-6).
//!
//! A suspect has time to refute. The more members doubt it independently, the less: Lifeguard's
//! T(c) = max(min, max − (max − min)·ln(c+1)/ln(k+1)). In a small cluster the deadline follows
//! from the user's promise instead: so long after our last contact, whoever doubts.
//!
//! Invariants: the deadline only moves earlier, and an accuser counts once.

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
}

impl Schedule {
    /// The schedule under these circumstances.
    pub fn new(circumstances: &Circumstances) -> Self {
        let Circumstances { members, interval, suspicion_interval, dynamic, .. } = *circumstances;
        if dynamic && members <= KEEPS_ORDER && suspicion_interval >= interval * 5 {
            return Self::promised(circumstances);
        }
        let min = scale(interval * ALPHA, log10_micros(members).max(1_000_000));
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
        let fraction = ln_micros(c + 1) * 1_000_000 / ln_micros(self.confirmations + 1);
        let shortened = scale(self.max - self.min, fraction);
        self.max.saturating_sub(shortened).max(self.min)
    }
}

/// One suspicion.
#[derive(Clone, Debug)]
pub struct Suspicion {
    started: Instant,
    schedule: Schedule,
    deadline: Instant,
    accusers: Vec<MemberId>,
}

impl Suspicion {
    /// Begins with the first accuser.
    pub fn begin(now: Instant, schedule: Schedule, accuser: MemberId) -> Self {
        Self {
            started: now,
            schedule,
            deadline: now + schedule.after(0),
            accusers: Vec::from([accuser]),
        }
    }

    /// When it matures.
    pub fn deadline(&self) -> Instant {
        self.deadline
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

fn scale(duration: Duration, millionths: u64) -> Duration {
    let nanos = duration.as_nanos() * u128::from(millionths) / 1_000_000;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// ln of a small count, in millionths.
fn ln_micros(n: u32) -> u64 {
    const TABLE: [u64; 6] = [0, 693_147, 1_098_612, 1_386_294, 1_609_438, 1_791_759];
    let last = TABLE.len() - 1;
    assert!((1..=TABLE.len() as u32).contains(&n), "the table covers k ≤ {last}");
    TABLE[n as usize - 1]
}

/// log10 n in millionths, interpolated on the bits of n: exact at powers of two, at most 0.03
/// low between them.
fn log10_micros(n: usize) -> u64 {
    const LOG10_2: u64 = 301_030;
    let n = n.max(1) as u64;
    let bits = u64::from(n.ilog2());
    let fraction = ((n - (1 << bits)) * 1_000_000) >> bits;
    LOG10_2 * bits + LOG10_2 * fraction / 1_000_000
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
        }
    }

    /// Rule F-5: Lifeguard's T(c) with α = 4, β = 6, k = 2 at 100 members.
    #[test]
    fn independent_accusers_shorten_the_wait() {
        let schedule = Schedule::new(&circumstances(100));
        let ms: Vec<_> = (0..4).map(|c| schedule.after(c).as_millis()).collect();
        // min = 4·log10(100) s = 8 s, max = 48 s, ln2/ln3 of the way after one confirmation.
        assert!((7_900..=8_000).contains(&ms[2]), "{ms:?}");
        assert_eq!(ms[3], ms[2], "further ones change nothing");
        assert!((47_400..=48_000).contains(&ms[0]), "{ms:?}");
        let expected = ms[0] as f64 - (ms[0] - ms[2]) as f64 * 2f64.ln() / 3f64.ln();
        assert!((ms[1] as f64 - expected).abs() < 2.0, "{ms:?} against {expected}");
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

    #[test]
    fn logarithms_are_close() {
        for n in [1usize, 2, 10, 17, 100, 1_000, 100_000] {
            let exact = (n as f64).log10() * 1e6;
            let found = log10_micros(n) as f64;
            assert!(found <= exact + 1.0 && exact - found < 30_000.0, "{n}: {found} {exact}");
        }
        assert_eq!(log10_micros(1_024), 3_010_300);
    }
}
