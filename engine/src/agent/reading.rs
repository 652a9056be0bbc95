//! What a host may read from threads of its own, whatever becomes of the agent meanwhile.
//!
//! Invariant: nothing here keeps an agent running, and nothing here waits for a shard.

use std::sync::{Arc, PoisonError};

use super::Agent;
use crate::control::HostEvent;
use crate::control::post::Mailbox;
use crate::shared::Shared;
use crate::snapshot::Published;

/// Reads an agent's views; after its end, the last one.
#[derive(Clone)]
pub struct ViewReader {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for ViewReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ViewReader").field("node_id", &self.shared.node_id).finish()
    }
}

impl ViewReader {
    /// The newest view.
    pub fn view(&self) -> Arc<Published> {
        self.shared.snapshot.load()
    }

    /// How many views were published so far; see
    /// [`Snapshot::publications`](crate::snapshot::Snapshot::publications).
    pub fn publications(&self) -> u64 {
        self.shared.snapshot.publications()
    }

    /// Whether the first full exchange with the mesh is done.
    pub fn is_joined(&self) -> bool {
        self.shared.is_joined()
    }
}

/// Takes an agent's events, and learns when there will be no more.
#[derive(Clone)]
pub struct EventReader {
    mailbox: Mailbox,
}

impl std::fmt::Debug for EventReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventReader").finish_non_exhaustive()
    }
}

impl EventReader {
    /// The next events as [`Agent::next_events`] gives them, waiting as long as it takes; `None`
    /// once the agent has stopped and all of them were taken.
    pub fn wait(&self) -> Option<Vec<HostEvent>> {
        self.mailbox.wait()
    }
}

impl Agent {
    /// URL of the control server at the address that it is bound to.
    pub fn control_url(&self) -> Option<String> {
        let address = self.control_address()?;
        let in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let is_secure = in_force.control.as_ref().is_some_and(|control| control.tls.is_some());
        Some(format!("{}://{address}", if is_secure { "https" } else { "http" }))
    }

    /// A reader of the views, which outlives the agent.
    pub fn reader(&self) -> ViewReader {
        ViewReader { shared: Arc::clone(&self.shared) }
    }

    /// A reader of the events, which outlives the agent. Each event reaches one reader, or
    /// [`Agent::next_events`].
    pub fn events(&self) -> EventReader {
        EventReader { mailbox: self.events.clone() }
    }
}
