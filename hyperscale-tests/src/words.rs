//! Words of hosts in a simulated mesh: who says what, who has heard it, and when.
//!
//! A host now and then says something to all. A word is judged when it has had time to spread: by
//! the last of the members that were there all along.
//!
//! Invariant: a word is judged once; who came, went or said it himself is not waited for.

use std::collections::VecDeque;
use std::time::Duration;

use mesh_gossip_proto::{Broadcast, Event, Instant};
use serde::{Deserialize, Serialize};

use crate::watch::{Roll, Watch};

/// What words are said under.
const TOPIC: u16 = 7;
/// Bytes of a word.
const BYTES: usize = 64;
/// A word that has not come after so long is missed.
const SETTLED: Duration = Duration::from_secs(10);
/// A member that has run for so long is one: a rejoin takes so long at most (H12).
const MEMBER_FROM: Duration = Duration::from_secs(3);
/// What was said so shortly before a death may never have left.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A word under way.
struct Word {
    at: Instant,
    origin: usize,
    /// Milliseconds until each node heard it, and one; 0: it has not.
    heard: Vec<u16>,
    void: bool,
}

/// What words showed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Heard {
    /// Words said.
    pub said: usize,
    /// Words that a node refused to say.
    pub refused: usize,
    /// For each that reached every member: when the last of them had it.
    pub full: Vec<Duration>,
    /// Words that some member missed.
    pub missed: usize,
    /// Members that missed one, added up.
    pub missed_by: u64,
    /// Times that a host was told twice.
    pub twice: u64,
    /// The longest that an update of members waited to be sent for the first time.
    pub update_age: Duration,
}

impl Heard {
    /// Words judged.
    pub fn judged(&self) -> usize {
        self.full.len() + self.missed
    }

    /// Time until all have a word, in milliseconds, for this share of all words; none where so many
    /// never reached all.
    pub fn within(&self, share: f64) -> Option<f64> {
        let mut times: Vec<Duration> = self.full.clone();
        times.sort_unstable();
        let rank = (share * self.judged() as f64).ceil() as usize;
        times.get(rank.saturating_sub(1)).map(|time| crate::measure::ms(*time))
    }

    /// Takes in what another run showed.
    pub fn merge(&mut self, other: Self) {
        self.said += other.said;
        self.refused += other.refused;
        self.full.extend(other.full);
        self.missed += other.missed;
        self.missed_by += other.missed_by;
        self.twice += other.twice;
        self.update_age = self.update_age.max(other.update_age);
    }
}

/// Listens.
#[derive(Default)]
pub struct Words {
    under_way: VecDeque<Word>,
    /// Number of the first that is under way.
    first: u64,
    found: Heard,
}

impl Words {
    /// The next word, said by a node at this moment, if it does.
    pub fn next(&self) -> Broadcast {
        let number = self.first + self.under_way.len() as u64;
        let mut bytes = vec![0; BYTES];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Broadcast { topic: TOPIC, key: None, bytes }
    }

    /// It was said, or refused, by `origin`, one of `nodes`.
    pub fn said(&mut self, at: Instant, origin: usize, nodes: usize, taken: bool) {
        self.found.said += usize::from(taken);
        self.found.refused += usize::from(!taken);
        self.under_way.push_back(Word { at, origin, heard: vec![0; nodes], void: !taken });
    }

    /// Updates of some node have waited for so long.
    pub fn waited(&mut self, age: Duration) {
        self.found.update_age = self.found.update_age.max(age);
    }

    /// Judges what has had time to spread.
    pub fn settle(&mut self, now: Instant, roll: &Roll) {
        while self.under_way.front().is_some_and(|word| now.since(word.at) >= SETTLED) {
            let Some(word) = self.under_way.pop_front() else { return };
            self.first += 1;
            if !word.void {
                self.judge(&word, roll);
            }
        }
    }

    fn judge(&mut self, word: &Word, roll: &Roll) {
        let there = |node: &usize| {
            let standing = roll.standing(*node);
            standing.up && standing.since + MEMBER_FROM <= word.at && *node != word.origin
        };
        let (mut last, mut missing) = (0, 0);
        for node in (0..word.heard.len()).filter(there) {
            missing += u64::from(word.heard[node] == 0);
            last = last.max(word.heard[node]);
        }
        if missing > 0 {
            self.found.missed += 1;
            self.found.missed_by += missing;
        } else {
            self.found.full.push(Duration::from_millis(u64::from(last.saturating_sub(1))));
        }
    }

    /// What they showed.
    pub fn found(&mut self, now: Instant, roll: &Roll) -> Heard {
        self.settle(now, roll);
        std::mem::take(&mut self.found)
    }
}

impl Watch for Words {
    fn event(&mut self, at: Instant, by: usize, event: &Event, _roll: &Roll) {
        let Event::Broadcast { topic: TOPIC, bytes, .. } = event else { return };
        let number = bytes.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number));
        let Some(place) = number.checked_sub(self.first) else { return };
        let Some(word) = self.under_way.get_mut(place as usize) else { return };
        if let Some(heard) = word.heard.get_mut(by) {
            self.found.twice += u64::from(*heard != 0);
            let after = at.since(word.at).as_millis() + 1;
            *heard = u16::try_from(after).unwrap_or(u16::MAX);
        }
    }

    /// A new life has heard nothing; what was said with the last breath may never have left.
    fn standing(&mut self, at: Instant, index: usize, _roll: &Roll) {
        for word in &mut self.under_way {
            if let Some(heard) = word.heard.get_mut(index) {
                *heard = 0;
            }
            word.void |= word.origin == index && at.since(word.at) < LAST_WORDS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_gossip_proto::MemberId;

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    fn roll(nodes: u8) -> Roll {
        let mut roll = Roll::default();
        for node in 0..nodes {
            roll.enter(MemberId([node; 16]));
            roll.starts(node.into(), at(0));
        }
        roll
    }

    fn heard(number: u64) -> Event {
        let bytes = [&number.to_le_bytes()[..], &[0; 56]].concat();
        Event::Broadcast { from: MemberId([0; 16]), topic: TOPIC, bytes: bytes.into() }
    }

    #[test]
    fn a_word_counts_for_those_who_were_there_all_along() {
        let (mut words, mut roll) = (Words::default(), roll(4));
        roll.ends(3, at(4_000));
        roll.starts(3, at(4_500));
        words.said(at(5_000), 0, 4, true);
        words.event(at(5_300), 1, &heard(0), &roll);
        words.event(at(5_900), 2, &heard(0), &roll);
        words.event(at(5_950), 2, &heard(0), &roll);
        words.said(at(6_000), 1, 4, true);
        words.event(at(6_100), 0, &heard(1), &roll);
        words.said(at(7_000), 3, 4, true);
        words.said(at(7_000), 0, 4, false);
        roll.ends(3, at(7_500));
        words.standing(at(7_500), 3, &roll);
        let found = words.found(at(16_000), &roll);
        assert_eq!(found.full, [Duration::from_millis(950)], "the newcomer is not waited for");
        assert_eq!((found.said, found.refused), (3, 1));
        assert_eq!((found.missed, found.missed_by, found.twice), (1, 1, 1));
        assert_eq!((found.within(0.5), found.within(1.0)), (Some(950.0), None));
        let rest = words.found(at(30_000), &roll);
        assert_eq!(rest.judged(), 0, "last words and refused ones");
    }
}
