//! Sessions and handshakes of one node, as far as they cost time and bytes.
//!
//! A session is knowledge at both ends that a handshake took place in their present lives. The
//! schedule is the engine's (`engine/src/link`, rules S-5, S-6 and S-18); what a handshake computes
//! is left out.
//!
//! A session is superseded and retires as the engine's do (rules S-15 and S-18): two ends may see
//! two orders, an old session receives for a while, and before it retires its end says three times
//! which one it sends on.
//!
//! Invariants: at most one handshake a target is under way; at most [`PENDING`] payloads wait for
//! it, the oldest go first.

use std::collections::{BTreeMap, BTreeSet};

use mesh_gossip_proto::near::Near;
use mesh_gossip_proto::{Duration, Instant};

use crate::pool::Buffer;
use kept::{Kept, session_of};

pub(crate) use dial::{Dial, Due, Parts, Phase};

mod dial;
mod kept;

// Bytes of UDP payload, as the engine's own links send them between two nodes of one CA with
// P-256 certificates and no intermediate. Held to it by tests/handshake_cost.rs on sockets, and by
// tests/links_under_loss.rs at every loss.

/// Each datagram of a client is padded to this size (rule S-6).
pub(crate) const INIT_BYTES: u64 = 1_200;
/// A server's flight: certificate chain and Finished.
pub(crate) const RESP_BYTES: [u64; 2] = [1_200, 202];
/// A server's acknowledgement of a part.
pub(crate) const ACK_BYTES: u64 = 64;
/// A hint that a session is unknown.
pub(crate) const HINT_BYTES: u64 = 16;
/// TCP and TLS set-up of a stream, both ways together.
pub(crate) const STREAM_SETUP_BYTES: u64 = 4_500;

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
/// How often the end of an old session is announced, and the pause after each time.
const TOLD: u8 = 3;
const TOLD_AGAIN: Duration = Duration::from_secs(1);
/// Handshakes begun in one step after a change of certificate, and the pause to the next step: 200
/// a second.
pub(crate) const AT_ONCE: usize = 4;
pub(crate) const STEP: Duration = Duration::from_millis(20);
/// When those that are left are looked for; it doubles each time.
pub(crate) const FIRST_REST: Duration = Duration::from_secs(15);
pub(crate) const LONGEST_REST: Duration = Duration::from_secs(240);
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
    /// What it is called by at both ends; 0 where it was not written down when it was made.
    pub(crate) serial: u32,
    /// Which certificates were shown: by us, by the peer.
    pub(crate) edition: u32,
    pub(crate) peer_edition: u32,
    /// When its handshake began and was confirmed, as this end saw it, milliseconds.
    begun_ms: u32,
    confirmed_ms: u32,
    /// Whether the end with the lower id began it.
    by_lower: bool,
    /// When this end last said that it sends on it, because another one was about to retire.
    said_ms: u32,
    /// Superseded, it is looked at no sooner: each further session postpones all old ones.
    retires_ms: u32,
}

/// What a handshake made, as one end sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// The peer's life.
    pub(crate) life: u32,
    pub(crate) serial: u32,
    pub(crate) edition: u32,
    pub(crate) peer_edition: u32,
    pub(crate) begun: Instant,
    pub(crate) by_lower: bool,
}

impl Made {
    /// A session from before the world began.
    pub(crate) fn earlier(life: u32) -> Self {
        let (serial, edition, peer_edition, by_lower) = (0, 0, 0, true);
        Self { life, serial, edition, peer_edition, begun: Instant::ORIGIN, by_lower }
    }
}

/// Where a new session took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is the only one.
    Alone,
    /// It is sent on; the one before, of this serial number, retires.
    Above { retires: u32 },
    /// It retires; another one is sent on.
    Below,
}

/// What becomes of an old session whose time may have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retirement {
    /// Another session came meanwhile: it is looked at after so long.
    Postponed { after: Duration },
    /// Something came on it: it is looked at again after so long, and its end announced anew.
    Later { after: Duration },
    /// Its end is announced; it is looked at again after so long.
    Told { after: Duration },
    /// It is over.
    Over,
}

/// How far a change of certificate has come (rule S-15).
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Whose session is next.
    pub(crate) waiting: std::collections::VecDeque<u32>,
    /// How long the next rest is.
    pub(crate) rest: Duration,
}

#[derive(Debug)]
struct Outlook {
    /// When the bucket of handshakes will be full again.
    full_at: Instant,
    dial: Option<Box<Dial>>,
}

/// Sessions and handshakes of one node.
///
/// The fields stand in memory as they stand here: what every datagram needs first.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Links {
    sessions: Near<Kept>,
    /// Superseded sessions that still receive.
    old: BTreeMap<u32, Vec<Session>>,
    /// Whether a session ever ended here that its peer may still send on.
    strict: bool,
    /// The certificate that handshakes show.
    pub(crate) edition: u32,
    /// Sessions that await a successor.
    pub(crate) walk: Walk,
    /// Handshakes under way.
    dials: u32,
    /// Whose sessions fell, and who has made none since.
    fallen: BTreeSet<u32>,
    /// Handshakes that were given up although the server has a session of them.
    given_up: BTreeSet<u32>,
    outlooks: BTreeMap<Target, Outlook>,
    /// When failed handshakes were forgiven last.
    forgiven: Option<Instant>,
}

fn ms(at: Instant) -> u32 {
    (at.as_nanos() / 1_000_000) as u32
}

impl Session {
    /// Whether it is sent on rather than `other` (rule S-18): a later handshake supersedes an earlier
    /// one; of two that ran at once, the one whose initiator has the lower id.
    fn supersedes(&self, other: &Self) -> bool {
        self.begun_ms > other.confirmed_ms || self.by_lower || !other.by_lower
    }

    fn is_over(&self, now: Instant) -> bool {
        ms(now).saturating_sub(self.used_ms) >= IDLE.as_millis() as u32
    }
}

impl Links {
    /// Of a node that begins with this certificate.
    pub(crate) fn showing(edition: u32) -> Self {
        Self { edition, ..Self::default() }
    }

    /// The session to send to `peer` on; marks it used.
    pub(crate) fn sending(&mut self, now: Instant, peer: u32) -> Option<Session> {
        let session = session_of(&mut self.sessions, peer)?;
        if session.is_over(now) {
            self.sessions.remove(peer);
            return None;
        }
        session.used_ms = ms(now);
        Some(*session)
    }

    /// Where the session with `peer` is kept.
    pub(crate) fn place(&self, peer: u32) -> *const u8 {
        self.sessions.place(peer)
    }

    /// A datagram of `peer` came.
    pub(crate) fn heard(&mut self, now: Instant, peer: u32) {
        if let Some(session) = session_of(&mut self.sessions, peer) {
            (session.used_ms, session.heard_ms) = (ms(now), ms(now));
        }
    }

    /// Whether a datagram of `peer` on this session is opened here.
    pub(crate) fn opens(&mut self, now: Instant, peer: u32, serial: u32) -> bool {
        if let Some(old) = self.old.get_mut(&peer)
            && let Some(session) = old.iter_mut().find(|session| session.serial == serial)
        {
            session.heard_ms = ms(now);
            return true;
        }
        if !self.strict {
            return true;
        }
        if self.given_up.contains(&serial) {
            return false;
        }
        if self.fallen.contains(&peer) {
            return false;
        }
        // Where nothing stands a session was idle or never written down.
        self.best(peer).is_none_or(|session| session.serial == serial)
    }

    /// Whether the session with a seed was heard from lately.
    pub(crate) fn is_fresh(&self, now: Instant, peer: u32) -> bool {
        let fresh = SEED_IS_FRESH.as_millis() as u32;
        self.best(peer).is_some_and(|session| ms(now).saturating_sub(session.heard_ms) < fresh)
    }

    /// A handshake with `peer` is complete: its session takes its place (rule S-18).
    pub(crate) fn establish(&mut self, now: Instant, peer: u32, made: Made) -> Place {
        let Made { life, serial, edition, peer_edition, begun, by_lower } = made;
        let (used_ms, heard_ms, confirmed_ms) = (ms(now), ms(now), ms(now));
        let said_ms = self.best(peer).map_or(0, |before| before.said_ms);
        let (begun_ms, doubted) = (ms(begun), false);
        let session = Session {
            life,
            used_ms,
            heard_ms,
            doubted,
            serial,
            edition,
            peer_edition,
            begun_ms,
            confirmed_ms,
            by_lower,
            said_ms,
            retires_ms: 0,
        };
        self.fallen.remove(&peer);
        let before = self.best(peer);
        let stands = |before: &Session| before.life == life && !before.is_over(now);
        let Some(before) = before.filter(stands) else {
            // Whoever was here before in another life is gone.
            self.old.remove(&peer);
            self.sessions.insert(Kept(Some((peer, session))));
            return Place::Alone;
        };
        if before.serial == serial {
            return Place::Alone;
        }
        if session.supersedes(&before) {
            self.sessions.insert(Kept(Some((peer, session))));
            self.old.entry(peer).or_default().push(before);
            Place::Above { retires: before.serial }
        } else {
            self.old.entry(peer).or_default().push(session);
            Place::Below
        }
    }

    /// The peer says that it sends on this session; returns the one that it takes the place of.
    pub(crate) fn promote(&mut self, peer: u32, serial: u32) -> Option<u32> {
        let old = self.old.get_mut(&peer)?;
        let at = old.iter().position(|session| session.serial == serial)?;
        let best = session_of(&mut self.sessions, peer)?;
        std::mem::swap(best, &mut old[at]);
        best.said_ms = old[at].said_ms;
        Some(old[at].serial)
    }

    /// The session that `peer` is sent on.
    pub(crate) fn best(&self, peer: u32) -> Option<Session> {
        self.sessions.get(peer)?.0.map(|(_, session)| session)
    }

    /// Whether and when the old session `serial` retires; it was announced `told` times.
    pub(crate) fn retire(
        &mut self,
        now: Instant,
        peer: u32,
        serial: u32,
        told: u8,
        linger: Duration,
    ) -> Retirement {
        let Some(old) = self.old.get_mut(&peer) else { return Retirement::Over };
        let Some(at) = old.iter().position(|session| session.serial == serial) else {
            return Retirement::Over;
        };
        let early = old[at].retires_ms.saturating_sub(ms(now));
        if early > 0 {
            return Retirement::Postponed { after: Duration::from_millis(early.into()) };
        }
        let silent = ms(now).saturating_sub(old[at].heard_ms.max(old[at].confirmed_ms));
        let silent = Duration::from_millis(silent.into());
        if silent < linger {
            return Retirement::Later { after: linger - silent };
        }
        if told < TOLD {
            return Retirement::Told { after: TOLD_AGAIN };
        }
        old.swap_remove(at);
        if old.is_empty() {
            self.old.remove(&peer);
        }
        self.strict = true;
        Retirement::Over
    }

    /// A further session with `peer` stands: the old ones retire together.
    pub(crate) fn postpone(&mut self, now: Instant, peer: u32, linger: Duration) {
        for session in self.old.get_mut(&peer).into_iter().flatten() {
            session.retires_ms = ms(now + linger);
        }
    }

    /// Which session to announce to `peer` as the one that is sent on, unless that was said just
    /// before.
    pub(crate) fn announce(&mut self, now: Instant, peer: u32) -> Option<u32> {
        let best = session_of(&mut self.sessions, peer)?;
        if best.said_ms != 0 && ms(now) - best.said_ms < TOLD_AGAIN.as_millis() as u32 {
            return None;
        }
        best.said_ms = ms(now);
        Some(best.serial)
    }

    /// Whoever is sent on a session under an earlier certificate of ours.
    pub(crate) fn outdated(&self, now: Instant) -> Vec<u32> {
        let outdated = |session: &Session| session.edition != self.edition && !session.is_over(now);
        let held = self.sessions.iter().filter_map(|kept| kept.0);
        let peers = held.filter(|(_, session)| outdated(session));
        let mut peers: Vec<u32> = peers.map(|(peer, _)| peer).collect();
        peers.sort_unstable();
        peers
    }

    /// Ends every session that `upheld` does not hold to (rule S-16); returns how many.
    pub(crate) fn fell(&mut self, upheld: impl Fn(u32, &Session) -> bool) -> u64 {
        let before = self.sessions.len();
        self.sessions.retain(|kept| {
            let Some((peer, session)) = kept.0 else { return false };
            let stays = upheld(peer, &session);
            if !stays {
                self.fallen.insert(peer);
                self.strict = true;
            }
            stays
        });
        self.old.retain(|peer, old| {
            old.retain(|session| upheld(*peer, session));
            !old.is_empty()
        });
        (before - self.sessions.len()) as u64
    }

    /// Whether there is a session with `peer` that has not ended.
    pub(crate) fn stands(&self, now: Instant, peer: u32) -> bool {
        self.best(peer).is_some_and(|session| !session.is_over(now))
    }

    /// The session with `peer` is doubted; says whether it was not before.
    pub(crate) fn doubt(&mut self, peer: u32) -> bool {
        let Some(session) = session_of(&mut self.sessions, peer) else { return false };
        !std::mem::replace(&mut session.doubted, true)
    }

    /// Sessions that have not ended.
    pub(crate) fn live(&self, now: Instant) -> usize {
        let held = self.sessions.iter().filter_map(|kept| kept.0);
        held.filter(|(_, session)| !session.is_over(now)).count()
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
        self.dials += 1;
        outlook.dial = Some(Box::new(Dial::begin(now, serial, self.edition)));
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

    /// Whom the handshake with `peer` of this serial number is meant to reach, if only its
    /// confirmation is awaited.
    pub(crate) fn finishing(&self, peer: u32, serial: u32) -> Option<Target> {
        if self.dials == 0 {
            return None;
        }
        [false, true].map(|seed| Target { node: peer, seed }).into_iter().find(|target| {
            let dial = self.outlooks.get(target).and_then(|outlook| outlook.dial.as_deref());
            dial.is_some_and(|dial| {
                dial.serial == serial && matches!(dial.phase, Phase::Finishing { .. })
            })
        })
    }

    /// The handshake with `target` ends.
    pub(crate) fn end_dial(&mut self, target: Target) -> Option<Box<Dial>> {
        let dial = self.outlooks.get_mut(&target)?.dial.take()?;
        self.dials -= 1;
        Some(dial)
    }

    /// The handshake with `target` comes to nothing.
    pub(crate) fn give_up(&mut self, target: Target) -> Option<Box<Dial>> {
        let dial = self.end_dial(target)?;
        if dial.server.confirmed {
            self.given_up.insert(dial.serial);
            self.strict = true;
        }
        Some(dial)
    }

    /// Everything that waits for a handshake, for a node that ends.
    pub(crate) fn take_pending(&mut self) -> Vec<Buffer> {
        self.dials = 0;
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

    #[test]
    fn an_idle_session_ends_after_ten_minutes() {
        let mut links = Links::default();
        links.establish(at(0), 3, Made::earlier(1));
        assert!(links.sending(at(599), 3).is_some());
        assert_eq!((links.live(at(1_198)), links.live(at(1_199))), (1, 0));
        assert!(links.sending(at(1_199), 3).is_none());
    }
}
