//! How soon a dead member is gone: what the parameters of the detector `observers` add up to.
//!
//! The silence that is forgiven is nearly all of it. Before it, somebody's turn to look has to
//! come; after it, the news has to travel.
//!
//! Invariant: where the suspicion interval is a promise, the sum stays below it, with intervals of
//! 100 ms at least.

use super::{Config, log2_ceil};
use crate::time::Duration;

/// Lowest working ping timeout (rule F-2): on a fast link a ping counts as lost after so long.
pub(crate) const PING_FLOOR: Duration = Duration::from_millis(100);
/// A wake-up that comes later than this was a pause of ours (rule D-10): an ack that is in time may
/// wait in the socket. Drivers read their sockets before they tell a node of a deadline so old.
pub const LATE_WAKE_UP: Duration = PING_FLOOR;
/// With few updates queued a new one leaves after so long, together with its neighbours (rule G-3).
pub(crate) const SOON: Duration = Duration::from_millis(20);

/// Losses that make a leader of an observer whose link is clean: they come a ping timeout apart.
const SUSPICIOUS: u32 = 2;
/// Of two members one has nobody to ask: it wants thirty losses in a row (rule D-5). After the
/// first two the spacing of tests applies, and half a second from the 24th on.
const ALONE_SPACED: u32 = 22;
const ALONE_RARE: Duration = Duration::from_secs(3);

impl Config {
    /// The time from the death of a member to its removal from the last view that the detector
    /// `observers` achieves without loss, in 99 of 100 cases, among `members` members on fast
    /// links:
    ///
    /// one interval until an observer's turn comes, two lost pings of 100 ms each until it asks
    /// the others, [the grace](Config::grace_at) that each of them waits for itself, and 20 ms for
    /// each doubling of those who know: ⌈log2 n⌉.
    ///
    /// With two members nobody can be asked, and thirty lost pings take the place of the grace.
    pub fn achievable(&self, members: usize) -> Duration {
        let grace = self.grace_at(members);
        let judged = if members <= 2 {
            grace.max(spacing(grace) * ALONE_SPACED + ALONE_RARE)
        } else {
            grace
        };
        self.interval + PING_FLOOR * SUSPICIOUS + judged + SOON * log2_ceil(members)
    }

    /// The silence that the detector `observers` forgives among `members` members: `grace`. From 3
    /// to 16 members, where `suspicion_interval` is a promise if it is five intervals at least,
    /// no more than leaves room for what comes before and after it.
    pub fn grace_at(&self, members: usize) -> Duration {
        let (interval, promise) = (self.interval, self.suspicion_interval);
        if !(3..=16).contains(&members) || promise < interval * 5 {
            return self.grace;
        }
        let room = promise.saturating_sub(interval * 2 + Duration::from_millis(500));
        room.max(interval).min(self.grace)
    }
}

/// Between pings of a test: ten within the grace, at most one in 200 ms.
pub(crate) fn spacing(grace: Duration) -> Duration {
    (grace / 10).clamp(Duration::from_millis(10), Duration::from_millis(200))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn config(interval: Duration, promise: Duration, grace: Duration) -> Config {
        Config { interval, suspicion_interval: promise, grace, ..Config::new("c") }
    }

    /// The simulator's p99 without loss is 3.3 s at 128 members and 3.6 s at 100,000.
    #[test]
    fn the_defaults_achieve_what_was_measured() {
        let config = Config::new("c");
        for (members, ms) in [(2, 8_620), (3, 3_290), (16, 3_330), (128, 3_390), (100_000, 3_590)] {
            assert_eq!(config.achievable(members), Duration::from_millis(ms), "{members}");
        }
    }

    /// Rules D-7 and F-6: where the suspicion interval is a promise, the grace makes room for it.
    #[test]
    fn the_promise_bounds_the_grace_in_small_meshes_alone() {
        let patient = config(SECOND, SECOND * 5, SECOND * 20);
        assert_eq!(patient.grace_at(3), Duration::from_millis(2_500));
        assert_eq!(patient.grace_at(16), Duration::from_millis(2_500));
        assert_eq!((patient.grace_at(2), patient.grace_at(17)), (SECOND * 20, SECOND * 20));
        let hasty = config(SECOND, SECOND * 4, SECOND * 20);
        assert_eq!(hasty.grace_at(3), SECOND * 20, "four intervals promise nothing");
        for interval_ms in [100, 500, 1_000, 3_000] {
            let interval = Duration::from_millis(interval_ms);
            let config = config(interval, interval * 5, SECOND * 60);
            let achievable = config.achievable(16);
            assert!(achievable <= config.suspicion_interval, "{interval:?}: {achievable:?}");
        }
    }
}
