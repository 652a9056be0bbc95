//! One scope at one node: what it makes of the claims of others, and what it claims itself (rules
//! E-4 to E-7).
//!
//! Invariants: the highest term seen never falls, and only a claim of it counts, so that the terms
//! that a node tells never fall either; a node claims a term only while it knows of no higher one.

use alloc::sync::Arc;

use super::order::{Claim, Poll, SUCCESSORS, distance};
use crate::config::Scope;
use crate::member::MemberId;
use crate::membership::view::Leader;
use crate::metadata::{MAX_TERM, Term};
use crate::time::{Duration, Instant, WallTime};

/// Whoever loses a fresh claim to a higher one waits twice as long the next time, up to 2^this.
const MOST_DOUBLINGS: u32 = 5;

/// A scope, seen from one node.
#[derive(Clone, Debug)]
pub struct Office {
    scope: Arc<Scope>,
    definition: u64,
    /// The highest term ever seen, and who was first seen to hold it, since when.
    highest: u64,
    holder: Option<(MemberId, WallTime)>,
    /// Another claim of that term was seen: of another member, or of another life.
    contested: bool,
    /// Since when we come first without a break, and may claim.
    preferred_since: Option<Instant>,
    /// When we last claimed a term.
    claimed: Option<Instant>,
    /// When we last claimed a term or lost one.
    stirred: Option<Instant>,
    doublings: u32,
    /// Since when nobody present has on record that the highest term is taken.
    unrecorded_since: Option<Instant>,
    told: Leader,
}

/// What a node is at the moment of the look.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// When.
    pub now: Instant,
    /// Who we are.
    pub local: MemberId,
    /// What our own record says of the scope.
    pub own: Option<&'a Term>,
    /// Joined, not leaving, not exiled.
    pub may_claim: bool,
    /// How long a first place has to last.
    pub settle: Duration,
    /// The holder of the highest term has said itself that it is no longer active.
    pub resigned: bool,
}

/// What our record should say from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// What it says.
    Keep,
    /// That we claim this term.
    Claim(u64),
    /// That we have seen this term.
    Witness(u64),
    /// Nothing.
    Drop,
}

/// Somebody else leads than before, or for another term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The news.
    pub now: Leader,
    /// Who led before.
    pub previous: Option<MemberId>,
}

impl Office {
    /// Nothing is known yet.
    pub fn new(scope: Scope) -> Self {
        let (definition, scope) = (scope.definition(), Arc::new(scope));
        let told = Leader { scope: scope.clone(), leader: None, term: 0, since: WallTime(0) };
        Self {
            scope,
            definition,
            highest: 0,
            holder: None,
            contested: false,
            preferred_since: None,
            claimed: None,
            stirred: None,
            doublings: 0,
            unrecorded_since: None,
            told,
        }
    }

    /// The scope.
    pub fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// Its definition.
    pub fn definition(&self) -> u64 {
        self.definition
    }

    /// Who leads, as far as was told.
    pub fn told(&self) -> &Leader {
        &self.told
    }

    /// Who was first seen to hold the highest term.
    pub fn holder(&self) -> Option<MemberId> {
        self.holder.map(|(member, _)| member)
    }

    /// A member's record tells of a term, whatever the member is held to be (rule E-4).
    pub fn note(&mut self, member: MemberId, term: &Term) {
        if term.number > self.highest {
            self.highest = term.number;
            (self.holder, self.contested) = (None, false);
        }
        if term.number == self.highest && term.held {
            let claim = (member, term.since);
            self.contested |= *self.holder.get_or_insert(claim) != claim;
        }
    }

    /// We were away: what came first in our eyes meanwhile has to last anew.
    pub fn unsettle(&mut self, now: Instant) {
        for since in [&mut self.preferred_since, &mut self.unrecorded_since].into_iter().flatten() {
            *since = now;
        }
    }

    /// Who leads, by the claims of this moment; told once a change.
    pub fn observe(&mut self, poll: &Poll) -> Option<Change> {
        self.highest = self.highest.max(poll.recorded);
        let leader = self.leader(poll);
        let held = leader.map(|claim| (claim.member, claim.term));
        let before = self.told.leader.map(|leader| (leader, self.told.term));
        if held == before {
            return None;
        }
        let (term, since) = leader.map_or((self.highest, WallTime(0)), |c| (c.term, c.since));
        assert!(term >= self.told.term, "a term that is told never falls");
        let (scope, leader) = (self.scope.clone(), leader.map(|claim| claim.member));
        let now = Leader { scope, leader, term, since };
        let previous = core::mem::replace(&mut self.told, now.clone()).leader;
        Some(Change { now, previous })
    }

    fn leader(&self, poll: &Poll) -> Option<Claim> {
        poll.best.filter(|best| best.term == self.highest)
    }

    /// What our record should say, and when to look again at the latest.
    pub fn decide(&mut self, poll: &Poll, s: &Situation<'_>) -> (Act, Option<Instant>) {
        self.highest = self.highest.max(poll.recorded);
        let preferred = s.may_claim && poll.succession.first() == Some(&s.local);
        self.preferred_since = preferred.then(|| self.preferred_since.unwrap_or(s.now));
        let ready = self.ready_at(s);
        let due = ready.is_some_and(|ready| ready <= s.now);
        match s.own {
            Some(own) if own.held && own.number < self.highest => {
                self.overtaken(s);
                (Act::Drop, self.ready_at(s))
            }
            Some(own) if own.held => match poll.best {
                // Two held this term, apart from each other: the next one is ours alone.
                // So it is where somebody remembers that it was taken before.
                Some(best) if best.member == s.local => {
                    let shared = poll.rivals || poll.witnessed == own.number;
                    let until = self.stirred_until(s);
                    match shared && own.number < MAX_TERM {
                        true if until <= s.now => {
                            self.disputed(s, true);
                            self.claim(s)
                        }
                        true => (Act::Keep, Some(until)),
                        false => (Act::Keep, None),
                    }
                }
                Some(best) if best.term == own.number => (Act::Drop, None),
                // We may lead no longer ourselves: the term stays on record until the next one.
                Some(_) | None => (Act::Witness(own.number), None),
            },
            Some(_) | None if due => self.claim(s),
            // In good hands: a higher term is known, or this one is claimed by whom it is due.
            Some(seen) if seen.number < self.highest => (Act::Drop, ready),
            Some(_) if self.leader(poll).is_some() && !self.contested => (Act::Drop, ready),
            Some(_) => (Act::Keep, ready),
            None => {
                let (act, again) = self.keep_on_record(poll, s);
                (act, Instant::earliest(ready, again))
            }
        }
    }

    /// When our first place has lasted long enough.
    fn ready_at(&self, s: &Situation<'_>) -> Option<Instant> {
        let settled = self.preferred_since?;
        let settled = if s.resigned { settled } else { settled + s.settle };
        Some(settled.max(self.stirred_until(s)))
    }

    /// How long what we claimed or lost last keeps us from the next claim.
    fn stirred_until(&self, s: &Situation<'_>) -> Instant {
        let patience = s.settle * (1 << self.doublings);
        self.stirred.map_or(s.now, |stirred| stirred + patience)
    }

    fn claim(&mut self, s: &Situation<'_>) -> (Act, Option<Instant>) {
        (self.claimed, self.stirred) = (Some(s.now), Some(s.now));
        // Whether it was published shows at the next look.
        (Act::Claim((self.highest + 1).min(MAX_TERM)), Some(s.now + s.settle))
    }

    /// There is a higher term than ours, and perhaps another one has claimed it, by whatever
    /// definition: terms belong to the name of the scope.
    fn overtaken(&mut self, s: &Situation<'_>) {
        let claimed = self.holder().is_some_and(|holder| holder != s.local);
        self.disputed(s, claimed);
        self.stirred = Some(s.now);
    }

    /// Our claim does not last. Lost to another once, or shared, it is the end of a partition; soon
    /// after we made it this means that we disagree about who comes first, and that must not become
    /// a race.
    fn disputed(&mut self, s: &Situation<'_>, by_another: bool) {
        let window = s.settle * (2 << MOST_DOUBLINGS);
        let fresh = self.claimed.is_some_and(|claimed| s.now.since(claimed) < window);
        self.doublings =
            if fresh && by_another { (self.doublings + 1).min(MOST_DOUBLINGS) } else { 0 };
    }

    /// The highest term is on record with nobody, or with one who does not know that it was taken
    /// before: its holder is gone, or back as a new life. Unless the one that comes first claims the
    /// next in time, those behind it put the term on record, one after the other; those that may not
    /// lead as well, after them, for they may be the last to remember (rule E-4).
    fn keep_on_record(&mut self, poll: &Poll, s: &Situation<'_>) -> (Act, Option<Instant>) {
        let taken = if self.contested { poll.witnessed } else { poll.recorded };
        let lost = taken < self.highest && s.may_claim;
        self.unrecorded_since = lost.then(|| self.unrecorded_since.unwrap_or(s.now));
        let rank = match poll.succession.iter().position(|id| *id == s.local) {
            Some(rank) => rank as u32,
            None => SUCCESSORS as u32 + distance(self.definition, s.local, poll.present),
        };
        let (Some(since), 1..) = (self.unrecorded_since, rank) else {
            return (Act::Keep, None);
        };
        let at = since + s.settle + s.settle / 2 * rank;
        if at <= s.now { (Act::Witness(self.highest), None) } else { (Act::Keep, Some(at)) }
    }
}

#[cfg(test)]
#[path = "office_tests.rs"]
mod tests;
