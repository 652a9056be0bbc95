//! Two members and the pipe between them, which the input owns: it delivers, drops, doubles,
//! reorders, spoils and reflects, lets time pass and lets them speak.
//!
//! Checked throughout: nothing is opened that the other end did not seal, nothing twice, no nonce
//! is used twice (rule S-4), nothing is heard that was not said, the links stay sound. In the end
//! the pipe is good again, and both must hear each other.

use std::collections::HashSet;
use std::net::SocketAddr;

use mesh_gossip_proto::wire::message::{FRAME, Packet, Ping, kind};
use mesh_gossip_proto::{Destination, Duration, Instant, MemberId, Transmit};

use super::certified::{MEMBERS, certified};
use super::input::Input;
use super::wire::{Ledger, leap, start};
use crate::link::Links;

const MOST_STEPS: usize = 96;
const MOST_FLYING: usize = 64;
const MOST_REMEMBERED: usize = 128;
/// A kind that nobody knows carries what they say.
const SAYING: u8 = 200;
/// How long the good end lasts, and from when on everything must arrive.
const HEALING_S: u64 = 150;
const HEALED_S: u64 = 110;

#[derive(Clone)]
struct Flying {
    from: usize,
    to: SocketAddr,
    bytes: Vec<u8>,
}

struct Pipe {
    now: Instant,
    ends: [Links; 2],
    ids: [MemberId; 2],
    flying: Vec<Flying>,
    /// What was in flight once.
    past: Vec<Flying>,
    /// By sender.
    ledgers: [Ledger; 2],
    said: [HashSet<Vec<u8>>; 2],
    heard: [HashSet<Vec<u8>>; 2],
    words: u32,
}

fn address(end: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, end as u8 + 1], 17_421))
}

/// Two sessions and more under every fault that a path knows.
pub fn sessions(data: &[u8]) {
    let mut input = Input::new(data);
    let mut pipe = Pipe::new();
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        pipe.step(&mut input);
        pipe.collect();
        for end in &pipe.ends {
            end.assert_sound();
        }
    }
    pipe.heal();
}

impl Pipe {
    fn new() -> Self {
        let certified = certified();
        let names = [MEMBERS[0], MEMBERS[1]];
        Self {
            now: start(),
            ends: [certified.links(names[0], 1), certified.links(names[1], 2)],
            ids: names.map(|name| certified.credentials(name).member_id()),
            flying: Vec::new(),
            past: Vec::new(),
            ledgers: Default::default(),
            said: Default::default(),
            heard: Default::default(),
            words: 0,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0 | 1 => {
                let (end, shape) = (input.below(2), input.byte());
                self.say(end, shape);
            }
            2 | 3 => self.deliver(0),
            4 => {
                let at = input.below(self.flying.len());
                self.deliver(at);
            }
            5 => {
                let at = input.below(self.flying.len());
                if at < self.flying.len() {
                    self.flying.remove(at);
                }
            }
            6 => {
                if let Some(copy) = self.flying.get(input.below(self.flying.len())).cloned() {
                    self.arrives(&copy, address(copy.from), 1 - copy.from);
                }
            }
            7 => {
                if let Some(mut spoilt) = self.flying.get(input.below(self.flying.len())).cloned() {
                    spoil(&mut spoilt.bytes, input);
                    self.arrives(&spoilt, address(spoilt.from), 1 - spoilt.from);
                }
            }
            8 => {
                let at = input.below(self.flying.len());
                if at < self.flying.len() {
                    let moved = self.flying.remove(at);
                    self.arrives(&moved, address(2 + input.below(2)), 1 - moved.from);
                }
            }
            9 => self.pass(leap(input)),
            10 => self.wake(),
            11 => self.settle(),
            12 => {
                if let Some(old) = self.past.get(input.below(self.past.len())).cloned() {
                    // Replayed, or reflected to whoever sent it.
                    let to = input.below(2);
                    self.arrives(&old, address(1 - to), to);
                }
            }
            13 => {
                let end = input.below(2);
                self.ends[end].set_authority(self.now, certified().authority(MEMBERS[end]));
            }
            14 => {
                let end = input.below(2);
                match input.below(3) {
                    0 => self.ends[end].drop_all(),
                    1 => self.ends[end].forgive(self.now),
                    _ => self.ends[end].handle_trust(self.now),
                }
            }
            _ => {
                let (end, bytes) = (input.below(2), input.blob().to_vec());
                let made_up = Flying { from: 1 - end, to: address(end), bytes };
                self.arrives(&made_up, address(1 - end), end);
            }
        }
    }

    fn say(&mut self, end: usize, shape: u8) -> Vec<u8> {
        self.words += 1;
        let word = [self.words.to_le_bytes().as_slice(), &vec![shape; shape.into()]].concat();
        let mut packet = Packet::default();
        if shape & 1 == 0 {
            packet.push(1_100, &Ping { sequence: self.words.into(), digest: 0.into() });
        }
        assert!(packet.push_raw(1_100, SAYING, &word));
        let payload = packet.into_bytes();
        self.said[end].extend(messages_of(&payload).map(<[u8]>::to_vec));
        let to =
            if shape & 6 == 6 { Destination::Seed } else { Destination::Member(self.ids[1 - end]) };
        let transmit = Transmit { to, address: address(1 - end) };
        let mut sealed = Vec::new();
        if let Some(path) = self.ends[end].send(self.now, &transmit, &payload, &mut sealed) {
            self.leaves(Flying { from: end, to: path, bytes: sealed });
        }
        messages_of(&payload).last().map(<[u8]>::to_vec).unwrap_or_default()
    }

    fn leaves(&mut self, datagram: Flying) {
        self.ledgers[datagram.from].leaves(&datagram.bytes);
        if self.past.len() < MOST_REMEMBERED {
            self.past.push(datagram.clone());
        }
        if self.flying.len() < MOST_FLYING {
            self.flying.push(datagram);
        }
    }

    fn collect(&mut self) {
        for from in 0..2 {
            while let Some((to, bytes)) = self.ends[from].poll_transmit() {
                self.leaves(Flying { from, to, bytes });
            }
            while self.ends[from].poll_event().is_some() {}
        }
    }

    /// The datagram at this place goes where it was sent; nobody listens elsewhere.
    fn deliver(&mut self, at: usize) {
        if at >= self.flying.len() {
            return;
        }
        let datagram = self.flying.remove(at);
        if datagram.to == address(1 - datagram.from) {
            self.arrives(&datagram, address(datagram.from), 1 - datagram.from);
        }
    }

    fn arrives(&mut self, datagram: &Flying, source: SocketAddr, end: usize) {
        let mut bytes = datagram.bytes.clone();
        let before = self.ends[end].stats().opened;
        let delivery = self.ends[end].receive(self.now, source, &mut bytes);
        let delivery = delivery.map(|delivery| (delivery.from, delivery.payload.to_vec()));
        let opened = self.ends[end].stats().opened - before;
        assert!(opened <= 1 && (opened == 1 || delivery.is_none()));
        if opened == 1 {
            self.ledgers[1 - end].opens(&datagram.bytes);
        }
        if let Some((from, payload)) = delivery {
            assert_eq!(from, self.ids[1 - end], "the certificate names the sender");
            for message in messages_of(&payload) {
                let known = message[0] == kind::CONFIRM || self.said[1 - end].contains(message);
                assert!(known, "heard what nobody said: {message:?}");
                self.heard[end].insert(message.to_vec());
            }
        }
        self.collect();
    }

    fn settle(&mut self) {
        for _ in 0..2 * MOST_FLYING {
            self.deliver(0);
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
        self.collect();
    }

    /// To the next deadline.
    fn wake(&mut self) {
        if let Some(next) = self.ends.iter().filter_map(Links::poll_timeout).min() {
            self.now = self.now.max(next);
            self.pass(Duration::ZERO);
        }
    }

    /// Every deadline on its minute, every datagram at once.
    fn run_until(&mut self, until: Instant) {
        self.settle();
        while let Some(next) = self.ends.iter().filter_map(Links::poll_timeout).min()
            && next <= until
        {
            self.wake();
            self.settle();
        }
        self.now = self.now.max(until);
    }

    /// The path is good from here on: soon each hears all that the other says.
    fn heal(&mut self) {
        let healed = self.now;
        for second in (0..HEALING_S).step_by(2) {
            let words = [self.say(0, 8), self.say(1, 8)];
            self.run_until(healed + Duration::from_secs(second + 2));
            if second < HEALED_S {
                continue;
            }
            for (end, word) in words.iter().enumerate() {
                assert!(self.heard[1 - end].contains(word), "{second} s after all faults: silence");
            }
        }
        for end in &self.ends {
            end.assert_sound();
            let stats = end.stats();
            assert_eq!(stats.half_open, 0, "what strangers began is over");
            assert!(stats.sessions >= 1, "{stats:?}");
        }
    }
}

/// The framed messages of a payload.
fn messages_of(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let [_, low, high, ..] = *rest else { return None };
        let length = FRAME + usize::from(u16::from_le_bytes([low, high]));
        let (message, tail) = rest.split_at_checked(length)?;
        rest = tail;
        Some(message)
    })
}

/// Changes, cuts or lengthens a datagram.
fn spoil(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let (how, at) = (input.byte(), usize::from(input.word()));
    match how % 4 {
        0 | 1 if !bytes.is_empty() => {
            let at = at % bytes.len();
            bytes[at] ^= input.byte();
        }
        2 => bytes.truncate(at % (bytes.len() + 1)),
        _ => bytes.extend_from_slice(input.blob()),
    }
}
