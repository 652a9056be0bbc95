//! Is our clock right? (rule S-12)
//!
//! The start of a life is read from the wall clock, so a clock that is far off makes a generation
//! that others hold back or that they have left behind. Before it matters much the seeds are asked
//! for the time; if most of them say that ours is off, we had better say nothing.
//!
//! Invariants: a seed has one sample, its newest; only what we asked for counts.

use alloc::vec::Vec;

use crate::member::MemberId;
use crate::time::{Duration, Instant, WallTime};

/// So far may clocks be apart.
pub const TOLERANCE: Duration = Duration::from_secs(600);
/// Seeds asked.
const MOST: usize = 16;
/// A seed is asked at most so often.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
struct Sample {
    seed: MemberId,
    asked: Instant,
    token: u64,
    /// Our time less its time, milliseconds, once it answered.
    ahead_ms: Option<i64>,
}

/// Our clock and what seeds say of theirs.
#[derive(Clone, Debug)]
pub struct Clocks {
    began: Instant,
    wall: WallTime,
    samples: Vec<Sample>,
}

impl Clocks {
    /// The wall clock showed `wall` at `began`.
    pub fn new(began: Instant, wall: WallTime) -> Self {
        Self { began, wall, samples: Vec::new() }
    }

    /// When our life began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// What the wall clock shows, unless it was set meanwhile.
    pub fn wall(&self, now: Instant) -> WallTime {
        let since = u64::try_from(now.since(self.began).as_millis()).unwrap_or(u64::MAX);
        WallTime(self.wall.0.saturating_add(since))
    }

    /// Whether a generation lies too far ahead of us to be believed.
    pub fn is_ahead(&self, now: Instant, generation: u64) -> bool {
        generation > self.latest(now)
    }

    /// The last generation that is believed at `now`.
    fn latest(&self, now: Instant) -> u64 {
        self.wall(now).0.saturating_add(TOLERANCE.as_millis() as u64)
    }

    /// Whether to ask a seed at `now`; `again` if it has answered before. The token is to come back.
    pub fn ask(&mut self, now: Instant, seed: MemberId, token: u64, again: bool) -> bool {
        let room = self.samples.len() < MOST;
        match self.samples.iter_mut().find(|sample| sample.seed == seed) {
            Some(sample) => {
                let due = now.since(sample.asked) >= PAUSE;
                let wanted = again || sample.ahead_ms.is_none();
                if due && wanted {
                    (sample.asked, sample.token) = (now, token);
                }
                due && wanted
            }
            None if room => {
                self.samples.push(Sample { seed, asked: now, token, ahead_ms: None });
                true
            }
            None => false,
        }
    }

    /// A seed answered; says whether that counts.
    pub fn answered(&mut self, now: Instant, from: MemberId, token: u64, wall: WallTime) -> bool {
        let ours = self.wall(now);
        let asked = |sample: &&mut Sample| sample.seed == from && sample.token == token;
        match self.samples.iter_mut().find(asked) {
            Some(sample) => {
                let magnitude = i64::try_from(ours.0.abs_diff(wall.0)).unwrap_or(i64::MAX);
                sample.ahead_ms = Some(if ours >= wall { magnitude } else { -magnitude });
                // An answer is an answer to one question.
                sample.token = token.wrapping_add(1);
                true
            }
            None => false,
        }
    }

    /// By how many milliseconds our clock is ahead (or behind, if negative) of the median of the
    /// seeds, if that is more than we tolerate.
    pub fn off_by(&self) -> Option<i64> {
        let mut ahead: Vec<i64> = self.samples.iter().filter_map(|s| s.ahead_ms).collect();
        ahead.sort_unstable();
        // Of two in the middle the one that is kinder to us: one seed alone silences nobody who has
        // heard another.
        let middle = ahead.len() / 2;
        let middles = [middle.saturating_sub(usize::from(ahead.len().is_multiple_of(2))), middle];
        let median = middles.iter().filter_map(|at| ahead.get(*at)).min_by_key(|ms| ms.abs())?;
        let most = TOLERANCE.as_millis() as u64;
        (median.unsigned_abs() > most).then_some(*median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    fn told(by_minutes: &[i64]) -> Option<i64> {
        let mut clocks = Clocks::new(at(0), WallTime(10_000_000_000));
        for (n, minutes) in by_minutes.iter().enumerate() {
            let seed = id(n as u8);
            assert!(clocks.ask(at(60), seed, 7, false));
            let theirs = WallTime((10_000_060_000 - minutes * 60_000) as u64);
            assert!(!clocks.answered(at(60), seed, 8, theirs), "not what we asked");
            assert!(!clocks.answered(at(60), id(99), 7, theirs), "nor whom");
            assert!(clocks.answered(at(60), seed, 7, theirs));
            assert!(!clocks.answered(at(60), seed, 7, WallTime(0)), "once");
        }
        clocks.off_by()
    }

    /// Rule S-12.
    #[test]
    fn most_seeds_tell_whether_a_clock_is_off() {
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[10]), None, "tolerated");
        assert_eq!(told(&[11]), Some(660_000));
        assert_eq!(told(&[-11]), Some(-660_000));
        assert_eq!(told(&[600, 0]), None, "of two one may be the one that is wrong");
        assert_eq!(told(&[600, 20]), Some(1_200_000));
        assert_eq!(told(&[600, 1, -2]), None);
        assert_eq!(told(&[600, 12, -2]), Some(720_000));
    }

    #[test]
    fn a_seed_is_asked_once_and_so_many_are() {
        let mut clocks = Clocks::new(at(0), WallTime(1_000));
        assert!(clocks.ask(at(0), id(1), 1, false) && !clocks.ask(at(0), id(1), 2, false));
        assert!(clocks.ask(at(1), id(1), 3, false), "it has not answered");
        assert!(!clocks.answered(at(1), id(1), 1, WallTime(0)), "an answer of before");
        assert!(clocks.answered(at(1), id(1), 3, WallTime(2_000)));
        assert!(!clocks.ask(at(9), id(1), 4, false) && clocks.ask(at(9), id(1), 4, true));
        assert_eq!((2..30).filter(|n| clocks.ask(at(9), id(*n), 1, false)).count(), MOST - 1);
        assert_eq!(clocks.wall(at(2)), WallTime(3_000));
        assert!(clocks.is_ahead(at(2), 603_001) && !clocks.is_ahead(at(2), 603_000));
    }
}
