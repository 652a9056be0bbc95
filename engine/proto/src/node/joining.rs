//! Finding the mesh: seeds are dialled until one answers, then asked for the whole state; seeds
//! absent from the view are dialled for ever (rules J-1 and J-2).
//!
//! Invariant: at most one full exchange for the sake of joining is under way.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Node, Peer};
use crate::error::CommandError;
use crate::event::{Destination, Transmit};
use crate::member::MemberId;
use crate::membership::table::MemberTable;
use crate::time::{Duration, Instant};
use crate::wire::message::kind;

/// An exchange that has not ended by then is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A seed that seemed to be ourselves is asked again after so long: an address changes hands, and
/// a shared one leads elsewhere the next time.
const OURS_FOR: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Seed {
    address: SocketAddr,
    /// Who answered there last.
    id: Option<MemberId>,
    /// When we seemed to answer there ourselves.
    ours: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Progress {
    #[default]
    Alone,
    Asked(Instant),
    Done,
}

/// Seeds and how far the join has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Joining {
    seeds: Vec<Seed>,
    progress: Progress,
}

impl Joining {
    /// The handshake with a seed told who it is.
    pub(super) fn seed_is(&mut self, address: SocketAddr, id: MemberId) {
        for seed in self.seeds.iter_mut().filter(|seed| seed.address == address) {
            seed.id = Some(id);
            seed.ours = None;
        }
    }

    /// A member spoke from a path that its session verified: if that is a seed's address, the
    /// seed needs no dial to be known.
    pub(super) fn heard_at(&mut self, address: SocketAddr, id: MemberId) {
        let unknown = |seed: &&mut Seed| seed.address == address && seed.id.is_none();
        for seed in self.seeds.iter_mut().filter(unknown) {
            seed.id = Some(id);
        }
    }

    /// Where the seeds stand in memory.
    pub(super) fn at(&self) -> *const u8 {
        self.seeds.as_ptr().cast()
    }

    /// Whether this member answered at a seed's address.
    pub(super) fn is_seed(&self, id: MemberId) -> bool {
        self.seeds.iter().any(|seed| seed.id == Some(id))
    }

    /// Seeds that have answered.
    pub(super) fn known_seeds(&self) -> Vec<MemberId> {
        self.seeds.iter().filter_map(|seed| seed.id).collect()
    }

    /// Whoever answers at this address has our certificate. Nothing of this is proven, so the seed
    /// is not struck: it is asked again after a while, and nobody waits for it meanwhile.
    pub(super) fn is_ours(&mut self, now: Instant, address: SocketAddr) {
        for seed in self.seeds.iter_mut().filter(|seed| seed.address == address) {
            seed.ours = Some(now);
        }
    }

    /// Joined, or without anybody to join.
    pub(super) fn is_done(&self) -> bool {
        match self.progress {
            Progress::Alone => self.seeds.iter().all(|seed| seed.ours.is_some()),
            Progress::Asked(_) => false,
            Progress::Done => true,
        }
    }

    /// An exchange ended; says whether that completed the join.
    pub(super) fn exchange_ended(&mut self, complete: bool) -> bool {
        match (self.progress, complete) {
            (Progress::Done, _) => false,
            (Progress::Alone | Progress::Asked(_), true) => {
                self.progress = Progress::Done;
                true
            }
            (Progress::Alone | Progress::Asked(_), false) => {
                self.progress = Progress::Alone;
                false
            }
        }
    }

    fn should_ask(&mut self, now: Instant) -> bool {
        let ask = match self.progress {
            Progress::Alone => true,
            Progress::Asked(since) => now.since(since) >= PATIENCE,
            Progress::Done => false,
        };
        if ask {
            self.progress = Progress::Asked(now);
        }
        ask
    }
}

impl<T: MemberTable> Node<T> {
    pub(super) fn join(
        &mut self,
        now: Instant,
        seeds: Vec<SocketAddr>,
    ) -> Result<(), CommandError> {
        if self.departure.is_leaving() {
            return Err(CommandError::Stopped);
        }
        let own = self.local().record().addresses.clone();
        let known: Vec<Seed> = core::mem::take(&mut self.joining.seeds);
        self.joining.seeds = seeds
            .into_iter()
            .filter(|address| !own.contains(address))
            .map(|address| {
                let before = known.iter().find(|seed| seed.address == address);
                before.copied().unwrap_or(Seed { address, id: None, ours: None })
            })
            .collect();
        for seed in self.absent_seeds(now) {
            self.hello(seed);
        }
        Ok(())
    }

    /// Before the join is done every absent seed is dialled each interval, afterwards one.
    pub(super) fn dial_an_absent_seed(&mut self, now: Instant) {
        let absent = self.absent_seeds(now);
        if absent.is_empty() {
            return;
        }
        if !self.joining.is_done() {
            for seed in absent {
                self.hello(seed);
            }
            return;
        }
        let seed = absent[self.rng.usize(..absent.len())];
        self.hello(seed);
    }

    fn absent_seeds(&self, now: Instant) -> Vec<SocketAddr> {
        let present = |id| self.table.get(id).is_some_and(|member| member.state.is_present());
        let absent = |seed: &&Seed| {
            let ours = seed.ours.is_some_and(|since| now.since(since) < OURS_FOR);
            !ours && !seed.id.is_some_and(present)
        };
        self.joining.seeds.iter().filter(absent).map(|seed| seed.address).collect()
    }

    /// Our record and a ping: whoever answers knows us from the first datagram.
    fn hello(&mut self, seed: SocketAddr) {
        let transmit = Transmit { to: Destination::Seed, address: seed };
        let sequence = self.probes.sequence();
        let ping = self.ping(sequence);
        let (kind, body) = super::receive::hello_ping(&ping);
        self.enqueue(transmit, kind, body);
        let envelope = self.local().envelope().clone();
        self.enqueue(transmit, kind::RECORD, &envelope);
    }

    /// The first member in touch is asked for the whole state.
    pub(super) fn ask_for_state(&mut self, now: Instant, peer: Peer) {
        if self.joining.should_ask(now) {
            self.wish_stream(peer, Vec::new());
        }
    }
}
