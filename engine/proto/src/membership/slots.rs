//! Every known member in a slot, found by its id: what a table and its views have in common.
//!
//! A copy shares all chunks (rule V-1). A change to a member copies the chunk that it stands in;
//! its coming or going copies a chunk of the index as well.
//!
//! Invariant: a slot holds a member exactly when the index leads to it.

use crate::member::MemberId;
use crate::membership::chunks::Chunks;
use crate::membership::index::{Index, Slot};
use crate::membership::table::Member;

/// Members by slot and by id; lookup and change are O(1), a copy is O(len / 4,096).
#[derive(Clone, Debug, Default)]
pub struct Slots {
    members: Chunks<Option<Member>>,
    index: Index,
}

impl Slots {
    /// Number of members.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The slot of a member.
    pub fn find(&self, id: MemberId) -> Option<Slot> {
        self.index.find(id, |slot| self.at(slot).is_some_and(|member| member.id() == id))
    }

    /// The member in a slot.
    pub fn at(&self, slot: Slot) -> Option<&Member> {
        self.members.get(slot as usize)?.as_ref()
    }

    /// The member with this id.
    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.at(self.find(id)?)
    }

    /// The id of the member in a slot that is taken.
    pub fn id(&self, slot: Slot) -> MemberId {
        match self.at(slot) {
            Some(member) => member.id(),
            None => unreachable!("whoever is on a ring or a list is in a slot"),
        }
    }

    /// Every member, in no meaningful order.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().flatten()
    }

    /// The slots themselves, for readers that cache by chunk.
    pub fn chunks(&self) -> &Chunks<Option<Member>> {
        &self.members
    }

    /// The index, to see what copies share.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Puts the newest word on a member into the slot that it has; returns the one before.
    pub(crate) fn replace(&mut self, slot: Slot, member: Member) -> Member {
        let before = self.members.get_mut(slot as usize).and_then(|place| place.replace(member));
        let Some(before) = before else { unreachable!("only a slot that was found is replaced") };
        before
    }

    /// Adds an unknown member, in the slot `free` or in a new one; returns where.
    pub(crate) fn insert(&mut self, member: Member, free: Option<Slot>) -> Slot {
        let id = member.id();
        let slot = match free {
            Some(slot) => {
                let place = self.members.get_mut(slot as usize);
                let Some(place @ None) = place else { unreachable!("a free slot is empty") };
                *place = Some(member);
                slot
            }
            None => {
                self.members.push(Some(member));
                self.members.len() as Slot - 1
            }
        };
        self.index.insert(id, slot);
        slot
    }

    /// Empties a slot that was found; returns who stood there.
    pub(crate) fn remove(&mut self, slot: Slot) -> Member {
        let before = self.members.get_mut(slot as usize).and_then(Option::take);
        let Some(before) = before else { unreachable!("only a slot that was found is emptied") };
        self.index.remove(before.id(), slot);
        before
    }
}
