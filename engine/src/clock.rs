//! The only place that reads a clock.
//!
//! Invariant: `now` never goes back; wall time is read for certificates, generations and people,
//! never for timers.

use std::time::{SystemTime, UNIX_EPOCH};

use mesh_gossip_proto::{Duration, Instant, WallTime};

/// Monotonic time since the engine's start, and wall time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// Starts at one second, so that "long ago" can be subtracted without saturating.
    pub(crate) fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// Monotonic time.
    pub(crate) fn now(&self) -> Instant {
        let elapsed = self.origin.elapsed() + Duration::from_secs(1);
        Instant::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Wall time.
pub(crate) fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The kernel's name for this run of the machine; `None` where it tells none.
pub(crate) fn boot_id() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}

/// Notices that the machine was cloned or restored: its two clocks part (rule S-4).
///
/// A snapshot that is resumed elsewhere continues with the counters of its original; both would
/// seal different plaintext under one nonce. The monotonic clock stands still while a machine is
/// frozen and wall time does not, so a leap between the two is the signal. A stepped wall clock
/// looks the same and costs a few handshakes. A process that was moved to another machine sees
/// another boot id.
#[derive(Clone, Debug)]
pub(crate) struct CloneSignal {
    last: (Instant, WallTime),
    boot: Option<String>,
    next_boot_check: Instant,
}

/// How often the boot id is read; the clocks are compared at every look.
const BOOT_CHECK: Duration = Duration::from_secs(1);

/// The clocks may drift apart so much between two looks.
const LEAP_MS: u64 = 10_000;

impl CloneSignal {
    pub(crate) fn new(now: Instant, wall: WallTime, boot: Option<String>) -> Self {
        Self { last: (now, wall), boot, next_boot_check: now + BOOT_CHECK }
    }

    /// Looks at everything that is due; says whether the machine was cloned, restored or left.
    pub(crate) fn fired(
        &mut self,
        now: Instant,
        wall: WallTime,
        boot_id: impl FnOnce() -> Option<String>,
    ) -> bool {
        let parted = self.clocks_parted(now, wall);
        if now < self.next_boot_check {
            return parted;
        }
        self.next_boot_check = now + BOOT_CHECK;
        self.moved(boot_id()) || parted
    }

    /// Looks at the boot id; says whether it is another one.
    fn moved(&mut self, boot: Option<String>) -> bool {
        std::mem::replace(&mut self.boot, boot) != self.boot
    }

    /// Looks at both clocks; says whether they parted since the last look.
    fn clocks_parted(&mut self, now: Instant, wall: WallTime) -> bool {
        let (last_now, last_wall) = std::mem::replace(&mut self.last, (now, wall));
        let monotonic = now.since(last_now).as_millis();
        let expected = u128::from(last_wall.0) + monotonic;
        u128::from(wall.0).abs_diff(expected) > u128::from(LEAP_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-4.
    #[test]
    fn a_leap_between_the_clocks_is_a_signal_and_drift_is_not() {
        let at = |s: u64| Instant::from_nanos(s * 1_000_000_000);
        let mut signal = CloneSignal::new(at(10), WallTime(1_000_000), Some("a".into()));
        assert!(!signal.clocks_parted(at(11), WallTime(1_001_000)));
        assert!(!signal.clocks_parted(at(12), WallTime(1_010_000)), "nine seconds of adjustment");
        assert!(signal.clocks_parted(at(13), WallTime(9_010_000)), "resumed hours later");
        assert!(!signal.clocks_parted(at(14), WallTime(9_011_000)), "once");
        assert!(signal.clocks_parted(at(15), WallTime(1_000_000)), "set back");
        assert!(signal.moved(Some("b".into())), "moved");
        assert!(!signal.moved(Some("b".into())), "once");
    }

    /// Rule S-4: the clocks are compared at each look, the boot id is read once a second, and either
    /// of them is the signal.
    #[test]
    fn either_signal_of_a_clone_fires_and_the_boot_id_is_read_once_a_second() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let mut signal = CloneSignal::new(at(10_000), WallTime(0), Some("a".into()));
        let mut reads = 0;
        let mut look = |ms: u64, wall: u64, boot: &str| {
            let boot_id = || {
                reads += 1;
                Some(boot.to_owned())
            };
            signal.fired(at(ms), WallTime(wall), boot_id)
        };
        assert!(
            (1..100).all(|turn| !look(10_000 + turn * 10, turn * 10, "a")),
            "an ordinary second"
        );
        assert!(!look(11_000, 1_000, "a"), "read, and the same");
        assert!(!look(11_500, 1_500, "b"), "not read yet");
        assert!(look(12_000, 2_000, "b"), "moved");
        assert!(!look(13_000, 3_000, "b"), "once");
        assert!(look(13_010, 33_010, "b"), "the wall clock leapt");
        assert!(look(14_000, 99_000, "c"), "both");
        assert!(!look(15_000, 100_000, "c"));
        assert_eq!(reads, 5);
    }
}
