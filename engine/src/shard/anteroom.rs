//! Where datagrams of handshakes wait until sealed ones have been read (rule S-7).
//!
//! A step of a handshake costs some fifty times what a sealed datagram costs. If those who have a
//! session waited behind those who want one, a crowd at the door would make acks late, and late acks
//! make doubts, looks and further handshakes: a shard that was busy for a moment would stay so.
//! Sealed datagrams are therefore read as they come, and after them those that wait here, for a
//! moment each time.
//!
//! Invariants: no more than [`PLACES`] wait, newcomers among them no more than [`OF_NEWCOMERS`]; a
//! newcomer that repeats itself waits once; who came first goes first. Whoever finds no place comes
//! again by itself: handshakes are repeated.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;

use mesh_gossip_proto::Duration;
use mesh_gossip_proto::wire::header::{HandshakeHeader, INIT, RESP, RETRY};

use crate::io::SocketId;

/// Datagrams that wait: a second's work, half of what a client has patience for.
const PLACES: usize = 4_096;
/// The rest is for handshakes that are under way: what was begun is finished first.
const OF_NEWCOMERS: usize = 3_072;
/// So long they have between two looks at what has come: some steps of handshakes, or hundreds of
/// those that are only asked for a cookie.
pub(super) const A_TURN: Duration = Duration::from_millis(1);
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
    newcomer: Option<Newcomer>,
}

/// The attempt that a datagram would begin.
type Newcomer = (SocketId, SocketAddr, [u8; 8]);

/// Those that wait.
#[derive(Default)]
pub(super) struct Anteroom {
    waiting: VecDeque<Waiting>,
    newcomers: HashSet<Newcomer>,
}

impl Anteroom {
    /// Whether a datagram has to wait here.
    pub(super) fn is_for(datagram: &[u8]) -> bool {
        matches!(datagram.first(), Some(&(INIT | RESP | RETRY)))
    }

    /// Sets a datagram aside; says whether it waits, or another one that says the same.
    pub(super) fn admit(&mut self, socket: SocketId, from: SocketAddr, datagram: &[u8]) -> bool {
        let newcomer = attempt_begun(datagram).map(|attempt| (socket, from, attempt));
        if newcomer.is_some_and(|newcomer| self.newcomers.contains(&newcomer)) {
            return true;
        }
        let places = if newcomer.is_some() { OF_NEWCOMERS } else { PLACES };
        if self.waiting.len() >= places {
            return false;
        }
        self.newcomers.extend(newcomer);
        self.waiting.push_back(Waiting { socket, from, datagram: datagram.to_vec(), newcomer });
        true
    }

    /// The one that has waited longest.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        let next = self.waiting.pop_front()?;
        if let Some(newcomer) = &next.newcomer {
            self.newcomers.remove(newcomer);
        }
        if self.waiting.is_empty() {
            // A crowd is rare; its room is not kept.
            self.waiting.shrink_to(USUAL);
            self.newcomers.shrink_to(USUAL);
        }
        Some(next)
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
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

    fn admits(room: &mut Anteroom, datagram: &[u8]) -> bool {
        room.admit(SocketId(1), SocketAddr::from(([127, 0, 0, 1], 9)), datagram)
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

    /// Rule S-7: a crowd leaves room for handshakes under way, and nobody overtakes.
    #[test]
    fn a_crowd_of_newcomers_leaves_room_for_what_was_begun() {
        let mut room = Anteroom::default();
        let crowd = (0..9_000).filter(|attempt| admits(&mut room, &init(0, *attempt))).count();
        assert_eq!(crowd, OF_NEWCOMERS);
        let begun = (0..9_000).filter(|_| admits(&mut room, &init(5, 1))).count();
        assert_eq!(begun, PLACES - OF_NEWCOMERS);
        assert!(!admits(&mut room, &[RESP]), "bounded");

        let first = room.next().expect("somebody waits");
        assert_eq!(first.datagram, init(0, 0));
        assert!(admits(&mut room, &[RESP]) && !admits(&mut room, &init(0, 9_999)));
        assert_eq!(emptied(&mut room), PLACES);
        assert!(room.is_empty() && room.newcomers.is_empty());
    }

    /// Rule S-7: who repeats itself while it waits takes one place.
    #[test]
    fn a_newcomer_that_repeats_itself_waits_once() {
        let mut room = Anteroom::default();
        assert!((0..9_000).all(|_| admits(&mut room, &init(0, 1))));
        assert!(room.admit(SocketId(2), SocketAddr::from(([127, 0, 0, 1], 9)), &init(0, 1)));
        assert_eq!(emptied(&mut room), 2, "one at each of our sockets");
        assert!(admits(&mut room, &init(0, 1)), "its turn is over: it may come again");
        assert!((0..3).all(|_| admits(&mut room, &init(4, 1))), "fragments are not alike");
        assert!(admits(&mut room, &[INIT]) && admits(&mut room, &[INIT, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(emptied(&mut room), 6);
    }
}
