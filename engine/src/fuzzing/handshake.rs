//! A responder and four clients, one of them certified by nobody that we trust; the input carries
//! their handshake datagrams, cuts them in pieces, rewrites, doubles and spoofs them, and makes up
//! others.
//!
//! Checked throughout: bytes out are at most three times the bytes in until a path is verified
//! (rule S-6), sealed datagrams go to verified paths only (rule S-10), the links stay sound, a
//! stranger gets no session (rule S-8). In the end nothing half-open is left.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use mesh_gossip_proto::wire::header::{
    DATA, FRAMING, Handshake, HandshakeHeader, INIT, INIT_SIZE, RESET_HINT, RESP, RETRY,
};
use mesh_gossip_proto::wire::message::{Packet, Ping};
use mesh_gossip_proto::{Destination, Duration, Instant, MemberId, Transmit};
use zerocopy::IntoBytes;

use super::certified::{MEMBERS, STRANGER, certified};
use super::input::Input;
use super::wire::{leap, start};
use crate::link::Links;

const MOST_STEPS: usize = 96;
const MOST_FLYING: usize = 48;
/// Sources, the clients' own first; from the others only spoofed datagrams come.
const SOURCES: usize = 8;
const HEADER: usize = size_of::<HandshakeHeader>();
/// Unverified paths get so many INITs a handshake (rule S-10).
const MOST_INITS: u32 = 3;

/// What one address brought and got while it was unverified.
#[derive(Default)]
struct Account {
    brought: usize,
    got: usize,
    inits: u32,
    /// Attempts of those; who names one has received it.
    attempts: HashSet<u64>,
    /// Sealed datagrams that opened although they came from here, each of which earns a dial.
    roamed: u32,
    /// It has answered what was sent there, or a session leads there.
    verified: bool,
    /// A session led there.
    confirmed: bool,
}

struct Stage {
    now: Instant,
    server: Links,
    clients: Vec<Links>,
    stranger: MemberId,
    /// From a client to the server.
    flying: Vec<(usize, Vec<u8>)>,
    accounts: HashMap<SocketAddr, Account>,
    opened: u64,
}

fn server() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 17_421))
}

fn source(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 1, number as u8], 17_421))
}

/// Handshakes with a responder, whatever becomes of their datagrams.
pub fn handshake(data: &[u8]) {
    let mut input = Input::new(data);
    let mut stage = Stage::new();
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        stage.step(&mut input);
        stage.server.assert_sound();
    }
    stage.end();
}

impl Stage {
    fn new() -> Self {
        let certified = certified();
        let clients = [MEMBERS[0], MEMBERS[2], MEMBERS[3], STRANGER];
        let links = |(n, name): (usize, &&str)| certified.links(name, n as u64 + 10);
        Self {
            now: start(),
            server: certified.long_winded(2),
            clients: clients.iter().enumerate().map(links).collect(),
            stranger: certified.credentials(STRANGER).member_id(),
            flying: Vec::new(),
            accounts: HashMap::new(),
            opened: 0,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 12 {
            0 | 1 => self.dial(input.below(self.clients.len())),
            2 | 3 => {
                if let Some((client, bytes)) = self.pick(0, true) {
                    self.arrives(client, bytes);
                }
            }
            4 => {
                let at = input.below(self.flying.len());
                if let Some((client, bytes)) = self.pick(at, input.byte() & 1 == 0) {
                    self.arrives(client, bytes);
                }
            }
            5 => {
                let at = input.below(self.flying.len());
                self.pick(at, true);
            }
            6 => {
                let at = input.below(self.flying.len());
                if let Some((client, mut bytes)) = self.pick(at, false) {
                    rewrite(&mut bytes, input);
                    self.arrives(client, bytes);
                }
            }
            7 => {
                let at = input.below(self.flying.len());
                if let Some((client, bytes)) = self.pick(at, true) {
                    for piece in pieces(bytes, input) {
                        self.arrives(client, piece);
                    }
                }
            }
            8 => {
                let at = input.below(self.flying.len());
                if let Some((_, bytes)) = self.pick(at, input.byte() & 1 == 0) {
                    self.arrives(input.below(SOURCES), bytes);
                }
            }
            9 => self.pass(leap(input)),
            10 => {
                let client = input.below(SOURCES);
                let bytes = made_up(input);
                self.arrives(client, bytes);
            }
            _ => {
                let next =
                    self.clients.iter().chain([&self.server]).filter_map(Links::poll_timeout);
                let next = next.min().unwrap_or(self.now).max(self.now);
                self.pass(next.since(self.now));
            }
        }
    }

    /// A client has something to say, and dials unless it has a session.
    fn dial(&mut self, client: usize) {
        let mut packet = Packet::default();
        packet.push(1_100, &Ping { sequence: 1.into(), digest: 0.into() });
        packet.push_raw(1_100, 200, &[client as u8; 40]);
        let transmit = Transmit {
            to: Destination::Member(certified().credentials(MEMBERS[1]).member_id()),
            address: server(),
        };
        let mut sealed = Vec::new();
        let sent = self.clients[client].send(self.now, &transmit, packet.as_bytes(), &mut sealed);
        if sent == Some(server()) {
            self.fly(client, sealed);
        }
        self.collect(client);
    }

    fn fly(&mut self, client: usize, bytes: Vec<u8>) {
        if self.flying.len() < MOST_FLYING {
            self.flying.push((client, bytes));
        }
    }

    fn collect(&mut self, client: usize) {
        while let Some((to, bytes)) = self.clients[client].poll_transmit() {
            if to == server() {
                self.fly(client, bytes);
            }
        }
        while self.clients[client].poll_event().is_some() {}
    }

    fn pick(&mut self, at: usize, take: bool) -> Option<(usize, Vec<u8>)> {
        let datagram = self.flying.get(at)?.clone();
        if take {
            self.flying.remove(at);
        }
        Some(datagram)
    }

    /// A datagram reaches the server from a source; what comes back reaches the client there.
    fn arrives(&mut self, from: usize, mut bytes: Vec<u8>) {
        let path = source(from);
        let account = self.accounts.entry(path).or_default();
        account.brought += bytes.len();
        if attempt(&bytes).is_some_and(|attempt| account.attempts.contains(&attempt)) {
            account.verified = true;
        }
        if let Some(delivery) = self.server.receive(self.now, path, &mut bytes) {
            assert_ne!(delivery.from, self.stranger, "a stranger was heard");
        }
        let opened = self.server.stats().opened;
        if opened > self.opened {
            self.accounts.entry(path).or_default().roamed += 1;
        }
        self.opened = opened;
        self.answer();
    }

    fn answer(&mut self) {
        while let Some((to, mut bytes)) = self.server.poll_transmit() {
            let account = self.accounts.entry(to).or_default();
            account.verified |= self.server.leads_to(to);
            match bytes.first() {
                Some(&(RESP | RETRY | RESET_HINT)) if !account.verified => {
                    account.got += bytes.len();
                    let Account { got, brought, .. } = *account;
                    assert!(got <= 3 * brought, "{got} bytes for {brought} to {to}");
                }
                Some(&INIT) if !account.verified => {
                    account.inits += 1;
                    account.attempts.extend(attempt(&bytes));
                    assert!(account.inits <= MOST_INITS * account.roamed, "unasked INITs to {to}");
                }
                Some(&DATA) => {
                    account.confirmed |= self.server.leads_to(to);
                    assert!(account.confirmed, "sealed for an unverified path");
                }
                _ => {}
            }
            let client = (0..self.clients.len()).find(|client| source(*client) == to);
            if let Some(client) = client {
                let _ = self.clients[client].receive(self.now, server(), &mut bytes);
                self.collect(client);
            }
        }
        while self.server.poll_event().is_some() {}
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
        self.server.handle_timeout(self.now);
        self.answer();
        for client in 0..self.clients.len() {
            self.clients[client].handle_timeout(self.now);
            self.collect(client);
        }
    }

    /// Nobody says anything more: what is half-open ends by itself.
    fn end(&mut self) {
        for _ in 0..8 {
            self.pass(Duration::from_secs(1));
        }
        self.server.assert_sound();
        assert_eq!(self.server.stats().half_open, 0, "half-open state ends by itself");
    }
}

/// Which handshake a datagram belongs to.
fn attempt(datagram: &[u8]) -> Option<u64> {
    let mut bytes = datagram.to_vec();
    Handshake::split(&mut bytes).ok().map(|parts| parts.header.attempt.get())
}

/// Changes one field of the header, or one byte behind it.
fn rewrite(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    const FIELDS: [(usize, usize); 12] = [
        (0, 1),
        (1, 1),
        (2, 1),
        (3, 1),
        (4, 4),
        (8, 4),
        (12, 2),
        (14, 2),
        (16, 2),
        (18, 2),
        (24, 8),
        (32, 32),
    ];
    let choice = input.below(FIELDS.len() + 3);
    match FIELDS.get(choice) {
        Some((at, length)) => {
            for place in *at..(*at + *length).min(bytes.len()) {
                bytes[place] = input.byte();
            }
        }
        None if choice == FIELDS.len() => {
            let length = usize::from(input.word()) % (bytes.len() + 1);
            bytes.truncate(length);
        }
        None => {
            let at = usize::from(input.word()) % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= input.byte();
            }
        }
    }
}

/// The fragment of a datagram in two datagrams, which may overlap and come in any order.
fn pieces(mut bytes: Vec<u8>, input: &mut Input<'_>) -> Vec<Vec<u8>> {
    let whole = bytes.clone();
    let Ok(parts) = Handshake::split(&mut bytes) else { return vec![whole] };
    let fragment = parts.fragment;
    let middle = usize::from(input.word()) % (fragment.len() + 1);
    let overlap = input.below(middle + 1);
    let (backwards, last) = (input.byte() & 1 == 1, parts.trailer.to_vec());
    let piece = |from: usize, to: usize, trailer: &[u8]| {
        let mut header = parts.header;
        header.offset = parts.header.offset.get().wrapping_add(from as u16).into();
        header.fragment = ((to - from) as u16).into();
        header.trailer = (trailer.len() as u16).into();
        padded([header.as_bytes(), &fragment[from..to], trailer].concat())
    };
    let first = piece(0, middle, &[]);
    let second = piece(middle - overlap, fragment.len(), &last);
    if backwards { vec![second, first] } else { vec![first, second] }
}

fn padded(mut datagram: Vec<u8>) -> Vec<u8> {
    datagram.resize(datagram.len().max(INIT_SIZE), 0);
    datagram
}

/// A handshake datagram of the input's own words, or whatever bytes it has.
fn made_up(input: &mut Input<'_>) -> Vec<u8> {
    let shape = input.byte();
    if shape & 3 == 0 {
        return input.blob().to_vec();
    }
    let header = HandshakeHeader {
        kind: [INIT, RESP, RETRY, INIT][input.below(4)],
        framing: FRAMING,
        flags: shape >> 6,
        reserved: 0,
        receiver: 0.into(),
        sender: u32::from(input.byte()).into(),
        offset: u16::from(input.byte()).into(),
        ack: u16::from(input.byte()).into(),
        fragment: 0.into(),
        trailer: 0.into(),
        reserved_word: 0.into(),
        attempt: u64::from(input.byte() & 3).into(),
        token: [0; 32],
    };
    let length = usize::from(input.word()) % (INIT_SIZE - HEADER + 1);
    let fragment = input.take(length);
    let header = HandshakeHeader { fragment: (fragment.len() as u16).into(), ..header };
    padded([header.as_bytes(), fragment].concat())
}
