//! What the shard, the control thread and the host all read of one agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use mesh_gossip_proto::MemberId;

use crate::leaders::Bell;
use crate::link::strays::Strays;
use crate::metrics::Metrics;
use crate::snapshot::Snapshot;
use crate::tls::authority::{Intermediates, MeshAuthority};
use crate::tls::credentials::Credentials;

/// One agent, seen from every thread.
pub(crate) struct Shared {
    /// Member id.
    pub(crate) id: MemberId,
    /// Name within the cluster.
    pub(crate) node_id: String,
    /// Cluster.
    pub(crate) cluster_id: String,
    /// Newest view.
    pub(crate) snapshot: Snapshot,
    /// Metrics with a registry of their own.
    pub(crate) metrics: Metrics,
    /// Credentials, swapped whole.
    pub(crate) credentials: ArcSwap<Credentials>,
    /// Intermediates that handshakes have shown, which complete the chains of records.
    pub(crate) learned: Arc<Intermediates>,
    /// Datagrams of no session that came of late.
    pub(crate) strays: Arc<Strays>,
    /// Rings when a leader changes.
    pub(crate) bell: Bell,
    joined: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        id: MemberId,
        node_id: String,
        cluster_id: String,
        snapshot: Snapshot,
        metrics: Metrics,
        authority: &MeshAuthority,
        strays: Arc<Strays>,
    ) -> Self {
        let credentials = ArcSwap::new(Arc::clone(authority.credentials()));
        let learned = Arc::clone(authority.learned());
        let joined = AtomicBool::new(false);
        let bell = Bell::default();
        Self {
            id,
            node_id,
            cluster_id,
            snapshot,
            metrics,
            credentials,
            learned,
            strays,
            bell,
            joined,
        }
    }

    /// The first full exchange with the mesh is done, or there was nobody to have it with.
    pub(crate) fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Acquire)
    }

    pub(crate) fn set_joined(&self) {
        self.joined.store(true, Ordering::Release);
    }
}
