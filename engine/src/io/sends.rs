//! Datagrams on their way into the kernel: queued during a turn, sorted by peer, handed over in
//! runs.
//!
//! A run is what one peer gets in a turn. The kernel takes it as one datagram that it cuts into
//! equal pieces (GSO), which costs little more than one of them. Where it cannot cut, the pieces
//! are sent one by one, and that is remembered.
//!
//! What a run is made of is told by one word a datagram, so that sorting touches no datagram.
//!
//! Invariants: a peer gets its datagrams in the order in which they were queued; a place is not
//! written to between `queue` and `clear`, nor a header that a request points to before the kernel
//! has taken that.

use std::io;
use std::ops::Range;
use std::os::fd::RawFd;

use super::address::RawAddress;
use super::{DATAGRAM_MAX_BYTES, IoStats, SocketId};

/// Datagrams queued before they are sent without waiting for the turn: more than an agent's
/// fan-out and few enough to stay in the cache.
pub(crate) const QUEUE_MAX_DATAGRAMS: usize = 64;

/// The kernel's limit for one datagram, cut or not. Its other limit, 64 pieces, is the queue's.
const RUN_MAX_BYTES: usize = 65_507;
const _: () = assert!(QUEUE_MAX_DATAGRAMS <= 64);

/// Messages in one call: beyond it the gain per datagram is lost in the noise.
const CALL_MAX_MESSAGES: usize = 32;

/// Runs of one socket that a ring hands over by a call of their own: a call costs less than what
/// a ring spends on so many requests.
const CALL_LEAST_MESSAGES: usize = 8;

/// Datagrams to one peer, by their places in the sorted queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Run {
    pub(crate) fn end(self) -> usize {
        self.start + self.len
    }

    fn places(self) -> Range<usize> {
        self.start..self.end()
    }
}

/// What one `sendmmsg` carries: runs of one socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    fd: RawFd,
    /// Runs, each with a header of its own from the place on where the first one starts.
    messages: usize,
    /// The run that an error is about.
    first: Run,
    /// Of all runs.
    datagrams: usize,
}

impl Call {
    /// Where the next one starts.
    pub(crate) fn end(self) -> usize {
        self.first.start + self.datagrams
    }
}

/// What became of datagrams that were sent one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OneByOne {
    pub(crate) sent: usize,
    pub(crate) failed: usize,
}

/// The queue.
pub(crate) struct SendQueue {
    places: Box<[Place]>,
    /// Of the places, and one for what finds none.
    payloads: Box<[Payload]>,
    /// Places in the order in which they are sent.
    order: [Slot; QUEUE_MAX_DATAGRAMS],
    queued: usize,
    /// Requests that point here are in the submission queue.
    staged: bool,
    /// Counts the times that the queue was emptied.
    generation: u16,
    /// Runs of one socket that a ring hands over by a call of their own.
    call_least_messages: usize,
    /// Longest datagram that is handed over in runs; zero once the kernel cannot cut at all.
    run_max_segment: usize,
    parts: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    segments: Box<[SegmentSize]>,
    /// Of the runs of the last call.
    run_lens: [u8; CALL_MAX_MESSAGES],
    #[cfg(test)]
    pub(crate) faults: std::collections::VecDeque<i32>,
}

#[derive(Clone, Copy)]
struct Place {
    socket: SocketId,
    fd: RawFd,
    to: RawAddress,
    len: usize,
}

/// Bytes of one datagram, on cache lines of their own. An odd number of lines each, or all would
/// begin in the same few sets of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Payload {
    bytes: [u8; DATAGRAM_MAX_BYTES],
    apart: [u8; 64],
}

const _: () = assert!(size_of::<Payload>() % 128 == 64);

impl Payload {
    const EMPTY: Self = Self { bytes: [0; DATAGRAM_MAX_BYTES], apart: [0; 64] };
}

/// Sorts sockets together, then peers, then by place: 32, 24 and 8 bits of one word. Two peers of
/// one hash only make each other's runs shorter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot(u64);

impl Slot {
    fn new(socket: SocketId, peer: u32, place: usize) -> Self {
        Self(u64::from(socket.0) << 32 | u64::from(peer) & !0xFF | place as u64)
    }

    fn place(self) -> usize {
        (self.0 & 0xFF) as usize
    }

    /// Differs only between datagrams that are not of one run.
    fn kin(self) -> u64 {
        self.0 >> 8
    }
}

/// The control message that says how long a piece is.
#[derive(Clone, Copy)]
#[repr(C)]
struct SegmentSize {
    head: libc::cmsghdr,
    bytes: u16,
    padding: [u8; size_of::<usize>() - size_of::<u16>()],
}

const SEGMENT_LEN: usize = size_of::<libc::cmsghdr>() + size_of::<u16>();

impl SegmentSize {
    fn empty() -> Self {
        // SAFETY: all of its fields are integers, for which zero is a value.
        let mut head: libc::cmsghdr = unsafe { std::mem::zeroed() };
        head.cmsg_len = SEGMENT_LEN as _;
        head.cmsg_level = libc::SOL_UDP;
        head.cmsg_type = libc::UDP_SEGMENT;
        Self { head, bytes: 0, padding: [0; size_of::<usize>() - size_of::<u16>()] }
    }
}

impl SendQueue {
    pub(crate) fn new() -> Self {
        let place = Place { socket: SocketId(0), fd: -1, to: RawAddress::EMPTY, len: 0 };
        let part = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: all of its fields are integers or pointers, for which zero is a value.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            places: vec![place; QUEUE_MAX_DATAGRAMS].into(),
            payloads: vec![Payload::EMPTY; QUEUE_MAX_DATAGRAMS + 1].into(),
            order: [Slot(0); QUEUE_MAX_DATAGRAMS],
            queued: 0,
            staged: false,
            generation: 0,
            call_least_messages: CALL_LEAST_MESSAGES,
            run_max_segment: DATAGRAM_MAX_BYTES,
            parts: vec![part; QUEUE_MAX_DATAGRAMS].into(),
            headers: vec![header; QUEUE_MAX_DATAGRAMS].into(),
            segments: vec![SegmentSize::empty(); QUEUE_MAX_DATAGRAMS].into(),
            run_lens: [0; CALL_MAX_MESSAGES],
            #[cfg(test)]
            faults: std::collections::VecDeque::new(),
        }
    }

    /// Whether nothing can be queued before the queue was emptied.
    pub(crate) fn is_full(&self) -> bool {
        self.queued == QUEUE_MAX_DATAGRAMS || self.staged
    }

    /// Whether something is queued that no request points to.
    pub(crate) fn is_waiting(&self) -> bool {
        self.queued > 0 && !self.staged
    }

    pub(crate) fn generation(&self) -> u16 {
        self.generation
    }

    /// Whether peers' datagrams are handed over in runs.
    pub(crate) fn makes_runs(&self) -> bool {
        self.run_max_segment > 0
    }

    /// Hands over every datagram by itself from here on, or no longer.
    pub(crate) fn make_runs(&mut self, wanted: bool) {
        self.run_max_segment = if wanted { DATAGRAM_MAX_BYTES } else { 0 };
    }

    /// Where the next datagram is written, before [`SendQueue::queue`] puts it in line. What is
    /// written while the queue is full goes nowhere.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let place = if self.is_full() { QUEUE_MAX_DATAGRAMS } else { self.queued };
        &mut self.payloads[place].bytes
    }

    /// Puts in line what was written: so many bytes.
    pub(crate) fn queue(&mut self, socket: SocketId, fd: RawFd, to: RawAddress, len: usize) {
        assert!(!self.is_full() && len <= DATAGRAM_MAX_BYTES, "a place is free, and wide enough");
        self.places[self.queued] = Place { socket, fd, to, len };
        self.order[self.queued] = Slot::new(socket, to.hash(), self.queued);
        self.queued += 1;
    }

    /// Brings datagrams of one socket together, and in them those to one peer, in the order in
    /// which they were queued.
    pub(crate) fn sort(&mut self) {
        self.order[..self.queued].sort_unstable();
    }

    /// Requests that point at the queue are in the submission queue.
    pub(crate) fn stage(&mut self) {
        self.staged = true;
    }

    /// The kernel has taken everything: places and headers are free.
    pub(crate) fn clear(&mut self) {
        self.queued = 0;
        self.staged = false;
        self.generation = self.generation.wrapping_add(1);
    }

    /// The run that begins at `start` of the sorted queue: equal lengths but the last's, which may
    /// be less.
    pub(crate) fn run(&self, start: usize) -> Option<Run> {
        let (head, rest) = self.order[..self.queued].get(start..)?.split_first()?;
        let mut run = Run { start, len: 1 };
        if rest.first().is_none_or(|next| next.kin() != head.kin()) {
            return Some(run);
        }
        let first = self.of(*head);
        if first.len == 0 || first.len > self.run_max_segment {
            return Some(run);
        }
        let mut total = first.len;
        for next in rest.iter().map(|slot| self.of(*slot)) {
            let fits = (1..=first.len).contains(&next.len) && total + next.len <= RUN_MAX_BYTES;
            if !fits || next.socket != first.socket || next.to != first.to {
                break;
            }
            run.len += 1;
            total += next.len;
            if next.len < first.len {
                break;
            }
        }
        Some(run)
    }

    fn of(&self, slot: Slot) -> &Place {
        &self.places[slot.place()]
    }

    /// A datagram of the sorted queue: its descriptor, address and payload.
    pub(crate) fn datagram(&self, at: usize) -> (RawFd, &RawAddress, &[u8]) {
        let slot = self.order[at];
        let place = self.of(slot);
        (place.fd, &place.to, &self.payloads[slot.place()].bytes[..place.len])
    }

    /// Points a header at a run.
    pub(crate) fn point(&mut self, header: usize, run: Run) -> &libc::msghdr {
        for at in run.places() {
            let place = self.order[at].place();
            self.parts[at].iov_base = self.payloads[place].bytes.as_mut_ptr().cast();
            self.parts[at].iov_len = self.places[place].len;
        }
        let first = &mut self.places[self.order[run.start].place()];
        let message = &mut self.headers[header].msg_hdr;
        message.msg_name = first.to.as_mut_ptr().cast();
        message.msg_namelen = first.to.len();
        message.msg_iov = self.parts[run.places()].as_mut_ptr();
        message.msg_iovlen = run.len as _;
        if run.len > 1 {
            let segment = &mut self.segments[header];
            segment.bytes = first.len as u16;
            message.msg_control = (&raw mut *segment).cast();
            message.msg_controllen = size_of::<SegmentSize>() as _;
        } else {
            message.msg_control = std::ptr::null_mut();
            message.msg_controllen = 0;
        }
        message
    }

    /// Points headers at the runs of one socket from `start` on.
    pub(crate) fn point_call(&mut self, start: usize) -> Option<Call> {
        let first = self.run(start)?;
        let Place { socket, fd, .. } = *self.of(self.order[start]);
        let mut call = Call { fd, messages: 0, first, datagrams: 0 };
        while call.messages < CALL_MAX_MESSAGES {
            let Some(run) = self.run(start + call.datagrams) else { break };
            if self.of(self.order[run.start]).socket != socket {
                break;
            }
            self.point(start + call.messages, run);
            self.run_lens[call.messages] = run.len as u8;
            call.messages += 1;
            call.datagrams += run.len;
        }
        Some(call)
    }

    /// Whether a ring hands these runs over by a call of their own, and not by requests.
    pub(crate) fn is_worth_a_call(&self, call: Call) -> bool {
        call.messages >= self.call_least_messages
    }

    /// Leaves everything to requests.
    #[cfg(test)]
    pub(crate) fn make_no_calls(&mut self) {
        self.call_least_messages = usize::MAX;
    }

    /// Hands a call to the kernel; returns how many of its datagrams that settles, one way or the
    /// other.
    pub(crate) fn call(&mut self, call: Call, stats: &mut IoStats) -> usize {
        stats.syscalls += 1;
        match self.hand_over(call.fd, call.first.start, call.messages) {
            Ok(messages) => {
                let runs = self.run_lens[..messages].iter();
                runs.map(|len| stats.count_run(usize::from(*len))).sum()
            }
            Err(error) => self.refused(call, error.raw_os_error().unwrap_or(0), stats),
        }
    }

    /// The first run of a call was refused.
    fn refused(&mut self, call: Call, errno: i32, stats: &mut IoStats) -> usize {
        let lost = match errno {
            libc::EINTR => 0,
            // The socket is full: so it is for the rest of its datagrams.
            libc::EAGAIN | libc::ENOBUFS => call.datagrams,
            _ if call.first.len > 1 && is_refusal_to_cut(errno) => {
                let outcome = self.send_one_by_one(call.first, errno);
                stats.count_one_by_one(outcome);
                return call.first.len;
            }
            _ => call.first.len,
        };
        stats.sent += lost as u64;
        stats.send_failed += lost as u64;
        lost
    }

    /// Sends the datagrams of a run whose refusal may be that of cutting, and learns from it. No
    /// request may point to the run's header.
    pub(crate) fn send_one_by_one(&mut self, run: Run, errno: i32) -> OneByOne {
        let mut outcome = OneByOne::default();
        let (fd, _, bytes) = self.datagram(run.start);
        let segment = bytes.len();
        for start in run.places() {
            self.point(run.start, Run { start, len: 1 });
            match self.hand_over(fd, run.start, 1) {
                Ok(_) => outcome.sent += 1,
                Err(_) => outcome.failed += 1,
            }
        }
        // What fails by itself too is not the fault of runs: a peer with an address that no
        // socket can reach must not slow down the others.
        if outcome.sent > 0 {
            self.run_max_segment = match errno {
                libc::EMSGSIZE => self.run_max_segment.min(segment - 1),
                _ => 0,
            };
        }
        outcome
    }

    fn hand_over(&mut self, fd: RawFd, at: usize, messages: usize) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(errno) = self.faults.pop_front() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let headers = self.headers[at..at + messages].as_mut_ptr();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `messages` headers point to payloads, names and control messages of the lengths
        // given, all ours, which the kernel reads during the call.
        let sent = unsafe { libc::sendmmsg(fd, headers, messages as libc::c_uint, flags as _) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Whether the kernel may have refused to cut, and would take the pieces.
pub(crate) fn is_refusal_to_cut(errno: i32) -> bool {
    // No checksum offload; an old kernel or a socket that does not allow it; a path that is too
    // narrow for a piece, which by itself would be fragmented.
    matches!(errno, libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use super::super::address::Family;
    use super::*;

    fn to(port: u16) -> RawAddress {
        RawAddress::encode(([127, 0, 0, 1], port).into(), Family::V4).unwrap()
    }

    /// The runs of a queue: socket, port, lengths.
    fn runs(queue: &mut SendQueue) -> Vec<(u32, u16, Vec<usize>)> {
        queue.sort();
        let (mut at, mut runs) = (0, Vec::new());
        while let Some(run) = queue.run(at) {
            let place = queue.of(queue.order[run.start]);
            let port = u16::from_be_bytes([place.to.bytes()[2], place.to.bytes()[3]]);
            let lens = run.places().map(|at| queue.datagram(at).2.len()).collect();
            runs.push((place.socket.0, port, lens));
            at = run.end();
        }
        runs.sort();
        runs
    }

    fn put(queue: &mut SendQueue, socket: u32, port: u16, bytes: &[u8]) {
        queue.room()[..bytes.len()].copy_from_slice(bytes);
        queue.queue(SocketId(socket), 0, to(port), bytes.len());
    }

    fn queue_of(datagrams: &[(u32, u16, usize)]) -> SendQueue {
        let mut queue = SendQueue::new();
        for (socket, port, len) in datagrams {
            put(&mut queue, *socket, *port, &vec![7; *len]);
        }
        queue
    }

    #[test]
    fn runs_gather_a_peer_of_a_socket_and_keep_its_order() {
        let mut queue = SendQueue::new();
        for at in 0..QUEUE_MAX_DATAGRAMS as u16 {
            put(&mut queue, u32::from(at % 2), 1 + at % 4 / 2, &[at as u8]);
        }
        assert!(queue.is_full());
        // It has room nevertheless, which is nobody's place.
        queue.room().fill(0xFF);
        queue.sort();
        let (mut at, mut peers) = (0, 0);
        while let Some(run) = queue.run(at) {
            assert_eq!(run.len, 16);
            let numbers: Vec<u8> = run.places().map(|at| queue.datagram(at).2[0]).collect();
            let first = usize::from(numbers[0]);
            assert!(numbers.iter().copied().eq((first..64).step_by(4).map(|n| n as u8)));
            (at, peers) = (run.end(), peers + 1);
        }
        assert_eq!((at, peers), (64, 4));
    }

    #[test]
    fn lengths_are_equal_but_the_last() {
        let mut queue = queue_of(&[(0, 1, 100), (0, 1, 100), (0, 1, 40), (0, 1, 40), (0, 1, 50)]);
        let expected = [(0, 1, vec![40]), (0, 1, vec![50]), (0, 1, vec![100, 100, 40])];
        assert_eq!(runs(&mut queue), expected);
    }

    /// Nothing can be cut into pieces of no length, and an empty last piece would vanish.
    #[test]
    fn an_empty_datagram_goes_by_itself() {
        let mut queue = queue_of(&[(0, 1, 0), (0, 1, 0), (0, 1, 9), (0, 1, 0)]);
        let expected = [(0, 1, vec![0]), (0, 1, vec![0]), (0, 1, vec![0]), (0, 1, vec![9])];
        assert_eq!(runs(&mut queue), expected);
    }

    #[test]
    fn a_run_is_no_longer_than_the_kernel_takes() {
        let mut queue = queue_of(&[(0, 1, DATAGRAM_MAX_BYTES); QUEUE_MAX_DATAGRAMS]);
        let lens: Vec<usize> = runs(&mut queue).iter().map(|(_, _, lens)| lens.len()).collect();
        assert_eq!(lens, [32, 32]);
        let mut queue = queue_of(&[(0, 1, 1_023); QUEUE_MAX_DATAGRAMS]);
        assert_eq!(runs(&mut queue)[0].2.len(), 64);
    }

    #[test]
    fn a_call_carries_one_socket() {
        let mut queue = queue_of(&[(1, 1, 5), (0, 1, 5), (0, 2, 5), (0, 1, 5), (1, 1, 5)]);
        queue.sort();
        let call = queue.point_call(0).unwrap();
        assert_eq!((call.messages, call.datagrams), (2, 3));
        let call = queue.point_call(3).unwrap();
        assert_eq!((call.messages, call.datagrams), (1, 2));
        assert!(queue.point_call(5).is_none());
        queue.make_runs(false);
        assert_eq!(queue.point_call(3).unwrap().messages, 2);
    }
}
