//! quinn-proto's datagrams over recvmmsg and sendmmsg: the cheapest way to drive it.
//!
//! It answers with datagrams of the application's as big as fit the size asked for. What QUIC sends
//! by itself, which is acknowledgements, is its price and not counted as an answer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use mesh_gossip::tls::credentials::Credentials;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig,
    ServerConfig,
};

use crate::crowd::{Crowd, Shape, until_served};
use crate::ours::Party;
use crate::raw::Batches;
use crate::turns::{Alternative, Mistake};

/// Short header, a connection id of eight bytes, the least packet number, the frame's type and
/// length, and the tag.
const QUIC_BYTES: usize = 1 + 8 + 2 + 3 + 16;
/// Rounds of a handshake, at most.
const HANDSHAKE_STEPS: usize = 100;

/// An endpoint and its connections.
struct Host {
    endpoint: Endpoint,
    connections: HashMap<ConnectionHandle, Connection>,
    buffer: Vec<u8>,
}

impl Host {
    fn new(credentials: &Credentials) -> Self {
        let server = QuicServerConfig::try_from(credentials.gossip_server().clone());
        let server = ServerConfig::with_crypto(Arc::new(server.expect("AES-128-GCM is offered")));
        let config = Arc::new(EndpointConfig::default());
        let endpoint = Endpoint::new(config, Some(server.into()), false, None);
        Self { endpoint, connections: HashMap::new(), buffer: Vec::new() }
    }

    fn connect(&mut self, credentials: &Credentials, to: SocketAddr) {
        let client = QuicClientConfig::try_from(credentials.gossip_client().clone());
        let client = ClientConfig::new(Arc::new(client.expect("AES-128-GCM is offered")));
        let (handle, connection) =
            self.endpoint.connect(Instant::now(), client, to, "mesh").expect("it dials");
        self.connections.insert(handle, connection);
    }

    /// Takes a datagram; says which connection it was for.
    fn receive(&mut self, now: Instant, from: SocketAddr, data: &[u8]) -> Option<ConnectionHandle> {
        let Self { endpoint, connections, buffer } = self;
        buffer.clear();
        let handle = match endpoint.handle(now, from, None, None, data.into(), buffer)? {
            DatagramEvent::ConnectionEvent(handle, event) => {
                connections.get_mut(&handle)?.handle_event(event);
                handle
            }
            DatagramEvent::NewConnection(incoming) => {
                let (handle, connection) = endpoint.accept(incoming, now, buffer, None).ok()?;
                connections.insert(handle, connection);
                handle
            }
            DatagramEvent::Response(_) => return None,
        };
        self.settle(handle);
        Some(handle)
    }

    /// Everything that the endpoint and a connection want from each other.
    fn settle(&mut self, handle: ConnectionHandle) {
        let Some(connection) = self.connections.get_mut(&handle) else { return };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(handle, event) {
                connection.handle_event(event);
            }
        }
        while connection.poll().is_some() {}
    }

    /// Puts into `out` what a connection has to send.
    fn transmit(
        &mut self,
        now: Instant,
        handle: ConnectionHandle,
        out: &mut Vec<(SocketAddr, Vec<u8>)>,
    ) {
        let Some(connection) = self.connections.get_mut(&handle) else { return };
        let mut buffer = Vec::new();
        while let Some(transmit) = connection.poll_transmit(now, 1, &mut buffer) {
            out.push((transmit.destination, std::mem::take(&mut buffer)));
        }
    }

    /// Lets timers fire that are due.
    fn fire(&mut self, now: Instant, out: &mut Vec<(SocketAddr, Vec<u8>)>) {
        let handles: Vec<_> = self.connections.keys().copied().collect();
        for handle in handles {
            let Some(connection) = self.connections.get_mut(&handle) else { continue };
            if connection.poll_timeout().is_some_and(|at| at <= now) {
                connection.handle_timeout(now);
            }
            self.settle(handle);
            self.transmit(now, handle, out);
        }
    }
}

/// Batches in a row of which no peer hears anything.
const SILENT_MAX_BATCHES: usize = 16;

/// A hub and its clients.
pub(crate) struct Quic<'a> {
    crowd: &'a RefCell<Crowd>,
    shape: Shape,
    batches: Batches,
    address: SocketAddr,
    hub: Host,
    peers: Vec<Host>,
    payload: Bytes,
    out: Vec<(SocketAddr, Vec<u8>)>,
    heard: Vec<usize>,
    silent: usize,
}

impl<'a> Quic<'a> {
    pub(crate) fn new(
        crowd: &'a RefCell<Crowd>,
        shape: Shape,
        party: &Party<'_>,
        size: usize,
    ) -> io::Result<Self> {
        let batches = Batches::new()?;
        let address = batches.socket.local_addr()?;
        let mut quic = Self {
            crowd,
            shape,
            batches,
            address,
            hub: Host::new(party.hub),
            peers: party.peers[..shape.peers].iter().map(|own| Host::new(own)).collect(),
            payload: BytesMut::zeroed(size - QUIC_BYTES).freeze(),
            out: Vec::new(),
            heard: vec![0; shape.peers],
            silent: 0,
        };
        for (peer, credentials) in quic.peers.iter_mut().zip(party.peers) {
            peer.connect(credentials, address);
        }
        for _ in 0..HANDSHAKE_STEPS {
            quic.flush_peers();
            quic.serve_once();
            quic.flush_hub();
            quic.hear();
            let open = |host: &Host| {
                host.connections.values().all(|connection| !connection.is_handshaking())
            };
            if quic.hub.connections.len() == shape.peers
                && open(&quic.hub)
                && quic.peers.iter().all(open)
            {
                break;
            }
        }
        // The largest size has less room than its overhead says: numbers may be longer there.
        let ends = quic.peers.iter_mut().chain([&mut quic.hub]);
        let connections = ends.flat_map(|end| end.connections.values_mut());
        let room = connections.filter_map(|connection| connection.datagrams().max_size()).min();
        let room = room.unwrap_or_default().min(quic.payload.len());
        quic.payload.truncate(room);
        Ok(quic)
    }

    /// Off the clock: peers send what is due.
    fn flush_peers(&mut self) {
        let (now, crowd) = (Instant::now(), self.crowd.borrow());
        let mut out = Vec::new();
        for (number, peer) in self.peers.iter_mut().enumerate() {
            peer.fire(now, &mut out);
            for (to, bytes) in out.drain(..) {
                crowd.say(number, to, &bytes, bytes.len());
            }
        }
    }

    fn flush_hub(&mut self) {
        let mut out = Vec::new();
        self.hub.fire(Instant::now(), &mut out);
        self.batches.send_all(&out);
    }

    /// Takes what the hub sent.
    fn hear(&mut self) {
        let (now, mut crowd) = (Instant::now(), self.crowd.borrow_mut());
        for (number, peer) in self.peers.iter_mut().enumerate() {
            while let Some(bytes) = crowd.take(number) {
                let Some(handle) = peer.receive(now, self.address, bytes) else { continue };
                let Some(connection) = peer.connections.get_mut(&handle) else { continue };
                while connection.datagrams().recv().is_some() {
                    self.heard[number] += 1;
                }
            }
        }
    }

    /// On the clock: one batch in, its answers out; returns how many there were.
    fn serve_once(&mut self) -> usize {
        let came = self.batches.receive();
        if came == 0 {
            return 0;
        }
        let (now, mut answered) = (Instant::now(), 0);
        for place in 0..came {
            let (bytes, from) = self.batches.arrival(place);
            let Some(handle) = self.hub.receive(now, from, bytes) else { continue };
            let Some(connection) = self.hub.connections.get_mut(&handle) else { continue };
            while let Some(said) = connection.datagrams().recv() {
                answered += usize::from(connection.datagrams().send(said, true).is_ok());
            }
            self.hub.transmit(now, handle, &mut self.out);
        }
        self.batches.send_all(&self.out);
        self.out.clear();
        answered
    }
}

impl Alternative for Quic<'_> {
    fn name(&self) -> &'static str {
        "quinn-proto"
    }

    fn prepare(&mut self) -> usize {
        for peer in &mut self.peers {
            for connection in peer.connections.values_mut() {
                for _ in 0..self.shape.depth {
                    // A refusal is an answer that will be missing.
                    let _ = connection.datagrams().send(self.payload.clone(), true);
                }
            }
        }
        self.flush_peers();
        self.shape.batch()
    }

    fn serve(&mut self) -> usize {
        let batch = self.shape.batch();
        let mut empty = 0;
        let mut served = 0;
        // A batch of acknowledgements alone answers nothing and is no reason to give up.
        while served < batch && empty < 4 {
            let some = until_served(1, || self.serve_once());
            served += some;
            empty += usize::from(some == 0);
        }
        served
    }

    fn collect(&mut self) -> Result<(), Mistake> {
        self.hear();
        self.flush_hub();
        self.hear();
        // What is lost is not sent again, so that a batch may be heard short, but not for long.
        let heard: usize = self.heard.iter().sum();
        self.heard.fill(0);
        self.silent = if heard == 0 { self.silent + 1 } else { 0 };
        if self.silent > SILENT_MAX_BATCHES {
            return Err(Mistake("no answer arrives over QUIC"));
        }
        Ok(())
    }
}
