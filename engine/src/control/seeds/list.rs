//! Everybody whom the mesh may be found through, as the node is told.
//!
//! An address book with two pages: one is copied from the settings again and again, the other is in
//! the host's own hand. The node gets both in one, so that neither wipes out the other. Where that is
//! more than can be dialled at a time they take turns, in their order and from the first again.
//!
//! Invariants: only what stands on a page is told, and all of it where it fits; the shard's last
//! order is of the newest pages that it was told.

use std::mem;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mesh_gossip_proto::{Command, CommandError};
use tokio::sync::Notify;

use crate::orders::{AgentId, Order, Refused, Reply, ShardHandle};

/// Most addresses dialled at a time. Each costs a datagram an interval until it answers; one seed is
/// enough to find a mesh, and nobody lists so many by hand. Further ones wait for their turn.
pub(super) const MOST_SEEDS: usize = 256;

/// The seeds of one agent, from its settings and from its host.
pub(crate) struct SeedList {
    agent: AgentId,
    node_id: String,
    shard: ShardHandle,
    pages: Mutex<Pages>,
    named: Notify,
}

#[derive(Debug, Default)]
struct Pages {
    /// Where the settings lead.
    configured: Vec<SocketAddr>,
    /// What the host named; as long as it pleases, since it is held here alone.
    named: Vec<SocketAddr>,
    /// The last address of the turn before this one.
    after: Option<SocketAddr>,
    /// What the node was told last.
    told: Vec<SocketAddr>,
}

impl Pages {
    /// Both pages in one order, whatever order a resolver rotates its answers into.
    fn all(&self) -> Vec<SocketAddr> {
        let mut all = [&self.configured[..], &self.named[..]].concat();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whose turn it is.
    fn turn(&self) -> Vec<SocketAddr> {
        let mut all = self.all();
        if all.len() > MOST_SEEDS {
            // By address rather than by number: names may come and go between two turns.
            let begin = all.partition_point(|seed| self.after.is_some_and(|after| *seed <= after));
            all.rotate_left(begin);
            all.truncate(MOST_SEEDS);
        }
        all
    }
}

impl SeedList {
    pub(crate) fn new(agent: AgentId, node_id: &str, shard: ShardHandle) -> Self {
        let (pages, named) = (Mutex::default(), Notify::new());
        Self { agent, node_id: node_id.to_owned(), shard, pages, named }
    }

    pub(super) fn node_id(&self) -> &str {
        &self.node_id
    }

    /// The host's page, in place of what it said before. Refused, nothing has changed.
    pub(crate) fn name(
        &self,
        seeds: Vec<SocketAddr>,
        reply: Reply<Result<(), CommandError>>,
    ) -> Result<(), Refused> {
        let mut pages = self.pages();
        let before = mem::replace(&mut pages.named, seeds);
        let outcome = self.order(&mut pages, reply);
        match outcome {
            Ok(()) => self.named.notify_one(),
            Err(_) => pages.named = before,
        }
        outcome
    }

    /// Returns when the host has named other seeds since the last time.
    pub(super) async fn named(&self) {
        self.named.notified().await;
    }

    /// The settings' page, in place of what it said before.
    pub(super) fn configure(&self, seeds: Vec<SocketAddr>) {
        self.pages().configured = seeds;
    }

    /// More of the settings' page, beside what it said before.
    pub(super) fn add(&self, seeds: &[SocketAddr]) {
        let known = &mut self.pages().configured;
        known.extend_from_slice(seeds);
        // Settings may change often while no look finds anything.
        known.sort_unstable();
        known.dedup();
    }

    /// Whether the settings lead anywhere.
    pub(super) fn is_configured(&self) -> bool {
        !self.pages().configured.is_empty()
    }

    /// Seeds that wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.pages().all().len().saturating_sub(MOST_SEEDS)
    }

    /// The turn of those who waited longest.
    pub(super) fn next_turn(&self) {
        let mut pages = self.pages();
        pages.after = pages.turn().last().copied();
    }

    /// Tells the node what it does not know yet.
    pub(super) fn tell(&self) -> Result<(), Refused> {
        let mut pages = self.pages();
        if pages.turn() == pages.told {
            return Ok(());
        }
        // A node that has left needs no seeds.
        self.order(&mut pages, Box::new(drop))
    }

    /// With the pages locked, so that no older state of them overtakes a newer one.
    fn order(
        &self,
        pages: &mut Pages,
        reply: Reply<Result<(), CommandError>>,
    ) -> Result<(), Refused> {
        let turn = pages.turn();
        let command = Command::Join(turn.clone());
        self.shard.order(Order::Command { agent: self.agent, command, reply })?;
        pages.told = turn;
        Ok(())
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
