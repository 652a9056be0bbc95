//! The order of succession of a scope: rendezvous hashing over the members that may lead it (rules
//! E-1 and E-2).
//!
//! Each member has a score for each scope, and the highest comes first. Who departs takes nobody's
//! place but its own, and who comes takes at most one.
//!
//! Invariant: the order depends on the scope and on who is a member, never on who asks or on the
//! order in which members came.

use alloc::vec::Vec;

use crate::config::Scope;
use crate::member::{Lifecycle, MemberId};
use crate::membership::digest::mix;
use crate::membership::table::Member;
use crate::membership::view::{Leader, View};
use crate::metadata::{Standing, Term};
use crate::time::WallTime;

/// So many members of the order are kept.
pub const SUCCESSORS: usize = 8;

/// A member's preference for a scope: the finalizer of SplitMix64 over the scope's definition XOR
/// the first eight bytes of the member's id, little-endian. Both are hashes already; ties by id.
pub fn score(definition: u64, id: MemberId) -> (u64, MemberId) {
    (mix(definition ^ id.prefix()), id)
}

/// Whether a member may lead the scope if it is ready to: present, active, of its role and region.
/// A doubt is no verdict, and differs from view to view: a suspect may (rule E-2).
pub fn suits(scope: &Scope, member: &Member) -> bool {
    let record = member.record.record();
    member.state.is_present()
        && record.lifecycle == Lifecycle::Active
        && scope.admits(&record.metadata)
}

fn standing(member: &Member) -> Option<&Standing> {
    member.record.record().standing.as_deref()
}

fn stands(definition: u64, member: &Member) -> bool {
    standing(member).is_some_and(|standing| standing.stands.contains(&definition))
}

/// A term that a member claims for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub member: MemberId,
    /// Which term.
    pub term: u64,
    /// Since when, by its own clock.
    pub since: WallTime,
}

/// What the members of one moment say of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Poll {
    /// Who may lead and is ready to, the preferred one first; the first few.
    pub succession: Vec<MemberId>,
    /// The highest term that one of those claims; of two with the same term the preferred one.
    pub best: Option<Claim>,
    /// Another one claims the same term.
    pub rivals: bool,
    /// The highest term on record with anybody present.
    pub recorded: u64,
    /// The highest that somebody keeps on record without claiming it.
    pub witnessed: u64,
    /// So many are present, whether they may lead or not.
    pub present: u64,
}

impl Poll {
    /// Counts a present member.
    pub fn count(&mut self, scope: &Scope, definition: u64, member: &Member) {
        self.present += 1;
        let term = standing(member).and_then(|standing| standing.term(&scope.name));
        if let Some(term) = term {
            self.recorded = self.recorded.max(term.number);
            if !term.held {
                self.witnessed = self.witnessed.max(term.number);
            }
        }
        if !stands(definition, member) || !suits(scope, member) {
            return;
        }
        enlist(&mut self.succession, definition, member.id(), SUCCESSORS);
        if let Some(term) = term.filter(|term| term.held && term.definition == definition) {
            self.claimed(definition, member.id(), term);
        }
    }

    pub(super) fn claimed(&mut self, definition: u64, member: MemberId, term: &Term) {
        let claim = Claim { member, term: term.number, since: term.since };
        let rank = |claim: &Claim| (claim.term, score(definition, claim.member));
        match &self.best {
            Some(best) if best.term > claim.term => {}
            Some(best) if best.term == claim.term => {
                self.rivals = true;
                if rank(&claim) > rank(best) {
                    self.best = Some(claim);
                }
            }
            Some(_) | None => (self.best, self.rivals) = (Some(claim), false),
        }
    }
}

/// How far down a member stands among all that are present, as the bits of its place, which its score
/// foretells: of a thousand each second one has ten, and a single one none.
pub(super) fn distance(definition: u64, id: MemberId, present: u64) -> u32 {
    let before = (u128::from(u64::MAX - score(definition, id).0) * u128::from(present)) >> 64;
    u128::BITS - before.leading_zeros()
}

/// Keeps the first `most` of an order.
fn enlist(order: &mut Vec<MemberId>, definition: u64, id: MemberId, most: usize) {
    let place = score(definition, id);
    let at = order.partition_point(|other| score(definition, *other) > place);
    if at < most && order.get(at) != Some(&id) {
        order.insert(at, id);
        order.truncate(most);
    }
}

/// The first `most` members of a scope's order of succession, as of a view: those that stand for
/// it. Of a scope that nobody stands for, which was thought of only now, all that would suit.
pub fn succession(view: &View, scope: &Scope, most: usize) -> Vec<MemberId> {
    let definition = scope.definition();
    let (mut ready, mut suitable) = (Vec::new(), Vec::new());
    for member in view.members().filter(|member| suits(scope, member)) {
        if stands(definition, member) {
            enlist(&mut ready, definition, member.id(), most);
        }
        enlist(&mut suitable, definition, member.id(), most);
    }
    if ready.is_empty() { suitable } else { ready }
}

/// Who leads the scope of this name, as its node told with the view; `None` where the scope is not
/// configured there.
pub fn leader<'a>(view: &'a View, scope: &str) -> Option<&'a Leader> {
    view.leaders().iter().find(|leader| leader.scope.name == scope)
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
