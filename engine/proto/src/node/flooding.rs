//! What one member may make us do, however valid its certificate (rule S-7).
//!
//! Records of one subject are applied at a pace; questions that cost more to answer than to ask,
//! and records that cost a signature check, come out of a budget of whoever sent them. Nobody's
//! budget is another's, so that a member which floods silences nobody but itself.

use alloc::sync::Arc;

use super::Node;
use crate::detector::budget::Budgets;
use crate::event::Timer;
use crate::member::{MemberId, State};
use crate::membership::pace::{Kept, Pace};
use crate::membership::record::{RecordHash, SignedRecord};
use crate::membership::table::MemberTable;
use crate::sync::reconciler::cost;
use crate::time::{Duration, Instant};
use crate::wire::message::Message;

/// Records that a member's datagrams bring: a neighbour's share of what is asked for at once
/// (rule D-10) eight times over, then 250 a second, some 4 % of a core.
const RECORDS: (u32, Duration) = (2_048, Duration::from_millis(4));
/// Records and proofs that a member asks for: four shares at once, then a thousand a second.
const PULLS: (u32, Duration) = (1_024, Duration::from_millis(1));
/// Questions about doubted members: twice what a leader may ask of all (rule D-10).
const VERIFIES: (u32, Duration) = (100, Duration::from_millis(10));
/// Operators' orders that are news to us: each costs the proof of a whole chain, which is kept
/// nowhere. Orders are rare; what one member cannot pass on at once others do, and whoever missed
/// one is told (rule S-14).
const ORDERS: (u32, Duration) = (64, Duration::from_millis(100));

/// Words that we are dead: whoever holds us dead says so once a second (rules H-1 and H-4), and each
/// may be answered with our record.
const NOTICES: (u32, Duration) = (4, Duration::from_millis(500));

/// Sketches, by the members that have to be looked at for them (rule A-6): four of all members at
/// once, then two a second.
const SKETCHES: (u32, Duration) = (2_048, Duration::from_micros(977));
/// Departed members that a member which holds them present is told of.
const TELLINGS: (u32, Duration) = (8, Duration::from_millis(125));

/// Digests of a member of which it is looked up what it lacks (rule G-6): one of fifteen bytes names
/// up to 32 members, and each is told. Two a second come of probes.
const LACKING: (u32, Duration) = (8, Duration::from_millis(250));

/// Tickets (rule J-4): a joiner asks a member a few times a second at most, and not for long.
const TICKETS: (u32, Duration) = (16, Duration::from_millis(250));

/// The books.
#[derive(Debug)]
pub(super) struct Flooding {
    pace: Pace,
    records: Budgets,
    pulls: Budgets,
    verifies: Budgets,
    /// Asked where an order is understood, whole or in parts.
    pub(super) orders: Budgets,
    notices: Budgets,
    sketches: Budgets,
    /// Records that a member gets because it wants their shares: what it may bring itself.
    pub(super) bodies: Budgets,
    pub(super) tellings: Budgets,
    /// Asked where a digest differs.
    pub(super) lacking: Budgets,
    tickets: Budgets,
}

impl Default for Flooding {
    fn default() -> Self {
        let budgets = |(burst, every)| Budgets::new(burst, every);
        Self {
            pace: Pace::default(),
            records: budgets(RECORDS),
            pulls: budgets(PULLS),
            verifies: budgets(VERIFIES),
            orders: budgets(ORDERS),
            notices: budgets(NOTICES),
            sketches: budgets(SKETCHES),
            bodies: budgets(RECORDS),
            tellings: budgets(TELLINGS),
            lacking: budgets(LACKING),
            tickets: budgets(TICKETS),
        }
    }
}

impl<T: MemberTable> Node<T> {
    /// Whether `from` may have this message acted on; one that may not is counted.
    pub(super) fn affords(&mut self, now: Instant, from: MemberId, message: &Message<'_>) -> bool {
        let (budgets, tokens, reason) = match message {
            Message::Record(_) => (&mut self.flooding.records, 1, "record-budget"),
            Message::RecordPull(_) | Message::ProofPull(_) | Message::CertificatePull(_) => {
                (&mut self.flooding.pulls, 1, "pull-budget")
            }
            Message::Want(shares) => (&mut self.flooding.pulls, shares.len() as u32, "pull-budget"),
            Message::Verify(_) => (&mut self.flooding.verifies, 1, "verify-budget"),
            Message::Sketch(header, _) => {
                (&mut self.flooding.sketches, cost(header.parts.get()), "sketch-budget")
            }
            Message::TicketPull(_) => (&mut self.flooding.tickets, 1, "ticket-budget"),
            Message::Notice(_) => (&mut self.flooding.notices, 1, "notice-budget"),
            // What these cost is bounded where they are understood.
            Message::Ping(_)
            | Message::Ack(_)
            | Message::PingRequest(_)
            | Message::Nack(_)
            | Message::RelayedAck(_)
            | Message::Update(_)
            | Message::Suspicion(_)
            | Message::Death(_)
            | Message::RecordByStream(_)
            | Message::LeaveAck(_)
            | Message::ListNotice(_)
            | Message::Part(..)
            | Message::Certificate(_)
            | Message::ClockPull(_)
            | Message::Clock(_)
            | Message::ForceLeave(_)
            | Message::Vote(..)
            | Message::Hint(_)
            | Message::Proof(_)
            | Message::Broadcast(_)
            | Message::Direct(..)
            | Message::Difference(..)
            | Message::Ticket(..)
            | Message::Unknown(_) => return true,
        };
        let affords = budgets.take_some(now, from, tokens);
        if !affords {
            self.stats.reject(reason);
        }
        affords
    }

    /// Whether this very record is here and waits for its subject's turn.
    pub(super) fn waits(&self, subject: MemberId, hash: RecordHash) -> bool {
        self.flooding.pace.waiting(subject).is_some_and(|record| record.hash() == hash)
    }

    /// Applies a verified record when its subject has a turn; says whether that is at once.
    pub(super) fn apply_in_turn(&mut self, now: Instant, record: Arc<SignedRecord>) -> bool {
        let subject = record.record().id;
        let alive = self.table.get(subject).is_some_and(|member| member.state == State::Alive);
        // Whoever is new, doubted or gone answers for its life: that never waits, and how often it
        // happens is up to others.
        let free = subject == self.local || !alive;
        if free || self.flooding.pace.take(now, subject) {
            self.apply_record(now, record);
            return true;
        }
        match self.flooding.pace.keep(&record) {
            Kept::Waits => {}
            Kept::Instead | Kept::Dropped => self.stats.reject("record-pace"),
        }
        self.plan_waiting();
        false
    }

    /// Applies what has waited for its turn.
    pub(super) fn apply_waiting(&mut self, now: Instant) {
        for record in self.flooding.pace.due(now) {
            if self.is_news(&record) {
                self.apply_in_turn(now, record);
            }
        }
        self.plan_waiting();
    }

    fn is_news(&self, record: &SignedRecord) -> bool {
        let content = record.record();
        self.table.get(content.id).is_some_and(|member| {
            let known = member.incarnation();
            content.incarnation > known
                || (content.incarnation == known && record.hash() != member.record.hash())
        })
    }

    fn plan_waiting(&mut self) {
        match self.flooding.pace.next() {
            Some(at) => self.timers.set(Timer::Record, at),
            None => drop(self.timers.cancel(Timer::Record)),
        }
    }
}
