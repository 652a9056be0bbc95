//! Sessions and handshakes of one node, as far as they cost time and bytes.
//!
//! A session is knowledge at both ends that a handshake took place in their present lives. The
//! schedule is the engine's (`engine/src/link`, rules S-5, S-6 and S-18); what a handshake computes
//! is left out.
//!
//! Invariants: at most one handshake a target is under way; at most [`PENDING`] payloads wait for
//! it, the oldest go first.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use mesh_gossip_proto::{Duration, Instant};

use crate::hash::IndexHasher;
use crate::pool::Buffer;

// Bytes of UDP payload, as the engine's own links send them between two nodes of one CA with
// P-256 certificates and no intermediate. Measured and held to it by
// `cargo test -p hyperscale-tests --test handshake_cost -- --nocapture`.

/// Each datagram of a client is padded to this size (rule S-6).
pub(crate) const INIT_BYTES: u64 = 1_200;
/// A server's flight: certificate chain and Finished.
pub(crate) const RESP_BYTES: [u64; 2] = [1_200, 202];
/// Datagrams of a client's last flight, with its certificate.
pub(crate) const LAST_DATAGRAMS: usize = 2;
/// A server's acknowledgement of a part, and its sealed confirmation.
pub(crate) const CONFIRM_BYTES: [u64; 2] = [64, 35];
/// A hint that a session is unknown.
pub(crate) const HINT_BYTES: u64 = 16;
/// TCP and TLS set-up of a stream, both ways together.
pub(crate) const STREAM_SETUP_BYTES: u64 = 4_500;

/// First wait for an answer.
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(300);
/// After a part of the server's flight the rest is asked for soon.
pub(crate) const PART_WAIT: Duration = Duration::from_millis(40);
/// First wait for the confirmation.
pub(crate) const CONFIRM_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between two flights.
pub(crate) const MOST_WAIT: Duration = Duration::from_secs(1);
/// Datagrams sent to a path that nobody has verified (rule S-10).
const MOST_INITS: u32 = 3;
/// An unanswered dial ends.
const PATIENCE: Duration = Duration::from_secs(2);
/// One that makes progress may last longer.
const MOST_PATIENCE: Duration = Duration::from_secs(3);
/// Payloads that wait for a handshake with a member; for one with a seed the newest alone.
pub(crate) const PENDING: usize = 8;
/// Handshakes to one target: so many at once, then one each refill.
const BURST: u32 = 3;
const REFILL: Duration = Duration::from_secs(10);
/// Failed handshakes are forgiven at most so often.
const FORGIVES_EVERY: Duration = Duration::from_secs(60);
/// A session over which nothing passes for so long ends.
const IDLE: Duration = Duration::from_secs(600);
/// A seed's session counts as alive so long after its last datagram.
const SEED_IS_FRESH: Duration = Duration::from_millis(2_500);
/// Targets at rest are forgotten when there are so many.
const REMEMBERED: usize = 64;

/// Whom a handshake is meant to reach: a member, or whoever answers at a seed's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) node: u32,
    pub(crate) seed: bool,
}

/// One end's knowledge of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    /// The peer's life that it was made with.
    pub(crate) life: u32,
    /// Last use and last datagram heard, milliseconds.
    used_ms: u32,
    heard_ms: u32,
    /// The peer says that it does not know it.
    pub(crate) doubted: bool,
    /// It is to be replaced, because certificates changed.
    pub(crate) due: bool,
}

/// How far a handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The server's flight is awaited; which of its datagrams have come.
    Hello { parts: u8 },
    /// The last flight is repeated until the server confirms; which datagrams it has.
    Finishing { parts: u8 },
}

/// A handshake under way, at its client.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) serial: u32,
    pub(crate) begun: Instant,
    /// The server's life, once it has answered.
    pub(crate) life: Option<u32>,
    pub(crate) phase: Phase,
    pub(crate) sent: u32,
    pub(crate) wait: Duration,
    /// When it acts next, unless something comes before.
    pub(crate) next: Instant,
    pub(crate) progressed: bool,
    pub(crate) pending: Vec<Buffer>,
}

/// What a dial does when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Sends what its phase sends.
    Send,
    /// Waits for its end.
    Wait,
    /// Is given up.
    End,
}

impl Dial {
    fn begin(now: Instant, serial: u32) -> Self {
        Self {
            serial,
            begun: now,
            life: None,
            phase: Phase::Hello { parts: 0 },
            sent: 0,
            wait: FIRST_WAIT,
            next: now,
            progressed: false,
            pending: Vec::new(),
        }
    }

    fn deadline(&self) -> Instant {
        self.begun + if self.progressed { MOST_PATIENCE } else { PATIENCE }
    }

    /// What is to be done now; sets when to look again.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if now >= self.deadline() {
            return Due::End;
        }
        if self.sent >= MOST_INITS && !self.progressed {
            self.next = self.deadline();
            return Due::Wait;
        }
        self.sent += 1;
        self.next = (now + self.wait).min(self.deadline());
        self.wait = (self.wait * 2).min(MOST_WAIT);
        Due::Send
    }
}

#[derive(Debug)]
struct Outlook {
    /// When the bucket of handshakes will be full again.
    full_at: Instant,
    dial: Option<Box<Dial>>,
}

/// Sessions and handshakes of one node.
#[derive(Debug, Default)]
pub(crate) struct Links {
    sessions: HashMap<u32, Session, BuildHasherDefault<IndexHasher>>,
    outlooks: BTreeMap<Target, Outlook>,
    /// When failed handshakes were forgiven last.
    forgiven: Option<Instant>,
}

fn ms(at: Instant) -> u32 {
    (at.as_nanos() / 1_000_000) as u32
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        ms(now).saturating_sub(self.used_ms) >= IDLE.as_millis() as u32
    }
}

impl Links {
    /// The session to send to `peer` on; marks it used.
    pub(crate) fn sending(&mut self, now: Instant, peer: u32) -> Option<Session> {
        let session = self.sessions.get_mut(&peer)?;
        if session.is_over(now) {
            self.sessions.remove(&peer);
            return None;
        }
        session.used_ms = ms(now);
        Some(*session)
    }

    /// A datagram of `peer` came.
    pub(crate) fn heard(&mut self, now: Instant, peer: u32) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            (session.used_ms, session.heard_ms) = (ms(now), ms(now));
        }
    }

    /// Whether the session with a seed was heard from lately.
    pub(crate) fn is_fresh(&self, now: Instant, peer: u32) -> bool {
        let fresh = SEED_IS_FRESH.as_millis() as u32;
        self.sessions
            .get(&peer)
            .is_some_and(|session| ms(now).saturating_sub(session.heard_ms) < fresh)
    }

    /// A handshake with `peer` in its life `life` is complete.
    pub(crate) fn establish(&mut self, now: Instant, peer: u32, life: u32) {
        let (used_ms, heard_ms) = (ms(now), ms(now));
        self.sessions.insert(peer, Session { life, used_ms, heard_ms, doubted: false, due: false });
    }

    /// The session with `peer` is doubted; says whether it was not before.
    pub(crate) fn doubt(&mut self, peer: u32) -> bool {
        let Some(session) = self.sessions.get_mut(&peer) else { return false };
        !std::mem::replace(&mut session.doubted, true)
    }

    /// Every session is to be replaced; returns how many there are.
    pub(crate) fn all_due(&mut self) -> u64 {
        for session in self.sessions.values_mut() {
            session.due = true;
        }
        self.sessions.len() as u64
    }

    /// Sessions that have not ended.
    pub(crate) fn live(&self, now: Instant) -> usize {
        self.sessions.values().filter(|session| !session.is_over(now)).count()
    }

    /// Begins a handshake if none is under way and the pace allows it (rule S-18).
    pub(crate) fn dial(&mut self, now: Instant, target: Target, serial: u32) -> bool {
        if self.outlooks.len() >= REMEMBERED {
            self.outlooks.retain(|_, outlook| outlook.dial.is_some() || outlook.full_at > now);
        }
        let outlook =
            self.outlooks.entry(target).or_insert(Outlook { full_at: Instant::ORIGIN, dial: None });
        let base = outlook.full_at.max(now);
        if outlook.dial.is_some() || base.since(now) + REFILL > REFILL * BURST {
            return false;
        }
        outlook.full_at = base + REFILL;
        outlook.dial = Some(Box::new(Dial::begin(now, serial)));
        true
    }

    /// We were cut off: whatever failed meanwhile may be tried again, once a minute (rule S-18).
    pub(crate) fn forgive(&mut self, now: Instant) {
        if self.forgiven.is_some_and(|at| now.since(at) < FORGIVES_EVERY) {
            return;
        }
        self.forgiven = Some(now);
        for outlook in self.outlooks.values_mut() {
            outlook.full_at = now;
        }
    }

    /// The handshake under way with `target`.
    pub(crate) fn dialling(&mut self, target: Target) -> Option<&mut Dial> {
        self.outlooks.get_mut(&target)?.dial.as_deref_mut()
    }

    /// The handshake with this serial number, if it is still under way.
    pub(crate) fn dial_of(&mut self, target: Target, serial: u32) -> Option<&mut Dial> {
        self.dialling(target).filter(|dial| dial.serial == serial)
    }

    /// The handshake with `target` ends.
    pub(crate) fn end_dial(&mut self, target: Target) -> Option<Box<Dial>> {
        self.outlooks.get_mut(&target)?.dial.take()
    }

    /// Everything that waits for a handshake, for a node that ends.
    pub(crate) fn take_pending(&mut self) -> Vec<Buffer> {
        let dials = self.outlooks.values_mut().filter_map(|outlook| outlook.dial.take());
        dials.flat_map(|dial| dial.pending).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    /// Rule S-18: one handshake a target, three in a burst, then one in ten seconds.
    #[test]
    fn handshakes_with_one_target_are_paced() {
        let mut links = Links::default();
        let target = Target { node: 7, seed: false };
        for serial in 0..3 {
            assert!(links.dial(at(100), target, serial));
            assert!(!links.dial(at(100), target, 9), "one is under way");
            assert!(links.end_dial(target).is_some());
        }
        assert!(!links.dial(at(109), target, 3));
        assert!(links.dial(at(110), target, 4));
        assert!(links.dial(at(110), Target { node: 7, seed: true }, 5), "a seed is another target");
    }

    /// Rule S-10: three datagrams to an unverified path, then silence until two seconds are over.
    #[test]
    fn an_unanswered_dial_sends_three_times_and_ends() {
        let mut dial = Dial::begin(at(1), 1);
        let mut sent = Vec::new();
        let mut now = at(1);
        loop {
            match dial.due(now) {
                Due::Send => sent.push(now.since(at(1)).as_millis()),
                Due::Wait => {}
                Due::End => break,
            }
            now = dial.next;
        }
        assert_eq!((sent, now), (vec![0, 300, 900], at(3)));
    }

    #[test]
    fn an_idle_session_ends_after_ten_minutes() {
        let mut links = Links::default();
        links.establish(at(0), 3, 1);
        assert!(links.sending(at(599), 3).is_some());
        assert_eq!((links.live(at(1_198)), links.live(at(1_199))), (1, 0));
        assert!(links.sending(at(1_199), 3).is_none());
    }
}
