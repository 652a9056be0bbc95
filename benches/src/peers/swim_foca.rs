//! foca: a state machine without input or output, as ours. Members stand in a vector.

use std::iter;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::population::address;
use bytes::BufMut;
use foca::{
    Codec, Config, Foca, Header, Identity, Incarnation, Member, Message, NoCustomBroadcast,
    Notification, PostcardCodec, Runtime, State, Timer,
};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// Who a member is: where it listens and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    address: SocketAddr,
    generation: u64,
}

impl Identity for Who {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> SocketAddr {
        self.address
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.generation > adversary.generation
    }
}

fn who(number: u32) -> Who {
    Who { address: address(number), generation: 1_700_000_000_000 }
}

/// Takes what is sent, and forgets deadlines.
#[derive(Default)]
struct Outbox {
    datagrams: u64,
    bytes: u64,
}

impl Runtime<Who> for &mut Outbox {
    fn notify(&mut self, _notification: Notification<'_, Who>) {}

    fn send_to(&mut self, _to: Who, data: &[u8]) {
        self.datagrams += 1;
        self.bytes += data.len() as u64;
    }

    fn submit_after(&mut self, _event: Timer<Who>, _after: Duration) {}
}

/// One foca that knows members.
pub struct Peer {
    foca: Foca<Who, PostcardCodec, Xoshiro256PlusPlus, NoCustomBroadcast>,
    outbox: Outbox,
    probe: u8,
}

impl Peer {
    /// One that knows the first `members` members; it is none of them.
    pub fn knowing(members: u32) -> Self {
        Self::configured(members, Self::local(members))
    }

    fn local(members: u32) -> Config {
        Config::new_lan(NonZeroU32::new(members).expect("a mesh has members"))
    }

    fn configured(members: u32, config: Config) -> Self {
        let rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut foca = Foca::new(who(members), config, rng, PostcardCodec);
        let mut outbox = Outbox::default();
        let all = (0..members).map(|number| Member::alive(who(number)));
        foca.apply_many(all, false, &mut outbox).expect("members are applied");
        assert_eq!(foca.num_members(), members as usize);
        Self { foca, outbox, probe: 0 }
    }

    /// One that tells one member at a time, in datagrams of this size.
    pub fn gossiping(members: u32, datagram: usize) -> Self {
        let config = Config {
            num_indirect_probes: NonZeroUsize::MIN,
            max_packet_size: NonZeroUsize::new(datagram).expect("a datagram has bytes"),
            max_transmissions: NonZeroU8::MAX,
            ..Self::local(members)
        };
        Self::configured(members, config)
    }

    /// Sees that at least so many updates wait, with news of the next incarnation if need be.
    pub fn keep_waiting(&mut self, updates: u32, incarnation: &mut Incarnation) {
        if self.foca.updates_backlog() < updates as usize {
            *incarnation += 1;
            let next = *incarnation;
            let news = (0..updates).map(|number| Member::new(who(number), next, State::Alive));
            self.foca.apply_many(news, true, &mut self.outbox).expect("updates are applied");
        }
    }

    /// Fills a datagram to one member; returns its bytes.
    pub fn gossip(&mut self) -> u64 {
        let before = self.outbox.bytes;
        self.foca.gossip(&mut self.outbox).expect("it gossips");
        self.outbox.bytes - before
    }

    /// Applies one update, not passed on: what `MemberTable::put` does here.
    pub fn apply(&mut self, number: u32, incarnation: Incarnation) {
        let update = Member::new(who(number), incarnation, State::Alive);
        let applied = self.foca.apply_many(iter::once(update), false, &mut self.outbox);
        applied.expect("an update is applied");
    }

    /// A ping by member 0 with updates.
    pub fn datagram(&mut self, about: &[u32], incarnation: Incarnation) -> Vec<u8> {
        self.probe = self.probe.wrapping_add(1);
        let header = Header {
            src: who(0),
            src_incarnation: 0,
            dst: self.foca.identity().clone(),
            message: Message::Ping(self.probe),
        };
        let mut datagram = Vec::new();
        let mut codec = PostcardCodec;
        codec.encode_header(&header, &mut datagram).expect("a header is encoded");
        datagram.put_u16(about.len() as u16);
        for number in about {
            let member = Member::new(who(*number), incarnation, State::Alive);
            codec.encode_member(&member, &mut datagram).expect("a member is encoded");
        }
        datagram
    }

    /// Handles a datagram; whatever it answers is taken.
    pub fn handle(&mut self, datagram: &[u8]) {
        self.foca.handle_data(datagram, &mut self.outbox).expect("a datagram is handled");
    }

    /// Datagrams sent so far.
    pub fn answers(&self) -> u64 {
        self.outbox.datagrams
    }
}
