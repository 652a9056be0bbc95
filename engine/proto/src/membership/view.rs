//! An immutable picture of the membership at one moment.
//!
//! A view shares its chunks with its predecessor and successor (rule V-1); readers keep it as
//! long as they like and never block the protocol.

use alloc::sync::Arc;

use crate::config::Scope;
use crate::member::{MemberId, State};
use crate::membership::chunks::Chunks;
use crate::membership::slots::Slots;
use crate::membership::table::{Counts, Member};
use crate::time::{Duration, Instant, WallTime};

/// Who leads a scope, as far as a node can tell; advice, and no lock (rule E-5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// What is led.
    pub scope: Arc<Scope>,
    /// Who leads it; nobody, while a successor has not taken over.
    pub leader: Option<MemberId>,
    /// For which term; where nobody leads, the last one seen.
    pub term: u64,
    /// Since when, by the leader's own clock.
    pub since: WallTime,
}

/// Who is a member, as of one version.
#[derive(Clone, Debug)]
pub struct View {
    slots: Slots,
    counts: Counts,
    local: MemberId,
    version: u64,
    digest: u64,
    taken: Instant,
    listed: Duration,
    leaders: Arc<[Leader]>,
}

impl View {
    pub(crate) fn new(
        slots: Slots,
        counts: Counts,
        local: MemberId,
        version: u64,
        digest: u64,
        taken: Instant,
    ) -> Self {
        let leaders = Arc::default();
        Self { slots, counts, local, version, digest, taken, listed: Duration::MAX, leaders }
    }

    /// The same, with the departed listed for so long (rule L-4).
    #[must_use]
    pub(crate) fn listing(self, listed: Duration) -> Self {
        Self { listed, ..self }
    }

    /// The same with who leads what.
    #[must_use]
    pub fn with_leaders(self, leaders: Arc<[Leader]>) -> Self {
        Self { leaders, ..self }
    }

    /// A view of exactly these members, in this order: of a table that keeps them elsewhere.
    pub fn of(
        members: impl Iterator<Item = Member>,
        local: MemberId,
        version: u64,
        taken: Instant,
    ) -> Self {
        let mut slots = Slots::default();
        let (mut counts, mut digest) = (Counts::default(), 0);
        for member in members {
            *counts.of(member.state) += 1;
            digest ^= member.digest_share();
            slots.insert(member, None);
        }
        Self::new(slots, counts, local, version, digest, taken)
    }

    /// Rises with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Equal in two members whose views of the present members agree.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The node that this view belongs to.
    pub fn local(&self) -> MemberId {
        self.local
    }

    /// When it was taken, on the node's clock.
    pub fn taken(&self) -> Instant {
        self.taken
    }

    /// Members by state.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Every known member, departed ones included, in no meaningful order. O(N).
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.slots.iter()
    }

    /// Members to be shown: those who are present, and the departed while they are listed (rule L-4).
    /// What is kept of others beyond that serves the heal of partitions. O(N).
    pub fn listed(&self) -> impl Iterator<Item = &Member> {
        let is_listed = |member: &&Member| {
            member.state.is_present() || self.taken.since(member.since) < self.listed
        };
        self.members().filter(is_listed)
    }

    /// When a member is listed no longer (rule L-4); `None` for the present ones, which stay.
    pub fn listed_until(&self, member: &Member) -> Option<Instant> {
        (!member.state.is_present()).then(|| member.since + self.listed)
    }

    /// The member with this id. O(1).
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.slots.get(id)
    }

    /// The state of a member, `None` when it is unknown. O(1).
    pub fn state(&self, id: MemberId) -> Option<State> {
        self.member(id).map(|member| member.state)
    }

    /// Who leads what: one entry a configured scope, in their order.
    pub fn leaders(&self) -> &[Leader] {
        &self.leaders
    }

    /// The chunks, for readers that cache by chunk.
    pub fn chunks(&self) -> &Chunks<Option<Member>> {
        self.slots.chunks()
    }

    /// The slots and their index, to see what two views share.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }
}
