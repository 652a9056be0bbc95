//! Finding the mesh: seeds are dialled until one answers, then asked for a ticket to the whole
//! state; seeds absent from the view are dialled for ever (rules J-1, J-2 and J-5).
//!
//! Invariants: at most one full exchange for the sake of joining is waited for; a member whose state
//! is on its way is neither asked nor dialled for it again.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Node, Peer};
use crate::error::CommandError;
use crate::event::{Destination, Extent, Transmit};
use crate::member::MemberId;
use crate::membership::table::MemberTable;
use crate::time::{Duration, Instant};
use crate::wire::message::{TicketPull, kind};

/// Without a piece for so long somebody else is asked for the state; each time twice as long, at
/// most the last. Where processors are scarce everything takes longer, and asking others for what
/// is on its way makes them scarcer (decision 128).
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_PATIENCE: Duration = Duration::from_secs(20);
/// Hosts end each exchange sooner than that; one of which nothing was told is forgotten.
const LOST_AFTER: Duration = Duration::from_secs(150);
/// States on their way that are remembered, the latest: with these patiences no more come together
/// before the first is forgotten.
const MOST_GIVERS: usize = 10;

/// An ask for a ticket that was not answered is repeated after so long ...
const AGAIN: Duration = Duration::from_millis(300);
/// ... and so often; then the next one is asked.
const TIMES: u8 = 4;
/// From ticket to ticket at most so many members, then back to the first.
const HOPS: u8 = 8;
/// Tickets that lead nowhere for so long are not followed any more: somebody else is asked, and
/// whoever was asked first is left alone for as long. Where nobody gives any for so long, the
/// members in touch know no tickets; sooner they may merely be too busy, with many such as us.
const LONGEST: Duration = Duration::from_secs(10);

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

/// A joiner on its way to a state.
#[derive(Clone, Debug)]
struct Asking {
    /// Who is asked.
    of: Peer,
    asked: Instant,
    times: u8,
    /// Tickets followed since `first` was asked.
    hops: u8,
    /// Whom the last ticket named, the next one last.
    rest: Vec<Peer>,
    /// The first member in touch.
    first: Peer,
    began: Instant,
    /// Whether anybody gave a ticket.
    heard: bool,
}

#[derive(Clone, Debug, Default)]
enum Progress {
    #[default]
    Alone,
    Asking(Box<Asking>),
    Taking {
        since: Instant,
        from: MemberId,
    },
    Done,
}

/// What a joiner does next.
#[derive(Clone, Copy)]
enum Step {
    Ask { of: Peer, pointed: bool },
    Take(Peer),
}

/// What a join has come through, apart from what every datagram reads.
#[derive(Clone, Debug, Default)]
struct Past {
    /// Whose tickets led nowhere, and when that was seen.
    misled: Option<(MemberId, Instant)>,
    /// Since when members in touch were asked and none gave a ticket.
    silent: Option<Instant>,
    /// States on their way that were not waited for any longer.
    given_up: u32,
    /// Whose states are on their way for the sake of joining, waited for or not, since when; hosts
    /// say how each of them ends.
    givers: Vec<(MemberId, Instant)>,
}

/// Seeds and how far the join has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Joining {
    seeds: Vec<Seed>,
    progress: Progress,
    past: Box<Past>,
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

    /// Seeds that have answered, where they did.
    pub(super) fn known_seeds(&self) -> Vec<Peer> {
        let known = |seed: &Seed| seed.id.map(|id| Peer { id, address: seed.address });
        self.seeds.iter().filter_map(known).collect()
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
            Progress::Alone => !self.has_whom_to_join(),
            Progress::Asking(_) | Progress::Taking { .. } => false,
            Progress::Done => true,
        }
    }

    /// Whether there is a seed that does not seem to be ourselves.
    pub(super) fn has_whom_to_join(&self) -> bool {
        self.seeds.iter().any(|seed| seed.ours.is_none())
    }

    /// Whether a whole state is on its way to us.
    pub(super) fn is_under_way(&self) -> bool {
        match self.progress {
            Progress::Asking(_) | Progress::Taking { .. } => true,
            Progress::Alone | Progress::Done => false,
        }
    }

    /// Whether `id` is giving us its state for the sake of joining.
    pub(super) fn takes_from(&self, now: Instant, id: MemberId) -> bool {
        let gives =
            |(giver, since): &(MemberId, Instant)| *giver == id && now.since(*since) < LOST_AFTER;
        self.past.givers.iter().any(gives)
    }

    /// Whether we wait for a ticket of this member.
    pub(super) fn asks(&self, id: MemberId) -> bool {
        matches!(&self.progress, Progress::Asking(asking) if asking.of.id == id)
    }

    /// An exchange with `with` ended; says whether that completed the join.
    pub(super) fn exchange_ended(
        &mut self,
        with: MemberId,
        extent: Extent,
        complete: bool,
    ) -> bool {
        if extent == Extent::Whole {
            self.past.givers.retain(|(giver, _)| *giver != with);
        }
        let failed = match (&self.progress, extent) {
            // Records that were fetched alone are no state, and their failure is none of a state.
            (_, Extent::Part) | (Progress::Done, Extent::Whole) => return false,
            // One that we no longer waited for came after all, or failed after all.
            (Progress::Alone | Progress::Asking(_), Extent::Whole) => false,
            (Progress::Taking { from, .. }, Extent::Whole) => *from == with,
        };
        if complete {
            self.progress = Progress::Done;
        } else if failed {
            self.progress = Progress::Alone;
        }
        complete
    }

    /// Somebody is in touch; says whether to ask it.
    fn begin(&mut self, now: Instant, peer: Peer) -> bool {
        let idle = match self.progress {
            Progress::Alone => true,
            Progress::Taking { since, .. } => now.since(since) >= self.patience(),
            Progress::Asking(_) | Progress::Done => false,
        };
        let misled = |(id, at): (MemberId, Instant)| id == peer.id && now.since(at) < LONGEST;
        let misled = self.past.misled.is_some_and(misled);
        let begins = idle && !misled && !self.takes_from(now, peer.id);
        if begins {
            if matches!(self.progress, Progress::Taking { .. }) {
                self.past.given_up += 1;
            }
            self.progress = Progress::Asking(Box::new(Asking {
                of: peer,
                asked: now,
                times: 1,
                hops: 0,
                rest: Vec::new(),
                first: peer,
                began: now,
                heard: false,
            }));
        }
        begins
    }

    fn patience(&self) -> Duration {
        PATIENCE.saturating_mul(1 << self.past.given_up.min(4)).min(MOST_PATIENCE)
    }

    /// A piece of a state came. One that we no longer wait for moves nothing: whoever trickles would
    /// hold us up beside another.
    pub(super) fn piece_came(&mut self, now: Instant, of: MemberId) {
        if let Progress::Taking { since, from } = &mut self.progress
            && *from == of
        {
            *since = now;
        }
    }

    /// Waits for the state of `from`.
    fn take(&mut self, now: Instant, from: MemberId) {
        self.progress = Progress::Taking { since: now, from };
        self.past.silent = None;
        let givers = &mut self.past.givers;
        givers.retain(|(giver, since)| *giver != from && now.since(*since) < LOST_AFTER);
        let excess = (givers.len() + 1).saturating_sub(MOST_GIVERS);
        givers.drain(..excess);
        givers.push((from, now));
    }

    /// When to look again.
    fn due(&self) -> Option<Instant> {
        match &self.progress {
            Progress::Asking(asking) => Some(asking.asked + AGAIN),
            Progress::Alone | Progress::Taking { .. } | Progress::Done => None,
        }
    }

    /// A ticket named others.
    fn pointed(&mut self, now: Instant, from: MemberId, mut others: Vec<Peer>) -> Option<Step> {
        let Progress::Asking(asking) = &mut self.progress else { return None };
        if asking.of.id != from {
            return None;
        }
        asking.heard = true;
        self.past.silent = None;
        asking.hops += 1;
        if others.is_empty() || asking.hops > HOPS {
            // The time for a repetition is time enough for the next state to be granted.
            asking.rest.clear();
            (asking.of, asking.asked, asking.times) = (asking.first, now, 0);
            asking.hops = 0;
            return None;
        }
        others.reverse();
        asking.rest = others;
        asking.next(now)
    }

    /// Nobody answered in time.
    fn late(&mut self, now: Instant) -> Option<Step> {
        let Progress::Asking(asking) = &mut self.progress else { return None };
        if now < asking.asked + AGAIN {
            return None;
        }
        if now >= asking.began + LONGEST {
            self.past.misled = Some((asking.first.id, now));
            self.progress = Progress::Alone;
            return None;
        }
        if asking.times < TIMES {
            asking.times += 1;
            asking.asked = now;
            return Some(Step::Ask { of: asking.of, pointed: asking.of.id != asking.first.id });
        }
        if let Some(step) = asking.next(now) {
            return Some(step);
        }
        let (heard, began, first) = (asking.heard, asking.began, asking.first);
        self.progress = Progress::Alone;
        if heard {
            return None;
        }
        let since = *self.past.silent.get_or_insert(began);
        (now >= since + LONGEST).then_some(Step::Take(first))
    }
}

impl Asking {
    fn next(&mut self, now: Instant) -> Option<Step> {
        let pointed = self.of.id != self.first.id;
        let of = self.rest.pop().or(pointed.then_some(self.first))?;
        (self.of, self.asked, self.times) = (of, now, 1);
        Some(Step::Ask { of, pointed: of.id != self.first.id })
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

    /// The first member in touch is asked for a ticket to the whole state; without what we add to
    /// the papers, for the state itself.
    pub(super) fn ask_for_state(&mut self, now: Instant, peer: Peer) {
        if !self.joining.begin(now, peer) {
            return;
        }
        if self.config.parts().extras {
            self.join_step(now, Step::Ask { of: peer, pointed: false });
        } else {
            self.join_step(now, Step::Take(peer));
        }
    }

    /// Nobody answered our asking (rule J-5).
    pub(super) fn ask_again(&mut self, now: Instant) {
        if let Some(step) = self.joining.late(now) {
            self.join_step(now, step);
        }
    }

    /// A ticket for us: the sender's state, or the names of others (rule J-5).
    pub(super) fn follow_ticket(&mut self, now: Instant, from: Peer, others: Option<Vec<Peer>>) {
        let step = match others {
            None if self.joining.asks(from.id) => Some(Step::Take(from)),
            None => None,
            Some(mut others) => {
                others.retain(|other| !self.joining.takes_from(now, other.id));
                self.joining.pointed(now, from.id, others)
            }
        };
        if let Some(step) = step {
            self.join_step(now, step);
        }
    }

    fn join_step(&mut self, now: Instant, step: Step) {
        match step {
            Step::Ask { of, pointed } => {
                self.send(of, &TicketPull { pointed: u8::from(pointed), reserved: [0; 3] });
            }
            Step::Take(from) => {
                // A wish for which there is no room is none: whoever is in touch next is asked.
                if self.wish_stream(from, Vec::new()) {
                    self.joining.take(now, from.id);
                } else {
                    self.joining.progress = Progress::Alone;
                }
            }
        }
        self.plan_tickets();
    }

    pub(super) fn ticket_due(&self) -> Option<Instant> {
        self.joining.due()
    }
}
