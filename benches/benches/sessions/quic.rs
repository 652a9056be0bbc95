//! Two quinn-proto endpoints and nothing between them, on the TLS configurations of the mesh: the
//! same suites, certificates and verifier.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use mesh_gossip::tls::credentials::Credentials;
use mesh_gossip_benches::meeting::Traffic;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig, Event,
    ServerConfig,
};

/// One endpoint.
pub(crate) struct Host {
    endpoint: Endpoint,
    client: ClientConfig,
}

/// What a meeting left behind.
pub(crate) struct Met {
    pub(crate) traffic: Traffic,
    pub(crate) server: Connection,
}

impl Host {
    pub(crate) fn new(credentials: &Credentials) -> Self {
        let server = QuicServerConfig::try_from(credentials.gossip_server().clone());
        let server = ServerConfig::with_crypto(Arc::new(server.expect("AES-128-GCM is offered")));
        let client = QuicClientConfig::try_from(credentials.gossip_client().clone());
        let client = ClientConfig::new(Arc::new(client.expect("AES-128-GCM is offered")));
        // Probes of the path's size are traffic that we do not have either.
        let endpoint =
            Endpoint::new(Arc::new(EndpointConfig::default()), Some(server.into()), false, None);
        Self { endpoint, client }
    }
}

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, side as u8 + 1], 17_421))
}

/// A connection and the side that it is.
struct Side<'a> {
    host: &'a mut Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    number: usize,
    sent: bool,
    received: usize,
}

impl Side<'_> {
    /// Everything that the endpoint and its connection want from each other.
    fn settle(&mut self, payload: &[u8]) {
        let Some((handle, connection)) = &mut self.connection else { return };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.host.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while let Some(event) = connection.poll() {
            match event {
                Event::Connected if self.number == 0 && !self.sent => {
                    self.sent = true;
                    let payload = Bytes::copy_from_slice(payload);
                    connection.datagrams().send(payload, false).expect("datagrams are on");
                }
                Event::DatagramReceived => {
                    self.received += usize::from(connection.datagrams().recv().is_some());
                }
                _ => {}
            }
        }
    }

    fn transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> bool {
        buffer.clear();
        let Some((_, connection)) = &mut self.connection else { return false };
        connection.poll_transmit(now, 1, buffer).is_some()
    }

    /// Takes a datagram; what the endpoint answers by itself comes back.
    fn receive(&mut self, now: Instant, data: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = Vec::new();
        let from = address(1 - self.number);
        let data = BytesMut::from(data);
        match self.host.handle(now, from, None, None, data, &mut buffer) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
                None
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.host.accept(incoming, now, &mut buffer, None);
                // Its error is no `Debug`.
                self.connection = accepted.ok();
                assert!(self.connection.is_some(), "nobody is refused");
                None
            }
            Some(DatagramEvent::Response(_)) => Some(buffer),
            None => None,
        }
    }
}

/// `a` connects to `b` and sends `payload`; everything is carried that follows.
pub(crate) fn meet(a: &mut Host, b: &mut Host, payload: &[u8]) -> Met {
    let now = Instant::now();
    let mut traffic = Traffic::default();
    let started = Instant::now();
    let connected = a.endpoint.connect(now, a.client.clone(), address(1), "mesh");
    traffic.spent[0] += started.elapsed();
    let side =
        |number, host, connection| Side { host, connection, number, sent: false, received: 0 };
    let mut sides = [
        side(0, &mut a.endpoint, Some(connected.expect("it dials"))),
        side(1, &mut b.endpoint, None),
    ];
    let mut buffer = Vec::new();
    loop {
        let mut any = false;
        for from in 0..2 {
            loop {
                let started = Instant::now();
                sides[from].settle(payload);
                let sends = sides[from].transmit(now, &mut buffer);
                traffic.spent[from] += started.elapsed();
                if !sends {
                    break;
                }
                any = true;
                traffic.datagrams += 1;
                traffic.bytes += buffer.len();
                let to = 1 - from;
                let started = Instant::now();
                let answer = sides[to].receive(now, &buffer);
                sides[to].settle(payload);
                traffic.spent[to] += started.elapsed();
                assert!(answer.is_none(), "both know each other");
            }
        }
        if !any {
            break;
        }
    }
    let [client, server] = sides;
    traffic.delivered = server.received;
    // The client's end is of no further interest, and its endpoint forgets it.
    if let Some((handle, _)) = client.connection {
        client.host.handle_event(handle, quinn_proto::EndpointEvent::drained());
    }
    let (_, server) = server.connection.expect("it was accepted");
    Met { traffic, server }
}
