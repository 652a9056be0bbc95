//! The detector `observers`, assembled: what it keeps, and the small answers that its parts share.
//!
//! `watching` pings in turn, `testing` looks closer, `judging` asks others and decides,
//! `proving` believes others' deaths, `returning` lives with being buried, `auditing` looks at
//! strangers. None of them gossips a doubt: only a death, once (rule D-8).
//!
//! Invariant: a case exists only beside a test of the same subject and incarnation.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::{Node, Peer};
use crate::config::{Detector, PING_FLOOR};
use crate::detector::acquittals::Acquittals;
use crate::detector::audit::Acquaintances;
use crate::detector::baseline::Baseline;
use crate::detector::budget::{Bucket, Budgets};
use crate::detector::case::Case;
use crate::detector::exile::Exile;
use crate::detector::heard::Heard;
use crate::detector::order::KEEPS_ORDER;
use crate::detector::pings::Pings;
use crate::detector::proof::Proofs;
use crate::detector::test::{Pace, Test};
use crate::detector::testimony::Testimony;
use crate::detector::watch::Watch;
use crate::event::Timer;
use crate::member::MemberId;
use crate::membership::table::MemberTable;
use crate::time::{Duration, Instant};

mod attesting;
mod auditing;
mod crowding;
mod judging;
mod proving;
mod returning;
mod testing;
mod watching;

use crowding::Crowd;

/// A mesh that keeps changing has its rings looked at after so long without a change,
const QUIET: Duration = Duration::from_millis(200);
/// and no later than so long after the first one (rule D-1).
const LATEST: Duration = Duration::from_secs(2);
/// A small mesh settles for so many intervals after a change (rule D-2).
const SETTLING: u32 = 5;
/// Nothing from anyone for so long: we are the one that is cut off (rule D-9).
const SILENCE: Duration = Duration::from_secs(2);
/// Nothing of anybody for so many intervals: not a lull, we are deaf (rule D-13).
const DEAF: u32 = 5;
/// A session that has been idle for longer may have ended: a ping may need a handshake.
const WARM: Duration = Duration::from_secs(540);
/// Patience with a session whose round-trip time nobody has measured: a late answer counts too.
const UNMEASURED: Duration = Duration::from_millis(300);
/// What a handshake adds to the patience with a ping.
const COLD: Duration = Duration::from_millis(1_500);
/// VERIFYs: so many at once, and so many a second (rule D-10).
const VERIFIES: (u32, Duration) = (50, Duration::from_millis(20));
/// Tests begun for one requester: so many at once, and one in so long.
const ASKED_TESTS: (u32, Duration) = (16, Duration::from_secs(2));
/// Controls of one peer that count for the base of this node: so many at once, and one in so long. A
/// peer that keeps silent on purpose makes our link look no worse than that (rule D-4).
const CONTROLS: (u32, Duration) = (4, Duration::from_secs(15));
/// Tests that hearsay of a death begins: as many as one reconciliation may bring (rule D-15).
const HEARSAY: (u32, Duration) = (8, Duration::from_millis(125));
/// Proofs that are asked for because our own test has found as much as another's state says.
const CONFIRMED: (u32, Duration) = (64, Duration::from_millis(16));
/// The same for what one member says: a reconciliation at once, and then a share of the rate.
const TOLD_BY: (u32, Duration) = (8, Duration::from_secs(1));
/// Votes verified for one member that brought them: the proofs of a burst at once, five votes each,
/// and then so many a second that it costs a hundredth of a core (rule S-13).
const VERIFIED: (u32, Duration) = (1_280, Duration::from_millis(8));
/// Votes of death signed for one leader: all that it may ask at once, and as often as it may
/// remind us of the cases of its own subjects.
const SIGNED: (u32, Duration) = (64, Duration::from_millis(50));
/// From so many members on at least three must agree on a death,
const MANY: usize = 16;
/// that is, a majority of so many observers.
const LEAST_OBSERVERS: usize = 4;
/// A wake-up that comes later than this was a pause of ours.
pub(super) const LATE: Duration = crate::config::LATE_WAKE_UP;
/// Announcers remembered for NOTICEs.
const ANNOUNCERS: usize = 4_096;

/// State of the detector; the fields stand in memory as they stand here (see [`Node`]).
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Observing {
    // What is read all the time comes first.
    baseline: Baseline,
    watch: Watch,
    /// Who observes us, in slot order.
    observers: Vec<MemberId>,
    /// Where our cycle of slots begins: members that share a clock need not share their slots.
    anchor: Duration,
    /// Until then every subject is pinged each interval.
    settling: Option<Instant>,
    pings: Pings,
    tests: BTreeMap<MemberId, Test>,
    unreachable: BTreeSet<MemberId>,
    heard: Heard,
    exile: Exile,
    /// When the ring changed first since we looked at it.
    changed: Option<Instant>,
    /// How often we have looked.
    looks: u64,
    cases: BTreeMap<MemberId, Case>,
    acquitted: Acquittals,
    proofs: Proofs,
    /// Whom we show as Suspect.
    doubted: BTreeSet<MemberId>,
    testimony: Testimony,
    acquaintances: Acquaintances,
    /// Whom gossip goes to, shuffled; the next one stands last.
    active: Vec<MemberId>,
    verifies: Bucket,
    asked: Budgets,
    controlled: Budgets,
    hearsay: Bucket,
    confirmed: Bucket,
    told_by: Budgets,
    verified: Budgets,
    signed: Budgets,
    announcers: VecDeque<(MemberId, MemberId)>,
    /// Handshakes are, or were, turned away.
    crowd: Option<Crowd>,
}

impl Default for Observing {
    fn default() -> Self {
        Self {
            watch: Watch::default(),
            observers: Vec::new(),
            anchor: Duration::ZERO,
            settling: None,
            changed: None,
            looks: 0,
            pings: Pings::default(),
            baseline: Baseline::default(),
            tests: BTreeMap::new(),
            cases: BTreeMap::new(),
            acquitted: Acquittals::default(),
            proofs: Proofs::default(),
            doubted: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            exile: Exile::default(),
            testimony: Testimony::default(),
            acquaintances: Acquaintances::default(),
            active: Vec::new(),
            heard: Heard::default(),
            verifies: Bucket::new(VERIFIES.0, VERIFIES.1),
            asked: Budgets::new(ASKED_TESTS.0, ASKED_TESTS.1),
            controlled: Budgets::new(CONTROLS.0, CONTROLS.1),
            hearsay: Bucket::new(HEARSAY.0, HEARSAY.1),
            confirmed: Bucket::new(CONFIRMED.0, CONFIRMED.1),
            told_by: Budgets::new(TOLD_BY.0, TOLD_BY.1),
            verified: Budgets::new(VERIFIED.0, VERIFIED.1),
            signed: Budgets::new(SIGNED.0, SIGNED.1),
            announcers: VecDeque::new(),
            crowd: None,
        }
    }
}

impl Observing {
    /// Where lists begin that pings and acks need; the last field that they need itself.
    pub(super) fn pointed_at(&self) -> [*const u8; 4] {
        let observers = self.observers.as_ptr().cast();
        [observers, self.watch.at(), self.pings.at(), self.exile.at()]
    }

    pub(super) fn next_subject(&self) -> Option<MemberId> {
        self.watch.next_subject()
    }

    pub(super) fn last_needed(&self) -> *const u8 {
        self.exile.head()
    }
}

impl<T: MemberTable> Node<T> {
    /// Who observes us, in the order of the rings: empty under another detector.
    pub fn observed_by(&self) -> &[MemberId] {
        &self.observing.observers
    }

    /// Whom we observe: nobody under another detector.
    pub fn observing(&self) -> impl Iterator<Item = MemberId> {
        self.observing.watch.subjects()
    }

    /// Whom we observe and who observes us, some of them twice: the sessions with them are used
    /// all the time. Nobody under another detector.
    pub fn neighbours(&self) -> impl Iterator<Item = MemberId> {
        self.observing().chain(self.observed_by().iter().copied())
    }

    /// Changes whenever [`Self::neighbours`] may have changed.
    pub fn looks_at_rings(&self) -> u64 {
        self.observing.looks
    }

    /// Whether this detector runs.
    pub(super) fn observes(&self) -> bool {
        match self.config.detector {
            Detector::Observers => true,
            Detector::Lifeguard | Detector::Swim => false,
        }
    }

    /// K and H of our own view. However few observers are configured, in a mesh of some size no two
    /// members decide about a third (rule S-13).
    fn quorum(&self) -> (usize, usize) {
        let members = self.members();
        let least = if members >= MANY { LEAST_OBSERVERS } else { 1 };
        let observers = self.config.observers.max(least).min(members.saturating_sub(1));
        (observers, observers / 2 + 1)
    }

    /// Time in which an observer looks at each of its subjects once.
    fn period(&self) -> Duration {
        self.config.interval * (self.quorum().0.max(1) as u32)
    }

    /// Pace of tests.
    fn pace(&self) -> Pace {
        Pace::of(self.config.grace_at(self.members()))
    }

    /// How many of a thousand pings to living members are answered in time, by our estimate.
    pub(super) fn baseline_permille(&self) -> u32 {
        // At most 980; the cast drops a fraction.
        (self.observing.baseline.used() * 1_000.0) as u32
    }

    /// Share of pings to living members that are not answered in time; 0 while little is known of it,
    /// and with the baselines.
    pub(super) fn measured_loss(&self) -> f64 {
        let baseline = self.observing.baseline;
        if self.observes() && baseline.is_learned() { 1.0 - baseline.used() } else { 0.0 }
    }

    /// τ: how long a ping to `id` may take before it counts as lost, for the moment.
    fn patience(&self, now: Instant, id: MemberId) -> Duration {
        let ceiling = self.config.ping_timeout;
        let warm = self.is_warm(now, id);
        let measured = self.contacts.of(id).and_then(|contact| contact.ping_timeout(ceiling));
        match (measured, warm) {
            (Some(timeout), true) => timeout,
            (Some(timeout), false) => timeout + COLD,
            (None, true) => UNMEASURED.min(ceiling),
            (None, false) => PING_FLOOR + COLD,
        }
    }

    /// Whether `id` was heard of late, so that there is a session with it as a rule.
    fn is_warm(&self, now: Instant, id: MemberId) -> bool {
        self.contacts.of(id).is_some_and(|contact| now.since(contact.last) < WARM)
    }

    /// Something arrived from `peer`.
    pub(super) fn heard_from(&mut self, now: Instant, peer: MemberId) {
        let cut_off = self.hears_nobody(now);
        if self.observing.heard.is_silent(now, self.config.interval * DEAF) {
            self.observing.exile.was_deaf(now);
        }
        self.observing.heard.hear(now, peer);
        if cut_off {
            self.ask_at_once(now);
        }
    }

    /// Whether we seem to be cut off from everybody: then our findings tell of ourselves.
    fn hears_nobody(&self, now: Instant) -> bool {
        self.observing.heard.is_silent(now, SILENCE)
    }

    /// The first `wanted` members in the order in which rings name observers of `subject`: its
    /// observers, then those that a case widens to (rules D-1 and D-6).
    fn ring_order(&self, subject: MemberId, wanted: usize) -> Vec<MemberId> {
        let rings = self.config.rings;
        let wanted = wanted.min(self.members().saturating_sub(1));
        let mut found: Vec<MemberId> = Vec::with_capacity(wanted);
        let mut walks: Vec<_> = (0..rings).map(|ring| self.table.before(ring, subject)).collect();
        for turn in 0.. {
            if found.len() >= wanted {
                break;
            }
            let walk = &mut walks[turn % usize::from(rings)];
            match walk.find(|id| !found.contains(id)) {
                Some(id) => found.push(id),
                // Every ring holds the same members: none is left.
                None => break,
            }
        }
        found
    }

    /// Members whose observer we are.
    fn subjects(&self) -> Vec<MemberId> {
        let (observers, _) = self.quorum();
        if self.config.rings == 1 || self.members() <= observers + 1 {
            return self.table.after(0, self.local).take(observers).collect();
        }
        let mut subjects: Vec<MemberId> = Vec::new();
        for ring in 0..self.config.rings {
            // Whoever has us as a predecessor at this distance may still have met all the nearer
            // ones on earlier rings: no more than K − 1 of them.
            for (distance, id) in self.table.after(ring, self.local).take(observers).enumerate() {
                let near = distance == 0;
                if !subjects.contains(&id)
                    && (near || self.ring_order(id, observers).contains(&self.local))
                {
                    subjects.push(id);
                }
            }
        }
        subjects
    }

    /// A member came or went: the rings are looked at soon.
    pub(super) fn ring_changed(&mut self, now: Instant) {
        let first = *self.observing.changed.get_or_insert(now);
        self.timers.set(Timer::Ring, (first + LATEST).min(now + QUIET));
    }

    /// Looks at the rings again: whom we observe, who observes us (rule D-1).
    pub(super) fn look_at_rings(&mut self, now: Instant) {
        self.observing.changed = None;
        self.observing.looks += 1;
        let (observers, _) = self.quorum();
        let subjects = self.subjects();
        let watch = &self.observing.watch;
        let mut new = subjects.clone();
        new.retain(|id| !watch.observes(*id));
        // Of a whole new ring one an interval, of a change at once.
        let soon = match watch.next() {
            None => self.period(),
            Some(_) => self.config.interval * new.len() as u32 / 2,
        };
        let mut strangers = new;
        strangers.retain(|id| self.contacts.of(*id).is_none_or(|contact| contact.rtt().is_none()));
        self.observing.watch.observe(now, &subjects, soon, &mut self.rng);
        self.meet(now, &strangers);
        let small = self.members() <= KEEPS_ORDER;
        self.observing.settling = small.then(|| now + self.config.interval * SETTLING);
        self.observing.observers = self.ring_order(self.local, observers);
        let table = &self.table;
        let present = |id| table.get(id).is_some_and(|member| member.state.is_present());
        self.observing.acquaintances.retain(present);
        self.observing.active.clear();
        self.leave_lost_subjects(now);
        self.plan_watch();
    }

    fn plan_watch(&mut self) {
        match self.observing.watch.next() {
            Some(at) => self.timers.set(Timer::Watch, at),
            None => drop(self.timers.cancel(Timer::Watch)),
        }
    }

    /// Up to `wanted` members of the active view in turn: ring neighbours and acquaintances whose
    /// sessions are warm, so that gossip never costs a handshake (rule G-4).
    pub(super) fn draw_active(&mut self, wanted: usize) -> Vec<MemberId> {
        let mut drawn = Vec::with_capacity(wanted);
        let mut filled = false;
        while drawn.len() < wanted {
            let Some(id) = self.observing.active.pop() else {
                // Another round begins, once: the view may be smaller than what is wanted.
                if filled {
                    break;
                }
                filled = true;
                self.fill_active();
                continue;
            };
            let present = self.table.get(id).is_some_and(|member| member.state.is_present());
            // Where a round ends within a draw nobody gets the same twice.
            if present && !drawn.contains(&id) {
                drawn.push(id);
            }
        }
        drawn
    }

    fn fill_active(&mut self) {
        let observing = &self.observing;
        let ring = observing.watch.subjects().chain(observing.observers.iter().copied());
        let mut active: Vec<MemberId> = ring.chain(observing.acquaintances.iter()).collect();
        active.sort_unstable();
        active.dedup();
        // A suspect is served last: most of them are gone.
        let doubted = &self.observing.doubted;
        active.retain(|id| self.contacts.of(*id).is_some() && !doubted.contains(id));
        self.rng.shuffle(&mut active);
        self.observing.active = active;
    }

    /// Whether a member may be tested, and as which incarnation.
    fn testable(&self, id: MemberId) -> Option<(Peer, crate::member::Incarnation)> {
        let member = self.table.get(id)?;
        if id == self.local || !member.state.is_present() {
            return None;
        }
        let record = member.record.record();
        let address = *record.addresses.first()?;
        Some((Peer { id, address }, record.incarnation))
    }
}
