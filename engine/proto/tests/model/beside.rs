//! The real node beside the model: every word is told to both, and both must believe the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use mesh_gossip_proto::membership::record::NodeRecord;
use mesh_gossip_proto::wire::message::{
    Ack, Body, LeaveAck, Message, Messages, Notice, Packet, Ping, Suspicion, Update, kind,
};
use mesh_gossip_proto::{
    Baseline, Command, Config, Destination, Detector, Duration, Event, Incarnation, Instant,
    LeftReason, Lifecycle, MemberId, Metadata, Node, SignedRecord, State,
};

use crate::reference::{Model, Name, Phase, Rules, Told, Verdicts, rank};
use crate::stage::{BORN, CLUSTER, Names, address, at, birth, entry, id, metadata};
use crate::steps::{Signed, Step, life};
use crate::{NAMES, check};

fn config(detector: Detector, baseline: Baseline) -> Config {
    Config {
        detector,
        baseline,
        left_retention: Duration::from_secs(10),
        dead_retention: Duration::from_secs(20),
        ..Config::new(CLUSTER)
    }
}

fn rules(config: &Config) -> Rules {
    let parts = config.parts();
    Rules {
        verdicts: match config.detector {
            Detector::Lifeguard | Detector::Swim => Verdicts::Gossiped,
            Detector::Observers => Verdicts::Proven,
        },
        dynamic: parts.dynamic,
        promise: parts.promise,
        returned_bury_nobody: parts.extras,
        interval: config.interval,
        suspicion_interval: config.suspicion_interval,
        retention: config.left_retention + config.dead_retention,
    }
}

pub(crate) fn swim() -> Rules {
    rules(&config(Detector::Swim, Baseline::default()))
}

pub(crate) fn observers() -> Rules {
    rules(&config(Detector::Observers, Baseline::default()))
}

fn name_of(member: MemberId) -> Name {
    NAMES.into_iter().find(|name| id(name) == member).unwrap()
}

/// Why the node tells something: words of others have just arrived, or it acts by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Words,
    Own,
}

struct Beside {
    config: Config,
    node: Node,
    model: Model,
    now: Instant,
    born: u64,
    /// The newest record that each member has signed in this story.
    signed: BTreeMap<Name, SignedRecord>,
    answering: BTreeSet<Name>,
    /// Whom the node has asked about whom.
    asked: BTreeSet<(Name, MemberId)>,
    told: Vec<(Told, Name)>,
}

impl Beside {
    fn new(config: Config) -> Self {
        let config = config.validate().unwrap();
        let node = Node::new(at(0), birth(config.clone(), "a", BORN, 7)).unwrap();
        let own = Incarnation { generation: BORN, counter: 0 };
        Self {
            model: Model::new(rules(&config), at(0), own),
            config,
            node,
            now: at(0),
            born: BORN,
            signed: BTreeMap::new(),
            answering: NAMES.into_iter().collect(),
            asked: BTreeSet::new(),
            told: Vec::new(),
        }
    }

    fn publish(&mut self, record: &SignedRecord) {
        let name = name_of(record.record().id);
        let known = self.signed.get(name);
        if known.is_none_or(|known| rank(known) < rank(record)) {
            self.signed.insert(name, record.clone());
        }
    }

    fn say(&mut self, from: Name, of_kind: u8, body: &[u8], apply: impl FnOnce(&mut Model)) {
        let mut packet = Packet::default();
        assert!(packet.push_raw(32_000, of_kind, body));
        self.node.handle_datagram(self.now, id(from), address(from), packet.as_bytes());
        if self.model.phase != Phase::Stopped {
            self.model.heard(from);
            apply(&mut self.model);
        }
        // An answer is evidence for the node's own tests and cases; whatever else is said is hearsay.
        let answer = match of_kind {
            kind::ACK => true,
            kind::DEAD => {
                self.asked.iter().any(|(who, of)| *who == from && body.starts_with(&of.0))
            }
            _ => false,
        };
        self.take_events(if answer { Cause::Own } else { Cause::Words });
        self.settle();
    }

    fn say_body<B: Body>(&mut self, from: Name, body: &B, apply: impl FnOnce(&mut Model)) {
        self.say(from, B::KIND, body.as_bytes(), apply);
    }

    fn say_record(&mut self, from: Name, record: &SignedRecord) {
        let ours = record.hash() == self.node.local().hash();
        let name = name_of(record.record().id);
        self.say(from, kind::RECORD, record.envelope(), |model| match name {
            "a" => model.own_record(rank(record).0, ours),
            _ => model.record(name, record),
        });
    }

    /// Answers what the node sends and lets it act on what is due, until it rests.
    fn settle(&mut self) {
        self.take_events(Cause::Own);
        let mut buffer = Vec::new();
        let mut asked = Vec::new();
        while let Some(transmit) = self.node.poll_transmit(self.now, &mut buffer) {
            let Destination::Member(to) = transmit.to else { continue };
            let to = name_of(to);
            for message in Messages::new(&buffer) {
                if let Ok(Message::Verify(verify)) = message {
                    self.asked.insert((to, MemberId(verify.subject)));
                }
                if !self.answering.contains(to) {
                    continue;
                }
                match message {
                    Ok(Message::Ping(ping)) => asked.push((to, Err(ping.sequence))),
                    Ok(Message::RecordPull(pull)) => {
                        asked.push((to, Ok(name_of(MemberId(pull.id)))));
                    }
                    Ok(_) => {}
                    Err(error) => panic!("the node wrote nonsense: {error:?}"),
                }
            }
        }
        for (to, what) in asked {
            match what {
                Ok(name) => {
                    let Some(record) = self.signed.get(name).cloned() else { continue };
                    self.say_record(to, &record);
                }
                Err(sequence) => {
                    let Some(member) = self.node.member(id(to)) else { continue };
                    let incarnation = member.incarnation().into();
                    let (baseline, phase_error) = (u16::MAX.into(), 0.into());
                    let digest = 0.into();
                    let ack = Ack { sequence, incarnation, digest, baseline, phase_error };
                    self.say_body(to, &ack, |_| {});
                }
            }
        }
        while self.node.poll_timeout().is_some_and(|(due, _)| due <= self.now) {
            self.node.handle_timeout(self.now);
            self.take_events(Cause::Own);
            // Before the answers: an ack of this very instant comes too late for this deadline.
            self.mature();
            self.settle();
        }
        self.mature();
    }

    fn mature(&mut self) {
        if self.model.phase != Phase::Stopped {
            let node = &self.node;
            let dead = |name| node.member(id(name)).is_some_and(|m| m.state == State::Dead);
            self.model.pass(self.now, dead);
        }
    }

    fn take_events(&mut self, cause: Cause) {
        while let Some(event) = self.node.poll_event() {
            let told = match event {
                Event::ProbeFailed(_) if self.model.rules.verdicts == Verdicts::Proven => continue,
                Event::ProbeFailed(target) => {
                    let name = name_of(target);
                    let known = self.model.members.get(name).map(|known| known.incarnation);
                    if let Some(known) = known {
                        self.model.doubt(name, known, "a");
                    }
                    continue;
                }
                Event::Forgotten(member) => {
                    assert!(self.model.forget(name_of(member)), "forgotten too early: {member}");
                    (Told::Forgotten, member)
                }
                Event::LeaveComplete { .. } => {
                    self.model.phase = Phase::Stopped;
                    continue;
                }
                Event::Unreachable(_)
                | Event::LeaderChanged { .. }
                | Event::Alarm(_)
                | Event::RecordRejected { .. }
                | Event::RoundTrip { .. }
                | Event::JoinComplete
                | Event::Broadcast { .. }
                | Event::Message { .. }
                | Event::Missed(_)
                | Event::Overflow(_) => continue,
                Event::Joined(record) => (Told::Joined, record.record().id),
                Event::Updated(record) => (Told::Updated, record.record().id),
                Event::Recovered { record, .. } => (Told::Recovered, record.record().id),
                Event::Suspected { record, .. } => (Told::Suspected, record.record().id),
                Event::Refuted(record) => (Told::Refuted, record.record().id),
                Event::Left { record, reason: LeftReason::Left } => {
                    (Told::Left, record.record().id)
                }
                Event::Left { record, reason: LeftReason::Failed | LeftReason::Revoked } => {
                    (Told::Failed, record.record().id)
                }
                Event::Conflict(member) => (Told::Conflict, member),
            };
            let told = (told.0, name_of(told.1));
            // Words alone neither doubt nor evict: what they do is the model's to say.
            let verdict = matches!(told.0, Told::Suspected | Told::Failed);
            if self.model.rules.verdicts == Verdicts::Proven && (cause == Cause::Own || !verdict) {
                self.model.own_test(told.0, told.1, self.node.local().record().incarnation);
            }
            self.told.push(told);
        }
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some((due, _)) = self.node.poll_timeout()
            && due <= end
        {
            self.now = self.now.max(due);
            self.model.now = self.now;
            self.settle();
        }
        self.now = end;
        self.model.now = end;
        self.settle();
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Record { .. }
            | Step::Forged { .. }
            | Step::Update { .. }
            | Step::Suspicion { .. }
            | Step::Death { .. }
            | Step::Notice { .. }
            | Step::Ping { .. }
            | Step::Ack { .. }
            | Step::LeaveAck { .. } => self.hear(step),
            Step::Sync { from, entries } => self.merge(from, entries),
            Step::Pass { ms } => self.pass(*ms),
            Step::Answers { who, answers: true } => drop(self.answering.insert(who)),
            Step::Answers { who, answers: false } => drop(self.answering.remove(who)),
            Step::Metadata { region } => {
                let region = format!("region-{region}");
                let own = Metadata { region, cluster_id: CLUSTER.into(), ..metadata("a") };
                self.command(Command::SetMetadata(own));
            }
            Step::Lifecycle { cordoned: true } => {
                self.command(Command::SetLifecycle(Lifecycle::Cordoned));
            }
            Step::Lifecycle { cordoned: false } => {
                self.command(Command::SetLifecycle(Lifecycle::Active));
            }
            Step::Leave => self.command(Command::Leave),
            Step::Restart { clock, remembers } => self.restart(*clock, *remembers),
        }
    }

    fn hear(&mut self, step: &Step) {
        match *step {
            Step::Record { from, record } => {
                let record = record.record();
                self.publish(&record);
                self.say_record(from, &record);
            }
            Step::Forged { from, record, by } => {
                let content: NodeRecord = record.record().record().clone();
                let forged = SignedRecord::author(content, &Names::of(by)).unwrap();
                if by == record.of {
                    self.publish(&forged);
                    self.say_record(from, &forged);
                } else {
                    self.say(from, kind::RECORD, forged.envelope(), |_| {});
                }
            }
            Step::Update { from, record } => {
                let state = if record.leaving { State::Left } else { State::Alive };
                let (of, at, record) = (record.of, record.at, record.record());
                self.publish(&record);
                self.say_body(from, &Update::new(id(of), at, state, record.hash()), |_| {});
            }
            Step::Suspicion { from, of, at, accuser } => {
                let claim =
                    Suspicion { id: id(of).0, incarnation: at.into(), accuser: id(accuser).0 };
                self.say_body(from, &claim, |model| model.suspicion(from, of, at, accuser));
            }
            Step::Death { from, of, at, age_s } => {
                let mut claim = crate::stage::death(of, 0, from);
                claim.incarnation = at.into();
                claim.age_ms = (age_s * 1_000).into();
                let age = Duration::from_secs(age_s.into());
                self.say_body(from, &claim, |model| model.death(from, of, at, age, false));
            }
            Step::Notice { from, at } => {
                let notice = Notice { incarnation: at.into(), announcer: id(from).0 };
                self.say_body(from, &notice, |model| model.notice(at));
            }
            Step::Ping { from } => {
                self.say_body(from, &Ping { sequence: 9.into(), digest: 0.into() }, |_| {});
            }
            Step::Ack { from, at } => {
                let (baseline, phase_error) = (u16::MAX.into(), 0.into());
                let (sequence, digest) = (u32::MAX.into(), 0.into());
                let incarnation = at.into();
                let ack = Ack { sequence, incarnation, digest, baseline, phase_error };
                self.say_body(from, &ack, |_| {});
            }
            Step::LeaveAck { from } => {
                let incarnation = self.node.local().record().incarnation.into();
                self.say_body(from, &LeaveAck { incarnation }, |_| {});
            }
            Step::Sync { .. }
            | Step::Pass { .. }
            | Step::Answers { .. }
            | Step::Metadata { .. }
            | Step::Lifecycle { .. }
            | Step::Leave
            | Step::Restart { .. } => unreachable!("no word of a peer"),
        }
    }

    fn merge(&mut self, from: Name, entries: &[(State, Signed)]) {
        let records: Vec<_> =
            entries.iter().map(|(state, signed)| (*state, signed.record())).collect();
        let bytes: Vec<u8> =
            records.iter().flat_map(|(state, record)| entry(*state, record)).collect();
        let own = self.node.local().hash();
        self.node.handle_sync(self.now, id(from), &bytes);
        for (state, record) in &records {
            self.publish(record);
            if self.model.phase != Phase::Stopped {
                let of = name_of(record.record().id);
                self.model.entry(from, of, *state, record, record.hash() == own);
            }
        }
        self.take_events(Cause::Words);
        self.settle();
    }

    fn command(&mut self, command: Command) {
        let before = self.node.local().hash();
        let leaves = command == Command::Leave;
        let done = self.node.handle_command(self.now, command);
        assert!(done.is_ok() || self.model.phase != Phase::Staying, "{done:?}");
        if self.node.local().hash() != before {
            assert_eq!(self.model.phase, Phase::Staying, "who goes says nothing more");
            self.model.republish();
            if leaves {
                self.model.phase = Phase::Leaving;
            } else {
                self.model.told.push((Told::Updated, "a"));
            }
        } else if self.model.exiled {
            self.model.held = true;
        }
        self.settle();
    }

    fn restart(&mut self, clock: i64, remembers: bool) {
        self.born = self.born.saturating_add_signed(clock);
        let birth = birth(self.config.clone(), "a", self.born, 8);
        let own = Incarnation { generation: self.born, counter: 0 };
        let model = Model::new(self.model.rules, self.now, own);
        if remembers {
            let table = self.node.table().clone();
            self.node = Node::on_table(self.now, birth, table).unwrap();
            self.model = model.remembering(&self.model);
        } else {
            self.node = Node::new(self.now, birth).unwrap();
            self.model = model;
        }
        self.told.clear();
        self.asked.clear();
        self.settle();
    }

    fn agree(&mut self) -> Result<(), TestCaseError> {
        for name in &NAMES[1..] {
            let real = self.node.member(id(name));
            let real = real.map(|m| (m.incarnation(), m.state, m.record.hash()));
            let model = self.model.members.get(name).map(|m| (m.incarnation, m.state, m.hash));
            prop_assert_eq!(real, model, "what the node and the model hold of {}", name);
        }
        let own = self.node.local();
        prop_assert_eq!(own.record().incarnation, self.model.own);
        prop_assert_eq!(self.node.view(self.now).counts(), self.model.counts());
        prop_assert_eq!(self.node.view(self.now).digest(), self.model.digest(own.hash()));
        let mut told = std::mem::take(&mut self.told);
        let mut expected = std::mem::take(&mut self.model.told);
        told.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(told, expected, "what the host was told, and should have been");
        if self.model.phase != Phase::Stopped {
            prop_assert_eq!(self.model.overdue(), None, "should have been forgotten");
        }
        Ok(())
    }
}

/// Lives of both, with a node of this configuration; every kind of transition must have occurred.
fn lives(name: &str, detector: Detector, baseline: Baseline) {
    let config = config(detector, baseline);
    let seen = RefCell::new(BTreeSet::new());
    check(&format!("beside::{name}"), 300, &life(), |steps| {
        let mut beside = Beside::new(config.clone());
        for step in &steps {
            beside.take(step);
            seen.borrow_mut().extend(beside.told.iter().map(|(told, _)| *told));
            beside.agree()?;
        }
        Ok(())
    });
    let all = Told::ALL.into_iter().collect();
    assert_eq!(*seen.borrow(), all, "a sweep without these proves nothing about them");
}

/// Rules M-2 to M-4, R-2, R-3, F-5, F-7, A-1, A-3, H-3, L-1 and L-2, with SWIM's fixed timeout.
#[test]
fn swim_believes_what_the_model_believes() {
    lives("swim_believes_what_the_model_believes", Detector::Swim, Baseline::default());
}

/// The same with accusers that shorten the wait.
#[test]
fn lifeguard_believes_what_the_model_believes() {
    let large = Baseline { promise: false, ..Baseline::default() };
    lives("lifeguard_believes_what_the_model_believes", Detector::Lifeguard, large);
}

/// The same with the deadline of a small cluster (rule F-6), which follows the last contact.
#[test]
fn the_promise_is_what_the_model_expects() {
    lives("the_promise_is_what_the_model_expects", Detector::Lifeguard, Baseline::default());
}

/// The same for the papers' own protocol (rule F-9), where the word of the returned counts.
#[test]
fn the_papers_believe_what_the_model_believes() {
    lives("the_papers_believe_what_the_model_believes", Detector::Lifeguard, Baseline::paper());
}

/// Rules D-8, D-12, D-13 and D-15: with observers no gossip makes a suspect, and no death counts
/// that is not proven; what the node's own tests make of a member is asked of it.
#[test]
fn observers_believe_what_the_model_believes() {
    lives("observers_believe_what_the_model_believes", Detector::Observers, Baseline::default());
}
