//! Whoever cannot keep up with handshakes: a member that is heard by one alone is silent for a reason
//! of our own (rule D-10).

use crate::member::MemberId;
use crate::membership::table::MemberTable;
use crate::node::Node;
use crate::time::{Duration, Instant};

/// A handshake that was turned away is repeated or given up within so long.
const OUTLASTS: Duration = Duration::from_secs(2);
/// A crowd excuses nobody for longer: strangers can make one as long as they like. It has ended after
/// as long a calm: one that comes and goes leaves no test the time that it needs.
const MOST: Duration = Duration::from_secs(60);

/// A time in which handshakes were turned away again and again.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Crowd {
    began: Instant,
    last: Instant,
}

impl Crowd {
    fn excuses(&self, now: Instant) -> bool {
        now.since(self.last) < OUTLASTS && now.since(self.began) < MOST
    }
}

impl<T: MemberTable> Node<T> {
    /// The links' thread turned handshakes away at `at`, because others wait there. Until two seconds
    /// later, and within a minute of the first, the silence of members whom we have not heard of late is no
    /// evidence against them.
    pub fn handle_crowd(&mut self, at: Instant) {
        let crowd = self.observing.crowd.filter(|crowd| at.since(crowd.last) < MOST);
        let began = crowd.map_or(at, |crowd| crowd.began);
        self.observing.crowd = Some(Crowd { began, last: at });
    }

    /// Whether the silence of `id` tells nothing, since it takes a handshake to hear it.
    pub(super) fn is_kept_out(&self, now: Instant, id: MemberId) -> bool {
        self.observing.crowd.is_some_and(|crowd| crowd.excuses(now)) && !self.is_warm(now, id)
    }
}
