//! Whether the machine was ours while something was measured.
//!
//! Whoever works beside takes turns, which batches that are not counted make up for, and places in
//! the caches, which nothing makes up for. A share measured then says nothing of the code.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// What others may take of one core before a clock decides nothing: what a machine at rest does for
/// itself is a hundredth.
pub(crate) const CALM: f64 = 0.1;

/// What the same calls may take more in one run than in another: neighbours on the host are not seen
/// otherwise.
pub(crate) const STEADY: f64 = 1.02;

/// What the kernel counts in towards programs, on every architecture that we build for.
const TICK: Duration = Duration::from_millis(10);

/// The processors' account of one moment.
pub(crate) struct Account {
    all: Duration,
    own: Duration,
    at: Instant,
}

impl Account {
    /// As of now.
    ///
    /// # Errors
    /// `/proc/stat` cannot be read.
    pub(crate) fn read() -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/stat")?;
        let ticks = spent(&text).ok_or(io::ErrorKind::InvalidData)?;
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let time = |value: nix::sys::time::TimeVal| {
            Duration::from_micros(
                u64::try_from(value.tv_sec() * 1_000_000 + value.tv_usec()).unwrap_or(0),
            )
        };
        let own = time(usage.user_time()) + time(usage.system_time());
        Ok(Self { all: TICK.mul_f64(ticks as f64), own, at: Instant::now() })
    }

    /// What others took since, as a share of one core; the host of a virtual machine is one of them.
    pub(crate) fn others_since(&self, before: &Self) -> f64 {
        let took = (self.all.saturating_sub(before.all)).saturating_sub(self.own - before.own);
        took.as_secs_f64() / (self.at - before.at).as_secs_f64().max(1e-9)
    }
}

/// Ticks that all processors spent on processes, and those that the host took. Interrupts are left
/// out: on loopback they are our own datagrams.
fn spent(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal.
    [0, 1, 2, 7].into_iter().map(|place| ticks.get(place).copied()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_and_idleness_are_nobodys_work() {
        let text = "cpu  10 20 30 1000 2000 3000 4000 5 6 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(spent(text), Some(65));
        assert_eq!(spent("cpu  1 2 3"), None);
        assert_eq!(spent("intr 5"), None);
    }

    #[test]
    fn what_we_spend_ourselves_is_not_others() {
        let account = |all, own, at| Account {
            all: Duration::from_millis(all),
            own: Duration::from_millis(own),
            at,
        };
        let now = Instant::now();
        let (before, after) =
            (account(1_000, 300, now), account(3_000, 1_800, now + Duration::from_secs(2)));
        assert!((after.others_since(&before) - 0.25).abs() < 1e-9);
    }
}
