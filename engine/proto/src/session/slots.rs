//! Numbered places whose numbers are not reused soon.
//!
//! An index is (generation, slot): the slot makes the lookup O(1), the generation makes a number
//! of a past tenant worthless. Generations start at random, so that the numbers of a process that
//! was restarted are strangers to the new one.
//!
//! Invariant: an index names at most one tenant, ever within 4,095 tenancies of its slot; 0 names
//! nobody.

use alloc::vec::Vec;

const SLOT_BITS: u32 = 20;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
const GENERATIONS: u32 = 1 << (32 - SLOT_BITS);
/// Places made at once, at least.
const LEAST_GROWTH: usize = 16;

#[derive(Clone, Debug)]
struct Place<T> {
    generation: u32,
    tenant: Option<T>,
}

/// A slab with generations.
#[derive(Clone, Debug)]
pub struct Slots<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    rng: fastrand::Rng,
}

impl<T> Slots<T> {
    /// Empty; `seed` randomises the generations.
    pub fn seeded(seed: u64) -> Self {
        Self { places: Vec::new(), free: Vec::new(), rng: fastrand::Rng::with_seed(seed) }
    }

    /// Tenants.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there is no tenant.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets a place to whatever `make` builds from its index; `None` when it builds nothing or all
    /// 2^20 places are let.
    pub fn insert_with(&mut self, make: impl FnOnce(u32) -> Option<T>) -> Option<u32> {
        let slot = match self.free.last() {
            Some(slot) => *slot,
            None => {
                let slot = u32::try_from(self.places.len()).ok().filter(|s| *s <= SLOT_MASK)?;
                let generation = self.rng.u32(1..GENERATIONS);
                if self.places.len() == self.places.capacity() {
                    // By an eighth: twice as many would double what a session costs.
                    self.places.reserve_exact((self.places.len() / 8).max(LEAST_GROWTH));
                }
                self.places.push(Place { generation, tenant: None });
                self.free.push(slot);
                slot
            }
        };
        let place = self.places.get_mut(slot as usize)?;
        let index = place.generation << SLOT_BITS | slot;
        place.tenant = Some(make(index)?);
        self.free.pop();
        Some(index)
    }

    fn place(&self, index: u32) -> Option<&Place<T>> {
        let place = self.places.get((index & SLOT_MASK) as usize)?;
        (place.generation == index >> SLOT_BITS).then_some(place)
    }

    /// The tenant of `index`.
    pub fn get(&self, index: u32) -> Option<&T> {
        self.place(index)?.tenant.as_ref()
    }

    /// The tenant of `index`.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.place(index)?;
        self.places.get_mut((index & SLOT_MASK) as usize)?.tenant.as_mut()
    }

    /// Replaces the tenant of `index` by what `change` makes of it; without a result the tenancy
    /// ends. Says whether there is a tenant afterwards.
    pub fn replace_with(&mut self, index: u32, change: impl FnOnce(T) -> Option<T>) -> bool {
        let Some(place) = self.places.get_mut((index & SLOT_MASK) as usize) else { return false };
        if place.generation != index >> SLOT_BITS {
            return false;
        }
        let Some(tenant) = place.tenant.take() else { return false };
        place.tenant = change(tenant);
        if place.tenant.is_none() {
            self.vacate(index & SLOT_MASK);
            return false;
        }
        true
    }

    /// Ends a tenancy; its index names nobody from here on.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        self.place(index)?;
        let slot = index & SLOT_MASK;
        let tenant = self.places.get_mut(slot as usize)?.tenant.take()?;
        self.vacate(slot);
        Some(tenant)
    }

    fn vacate(&mut self, slot: u32) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        place.generation =
            if place.generation + 1 == GENERATIONS { 1 } else { place.generation + 1 };
        self.free.push(slot);
    }

    /// The place that `index` stands for, whoever lives there.
    pub fn slot(index: u32) -> u32 {
        index & SLOT_MASK
    }

    /// The index of whoever lives at the place `slot`.
    pub fn index_at(&self, slot: u32) -> Option<u32> {
        let place = self.places.get(slot as usize)?;
        place.tenant.as_ref().map(|_| place.generation << SLOT_BITS | slot)
    }

    /// Every tenant with its index, in no meaningful order. O(slots).
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.places.iter().enumerate().filter_map(|(slot, place)| {
            let tenant = place.tenant.as_ref()?;
            Some((place.generation << SLOT_BITS | slot as u32, tenant))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_tenant_index_names_nobody() {
        let mut slots = Slots::seeded(1);
        let a = slots.insert_with(|_| Some('a')).unwrap();
        assert_eq!(slots.get(a), Some(&'a'));
        assert_eq!(slots.remove(a), Some('a'));
        assert_eq!(slots.remove(a), None);
        let mut seen = alloc::collections::BTreeSet::from([a]);
        for _ in 0..1_000 {
            let b = slots.insert_with(|_| Some('b')).unwrap();
            assert!(b != 0 && seen.insert(b), "an index came back");
            assert_eq!(slots.get(a), None);
            assert_eq!(slots.index_at(Slots::<char>::slot(a)), Some(b));
            slots.remove(b);
            assert_eq!(slots.index_at(Slots::<char>::slot(a)), None);
        }
        assert_eq!(slots.insert_with(|_| None::<char>), None);
        assert!(slots.is_empty());
        let c = slots.insert_with(|_| Some('c')).unwrap();
        assert!(slots.replace_with(c, |_| Some('d')));
        assert_eq!(slots.get(c), Some(&'d'));
        assert!(!slots.replace_with(c, |_| None));
        assert_eq!(slots.get(c), None);
    }

    #[test]
    fn two_lives_number_differently() {
        let first = |seed| Slots::seeded(seed).insert_with(|_| Some(())).unwrap();
        let distinct: alloc::collections::BTreeSet<_> = (0..100).map(first).collect();
        assert!(distinct.len() > 90);
    }
}
