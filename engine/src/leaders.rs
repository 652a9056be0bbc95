//! Who leads, for whoever waits for it to change (rule E-5).
//!
//! What a watch tells is advice. In a mesh that is cut in two either side has a leader, and a leader
//! that was paused still believes that it leads: whoever must be sure that only one acts keeps a
//! lease in a store that decides alone, and shows it [`fence`]'s token.
//!
//! Invariant: the shard never waits for a watcher: it holds the lock for no work at all.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mesh_gossip_proto::leadership::{self, fence};
use mesh_gossip_proto::{Leader, MemberId};

use crate::shared::Shared;

/// Wakes whoever waits for a change.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<()>,
    heard: Condvar,
}

impl Bell {
    /// Wakes all; what they look for has to be in its place by now.
    pub(crate) fn ring(&self) {
        // Taken once, so that nobody falls asleep between its look and this ring.
        drop(self.rung.lock().unwrap_or_else(PoisonError::into_inner));
        self.heard.notify_all();
    }

    /// Waits until `look` finds something, looking again at every ring.
    fn wait<T>(&self, patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let begun = Instant::now();
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            let left = patience.checked_sub(begun.elapsed()).filter(|left| !left.is_zero())?;
            let waited = self.heard.wait_timeout(rung, left);
            rung = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A watch of one scope; see [`Agent::leaders`](crate::Agent::leaders).
pub struct LeaderWatch {
    shared: Arc<Shared>,
    scope: String,
    /// What was told last.
    seen: (Option<MemberId>, u64),
}

impl std::fmt::Debug for LeaderWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaderWatch").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl LeaderWatch {
    pub(crate) fn of(shared: &Arc<Shared>, scope: &str) -> Option<Self> {
        let watch = Self { shared: shared.clone(), scope: scope.to_owned(), seen: (None, 0) };
        watch.leader().map(|_| watch)
    }

    fn leader(&self) -> Option<Leader> {
        leadership::leader(&self.shared.snapshot.load().view, &self.scope).cloned()
    }

    /// Who leads at present. Never blocks.
    pub fn current(&self) -> Leader {
        match self.leader() {
            Some(leader) => leader,
            None => unreachable!("scopes are configured for life"),
        }
    }

    /// Whether this very member leads at present, as far as it knows.
    pub fn is_local(&self) -> bool {
        self.current().leader == Some(self.shared.id)
    }

    /// The fence token of the present leader: greater for every later term, and another for every
    /// holder of one (rule E-8).
    pub fn fence_token(&self) -> Option<u64> {
        let published = self.shared.snapshot.load();
        let leader = leadership::leader(&published.view, &self.scope)?;
        let member = published.view.member(leader.leader?)?;
        Some(fence::token(&leader.scope, leader.term, member.incarnation().generation))
    }

    /// The state after the next change, waiting up to `timeout` for one; the first call tells at
    /// once who leads, if anybody does. Of several changes at once only the last is told.
    pub fn next(&mut self, timeout: Duration) -> Option<Leader> {
        let news = || self.leader().filter(|leader| (leader.leader, leader.term) != self.seen);
        let found = self.shared.bell.wait(timeout, news)?;
        self.seen = (found.leader, found.term);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_ring_wakes_whoever_waits_and_patience_ends() {
        let bell = Arc::new(Bell::default());
        assert_eq!(bell.wait(Duration::ZERO, || Some(1)), Some(1), "what is there is told at once");
        assert_eq!(bell.wait(Duration::from_millis(5), || None::<u32>), None);
        let value = Arc::new(AtomicU32::new(0));
        let waiting = {
            let (bell, value) = (bell.clone(), value.clone());
            std::thread::spawn(move || {
                let look = || Some(value.load(Ordering::SeqCst)).filter(|value| *value > 0);
                bell.wait(Duration::from_secs(60), look)
            })
        };
        value.store(7, Ordering::SeqCst);
        bell.ring();
        assert_eq!(waiting.join().unwrap(), Some(7));
    }
}
