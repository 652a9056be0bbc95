//! Where datagrams of handshakes wait until sealed ones have been read (rule S-7).
//!
//! A step of a handshake costs some fifty times what a sealed datagram costs. If those who have a
//! session waited behind those who want one, a crowd at the door would make acks late, and late acks
//! make doubts, looks and further handshakes: a shard that was busy for a moment would stay so.
//! Sealed datagrams are therefore read as they come, and after them those that wait here, for a
//! moment each time.
//!
//! What is under way is finished before more is begun, and a newcomer that has waited for long is
//! sent away: a shard that has a tenth of the time that it needs would otherwise spend all of it on
//! handshakes whose clients have given up, and finish none.
//!
//! Invariants: no more than [`PLACES`] wait, newcomers among them no more than [`OF_NEWCOMERS`]; a
//! newcomer that repeats itself waits once; among either kind who came first goes first, and at least
//! one in [`ONE_IN`] is a newcomer while some wait. Whoever finds no place comes again by itself:
//! handshakes are repeated.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;

use mesh_gossip_proto::wire::header::{HandshakeHeader, INIT, RESP, RETRY};
use mesh_gossip_proto::{Duration, Instant};

use crate::io::SocketId;

/// Datagrams that wait: a second's work, half of what a client has patience for.
const PLACES: usize = 4_096;
/// The rest is for handshakes that are under way: what was begun is finished first.
const OF_NEWCOMERS: usize = 3_072;
/// So long they have between two looks at what has come: some steps of handshakes, or hundreds of
/// those that are only asked for a cookie.
pub(super) const A_TURN: Duration = Duration::from_millis(1);
/// Who begins a handshake repeats itself after 300 ms and after 900 ms, and gives up after 2 s. One
/// that has not been read after this is older than what is worth beginning: of its last repetition
/// the rest of the client's time is left.
const STALE: Duration = Duration::from_millis(500);
/// However many handshakes are under way, or pretend to be, one of so many that are read is a newcomer.
const ONE_IN: u32 = 8;
/// Room that is kept while nobody waits.
const USUAL: usize = 64;
/// Where a handshake datagram names the place that its receiver has let to it, 0 in the first,
const PLACE: std::ops::Range<usize> = 4..8;
/// and the attempt that it belongs to.
const ATTEMPT: std::ops::Range<usize> =
    size_of::<HandshakeHeader>() - 40..size_of::<HandshakeHeader>() - 32;
const _: () = assert!(
    ATTEMPT.start == std::mem::offset_of!(HandshakeHeader, attempt)
        && PLACE.start == std::mem::offset_of!(HandshakeHeader, receiver)
);

/// One that waits.
pub(super) struct Waiting {
    pub(super) socket: SocketId,
    pub(super) from: SocketAddr,
    pub(super) datagram: Vec<u8>,
    since: Instant,
    newcomer: Option<Newcomer>,
}

impl Waiting {
    /// Whether nothing is gained by reading it: its client has repeated itself, or has given up.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.newcomer.is_some() && now.since(self.since) > STALE
    }
}

/// The attempt that a datagram would begin.
type Newcomer = (SocketId, SocketAddr, [u8; 8]);

/// Those that wait.
#[derive(Default)]
pub(super) struct Anteroom {
    under_way: VecDeque<Waiting>,
    newcomers: VecDeque<Waiting>,
    known: HashSet<Newcomer>,
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
        let newcomer = attempt_begun(datagram).map(|attempt| (socket, from, attempt));
        if newcomer.is_some_and(|newcomer| self.known.contains(&newcomer)) {
            return true;
        }
        let places = if newcomer.is_some() { OF_NEWCOMERS } else { PLACES };
        if self.under_way.len() + self.newcomers.len() >= places {
            return false;
        }
        self.known.extend(newcomer);
        let line = if newcomer.is_some() { &mut self.newcomers } else { &mut self.under_way };
        line.push_back(Waiting { socket, from, datagram: datagram.to_vec(), since: now, newcomer });
        true
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        self.passed += 1;
        let of_newcomers = self.passed >= ONE_IN || self.under_way.is_empty();
        let line = if of_newcomers && !self.newcomers.is_empty() {
            &mut self.newcomers
        } else {
            &mut self.under_way
        };
        let next = line.pop_front()?;
        if let Some(newcomer) = &next.newcomer {
            self.known.remove(newcomer);
            self.passed = 0;
        }
        if self.is_empty() {
            // A crowd is rare; its room is not kept.
            self.under_way.shrink_to(USUAL);
            self.newcomers.shrink_to(USUAL);
            self.known.shrink_to(USUAL);
        }
        Some(next)
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.newcomers.is_empty()
    }
}

/// The attempt that a datagram would begin at its receiver. One that is too short to say is read by
/// nobody, and begins nothing.
fn attempt_begun(datagram: &[u8]) -> Option<[u8; 8]> {
    let first =
        datagram.first() == Some(&INIT) && datagram.get(PLACE)?.iter().all(|byte| *byte == 0);
    datagram.get(ATTEMPT).filter(|_| first)?.try_into().ok()
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

    fn emptied(room: &mut Anteroom) -> usize {
        std::iter::from_fn(|| room.next()).count()
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

        let first = room.next().expect("somebody waits");
        assert_eq!(first.datagram, init(5, 1), "it was begun");
        assert!(admits(&mut room, &[RESP]) && !admits(&mut room, &init(0, 9_999)));
        assert_eq!(emptied(&mut room), PLACES);
        assert!(room.is_empty() && room.known.is_empty());
    }

    /// Rule S-7: what was begun is finished first, and whoever pretends to have begun keeps nobody
    /// out; of either kind nobody overtakes.
    #[test]
    fn what_was_begun_goes_first_and_one_in_eight_is_a_newcomer() {
        let mut room = Anteroom::default();
        for attempt in 0..40 {
            assert!(admits(&mut room, &init(0, attempt)) && admits(&mut room, &init(5, attempt)));
        }
        let order: Vec<Vec<u8>> =
            std::iter::from_fn(|| room.next()).map(|waiting| waiting.datagram).collect();
        let (begun, new): (Vec<_>, Vec<_>) = (0..40).map(|n| (init(5, n), init(0, n))).unzip();
        assert_eq!(order[..7], begun[..7]);
        assert_eq!(order[7], new[0]);
        assert_eq!(order[8..15], begun[7..14]);
        assert_eq!(
            order.iter().filter(|one| begun.contains(one)).collect::<Vec<_>>(),
            begun.iter().collect::<Vec<_>>()
        );
        assert_eq!(
            order.iter().filter(|one| new.contains(one)).collect::<Vec<_>>(),
            new.iter().collect::<Vec<_>>()
        );
    }

    /// Rule S-7: a client that has waited for long has repeated itself since, or given up.
    #[test]
    fn a_newcomer_grows_stale_and_what_was_begun_does_not() {
        let mut room = Anteroom::default();
        assert!(admits(&mut room, &init(0, 1)) && admits(&mut room, &init(5, 1)));
        let (begun, newcomer) = (room.next().expect("one"), room.next().expect("the other"));
        let late = at(0) + STALE + Duration::from_millis(1);
        assert!(newcomer.is_stale(late) && !newcomer.is_stale(at(0) + STALE));
        assert!(!begun.is_stale(late));
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
        assert!(admits(&mut room, &[INIT]) && admits(&mut room, &[INIT, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(emptied(&mut room), 6);
    }
}
