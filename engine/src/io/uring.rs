//! Datagrams over io_uring.
//!
//! Each socket has one receive that goes on until it is stopped (multishot) and fills buffers from
//! one tray. A turn is one system call: it hands over what is to be sent, and waits for what comes.
//!
//! Invariants: before the loop waits, every open socket has its receive and the waker its poll; a
//! socket's place in the table is reused only after the last completion of its receive; the memory
//! that the kernel writes to outlives every request that may write to it.

use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};

use super::address::{ADDRESS_BYTES, Family, RawAddress};
use super::pieces::{self, CONTROL_BYTES};
use super::sends::{QUEUE_MAX_DATAGRAMS, Run, SendQueue, is_refusal_to_cut};
use super::spin::Spin;
use super::table::Table;
use super::uring_buffers::{BufferRing, GROUP};
use super::uring_sends::{self, SendCall};
use super::uring_tags::Tag;
use super::waker::Parking;
use super::{
    Backend, Datagrams, IoStats, SocketId, Step, TURN_MAX_DATAGRAMS, Taker, Waker, Writer,
};

mod arrivals;

use arrivals::Rest;

/// Room for a turn's sends, re-armed receives and cancellations.
const SQ_ENTRIES: u32 = 256;
/// Room for every socket of a shard to complete at once; beyond it the kernel keeps them itself.
const CQ_ENTRIES: u32 = 4_096;
/// More completions than this in one turn are rare, and cost an allocation once.
const SIFTED_ROOM: usize = 1_024;
/// Receives re-armed in a turn. There is one buffer for each, so that more would only fail again.
const TURN_MAX_ARMS: usize = TURN_MAX_DATAGRAMS;
/// A wait for ever is a wait for this long, again and again: what the kernel's clock can hold.
const WAIT_MAX: Duration = Duration::from_secs(86_400);
/// How long the ring may take to let go of its requests before their memory is leaked instead.
const QUIESCE_STEP: Duration = Duration::from_millis(20);
const QUIESCE_MAX_STEPS: usize = 50;

/// The `uring` backend.
pub struct Uring {
    // Declared before the memory that it writes to, so that it is dropped first.
    ring: IoUring,
    buffers: BufferRing,
    sends: SendQueue,
    send_call: SendCall,
    /// What the last turn had no room for.
    rest: Option<Rest>,
    /// Completions taken from the ring while refused runs were looked for among them, or that the
    /// last turn had no room for.
    sifted: VecDeque<cqueue::Entry>,
    /// Requests in the submission queue carry runs.
    has_runs: bool,
    /// What every receive is submitted with: room for the sender's address and for what is said of
    /// pieces, nothing else.
    receive_shape: Box<libc::msghdr>,
    sockets: Table<Socket>,
    /// Open sockets without a receive, longest first.
    unarmed: VecDeque<SocketId>,
    /// Closing sockets whose cancellation came at a bad moment.
    uncancelled: VecDeque<SocketId>,
    /// Descriptors that the submission queue may still name.
    lingering: Vec<UdpSocket>,
    parking: Parking,
    waker_armed: bool,
    wait_flags: u32,
    /// An error of a submission outside `turn`, for the next one to return.
    broken: Option<io::Error>,
    spin: Spin,
    stats: IoStats,
}

struct Socket {
    family: Family,
    phase: Phase,
}

enum Phase {
    /// Open, and to be armed by the next turn.
    Unarmed(UdpSocket),
    /// Open, with a receive in the kernel.
    Armed(UdpSocket),
    /// Closed, but its receive has not completed for the last time.
    Closing,
}

/// How an enter waits.
#[derive(Clone, Copy)]
enum Wait {
    No,
    For(Duration),
}

impl Uring {
    /// Makes a ring for the calling thread.
    pub(crate) fn new() -> Result<Self, (Step, io::Error)> {
        Self::with_completions(CQ_ENTRIES)
    }

    pub(super) fn with_completions(entries: u32) -> Result<Self, (Step, io::Error)> {
        let ring = IoUring::builder()
            .setup_cqsize(entries)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .build(SQ_ENTRIES)
            .map_err(|error| (Step::Ring, error))?;
        let buffers =
            BufferRing::register(&ring.submitter()).map_err(|error| (Step::Buffers, error))?;
        let parking = Parking::new().map_err(|error| (Step::Waker, error))?;
        let mut wait_flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // A receive in flight makes an idle loop look like a core that waits for a disk.
        wait_flags.set(EnterFlags::NO_IOWAIT, ring.params().is_feature_no_iowait());
        let wait_flags = wait_flags.bits();
        // SAFETY: all of its fields are integers or pointers, for which zero is a value.
        let mut receive_shape: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        receive_shape.msg_namelen = ADDRESS_BYTES as u32;
        receive_shape.msg_controllen = CONTROL_BYTES as _;
        Ok(Self {
            ring,
            buffers,
            sends: SendQueue::new(),
            send_call: SendCall::Send,
            rest: None,
            sifted: VecDeque::with_capacity(SIFTED_ROOM),
            has_runs: false,
            receive_shape,
            sockets: Table::new(),
            unarmed: VecDeque::new(),
            uncancelled: VecDeque::new(),
            lingering: Vec::new(),
            parking,
            waker_armed: false,
            wait_flags,
            broken: None,
            spin: Spin::default(),
            stats: IoStats::default(),
        })
    }

    /// How datagrams are sent.
    pub(crate) fn send_call(&self) -> SendCall {
        self.send_call
    }

    /// Sends with SENDMSG: the kernel's SEND takes no address.
    pub(crate) fn send_without_address(&mut self) {
        self.send_call = SendCall::SendMsg;
    }

    /// Counts from zero again: what the probe moved is not the shard's.
    pub(crate) fn forget_stats(&mut self) {
        self.stats = IoStats::default();
    }

    pub(super) fn spin(&mut self, most: Duration) {
        self.spin.set(most);
    }

    pub(super) fn descriptor(&self, id: SocketId) -> Option<RawFd> {
        match &self.sockets.get(id)?.phase {
            Phase::Unarmed(socket) | Phase::Armed(socket) => Some(socket.as_raw_fd()),
            Phase::Closing => None,
        }
    }

    /// Looks for something to do, having submitted what is queued; whether there is. The ring says
    /// so without a system call.
    fn look(&mut self, most: Duration) -> io::Result<bool> {
        if self.has_kernel_work() {
            self.enter(Wait::No)?;
        }
        self.stats.spins += 1;
        let begun = Instant::now();
        let found = loop {
            // What was looked through for runs waits to be taken, and sleeps through no wait.
            let came = !self.sifted.is_empty() || !self.ring.completion().is_empty();
            if came || self.parking.is_rung() || self.has_kernel_work() {
                break true;
            }
            if begun.elapsed() >= most {
                break false;
            }
            std::hint::spin_loop();
        };
        self.stats.spins_paid += u64::from(found);
        self.spin.looked(found);
        Ok(found)
    }

    pub(super) fn queue(&mut self) -> &mut SendQueue {
        &mut self.sends
    }

    /// Queues an SQE, submitting first when there is no room.
    fn push(&mut self, entry: &squeue::Entry) -> bool {
        if self.ring.submission().is_full() {
            self.flush();
        }
        let mut queue = self.ring.submission();
        // SAFETY: every pointer in an SQE of ours is to a place or header of `sends` or to
        // `receive_shape`; all are boxed, owned by `self`, and untouched until the kernel has
        // taken the SQE; sends are over by then and the shape is only read at that moment.
        // Descriptors stay open as long: `lingering` keeps those of closed sockets.
        unsafe { queue.push(entry) }.is_ok()
    }

    /// Makes requests of what is queued, where the submission queue has room for all of it.
    fn stage_sends(&mut self) {
        if !self.sends.is_waiting() {
            return;
        }
        let Self { ring, sends, stats, .. } = self;
        let mut queue = ring.submission();
        if queue.capacity() - queue.len() < QUEUE_MAX_DATAGRAMS {
            return;
        }
        sends.sort();
        let (mut at, generation) = (0, sends.generation());
        let mut staged = false;
        while let Some(call) = sends.point_call(at) {
            if sends.is_worth_a_call(call) {
                at += sends.call(call, stats);
                continue;
            }
            staged = true;
            while at < call.end()
                && let Some(run) = sends.run(at)
            {
                at = run.end();
                stats.count_run(run.len);
                self.has_runs |= run.len > 1;
                let send = uring_sends::request(sends, run, self.send_call)
                    .flags(squeue::Flags::SKIP_SUCCESS)
                    .user_data(Tag::Send(run, generation).to_user_data());
                // SAFETY: as for `push`; the kernel sees all at once, when `queue` is dropped.
                unsafe { queue.push(&send) }.expect("there is room, as seen above");
            }
        }
        if staged {
            sends.stage();
        } else {
            sends.clear();
        }
    }

    /// Submits outside a turn; an error waits for the turn.
    fn flush(&mut self) {
        if let Err(error) = self.enter(Wait::No) {
            self.broken.get_or_insert(error);
        }
    }

    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.stage_sends();
        self.stats.syscalls += 1;
        let queued = self.ring.submission().len() as u32;
        let submitter = self.ring.submitter();
        let outcome = match wait {
            Wait::No => submitter.submit(),
            Wait::For(wait) => {
                let wait = Timespec::from(wait);
                let args = SubmitArgs::new().timespec(&wait);
                // SAFETY: `args` is what EXT_ARG announces, and lives, with the time it points to,
                // until the call returns; the queue holds `queued` entries.
                unsafe { submitter.enter(queued, 1, self.wait_flags, Some(&args)) }
            }
        };
        if let Err(error) = outcome {
            match error.raw_os_error() {
                // Time is up, a signal came, or the kernel wants completions reaped first.
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => {}
                _ => return Err(error),
            }
        }
        if self.ring.submission().is_empty() && !self.sends.is_waiting() {
            self.sift();
            self.sends.clear();
            self.lingering.clear();
        }
        Ok(())
    }

    /// Looks for runs that were refused, while their datagrams are still in the queue: a send is
    /// over when the kernel has taken it.
    fn sift(&mut self) {
        if !std::mem::replace(&mut self.has_runs, false) {
            return;
        }
        loop {
            let Some(done) = self.ring.completion().next() else { break };
            match Tag::from_user_data(done.user_data()) {
                Some(Tag::Send(run, generation)) => self.refused(run, generation, -done.result()),
                Some(Tag::Receive(_) | Tag::Cancel(_) | Tag::Wake) | None => {
                    self.sifted.push_back(done);
                }
            }
        }
    }

    /// The kernel refused a run.
    fn refused(&mut self, run: Run, generation: u16, errno: i32) {
        let is_queued = self.sends.generation() == generation;
        if run.len > 1 && is_refusal_to_cut(errno) && is_queued {
            // Counted as sent already.
            self.stats.sent -= run.len as u64;
            self.stats.runs -= 1;
            self.stats.run_datagrams -= run.len as u64;
            let outcome = self.sends.send_one_by_one(run, errno);
            self.stats.count_one_by_one(outcome);
        } else {
            self.stats.send_failed += run.len as u64;
        }
    }

    fn completion(&mut self) -> Option<cqueue::Entry> {
        self.sifted.pop_front().or_else(|| self.ring.completion().next())
    }

    /// Gives a receive to sockets that lack one, and cancels what is still to be cancelled.
    fn arm(&mut self) {
        if !self.waker_armed {
            let poll = opcode::PollAdd::new(Fd(self.parking.fd()), libc::POLLIN as u32)
                .multi(true)
                .build()
                .user_data(Tag::Wake.to_user_data());
            self.waker_armed = self.push(&poll);
        }
        for _ in 0..self.uncancelled.len() {
            let Some(id) = self.uncancelled.pop_front() else { break };
            self.cancel(id);
        }
        for _ in 0..TURN_MAX_ARMS.min(self.unarmed.len()) {
            let Some(id) = self.unarmed.pop_front() else { break };
            self.arm_socket(id);
        }
    }

    fn arm_socket(&mut self, id: SocketId) {
        // Sockets closed while they waited here are skipped.
        let Some(Socket { phase: Phase::Unarmed(socket), .. }) = self.sockets.get(id) else {
            return;
        };
        let receive = opcode::RecvMsgMulti::new(
            Fd(socket.as_raw_fd()),
            &raw const *self.receive_shape,
            GROUP,
        )
        .build()
        .user_data(Tag::Receive(id).to_user_data());
        if !self.push(&receive) {
            self.unarmed.push_back(id);
            return;
        }
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.phase = match std::mem::replace(&mut socket.phase, Phase::Closing) {
                Phase::Unarmed(inner) | Phase::Armed(inner) => Phase::Armed(inner),
                Phase::Closing => Phase::Closing,
            };
        }
    }

    fn cancel(&mut self, id: SocketId) {
        if !matches!(self.sockets.get(id), Some(Socket { phase: Phase::Closing, .. })) {
            return;
        }
        let cancel = opcode::AsyncCancel::new(Tag::Receive(id).to_user_data())
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Tag::Cancel(id).to_user_data());
        if !self.push(&cancel) {
            self.uncancelled.push_back(id);
        }
    }

    /// Whether a turn must not wait: there is something to do already.
    fn is_busy(&mut self) -> bool {
        !self.unarmed.is_empty()
            || !self.uncancelled.is_empty()
            || !self.waker_armed
            || self.sends.is_waiting()
            || self.rest.is_some()
            || !self.sifted.is_empty()
            || !self.ring.completion().is_empty()
    }

    /// Whether an enter that does not wait would change anything.
    fn has_kernel_work(&mut self) -> bool {
        let queue = self.ring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow() || self.sends.is_waiting()
    }

    /// Takes one completion; returns what is to be handed out of it.
    fn complete(&mut self, done: &cqueue::Entry) -> Option<Rest> {
        let tag = Tag::from_user_data(done.user_data());
        match tag.expect("every SQE of ours carries a tag") {
            Tag::Receive(id) => return self.complete_receive(id, done),
            // The receive was between two datagrams, or is gone: only the former needs more.
            Tag::Cancel(id) => self.uncancelled.push_back(id),
            Tag::Send(run, generation) => self.refused(run, generation, -done.result()),
            Tag::Wake => self.waker_armed &= cqueue::more(done.flags()),
        }
        None
    }

    /// Whether no request that writes to our memory is left in the kernel.
    fn is_quiet(&self) -> bool {
        self.sockets.values().all(|socket| matches!(socket.phase, Phase::Unarmed(_)))
    }
}

impl Datagrams for Uring {
    fn backend(&self) -> Backend {
        Backend::Uring
    }

    fn open(&mut self, socket: UdpSocket) -> io::Result<SocketId> {
        let family = Family::of(socket.local_addr()?);
        pieces::join(socket.as_raw_fd());
        let socket = Socket { family, phase: Phase::Unarmed(socket) };
        let id = self.sockets.insert(socket).ok_or(io::ErrorKind::QuotaExceeded)?;
        self.unarmed.push_back(id);
        Ok(id)
    }

    fn close(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        match std::mem::replace(&mut socket.phase, Phase::Closing) {
            Phase::Unarmed(inner) => {
                self.sockets.remove(id);
                self.lingering.push(inner);
                self.flush();
            }
            Phase::Armed(inner) => {
                self.cancel(id);
                self.lingering.push(inner);
                // The first enter takes the cancellation; the second one carries it out, and with
                // it goes the kernel's own hold on the socket and its port.
                self.flush();
                if self.ring.submission().taskrun() {
                    self.flush();
                }
            }
            Phase::Closing => {}
        }
    }

    fn send_with(&mut self, id: SocketId, write: &mut Writer<'_>) -> bool {
        if self.sends.is_full() {
            self.flush();
        }
        let Some((len, to)) = write(self.sends.room()) else { return false };
        let place = match self.sockets.get(id) {
            Some(Socket { family, phase: Phase::Unarmed(socket) | Phase::Armed(socket) }) => {
                RawAddress::encode(to, *family).map(|to| (socket.as_raw_fd(), to))
            }
            Some(Socket { phase: Phase::Closing, .. }) | None => None,
        };
        // It stays full when the kernel would not take what is queued.
        match place.filter(|_| !self.sends.is_full()) {
            Some((fd, to)) => self.sends.queue(id, fd, to, len),
            None => self.stats.send_failed += 1,
        }
        true
    }

    fn turn_into(&mut self, timeout: Option<Duration>, taker: &mut dyn Taker) -> io::Result<usize> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        self.stats.overflows += u64::from(self.ring.submission().cq_overflow());
        // First, while there is room for certain.
        self.stage_sends();
        self.arm();
        let wait = timeout.unwrap_or(WAIT_MAX).min(WAIT_MAX);
        let mut may_wait = !wait.is_zero() && !self.is_busy();
        if may_wait && let Some(most) = self.spin.before(wait) {
            may_wait = !self.look(most)?;
        }
        let entered = if may_wait && self.parking.park() {
            self.enter(Wait::For(wait))
        } else if self.has_kernel_work() {
            self.enter(Wait::No)
        } else {
            Ok(())
        };
        self.parking.unpark();
        entered?;
        Ok(self.reap(taker))
    }

    fn waker(&self) -> Waker {
        self.parking.waker()
    }

    fn stats(&self) -> IoStats {
        self.stats
    }
}

impl Drop for Uring {
    /// Sends what is queued, then stops every receive: when the ring's descriptor is closed the
    /// kernel ends its requests in its own time, and the buffers must not be gone by then.
    fn drop(&mut self) {
        self.flush();
        let limit = Timespec::from(QUIESCE_STEP);
        let _ = self.ring.submitter().register_sync_cancel(Some(limit), CancelBuilder::any());
        for _ in 0..QUIESCE_MAX_STEPS {
            self.flush();
            while let Some(done) = self.completion() {
                let _ = self.complete(&done);
            }
            if self.is_quiet() {
                return;
            }
            let _ = self.enter(Wait::For(QUIESCE_STEP));
        }
        self.buffers.leak();
    }
}
