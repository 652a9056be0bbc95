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
use crate::member::MemberId;
use crate::membership::table::{DenseTable, MemberTable};

/// Bytes that a processor fetches at once.
const LINE: usize = 64;

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
        for at in (first.addr()..=last.addr()).step_by(LINE) {
            tell(first.with_addr(at));
        }
        tell((&raw const self.stats).cast());
    }

    /// Tells the lines behind its pointers. For a node whose own lines were fetched some steps
    /// before.
    pub fn deeper_lines(&self, mut tell: impl FnMut(*const u8)) {
        self.observing.pointed_at().into_iter().for_each(&mut tell);
        tell(self.timers.at());
        tell((&raw const *self.own).cast());
        tell(self.joining.at());
        let outbox: *const u8 = self.outbox.as_slices().0.as_ptr().cast();
        [outbox, outbox.wrapping_add(LINE)].into_iter().for_each(&mut tell);
        tell(self.events.as_slices().0.as_ptr().cast());
        tell(self.spare.last().map_or(core::ptr::null(), |last| (&raw const *last).cast()));
    }

    /// What our own exchanges with `peer` showed.
    pub fn contact(&self, peer: MemberId) -> Option<Contact> {
        self.contacts.of(peer)
    }
}
