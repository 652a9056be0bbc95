//! One doubted subject: pings until the evidence speaks (rules D-5 and D-7).
//!
//! A test begins with a lost ping of our own or with another's VERIFY. It pings the subject again
//! and again, and beside it, once others rely on us, a peer that lives: if that one is silent too,
//! the fault is ours. One test serves everybody who asks.
//!
//! Invariants: a ping is pending, lost or acked, and moves from lost to acked but never back; an
//! opinion of death needs the evidence and the grace.

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use crate::detector::baseline::Baseline;
use crate::detector::evidence;
use crate::member::{Incarnation, MemberId};
use crate::time::{Duration, Instant};

/// A test for others ends after so many pings or so long, whatever it found.
const MOST_PINGS: usize = 62;
const LONGEST: Duration = Duration::from_secs(20);
/// From then on pings are rarer.
const OFTEN: usize = 24;
const RARE: Duration = Duration::from_millis(500);
/// Silences in a row that death takes where our own finding is the whole quorum.
const ALONE_FAILURES: usize = 30;
/// Requesters that one test serves.
const REQUESTERS: usize = 16;

/// What a voter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Ballot {
    /// I am looking.
    Pending = 1,
    /// It lives.
    Alive = 2,
    /// It is dead.
    Dead = 3,
}

impl Ballot {
    /// From its wire value.
    pub fn from_wire(value: u8) -> Option<Self> {
        [Self::Pending, Self::Alive, Self::Dead].into_iter().find(|ballot| *ballot as u8 == value)
    }
}

/// Pace and patience of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// s: between pings of a test that others rely on.
    pub spacing: Duration,
    /// G: a silence of so long is forgiven.
    pub grace: Duration,
}

impl Pace {
    /// Ten pings within the grace, at most one in 200 ms.
    pub fn of(grace: Duration) -> Self {
        Self { spacing: crate::config::spacing(grace), grace }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pending,
    Lost,
    Acked,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u32,
    at: Instant,
    due: Instant,
    fate: Fate,
}

impl Sent {
    fn is_overdue(&self, now: Instant) -> bool {
        self.fate == Fate::Pending && self.due <= now
    }
}

/// A ping to a peer that should live.
#[derive(Clone, Copy, Debug)]
struct Control {
    ping: Sent,
    peer: MemberId,
    /// Whether it is a sample of the node's own base, too.
    counts: bool,
}

/// Who asked, in which round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The leader of a case.
    pub id: MemberId,
    /// The round that it chose.
    pub round: u64,
}

/// A test.
#[derive(Clone, Debug)]
pub struct Test {
    incarnation: Incarnation,
    began: Instant,
    pings: Vec<Sent>,
    controls: Vec<Control>,
    next: Instant,
    /// A lost ping of ours began it: it may become our case.
    own: bool,
    requesters: ArrayVec<Requester, REQUESTERS>,
    /// When we first found it dead, as long as we do.
    condemned: Option<Instant>,
    told: Option<Ballot>,
    /// A pause of our own moved the beginning of the grace.
    forgiven: Duration,
    /// A fresh handshake was asked for.
    looked: bool,
}

impl Test {
    /// A ping of ours was lost.
    pub fn after_a_loss(
        now: Instant,
        incarnation: Incarnation,
        sequence: u32,
        sent: Instant,
    ) -> Self {
        let lost = Sent { sequence, at: sent, due: now, fate: Fate::Lost };
        Self { pings: Vec::from([lost]), own: true, ..Self::on_request(now, incarnation) }
    }

    /// Somebody asks, or we have another reason to look.
    pub fn on_request(now: Instant, incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            began: now,
            pings: Vec::new(),
            controls: Vec::new(),
            next: now,
            own: false,
            requesters: ArrayVec::new(),
            condemned: None,
            told: None,
            forgiven: Duration::ZERO,
            looked: false,
        }
    }

    /// The incarnation under test.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The test becomes our own affair: we may lead a case.
    pub fn adopt(&mut self) {
        self.own = true;
    }

    /// Whether we may lead a case.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// Whoever waits for our vote.
    pub fn requesters(&self) -> &[Requester] {
        &self.requesters
    }

    /// Adds or renews a requester; the oldest makes room.
    pub fn ask(&mut self, requester: Requester) {
        self.requesters.retain(|known| known.id != requester.id);
        if self.requesters.is_full() {
            self.requesters.remove(0);
        }
        self.requesters.push(requester);
    }

    /// A regular ping to the subject, sent before the test began, was lost: it is ours as well.
    pub fn lose(&mut self, sequence: u32, sent: Instant, due: Instant) {
        let place = self.pings.partition_point(|ping| ping.at <= sent);
        self.pings.insert(place, Sent { sequence, at: sent, due, fate: Fate::Lost });
        self.own = true;
    }

    /// Whether `requester` waits for our vote.
    pub fn serves(&self, requester: MemberId) -> bool {
        self.requesters.iter().any(|known| known.id == requester)
    }

    /// The verdict that requesters were told last.
    pub fn told(&self) -> Option<Ballot> {
        self.told
    }

    /// Every requester was told.
    pub fn has_told(&mut self, ballot: Ballot) {
        self.told = Some(ballot);
    }

    /// Whether the subject answered at all.
    pub fn has_an_ack(&self) -> bool {
        count(&self.pings, Fate::Acked) > 0
    }

    /// Whether the subject answered none of our pings, but for those of the newest `lull`: a path that
    /// loses much is no partition.
    pub fn is_silent(&self, now: Instant, lull: Duration) -> bool {
        !self.pings.iter().any(|ping| ping.fate == Fate::Acked && now.since(ping.at) > lull)
    }

    /// The newest ping to the subject, unless it was answered.
    pub fn unanswered(&self) -> Option<u32> {
        let newest = self.pings.last()?;
        (newest.fate != Fate::Acked).then_some(newest.sequence)
    }

    /// A ping to the subject left.
    pub fn pinged(&mut self, now: Instant, sequence: u32, due: Instant) {
        self.pings.push(Sent { sequence, at: now, due, fate: Fate::Pending });
    }

    /// A ping to a control peer left; `counts` tells whether it is a sample of the node's base.
    pub fn controlled(
        &mut self,
        now: Instant,
        peer: MemberId,
        sequence: u32,
        due: Instant,
        counts: bool,
    ) {
        let ping = Sent { sequence, at: now, due, fate: Fate::Pending };
        self.controls.push(Control { ping, peer, counts });
    }

    /// Whether `peer` has not answered the last control that it got.
    pub fn owes_a_control(&self, peer: MemberId) -> bool {
        let last = self.controls.iter().rev().find(|control| control.peer == peer);
        last.is_some_and(|control| control.ping.fate != Fate::Acked)
    }

    /// The next ping to the subject is due after this one. Whoever has yet to learn how often the
    /// living answer (`learning`) needs more of them, and does not wait for a slow answer first.
    pub fn plan(
        &mut self,
        now: Instant,
        patience: Duration,
        pace: Pace,
        sure: bool,
        learning: bool,
    ) {
        let wait = if self.pings.len() >= OFTEN {
            RARE.max(pace.spacing)
        } else if sure || !self.requesters.is_empty() {
            pace.spacing
        } else if learning {
            patience.min(pace.spacing)
        } else {
            patience
        };
        self.next = now + wait;
    }

    /// Whether a ping is due.
    pub fn wants_a_ping(&self, now: Instant) -> bool {
        self.next <= now && self.pings.len() < MOST_PINGS
    }

    /// Whether a control belongs beside the next ping: somebody relies on us and an answer is out.
    pub fn wants_a_control(&self) -> bool {
        !self.requesters.is_empty() && self.pings.iter().any(|ping| ping.fate != Fate::Acked)
    }

    /// Counts what is overdue as lost; says how many samples of the node's base were.
    pub fn settle(&mut self, now: Instant) -> u32 {
        self.pings.iter_mut().filter(|ping| ping.is_overdue(now)).for_each(|ping| {
            ping.fate = Fate::Lost;
        });
        let mut samples = 0;
        for control in self.controls.iter_mut().filter(|control| control.ping.is_overdue(now)) {
            control.ping.fate = Fate::Lost;
            samples += u32::from(control.counts);
        }
        samples
    }

    /// The subject answered, in time or late.
    pub fn acked(&mut self, sequence: u32) {
        if let Some(ping) = self.pings.iter_mut().find(|ping| ping.sequence == sequence) {
            ping.fate = Fate::Acked;
        }
    }

    /// A control answered; says whether that is a sample of the node's base. A late one stays lost:
    /// it tells of our own path as it was.
    pub fn control_acked(&mut self, sequence: u32) -> bool {
        let control = self.controls.iter_mut().find(|control| control.ping.sequence == sequence);
        match control {
            Some(control) if control.ping.fate == Fate::Pending => {
                control.ping.fate = Fate::Acked;
                control.counts
            }
            Some(_) | None => false,
        }
    }

    /// We were away for `pause`: what was in flight tells nothing, and the grace is longer by it.
    pub fn forgive(&mut self, now: Instant, pause: Duration) {
        self.pings.retain(|ping| ping.fate != Fate::Pending);
        self.controls.retain(|control| control.ping.fate != Fate::Pending);
        self.forgiven += pause;
        self.next = self.next.max(now);
    }

    /// Pings that were lost.
    pub fn lost(&self) -> u32 {
        count(&self.pings, Fate::Lost)
    }

    /// b, as the controls of this test have it.
    fn base(&self, baseline: Baseline) -> f64 {
        let controls = |fate| count(self.controls.iter().map(|control| &control.ping), fate);
        let (lost, acked) = (controls(Fate::Lost), controls(Fate::Acked));
        baseline.with_controls(lost + acked, acked)
    }

    /// Whether a fresh handshake belongs beside this test of our own, `lambda` being Λ as it stands: when
    /// one more silence would be doubt enough, or those that are in flight. Says yes once.
    ///
    /// A subject that lost our session in a restart, and whose hints are lost too, must be met before it
    /// is doubted. On a clean link that is after the first silence; where silences are frequent a
    /// handshake for each of them would cost many times what the pings do.
    pub fn take_look(&mut self, lambda: f64, baseline: Baseline, quorum: usize) -> bool {
        if !self.own || self.looked {
            return false;
        }
        let pending = count(&self.pings, Fate::Pending).max(1);
        let more = f64::from(pending) * evidence::silence(self.base(baseline));
        self.looked = lambda + more >= evidence::dead_above(quorum);
        self.looked
    }

    /// Λ at the base of this test.
    pub fn lambda(&self, baseline: Baseline, quorum: usize) -> f64 {
        let answers = self.pings.iter().filter_map(|ping| match ping.fate {
            Fate::Pending => None,
            Fate::Lost => Some(false),
            Fate::Acked => Some(true),
        });
        evidence::lambda(answers, self.base(baseline), quorum)
    }

    /// When our own silence towards the subject began: its first lost ping was sent.
    fn silent_since(&self) -> Option<Instant> {
        let first = self.pings.iter().find(|ping| ping.fate == Fate::Lost)?;
        Some(first.at + self.forgiven)
    }

    /// Whether the grace has passed.
    fn grace_is_over(&self, now: Instant, pace: Pace) -> bool {
        self.silent_since().is_some_and(|since| now.since(since) >= pace.grace)
    }

    /// What we would vote, `lambda` being Λ as it stands.
    pub fn opinion(&mut self, now: Instant, lambda: f64, quorum: usize, pace: Pace) -> Ballot {
        let enough = quorum > 1 || self.straight_failures() >= ALONE_FAILURES;
        let sure = lambda >= evidence::dead_above(quorum);
        if sure && enough && self.grace_is_over(now, pace) {
            self.condemned.get_or_insert(now);
            return Ballot::Dead;
        }
        self.condemned = None;
        if lambda <= evidence::alive_below() { Ballot::Alive } else { Ballot::Pending }
    }

    /// Since when we have found it dead without a break.
    pub fn condemned_since(&self) -> Option<Instant> {
        self.condemned
    }

    /// How many pings in a row, the newest first, are lost: all there is with one observer.
    fn straight_failures(&self) -> usize {
        let judged = self.pings.iter().rev().filter(|ping| ping.fate != Fate::Pending);
        judged.take_while(|ping| ping.fate == Fate::Lost).count()
    }

    /// Whether the test is over without a verdict.
    pub fn is_over(&self, now: Instant) -> bool {
        let pending = self.pings.iter().any(|ping| ping.fate == Fate::Pending);
        let exhausted = self.pings.len() >= MOST_PINGS && !pending;
        exhausted || (!self.own && now.since(self.began) >= LONGEST)
    }

    /// When something changes without a message: a ping or a verdict of lateness is due, or the
    /// grace ends.
    pub fn due(&self, now: Instant, pace: Pace) -> Instant {
        let next = (self.pings.len() < MOST_PINGS).then_some(self.next);
        let end = if self.own { None } else { Some(self.began + LONGEST) };
        let grace = self.silent_since().map(|since| since + pace.grace).filter(|at| *at > now);
        let flying = self.pings.iter().chain(self.controls.iter().map(|control| &control.ping));
        let late = flying.filter(|ping| ping.fate == Fate::Pending).map(|ping| ping.due).min();
        [next, end, grace, late]
            .into_iter()
            .flatten()
            .min()
            // Nothing left to wait for: the next look finds that it is over.
            .unwrap_or(now)
    }
}

fn count<'a>(pings: impl IntoIterator<Item = &'a Sent>, fate: Fate) -> u32 {
    pings.into_iter().filter(|ping| ping.fate == fate).count() as u32
}

#[cfg(test)]
#[path = "test_tests.rs"]
mod tests;
