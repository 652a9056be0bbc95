//! What the network cost since the measured window began.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_gossip_proto::Instant;
use mesh_gossip_proto::config::SEAL_OVERHEAD;
use mesh_gossip_proto::wire::message::{FRAME, kind};
use serde::{Deserialize, Serialize};

/// Bytes of a UDP and an IPv4 header.
pub const UDP_IP: u64 = 28;
/// What a sealed datagram adds to its payload on the wire.
pub const OVERHEAD: u64 = SEAL_OVERHEAD as u64 + UDP_IP;

/// What one node sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Protocol datagrams.
    pub datagrams: u64,
    /// Their bytes, seal and headers included.
    pub bytes: u64,
    /// Those among them that were bodies of records, proofs and certificates.
    pub body_bytes: u64,
    /// Handshakes started.
    pub handshakes: u64,
    /// Bytes of handshake datagrams, headers included, whoever started it,
    pub handshake_bytes: u64,
    /// and those datagrams.
    pub handshake_datagrams: u64,
    /// Stream exchanges started.
    pub streams: u64,
    /// Bytes sent over streams, whoever started them.
    pub stream_bytes: u64,
}

impl Spent {
    fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.body_bytes += other.body_bytes;
        self.handshakes += other.handshakes;
        self.handshake_bytes += other.handshake_bytes;
        self.handshake_datagrams += other.handshake_datagrams;
        self.streams += other.streams;
        self.stream_bytes += other.stream_bytes;
    }

    fn raise(&mut self, other: &Self) {
        self.datagrams = self.datagrams.max(other.datagrams);
        self.bytes = self.bytes.max(other.bytes);
        self.body_bytes = self.body_bytes.max(other.body_bytes);
        self.handshakes = self.handshakes.max(other.handshakes);
        self.handshake_bytes = self.handshake_bytes.max(other.handshake_bytes);
        self.handshake_datagrams = self.handshake_datagrams.max(other.handshake_datagrams);
        self.streams = self.streams.max(other.streams);
        self.stream_bytes = self.stream_bytes.max(other.stream_bytes);
    }
}

/// The books of a window of virtual time.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// When the window began.
    pub since: Instant,
    /// Its length so far.
    pub window: Duration,
    /// Time that nodes spent running in it, all together.
    pub node_time: Duration,
    /// All nodes together.
    pub total: Spent,
    /// The greatest of each figure at one node.
    pub most: Spent,
    /// Most protocol bytes that all nodes together sent in one second of the window.
    pub peak_bytes_per_s: u64,
    /// Handshakes that came to nothing.
    pub handshakes_failed: u64,
    /// Payloads dropped for want of a session.
    pub unsent: u64,
    /// Happenings handled: wake-ups, deliveries, handshake steps, faults.
    pub events: u64,
    /// Time that it took.
    pub wall: Duration,
    /// Most memory that the whole process held; 0 where the kernel does not tell.
    pub rss_bytes: u64,
    /// Protocol bytes by what they are for.
    pub by_purpose: Purposes,
    /// Protocol bytes by the regions of sender and receiver; empty where there is one region.
    pub by_regions: BTreeMap<(u8, u8), u64>,
}

impl Ledger {
    /// Protocol bytes between regions; none where there is one region.
    pub fn cross_region_bytes(&self) -> Option<u64> {
        let across = self.by_regions.iter().filter(|((from, to), _)| from != to);
        (!self.by_regions.is_empty()).then(|| across.map(|(_, bytes)| bytes).sum())
    }

    /// Happenings a second of real time.
    pub fn events_per_s(&self) -> f64 {
        self.events as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    /// Hours that nodes spent running.
    pub fn node_hours(&self) -> f64 {
        self.node_time.as_secs_f64() / 3_600.0
    }

    /// `count` a node and second of running time.
    pub fn per_node_s(&self, count: u64) -> f64 {
        count as f64 / self.node_time.as_secs_f64().max(1e-9)
    }
}

/// Sessions that nodes hold at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// The median node's.
    pub p50: usize,
    /// The most at one node.
    pub max: usize,
}

/// Bytes by what they are for: the kinds of messages, frames included, and the headers and seals of
/// datagrams, those that went for the sake of updates alone apart. The sum is all protocol bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Vec<u64>, u64, u64)", into = "(Vec<u64>, u64, u64)")]
pub struct Purposes {
    kinds: [u64; KINDS],
    headers: u64,
    headers_of_updates: u64,
}

/// No kind has a higher number.
const KINDS: usize = 64;

impl Default for Purposes {
    fn default() -> Self {
        Self { kinds: [0; KINDS], headers: 0, headers_of_updates: 0 }
    }
}

impl From<Purposes> for (Vec<u64>, u64, u64) {
    fn from(of: Purposes) -> Self {
        (of.kinds.to_vec(), of.headers, of.headers_of_updates)
    }
}

impl From<(Vec<u64>, u64, u64)> for Purposes {
    fn from((kinds, headers, headers_of_updates): (Vec<u64>, u64, u64)) -> Self {
        let kind = |kind: usize| kinds.get(kind).copied().unwrap_or(0);
        Self { kinds: std::array::from_fn(kind), headers, headers_of_updates }
    }
}

impl Purposes {
    fn datagram(&mut self, payload: &[u8]) {
        let mut only_updates = true;
        for (kind, length) in messages(payload) {
            self.kinds[usize::from(kind) % KINDS] += length as u64;
            only_updates &= matches!(kind, kind::UPDATE | kind::DEAD | kind::SUSPECT);
        }
        let headers = if only_updates { &mut self.headers_of_updates } else { &mut self.headers };
        *headers += OVERHEAD;
    }

    /// Takes in the bytes of another run.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.kinds.iter_mut().zip(other.kinds) {
            *mine += theirs;
        }
        self.headers += other.headers;
        self.headers_of_updates += other.headers_of_updates;
    }

    /// Name and bytes of each purpose that anything was sent for.
    pub fn named(&self) -> Vec<(String, u64)> {
        let kinds = (0u8..).zip(self.kinds).map(|(kind, bytes)| (name(kind), bytes));
        let headers = [
            ("headers".to_string(), self.headers),
            ("headers_of_updates_alone".to_string(), self.headers_of_updates),
        ];
        kinds.chain(headers).filter(|(_, bytes)| *bytes > 0).collect()
    }
}

fn name(kind: u8) -> String {
    let name = match kind {
        kind::CONFIRM => "confirm",
        kind::PING => "ping",
        kind::ACK => "ack",
        kind::UPDATE => "update",
        kind::SUSPECT => "suspect",
        kind::DEAD => "dead",
        kind::NOTICE => "notice",
        kind::RECORD_PULL => "record_pull",
        kind::RECORD => "record",
        kind::PART => "part",
        kind::CERTIFICATE => "certificate",
        kind::VERIFY => "verify",
        kind::VOTE => "vote",
        kind::PROOF_PULL => "proof_pull",
        kind::PROOF => "proof",
        kind::SKETCH => "sketch",
        kind::DIFFERENCE => "difference",
        kind::WANT => "want",
        kind::TICKET_PULL => "ticket_pull",
        kind::TICKET => "ticket",
        kind::BROADCAST => "broadcast",
        other => return format!("kind_{other}"),
    };
    name.to_string()
}

/// Keeps the books.
pub(crate) struct Books {
    since: Instant,
    by_node: Vec<Spent>,
    pub(crate) handshakes_failed: u64,
    pub(crate) unsent: u64,
    pub(crate) events: u64,
    /// Most datagrams that one node wished to send after one change, ever.
    pub(crate) most_at_once: usize,
    second: u64,
    second_bytes: u64,
    peak: u64,
    by_purpose: Purposes,
    by_regions: BTreeMap<(u8, u8), u64>,
    running: usize,
    running_since: Instant,
    node_nanos: u128,
    wall: Duration,
}

impl Books {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::ORIGIN,
            by_node: Vec::new(),
            handshakes_failed: 0,
            unsent: 0,
            events: 0,
            most_at_once: 0,
            second: 0,
            second_bytes: 0,
            peak: 0,
            by_purpose: Purposes::default(),
            by_regions: BTreeMap::new(),
            running: 0,
            running_since: Instant::ORIGIN,
            node_nanos: 0,
            wall: Duration::ZERO,
        }
    }

    /// Closes the books and opens new ones.
    pub(crate) fn reset(&mut self, now: Instant) {
        let (nodes, running, most_at_once) = (self.by_node.len(), self.running, self.most_at_once);
        *self = Self { since: now, running, running_since: now, most_at_once, ..Self::new() };
        self.by_node.resize(nodes, Spent::default());
    }

    pub(crate) fn enter(&mut self) {
        self.by_node.push(Spent::default());
    }

    /// So many nodes run from here on.
    pub(crate) fn now_running(&mut self, now: Instant, running: usize) {
        self.node_nanos += self.elapsed(now);
        (self.running, self.running_since) = (running, now);
    }

    fn elapsed(&self, now: Instant) -> u128 {
        now.since(self.running_since).as_nanos() * self.running as u128
    }

    pub(crate) fn worked(&mut self, wall: Duration) {
        self.wall += wall;
    }

    /// What a node has sent.
    pub(crate) fn sent_by(&self, index: usize) -> &Spent {
        &self.by_node[index]
    }

    pub(crate) fn node(&mut self, index: usize) -> &mut Spent {
        &mut self.by_node[index]
    }

    /// A protocol datagram with this payload leaves.
    pub(crate) fn datagram(&mut self, now: Instant, from: usize, payload: &[u8]) {
        let bytes = payload.len() as u64 + OVERHEAD;
        let spent = &mut self.by_node[from];
        spent.datagrams += 1;
        spent.bytes += bytes;
        spent.body_bytes += bodies(payload);
        self.by_purpose.datagram(payload);
        let second = now.as_nanos() / 1_000_000_000;
        if second != self.second {
            self.peak = self.peak.max(self.second_bytes);
            (self.second, self.second_bytes) = (second, 0);
        }
        self.second_bytes += bytes;
    }

    /// So much of what left went from one region to another, or stayed in one.
    pub(crate) fn between(&mut self, regions: (u8, u8), payload: usize) {
        *self.by_regions.entry(regions).or_default() += payload as u64 + OVERHEAD;
    }

    /// A handshake datagram of `payload` bytes of UDP leaves.
    pub(crate) fn handshake(&mut self, from: usize, payload: u64) {
        let spent = &mut self.by_node[from];
        spent.handshake_bytes += payload + UDP_IP;
        spent.handshake_datagrams += 1;
    }

    pub(crate) fn ledger(&self, now: Instant) -> Ledger {
        let (mut total, mut most) = (Spent::default(), Spent::default());
        for spent in &self.by_node {
            total.add(spent);
            most.raise(spent);
        }
        let nanos = self.node_nanos + self.elapsed(now);
        Ledger {
            since: self.since,
            window: now.since(self.since),
            node_time: Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)),
            total,
            most,
            peak_bytes_per_s: self.peak.max(self.second_bytes),
            handshakes_failed: self.handshakes_failed,
            unsent: self.unsent,
            events: self.events,
            wall: self.wall,
            rss_bytes: peak_bytes(),
            by_purpose: self.by_purpose.clone(),
            by_regions: self.by_regions.clone(),
        }
    }
}

/// Bytes of what is signed and pulled rather than gossiped: bodies of records, proofs and
/// certificates, whole or in parts. Their frames are not among them.
fn bodies(payload: &[u8]) -> u64 {
    let is_body =
        |kind| matches!(kind, kind::RECORD | kind::PROOF | kind::CERTIFICATE | kind::PART);
    let pulled = messages(payload).filter(|(kind, _)| is_body(*kind));
    pulled.map(|(_, length)| (length - FRAME) as u64).sum()
}

/// Kind and length of each message of a payload, frames included.
fn messages(payload: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let [kind, low, high, tail @ ..] = rest else { return None };
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        rest = &tail[length..];
        Some((*kind, FRAME + length))
    })
}

/// Most memory of this process that was ever resident, or since the peak was last
/// [forgotten](forget_peak); 0 where the kernel does not tell.
pub fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

/// What was resident before counts no longer. Where the kernel refuses, a later peak is overstated.
pub fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_gossip_proto::wire::message::Packet;

    #[test]
    fn bodies_of_what_is_pulled_are_told_apart() {
        let mut packet = Packet::default();
        for (kind, bytes) in [(kind::PING, 16), (kind::RECORD, 300), (kind::HINT, 16)] {
            assert!(packet.push_raw(1_100, kind, &vec![0; bytes]));
        }
        assert_eq!(bodies(packet.as_bytes()), 300);
        assert!(packet.push_raw(1_100, kind::PROOF, &[0; 400]));
        assert_eq!(bodies(packet.as_bytes()), 700);
        assert_eq!(bodies(&packet.as_bytes()[..100]), 100 - 16 - 6, "cut short in the record");
        assert_eq!(bodies(&[]), 0);
    }

    #[test]
    fn every_byte_has_a_purpose() {
        let mut books = Books::new();
        books.enter();
        let mut carried = Packet::default();
        for (kind, bytes) in [(kind::PING, 12), (kind::UPDATE, 40), (kind::RECORD, 300)] {
            assert!(carried.push_raw(1_100, kind, &vec![0; bytes]));
        }
        let mut alone = Packet::default();
        assert!(alone.push_raw(1_100, kind::UPDATE, &[0; 40]));
        books.datagram(Instant::ORIGIN, 0, carried.as_bytes());
        books.datagram(Instant::ORIGIN, 0, alone.as_bytes());
        let ledger = books.ledger(Instant::ORIGIN);
        let found = ledger.by_purpose.named();
        let expected = [
            ("ping", 15),
            ("update", 86),
            ("record", 303),
            ("headers", OVERHEAD),
            ("headers_of_updates_alone", OVERHEAD),
        ];
        assert_eq!(found, expected.map(|(name, bytes)| (name.to_string(), bytes)));
        assert_eq!(found.iter().map(|(_, bytes)| bytes).sum::<u64>(), ledger.total.bytes);
    }
}
