//! The newest view of one agent, readable without a lock from any thread.
//!
//! Invariant: versions only rise; a reader keeps the view that it loaded for as long as it likes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use mesh_gossip_proto::{View, WallTime};

/// A view and when it was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// The membership.
    pub view: View,
    /// Wall time of the publication.
    pub at: WallTime,
}

/// Where a shard puts views and everybody else takes them.
#[derive(Debug)]
pub struct Snapshot {
    newest: ArcSwap<Published>,
    publications: AtomicU64,
}

impl Snapshot {
    /// Starts with a first view.
    pub fn new(first: Published) -> Self {
        Self { newest: ArcSwap::from_pointee(first), publications: AtomicU64::new(1) }
    }

    /// The newest view.
    pub fn load(&self) -> Arc<Published> {
        self.newest.load_full()
    }

    /// Looks at the newest view where it stands. [`Snapshot::load`] counts one more reader and later
    /// one less, which readers on many cores pay for; this touches nothing that they share.
    pub fn with<R>(&self, look: impl FnOnce(&Published) -> R) -> R {
        look(&self.newest.load())
    }

    /// Puts the next view in the place of the last one.
    pub fn publish(&self, next: Published) {
        debug_assert!(
            next.view.version() >= self.newest.load().view.version(),
            "versions only rise"
        );
        self.newest.store(Arc::new(next));
        self.publications.fetch_add(1, Ordering::Release);
    }

    /// How many views were put here; whoever read it before a view has one at least as new. The
    /// cheapest way to tell that a view made of another one is still current.
    pub fn publications(&self) -> u64 {
        self.publications.load(Ordering::Acquire)
    }
}
