//! Members in a circle, in order of their position, eight bytes each.
//!
//! Positions are hashes, so that their leading bits spread members evenly over buckets. A bucket
//! is an arc of the circle and keeps its members sorted; the next arc is found by arithmetic.
//! Of a position only 32 bits are kept; where two members agree in those, which is rare, both
//! positions are computed anew.
//!
//! Invariants: a bucket holds the members of its arc, in order of (position, id); with the load
//! kept, buckets hold `LOAD` members on average, and at most twice as many where hashes are fair.

use alloc::vec::Vec;

use crate::member::MemberId;
use crate::membership::split::{bucket_of, origin};

/// What a circle calls a member; who owns the circle knows whom it means.
pub type Handle = u32;

/// Members a bucket on average.
const LOAD: usize = 32;

/// Room is made for this many members at once: little is left empty, and little is moved.
const STEP: usize = 6;

/// Where a member stands: its position, then its id; without an id, before all who stand there.
pub type Point = (u128, Option<MemberId>);

/// How a circle learns what it does not keep.
pub trait Names {
    /// The member behind a handle.
    fn id(&self, handle: Handle) -> MemberId;

    /// A member's position.
    fn position(&self, id: MemberId) -> u128;
}

/// One member in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The leading bits of its position.
    pub key: u32,
    /// The member.
    pub handle: Handle,
}

/// Every member once, in order.
#[derive(Clone, Debug)]
pub struct Circle {
    buckets: Vec<Vec<Place>>,
    len: usize,
}

impl Default for Circle {
    fn default() -> Self {
        Self { buckets: alloc::vec![Vec::new()], len: 0 }
    }
}

impl Circle {
    /// Number of members.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody stands here.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a member; returns whether it is new.
    pub fn insert(&mut self, point: Point, handle: Handle, names: &impl Names) -> bool {
        let seat = self.seek(point, names);
        if seat.taken {
            return false;
        }
        let bucket = &mut self.buckets[seat.arc.bucket];
        if bucket.len() == bucket.capacity() {
            bucket.reserve_exact(STEP);
        }
        bucket.insert(seat.index, Place { key: key(point.0), handle });
        self.len += 1;
        if self.len > self.buckets.len() * LOAD {
            self.split();
        }
        true
    }

    /// Takes a member away; returns whether it was there.
    pub fn remove(&mut self, position: u128, handle: Handle) -> bool {
        let place = Place { key: key(position), handle };
        let arc = self.arc(place.key);
        let bucket = &mut self.buckets[arc.bucket];
        let first = bucket.partition_point(|other| other.key < place.key);
        let ties = bucket[first..].iter().take_while(|other| other.key == place.key);
        let Some(index) = ties.map(|other| other.handle).position(|other| other == handle) else {
            return false;
        };
        bucket.remove(first + index);
        if bucket.capacity() - bucket.len() > 2 * STEP {
            bucket.shrink_to(bucket.len() + STEP);
        }
        self.len -= 1;
        // Three quarters, so that a member that comes and goes does not split and merge.
        if self.buckets.len() > 1 && self.len < (self.buckets.len() - 1) * LOAD / 4 * 3 {
            self.merge();
        }
        true
    }

    /// Members at or after `point`, each once; whether the first one stands at `point` itself.
    pub fn forward(&self, point: Point, names: &impl Names) -> (Forward<'_>, bool) {
        let Seat { arc, index, taken } = self.seek(point, names);
        let ahead = &self.buckets[arc.bucket][index..];
        (Forward { circle: self, arc, ahead, left: self.len }, taken)
    }

    /// Members before `point`, the nearest first, each once; whether the last one stands at
    /// `point` itself.
    pub fn backward(&self, point: Point, names: &impl Names) -> (Backward<'_>, bool) {
        let Seat { arc, index, taken } = self.seek(point, names);
        let behind = &self.buckets[arc.bucket][..index];
        (Backward { circle: self, arc, behind, left: self.len }, taken)
    }

    fn arc(&self, key: u32) -> Arc {
        // Reversed, so that a split by the next bit of the hash halves an arc.
        let (bucket, bits) = bucket_of(key.reverse_bits(), self.buckets.len());
        let rest = u32::MAX.checked_shr(bits).unwrap_or(0);
        Arc { bucket, first: key & !rest, last: key | rest }
    }

    fn seek(&self, point: Point, names: &impl Names) -> Seat {
        let key = key(point.0);
        let arc = self.arc(key);
        let bucket = &self.buckets[arc.bucket];
        let mut index = bucket.partition_point(|place| place.key < key);
        while let Some(place) = bucket.get(index).filter(|place| place.key == key) {
            let id = names.id(place.handle);
            if Some(id) == point.1 {
                return Seat { arc, index, taken: true };
            }
            if (names.position(id), Some(id)) > point {
                break;
            }
            index += 1;
        }
        Seat { arc, index, taken: false }
    }

    fn split(&mut self) {
        let new = self.buckets.len();
        let old = origin(new);
        let bucket = &mut self.buckets[old];
        let half = bucket.partition_point(|place| {
            let (bucket, _) = bucket_of(place.key.reverse_bits(), new + 1);
            bucket == old
        });
        let upper = bucket.split_off(half);
        bucket.shrink_to(half + STEP);
        self.buckets.push(upper);
    }

    fn merge(&mut self) {
        let Some(upper) = self.buckets.pop() else { return };
        let old = origin(self.buckets.len());
        let lower = &mut self.buckets[old];
        lower.reserve_exact(upper.len());
        lower.extend(upper);
        if self.buckets.capacity() > 4 * self.buckets.len() {
            self.buckets.shrink_to(2 * self.buckets.len());
        }
    }
}

fn key(position: u128) -> u32 {
    (position >> 96) as u32
}

/// A part of the circle and the bucket that holds its members.
#[derive(Clone, Copy, Debug)]
struct Arc {
    bucket: usize,
    first: u32,
    last: u32,
}

/// Where a point is in its bucket, and whether a member stands on it.
struct Seat {
    arc: Arc,
    index: usize,
    taken: bool,
}

/// See [`Circle::forward`].
#[derive(Clone, Debug)]
pub struct Forward<'a> {
    circle: &'a Circle,
    arc: Arc,
    ahead: &'a [Place],
    left: usize,
}

impl Iterator for Forward<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        self.left = self.left.checked_sub(1)?;
        loop {
            if let Some((place, ahead)) = self.ahead.split_first() {
                self.ahead = ahead;
                return Some(*place);
            }
            self.arc = self.circle.arc(self.arc.last.wrapping_add(1));
            self.ahead = &self.circle.buckets[self.arc.bucket];
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Forward<'_> {}

/// See [`Circle::backward`].
#[derive(Clone, Debug)]
pub struct Backward<'a> {
    circle: &'a Circle,
    arc: Arc,
    behind: &'a [Place],
    left: usize,
}

impl Iterator for Backward<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        self.left = self.left.checked_sub(1)?;
        loop {
            if let Some((place, behind)) = self.behind.split_last() {
                self.behind = behind;
                return Some(*place);
            }
            self.arc = self.circle.arc(self.arc.first.wrapping_sub(1));
            self.behind = &self.circle.buckets[self.arc.bucket];
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Backward<'_> {}
