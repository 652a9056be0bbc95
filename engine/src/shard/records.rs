//! How a shard keeps time: how late its deadlines are, how much a turn brings, and how long after
//! the system call that sent a ping its ack is read.
//!
//! The round-trip time that the protocol knows begins when a ping was decided on. The rest of the
//! decision's batch stands between that and the system call, so the part that is the network's and
//! the peer's is told apart here.
//!
//! Invariant: recording takes no lock and no memory. What is told covers the last one to two
//! minutes, whoever asks and how often.

use std::fmt;

use hdrhistogram::Histogram;
use mesh_gossip_proto::{Duration, Instant};

/// Two of these are told.
const WINDOW: Duration = Duration::from_secs(60);
/// Longer times and larger turns count as these.
const MOST_US: u64 = 60_000_000;
const MOST_DATAGRAMS: u64 = 1_024;
/// Significant digits: one in a hundred is exact enough, and small enough for the cache.
const DIGITS: u8 = 2;
/// Sends remembered until their acks are read: an ack that comes later is not recorded.
const SENDS: usize = 1_024;

/// The distribution of what was recorded of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Values recorded.
    pub count: u64,
    /// The middle one.
    pub p50: u64,
    /// 99 of a hundred are at most this.
    pub p99: u64,
    /// 999 of a thousand are.
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

/// What a shard recorded of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// How late deadlines were acted on, in microseconds.
    pub lag_us: Quantiles,
    /// Datagrams of a turn that brought any.
    pub turn_datagrams: Quantiles,
    /// From the system call that sent a ping until its ack was read, in microseconds.
    pub send_to_ack_us: Quantiles,
}

/// The recorder of a shard.
pub(super) struct Records {
    since: Instant,
    lag: Recent,
    turns: Recent,
    acks: Recent,
    /// When the last turns that sent anything entered the kernel, oldest first; a ring.
    sends: Box<[Instant]>,
    sent: usize,
    sending: bool,
    read_at: Instant,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("since", &self.since).finish_non_exhaustive()
    }
}

impl Records {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            lag: Recent::new(MOST_US),
            turns: Recent::new(MOST_DATAGRAMS),
            acks: Recent::new(MOST_US),
            sends: vec![now; SENDS].into(),
            sent: 0,
            sending: false,
            read_at: now,
        }
    }

    /// A deadline was acted on so late.
    pub(super) fn late(&mut self, by: Duration) {
        self.lag.record(micros(by));
    }

    /// Something was queued for the next turn to send.
    pub(super) fn queued(&mut self) {
        self.sending = true;
    }

    /// A turn begins; the clock is read only where that matters.
    pub(super) fn turn_begins(&mut self, clock: impl FnOnce() -> Instant) {
        if std::mem::take(&mut self.sending) {
            self.sends[self.sent % SENDS] = clock();
            self.sent += 1;
        }
    }

    /// A turn ended that read so many datagrams.
    pub(super) fn turn_read(&mut self, at: Instant, datagrams: usize) {
        self.read_at = at;
        self.turns.record(datagrams as u64);
    }

    /// Forgets what is older than two windows.
    pub(super) fn forget(&mut self, now: Instant) {
        if now.since(self.since) >= WINDOW {
            self.since = now;
            for recent in [&mut self.lag, &mut self.turns, &mut self.acks] {
                recent.turn_over();
            }
        }
    }

    /// A datagram of the last turn was the ack of a ping that was decided on `rtt` before.
    pub(super) fn acked(&mut self, rtt: Duration) {
        if let Some(sent) = self.sent_after(self.read_at - rtt) {
            self.acks.record(micros(self.read_at.since(sent)));
        }
    }

    /// The first send at or after `decided`, if it is still remembered.
    fn sent_after(&self, decided: Instant) -> Option<Instant> {
        let (count, oldest) = (self.sent.min(SENDS), self.sent.saturating_sub(SENDS));
        let send = |nth: usize| self.sends[(oldest + nth) % SENDS];
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = (low + high) / 2;
            if send(middle) < decided { low = middle + 1 } else { high = middle }
        }
        // Were it the oldest, its own send may have been forgotten.
        let is_certain = low > 0 || oldest == 0;
        (low < count && is_certain).then(|| send(low)).filter(|sent| *sent <= self.read_at)
    }

    /// What was recorded of late.
    pub(super) fn recorded(&self) -> Recorded {
        Recorded {
            lag_us: self.lag.quantiles(),
            turn_datagrams: self.turns.quantiles(),
            send_to_ack_us: self.acks.quantiles(),
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Values of this window and of the one before.
struct Recent {
    this: Histogram<u32>,
    last: Histogram<u32>,
}

impl Recent {
    fn new(most: u64) -> Self {
        let histogram =
            Histogram::new_with_bounds(1, most, DIGITS).expect("the bounds are in order");
        Self { last: histogram.clone(), this: histogram }
    }

    fn record(&mut self, value: u64) {
        self.this.saturating_record(value);
    }

    fn turn_over(&mut self) {
        std::mem::swap(&mut self.this, &mut self.last);
        self.this.reset();
    }

    fn quantiles(&self) -> Quantiles {
        let mut both = self.last.clone();
        both.add(&self.this).expect("their bounds are the same");
        Quantiles {
            count: both.len(),
            p50: both.value_at_quantile(0.5),
            p99: both.value_at_quantile(0.99),
            p999: both.value_at_quantile(0.999),
            max: both.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(1) + Duration::from_micros(us)
    }

    #[test]
    fn the_time_before_the_system_call_is_not_the_networks() {
        let mut records = Records::new(at(0));
        // Decided on at 100, handed to the kernel at 400, its ack read at 1,000.
        records.queued();
        records.turn_begins(|| at(400));
        records.turn_read(at(1_000), 3);
        records.acked(Duration::from_micros(900));
        // A turn that sends nothing is no system call that a ping could have left with.
        records.turn_begins(|| unreachable!("nothing was queued"));
        records.turn_read(at(2_000), 1);
        let recorded = records.recorded();
        assert_eq!(recorded.send_to_ack_us.count, 1);
        assert!((594..=606).contains(&recorded.send_to_ack_us.max), "{recorded:?}");
        assert_eq!((recorded.turn_datagrams.count, recorded.turn_datagrams.max), (2, 3));
    }

    #[test]
    fn an_ack_finds_its_own_send_among_many_and_none_that_was_forgotten() {
        let mut records = Records::new(at(0));
        for turn in 0..3 * SENDS as u64 {
            records.queued();
            records.turn_begins(|| at(100 * turn + 10));
        }
        let end = 100 * 3 * SENDS as u64;
        records.turn_read(at(end), 1);
        // Decided on at the start of the last turn but nine.
        records.acked(Duration::from_micros(1_000));
        let acks = records.recorded().send_to_ack_us;
        assert!((980..=1_000).contains(&acks.max) && acks.count == 1, "{acks:?}");
        records.acked(Duration::from_micros(100 * 2 * SENDS as u64));
        assert_eq!(records.recorded().send_to_ack_us.count, 1);
    }

    #[test]
    fn only_the_last_two_windows_are_told() {
        let mut records = Records::new(at(0));
        records.late(Duration::from_secs(3_600));
        assert_eq!(records.recorded().lag_us.count, 1, "longer than the longest counts as that");
        let minute = 60_000_000;
        records.forget(at(minute));
        assert_eq!(records.recorded().lag_us.count, 1);
        records.late(Duration::from_micros(5));
        records.forget(at(2 * minute));
        let lag = records.recorded().lag_us;
        assert_eq!((lag.count, lag.max), (1, 5));
    }
}
