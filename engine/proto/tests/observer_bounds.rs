//! What the detector `observers` does at its limits: cut off, flooded, lied to.

mod stage;

use std::collections::{BTreeMap, BTreeSet};

use mesh_gossip_proto::detector::proof::Proof;
use mesh_gossip_proto::detector::test::Ballot;
use mesh_gossip_proto::membership::record::RecordHash;
use mesh_gossip_proto::wire::message::{Death, Hint, Update, kind};
use mesh_gossip_proto::{Extent, State};
use stage::observers::{
    asked_about, cast, names, receiver, settled, silence, subjects, to, verify, vote, voting,
};
use stage::{Stage, death, id, incarnation, proof_of};

/// Lets `span` milliseconds pass; returns how often the node woke up.
fn wake_ups(stage: &mut Stage, span: u64) -> usize {
    let before = stage.woken;
    stage.until(stage::ms(stage.now) + span);
    stage.woken - before
}

/// Rule D-8: others reach whom we do not reach, and said so; asking them again at once would bring
/// the same answer. One case in three seconds and the questions in between.
#[test]
fn an_acquitted_case_stays_closed_for_a_while() {
    let mut stage = settled(20);
    let subject = subjects(&stage)[0].clone();
    silence(&mut stage, &subject);
    voting(&mut stage, 40_000, |_, _| Some(Ballot::Alive));
    let cases = stage.node.stats().cases;
    assert!((8..=13).contains(&cases), "{cases} cases in 40 s");
}

/// Rule D-8: a life that follows an acquittal is another matter, and so is a death.
#[test]
fn an_acquittal_protects_one_life_and_only_from_us() {
    let mut stage = settled(20);
    let subject = subjects(&stage)[0].clone();
    silence(&mut stage, &subject);
    voting(&mut stage, 12_000, |_, _| Some(Ballot::Alive));
    let cases = stage.node.stats().cases;
    stage.record(&subject, &stage::record(&subject, 1));
    voting(&mut stage, 12_000, |_, _| None);
    assert!(stage.node.stats().cases > cases);
}

/// Rule D-7: a member that asks to be tested has answered already.
#[test]
fn nobody_is_tested_at_its_own_request() {
    let mut stage = settled(20);
    silence(&mut stage, "c");
    stage.say("c", &verify("c", 1));
    assert_eq!(stage.node.stats().tests, 0);
    assert_eq!(stage.node.stats().rejected.get("verify"), Some(&1));
    assert!(stage.sent_of(kind::VOTE).is_empty());
}

/// Rules D-6 and D-9: whoever is cut off from everybody waits, it does not spin.
#[test]
fn whoever_is_cut_off_wakes_up_seldom() {
    let mut stage = settled(20);
    stage.answering.clear();
    let woken = wake_ups(&mut stage, 10_000);
    assert!(stage.node.stats().cases >= 6, "most subjects are doubted");
    assert!(woken <= 2_000, "{woken} times in 10 s");
}

/// Rule D-6: with two cases wholly unanswered a node asks about no others, and waits meanwhile.
#[test]
fn two_unanswered_cases_ask_no_others() {
    let mut stage = settled(20);
    let subjects = subjects(&stage);
    subjects.iter().take(2).for_each(|subject| silence(&mut stage, subject));
    let unanswered = |_: &str, _: &str| None;
    while stage.node.stats().cases < 2 {
        voting(&mut stage, 100, unanswered);
    }
    voting(&mut stage, 1_600, unanswered);
    subjects.iter().skip(2).for_each(|subject| silence(&mut stage, subject));
    let woken = stage.woken;
    // Until the first of the two is given up as unreachable.
    while stage.node.stats().unreachable == 0 {
        voting(&mut stage, 50, unanswered);
    }
    let woken = stage.woken - woken;
    assert!(stage.node.stats().cases >= 3, "{}", stage.node.stats().cases);
    let asked = stage.sent_of(kind::VERIFY);
    let about: BTreeSet<String> = asked.into_iter().map(|sent| asked_about(sent).0).collect();
    assert_eq!(about, subjects[..2].iter().cloned().collect());
    assert!(woken <= 2_000, "{woken} times");
}

/// Rule D-10: fifty VERIFYs a second, whatever happens; whoever has to wait for its turn does not
/// spin.
#[test]
fn a_node_asks_fifty_times_a_second() {
    let mut stage = settled(25);
    let subjects = subjects(&stage);
    subjects.iter().for_each(|subject| silence(&mut stage, subject));
    // One voter of a case answers, so that it is not unanswered and its circle widens.
    let mut first = BTreeMap::new();
    let woken = stage.woken;
    voting(&mut stage, 12_000, |voter, subject| {
        let chosen = first.entry(subject.to_string()).or_insert_with(|| voter.to_string());
        (chosen == voter).then_some(Ballot::Pending)
    });
    let sent = stage.sent_of(kind::VERIFY);
    let began = stage::ms(sent[0].at);
    let seconds = (stage::ms(stage.now) - began) / 1_000;
    for second in 1..=seconds {
        let until = stage::at(began + second * 1_000);
        let count = sent.iter().filter(|sent| sent.at <= until).count() as u64;
        assert!(count <= 50 * (second + 1), "{count} in {second} s");
    }
    assert!(sent.len() as u64 >= 40 * seconds, "the bound was felt: {}", sent.len());
    let woken = stage.woken - woken;
    assert!(woken <= 3_600, "{woken} times in 12 s");
}

/// Rule D-8: a proof names a quorum, however many have voted, and so fits a datagram.
#[test]
fn a_proof_holds_a_quorum_and_no_more() {
    let mut stage = settled(25);
    let subject = subjects(&stage)[0].clone();
    silence(&mut stage, &subject);
    let mut voters = BTreeSet::new();
    voting(&mut stage, 14_000, |voter, _| {
        voters.insert(voter.to_string());
        Some(Ballot::Dead)
    });
    assert!(voters.len() >= 7, "more than a quorum voted: {voters:?}");
    let claim = stage.sent_of(kind::DEAD)[0].body.clone();
    let pull = [&id(&subject).0[..], &claim[48..56]].concat();
    stage.tell("c", kind::PROOF_PULL, &pull);
    let proof = Proof::decode(&stage.sent_of(kind::PROOF)[0].body).unwrap();
    assert_eq!(proof.voters.len(), 5);
    assert!(proof.voters.contains(&id("a")));
}

/// Three members that the node does not observe, silent towards it from now on.
fn liars(stage: &mut Stage) -> Vec<String> {
    let subjects = subjects(stage);
    let liars: Vec<String> =
        names(25).into_iter().filter(|name| !subjects.contains(name)).take(3).collect();
    liars.iter().for_each(|liar| silence(stage, liar));
    liars
}

/// Rules D-4 and D-7: three liars that have each other tested, and keep silent meanwhile, do not
/// make a node believe that its own link is bad; a crash elsewhere is decided as ever.
#[test]
fn three_liars_do_not_block() {
    let mut stage = settled(25);
    let liars = liars(&mut stage);
    for round in 0..120 {
        for liar in &liars {
            for other in liars.iter().filter(|other| *other != liar) {
                stage.say(liar, &verify(other, round));
            }
        }
        stage.until(stage::ms(stage.now) + 2_000);
        assert!(stage.node.stats().baseline_permille >= 800, "{:?}", stage.node.stats());
    }
    let controls = stage.node.stats().tests;
    assert!(controls >= 20, "they had their tests: {controls}");
    let subject = subjects(&stage)[0].clone();
    silence(&mut stage, &subject);
    let died = stage::ms(stage.now);
    while stage.state(&subject) != Some(State::Dead) {
        assert!(
            stage::ms(stage.now) < died + 14_000,
            "within a period and the grace, and a little"
        );
        for liar in &liars {
            stage.say(liar, &verify(&subject, 7));
        }
        voting(&mut stage, 1_000, |voter, _| match liars.iter().any(|liar| liar == voter) {
            true => Some(Ballot::Alive),
            false => Some(Ballot::Dead),
        });
    }
}

/// Rule D-7: the control is whom we heard last, and never the subject or somebody under test; of
/// those whoever has left one unanswered stands back.
#[test]
fn controls_are_peers_that_live() {
    let mut stage = settled(25);
    let liars = liars(&mut stage);
    stage.say(&liars[0], &verify(&liars[1], 1));
    stage.say(&liars[0], &verify(&liars[2], 1));
    let before = stage.sent.len();
    for _ in 0..30 {
        // The requester talks all the time.
        stage.say(&liars[0], &verify(&liars[1], 1));
        stage.until(stage::ms(stage.now) + 100);
    }
    let pings = stage.sent[before..].iter().filter(|sent| sent.kind == kind::PING);
    let pinged: Vec<String> = pings.filter_map(receiver).collect();
    let times = |name: &String| pinged.iter().filter(|pinged| *pinged == name).count();
    assert!(times(&liars[1]) >= 10 && times(&liars[2]) >= 10);
    assert!((1..=2).contains(&times(&liars[0])), "one a test: {pinged:?}");
    assert!(pinged.len() >= 40, "and yet there are controls: {pinged:?}");
}

/// Rules D-8 and B-1: whoever makes up thousands of deaths does not keep a true one, told by
/// another, from being proven; and we do not ask it for thousands of proofs.
#[test]
fn a_flood_of_deaths_leaves_room_for_a_true_one() {
    let mut stage = settled(25);
    for proof in 1..=4_096u64 {
        stage.say("c", &Death { proof: proof.into(), ..death("b", 0, "d") });
    }
    assert!(to(kind::PROOF_PULL, &stage).len() <= 256);
    assert_eq!(stage.node.stats().tests, 8, "what cannot wait is looked into");
    let voters = ["f", "g", "h", "i", "j"];
    let proof = proof_of("e", 0, 5, &voters);
    stage.say("k", &Death { proof: proof.hash.into(), ..death("e", 0, "f") });
    assert_eq!(to(kind::PROOF_PULL, &stage).last().map(String::as_str), Some("k"));
    stage.tell("k", kind::PROOF, &proof.bytes);
    assert_eq!(stage.state("e"), Some(State::Dead));
}

/// Rule D-8: a made-up death that names another's proof stands in nobody's way.
#[test]
fn a_proof_belongs_to_its_subject() {
    let mut stage = settled(25);
    let voters = ["f", "g", "h", "i", "j"];
    let proof = proof_of("e", 0, 5, &voters);
    stage.say("c", &Death { proof: proof.hash.into(), ..death("b", 0, "f") });
    stage.say("k", &Death { proof: proof.hash.into(), ..death("e", 0, "f") });
    stage.tell("k", kind::PROOF, &proof.bytes);
    assert_eq!(stage.state("e"), Some(State::Dead));
    assert_eq!(stage.state("b"), Some(State::Alive));
}

/// Rules D-15 and D-10: what one member says begins eight tests at once and then one a second, so
/// that another is heard as well.
#[test]
fn hearsay_of_one_leaves_room_for_another() {
    let mut stage = settled(25);
    let said: Vec<String> = names(25).into_iter().filter(|name| name != "c").collect();
    for _ in 0..20 {
        for name in &said[..23] {
            stage.say("c", &death(name, 0, "c"));
        }
        stage.until(stage::ms(stage.now) + 100);
    }
    let tests = stage.node.stats().tests;
    assert!((8..=10).contains(&tests), "{tests} in 2 s");
    stage.say("d", &death(&said[23], 0, "d"));
    assert_eq!(stage.node.stats().tests, tests + 1);
}

/// Rules R-5 and B-1: whoever hints at thousands of records does not keep another from being asked.
#[test]
fn a_flood_of_hints_leaves_room_for_others() {
    let mut stage = settled(25);
    stage.node.handle_stream_closed(id("b"), Extent::Whole, true);
    let hint = |name: &str| Update::new(id(name), incarnation(0), State::Alive, RecordHash(9));
    for n in 0..2_000 {
        stage.say("c", &hint(&format!("unknown {n}")));
    }
    let asked = to(kind::RECORD_PULL, &stage);
    assert_eq!(asked.len(), 256, "a share");
    stage.say("d", &hint("somebody"));
    assert_eq!(to(kind::RECORD_PULL, &stage).last().map(String::as_str), Some("d"));
}

/// A node that missed a death whose proof everybody has forgotten asks about the silent subject, and
/// `telling` of those asked say that it is dead, as does a stranger to the case; with `signed` as
/// who holds it dead does, by a vote beside that. Returns the state of the subject.
fn missed_a_death(telling: usize, signed: bool) -> Option<State> {
    let mut stage = settled(25);
    let subject = subjects(&stage)[0].clone();
    silence(&mut stage, &subject);
    while stage.sent_of(kind::VERIFY).is_empty() {
        stage.until(stage::ms(stage.now) + 50);
    }
    let asked: BTreeSet<String> = to(kind::VERIFY, &stage).into_iter().collect();
    let told = Death { age_ms: 3_600_000.into(), ..death(&subject, 0, &subject) };
    let names = names(25);
    let mut strangers = names.iter().filter(|name| !asked.contains(*name) && **name != subject);
    let stranger = strangers.next().unwrap().clone();
    let (_, round) = asked_about(stage.sent_of(kind::VERIFY)[0]);
    for voter in asked.iter().take(telling).chain([&stranger]) {
        if signed {
            cast(&mut stage, voter, &subject, round, Ballot::Dead);
        }
        stage.say(voter, &told);
    }
    // The others are looking, so that the circle stays as it is.
    let telling: BTreeSet<&String> = asked.iter().take(telling).collect();
    voting(&mut stage, 5_000, |voter, _| {
        (!telling.contains(&voter.to_string())).then_some(Ballot::Pending)
    });
    stage.state(&subject)
}

/// Rules D-8 and S-13: whoever holds the subject dead votes, with a proof or without; its word
/// alone is no ballot.
#[test]
fn a_forgotten_proof_does_not_hide_a_death() {
    assert_eq!(missed_a_death(4, true), Some(State::Dead), "with our own finding a quorum");
    assert_eq!(missed_a_death(3, true), Some(State::Suspect), "a stranger to the case has no vote");
    assert_eq!(missed_a_death(7, false), Some(State::Suspect), "nobody signed it");
}

/// Rules D-6 and D-9: whoever hears somebody again, or gets an answer, asks at once what it had to
/// keep to itself.
#[test]
fn what_was_held_back_is_asked_at_once() {
    let mut stage = settled(20);
    stage.answering.clear();
    while stage.node.stats().cases < 3 {
        stage.until(stage::ms(stage.now) + 50);
    }
    // All of them have been told to wait, at different moments.
    stage.until(stage::ms(stage.now) + 2_130);
    stage.sent.clear();
    stage.say("b", &Hint { subject: id("c").0 });
    stage.until(stage::ms(stage.now) + 1);
    let asked = |stage: &Stage| -> BTreeSet<String> {
        stage.sent_of(kind::VERIFY).into_iter().map(|sent| asked_about(sent).0).collect()
    };
    assert!(asked(&stage).len() >= 3, "{:?}", asked(&stage));

    let mut stage = settled(20);
    let subjects = subjects(&stage);
    subjects.iter().take(2).for_each(|subject| silence(&mut stage, subject));
    while stage.node.stats().cases < 2 {
        voting(&mut stage, 100, |_, _| None);
    }
    voting(&mut stage, 1_600, |_, _| None);
    subjects.iter().skip(2).for_each(|subject| silence(&mut stage, subject));
    while stage.node.stats().cases < 3 {
        voting(&mut stage, 50, |_, _| None);
    }
    assert_eq!(asked(&stage).len(), 2);
    let question = stage.sent_of(kind::VERIFY)[0].clone();
    let (subject, round) = asked_about(&question);
    let answer = vote(&subject, round, Ballot::Pending);
    stage.say(&receiver(&question).unwrap(), &answer);
    stage.until(stage::ms(stage.now) + 1);
    assert_eq!(asked(&stage).len(), 3);
}
