//! memberlist's queue of updates alone: it asks for no runtime, and its lock is free, so that every
//! call ends at once. Messages and their encoding are those of the whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use memberlist_core::Broadcast;
use memberlist_core::futures::FutureExt;
use memberlist_core::proto::{Alive, Data, Message, ProtoEncoder};
use memberlist_core::queue::TransmitLimitedQueue;
use memberlist_core::transport::NodeId;

use super::swim_memberlist::{node, who};

/// An update of a member, as memberlist queues it: a newer one of the same member takes its place.
#[derive(Debug)]
struct Told {
    node: NodeId,
    message: Message<NodeId, SocketAddr>,
}

impl Broadcast for Told {
    type Id = NodeId;
    type Message = Message<NodeId, SocketAddr>;

    fn id(&self) -> Option<&NodeId> {
        Some(&self.node)
    }

    fn invalidates(&self, other: &Self) -> bool {
        self.node == other.node
    }

    fn message(&self) -> &Self::Message {
        &self.message
    }

    fn encoded_len(message: &Self::Message) -> usize {
        message.encoded_len_with_length_delimited()
    }

    async fn finished(&self) {}
}

/// A queue whose updates are sent without end.
pub struct Queue {
    updates: TransmitLimitedQueue<Told, Arc<AtomicUsize>>,
}

impl Queue {
    /// One in which the first `members` members wait, of a cluster as large.
    pub fn filled(members: u32) -> Self {
        let size = Arc::new(AtomicUsize::new(members as usize));
        let queue = Self { updates: TransmitLimitedQueue::new(usize::MAX >> 8, size) };
        for number in 0..members {
            queue.push(number, 1);
        }
        assert_eq!(queue.updates.num_queued().now_or_never(), Some(members as usize));
        queue
    }

    /// Queues an update of a member.
    pub fn push(&self, number: u32, incarnation: u32) {
        let message = Alive::new(incarnation, node(number)).into();
        let told = Told { node: who(number), message };
        self.updates.queue_broadcast(told).now_or_never().expect("the lock is free");
    }

    /// Fills and writes one datagram of so many bytes at most; returns its updates and bytes.
    pub fn fill(&self, datagram: usize) -> (usize, usize) {
        let messages = self.updates.get_broadcasts(datagram).now_or_never();
        let messages = messages.expect("the lock is free");
        let count = messages.len();
        let encoder = ProtoEncoder::<NodeId, SocketAddr, _>::new(datagram).with_messages(messages);
        let first = encoder.encode().next().expect("updates wait").expect("they are encoded");
        (count, first.as_slice().len())
    }
}
