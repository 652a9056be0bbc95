//! The tray of datagrams that a `recvmmsg` fills.
//!
//! Invariant: the pointers that the kernel follows are made from the buffers right before each
//! call and mean nothing after it, so that the tray may move in between.

use std::io;
use std::os::fd::RawFd;

use super::address::{self, ADDRESS_BYTES, RawAddress};
use super::{Arrival, DATAGRAM_MAX_BYTES};

/// Datagrams in one call: beyond it the gain per datagram is lost in the noise.
pub(crate) const BATCH_MAX_DATAGRAMS: usize = 32;

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
