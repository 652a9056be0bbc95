//! How a change is gossiped: to how many, how often, at what pace.

use super::*;

use mesh_gossip_proto::WallTime;
use mesh_gossip_proto::membership::table::MemberTable;
use mesh_gossip_proto::wire::message::{Ack, Ping};
use zerocopy::IntoBytes;

/// Rule H-2: one dead among thousands that left is found by every redial.
#[test]
fn the_dead_are_redialled_however_many_have_left() {
    for left in [0, 5_000] {
        let config = Config { detector: Detector::Lifeguard, ..Config::new(CLUSTER) };
        let mut stage = stage::Stage::knowing(config, &["b", "c"]);
        for n in 0..left {
            let name = format!("l{n}");
            let leave = stage::signed(&name, stage::incarnation(1), Lifecycle::Leaving, "r");
            stage.record("c", &leave);
        }
        stage.say("c", &death("b", 0, "c"));
        stage.answering.retain(|name| name == "c");
        stage.sent.clear();
        // With one dead of three, one interval in ten redials.
        stage.until(120_000);
        let notices = stage.sent_of(kind::NOTICE);
        let dead = Destination::Member(id("b"));
        assert!(notices.iter().all(|notice| notice.to == dead), "who left is let be");
        assert!(notices.len() >= 5, "{left}: {} redials", notices.len());
    }
}

/// Gossip of one change: how many members each tick reached, and how often the update was sent.
fn gossip_of_one_change(config: Config) -> (Vec<(u64, usize)>, usize) {
    const MEMBERS: [&str; 20] = [
        "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
        "t", "u",
    ];
    let birth = Birth { config: config.into(), ..birth("a") };
    let mut node = Node::new(at(0), birth).unwrap();
    for other in MEMBERS {
        tell(&mut node, at(0), other, kind::RECORD, record(other, 0, "r").envelope());
    }
    // Everything of the beginning is over before the change: what waits for gossip, and the first
    // pings to those whom it observes.
    let mut now = at(0);
    while node.stats().queue_depth > 0 || now < at(1_000) {
        now = node.poll_timeout().unwrap().0.max(now);
        node.handle_timeout(now);
        for (to, bytes) in drain(&mut node, now) {
            let member = MEMBERS.into_iter().find(|m| to.to == Destination::Member(id(m)));
            answer_pings(&mut node, now, member.unwrap(), &bytes);
        }
    }
    let changed =
        Metadata { mesh_version: "2".into(), cluster_id: CLUSTER.into(), ..metadata("a") };
    let started = now;
    node.handle_command(now, Command::SetMetadata(changed)).unwrap();
    let (mut ticks, mut sends) = (Vec::new(), 0);
    while node.stats().queue_depth > 0 {
        now = node.poll_timeout().unwrap().0.max(now);
        node.handle_timeout(now);
        let sent = drain(&mut node, now);
        let carrying = |bytes: &[u8]| {
            let updates = |message| matches!(message, Ok(Message::Update(_)));
            Messages::new(bytes).filter(|message| updates(*message)).count()
        };
        sends += sent.iter().map(|(_, bytes)| carrying(bytes)).sum::<usize>();
        let gossip = sent.iter().filter(|(_, bytes)| bytes[0] == kind::UPDATE).count();
        if gossip > 0 {
            ticks.push((now.since(started).as_millis() as u64, gossip));
        }
    }
    (ticks, sends)
}

fn answer_pings(node: &mut Node, now: Instant, member: &str, bytes: &[u8]) {
    for message in Messages::new(bytes) {
        let Ok(Message::Ping(ping)) = message else { continue };
        let ack = Ack {
            sequence: ping.sequence,
            incarnation: wire(0),
            digest: ping.digest,
            baseline: u16::MAX.into(),
            phase_error: 0.into(),
        };
        tell_body(node, now, member, &ack);
    }
}

/// Rules G-1 and G-3: a change leaves soon, then every gossip interval, to as many members as the
/// fan-out says, and as often as the retransmit limit says.
#[test]
fn fan_out_pace_and_retransmit_limit_follow_the_configuration() {
    for (fanout, retransmit_limit, gossip_ms) in [(3, 4, 200), (5, 8, 100), (2, 10, 500)] {
        let config = Config {
            fanout: Fanout::Fixed(fanout),
            retransmit_limit,
            gossip_interval: Duration::from_millis(gossip_ms),
            // No probe mixes in: its datagrams would carry the update too.
            interval: Duration::from_secs(3_600),
            suspicion_interval: Duration::from_secs(36_000),
            ..Config::new(CLUSTER)
        };
        let (ticks, sends) = gossip_of_one_change(config);
        // 21 members have two digits: the limit is max(8, 2·λ).
        let limit = 8.max(2 * retransmit_limit as usize);
        assert_eq!(sends, limit, "λ = {retransmit_limit}");
        let expected: Vec<(u64, usize)> = (0..limit.div_ceil(fanout))
            .map(|tick| {
                let at = if tick == 0 { 20 } else { 20 + tick as u64 * gossip_ms };
                (at, fanout.min(limit - tick * fanout))
            })
            .collect();
        assert_eq!(ticks, expected, "fan-out {fanout}, every {gossip_ms} ms");
    }
}

fn kinds_to(node: &mut Node, now: Instant, member: &str) -> Vec<u8> {
    let sent = drain(node, now).into_iter();
    let to_it = sent.filter(|(transmit, _)| transmit.to == Destination::Member(id(member)));
    let datagrams: Vec<Vec<u8>> = to_it.map(|(_, bytes)| bytes).collect();
    assert!(datagrams.len() <= 1, "all in one datagram");
    let mut kinds = Vec::new();
    for bytes in datagrams {
        let mut rest = bytes.as_slice();
        while let [kind, low, high, tail @ ..] = rest {
            kinds.push(*kind);
            rest = &tail[usize::from(u16::from_le_bytes([*low, *high]))..];
        }
    }
    kinds
}

/// Rule G-6: a digest tells what its sender has not heard of, and it is told that and nothing else.
#[test]
fn a_digest_is_answered_with_what_its_sender_lacks() {
    let mut node = acquainted(&["b", "c", "d", "e"]);
    let before = node.table().digest();
    tell(&mut node, at(10), "b", kind::RECORD, record("b", 1, "r").envelope());
    let between = node.table().digest();
    tell(&mut node, at(20), "e", kind::RECORD, record("e", 1, "r").envelope());
    drain(&mut node, at(20));
    let ping = |digest: u64| Ping { sequence: 1.into(), digest: digest.into() };
    for (digest, expected) in [
        (before, vec![kind::ACK, kind::RECORD, kind::RECORD]),
        (between, vec![kind::ACK, kind::RECORD]),
        (node.table().digest(), vec![kind::ACK]),
    ] {
        tell_body(&mut node, at(30), "c", &ping(digest));
        assert_eq!(kinds_to(&mut node, at(30), "c"), expected);
    }
    tell_body(&mut node, at(40), "d", &ping(before ^ 1));
    let blindly = kinds_to(&mut node, at(40), "d");
    assert!(blindly.contains(&kind::UPDATE) && !blindly.contains(&kind::RECORD), "{blindly:?}");
    // Nobody asked: an ack that shows as much has a datagram for it.
    let ack = Ack {
        sequence: 77.into(),
        incarnation: wire(0),
        digest: between.into(),
        baseline: u16::MAX.into(),
        phase_error: 0.into(),
    };
    tell_body(&mut node, at(50), "c", &ack);
    assert_eq!(kinds_to(&mut node, at(50), "c"), [kind::RECORD]);
    // Acks of whoever was held up come together: of what it lacked then, and of what it lacks now.
    let mut together = Packet::default();
    for (sequence, digest) in [(80, before ^ 1), (81, between), (82, between), (83, between)] {
        let sequence: u32 = sequence;
        let ack = Ack { sequence: sequence.into(), digest: digest.into(), ..ack };
        assert!(together.push_raw(32_000, kind::ACK, ack.as_bytes()));
    }
    node.handle_datagram(at(60), id("c"), address("c"), together.as_bytes());
    assert_eq!(kinds_to(&mut node, at(60), "c"), [kind::RECORD], "told once");
    // Long afterwards it is for a sketch to tell.
    tell_body(&mut node, at(11_000), "c", &ping(between));
    assert!(!kinds_to(&mut node, at(11_000), "c").contains(&kind::RECORD));
}

/// Rule G-7: a newcomer does not tell a mesh of all its members again.
#[test]
fn a_newcomer_tells_of_young_lives_alone() {
    for (later_ms, expected) in [(1_000, 4), (60_000, 1)] {
        let born = Birth { born: WallTime(BORN + later_ms), ..birth("a") };
        let mut node: Node = Node::new(at(0), born).unwrap();
        node.handle_command(at(0), Command::Join(vec![address("b")])).unwrap();
        let state: Vec<u8> =
            ["b", "c", "d"].iter().flat_map(|n| entry(State::Alive, &record(n, 0, "r"))).collect();
        node.handle_sync(at(1), id("b"), &state);
        assert_eq!(node.table().counts().present(), 4);
        assert_eq!(node.stats().queue_depth, expected, "{later_ms} ms after the others");
        node.handle_stream_closed(id("b"), Extent::Whole, true);
        tell(&mut node, at(2), "b", kind::RECORD, record("e", 0, "r").envelope());
        assert_eq!(node.stats().queue_depth, expected + 1, "once it has joined all is news");
    }
}
