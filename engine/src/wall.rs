//! Wall time as people read it, and the way there from a shard's monotonic clock.
//!
//! Invariant: nothing here reads a clock; both times of one moment are arguments.

use mesh_gossip_proto::{Instant, WallTime};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const RFC_3339: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+00:00");

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// On the shard's clock.
    pub(crate) instant: Instant,
    /// In wall time.
    pub(crate) wall: WallTime,
}

impl Moment {
    /// The wall time of another moment of the same clock; saturates at the epoch.
    pub(crate) fn wall_of(self, other: Instant) -> WallTime {
        let past = self.instant.since(other).as_millis() as u64;
        let ahead = other.since(self.instant).as_millis() as u64;
        WallTime(self.wall.0.saturating_sub(past).saturating_add(ahead))
    }
}

/// `2024-05-01T12:00:00.250+00:00`.
pub(crate) fn rfc3339(wall: WallTime) -> String {
    let nanos = i128::from(wall.0) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|time| time.format(RFC_3339).ok())
        // Past the year 9999: a clock that far off is shown as the epoch rather than as an error.
        .unwrap_or_else(|| "1970-01-01T00:00:00.000+00:00".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_carry_milliseconds_and_an_offset() {
        assert_eq!(rfc3339(WallTime(1_714_564_800_250)), "2024-05-01T12:00:00.250+00:00");
        assert_eq!(rfc3339(WallTime(u64::MAX)), rfc3339(WallTime(0)));
    }

    #[test]
    fn a_moment_maps_the_past_and_the_future() {
        let instant = Instant::from_nanos(5_000_000_000);
        let moment = Moment { instant, wall: WallTime(100_000) };
        assert_eq!(moment.wall_of(instant - Duration::from_millis(1_500)), WallTime(98_500));
        assert_eq!(moment.wall_of(instant + Duration::from_secs(2)), WallTime(102_000));
    }
}
