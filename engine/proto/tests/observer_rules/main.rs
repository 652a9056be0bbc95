//! The rules of the detector `observers`, one node on a stage.

#[path = "../stage/mod.rs"]
mod stage;

mod crowding;
mod exile;
mod hearsay;
mod verdicts;

use std::collections::BTreeSet;

use mesh_gossip_proto::detector::proof::Proof;
use mesh_gossip_proto::detector::test::Ballot;
use mesh_gossip_proto::membership::ring::position;
use mesh_gossip_proto::wire::message::{Death, Hint, Verify, kind};
use mesh_gossip_proto::{
    Config, Destination, Detector, Duration, Event, LeftReason, MemberId, State,
};
use stage::observers::cast;
use stage::{CLUSTER, Stage, death, doubt, id, incarnation, proof_of, record};

fn config() -> Config {
    Config { detector: Detector::Observers, ..Config::new(CLUSTER) }
}

/// `b` to `z`, so many of them.
fn names(count: u8) -> Vec<String> {
    (0..count).map(|n| char::from(b'b' + n).to_string()).collect()
}

fn knowing(config: Config, others: u8) -> Stage {
    let names = names(others);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Stage::knowing(config, &names)
}

/// A stage whose estimates have settled.
fn settled(others: u8) -> Stage {
    let mut stage = knowing(config(), others);
    stage.until(120_000);
    stage.sent.clear();
    stage.events();
    stage
}

fn name_of(member: MemberId) -> String {
    names(25).into_iter().find(|name| id(name) == member).unwrap()
}

fn silence(stage: &mut Stage, who: &str) {
    stage.answering.retain(|name| name != who);
}

fn to(kind: u8, stage: &Stage) -> Vec<String> {
    let member = |sent: &&stage::Sent| match sent.to {
        Destination::Member(member) => Some(name_of(member)),
        Destination::Seed => None,
    };
    stage.sent_of(kind).iter().filter_map(member).collect()
}

fn verify(of: &str, round: u64) -> Verify {
    Verify {
        subject: id(of).0,
        incarnation: incarnation(0).into(),
        round: round.into(),
        elapsed_ms: 0.into(),
    }
}

/// Ballots that the node sent, with their recipients.
fn ballots(stage: &Stage) -> Vec<(String, u8)> {
    let sent = stage.sent_of(kind::VOTE);
    let ballots = sent.iter().map(|sent| sent.body[36]);
    to(kind::VOTE, stage).into_iter().zip(ballots).collect()
}

fn round_of(stage: &Stage) -> u64 {
    let sent = stage.sent_of(kind::VERIFY);
    u64::from_le_bytes(sent.last().expect("a case is open").body[28..36].try_into().unwrap())
}

/// Rule D-1, against a plain computation over all members.
#[test]
fn observers_and_subjects_follow_from_the_rings() {
    for rings in [1, 8] {
        for others in [1, 2, 7, 8, 9, 14, 25] {
            let mut stage = knowing(Config { rings, ..config() }, others);
            stage.until(5_000);
            let mut members: Vec<MemberId> = names(others).iter().map(|name| id(name)).collect();
            members.push(id("a"));
            let wanted = usize::from(others).min(8);
            let observers = |of: MemberId| {
                let mut found: Vec<MemberId> = Vec::new();
                for turn in 0..wanted {
                    let ring = (turn % usize::from(rings)) as u8;
                    let place = |member: MemberId| (position(CLUSTER, ring, member), member);
                    let mut others: Vec<_> = members
                        .iter()
                        .copied()
                        .filter(|member| *member != of && !found.contains(member))
                        .map(|member| (place(member) > place(of), place(member)))
                        .collect();
                    // The nearest before: the greatest below, or else the greatest of all.
                    others.sort_by_key(|(above, place)| (!above, *place));
                    found.push(others.last().unwrap().1.1);
                }
                found
            };
            assert_eq!(stage.node.observed_by(), observers(id("a")), "{rings} rings, {others}");
            let expected: BTreeSet<MemberId> =
                members.iter().copied().filter(|m| observers(*m).contains(&id("a"))).collect();
            let found: BTreeSet<MemberId> = stage.node.observing().collect();
            assert_eq!(found, expected, "{rings} rings, {others} others");
        }
    }
}

/// Rules D-2 and D-11: one regular ping an interval, every subject once a period; looks at random
/// members come on top, one a minute once the acquaintances are made.
#[test]
fn every_subject_is_pinged_once_a_period() {
    let mut stage = settled(25);
    stage.until(280_000);
    let subjects: Vec<String> = stage.node.observing().map(name_of).collect();
    let pinged = to(kind::PING, &stage);
    let regular: Vec<&String> = pinged.iter().filter(|name| subjects.contains(name)).collect();
    for subject in &subjects {
        let times = regular.iter().filter(|name| **name == subject).count();
        assert!((19..=21).contains(&times), "{subject}: {times} times in 20 periods");
    }
    let looks = pinged.len() - regular.len();
    assert!((1..=4).contains(&looks), "{looks} looks in 160 s");
}

/// Silences a member until its case asks others, nine seconds at most.
fn doubted(subject: &str) -> (Stage, String) {
    let mut stage = settled(20);
    silence(&mut stage, subject);
    while stage.sent_of(kind::VERIFY).is_empty() && stage::ms(stage.now) < 129_000 {
        stage.until(stage::ms(stage.now) + 50);
    }
    (stage, subject.into())
}

/// Rules D-5 and D-6: silences that suffice make a case, which asks the subject's other observers
/// and shows the subject as Suspect here; nothing of it is gossiped.
#[test]
fn a_silent_subject_becomes_a_case_and_no_rumour() {
    let subjects: Vec<MemberId> = settled(20).node.observing().collect();
    let (mut stage, subject) = subjects
        .into_iter()
        .map(|subject| doubted(&name_of(subject)))
        .find(|(stage, _)| stage.sent_of(kind::VERIFY).len() == 7)
        .expect("of some subject we are the first observer, and need not wait for another's case");
    assert_eq!(stage.state(&subject), Some(State::Suspect));
    let asked: BTreeSet<String> = to(kind::VERIFY, &stage).into_iter().collect();
    assert!(asked.len() == 7 && !asked.contains(&subject));
    assert!(stage.sent_of(kind::SUSPECT).is_empty() && stage.sent_of(kind::UPDATE).is_empty());
    let first = stage.sent.iter().filter(|sent| sent.kind == kind::VERIFY).map(|sent| sent.at);
    assert_eq!(first.collect::<BTreeSet<_>>().len(), 1, "all at once");
    stage.answering.push(subject.clone());
    stage.until(stage::ms(stage.now) + 3_000);
    assert_eq!(stage.state(&subject), Some(State::Alive), "it answers again");
    assert!(stage.events().iter().any(|event| matches!(event, Event::Recovered { .. })));
    assert!(stage.sent_of(kind::DEAD).is_empty());
}

/// Opens the case of a silent subject and lets `voters` condemn it; says who the subject is.
fn accuse(stage: &mut Stage, voters: usize) -> String {
    let subject = name_of(stage.node.observing().next().unwrap());
    silence(stage, &subject);
    while stage.sent_of(kind::VERIFY).is_empty() {
        stage.until(stage::ms(stage.now) + 50);
    }
    let round = round_of(stage);
    let asked: BTreeSet<String> = to(kind::VERIFY, stage).into_iter().collect();
    for voter in asked.iter().take(voters) {
        cast(stage, voter, &subject, round, Ballot::Dead);
    }
    // The rest answers, so that nobody is alone and the circle stays as it is.
    for voter in asked.iter().skip(voters) {
        cast(stage, voter, &subject, round, Ballot::Pending);
    }
    subject
}

/// As [`accuse`], and what comes of it.
fn condemn(stage: &mut Stage, voters: usize) -> String {
    let subject = accuse(stage, voters);
    stage.until(stage::ms(stage.now) + 4_000);
    subject
}

/// Rule D-8: four votes and our own announce a death, once, with a proof that names them.
#[test]
fn a_quorum_announces_one_death() {
    let mut stage = settled(20);
    let subject = condemn(&mut stage, 4);
    assert_eq!(stage.state(&subject), Some(State::Dead));
    let dead: BTreeSet<Vec<u8>> =
        stage.sent_of(kind::DEAD).iter().map(|sent| sent.body[..44].to_vec()).collect();
    assert_eq!(dead.len(), 1, "one announcement");
    let hash = &stage.sent_of(kind::DEAD)[0].body[48..56];
    let pull = [&id(&subject).0[..], hash].concat();
    let asker = stage.answering[0].clone();
    stage.tell(&asker, kind::PROOF_PULL, &pull);
    let proof = Proof::decode(&stage.sent_of(kind::PROOF)[0].body).unwrap();
    assert_eq!(proof.finding.subject, id(&subject));
    assert!(proof.voters.len() == 5 && proof.voters.contains(&id("a")));
}

/// Rule D-8: three votes and our own are no quorum of five.
#[test]
fn no_quorum_no_death() {
    let mut stage = settled(20);
    let subject = condemn(&mut stage, 3);
    assert_eq!(stage.state(&subject), Some(State::Suspect));
    assert!(stage.sent_of(kind::DEAD).is_empty());
}

/// Rules D-3 and D-7: whoever is asked looks, observer or not: pending at once, dead after the
/// grace and not before, and a control beside every ping meanwhile.
#[test]
fn a_voter_looks_for_itself() {
    let mut stage = settled(20);
    let near: Vec<String> = stage.node.observing().map(name_of).collect();
    let subject = names(20).into_iter().find(|name| !near.contains(name)).unwrap();
    let leader = stage.answering.iter().find(|name| **name != subject).cloned().unwrap();
    silence(&mut stage, &subject);
    stage.say(&leader, &verify(&subject, 77));
    assert_eq!(ballots(&stage), [(leader.clone(), Ballot::Pending as u8)]);
    let asked = stage::ms(stage.now);
    stage.until(asked + 2_040);
    assert_eq!(ballots(&stage).len(), 1, "within the grace");
    // The first ping contained a handshake perhaps, but it left at once.
    stage.until(asked + 4_200);
    assert_eq!(ballots(&stage)[1], (leader.clone(), Ballot::Dead as u8));
    let controls = to(kind::PING, &stage).iter().filter(|name| **name == leader).count();
    assert!(controls >= 10, "{controls} controls");
    assert!(stage.sent_of(kind::VERIFY).is_empty(), "a voter asks nobody at first");
    stage.until(asked + 9_000);
    assert!(!stage.sent_of(kind::VERIFY).is_empty(), "without an outcome it leads (rule D-8)");

    let mut stage = settled(20);
    stage.say(&leader, &verify(&subject, 78));
    stage.until(stage::ms(stage.now) + 1_000);
    let cast: Vec<u8> = ballots(&stage).into_iter().map(|(_, ballot)| ballot).collect();
    assert_eq!(cast, [Ballot::Pending as u8, Ballot::Alive as u8], "two answers make a vote");
}

/// Rule D-7: who is asked about a member that it holds dead or newer says so.
#[test]
fn a_voter_that_knows_better_tells() {
    let mut stage = settled(20);
    stage.record("c", &record("b", 3));
    stage.sent.clear();
    stage.say("d", &verify("b", 1));
    assert_eq!(to(kind::RECORD, &stage), ["d"]);
    assert!(stage.sent_of(kind::VOTE).is_empty());
    stage.say("d", &verify("a", 1));
    assert_eq!(to(kind::RECORD, &stage), ["d", "d"], "about ourselves: here we are");
}

/// Rule D-8: a death is believed with the votes of a quorum that we know, and no less.
#[test]
fn a_death_needs_a_proof() {
    let enough = ["c", "d", "e", "f", "g"];
    let strangers = ["c", "d", "e", "f", "unknown"];
    let cases = [(&enough[..], true), (&enough[..4], false), (&strangers[..], false)];
    for (names, believed) in cases {
        let mut stage = settled(20);
        let proof = proof_of("b", 0, 5, names);
        let claim = Death { proof: proof.hash.into(), ..death("b", 0, "c") };
        stage.say("h", &claim);
        assert_eq!(stage.state("b"), Some(State::Alive), "not yet");
        assert_eq!(to(kind::PROOF_PULL, &stage), ["h"]);
        stage.tell("h", kind::PROOF, &proof.bytes);
        let expected = if believed { State::Dead } else { State::Alive };
        assert_eq!(stage.state("b"), Some(expected), "{names:?}");
        let failed = stage
            .events()
            .iter()
            .any(|event| matches!(event, Event::Left { reason: LeftReason::Failed, .. }));
        assert_eq!(failed, believed);
    }
    let mut stage = settled(20);
    stage.say("h", &death("b", 0, "c"));
    assert_eq!(stage.state("b"), Some(State::Alive), "without a proof");
    assert_eq!(stage.node.stats().tests, 1, "a reason to look, and no more");
    stage.say("h", &doubt("c", 0, "h"));
    assert_eq!(stage.state("c"), Some(State::Alive), "another detector's doubt");
    assert_eq!(stage.node.stats().tests, 2);
}

/// Rule D-9: when nobody answers about it either, the subject is unreachable, here alone; its
/// answer takes every such mark back.
#[test]
fn alone_with_a_finding_is_a_mark_and_no_verdict() {
    let mut stage = settled(20);
    let subjects: Vec<String> = stage.node.observing().map(name_of).collect();
    for subject in &subjects[..2] {
        silence(&mut stage, subject);
    }
    stage.until(150_000);
    let marked =
        stage.events().iter().filter(|event| matches!(event, Event::Unreachable(_))).count();
    assert_eq!(marked, 2);
    for subject in &subjects[..2] {
        assert_eq!(stage.state(subject), Some(State::Suspect));
    }
    assert!(stage.sent_of(kind::DEAD).is_empty(), "never gossiped");
    stage.answering.push(subjects[0].clone());
    stage.until(162_000);
    assert_eq!(stage.state(&subjects[0]), Some(State::Alive));
    assert_eq!(stage.node.stats().unreachable, 2);
}

/// Rule D-10: one requester has so many tests begun, at a rate.
#[test]
fn a_requester_cannot_have_everybody_tested() {
    let mut stage = settled(25);
    for name in names(25).iter().filter(|name| *name != "c") {
        silence(&mut stage, name);
        stage.say("c", &verify(name, 1));
    }
    let stats = stage.node.stats();
    assert_eq!(stats.tests, 16);
    assert_eq!(stats.tests_refused, 8);
}

/// Rule D-10: what our own pause made of others is no evidence.
#[test]
fn a_pause_of_ours_condemns_nobody() {
    let mut stage = settled(20);
    let subject = name_of(stage.node.observing().next().unwrap());
    silence(&mut stage, &subject);
    while stage.node.stats().tests == 0 {
        stage.until(stage::ms(stage.now) + 10);
    }
    let late = stage.now + Duration::from_secs(30);
    stage.now = late;
    stage.node.handle_timeout(late);
    stage.drain();
    assert_eq!(stage.node.stats().stalls, 1);
    assert_eq!(stage.state(&subject), Some(State::Alive));
}

/// Rule D-11: a hint makes an observer look; somebody else is not impressed.
#[test]
fn a_hint_is_for_observers() {
    let mut stage = settled(20);
    let near: Vec<String> = stage.node.observing().map(name_of).collect();
    let far = names(20).into_iter().find(|name| !near.contains(name)).unwrap();
    stage.say("c", &Hint { subject: id(&far).0 });
    assert_eq!(stage.node.stats().tests, 0);
    stage.say("c", &Hint { subject: id(&near[0]).0 });
    assert_eq!(stage.node.stats().tests, 1);
}

/// Rule D-11: a random member that does not answer is pointed out to two of its observers.
#[test]
fn a_failed_look_hints_at_two_observers() {
    let mut stage = settled(25);
    let near: BTreeSet<String> = stage
        .node
        .observing()
        .chain(stage.node.observed_by().iter().copied())
        .map(name_of)
        .collect();
    for far in names(25).iter().filter(|name| !near.contains(*name)) {
        silence(&mut stage, far);
    }
    stage.until(200_000);
    let hinted = to(kind::HINT, &stage);
    assert!(!hinted.is_empty() && hinted.len().is_multiple_of(2), "{hinted:?}");
}

/// Rule G-4: news goes to ring neighbours and acquaintances, never to a stranger.
#[test]
fn gossip_stays_among_warm_peers() {
    let mut stage = knowing(config(), 25);
    stage.until(120_000);
    let ring = stage.node.observing().chain(stage.node.observed_by().iter().copied());
    let mut warm: BTreeSet<String> = ring.map(name_of).collect();
    // Whoever was looked at answered, and became an acquaintance.
    warm.extend(to(kind::PING, &stage));
    stage.sent.clear();
    stage.record("b", &record("b", 1));
    stage.until(123_000);
    let told: BTreeSet<String> = to(kind::UPDATE, &stage).into_iter().collect();
    assert!(told.len() >= 8, "{told:?}");
    assert!(told.is_subset(&warm), "{told:?} of {warm:?}");
}
