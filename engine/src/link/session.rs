//! An established session: a channel to a member over one verified path.
//!
//! Invariant: it carries our messages only after a datagram of the peer was opened on it
//! (rule S-5).

use std::net::SocketAddr;

use mesh_gossip_proto::session::channel::Channel;
use mesh_gossip_proto::{Duration, Instant, MemberId};

use super::established::Tunnel;
use super::flight::Envelope;
use super::targets::Target;
use crate::tls::keys::PacketKey;
use crate::tls::proof::ProofKeys;
use crate::tls::standing::Standing;

/// One session.
pub(super) struct Session {
    pub(super) peer: MemberId,
    /// The path that the handshake verified; the only one that is sent to (rule S-10).
    pub(super) path: SocketAddr,
    /// Who began the handshake.
    pub(super) initiator: MemberId,
    pub(super) attempt: u64,
    pub(super) begun: Instant,
    pub(super) channel: Channel<PacketKey>,
    pub(super) phase: Phase,
    /// Last datagram opened.
    pub(super) heard: Instant,
    /// Last datagram opened or sealed.
    pub(super) used: Instant,
    /// When it wants a successor; counts from its confirmation.
    pub(super) renews: Instant,
    /// First ping sent since the last datagram was heard.
    pub(super) asked: Option<Instant>,
    /// Where the peer was looked for because this path was silent.
    pub(super) tried: Option<SocketAddr>,
    /// When the peer was last dialled because it stayed silent on this path.
    pub(super) redialled: Option<Instant>,
    /// How often its end has been announced since the last datagram came.
    pub(super) asks: u8,
    /// When we last said that we send on it because another one was about to end.
    pub(super) said: Option<Instant>,
    /// The peer says that it does not know this session; a new handshake is under way.
    pub(super) doubted: bool,
    /// What possession of this session is proven with (rule S-7).
    pub(super) proofs: ProofKeys,
    /// What the peer's certificate rests on (rule S-16).
    pub(super) standing: Standing,
    /// When the first certificate of its chain expires: nothing is sealed or opened from then on.
    pub(super) ends: Instant,
    /// Which of our certificates we showed (rule S-15).
    pub(super) generation: u64,
}

/// How far a session has come.
pub(super) enum Phase {
    /// We finished as a client; the last flight is repeated until the server confirms.
    Finishing(Box<Finishing>),
    /// We finished as a server; the client's first datagram is awaited.
    Awaited,
    /// Both sides have opened a datagram of the other.
    Live { confirmed: Instant },
}

/// The client's last flight.
pub(super) struct Finishing {
    tunnel: Tunnel,
    envelope: Envelope,
    /// What goes with it: the confirmation and pings.
    pub(super) greeting: Vec<u8>,
    pub(super) target: Target,
    sent: u32,
    wait: Duration,
}

/// First wait for the confirmation.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// A peer that is asked and says nothing for so long is looked for at its newest address.
const SILENCE: Duration = Duration::from_secs(1);
/// A peer that is asked and says nothing for so long may answer on a session that leads elsewhere,
/// to another process of its name for one: it gets a handshake,
const DEAF: Duration = Duration::from_secs(5);
/// and another one after so long.
const DIAL_DEAF_AGAIN: Duration = Duration::from_secs(60);
/// Unconfirmed sessions end after so long (rule S-5).
pub(super) const UNCONFIRMED: Duration = Duration::from_secs(3);
/// So many last flights without a confirmation mean that the peer rejects us (rule S-9).
pub(super) const REJECTED_AFTER: u32 = 3;

impl Finishing {
    pub(super) fn new(
        tunnel: Tunnel,
        envelope: Envelope,
        greeting: Vec<u8>,
        target: Target,
    ) -> Self {
        Self { tunnel, envelope, greeting, target, sent: 0, wait: FIRST_WAIT }
    }

    /// The last flight with `trailer` behind it, and when to repeat it.
    pub(super) fn flight(&mut self, now: Instant, trailer: &[u8]) -> (Vec<Vec<u8>>, Instant) {
        self.sent += 1;
        let again = now + self.wait;
        self.wait = (self.wait * 2).min(Duration::from_secs(1));
        (self.envelope.flight(&self.tunnel.out, trailer), again)
    }

    /// The server acknowledged a part without confirming.
    pub(super) fn acknowledge(&mut self, ack: u16) {
        self.tunnel.out.acknowledge(ack);
    }

    pub(super) fn sent(&self) -> u32 {
        self.sent
    }
}

impl Session {
    /// The peer has been pinged and has said nothing for a while.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.asked.is_some_and(|asked| now.since(asked) >= SILENCE)
    }

    /// The peer has not answered for a while, and says elsewhere that it listens at `address`: it
    /// may have moved.
    pub(super) fn may_have_moved(&self, now: Instant, address: SocketAddr) -> bool {
        self.is_silent(now) && self.path != address && self.tried != Some(address)
    }

    /// The peer has been pinged for so long without a word that a handshake is worth a try.
    pub(super) fn is_deaf(&self, now: Instant) -> bool {
        let rested = self.redialled.is_none_or(|last| now.since(last) >= DIAL_DEAF_AGAIN);
        rested && self.asked.is_some_and(|asked| now.since(asked) >= DEAF)
    }

    /// When both sides had confirmed.
    pub(super) fn confirmed(&self) -> Option<Instant> {
        match self.phase {
            Phase::Finishing(_) | Phase::Awaited => None,
            Phase::Live { confirmed } => Some(confirmed),
        }
    }

    /// Whether this confirmed session is to be sent on rather than `other` (rule S-18): a later
    /// handshake supersedes an earlier one; of two that ran at once, both sides take the one
    /// whose initiator has the lower id.
    pub(super) fn supersedes(&self, other: &Self) -> bool {
        match other.confirmed() {
            Some(confirmed) if self.begun > confirmed => true,
            Some(_) => self.initiator <= other.initiator,
            None => true,
        }
    }
}
