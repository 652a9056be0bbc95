//! Deaths that are old, or told without a proof (rules D-12 and D-15).

use std::collections::BTreeSet;

use mesh_gossip_proto::wire::message::{Death, kind};
use mesh_gossip_proto::{Destination, MemberId, State};

use crate::stage::{Sent, Stage, death, entry, id, ms, proof_of, record};
use crate::{config, names, settled, to};

/// Rule D-15: an old death evicts nobody: the dead is asked, and we look.
#[test]
fn an_old_death_is_a_question() {
    let voters = ["c", "d", "e", "f", "g"];
    let proof = proof_of("b", 0, 5, &voters);
    let claim = Death { proof: proof.hash.into(), age_ms: 15_000.into(), ..death("b", 0, "c") };
    let mut stage = settled(20);
    stage.say("h", &claim);
    assert!(stage.sent_of(kind::PROOF_PULL).is_empty());
    assert_eq!(to(kind::NOTICE, &stage), ["b"]);
    assert_eq!(stage.node.stats().tests, 1);
    stage.until(124_000);
    assert_eq!(stage.state("b"), Some(State::Alive), "it answered");

    let mut young = settled(20);
    young.say("h", &Death { age_ms: 14_000.into(), ..claim });
    young.tell("h", kind::PROOF, &proof.bytes);
    assert_eq!(young.state("b"), Some(State::Dead));

    let mut merging = settled(20);
    let states = names(12);
    let dead: Vec<u8> =
        states.iter().flat_map(|name| entry(State::Dead, &record(name, 0))).collect();
    merging.node.handle_sync(merging.now, id("z"), &dead);
    merging.drain();
    assert_eq!(merging.node.stats().tests, 8, "so many a reconciliation");
}

/// A node that knows `b` and a thousand others, and the state of one to whom all of those have
/// been dead for `age_ms`.
fn a_thousand_dead(age_ms: u32) -> (Stage, Vec<u8>) {
    let others: Vec<String> = (0..1_000).map(|n| format!("m{n}")).collect();
    let known: Vec<&str> = others.iter().map(String::as_str).chain(["b", "c", "d", "e"]).collect();
    let mut stage = Stage::knowing(config(), &known);
    stage.until(60_000);
    stage.sent.clear();
    let dead = others.iter().flat_map(|name| {
        let mut bytes = entry(State::Dead, &record(name, 0));
        bytes[4..8].copy_from_slice(&age_ms.to_le_bytes());
        bytes
    });
    let state = dead.collect();
    (stage, state)
}

fn subjects(sent: &[&Sent]) -> BTreeSet<Vec<u8>> {
    sent.iter().map(|sent| sent.body[..16].to_vec()).collect()
}

/// Rules D-12 and D-15: at most eight old deaths of a state become a NOTICE and a test; where
/// nobody says who announced them, the dead stand for it.
#[test]
fn old_deaths_of_a_state_are_told_to_a_few() {
    let (mut stage, state) = a_thousand_dead(15_000);
    stage.node.handle_sync(stage.now, id("b"), &state);
    stage.drain();
    let told = stage.sent_of(kind::NOTICE);
    assert_eq!(told.len(), 8);
    for notice in &told {
        let dead = MemberId(notice.body[12..28].try_into().unwrap());
        assert_eq!(notice.to, Destination::Member(dead));
    }
    assert!(stage.sent_of(kind::PROOF_PULL).is_empty());
    assert_eq!(stage.node.stats().tests, 8);

    let (mut stage, _) = a_thousand_dead(0);
    for n in 0..1_000 {
        let name = format!("m{n}");
        stage.say("b", &Death { age_ms: 15_000.into(), ..death(&name, 0, "z") });
    }
    let told = stage.sent_of(kind::NOTICE);
    assert_eq!(told.len(), 8);
    assert!(told.iter().all(|notice| notice.body[12..28] == id("z").0), "whom the message names");
}

/// Rule D-15: fresh deaths of a state are asked for within the same budget; what does not fit is
/// reached by the next reconciliation.
#[test]
fn fresh_deaths_of_a_state_are_asked_for_by_and_by() {
    let (mut stage, state) = a_thousand_dead(1_000);
    stage.answering.clear();
    let mut asked = BTreeSet::new();
    // One member's word alone may begin one look a second after the first eight (rule D-10).
    for (round, teller) in (1..).zip(["b", "c", "d", "e"]) {
        stage.sent.clear();
        stage.node.handle_sync(stage.now, id(teller), &state);
        stage.drain();
        let pulls = stage.sent_of(kind::PROOF_PULL);
        asked.extend(subjects(&pulls));
        assert!(asked.len() >= 8 * round, "others than before");
        // None of that was answered: those that a test confirms by now are asked for again, and so
        // are the eight whom we observe.
        assert!(pulls.len() <= 8 * round + 8, "{} at once", pulls.len());
        stage.until(ms(stage.now) + 1_000);
    }
    assert!(stage.sent_of(kind::NOTICE).is_empty());
}

/// Rule D-14: whom we hold dead and another's state shows alive gets a NOTICE, within the budget:
/// nobody who holds it dead may be near enough to have told it.
#[test]
fn whom_others_hold_alive_is_reminded() {
    let mut stage = settled(20);
    let voters = ["c", "d", "e", "f", "g"];
    let proof = proof_of("b", 0, 5, &voters);
    stage.say("h", &Death { proof: proof.hash.into(), ..death("b", 0, "c") });
    stage.tell("h", kind::PROOF, &proof.bytes);
    assert_eq!(stage.state("b"), Some(State::Dead));
    stage.sent.clear();
    let alive = [entry(State::Alive, &record("b", 0)), entry(State::Alive, &record("c", 0))];
    for _ in 0..20 {
        stage.node.handle_sync(stage.now, id("h"), &alive.concat());
    }
    stage.drain();
    let told = stage.sent_of(kind::NOTICE);
    assert_eq!(to(kind::NOTICE, &stage), ["b"; 8]);
    assert!(told.iter().all(|notice| notice.body[12..28] == id("c").0), "who announced it");
}
