//! Revocation lists that travel by stream, from whoever has a newer one (rule S-16).
//!
//! A member that has heard of a higher number asks for the list; a member that exchanges states
//! says on the way which lists it has and is given what it lacks. Whatever comes is only bytes
//! until the CA's signature on it holds.
//!
//! Invariants: one list is fetched at a time; a peer is asked, and served, so often and no more;
//! whoever delivers nothing that counts is asked later each time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_gossip_proto::wire::message::ListNotice;
use mesh_gossip_proto::{Instant, MemberId, StreamRequest};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::Desk;
use super::frames::{Frame, FrameError};
use super::stream::SecureStream;
use super::sync::{self, SyncError};
use crate::clock::Clock;
use crate::link::pacing::Pace;
use crate::orders::SYNC_PIECE;
use crate::tls::revocation::MAX_LIST;
use crate::upkeep::{Change, Keeper, RenewError};

/// Most lists of one exchange, and most bytes: two of the largest.
const MOST_LISTS: usize = 16;
const MOST_BYTES: usize = 2 * MAX_LIST;

/// A peer is asked, and given lists, three times at once and then once in ten seconds.
const BURST: u32 = 3;
const REFILL: Duration = Duration::from_secs(10);
/// After a failure it rests, twice as long each time, at most so long.
const FIRST_REST: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_secs(600);
/// Peers remembered; beyond it those that may do anything are forgotten.
const PEERS: usize = 4_096;
/// Refused lists that are told, by peer and reason; beyond it they are only counted.
const TOLD: usize = 256;

/// What each peer has had of late.
pub(super) struct Paces {
    clock: Clock,
    of: Mutex<HashMap<MemberId, Turn>>,
}

struct Turn {
    pace: Pace,
    failures: u32,
    rests_until: Instant,
}

impl Paces {
    pub(super) fn new() -> Self {
        Self { clock: Clock::start(), of: Mutex::default() }
    }

    /// Takes a turn of `peer`, if it has one.
    fn take(&self, peer: MemberId) -> bool {
        self.take_at(self.clock.now(), peer)
    }

    fn take_at(&self, now: Instant, peer: MemberId) -> bool {
        let mut of = self.lock();
        if of.len() >= PEERS && !of.contains_key(&peer) {
            of.retain(|_, turn| !turn.pace.is_full(now) || turn.rests_until > now);
            if of.len() >= PEERS {
                return false;
            }
        }
        let turn = of.entry(peer).or_insert_with(|| Turn {
            pace: Pace::new(BURST, REFILL),
            failures: 0,
            rests_until: Instant::ORIGIN,
        });
        turn.rests_until <= now && turn.pace.take(now)
    }

    fn ended(&self, peer: MemberId, well: bool) {
        self.ended_at(self.clock.now(), peer, well);
    }

    fn ended_at(&self, now: Instant, peer: MemberId, well: bool) {
        if let Some(turn) = self.lock().get_mut(&peer) {
            turn.failures = if well { 0 } else { turn.failures.saturating_add(1) };
            if !well {
                let rest = FIRST_REST * (1 << (turn.failures - 1).min(8));
                turn.rests_until = now + rest.min(LONGEST_REST);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MemberId, Turn>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lists on their way in, frame by frame.
#[derive(Default)]
pub(super) struct Arriving {
    lists: Vec<Vec<u8>>,
    /// Bytes that the last list still lacks.
    missing: usize,
    total: usize,
}

impl Arriving {
    /// A list of so many bytes begins.
    pub(super) fn begin(&mut self, bytes: u32) -> Result<(), SyncError> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if self.missing > 0 || bytes == 0 {
            return Err(FrameError::Order.into());
        }
        if bytes > MAX_LIST || self.lists.len() == MOST_LISTS {
            return Err(SyncError::TooLarge);
        }
        self.total += bytes;
        if self.total > MOST_BYTES {
            return Err(SyncError::TooLarge);
        }
        self.missing = bytes;
        // It grows with what comes: a promise reserves nothing.
        self.lists.push(Vec::new());
        Ok(())
    }

    /// A piece of the list that began.
    pub(super) fn piece(&mut self, bytes: &[u8]) -> Result<(), SyncError> {
        let Some(list) = self.lists.last_mut().filter(|_| bytes.len() <= self.missing) else {
            return Err(FrameError::Order.into());
        };
        list.extend_from_slice(bytes);
        self.missing -= bytes.len();
        Ok(())
    }

    /// The lists, if each is whole.
    pub(super) fn whole(self) -> Result<Vec<Vec<u8>>, SyncError> {
        if self.missing > 0 { Err(FrameError::Order.into()) } else { Ok(self.lists) }
    }
}

/// Sends the lists in force that `peer`, which has `held`, lacks.
pub(super) async fn serve(
    desk: &Desk,
    stream: &mut SecureStream,
    peer: MemberId,
    held: &[ListNotice],
) -> Result<(), SyncError> {
    let lists = desk.site.lists();
    let lacking = lists.iter().flatten().filter(|list| {
        let ours = list.notice();
        !held.iter().any(|theirs| theirs.issuer == ours.issuer && theirs.number >= ours.number)
    });
    let mut lacking = lacking.take(MOST_LISTS).peekable();
    if lacking.peek().is_none() || !desk.served.take(peer) {
        return Ok(());
    }
    let mut total = 0;
    for list in lacking {
        let der = list.der();
        total += der.len();
        if total > MOST_BYTES {
            break;
        }
        // A list in force is no longer than that.
        let length = u32::try_from(der.len()).unwrap_or(u32::MAX);
        stream.write_all(&Frame::List(length).encode()).await?;
        for piece in der.chunks(SYNC_PIECE) {
            stream.write_all(&Frame::Bytes(piece.to_vec()).encode()).await?;
        }
    }
    Ok(())
}

/// Fetches lists and takes them.
pub(super) struct Fetcher {
    keeper: Arc<Keeper>,
    turn: Semaphore,
    asked: Paces,
    told: Mutex<HashSet<(MemberId, &'static str)>>,
}

impl Fetcher {
    pub(super) fn new(keeper: Arc<Keeper>) -> Self {
        let (turn, told) = (Semaphore::new(1), Mutex::default());
        Self { keeper, turn, asked: Paces::new(), told }
    }

    /// Whether `peer` may be asked; if so, it counts as asked.
    pub(super) fn may_ask(&self, desk: &Desk, peer: MemberId) -> bool {
        let may = desk.site.lists().is_some() && self.asked.take(peer);
        if !may {
            desk.site.metrics().list_fetched("throttled");
        }
        may
    }

    /// Asks a member for what it has and we lack.
    pub(super) async fn fetch(&self, desk: &Desk, wish: &StreamRequest) {
        let Ok(_turn) = self.turn.acquire().await else { return };
        let peer = wish.peer;
        match sync::request_lists(desk, wish).await {
            Ok(lists) => {
                let any = !lists.is_empty();
                let well = self.take(desk, peer, lists).await;
                // Somebody else may have been faster; who has nothing at all rests.
                self.asked.ended(peer, any && well);
            }
            Err(error) => {
                desk.site.metrics().list_fetched(error.reason());
                self.asked.ended(peer, false);
            }
        }
    }

    /// Verifies lists and puts them in force; says whether all of them count.
    pub(super) async fn take(&self, desk: &Desk, peer: MemberId, lists: Vec<Vec<u8>>) -> bool {
        let mut well = true;
        for list in lists {
            let keeper = Arc::clone(&self.keeper);
            let taken = spawn_blocking(move || keeper.renew(Change::Lists(&list))).await;
            let outcome = match taken {
                Ok(Ok(renewed)) if renewed.trust => {
                    tracing::info!(
                        target: "mesh_gossip",
                        NodeId = desk.site.node_id(),
                        Member = %peer,
                        Revoked = renewed.revoked,
                        "a newer revocation list came from a member"
                    );
                    "fresh"
                }
                Ok(Ok(renewed)) if renewed.outdated => "outdated",
                Ok(Ok(_)) => "known",
                Ok(Err(RenewError::List(error))) => {
                    self.tell(desk, peer, error.reason(), &error);
                    error.reason()
                }
                // In force all the same; the shard is asked again at the next change.
                Ok(Err(RenewError::Credentials(_) | RenewError::Agent(_))) | Err(_) => "failed",
            };
            well &= matches!(outcome, "fresh" | "known");
            desk.site.metrics().list_fetched(outcome);
        }
        well
    }

    /// A list that does not count is told once a peer and reason.
    fn tell(
        &self,
        desk: &Desk,
        peer: MemberId,
        reason: &'static str,
        error: &dyn std::fmt::Display,
    ) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD && told.insert((peer, reason)) {
            tracing::warn!(
                target: "mesh_gossip",
                NodeId = desk.site.node_id(),
                Member = %peer,
                Reason = %error,
                "a member offers a revocation list that does not count"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(1_000 + seconds)
    }

    const PEER: MemberId = MemberId([1; 16]);

    /// Rule S-16: a peer is asked three times at once, then once in ten seconds; one that delivers
    /// nothing that counts rests, longer each time.
    #[test]
    fn a_peer_that_delivers_nothing_is_asked_later_each_time() {
        let paces = Paces::new();
        assert_eq!([0; 4].map(|s| paces.take_at(at(s), PEER)), [true, true, true, false]);
        assert!(paces.take_at(at(0), MemberId([2; 16])), "another peer has turns of its own");
        paces.ended_at(at(100), PEER, false);
        assert!(!paces.take_at(at(109), PEER) && paces.take_at(at(110), PEER));
        paces.ended_at(at(110), PEER, false);
        assert!(!paces.take_at(at(129), PEER) && paces.take_at(at(130), PEER));
        for _ in 0..40 {
            paces.ended_at(at(200), PEER, false);
        }
        assert!(!paces.take_at(at(799), PEER) && paces.take_at(at(800), PEER));
        paces.ended_at(at(800), PEER, true);
        paces.ended_at(at(900), PEER, false);
        assert!(paces.take_at(at(910), PEER), "an honest delivery makes up for all");
    }

    #[test]
    fn peers_are_remembered_within_bounds() {
        let paces = Paces::new();
        let of = |number: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_le_bytes());
            MemberId(id)
        };
        for number in 0..2 * PEERS as u32 {
            paces.take_at(at(0), of(number));
        }
        assert_eq!(paces.lock().len(), PEERS);
        assert!(!paces.take_at(at(1), of(u32::MAX)) && paces.take_at(at(60), of(u32::MAX)));
    }

    /// Rule S-16: no more than 8 MiB a list, nor more lists than a mesh can have.
    #[test]
    fn oversized_lists_are_refused_before_their_bytes_come() {
        let begin = |bytes| Arriving::default().begin(bytes);
        assert!(begin(MAX_LIST as u32).is_ok());
        assert!(matches!(begin(MAX_LIST as u32 + 1), Err(SyncError::TooLarge)));
        assert!(matches!(begin(u32::MAX), Err(SyncError::TooLarge)));
        assert!(matches!(begin(0), Err(SyncError::Frame(FrameError::Order))));
        let mut many = Arriving::default();
        for _ in 0..MOST_LISTS {
            many.begin(1).unwrap();
            many.piece(b"0").unwrap();
        }
        assert!(matches!(many.begin(1), Err(SyncError::TooLarge)));
        let mut long = Arriving::default();
        long.begin(4).unwrap();
        assert!(long.begin(4).is_err(), "the first is not whole");
        assert!(long.piece(b"12345").is_err(), "more than was promised");
        long.piece(b"123").unwrap();
        assert!(long.whole().is_err(), "less than was promised");
        assert!(Arriving::default().piece(b"1").is_err());
    }
}
