//! The network between processes: every member has a front, an address that all others are told, and the
//! proxy carries from front to front what members send.
//!
//! A datagram that member A sends to B's front leaves from A's front to the address at which B listens, so
//! that B sees it come from where A says it lives. On the way a [`Sky`] decides, as it does for agents of
//! one process: lost, late, twice, held because somebody is blocked. Streams pass unless a cut stands
//! between the two; who opened one is then read from the kernel's tables. They know neither losses nor delays.
//!
//! Invariants: datagrams of one delay keep their order; nothing waits without bound; what comes from nobody
//! we know is counted and dropped.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::process;
use super::weather::Sky;
use crate::ledger::UDP_IP;

/// Datagrams that wait for their time, at most; more are lost, as in a socket.
const MOST_WAITING: usize = 65_536;
/// Whoever is blocked is looked after so often.
const BLOCKED_LOOK: Duration = Duration::from_millis(2);
/// The largest datagram of UDP.
const DATAGRAM_BYTES: usize = 65_535;
/// Pairs of free ports are looked for so often.
const TRIES: usize = 64;

/// What one member sent, and what all did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// Datagrams that came.
    pub datagrams: u64,
    /// Their bytes, with UDP and IP headers.
    pub bytes: u64,
    /// Bytes of streams both ways, without headers.
    pub stream_bytes: u64,
    /// Streams that were opened,
    pub streams: u64,
    /// and that were refused because of a cut.
    pub streams_refused: u64,
    /// Datagrams of senders whom nobody knows.
    pub stray: u64,
    /// Datagrams for which there was no room to wait.
    pub overrun: u64,
}

impl Carried {
    /// Bytes of datagrams and streams.
    pub fn total(self) -> u64 {
        self.bytes + self.stream_bytes
    }

    /// What was carried since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            datagrams: self.datagrams - before.datagrams,
            bytes: self.bytes - before.bytes,
            stream_bytes: self.stream_bytes - before.stream_bytes,
            streams: self.streams - before.streams,
            streams_refused: self.streams_refused - before.streams_refused,
            stray: self.stray - before.stray,
            overrun: self.overrun - before.overrun,
        }
    }
}

#[derive(Default)]
struct Counts {
    datagrams: AtomicU64,
    bytes: AtomicU64,
    stream_bytes: AtomicU64,
    streams: AtomicU64,
    streams_refused: AtomicU64,
    stray: AtomicU64,
    overrun: AtomicU64,
}

/// One member's front.
struct Front {
    datagrams: UdpSocket,
    streams: TcpListener,
    address: SocketAddr,
    /// Port at which the member listens; 0 while nobody knows.
    back: AtomicU16,
    /// The process that it is; 0 while there is none.
    process: AtomicU32,
}

/// A datagram on its way: by time, then as it came.
struct Late {
    due: Instant,
    number: u64,
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Late {}

impl Ord for Late {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Default)]
struct Waiting {
    heap: BinaryHeap<Reverse<Late>>,
    numbers: u64,
}

struct Way {
    sky: Arc<Sky>,
    fronts: Vec<Front>,
    waiting: Mutex<Waiting>,
    bell: Condvar,
    over: AtomicBool,
    counts: Counts,
}

/// A proxy at work; it ends as it is dropped.
pub(crate) struct Proxy {
    way: Arc<Way>,
    threads: Vec<JoinHandle<()>>,
}

/// A port of loopback that is free for datagrams and streams.
pub(crate) fn free_port() -> io::Result<SocketAddr> {
    pair().and_then(|(datagrams, _)| datagrams.local_addr())
}

fn pair() -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = None;
    for _ in 0..TRIES {
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        match TcpListener::bind(datagrams.local_addr()?) {
            Ok(streams) => return Ok((datagrams, streams)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

impl Proxy {
    /// Fronts for so many members, and the threads that carry.
    pub(crate) fn start(nodes: usize, sky: Arc<Sky>) -> io::Result<Self> {
        let front = |_| {
            let (datagrams, streams) = pair()?;
            let address = datagrams.local_addr()?;
            let (back, process) = (AtomicU16::new(0), AtomicU32::new(0));
            Ok(Front { datagrams, streams, address, back, process })
        };
        let way = Arc::new(Way {
            sky,
            fronts: (0..nodes).map(front).collect::<io::Result<_>>()?,
            waiting: Mutex::default(),
            bell: Condvar::new(),
            over: AtomicBool::new(false),
            counts: Counts::default(),
        });
        let mut proxy = Self { way: Arc::clone(&way), threads: Vec::new() };
        proxy.spawn("proxy-late", Way::deliver_late)?;
        for node in 0..nodes {
            proxy.spawn("proxy-udp", move |way| way.receive(node))?;
            proxy.spawn("proxy-tcp", move |way| Way::accept(way, node))?;
        }
        Ok(proxy)
    }

    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce(&Arc<Way>) + Send + 'static,
    ) -> io::Result<()> {
        let way = Arc::clone(&self.way);
        let thread = thread::Builder::new().name(name.into()).stack_size(128 * 1_024);
        self.threads.push(thread.spawn(move || work(&way))?);
        Ok(())
    }

    /// Where others reach a member.
    pub(crate) fn front(&self, node: usize) -> SocketAddr {
        self.way.fronts[node].address
    }

    /// A member listens here.
    pub(crate) fn place(&self, node: usize, at: SocketAddr) {
        self.way.sky.place(node, at);
        self.way.fronts[node].back.store(at.port(), Ordering::Relaxed);
    }

    /// A member is this process.
    pub(crate) fn belongs(&self, node: usize, process: u32) {
        self.way.fronts[node].process.store(process, Ordering::Relaxed);
    }

    /// What was carried so far.
    pub(crate) fn carried(&self) -> Carried {
        let counts = &self.way.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Carried {
            datagrams: read(&counts.datagrams),
            bytes: read(&counts.bytes),
            stream_bytes: read(&counts.stream_bytes),
            streams: read(&counts.streams),
            streams_refused: read(&counts.streams_refused),
            stray: read(&counts.stray),
            overrun: read(&counts.overrun),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.way.over.store(true, Ordering::Relaxed);
        self.way.bell.notify_all();
        // Whoever waits for a datagram or a stream gets one.
        if let Ok(knock) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            for front in &self.way.fronts {
                let _ = knock.send_to(&[], front.address);
                let _ = TcpStream::connect(front.address);
            }
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("a thread of the proxy has panicked");
            }
        }
    }
}

impl Way {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, to: usize) {
        let mut bytes = vec![0; DATAGRAM_BYTES];
        loop {
            let received = self.fronts[to].datagrams.recv_from(&mut bytes);
            if self.is_over() {
                return;
            }
            let Ok((size, from)) = received else { continue };
            let Some(from) = self.sky.node(from) else {
                self.counts.stray.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            self.counts.datagrams.fetch_add(1, Ordering::Relaxed);
            self.counts.bytes.fetch_add(size as u64 + UDP_IP, Ordering::Relaxed);
            for delay in self.sky.fate(from, to).into_iter().flatten() {
                let held = self.sky.blocks(from) || self.sky.blocks(to);
                if held {
                    self.sky.held();
                }
                if delay.is_zero() && !held {
                    self.send(from, to, &bytes[..size]);
                } else {
                    self.wait(from, to, &bytes[..size], delay);
                }
            }
        }
    }

    fn send(&self, from: usize, to: usize, bytes: &[u8]) {
        let port = self.fronts[to].back.load(Ordering::Relaxed);
        // Nobody hears who is not there, and a full socket loses: as on any network.
        let _ = self.fronts[from].datagrams.send_to(bytes, (Ipv4Addr::LOCALHOST, port));
    }

    fn wait(&self, from: usize, to: usize, bytes: &[u8], delay: Duration) {
        let mut waiting = self.waiting();
        if waiting.heap.len() >= MOST_WAITING {
            self.counts.overrun.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.numbers += 1;
        let (due, number) = (Instant::now() + delay, waiting.numbers);
        waiting.heap.push(Reverse(Late { due, number, from, to, bytes: bytes.to_vec() }));
        drop(waiting);
        self.bell.notify_one();
    }

    fn deliver_late(self: &Arc<Self>) {
        let mut waiting = self.waiting();
        while !self.is_over() {
            let left = waiting
                .heap
                .peek()
                .map(|Reverse(first)| first.due.saturating_duration_since(Instant::now()));
            waiting = match left {
                None => self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    let Some(Reverse(mut late)) = waiting.heap.pop() else { continue };
                    if self.sky.blocks(late.from) || self.sky.blocks(late.to) {
                        late.due = Instant::now() + BLOCKED_LOOK;
                        waiting.heap.push(Reverse(late));
                    } else {
                        self.send(late.from, late.to, &late.bytes);
                    }
                    waiting
                }
                Some(left) => {
                    let woken = self.bell.wait_timeout(waiting, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn accept(way: &Arc<Self>, to: usize) {
        loop {
            let accepted = way.fronts[to].streams.accept();
            if way.is_over() {
                return;
            }
            let Ok((near, from)) = accepted else { continue };
            way.counts.streams.fetch_add(1, Ordering::Relaxed);
            let named = |front: &Front| match front.process.load(Ordering::Relaxed) {
                0 => None,
                process => Some(process.to_string()),
            };
            let is_his = |front: &Front| {
                named(front).is_some_and(|process| process::holds_stream(&process, from))
            };
            // Looked for only where it matters: a cut is the exception.
            let cut = way.sky.is_parted()
                && way.fronts.iter().position(is_his).is_some_and(|from| way.sky.parts(from, to));
            if cut {
                way.counts.streams_refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let port = way.fronts[to].back.load(Ordering::Relaxed);
            let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
            for (from, to) in [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))] {
                let (Ok(from), Ok(to)) = (from, to) else { continue };
                let way = Arc::clone(way);
                let thread = thread::Builder::new().name("proxy-stream".into());
                // Not joined: it ends with its stream, at the latest with the members.
                let _ = thread.stack_size(128 * 1_024).spawn(move || way.pour(from, to));
            }
        }
    }

    fn pour(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = vec![0; 16 * 1_024];
        while let Ok(size @ 1..) = from.read(&mut bytes) {
            self.counts.stream_bytes.fetch_add(size as u64, Ordering::Relaxed);
            if to.write_all(&bytes[..size]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;

    fn proxy(network: Network, duplication: f64) -> (Proxy, Arc<Sky>, [UdpSocket; 2]) {
        let sky = Arc::new(Sky::between(2, 7, network, duplication));
        let proxy = Proxy::start(2, Arc::clone(&sky)).expect("it starts");
        let members = [0, 1].map(|node| {
            let member = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
            member.set_read_timeout(Some(Duration::from_secs(20))).expect("a patience");
            proxy.place(node, member.local_addr().expect("an address"));
            member
        });
        (proxy, sky, members)
    }

    fn still() -> Network {
        Network::of_latency((Duration::ZERO, Duration::ZERO))
    }

    fn hear(member: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut bytes = [0; 64];
        let (size, from) = member.recv_from(&mut bytes).expect("a datagram");
        (bytes[..size].to_vec(), from)
    }

    #[test]
    fn who_hears_sees_the_front_of_who_spoke() {
        let (proxy, _, [a, b]) = proxy(still(), 0.0);
        a.send_to(b"hail", proxy.front(1)).expect("sent");
        assert_eq!(hear(&b), (b"hail".to_vec(), proxy.front(0)));
        b.send_to(b"fellow", proxy.front(0)).expect("sent");
        assert_eq!(hear(&a), (b"fellow".to_vec(), proxy.front(1)));
        let carried = proxy.carried();
        assert_eq!((carried.datagrams, carried.bytes), (2, 10 + 2 * UDP_IP));
    }

    #[test]
    fn both_copies_of_a_doubled_datagram_arrive_and_are_counted() {
        let (proxy, sky, [a, b]) = proxy(still(), 1.0);
        a.send_to(b"x", proxy.front(1)).expect("sent");
        assert_eq!(
            (hear(&b), hear(&b)),
            ((b"x".to_vec(), proxy.front(0)), (b"x".to_vec(), proxy.front(0)))
        );
        assert_eq!(sky.fired(), [("duplicated", 1)]);
    }

    #[test]
    fn a_cut_is_one_way_and_what_is_late_arrives() {
        let slow = (Duration::from_millis(5), Duration::from_millis(9));
        let (proxy, sky, [a, b]) = proxy(Network::of_latency(slow), 0.0);
        sky.change(|network| network.cut_one_way(0, 1));
        a.send_to(b"lost", proxy.front(1)).expect("sent");
        b.send_to(b"heard", proxy.front(0)).expect("sent");
        assert_eq!(hear(&a).0, b"heard");
        while !sky.fired().contains(&("withheld", 1)) {
            thread::yield_now();
        }
        sky.change(Network::heal);
        a.send_to(b"again", proxy.front(1)).expect("sent");
        assert_eq!(hear(&b).0, b"again", "and what was cut never comes");
        assert!(sky.fired().contains(&("delayed", 2)), "{:?}", sky.fired());
    }

    #[test]
    fn who_is_blocked_hears_afterwards() {
        let (proxy, sky, [a, b]) = proxy(still(), 0.0);
        sky.block(1, true);
        a.send_to(b"patience", proxy.front(1)).expect("sent");
        while !sky.fired().contains(&("held", 1)) {
            thread::yield_now();
        }
        b.set_nonblocking(true).expect("set");
        assert!(b.recv_from(&mut [0; 64]).is_err());
        b.set_nonblocking(false).expect("set");
        sky.block(1, false);
        assert_eq!(hear(&b).0, b"patience");
    }

    #[test]
    fn strangers_are_counted_and_not_heard() {
        let (proxy, _, [a, b]) = proxy(still(), 0.0);
        let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        stranger.send_to(b"psst", proxy.front(1)).expect("sent");
        while proxy.carried().stray == 0 {
            thread::yield_now();
        }
        a.send_to(b"known", proxy.front(1)).expect("sent");
        assert_eq!(hear(&b).0, b"known");
    }

    #[test]
    fn streams_pass_and_stop_at_a_cut() {
        let sky = Arc::new(Sky::between(2, 7, still(), 0.0));
        let proxy = Proxy::start(2, Arc::clone(&sky)).expect("it starts");
        let home = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        proxy.place(1, home.local_addr().expect("an address"));
        // This process opens the streams.
        proxy.belongs(0, std::process::id());
        let say = |words: &[u8]| {
            let mut stream = TcpStream::connect(proxy.front(1)).expect("a front");
            let _ = stream.write_all(words);
            let _ = stream.shutdown(Shutdown::Write);
            stream
        };
        let mut caller = say(b"bulk");
        let (mut arrived, _) = home.accept().expect("a stream");
        let mut text = String::new();
        arrived.read_to_string(&mut text).expect("read");
        assert_eq!(text, "bulk");
        arrived.write_all(b"back").expect("written");
        drop(arrived);
        text.clear();
        caller.read_to_string(&mut text).expect("read");
        assert_eq!(text, "back");
        sky.change(|network| network.cut_one_way(1, 0));
        let mut refused = say(b"bulk");
        assert!(refused.read(&mut [0; 4]).map_or(true, |size| size == 0), "a cut has two ends");
        assert_eq!(proxy.carried().streams_refused, 1);
    }
}
