//! Observers of one member take turns at even distances (rule D-2).
//!
//! Every member cuts its own clock into periods and each period into as many slots as it has
//! observers. It tells each observer, in its ack, by how much the ping missed that observer's
//! slot; the observer plans its next turn accordingly. One ack is enough to fall into place, and
//! nobody needs to know the others. (Moving every observer towards the middle between its
//! neighbours, as in DESYNC by Degesys et al., IPSN 2007, needs 20 to 40 periods for the same.)
//!
//! Invariant: an error is at most half a period.

use crate::time::{Duration, Instant};

/// A smaller error is noise.
const DEAD_BAND_MS: u16 = 30;

/// At the observed member: by how many milliseconds a ping at `now` came after (positive) or
/// before the slot of its observer, number `slot` of `slots`, in a cycle of `period`.
pub fn error_ms(now: Instant, slot: usize, slots: usize, period: Duration) -> i16 {
    let period_ms = i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1);
    let now_ms = i64::try_from(now.as_nanos() / 1_000_000).unwrap_or(i64::MAX);
    let due_ms = period_ms * slot as i64 / slots.max(1) as i64;
    let late_ms = (now_ms - due_ms).rem_euclid(period_ms);
    let nearest_ms = if late_ms * 2 > period_ms { late_ms - period_ms } else { late_ms };
    // A period of more than a minute is corrected in steps.
    nearest_ms.clamp(-32_000, 32_000) as i16
}

/// At the observer: its next turn, after a ping sent at `sent` whose ack told `error_ms`; `None`
/// where that is no error, or the observed member knows no slot for us. Whoever was early by much
/// comes again within this period: so observers that met their subject at any moment fall into
/// place at once; `early` says by how much. A peer that tells nonsense moves its own turn by half a
/// period at most.
pub fn next_turn(
    sent: Instant,
    error_ms: i16,
    period: Duration,
    early: Duration,
) -> Option<Instant> {
    if error_ms.unsigned_abs() <= DEAD_BAND_MS {
        return None;
    }
    let step = Duration::from_millis(error_ms.unsigned_abs().into()).min(period / 2);
    Some(match (error_ms > 0, step > early) {
        (true, _) => sent + period - step,
        (false, true) => sent + step,
        (false, false) => sent + period + step,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Rule D-2: eight observers that start together are a second apart after one turn each.
    #[test]
    fn observers_spread_over_their_period() {
        let period = Duration::from_secs(8);
        let mut next: Vec<Instant> =
            (0..8).map(|n| Instant::ORIGIN + Duration::from_millis(10_000 + n * 13)).collect();
        for _ in 0..2 {
            for (slot, at) in next.iter_mut().enumerate() {
                let error = error_ms(*at, slot, 8, period);
                *at = next_turn(*at, error, period, period / 4).unwrap_or(*at + period);
            }
        }
        next.sort_unstable();
        let gaps: Vec<u128> = next.windows(2).map(|w| w[1].since(w[0]).as_millis()).collect();
        let close = |gap: &u128| (940..=1_060).contains(gap) || *gap > 7_000;
        assert!(gaps.iter().all(close), "{gaps:?}");
    }

    #[test]
    fn an_error_is_the_nearest_way_to_the_slot() {
        let period = Duration::from_secs(8);
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        assert_eq!(error_ms(at(80_000), 0, 8, period), 0);
        assert_eq!(error_ms(at(80_250), 0, 8, period), 250);
        assert_eq!(error_ms(at(80_250), 1, 8, period), -750);
        assert_eq!(error_ms(at(84_001), 0, 8, period), -3_999);
        assert_eq!(error_ms(at(5), 0, 0, Duration::ZERO), 0, "a lone member divides by nothing");
        let next = |error_ms| next_turn(at(1_000), error_ms, period, period / 4);
        assert_eq!(next(30), None, "within the dead band");
        assert_eq!(next(100), Some(at(8_900)));
        assert_eq!(next(-100), Some(at(9_100)));
        assert_eq!(next(-3_000), Some(at(4_000)), "in this period");
        let eager = next_turn(at(1_000), -100, period, Duration::ZERO);
        assert_eq!(eager, Some(at(1_100)), "whoever settles skips no slot");
        assert_eq!(next(i16::MIN), Some(at(5_000)));
    }
}
