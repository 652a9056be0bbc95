//! A look at what comes next, so that its memory is there when its turn comes.
//!
//! Happenings jump from one node to another, and ten thousand nodes do not fit in any cache: each
//! step would wait some thirty times for memory, one line after the other. The calendar knows the
//! next happenings, and the lines that they need are fetched while others are handled.
//!
//! What lies behind a pointer can be fetched once the pointer has come, so everything is looked at
//! several times, [`PAUSE`] happenings apart: its place, the node, what the node points to, and what
//! is known of the member that the node will ping.
//!
//! Invariant: looking changes nothing.

use mesh_gossip_proto::node::Coming;
use mesh_gossip_proto::{MemberId, Node};

use super::{Host, What, World};
use crate::fetch::fetch;
use crate::pool::Buffer;
use crate::table::SimTable;

/// So many happenings are looked ahead: farther ahead lines would push each other out again.
const AHEAD: usize = 12;
/// Looks at one happening are so many others apart.
const PAUSE: usize = 2;
const LINE: usize = 64;
/// Lines of a host that every happening needs.
const HOST_LINES: usize = 2;

/// How often each is looked at.
const LOOKS: usize = 6;

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
    ring: [Option<Glimpse>; (LOOKS - 1) * PAUSE],
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
            let now = *next;
            let before = |looks: usize| ring[(now + (LOOKS - 1 - looks) * PAUSE) % ring.len()];
            let [second, third, fourth, fifth] = [1, 2, 3, 4].map(before);
            let sixth = ring[now].replace(fresh);
            *next = (now + 1) % ring.len();
            self.look_at_place(fresh);
            self.again(second, Self::look_at_node);
            self.again(third, Self::look_deeper);
            self.again(fourth, Self::look_for_subject);
            self.again(fifth, Self::look_at_record);
            self.again(sixth, Self::look_at_address);
        }
    }

    /// Looks at one again, unless nothing will happen.
    fn again(&self, glimpse: Option<Glimpse>, look: impl Fn(&Self, Glimpse, &Node<T>)) {
        let Some(glimpse) = glimpse else { return };
        let Host { node, wake, due, .. } = &self.hosts[glimpse.node as usize];
        // Woken for a deadline that is over.
        let idle = glimpse.datagram.is_none() && due > wake;
        if let Some(node) = node
            && !idle
        {
            look(self, glimpse, node);
        }
    }

    fn look_at_place(&self, Glimpse { node, datagram }: Glimpse) {
        let host: *const u8 = (&raw const self.hosts[node as usize]).cast();
        for line in 0..HOST_LINES {
            fetch(host.wrapping_add(line * LINE));
        }
        fetch((&raw const *self.books.sent_by(node as usize)).cast());
        if let Some((from, buffer)) = datagram {
            fetch((&raw const self.ids[from as usize]).cast());
            fetch(self.pool.place(buffer));
        }
    }

    fn look_at_node(&self, glimpse: Glimpse, node: &Node<T>) {
        if let Some((from, buffer)) = glimpse.datagram {
            fetch(self.pool.bytes(buffer));
            fetch_two(self.hosts[glimpse.node as usize].links.place(from));
        }
        node.lines(fetch);
    }

    fn look_deeper(&self, glimpse: Glimpse, node: &Node<T>) {
        let kind = |(_, buffer)| Coming::Datagram(self.pool.first(buffer));
        node.deeper_lines(glimpse.datagram.map_or(Coming::Deadline, kind), fetch);
        if let Some((from, _)) = glimpse.datagram {
            fetch_two(node.contact_line(self.ids[from as usize]));
        }
    }

    fn look_for_subject(&self, glimpse: Glimpse, node: &Node<T>) {
        let Some(subject) = subject(glimpse, node) else { return };
        fetch_two(node.contact_line(subject));
        if let Some((index, place)) = node.table().stands(subject) {
            fetch(place);
            fetch_two(self.hosts[glimpse.node as usize].links.place(index));
        }
    }

    fn look_at_record(&self, glimpse: Glimpse, node: &Node<T>) {
        let member = subject(glimpse, node).and_then(|subject| node.member(subject));
        if let Some(member) = member {
            let record = member.record.record();
            fetch((&raw const record.id).cast());
            fetch((&raw const record.incarnation).cast());
            fetch((&raw const record.addresses).cast());
        }
    }

    fn look_at_address(&self, glimpse: Glimpse, node: &Node<T>) {
        let member = subject(glimpse, node).and_then(|subject| node.member(subject));
        if let Some(member) = member {
            fetch(member.record.record().addresses.as_ptr().cast());
        }
    }
}

/// A line and the next one, where a search may go on.
fn fetch_two(address: *const u8) {
    fetch(address);
    fetch(address.wrapping_add(LINE));
}

/// Whom a node will ping when it is woken.
fn subject<T: SimTable>(glimpse: Glimpse, node: &Node<T>) -> Option<MemberId> {
    if glimpse.datagram.is_some() { None } else { node.next_subject() }
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
