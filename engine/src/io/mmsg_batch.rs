//! Two trays of datagrams: one that a `recvmmsg` fills, one that `sendmmsg` empties.
//!
//! Invariant: the pointers that the kernel follows are made from the buffers right before each
//! call and mean nothing after it, so that the trays may move in between.

use std::io;
use std::ops::Range;
use std::os::fd::RawFd;

use super::address::{self, ADDRESS_BYTES, RawAddress};
use super::{Arrival, DATAGRAM_MAX_BYTES, SocketId};

/// Datagrams in one call: beyond it the gain per datagram is lost in the noise.
pub(crate) const BATCH_MAX_DATAGRAMS: usize = 32;

/// Datagrams queued before they are sent without waiting for the turn.
const QUEUE_MAX_DATAGRAMS: usize = 64;

/// What a call takes beside the datagrams.
struct Headers {
    parts: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Headers {
    fn new() -> Self {
        let part = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: all of its fields are integers or pointers, for which zero is a value.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            parts: vec![part; BATCH_MAX_DATAGRAMS].into(),
            headers: vec![header; BATCH_MAX_DATAGRAMS].into(),
        }
    }

    /// Points header `at` to a payload and an address.
    fn point(&mut self, at: usize, payload: *mut u8, len: usize, name: *mut u8, name_len: u32) {
        let part = &mut self.parts[at];
        part.iov_base = payload.cast();
        part.iov_len = len;
        let header = &mut self.headers[at];
        header.msg_len = 0;
        header.msg_hdr.msg_name = name.cast();
        header.msg_hdr.msg_namelen = name_len;
        header.msg_hdr.msg_iov = &raw mut *part;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_flags = 0;
    }
}

/// Datagrams received.
pub(crate) struct ReceiveTray {
    payloads: Box<[[u8; DATAGRAM_MAX_BYTES]]>,
    names: Box<[RawAddress]>,
    headers: Headers,
    filled: usize,
}

impl ReceiveTray {
    pub(crate) fn new() -> Self {
        Self {
            payloads: vec![[0; DATAGRAM_MAX_BYTES]; BATCH_MAX_DATAGRAMS].into(),
            names: vec![RawAddress::EMPTY; BATCH_MAX_DATAGRAMS].into(),
            headers: Headers::new(),
            filled: 0,
        }
    }

    /// Takes at most `limit` datagrams from a socket, without waiting.
    pub(crate) fn fill(&mut self, fd: RawFd, limit: usize) -> io::Result<usize> {
        let limit = limit.min(BATCH_MAX_DATAGRAMS);
        self.filled = 0;
        for at in 0..limit {
            let payload = self.payloads[at].as_mut_ptr();
            let name = self.names[at].as_mut_ptr();
            self.headers.point(at, payload, DATAGRAM_MAX_BYTES, name, ADDRESS_BYTES as u32);
        }
        let headers = self.headers.headers.as_mut_ptr();
        let (count, flags) = (limit as libc::c_uint, libc::MSG_DONTWAIT);
        // SAFETY: `limit` headers point to payloads and names of the lengths given, all ours, and
        // borrowed mutably until the call returns; there is no timeout.
        let filled =
            unsafe { libc::recvmmsg(fd, headers, count, flags as _, std::ptr::null_mut()) };
        self.filled = usize::try_from(filled).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// A datagram of the last `fill`.
    pub(crate) fn arrival(&mut self, at: usize) -> Arrival<'_> {
        assert!(at < self.filled, "only what was filled is read");
        let header = &self.headers.headers[at];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return Arrival::Truncated;
        }
        let name_len = (header.msg_hdr.msg_namelen as usize).min(ADDRESS_BYTES);
        match address::decode(&self.names[at].bytes()[..name_len]) {
            Some(from) => {
                let payload = &mut self.payloads[at][..header.msg_len as usize];
                Arrival::Whole { from, payload }
            }
            None => Arrival::Foreign,
        }
    }
}

/// Datagrams to send.
pub(crate) struct SendTray {
    places: Box<[Place]>,
    /// Places in the order in which they are sent.
    order: [u8; QUEUE_MAX_DATAGRAMS],
    queued: usize,
    headers: Headers,
}

#[derive(Clone, Copy)]
struct Place {
    socket: SocketId,
    to: RawAddress,
    len: usize,
    bytes: [u8; DATAGRAM_MAX_BYTES],
}

impl SendTray {
    pub(crate) fn new() -> Self {
        let place = Place {
            socket: SocketId(0),
            to: RawAddress::EMPTY,
            len: 0,
            bytes: [0; DATAGRAM_MAX_BYTES],
        };
        Self {
            places: vec![place; QUEUE_MAX_DATAGRAMS].into(),
            order: [0; QUEUE_MAX_DATAGRAMS],
            queued: 0,
            headers: Headers::new(),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.queued == QUEUE_MAX_DATAGRAMS
    }

    pub(crate) fn queue(&mut self, socket: SocketId, to: RawAddress, bytes: &[u8]) {
        let place = &mut self.places[self.queued];
        place.socket = socket;
        place.to = to;
        place.len = bytes.len();
        place.bytes[..bytes.len()].copy_from_slice(bytes);
        self.order[self.queued] = self.queued as u8;
        self.queued += 1;
    }

    /// Brings datagrams of one socket together, in the order in which they were queued.
    pub(crate) fn sort(&mut self) {
        let places = &self.places;
        self.order[..self.queued].sort_unstable_by_key(|at| (places[usize::from(*at)].socket, *at));
    }

    /// The next run of one socket at or after `start`, of at most a batch.
    pub(crate) fn run(&self, start: usize) -> Option<(SocketId, Range<usize>)> {
        let queued = &self.order[..self.queued];
        let socket_of = |at: &u8| self.places[usize::from(*at)].socket;
        let socket = socket_of(queued.get(start)?);
        let rest = queued[start..].iter().take(BATCH_MAX_DATAGRAMS);
        let len = rest.take_while(|at| socket_of(at) == socket).count();
        Some((socket, start..start + len))
    }

    /// Hands a run to the kernel. Returns how many it took; an error is that of the first.
    pub(crate) fn send(&mut self, fd: RawFd, run: Range<usize>) -> io::Result<usize> {
        let count = run.len();
        for (at, place) in self.order[run].iter().enumerate() {
            let place = &mut self.places[usize::from(*place)];
            let (payload, name) = (place.bytes.as_mut_ptr(), place.to.as_mut_ptr());
            self.headers.point(at, payload, place.len, name, place.to.len());
        }
        let headers = self.headers.headers.as_mut_ptr();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `count` headers point to payloads and names of the lengths given, all ours, which
        // the kernel reads during the call.
        let sent = unsafe { libc::sendmmsg(fd, headers, count as libc::c_uint, flags as _) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    pub(crate) fn clear(&mut self) {
        self.queued = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_gather_a_socket_and_keep_its_order() {
        let mut tray = SendTray::new();
        let to = RawAddress::EMPTY;
        for at in 0..QUEUE_MAX_DATAGRAMS {
            tray.queue(SocketId((at % 2) as u32), to, &[at as u8]);
        }
        assert!(tray.is_full());
        tray.sort();
        let (socket, run) = tray.run(0).unwrap();
        assert_eq!((socket, run.clone()), (SocketId(0), 0..32));
        let firsts = tray.order[run].iter().map(|at| tray.places[usize::from(*at)].bytes[0]);
        assert!(firsts.eq((0..64).step_by(2)));
        assert_eq!(tray.run(32).unwrap(), (SocketId(1), 32..64));
        assert_eq!(tray.run(64), None);
    }
}
