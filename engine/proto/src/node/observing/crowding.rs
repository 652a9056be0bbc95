//! A host that cannot keep up with handshakes: whom we have no session with is silent for a reason of
//! our own (rule D-10).

use crate::member::MemberId;
use crate::membership::table::MemberTable;
use crate::node::Node;
use crate::time::{Duration, Instant};

/// A handshake that was turned away is repeated or given up within so long.
const OUTLASTS: Duration = Duration::from_secs(2);

impl<T: MemberTable> Node<T> {
    /// The host turned handshakes away at `at`, because others waited for too long already. Until two
    /// seconds later the silence of members that we have no session with is no evidence against them.
    pub fn handle_crowd(&mut self, at: Instant) {
        self.observing.crowded = Some(at);
    }

    /// Whether the silence of `id` tells nothing, since it takes a handshake to hear it.
    pub(super) fn is_kept_out(&self, now: Instant, id: MemberId) -> bool {
        self.observing.crowded.is_some_and(|at| now.since(at) < OUTLASTS) && !self.is_warm(now, id)
    }
}
