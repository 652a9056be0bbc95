//! A look at what comes next, so that its memory is there when its turn comes.
//!
//! Happenings jump from one node to another, and ten thousand nodes do not fit in any cache: each
//! step would wait some thirty times for memory, one line after the other. The calendar knows the
//! next happenings, and the lines that they need are fetched while others are handled.
//!
//! What lies behind a pointer can be fetched once the pointer has come, so everything is looked at
//! three times, [`PAUSE`] happenings apart: its place, the node, and what the node points to.
//!
//! Invariant: looking changes nothing.

use super::{What, World};
use crate::fetch::fetch;
use crate::pool::Buffer;
use crate::table::SimTable;

/// So many happenings are looked ahead: farther ahead lines would push each other out again.
const AHEAD: usize = 12;
/// Looks at one happening are so many others apart.
const PAUSE: usize = 2;
const LINE: usize = 64;

/// A node that something is to happen to.
#[derive(Clone, Copy, Debug)]
struct Glimpse {
    node: u32,
    /// Whose datagram comes, and what holds it.
    datagram: Option<(u32, Buffer)>,
}

/// What was looked at last, in a ring.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    ring: [Option<Glimpse>; 2 * PAUSE],
    next: usize,
}

impl Glimpse {
    fn of(what: What) -> Option<Self> {
        match what {
            What::Wake { node } => Some(Self { node, datagram: None }),
            What::Datagram { to, from, bytes, .. } => {
                Some(Self { node: to, datagram: Some((from, bytes)) })
            }
            // Seldom, or nothing that touches a node alone.
            What::Handshake { .. }
            | What::Hint { .. }
            | What::Rekey { .. }
            | What::Retire { .. }
            | What::Word { .. }
            | What::Exchange { .. }
            | What::Fault { .. }
            | What::Fold => None,
        }
    }
}

impl<T: SimTable> World<T> {
    /// Looks at what has come near since the last time.
    pub(super) fn look_ahead(&mut self) {
        while let Some(what) = self.wheel.foresee(AHEAD) {
            let Some(fresh) = Glimpse::of(what) else { continue };
            let Foresight { ring, next } = &mut self.foresight;
            let second = ring[(*next + PAUSE) % ring.len()];
            let third = ring[*next].replace(fresh);
            *next = (*next + 1) % ring.len();
            self.look_at_place(fresh);
            if let Some(glimpse) = second {
                self.look_at_node(glimpse);
            }
            if let Some(glimpse) = third {
                self.look_deeper(glimpse);
            }
        }
    }

    fn look_at_place(&self, Glimpse { node, datagram }: Glimpse) {
        let host: *const u8 = (&raw const self.hosts[node as usize]).cast();
        for line in 0..size_of_val(&self.hosts[0]).div_ceil(LINE) {
            fetch(host.wrapping_add(line * LINE));
        }
        fetch((&raw const *self.books.sent_by(node as usize)).cast());
        if let Some((_, buffer)) = datagram {
            fetch(self.pool.place(buffer));
        }
    }

    fn look_at_node(&self, Glimpse { node, datagram }: Glimpse) {
        if let Some((_, buffer)) = datagram {
            fetch(self.pool.bytes(buffer));
        }
        if let Some(node) = &self.hosts[node as usize].node {
            node.lines(fetch);
        }
    }

    fn look_deeper(&self, Glimpse { node, datagram }: Glimpse) {
        let host = &self.hosts[node as usize];
        let Some(node) = &host.node else { return };
        node.deeper_lines(fetch);
        if let Some((from, _)) = datagram {
            // Maps do not tell where they keep things: these two are looked up, side by side.
            std::hint::black_box(node.contact(self.ids[from as usize]));
            std::hint::black_box(host.links.touch(from));
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_gossip_proto::Duration;

    use crate::World;

    /// Whoever never looks ahead, or far too often, sees the same.
    #[test]
    fn looking_ahead_changes_nothing() {
        let world = || World::<mesh_gossip_proto::DenseTable>::seeded(5).nodes(12);
        let (mut looks, mut blind, mut restless) = (world(), world(), world());
        looks.run_for(Duration::from_secs(20));
        let end = looks.now();
        while let Some(now) = blind.next_time().filter(|now| *now <= end) {
            let (_, what) = blind.wheel.pop().expect("something is next");
            blind.now = now;
            blind.handle(what);
        }
        while restless.next_time().is_some_and(|now| now <= end) {
            restless.step();
            (0..3).for_each(|_| while restless.wheel.foresee(100).is_some() {});
            restless.look_ahead();
        }
        assert!(looks.foresight.ring.iter().all(Option::is_some), "it did look");
        assert!(blind.foresight.ring.iter().all(Option::is_none));
        let hashes = [&looks, &blind, &restless].map(World::trace_hash);
        assert_eq!(hashes, [looks.trace_hash(); 3]);
        assert_eq!(looks.books.events, blind.books.events);
    }
}
