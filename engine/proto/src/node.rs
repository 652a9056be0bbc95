//! One member of the mesh, as a state machine.
//!
//! The node routes: a datagram, a command or a deadline goes to the machine that understands it,
//! and the small outcome that comes back becomes messages, timers and events. It owns the table
//! of members and nothing else of substance.
//!
//! Invariants: the node itself is in its table, alive until it leaves; every change of the table
//! raises the view's version; a datagram can be refused, but never panics.
//!
//! Drive it: call a `handle_*` method, then drain `poll_transmit` and `poll_event`, then sleep
//! until `poll_timeout`.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::config::{Config, Detector, SOON};
use crate::detector::awareness::Awareness;
use crate::detector::contacts::{Contact, Contacts};
use crate::detector::order::ProbeOrder;
use crate::detector::probe::Probes;
use crate::detector::relay::Relays;
use crate::detector::suspicion::Suspicion;
use crate::dissemination::lists::Lists;
use crate::dissemination::queue::Queue;
use crate::dissemination::recent::Recent;
use crate::error::CommandError;
use crate::event::{Command, Event, Extent, Stats, StreamRequest, Timer};
use crate::member::{Incarnation, MemberId, State};
use crate::membership::record::{Authority, NodeRecord, SignedRecord, first_record};
use crate::membership::roster::List;
use crate::membership::signers::Signers;
use crate::membership::table::{DenseTable, IdMap, Member, MemberTable};
use crate::membership::tombstones::Tombstones;
use crate::membership::view::View;
use crate::metadata::Metadata;
use crate::sync::agreement::Agreement;
use crate::sync::chains::Chains;
use crate::sync::clocks::Clocks;
use crate::sync::early::Early;
use crate::sync::partners::Partners;
use crate::sync::pulls::Pulls;
use crate::sync::push_pull::PushPull;
use crate::sync::reconciler::Reconciler;
use crate::sync::storm::Storm;
use crate::time::{Duration, Instant, WallTime};
use crate::timers::Timers;
use crate::wire::parts::Parts;

mod chains;
mod claims;
mod clock;
mod departure;
mod door;
mod flooding;
mod gossip;
mod joining;
mod lacking;
mod leading;
mod lists;
mod memberlist;
mod merging;
mod observing;
mod orders;
mod probing;
mod receive;
mod reconciling;
mod renewal;
mod room;
mod sending;
mod speaking;
mod tickets;
mod touching;

use departure::Departure;
use door::Door;
use flooding::Flooding;
use joining::Joining;
use leading::Leading;
use observing::Observing;
use orders::Orders;
use sending::{Outgoing, Peer};
use speaking::Speaking;
pub use touching::Coming;

/// How often departed members are looked through.
const REAP_EVERY: Duration = Duration::from_secs(10);
/// Wishes for fresh handshakes that nobody has fetched; a driver fetches them after every call.
const SILENT: usize = 64;

/// What a node is born with.
pub struct Birth {
    /// Validated parameters: nodes of one process may share them.
    pub config: Arc<Config>,
    /// What it says of itself; `metadata_version` and `cluster_id` are set by the node.
    pub metadata: Metadata,
    /// Where it listens, the preferred address first.
    pub addresses: Vec<SocketAddr>,
    /// The wall clock at its start, which is the generation of its incarnation unless
    /// `least_generation` is higher.
    pub born: WallTime,
    /// The least generation to begin with: one above the highest that an earlier life had, where
    /// that is known; 0 where it is not (rule S-12).
    pub least_generation: u64,
    /// Keys and certificates.
    pub authority: Arc<dyn Authority>,
    /// Seed of every random choice.
    pub seed: u64,
}

/// The record of a new life under its own signature, if it is one that others will take.
fn signed(
    record: NodeRecord,
    config: &Config,
    authority: &dyn Authority,
) -> Result<Arc<SignedRecord>, CommandError> {
    departure::check(&record, config)?;
    SignedRecord::author(record, authority).map(Arc::new).ok_or(CommandError::Signing)
}

/// One member. Generic over its table so that a simulation can share members between nodes.
///
/// The fields stand in memory as they stand here: what nearly every datagram and deadline reads side by
/// side, from the end of `speaking` to the beginning of `observing`, and the rest around it. A node that
/// has fallen out of the processor's caches meanwhile is back with fewer of their lines.
#[repr(C)]
pub struct Node<T: MemberTable = DenseTable> {
    speaking: Speaking,
    // From here on what is read all the time.
    timers: Timers<Timer>,
    outbox: VecDeque<Outgoing>,
    spare: Vec<Vec<u8>>,
    /// Bursts so far.
    bursts: u64,
    events: VecDeque<Event>,
    overflow: u64,
    streams: VecDeque<StreamRequest>,
    rng: fastrand::Rng,
    local: MemberId,
    config: Arc<Config>,
    /// Our newest record, the one in the table: every ack names its incarnation.
    own: Arc<SignedRecord>,
    version: u64,
    awareness: Awareness,
    /// Whether we hold our tongue because of our clock (rule S-12).
    silent: bool,
    /// A signed record of ours above our own has been seen.
    superseded: bool,
    contacts: Contacts,
    probes: Probes,
    relays: Relays,
    clocks: Clocks,
    joining: Joining,
    departure: Departure,
    lists: Lists,
    queue: Queue,
    agreement: Agreement,
    table: T,
    observing: Observing,
    // From here on what is seldom read, but for the first counters.
    stats: Stats,
    authority: Arc<dyn Authority>,
    order: ProbeOrder,
    suspicions: IdMap<Suspicion>,
    noticed: IdMap<Instant>,
    pulls: Pulls,
    chains: Chains,
    parts: Parts,
    early: Early,
    tombstones: Tombstones,
    signers: Signers,
    orders: Orders,
    recent: Recent,
    /// The last digest of the datagram being read that was answered with what its sender lacks.
    answered: Option<u64>,
    reconciler: Reconciler,
    partners: Partners,
    storm: Storm,
    push_pull: PushPull,
    flooding: Flooding,
    leading: Leading,
    door: Door,
    /// When a state, or a piece of one, came last.
    merged: Instant,
    /// What is applied is not told on: it comes with a state that we join by.
    mute: bool,
    /// When we last forgot contacts that are no members.
    tidied: Instant,
    /// When the departed were last looked through.
    reaped: Instant,
    /// What we will say of ourselves when we are back from exile, if that differs (rule D-13).
    held: Option<NodeRecord>,
    /// When we were last told that we had been buried (rule H-3).
    corrected: Option<Instant>,
    list_wishes: VecDeque<StreamRequest>,
    /// Who is silent, and where they should listen.
    late: VecDeque<Peer>,
}

impl<T: MemberTable> Node<T> {
    /// A node that is alone until it is told to join.
    ///
    /// # Errors
    /// [`CommandError`] when the metadata is incomplete or too large, or the authority refuses
    /// to sign.
    pub fn new(now: Instant, birth: Birth) -> Result<Self, CommandError> {
        let table = T::for_cluster(&birth.config.cluster_id, birth.config.rings);
        Self::on_table(now, birth, table)
    }

    /// A node that knows the members of `table` from the start: one that was saved, or one that
    /// many nodes share. Its own record in it, if there is one, is replaced, unless it is the very
    /// record that this life begins with: then there is nothing to announce.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn on_table(now: Instant, birth: Birth, table: T) -> Result<Self, CommandError> {
        let Birth { config, metadata, addresses, born, least_generation, authority, seed } = birth;
        let metadata =
            Metadata { metadata_version: 1, cluster_id: config.cluster_id.clone(), ..metadata };
        let generation = born.0.max(least_generation);
        let incarnation = Incarnation { generation, counter: 0 };
        let mut record = first_record(&config.cluster_id, incarnation, addresses, metadata);
        let local = record.id;
        let leading = Leading::new(&config.scopes);
        record.standing = leading.first_standing();
        let own = signed(record, &config, authority.as_ref())?;
        let mut node = Self {
            queue: Queue::new(config.detector == Detector::Observers),
            rng: fastrand::Rng::with_seed(seed ^ local.prefix()),
            config,
            authority,
            local,
            own,
            table,
            version: 0,
            timers: Timers::default(),
            order: ProbeOrder::default(),
            probes: Probes::default(),
            relays: Relays::default(),
            awareness: Awareness::default(),
            contacts: Contacts::default(),
            observing: Observing::default(),
            suspicions: IdMap::default(),
            noticed: IdMap::default(),
            recent: Recent::default(),
            answered: None,
            lists: Lists::default(),
            pulls: Pulls::default(),
            chains: Chains::default(),
            parts: Parts::default(),
            early: Early::default(),
            clocks: Clocks::new(now, born),
            silent: false,
            tombstones: Tombstones::default(),
            signers: Signers::default(),
            orders: Orders::default(),
            agreement: Agreement::default(),
            partners: Partners::default(),
            storm: Storm::default(),
            reconciler: Reconciler::default(),
            push_pull: PushPull::default(),
            flooding: Flooding::default(),
            speaking: Speaking::default(),
            joining: Joining::default(),
            leading,
            door: Door::default(),
            merged: now,
            mute: false,
            departure: Departure::default(),
            tidied: now,
            reaped: now,
            held: None,
            corrected: None,
            superseded: false,
            outbox: VecDeque::new(),
            bursts: 0,
            spare: Vec::new(),
            events: VecDeque::new(),
            overflow: 0,
            streams: VecDeque::new(),
            list_wishes: VecDeque::new(),
            late: VecDeque::new(),
            stats: Stats::default(),
        };
        node.begin_life(now);
        Ok(node)
    }

    fn begin_life(&mut self, now: Instant) {
        self.forget_doubts(now);
        self.take_place(now);
        self.note_everybodys_terms(now);
        // A random first offset keeps nodes that start together from probing in step.
        let offset = self.config.interval.mul_f64(self.rng.f64());
        self.timers.set(Timer::ProbeRound, now + offset);
        self.timers.set(Timer::Reap, now + REAP_EVERY);
        if self.observes() {
            self.begin_observing(now);
        }
    }

    /// Messages of an authenticated member arrived from `address`.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: MemberId,
        address: SocketAddr,
        payload: &[u8],
    ) {
        self.receive(now, Peer { id: from, address }, payload);
    }

    /// A handshake that we began showed a fresh signature of `peer` (rule S-9): as good as an ack
    /// of a probe under way, and nothing else. `seed` tells that the dial named no id.
    pub fn handle_peer_proven(
        &mut self,
        now: Instant,
        peer: MemberId,
        address: SocketAddr,
        seed: bool,
    ) {
        if self.departure.is_stopped() {
            return;
        }
        self.contacts.heard(now, peer);
        self.heard_from(now, peer);
        if seed {
            self.joining.seed_is(address, peer);
        }
        // A ticket is asked for once the session carries datagrams, or it would begin another one.
        if !self.config.parts().extras {
            self.ask_for_state(now, Peer { id: peer, address });
        }
        if let Some((sequence, acked)) = self.probes.proven(peer) {
            self.probe_answered(sequence, acked);
        }
        if self.observes() {
            self.observed_proof_of_life(now, peer);
        }
    }

    /// A seed at `address` showed our own certificate: most likely it is ourselves (rule J-1).
    pub fn handle_own_address(&mut self, now: Instant, address: SocketAddr) {
        self.joining.is_ours(now, address);
    }

    /// A state, or a piece of one, arrived over a stream of an authenticated member. Returns how many
    /// of its entries a signature check refused: they cost us much and the member nothing.
    pub fn handle_sync(&mut self, now: Instant, from: MemberId, entries: &[u8]) -> u64 {
        if self.departure.is_stopped() {
            return 0;
        }
        self.merged = now;
        self.joining.piece_came(now, from);
        self.merge(now, from, entries)
    }

    /// A wished exchange with `from` ended.
    pub fn handle_stream_closed(&mut self, from: MemberId, extent: Extent, complete: bool) {
        if self.joining.exchange_ended(from, extent, complete) {
            self.joined();
            self.emit(Event::JoinComplete);
        }
        if !complete {
            self.stats.reject("stream");
        }
    }

    /// A host's command.
    ///
    /// # Errors
    /// [`CommandError`] says what the host asked wrongly; nothing has changed then.
    pub fn handle_command(&mut self, now: Instant, command: Command) -> Result<(), CommandError> {
        match command {
            Command::Join(seeds) => self.join(now, seeds),
            Command::SetMetadata(metadata) => self.set_metadata(now, metadata),
            Command::ReviseMetadata(metadata) => self.revise_metadata(now, metadata),
            Command::SetLifecycle(lifecycle) => self.set_lifecycle(now, lifecycle),
            Command::Leave => self.leave(now),
            Command::ForceLeave(order) => self.force_leave(now, &order),
            Command::Broadcast(broadcast) => self.broadcast(now, &broadcast),
            Command::Send { to, topic, bytes } => self.send_message(now, (to, topic), &bytes),
        }
    }

    /// Acts on every deadline that has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.forgive_a_stall(now);
        while let Some(timer) = self.timers.pop_due(now) {
            self.stats.probe_rounds += u64::from(timer == Timer::ProbeRound);
            if self.is_silent() {
                self.wait_for_the_clock(now, timer);
                continue;
            }
            match timer {
                Timer::ProbeRound => self.probe_round(now),
                Timer::PingLate(sequence) if self.observes() => self.watch_late(now, sequence),
                Timer::PingLate(sequence) => self.ping_late(now, sequence),
                Timer::ProbeEnd(sequence) => self.probe_ended(now, sequence),
                Timer::RelayLate(sequence) => self.relay_late(sequence),
                Timer::Suspicion(id) => self.suspicion_matured(now, id),
                Timer::Ring => self.look_at_rings(now),
                Timer::Watch => self.watch_due(now),
                Timer::Test(id) => self.drive_test(now, id),
                Timer::Audit => self.audit(now),
                Timer::Gossip => self.gossip_tick(now),
                Timer::Pull => self.pull_again(now),
                Timer::Record => self.apply_waiting(now),
                Timer::Walk => self.walk(now),
                Timer::Reap => self.reap(now),
                Timer::Leave => self.leave_again(now),
                Timer::Leaders => self.look_at_leaders(now),
                Timer::Ticket => self.tickets_due(now),
            }
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.overflow > 0 {
            return Some(Event::Overflow(core::mem::take(&mut self.overflow)));
        }
        let event = self.events.pop_front();
        if event.is_none() {
            self.events.clear();
            // Membership comes first.
            return self.speaking.poll();
        }
        event
    }

    /// The next wish for a bulk exchange.
    pub fn poll_stream(&mut self) -> Option<StreamRequest> {
        self.streams.pop_front()
    }

    /// The next member that is silent (rules D-5 and F-1), and where it should listen: a fresh
    /// handshake beside its pings reaches it even if it has lost our session (rule S-9).
    pub fn poll_silent(&mut self) -> Option<(MemberId, SocketAddr)> {
        self.late.pop_front().map(|peer| (peer.id, peer.address))
    }

    /// Asks for a fresh handshake with `id`; the oldest such wish makes room.
    fn look_afresh(&mut self, id: MemberId) {
        let Some(peer) = self.peer(id) else { return };
        if self.late.len() >= SILENT {
            self.late.pop_front();
        }
        self.late.push_back(peer);
    }

    /// When to call [`Node::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// Rises with every change of the membership.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// An immutable picture of the membership.
    pub fn view(&self, now: Instant) -> View {
        let view = self.table.view(self.local, self.version, now);
        view.listing(self.config.left_retention).with_leaders(self.leading.leaders())
    }

    /// Our own id.
    pub fn id(&self) -> MemberId {
        self.local
    }

    /// Our own newest record.
    pub fn local(&self) -> &Arc<SignedRecord> {
        &self.own
    }

    /// The member with this id.
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.table.get(id)
    }

    /// The table.
    pub fn table(&self) -> &T {
        &self.table
    }

    /// Our own exchanges with others, in no meaningful order.
    pub fn contacts(&self) -> impl Iterator<Item = (MemberId, Contact)> {
        self.contacts.iter()
    }

    /// Whether the first full exchange is done, or there is nobody to have it with.
    pub fn is_joined(&self) -> bool {
        self.joining.is_done()
    }

    /// Whether the last digest heard equals ours.
    pub fn agrees(&self) -> bool {
        self.agreement.holds()
    }

    /// Members that one gossip tick reaches at the present size and loss.
    pub fn fanout(&self) -> usize {
        self.raised_fanout(0)
    }

    fn raised_fanout(&self, late: usize) -> usize {
        self.config.fanout.raised(self.members(), self.measured_loss(), late)
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        Stats {
            queue_depth: self.queue.len() as u64,
            broadcasts_waiting: self.speaking.waiting().0 as u64,
            awareness: self.awareness.score(),
            baseline_permille: self.baseline_permille(),
            pulls_refused: self.pulls.refused(),
            storms: self.storm.storms(),
            ..self.stats.clone()
        }
    }

    /// Enters our first record, unless the table brought that very one along.
    fn take_place(&mut self, now: Instant) {
        match self.table.get(self.local) {
            Some(known) if *known.record == *self.own => self.own = known.record.clone(),
            Some(_) | None => {
                let record = self.own.clone();
                self.put(now, Member { record: record.clone(), state: State::Alive, since: now });
                self.announce(now, &record, State::Alive);
            }
        }
    }

    // --- what the routed parts share ---

    fn members(&self) -> usize {
        self.table.counts().present()
    }

    /// A doubt that came with the table has no deadline here: nobody would ever end it.
    fn forget_doubts(&mut self, now: Instant) {
        if self.table.counts().suspect == 0 {
            return;
        }
        let present = self.table.members(List::Present);
        let doubted: Vec<Member> =
            present.filter(|member| member.state == State::Suspect).cloned().collect();
        for member in doubted {
            self.table.put(Member { state: State::Alive, since: now, ..member });
        }
    }

    fn put(&mut self, now: Instant, member: Member) {
        self.version += 1;
        if member.id() == self.local {
            self.own = member.record.clone();
        }
        let id = member.id();
        let known = self.table.get(id);
        let before = known.map_or(0, Member::digest_share);
        let after = member.digest_share();
        let former = known.and_then(|known| speaking::former(known, &member));
        self.note_terms(now, &member);
        self.note_former(now, former);
        self.table.put(member);
        if before != after {
            // Of one member many changes are one: nobody makes a storm alone.
            if !self.recent.names(now, id) {
                self.storm.changed(now, self.members());
            }
            self.recent.changed(now, id, (before, after));
        }
        let moved = (before == 0) != (after == 0);
        if moved && self.observes() {
            self.ring_changed(now);
        }
    }

    fn emit(&mut self, event: Event) {
        if self.events.len() >= self.config.limits.events {
            self.events.pop_front();
            self.overflow += 1;
            self.stats.events_lost += 1;
        }
        self.events.push_back(event);
    }
}
