//! What crosses threads: orders into a shard, work out of it.
//!
//! Invariant: both directions are bounded; a full queue refuses at once and never blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use mesh_gossip_proto::detector::contacts::Contact;
use mesh_gossip_proto::wire::message::ListNotice;
use mesh_gossip_proto::{
    Command, CommandError, Event, Extent, Incarnation, Instant, MemberId, Metadata, Stats,
    StreamRequest, WallTime,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::io::{IoStats, Waker};
use crate::link::LinkEvent;
use crate::link::stats::LinkStats;
use crate::options::PeerLabels;
use crate::shard::records::Recorded;
use crate::tls::authority::MeshAuthority;

/// An agent within its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AgentId(pub(crate) u32);

/// Called once with an answer, on the shard's thread: hand it over and return.
pub(crate) type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// Into a shard.
pub(crate) enum Order {
    /// Host this agent.
    Start(Box<crate::shard::Hosted>),
    /// Drop this agent without a goodbye; the answer comes when the control thread has dropped it
    /// too.
    Stop { agent: AgentId, reply: Reply<()> },
    /// A host's command.
    Command { agent: AgentId, command: Command, reply: Reply<Result<(), CommandError>> },
    /// Certificates changed, ours or which ones count; the answer comes when that is acted on and
    /// stands in the view.
    Renew { agent: AgentId, renewal: Renewal, reply: Reply<Result<(), CommandError>> },
    /// Other options; the answer comes when they are in force.
    Adjust { agent: AgentId, adjustment: Adjustment, reply: Reply<Result<(), CommandError>> },
    /// Say goodbye; the answer, how many members acknowledged it, comes when it is done.
    Leave { agent: AgentId, reply: Reply<Result<usize, CommandError>> },
    /// A piece of another's state: whole entries, at most [`SYNC_PIECE`] bytes where they allow.
    Sync { agent: AgentId, from: MemberId, entries: Vec<u8>, ticket: Ticket },
    /// A wished exchange ended.
    StreamClosed { agent: AgentId, from: MemberId, extent: Extent, complete: bool },
    /// Tell how you are.
    Inspect { agent: AgentId, reply: Reply<Inspection> },
    /// End the shard.
    Shutdown,
}

/// What changed about certificates; the trust in force is read from where it stands.
pub(crate) struct Renewal {
    /// Our own new certificate, where that changed.
    pub(crate) authority: Option<Arc<MeshAuthority>>,
    /// Members whose record at this incarnation a revoked certificate has signed.
    pub(crate) revoked: Vec<(MemberId, Incarnation)>,
    /// The revocation lists in force, to be announced.
    pub(crate) lists: Vec<ListNotice>,
}

/// What an agent's shard has to do with other options.
pub(crate) enum Adjustment {
    /// Say whether this could be published; nothing changes.
    Weigh(Metadata),
    /// Take these over.
    Take {
        /// How long a departed member stays listed.
        left_retention: Duration,
        /// Whether metrics carry a label per peer.
        peer_labels: PeerLabels,
        /// Without seeds an agent waits for none.
        has_seeds: bool,
    },
}

/// A state is merged in pieces of about this size, so that it never delays an ack for long.
pub(crate) const SYNC_PIECE: usize = 32 * 1_024;

/// Pieces of one agent that are on their way to its shard or being merged: a peer that sends faster
/// than we verify waits, and its bytes with it, in its own memory.
pub(crate) const PIECES: usize = 4;
/// So many entries of one exchange may be forged before it ends: an honest peer has verified what
/// it sends, and may only trust somebody a little longer than we do.
pub(crate) const MOST_FORGED: u64 = 256;

/// Goes with a piece of another's state: its place among the agent's pieces, given back when the
/// last copy is dropped, and what the shard made of the exchange so far.
#[derive(Clone)]
pub(crate) struct Ticket {
    _place: Arc<OwnedSemaphorePermit>,
    forged: Arc<AtomicU64>,
}

impl Ticket {
    pub(crate) fn new(place: OwnedSemaphorePermit, forged: &Arc<AtomicU64>) -> Self {
        Self { _place: Arc::new(place), forged: Arc::clone(forged) }
    }

    /// Whether the piece is still worth a look: its exchange has not brought too much that is forged.
    pub(crate) fn is_wanted(&self) -> bool {
        self.forged.load(Ordering::Relaxed) < MOST_FORGED
    }

    /// So many of its entries were forged.
    pub(crate) fn forged(&self, entries: u64) {
        self.forged.fetch_add(entries, Ordering::Relaxed);
    }
}

/// Out of a shard, to the control thread.
#[derive(Debug)]
pub(crate) enum Work {
    /// Exchange state with a peer over a stream.
    Stream { agent: AgentId, request: StreamRequest },
    /// Ask this member for revocation lists.
    Lists { agent: AgentId, wish: StreamRequest },
    /// Log this and pass it to the host.
    Event { agent: AgentId, at: WallTime, event: Event },
    /// Log this.
    Link { agent: AgentId, event: LinkEvent },
}

/// How an agent is, as of one moment on its shard.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The shard's clock.
    pub now: Instant,
    /// The same moment in wall time.
    pub wall: WallTime,
    /// The protocol's counters.
    pub stats: Stats,
    /// Our own exchanges with others: last contact and round-trip time.
    pub contacts: Vec<(MemberId, Contact)>,
    /// The links' counters.
    pub links: LinkStats,
    /// The shard's datagram counters.
    pub io: IoStats,
    /// Datagrams that the kernel dropped because the agent's socket was full.
    pub receive_drops: u64,
    /// How the shard kept time of late.
    pub recorded: Recorded,
    /// Whether the first full exchange with the mesh is done.
    pub joined: bool,
    /// Whether the last digest heard equals ours.
    pub agrees: bool,
    /// How long the oldest update or broadcast has waited to be sent for the first time.
    pub queue_age: Duration,
    /// Members that one gossip tick reaches.
    pub fanout: usize,
}

/// The order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full, or no answer came in time: the shard is overloaded.
    Busy,
    /// The shard has ended.
    Stopped,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Busy => "the shard is overloaded",
            Self::Stopped => "the shard has ended",
        })
    }
}

impl std::error::Error for Refused {}

/// Orders that wait for one shard, those of hosts apart from what streams bring: a host does not wait
/// until the states of hundreds of agents are merged, a piece a turn.
///
/// Invariants: pieces of states and the ends of their exchanges keep their order; after `close` every order is refused, and the replies of those that waited are
/// dropped, so that nobody waits for a shard that is gone.
pub(crate) struct Orders {
    hosts: ArrayQueue<Order>,
    streams: ArrayQueue<Order>,
    closed: AtomicBool,
}

impl Orders {
    pub(crate) fn new(capacity: usize) -> Self {
        let queue = || ArrayQueue::new(capacity);
        Self { hosts: queue(), streams: queue(), closed: AtomicBool::new(false) }
    }

    /// The oldest order of a host, or else of a stream.
    pub(crate) fn pop(&self) -> Option<Order> {
        self.hosts.pop().or_else(|| self.streams.pop())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.streams.is_empty()
    }

    /// Takes no more orders.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        while self.pop().is_some() {}
    }

    pub(crate) fn push(&self, order: Order) -> Result<(), Refused> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Refused::Stopped);
        }
        let queue = match &order {
            Order::Sync { .. } | Order::StreamClosed { .. } => &self.streams,
            _ => &self.hosts,
        };
        queue.push(order).map_err(|_| Refused::Busy)?;
        // Closed in between: either the closer saw the order, or we see that it closed.
        if self.closed.load(Ordering::SeqCst) {
            self.close();
            return Err(Refused::Stopped);
        }
        Ok(())
    }
}

/// The way into a shard; cheap to clone.
#[derive(Clone)]
pub(crate) struct ShardHandle {
    orders: Arc<Orders>,
    waker: Waker,
}

impl ShardHandle {
    pub(crate) fn new(orders: Arc<Orders>, waker: Waker) -> Self {
        Self { orders, waker }
    }

    /// Whether the shard has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.orders.closed.load(Ordering::SeqCst)
    }

    /// Queues an order and rings the shard.
    pub(crate) fn order(&self, order: Order) -> Result<(), Refused> {
        self.orders.push(order)?;
        self.waker.wake();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect(reply: Reply<Inspection>) -> Order {
        Order::Inspect { agent: AgentId(0), reply }
    }

    /// A host is answered before the states that streams bring, whose order stays.
    #[test]
    fn hosts_do_not_wait_for_streams() {
        let orders = Orders::new(4);
        let closed = |n: u8| {
            let (agent, from) = (AgentId(0), MemberId([n; 16]));
            Order::StreamClosed { agent, from, extent: Extent::Whole, complete: true }
        };
        for order in [closed(1), closed(2), inspect(Box::new(drop)), closed(3)] {
            assert_eq!(orders.push(order), Ok(()));
        }
        assert!(matches!(orders.pop(), Some(Order::Inspect { .. })));
        for n in 1..=3 {
            let order = orders.pop();
            assert!(matches!(order, Some(Order::StreamClosed { from, .. }) if from.0[0] == n));
        }
        assert!(orders.pop().is_none() && orders.is_empty());
    }

    #[test]
    fn a_closed_queue_refuses_and_drops_what_waited() {
        let handle = ShardHandle::new(Arc::new(Orders::new(1)), Waker::unheard());
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let reply = Box::new(move |_| sender.send(()).unwrap());
        assert_eq!(handle.order(inspect(reply)), Ok(()));
        assert_eq!(handle.order(inspect(Box::new(drop))), Err(Refused::Busy));
        handle.orders.close();
        assert!(receiver.recv().is_err(), "whoever waits is told by a closed channel");
        assert_eq!(handle.order(inspect(Box::new(drop))), Err(Refused::Stopped));
    }
}
