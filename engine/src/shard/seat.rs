//! One agent on its shard: its node, its links, its socket.
//!
//! Invariants: what the node wants sent is sealed by the links or not sent at all; the view is
//! published after every change of its version, at most once a drain.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_gossip_proto::{
    Command, CommandError, DenseTable, Duration, Event, Extent, Instant, MemberId, Node, WallTime,
};

use tracing::Level;

use crate::clock;
use crate::control::ControlMessage;
use crate::control::runtime::ControlHandle;
use crate::io::{AnyDatagrams, Datagrams, IoStats, SocketId};
use crate::link::pacing::Pace;
use crate::link::{LinkEvent, Links};
use crate::metrics::RoundTrips;
use crate::orders::{Adjustment, AgentId, Inspection, Renewal, Reply, Work};
use crate::shared::Shared;
use crate::snapshot::Published;

use super::records::{Recorded, Records};

/// Failed handshakes that are logged: so many at once, then one each refill. All are counted.
const FAILURES_AT_ONCE: u32 = 16;
const FAILURES_REFILL: Duration = Duration::from_secs(1);
/// Sessions whose end by a change of trust is logged, likewise.
const FALLS_AT_ONCE: u32 = 256;

/// What a drain writes to.
pub(super) struct Outside<'a> {
    pub(super) io: &'a mut AnyDatagrams,
    pub(super) control: &'a ControlHandle,
    pub(super) records: &'a mut Records,
    /// Something waits for room in the control thread's queue; nothing may overtake it.
    pub(super) behind: bool,
}

impl Outside<'_> {
    /// Hands work to the control thread; says whether it had room.
    fn tell(&self, work: Work) -> bool {
        !self.behind && self.control.try_send(ControlMessage::Work(work)).is_ok()
    }
}

/// One agent.
pub(super) struct Seat {
    agent: AgentId,
    node: Node<DenseTable>,
    links: Links,
    socket: SocketId,
    shared: Arc<Shared>,
    /// Seeds are configured and no address of theirs has been dialled yet.
    awaits_seeds: bool,
    published: u64,
    /// Whose sessions the links keep warm.
    neighbours: Vec<MemberId>,
    /// As of which look at the rings.
    rings: u64,
    round_trips: RoundTrips,
    touched: bool,
    plain: Vec<u8>,
    /// Whoever waits for the leave to be complete.
    leaving: Vec<Reply<Result<usize, CommandError>>>,
    /// Events that the control thread had no room for since the host was last told,
    lost: u64,
    /// and of what other hosts said.
    missed: u64,
    /// Strangers can make handshakes fail as often as they like; log lines they cannot.
    failures: Pace,
    /// The same for sessions whose certificate counts no longer.
    falls: Pace,
}

impl Seat {
    pub(super) fn new(
        agent: AgentId,
        node: Node<DenseTable>,
        links: Links,
        socket: SocketId,
        shared: Arc<Shared>,
        has_seeds: bool,
    ) -> Self {
        let published = shared.snapshot.load().view.version();
        let round_trips = shared.metrics.round_trips();
        Self {
            agent,
            node,
            links,
            socket,
            shared,
            awaits_seeds: has_seeds,
            published,
            neighbours: Vec::new(),
            rings: 0,
            round_trips,
            touched: false,
            plain: Vec::new(),
            leaving: Vec::new(),
            lost: 0,
            missed: 0,
            failures: Pace::new(FAILURES_AT_ONCE, FAILURES_REFILL),
            falls: Pace::new(FALLS_AT_ONCE, FAILURES_REFILL),
        }
    }

    pub(super) fn socket(&self) -> SocketId {
        self.socket
    }

    /// Marks the seat for the next drain; says whether it was not marked yet.
    pub(super) fn touch(&mut self) -> bool {
        !std::mem::replace(&mut self.touched, true)
    }

    pub(super) fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        if let Some(delivery) = self.links.receive(now, from, datagram) {
            self.node.handle_datagram(now, delivery.from, delivery.path, delivery.payload);
        }
    }

    /// A datagram that begins like this comes before long.
    pub(super) fn foresee(&self, front: &[u8]) {
        self.links.foresee(front);
    }

    /// Counts a handshake datagram that found no place to wait.
    pub(super) fn turn_away(&mut self) {
        self.links.count_turned_away();
    }

    /// Acts on what is due; `crowded` tells when the shard turned handshakes away last.
    pub(super) fn fire(&mut self, now: Instant, crowded: Option<Instant>) {
        if let Some(at) = crowded {
            self.node.handle_crowd(at);
        }
        self.links.handle_timeout(now);
        if self.node.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.node.handle_timeout(now);
        }
    }

    pub(super) fn command(&mut self, now: Instant, command: Command) -> Result<(), CommandError> {
        if let Command::Join(addresses) = &command
            && !addresses.is_empty()
        {
            self.awaits_seeds = false;
        }
        self.node.handle_command(now, command)
    }

    /// Takes over a certificate of ours, and acts on a change of trust (rules S-15 and S-16).
    pub(super) fn renew(&mut self, now: Instant, renewal: Renewal) -> Result<(), CommandError> {
        let Renewal { authority, revoked, lists } = renewal;
        self.links.handle_trust(now);
        for (member, incarnation) in revoked {
            self.node.handle_revoked(now, member, incarnation);
        }
        self.node.handle_lists(now, &lists);
        if let Some(authority) = authority {
            // Signed first: a record must not lag behind the certificate that peers see.
            self.node.handle_authority(now, authority.clone())?;
            self.links.set_authority(now, authority);
        }
        Ok(())
    }

    /// Takes over other options.
    pub(super) fn adjust(&mut self, adjustment: Adjustment) -> Result<(), CommandError> {
        match adjustment {
            Adjustment::Weigh(metadata) => self.node.weigh_metadata(&metadata),
            Adjustment::Take { left_retention, peer_labels, has_seeds } => {
                self.node.set_left_retention(left_retention);
                self.round_trips.set_policy(peer_labels, &self.shared.snapshot.load().view);
                self.awaits_seeds &= has_seeds;
                Ok(())
            }
        }
    }

    pub(super) fn tell_when_left(&mut self, reply: Reply<Result<usize, CommandError>>) {
        self.leaving.push(reply);
    }

    /// Merges a piece of another's state; returns how many of its entries were forged.
    pub(super) fn sync(&mut self, now: Instant, from: MemberId, entries: &[u8]) -> u64 {
        self.node.handle_sync(now, from, entries)
    }

    pub(super) fn stream_closed(&mut self, from: MemberId, extent: Extent, complete: bool) {
        self.node.handle_stream_closed(from, extent, complete);
    }

    pub(super) fn drop_sessions(&mut self) {
        self.links.drop_all();
    }

    /// How the agent is; the shard fills in what is its own.
    pub(super) fn inspect(&self, now: Instant, wall: WallTime) -> Inspection {
        Inspection {
            now,
            wall,
            stats: self.node.stats(),
            contacts: self.node.contacts().collect(),
            links: self.links.stats(),
            io: IoStats::default(),
            receive_drops: 0,
            recorded: Recorded::default(),
            joined: self.shared.is_joined(),
            queue_age: self.node.queue_age(now),
            agrees: self.node.agrees(),
            fanout: self.node.fanout(),
        }
    }

    /// Carries out everything that the agent wants; returns its next deadline.
    pub(super) fn drain(&mut self, now: Instant, outside: &mut Outside<'_>) -> Option<Instant> {
        self.touched = false;
        loop {
            self.take_link_events(now, outside);
            while let Some((peer, address)) = self.node.poll_silent() {
                self.links.look_afresh(now, peer, address);
            }
            let sent = self.send_all(now, outside);
            if !sent {
                break;
            }
        }
        // Whoever is told of a change finds it in the view.
        self.publish(now);
        self.tell_neighbours();
        self.take_events(now, outside);
        while let Some(request) = self.node.poll_stream() {
            let (peer, extent) = (request.peer, request.extent());
            let work = Work::Stream { agent: self.agent, request };
            if !outside.tell(work) {
                // The control thread is behind; the node asks again when the cause persists.
                self.node.handle_stream_closed(peer, extent, false);
            }
        }
        while let Some(wish) = self.node.poll_list_wish() {
            // A wish that finds no room is made again by the next notice.
            let _ = outside.tell(Work::Lists { agent: self.agent, wish });
        }
        let node = self.node.poll_timeout().map(|(at, _)| at);
        Instant::earliest(node, self.links.poll_timeout())
    }

    /// Sends what node and links have; says whether there was anything.
    fn send_all(&mut self, now: Instant, outside: &mut Outside<'_>) -> bool {
        let mut any = false;
        while let Some(transmit) = self.node.poll_transmit(now, &mut self.plain) {
            any = true;
            let Self { links, plain, .. } = self;
            let mut seal = |room: &mut [u8]| links.send_into(now, &transmit, plain, room);
            if outside.io.send_with(self.socket, &mut seal) {
                outside.records.queued();
            }
        }
        while let Some((to, datagram)) = self.links.poll_transmit() {
            any = true;
            outside.io.send(self.socket, to, &datagram);
        }
        any
    }

    fn take_link_events(&mut self, now: Instant, outside: &Outside<'_>) {
        while let Some(event) = self.links.poll_event() {
            match event {
                LinkEvent::Proven { peer, path, seed } => {
                    self.node.handle_peer_proven(now, peer, path, seed);
                }
                LinkEvent::Ourselves { path } => self.node.handle_own_address(now, path),
                LinkEvent::Failed { .. } if !self.failures.take(now) => {}
                // Trust that loses a root ends every session at once.
                LinkEvent::Fallen { .. } if !self.falls.take(now) => {}
                LinkEvent::Rejected { .. }
                | LinkEvent::Failed { .. }
                | LinkEvent::Fallen { .. } => {
                    let work = Work::Link { agent: self.agent, event };
                    // A log line that is lost is counted by the links all the same.
                    let _ = outside.tell(work);
                }
            }
        }
    }

    fn take_events(&mut self, now: Instant, outside: &mut Outside<'_>) {
        while let Some(event) = self.node.poll_event() {
            self.shared.metrics.observe(&event);
            self.round_trips.observe(&event);
            if let Event::RoundTrip { peer: _, rtt } = event {
                outside.records.acked(rtt);
            }
            match event {
                Event::Broadcast { .. } | Event::Message { .. } => {
                    self.pass_on(event, outside);
                    continue;
                }
                // Frequent: they cross only for somebody who reads them.
                Event::RoundTrip { .. } if !tracing::enabled!(target: "mesh_gossip", Level::TRACE) =>
                {
                    continue;
                }
                Event::ProbeFailed(_) if !tracing::enabled!(target: "mesh_gossip", Level::DEBUG) => {
                    continue;
                }
                Event::Refuted(_) => self.links.forgive(now),
                Event::Suspected { ref record, .. } => {
                    self.links.count_doubt(now, record.record().id);
                }
                Event::LeaderChanged { .. } => self.shared.bell.ring(),
                Event::LeaveComplete { acknowledged } => {
                    for reply in self.leaving.drain(..) {
                        reply(Ok(acknowledged));
                    }
                }
                Event::RoundTrip { .. }
                | Event::ProbeFailed(_)
                | Event::Joined(_)
                | Event::Recovered { .. }
                | Event::Left { .. }
                | Event::Updated(_)
                | Event::Unreachable(_)
                | Event::Forgotten(_)
                | Event::Conflict(_)
                | Event::Alarm(_)
                | Event::RecordRejected { .. }
                | Event::JoinComplete => {}
                // Told with what is lost here, so that losing the word loses no count.
                Event::Missed(count) => {
                    self.missed += count;
                    continue;
                }
                Event::Overflow(count) => {
                    self.lost += count;
                    continue;
                }
            }
            self.tell(event, outside);
        }
        self.tell_lost(outside);
        if !self.awaits_seeds && self.node.is_joined() && !self.shared.is_joined() {
            self.shared.set_joined();
        }
    }

    /// Passes an event to the control thread; what it has no room for is counted, and the host is
    /// told by a later turn.
    fn tell(&mut self, event: Event, outside: &Outside<'_>) {
        self.tell_lost(outside);
        let (agent, at) = (self.agent, clock::wall());
        if !outside.tell(Work::Event { agent, at, event }) {
            self.lost += 1;
            self.shared.metrics.events_lost(1);
        }
    }

    fn tell_lost(&mut self, outside: &Outside<'_>) {
        let word = |agent, event| Work::Event { agent, at: clock::wall(), event };
        if self.lost > 0 && outside.tell(word(self.agent, Event::Overflow(self.lost))) {
            self.lost = 0;
        }
        let may_say = self.missed > 0 && !outside.control.is_busy();
        if may_say && outside.tell(word(self.agent, Event::Missed(self.missed))) {
            self.missed = 0;
        }
    }

    /// Passes what another host said to the control thread, unless that has enough to do: what is
    /// told of members comes first. What is lost is counted, and the host is told.
    fn pass_on(&mut self, event: Event, outside: &Outside<'_>) {
        let (agent, at) = (self.agent, clock::wall());
        self.tell_lost(outside);
        if outside.control.is_busy() || !outside.tell(Work::Event { agent, at, event }) {
            self.missed += 1;
            self.shared.metrics.events_lost(1);
        }
    }

    /// Tells the links whose sessions to keep warm, when that has changed.
    fn tell_neighbours(&mut self) {
        let looks = self.node.looks_at_rings();
        if looks == self.rings {
            return;
        }
        self.rings = looks;
        let neighbours: Vec<MemberId> = self.node.neighbours().collect();
        if neighbours != self.neighbours {
            self.links.keep_warm(neighbours.iter().copied());
            self.neighbours = neighbours;
        }
    }

    fn publish(&mut self, now: Instant) {
        let version = self.node.version();
        if version == self.published {
            return;
        }
        self.published = version;
        let view = self.node.view(now);
        self.links.set_members(view.counts().present());
        self.round_trips.resume_naming(&view);
        self.shared.snapshot.publish(Published { view, at: clock::wall() });
    }
}
