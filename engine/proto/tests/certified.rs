//! What certificates, clocks and signatures have to say about members (rules S-11 to S-13 and S-18),
//! one node on a stage.

mod stage;

use mesh_gossip_proto::detector::proof::Proof;
use mesh_gossip_proto::detector::test::Ballot;
use mesh_gossip_proto::detector::vote::{Finding, Seal, SignedVote};
use mesh_gossip_proto::membership::record::first_record;
use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::wire::message::{Clock, ClockPull, Death, PartHeader, kind};
use mesh_gossip_proto::{
    Alarm, Authority, Command, Config, Destination, Detector, Event, Incarnation, Lifecycle,
    MemberId, Metadata, Node, SignedRecord, State,
};
use stage::observers::{cast, names, settled, silence, subjects, to};
use stage::{
    BORN, CLUSTER, Names, Stage, address, at, birth, death, finding, id, incarnation, metadata, ms,
    proof_of, record, signed, signed_vote,
};

const MINUTE: u64 = 60_000;

fn counted(stage: &Stage, reason: &str) -> u64 {
    stage.node.stats().rejected.get(reason).copied().unwrap_or(0)
}

fn alarms(stage: &mut Stage) -> Vec<Alarm> {
    let alarm = |event| match event {
        Event::Alarm(alarm) => Some(alarm),
        _ => None,
    };
    stage.events().into_iter().filter_map(alarm).collect()
}

/// A life of `b` that begins so long after ours.
fn life_of_b(after: u64) -> SignedRecord {
    let life = Incarnation { generation: BORN + after, counter: 0 };
    signed("b", life, Lifecycle::Active, "r")
}

/// Rule S-12: a life that begins more than ten minutes from now is held, neither applied nor passed
/// on, until its time has come.
#[test]
fn a_life_from_the_future_is_held() {
    let mut stage = settled(3);
    let known = stage.node.member(id("b")).unwrap().clone();
    // The stage has been on for two minutes.
    let (soon, later) = (life_of_b(12 * MINUTE), life_of_b(13 * MINUTE));
    stage.sent.clear();
    for _ in 0..2 {
        stage.record("c", &later);
    }
    assert_eq!(stage.node.member(id("b")).unwrap().record, known.record);
    let generation = BORN + 13 * MINUTE;
    assert_eq!(alarms(&mut stage), [Alarm::FutureLife { member: id("b"), generation }], "once");
    assert_eq!(counted(&stage, "future-life"), 2);
    stage.until(ms(stage.now) + 30_000);
    assert!(stage.sent_of(kind::UPDATE).is_empty(), "nobody hears of it");
    stage.record("c", &soon);
    assert_eq!(*stage.node.member(id("b")).unwrap().record, soon, "that is near enough by now");
    stage.until(ms(stage.now) + 2 * MINUTE);
    assert_eq!(*stage.node.member(id("b")).unwrap().record, later, "its time has come");
}

/// A node that dials `b`, `c` and `d` as seeds, which bring their records.
fn joining(least_generation: u64) -> Stage {
    let mut stage = dialling(least_generation);
    for seed in ["b", "c", "d"] {
        stage.record(seed, &record(seed, 0));
    }
    stage
}

/// The same before their records come.
fn dialling(least_generation: u64) -> Stage {
    let config = Config { detector: Detector::Observers, ..Config::new(CLUSTER) };
    let birth = Birth { least_generation, ..birth(config, "a", BORN, 7) };
    let node = Node::new(at(0), birth).unwrap();
    let answering = vec!["b".into(), "c".into(), "d".into()];
    let mut stage =
        Stage { node, now: at(0), sent: Vec::new(), answering, woken: 0, fares: u16::MAX };
    let seeds = ["b", "c", "d"];
    let addresses = seeds.iter().map(|seed| address(seed)).collect();
    stage.node.handle_command(at(0), Command::Join(addresses)).unwrap();
    for seed in seeds {
        stage.node.handle_peer_proven(at(0), id(seed), address(seed), true);
    }
    stage
}

/// Rule S-12: a life that begins above the clock, as one does that follows another closely, still tells
/// what the clock shows.
#[test]
fn a_life_ahead_of_the_clock_tells_the_time_of_the_clock() {
    let mut stage = joining(BORN + 9 * MINUTE);
    assert_eq!(stage.node.local().record().incarnation.generation, BORN + 9 * MINUTE);
    stage.until(1_500);
    stage.sent.clear();
    stage.say("b", &ClockPull { token: 7.into() });
    let told = stage.sent_of(kind::CLOCK);
    let wall = u64::from_le_bytes(told[0].body[8..].try_into().unwrap());
    assert_eq!(wall, BORN + 1_500);
}

/// What each seed was asked for the time with.
fn tokens(stage: &Stage) -> Vec<(String, u64)> {
    let asked = stage.sent_of(kind::CLOCK_PULL).into_iter();
    let token = |body: &[u8]| u64::from_le_bytes(body.try_into().unwrap());
    let of = |member| names(25).into_iter().find(|name| id(name) == member).unwrap();
    asked
        .filter_map(|sent| match sent.to {
            Destination::Member(member) => Some((of(member), token(&sent.body))),
            Destination::Seed => None,
        })
        .collect()
}

/// The seeds say that their clocks are so many minutes ahead of ours; those are asked again later.
fn answer(stage: &mut Stage, minutes: [u64; 3]) {
    let asked = tokens(stage);
    stage.sent.clear();
    let now = BORN + ms(stage.now);
    for (seed, minutes) in ["b", "c", "d"].into_iter().zip(minutes) {
        if let Some((_, token)) = asked.iter().rev().find(|(name, _)| name == seed) {
            let wall_ms = (now + minutes * MINUTE).into();
            stage.say(seed, &Clock { token: (*token).into(), wall_ms });
        }
    }
}

/// Rule S-12: whoever starts asks its seeds for the time. If most of them say that it is far off, it
/// says nothing until they do not.
#[test]
fn a_clock_that_is_off_silences_whoever_starts() {
    let mut stage = joining(0);
    stage.until(1_500);
    answer(&mut stage, [0, 0, 60]);
    assert_eq!(alarms(&mut stage), [], "one of three");
    stage.until(10_000);
    assert!(!stage.sent_of(kind::PING).is_empty());

    let mut stage = joining(0);
    stage.until(1_500);
    answer(&mut stage, [0, 60, 61]);
    assert_eq!(alarms(&mut stage), [Alarm::ClockOff { ahead_ms: -60 * 60_000 }]);
    stage.until(10_000);
    // What the host says meanwhile waits.
    let newer = Metadata { mesh_version: "2".into(), cluster_id: CLUSTER.into(), ..metadata("a") };
    stage.node.handle_command(stage.now, Command::SetMetadata(newer)).unwrap();
    stage.until(11_000);
    assert!(stage.sent.iter().all(|sent| sent.kind == kind::CLOCK_PULL), "{:?}", stage.sent);
    assert!(stage.sent.len() >= 15, "it asks again: {}", stage.sent.len());
    stage.record("b", &record("e", 0));
    assert_eq!(stage.state("e"), None, "nor does it listen");
    assert!(counted(&stage, "silent") > 0);
    // Those clocks were the wrong ones, and are set.
    answer(&mut stage, [0, 0, 0]);
    stage.until(20_000);
    assert!(!stage.sent_of(kind::PING).is_empty(), "it goes on");
    assert_eq!(alarms(&mut stage), []);
}

/// Rule S-12: whoever fell silent before it had a seed's record, which it does not hear from then on,
/// asks that seed all the same, or it would be silent for ever.
#[test]
fn a_seed_without_a_record_is_asked_for_the_time_again() {
    let mut stage = dialling(0);
    for seed in ["b", "c", "d"] {
        stage.say(seed, &ClockPull { token: 1.into() });
    }
    stage.until(1_500);
    answer(&mut stage, [60, 60, 60]);
    assert_eq!(alarms(&mut stage), [Alarm::ClockOff { ahead_ms: -60 * 60_000 }]);
    stage.until(10_000);
    assert!(tokens(&stage).len() >= 15, "it asks again: {:?}", stage.sent);
    answer(&mut stage, [0, 0, 0]);
    stage.until(11_000);
    stage.record("b", &record("b", 0));
    assert_eq!(stage.state("b"), Some(State::Alive), "it listens again");
}

/// Rule S-12: a life begins above what is remembered of the one before, and above what the seeds
/// hold of it.
#[test]
fn a_life_begins_above_the_ones_before() {
    let mut stage = joining(BORN + 5);
    assert_eq!(stage.node.local().record().incarnation.generation, BORN + 5);
    stage.until(1_500);
    let asked = stage.sent_of(kind::RECORD_PULL);
    assert!(asked.iter().any(|sent| sent.body[..16] == id("a").0), "what do you hold of us?");
    let life = Incarnation { generation: BORN + 70, counter: 3 };
    stage.record("b", &signed("a", life, Lifecycle::Active, "r"));
    assert_eq!(stage.node.local().record().incarnation.generation, BORN + 71);
    // One wrong clock does not burn the name for ever.
    let life = Incarnation { generation: BORN + 999 * MINUTE, counter: 3 };
    stage.record("b", &signed("a", life, Lifecycle::Active, "r"));
    assert_eq!(stage.node.local().record().incarnation.generation, BORN + 71);
    assert_eq!(counted(&stage, "future-life"), 1);
}

/// Rule S-11: whom we have forgotten nobody brings back with a record from before; if it lives, it is
/// told, and begins anew.
#[test]
fn a_forgotten_life_stays_over() {
    let mut stage = settled(3);
    stage.record("b", &signed("b", incarnation(1), Lifecycle::Leaving, "r"));
    stage.until(ms(stage.now) + (600 + 24 * 3_600 + 20) * 1_000);
    assert_eq!(stage.state("b"), None);
    let stale = [record("b", 0), signed("b", incarnation(1), Lifecycle::Active, "r2")];
    for stale in &stale {
        stage.record("c", stale);
        assert_eq!(stage.state("b"), None);
    }
    assert_eq!(counted(&stage, "tombstone"), 2);
    stage.sent.clear();
    stage.say("b", &death("c", 9, "b"));
    assert_eq!(to(kind::NOTICE, &stage), ["b"], "is it there?");
    stage.record("b", &record("b", 2));
    assert_eq!(stage.state("b"), Some(State::Alive), "a new life");
}

/// Rule S-18: one name under two certificates that take turns is told.
#[test]
fn one_name_under_two_certificates_is_told() {
    let mut stage = settled(3);
    let other = Other(Names::of("b"));
    let by_other = |counter| {
        let record = first_record(CLUSTER, incarnation(counter), vec![address("b")], metadata("b"));
        SignedRecord::author(record, &other).unwrap()
    };
    for counter in 1..=4 {
        let next = if counter % 2 == 1 { by_other(counter) } else { record("b", counter) };
        stage.record("b", &next);
        assert_eq!(*stage.node.member(id("b")).unwrap().record, next);
        let expected: &[Alarm] = if counter < 3 { &[] } else { &[Alarm::TwoCertificates(id("b"))] };
        assert_eq!(alarms(&mut stage), expected, "{counter}");
    }
}

/// Another certificate of the same member: it names it as well, and says its number besides.
struct Other(Names);

impl Authority for Other {
    fn sign(&self, message: &[u8]) -> Option<mesh_gossip_proto::Signature> {
        Names { leaf: self.leaf().to_vec(), salt: 1 }.sign(message)
    }
    fn leaf(&self) -> &[u8] {
        b"b/c/worker#2"
    }
    fn intermediates(&self) -> &[[u8; 32]] {
        self.0.intermediates()
    }
    fn verify(
        &self,
        claim: &mesh_gossip_proto::membership::record::Claim<'_>,
    ) -> Result<(), mesh_gossip_proto::PeerError> {
        self.0.verify(claim)
    }
}

fn told(stage: &mut Stage, proof: &Proof) {
    let claim = Death { proof: proof.hash.into(), ..death("b", 0, "c") };
    stage.say("h", &claim);
    stage.tell("h", kind::PROOF, &proof.bytes);
}

/// Rule S-13: voters whom nobody would have asked about the subject prove nothing to us before we
/// have looked ourselves.
#[test]
fn strangers_to_the_subject_are_checked_first() {
    let others: Vec<String> = (0..400).map(|n| format!("m{n}")).collect();
    let config = Config { detector: Detector::Observers, ..Config::new(CLUSTER) };
    let known: Vec<&str> = others.iter().map(String::as_str).chain(["b", "h"]).collect();
    let fresh = || {
        let mut stage = Stage::knowing(config.clone(), &known);
        stage.until(30_000);
        stage
    };
    // The order of a mesh of this size, by everybody's own account.
    let stage = fresh();
    let mut near: Vec<MemberId> = Vec::new();
    for turn in 0.. {
        let mut walk =
            mesh_gossip_proto::MemberTable::before(stage.node.table(), turn % 8, id("b"));
        if let Some(next) = walk.find(|member| !near.contains(member)) {
            near.push(next);
        }
        if near.len() == 64 {
            break;
        }
    }
    let name = |member: &MemberId| others.iter().find(|name| id(name) == *member);
    let asked: Vec<&str> = near.iter().filter_map(name).map(String::as_str).collect();
    let strangers: Vec<&str> =
        others.iter().filter(|name| !near.contains(&id(name))).map(String::as_str).collect();
    for (foreign, believed) in [(0, true), (2, true), (3, false), (5, false)] {
        let mut stage = fresh();
        let voters = [&strangers[..foreign], &asked[asked.len() - (5 - foreign)..]].concat();
        let tests = stage.node.stats().tests;
        told(&mut stage, &proof_of("b", 0, 7, &voters));
        let expected = if believed { State::Dead } else { State::Alive };
        assert_eq!(stage.state("b"), Some(expected), "{foreign} strangers");
        assert_eq!(counted(&stage, "foreign-voters"), u64::from(!believed));
        assert_eq!(stage.node.stats().tests - tests, u64::from(!believed), "we look");
        // What ends no life is paid for however true it is, or it would be worth our time for ever.
        for _ in 0..300 {
            told(&mut stage, &proof_of("b", 0, 7, &voters));
        }
        assert_eq!(counted(&stage, "verify-budget") > 0, !believed, "{foreign} strangers");
    }
}

/// Rule S-13: however few observers are configured, no two members decide about a third in a mesh
/// of sixteen.
#[test]
fn three_at_least_decide_from_sixteen_members_on() {
    for (others, voters, believed) in
        [(14, &["c", "d"][..], true), (15, &["c", "d"], false), (15, &["c", "d", "e"], true)]
    {
        let config = Config { detector: Detector::Observers, observers: 2, ..Config::new(CLUSTER) };
        let names = names(others);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut stage = Stage::knowing(config, &names);
        told(&mut stage, &proof_of("b", 0, 7, voters));
        let expected = if believed { State::Dead } else { State::Alive };
        assert_eq!(stage.state("b"), Some(expected), "{others} others, {voters:?}");
    }
}

/// Votes about `b`, each in the name of its voter by other hands.
fn false_proof(round: u64) -> Proof {
    let finding = finding("b", 0, round);
    let forged = |voter: &str| SignedVote {
        voter: id(voter),
        seal: Seal {
            signer: signed_vote(voter, &finding).seal.signer,
            ..signed_vote("z", &finding).seal
        },
    };
    Proof::new(finding, &["c", "d", "e", "f", "g"].map(forged))
}

/// Rule S-13: a proof that holds uses nothing up, so that the deaths of half a mesh can come from a
/// few neighbours; one false vote each had left room for the votes of two proofs at most.
#[test]
fn true_proofs_use_nothing_up() {
    let mut stage = settled(25);
    for round in 0..1_270 {
        told(&mut stage, &false_proof(round));
    }
    for subject in ["l", "m", "n", "o", "p", "q"] {
        let proof = proof_of(subject, 0, 9, &["f", "g", "i", "j", "k"]);
        stage.say("h", &Death { proof: proof.hash.into(), ..death(subject, 0, "f") });
        stage.tell("h", kind::PROOF, &proof.bytes);
        assert_eq!(stage.state(subject), Some(State::Dead), "{subject}");
    }
    assert_eq!(counted(&stage, "verify-budget"), 0);
}

/// Rule S-13: whoever brings nothing but false votes is not given our time for ever, and whoever
/// brings a true proof is heard all the same.
#[test]
fn false_votes_cost_a_bounded_time() {
    let mut stage = settled(25);
    let looked_at = |stage: &Stage| counted(stage, "vote-signature");
    for round in 0..2_000 {
        told(&mut stage, &false_proof(round));
    }
    assert!((1_000..=1_280).contains(&looked_at(&stage)), "{}", looked_at(&stage));
    assert!(counted(&stage, "verify-budget") > 0);
    let proof = proof_of("e", 0, 9, &["f", "g", "i", "j", "k"]);
    stage.say("l", &Death { proof: proof.hash.into(), ..death("e", 0, "f") });
    stage.tell("l", kind::PROOF, &proof.bytes);
    assert_eq!(stage.state("e"), Some(State::Dead));
    assert_eq!(stage.state("b"), Some(State::Alive));
}

/// Rule S-13: what was found of a vote is remembered while its proof waits for others.
#[test]
fn a_vote_is_verified_once() {
    let mut stage = settled(25);
    let finding = finding("b", 0, 7);
    let mut votes: Vec<_> = ["c", "d", "e", "f"].map(|voter| signed_vote(voter, &finding)).into();
    votes[0].seal = Seal { signer: votes[0].seal.signer, ..signed_vote("d", &finding).seal };
    votes.extend(["unknown", "g"].map(|voter| signed_vote(voter, &finding)));
    let proof = Proof::new(finding, &votes);
    told(&mut stage, &proof);
    assert_eq!(to(kind::RECORD_PULL, &stage), ["h"], "who is the unknown one?");
    for _ in 0..5 {
        stage.tell("h", kind::PROOF, &proof.bytes);
    }
    assert_eq!(counted(&stage, "vote-signature"), 1, "the false one is known to be false");
    stage.record("h", &record("unknown", 0));
    stage.tell("h", kind::PROOF, &proof.bytes);
    assert_eq!(stage.state("b"), Some(State::Dead));
    assert_eq!(counted(&stage, "vote-signature"), 1);
}

/// Rules S-13 and W-4: long signatures make a proof that no datagram holds; it travels in parts.
#[test]
fn a_proof_of_long_signatures_travels_in_parts() {
    let finding = Finding { subject: id("b"), incarnation: incarnation(0), round: 7 };
    let long = |voter: &str| {
        let mut vote = signed_vote(voter, &finding);
        vote.seal.signature.bytes.resize(512, 0);
        vote
    };
    let votes = ["c", "d", "e", "f", "g"].map(long);
    let proof = Proof::new(finding, &votes);
    assert!(proof.bytes.len() > 2_600);
    let mut stage = settled(20);
    stage.say("h", &Death { proof: proof.hash.into(), ..death("b", 0, "c") });
    let parts = mesh_gossip_proto::wire::parts::split(kind::PROOF, &proof.bytes, 1_149);
    let parts: Vec<(PartHeader, &[u8])> = parts.collect();
    assert_eq!(parts.len(), 3);
    for (header, bytes) in &parts {
        assert_eq!(stage.state("b"), Some(State::Alive));
        let body = [zerocopy::IntoBytes::as_bytes(header), *bytes].concat();
        stage.tell("h", kind::PART, &body);
    }
    assert_eq!(stage.state("b"), Some(State::Dead));
    stage.sent.clear();
    let pull = [&id("b").0[..], &proof.hash.to_le_bytes()].concat();
    stage.tell("k", kind::PROOF_PULL, &pull);
    assert_eq!(stage.sent_of(kind::PART).len(), 3, "and on it goes");
}

/// Rules D-6 and S-13: who holds the subject dead already signs for it when it is asked.
#[test]
fn whoever_holds_the_subject_dead_votes_so() {
    let mut stage = settled(20);
    told(&mut stage, &proof_of("b", 0, 7, &["c", "d", "e", "f", "g"]));
    stage.until(ms(stage.now) + 30_000);
    stage.sent.clear();
    stage.say("k", &stage::observers::verify("b", 99));
    let votes = stage.sent_of(kind::VOTE);
    assert_eq!(votes.len(), 1);
    let body = votes[0].body.clone();
    assert_eq!(body[36], Ballot::Dead as u8);
    let (seal, _) = Seal::decode(&body[40..]).unwrap();
    let about = finding("b", 0, 99);
    assert_eq!(seal.check(&about, &record("a", 0), &Names::of("k")), Ok(()));
    assert_eq!(stage.sent_of(kind::DEAD).len(), 1, "and tells what it knows");
    // A leader that asks for more signatures than any case needs gets no more.
    for round in 0..200 {
        stage.say("k", &stage::observers::verify("b", round));
    }
    assert!(stage.sent_of(kind::VOTE).len() <= 64, "{}", stage.sent_of(kind::VOTE).len());
}

/// Rules D-8 and S-13: the proof of a case holds the signatures of its voters, the leader's own among
/// them.
#[test]
fn a_leader_signs_its_own_finding() {
    let mut stage = settled(20);
    let subject = subjects(&stage)[0].clone();
    silence(&mut stage, &subject);
    while stage.sent_of(kind::VERIFY).is_empty() {
        stage.until(ms(stage.now) + 50);
    }
    let question = stage.sent_of(kind::VERIFY)[0].clone();
    let (_, round) = stage::observers::asked_about(&question);
    let asked: std::collections::BTreeSet<String> = to(kind::VERIFY, &stage).into_iter().collect();
    for voter in &asked {
        cast(&mut stage, voter, &subject, round, Ballot::Dead);
    }
    while stage.state(&subject) != Some(State::Dead) {
        stage.until(ms(stage.now) + 50);
    }
    let hash = stage.sent_of(kind::DEAD).last().map(|sent| sent.body[48..56].to_vec());
    stage.until(ms(stage.now) + 1_000);
    let hash = hash.unwrap_or_else(|| stage.sent_of(kind::DEAD)[0].body[48..56].to_vec());
    stage.tell("c", kind::PROOF_PULL, &[&id(&subject).0[..], &hash].concat());
    let proof = Proof::decode(&stage.sent_of(kind::PROOF)[0].body).unwrap();
    let votes = proof.votes();
    assert_eq!(votes.len(), 5);
    for vote in votes {
        let name = names(25).into_iter().find(|name| id(name) == vote.voter);
        let name = name.unwrap_or_else(|| "a".into());
        let shown = record(&name, 0);
        assert_eq!(vote.seal.check(&proof.finding, &shown, &Names::of("z")), Ok(()), "{name}");
    }
}
