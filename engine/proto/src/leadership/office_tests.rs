//! One office at many nodes: crashes, partitions, heals and drains, in any order.

use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::leadership::SUCCESSORS;
use crate::leadership::order::score;

const SETTLE: Duration = Duration::from_secs(2);
/// Between two looks.
const TICK: Duration = Duration::from_millis(200);
/// Between a change of who can reach whom and everybody's knowing it.
const DETECTION: u64 = 15;

/// What is known of a member: its newest record, in short.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    version: u64,
    active: bool,
    term: Option<Term>,
}

/// A node of the model: its office, its own record, what it knows of others.
#[derive(Debug)]
struct Peer {
    id: MemberId,
    office: Office,
    known: BTreeMap<usize, Record>,
    /// Whom it holds present.
    present: Vec<usize>,
    runs: bool,
    /// The terms that it told.
    told: Vec<u64>,
}

#[derive(Debug)]
struct Mesh {
    peers: Vec<Peer>,
    /// The island of each.
    island: Vec<usize>,
    now: Instant,
    ticks: u64,
    changed: u64,
    version: u64,
    records: u64,
    /// What had been heard by all of an island.
    spread: (u64, u64),
}

fn scope() -> Scope {
    Scope::global("x")
}

impl Mesh {
    fn new(size: usize) -> Self {
        Self::of(size, |_| scope())
    }

    /// Each with its own definition of the scope.
    fn of(size: usize, scope: impl Fn(usize) -> Scope) -> Self {
        let peer = |index: usize| Peer {
            id: MemberId::derive("c", &format!("n{index}")),
            office: Office::new(scope(index)),
            known: (0..size)
                .map(|other| (other, Record { version: 0, active: true, term: None }))
                .collect(),
            present: (0..size).collect(),
            runs: true,
            told: Vec::new(),
        };
        Self {
            peers: (0..size).map(peer).collect(),
            island: std::vec![0; size],
            now: Instant::ORIGIN,
            ticks: 0,
            changed: 0,
            version: 1,
            records: 0,
            spread: (0, u64::MAX),
        }
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        self.peers[a].runs && self.peers[b].runs && self.island[a] == self.island[b]
    }

    /// Everybody hears of every record on its island, and after a while who is there.
    fn spread(&mut self) {
        let news = (self.version, self.changed);
        if core::mem::replace(&mut self.spread, news) == news
            && self.ticks != self.changed + DETECTION
        {
            return;
        }
        for by in 0..self.peers.len() {
            for of in 0..self.peers.len() {
                if !self.reaches(by, of) {
                    continue;
                }
                // What the other knows, of itself and of those that are gone.
                for (subject, record) in self.peers[of].known.clone() {
                    let peer = &mut self.peers[by];
                    let own = subject == by;
                    if !own && peer.known.get(&subject).is_none_or(|k| k.version < record.version) {
                        if let Some(term) = &record.term {
                            let id = MemberId::derive("c", &format!("n{subject}"));
                            peer.office.note(id, term);
                        }
                        peer.known.insert(subject, record);
                        // A new record is a sign of life.
                        if !peer.present.contains(&subject) {
                            peer.present.push(subject);
                        }
                    }
                }
            }
        }
        if self.ticks == self.changed + DETECTION {
            for by in 0..self.peers.len() {
                self.peers[by].present =
                    (0..self.peers.len()).filter(|of| self.reaches(by, *of)).collect();
            }
        }
    }

    fn poll(&self, by: usize) -> Poll {
        let definition = self.peers[by].office.definition();
        let mut poll = Poll::default();
        for of in &self.peers[by].present {
            let (record, id) = (&self.peers[by].known[of], self.peers[*of].id);
            poll.present += 1;
            if let Some(term) = &record.term {
                poll.recorded = poll.recorded.max(term.number);
                if !term.held {
                    poll.witnessed = poll.witnessed.max(term.number);
                }
            }
            if !record.active || self.peers[*of].office.definition() != definition {
                continue;
            }
            poll.succession.push(id);
            if let Some(term) = record.term.as_ref().filter(|term| term.held) {
                poll.claimed(definition, id, term);
            }
        }
        poll.succession.sort_unstable_by_key(|id| core::cmp::Reverse(score(definition, *id)));
        poll.succession.truncate(SUCCESSORS);
        poll
    }

    fn tick(&mut self) {
        self.now += TICK;
        self.ticks += 1;
        self.spread();
        for by in 0..self.peers.len() {
            if !self.peers[by].runs {
                continue;
            }
            let poll = self.poll(by);
            let (now, version) = (self.now, self.version);
            let peer = &mut self.peers[by];
            if let Some(change) = peer.office.observe(&poll) {
                peer.told.push(change.now.term);
            }
            let holder = peer.office.holder();
            let left = |known: &BTreeMap<usize, Record>| {
                let ids = |index: &usize| MemberId::derive("c", &format!("n{index}"));
                known.iter().any(|(index, record)| Some(ids(index)) == holder && !record.active)
            };
            let resigned = left(&peer.known);
            let own = peer.known[&by].term.clone();
            let definition = peer.office.definition();
            let situation = Situation {
                now,
                local: peer.id,
                own: own.as_ref(),
                may_claim: true,
                settle: SETTLE,
                resigned,
            };
            let term = |number, held| Term {
                scope: "x".to_string(),
                definition,
                number,
                since: WallTime(version),
                held,
            };
            let next = match peer.office.decide(&poll, &situation).0 {
                Act::Keep => continue,
                Act::Drop => None,
                Act::Claim(number) => Some(term(number, true)),
                Act::Witness(number) => Some(term(number, false)),
            };
            if let Some(term) = &next {
                peer.office.note(peer.id, term);
            }
            let active = peer.known[&by].active;
            peer.known.insert(by, Record { version, active, term: next });
            self.version += 1;
            self.records += 1;
        }
    }

    fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.tick();
        }
    }

    fn part(&mut self, islands: Vec<usize>) {
        self.island = islands;
        self.changed = self.ticks;
    }

    fn crash(&mut self, index: usize) {
        self.peers[index].runs = false;
        self.changed = self.ticks;
    }

    /// A new life that knows nothing, of its own past neither.
    fn restart(&mut self, index: usize) {
        if self.peers[index].runs {
            return;
        }
        let peer = &mut self.peers[index];
        let office = Office::new((**peer.office.scope()).clone());
        (peer.runs, peer.office, peer.told) = (true, office, Vec::new());
        peer.known.retain(|other, _| *other == index);
        peer.present = Vec::from([index]);
        peer.known.insert(index, Record { version: self.version, active: true, term: None });
        self.version += 1;
        // It knows whom it can reach from the first exchange on, and they know it.
        for other in 0..self.peers.len() {
            if self.reaches(index, other) && other != index {
                let known = self.peers[other].known[&other].clone();
                self.peers[index].known.insert(other, known);
                self.peers[index].present.push(other);
                let own = self.peers[index].known[&index].clone();
                self.peers[other].known.insert(index, own);
            }
        }
        self.changed = self.ticks;
    }

    fn drain(&mut self, index: usize, active: bool) {
        let (version, runs) = (self.version, self.peers[index].runs);
        let Some(own) = self.peers[index].known.get_mut(&index) else { return };
        if own.active == active || !runs {
            return;
        }
        let mut term = own.term.clone();
        if let Some(term) = term.as_mut().filter(|_| !active) {
            term.held = false;
        }
        *own = Record { version, active, term };
        self.version += 1;
    }

    fn claims(&self) -> Vec<(usize, u64)> {
        let held = |index: usize| {
            let term = self.peers[index].known[&index].term.as_ref()?;
            (self.peers[index].runs && term.held).then_some((index, term.number))
        };
        (0..self.peers.len()).filter_map(held).collect()
    }

    /// The one that all running nodes tell.
    fn leader(&self) -> Option<(usize, u64)> {
        let mut told = self.peers.iter().filter(|peer| peer.runs).map(|peer| peer.office.told());
        let first = told.next()?.clone();
        assert!(told.all(|told| *told == first), "all agree: {self:#?}");
        let leader = first.leader?;
        let index = self.peers.iter().position(|peer| peer.id == leader)?;
        Some((index, first.term))
    }
}

/// Longer than detection, settling and the longest patience.
const LONG: u64 = 600;

/// Rule E-4: the preferred member takes the office after it has come first for a while, and its
/// successor when it is gone.
#[test]
fn the_preferred_member_claims_the_first_term_and_its_successor_the_next() {
    let mut mesh = Mesh::new(5);
    mesh.run(9);
    assert_eq!(mesh.claims(), [], "a first place has to last");
    mesh.run(10);
    let (first, term) = mesh.leader().expect("somebody leads");
    assert_eq!((mesh.claims(), term), (Vec::from([(first, 1)]), 1));
    mesh.crash(first);
    mesh.run(DETECTION + 20);
    let (second, term) = mesh.leader().expect("somebody leads again");
    assert_ne!(second, first);
    assert_eq!((term, mesh.records), (2, 2), "one record a claim");
    mesh.restart(first);
    mesh.run(60);
    assert_eq!(mesh.leader(), Some((first, 3)), "back in its place, for another term");
    assert_eq!(mesh.claims(), [(first, 3)]);
    assert_eq!(mesh.records, 4, "one that claims, one that steps down");
}

/// Rule E-4: the highest term is not lost with the memory of its holder.
#[test]
fn a_leader_that_restarts_at_once_learns_its_own_past_from_others() {
    let mut mesh = Mesh::new(4);
    mesh.run(30);
    let (first, _) = mesh.leader().unwrap();
    for _ in 0..3 {
        let before = mesh.leader().unwrap().1;
        mesh.crash(first);
        mesh.restart(first);
        mesh.run(60);
        let (leader, term) = mesh.leader().expect("somebody leads");
        assert_eq!((leader, term), (first, before + 1));
        assert_eq!(mesh.claims(), [(first, term)]);
    }
}

/// Rule E-6: a leader that drains names its end itself, and nothing has to settle.
#[test]
fn a_drain_hands_over_at_once() {
    let mut mesh = Mesh::new(4);
    mesh.run(30);
    let (first, _) = mesh.leader().unwrap();
    mesh.drain(first, false);
    mesh.run(3);
    let (second, term) = mesh.leader().expect("its successor");
    assert!(second != first && term == 2);
    mesh.run(60);
    assert_eq!(mesh.claims(), [(second, 2)]);
    assert_eq!(
        mesh.peers[first].known[&first].term, None,
        "what it kept on record is in good hands"
    );
}

/// Rule E-7: two sides, two leaders; afterwards one, for a term that neither had.
#[test]
fn after_a_partition_one_leads_for_a_higher_term() {
    let mut mesh = Mesh::new(6);
    mesh.run(30);
    let (first, _) = mesh.leader().unwrap();
    mesh.part((0..6).map(|index| usize::from(index == first)).collect());
    mesh.run(60);
    assert_eq!(mesh.claims().len(), 2, "either side has one");
    mesh.part(std::vec![0; 6]);
    mesh.run(60);
    assert_eq!(mesh.leader(), Some((first, 3)));
    assert_eq!(mesh.claims(), [(first, 3)]);
    // Three sides, of which two take the same term: the preferred of the two takes the next.
    let rest: Vec<usize> = (0..6).filter(|index| *index != first).collect();
    mesh.crash(first);
    for (place, index) in rest.iter().enumerate() {
        mesh.island[*index] = place % 2;
    }
    mesh.run(60);
    let claims = mesh.claims();
    assert!(claims.len() == 2 && claims.iter().all(|(_, term)| *term == 4), "{claims:?}");
    mesh.part(std::vec![0; 6]);
    mesh.run(60);
    let (leader, term) = mesh.leader().unwrap();
    assert_eq!(mesh.claims(), [(leader, term)]);
    assert_eq!(term, 5, "term 4 had two holders: neither keeps it");
}

/// Rule E-7: those that never agree on who comes first do not race.
#[test]
fn a_lasting_dispute_is_slow() {
    let mut mesh = Mesh::new(2);
    // Each counts the other's claims, and holds itself to come first.
    let mut claims = 0;
    let mut since = [None::<Instant>; 2];
    for _ in 0..3_000 {
        mesh.now += TICK;
        mesh.ticks += 1;
        mesh.spread();
        for (by, since) in since.iter_mut().enumerate() {
            let mut poll = mesh.poll(by);
            poll.succession = Vec::from([mesh.peers[by].id]);
            let (now, version) = (mesh.now, mesh.version);
            let peer = &mut mesh.peers[by];
            let own = peer.known[&by].term.clone();
            let situation = Situation {
                now,
                local: peer.id,
                own: own.as_ref(),
                may_claim: true,
                settle: SETTLE,
                resigned: false,
            };
            let next = match peer.office.decide(&poll, &situation).0 {
                Act::Claim(number) => {
                    claims += 1;
                    let patience = since.map(|before| now.since(before));
                    assert!(patience.is_none_or(|patience| patience >= SETTLE), "{patience:?}");
                    *since = Some(now);
                    Some(Term {
                        scope: "x".into(),
                        definition: scope().definition(),
                        number,
                        since: WallTime(0),
                        held: true,
                    })
                }
                Act::Keep => continue,
                Act::Witness(_) | Act::Drop => None,
            };
            peer.known.insert(by, Record { version, active: true, term: next });
            mesh.version += 1;
        }
    }
    // Ten minutes: at two seconds a claim there would be 300 and more.
    assert!((4..=40).contains(&claims), "{claims} claims");
}

/// Rule E-7: where one name has two definitions each has a leader of its own, and they share the
/// terms; whether both claim at once or one after the other, they do not race for them.
#[test]
fn two_definitions_of_one_name_do_not_race() {
    for apart in [0, 7] {
        let mut mesh = Mesh::of(6, |index| match index % 2 {
            0 => scope(),
            _ => Scope::parse("x; role=a").unwrap(),
        });
        for index in [1, 3, 5] {
            mesh.crash(index);
        }
        mesh.run(apart);
        for index in [1, 3, 5] {
            mesh.restart(index);
        }
        mesh.run(3_000);
        // Ten minutes: at two seconds a claim there would be 300 and more.
        let told: Vec<usize> = mesh.peers.iter().map(|peer| peer.told.len()).collect();
        assert!(told.iter().all(|told| (1..=40).contains(told)), "{apart} ticks apart: {told:?}");
        let term = mesh.peers.iter().map(|peer| peer.office.highest).max();
        assert!(term.is_some_and(|term| term <= 40), "{term:?}");
        assert!(mesh.peers.iter().all(|peer| peer.told.is_sorted()));
    }
}

/// Rule E-7: a liar may take the last term of all; the office is not stuck, and nobody counts on.
#[test]
fn at_the_last_term_the_preferred_member_wins() {
    let mut mesh = Mesh::new(4);
    mesh.run(30);
    let (first, _) = mesh.leader().unwrap();
    let liar = (first + 1) % 4;
    let lie = Term {
        scope: "x".into(),
        definition: scope().definition(),
        number: MAX_TERM,
        since: WallTime(0),
        held: true,
    };
    let version = mesh.version;
    mesh.peers[liar].known.insert(liar, Record { version, active: true, term: Some(lie) });
    mesh.version += 1;
    mesh.run(60);
    assert_eq!(mesh.leader(), Some((first, MAX_TERM)));
    assert_eq!(mesh.claims(), [(first, MAX_TERM)]);
}

#[derive(Clone, Debug)]
enum Step {
    Crash(usize),
    Restart(usize),
    Drain(usize),
    Resume(usize),
    Part(Vec<usize>),
    Heal,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0usize..6).prop_map(Step::Crash),
        2 => (0usize..6).prop_map(Step::Restart),
        1 => (0usize..6).prop_map(Step::Drain),
        1 => (0usize..6).prop_map(Step::Resume),
        2 => prop::collection::vec(0usize..3, 6).prop_map(Step::Part),
        2 => Just(Step::Heal),
        6 => (1u64..60).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Rules E-4 to E-7: whatever befalls them, once views agree and have done so for a while exactly
    /// one member claims the office, with the highest term; and no node ever told of a lower term
    /// than before.
    #[test]
    fn whatever_happens_one_leads_in_the_end_and_no_term_falls(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let mut mesh = Mesh::new(6);
        let mut highest = 0;
        for step in steps {
            match step {
                Step::Crash(index) => mesh.crash(index),
                Step::Restart(index) => mesh.restart(index),
                Step::Drain(index) => mesh.drain(index, false),
                Step::Resume(index) => mesh.drain(index, true),
                Step::Part(islands) => mesh.part(islands),
                Step::Heal => mesh.part(std::vec![0; 6]),
                Step::Wait(ticks) => mesh.run(ticks),
            }
            let claimed = mesh.claims().into_iter().map(|(_, term)| term).max();
            highest = highest.max(claimed.unwrap_or(0));
        }
        mesh.part(std::vec![0; 6]);
        mesh.run(LONG);
        for peer in &mesh.peers {
            prop_assert!(peer.told.is_sorted(), "{:?}", peer.told);
        }
        let eligible = (0..6).any(|index| mesh.peers[index].runs && mesh.peers[index].known[&index].active);
        if eligible {
            let (leader, term) = mesh.leader().expect("somebody leads");
            prop_assert_eq!(mesh.claims(), Vec::from([(leader, term)]));
            let remembers = mesh.peers.iter().any(|peer| peer.runs && peer.office.highest >= highest);
            prop_assert!(!remembers || term >= highest, "{} after {}", term, highest);
        } else {
            prop_assert_eq!(mesh.claims(), Vec::new());
        }
    }
}

/// Rule E-4: whoever may not lead is the last to remember a term, and puts it on record.
#[test]
fn a_drained_member_that_alone_remembers_keeps_the_term_from_being_lost() {
    let mut mesh = Mesh::new(6);
    mesh.drain(0, false);
    mesh.drain(3, false);
    mesh.run(12);
    // Apart from the others the one leads for term 1, and among them another for term 2.
    mesh.part(Vec::from([0, 1, 0, 0, 0, 0]));
    mesh.crash(2);
    mesh.run(26);
    let claims = mesh.claims();
    let [(1, 1), (second, 2)] = claims[..] else { panic!("{claims:?}") };
    // It loses its memory with its life, and all that heard of it are gone but one.
    mesh.crash(second);
    mesh.part(std::vec![0; 6]);
    mesh.restart(second);
    for gone in [0, 2, 4].into_iter().filter(|gone| *gone != second) {
        mesh.crash(gone);
    }
    mesh.run(LONG);
    assert_eq!(mesh.leader().map(|(_, term)| term), Some(3), "a term that neither side had");
}

#[test]
fn a_scope_is_told_by_its_name() {
    let office = Office::new(Scope::parse("x; role=a").unwrap());
    let name: String = office.told().scope.to_string();
    assert_eq!((name.as_str(), office.told().leader), ("x; role=a", None));
}
