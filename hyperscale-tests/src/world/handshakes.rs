//! Handshakes between two nodes: what arrives of each flight, what it costs, when it is repeated.
//!
//! The client has proof of the server after one round trip (rule S-9); its payloads leave after
//! two, when the server has confirmed (rule S-5). All that is known of one handshake stands at its
//! client; the server's life number tells whether the server still is who answered.

use std::net::SocketAddr;

use mesh_gossip_proto::Duration;
use mesh_gossip_proto::wire::message::{FRAME, kind};

use super::{Step, What, World, address, index_of};
use crate::sessions::{
    ACK_BYTES, Due, HINT_BYTES, INIT_BYTES, Made, PENDING, Parts, Phase, RESP_BYTES, Target,
};
use crate::table::SimTable;
use crate::trace::Kind;

/// What confirms a session: an empty message under its seal.
const CONFIRMATION: [u8; FRAME] = [kind::CONFIRM, 0, 0];
/// The datagrams of a server's flight.
const RESP: [(Parts, u64); 2] = [(Parts::FIRST, RESP_BYTES[0]), (Parts::SECOND, RESP_BYTES[1])];
/// The datagrams of a client's last flight.
const LAST: [(Parts, u64); 2] = [(Parts::FIRST, INIT_BYTES), (Parts::SECOND, INIT_BYTES)];

impl<T: SimTable> World<T> {
    /// Keeps a payload for when `target` is reached, and sees that somebody tries.
    pub(super) fn hold_and_dial(&mut self, from: usize, target: Target, bytes: &[u8]) {
        self.dial(from, target);
        self.hold_for(from, target, bytes);
    }

    /// Keeps a payload if a handshake is under way.
    pub(super) fn hold_for(&mut self, from: usize, target: Target, bytes: &[u8]) {
        let Some(dial) = self.hosts[from].links.dialling(target) else {
            self.books.unsent += 1;
            return;
        };
        // A seed gets the same hello again and again; the newest says everything.
        let most = if target.seed { 1 } else { PENDING };
        if dial.pending.len() >= most {
            self.pool.free(dial.pending.remove(0));
            self.books.unsent += u64::from(!target.seed);
        }
        dial.pending.push(self.pool.hold(bytes));
    }

    /// Begins a handshake unless one is under way or the pace forbids it.
    pub(super) fn dial(&mut self, from: usize, target: Target) {
        let serial = self.next_serial;
        if self.hosts[from].links.dial(self.now, target, serial) {
            self.next_serial = self.next_serial.wrapping_add(1);
            self.books.node(from).handshakes += 1;
            self.act(from as u32, target, serial);
        }
    }

    /// A peer is silent at `from`: a handshake beside the pings reaches one that has lost the
    /// session (rule S-9).
    pub(super) fn look_afresh(&mut self, from: usize, at: SocketAddr) {
        let Some(to) = index_of(at).filter(|to| *to < self.hosts.len()) else { return };
        let known = self.hosts[from].links.stands(self.now, to as u32)
            || self.acquainted && self.have_met(from, to);
        if known {
            self.dial(from, Target { node: to as u32, seed: false });
        }
    }

    pub(super) fn handshake_step(&mut self, client: u32, target: Target, serial: u32, step: Step) {
        let what = What::Handshake { client, target, serial, step };
        let code = match step {
            Step::Init { acknowledges } => acknowledges,
            Step::Resp { parts } => 0x10 | parts.code(),
            Step::Last { parts } => 0x20 | parts.code(),
            Step::Confirm => 0x30,
            Step::Acked => 0x40,
            Step::Retry => return self.act(client, target, serial),
        };
        let receiver = match step {
            Step::Init { .. } | Step::Last { .. } => target.node as usize,
            Step::Resp { .. } | Step::Acked | Step::Confirm | Step::Retry => client as usize,
        };
        if self.hosts[receiver].node.is_none() || self.holds(receiver, what) {
            return;
        }
        self.trace.add(self.now.as_nanos(), Kind::Handshake, receiver, &[code]);
        match step {
            Step::Init { acknowledges } => self.answer(client, target, serial, acknowledges),
            Step::Resp { parts } => self.answered(client, target, serial, parts),
            Step::Last { parts } => self.client_shown(client, target, serial, parts),
            Step::Acked => self.acked(client, target, serial),
            Step::Confirm => self.confirmed(client, target, serial),
            Step::Retry => {}
        }
    }

    /// A client's deadline, or its beginning: it sends, waits or gives up.
    fn act(&mut self, client: u32, target: Target, serial: u32) {
        let now = self.now;
        let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial) else { return };
        if dial.next > now {
            // Something came meanwhile and moved the deadline: it has a happening of its own.
            return;
        }
        let (due, phase) = (dial.due(now), dial.phase);
        let next = dial.next;
        match due {
            Due::End => return self.dial_failed(client, target),
            Due::Wait => {}
            Due::Send => match phase {
                Phase::Hello { came } => {
                    let step = Step::Init { acknowledges: u8::from(came.has(Parts::FIRST)) };
                    self.flight(
                        client,
                        target,
                        serial,
                        client,
                        &[(Parts::FIRST, INIT_BYTES)],
                        |_| step,
                    );
                }
                Phase::Finishing { acknowledged } => {
                    let flight = &LAST[usize::from(acknowledged)..];
                    let step = |parts| Step::Last { parts };
                    self.flight(client, target, serial, client, flight, step);
                }
            },
        }
        self.wheel.push(next, What::Handshake { client, target, serial, step: Step::Retry });
    }

    /// Carries a flight of handshake datagrams that `sender` sends, all with the first one's delay.
    fn flight(
        &mut self,
        client: u32,
        target: Target,
        serial: u32,
        sender: u32,
        datagrams: &[(Parts, u64)],
        step: impl Fn(Parts) -> Step,
    ) {
        let receiver = if sender == client { target.node } else { client };
        let (from, to) = (sender as usize, receiver as usize);
        if self.hosts[from].paused.is_some() {
            return;
        }
        let mut parts = Parts::default();
        let mut delay = None;
        for (part, size) in datagrams {
            self.books.handshake(from, *size);
            let carried = self.network.carry(&mut self.rng, &mut self.fired, from, to);
            if let Some(first) = carried.delay {
                parts.add(*part);
                delay = delay.or(Some(first));
            }
        }
        if let Some(delay) = delay {
            let what = What::Handshake { client, target, serial, step: step(parts) };
            self.wheel.push(self.now + delay, what);
        }
    }

    /// An INIT came: the server sends what the client has not acknowledged.
    fn answer(&mut self, client: u32, target: Target, serial: u32, acknowledges: u8) {
        let server = target.node;
        let (life, now) = (self.hosts[server as usize].life, self.now);
        let edition = self.hosts[server as usize].links.edition;
        let mut flight = &RESP[..];
        if let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial) {
            if dial.life.is_some_and(|before| before != life) {
                // Whoever answered is no more; this one knows nothing of the attempt.
                let Phase::Hello { came } = dial.phase else { return };
                if !came.is_empty() {
                    return;
                }
                (dial.life, dial.server) = (None, Default::default());
            }
            if dial.life.is_none() {
                (dial.life, dial.server_edition, dial.answered) = (Some(life), edition, now);
            }
            let known = &mut dial.server;
            known.acknowledged = known.acknowledged.max(acknowledges.into());
            if known.confirmed {
                return self.confirm(client, target, serial);
            }
            if !known.came.is_empty() {
                // The last flight has acknowledged everything: there is nothing to add.
                return;
            }
            flight = &RESP[known.acknowledged..];
        }
        self.flight(client, target, serial, server, flight, |parts| Step::Resp { parts });
    }

    /// The server's flight came, or a part of it.
    fn answered(&mut self, client: u32, target: Target, serial: u32, parts: Parts) {
        let now = self.now;
        let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial) else { return };
        if !dial.came(now, parts) {
            return;
        }
        if !matches!(dial.phase, Phase::Hello { came } if came.is_whole()) {
            let (next, step) = (dial.next, Step::Retry);
            self.wheel.push(next, What::Handshake { client, target, serial, step });
            return;
        }
        let server_edition = dial.server_edition;
        if !self.upholds(client as usize, target.node, server_edition) {
            self.fired.refused += 1;
            return self.dial_failed(client, target);
        }
        let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial) else { return };
        dial.finish(now);
        for buffer in std::mem::take(&mut dial.pending) {
            let bytes = self.pool.take(buffer);
            let rest = dial.greet(&bytes);
            self.pool.give_back(buffer, bytes);
            if !rest.is_empty() {
                dial.pending.push(self.pool.hold(&rest));
            }
        }
        self.act(client, target, serial);
        let (index, server) = (client as usize, target.node as usize);
        let id = self.ids[server];
        self.trace.add(now.as_nanos(), Kind::Proven, index, &id.0);
        if let Some(node) = &mut self.hosts[index].node {
            node.handle_peer_proven(now, id, address(server), target.seed);
        }
        self.drain(index);
    }

    /// The client's last flight came, or a part of it. The second part carries what confirms the
    /// session, and counts for that once both have come.
    fn client_shown(&mut self, client: u32, target: Target, serial: u32, parts: Parts) {
        for part in [Parts::FIRST, Parts::SECOND] {
            if parts.has(part) {
                self.part_shown(client, target, serial, part);
            }
        }
    }

    fn part_shown(&mut self, client: u32, target: Target, serial: u32, part: Parts) {
        let server = target.node as usize;
        let life = self.hosts[server].life;
        let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial) else { return };
        let finishing = matches!(dial.phase, Phase::Finishing { .. });
        if dial.life != Some(life) || !finishing {
            // The server that answered is no more; this one knows nothing of the attempt.
            return;
        }
        let known = &mut dial.server;
        if !known.confirmed {
            let proves = known.came.add(part) && known.came.is_whole();
            if !known.came.is_whole() {
                return self.acknowledge(client, target, serial, part);
            }
            let edition = dial.edition;
            if proves && !self.upholds(server, client, edition) {
                self.fired.refused += 1;
                return self.refuse(client, target, serial);
            }
            if part != Parts::SECOND {
                return;
            }
            self.client_confirmed(client, target, serial);
        }
        self.confirm(client, target, serial);
        self.flush(server, Target { node: client, seed: false });
        self.greeted(client, target, serial, part);
    }

    /// The server has forgotten the attempt.
    fn refuse(&mut self, client: u32, target: Target, serial: u32) {
        if let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial) {
            dial.life = Some(u32::MAX);
        }
    }

    /// The server says which parts it has, as far as there is no gap before them.
    fn acknowledge(&mut self, client: u32, target: Target, serial: u32, part: Parts) {
        let (from, to) = (target.node as usize, client as usize);
        self.books.handshake(from, ACK_BYTES);
        let carried = self.network.carry(&mut self.rng, &mut self.fired, from, to);
        if let Some(delay) = carried.delay.filter(|_| part == Parts::FIRST) {
            let what = What::Handshake { client, target, serial, step: Step::Acked };
            self.wheel.push(self.now + delay, what);
        }
    }

    fn acked(&mut self, client: u32, target: Target, serial: u32) {
        if let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial)
            && let Phase::Finishing { acknowledged } = &mut dial.phase
        {
            *acknowledged = true;
        }
    }

    /// The server has opened the client's first sealed bytes: there is a session.
    fn client_confirmed(&mut self, client: u32, target: Target, serial: u32) {
        let (now, server) = (self.now, target.node as usize);
        let client_life = self.hosts[client as usize].life;
        let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial) else { return };
        dial.server.confirmed = true;
        let (edition, peer_edition, begun) = (dial.server_edition, dial.edition, dial.answered);
        let by_lower = self.ids[client as usize] < self.ids[server];
        let made = Made { life: client_life, serial, edition, peer_edition, begun, by_lower };
        self.establish(now, server, client, made);
    }

    /// The server's sealed confirmation leaves, again for whatever of the handshake comes again.
    fn confirm(&mut self, client: u32, target: Target, serial: u32) {
        let (from, to) = (target.node as usize, client as usize);
        if let Some(delay) = self.carry_confirmation(from, to) {
            let what = What::Handshake { client, target, serial, step: Step::Confirm };
            self.wheel.push(self.now + delay, what);
        }
    }

    /// A sealed confirmation leaves; returns when it arrives, if it does.
    pub(super) fn carry_confirmation(&mut self, from: usize, to: usize) -> Option<Duration> {
        self.books.datagram(self.now, from, &CONFIRMATION);
        if let Some(regions) = self.network.regions(from, to) {
            self.books.between(regions, CONFIRMATION.len());
        }
        self.network.carry(&mut self.rng, &mut self.fired, from, to).delay
    }

    /// The pings that came with the last flight reach the server.
    fn greeted(&mut self, client: u32, target: Target, serial: u32, part: Parts) {
        let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial) else { return };
        if part != Parts::SECOND || dial.greeting.is_empty() {
            return;
        }
        let pings = dial.greeting.clone();
        let (server, sender) = (target.node as usize, self.ids[client as usize]);
        self.trace.add(self.now.as_nanos(), Kind::Delivery, server, &pings);
        if let Some(node) = &mut self.hosts[server].node {
            node.handle_datagram(self.now, sender, address(client as usize), &pings);
        }
        self.drain(server);
    }

    /// The server confirmed: what waited leaves.
    pub(super) fn confirmed(&mut self, client: u32, target: Target, serial: u32) {
        let index = client as usize;
        let Some(dial) = self.hosts[index].links.dial_of(target, serial) else { return };
        let Some(life) = dial.life else { return };
        let (edition, peer_edition, begun) = (dial.edition, dial.server_edition, dial.begun);
        if dial.succeeds {
            self.succeeded(client, target.node);
        }
        let by_lower = self.ids[index] < self.ids[target.node as usize];
        let made = Made { life, serial, edition, peer_edition, begun, by_lower };
        self.establish(self.now, index, target.node, made);
        self.flush(index, Target { node: target.node, seed: false });
        self.flush(index, target);
        if let Some(dial) = self.hosts[index].links.end_dial(target) {
            debug_assert!(dial.pending.is_empty(), "everything that waited has left");
        }
    }

    /// Sends what waits for `target` on the session that there is.
    fn flush(&mut self, from: usize, target: Target) {
        let Some(dial) = self.hosts[from].links.dialling(target) else { return };
        for buffer in std::mem::take(&mut dial.pending) {
            let bytes = self.pool.take(buffer);
            if let Some(session) = self.hosts[from].links.sending(self.now, target.node) {
                let session = (session.life, session.serial);
                self.put_on_wire(from, target.node as usize, session, &bytes);
            }
            self.pool.give_back(buffer, bytes);
        }
    }

    fn dial_failed(&mut self, client: u32, target: Target) {
        let Some(dial) = self.hosts[client as usize].links.give_up(target) else { return };
        self.books.handshakes_failed += 1;
        for buffer in dial.pending {
            self.books.unsent += 1;
            self.pool.free(buffer);
        }
    }

    /// `to` does not know the session on which `from` sent: it says so.
    pub(super) fn send_hint(&mut self, to: usize, from: usize) {
        self.books.handshake(to, HINT_BYTES);
        let carried = self.network.carry(&mut self.rng, &mut self.fired, to, from);
        if let Some(delay) = carried.delay {
            let what = What::Hint { to: from as u32, from: to as u32 };
            self.wheel.push(self.now + delay, what);
        }
    }

    /// A hint says that the session with `from` is unknown there.
    pub(super) fn hinted(&mut self, to: u32, from: u32) {
        let index = to as usize;
        if self.hosts[index].node.is_none() || self.holds(index, What::Hint { to, from }) {
            return;
        }
        self.trace.add(self.now.as_nanos(), Kind::Hint, index, &from.to_le_bytes());
        if self.hosts[index].links.doubt(from) {
            self.dial(index, Target { node: from, seed: false });
        }
    }

    /// The one-way delay of a stream's set-up and exchange: three round trips.
    pub(super) fn stream_delay(&mut self, from: usize, to: usize) -> Duration {
        self.network.delay(&mut self.rng, from, to) * 6
    }
}
