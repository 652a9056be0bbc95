//! One thread, its sockets, its agents: the drain loop.
//!
//! Run to completion: a turn receives a batch of datagrams, opens each, hands its payload to the
//! agent's node, then drains every agent that was touched: seals and sends, tells events,
//! publishes the view if it changed, and sets the next deadline. Handshakes get their turn after
//! what is sealed. Nothing else touches an agent, so there is no lock.
//!
//! Invariants: an agent lives on its shard from start to stop; after every mutation it is drained
//! before the shard sleeps; sockets are read before timers after a late wake-up, so that our own
//! stall never looks like the silence of others (rules F-8 and D-10).

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::config::LATE_WAKE_UP;
use mesh_gossip_proto::timers::{KeyHasher, Timers};
use mesh_gossip_proto::{Command, CommandError, DenseTable, Instant, Node};

use crate::clock::{self, Clock, CloneSignal};
use crate::control::runtime::ControlHandle;
use crate::control::{AgentPort, ControlMessage};
use crate::io::{AnyDatagrams, Datagrams, SocketId, Taker};
use crate::link::{HotKeys, Links, MOST_HOT};
use crate::orders::{AgentId, Inspection, Order, Orders, Refused, Reply};
use crate::shared::Shared;

mod anteroom;
pub(crate) mod records;
mod seat;

use anteroom::{A_TURN, Anteroom, Turn};
use records::Records;
use seat::{Outside, Seat};

/// Orders taken before datagrams get their turn again.
const ORDERS_A_TURN: usize = 64;
/// Agents whose deadlines are acted on before sockets are read again: what each has to say then may
/// take a millisecond, and with hundreds of them acks would wait for all of it.
const DEADLINES_A_TURN: usize = 16;
/// Reads before timers after a late wake-up, at most: a flood must not stop the clock.
const CATCH_UP_TURNS: usize = 64;
/// The control thread is behind: it is offered the rest again after so long.
const OFFER_AGAIN: Duration = Duration::from_millis(5);

/// Asked for each datagram; its keys are ours.
type BySocket = HashMap<SocketId, usize, BuildHasherDefault<KeyHasher>>;

/// An agent on its way to its shard.
pub(crate) struct Hosted {
    /// For the control thread, which must know the agent before there is work for it.
    pub(crate) port: AgentPort,
    pub(crate) node: Node<DenseTable>,
    pub(crate) links: Links,
    pub(crate) socket: UdpSocket,
    pub(crate) shared: Arc<Shared>,
    pub(crate) reply: Reply<io::Result<()>>,
}

/// One shard.
pub(crate) struct Shard {
    clock: Clock,
    io: AnyDatagrams,
    orders: Arc<Orders>,
    control: ControlHandle,
    /// What the control thread had no room for; it keeps its order.
    unsent: VecDeque<ControlMessage>,
    seats: Vec<Option<Seat>>,
    by_agent: HashMap<AgentId, usize>,
    by_socket: BySocket,
    deadlines: Timers<usize>,
    touched: Vec<usize>,
    /// Handshakes that wait for their turn.
    anteroom: Anteroom,
    /// When a handshake was turned away last, because others wait.
    crowded: Option<Instant>,
    /// Room for the expanded keys of all agents' sessions.
    keys: Arc<HotKeys>,
    clones: CloneSignal,
    records: Records,
}

/// Closes the orders of a shard whose thread ends, by a panic too.
struct Closing(Arc<Orders>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What a turn hands out, on its way to the agents.
struct Taking<'a> {
    clock: &'a Clock,
    seats: &'a mut [Option<Seat>],
    by_socket: &'a BySocket,
    touched: &'a mut Vec<usize>,
    anteroom: &'a mut Anteroom,
    crowded: &'a mut Option<Instant>,
    /// One reading of the clock serves the batch: it arrived together.
    read_at: Option<Instant>,
}

impl Taker for Taking<'_> {
    fn take(&mut self, socket: SocketId, from: SocketAddr, datagram: &mut [u8]) {
        let now = *self.read_at.get_or_insert_with(|| self.clock.now());
        let Some(index) = self.by_socket.get(&socket) else { return };
        let Some(seat) = self.seats.get_mut(*index).and_then(Option::as_mut) else { return };
        if Anteroom::is_for(datagram) {
            if !self.anteroom.admit(now, socket, from, datagram) {
                seat.turn_away();
                *self.crowded = Some(now);
            }
            return;
        }
        seat.receive(now, from, datagram);
        if seat.touch() {
            self.touched.push(*index);
        }
    }

    fn foresee(&mut self, socket: SocketId, front: &[u8]) {
        let index = self.by_socket.get(&socket);
        if let Some(seat) = index.and_then(|index| self.seats.get(*index)?.as_ref()) {
            seat.foresee(front);
        }
    }
}

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Turn,
    End,
}

impl Shard {
    pub(crate) fn new(
        clock: Clock,
        io: AnyDatagrams,
        orders: Arc<Orders>,
        control: ControlHandle,
    ) -> Self {
        let now = clock.now();
        Self {
            clock,
            io,
            orders,
            control,
            unsent: VecDeque::new(),
            seats: Vec::new(),
            by_agent: HashMap::new(),
            by_socket: HashMap::default(),
            deadlines: Timers::default(),
            touched: Vec::new(),
            anteroom: Anteroom::default(),
            crowded: None,
            keys: Arc::new(HotKeys::of(MOST_HOT)),
            clones: CloneSignal::new(now, clock::wall(), clock::boot_id()),
            records: Records::new(now),
        }
    }

    /// Runs until it is told to end or the backend fails.
    pub(crate) fn run(self) {
        // However this ends, nobody waits for it afterwards.
        let _closing = Closing(Arc::clone(&self.orders));
        // Dropped before that: who is told that the shard has ended finds its ports free.
        let mut shard = self;
        shard.turns();
    }

    fn turns(&mut self) {
        loop {
            self.watch_for_clones();
            self.offer_unsent();
            if self.take_orders() == Next::End {
                return;
            }
            let turned = self.catch_up().and_then(|()| {
                self.fire_deadlines();
                self.drain_touched();
                self.turn(self.patience())
            });
            if let Err(error) = turned {
                tracing::error!(
                    target: "mesh_gossip",
                    Reason = %error,
                    "the datagram backend failed; its agents end"
                );
                return;
            }
            // Nothing may be sealed before this has looked.
            self.watch_for_clones();
            self.drain_touched();
            self.let_in();
        }
    }

    /// A few of the handshakes that wait.
    fn let_in(&mut self) {
        if self.anteroom.is_empty() {
            return;
        }
        let begun = self.clock.now();
        let mut now = begun;
        while now.since(begun) < A_TURN
            && let Some(turn) = self.anteroom.next(now)
        {
            let (mut waiting, is_stale) = match turn {
                Turn::Read(waiting) => (waiting, false),
                Turn::Stale(waiting) => (waiting, true),
            };
            if is_stale {
                self.crowded = Some(now);
            }
            let Some(index) = self.by_socket.get(&waiting.socket).copied() else { continue };
            let Some(seat) = self.seats.get_mut(index).and_then(Option::as_mut) else { continue };
            if is_stale {
                // It has cost next to nothing: the clock need not be asked.
                seat.turn_away();
                continue;
            }
            seat.receive(now, waiting.from, &mut waiting.datagram);
            if seat.touch() {
                self.touched.push(index);
            }
            now = self.clock.now();
        }
        self.drain_touched();
    }

    /// How long the next turn may wait.
    fn patience(&self) -> Option<Duration> {
        if !self.orders.is_empty() || !self.anteroom.is_empty() {
            return Some(Duration::ZERO);
        }
        let next = self.deadlines.next().map(|(at, _)| at.since(self.clock.now()));
        if self.unsent.is_empty() {
            next
        } else {
            Some(next.map_or(OFFER_AGAIN, |next| next.min(OFFER_AGAIN)))
        }
    }

    /// After a late wake-up everything that has arrived is read before any timer fires.
    fn catch_up(&mut self) -> io::Result<()> {
        let late = |shard: &Self| {
            shard.deadlines.next().is_some_and(|(at, _)| shard.clock.now().since(at) > LATE_WAKE_UP)
        };
        if !late(self) {
            return Ok(());
        }
        for _ in 0..CATCH_UP_TURNS {
            let read = self.turn(Some(Duration::ZERO))?;
            self.watch_for_clones();
            // Whoever asked has waited long enough for its answer.
            self.drain_touched();
            if read == 0 {
                break;
            }
        }
        Ok(())
    }

    fn turn(&mut self, patience: Option<Duration>) -> io::Result<usize> {
        let Self { clock, io, seats, by_socket, touched, records, anteroom, crowded, .. } = self;
        records.turn_begins(|| clock.now());
        let mut taking =
            Taking { clock, seats, by_socket, touched, anteroom, crowded, read_at: None };
        let received = io.turn_into(patience, &mut taking)?;
        if let Some(at) = taking.read_at {
            records.turn_read(at, received);
        }
        Ok(received)
    }

    fn fire_deadlines(&mut self) {
        let now = self.clock.now();
        self.records.forget(now);
        for _ in 0..DEADLINES_A_TURN {
            let Some((at, _)) = self.deadlines.next().filter(|(at, _)| *at <= now) else { break };
            let Some(index) = self.deadlines.pop_due(now) else { break };
            self.records.late(now.since(at));
            if let Some(seat) = self.seats.get_mut(index).and_then(Option::as_mut) {
                seat.fire(now, self.crowded);
                if seat.touch() {
                    self.touched.push(index);
                }
            }
        }
    }

    /// If the machine was cloned, no counter of ours is safe any more (rule S-4).
    fn watch_for_clones(&mut self) {
        if !self.clones.fired(self.clock.now(), clock::wall(), clock::boot_id) {
            return;
        }
        tracing::warn!(
            target: "mesh_gossip",
            "the clocks parted, as when a machine is restored or cloned; all sessions start anew"
        );
        for seat in self.seats.iter_mut().flatten() {
            seat.drop_sessions();
        }
    }

    fn drain_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        let now = self.clock.now();
        for index in touched.drain(..) {
            let Some(seat) = self.seats.get_mut(index).and_then(Option::as_mut) else { continue };
            let behind = !self.unsent.is_empty();
            let Self { io, control, records, .. } = self;
            let mut outside = Outside { io, control, records, behind };
            match seat.drain(now, &mut outside) {
                Some(at) => self.deadlines.set(index, at),
                None => drop(self.deadlines.cancel(index)),
            }
        }
        self.touched = touched;
    }

    fn take_orders(&mut self) -> Next {
        let mut merging = None;
        for _ in 0..ORDERS_A_TURN {
            let Some(order) = self.orders.pop() else { break };
            match order {
                Order::Start(hosted) => self.start(*hosted),
                Order::Stop { agent, reply } => {
                    self.stop(agent);
                    self.tell_control(ControlMessage::RemoveAgent { agent, done: reply });
                }
                Order::Command { agent, command, reply } => {
                    let now = self.clock.now();
                    let outcome = self.with(agent, |seat| seat.command(now, command));
                    // Whoever is told that it is done finds it in the view.
                    self.drain_touched();
                    reply(outcome.unwrap_or(Err(CommandError::Stopped)));
                }
                Order::Renew { agent, renewal, reply } => {
                    let now = self.clock.now();
                    let outcome = self.with(agent, |seat| seat.renew(now, renewal));
                    self.drain_touched();
                    reply(outcome.unwrap_or(Err(CommandError::Stopped)));
                }
                Order::Adjust { agent, adjustment, reply } => {
                    let outcome = self.with(agent, |seat| seat.adjust(adjustment));
                    self.drain_touched();
                    reply(outcome.unwrap_or(Err(CommandError::Stopped)));
                }
                Order::Leave { agent, reply } => self.leave(agent, reply),
                Order::Sync { agent, from, entries, ticket } => {
                    let now = self.clock.now();
                    if ticket.is_wanted() {
                        let forged = self.with(agent, |seat| seat.sync(now, from, &entries));
                        ticket.forged(forged.unwrap_or(0));
                    }
                    // New records may have cost milliseconds: datagrams get their turn. Known ones cost
                    // next to nothing, and hundreds of agents may have some to merge.
                    let since = *merging.get_or_insert(now);
                    if self.clock.now().since(since) >= A_TURN {
                        break;
                    }
                }
                Order::StreamClosed { agent, from, extent, complete } => {
                    self.with(agent, |seat| seat.stream_closed(from, extent, complete));
                }
                Order::Inspect { agent, reply } => self.inspect(agent, reply),
                Order::Shutdown => return Next::End,
            }
        }
        self.drain_touched();
        Next::Turn
    }

    /// Sends a message that must not be lost, in order.
    fn tell_control(&mut self, message: ControlMessage) {
        self.unsent.push_back(message);
        self.offer_unsent();
    }

    fn offer_unsent(&mut self) {
        while let Some(message) = self.unsent.pop_front() {
            match self.control.offer(message) {
                Ok(()) => {}
                Err((message, Refused::Busy)) => {
                    self.unsent.push_front(message);
                    return;
                }
                // Its replies are dropped with it, which tells whoever waits.
                Err((message, Refused::Stopped)) => drop(message),
            }
        }
    }

    /// Does something to an agent and marks it for the drain.
    fn with<R>(&mut self, agent: AgentId, act: impl FnOnce(&mut Seat) -> R) -> Option<R> {
        let index = *self.by_agent.get(&agent)?;
        let seat = self.seats.get_mut(index)?.as_mut()?;
        let result = act(seat);
        if seat.touch() {
            self.touched.push(index);
        }
        Some(result)
    }

    fn start(&mut self, hosted: Hosted) {
        let Hosted { port, node, mut links, socket, shared, reply } = hosted;
        let agent = port.agent;
        // It counts as joined only after it has tried its seeds.
        let has_seeds = !port.seeds.is_empty() || port.seed_file.is_some();
        let socket = match self.io.open(socket) {
            Ok(socket) => socket,
            Err(error) => return reply(Err(error)),
        };
        let port = Box::new(port);
        self.tell_control(ControlMessage::AddAgent { port, done: reply });
        links.share_keys(Arc::clone(&self.keys));
        let mut seat = Seat::new(agent, node, links, socket, shared, has_seeds);
        let touched = seat.touch();
        let index = match self.seats.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.seats.push(None);
                self.seats.len() - 1
            }
        };
        self.seats[index] = Some(seat);
        self.by_agent.insert(agent, index);
        self.by_socket.insert(socket, index);
        if touched {
            self.touched.push(index);
        }
    }

    fn stop(&mut self, agent: AgentId) {
        let Some(index) = self.by_agent.remove(&agent) else { return };
        let Some(seat) = self.seats.get_mut(index).and_then(Option::take) else { return };
        self.deadlines.cancel(index);
        self.by_socket.remove(&seat.socket());
        self.io.close(seat.socket());
    }

    fn leave(&mut self, agent: AgentId, reply: Reply<Result<usize, CommandError>>) {
        let now = self.clock.now();
        let mut reply = Some(reply);
        self.with(agent, |seat| match seat.command(now, Command::Leave) {
            Ok(()) => {
                if let Some(reply) = reply.take() {
                    seat.tell_when_left(reply);
                }
            }
            Err(error) => {
                if let Some(reply) = reply.take() {
                    reply(Err(error));
                }
            }
        });
        if let Some(reply) = reply {
            reply(Err(CommandError::Stopped));
        }
    }

    fn inspect(&mut self, agent: AgentId, reply: Reply<Inspection>) {
        let (now, wall) = (self.clock.now(), clock::wall());
        let inspection = self.with(agent, |seat| (seat.socket(), seat.inspect(now, wall))).map(
            |(socket, seat)| Inspection {
                io: self.io.stats(),
                receive_drops: self.io.receive_drops(socket),
                recorded: self.records.recorded(),
                ..seat
            },
        );
        // Whoever asks about an agent that is gone learns it from the closed channel.
        if let Some(inspection) = inspection {
            reply(inspection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::runtime::Control;
    use crate::io::{self as datagrams, Backend};
    use crate::options::BackendChoice;

    /// A shard that nothing drives but the test, and the thread that it tells.
    fn without_agents() -> (Control, Shard) {
        let control = Control::start(Backend::Mmsg, 16).expect("a control thread");
        let (io, _) = datagrams::start(BackendChoice::Mmsg).expect("a backend");
        let orders = Arc::new(Orders::new(4));
        let shard = Shard::new(Clock::start(), io, orders, control.handle());
        (control, shard)
    }

    /// Rule S-7: between two reads of its sockets a shard acts on the deadlines of a few agents only,
    /// the latest of them first.
    #[test]
    fn many_deadlines_do_not_keep_a_shard_from_reading() {
        let (_control, mut shard) = without_agents();
        let agents = 2 * DEADLINES_A_TURN + 1;
        for agent in 0..agents {
            let at = shard.clock.now() - Duration::from_millis(agent as u64);
            shard.deadlines.set(agent, at);
        }
        let mut left = Vec::new();
        while let Some((_, next)) = shard.deadlines.next() {
            left.push(next);
            assert_eq!(shard.patience(), Some(Duration::ZERO), "it does not sleep on them");
            shard.fire_deadlines();
        }
        assert_eq!(left, [agents - 1, DEADLINES_A_TURN, 0]);
    }

    /// Rule D-10: a shard that reads stale handshakes no more knows that it is crowded.
    #[test]
    fn a_stale_handshake_makes_a_crowd_and_a_fresh_one_does_not() {
        let (_control, mut shard) = without_agents();
        let begins = |attempt: u8| {
            let mut datagram = [0; 64];
            (datagram[0], datagram[31]) = (mesh_gossip_proto::wire::header::INIT, attempt);
            datagram
        };
        let from = SocketAddr::from(([127, 0, 0, 1], 9));
        let now = shard.clock.now();
        assert!(shard.anteroom.admit(now, SocketId(1), from, &begins(1)));
        shard.let_in();
        assert_eq!(shard.crowded, None);
        assert!(shard.anteroom.admit(now, SocketId(1), from, &begins(2)));
        while shard.clock.now().since(now) < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(100));
        }
        shard.let_in();
        assert!(shard.crowded.is_some() && shard.anteroom.is_empty());
    }
}
