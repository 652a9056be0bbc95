//! A handshake that somebody began with us, until the client has proven who it is
//! (rules S-5 and S-6).
//!
//! The server only answers: it owns no timer but its end, and until the client is authenticated
//! it sends at most three times the bytes that it received in this attempt.
//!
//! Invariant: sent ≤ 3 × received.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_gossip_proto::Instant;
use mesh_gossip_proto::wire::header::{HandshakeHeader, RESP};
use rustls::{ServerConfig, ServerConnection};

use super::admission::Claim;
use super::established::{Attempt, Established, Side, Tunnel, Us};
use super::failure::Failure;
use super::flight::Envelope;

/// Bytes sent for each byte received, at most (rule S-6).
const AMPLIFICATION: usize = 3;

/// A handshake whose client is unproven.
pub(super) struct Answer {
    tls: ServerConnection,
    tunnel: Tunnel,
    pub(super) path: SocketAddr,
    pub(super) begun: Instant,
    pub(super) attempt: u64,
    pub(super) peer_index: u32,
    /// What the client had shown when it was let in (rule S-7).
    pub(super) claim: Claim,
    /// Which of our certificates it shows.
    pub(super) generation: u64,
    index: u32,
    received: usize,
    sent: usize,
}

impl Answer {
    pub(super) fn begin(
        config: Arc<ServerConfig>,
        now: Instant,
        path: SocketAddr,
        header: &HandshakeHeader,
        index: u32,
        generation: u64,
    ) -> Result<Self, Failure> {
        let tls = ServerConnection::new(config).map_err(|error| Failure::from(&error))?;
        Ok(Self {
            tls,
            tunnel: Tunnel::new(),
            path,
            begun: now,
            attempt: header.attempt.get(),
            peer_index: header.sender.get(),
            claim: Claim::Stranger,
            generation,
            index,
            received: 0,
            sent: 0,
        })
    }

    /// Takes a datagram of the client, `size` bytes in all; says whether the client is proven.
    pub(super) fn take(
        &mut self,
        header: &HandshakeHeader,
        fragment: &[u8],
        size: usize,
    ) -> Result<bool, Failure> {
        self.received += size;
        let (offset, ack) = (header.offset.get(), header.ack.get());
        self.tunnel.feed(&mut self.tls, offset, ack, fragment)?;
        Ok(!self.tls.is_handshaking())
    }

    /// What to send back: everything unacknowledged, as far as the client's bytes pay for it.
    pub(super) fn flight(&mut self) -> Vec<Vec<u8>> {
        let envelope = Envelope {
            kind: RESP,
            receiver: self.peer_index,
            sender: self.index,
            ack: self.tunnel.input.acknowledges(),
            attempt: self.attempt,
        };
        let mut flight = envelope.flight(&self.tunnel.out, &[]);
        flight.retain(|datagram| {
            let affordable = self.sent + datagram.len() <= AMPLIFICATION * self.received;
            if affordable {
                self.sent += datagram.len();
            }
            affordable
        });
        assert!(self.sent <= AMPLIFICATION * self.received, "an answer never amplifies");
        flight
    }

    /// Consumes the attempt once the client is authenticated.
    pub(super) fn finish(self, us: &Us<'_>) -> Result<Established, Failure> {
        let attempt = Attempt {
            side: Side::Server,
            local: us.local,
            cluster_id: us.cluster_id,
            local_index: self.index,
            peer_index: self.peer_index,
            attempt: self.attempt,
        };
        Established::of(&self.tls, &attempt, us.authority)
    }
}
