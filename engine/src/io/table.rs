//! A shelf of sockets: whoever holds an id finds its socket, and only that one.
//!
//! Invariant: an id that was removed finds nothing, until its place has been reused 4,096 times;
//! places are reused in the order in which they were vacated, so that takes long.

use std::collections::VecDeque;

use super::SocketId;

/// Sockets that one backend can hold: what is left of an id beside its generation.
pub(crate) const TABLE_MAX_SOCKETS: usize = 1 << INDEX_BITS;

const INDEX_BITS: u32 = 20;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
const GENERATION_MASK: u32 = u32::MAX >> INDEX_BITS;

/// Values by [`SocketId`].
pub(crate) struct Table<T> {
    places: Vec<Place<T>>,
    vacant: VecDeque<u32>,
}

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), vacant: VecDeque::new() }
    }

    /// Puts a value; `None` when the table is full.
    pub(crate) fn insert(&mut self, value: T) -> Option<SocketId> {
        let index = match self.vacant.pop_front() {
            Some(index) => index,
            None if self.places.len() < TABLE_MAX_SOCKETS => {
                self.places.push(Place { generation: 0, value: None });
                (self.places.len() - 1) as u32
            }
            None => return None,
        };
        let place = &mut self.places[index as usize];
        assert!(place.value.is_none(), "a vacant place is empty");
        place.value = Some(value);
        Some(SocketId(place.generation << INDEX_BITS | index))
    }

    pub(crate) fn get(&self, id: SocketId) -> Option<&T> {
        let place = self.places.get((id.0 & INDEX_MASK) as usize)?;
        if place.generation != id.0 >> INDEX_BITS {
            return None;
        }
        place.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut T> {
        let place = self.places.get_mut((id.0 & INDEX_MASK) as usize)?;
        if place.generation != id.0 >> INDEX_BITS {
            return None;
        }
        place.value.as_mut()
    }

    /// Takes a value out; its id finds nothing from here on.
    pub(crate) fn remove(&mut self, id: SocketId) -> Option<T> {
        self.get(id)?;
        let index = id.0 & INDEX_MASK;
        let place = &mut self.places[index as usize];
        place.generation = (place.generation + 1) & GENERATION_MASK;
        self.vacant.push_back(index);
        place.value.take()
    }

    /// All values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| place.value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_removed_value_never_finds_its_successor() {
        let mut table = Table::new();
        let first = table.insert("first").unwrap();
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert("second").unwrap();
        assert_ne!(first, second);
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&"second"));
    }

    #[test]
    fn places_are_reused_so_the_table_does_not_grow() {
        let mut table = Table::new();
        for round in 0..10_000 {
            let id = table.insert(round).unwrap();
            assert_eq!(table.remove(id), Some(round));
        }
        assert_eq!(table.places.len(), 1);
        assert_eq!(table.values().count(), 0);
    }
}
