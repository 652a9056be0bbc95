//! An established session: a channel to a member over one verified path.
//!
//! Most sessions rest most of the time. One that rests keeps two secrets, its packet numbers, its
//! window and what the peer's certificate rests on; expanded keys take four times as much and are
//! made again within a microsecond or two.
//!
//! Invariants: it carries our messages only after a datagram of the peer was opened on it
//! (rule S-5); secrets, counter and window stay in the one box where they were made, whatever else
//! comes and goes (rule S-4).

use std::net::SocketAddr;

use mesh_gossip_proto::session::channel::{Channel, Exhausted, OpenError};
use mesh_gossip_proto::wire::header::DataHeader;
use mesh_gossip_proto::{Duration, Instant, MemberId};

use super::established::{Established, Side, Tunnel};
use super::flight::Envelope;
use super::targets::Target;
use crate::io::fetch;
use crate::tls::keys::{PacketKeys, Secrets};
use crate::tls::proof::ProofKeys;
use crate::tls::standing::Standing;

/// One session. At rest it is this and no more: what grows with it is counted in
/// `benches/tests/memory.rs`.
pub(super) struct Session {
    pub(super) peer: MemberId,
    /// The path that the handshake verified; the only one that is sent to (rule S-10).
    pub(super) path: SocketAddr,
    /// The peer began the handshake.
    pub(super) theirs: bool,
    secrets: Secrets,
    pub(super) channel: Channel,
    pub(super) phase: Phase,
    /// Last datagram opened.
    pub(super) heard: Instant,
    /// Last datagram opened or sealed.
    pub(super) used: Instant,
    /// The peer says that it does not know this session; a new handshake is under way.
    pub(super) doubted: bool,
    /// What the peer's certificate rests on (rule S-16).
    pub(super) standing: Standing,
    /// When the first certificate of its chain expires: nothing is sealed or opened from then on.
    pub(super) ends: Instant,
    /// Which of our certificates we showed (rule S-15).
    pub(super) generation: u64,
    /// What only a session in use has: a session without it is dehydrated.
    warm: Option<Box<Warm>>,
}

const _: () = assert!(size_of::<Session>() <= 304, "10,000 sessions at rest fit in 4 MB");

/// What a session has while it is used: expanded keys, and what it noticed of late.
pub(super) struct Warm {
    keys: PacketKeys,
    /// The attempt that made it, as long as datagrams of the handshake may still be on their way.
    pub(super) attempt: Option<u64>,
    pub(super) begun: Instant,
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
}

impl Warm {
    fn of(secrets: &Secrets, begun: Instant) -> Box<Self> {
        Box::new(Self {
            keys: secrets.expand(),
            attempt: None,
            begun,
            renews: begun,
            asked: None,
            tried: None,
            redialled: None,
            asks: 0,
        })
    }
}

/// What a handshake says of the session that it makes.
pub(super) struct Beginning {
    pub(super) side: Side,
    pub(super) path: SocketAddr,
    pub(super) attempt: u64,
    pub(super) begun: Instant,
    pub(super) generation: u64,
    pub(super) peer_index: u32,
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

#[cfg(test)]
thread_local! {
    /// How often proof keys were derived in this thread.
    pub(super) static PROOF_KEYS_MADE: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

impl Session {
    /// The session of a finished handshake, warm.
    pub(super) fn begin(
        now: Instant,
        beginning: &Beginning,
        established: Established,
        phase: Phase,
    ) -> Box<Self> {
        let Beginning { side, path, attempt, begun, generation, peer_index } = *beginning;
        let Established { peer, keys, standing, left, tls: _ } = established;
        let mut session = Box::new(Self {
            peer,
            path,
            theirs: side == Side::Server,
            secrets: Secrets::vacant(),
            channel: Channel::new(peer_index),
            phase,
            heard: now,
            used: now,
            doubted: false,
            standing,
            ends: now + left,
            generation,
            warm: None,
        });
        session.secrets.fill(&keys, side);
        let mut warm = Warm::of(&session.secrets, begun);
        warm.attempt = Some(attempt);
        session.warm = Some(warm);
        session
    }

    /// Seals `payload` behind `out`. The number is used up before anything can fail.
    pub(super) fn seal(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Exhausted> {
        self.warm_up();
        let Some(warm) = &self.warm else { return Err(Exhausted) };
        self.channel.seal(&warm.keys.send, payload, out)
    }

    /// Seals `payload` to the front of `room`, likewise; returns the datagram's length.
    pub(super) fn seal_into(
        &mut self,
        payload: &[u8],
        room: &mut [u8],
    ) -> Result<usize, Exhausted> {
        self.warm_up();
        let Some(warm) = &self.warm else { return Err(Exhausted) };
        self.channel.seal_into(&warm.keys.send, payload, room)
    }

    /// Opens a datagram in place. Only an authentic one warms a session up: others cost the
    /// expansion of a key and change nothing.
    pub(super) fn open<'a>(
        &mut self,
        header: &DataHeader,
        body: &'a mut [u8],
    ) -> Result<&'a [u8], OpenError> {
        match &self.warm {
            Some(warm) => self.channel.open(&warm.keys.receive, header, body),
            None => {
                let warm = Warm::of(&self.secrets, self.settled());
                let payload = self.channel.open(&warm.keys.receive, header, body)?;
                self.warm = Some(warm);
                Ok(payload)
            }
        }
    }

    /// A datagram of it is opened before long.
    pub(super) fn foresee(&self) {
        fetch(self);
        if let Some(warm) = &self.warm {
            fetch(&warm.keys.receive);
        }
    }

    /// Expands the keys if they are not.
    pub(super) fn warm_up(&mut self) {
        if self.warm.is_none() {
            self.warm = Some(Warm::of(&self.secrets, self.settled()));
        }
    }

    /// What possession of it is proven with (rule S-7). Seldom needed, and made each time.
    pub(super) fn proofs(&self) -> ProofKeys {
        #[cfg(test)]
        PROOF_KEYS_MADE.set(PROOF_KEYS_MADE.get() + 1);
        self.secrets.proofs()
    }

    /// Forgets the keys, and what was noticed lately. Secrets, counter and window stay.
    pub(super) fn dehydrate(&mut self) {
        self.warm = None;
    }

    pub(super) fn warm(&self) -> Option<&Warm> {
        self.warm.as_deref()
    }

    pub(super) fn warm_mut(&mut self) -> Option<&mut Warm> {
        self.warm.as_deref_mut()
    }

    /// When it was confirmed, or was last heard if it was not.
    fn settled(&self) -> Instant {
        self.confirmed().unwrap_or(self.heard)
    }

    /// When its handshake began; of one that was dehydrated since, when that was over.
    pub(super) fn begun(&self) -> Instant {
        self.warm().map_or_else(|| self.settled(), |warm| warm.begun)
    }

    /// Whether datagrams of this attempt belong to it.
    pub(super) fn is_of(&self, attempt: u64) -> bool {
        self.warm().is_some_and(|warm| warm.attempt == Some(attempt))
    }

    /// A ping is sent on it: only that is owed an answer.
    pub(super) fn asks(&mut self, now: Instant) {
        if let Some(warm) = self.warm_mut() {
            warm.asked.get_or_insert(now);
        }
    }

    /// Something authentic arrived on it, which may answer what was asked.
    pub(super) fn hear(&mut self, now: Instant, answers: bool) {
        self.heard = now;
        self.doubted = false;
        if let Some(warm) = self.warm_mut().filter(|_| answers) {
            warm.asked = None;
        }
    }

    /// The peer has been pinged and has said nothing for a while.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let asked = self.warm().and_then(|warm| warm.asked);
        asked.is_some_and(|asked| now.since(asked) >= SILENCE)
    }

    /// The peer has not answered for a while, and says elsewhere that it listens at `address`: it
    /// may have moved.
    pub(super) fn may_have_moved(&self, now: Instant, address: SocketAddr) -> bool {
        let tried = self.warm().and_then(|warm| warm.tried);
        self.is_silent(now) && self.path != address && tried != Some(address)
    }

    /// The peer has been pinged for so long without a word that a handshake is worth a try.
    pub(super) fn is_deaf(&self, now: Instant) -> bool {
        let Some(warm) = self.warm() else { return false };
        let rested = warm.redialled.is_none_or(|last| now.since(last) >= DIAL_DEAF_AGAIN);
        rested && warm.asked.is_some_and(|asked| now.since(asked) >= DEAF)
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
    pub(super) fn supersedes(&self, other: &Self, local: MemberId) -> bool {
        match other.confirmed() {
            Some(confirmed) if self.begun() > confirmed => true,
            Some(_) => self.initiator(local) <= other.initiator(local),
            None => true,
        }
    }

    /// Who began the handshake, `local` being ourselves.
    pub(super) fn initiator(&self, local: MemberId) -> MemberId {
        if self.theirs { self.peer } else { local }
    }
}
