//! The tray of datagrams that a `recvmmsg` fills.
//!
//! Invariant: the pointers that the kernel follows are made from the buffers right before each
//! call and mean nothing after it, so that the tray may move in between.

use std::io;
use std::ops::Range;
use std::os::fd::RawFd;

use super::Arrival;
use super::address::{self, ADDRESS_BYTES, RawAddress};
use super::pieces::{self, CONTROL_BYTES, JOINED_MAX_BYTES, Pieces, STRIDE};

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

    /// Points header `at` to a payload, an address and a control message.
    fn point(&mut self, at: usize, payload: &mut [u8], name: &mut RawAddress, said: &mut Said) {
        let part = &mut self.parts[at];
        part.iov_base = payload.as_mut_ptr().cast();
        part.iov_len = payload.len();
        let header = &mut self.headers[at];
        header.msg_len = 0;
        header.msg_hdr.msg_name = name.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = ADDRESS_BYTES as u32;
        header.msg_hdr.msg_iov = &raw mut *part;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = said.0.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
        header.msg_hdr.msg_flags = 0;
    }
}

/// What the kernel says of a datagram's pieces.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Said([u8; CONTROL_BYTES]);

/// Datagrams received.
pub(crate) struct ReceiveTray {
    /// A stride for each; zeroed memory of this size is not there before it is touched.
    payloads: Vec<u8>,
    names: Box<[RawAddress]>,
    said: Box<[Said]>,
    headers: Headers,
    filled: usize,
}

impl ReceiveTray {
    pub(crate) fn new() -> Self {
        Self {
            payloads: vec![0; BATCH_MAX_DATAGRAMS * STRIDE],
            names: vec![RawAddress::EMPTY; BATCH_MAX_DATAGRAMS].into(),
            said: vec![Said([0; CONTROL_BYTES]); BATCH_MAX_DATAGRAMS].into(),
            headers: Headers::new(),
            filled: 0,
        }
    }

    /// Takes at most `limit` datagrams from a socket, without waiting.
    pub(crate) fn fill(&mut self, fd: RawFd, limit: usize) -> io::Result<usize> {
        let limit = limit.min(BATCH_MAX_DATAGRAMS);
        self.filled = 0;
        let payloads = self.payloads.chunks_exact_mut(STRIDE).take(limit);
        for (at, payload) in payloads.enumerate() {
            let (name, said) = (&mut self.names[at], &mut self.said[at]);
            self.headers.point(at, &mut payload[..JOINED_MAX_BYTES], name, said);
        }
        let headers = self.headers.headers.as_mut_ptr();
        let (count, flags) = (limit as libc::c_uint, libc::MSG_DONTWAIT);
        // SAFETY: `limit` headers point to payloads, names and control messages of the lengths
        // given, all ours, and borrowed mutably until the call returns; there is no timeout.
        let filled =
            unsafe { libc::recvmmsg(fd, headers, count, flags as _, std::ptr::null_mut()) };
        self.filled = usize::try_from(filled).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// A message of the last `fill`.
    pub(crate) fn arrival(&self, at: usize) -> Arrival {
        assert!(at < self.filled, "only what was filled is read");
        let header = &self.headers.headers[at];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return Arrival::Truncated;
        }
        let name_len = (header.msg_hdr.msg_namelen as usize).min(ADDRESS_BYTES);
        // Its type is another one in other C libraries.
        #[allow(clippy::unnecessary_cast)]
        let said_len = (header.msg_hdr.msg_controllen as usize).min(CONTROL_BYTES);
        let each = pieces::piece_bytes(&self.said[at].0[..said_len]);
        match address::decode(&self.names[at].bytes()[..name_len]) {
            Some(from) => {
                Arrival::Whole { from, pieces: Pieces::of(header.msg_len as usize, each) }
            }
            None => Arrival::Foreign,
        }
    }

    /// A part of its payload.
    pub(crate) fn payload(&mut self, at: usize, part: Range<usize>) -> &mut [u8] {
        &mut self.payloads[at * STRIDE..][part]
    }
}
