//! Everybody who ever was a member anywhere in a world, by number, and where they stand on the
//! rings: facts that follow from an id alone, so that one copy serves every table.
//!
//! Invariant: numbers are given once and never change; a later universe begins with the members of
//! an earlier one.

use mesh_gossip_proto::MemberId;
use mesh_gossip_proto::membership::ring;

/// Stands for a member.
pub(super) type Number = u32;

/// A place is looked for so far from where it ought to be at first.
const NEAR: usize = 8;

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
        let count = self.points.len();
        // Points are hashes, spread evenly: the place is known to within a few dozen. What lies between
        // is doubled until it is not only before or behind.
        let guess = (((point >> 64) * count as u128) >> 64) as usize;
        let (mut from, mut to) = (guess, guess);
        let mut step = NEAR;
        while from > 0 && self.points[from - 1] >= point {
            from = from.saturating_sub(step);
            step *= 2;
        }
        while to < count && self.points[to] < point {
            to = (to + step).min(count);
            step *= 2;
        }
        from + self.points[from..to].partition_point(|other| *other < point)
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

/// Numbers by id. An entry is a number and a part of the id, which tells most strangers apart: eight
/// bytes a member, so that those of ten thousand stay in the processor's cache.
///
/// Invariant: a quarter of the places at least is free.
#[derive(Clone, Debug, Default)]
struct Index {
    places: Vec<(u32, Number)>,
    count: usize,
}

/// Nobody's number.
const FREE: Number = Number::MAX;

impl Index {
    fn find(&self, id: MemberId, ids: &[MemberId]) -> Option<Number> {
        let mask = self.places.len().checked_sub(1)?;
        let (mut at, part) = (id.prefix() as usize & mask, part_of(id));
        loop {
            match self.places[at] {
                (_, FREE) => return None,
                (found, number) if found == part && ids[number as usize] == id => {
                    return Some(number);
                }
                (_, _other) => at = (at + 1) & mask,
            }
        }
    }

    /// Enters the number of a stranger; `ids` are those of all before it.
    fn enter(&mut self, id: MemberId, number: Number, ids: &[MemberId]) {
        if (self.count + 1) * 4 > self.places.len() * 3 {
            self.places = vec![(0, FREE); (self.places.len() * 2).max(8)];
            for (number, id) in (0..).zip(ids) {
                self.place(*id, number);
            }
        }
        self.count += 1;
        self.place(id, number);
    }

    fn place(&mut self, id: MemberId, number: Number) {
        let mask = self.places.len() - 1;
        let mut at = id.prefix() as usize & mask;
        while self.places[at].1 != FREE {
            at = (at + 1) & mask;
        }
        self.places[at] = (part_of(id), number);
    }
}

/// A part of the id that its place does not follow from.
fn part_of(id: MemberId) -> u32 {
    (id.prefix() >> 32) as u32
}

/// Everybody.
#[derive(Clone, Debug)]
pub(super) struct Universe {
    cluster_id: String,
    ids: Vec<MemberId>,
    index: Index,
    rings: Vec<Circle>,
    by_id: Circle,
}

impl Universe {
    pub(super) fn new(cluster_id: &str, rings: u8) -> Self {
        Self {
            cluster_id: cluster_id.into(),
            ids: Vec::new(),
            index: Index::default(),
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
        self.index.find(id, &self.ids)
    }

    pub(super) fn id(&self, number: Number) -> MemberId {
        self.ids[number as usize]
    }

    /// Enters members that are not there yet.
    pub(super) fn enter(&mut self, ids: impl Iterator<Item = MemberId>) {
        let first = self.ids.len() as Number;
        for id in ids {
            if self.number(id).is_none() {
                self.index.enter(id, self.ids.len() as Number, &self.ids);
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
