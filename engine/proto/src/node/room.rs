//! Who is remembered after it has gone, and who makes room (rules L-2 to L-4).
//!
//! Members may come and go for ever under new names. A departed one is shown for a while, kept for
//! longer so that a partition heals, and forgotten; earlier, if a newcomer needs its place.
//!
//! Invariants: the table grows to `limits.members` and no further; nobody who is present makes
//! room; whoever is forgotten leaves its tombstone.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Node, REAP_EVERY};
use crate::event::{Event, Timer};
use crate::member::{MemberId, State};
use crate::membership::roster::List;
use crate::membership::table::{Member, MemberTable};
use crate::time::{Duration, Instant};

/// How often what is kept of others is looked through: every entry costs a lookup.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// A full table makes room for this part of its limit at once: looking for the oldest costs a walk
/// over all departed.
const SHARE: usize = 64;

impl<T: MemberTable> Node<T> {
    /// Whether a newcomer has a place, or somebody has departed from one.
    pub(super) fn may_take_in(&self) -> bool {
        let counts = self.table.counts();
        let departed = counts.dead + counts.left - usize::from(self.departure.is_leaving());
        self.table.len() < self.config.limits.members || departed > 0
    }

    /// Whether there is a place for a newcomer, after whoever left by its own word, and then the
    /// dead, made room in the order of their going (rule L-3): the dead may have to be redialled.
    pub(super) fn make_room(&mut self) -> bool {
        let limit = self.config.limits.members;
        if self.table.len() < limit {
            return true;
        }
        let needed = (self.table.len() + 1 - limit).max(limit / SHARE);
        let mut departed: Vec<(bool, Instant, MemberId)> = self
            .table
            .members(List::Departed)
            .filter(|member| member.id() != self.local)
            .map(|member| (member.state == State::Dead, self.table.since(member), member.id()))
            .collect();
        if needed < departed.len() {
            departed.select_nth_unstable(needed);
            departed.truncate(needed);
        }
        // A selection has no order of its own, and events are told in the order of going.
        departed.sort_unstable();
        for (_, _, id) in departed {
            self.stats.members_displaced += 1;
            self.forget(id);
        }
        self.table.len() < limit
    }

    fn forget(&mut self, id: MemberId) {
        self.version += 1;
        self.set_a_stone(id);
        self.table.remove(id);
        self.contacts.forget(id);
        self.noticed.remove(&id);
        self.emit(Event::Forgotten(id));
    }

    /// Departed members are listed for so long from here on (rule L-4).
    pub fn set_left_retention(&mut self, retention: Duration) {
        if self.config.left_retention != retention {
            Arc::make_mut(&mut self.config).left_retention = retention;
            self.version += 1;
        }
    }

    /// Forgets departed members whose retention is over (rule L-2), and acquaintances that never
    /// became members. Whose listing is over is seen by the next view (rule L-4).
    pub(super) fn reap(&mut self, now: Instant) {
        self.timers.set(Timer::Reap, now + REAP_EVERY);
        self.remind_of_lists();
        let (listed, kept) = (self.config.left_retention, self.config.dead_retention);
        let mut unlisted = false;
        let mut gone: Vec<MemberId> = Vec::new();
        for member in self.table.members(List::Departed) {
            let since = self.table.since(member);
            let age = now.since(since);
            unlisted |= age >= listed && self.reaped.since(since) < listed;
            if age >= listed + kept && member.id() != self.local {
                gone.push(member.id());
            }
        }
        self.version += u64::from(unlisted);
        self.reaped = now;
        gone.into_iter().for_each(|id| self.forget(id));
        self.apply_what_is_ripe(now);
        if now.since(self.tidied) < TIDY_EVERY {
            return;
        }
        self.tidied = now;
        let wall = self.clocks.wall(now);
        self.tombstones.forget(wall);
        self.orders.forget(wall);
        self.tidy_speaking(now);
        let (table, patience) = (&self.table, self.config.left_retention);
        let lives = |id| table.get(id).is_some();
        self.contacts.retain(|id, contact| lives(id) || now.since(contact.last) < patience);
        self.noticed.retain(|id, _| lives(*id));
    }

    /// Whether this record's subject has a place here; one without is counted.
    pub(super) fn finds_a_place(&mut self, before: Option<&Member>, state: State) -> bool {
        // Whom we never knew we need not remember as gone at the cost of somebody else.
        let full = self.table.len() >= self.config.limits.members;
        let found = before.is_some()
            || match state {
                State::Alive | State::Suspect => self.make_room(),
                State::Dead | State::Left => !full,
            };
        self.stats.members_refused += u64::from(!found);
        found
    }
}
