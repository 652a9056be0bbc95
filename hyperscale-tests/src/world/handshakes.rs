//! Handshakes between two nodes: what arrives of each flight, what it costs, when it is repeated.
//!
//! The client has proof of the server after one round trip (rule S-9); its payloads leave after
//! two, when the server has confirmed (rule S-5). All that is known of one handshake stands at its
//! client; the server's life number tells whether the server still is who answered.

use mesh_gossip_proto::Duration;

use super::{Step, What, World, address};
use crate::sessions::{
    CONFIRM_BYTES, CONFIRM_WAIT, Due, HINT_BYTES, INIT_BYTES, LAST_DATAGRAMS, Made, PART_WAIT,
    PENDING, Phase, RESP_BYTES, Target,
};
use crate::table::SimTable;
use crate::trace::Kind;

/// Every datagram of a server's flight.
const ALL_RESP: u8 = (1 << RESP_BYTES.len()) - 1;
/// Every datagram of a client's last flight.
const ALL_LAST: u8 = (1 << LAST_DATAGRAMS) - 1;

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

    pub(super) fn handshake_step(&mut self, client: u32, target: Target, serial: u32, step: Step) {
        let what = What::Handshake { client, target, serial, step };
        let code = match step {
            Step::Init => 0,
            Step::Resp { parts } => 0x10 | parts,
            Step::Last { parts } => 0x20 | parts,
            Step::Confirm => 0x30,
            Step::Retry => return self.act(client, target, serial),
        };
        let receiver = match step {
            Step::Init | Step::Last { .. } => target.node as usize,
            Step::Resp { .. } | Step::Confirm | Step::Retry => client as usize,
        };
        if self.hosts[receiver].node.is_none() || self.holds(receiver, what) {
            return;
        }
        self.trace.add(self.now.as_nanos(), Kind::Handshake, receiver, &[code]);
        match step {
            Step::Init => self.answer(client, target, serial),
            Step::Resp { parts } => self.answered(client, target, serial, parts),
            Step::Last { parts } => self.client_shown(client, target, serial, parts),
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
                Phase::Hello { .. } => {
                    self.flight(client, target, serial, client, &[INIT_BYTES], |parts| {
                        (parts != 0).then_some(Step::Init)
                    });
                }
                Phase::Finishing { .. } => self.send_last(client, target, serial),
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
        sizes: &[u64],
        step: impl Fn(u8) -> Option<Step>,
    ) {
        let receiver = if sender == client { target.node } else { client };
        let (from, to) = (sender as usize, receiver as usize);
        let mut parts = 0;
        let mut delay = None;
        let silent = self.hosts[from].paused.is_some();
        for (number, size) in sizes.iter().enumerate() {
            if silent {
                break;
            }
            self.books.handshake(from, *size);
            let carried = self.network.carry(&mut self.rng, &mut self.fired, from, to);
            if let Some(first) = carried.delay {
                parts |= 1 << number;
                delay = delay.or(Some(first));
            }
        }
        if let (Some(delay), Some(step)) = (delay, step(parts)) {
            let what = What::Handshake { client, target, serial, step };
            self.wheel.push(self.now + delay, what);
        }
    }

    /// A ClientHello came: the server answers with its flight.
    fn answer(&mut self, client: u32, target: Target, serial: u32) {
        let server = target.node;
        let (life, now) = (self.hosts[server as usize].life, self.now);
        let edition = self.hosts[server as usize].links.edition;
        if let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial)
            && dial.life.is_none()
        {
            (dial.life, dial.server_edition, dial.answered) = (Some(life), edition, now);
        }
        self.flight(client, target, serial, server, &RESP_BYTES, |parts| {
            (parts != 0).then_some(Step::Resp { parts })
        });
    }

    /// The server's flight came, or a part of it.
    fn answered(&mut self, client: u32, target: Target, serial: u32, came: u8) {
        let now = self.now;
        let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial) else { return };
        let Phase::Hello { parts } = dial.phase else { return };
        dial.progressed = true;
        dial.phase = Phase::Hello { parts: parts | came };
        if parts | came != ALL_RESP {
            dial.next = now + PART_WAIT;
            let step = Step::Retry;
            self.wheel.push(dial.next, What::Handshake { client, target, serial, step });
            return;
        }
        let server_edition = dial.server_edition;
        if !self.upholds(client as usize, target.node, server_edition) {
            self.fired.refused += 1;
            return self.dial_failed(client, target);
        }
        let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial) else { return };
        dial.phase = Phase::Finishing { parts: 0 };
        dial.wait = CONFIRM_WAIT;
        dial.next = now;
        self.act(client, target, serial);
        let (index, server) = (client as usize, target.node as usize);
        let id = self.ids[server];
        self.trace.add(now.as_nanos(), Kind::Proven, index, &id.0);
        if let Some(node) = &mut self.hosts[index].node {
            node.handle_peer_proven(now, id, address(server), target.seed);
        }
        self.drain(index);
    }

    fn send_last(&mut self, client: u32, target: Target, serial: u32) {
        self.flight(client, target, serial, client, &[INIT_BYTES; LAST_DATAGRAMS], |parts| {
            (parts != 0).then_some(Step::Last { parts })
        });
    }

    /// The client's last flight came, or a part of it.
    fn client_shown(&mut self, client: u32, target: Target, serial: u32, came: u8) {
        let (now, server) = (self.now, target.node as usize);
        let (life, client_life) = (self.hosts[server].life, self.hosts[client as usize].life);
        let Some(dial) = self.hosts[client as usize].links.dial_of(target, serial) else { return };
        let Phase::Finishing { parts } = dial.phase else { return };
        if dial.life != Some(life) {
            // The server that answered is no more; this one knows nothing of the attempt.
            return;
        }
        dial.phase = Phase::Finishing { parts: parts | came };
        if parts | came != ALL_LAST {
            return;
        }
        let (edition, peer_edition, begun) = (dial.server_edition, dial.edition, dial.answered);
        if !self.upholds(server, client, peer_edition) {
            self.fired.refused += 1;
            return;
        }
        let by_lower = self.ids[client as usize] < self.ids[server];
        let life = client_life;
        let made = Made { life, serial, edition, peer_edition, begun, by_lower };
        self.establish(now, server, client, made);
        self.flight(client, target, serial, target.node, &CONFIRM_BYTES, |parts| {
            (parts & 0b10 != 0).then_some(Step::Confirm)
        });
        self.flush(server, Target { node: client, seed: false });
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
        let Some(dial) = self.hosts[client as usize].links.end_dial(target) else { return };
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
