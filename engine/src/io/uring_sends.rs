//! Places for datagrams on their way into the kernel.
//!
//! A datagram is copied into a place, an SQE points at it, and the next enter sends it. Sends never
//! wait (`MSG_DONTWAIT`): the kernel copies the datagram or refuses it while it takes the SQE, so
//! that all places are free as soon as the submission queue is empty.
//!
//! Invariant: a leased place is not written to until `release_all`, and that is called only when
//! the kernel has taken every SQE.

use std::os::fd::RawFd;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::DATAGRAM_MAX_BYTES;
use super::address::RawAddress;

/// More than an agent's fan-out and few enough to stay in the cache.
const PLACES: usize = 64;

/// How a datagram with an address is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendCall {
    /// `SEND` with the address in the SQE.
    Send,
    /// `SENDMSG`, for kernels whose `SEND` takes no address.
    SendMsg,
}

/// The places.
pub(crate) struct Sends {
    call: SendCall,
    places: Box<[Place]>,
    leased: usize,
}

struct Place {
    bytes: [u8; DATAGRAM_MAX_BYTES],
    to: RawAddress,
    /// Used by `SENDMSG` only; filled when the SQE is made.
    part: libc::iovec,
    message: libc::msghdr,
}

impl Place {
    fn empty() -> Self {
        // SAFETY: all of its fields are integers or pointers, for which zero is a value.
        let message = unsafe { std::mem::zeroed() };
        Self {
            bytes: [0; DATAGRAM_MAX_BYTES],
            to: RawAddress::EMPTY,
            part: libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 },
            message,
        }
    }
}

impl Sends {
    pub(crate) fn new() -> Self {
        let places = (0..PLACES).map(|_| Place::empty()).collect();
        Self { call: SendCall::Send, places, leased: 0 }
    }

    pub(crate) fn call(&self) -> SendCall {
        self.call
    }

    /// Sends with SENDMSG from here on.
    pub(crate) fn without_address(&mut self) {
        self.call = SendCall::SendMsg;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.leased == PLACES
    }

    /// Leases a place to a datagram and returns the SQE that sends it.
    pub(crate) fn lease(&mut self, fd: RawFd, to: RawAddress, bytes: &[u8]) -> squeue::Entry {
        let place = &mut self.places[self.leased];
        self.leased += 1;
        place.bytes[..bytes.len()].copy_from_slice(bytes);
        place.to = to;
        match self.call {
            SendCall::Send => opcode::Send::new(Fd(fd), place.bytes.as_ptr(), bytes.len() as u32)
                .flags(libc::MSG_DONTWAIT)
                .dest_addr(place.to.as_ptr().cast())
                .dest_addr_len(to.len())
                .build(),
            SendCall::SendMsg => {
                place.part.iov_base = place.bytes.as_mut_ptr().cast();
                place.part.iov_len = bytes.len();
                place.message.msg_name = place.to.as_mut_ptr().cast();
                place.message.msg_namelen = to.len();
                place.message.msg_iov = &raw mut place.part;
                place.message.msg_iovlen = 1;
                opcode::SendMsg::new(Fd(fd), &raw const place.message)
                    .flags(libc::MSG_DONTWAIT as u32)
                    .build()
            }
        }
    }

    /// The kernel has taken every SQE, so that no place is looked at any more.
    pub(crate) fn release_all(&mut self) {
        self.leased = 0;
    }
}
