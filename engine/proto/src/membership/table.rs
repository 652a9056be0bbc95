//! The table of members: who is known, by which record, in which state.
//!
//! Invariants: a member's incarnation is that of its signed record and stands nowhere else; a
//! member stands on the rings while it is present and among the departed while it is not;
//! counts and digest follow every change, so that reading them is O(1).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use crate::member::{Incarnation, MemberId, Precedence, State};
use crate::membership::circle::{Circle, Forward, Handle, Names};
use crate::membership::digest;
use crate::membership::index::Slot;
use crate::membership::record::SignedRecord;
use crate::membership::ring::Rings;
use crate::membership::roster::List;
use crate::membership::slots::Slots;
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

    /// What it contributes to a digest while it is present (rule A-1).
    pub fn share(&self) -> u64 {
        digest::share(self.id(), self.record.hash())
    }

    pub(crate) fn digest_share(&self) -> u64 {
        if self.state.is_present() { self.share() } else { 0 }
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

    /// Since when this node believes what `member`, out of this table, says. A table that shares its
    /// members with other nodes keeps each one's moments apart.
    fn since(&self, member: &Member) -> Instant {
        member.since
    }

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

/// Every member in a slot; lookup, change and draw are O(1), whatever the number of members.
///
/// Costs some 40 bytes a member beside its record, and ten more for each ring.
#[derive(Clone, Debug)]
pub struct DenseTable {
    slots: Slots,
    free: Vec<Slot>,
    rings: Rings,
    departed: Circle,
    counts: Counts,
    digest: u64,
}

impl DenseTable {
    /// What is shared with views.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    fn count(&mut self, member: &Member) {
        *self.counts.of(member.state) += 1;
        self.digest ^= member.digest_share();
    }

    fn uncount(&mut self, member: &Member) {
        *self.counts.of(member.state) -= 1;
        self.digest ^= member.digest_share();
    }

    fn enlist(&mut self, list: List, slot: Slot, id: MemberId) {
        let slots = &self.slots;
        match list {
            List::Present => self.rings.insert(slot, id, |slot| slots.id(slot)),
            List::Departed => {
                self.departed.insert((by_id(id), Some(id)), slot, &ById(slots));
            }
        }
    }

    fn unlist(&mut self, list: List, slot: Slot, id: MemberId) {
        match list {
            List::Present => self.rings.remove(slot, id),
            List::Departed => {
                self.departed.remove(by_id(id), slot);
            }
        }
    }

    /// A list from a point on, once around: the present by their ring, the departed by their ids.
    fn walk(&self, list: List, ring: u8, point: u64) -> Forward<'_> {
        match list {
            List::Present => self.rings.from_point(ring, point, |slot| self.slots.id(slot)),
            List::Departed => {
                let point = (u128::from(point) << 64, None);
                self.departed.forward(point, &ById(&self.slots)).0
            }
        }
    }
}

/// The departed stand in order of their ids.
struct ById<'a>(&'a Slots);

fn by_id(id: MemberId) -> u128 {
    u128::from_be_bytes(id.0)
}

impl Names for ById<'_> {
    fn id(&self, handle: Handle) -> MemberId {
        self.0.id(handle)
    }

    fn position(&self, id: MemberId) -> u128 {
        by_id(id)
    }
}

impl MemberTable for DenseTable {
    fn for_cluster(cluster_id: &str, rings: u8) -> Self {
        Self {
            slots: Slots::default(),
            free: Vec::new(),
            rings: Rings::new(cluster_id, rings),
            departed: Circle::default(),
            counts: Counts::default(),
            digest: 0,
        }
    }

    fn get(&self, id: MemberId) -> Option<&Member> {
        self.slots.get(id)
    }

    fn put(&mut self, member: Member) {
        self.count(&member);
        let (id, list) = (member.id(), member.list());
        let (slot, before) = match self.slots.find(id) {
            Some(slot) => {
                let before = self.slots.replace(slot, member);
                self.uncount(&before);
                (slot, Some(before.list()))
            }
            None => (self.slots.insert(member, self.free.pop()), None),
        };
        if before != Some(list) {
            if let Some(before) = before {
                self.unlist(before, slot, id);
            }
            self.enlist(list, slot, id);
        }
    }

    fn remove(&mut self, id: MemberId) {
        let Some(slot) = self.slots.find(id) else { return };
        let before = self.slots.remove(slot);
        self.uncount(&before);
        self.unlist(before.list(), slot, id);
        self.free.push(slot);
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn digest(&self) -> u64 {
        self.digest
    }

    fn sample(&self, list: List, rng: &mut fastrand::Rng) -> Option<&Member> {
        let (ring, point, steps) = draw(rng, self.rings.count());
        let mut places = self.walk(list, ring, point);
        let steps = steps % places.len().max(1);
        self.slots.at(places.nth(steps)?.handle)
    }

    fn before(&self, ring: u8, id: MemberId) -> impl Iterator<Item = MemberId> {
        let places = self.rings.before(ring, id, |slot| self.slots.id(slot));
        places.map(|place| self.slots.id(place.handle))
    }

    fn after(&self, ring: u8, id: MemberId) -> impl Iterator<Item = MemberId> {
        let places = self.rings.after(ring, id, |slot| self.slots.id(slot));
        places.map(|place| self.slots.id(place.handle))
    }

    fn members(&self, list: List) -> impl Iterator<Item = &Member> {
        // In the order of the first ring, or of the ids: no trace of who came when.
        self.walk(list, 0, 0).map(|place| match self.slots.at(place.handle) {
            Some(member) => member,
            None => unreachable!("whoever is on a list is in a slot"),
        })
    }

    fn view(&self, local: MemberId, version: u64, now: Instant) -> View {
        View::new(self.slots.clone(), self.counts, local, version, self.digest, now)
    }
}
