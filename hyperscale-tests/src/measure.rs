//! Who learnt of which fault, and when; who was buried alive; how often views changed.
//!
//! A run's events pass by once and are folded into counts, so that a mass crash among thousands
//! costs two bits for each pair of members.
//!
//! Invariant: of a victim, `missing` is the number of required observers that do not hold it
//! departed; a required observer is one that was without fault when the victim's fault began, and
//! has been since.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::time::Duration;

use mesh_gossip_proto::batch::{Batches, Delivery};
use mesh_gossip_proto::{Event, Instant, MemberId};
use serde::{Deserialize, Serialize};

use crate::hash::IdHasher;
use crate::watch::{Roll, Watch};

use crate::measure::bits::Bits;
pub use crate::measure::seen::{How, Seen};
pub use crate::measure::spread::{Curve, P999_FROM, Spread, ms};

mod bits;
mod seen;
mod spread;

/// A restarted member may still be buried by who has not yet heard of its new life.
const RESTART_SETTLES: Duration = Duration::from_secs(3);
/// Deaths decided during a partition may still arrive so long after it.
const HEAL_SETTLES: Duration = Duration::from_secs(5);
/// Why a member is expected to leave every view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Killed,
    Outcast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Lasting,
    Until(Instant),
}

struct Host {
    live: bool,
    since: Instant,
    fault: Fault,
    victim: Option<usize>,
    status_changes: u32,
    membership_changes: u32,
    batch: Batches<()>,
    batches: u32,
}

impl Host {
    fn new(now: Instant) -> Self {
        Self {
            live: true,
            since: now,
            fault: Fault::None,
            victim: None,
            status_changes: 0,
            membership_changes: 0,
            batch: Batches::new(Delivery::Batched),
            batches: 0,
        }
    }
}

struct Victim {
    node: usize,
    cause: Cause,
    at: Instant,
    first: Option<Duration>,
    full: Option<Duration>,
    required: Bits,
    holding: Bits,
    missing: usize,
    back: Option<Instant>,
    rejoined: Option<Duration>,
}

/// What happened in a measured window.
pub struct Measure {
    index: HashMap<MemberId, usize, BuildHasherDefault<IdHasher>>,
    hosts: Vec<Host>,
    unsound: BTreeSet<usize>,
    victims: Vec<Victim>,
    parted: Option<(usize, Option<Instant>)>,
    behind_cut: BTreeSet<usize>,
    pairs: Option<HashMap<(usize, usize), u32>>,
    lived: Duration,
    curve: Curve,
    false_dead: HashSet<usize>,
    impaired_dead: HashSet<usize>,
    totals: Totals,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    false_deaths: u64,
    false_deaths_healthy: u64,
    false_deaths_behind_cut: u64,
    false_verdicts: u64,
    false_verdicts_healthy: u64,
    impaired_deaths: u64,
}

/// What a measured window showed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Findings {
    /// From each fault to the first verdict of any live node.
    pub first: Vec<Duration>,
    /// From each fault until the last live member held the faulty one departed.
    pub full: Vec<Duration>,
    /// From each restart until no live member held the restarted one departed.
    pub rejoin: Vec<Duration>,
    /// Restarted members that some live member still holds departed.
    pub not_rejoined: usize,
    /// Faulty members out of every healthy view.
    pub detected: usize,
    /// Faulty members that some healthy view kept.
    pub missed: usize,
    /// Killed members that were back before every healthy view had lost them: neither detected nor
    /// missed, and without a time in `full`.
    pub unresolved: usize,
    /// Members that were to be expelled, were, and are in some healthy view again at the end.
    pub returned: usize,
    /// Deaths told of members without fault.
    pub false_deaths: u64,
    /// Those told by members without fault.
    pub false_deaths_healthy: u64,
    /// Those that were the teller's own verdict: it did not learn of them from others.
    pub false_verdicts: u64,
    /// Such verdicts of members without fault.
    pub false_verdicts_healthy: u64,
    /// Those of members whose observers a cut between regions could turn against them.
    pub false_deaths_behind_cut: u64,
    /// Members without fault that somebody buried.
    pub falsely_dead: usize,
    /// Deaths told of members that are impaired but live, and are not expected to be expelled.
    pub impaired_deaths: u64,
    /// Such members that somebody buried.
    pub impaired_dead: usize,
    /// Time lived by all nodes together.
    pub lived: Duration,
    /// Most changes of status that one healthy member saw.
    pub view_changes_max: u32,
    /// Most departures and returns that one healthy member saw.
    pub membership_changes_max: u32,
    /// Most departures and returns of one subject that one healthy member saw.
    pub changes_of_one_max: u32,
    /// Batches of events of each healthy member.
    pub batches: Vec<u32>,
    /// Share of the pairs (faulty member, required observer) that were informed, over time.
    pub curve: Curve,
}

impl Measure {
    /// A window that opens at `now`, with every node live and without fault.
    pub fn new(now: Instant, ids: impl IntoIterator<Item = MemberId>) -> Self {
        let mut index = HashMap::default();
        for (node, id) in ids.into_iter().enumerate() {
            index.insert(id, node);
        }
        Self {
            hosts: (0..index.len()).map(|_| Host::new(now)).collect(),
            index,
            unsound: BTreeSet::new(),
            victims: Vec::new(),
            parted: None,
            behind_cut: BTreeSet::new(),
            pairs: None,
            lived: Duration::ZERO,
            curve: Curve::default(),
            false_dead: HashSet::new(),
            impaired_dead: HashSet::new(),
            totals: Totals::default(),
        }
    }

    /// Counts changes for each pair of observer and subject from here on.
    pub fn count_pairs(&mut self) {
        self.pairs = Some(HashMap::new());
    }

    /// These are killed at one instant, and everybody left has to notice.
    pub fn killed(&mut self, now: Instant, nodes: &[usize]) {
        for node in nodes {
            let host = &mut self.hosts[*node];
            assert!(host.live, "node {node} is killed once");
            host.live = false;
            self.lived += now.since(host.since);
        }
        self.fail(now, nodes);
        for node in nodes {
            self.expect_gone(now, *node, Cause::Killed);
        }
    }

    /// A killed node starts again.
    pub fn restarted(&mut self, now: Instant, node: usize) {
        let host = &mut self.hosts[node];
        host.live = true;
        host.since = now;
        host.fault = Fault::Until(now + RESTART_SETTLES);
        if let Some(victim) = host.victim.map(|number| &mut self.victims[number]) {
            victim.back = Some(now);
            if victim.holding.is_empty() {
                victim.rejoined = Some(Duration::ZERO);
            }
        }
    }

    /// These are at fault from here on, and live.
    pub fn impaired(&mut self, now: Instant, nodes: &[usize]) {
        self.fail(now, nodes);
    }

    /// These are at fault from here on, live, and are to be expelled; once said is enough.
    pub fn outcast(&mut self, now: Instant, nodes: &[usize]) {
        let fresh = |node: &usize| self.hosts[*node].victim.is_none();
        let fresh: Vec<usize> = nodes.iter().copied().filter(fresh).collect();
        self.fail(now, &fresh);
        for node in &fresh {
            self.expect_gone(now, *node, Cause::Outcast);
        }
    }

    /// The first nodes, so many, cannot reach the others: across, a verdict is right.
    pub fn parted(&mut self, first: usize) {
        self.parted = Some((first, None));
    }

    /// The cut ends.
    pub fn healed(&mut self, now: Instant) {
        if let Some((_, until)) = &mut self.parted {
            *until = Some(now + HEAL_SETTLES);
        }
    }

    /// Deaths of these members are counted apart: a quorum of their observers is cut off.
    pub fn behind_cut(&mut self, nodes: BTreeSet<usize>) {
        self.behind_cut = nodes;
    }

    /// Whether a node is live and without fault.
    pub fn is_sound(&self, now: Instant, node: usize) -> bool {
        let host = &self.hosts[node];
        host.live
            && match host.fault {
                Fault::None => true,
                Fault::Lasting => false,
                Fault::Until(until) => now >= until,
            }
    }

    /// Takes one event of one node; `own` says that a departure is its own verdict.
    pub fn told(&mut self, now: Instant, by: usize, event: &Event, own: bool) {
        if let Some(seen) = Seen::of(event) {
            self.seen(now, by, seen, own);
        }
    }

    /// One node saw another so.
    pub fn seen(&mut self, now: Instant, by: usize, seen: Seen, own: bool) {
        let Seen { subject, how } = seen;
        let subject = self.index.get(&subject).copied();
        match how {
            How::Joined | How::Returned => {
                self.changed(now, by, subject, true);
                self.returned(now, by, subject);
            }
            How::Cleared => {
                self.changed(now, by, subject, false);
                self.returned(now, by, subject);
            }
            How::Suspected => self.changed(now, by, subject, false),
            How::Failed => {
                self.changed(now, by, subject, true);
                self.buried(now, by, subject, own);
            }
            How::Left => self.changed(now, by, subject, true),
            How::Unreachable => self.unreachable(now, subject, by),
        }
    }

    /// The window opens again, here: returns the deaths of members without fault so far.
    pub fn reopen(&mut self, now: Instant) -> u64 {
        let ids = std::mem::take(&mut self.index);
        let pairs = self.pairs.take().map(|_| HashMap::new());
        let false_deaths = self.totals.false_deaths;
        *self = Self { index: ids, pairs, ..Self::new(now, []) };
        self.hosts = (0..self.index.len()).map(|_| Host::new(now)).collect();
        false_deaths
    }

    /// What the window showed, at its end.
    pub fn findings(&mut self, now: Instant) -> Findings {
        let totals = self.totals;
        let mut found = Findings {
            false_deaths: totals.false_deaths,
            false_deaths_healthy: totals.false_deaths_healthy,
            false_deaths_behind_cut: totals.false_deaths_behind_cut,
            false_verdicts: totals.false_verdicts,
            false_verdicts_healthy: totals.false_verdicts_healthy,
            falsely_dead: self.false_dead.len(),
            impaired_deaths: totals.impaired_deaths,
            impaired_dead: self.impaired_dead.len(),
            ..Findings::default()
        };
        for victim in &self.victims {
            found.first.extend(victim.first);
            found.full.extend(victim.full);
            found.rejoin.extend(victim.rejoined);
            found.not_rejoined += usize::from(victim.back.is_some() && victim.rejoined.is_none());
            let gone = match victim.cause {
                Cause::Killed => victim.full.is_some() && victim.missing == 0,
                // It lives: whether it may come back is a question of its scenario.
                Cause::Outcast => {
                    let returned = victim.full.is_some() && victim.missing > 0;
                    found.returned += usize::from(returned);
                    victim.full.is_some()
                }
            };
            let resolved = victim.back.is_none() || victim.full.is_some();
            found.unresolved += usize::from(!resolved);
            if resolved {
                found.detected += usize::from(gone || victim.back.is_some());
                found.missed += usize::from(!gone && victim.back.is_none());
            }
        }
        for node in 0..self.hosts.len() {
            let host = &self.hosts[node];
            if host.live {
                self.lived += now.since(host.since);
            }
            if self.is_sound(now, node) {
                found.view_changes_max = found.view_changes_max.max(host.status_changes);
                found.membership_changes_max =
                    found.membership_changes_max.max(host.membership_changes);
                found.batches.push(host.batches);
            }
        }
        for ((observer, _), changes) in self.pairs.iter().flatten() {
            if self.is_sound(now, *observer) {
                found.changes_of_one_max = found.changes_of_one_max.max(*changes);
            }
        }
        found.lived = self.lived;
        found.curve = self.curve.clone();
        found
    }

    /// Marks members as faulty; they no longer have to notice anything.
    fn fail(&mut self, now: Instant, nodes: &[usize]) {
        for node in nodes {
            self.hosts[*node].fault = Fault::Lasting;
            self.unsound.insert(*node);
        }
        for victim in &mut self.victims {
            for node in nodes {
                victim.excuse(now, *node);
                if !self.hosts[*node].live {
                    victim.unhold(*node);
                }
            }
        }
    }

    fn expect_gone(&mut self, now: Instant, node: usize, cause: Cause) {
        let mut required = Bits::full(self.hosts.len());
        let mut missing = self.hosts.len();
        // Ordered and small: who was restarted long ago is without fault again.
        let sound: Vec<usize> =
            self.unsound.iter().copied().filter(|node| self.is_sound(now, *node)).collect();
        for node in sound {
            self.unsound.remove(&node);
        }
        for other in self.unsound.iter().copied() {
            required.clear(other);
            missing -= 1;
        }
        assert!(self.unsound.contains(&node), "a victim is at fault");
        self.curve.expect(missing);
        self.hosts[node].victim = Some(self.victims.len());
        let mut victim = Victim {
            node,
            cause,
            at: now,
            first: None,
            full: None,
            required,
            holding: Bits::empty(self.hosts.len()),
            missing,
            back: None,
            rejoined: None,
        };
        victim.complete(now);
        self.victims.push(victim);
    }

    fn changed(&mut self, now: Instant, by: usize, subject: Option<usize>, membership: bool) {
        let host = &mut self.hosts[by];
        host.status_changes += 1;
        host.membership_changes += u32::from(membership);
        host.batch.take_due(now);
        host.batches += u32::from(host.batch.due().is_none());
        host.batch.add(now, ());
        if membership
            && let Some(subject) = subject
            && let Some(pairs) = &mut self.pairs
        {
            *pairs.entry((by, subject)).or_default() += 1;
        }
    }

    /// Whoever is left alone has nobody to ask for a verdict: a mark of its own is all there can be
    /// (rule D-9). To others it says no more than the doubt that was told before.
    fn unreachable(&mut self, now: Instant, subject: Option<usize>, by: usize) {
        let alone = self.hosts.iter().filter(|host| host.live).count() == 1;
        let Some(subject) = subject.filter(|_| alone) else { return };
        let Some(victim) = self.hosts[subject].victim else { return };
        if let Some(after) = self.victims[victim].hold(now, by) {
            self.curve.inform(after);
        }
    }

    fn buried(&mut self, now: Instant, by: usize, subject: Option<usize>, own: bool) {
        let Some(subject) = subject else { return };
        if let Some(victim) = self.hosts[subject].victim {
            let victim = &mut self.victims[victim];
            if let Some(after) = victim.hold(now, by) {
                self.curve.inform(after);
            }
        }
        if self.is_sound(now, subject) {
            self.falsely(now, by, subject, own);
        } else if self.hosts[subject].victim.is_none() {
            self.totals.impaired_deaths += 1;
            self.impaired_dead.insert(subject);
        }
    }

    fn falsely(&mut self, now: Instant, by: usize, subject: usize, own: bool) {
        if let Some((first, until)) = self.parted
            && until.is_none_or(|until| now < until)
            && (by < first) != (subject < first)
        {
            return;
        }
        let healthy = self.is_sound(now, by);
        self.totals.false_deaths += 1;
        self.totals.false_deaths_healthy += u64::from(healthy);
        self.totals.false_verdicts += u64::from(own);
        self.totals.false_verdicts_healthy += u64::from(own && healthy);
        self.totals.false_deaths_behind_cut += u64::from(self.behind_cut.contains(&subject));
        self.false_dead.insert(subject);
    }

    fn returned(&mut self, now: Instant, by: usize, subject: Option<usize>) {
        let Some(subject) = subject else { return };
        let Some(victim) = self.hosts[subject].victim else { return };
        let victim = &mut self.victims[victim];
        victim.unhold(by);
        if let Some(back) = victim.back
            && victim.holding.is_empty()
        {
            victim.rejoined.get_or_insert(now.since(back));
        }
    }
}

impl Watch for Measure {
    fn event(&mut self, at: Instant, by: usize, event: &Event, roll: &Roll) {
        // Of every ack: what is known of the node need not be looked up for that.
        if matches!(event, Event::RoundTrip { .. }) {
            return;
        }
        self.told(at, by, event, roll.standing(by).by_own_verdict);
    }
}

impl Victim {
    /// Returns how long it took when a required observer learns of the fault.
    fn hold(&mut self, now: Instant, by: usize) -> Option<Duration> {
        if by == self.node || !self.holding.set(by) {
            return None;
        }
        let after = now.since(self.at);
        if self.back.is_some() {
            // A late verdict on the past life: it has to be taken back.
            self.rejoined = None;
            return None;
        }
        self.first.get_or_insert(after);
        if !self.required.contains(by) {
            return None;
        }
        self.missing -= 1;
        self.complete(now);
        Some(after)
    }

    fn unhold(&mut self, by: usize) {
        if self.holding.clear(by) && self.required.contains(by) && self.back.is_none() {
            self.missing += 1;
        }
    }

    /// An observer that is at fault itself is waited for no longer.
    fn excuse(&mut self, now: Instant, by: usize) {
        if self.required.clear(by) && !self.holding.contains(by) && self.back.is_none() {
            self.missing -= 1;
            self.complete(now);
        }
    }

    fn complete(&mut self, now: Instant) {
        if self.missing == 0 {
            self.full.get_or_insert(now.since(self.at));
        }
    }
}

#[cfg(test)]
#[path = "measure/tests.rs"]
mod tests;
