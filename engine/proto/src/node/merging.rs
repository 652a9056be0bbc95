//! Another's whole state, entry by entry (rules A-3 and D-15).
//!
//! Its records count by their signatures, as if they had come alone; what it makes of others is
//! hearsay, because they may have answered since.

use super::Node;
use crate::detector::testimony::Told;
use crate::error::PeerError;
use crate::member::{Incarnation, MemberId, State};
use crate::membership::record;
use crate::membership::table::MemberTable;
use crate::sync::snapshot::{Entries, Entry};
use crate::time::Instant;

impl<T: MemberTable> Node<T> {
    /// Merges entries of another's state (rule A-3): its records count by their signatures; its
    /// verdicts of death only as doubt, because the dead may have refuted since. Returns how many of
    /// the records were refused by signature.
    pub(super) fn merge(&mut self, now: Instant, from: MemberId, entries: &[u8]) -> u64 {
        let before = self.refused_by_signature();
        // What a joiner is given is no news to those who give it (rule J-6).
        self.mute = self.joining.takes_from(now, from) && self.config.parts().extras;
        for entry in Entries::new(entries) {
            match entry {
                Ok(entry) => self.merge_entry(now, from, entry),
                Err(error) => self.reject(from, error.into()),
            }
        }
        self.mute = false;
        self.refused_by_signature() - before
    }

    fn refused_by_signature(&self) -> u64 {
        let reason = PeerError::Signature("").reason();
        self.stats.rejected.get(reason).copied().unwrap_or(0)
    }

    fn merge_entry(&mut self, now: Instant, from: MemberId, entry: Entry<'_>) {
        let Ok((id, incarnation, _)) = record::peek(entry.envelope) else {
            self.stats.reject("decode");
            return;
        };
        let unknown = self.table.get(id).is_none();
        match entry.state {
            State::Alive => {
                self.take_record(now, from, entry.envelope);
                if let Some(peer) = self.peer(from) {
                    self.tell_the_order(peer, id, incarnation);
                }
                self.remind(now, id, incarnation);
            }
            State::Suspect | State::Dead if self.observes() => {
                self.merge_doubt(now, from, &entry, id, incarnation);
            }
            State::Left if !unknown => {
                self.take_record(now, from, entry.envelope);
            }
            // Whom we never knew we need not bury.
            State::Suspect | State::Dead if id != self.local && !unknown => {
                self.take_record(now, from, entry.envelope);
                self.suspect_on_its_word(now, from, id, incarnation);
            }
            State::Suspect if id != self.local => {
                self.take_record(now, from, entry.envelope);
                self.suspect_on_its_word(now, from, id, incarnation);
            }
            State::Suspect | State::Dead if id == self.local => {
                self.take_record(now, from, entry.envelope);
                self.refute(now, incarnation);
            }
            State::Left | State::Suspect | State::Dead => {}
        }
    }

    /// As [`Node::merge_entry`] for the detector `observers`: a doubt is its owner's affair, and a
    /// death without a proof is a reason to look (rule D-15).
    fn merge_doubt(
        &mut self,
        now: Instant,
        from: MemberId,
        entry: &Entry<'_>,
        id: MemberId,
        incarnation: Incarnation,
    ) {
        let dead = entry.state == State::Dead;
        if dead && self.table.get(id).is_none() {
            return;
        }
        self.take_record(now, from, entry.envelope);
        if !dead {
            return;
        }
        if id == self.local {
            // Who passed the judgement is not said here; a NOTICE will.
            if let Some(peer) = self.peer(from) {
                self.told_dead(now, peer, self.local, incarnation, Told::Listed);
            }
        } else if self.is_departed(from) {
            self.stats.reject("departed");
        } else if !self.is_departed(id)
            && self.table.get(id).is_some_and(|member| member.incarnation() == incarnation)
        {
            let age = core::time::Duration::from_millis(entry.age_ms.into());
            self.merge_death(now, from, id, incarnation, age);
        }
    }

    /// Another's state accuses in its own name: it must be a member here, and present (rules F-5 and
    /// H-3).
    fn suspect_on_its_word(
        &mut self,
        now: Instant,
        from: MemberId,
        id: MemberId,
        incarnation: Incarnation,
    ) {
        if self.is_departed(from) {
            self.stats.reject("departed");
        } else if self.table.get(from).is_some_and(|member| member.state.is_present()) {
            self.suspect(now, None, id, incarnation, from);
        }
    }
}
