//! Two nodes whose views differ, and what it takes until they do not (rules A-4 to A-6).

mod abuse;
#[path = "../stage/mod.rs"]
mod stage;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mesh_gossip_proto::membership::digest::share;
use mesh_gossip_proto::sync::sketch::Sketch;
use mesh_gossip_proto::wire::message::{
    Body, DifferenceHeader, MOST_PARTS, Message, Messages, Packet, Ping, RecordByStream,
    SketchHeader, kind,
};
use mesh_gossip_proto::{
    Config, DenseTable, Destination, Detector, Duration, Instant, Lifecycle, Member, MemberTable,
    Node, RecordHash, SignedRecord, State, Stats, StreamRequest,
};
use stage::{BORN, CLUSTER, address, at, birth, death, id, incarnation, proof_of, record, signed};
use zerocopy::IntoBytes;

/// Two nodes, `a` and `b`, and everything that they say. Nobody else answers.
struct Pair {
    nodes: [Node; 2],
    now: Instant,
    /// Datagrams between the two, by the kinds in them.
    said: BTreeMap<u8, usize>,
    /// Bytes of sketches and what answers them, with what UDP, IP and the seal add to those datagrams.
    bytes: usize,
    /// Messages to others.
    elsewhere: Vec<(Destination, u8)>,
    /// Whom of others the first asked with a sketch, under which salt.
    asked: Vec<(Destination, u64)>,
    streams: Vec<StreamRequest>,
    deaf: bool,
    /// Records that are on their way, and how long each keeps the next one waiting: none is held up if
    /// that is nothing.
    late: VecDeque<(Instant, usize, Vec<u8>)>,
    apart: Duration,
}

const NAMES: [&str; 2] = ["a", "b"];
const OVERHEAD: usize = 60;
const OF_SKETCHES: [u8; 3] = [kind::SKETCH, kind::DIFFERENCE, kind::WANT];
/// When they begin, milliseconds.
const START: u64 = 10_000;

impl Pair {
    /// Nodes that know each other and these members, and have done so for a while: nothing of it is
    /// news to gossip.
    fn of(config: &Config, known: [&[SignedRecord]; 2]) -> Self {
        let born =
            |name| Node::<DenseTable>::new(at(0), birth(config.clone(), name, BORN, 7)).unwrap();
        let own = NAMES.map(|name| born(name).local().clone());
        let node = |n: usize| {
            let mut table = DenseTable::for_cluster(CLUSTER, config.rings);
            let known = known[n].iter().map(|record| Arc::new(record.clone()));
            for record in own.iter().cloned().chain(known) {
                table.put(Member { record, state: State::Alive, since: at(0) });
            }
            Node::on_table(at(START), birth(config.clone(), NAMES[n], BORN, 7), table).unwrap()
        };
        let mut pair = Self {
            nodes: [node(0), node(1)],
            now: at(START),
            said: BTreeMap::new(),
            bytes: 0,
            elsewhere: Vec::new(),
            asked: Vec::new(),
            streams: Vec::new(),
            deaf: false,
            late: VecDeque::new(),
            apart: Duration::ZERO,
        };
        // The first exchange, with whoever is heard first, is over (rule J-1).
        for n in 0..2 {
            pair.ping(n);
        }
        pair.drain();
        assert_eq!(pair.streams.len(), 2);
        for (node, wish) in pair.nodes.iter_mut().zip(&pair.streams) {
            node.handle_stream_closed(wish.peer, wish.extent(), true);
        }
        pair.drain();
        let (said, bytes, streams) = (BTreeMap::new(), 0, Vec::new());
        Self { said, bytes, streams, ..pair }
    }

    /// As [`Pair::of`], both of which know `common`.
    fn differing(common: &[SignedRecord], ours: &[SignedRecord], theirs: &[SignedRecord]) -> Self {
        let known = [[common, ours].concat(), [common, theirs].concat()];
        Self::of(&Config::new(CLUSTER), [&known[0], &known[1]])
    }

    fn knowing(common: &[SignedRecord]) -> Self {
        Self::differing(common, &[], &[])
    }

    fn tell(&mut self, to: usize, from: &str, kind: u8, body: &[u8]) {
        let mut packet = Packet::default();
        assert!(packet.push_raw(32_000, kind, body));
        self.nodes[to].handle_datagram(self.now, id(from), address(from), packet.as_bytes());
    }

    fn say<B: Body>(&mut self, to: usize, from: &str, body: &B) {
        self.tell(to, from, B::KIND, body.as_bytes());
    }

    /// One hears a ping of the other.
    fn ping(&mut self, to: usize) {
        let digest = self.nodes[1 - to].table().digest().into();
        self.say(to, NAMES[1 - to], &Ping { sequence: 1.into(), digest });
    }

    fn drain(&mut self) {
        let mut buffer = Vec::new();
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for from in 0..2 {
                while let Some(transmit) = self.nodes[from].poll_transmit(self.now, &mut buffer) {
                    quiet = false;
                    self.carry(from, transmit.to, &buffer);
                }
                self.streams.extend(std::iter::from_fn(|| self.nodes[from].poll_stream()));
            }
        }
    }

    fn carry(&mut self, from: usize, to: Destination, bytes: &[u8]) {
        let kinds = kinds(bytes);
        if to != Destination::Member(id(NAMES[1 - from])) {
            self.elsewhere.extend(kinds.keys().map(|kind| (to, *kind)));
            let sketches = Messages::new(bytes).filter_map(|message| match message {
                Ok(Message::Sketch(header, _)) => Some((to, header.salt.get())),
                _ => None,
            });
            self.asked.extend(sketches);
            return;
        }
        for (kind, length) in &kinds {
            *self.said.entry(*kind).or_default() += 1;
            if OF_SKETCHES.contains(kind) {
                self.bytes += length;
            }
        }
        if kinds.keys().any(|kind| OF_SKETCHES.contains(kind)) {
            self.bytes += OVERHEAD;
        }
        if self.deaf {
            return;
        }
        if self.apart > Duration::ZERO && kinds.contains_key(&kind::RECORD) {
            let before = self.late.back().map_or(self.now, |(due, ..)| *due);
            self.late.push_back((before + self.apart, from, bytes.to_vec()));
            return;
        }
        self.arrive(from, bytes);
    }

    fn arrive(&mut self, from: usize, bytes: &[u8]) {
        let name = NAMES[from];
        self.nodes[1 - from].handle_datagram(self.now, id(name), address(name), bytes);
    }

    /// Lets time pass.
    fn pass(&mut self, span_ms: u64) {
        let until = self.now + Duration::from_millis(span_ms);
        loop {
            self.drain();
            let due = |node: &Node| node.poll_timeout().map(|(at, _)| at);
            let late = self.late.front().map(|(due, ..)| *due);
            let next = self.nodes.iter().filter_map(due).chain(late).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            while self.late.front().is_some_and(|(due, ..)| *due <= self.now)
                && let Some((_, from, bytes)) = self.late.pop_front()
            {
                self.arrive(from, &bytes);
            }
            for node in &mut self.nodes {
                if node.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                    node.handle_timeout(self.now);
                }
            }
        }
        self.now = until;
    }

    /// What they know differs for a second, as `asker` finds; then they settle it.
    fn settle(&mut self, asker: usize) {
        self.ping(asker);
        self.quiet(1_100);
        self.ping(asker);
        self.pass(900);
    }

    /// Time passes, and nothing that one says leaves it.
    fn keep_quiet(&mut self, node: usize, span_ms: u64) {
        let until = self.now + Duration::from_millis(span_ms);
        let mut buffer = Vec::new();
        for n in 0..2 {
            while let Some((due, _)) = self.nodes[n].poll_timeout()
                && due <= until
            {
                self.nodes[n].handle_timeout(due);
                while n == node && self.nodes[n].poll_transmit(due, &mut buffer).is_some() {}
            }
        }
        self.now = until;
        self.quiet(0);
    }

    /// Time passes, and what was said meanwhile does not count.
    fn quiet(&mut self, span_ms: u64) {
        self.pass(span_ms);
        self.said.clear();
        self.elsewhere.clear();
        self.bytes = 0;
    }

    fn agree(&self) -> bool {
        self.nodes[0].table().digest() == self.nodes[1].table().digest()
    }

    fn state(&self, node: usize, of: &str) -> Option<State> {
        self.nodes[node].member(id(of)).map(|member| member.state)
    }

    fn said(&self, kind: u8) -> usize {
        self.said.get(&kind).copied().unwrap_or(0)
    }

    /// NOTICEs to a third member.
    fn noticed(&self, who: &str) -> usize {
        let to = Destination::Member(id(who));
        self.elsewhere.iter().filter(|said| **said == (to, kind::NOTICE)).count()
    }

    /// Of these members those that observe `subject`, in the order of the rings.
    fn observers_of<'a>(&self, subject: &str, names: &'a [String]) -> Vec<&'a str> {
        let mut observers: Vec<&str> = Vec::new();
        for ring in 0..Config::new(CLUSTER).rings {
            let before = self.nodes[1].table().before(ring, id(subject));
            let names = before.filter_map(|of| names.iter().find(|name| id(name) == of));
            observers.extend(names.map(String::as_str).find(|name| !observers.contains(name)));
        }
        observers
    }

    fn rejected(&self, node: usize, reason: &str) -> u64 {
        self.nodes[node].stats().rejected.get(reason).copied().unwrap_or(0)
    }
}

/// Kinds in a datagram and their bytes.
fn kinds(mut bytes: &[u8]) -> BTreeMap<u8, usize> {
    let mut found = BTreeMap::new();
    while let [kind, low, high, rest @ ..] = bytes {
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        *found.entry(*kind).or_default() += length + 3;
        bytes = &rest[length..];
    }
    found
}

fn records(prefix: &str, count: usize) -> Vec<SignedRecord> {
    (0..count).map(|n| record(&format!("{prefix}{n}"), 0)).collect()
}

/// Rule A-4: thirty differences, some of them newer lives, take one datagram each way; the records
/// follow.
#[test]
fn few_differences_take_one_datagram_each_way() {
    for asker in 0..2 {
        let newer: Vec<_> = (0..5).map(|n| record(&format!("n{n}"), 1)).collect();
        let theirs = [records("y", 10), newer].concat();
        let mut pair = Pair::differing(&records("n", 500), &records("x", 10), &theirs);
        assert!(!pair.agree());
        pair.settle(asker);
        assert!(pair.agree());
        assert_eq!((pair.said(kind::SKETCH), pair.said(kind::DIFFERENCE)), (1, 1));
        assert!(pair.bytes < 3_000, "{} bytes", pair.bytes);
        assert_eq!(pair.streams, []);
        // Both have found the difference; whoever was asked did not ask.
        let stats = pair.nodes.each_ref().map(Node::stats);
        let sum = |of: fn(&Stats) -> u64| stats.iter().map(of).sum::<u64>();
        assert_eq!((sum(|s| s.sketches), sum(|s| s.sketches_decoded)), (1, 1));
        assert_eq!((sum(|s| s.syncs), sum(|s| s.syncs_avoided)), (2, 1), "two at the start");
        assert!((0..5).all(|n| {
            let known = pair.nodes[0].member(id(&format!("n{n}")));
            known.is_some_and(|member| member.incarnation() == incarnation(1))
        }));
    }
}

/// Rule A-5: a thousand differences take some twenty parts, and no more than 64 KB; nothing is
/// streamed.
#[test]
fn many_differences_are_settled_in_parts() {
    let mut pair = Pair::differing(&records("n", 4_000), &records("x", 500), &records("y", 500));
    pair.settle(0);
    for _ in 0..5 {
        pair.ping(0);
        pair.pass(1_000);
    }
    assert!(pair.agree());
    let sketches = pair.said(kind::SKETCH);
    assert!((15..40).contains(&sketches), "{sketches} sketches");
    assert!(pair.bytes <= 64 << 10, "{} bytes", pair.bytes);
    assert_eq!(pair.streams, []);
    assert!(pair.nodes[1].stats().sketches_failed >= 1);
    assert_eq!(pair.nodes[0].table().counts().present(), 5_002);
}

/// Rules A-5 and A-6: a thousand records make a storm while they come, in which rounds are frequent; all of
/// them together cost no more than is allowed.
#[test]
fn the_storm_that_records_make_while_they_come_costs_little() {
    let mut pair = Pair::differing(&records("n", 4_000), &[], &records("y", 1_000));
    pair.apart = Duration::from_micros(500);
    pair.ping(0);
    pair.quiet(1_100);
    // As of eight neighbours.
    for _ in 0..40 {
        pair.ping(0);
        pair.pass(125);
    }
    assert!(pair.agree());
    assert_eq!(pair.nodes[0].stats().storms, 1, "a thousand changes");
    let sketches = pair.said(kind::SKETCH);
    assert!(sketches < 60 && pair.bytes <= 64 << 10, "{sketches} sketches, {} bytes", pair.bytes);
}

/// Rule A-5: what is a large part of all is better streamed, as rarely as ever (rule A-2).
#[test]
fn differences_that_are_no_difference_take_a_stream() {
    let mut pair = Pair::differing(&records("n", 100), &records("x", 100), &[]);
    pair.settle(0);
    for _ in 0..10 {
        pair.ping(0);
        pair.pass(1_000);
    }
    let expected = |request: &StreamRequest| {
        NAMES.map(id).contains(&request.peer) && request.members.is_empty()
    };
    assert!(!pair.streams.is_empty() && pair.streams.len() <= 4, "{:?}", pair.streams);
    assert!(pair.streams.iter().all(expected));
    assert!(pair.said(kind::SKETCH) <= 11, "no parts");
}

/// Rule A-4: a peer that answers no sketch is asked for its state.
#[test]
fn who_knows_no_sketches_is_asked_for_its_state() {
    let mut pair = Pair::differing(&records("n", 20), &records("x", 3), &[]);
    pair.deaf = true;
    let mut streams = Vec::new();
    for second in 0..20 {
        pair.ping(0);
        pair.nodes[1].handle_timeout(pair.now);
        pair.pass(1_000);
        streams.extend(pair.streams.drain(..).map(|_| second));
    }
    assert!(!streams.is_empty(), "sent {} sketches", pair.said(kind::SKETCH));
    assert!(pair.said(kind::SKETCH) >= 3);
}

/// A pair whose node `b` believes the death of `x`, proven by a quorum.
fn bereaved() -> Pair {
    let others: Vec<_> =
        ["c", "d", "e", "f", "g", "h", "i", "x"].map(|name| record(name, 0)).into();
    let mut pair = Pair::knowing(&others);
    let proof = proof_of("x", 0, 5, &["c", "d", "e", "f", "g"]);
    let claim =
        mesh_gossip_proto::wire::message::Death { proof: proof.hash.into(), ..death("x", 0, "c") };
    pair.say(1, "h", &claim);
    pair.tell(1, "h", kind::PROOF, &proof.bytes);
    assert_eq!((pair.state(0, "x"), pair.state(1, "x")), (Some(State::Alive), Some(State::Dead)));
    pair
}

/// Rules G-6 and D-15: a death that one side knows is told to the other, who asks for its proof; it
/// is not undone by those who have not heard of it.
#[test]
fn a_proven_death_is_learned_and_not_undone() {
    for asker in 0..2 {
        let mut pair = bereaved();
        // It is told to another until that is enough (rule G-1), and others change afterwards. Who
        // lacks it is still named by its digest (rule G-6): that way the dead is sent no notice.
        for _ in 0..8 {
            pair.say(1, "c", &Ping { sequence: 1.into(), digest: 1.into() });
            pair.drain();
        }
        for counter in 1..=5 {
            for name in ["c", "d", "e", "f", "g", "h", "i"] {
                let changed = record(name, counter);
                (0..2).for_each(|node| pair.tell(node, name, kind::RECORD, changed.envelope()));
            }
        }
        pair.said.clear();
        assert_eq!(pair.state(0, "x"), Some(State::Alive), "nobody told it");
        pair.ping(asker);
        pair.pass(900);
        assert!(pair.said(kind::DEAD) >= 1 && pair.said(kind::PROOF) == 1, "{:?}", pair.said);
        assert_eq!(pair.state(0, "x"), Some(State::Dead), "asked by {asker}");
        assert_eq!(pair.state(1, "x"), Some(State::Dead));
        assert!(pair.agree());
        assert_eq!((pair.said(kind::SKETCH), pair.noticed("x")), (0, 0), "{:?}", pair.said);
    }
}

/// Rules A-4, D-14 and D-15: after more changes than are remembered only a sketch tells of a death. It
/// is learnt all the same, and the dead is reminded: should it live, it can answer.
#[test]
fn a_death_before_a_storm_is_told_by_the_sketch_and_to_the_dead() {
    for asker in 0..2 {
        let names: Vec<String> = (0..60).map(|n| format!("n{n}")).collect();
        let others: Vec<_> = names.iter().map(|name| record(name, 0)).collect();
        let mut pair = Pair::knowing(&[others, vec![record("x", 0)]].concat());
        let observers = pair.observers_of("x", &names);
        let proof = proof_of("x", 0, 5, &observers[..5]);
        let claim = mesh_gossip_proto::wire::message::Death {
            proof: proof.hash.into(),
            ..death("x", 0, observers[0])
        };
        // What the two say to each other is lost, until sixty members have changed three times each and
        // nothing of it waits to be told.
        pair.deaf = true;
        pair.say(1, observers[1], &claim);
        pair.tell(1, observers[1], kind::PROOF, &proof.bytes);
        for counter in 1..=3 {
            for name in &names {
                let changed = record(name, counter);
                (0..2).for_each(|node| pair.tell(node, name, kind::RECORD, changed.envelope()));
            }
        }
        pair.quiet(4_000);
        assert_eq!(
            (pair.state(0, "x"), pair.state(1, "x")),
            (Some(State::Alive), Some(State::Dead))
        );
        let newest = |node: &Node, name: &String| node.member(id(name)).unwrap().incarnation();
        let all = |node: &Node| names.iter().all(|name| newest(node, name) == incarnation(3));
        assert!(pair.nodes.iter().all(all), "360 shares came and went");
        pair.deaf = false;
        for _ in 0..2 {
            pair.ping(asker);
            pair.pass(1_100);
        }
        assert!(pair.said(kind::SKETCH) >= 1 && pair.said(kind::DEAD) >= 1, "{:?}", pair.said);
        assert_eq!(pair.said(kind::PROOF), 1, "{:?}", pair.said);
        assert_eq!(pair.state(0, "x"), Some(State::Dead), "asked by {asker}");
        assert!(pair.agree() && pair.streams.is_empty());
        assert!(pair.noticed("x") >= 1, "asked by {asker}: nobody reminds the dead");
    }
}

/// Rules A-3, A-4 and D-15: an old death evicts nobody who has not heard of it: it is looked into.
#[test]
fn an_old_death_is_a_question() {
    let mut pair = bereaved();
    pair.keep_quiet(1, 20_000);
    pair.settle(0);
    assert!(pair.nodes[0].member(id("x")).unwrap().state.is_present());
    assert!(pair.nodes[0].stats().tests >= 1);
    assert_eq!(pair.state(1, "x"), Some(State::Dead), "and nobody is resurrected");
}

/// Rule A-4: whoever left by its own word has left on both sides, whoever asks.
#[test]
fn a_leave_is_learned() {
    for asker in 0..2 {
        let leave = signed("n7", incarnation(1), Lifecycle::Leaving, "r");
        let mut pair = Pair::knowing(&records("n", 50));
        pair.tell(1, "n7", kind::RECORD, leave.envelope());
        pair.keep_quiet(1, 20_000);
        assert_eq!(
            (pair.state(0, "n7"), pair.state(1, "n7")),
            (Some(State::Alive), Some(State::Left))
        );
        pair.settle(asker);
        assert_eq!(pair.state(0, "n7"), Some(State::Left), "asked by {asker}");
        assert!(pair.agree());
    }
}

/// Rule A-3: with a detector that believes doubts another's death is its suspicion and no more.
#[test]
fn a_death_is_a_suspicion_to_the_baselines() {
    let config = Config { detector: Detector::Lifeguard, ..Config::new(CLUSTER) };
    let others: Vec<_> = ["c", "d", "e", "x"].map(|name| record(name, 0)).into();
    let mut pair = Pair::of(&config, [&others, &others]);
    pair.say(1, "c", &death("x", 0, "c"));
    let mut buffer = Vec::new();
    while pair.nodes[1].poll_transmit(pair.now, &mut buffer).is_some() {}
    assert_eq!(pair.state(1, "x"), Some(State::Dead));
    let header = SketchHeader { salt: 9.into(), part: 0.into(), parts: 1.into() };
    let known = others.iter().map(|record| share(record.record().id, record.hash()));
    let own = [("a", 0), ("b", 1)].map(|(name, n)| share(id(name), pair.nodes[n].local().hash()));
    let sketch = Sketch::of(9, known.chain(own));
    pair.tell(1, "a", kind::SKETCH, &[header.as_bytes(), &sketch.to_bytes()].concat());
    let now = pair.now;
    pair.nodes[1].handle_timeout(now);
    let mut told = Vec::new();
    while let Some(transmit) = pair.nodes[1].poll_transmit(now, &mut buffer) {
        if transmit.to == Destination::Member(id("a")) {
            told.extend(kinds(&buffer).into_keys());
        }
    }
    assert!(told.contains(&kind::SUSPECT), "{told:?}");
}

/// Rule A-6: records that are too large for a datagram are fetched together.
#[test]
fn large_records_are_fetched_together() {
    let mut pair = Pair::knowing(&records("n", 9));
    for n in 0..3 {
        pair.say(0, "b", &RecordByStream { id: id(&format!("n{n}")).0 });
    }
    pair.drain();
    let ids = (0..3).map(|n| id(&format!("n{n}"))).collect::<Vec<_>>();
    assert_eq!(pair.streams.len(), 1);
    assert_eq!(pair.streams[0].members, ids);
}

/// What the sketch tells is the truth, whatever the two know: the same as comparing all records.
#[test]
fn shares_stand_for_records() {
    let pair = Pair::knowing(&records("n", 3));
    let all = pair.nodes[0].view(pair.now);
    let xor = all.members().map(|member| member.share()).fold(0, |a, b| a ^ b);
    assert_eq!(xor, pair.nodes[0].table().digest());
    assert_ne!(share(id("n1"), RecordHash(1)), share(id("n1"), RecordHash(2)));
    let unknown = Messages::new(&[40, 0, 0]).next();
    assert_eq!(unknown, Some(Ok(Message::Unknown(40))), "a later kind of these is skipped");
}
