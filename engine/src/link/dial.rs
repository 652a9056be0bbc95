//! A handshake that we began, until the server has proven who it is (rules S-5, S-6, S-9).
//!
//! The client drives: it repeats what is unacknowledged until an answer comes, at most three
//! times before the path is verified, and gives up in time. Its first flight is the ClientHello;
//! with the server's flight complete the machine is consumed and becomes an established session
//! whose last flight still has to arrive.
//!
//! Invariant: nothing of ours but the ClientHello leaves before the server is authenticated.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_gossip_proto::wire::header::{HandshakeHeader, INIT};
use mesh_gossip_proto::{Duration, Instant, MemberId};
use rustls::{ClientConfig, ClientConnection};

use super::cookies::COOKIE;
use super::established::{Attempt, Established, Side, Tunnel, Us};
use super::failure::Failure;
use super::flight::Envelope;
use super::proofs::Ticket;
use super::targets::Target;
use crate::tls::credentials::server_name;

/// First wait for an answer.
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// After a part of the server's flight the rest is asked for soon: it is lost or on its way.
const PART_WAIT: Duration = Duration::from_millis(40);
/// Datagrams sent to a path that nobody has verified (rule S-10).
const MOST_INITS: u32 = 3;
/// An unanswered dial ends.
const PATIENCE: Duration = Duration::from_secs(2);
/// A dial that makes progress may last longer.
const MOST_PATIENCE: Duration = Duration::from_secs(3);

/// Who is expected to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Expect {
    /// This member and nobody else.
    Member(MemberId),
    /// Whoever it is: a seed.
    Anyone,
}

/// A handshake whose server is unproven.
pub(super) struct Dial {
    tls: ClientConnection,
    tunnel: Tunnel,
    pub(super) path: SocketAddr,
    pub(super) expect: Expect,
    pub(super) begun: Instant,
    pub(super) attempt: u64,
    /// Which of our certificates it shows.
    pub(super) generation: u64,
    index: u32,
    peer_index: u32,
    sent: u32,
    wait: Duration,
    next: Instant,
    progressed: bool,
    /// What is shown until the server has let us a place (rule S-7).
    pub(super) ticket: Ticket,
    asked_for_cookie: bool,
}

/// A proven server and the flight that proves us to it.
pub(super) struct Proven {
    pub(super) established: Established,
    pub(super) peer_index: u32,
    pub(super) tunnel: Tunnel,
}

impl Dial {
    pub(super) fn begin(
        config: Arc<ClientConfig>,
        now: Instant,
        path: SocketAddr,
        expect: Expect,
        index: u32,
        attempt: u64,
        generation: u64,
    ) -> Result<Self, Failure> {
        let mut tls =
            ClientConnection::new(config, server_name()).map_err(|error| Failure::from(&error))?;
        let mut tunnel = Tunnel::new();
        tunnel.pull(&mut tls)?;
        Ok(Self {
            tls,
            tunnel,
            path,
            expect,
            begun: now,
            attempt,
            generation,
            index,
            peer_index: 0,
            sent: 0,
            wait: FIRST_WAIT,
            next: now,
            progressed: false,
            ticket: Ticket::Nothing,
            asked_for_cookie: false,
        })
    }

    /// Whom this handshake is meant to reach.
    pub(super) fn target(&self) -> Target {
        match self.expect {
            Expect::Member(id) => Target::Member(id),
            Expect::Anyone => Target::Address(self.path),
        }
    }

    fn deadline(&self) -> Instant {
        self.begun + if self.progressed { MOST_PATIENCE } else { PATIENCE }
    }

    /// When to call [`Dial::flight`] again.
    pub(super) fn due(&self) -> Instant {
        self.next.min(self.deadline())
    }

    /// The datagrams to send now.
    pub(super) fn flight(&mut self, now: Instant) -> Result<Vec<Vec<u8>>, Failure> {
        if now >= self.deadline() {
            return Err(Failure::Timeout);
        }
        if self.sent >= MOST_INITS && !self.progressed {
            self.next = self.deadline();
            return Ok(Vec::new());
        }
        self.sent += 1;
        self.next = now + self.wait;
        self.wait = (self.wait * 2).min(Duration::from_secs(1));
        let envelope = Envelope {
            kind: INIT,
            receiver: self.peer_index,
            sender: self.index,
            ack: self.tunnel.input.acknowledges(),
            attempt: self.attempt,
        };
        let place = self.peer_index != 0;
        let ticket = if place { &Ticket::Nothing } else { &self.ticket };
        Ok(envelope.flight_under(ticket, &self.tunnel.out, &[]))
    }

    /// The server wants to see that we receive where we send from: the next flight shows
    /// `cookie`. Says whether it does; a server is obeyed once.
    pub(super) fn asked_for_cookie(&mut self, cookie: [u8; COOKIE]) -> bool {
        if self.asked_for_cookie || self.peer_index != 0 {
            return false;
        }
        self.asked_for_cookie = true;
        self.ticket = Ticket::Cookie(cookie);
        // Somebody is there, and knows our attempt: the flights start anew (rule S-10).
        self.sent = 0;
        self.wait = FIRST_WAIT;
        true
    }

    /// Takes a datagram of the server; says whether the handshake can be finished.
    pub(super) fn take(
        &mut self,
        now: Instant,
        header: &HandshakeHeader,
        fragment: &[u8],
    ) -> Result<bool, Failure> {
        if self.peer_index == 0 {
            self.peer_index = header.sender.get();
        } else if self.peer_index != header.sender.get() {
            // The server lost its state and answered as another: only a new attempt helps.
            return Err(Failure::Stream);
        }
        let (offset, ack) = (header.offset.get(), header.ack.get());
        if self.tunnel.feed(&mut self.tls, offset, ack, fragment)? {
            self.progressed = true;
            self.next = now + PART_WAIT;
        }
        Ok(!self.tls.is_handshaking())
    }

    /// Consumes the attempt once the server is authenticated.
    pub(super) fn finish(self, us: &Us<'_>) -> Result<Proven, Failure> {
        let attempt = Attempt {
            side: Side::Client,
            local: us.local,
            cluster_id: us.cluster_id,
            local_index: self.index,
            peer_index: self.peer_index,
            attempt: self.attempt,
        };
        let established = Established::of(&self.tls, &attempt, us.authority)?;
        match self.expect {
            Expect::Member(expected) if expected != established.peer => {
                return Err(Failure::OtherMember);
            }
            Expect::Member(_) | Expect::Anyone => {}
        }
        Ok(Proven { established, peer_index: self.peer_index, tunnel: self.tunnel })
    }
}
