//! Links: the sessions of one agent with its peers, and the handshakes that make them.
//!
//! Payloads go in with a recipient and come out sealed, or wait until a handshake has made a
//! session. Datagrams go in and come out as payloads of authenticated members. There is no other
//! way in or out: nothing here sends or accepts a payload in clear.
//!
//! Invariants: a payload is delivered only with the member id that its session's certificate
//! names; sends go only to a path that a handshake verified; every place, queue and rate is
//! bounded.

mod admission;
mod answer;
mod budget;
mod cookies;
mod dial;
mod established;
mod failure;
mod faults;
#[cfg(test)]
mod faulty_tests;
#[cfg(test)]
mod finish_tests;
mod flight;
#[cfg(test)]
mod flood_tests;
mod handshakes;
mod lifecycle;
mod naming;
mod order;
pub(crate) mod pacing;
mod proofs;
mod recency;
mod rekeying;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod resting_tests;
#[cfg(test)]
mod rotation_tests;
mod session;
#[cfg(feature = "fuzzing")]
mod soundness;
pub mod stats;
pub(crate) mod strays;
mod targets;
#[cfg(test)]
mod tests;
mod trusting;
#[cfg(test)]
mod trusting_tests;
mod warmth;
#[cfg(test)]
mod warmth_tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_gossip_proto::session::channel::{OVERHEAD, OpenError};
use mesh_gossip_proto::session::slots::Slots;
use mesh_gossip_proto::timers::Timers;
use mesh_gossip_proto::wire::header::{
    DATA, DataHeader, Handshake, INIT, INIT_SIZE, RESET_HINT, RESP, RETRY, ResetHint,
};
use mesh_gossip_proto::{Destination, Duration, Instant, MemberId, Transmit};
use zerocopy::IntoBytes;

use crate::tls::authority::MeshAuthority;
use crate::tls::standing::Serial;
use crate::tls::trust::TrustCell;
use admission::Admission;
use answer::Answer;
use dial::{Dial, Expect};
use failure::Failure;
use lifecycle::Said;
use naming::{ByMember, Spread};
use order::Order;
use pacing::Pace;
use rekeying::Rekeying;
use session::Session;
use stats::LinkStats;
use strays::Strays;
use targets::{Target, Targets};
use warmth::Warmth;

pub use warmth::{HotKeys, MOST_HOT};

/// Handshakes and sessions held at once; a further handshake is refused and counted. Beyond the
/// sessions there is room for handshakes that replace them.
const MOST_ENTRIES: usize = warmth::MOST_SESSIONS + 4_096;
/// Peers remembered as told to reject us.
const MOST_REJECTED: usize = 1_024;
/// A hint answers a sealed datagram of at least this size, so that it never amplifies.
const HINT_ANSWERS: usize = 33;
/// The verifier's word for a certificate that names ourselves.
const OWN_ID: &str = "own-id";
/// A seed's session counts as alive so long after its last datagram.
const SEED_IS_FRESH: Duration = Duration::from_millis(2_500);

/// What links are made with.
pub struct LinkOptions {
    /// Our own id.
    pub local: MemberId,
    /// Part of what keys are bound to.
    pub cluster_id: String,
    /// Credentials, and what completes the chains of records.
    pub authority: Arc<MeshAuthority>,
    /// Seed of indices; attempt ids come from the operating system.
    pub seed: u64,
    /// How long a superseded session still receives.
    pub linger: Duration,
}

/// A payload of an authenticated member.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// Whose certificate the session rests on.
    pub from: MemberId,
    /// The path that its handshake verified.
    pub path: SocketAddr,
    /// What was opened.
    pub payload: &'a [u8],
}

/// What the links tell their driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A handshake that we began showed a fresh signature of this member (rule S-9).
    Proven {
        /// The member.
        peer: MemberId,
        /// Where it answered.
        path: SocketAddr,
        /// The dial named no member.
        seed: bool,
    },
    /// Three of our last flights went unconfirmed: the peer may not accept us (rule S-9).
    Rejected {
        /// The member.
        peer: MemberId,
    },
    /// A seed that we dialled showed our own certificate: most likely we dialled ourselves.
    Ourselves {
        /// Where it answered.
        path: SocketAddr,
    },
    /// A handshake failed, ours to begin or not.
    Failed {
        /// With whom.
        path: SocketAddr,
        /// A short stable word.
        reason: &'static str,
    },
    /// A session ended because what the peer's certificate rests on fell (rule S-16).
    Fallen {
        /// The member.
        peer: MemberId,
        /// Where it was reached.
        path: SocketAddr,
        /// Of its leaf.
        serial: Serial,
        /// A short stable word.
        reason: &'static str,
    },
}

/// A place: what an index stands for.
enum Entry {
    Dialing(Box<Dial>),
    Answering(Box<Answer>),
    Open(Box<Session>),
}

/// All links of one agent.
pub struct Links {
    local: MemberId,
    cluster_id: String,
    authority: Arc<MeshAuthority>,
    linger: Duration,
    slots: Slots<Entry>,
    /// Confirmed sessions by member, the one to send on first.
    members: ByMember<Order>,
    /// The newest confirmed session by path, of those with expanded keys.
    paths: HashMap<SocketAddr, u32>,
    /// Handshakes that strangers began, by source and attempt.
    attempts: HashMap<(SocketAddr, u64), u32>,
    /// Peers that do not confirm our handshakes, as far as that was told.
    rejected_by: HashSet<MemberId>,
    /// Who was told of late which session it is sent on.
    said: HashMap<MemberId, Said>,
    /// Whose datagrams did not open.
    refusals: faults::Refusals,
    targets: Targets,
    trust: Arc<TrustCell>,
    rekeying: Rekeying,
    warmth: Warmth,
    timers: Timers<u32>,
    half_open: u64,
    /// Who may make us begin a handshake (rule S-7).
    admission: Admission,
    /// Answers that cost little but could be provoked without end.
    hints_out: Pace,
    confirmations: Pace,
    outbox: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<LinkEvent>,
    stats: LinkStats,
    strays: Arc<Strays>,
}

impl Links {
    /// Without any session.
    pub fn new(options: LinkOptions) -> Self {
        let LinkOptions { local, cluster_id, authority, seed, linger } = options;
        let trust = Arc::clone(authority.credentials().verifier().trust());
        Self {
            local,
            cluster_id,
            authority,
            linger,
            slots: Slots::seeded(seed ^ local.prefix()),
            members: ByMember::with_hasher(Spread::keyed(seed)),
            paths: HashMap::new(),
            attempts: HashMap::new(),
            rejected_by: HashSet::new(),
            said: HashMap::new(),
            refusals: faults::Refusals::default(),
            targets: Targets::default(),
            trust,
            rekeying: Rekeying::default(),
            warmth: Warmth::default(),
            timers: Timers::default(),
            half_open: 0,
            admission: Admission::default(),
            hints_out: Pace::new(64, Duration::from_millis(20)),
            confirmations: Pace::new(64, Duration::from_millis(5)),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            stats: LinkStats::default(),
            strays: Arc::default(),
        }
    }

    /// Seals `payload` into `sealed` and returns where to send it; `None` when it waits for a
    /// handshake, or had to go.
    pub fn send(
        &mut self,
        now: Instant,
        transmit: &Transmit,
        payload: &[u8],
        sealed: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        sealed.resize(payload.len() + OVERHEAD, 0);
        let sent = self.send_into(now, transmit, payload, sealed);
        sealed.truncate(sent.map_or(0, |(len, _)| len));
        sent.map(|(_, path)| path)
    }

    /// Seals `payload` to the front of `room`, which has [`OVERHEAD`] more bytes at least; returns
    /// the datagram's length and where to send it, `None` likewise.
    pub fn send_into(
        &mut self,
        now: Instant,
        transmit: &Transmit,
        payload: &[u8],
        room: &mut [u8],
    ) -> Option<(usize, SocketAddr)> {
        let target = Target::of(transmit);
        let Some(index) = self.upheld_session_for(now, transmit) else {
            self.hold_and_dial(now, target, transmit.address, payload);
            return None;
        };
        self.use_session(now, index);
        let Some(Entry::Open(session)) = self.slots.get_mut(index) else {
            unreachable!("the index of members and paths names a session");
        };
        let Ok(sealed) = session.seal_into(payload, room) else {
            self.close(index);
            self.hold_and_dial(now, target, transmit.address, payload);
            return None;
        };
        let (path, peer) = (session.path, session.peer);
        let moved = session.may_have_moved(now, transmit.address);
        if lifecycle::has_ping(payload) {
            // Only a ping is owed an answer.
            session.asks(now);
        }
        let deaf = session.is_deaf(now);
        if let Some(warm) = session.warm_mut().filter(|_| deaf) {
            warm.redialled = Some(now);
            // A look elsewhere that was lost is worth another one.
            warm.tried = None;
        }
        let (doubted, due) = (session.doubted || deaf, session.channel.wants_successor());
        self.stats.sealed += 1;
        self.stats.bytes_out += sealed as u64;
        if moved {
            self.look_elsewhere(now, index, transmit.address);
        } else if doubted {
            self.dial(now, Target::Member(peer), path);
        }
        if doubted || moved {
            // The copy on the old session costs little if there was no cause for doubt.
            if self.targets.is_dialling(Target::Member(peer)) {
                self.targets.hold(Target::Member(peer), payload);
            }
        } else if due {
            self.dial(now, Target::Member(peer), path);
        }
        Some((sealed, path))
    }

    /// Dials the peer of a silent session at another address. Where a handshake is under way, which
    /// leads elsewhere perhaps, or must wait, the address has not been tried (rule S-10).
    fn look_elsewhere(&mut self, now: Instant, index: u32, path: SocketAddr) {
        let Some(Entry::Open(session)) = self.slots.get(index) else { return };
        let target = Target::Member(session.peer);
        let begins = !self.targets.is_dialling(target) && self.dial(now, target, path);
        if let Some(Entry::Open(session)) = self.slots.get_mut(index).filter(|_| begins)
            && let Some(warm) = session.warm_mut()
        {
            warm.tried = Some(path);
        }
    }

    fn upheld_session_for(&mut self, now: Instant, transmit: &Transmit) -> Option<u32> {
        loop {
            let index = self.session_for(now, transmit)?;
            // One that fell is gone; another may stand.
            if self.upheld(now, index) {
                return Some(index);
            }
        }
    }

    fn session_for(&self, now: Instant, transmit: &Transmit) -> Option<u32> {
        match transmit.to {
            Destination::Member(id) => self.members.get(&id)?.first().copied(),
            Destination::Seed => {
                let index = *self.paths.get(&transmit.address)?;
                let Some(Entry::Open(session)) = self.slots.get(index) else { return None };
                (now.since(session.heard) < SEED_IS_FRESH).then_some(index)
            }
        }
    }

    fn hold_and_dial(&mut self, now: Instant, target: Target, path: SocketAddr, payload: &[u8]) {
        self.stats.unsent += self.targets.hold(target, payload);
        if !self.targets.is_dialling(target) && !self.dial(now, target, path) {
            self.stats.unsent += self.targets.take(target).len() as u64;
        }
    }

    /// A datagram that begins like this is received before long: what that needs is fetched.
    pub fn foresee(&self, front: &[u8]) {
        if let [DATA, _, _, _, a, b, c, d, ..] = *front
            && let Some(Entry::Open(session)) = self.slots.get(u32::from_le_bytes([a, b, c, d]))
        {
            session.foresee();
        }
    }

    /// Takes a datagram, in place; a payload comes back when it carried one.
    pub fn receive<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Option<Delivery<'a>> {
        self.stats.bytes_in += datagram.len() as u64;
        match datagram.first() {
            Some(&DATA) => self.receive_data(now, from, datagram),
            Some(&INIT) => self.receive_init(now, from, datagram),
            Some(&RESP) => {
                self.receive_resp(now, from, datagram);
                None
            }
            Some(&RETRY) => {
                self.receive_retry(now, from, datagram);
                None
            }
            Some(&RESET_HINT) => {
                self.receive_hint(now, from, datagram);
                None
            }
            Some(_) => self.drop_datagram("unknown-kind"),
            None => self.drop_datagram("truncated"),
        }
    }

    fn receive_data<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Option<Delivery<'a>> {
        let size = datagram.len();
        let (header, body) = match DataHeader::split(datagram) {
            Ok(parts) => parts,
            Err(error) => return self.drop_datagram(decode_reason(error)),
        };
        let index = header.receiver.get();
        match self.slots.get(index) {
            Some(Entry::Open(_)) => self.open(now, from, index, &header, body),
            Some(Entry::Dialing(_) | Entry::Answering(_)) => self.drop_datagram("early"),
            None => {
                self.strays.note(header.packet_number.get());
                if size >= HINT_ANSWERS && self.hints_out.take(now) {
                    self.push(from, ResetHint::answering(&header).as_bytes().to_vec());
                }
                self.drop_datagram("unknown-session")
            }
        }
    }

    /// Opens a sealed datagram on the session `index`; the first one confirms the session.
    fn open<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        index: u32,
        header: &DataHeader,
        body: &'a mut [u8],
    ) -> Option<Delivery<'a>> {
        if !self.upheld(now, index) {
            return self.drop_datagram("untrusted");
        }
        let Some(Entry::Open(session)) = self.slots.get_mut(index) else { return None };
        let rests = session.warm().is_none();
        let payload = match session.open(header, body) {
            Ok(payload) => payload,
            Err(OpenError::Replayed) => return self.drop_datagram("replayed"),
            Err(OpenError::Forged) => {
                let peer = session.peer;
                self.refusals.note(now, peer);
                return self.drop_datagram("forged");
            }
        };
        // A CONFIRM answers no ping.
        let about_itself = is_confirmation(payload);
        session.hear(now, !about_itself);
        let (peer, path) = (session.peer, session.path);
        let unconfirmed = session.confirmed().is_none();
        if !about_itself {
            self.use_session(now, index);
        } else if rests && let Some(Entry::Open(session)) = self.slots.get_mut(index) {
            // No use of it either: it goes on resting.
            session.dehydrate();
        }
        self.stats.opened += 1;
        if unconfirmed {
            self.confirm(now, index);
        } else if about_itself {
            self.follow(now, peer, index);
        } else {
            self.prefer_if_better_heard(now, peer, index);
        }
        if from != path {
            // Rule S-10: another source is not sent to; it may only earn a handshake.
            self.dial(now, Target::Member(peer), from);
        }
        (!about_itself).then_some(Delivery { from: peer, path, payload })
    }

    fn receive_hint(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let hint = match ResetHint::read(datagram) {
            Ok(hint) => hint,
            Err(error) => return self.count_drop(decode_reason(error)),
        };
        let (index, number) = (hint.receiver.get(), hint.packet_number.get());
        let newest = self.paths.get(&from).and_then(|own| self.slots.get(*own));
        let Some(Entry::Open(newest)) = newest else { return self.count_drop("hint") };
        let peer = newest.peer;
        for own in self.sessions_at(peer, from) {
            let Some(Entry::Open(session)) = self.slots.get_mut(own) else { continue };
            if session.channel.sent_recently(index, number) {
                // It ends nothing: until a new handshake has succeeded the session stays in use.
                session.doubted = true;
                self.dial(now, Target::Member(peer), from);
                return;
            }
        }
        self.count_drop("hint");
    }

    /// The next handshake datagram to send.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.outbox.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// When to call [`Links::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = Instant::earliest(self.timers.next().map(|(at, _)| at), self.cools());
        Instant::earliest(timers, self.rekeying.due())
    }

    /// Counters and gauges.
    pub fn stats(&self) -> LinkStats {
        let sessions = self.members.values().map(|sessions| sessions.len() as u64).sum();
        let outdated = self.outdated().count() as u64;
        let answering_us = self.admission.spent().as_micros() as u64;
        let (hot, dehydrated) = (self.warmth.hot() as u64, self.warmth.dehydrated() as u64);
        let kept = self.warmth.kept() as u64;
        let half_open = self.half_open;
        LinkStats {
            sessions,
            hot,
            kept,
            dehydrated,
            outdated,
            half_open,
            answering_us,
            ..self.stats.clone()
        }
    }

    /// Sealed datagrams of no session, for whoever asks whether they came (rule S-19).
    pub(crate) fn strays(&self) -> Arc<Strays> {
        Arc::clone(&self.strays)
    }

    /// Drops every session and handshake (rule S-4): their counters may run elsewhere too.
    pub(crate) fn drop_all(&mut self) {
        let indices: Vec<u32> = self.slots.iter().map(|(index, _)| index).collect();
        for index in indices {
            self.close(index);
        }
        self.outbox.clear();
    }

    // --- shared by the parts ---

    /// The confirmed sessions with `peer` over `path`, the best first; a handful at most.
    fn sessions_at(&self, peer: MemberId, path: SocketAddr) -> Vec<u32> {
        let over_path = |index: &u32| match self.slots.get(*index) {
            Some(Entry::Open(session)) => session.path == path,
            Some(Entry::Dialing(_) | Entry::Answering(_)) | None => false,
        };
        let sessions = self.members.get(&peer).cloned().unwrap_or_default();
        sessions.iter().copied().filter(over_path).collect()
    }

    fn push(&mut self, to: SocketAddr, datagram: Vec<u8>) {
        self.stats.bytes_out += datagram.len() as u64;
        self.stats.handshake_bytes_out += datagram.len() as u64;
        self.stats.handshake_datagrams_out += 1;
        self.outbox.push_back((to, datagram));
    }

    /// A datagram of a handshake was dropped unread: too many waited.
    pub(crate) fn count_turned_away(&mut self) {
        self.count_drop("crowded");
    }

    fn count_drop(&mut self, reason: &'static str) {
        *self.stats.dropped.entry(reason).or_default() += 1;
    }

    fn drop_datagram<T>(&mut self, reason: &'static str) -> Option<T> {
        self.count_drop(reason);
        None
    }

    fn fail(&mut self, path: SocketAddr, failure: Failure) {
        let reason = failure.reason();
        *self.stats.handshake_failures.entry(reason).or_default() += 1;
        self.events.push_back(LinkEvent::Failed { path, reason });
    }

    fn expectation(target: Target) -> Expect {
        match target {
            Target::Member(id) => Expect::Member(id),
            Target::Address(_) => Expect::Anyone,
        }
    }
}

fn is_confirmation(payload: &[u8]) -> bool {
    payload == lifecycle::CONFIRMATION
}

fn decode_reason(error: mesh_gossip_proto::DecodeError) -> &'static str {
    use mesh_gossip_proto::DecodeError;
    match error {
        DecodeError::Truncated => "truncated",
        DecodeError::Reserved => "reserved",
        DecodeError::Version => "version",
        DecodeError::Field(_) => "unknown-kind",
        DecodeError::Oversized(_) => "oversized",
    }
}
