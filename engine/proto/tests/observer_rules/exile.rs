//! Being held dead while alive (rules D-12 and D-13).

use mesh_gossip_proto::detector::proof::Proof;
use mesh_gossip_proto::wire::message::{Ack, Death, Notice, Ping, kind};
use mesh_gossip_proto::{
    Command, CommandError, Destination, Event, Incarnation, Lifecycle, MemberId, Metadata, State,
};
use zerocopy::FromBytes;

use crate::stage::{self, Stage, address, death, doubt, entry, id, incarnation, proof_of, signed};
use crate::{
    accuse, ballots, condemn, config, knowing, names, round_of, settled, silence, to, verify,
};

/// A proof of our own death.
fn proof(counter: u32, voters: &[&str]) -> Proof {
    proof_of("a", counter, 5, voters)
}

fn notice(announcer: &str) -> Notice {
    Notice { incarnation: incarnation(0).into(), announcer: id(announcer).0 }
}

fn own(stage: &Stage) -> u32 {
    stage.node.local().record().incarnation.counter
}

/// Whether the node holds back: asked about `z`, an exile says nothing.
fn is_exiled(stage: &mut Stage) -> bool {
    stage.sent.clear();
    stage.say("k", &verify("j", 1));
    ballots(stage).is_empty()
}

/// "c" says so, and hands over a proof of five.
fn buried_by(stage: &mut Stage, announcer: &str) {
    stage.say("c", &notice(announcer));
    stage.tell("c", kind::PROOF, &proof(0, &["b", "c", "d", "e", "f"]).bytes);
}

/// Rules D-12 and D-13: whatever one member says of our death, and however often, it gets our
/// record and is asked for a proof, once a second each. We go on as before.
#[test]
fn one_word_sends_nobody_into_exile() {
    let forged = proof(0, &["c", "x1", "x2", "x3", "x4", "a"]);
    let words: [&dyn Fn(&mut Stage); 5] = [
        &|stage| stage.say("c", &notice("d")),
        &|stage| stage.say("c", &death("a", 0, "d")),
        &|stage| stage.say("c", &Death { proof: 77.into(), ..death("a", 0, "d") }),
        &|stage| {
            let ours = stage.node.local().clone();
            stage.node.handle_sync(stage.now, id("c"), &entry(State::Dead, &ours));
            stage.drain();
        },
        &|stage| stage.tell("c", kind::PROOF, &forged.bytes),
    ];
    for (kind_of_word, word) in words.iter().enumerate() {
        let mut stage = settled(20);
        for round in 0..50 {
            stage.until(120_000 + round * 100);
            word(&mut stage);
        }
        let told = [kind::RECORD, kind::PROOF_PULL].map(|kind| to(kind, &stage));
        for to in &told {
            assert!(to.len() <= 5 && to.iter().all(|name| name == "c"), "{kind_of_word}: {told:?}");
        }
        assert_eq!(told[0].is_empty(), kind_of_word == 4, "{kind_of_word}: our record");
        assert_eq!(told[1].is_empty(), kind_of_word % 3 == 1, "{kind_of_word}: a question");
        assert_eq!((own(&stage), stage.node.stats().refutations), (0, 0));
        assert!(!is_exiled(&mut stage), "{kind_of_word}");
    }
}

/// Rule D-13: nor does it take back what we found about others, on its way or open.
#[test]
fn one_word_takes_no_verdict_back() {
    let mut stage = settled(20);
    let subject = accuse(&mut stage, 4);
    while stage.state(&subject) != Some(State::Dead) {
        stage.until(stage::ms(stage.now) + 20);
    }
    let liar = stage.answering[0].clone();
    stage.sent.clear();
    stage.say(&liar, &notice(&liar));
    stage.until(stage::ms(stage.now) + 1_000);
    assert!(!stage.sent_of(kind::DEAD).is_empty(), "the death of {subject} is told");

    let mut stage = settled(20);
    accuse(&mut stage, 3);
    let (round, liar) = (round_of(&stage), stage.answering[0].clone());
    stage.sent.clear();
    stage.say(&liar, &notice(&liar));
    stage.until(stage::ms(stage.now) + 3_000);
    assert_eq!(round_of(&stage), round, "the case goes on");
}

/// Rules D-8 and D-13: a proof that a quorum of members known to us signed, whatever we hold of
/// them; one of another life, with strangers or with too few says nothing.
#[test]
fn a_proof_of_our_own_death_is_believed() {
    let five = ["b", "c", "d", "e", "f"];
    let cases = [
        (proof(0, &five), true),
        (proof(0, &five[..4]), false),
        (proof(0, &["b", "c", "d", "e", "stranger"]), false),
        (proof(0, &["b", "c", "d", "e", "a"]), false),
        (proof(1, &five), false),
    ];
    for (proof, believed) in cases {
        let mut stage = settled(20);
        stage.tell("h", kind::PROOF, &proof.bytes);
        assert_eq!(is_exiled(&mut stage), believed, "{:?}", proof.voters);
    }
    // Two of the voters are dead to us.
    let mut stage = settled(20);
    for dead in ["b", "c"] {
        let voters = ["m", "n", "o", "p", "q"];
        let proof = proof_of(dead, 0, 6, &voters);
        stage.say("h", &Death { proof: proof.hash.into(), ..death(dead, 0, "m") });
        stage.tell("h", kind::PROOF, &proof.bytes);
        assert_eq!(stage.state(dead), Some(State::Dead));
    }
    stage.tell("h", kind::PROOF, &proof(0, &five).bytes);
    assert_eq!(own(&stage), 1, "with two of twenty lost within the minute: back at once");
}

/// Rule D-13: too few to convince us, and still they hold us dead: they get a new incarnation.
#[test]
fn a_word_that_is_repeated_for_long_is_given_in_to() {
    let mut stage = settled(20);
    for second in 0..30 {
        stage.until(120_000 + second * 1_000);
        stage.say("d", &death("a", 0, "d"));
        assert_eq!(own(&stage), 0, "after {second} s");
    }
    stage.until(150_000);
    stage.say("stranger", &death("a", 0, "d"));
    assert_eq!(own(&stage), 0, "whom we do not know");
    stage.say("d", &death("a", 0, "d"));
    assert_eq!((own(&stage), is_exiled(&mut stage)), (1, false));
    for second in 31..89 {
        stage.until(120_000 + second * 1_000);
        stage.say("d", &death("a", 1, "d"));
    }
    assert_eq!(own(&stage), 1, "once a minute");
}

/// Rule D-13 (b): the turn of a subject under test counts, too. Whoever is deaf now and then tests
/// all its subjects at such times, and would else show thirty pings of its better times alone.
#[test]
fn the_turns_of_those_under_test_count() {
    let mut stage = settled(20);
    stage.fares = (0.9 * f64::from(u16::MAX)) as u16;
    stage.tell("h", kind::PROOF, &proof(0, &["b", "c", "d", "e", "f"]).bytes);
    assert!(is_exiled(&mut stage));
    stage.until(140_000);
    let all = std::mem::take(&mut stage.answering);
    stage.until(160_000);
    stage.answering = all;
    stage.until(172_000);
    assert_eq!(own(&stage), 0, "20 s well, 20 s deaf, 12 s well");
    stage.until(200_000);
    assert_eq!(own(&stage), 1, "thirty pings came back");
}

/// Rule D-13: nobody gives in whose own pings get lost: it is the one that is ill.
#[test]
fn the_ill_do_not_give_in() {
    let mut stage = settled(20);
    stage.answering.truncate(10);
    for second in 0..60 {
        stage.until(120_000 + second * 1_000);
        stage.say("d", &death("a", 0, "d"));
    }
    assert_eq!((own(&stage), stage.node.stats().refutations), (0, 0));
}

/// Rule D-8: whoever is back judged us from the other side, and its old votes say nothing.
#[test]
fn votes_of_those_who_are_just_back_do_not_count() {
    for (later, believed) in [(14_999, false), (15_000, true)] {
        let mut stage = settled(20);
        let death_of_c = proof_of("c", 0, 6, &["m", "n", "o", "p", "q"]);
        stage.say("h", &Death { proof: death_of_c.hash.into(), ..death("c", 0, "m") });
        stage.tell("h", kind::PROOF, &death_of_c.bytes);
        assert_eq!(stage.state("c"), Some(State::Dead));
        stage.record("c", &signed("c", incarnation(1), Lifecycle::Active, "r"));
        stage.until(120_000 + later);
        let death_of_b = proof_of("b", 0, 7, &["c", "d", "e", "f", "g"]);
        stage.say("h", &Death { proof: death_of_b.hash.into(), ..death("b", 0, "d") });
        stage.tell("h", kind::PROOF, &death_of_b.bytes);
        assert_eq!(stage.state("b") == Some(State::Dead), believed, "{later} ms");
    }
}

/// Rules D-12 and D-13: a NOTICE leads to the proof in two questions.
#[test]
fn a_notice_is_asked_for_its_proof() {
    let mut stage = settled(20);
    let asked = |stage: &Stage| -> Vec<u64> {
        let hash = |body: &[u8]| u64::from_le_bytes(body[16..24].try_into().unwrap());
        stage.sent_of(kind::PROOF_PULL).iter().map(|sent| hash(&sent.body)).collect()
    };
    let proof = proof(0, &["b", "c", "d", "e", "f"]);
    stage.say("h", &notice("d"));
    assert_eq!(asked(&stage), [0]);
    stage.say("h", &Death { proof: proof.hash.into(), ..death("a", 0, "d") });
    assert_eq!(asked(&stage), [0, proof.hash]);
    stage.tell("h", kind::PROOF, &proof.bytes);
    assert!(is_exiled(&mut stage));
}

/// Rule D-13: where nobody has a proof any more, as many members as would make one are believed,
/// within half a minute; those that only pass on an old death are asked, and do not count, or one
/// lie told to five would come back from five (rule D-15).
#[test]
fn a_quorum_of_words_is_believed() {
    let five = ["b", "c", "d", "e", "f"];
    let told = |five: &[&str], apart: u64| {
        let mut stage = settled(20);
        for (nth, from) in five.iter().enumerate() {
            stage.until(120_000 + nth as u64 * apart);
            stage.say(from, &death("a", 0, "d"));
        }
        is_exiled(&mut stage)
    };
    assert!(told(&five, 7_000));
    assert!(!told(&five, 7_501), "the first is half a minute ago");
    assert!(!told(&five[..4], 0));
    assert!(!told(&["b", "c", "d", "e", "stranger"], 0));
    let mut stage = settled(20);
    for from in names(20) {
        stage.say(&from, &notice("d"));
    }
    assert!(!is_exiled(&mut stage));
}

/// Rule D-13: the smaller side of a partition decides with few votes, which are a quorum of nobody's
/// but its own. Where we lost many members a moment ago, a quorum of those suffices, and one of
/// them does not.
#[test]
fn a_quorum_of_those_we_lost_is_believed() {
    let bury = |stage: &mut Stage, dead: &str| {
        let voters = ["m", "n", "o", "p", "q"];
        let proof = proof_of(dead, 0, 6, &voters);
        stage.say("h", &Death { proof: proof.hash.into(), ..death(dead, 0, "m") });
        stage.tell("h", kind::PROOF, &proof.bytes);
        assert_eq!(stage.state(dead), Some(State::Dead));
    };
    let cases: [(&[&str], &[&str], u32); 5] = [
        (&["b", "c", "d", "e"], &["b", "c", "d"], 1),
        (&["b", "c", "d", "e"], &["b", "c"], 0),
        (&["b", "c", "d", "e"], &["b", "f", "g"], 0),
        (&["b", "c"], &["b"], 0),
        (&["b"], &["b"], 0),
    ];
    for (lost, voters, counter) in cases {
        let mut stage = settled(20);
        for dead in lost {
            bury(&mut stage, dead);
        }
        stage.tell("b", kind::PROOF, &proof(0, voters).bytes);
        assert_eq!(own(&stage), counter, "{voters:?} of {lost:?}");
        assert!(!is_exiled(&mut stage));
        let mut stage = settled(20);
        for dead in lost {
            bury(&mut stage, dead);
        }
        for voter in voters {
            stage.say(voter, &death("a", 0, "b"));
        }
        assert_eq!(own(&stage), counter, "{voters:?} of {lost:?}");
    }
}

/// Rule D-13: with N = 2 there is one other member to ask.
#[test]
fn of_two_members_one_is_a_quorum() {
    let mut stage = knowing(config(), 1);
    stage.until(60_000);
    stage.say("b", &notice("b"));
    assert_eq!(to(kind::PROOF_PULL, &stage), ["b"]);
    stage.say("b", &death("a", 0, "b"));
    assert_eq!(own(&stage), 0);
    stage.until(100_000);
    assert_eq!(own(&stage), 1, "thirty pings came back");
}

/// Rule D-13, featurebase#1993: evicted alone, a member first shows that its pings come back, so that
/// it does not flap.
#[test]
fn whoever_was_evicted_alone_earns_its_return() {
    let mut stage = settled(20);
    buried_by(&mut stage, "d");
    stage.until(147_000);
    assert_eq!(stage.node.local().record().incarnation.counter, 0, "thirty take half a minute");
    stage.until(160_000);
    assert_eq!(stage.node.local().record().incarnation.counter, 1, "they came back");

    let mut ill = knowing(config(), 20);
    ill.until(10_000);
    ill.answering.clear();
    ill.until(100_000);
    ill.answering = names(20);
    buried_by(&mut ill, "d");
    assert_eq!(ill.node.local().record().incarnation.counter, 0, "not yet");
    ill.until(115_000);
    ill.sent.clear();
    ill.say("e", &verify("f", 1));
    assert!(ill.sent_of(kind::VOTE).is_empty(), "it does not vote meanwhile");
    ill.until(180_000);
    assert_eq!(ill.node.local().record().incarnation.counter, 1, "it has recovered");
}

/// A time in which each ping is lost and a handshake shows that its target lives; with
/// `late`, the ping's own ack comes after all.
fn pings_are_answered_by_handshakes(stage: &mut Stage, from_ms: u64, until_ms: u64, late: bool) {
    for ms in (from_ms..until_ms).step_by(100) {
        stage.until(ms);
        let pings: Vec<(MemberId, Ping)> = (stage.sent_of(kind::PING).into_iter())
            .filter_map(|sent| match sent.to {
                Destination::Member(to) => Some((to, Ping::read_from_bytes(&sent.body).unwrap())),
                _ => None,
            })
            .collect();
        stage.sent.clear();
        for (to, ping) in pings {
            let name = names(20).into_iter().find(|name| id(name) == to).expect("we know whom");
            stage.node.handle_peer_proven(stage.now, to, address(&name), false);
            let ack = Ack {
                sequence: ping.sequence,
                incarnation: stage.node.member(to).unwrap().incarnation().into(),
                digest: 0.into(),
                baseline: stage.fares.into(),
                phase_error: 0.into(),
            };
            if late {
                stage.say(&name, &ack);
            }
        }
    }
}

/// Rule D-13 (b): a handshake is repeated until it comes through, where a ping is not. Whoever loses four
/// in five of its datagrams would come back by it, and be evicted again, for ever.
#[test]
fn a_handshake_earns_no_return() {
    let mut stage = settled(20);
    buried_by(&mut stage, "d");
    stage.answering.clear();
    stage.sent.clear();
    pings_are_answered_by_handshakes(&mut stage, 102_000, 200_000, false);
    assert_eq!(own(&stage), 0, "none of its pings came back");
    pings_are_answered_by_handshakes(&mut stage, 200_000, 260_000, true);
    assert_eq!(own(&stage), 1, "they did, after the handshakes");
}

/// Rule D-13: evicted by a member that we hold dead ourselves, we were cut off: back at once.
#[test]
fn whoever_was_cut_off_returns_at_once() {
    let mut stage = settled(20);
    let subject = condemn(&mut stage, 4);
    stage.answering.clear();
    stage.until(200_000);
    buried_by(&mut stage, &subject);
    assert_eq!(stage.node.local().record().incarnation.counter, 1);
}

/// Rule D-13: an announcer that we held dead until it came back, a moment ago, was on the other side.
/// One that was started again was no side of anything.
#[test]
fn the_announcer_may_be_back_before_us() {
    for (again, expected) in
        [(incarnation(1), 1), (Incarnation { generation: 9_000, counter: 0 }, 0)]
    {
        let mut stage = settled(20);
        let voters = ["m", "n", "o", "p", "q"];
        let death_of_b = proof_of("b", 0, 6, &voters);
        silence(&mut stage, "b");
        stage.say("h", &Death { proof: death_of_b.hash.into(), ..death("b", 0, "m") });
        stage.tell("h", kind::PROOF, &death_of_b.bytes);
        stage.until(220_000);
        assert_eq!(stage.state("b"), Some(State::Dead));
        stage.record("b", &signed("b", again, Lifecycle::Active, "r"));
        assert_eq!(stage.state("b"), Some(State::Alive));
        buried_by(&mut stage, "b");
        assert_eq!(own(&stage), expected, "{again}");
    }
}

/// Rules D-13 and R-6: what the host changes meanwhile is accepted, and told with the return.
#[test]
fn a_change_does_not_end_an_exile() {
    let mut stage = settled(20);
    buried_by(&mut stage, "d");
    let read = stage.node.local().record().metadata.clone();
    let first = Metadata { region: "r2".into(), ..read.clone() };
    let second = Metadata { mesh_version: "2".into(), ..read };
    for command in [
        Command::ReviseMetadata(first.clone()),
        // Made from what is published, which the first has not changed yet.
        Command::ReviseMetadata(second),
        Command::SetLifecycle(Lifecycle::Cordoned),
    ] {
        stage.node.handle_command(stage.now, command).unwrap();
    }
    let stale = Metadata { metadata_version: 9, ..first };
    let refused = stage.node.handle_command(stage.now, Command::ReviseMetadata(stale));
    assert_eq!(refused, Err(CommandError::Stale));
    stage.until(140_000);
    assert_eq!(own(&stage), 0, "not yet");
    assert!(is_exiled(&mut stage));
    stage.say("c", &doubt("a", 0, "c"));
    assert_eq!(own(&stage), 0, "another detector's doubt does not end it either");
    stage.events();
    stage.until(165_000);
    let record = stage.node.local().record().clone();
    assert_eq!(record.incarnation.counter, 1, "one record tells it all");
    assert_eq!(
        (record.metadata.region.as_str(), record.metadata.mesh_version.as_str()),
        ("r2", "2")
    );
    assert_eq!((record.metadata.metadata_version, record.lifecycle), (2, Lifecycle::Cordoned));
    let events = stage.events();
    let updated = |event: &Event| matches!(event, Event::Updated(own) if own.record() == &record);
    assert_eq!(events.iter().filter(|event| updated(event)).count(), 1);
    assert!(events.iter().any(|event| matches!(event, Event::Refuted(_))));
}
