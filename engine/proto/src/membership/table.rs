//! The table of members: who is known, by which record, in which state.
//!
//! Invariants: a member's incarnation is that of its signed record and stands nowhere else;
//! counts and digest follow every change, so that reading them is O(1).

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use crate::member::{Incarnation, MemberId, Precedence, State};
use crate::membership::chunks::Chunks;
use crate::membership::digest;
use crate::membership::record::SignedRecord;
use crate::membership::ring::Rings;
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

    pub(crate) fn digest_share(&self) -> u64 {
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

    pub(crate) fn of(&mut self, state: State) -> &mut usize {
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
///
/// Whatever the implementation, equal content gives equal answers: draws and walks depend on who
/// is a member, never on the order in which members came.
pub trait MemberTable {
    /// An empty table for a cluster whose members stand on `rings` rings (rule D-1).
    fn for_cluster(cluster_id: &str, rings: u8) -> Self;

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

    /// Draws a member from a list, close to uniformly; `None` when the list is empty. One call
    /// takes the same numbers from `rng` in every implementation.
    fn sample(&self, list: List, rng: &mut fastrand::Rng) -> Option<&Member>;

    /// Present members that precede `id` on ring `ring`, the nearest first, around the whole ring
    /// and without `id`, which need not be a member.
    fn before(&self, ring: u8, id: MemberId) -> impl Iterator<Item = MemberId>;

    /// Present members that follow `id` on ring `ring`, the nearest first, around the whole ring
    /// and without `id`, which need not be a member.
    fn after(&self, ring: u8, id: MemberId) -> impl Iterator<Item = MemberId>;

    /// Every member of a list.
    fn members(&self, list: List) -> impl Iterator<Item = &Member>;

    /// An immutable copy that shares what did not change.
    fn view(&self, local: MemberId, version: u64, now: Instant) -> View;
}

/// The numbers of one draw: a ring, a point on it and a number of steps from there. A point alone
/// would favour members behind wide gaps; 64 places (eight steps on eight rings) even that out.
pub fn draw(rng: &mut fastrand::Rng, rings: u8) -> (u8, u64, usize) {
    (rng.u8(0..rings), rng.u64(..), rng.usize(0..64 / usize::from(rings)))
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
#[derive(Clone, Debug)]
pub struct DenseTable {
    index: IdMap<Slot>,
    rings: Rings,
    departed: BTreeSet<MemberId>,
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
    fn for_cluster(cluster_id: &str, rings: u8) -> Self {
        Self {
            index: IdMap::default(),
            rings: Rings::new(cluster_id, rings),
            departed: BTreeSet::new(),
            slots: Chunks::default(),
            free: Vec::new(),
            roster: Roster::default(),
            counts: Counts::default(),
            digest: 0,
        }
    }

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
        match member.list() {
            List::Present => {
                self.departed.remove(&member.id());
                self.rings.insert(member.id());
            }
            List::Departed => {
                self.rings.remove(member.id());
                self.departed.insert(member.id());
            }
        }
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(member);
        }
    }

    fn remove(&mut self, id: MemberId) {
        let Some(slot) = self.index.remove(&id) else { return };
        self.uncount(slot);
        self.roster.remove(slot);
        self.rings.remove(id);
        self.departed.remove(&id);
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
        let (ring, point, steps) = draw(rng, self.rings.count());
        let id = match list {
            List::Present => {
                self.rings.from_point(ring, point).nth(steps % self.counts.present().max(1))
            }
            List::Departed => {
                let from = MemberId((u128::from(point) << 64).to_be_bytes());
                let steps = steps % self.departed.len().max(1);
                self.departed.range(from..).chain(self.departed.iter()).nth(steps).copied()
            }
        }?;
        self.get(id)
    }

    fn before(&self, ring: u8, id: MemberId) -> impl Iterator<Item = MemberId> {
        self.rings.before(ring, id)
    }

    fn after(&self, ring: u8, id: MemberId) -> impl Iterator<Item = MemberId> {
        self.rings.after(ring, id)
    }

    fn members(&self, list: List) -> impl Iterator<Item = &Member> {
        self.roster.slots(list).iter().filter_map(|slot| self.at(*slot))
    }

    fn view(&self, local: MemberId, version: u64, now: Instant) -> View {
        View::new(self.slots.clone(), self.counts, local, version, self.digest, now)
    }
}
