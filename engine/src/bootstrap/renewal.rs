//! When to renew a certificate.
//!
//! A milk bottle is replaced well before its date: at two thirds of its life, a little earlier for
//! some, so that a fleet that was installed in one minute does not come back in one minute. When
//! the shop is closed the way there is tried again, at first soon, then less often.
//!
//! Invariants: a renewal is due in the last fifteenth before two thirds of the life, never later;
//! retries are never further apart than a twentieth of the life or an hour, nor closer than half a
//! second.

use std::time::{Duration, SystemTime};

/// First pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// The schedule of one certificate. Time and randomness are arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewer {
    not_before: SystemTime,
    life: Duration,
    due: SystemTime,
    failures: u32,
}

impl Renewer {
    /// For a certificate of this lifetime; `random` spreads the due times of a fleet.
    pub fn new(not_before: SystemTime, not_after: SystemTime, random: u64) -> Self {
        let life = not_after.duration_since(not_before).unwrap_or(Duration::ZERO);
        let earlier = share(life / 15, random);
        let due = not_before + (life / 3 * 2).saturating_sub(earlier);
        Self { not_before, life, due, failures: 0 }
    }

    /// When to try, for the first time or again.
    pub fn due(&self) -> SystemTime {
        self.due
    }

    /// How long to wait from `now`; nothing when it is time.
    pub fn wait(&self, now: SystemTime) -> Duration {
        self.due.duration_since(now).unwrap_or(Duration::ZERO)
    }

    /// Notes that a try failed; returns the pause before the next one.
    pub fn failed(&mut self, now: SystemTime, random: u64) -> Duration {
        let longest = LONGEST_PAUSE.min(self.life / 20).max(Duration::from_secs(1));
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(longest);
        // Half of it is certain, half is spread.
        let pause = pause / 2 + share(pause / 2, random);
        self.failures += 1;
        self.due = now + pause;
        pause
    }

    /// Tries that failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether three quarters of the life are over: somebody should be told (rule S-15).
    pub fn is_alarming(&self, now: SystemTime) -> bool {
        now >= self.not_before + self.life / 4 * 3
    }
}

/// A part of `span` between nothing and all, as `random` says.
fn share(span: Duration, random: u64) -> Duration {
    span.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    fn renewer(days: u32, random: u64) -> Renewer {
        Renewer::new(start(), start() + days * DAY, random)
    }

    #[test]
    fn a_fleet_is_spread_over_a_fifteenth_and_never_later_than_two_thirds() {
        assert_eq!(renewer(90, 0).due(), start() + 60 * DAY);
        let earliest = renewer(90, u64::MAX).due();
        assert_eq!(earliest, start() + 54 * DAY);
        let middle = renewer(90, u64::MAX / 2).due();
        assert!(earliest < middle && middle < start() + 60 * DAY);
        assert!(!renewer(90, 0).is_alarming(start() + 60 * DAY));
        assert!(renewer(90, 0).is_alarming(start() + 68 * DAY));
    }

    #[test]
    fn failures_pause_longer_each_time_and_never_beyond_the_bound() {
        let mut renewer = renewer(90, 0);
        let now = renewer.due();
        assert_eq!(renewer.wait(now), Duration::ZERO);
        let pauses: Vec<u64> = (0..9).map(|_| renewer.failed(now, u64::MAX).as_secs()).collect();
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]);
        assert_eq!((renewer.failures(), renewer.wait(now)), (9, LONGEST_PAUSE));
        assert_eq!(renewer.failed(now, 0), LONGEST_PAUSE / 2);
        for _ in 0..100 {
            renewer.failed(now, 7);
        }
        assert!(renewer.wait(now) <= LONGEST_PAUSE);
    }

    #[test]
    fn a_short_life_is_retried_many_times_before_its_end() {
        let mut renewer = Renewer::new(start(), start() + Duration::from_secs(60), 0);
        let (mut now, mut tries) = (renewer.due(), 0);
        while now < start() + Duration::from_secs(60) {
            now += renewer.failed(now, u64::MAX);
            tries += 1;
        }
        assert!(tries >= 6, "{tries}");
        // No life at all is due at once and does not panic.
        assert_eq!(Renewer::new(start(), start(), 1).wait(start()), Duration::ZERO);
    }
}
