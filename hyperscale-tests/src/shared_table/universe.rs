//! Everybody who ever was a member anywhere in a world, by number, and where they stand on the
//! rings: facts that follow from an id alone, so that one copy serves every table.
//!
//! Invariant: numbers are given once and never change; a later universe begins with the members of
//! an earlier one.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use mesh_gossip_proto::MemberId;
use mesh_gossip_proto::membership::ring;

use crate::hash::IdHasher;

/// Stands for a member.
pub(super) type Number = u32;

/// Members in one order.
#[derive(Clone, Debug, Default)]
pub(super) struct Circle {
    /// Numbers by their place.
    order: Vec<Number>,
    /// What the order follows, by place.
    points: Vec<u128>,
    /// Places by number.
    places: Vec<u32>,
}

impl Circle {
    /// Adds members, given by number and point; `ids` settles ties.
    fn extend(&mut self, fresh: impl Iterator<Item = (Number, u128)>, ids: &[MemberId]) {
        let held = self.points.iter().copied().zip(self.order.iter().copied());
        let mut all: Vec<(u128, Number)> = held.collect();
        all.extend(fresh.map(|(number, point)| (point, number)));
        // Merging a sorted run with a short tail is what this sort is good at.
        all.sort_by_key(|(point, number)| (*point, ids[*number as usize]));
        self.places.resize(ids.len(), 0);
        self.order.clear();
        self.points.clear();
        for (place, (point, number)) in all.into_iter().enumerate() {
            self.order.push(number);
            self.points.push(point);
            self.places[number as usize] = place as u32;
        }
    }

    /// The first place at or after `point`; the number of members when there is none.
    fn at_or_after(&self, point: u128) -> usize {
        self.points.partition_point(|other| *other < point)
    }

    /// Everybody from `place` on, once around.
    pub(super) fn from(&self, place: usize) -> impl Iterator<Item = Number> + Clone {
        self.order[place..].iter().chain(&self.order[..place]).copied()
    }

    /// Everybody before `place`, the nearest first, once around.
    pub(super) fn before(&self, place: usize) -> impl Iterator<Item = Number> {
        self.order[..place].iter().rev().chain(self.order[place..].iter().rev()).copied()
    }

    /// Where the point stands.
    pub(super) fn place_of_point(&self, point: u64) -> usize {
        self.at_or_after(u128::from(point) << 64)
    }

    /// Where a member stands.
    pub(super) fn place_of(&self, number: Number) -> usize {
        self.places[number as usize] as usize
    }

    /// Where somebody who is not in the circle would stand.
    fn place_of_stranger(&self, point: u128, id: MemberId, ids: &[MemberId]) -> usize {
        let first = self.at_or_after(point);
        let ties = self.points[first..].iter().take_while(|other| **other == point).count();
        let below = |number: &&Number| ids[**number as usize] < id;
        first + self.order[first..first + ties].iter().take_while(below).count()
    }
}

/// Everybody.
#[derive(Clone, Debug)]
pub(super) struct Universe {
    cluster_id: String,
    ids: Vec<MemberId>,
    index: HashMap<MemberId, Number, BuildHasherDefault<IdHasher>>,
    rings: Vec<Circle>,
    by_id: Circle,
}

impl Universe {
    pub(super) fn new(cluster_id: &str, rings: u8) -> Self {
        Self {
            cluster_id: cluster_id.into(),
            ids: Vec::new(),
            index: HashMap::default(),
            rings: (0..rings).map(|_| Circle::default()).collect(),
            by_id: Circle::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn rings(&self) -> u8 {
        self.rings.len() as u8
    }

    pub(super) fn number(&self, id: MemberId) -> Option<Number> {
        self.index.get(&id).copied()
    }

    pub(super) fn id(&self, number: Number) -> MemberId {
        self.ids[number as usize]
    }

    /// Enters members that are not there yet.
    pub(super) fn enter(&mut self, ids: impl Iterator<Item = MemberId>) {
        let first = self.ids.len() as Number;
        for id in ids {
            if !self.index.contains_key(&id) {
                self.index.insert(id, self.ids.len() as Number);
                self.ids.push(id);
            }
        }
        let fresh = first..self.ids.len() as Number;
        for (ring, circle) in (0..).zip(&mut self.rings) {
            let (cluster_id, ids) = (&self.cluster_id, &self.ids);
            let point = |number| ring::position(cluster_id, ring, ids[number as usize]);
            circle.extend(fresh.clone().map(|number| (number, point(number))), ids);
        }
        let ids = &self.ids;
        let point = |number| u128::from_be_bytes(ids[number as usize].0);
        self.by_id.extend(fresh.map(|number| (number, point(number))), ids);
    }

    pub(super) fn ring(&self, ring: u8) -> &Circle {
        &self.rings[usize::from(ring)]
    }

    /// Everybody in the order of the ids.
    pub(super) fn by_id(&self) -> &Circle {
        &self.by_id
    }

    /// The place of `id` on a ring, and whether it is taken by `id` itself.
    pub(super) fn place_on(&self, ring: u8, id: MemberId) -> (usize, bool) {
        let circle = self.ring(ring);
        match self.number(id) {
            Some(number) => (circle.place_of(number), true),
            None => {
                let point = ring::position(&self.cluster_id, ring, id);
                (circle.place_of_stranger(point, id, &self.ids), false)
            }
        }
    }
}
