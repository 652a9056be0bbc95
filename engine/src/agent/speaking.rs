//! What a host says to other hosts: to all (rules U-1 to U-5) or to one (rule U-6).
//!
//! Invariant: what returns an error was not said.

use mesh_gossip_proto::{Broadcast, Command, MemberId};

use super::Agent;
use crate::error::AgentError;

impl Agent {
    /// Says something to every member; each of their hosts is told once, by
    /// [`Event::Broadcast`], who said it and what. `topic` is a
    /// number that the hosts agree on.
    ///
    /// What may be relied on: it is signed, so nobody speaks in this member's name; whoever is a
    /// member from now on until it has spread (about a second among a thousand) gets it with the
    /// certainty that gossip gives, without a receipt; nobody's host gets it twice; order is not
    /// promised; who is away or cut off meanwhile misses it, and nothing is kept for it.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use mesh_gossip::proto::Event;
    ///
    /// # fn host(agent: mesh_gossip::Agent) -> Result<(), mesh_gossip::AgentError> {
    /// const CACHE: u16 = 1;
    /// agent.broadcast(CACHE, b"drop /users/7")?;
    /// while let Some(events) = agent.next_events(Duration::from_secs(10)) {
    ///     for told in events {
    ///         if let Event::Broadcast { from, topic: CACHE, bytes } = told.event {
    ///             println!("{from}: {}", String::from_utf8_lossy(&bytes));
    ///         }
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TooLarge`] names the limit, about 1,024 bytes with an ECDSA key; [`TooFast`] beyond 128 at
    /// once and 100 a second. Then nothing was said.
    ///
    /// [`Event::Broadcast`]: mesh_gossip_proto::Event::Broadcast
    /// [`TooLarge`]: mesh_gossip_proto::CommandError::TooLarge
    /// [`TooFast`]: mesh_gossip_proto::CommandError::TooFast
    pub fn broadcast(&self, topic: u16, bytes: &[u8]) -> Result<(), AgentError> {
        self.say(Broadcast { topic, key: None, bytes: bytes.to_vec() })
    }

    /// The same, in place of what this member said before under the same topic and key, where that
    /// is still on its way: who has not heard it yet is spared it.
    ///
    /// # Errors
    /// As [`Agent::broadcast`].
    pub fn broadcast_latest(&self, topic: u16, key: u64, bytes: &[u8]) -> Result<(), AgentError> {
        self.say(Broadcast { topic, key: Some(key), bytes: bytes.to_vec() })
    }

    fn say(&self, broadcast: Broadcast) -> Result<(), AgentError> {
        self.command(Command::Broadcast(broadcast))
    }

    /// Says something to one member: one sealed datagram, sent once. It may be lost and nobody is
    /// told; its host gets [`Event::Message`] from
    /// [`Agent::next_events`].
    ///
    /// # Errors
    /// [`TooLarge`] names the limit, [`NoSuchMember`] where nobody of this id is present, [`TooFast`]
    /// beyond 128 at once and 100 a second to one member. Then nothing was sent.
    ///
    /// [`Event::Message`]: mesh_gossip_proto::Event::Message
    /// [`TooLarge`]: mesh_gossip_proto::CommandError::TooLarge
    /// [`NoSuchMember`]: mesh_gossip_proto::CommandError::NoSuchMember
    /// [`TooFast`]: mesh_gossip_proto::CommandError::TooFast
    pub fn send_to(&self, to: MemberId, topic: u16, bytes: &[u8]) -> Result<(), AgentError> {
        self.command(Command::Send { to, topic, bytes: bytes.to_vec() })
    }
}
