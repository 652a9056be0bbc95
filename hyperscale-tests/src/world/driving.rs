//! The loop: what is due is handled, and what a node wishes goes into the calendar.

use std::sync::Arc;

use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::{Command, Destination, Instant, MemberId, Node, Transmit, WallTime};

use super::{EPOCH_MS, Host, What, World, address, index_of, metadata, name};
use crate::authority::ModelAuthority;
use crate::sessions::{Links, Made, Target};
use crate::table::SimTable;
use crate::trace::Kind;
use crate::watch::Told;

/// Datagrams that wait at a paused node, each way: about what a socket's buffer of 208 KiB takes.
const MOST_HELD: usize = 256;
/// Bits of a sealed datagram that a garbling member flips.
const MOST_FLIPS: usize = 4;

impl<T: SimTable> World<T> {
    /// Enters a node that does not run yet; returns its index.
    pub(super) fn enter(&mut self) -> usize {
        let index = self.hosts.len();
        let cluster = &self.config.cluster_id;
        let id = MemberId::derive(cluster, &name(index));
        T::expect(&mut self.common, index + 1, |index| MemberId::derive(cluster, &name(index)));
        self.hosts.push(Host {
            node: None,
            life: 0,
            wake: None,
            due: None,
            links: Links::default(),
            skew_ms: 0,
            paused: None,
        });
        self.ids.push(id);
        self.is_seed.push(false);
        self.roll.enter(id);
        self.books.enter();
        index
    }

    /// What the next life of a node is born with.
    pub(super) fn birth(&mut self, index: usize, now: Instant) -> Birth {
        let host = &self.hosts[index];
        if host.skew_ms != 0 {
            self.fired.skewed += 1;
        }
        let wall_ms = EPOCH_MS + now.as_nanos() / 1_000_000;
        Birth {
            config: self.config.clone(),
            metadata: metadata(index, self.network.region(index)),
            addresses: vec![address(index)],
            born: WallTime(wall_ms.saturating_add_signed(host.skew_ms)),
            least_generation: 0,
            authority: Arc::new(self.authority(index)),
            seed: self.seed ^ u64::from(host.life) << 32,
        }
    }

    /// The keys of a node: of this one alone.
    pub(crate) fn authority(&self, index: usize) -> ModelAuthority {
        ModelAuthority::new(&name(index), self.hosts[index].links.edition, self.notary.clone())
    }

    /// Starts a node as a new life that joins through the seeds.
    pub(super) fn start(&mut self, index: usize) {
        let now = self.now;
        let birth = self.birth(index, now);
        let table = T::empty(&self.common, &self.config);
        match Node::on_table(now, birth, table) {
            Ok(node) => self.lives(index, node),
            Err(error) => panic!("{}: {error}", self.replay()),
        }
        self.command(index, Command::Join(self.seeds.clone()));
    }

    /// A node's life begins.
    pub(super) fn lives(&mut self, index: usize, node: Node<T>) {
        self.notary.share(node.local());
        self.hosts[index].node = Some(Box::new(node));
        self.hosts[index].life += 1;
        self.roll.starts(index, self.now);
        self.books.now_running(self.now, self.roll.running());
        self.show_standing(index);
    }

    /// A node's life ends without a goodbye.
    pub(super) fn end(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.node = None;
        host.life += 1;
        (host.wake, host.due) = (None, None);
        for buffer in host.links.take_pending() {
            self.pool.free(buffer);
        }
        host.links = Links::showing(host.links.edition);
        if let Some(held) = host.paused.take() {
            self.drop_held(*held);
        }
        self.roll.ends(index, self.now);
        self.books.now_running(self.now, self.roll.running());
        self.show_standing(index);
    }

    fn show_standing(&mut self, index: usize) {
        for watch in &mut self.watches {
            watch.standing(self.now, index, &self.roll);
        }
    }

    pub(super) fn next_time(&mut self) -> Option<Instant> {
        self.wheel.next_time()
    }

    /// Handles the next happening.
    pub(super) fn step(&mut self) {
        let Some((at, what)) = self.wheel.pop() else { return };
        self.now = at;
        self.look_ahead();
        self.handle(what);
    }

    pub(super) fn handle(&mut self, what: What) {
        self.books.events += 1;
        match what {
            What::Wake { node } => self.wake(node as usize),
            What::Datagram { to, from, life, serial, bytes } => {
                self.arrive(what, to as usize, from as usize, (life, serial), bytes);
            }
            What::Rekey { node, edition } => self.rekey_step(node as usize, edition),
            What::Retire { node, peer, serial, told } => self.retire(node, peer, serial, told),
            What::Word { to, from, life, serial } => self.word(what, to, from, life, serial),
            What::Handshake { client, target, serial, step } => {
                self.handshake_step(client, target, serial, step);
            }
            What::Hint { to, from } => self.hinted(to, from),
            What::Exchange { from, to, life, wish, stalls } => {
                self.exchange(from as usize, to as usize, life, wish, stalls);
            }
            What::Fault { number } => self.befall(number as usize),
            What::Fold => self.fold(),
        }
    }

    fn wake(&mut self, index: usize) {
        let now = self.now;
        let host = &mut self.hosts[index];
        if host.wake != Some(now) {
            self.books.events -= 1;
            return;
        }
        host.wake = None;
        // Most deadlines are those of answers that came in time: the node need not be asked, and
        // nothing has happened.
        if host.due.is_some_and(|due| due > now) {
            self.books.events -= 1;
            return self.set_wake(index);
        }
        if let Some(node) = &mut host.node {
            self.trace.add(now.as_nanos(), Kind::Wake, index, &[]);
            node.handle_timeout(now);
            self.drain(index);
        }
    }

    /// A sealed datagram reaches `to`, on a session with its life `life`.
    fn arrive(
        &mut self,
        what: What,
        to: usize,
        from: usize,
        (life, serial): (u32, u32),
        buffer: u32,
    ) {
        let now = self.now;
        let host = &mut self.hosts[to];
        if host.node.is_none() {
            return self.pool.free(buffer);
        }
        if host.paused.is_some() {
            return self.hold_arrival(to, what);
        }
        if host.life != life {
            self.pool.free(buffer);
            self.fired.stale += 1;
            return self.send_hint(to, from);
        }
        if !self.opens(to, from as u32, serial) {
            self.pool.free(buffer);
            self.fired.left += 1;
            return self.send_hint(to, from);
        }
        // Both ends of a session were told of it in their present lives. Whether it was heard
        // from matters for seeds alone.
        if self.is_seed[from] {
            self.hosts[to].links.heard(now, from as u32);
        }
        let sender = self.ids[from];
        let bytes = self.pool.take(buffer);
        self.trace.add(now.as_nanos(), Kind::Delivery, to, &bytes);
        if let Some(node) = &mut self.hosts[to].node {
            node.handle_datagram(now, sender, address(from), &bytes);
        }
        self.pool.give_back(buffer, bytes);
        self.drain(to);
    }

    /// Delivers bytes of `from` as though sealed by it.
    pub(super) fn deliver_forged(&mut self, to: usize, from: usize, bytes: &[u8]) {
        let sender = self.ids[from];
        if self.hosts[to].paused.is_some() {
            return;
        }
        if let Some(node) = &mut self.hosts[to].node {
            self.trace.add(self.now.as_nanos(), Kind::Delivery, to, bytes);
            node.handle_datagram(self.now, sender, address(from), bytes);
            self.drain(to);
        }
    }

    /// Delivers a state of `from` as though it came over a stream.
    pub(super) fn deliver_forged_state(&mut self, to: usize, from: usize, entries: &[u8]) {
        let sender = self.ids[from];
        if self.hosts[to].paused.is_some() {
            return;
        }
        if let Some(node) = &mut self.hosts[to].node {
            self.trace.add(self.now.as_nanos(), Kind::Stream, to, entries);
            node.handle_sync(self.now, sender, entries);
            self.drain(to);
        }
    }

    fn hold_arrival(&mut self, to: usize, what: What) {
        let Some(held) = &mut self.hosts[to].paused else { return };
        if held.arrived.len() < MOST_HELD {
            held.arrived.push_back(what);
            self.fired.held += 1;
            return;
        }
        self.fired.overrun += 1;
        if let What::Datagram { bytes, .. } = what {
            self.pool.free(bytes);
        }
    }

    /// Whether `to` is paused; what arrived then waits.
    pub(super) fn holds(&mut self, to: usize, what: What) -> bool {
        let paused = self.hosts[to].paused.is_some();
        if paused {
            self.hold_arrival(to, what);
        }
        paused
    }

    /// Takes everything that a node wishes after a change.
    pub(super) fn drain(&mut self, index: usize) {
        let now = self.now;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut datagrams = 0;
        while let Some(node) = &mut self.hosts[index].node {
            let Some((_, address)) = node.poll_silent() else { break };
            self.look_afresh(index, address);
        }
        while let Some(node) = &mut self.hosts[index].node {
            let Some(transmit) = node.poll_transmit(now, &mut buffer) else { break };
            self.send(index, transmit, &buffer);
            datagrams += 1;
        }
        self.buffer = buffer;
        self.books.most_at_once = self.books.most_at_once.max(datagrams);
        while let Some(node) = &mut self.hosts[index].node {
            let Some(event) = node.poll_event() else { break };
            self.tell(index, event);
        }
        let all = self.hosts.len();
        while let Some(node) = &mut self.hosts[index].node {
            let Some(request) = node.poll_stream() else { break };
            let Some(to) = index_of(request.address).filter(|to| *to < all) else {
                // Nobody is reached there.
                node.handle_stream_closed(request.peer, request.extent(), false);
                continue;
            };
            self.wish(index, to, request.members);
        }
        self.set_due(index);
    }

    /// Learns when the node wants to be woken.
    pub(super) fn set_due(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let Some(node) = &host.node else { return };
        host.due = node.poll_timeout().map(|(at, _)| at.max(self.now));
        self.set_wake(index);
    }

    /// Sees that a wake-up comes no later than the node wants it.
    fn set_wake(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if let Some(at) = host.due
            && host.wake.is_none_or(|set| at < set)
        {
            host.wake = Some(at);
            self.wheel.push(at, What::Wake { node: index as u32 });
        }
    }

    fn tell(&mut self, by: usize, event: mesh_gossip_proto::Event) {
        self.trace_event(by, &event);
        if matches!(event, mesh_gossip_proto::Event::Refuted(_)) {
            self.hosts[by].links.forgive(self.now);
        }
        for watch in &mut self.watches {
            watch.event(self.now, by, &event, &self.roll);
        }
        if self.recording {
            self.told.push(Told { at: self.now, by, event });
        }
    }

    /// A node sends: on a session if there is one, else after a handshake.
    pub(super) fn send(&mut self, from: usize, transmit: Transmit, bytes: &[u8]) {
        let Some(to) = index_of(transmit.address).filter(|to| *to < self.hosts.len()) else {
            return;
        };
        if let Some(tape) = &mut self.tape {
            if tape.len() == MOST_HELD {
                tape.pop_front();
            }
            tape.push_back(bytes.to_vec());
        }
        let host = &mut self.hosts[from];
        if let Some(held) = &mut host.paused {
            if held.leaving.len() < MOST_HELD {
                held.leaving.push_back((transmit, self.pool.hold(bytes)));
                self.fired.held += 1;
            } else {
                self.fired.overrun += 1;
            }
            return;
        }
        let (now, peer) = (self.now, to as u32);
        let seed = transmit.to == Destination::Seed;
        let target = Target { node: peer, seed };
        self.is_seed[to] |= seed;
        if seed && !host.links.is_fresh(now, peer) {
            return self.hold_and_dial(from, target, bytes);
        }
        let Some(session) = host.links.sending(now, peer) else {
            if self.acquainted && self.have_met(from, to) {
                self.hosts[from].links.establish(now, peer, Made::earlier(1));
                return self.put_on_wire(from, to, (1, 0), bytes);
            }
            return self.hold_and_dial(from, target, bytes);
        };
        self.put_on_wire(from, to, (session.life, session.serial), bytes);
        let member = Target { node: peer, seed: false };
        if session.doubted {
            // The copy on the old session costs little if there was no cause for doubt.
            self.dial(from, member);
            self.hold_for(from, member, bytes);
        }
    }

    /// Seals and carries.
    pub(super) fn put_on_wire(
        &mut self,
        from: usize,
        to: usize,
        (life, serial): (u32, u32),
        bytes: &[u8],
    ) {
        self.books.datagram(self.now, from, bytes);
        if let Some(views) = &mut self.views {
            views.note(from, to, bytes);
        }
        if let Some(regions) = self.network.regions(from, to) {
            self.books.between(regions, bytes.len());
        }
        let carried = self.network.carry(&mut self.rng, &mut self.fired, from, to);
        let Some(delay) = carried.delay else { return };
        let bytes = if carried.garbled { self.garble(bytes) } else { self.pool.hold(bytes) };
        let (to, from) = (to as u32, from as u32);
        self.wheel.push(self.now + delay, What::Datagram { to, from, life, serial, bytes });
    }

    fn garble(&mut self, bytes: &[u8]) -> u32 {
        self.fired.garbled += 1;
        let mut changed = bytes.to_vec();
        for _ in 0..self.rng.usize(1..=MOST_FLIPS) {
            if !changed.is_empty() {
                let at = self.rng.usize(..changed.len());
                changed[at] ^= 1 << self.rng.u8(..8);
            }
        }
        self.pool.hold(&changed)
    }
}
