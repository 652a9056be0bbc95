//! What happened, in the order in which it happened, whoever told of it first.
//!
//! Hosts hear of an event a moment after it took place, and not all after the same moment. So events
//! and acts wait here until nothing earlier can come any more, and go to the measure by their time.
//!
//! Invariant: the measure sees times that never go back, whatever the order of arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_gossip::proto::{Instant, MemberId};

use crate::measure::{Findings, Measure, Seen};

/// Nothing takes longer from a shard to its host; what does is taken as of the latest moment seen.
const LAG: Duration = Duration::from_secs(1);

/// Wall time as the measure's clock; events bear it in milliseconds.
pub(super) fn now() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    at_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The same of milliseconds.
pub(super) fn at_ms(wall_ms: u64) -> Instant {
    Instant::from_nanos(wall_ms.saturating_mul(1_000_000))
}

/// Something that the measure has to know.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A host was told that a member is so.
    Told { by: usize, seen: Seen },
    /// The measured window opens; changes are counted for each pair, if wished.
    Opened { pairs: bool },
    /// These were killed at one instant.
    Killed(Vec<usize>),
    /// A killed one runs again.
    Restarted(usize),
    /// These are at fault and are to be expelled,
    Outcast(Vec<usize>),
    /// and these are at fault and are not.
    Impaired(Vec<usize>),
    /// The first nodes, so many, cannot reach the others.
    Parted(usize),
    /// All reach all again.
    Healed,
}

/// An entry in its place: by time, then as it came.
struct Placed {
    at: Instant,
    number: u64,
    entry: Entry,
}

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Placed {}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Entries that wait, and the measure that they go to.
pub(super) struct Timeline {
    measure: Measure,
    waiting: BinaryHeap<Reverse<Placed>>,
    entered: u64,
    told: u64,
    latest: Instant,
    warmup_false_deaths: u64,
}

impl Timeline {
    /// For hosts with these ids.
    pub(super) fn new(now: Instant, ids: impl IntoIterator<Item = MemberId>) -> Self {
        Self {
            measure: Measure::new(now, ids),
            waiting: BinaryHeap::new(),
            entered: 0,
            told: 0,
            latest: now,
            warmup_false_deaths: 0,
        }
    }

    /// This happened then.
    pub(super) fn enter(&mut self, at: Instant, entry: Entry) {
        self.entered += 1;
        self.waiting.push(Reverse(Placed { at, number: self.entered, entry }));
    }

    /// Hosts were told so many events, whatever they were.
    pub(super) fn count(&mut self, events: u64) {
        self.told += events;
    }

    /// Hands on what is old enough.
    pub(super) fn settle(&mut self, now: Instant) {
        let last = Instant::from_nanos(now.as_nanos().saturating_sub(LAG.as_nanos() as u64));
        self.hand_on(last);
    }

    /// What the window showed, which ends at this moment, and false deaths before it opened.
    pub(super) fn close(mut self, end: Instant) -> (Findings, u64) {
        self.hand_on(end);
        (self.measure.findings(end), self.warmup_false_deaths)
    }

    /// Events that hosts were told.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    fn hand_on(&mut self, last: Instant) {
        while self.waiting.peek().is_some_and(|Reverse(first)| first.at <= last) {
            let Some(Reverse(Placed { at, entry, .. })) = self.waiting.pop() else { return };
            self.latest = self.latest.max(at);
            self.take(self.latest, entry);
        }
    }

    fn take(&mut self, at: Instant, entry: Entry) {
        let measure = &mut self.measure;
        match entry {
            // Whose verdict it is, a host is not told.
            Entry::Told { by, seen } => measure.seen(at, by, seen, false),
            Entry::Opened { pairs } => {
                self.warmup_false_deaths += measure.reopen(at);
                if pairs {
                    measure.count_pairs();
                }
            }
            Entry::Killed(nodes) => measure.killed(at, &nodes),
            Entry::Restarted(node) => measure.restarted(at, node),
            Entry::Outcast(nodes) => measure.outcast(at, &nodes),
            Entry::Impaired(nodes) => measure.impaired(at, &nodes),
            Entry::Parted(first) => measure.parted(first),
            Entry::Healed => measure.healed(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::How;

    fn joined(by: usize, subject: u8) -> Entry {
        Entry::Told { by, seen: Seen { subject: MemberId([subject; 16]), how: How::Joined } }
    }

    fn timeline(nodes: u8) -> Timeline {
        Timeline::new(at_ms(1_000), (0..nodes).map(|node| MemberId([node; 16])))
    }

    #[test]
    fn a_late_word_takes_its_place_before_what_came_after_it() {
        let mut line = timeline(4);
        line.enter(at_ms(2_000), Entry::Opened { pairs: false });
        line.enter(at_ms(9_000), Entry::Restarted(1));
        line.enter(at_ms(3_000), Entry::Killed(vec![1]));
        line.enter(at_ms(9_000), joined(0, 2));
        let (found, _) = line.close(at_ms(10_000));
        assert_eq!(found.lived, Duration::from_secs(3 * 8 + 1 + 1), "killed before it came back");
    }

    #[test]
    fn what_may_still_be_preceded_waits() {
        let mut line = timeline(2);
        line.enter(at_ms(5_000), joined(1, 0));
        line.settle(at_ms(5_999));
        assert_eq!(line.waiting.len(), 1);
        line.settle(at_ms(6_000));
        assert_eq!(line.waiting.len(), 0);
    }
}
