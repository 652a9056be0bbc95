//! Slips of hashicorp/memberlist and its kin that this protocol must not repeat. Each test names
//! the slip; sources are issues of the project named, or behaviour described beside it.

mod stage;

use mesh_gossip_proto::detector::suspicion::{Circumstances, Schedule};
use mesh_gossip_proto::wire::message::{Message, Messages, Packet, PingRequest, Update, kind};
use mesh_gossip_proto::{
    Baseline, Config, Destination, Detector, Duration, Event, Incarnation, Instant, Lifecycle,
    Node, SignedRecord, State,
};
use stage::{BORN, CLUSTER, Stage, address, at, birth, death, doubt, entry, id, incarnation, ms};
use stage::{record, signed};

/// Lifeguard with the papers' timers: among few members min = 4 s, max = 24 s.
fn lifeguard() -> Config {
    let baseline = Baseline { promise: false, ..Baseline::default() };
    Config { detector: Detector::Lifeguard, baseline, ..Config::new(CLUSTER) }
}

const OTHERS: [&str; 5] = ["b", "c", "d", "e", "f"];

/// Rules F-5 and M-4. memberlist lets a suspicion of a higher incarnation confirm the timer of the
/// lower one, which then kills a member that has refuted. Here it neither counts for the old
/// timer nor inherits it.
#[test]
fn a_suspicion_of_a_higher_incarnation_restarts_the_timer() {
    let mut stage = Stage::knowing(lifeguard(), &OTHERS);
    stage.until(1_000);
    stage.say("c", &doubt("b", 0, "c"));
    stage.say("d", &doubt("b", 0, "d"));
    stage.until(4_000);
    stage.say("c", &doubt("b", 1, "c"));
    stage.say("e", &doubt("b", 1, "e"));
    assert!(stage.sent_of(kind::RECORD_PULL).iter().any(|pull| pull.body[..16] == id("b").0));
    // One confirmation of the first incarnation: 24 − 20·ln 2/ln 3 = 11.4 s after the start.
    stage.until(12_300);
    assert_eq!(stage.state("b"), Some(State::Suspect), "accusers of another incarnation count not");
    stage.record("c", &record("b", 1));
    assert_eq!(stage.state("b"), Some(State::Alive));
    stage.say("c", &doubt("b", 1, "c"));
    stage.until(36_200);
    assert_eq!(stage.state("b"), Some(State::Suspect), "a whole new wait of 24 s");
    stage.until(36_400);
    assert_eq!(stage.state("b"), Some(State::Dead));
}

/// Rule F-5: accusers of the old incarnation may accuse again, and count again.
#[test]
fn an_accuser_of_the_past_counts_again() {
    let mut stage = Stage::knowing(lifeguard(), &OTHERS);
    stage.until(1_000);
    for accuser in ["c", "d", "e"] {
        stage.say(accuser, &doubt("b", 0, accuser));
    }
    stage.until(4_000);
    stage.record("b", &record("b", 1));
    for accuser in ["c", "d", "e"] {
        stage.say(accuser, &doubt("b", 1, accuser));
    }
    stage.until(7_900);
    assert_eq!(stage.state("b"), Some(State::Suspect));
    stage.until(8_100);
    assert_eq!(stage.state("b"), Some(State::Dead), "three accusers: 4 s");
}

/// Rules F-5 and F-8: a confirmation that makes a suspicion overdue ends it at once. It is no stall of
/// our own, which would grant the suspect time and drop the probes under way.
#[test]
fn a_late_confirmation_is_no_stall() {
    let mut stage = Stage::knowing(lifeguard(), &OTHERS);
    stage.until(1_000);
    stage.say("c", &doubt("b", 0, "c"));
    stage.until(11_000);
    stage.say("d", &doubt("b", 0, "d"));
    stage.say("e", &doubt("b", 0, "e"));
    stage.until(11_001);
    assert_eq!(stage.state("b"), Some(State::Dead), "4 s after the start, long ago");
    assert_eq!(stage.node.stats().stalls, 0);
}

/// Rules F-5 and M-3: an alive message that is no news leaves the timer alone (memberlist#82 asked
/// for the check in review).
#[test]
fn a_stale_alive_does_not_stop_the_timer() {
    let mut stage = Stage::knowing(lifeguard(), &OTHERS);
    stage.record("b", &record("b", 1));
    stage.until(1_000);
    for accuser in ["c", "d", "e"] {
        stage.say(accuser, &doubt("b", 1, accuser));
    }
    stage.until(4_000);
    stage.record("f", &record("b", 0));
    stage.record("f", &record("b", 1));
    stage.say("f", &Update::new(id("b"), incarnation(1), State::Alive, record("b", 1).hash()));
    let state = [entry(State::Alive, &record("b", 0)), entry(State::Alive, &record("b", 1))];
    stage.node.handle_sync(stage.now, id("f"), &state.concat());
    assert_eq!(stage.state("b"), Some(State::Suspect));
    stage.until(5_100);
    assert_eq!(stage.state("b"), Some(State::Dead));
}

/// Rule F-4. memberlist stretches the probe by its health score, the time for the direct ping not;
/// the paper stretches both. A slow member needs the time most for the answers to its own pings.
#[test]
fn the_ping_timeout_scales_with_health_too() {
    let papers = Config::memberlist_lan(CLUSTER);
    for (config, healthy_ms) in [(papers, 500), (lifeguard(), 100)] {
        for score in 0..=8 {
            let mut stage = Stage::knowing(config.clone(), &OTHERS);
            // Everybody has been measured when the doubts come: each refutation is worth a point.
            stage.until(20_000);
            for counter in 0..score {
                stage.say("c", &doubt("a", counter, "c"));
            }
            assert_eq!(stage.node.stats().awareness, score);
            stage.answering.clear();
            stage.sent.clear();
            while stage.sent_of(kind::PING_REQUEST).is_empty() {
                stage.until(ms(stage.now) + 10);
            }
            let pinged = ms(stage.sent_of(kind::PING)[0].at);
            let took = ms(stage.sent_of(kind::PING_REQUEST)[0].at) - pinged;
            assert_eq!(took, u64::from(score + 1) * healthy_ms, "at a score of {score}");
        }
    }
}

/// Rule F-3. memberlist's relay sends its nack after its own, unstretched timeout: a requester in
/// poor health gets no relayed ack that takes longer.
#[test]
fn a_relay_waits_as_long_as_the_requester_does() {
    let mut stage = Stage::knowing(Config::memberlist_lan(CLUSTER), &OTHERS);
    stage.answering.retain(|name| name != "b");
    let request = |sequence: u32| PingRequest {
        sequence: sequence.into(),
        timeout_ms: 3_600.into(),
        reserved: 0.into(),
        target: id("b").0,
    };
    stage.say("c", &request(77));
    let pinged = ms(stage.now);
    stage.until(pinged + 3_590);
    assert!(stage.sent_of(kind::NACK).is_empty(), "{:?}", stage.sent_of(kind::NACK));
    stage.until(pinged + 3_610);
    assert_eq!(stage.sent_of(kind::NACK)[0].to, Destination::Member(id("c")));
    assert_eq!(ms(stage.sent_of(kind::NACK)[0].at), pinged + 3_600);
}

/// memberlist handles waiting messages newest first, so what a member did is told out of order or
/// not at all. Here messages take effect as they arrive, within a datagram and between datagrams.
#[test]
fn the_newest_message_is_not_handled_first() {
    let mut stage = Stage::knowing(lifeguard(), &OTHERS);
    stage.events();
    let (renewed, suspicion) = (record("b", 1), doubt("b", 1, "c"));
    let mut packet = Packet::default();
    assert!(packet.push_raw(9_000, kind::RECORD, renewed.envelope()));
    assert!(packet.push(9_000, &suspicion));
    stage.node.handle_datagram(at(5), id("c"), address("c"), packet.as_bytes());
    assert_eq!(stage.state("b"), Some(State::Suspect), "first the record, then the doubt");
    for counter in 2..=4 {
        stage.record("b", &record("b", counter));
    }
    let told: Vec<(&str, u32)> = stage
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::Updated(record) => Some(("updated", record.record().incarnation.counter)),
            Event::Suspected { record, .. } => {
                Some(("suspected", record.record().incarnation.counter))
            }
            Event::Recovered { record, .. } => {
                Some(("recovered", record.record().incarnation.counter))
            }
            _ => None,
        })
        .collect();
    let expected =
        [("updated", 1), ("suspected", 1), ("recovered", 2), ("updated", 3), ("updated", 4)];
    assert_eq!(told, expected);
}

/// Rule M-2, memberlist#311: a restart supersedes a death at any incarnation of the life before, in
/// whatever order the two arrive.
#[test]
fn a_mass_restart_hides_nobody() {
    let reborn = Incarnation { generation: BORN + 1, counter: 0 };
    for restart_first in [false, true] {
        let mut stage = Stage::knowing(lifeguard(), &OTHERS);
        stage.record("b", &record("b", 100));
        let restarted = signed("b", reborn, Lifecycle::Active, "r");
        if restart_first {
            stage.record("c", &restarted);
            stage.say("d", &death("b", 100, "d"));
        } else {
            stage.say("d", &death("b", 100, "d"));
            assert_eq!(stage.state("b"), Some(State::Dead));
            stage.record("c", &restarted);
        }
        assert_eq!(stage.state("b"), Some(State::Alive));
    }
}

/// Rules H-1 and M-2, memberlist#345: a member that comes with an incarnation below its own death is
/// told so, and goes above it.
#[test]
fn who_returns_below_its_own_death_learns_of_it() {
    let mut stage = Stage::knowing(lifeguard(), &OTHERS);
    stage.record("b", &record("b", 100));
    stage.say("c", &death("b", 100, "c"));
    // b starts again with a clock that has not moved.
    let mut reborn: Node = Node::new(at(0), birth(lifeguard(), "b", BORN, 8)).unwrap();
    stage.sent.clear();
    stage.record("b", reborn.local().clone().as_ref());
    assert_eq!(stage.state("b"), Some(State::Dead));
    let notices = stage.sent_of(kind::NOTICE);
    assert_eq!(notices.len(), 1);
    let mut packet = Packet::default();
    packet.push_raw(1_000, kind::NOTICE, &notices[0].body.clone());
    reborn.handle_datagram(at(5), id("a"), address("a"), packet.as_bytes());
    // It asks what was signed in its name, gets it, and continues above it.
    let held = stage.node.member(id("b")).unwrap().record.clone();
    let mut packet = Packet::default();
    packet.push_raw(9_000, kind::RECORD, held.envelope());
    reborn.handle_datagram(at(6), id("a"), address("a"), packet.as_bytes());
    assert!(reborn.local().record().incarnation > incarnation(100));
    stage.record("b", reborn.local().clone().as_ref());
    assert_eq!(stage.state("b"), Some(State::Alive));
}

/// Rule A-3, consul#9962: a peer that missed a leave cannot undo it with its state.
#[test]
fn a_stale_state_does_not_undo_a_leave() {
    let mut stage = Stage::knowing(lifeguard(), &OTHERS);
    stage.record("b", &signed("b", incarnation(1), Lifecycle::Leaving, "r"));
    assert_eq!(stage.state("b"), Some(State::Left));
    let old = record("b", 0);
    for state in [State::Alive, State::Suspect, State::Dead] {
        stage.node.handle_sync(stage.now, id("c"), &entry(state, &old));
        assert_eq!(stage.state("b"), Some(State::Left), "{state:?}");
    }
}

/// Rule L-1, memberlist#140 and #217: who left may come back at once. memberlist#157, consul#733 and
/// consul#6897: at another address, and without being taken for an impostor.
#[test]
fn who_left_comes_back_at_once_from_wherever_it_is() {
    let mut stage = Stage::knowing(lifeguard(), &OTHERS);
    stage.record("b", &signed("b", incarnation(1), Lifecycle::Leaving, "r"));
    stage.events();
    let back = Incarnation { generation: BORN + 1, counter: 0 };
    let mut content = signed("b", back, Lifecycle::Active, "r").record().clone();
    content.addresses = vec![address("z")];
    let moved = SignedRecord::author(content, &stage::Names::of("b")).unwrap();
    stage.record("b", &moved);
    assert_eq!(stage.state("b"), Some(State::Alive));
    let conflicts = |event: &Event| matches!(event, Event::Conflict(_));
    assert!(!stage.events().iter().any(conflicts));
    let addresses = &stage.node.member(id("b")).unwrap().record.record().addresses;
    assert_eq!(*addresses, [address("z")]);
}

/// Rule F-7, serf#336: nobody holds itself suspect or dead, whatever it is told.
#[test]
fn nobody_suspects_itself() {
    let mut stage = Stage::knowing(lifeguard(), &OTHERS);
    for n in 0..5 {
        let claims: [&dyn Fn(&mut Stage); 3] = [
            &|stage| stage.say("c", &doubt("a", 3 * n, "a")),
            &|stage| stage.say("c", &death("a", 3 * n + 1, "c")),
            &|stage| {
                let own = stage.node.local().clone();
                stage.node.handle_sync(stage.now, id("c"), &entry(State::Dead, &own));
            },
        ];
        for claim in claims {
            let before = stage.node.local().record().incarnation;
            claim(&mut stage);
            assert_eq!(stage.state("a"), Some(State::Alive));
            assert_eq!(stage.node.local().record().incarnation, before.next());
        }
    }
}

/// Rule M-3, ringpop-node#15: a death counts at the incarnation held alive; it need not pass through
/// doubt.
#[test]
fn a_death_counts_without_a_suspicion_before_it() {
    let mut stage = Stage::knowing(lifeguard(), &OTHERS);
    stage.say("c", &death("b", 0, "c"));
    assert_eq!(stage.state("b"), Some(State::Dead));
}

/// Rule F-5: the timeout grows smoothly (memberlist#98 had steps) and keeps its precision when the
/// interval is short (al8n/memberlist#165 lost it below a millisecond).
#[test]
fn the_suspicion_timeout_has_neither_steps_nor_rounding() {
    let wait = |members, interval| {
        let circumstances = Circumstances {
            now: Instant::ORIGIN,
            members,
            interval,
            suspicion_interval: Duration::from_secs(5),
            last_contact: None,
            dynamic: false,
            promise: false,
        };
        Schedule::new(&circumstances).after(0)
    };
    for members in 10..2_000 {
        let interval = Duration::from_secs(1);
        assert!(wait(members + 1, interval) > wait(members, interval), "{members} members");
    }
    let micros = wait(1_000, Duration::from_micros(100)).as_nanos() as f64 / 1e3;
    assert!((micros - 1_200.0).abs() < 0.01, "{micros} µs");
}

/// Rule F-7: a refutation that gossips takes the place of the doubt in the queue: memberlist's queue
/// invalidates by name, and so does this one, also when the doubt is newer in time but lower in
/// precedence.
#[test]
fn a_doubt_that_was_refuted_is_not_gossiped_on() {
    let mut stage = Stage::knowing(lifeguard(), &OTHERS);
    stage.until(30_000);
    stage.sent.clear();
    stage.say("c", &doubt("b", 0, "c"));
    stage.record("b", &record("b", 1));
    stage.say("d", &doubt("b", 0, "d"));
    stage.sent.clear();
    stage.until(35_000);
    assert!(stage.sent_of(kind::SUSPECT).is_empty());
    let updates = stage.sent.iter().filter(|sent| sent.kind == kind::UPDATE);
    let mut about = updates.filter(|sent| sent.body[..16] == id("b").0).peekable();
    assert!(about.peek().is_some(), "the refutation is");
    for sent in about {
        let mut packet = Packet::default();
        packet.push_raw(1_000, sent.kind, &sent.body);
        match Messages::new(packet.as_bytes()).next() {
            Some(Ok(Message::Update(update))) => {
                assert_eq!(Incarnation::from(update.incarnation), incarnation(1));
            }
            other => panic!("{other:?}"),
        }
    }
}
