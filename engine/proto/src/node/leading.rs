//! Leading and being led: the claims of members become what is told of leaders, and ours become
//! part of our record (rules E-1 to E-7).
//!
//! Invariant: a node without configured scopes does nothing here, and sends nothing for it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Node;
use crate::config::Scope;
use crate::event::{Event, Timer};
use crate::leadership::office::{Act, Change, Office, Situation};
use crate::leadership::order::Poll;
use crate::member::Lifecycle;
use crate::membership::record::document;
use crate::membership::roster::List;
use crate::membership::table::{Member, MemberTable};
use crate::membership::view::Leader;
use crate::metadata::{Standing, Term};
use crate::time::{Duration, Instant};

/// A change is looked at at once, and all that follow within so long together: a look costs a walk
/// over all members.
const PACE: Duration = Duration::from_millis(200);
/// A first place has to last so many intervals (rule E-4).
const SETTLES: u32 = 2;

/// The offices of one node.
#[derive(Clone, Debug)]
pub(super) struct Leading {
    offices: Vec<Office>,
    leaders: Arc<[Leader]>,
    looked: Option<Instant>,
}

impl Leading {
    pub(super) fn new(scopes: &[Scope]) -> Self {
        let offices: Vec<Office> = scopes.iter().cloned().map(Office::new).collect();
        let leaders = told(&offices);
        Self { offices, leaders, looked: None }
    }

    /// What a life begins with: it stands for every scope, and claims none.
    pub(super) fn first_standing(&self) -> Option<Box<Standing>> {
        let stands: Vec<u64> = self.offices.iter().map(Office::definition).collect();
        (!stands.is_empty()).then(|| Box::new(Standing { stands, terms: Vec::new() }))
    }

    pub(super) fn leaders(&self) -> Arc<[Leader]> {
        self.leaders.clone()
    }

    /// We were away: first places have to last anew.
    pub(super) fn unsettle(&mut self, now: Instant) {
        for office in &mut self.offices {
            office.unsettle(now);
        }
    }

    fn note(&mut self, member: &Member) {
        let Some(standing) = &member.record.record().standing else { return };
        for office in &mut self.offices {
            if let Some(term) = standing.term(&office.scope().name) {
                office.note(member.id(), term);
            }
        }
    }

    /// What the present members say, an entry an office.
    fn polls<'a>(&self, present: impl Iterator<Item = &'a Member>) -> Vec<Poll> {
        let mut polls: Vec<Poll> = self.offices.iter().map(|_| Poll::default()).collect();
        for member in present {
            for (office, poll) in self.offices.iter().zip(&mut polls) {
                poll.count(office.scope(), office.definition(), member);
            }
        }
        polls
    }
}

fn told(offices: &[Office]) -> Arc<[Leader]> {
    offices.iter().map(|office| office.told().clone()).collect()
}

impl<T: MemberTable> Node<T> {
    /// A member is known anew: what it tells of terms is remembered even when it goes.
    pub(super) fn note_terms(&mut self, now: Instant, member: &Member) {
        if self.leading.offices.is_empty() {
            return;
        }
        self.leading.note(member);
        if self.departure.is_stopped() {
            return;
        }
        let at = self.leading.looked.map_or(now, |looked| now.max(looked + PACE));
        self.look_at_leaders_by(at);
    }

    /// The table brought members along.
    pub(super) fn note_everybodys_terms(&mut self, now: Instant) {
        if self.leading.offices.is_empty() {
            return;
        }
        for list in [List::Present, List::Departed] {
            self.table.members(list).for_each(|member| self.leading.note(member));
        }
        self.look_at_leaders_by(now);
    }

    fn look_at_leaders_by(&mut self, at: Instant) {
        let earlier = Instant::earliest(self.timers.deadline(Timer::Leaders), Some(at));
        if let Some(at) = earlier {
            self.timers.set(Timer::Leaders, at);
        }
    }

    pub(super) fn look_at_leaders(&mut self, now: Instant) {
        self.leading.looked = Some(now);
        let polls = self.leading.polls(self.table.members(List::Present));
        for (office, poll) in polls.iter().enumerate() {
            if let Some(change) = self.leading.offices[office].observe(poll) {
                self.tell_of_leader(change);
            }
        }
        let may_claim = self.joining.is_done() && !self.departure.is_leaving() && !self.is_exiled();
        let mut acts = Vec::new();
        for (office, poll) in polls.iter().enumerate() {
            let (act, again) = self.decide(now, office, poll, may_claim);
            if act != Act::Keep && may_claim {
                acts.push((office, act));
            }
            if let Some(again) = again {
                // What could not be done yet is tried again, at leisure.
                let again = if again > now { again } else { now + self.config.interval };
                self.look_at_leaders_by(again);
            }
        }
        if !may_claim {
            self.look_at_leaders_by(now + self.config.interval);
        }
        self.declare(now, &acts);
    }

    fn decide(
        &mut self,
        now: Instant,
        office: usize,
        poll: &Poll,
        may_claim: bool,
    ) -> (Act, Option<Instant>) {
        let holder = self.leading.offices[office].holder();
        let holder = holder.and_then(|id| self.table.get(id));
        let office = &mut self.leading.offices[office];
        let own = self.own.record().standing.as_ref();
        let situation = Situation {
            now,
            local: self.local,
            own: own.and_then(|standing| standing.term(&office.scope().name)),
            may_claim,
            settle: self.config.interval * SETTLES,
            // Its own signed word, which no doubt needs to settle.
            resigned: holder
                .is_some_and(|member| member.record.record().lifecycle != Lifecycle::Active),
        };
        office.decide(poll, &situation)
    }

    fn tell_of_leader(&mut self, change: Change) {
        self.leading.leaders = told(&self.leading.offices);
        // Whoever is told finds it in the view.
        self.version += 1;
        let Change { now: Leader { scope, leader, term, since: _ }, previous } = change;
        self.emit(Event::LeaderChanged { scope, leader, term, previous });
    }

    /// Publishes what our record has to say from here on, in one record.
    fn declare(&mut self, now: Instant, acts: &[(usize, Act)]) {
        if acts.is_empty() {
            return;
        }
        let mut record = self.own.record().clone();
        let mut standing = record.standing.take().unwrap_or_default();
        for (office, act) in acts {
            let office = &self.leading.offices[*office];
            let scope = office.scope().name.clone();
            let (number, held) = match *act {
                Act::Keep => continue,
                Act::Drop => {
                    standing.set(&scope, None);
                    continue;
                }
                Act::Claim(number) => (number, true),
                Act::Witness(number) => (number, false),
            };
            let (definition, since) = (office.definition(), self.clocks.wall(now));
            let term = Term { scope: scope.clone(), definition, number, since, held };
            standing.set(&scope, Some(term));
        }
        record.standing = Some(standing);
        if document(&record).len() > self.config.limits.metadata_bytes {
            // Others would refuse the record, and with it us.
            self.stats.reject("standing-size");
            return;
        }
        if self.change(now, |own| own.standing = record.standing).is_err() {
            self.stats.reject("standing-signing");
        }
    }
}
