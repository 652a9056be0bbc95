//! Rings against sorted sets: every walk agrees, whatever the layout, ties included.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use proptest::prelude::*;

use crate::member::MemberId;
use crate::membership::ring::{Handle, Layout, Rings, position};

/// Where members stand in a test.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Places {
    /// As in production.
    Hashed,
    /// In one spot, so that ids alone decide.
    OneSpot,
    /// In five spots that agree in their leading bits, each with neighbours: the bits that a ring
    /// does not keep decide, or the ids do.
    Crowded,
    /// Side by side at both ends of the number range.
    Ends,
}

impl Layout for Places {
    fn position(&self, ring: u8, id: MemberId) -> u128 {
        let number = u128::from(u16::from_le_bytes([id.0[0], id.0[1]]));
        match self {
            Self::Hashed => position("c", ring, id),
            Self::OneSpot => 7 << 96,
            Self::Crowded => (number % 5) << 125 | (number / 5 % 3) << (ring * 11),
            Self::Ends if number % 2 == 0 => number << 90,
            Self::Ends => u128::MAX - (number << 90),
        }
    }
}

/// The rings as sets of (position, id).
pub(crate) struct Model<L> {
    layout: L,
    rings: Vec<BTreeSet<(u128, MemberId)>>,
}

impl<L: Layout> Model<L> {
    pub(crate) fn new(layout: L, count: u8) -> Self {
        Self { layout, rings: (0..count).map(|_| BTreeSet::new()).collect() }
    }

    pub(crate) fn insert(&mut self, id: MemberId) {
        for (ring, places) in (0..).zip(&mut self.rings) {
            places.insert((self.layout.position(ring, id), id));
        }
    }

    pub(crate) fn remove(&mut self, id: MemberId) {
        for (ring, places) in (0..).zip(&mut self.rings) {
            places.remove(&(self.layout.position(ring, id), id));
        }
    }

    pub(crate) fn onward(&self, ring: u8, point: u64) -> Vec<MemberId> {
        let places = &self.rings[usize::from(ring)];
        let from = (u128::from(point) << 64, MemberId([0; 16]));
        places.range(from..).chain(places.range(..from)).map(|(_, id)| *id).collect()
    }

    pub(crate) fn before(&self, ring: u8, id: MemberId) -> Vec<MemberId> {
        let places = &self.rings[usize::from(ring)];
        let own = (self.layout.position(ring, id), id);
        let (below, above) = (places.range(..own).rev(), places.range(own..).rev());
        below.chain(above).map(|(_, other)| *other).filter(|other| *other != id).collect()
    }

    pub(crate) fn after(&self, ring: u8, id: MemberId) -> Vec<MemberId> {
        let places = &self.rings[usize::from(ring)];
        let own = (self.layout.position(ring, id), id);
        let (above, below) = (places.range(own..), places.range(..own));
        above.chain(below).map(|(_, other)| *other).filter(|other| *other != id).collect()
    }
}

fn id(number: u16) -> MemberId {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_le_bytes());
    MemberId(id)
}

/// Members come and go as `steps` say; `check` sees rings and model now and then, and at the end.
fn story(
    places: Places,
    steps: &[(bool, u16)],
    check: impl Fn(&Rings<Places>, &Model<Places>, &[MemberId]) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let (mut rings, mut model) = (Rings::with_layout(places, 2), Model::new(places, 2));
    let mut names: Vec<MemberId> = Vec::new();
    let mut handles: BTreeMap<u16, Handle> = BTreeMap::new();
    for (step, (add, number)) in steps.iter().copied().enumerate() {
        if add {
            let handle = *handles.entry(number).or_insert_with(|| {
                names.push(id(number));
                names.len() as Handle - 1
            });
            rings.insert(handle, id(number), |handle| names[handle as usize]);
            model.insert(id(number));
        } else {
            // One that is not there is taken away as well, under a handle that nobody has.
            rings.remove(handles.remove(&number).unwrap_or(Handle::MAX), id(number));
            model.remove(id(number));
        }
        if step % 199 == 0 || step < 4 {
            check(&rings, &model, &names)?;
        }
    }
    check(&rings, &model, &names)
}

fn same_walks(
    rings: &Rings<Places>,
    model: &Model<Places>,
    names: &[MemberId],
) -> Result<(), TestCaseError> {
    let name = |handle: Handle| names[handle as usize];
    for ring in 0..rings.count() {
        for of in (0..9).map(|number| id(number * 37)) {
            let before = rings.before(ring, of, name).map(|place| name(place.handle));
            prop_assert_eq!(before.collect::<Vec<_>>(), model.before(ring, of));
            let after = rings.after(ring, of, name).map(|place| name(place.handle));
            prop_assert_eq!(after.collect::<Vec<_>>(), model.after(ring, of));
        }
        for point in [0, 1, 1 << 61, 7 << 32, u64::MAX / 3, u64::MAX] {
            let walk = rings.from_point(ring, point, name).map(|place| name(place.handle));
            prop_assert_eq!(walk.collect::<Vec<_>>(), model.onward(ring, point));
        }
    }
    Ok(())
}

fn layouts() -> impl Strategy<Value = Places> {
    prop_oneof![
        Just(Places::Hashed),
        Just(Places::OneSpot),
        Just(Places::Crowded),
        Just(Places::Ends),
    ]
}

proptest! {
    /// Rule D-1, with members that come, stay and go: none, one, two, a few hundred.
    #[test]
    fn walks_agree_with_sorted_sets(
        places in layouts(),
        steps in prop::collection::vec((prop::bool::weighted(0.8), 0u16..333), 0..900),
    ) {
        story(places, &steps, same_walks)?;
    }

    /// Rule D-1: few members and many changes.
    #[test]
    fn walks_of_the_very_few_agree_with_sorted_sets(
        places in layouts(),
        steps in prop::collection::vec((any::<bool>(), (0u16..4).prop_map(|n| n * 37)), 0..40),
    ) {
        story(places, &steps, same_walks)?;
    }
}

/// A mesh that grows to thousands and shrinks to nobody splits and merges all its buckets.
#[test]
fn growth_and_decline_leave_order_and_room_as_they_should_be() {
    let (mut rings, mut model) = (Rings::new("c", 1), Model::new(Places::Hashed, 1));
    let order: Vec<u16> = (0..5_000).map(|number| number * 7 % 5_000).collect();
    let name = |handle: Handle| id(handle as u16);
    let agree = |rings: &Rings, model: &Model<Places>| {
        let walk = rings.from_point(0, 0, name).map(|place| name(place.handle));
        assert!(walk.eq(model.onward(0, 0)));
    };
    for (step, number) in order.iter().enumerate() {
        rings.insert(Handle::from(*number), id(*number), name);
        model.insert(id(*number));
        if step % 500 == 0 {
            agree(&rings, &model);
        }
    }
    agree(&rings, &model);
    for (step, number) in order.iter().rev().enumerate() {
        rings.remove(Handle::from(*number), id(*number));
        model.remove(id(*number));
        if step % 500 == 0 {
            agree(&rings, &model);
        }
    }
    assert_eq!(rings.from_point(0, 0, name).count(), 0);
}
