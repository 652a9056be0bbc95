//! Differences between views, settled with one peer by datagrams (rules ).
//!
//! Whoever finds its view different sends a sketch of it; the peer takes that from a sketch of its
//! own and answers with the shares that only one of the two has. Where they are too many to tell,
//! the answer says how many there seem to be, and sketches of so many parts follow, a few at a time.
//! A share is the hash of a record: to make a sketch, or to find whose share it is, one has to look
//! at every member. Nobody keeps an index for that; what needs a look waits for the next walk
//! through the members, which serves everything that waits.
//!
//! Invariants: walks take a fixed share of time at most and make no more tables than
//! `FULL_TABLES` of all members would be; what waits is bounded, and a peer's part of it as well;
//! one round of our own is under way.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::member::MemberId;
use crate::sync::sketch::{self, Sketch, part_of};
use crate::time::{Duration, Instant};
use crate::wire::message::{DifferenceHeader, MOST_PARTS, SketchHeader};

/// Most and least time between walks, and what of it is for one member: a walk through few costs
/// little, and those who settle something wait for four of them in a row (decision 127).
const WALK_PAUSE: Duration = Duration::from_millis(200);
const LEAST_WALK_PAUSE: Duration = Duration::from_millis(50);
const A_MEMBER: Duration = Duration::from_micros(20);
/// Work of one walk, in tables of all members: those of parts count by their part.
const FULL_TABLES: u32 = 2;
/// Sketches of others that wait, and those of one of them.
const MOST_QUESTIONS: usize = 96;
const QUESTIONS_OF_ONE: usize = WINDOW as usize;
/// Shares that wait to be found; those of one member are bounded by its budget.
const MOST_LOOKUPS: usize = 8_192;
/// Parts under way.
const WINDOW: u16 = 32;
/// Differences that a part is meant to have: what the estimate is wrong by still fits most tables, and
/// another round for the parts that do not decode costs less than smaller parts would (decision 117).
const A_PART: u32 = 48;
/// More than a sketch of so many parts tells anybody is streamed.
const MOST_TOLD: u32 = 15_360;
/// A round whose next answer takes longer has lost it.
const STALLED: Duration = Duration::from_secs(1);
/// So many sketches in a row without an answer: the peers do not know them, or they get lost.
const DEAF: u32 = 3;
/// A round in parts keeps others waiting for so long, whoever answers as slowly as it may.
const LONGEST: Duration = Duration::from_secs(16);
/// What was asked for is not asked for again of another for so long,
const ASKED: Duration = Duration::from_secs(1);
/// as far as so many are remembered.
const MOST_ASKED: usize = 4_096;
/// What is younger is about to be told by gossip.
pub const YOUNG: Duration = Duration::from_secs(5);
/// Young shares that a walk remembers.
const MOST_YOUNG: usize = 1_024;

/// The cost of a table of so many parts, in parts of a table of all members.
pub fn cost(parts: u16) -> u32 {
    u32::from(MOST_PARTS / parts.clamp(1, MOST_PARTS))
}

/// Into how many parts so many differences are divided.
fn parts_of(size: u32, a_part: u32) -> u16 {
    size.div_ceil(a_part).clamp(2, MOST_PARTS.into()) as u16
}

/// A sketch that came.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who sent it.
    pub from: MemberId,
    /// What it is of.
    pub header: SketchHeader,
    /// Its table.
    pub table: Box<Sketch>,
}

/// Why a share is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its record is wanted.
    Wanted,
    /// Its record is there to be had.
    Offered,
}

/// A share to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookup {
    /// The share.
    pub share: u64,
    /// Who named it.
    pub from: MemberId,
    /// Why.
    pub why: Why,
}

/// A round of our own.
#[derive(Clone, Copy, Debug)]
struct Round {
    peer: MemberId,
    salt: u64,
    parts: u16,
    /// The first part that has not been sent.
    next: u16,
    /// Parts without an answer.
    open: u16,
    moved: Instant,
    /// Others wait for it until then.
    ends: Instant,
    /// Nothing is sent before.
    starts: Instant,
}

/// What an answer means for our round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Nobody asked.
    Unasked,
    /// It goes on.
    Goes,
    /// All parts are answered.
    Ends,
}

/// Rounds of our own and of others.
#[derive(Clone, Debug, Default)]
pub struct Reconciler {
    questions: VecDeque<Question>,
    lookups: Vec<Lookup>,
    round: Option<Round>,
    asked: BTreeMap<u64, Instant>,
    unanswered: u32,
    /// What was asked for did not come in time.
    missing: bool,
    walked: Option<Instant>,
    /// Time between walks, where the members have been counted.
    pause: Option<Duration>,
}

impl Reconciler {
    /// Walks go through so many members.
    pub fn count(&mut self, members: usize) {
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        let pause = A_MEMBER.saturating_mul(members);
        self.pause = Some(pause.clamp(LEAST_WALK_PAUSE, WALK_PAUSE));
    }

    /// Begins a round with `peer`, at `starts`: both may have found the difference at once, and the
    /// sketch that leaves first serves both.
    pub fn begin(&mut self, now: Instant, peer: MemberId, salt: u64, starts: Instant) {
        self.unanswered += 1;
        let (moved, ends) = (now, now + LONGEST);
        self.round = Some(Round { peer, salt, parts: 1, next: 0, open: 0, moved, ends, starts });
    }

    /// Whether a round in parts is making progress.
    pub fn is_busy(&self, now: Instant) -> bool {
        let moves = |round: Round| now.since(round.moved) < STALLED && now < round.ends;
        self.round.is_some_and(|round| round.parts > 1 && moves(round))
    }

    /// Whether nobody answers; asking that again starts afresh.
    pub fn is_unheard(&self) -> bool {
        self.unanswered >= DEAF
    }

    /// Another way was found.
    pub fn forget_silence(&mut self) {
        self.unanswered = 0;
    }

    /// An answer of `from`.
    pub fn answered(
        &mut self,
        now: Instant,
        from: MemberId,
        header: &DifferenceHeader,
    ) -> Answered {
        let named = (header.salt.get(), header.parts.get());
        let Some(round) = &mut self.round else { return Answered::Unasked };
        let fits = (round.peer, round.salt, round.parts) == (from, named.0, named.1);
        if !fits || round.open == 0 || header.part.get() >= round.next {
            return Answered::Unasked;
        }
        self.unanswered = 0;
        round.open -= 1;
        round.moved = now;
        if round.open == 0 && round.next == round.parts {
            self.round = None;
            return Answered::Ends;
        }
        Answered::Goes
    }

    /// The first sketch said that there are so many differences: goes on in parts.
    pub fn divide(&mut self, now: Instant, peer: MemberId, salt: u64, size: u32) {
        let parts = parts_of(size, A_PART);
        let (moved, ends, starts) = (now, now + LONGEST, now);
        self.round = Some(Round { peer, salt, parts, next: 0, open: 0, moved, ends, starts });
    }

    /// Most differences, as a sketch that failed tells them, that are worth a round among so many
    /// members: beyond a quarter the state of all is better streamed than told in pieces, and what a
    /// sketch tells may be half as much again as there are.
    pub fn worthwhile(members: usize) -> u32 {
        let quarter = members / 4;
        let told = u32::try_from(quarter + quarter / 2).unwrap_or(u32::MAX);
        MOST_TOLD.min(told)
    }

    /// A sketch came; says whether there is room for it.
    pub fn ask(&mut self, question: Question) -> bool {
        let of_one = self.questions.iter().filter(|open| open.from == question.from).count();
        let room = self.questions.len() < MOST_QUESTIONS && of_one < QUESTIONS_OF_ONE;
        if room {
            if self.round.is_some_and(|round| round.peer == question.from && round.next == 0) {
                self.round = None;
                self.unanswered = 0;
            }
            self.questions.push_back(question);
        }
        room
    }

    /// A share is to be found; says whether there is room for it.
    pub fn look_up(&mut self, lookup: Lookup) -> bool {
        let room = self.lookups.len() < MOST_LOOKUPS;
        if room {
            self.lookups.push(lookup);
        }
        room
    }

    /// Whether to ask for this record: somebody else may have been asked a moment ago.
    pub fn wants(&mut self, now: Instant, share: u64) -> bool {
        if self.asked.get(&share).is_some_and(|at| now.since(*at) < ASKED) {
            return false;
        }
        if self.asked.len() >= MOST_ASKED {
            self.expire(now);
        }
        if self.asked.len() < MOST_ASKED {
            self.asked.insert(share, now);
        }
        true
    }

    /// The record of this share came.
    pub fn came(&mut self, share: u64) {
        self.asked.remove(&share);
    }

    /// Whether an answer, or a record that was asked for, is overdue since this was asked last.
    pub fn lost(&mut self, now: Instant) -> bool {
        self.expire(now);
        let stalled = self.round.is_some_and(|round| now.since(round.moved) >= STALLED);
        core::mem::take(&mut self.missing) || stalled
    }

    fn expire(&mut self, now: Instant) {
        let before = self.asked.len();
        self.asked.retain(|_, at| now.since(*at) < ASKED);
        self.missing |= self.asked.len() < before;
    }

    /// When the next walk is due, if anything waits for one.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let waits = !self.questions.is_empty() || !self.lookups.is_empty();
        let sends = self.round.filter(|_| self.may_send() > 0).map(|round| round.starts.max(now));
        let first = if waits { Some(now) } else { sends };
        let pause = self.pause.unwrap_or(WALK_PAUSE);
        first.map(|first| self.walked.map_or(first, |walked| first.max(walked + pause)))
    }

    fn may_send(&self) -> u16 {
        self.round.map_or(0, |round| (round.parts - round.next).min(WINDOW - round.open))
    }

    /// What the walk at `now` is to do.
    pub fn begin_walk(&mut self, now: Instant) -> Walk {
        self.walked = Some(now);
        // Nothing is remembered of a mesh that agrees.
        self.expire(now);
        let mut walk = Walk { lookups: core::mem::take(&mut self.lookups), ..Walk::default() };
        walk.lookups.sort_unstable();
        walk.lookups.dedup();
        let mut room = FULL_TABLES * cost(1);
        let started = self.round.is_some_and(|round| round.starts <= now);
        let sends = if started { self.may_send() } else { 0 };
        if let Some(round) = &mut self.round {
            for part in round.next..round.next + sends {
                walk.make(round.salt, round.parts, part);
                let (salt, parts) = (round.salt.into(), round.parts.into());
                let header = SketchHeader { salt, part: part.into(), parts };
                walk.sends.push((round.peer, header));
            }
            round.next += sends;
            round.open += sends;
            room = room.saturating_sub(cost(round.parts) * u32::from(sends));
        }
        while let Some(question) = self.questions.front()
            && cost(question.header.parts.get()) <= room
        {
            let header = question.header;
            room -= cost(header.parts.get());
            walk.make(header.salt.get(), header.parts.get(), header.part.get());
            walk.questions.extend(self.questions.pop_front());
        }
        walk
    }
}

/// Tables of one salt and one number of parts.
#[derive(Clone, Debug)]
struct Group {
    salt: u64,
    parts: u16,
    tables: BTreeMap<u16, Box<Sketch>>,
}

/// One walk through the members.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    groups: Vec<Group>,
    lookups: Vec<Lookup>,
    young: Vec<u64>,
    /// Sketches of others, to be answered.
    pub questions: Vec<Question>,
    /// Sketches of ours, to be sent.
    pub sends: Vec<(MemberId, SketchHeader)>,
}

impl Walk {
    fn make(&mut self, salt: u64, parts: u16, part: u16) {
        let same = |group: &Group| (group.salt, group.parts) == (salt, parts);
        let at = self.groups.iter().position(same).unwrap_or_else(|| {
            self.groups.push(Group { salt, parts, tables: BTreeMap::new() });
            self.groups.len() - 1
        });
        let tables = &mut self.groups[at].tables;
        tables.entry(part).or_insert_with(|| Box::new(Sketch::new(salt)));
    }

    /// A present member's share, and whether it is young.
    pub fn see(&mut self, share: u64, young: bool) {
        for group in &mut self.groups {
            if let Some(table) = group.tables.get_mut(&part_of(group.salt, share, group.parts)) {
                table.add(share);
            }
        }
        if young && self.young.len() <= MOST_YOUNG {
            self.young.push(share);
        }
    }

    /// Why this share is looked for, and by whom.
    pub fn looked_for(&self, share: u64) -> &[Lookup] {
        let from = self.lookups.partition_point(|lookup| lookup.share < share);
        let rest = &self.lookups[from..];
        &rest[..rest.partition_point(|lookup| lookup.share == share)]
    }

    /// Everything that is looked for.
    pub fn lookups(&self) -> &[Lookup] {
        &self.lookups
    }

    /// All present members have been seen.
    pub fn close(&mut self) {
        self.young.sort_unstable();
    }

    /// Whether a share is about to be told by gossip; among so many young ones anything may be.
    pub fn is_young(&self, share: u64) -> bool {
        self.young.len() > MOST_YOUNG || self.young.binary_search(&share).is_ok()
    }

    /// The table that was made of our members.
    pub fn table(&self, header: &SketchHeader) -> Option<&Sketch> {
        let named = (header.salt.get(), header.parts.get());
        let group = self.groups.iter().find(|group| (group.salt, group.parts) == named)?;
        group.tables.get(&header.part.get()).map(AsRef::as_ref)
    }

    /// What we differ in from a sketch, or how many differences there seem to be.
    pub fn answer(&self, question: &Question) -> Result<sketch::Difference, u32> {
        let Some(table) = self.table(&question.header) else { return Err(u32::MAX) };
        let mut ours = table.clone();
        ours.subtract(&question.table);
        let seem = ours.estimate();
        ours.decode().ok_or(seem)
    }
}

#[cfg(test)]
#[path = "reconciler_tests.rs"]
mod tests;
