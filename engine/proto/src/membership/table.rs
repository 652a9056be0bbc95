//! The table of members: who is known, by which record, in which state.
//!
//! Invariants: a member's incarnation is that of its signed record and stands nowhere else;
//! counts and digest follow every change, so that reading them is O(1).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use crate::member::{Incarnation, MemberId, Precedence, State};
use crate::membership::chunks::Chunks;
use crate::membership::digest;
use crate::membership::record::SignedRecord;
use crate::membership::roster::{List, Roster, Slot};
use crate::membership::view::View;
use crate::time::Instant;

/// One member as it is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its newest verified record.
    pub record: Arc<SignedRecord>,
    /// What is believed of it.
    pub state: State,
    /// Since when that is believed.
    pub since: Instant,
}

impl Member {
    /// Its id.
    pub fn id(&self) -> MemberId {
        self.record.record().id
    }

    /// Its incarnation: the record's.
    pub fn incarnation(&self) -> Incarnation {
        self.record.record().incarnation
    }

    /// What a claim must exceed to change it.
    pub fn precedence(&self) -> Precedence {
        Precedence(self.incarnation(), self.state)
    }

    fn list(&self) -> List {
        if self.state.is_present() { List::Present } else { List::Departed }
    }

    fn digest_share(&self) -> u64 {
        if self.state.is_present() { digest::share(self.id(), self.record.hash()) } else { 0 }
    }
}

/// Members by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Alive, ourselves included.
    pub alive: usize,
    /// Suspect.
    pub suspect: usize,
    /// Judged failed.
    pub dead: usize,
    /// Left by their own word.
    pub left: usize,
}

impl Counts {
    /// Alive and suspect.
    pub fn present(self) -> usize {
        self.alive + self.suspect
    }

    fn of(&mut self, state: State) -> &mut usize {
        match state {
            State::Alive => &mut self.alive,
            State::Suspect => &mut self.suspect,
            State::Dead => &mut self.dead,
            State::Left => &mut self.left,
        }
    }
}

/// What a node needs of its table. Production keeps every member ([`DenseTable`]); a simulation
/// of many nodes may share a base and keep differences.
pub trait MemberTable: Default {
    /// The member with this id.
    fn get(&self, id: MemberId) -> Option<&Member>;

    /// Inserts a member or replaces what is known of it.
    fn put(&mut self, member: Member);

    /// Forgets a member.
    fn remove(&mut self, id: MemberId);

    /// Known members, departed ones included.
    fn len(&self) -> usize;

    /// Whether none is known.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Members by state.
    fn counts(&self) -> Counts;

    /// Digest of the present members (rule A-1).
    fn digest(&self) -> u64;

    /// Draws a member from a list; `None` when the list is empty.
    fn sample(&self, list: List, rng: &mut fastrand::Rng) -> Option<&Member>;

    /// Every member of a list.
    fn members(&self, list: List) -> impl Iterator<Item = &Member>;

    /// An immutable copy that shares what did not change.
    fn view(&self, local: MemberId, version: u64, now: Instant) -> View;
}

/// Member ids are hashes already: their prefix is a hash of full quality.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(29) ^ u64::from_le_bytes(word);
        }
    }

    fn write_usize(&mut self, _length: usize) {
        // The length prefix of a fixed-size array carries no information.
    }
}

/// A map keyed by member id. Never iterated where order could matter.
pub(crate) type IdMap<V> = HashMap<MemberId, V, BuildHasherDefault<IdHasher>>;

/// Every member in a slot; lookup, change and draw are O(1).
#[derive(Clone, Debug, Default)]
pub struct DenseTable {
    index: IdMap<Slot>,
    slots: Chunks<Option<Member>>,
    free: Vec<Slot>,
    roster: Roster,
    counts: Counts,
    digest: u64,
}

impl DenseTable {
    fn at(&self, slot: Slot) -> Option<&Member> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn uncount(&mut self, slot: Slot) {
        let Some(member) = self.at(slot) else { return };
        let (state, share) = (member.state, member.digest_share());
        *self.counts.of(state) -= 1;
        self.digest ^= share;
    }
}

impl MemberTable for DenseTable {
    fn get(&self, id: MemberId) -> Option<&Member> {
        self.at(*self.index.get(&id)?)
    }

    fn put(&mut self, member: Member) {
        let slot = match self.index.get(&member.id()).copied() {
            Some(slot) => {
                self.uncount(slot);
                slot
            }
            None => {
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    self.slots.len() as Slot - 1
                });
                self.index.insert(member.id(), slot);
                slot
            }
        };
        *self.counts.of(member.state) += 1;
        self.digest ^= member.digest_share();
        self.roster.put(slot, member.list());
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(member);
        }
    }

    fn remove(&mut self, id: MemberId) {
        let Some(slot) = self.index.remove(&id) else { return };
        self.uncount(slot);
        self.roster.remove(slot);
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = None;
        }
        self.free.push(slot);
    }

    fn len(&self) -> usize {
        self.index.len()
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn digest(&self) -> u64 {
        self.digest
    }

    fn sample(&self, list: List, rng: &mut fastrand::Rng) -> Option<&Member> {
        let slots = self.roster.slots(list);
        if slots.is_empty() {
            return None;
        }
        self.at(slots[rng.usize(..slots.len())])
    }

    fn members(&self, list: List) -> impl Iterator<Item = &Member> {
        self.roster.slots(list).iter().filter_map(|slot| self.at(*slot))
    }

    fn view(&self, local: MemberId, version: u64, now: Instant) -> View {
        View::new(self.slots.clone(), self.counts, local, version, self.digest, now)
    }
}
