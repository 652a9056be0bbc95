//! The tray of receive buffers that all sockets of a ring share.
//!
//! The kernel takes a buffer from the tray for each datagram, and tells which; when the datagram
//! has been read, the buffer goes back. The tray is small on purpose: its buffers stay in the cache,
//! and datagrams that find none wait in their socket.
//!
//! Invariant: a buffer is either the kernel's (on the tray) or ours (between its completion and
//! [`BufferRing::recycle`]), and only ours are touched.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::address::{self, ADDRESS_BYTES};
use super::pieces::{self, CONTROL_BYTES, JOINED_MAX_BYTES, Pieces, STRIDE};
use super::{Arrival, TURN_MAX_DATAGRAMS};

/// Buffer group of the tray; a ring of ours has one.
pub(crate) const GROUP: u16 = 0;

/// As many as a turn hands out; a receive takes 32 at a time. The kernel wants a power of two.
const BUFFERS: usize = TURN_MAX_DATAGRAMS;
/// `struct io_uring_recvmsg_out`: four words.
const HEAD_BYTES: usize = 16;
const CONTROL_AT: usize = HEAD_BYTES + ADDRESS_BYTES;
const PAYLOAD_AT: usize = CONTROL_AT + CONTROL_BYTES;
const BUFFER_BYTES: usize = PAYLOAD_AT + JOINED_MAX_BYTES;

const RING_BYTES: usize = BUFFERS * size_of::<BufRingEntry>();
/// Buffers start on a cache line, behind the ring.
const BUFFERS_AT: usize = RING_BYTES.next_multiple_of(64);
const MAPPED_BYTES: usize = BUFFERS_AT + BUFFERS * STRIDE;

const _: () = assert!(BUFFERS.is_power_of_two() && BUFFER_BYTES <= STRIDE);

/// The tray.
pub(crate) struct BufferRing {
    pages: Pages,
    /// Counts every buffer ever put on the tray; the kernel sees it at `publish`.
    tail: u16,
}

impl BufferRing {
    /// Makes a full tray and shows it to the ring, which must go before the tray does.
    ///
    /// # Errors
    /// No memory, or the kernel does not know buffer rings.
    pub(crate) fn register(submitter: &Submitter<'_>) -> io::Result<Self> {
        let pages = Pages::map(MAPPED_BYTES)?;
        let address = pages.at(0) as u64;
        // SAFETY: the address is page-aligned and `RING_BYTES` long, and stays mapped until the
        // ring has gone: `Uring` declares the ring before the tray.
        unsafe { submitter.register_buf_ring_with_flags(address, BUFFERS as u16, GROUP, 0) }?;
        let mut ring = Self { pages, tail: 0 };
        for id in 0..BUFFERS as u16 {
            ring.recycle(id);
        }
        ring.publish();
        Ok(ring)
    }

    /// Reads what the kernel put into a buffer that a completion has given us. `written` is the
    /// result of that completion.
    pub(crate) fn arrival(&mut self, id: u16, written: usize) -> Arrival {
        let buffer = self.buffer(id);
        let word = |at: usize| {
            let bytes = [buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]];
            u32::from_ne_bytes(bytes) as usize
        };
        let (name_len, control_len, payload_len, flags) = (word(0), word(4), word(8), word(12));
        let room = written.saturating_sub(PAYLOAD_AT).min(JOINED_MAX_BYTES);
        if flags & libc::MSG_TRUNC as usize != 0 || payload_len > room {
            return Arrival::Truncated;
        }
        let name_end = HEAD_BYTES + name_len.min(ADDRESS_BYTES);
        let control_end = CONTROL_AT + control_len.min(CONTROL_BYTES);
        let each = pieces::piece_bytes(&buffer[CONTROL_AT..control_end]);
        match address::decode(&buffer[HEAD_BYTES..name_end]) {
            Some(from) => Arrival::Whole { from, pieces: Pieces::of(payload_len, each) },
            None => Arrival::Foreign,
        }
    }

    /// A part of a payload, by what [`BufferRing::arrival`] has told.
    pub(crate) fn payload(&mut self, id: u16, part: Range<usize>) -> &mut [u8] {
        &mut self.buffer(id)[PAYLOAD_AT..][part]
    }

    /// Puts a buffer back on the tray; the kernel sees it after `publish`.
    pub(crate) fn recycle(&mut self, id: u16) {
        let address = self.pages.at(BUFFERS_AT + usize::from(id) * STRIDE) as u64;
        let place = usize::from(self.tail) % BUFFERS;
        let entry = self.pages.at(place * size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        // SAFETY: `place` is within the ring, the page is zeroed memory that a `BufRingEntry` may
        // hold, and the kernel does not read entries at or behind the published tail.
        let entry = unsafe { &mut *entry };
        // The tail lives in the first entry's spare field, which the setters do not touch.
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows recycled buffers to the kernel: once a batch.
    pub(crate) fn publish(&mut self) {
        let base = self.pages.at(0).cast::<BufRingEntry>();
        // SAFETY: `base` is the first entry of the ring, as the function asks.
        let tail = unsafe { BufRingEntry::tail(base) };
        // SAFETY: the tail is an aligned u16 within our page that only this method writes; the
        // kernel reads it with an acquiring load.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Never gives the memory back: for a kernel that could still write to it.
    pub(crate) fn leak(&mut self) {
        self.pages.leaked = true;
    }

    fn buffer(&mut self, id: u16) -> &mut [u8] {
        assert!(usize::from(id) < BUFFERS, "the kernel returns only buffers that it was given");
        let start = self.pages.at(BUFFERS_AT + usize::from(id) * STRIDE);
        // SAFETY: the range is within the mapping, initialised by it, and the buffer is ours until
        // it is recycled, which needs `&mut self` as this does.
        unsafe { std::slice::from_raw_parts_mut(start, BUFFER_BYTES) }
    }
}

/// Anonymous memory, page-aligned as the kernel wants it for a buffer ring.
struct Pages {
    start: NonNull<u8>,
    len: usize,
    leaked: bool,
}

impl Pages {
    fn map(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // Most of it is touched only if the kernel ever joins as much as it may.
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory
        // of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is ours. Large pages would make all of it resident; without them it
        // only takes more entries of the page table, so that a refusal changes nothing.
        unsafe { libc::madvise(start, len, libc::MADV_NOHUGEPAGE) };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len, leaked: false })
    }

    fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.len, "an offset lies within the mapping");
        // SAFETY: within the mapping, as asserted.
        unsafe { self.start.as_ptr().add(offset) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: exactly what `map` mapped; slices lent from it ended with the borrow of the
            // tray that owns it.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}
