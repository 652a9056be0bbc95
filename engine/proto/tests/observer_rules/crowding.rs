//! A host that cannot keep up with handshakes (rule D-10).

use mesh_gossip_proto::State;
use mesh_gossip_proto::wire::message::kind;

use super::stage::observers::{asked_about, settled, silence, subjects, to, verify};
use super::stage::{Stage, ms, record};

/// Members with whom there is a session, and others that are told of by one of them.
const KNOWN: u8 = 12;
const ALL: u8 = 24;

/// The second kind says nothing to anybody; returns whom of it the node observes.
fn with_strangers() -> (Stage, Vec<String>) {
    let mut stage = settled(KNOWN);
    let strangers = super::names(ALL).split_off(usize::from(KNOWN));
    for stranger in &strangers {
        stage.record("b", &record(stranger, 0));
    }
    let soon = ms(stage.now) + 1_000;
    crowded(&mut stage, soon);
    let observed = subjects(&stage).into_iter().filter(|id| strangers.contains(id)).collect();
    (stage, observed)
}

/// Time passes while handshakes are turned away again and again.
fn crowded(stage: &mut Stage, until: u64) {
    while ms(stage.now) < until {
        stage.node.handle_crowd(stage.now);
        stage.until((ms(stage.now) + 500).min(until));
    }
}

/// Whom we have not heard of late is silent since we answer no handshakes: that begins no test, and
/// we have no vote, so that whoever asks turns to others. As soon as we keep up it counts as ever.
#[test]
fn who_turns_handshakes_away_condemns_nobody_for_the_lack_of_one() {
    let (mut stage, observed) = with_strangers();
    assert!(!observed.is_empty());
    let begun = ms(stage.now);
    stage.sent.clear();
    stage.say("b", &verify(&observed[0], 1));
    crowded(&mut stage, begun + 50_000);
    let stats = stage.node.stats();
    assert_eq!((stats.tests, stats.suspicions, stats.cases), (0, 0, 0), "{observed:?}");
    assert!(to(kind::VERIFY, &stage).is_empty() && to(kind::VOTE, &stage).is_empty());
    let pinged = to(kind::PING, &stage);
    assert!(observed.iter().all(|stranger| pinged.contains(stranger)), "it looks all the same");

    stage.until(begun + 65_000);
    for stranger in &observed {
        assert_eq!(stage.state(stranger), Some(State::Suspect), "{stranger}");
    }
}

/// A test that has begun ends with its case when a crowd comes.
#[test]
fn a_crowd_ends_what_was_held_against_those_it_keeps_out() {
    let (mut stage, observed) = with_strangers();
    let begun = ms(stage.now);
    stage.until(begun + 12_000);
    assert!(stage.node.stats().cases > 0);
    crowded(&mut stage, begun + 13_000);
    stage.sent.clear();
    crowded(&mut stage, begun + 30_000);
    let asked = stage.sent_of(kind::VERIFY).into_iter().map(|sent| asked_about(sent).0);
    assert_eq!(asked.filter(|subject| observed.contains(subject)).count(), 0);
}

/// One that comes and goes is the same crowd: no test would have the time that it needs in between.
#[test]
fn a_crowd_that_comes_and_goes_excuses_nobody_for_ever() {
    let (mut stage, observed) = with_strangers();
    let begun = ms(stage.now);
    for turn in 0..30 {
        stage.node.handle_crowd(stage.now);
        stage.until(begun + (turn + 1) * 3_000);
    }
    assert!(!observed.is_empty());
    for stranger in &observed {
        assert_eq!(stage.state(stranger), Some(State::Suspect), "{stranger}");
    }
}

/// Strangers can make a crowd for as long as they like: it excuses silence for a minute.
#[test]
fn a_crowd_excuses_nobody_for_ever() {
    let (mut stage, observed) = with_strangers();
    let begun = ms(stage.now);
    crowded(&mut stage, begun + 75_000);
    for stranger in &observed {
        assert_eq!(stage.state(stranger), Some(State::Suspect), "{stranger}");
    }
}

/// A session needs no handshake: its silence counts, however many are turned away.
#[test]
fn a_session_that_falls_silent_is_looked_into_beside_a_crowd() {
    let (mut stage, observed) = with_strangers();
    let known = subjects(&stage).into_iter().find(|id| !observed.contains(id)).unwrap();
    silence(&mut stage, &known);
    let begun = ms(stage.now);
    crowded(&mut stage, begun + 10_000);
    assert_eq!(stage.state(&known), Some(State::Suspect));
    assert!(to(kind::VERIFY, &stage).len() >= 2);
}
