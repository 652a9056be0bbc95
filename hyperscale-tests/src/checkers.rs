//! Named rules that no run may break, whatever befalls it.
//!
//! Each checker sees every event of every node and, when asked, every table. It says what it saw;
//! the first violation stays.
//!
//! Invariant: a checker knows more than any node does: who signed what, and who runs.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::{
    Config, Event, Incarnation, Instant, LeftReason, Member, MemberId, SignedRecord, State, Stats,
};

use mesh_gossip_proto::detector::awareness::WORST;

use crate::authority::Notary;
use crate::watch::{Roll, Watch};

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker's name.
    pub checker: &'static str,
    /// The run's seed.
    pub seed: u64,
    /// When.
    pub at: Instant,
    /// What was seen.
    pub what: String,
    /// How to see it again.
    pub replay: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checker, seed, at, what, replay } = self;
        let seconds = at.as_nanos() as f64 / 1e9;
        write!(f, "{checker} is broken at {seconds:.3} s, seed {seed:#x}: {what}\n  {replay}")
    }
}

impl std::error::Error for Violation {}

/// A member departed from a view only comes back under a higher incarnation.
pub const NO_RESURRECTION: &str = "no-resurrection";
/// In one view a member's incarnation never falls.
pub const INCARNATION_MONOTONIC: &str = "incarnation-monotonic";
/// Nobody holds a record that its owner has not signed.
pub const NO_FORGED_RECORD: &str = "no-forged-record";
/// Queues stay within the limits of the configuration, and a driver that drains loses nothing.
pub const BOUNDED_QUEUES: &str = "bounded-queues";
/// A while after the last fault all live views agree on who lives.
pub const CONVERGENCE: &str = "convergence";
/// A node holds itself alive until it leaves.
pub const SELF_ALIVE: &str = "self-alive";

/// Whoever runs well in a sound network is held failed by nobody, whatever liars say.
pub const NO_FALSE_EVICTION: &str = "no-false-eviction";

/// A claim that is forged or stale changes nothing where it is told, and is counted there.
pub const REFUSED_AND_COUNTED: &str = "refused-and-counted";

/// So long after the last fault a verdict can no longer rest on it: a case needs seconds, a death
/// evicts on arrival while it is younger than 15 s (rule D-15), and one detour more is allowed.
const ECHO: Duration = Duration::from_secs(30);

/// What one node was seen to hold of a member.
#[derive(Clone, Copy, Debug)]
struct Held {
    incarnation: Incarnation,
    departed: bool,
}

/// The checkers of one world.
pub struct Checkers {
    seed: u64,
    notary: Notary,
    held: HashMap<(usize, MemberId), Held>,
    /// Since when nothing keeps members from reaching each other; none while something does.
    calm_since: Option<Instant>,
    first: Option<Violation>,
}

/// What a node is at the moment when it is looked at.
pub(crate) struct Look<'a> {
    pub(crate) at: Instant,
    pub(crate) by: usize,
    pub(crate) id: MemberId,
    pub(crate) leaving: bool,
    pub(crate) config: &'a Config,
    pub(crate) stats: &'a Stats,
}

/// What a node holds, beside its counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    pub(crate) members: usize,
    pub(crate) contacts: usize,
    pub(crate) observers: usize,
}

/// VERIFYs a node and second (rule D-10).
const VERIFIES: usize = 50;

/// Datagrams that one change may cause: what is asked for again, what is passed on, a ping and a
/// control for each test, questions about those, and one round of gossip.
fn most_at_once(config: &Config) -> usize {
    let limits = &config.limits;
    let tests = 2 * limits.tests + VERIFIES;
    limits.pulls + limits.relays + tests + limits.proofs + config.max_outbound_per_round
}

fn record_of(event: &Event) -> Option<&Arc<SignedRecord>> {
    match event {
        Event::Joined(record)
        | Event::Recovered { record, .. }
        | Event::Suspected { record, .. }
        | Event::Unreachable(record)
        | Event::Left { record, .. }
        | Event::Updated(record)
        | Event::Refuted(record) => Some(record),
        Event::Forgotten(_)
        | Event::Conflict(_)
        | Event::LeaderChanged { .. }
        | Event::Alarm(_)
        | Event::RecordRejected { .. }
        | Event::RoundTrip { .. }
        | Event::ProbeFailed(_)
        | Event::JoinComplete
        | Event::LeaveComplete { .. }
        | Event::Broadcast { .. }
        | Event::Message { .. }
        | Event::Missed(_)
        | Event::Overflow(_) => None,
    }
}

/// Whether the event says that its subject is present.
fn says_present(event: &Event) -> bool {
    matches!(
        event,
        Event::Joined(_)
            | Event::Recovered { .. }
            | Event::Suspected { .. }
            | Event::Unreachable(_)
            | Event::Updated(_)
    )
}

impl Checkers {
    pub(crate) fn new(seed: u64, notary: Notary) -> Self {
        Self { seed, notary, held: HashMap::new(), calm_since: None, first: None }
    }

    /// Whether, from `now` on, whoever runs can be reached. Until this is said for the first time,
    /// nobody is judged by it.
    pub fn calm(&mut self, now: Instant, calm: bool) {
        self.calm_since = if calm { self.calm_since.or(Some(now)) } else { None };
    }

    /// The first rule that was broken.
    pub fn first(&self) -> Option<&Violation> {
        self.first.as_ref()
    }

    fn violated(&self, checker: &'static str, at: Instant, what: String) -> Violation {
        let seed = self.seed;
        let replay = format!("replay: World::seeded({seed:#x})");
        Violation { checker, seed, at, what, replay }
    }

    /// A member was held failed that runs, has run for a while and can be reached.
    fn evicts(&self, at: Instant, by: usize, event: &Event, roll: &Roll) -> Result<(), Violation> {
        let Event::Left { record, reason: LeftReason::Failed } = event else { return Ok(()) };
        let long = |since: Instant| at.since(since) >= ECHO;
        let content = record.record();
        let Some(standing) = roll.index(content.id).map(|index| roll.standing(index)) else {
            return Ok(());
        };
        let well = standing.up && !standing.leaving && long(standing.since);
        if well && self.calm_since.is_some_and(long) {
            let what = format!("{by} holds {} failed, which is well", content.id);
            return Err(self.violated(NO_FALSE_EVICTION, at, what));
        }
        Ok(())
    }

    fn see(&mut self, at: Instant, by: usize, event: &Event) -> Result<(), Violation> {
        if let Event::Overflow(lost) = event {
            return Err(self.violated(BOUNDED_QUEUES, at, format!("{by} lost {lost} events")));
        }
        if let Event::Forgotten(id) = event {
            self.held.remove(&(by, *id));
        }
        let Some(record) = record_of(event) else { return Ok(()) };
        self.signed(at, by, record)?;
        let content = record.record();
        let (id, incarnation) = (content.id, content.incarnation);
        let departed = matches!(event, Event::Left { .. });
        if let Some(held) = self.held.get(&(by, id)).copied() {
            if incarnation < held.incarnation {
                let what = format!("{by} fell from {} to {incarnation} of {id}", held.incarnation);
                return Err(self.violated(INCARNATION_MONOTONIC, at, what));
            }
            if held.departed && says_present(event) && incarnation <= held.incarnation {
                let what = format!("{by} held {id} departed at {incarnation}, then present");
                return Err(self.violated(NO_RESURRECTION, at, what));
            }
        }
        self.held.insert((by, id), Held { incarnation, departed });
        Ok(())
    }

    fn signed(&self, at: Instant, by: usize, record: &SignedRecord) -> Result<(), Violation> {
        let content = record.record();
        if self.notary.was_signed(record.hash(), &content.metadata.node_id) {
            return Ok(());
        }
        let what = format!(
            "{by} holds {} at {}, which {} never signed",
            content.id, content.incarnation, content.metadata.node_id
        );
        Err(self.violated(NO_FORGED_RECORD, at, what))
    }

    /// Looks at a member in a node's table.
    pub(crate) fn look_at(&self, look: &Look<'_>, member: &Member) -> Result<(), Violation> {
        self.signed(look.at, look.by, &member.record)?;
        let held = self.held.get(&(look.by, member.id()));
        if let Some(held) = held.filter(|held| member.incarnation() < held.incarnation) {
            let what = format!(
                "{} holds {} at {} after {}",
                look.by,
                member.id(),
                member.incarnation(),
                held.incarnation
            );
            return Err(self.violated(INCARNATION_MONOTONIC, look.at, what));
        }
        if member.id() == look.id && member.state != State::Alive && !look.leaving {
            let what = format!("{} holds itself {:?}", look.by, member.state);
            return Err(self.violated(SELF_ALIVE, look.at, what));
        }
        Ok(())
    }

    /// Looks at everything that a node says of its size, and at the most datagrams that any node
    /// wished to send after one change.
    pub(crate) fn look_at_queues(
        &self,
        look: &Look<'_>,
        sizes: &Sizes,
        burst: usize,
    ) -> Result<(), Violation> {
        let limits = &look.config.limits;
        let stats = look.stats;
        for (name, depth, limit) in [
            ("updates", stats.queue_depth as usize, limits.queue_entries),
            ("members", sizes.members, limits.members),
            ("contacts", sizes.contacts, limits.members),
            ("observers", sizes.observers, look.config.observers),
            ("steps of awareness", stats.awareness as usize, WORST as usize),
            ("permille of the baseline", stats.baseline_permille as usize, 1_000),
            ("datagrams after one change", burst, most_at_once(look.config)),
        ] {
            if depth > limit {
                let what = format!("{} holds {depth} {name}, the limit is {limit}", look.by);
                return Err(self.violated(BOUNDED_QUEUES, look.at, what));
            }
        }
        Ok(())
    }

    /// A rule that somebody else looks at was broken.
    pub(crate) fn broken(&self, checker: &'static str, at: Instant, what: String) -> Violation {
        self.violated(checker, at, what)
    }

    /// Views still differ a while after the last fault.
    pub(crate) fn differs(&self, at: Instant, what: String) -> Violation {
        self.violated(CONVERGENCE, at, what)
    }
}

impl Watch for Checkers {
    fn event(&mut self, at: Instant, by: usize, event: &Event, roll: &Roll) {
        let seen = |checkers: &mut Self| {
            checkers.see(at, by, event)?;
            checkers.evicts(at, by, event, roll)
        };
        if self.first.is_none()
            && let Err(violation) = seen(self)
        {
            self.first = Some(violation);
        }
    }

    fn standing(&mut self, _at: Instant, index: usize, _roll: &Roll) {
        // A new life knows nothing of what the one before held.
        self.held.retain(|(by, _), _| *by != index);
    }
}

#[cfg(test)]
mod tests;
