//! Which memory is needed next.
//!
//! Whoever drives one node has it in the processor's cache. Whoever drives thousands waits for
//! memory at every step, one line after the other, although it knows long before which node is next.
//! A node tells which lines a datagram or a deadline will need, so that its driver can have them
//! fetched some steps ahead.
//!
//! Invariant: telling changes nothing. The addresses are hints, not to be read from: what stands
//! there may be gone or never have been written.

use core::mem::offset_of;

use super::Node;
use crate::detector::contacts::Contact;
use crate::event::Timer;
use crate::member::MemberId;
use crate::membership::table::{DenseTable, MemberTable};
use crate::wire::message::kind;

/// Bytes that a processor fetches at once.
const LINE: usize = 64;
/// Lines of deadlines that are worth it: at rest there are a handful of them.
const MOST_DEADLINES: usize = 5;

/// What a node will be told next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coming {
    /// A deadline.
    Deadline,
    /// A datagram that begins with a message of this kind.
    Datagram(u8),
}

impl Coming {
    fn asks(self) -> bool {
        self != Self::Deadline && !self.answers()
    }

    fn answers(self) -> bool {
        self == Self::Datagram(kind::ACK)
    }

    fn watches(self) -> bool {
        self == Self::Deadline || self.answers()
    }
}

// What is read all the time stands together: a fifth of the node, whose fields Rust would scatter.
const _: () = {
    let first = offset_of!(Node<DenseTable>, timers);
    let last = offset_of!(Node<DenseTable>, observing);
    assert!(first < last && last - first <= 16 * LINE);
    assert!(size_of::<Node<DenseTable>>() > 4 * (last - first));
};

impl<T: MemberTable> Node<T> {
    /// Tells the lines of the node itself.
    pub fn lines(&self, mut tell: impl FnMut(*const u8)) {
        let first = self.speaking.first_needed();
        let last = self.observing.last_needed();
        let lines = (last.addr() - first.addr()) / LINE;
        for line in 0..=lines {
            tell(first.wrapping_add(line * LINE));
        }
        tell((&raw const self.stats).cast());
    }

    /// Tells the lines behind its pointers that what comes will need. For a node whose own lines were
    /// fetched some steps before.
    pub fn deeper_lines(&self, coming: Coming, mut tell: impl FnMut(*const u8)) {
        let mut span = |first: *const u8, lines: usize| {
            (0..lines).for_each(|line| tell(first.wrapping_add(line * LINE)));
        };
        let [observers, turns, pings, sample] = self.observing.pointed_at();
        let (deadlines, bytes) = self.timers.span();
        span(deadlines, (bytes / LINE + 1).min(MOST_DEADLINES));
        span(self.joining.at(), 2);
        if coming.asks() {
            span(observers, 2);
            span((&raw const self.own.record().incarnation).cast(), 1);
        }
        if coming.watches() {
            span(turns, 3);
            span(pings, 1);
            span(sample, 1);
        }
        if coming.answers() {
            span(self.events.as_slices().0.as_ptr().cast(), 1);
        } else {
            span(self.outbox.as_slices().0.as_ptr().cast(), 3);
            span(self.spare.last().map_or(core::ptr::null(), |last| (&raw const *last).cast()), 1);
        }
    }

    /// What our own exchanges with `peer` showed.
    pub fn contact(&self, peer: MemberId) -> Option<Contact> {
        self.contacts.of(peer)
    }

    /// Tells the line of our exchanges with `peer`. For a node whose own lines were fetched some
    /// steps before.
    pub fn contact_line(&self, peer: MemberId) -> *const u8 {
        self.contacts.place(peer)
    }

    /// Whom the next deadline makes us ping, if it does. For a node whose lines were fetched, with
    /// those behind its pointers.
    pub fn next_subject(&self) -> Option<MemberId> {
        match self.timers.next() {
            Some((_, Timer::Watch)) => self.observing.next_subject(),
            Some(_) | None => None,
        }
    }
}
