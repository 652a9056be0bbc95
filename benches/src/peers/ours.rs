//! Ours: a node that knows members, on a codec and a clock that the caller holds.

use std::sync::Arc;

use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::wire::message::{Packet, Ping, Update, kind};
use mesh_gossip_proto::{
    Config, DenseTable, Duration, Instant, Member, MemberTable, Node, SignedRecord, State, WallTime,
};
use zerocopy::byteorder::little_endian::{U32, U64};

use crate::population::{CLUSTER, Trusting, address, metadata};

/// One node of ours, and its peer, member 0.
pub struct Ours {
    /// It.
    pub node: Node,
    now: Instant,
    buffer: Vec<u8>,
    /// Datagrams sent so far.
    pub answers: u64,
    limit: usize,
}

impl Ours {
    /// One that knows these members and is none of them.
    ///
    /// # Panics
    /// Never: it is a usual node.
    pub fn knowing(members: &[Member]) -> Self {
        let config = Config::new(CLUSTER);
        let mut table = DenseTable::for_cluster(CLUSTER, config.rings);
        for member in members {
            table.put(member.clone());
        }
        let (local, limit) = (members.len() as u32, config.max_payload);
        let birth = Birth {
            config: Arc::new(config),
            metadata: metadata(local),
            addresses: vec![address(local)],
            born: WallTime(1_700_000_000_000),
            least_generation: 0,
            authority: Arc::new(Trusting),
            seed: 1,
        };
        let now = Instant::ORIGIN;
        let node = Node::on_table(now, birth, table).expect("the node is born");
        let mut ours = Self { node, now, buffer: Vec::new(), answers: 0, limit };
        ours.drain();
        ours
    }

    /// A ping with updates.
    ///
    /// # Panics
    /// If they do not fit one datagram.
    pub fn datagram(&self, updates: impl Iterator<Item = Update>) -> Vec<u8> {
        let mut packet = Packet::default();
        let digest = U64::new(self.node.table().digest());
        assert!(packet.push(self.limit, &Ping { sequence: U32::new(1), digest }));
        for update in updates {
            assert!(packet.push(self.limit, &update), "all updates fit");
        }
        packet.into_bytes()
    }

    /// Takes a datagram; what it answers is counted.
    pub fn handle(&mut self, from: &Member, datagram: &[u8]) {
        self.now += Duration::from_millis(1);
        self.node.handle_datagram(self.now, from.id(), address(0), datagram);
        self.drain();
    }

    fn drain(&mut self) {
        while self.node.poll_transmit(self.now, &mut self.buffer).is_some() {
            self.answers += 1;
        }
        while self.node.poll_event().is_some() {}
        while self.node.poll_stream().is_some() {}
    }
}

/// What is told of a record.
pub fn update_of(record: &SignedRecord) -> Update {
    let content = record.record();
    Update::new(content.id, content.incarnation, State::Alive, record.hash())
}

/// A datagram that carries a record.
///
/// # Panics
/// If it is larger than any datagram.
pub fn record_datagram(record: &SignedRecord) -> Vec<u8> {
    let mut packet = Packet::default();
    assert!(packet.push_raw(usize::from(u16::MAX), kind::RECORD, record.envelope()));
    packet.into_bytes()
}
