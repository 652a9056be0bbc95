//! Who says that we are dead? (rules D-12 and D-13)
//!
//! One member may be wrong, or lie; a quorum of distinct ones is believed. A word counts when its
//! speaker holds us dead itself; whoever passes on what it heard is asked and does not count, or
//! one lie told to a few would come back from all of them.
//!
//! Invariants: a speaker counts once; everything remembered is about one incarnation and younger
//! than half a minute; no more than 64 speakers are remembered, the one heard last longest.

use alloc::vec::Vec;

use crate::member::{Incarnation, MemberId};
use crate::time::{Duration, Instant};

/// How long a word counts.
const COUNTS: Duration = Duration::from_secs(30);
/// Speakers remembered: many more than any quorum.
const MOST: usize = 64;
/// A speaker is answered at most so often.
const PAUSE: Duration = Duration::from_secs(1);

/// A word that is repeated after so long is not about to be proven, nor are there enough others.
const INSISTENCE: Duration = COUNTS;
/// It is given in to at most so often.
const GIVES_IN: Duration = Duration::from_secs(60);

/// How others tell that they hold us dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// NOTICE: the sender holds us dead, or has heard of an old death (rule D-15).
    Noticed,
    /// DEAD, with the hash of its proof or 0: the sender itself holds us dead.
    Announced(u64),
    /// In its state: it holds us dead.
    Listed,
}

/// What the speaker gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Our record.
    pub record: bool,
    /// A request for the proof with this hash; 0 asks for any.
    pub proof: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    from: MemberId,
    announcer: Option<MemberId>,
    heard: Instant,
    /// When it said last that it holds us dead itself.
    holds: Option<Instant>,
    recorded: Option<Instant>,
    asked_for_any: Option<Instant>,
    asked_by_hash: Option<Instant>,
}

/// The words of others about our present incarnation.
#[derive(Clone, Debug, Default)]
pub struct Testimony {
    about: Option<Incarnation>,
    /// When the first word about that was heard.
    since: Option<Instant>,
    /// When we gave in to it last without believing it.
    gave_in: Option<Instant>,
    words: Vec<Word>,
}

impl Testimony {
    /// `from` told that we are dead at `incarnation`, by the judgement of `announcer` where that is
    /// known. Says what to answer.
    pub fn hear(
        &mut self,
        now: Instant,
        from: MemberId,
        incarnation: Incarnation,
        announcer: Option<MemberId>,
        told: Told,
    ) -> Answer {
        if self.about != Some(incarnation) {
            self.words.clear();
            self.since = Some(now);
            self.about = Some(incarnation);
        }
        self.words.retain(|word| now.since(word.heard) < COUNTS);
        let before = self.words.iter().position(|word| word.from == from);
        let mut word = before.map_or_else(
            || Word {
                from,
                announcer: None,
                heard: now,
                holds: None,
                recorded: None,
                asked_for_any: None,
                asked_by_hash: None,
            },
            |at| self.words.remove(at),
        );
        word.heard = now;
        word.announcer = announcer.or(word.announcer);
        let record = rested(&mut word.recorded, now);
        let proof = match told {
            Told::Noticed | Told::Listed => rested(&mut word.asked_for_any, now).then_some(0),
            // It has none, or no longer.
            Told::Announced(0) => None,
            Told::Announced(hash) => rested(&mut word.asked_by_hash, now).then_some(hash),
        };
        match told {
            Told::Noticed => {}
            Told::Announced(_) | Told::Listed => word.holds = Some(now),
        }
        if self.words.len() == MOST {
            self.words.remove(0);
        }
        self.words.push(word);
        Answer { record, proof }
    }

    /// Whether what we do not believe has been said for so long that it had better be answered with a
    /// new incarnation: those who hold us dead may be too few to convince us and will never ask.
    /// At most once a minute, so that a liar gets no more than that.
    pub fn is_insisted_on(&mut self, now: Instant) -> bool {
        let lasting = self.since.is_some_and(|since| now.since(since) >= INSISTENCE);
        let rested = self.gave_in.is_none_or(|last| now.since(last) >= GIVES_IN);
        if lasting && rested {
            self.gave_in = Some(now);
        }
        lasting && rested
    }

    /// Who holds us dead itself, by a word that counts.
    pub fn accusers(&self, now: Instant) -> impl Iterator<Item = MemberId> {
        let counts = move |at: Instant| now.since(at) < COUNTS;
        self.words.iter().filter(move |word| word.holds.is_some_and(counts)).map(|word| word.from)
    }

    /// Who passed the judgement, as far as it was told.
    pub fn announcers(&self) -> impl Iterator<Item = MemberId> {
        self.words.iter().filter_map(|word| word.announcer)
    }

    /// Everybody who told it.
    pub fn speakers(&self) -> impl Iterator<Item = MemberId> {
        self.words.iter().map(|word| word.from)
    }
}

fn rested(last: &mut Option<Instant>, now: Instant) -> bool {
    let rested = last.is_none_or(|last| now.since(last) >= PAUSE);
    if rested {
        *last = Some(now);
    }
    rested
}

#[cfg(test)]
mod tests {
    use super::*;

    const INCARNATION: Incarnation = Incarnation { generation: 1, counter: 0 };

    fn id(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    /// Rule D-13: distinct members, each for half a minute; hearsay does not count, and another
    /// incarnation is another matter.
    #[test]
    fn a_speaker_counts_once_and_not_for_ever() {
        let mut words = Testimony::default();
        let mut hear = |ms, n, told| words.hear(at(ms), id(n), INCARNATION, None, told);
        hear(0, 1, Told::Listed);
        hear(0, 2, Told::Noticed);
        hear(9_000, 3, Told::Announced(0));
        hear(10_000, 1, Told::Noticed);
        hear(11_000, 3, Told::Listed);
        assert_eq!(words.accusers(at(29_999)).count(), 2);
        assert_eq!(words.accusers(at(30_000)).collect::<Vec<_>>(), [id(3)]);
        assert!(!words.is_insisted_on(at(29_999)));
        assert!(words.is_insisted_on(at(30_000)));
        assert!(!words.is_insisted_on(at(89_999)), "once a minute");
        assert!(words.is_insisted_on(at(90_000)));
        let next = INCARNATION.next();
        words.hear(at(12_000), id(4), next, None, Told::Listed);
        assert_eq!(words.accusers(at(12_000)).collect::<Vec<_>>(), [id(4)]);
    }

    /// Rule D-12: whoever says it again and again is answered once a second.
    #[test]
    fn answers_are_rare_and_memory_is_bounded() {
        let mut words = Testimony::default();
        let told = [Told::Noticed, Told::Listed, Told::Announced(0), Told::Announced(7)];
        let mut answers = [0; 3];
        for ms in 0..2_000 {
            for told in told {
                let answer = words.hear(at(ms), id(1), INCARNATION, Some(id(9)), told);
                answers[0] += u32::from(answer.record);
                answers[1] += u32::from(answer.proof == Some(0));
                answers[2] += u32::from(answer.proof == Some(7));
            }
        }
        assert_eq!(answers, [2; 3]);
        for n in 0..100 {
            words.hear(at(2_000), id(n), INCARNATION, None, Told::Listed);
        }
        assert_eq!(words.accusers(at(2_000)).count(), MOST);
        let speakers: Vec<_> = words.speakers().collect();
        assert_eq!(speakers.last(), Some(&id(99)));
        assert!(!speakers.contains(&id(35)) && speakers.contains(&id(36)));
    }
}
