//! memberlist (the Rust port): tasks on an async runtime, no state machine to call. So it runs on
//! a runtime of one thread, its transport is a channel, its own tickers are off, and a datagram
//! counts as handled when its last update has been offered to the delegate. That includes the
//! switches between its two tasks, which a process that uses it pays as well.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::population::address;
use agnostic_lite::tokio::TokioRuntime;
use bytes::Bytes;
use memberlist_core::delegate::{AliveDelegate, CompositeDelegate};
use memberlist_core::proto::{Alive, Message, NodeState, Payload, Ping, ProtoEncoder};
use memberlist_core::transport::resolver::socket_addr::SocketAddrResolver;
use memberlist_core::transport::unimplemented::UnimplementedConnection;
use memberlist_core::transport::{
    Node, NodeId, Packet, PacketProducer, PacketSubscriber, StreamProducer, StreamSubscriber,
    Transport, TransportError, packet_stream, promised_stream,
};
use memberlist_core::{Memberlist, Options};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

const DATAGRAM_BYTES: usize = 1_400;

/// The id of member `number`.
pub fn who(number: u32) -> NodeId {
    NodeId::new(format!("node-{number:06}")).expect("the name is short")
}

pub(super) fn node(number: u32) -> Node<NodeId, SocketAddr> {
    Node::new(who(number), address(number))
}

/// Nothing goes wrong on a channel.
#[derive(Debug)]
pub struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl TransportError for Broken {
    fn is_remote_failure(&self) -> bool {
        false
    }

    fn custom(text: Cow<'static, str>) -> Self {
        Self(text.into_owned())
    }
}

/// What a transport is made of.
pub struct Ends {
    local: u32,
    packets: PacketSubscriber<SocketAddr, Instant>,
    sent: Arc<AtomicU64>,
}

/// Datagrams in by a channel, datagrams out counted.
pub struct Channel {
    id: NodeId,
    address: SocketAddr,
    packets: PacketSubscriber<SocketAddr, Instant>,
    streams: StreamSubscriber<SocketAddr, UnimplementedConnection>,
    // Dropped, it would tell that the transport has ended.
    _streams: StreamProducer<SocketAddr, UnimplementedConnection>,
    sent: Arc<AtomicU64>,
}

impl Transport for Channel {
    type Error = Broken;
    type Id = NodeId;
    type Address = SocketAddr;
    type ResolvedAddress = SocketAddr;
    type Resolver = SocketAddrResolver<TokioRuntime>;
    type Connection = UnimplementedConnection;
    type Runtime = TokioRuntime;
    type Options = Ends;

    async fn new(ends: Ends) -> Result<Self, Broken> {
        let (_streams, streams) = promised_stream::<Self>();
        let Ends { local, packets, sent } = ends;
        Ok(Self { id: who(local), address: address(local), packets, streams, _streams, sent })
    }

    async fn resolve(&self, address: &SocketAddr) -> Result<SocketAddr, Broken> {
        Ok(*address)
    }

    fn local_id(&self) -> &NodeId {
        &self.id
    }

    fn local_address(&self) -> &SocketAddr {
        &self.address
    }

    fn advertise_address(&self) -> &SocketAddr {
        &self.address
    }

    fn max_packet_size(&self) -> usize {
        DATAGRAM_BYTES
    }

    fn header_overhead(&self) -> usize {
        0
    }

    fn blocked_address(&self, _address: &SocketAddr) -> Result<(), Broken> {
        Ok(())
    }

    async fn send_to(&self, _to: &SocketAddr, bytes: Payload) -> Result<(usize, Instant), Broken> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok((bytes.as_slice().len(), Instant::now()))
    }

    async fn open(
        &self,
        _to: &SocketAddr,
        _deadline: Instant,
    ) -> Result<UnimplementedConnection, Broken> {
        Err(Broken("no streams in a bench".into()))
    }

    fn packet(&self) -> PacketSubscriber<SocketAddr, Instant> {
        self.packets.clone()
    }

    fn stream(&self) -> StreamSubscriber<SocketAddr, UnimplementedConnection> {
        self.streams.clone()
    }

    fn packet_reliable(&self) -> bool {
        true
    }

    fn packet_secure(&self) -> bool {
        true
    }

    fn stream_secure(&self) -> bool {
        true
    }

    async fn shutdown(&self) -> Result<(), Broken> {
        Ok(())
    }
}

/// Counts the updates that have come as far as the member table.
pub struct Counting(Arc<AtomicU64>);

impl AliveDelegate for Counting {
    type Id = NodeId;
    type Address = SocketAddr;
    type Error = Infallible;

    async fn notify_alive(
        &self,
        _peer: Arc<NodeState<NodeId, SocketAddr>>,
    ) -> Result<(), Infallible> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

type Delegates = CompositeDelegate<NodeId, SocketAddr, Counting>;

/// One memberlist that knows members.
pub struct Peer {
    runtime: Runtime,
    list: Memberlist<Channel, Delegates>,
    packets: PacketProducer<SocketAddr, Instant>,
    applied: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
    local: u32,
    sequence: u32,
}

impl Peer {
    /// One that knows the first `members` members; it is none of them.
    pub fn knowing(members: u32) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        let (packets, subscriber) = packet_stream::<Channel>(64);
        let (applied, sent) = (Arc::default(), Arc::default());
        let ends = Ends { local: members, packets: subscriber, sent: Arc::clone(&sent) };
        let delegate = CompositeDelegate::new().with_alive_delegate(Counting(Arc::clone(&applied)));
        let options = Options::lan()
            .with_probe_interval(Duration::ZERO)
            .with_gossip_interval(Duration::ZERO)
            .with_push_pull_interval(Duration::ZERO);
        let list = runtime.block_on(Memberlist::with_delegate(delegate, ends, options));
        let list = list.expect("it starts");
        let mut peer = Self { runtime, list, packets, applied, sent, local: members, sequence: 0 };
        let everybody: Vec<u32> = (0..members).collect();
        for about in everybody.chunks(16) {
            let datagram = peer.datagram(about, 1);
            peer.handle(datagram, about.len());
        }
        // Whoever was offered last is in by the time that one more has been offered.
        let datagram = peer.datagram(&[0], 1);
        peer.handle(datagram, 1);
        let known = peer.runtime.block_on(peer.list.num_members());
        assert_eq!(known, members as usize + 1, "the members and itself");
        peer
    }

    /// A ping by member 0 with updates.
    pub fn datagram(&mut self, about: &[u32], incarnation: u32) -> Bytes {
        self.sequence = self.sequence.wrapping_add(1);
        let ping = Ping::new(self.sequence, node(0), node(self.local));
        let updates = about.iter().map(|number| Alive::new(incarnation, node(*number)).into());
        let messages: Vec<Message<NodeId, SocketAddr>> =
            std::iter::once(ping.into()).chain(updates).collect();
        let encoder =
            ProtoEncoder::<NodeId, SocketAddr, _>::new(DATAGRAM_BYTES).with_messages(messages);
        let mut datagrams: Vec<_> = encoder.encode().collect();
        assert_eq!(datagrams.len(), 1, "all fit one datagram");
        datagrams.remove(0).expect("messages are encoded").into_bytes()
    }

    /// Handles a datagram with so many updates.
    pub fn handle(&mut self, datagram: Bytes, updates: usize) {
        let until = self.applied.load(Ordering::Relaxed) + updates as u64;
        self.runtime.block_on(async {
            let packet = Packet::new(address(0), Instant::now(), datagram);
            self.packets.send(packet).await.expect("memberlist listens");
            while self.applied.load(Ordering::Relaxed) < until {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Whether a member is known.
    pub fn knows(&self, id: &NodeId) -> bool {
        self.runtime.block_on(self.list.by_id(id)).is_some()
    }

    /// Datagrams sent so far.
    pub fn answers(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Members as it hands them out: a copy of the list, behind its lock.
    pub fn members(&self) -> usize {
        self.runtime.block_on(self.list.members()).len()
    }
}
