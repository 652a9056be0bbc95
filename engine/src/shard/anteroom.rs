//! Where datagrams of handshakes wait until sealed ones have been read (rule S-7).
//!
//! A step of a handshake costs some fifty times what a sealed datagram costs. If those who have a
//! session waited behind those who want one, a crowd at the door would make acks late, and late acks
//! make doubts, looks and further handshakes: a shard that was busy for a moment would stay so.
//! Sealed datagrams are therefore read as they come, and after them those that wait here, for a
//! moment each time.
//!
//! What is under way is finished before more is begun, and a beginning that was not repeated for long
//! is not read: a shard that has a tenth of the time that it needs would otherwise spend all of it on
//! handshakes whose clients have given up, and finish none.
//!
//! Invariants: no more than [`PLACES`] wait, of newcomers no more than [`OF_NEWCOMERS`] and of others
//! no more than [`OF_UNDER_WAY`]; a beginning that is repeated waits once; among either kind who came first goes first, and of
//! [`ONE_IN`] that are worth reading one is a newcomer while some wait. Whoever finds no place comes
//! again by itself: handshakes are repeated.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use mesh_gossip_proto::wire::header::{FLAG_PROOF, HandshakeHeader, INIT, RESP, RETRY};
use mesh_gossip_proto::{Duration, Instant};

use crate::io::SocketId;

/// Datagrams that wait: a second's work, half of what a client has patience for.
const PLACES: usize = 4_096;
/// The rest is for handshakes that are under way: what was begun is finished first. They have as many
/// at most: whoever pretends to be under way leaves the rest to newcomers.
const OF_NEWCOMERS: usize = 3_072;
const OF_UNDER_WAY: usize = 3_072;
/// So long they have between two looks at what has come: some steps of handshakes, or hundreds of
/// those that are only asked for a cookie.
pub(super) const A_TURN: Duration = Duration::from_millis(1);
/// Who begins a handshake repeats itself after 300 ms and after 900 ms, and gives up after 2 s. What
/// was not repeated for longer than the longer of the two gaps is left.
const STALE: Duration = Duration::from_millis(700);
/// However many handshakes are under way, or pretend to be, one of so many that are read is a newcomer.
const ONE_IN: u32 = 8;
/// Room that is kept while nobody waits.
const USUAL: usize = 64;
/// Where a handshake datagram says what it shows,
const FLAGS: usize = 2;
/// where it names the place that its receiver has let to it, 0 in the first,
const PLACE: std::ops::Range<usize> = 4..8;
/// and the attempt that it belongs to.
const ATTEMPT: std::ops::Range<usize> =
    size_of::<HandshakeHeader>() - 40..size_of::<HandshakeHeader>() - 32;
const _: () = assert!(
    ATTEMPT.start == std::mem::offset_of!(HandshakeHeader, attempt)
        && PLACE.start == std::mem::offset_of!(HandshakeHeader, receiver)
        && FLAGS == std::mem::offset_of!(HandshakeHeader, flags)
);

/// One that waits.
pub(super) struct Waiting {
    pub(super) socket: SocketId,
    pub(super) from: SocketAddr,
    pub(super) datagram: Vec<u8>,
    begins: Option<Beginning>,
}

/// One whose turn it is.
pub(super) enum Turn {
    /// It is read.
    Read(Waiting),
    /// It begins what its client has most likely given up.
    Stale(Waiting),
}

/// The attempt that a datagram would begin, and what kind of token it shows: one with a cookie does
/// not say the same as one without.
type Beginning = (SocketId, SocketAddr, [u8; 8], u8);

/// Those that wait.
#[derive(Default)]
pub(super) struct Anteroom {
    /// Handshakes that are under way, and successors of sessions: whoever proves one has a place.
    under_way: VecDeque<Waiting>,
    newcomers: VecDeque<Waiting>,
    /// When each attempt that would begin was said last.
    said: HashMap<Beginning, Instant>,
    /// Read since the last newcomer.
    passed: u32,
}

impl Anteroom {
    /// Whether a datagram has to wait here.
    pub(super) fn is_for(datagram: &[u8]) -> bool {
        matches!(datagram.first(), Some(&(INIT | RESP | RETRY)))
    }

    /// Sets a datagram aside; says whether it waits, or another one that says the same.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let begins = attempt_begun(datagram).map(|(attempt, shows)| (socket, from, attempt, shows));
        if let Some(said) = begins.and_then(|begins| self.said.get_mut(&begins)) {
            *said = now;
            return true;
        }
        let is_newcomer = begins.is_some() && !shows_a_proof(datagram);
        let is_full = self.under_way.len() + self.newcomers.len() >= PLACES;
        let (line, places) = if is_newcomer {
            (&mut self.newcomers, OF_NEWCOMERS)
        } else {
            (&mut self.under_way, OF_UNDER_WAY)
        };
        if is_full || line.len() >= places {
            return false;
        }
        self.said.extend(begins.map(|begins| (begins, now)));
        line.push_back(Waiting { socket, from, datagram: datagram.to_vec(), begins });
        true
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self, now: Instant) -> Option<Turn> {
        let of_newcomers =
            !self.newcomers.is_empty() && (self.passed + 1 >= ONE_IN || self.under_way.is_empty());
        let line = if of_newcomers { &mut self.newcomers } else { &mut self.under_way };
        let next = line.pop_front()?;
        let said = next.begins.and_then(|begins| self.said.remove(&begins));
        if self.is_empty() {
            // A crowd is rare; its room is not kept.
            self.under_way.shrink_to(USUAL);
            self.newcomers.shrink_to(USUAL);
            self.said.shrink_to(USUAL);
        }
        if said.is_some_and(|said| now.since(said) > STALE) {
            // It takes nobody's turn.
            return Some(Turn::Stale(next));
        }
        self.passed = if of_newcomers { 0 } else { (self.passed + 1).min(ONE_IN) };
        Some(Turn::Read(next))
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.newcomers.is_empty()
    }
}

/// The attempt that a datagram would begin at its receiver, and its flags. One that is too short to
/// say is read by nobody, and begins nothing.
fn attempt_begun(datagram: &[u8]) -> Option<([u8; 8], u8)> {
    let nowhere = datagram.get(PLACE)?.iter().all(|byte| *byte == 0);
    let begins = datagram.first() == Some(&INIT) && (nowhere || shows_a_proof(datagram));
    let attempt = datagram.get(ATTEMPT).filter(|_| begins)?.try_into().ok()?;
    Some((attempt, *datagram.get(FLAGS)?))
}

/// Whether it claims to succeed a session, which it names in the place of a handshake.
fn shows_a_proof(datagram: &[u8]) -> bool {
    datagram.get(FLAGS).is_some_and(|flags| flags & FLAG_PROOF != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_gossip_proto::wire::header::{DATA, FRAMING, RESET_HINT};
    use zerocopy::IntoBytes;

    fn init(receiver: u32, attempt: u64) -> Vec<u8> {
        let header = HandshakeHeader {
            kind: INIT,
            framing: FRAMING,
            flags: 0,
            reserved: 0,
            receiver: receiver.into(),
            sender: 7.into(),
            offset: 0.into(),
            ack: 0.into(),
            fragment: 0.into(),
            trailer: 0.into(),
            reserved_word: 0.into(),
            attempt: attempt.into(),
            token: [0; 32],
        };
        header.as_bytes().to_vec()
    }

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    fn admits(room: &mut Anteroom, datagram: &[u8]) -> bool {
        room.admit(at(0), SocketId(1), SocketAddr::from(([127, 0, 0, 1], 9)), datagram)
    }

    /// What is read from now on, in order.
    fn read(room: &mut Anteroom, now: Instant) -> Vec<Vec<u8>> {
        let turns = std::iter::from_fn(|| room.next(now));
        let read = turns.filter_map(|turn| match turn {
            Turn::Read(waiting) => Some(waiting.datagram),
            Turn::Stale(_) => None,
        });
        read.collect()
    }

    fn emptied(room: &mut Anteroom) -> usize {
        read(room, at(0)).len()
    }

    /// Rule S-7: what is sealed is read as it comes.
    #[test]
    fn handshakes_wait_and_sealed_datagrams_do_not() {
        assert!(Anteroom::is_for(&init(0, 1)));
        assert!([RESP, RETRY].iter().all(|kind| Anteroom::is_for(&[*kind])));
        assert!([DATA, RESET_HINT, 99].iter().all(|kind| !Anteroom::is_for(&[*kind, 0])));
        assert!(!Anteroom::is_for(&[]));
    }

    /// Rule S-7: a crowd leaves room for handshakes under way.
    #[test]
    fn a_crowd_of_newcomers_leaves_room_for_what_was_begun() {
        let mut room = Anteroom::default();
        let crowd = (0..9_000).filter(|attempt| admits(&mut room, &init(0, *attempt))).count();
        assert_eq!(crowd, OF_NEWCOMERS);
        let begun = (0..9_000).filter(|_| admits(&mut room, &init(5, 1))).count();
        assert_eq!(begun, PLACES - OF_NEWCOMERS);
        assert!(!admits(&mut room, &[RESP]), "bounded");

        let first = room.next(at(0));
        assert!(
            matches!(first, Some(Turn::Read(first)) if first.datagram == init(5, 1)),
            "it was begun"
        );
        assert!(admits(&mut room, &[RESP]) && !admits(&mut room, &init(0, 9_999)));
        assert_eq!(emptied(&mut room), PLACES);
        assert!(room.is_empty() && room.said.is_empty());
    }

    /// Rule S-7: what was begun is finished first, and whoever pretends to have begun keeps nobody
    /// out; of either kind nobody overtakes.
    #[test]
    fn what_was_begun_goes_first_and_one_in_eight_is_a_newcomer() {
        let mut room = Anteroom::default();
        let (begun, new): (Vec<_>, Vec<_>) = (0..40).map(|n| (init(5, n), init(0, n))).unzip();
        for (begun, new) in begun.iter().zip(&new) {
            assert!(admits(&mut room, begun) && admits(&mut room, new));
        }
        let order = read(&mut room, at(0));
        assert_eq!(order[..7], begun[..7]);
        assert_eq!(order[7], new[0]);
        assert_eq!(order[8..15], begun[7..14]);
        assert_eq!(order[15], new[1]);
        let of = |kind: &[Vec<u8>]| -> Vec<Vec<u8>> {
            order.iter().filter(|one| kind.contains(one)).cloned().collect()
        };
        assert!(of(&begun) == begun && of(&new) == new);
    }

    /// Rule S-7: whoever pretends to be under way leaves room for newcomers.
    #[test]
    fn what_pretends_to_be_under_way_leaves_room_for_newcomers() {
        let mut room = Anteroom::default();
        let begun = (0..9_000).filter(|_| admits(&mut room, &init(5, 1))).count();
        assert_eq!(begun, OF_UNDER_WAY);
        let crowd = (0..9_000).filter(|attempt| admits(&mut room, &init(0, *attempt))).count();
        assert_eq!(crowd, PLACES - OF_UNDER_WAY);
    }

    /// Rule S-7: what nobody has repeated for long is not read, and takes nobody's turn.
    #[test]
    fn a_beginning_grows_stale_and_takes_nobodys_turn() {
        let late = at(0) + STALE + Duration::from_millis(1);
        let mut room = Anteroom::default();
        assert!((0..2_000).all(|attempt| admits(&mut room, &init(0, attempt))));
        assert!((0..40).all(|n| admits(&mut room, &init(5, n))));
        assert!(room.admit(
            at(400),
            SocketId(1),
            SocketAddr::from(([127, 0, 0, 1], 9)),
            &init(0, 7)
        ));
        assert!(room.admit(
            at(400),
            SocketId(1),
            SocketAddr::from(([127, 0, 0, 1], 9)),
            &init(0, 9_999)
        ));
        let order = read(&mut room, late);
        assert_eq!(order.len(), 42);
        assert_eq!((&order[7], &order[15]), (&init(0, 7), &init(0, 9_999)), "repeated, and fresh");
    }

    /// Rule S-7: who proves a session has a place, and grows stale as any beginning does.
    #[test]
    fn a_successor_waits_with_what_is_under_way_and_grows_stale() {
        let mut room = Anteroom::default();
        let successor = |attempt| {
            let mut datagram = init(5, attempt);
            datagram[FLAGS] = FLAG_PROOF;
            datagram
        };
        assert!((0..OF_NEWCOMERS as u64).all(|attempt| admits(&mut room, &init(0, attempt))));
        assert!(admits(&mut room, &successor(9_001)) && admits(&mut room, &successor(9_001)));
        assert!(
            matches!(room.next(at(0)), Some(Turn::Read(first)) if first.datagram == successor(9_001))
        );
        assert!(admits(&mut room, &successor(9_002)));
        let late = at(0) + STALE + Duration::from_millis(1);
        assert!(
            matches!(room.next(late), Some(Turn::Stale(first)) if first.datagram == successor(9_002))
        );
    }

    /// Rule S-7: who repeats itself while it waits takes one place.
    #[test]
    fn a_newcomer_that_repeats_itself_waits_once() {
        let mut room = Anteroom::default();
        assert!((0..9_000).all(|_| admits(&mut room, &init(0, 1))));
        assert!(room.admit(at(0), SocketId(2), SocketAddr::from(([127, 0, 0, 1], 9)), &init(0, 1)));
        assert_eq!(emptied(&mut room), 2, "one at each of our sockets");
        assert!(admits(&mut room, &init(0, 1)), "its turn is over: it may come again");
        assert!((0..3).all(|_| admits(&mut room, &init(4, 1))), "fragments are not alike");
        let mut shows_a_cookie = init(0, 1);
        shows_a_cookie[FLAGS] = mesh_gossip_proto::wire::header::FLAG_COOKIE;
        assert!(admits(&mut room, &shows_a_cookie) && admits(&mut room, &shows_a_cookie));
        assert!(admits(&mut room, &[INIT]) && admits(&mut room, &[INIT, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(emptied(&mut room), 7);
    }
}
