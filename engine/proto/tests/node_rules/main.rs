//! Rules that show best on one node: its peers are bytes, its time is an argument.

mod floods;
mod gossip;
mod lines;
mod seeds;
mod speaking;
#[path = "../stage/mod.rs"]
mod stage;
mod tickets;

use std::net::SocketAddr;

use mesh_gossip_proto::membership::record::first_record;
use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::wire::message::{
    Body, Death, LeaveAck, Message, Messages, Nack, Notice, Packet, RecordByStream, Suspicion,
    TicketHeader, TicketPeer, TicketPull, WireIncarnation, kind,
};
use mesh_gossip_proto::{
    Command, CommandError, Config, Destination, Detector, Duration, Event, Extent, Fanout,
    Incarnation, Instant, Lifecycle, Metadata, Node, PeerError, SignedRecord, State, Transmit,
};
use stage::{BORN, CLUSTER, Names, address, at, death, doubt, entry, id, metadata};

fn record(node: &str, counter: u32, region: &str) -> SignedRecord {
    stage::signed(node, stage::incarnation(counter), Lifecycle::Active, region)
}

fn birth(name: &str) -> Birth {
    stage::birth(Config::new(CLUSTER), name, BORN, 7)
}

fn node(name: &str) -> Node {
    Node::new(at(0), birth(name)).unwrap()
}

fn seeded(name: &str, seed: u64) -> Node {
    Node::new(at(0), Birth { seed, ..birth(name) }).unwrap()
}

fn tell(node: &mut Node, now: Instant, from: &str, kind: u8, body: &[u8]) {
    let mut packet = Packet::default();
    assert!(packet.push_raw(32_000, kind, body));
    node.handle_datagram(now, id(from), address(from), packet.as_bytes());
}

fn tell_body<B: Body>(node: &mut Node, now: Instant, from: &str, body: &B) {
    tell(node, now, from, B::KIND, body.as_bytes());
}

fn granted() -> TicketHeader {
    TicketHeader { granted: 1, count: 0, reserved: [0; 2] }
}

/// The same with the detector `lifeguard`, which believes a claim that others make.
fn credulous(others: &[&str]) -> Node {
    let config = Config { detector: Detector::Lifeguard, ..Config::new(CLUSTER) };
    introduced(Node::new(at(0), Birth { config: config.into(), ..birth("a") }).unwrap(), others)
}

/// A node `a` that knows `others`.
fn acquainted(others: &[&str]) -> Node {
    introduced(node("a"), others)
}

fn introduced(mut node: Node, others: &[&str]) -> Node {
    for other in others {
        let record = record(other, 0, "r");
        tell(&mut node, at(0), other, kind::RECORD, record.envelope());
        assert_eq!(state(&node, other), Some(State::Alive));
    }
    drain(&mut node, at(0));
    node
}

fn state(node: &Node, of: &str) -> Option<State> {
    node.member(id(of)).map(|member| member.state)
}

fn drain(node: &mut Node, now: Instant) -> Vec<(Transmit, Vec<u8>)> {
    let mut sent = Vec::new();
    let mut buffer = Vec::new();
    while let Some(transmit) = node.poll_transmit(now, &mut buffer) {
        sent.push((transmit, buffer.clone()));
    }
    sent
}

fn events(node: &mut Node) -> Vec<Event> {
    std::iter::from_fn(|| node.poll_event()).collect()
}

fn wire(counter: u32) -> WireIncarnation {
    stage::incarnation(counter).into()
}

fn pulls(sent: &[(Transmit, Vec<u8>)], of: &str) -> usize {
    sent.iter()
        .flat_map(|(_, bytes)| Messages::new(bytes))
        .filter(|m| matches!(m, Ok(Message::RecordPull(pull)) if pull.id == id(of).0))
        .count()
}

/// Rule M-4: a claim above the highest signed incarnation changes nothing and asks for the record.
#[test]
fn nobody_is_doubted_or_buried_above_its_signature() {
    let mut doubted = credulous(&["b", "c"]);
    tell_body(&mut doubted, at(5), "c", &doubt("b", 9, "c"));
    assert_eq!(state(&doubted, "b"), Some(State::Alive));
    assert_eq!(pulls(&drain(&mut doubted, at(5)), "b"), 1);

    let mut buried = credulous(&["b", "c"]);
    tell_body(&mut buried, at(5), "c", &death("b", 9, "c"));
    assert_eq!(state(&buried, "b"), Some(State::Alive));
    assert_eq!(pulls(&drain(&mut buried, at(5)), "b"), 1);

    tell_body(&mut buried, at(6), "c", &doubt("b", 0, "c"));
    assert_eq!(state(&buried, "b"), Some(State::Suspect), "at the signed one it counts");
    tell_body(&mut buried, at(7), "c", &death("b", 0, "c"));
    assert_eq!(state(&buried, "b"), Some(State::Dead));
}

/// Rule H-3: who is held departed accuses and buries nobody, in gossip or in a state.
#[test]
fn the_word_of_the_departed_does_not_count() {
    let mut node = credulous(&["b", "c"]);
    tell_body(&mut node, at(5), "b", &death("c", 0, "b"));
    assert_eq!(state(&node, "c"), Some(State::Dead));
    tell_body(&mut node, at(6), "c", &doubt("b", 0, "c"));
    tell_body(&mut node, at(6), "c", &death("b", 0, "c"));
    node.handle_sync(at(7), id("c"), &entry(State::Dead, &record("b", 0, "r")));
    assert_eq!(state(&node, "b"), Some(State::Alive));
    assert_eq!(node.stats().rejected.get("departed"), Some(&3));
    tell_body(&mut node, at(8), "c", &death("a", 0, "c"));
    assert_eq!(node.local().record().incarnation.counter, 1, "about ourselves it is answered");
    tell(&mut node, at(9), "c", kind::RECORD, record("c", 1, "r").envelope());
    tell_body(&mut node, at(9), "c", &doubt("b", 0, "c"));
    assert_eq!(state(&node, "b"), Some(State::Suspect), "back again, it has a say");
}

/// Rule H-3: who was buried withdraws what it was about to say of others.
#[test]
fn the_buried_withdraw_their_verdicts() {
    let verdicts = |sent: &[(Transmit, Vec<u8>)]| {
        let messages = sent.iter().flat_map(|(_, bytes)| Messages::new(bytes));
        messages.filter(|m| matches!(m, Ok(Message::Death(_) | Message::Suspicion(_)))).count()
    };
    let doubting = || {
        let mut node = credulous(&["b", "c", "d"]);
        tell_body(&mut node, at(5), "d", &doubt("c", 0, "d"));
        tell_body(&mut node, at(5), "d", &death("b", 0, "d"));
        assert_eq!(
            (state(&node, "b"), state(&node, "c")),
            (Some(State::Dead), Some(State::Suspect))
        );
        node
    };
    let mut node = doubting();
    tell(&mut node, at(6), "b", kind::PING, &[0; 12]);
    assert!(verdicts(&drain(&mut node, at(6))) > 0, "they were on their way");

    let mut node = doubting();
    let notice = Notice { incarnation: wire(0), announcer: id("b").0 };
    tell_body(&mut node, at(6), "b", &notice);
    let sent = drain(&mut node, at(6));
    assert!(!sent.is_empty(), "it says that it lives");
    assert_eq!(verdicts(&sent), 0);
    assert_eq!(node.local().record().incarnation.counter, 1);
    assert_eq!(state(&node, "c"), Some(State::Suspect), "the doubt itself stays");
}

/// Rule R-3: whatever the order of arrival, the lower hash stays, and somebody is told.
#[test]
fn two_records_of_one_incarnation_settle_on_the_lower_hash() {
    let records = [record("b", 4, "east"), record("b", 4, "west")];
    let lower = records.iter().map(SignedRecord::hash).min();
    for order in [[0, 1], [1, 0]] {
        let mut node = acquainted(&["b"]);
        events(&mut node);
        for index in order {
            tell(&mut node, at(5), "b", kind::RECORD, records[index].envelope());
        }
        assert_eq!(node.member(id("b")).map(|member| member.record.hash()), lower);
        assert!(events(&mut node).contains(&Event::Conflict(id("b"))));
    }
}

/// Rule A-1: equal members give equal digests, in whatever order they came; doubt does not enter.
#[test]
fn digests_tell_who_is_a_member_and_nothing_else() {
    let digest = |node: &Node| node.view(at(9)).digest();
    let (one, mut other) = (credulous(&["b", "c", "d"]), credulous(&["d", "b", "c"]));
    assert_eq!(digest(&one), digest(&other));
    tell_body(&mut other, at(5), "c", &doubt("b", 0, "c"));
    assert_eq!(state(&other, "b"), Some(State::Suspect));
    assert_eq!(digest(&one), digest(&other));
    tell_body(&mut other, at(6), "c", &death("b", 0, "c"));
    assert_ne!(digest(&one), digest(&other), "a departed member is no member");
}

/// Rule A-3: another's verdict of death is a doubt here; strangers are not adopted dead.
#[test]
fn a_merged_death_is_only_a_doubt() {
    let mut node = credulous(&["b", "c"]);
    let dead = [entry(State::Dead, &record("b", 0, "r")), entry(State::Dead, &record("d", 0, "r"))];
    node.handle_sync(at(5), id("c"), &dead.concat());
    assert_eq!(state(&node, "b"), Some(State::Suspect));
    assert_eq!(state(&node, "d"), None);
    node.handle_sync(at(6), id("c"), &entry(State::Alive, &record("d", 0, "r")));
    assert_eq!(state(&node, "d"), Some(State::Alive), "a living one is");
}

/// Rule L-1: in a small mesh everybody is told of a leave, however the dice fall.
#[test]
fn a_leave_misses_nobody_in_a_small_mesh() {
    for others in [&["b"][..], &["b", "c"], &["b", "c", "d", "e", "f", "g", "h", "i"]] {
        for seed in 0..500 {
            let mut node = introduced(seeded("a", seed), others);
            node.handle_command(at(1), Command::Leave).unwrap();
            let sent = drain(&mut node, at(1));
            let told = others
                .iter()
                .filter(|other| sent.iter().any(|(to, _)| to.to == Destination::Member(id(other))));
            assert_eq!(told.count(), others.len(), "seed {seed}");
        }
    }
}

/// Rule A-3, consul#1465: streams go to where a member listens; what it sends from may be a
/// translated port.
#[test]
fn streams_go_to_the_advertised_address() {
    let translated = SocketAddr::from(([192, 0, 2, 1], 40_000));
    let mut packet = Packet::default();
    assert!(packet.push(1_000, &RecordByStream { id: id("c").0 }));
    let mut node = acquainted(&["b"]);
    node.handle_stream_closed(id("b"), Extent::Whole, true);
    while node.poll_stream().is_some() {}
    node.handle_datagram(at(5), id("b"), translated, packet.as_bytes());
    node.handle_datagram(at(5), id("z"), translated, packet.as_bytes());
    let wished: Vec<_> = std::iter::from_fn(|| node.poll_stream()).collect();
    let to: Vec<_> = wished.iter().map(|request| (request.peer, request.address)).collect();
    assert_eq!(to, [(id("b"), address("b")), (id("z"), translated)], "a stranger has only that");
}

/// Rule G-1: a greeting that waits for whoever may answer carries no updates and uses none up.
#[test]
fn updates_are_not_spent_on_seeds() {
    let mut node = acquainted(&["b"]);
    node.handle_command(at(1), Command::Join(vec![address("s")])).unwrap();
    tell_body(&mut node, at(2), "b", &doubt("b", 0, "b"));
    let sent = drain(&mut node, at(2));
    let greetings: Vec<_> = sent.iter().filter(|(to, _)| to.to == Destination::Seed).collect();
    assert_eq!(greetings.len(), 1);
    let kinds = |m| match m {
        Ok(Message::Ping(_)) => "ping",
        Ok(Message::Record(_)) => "record",
        _ => "other",
    };
    assert_eq!(Messages::new(&greetings[0].1).map(kinds).collect::<Vec<_>>(), ["ping", "record"]);
}

/// Rule F-8: after a stall of our own nobody is blamed, and a suspect gets time to refute.
#[test]
fn our_own_stall_blames_nobody() {
    let mut node = credulous(&["b", "c"]);
    tell_body(&mut node, at(10), "c", &doubt("b", 0, "c"));
    let (first, _) = node.poll_timeout().unwrap();
    node.handle_timeout(first);
    let mut due = first;
    while node.stats().probes == 0 {
        due = node.poll_timeout().unwrap().0;
        node.handle_timeout(due);
    }
    drain(&mut node, due);
    let awake = due + Duration::from_secs(60);
    node.handle_timeout(awake);
    assert_eq!(node.stats().stalls, 1);
    assert_eq!(node.stats().probes_failed, 0, "an open probe ends without a verdict");
    assert_eq!(state(&node, "b"), Some(State::Suspect));
    assert_eq!(state(&node, "c"), Some(State::Alive));
    let refuted = record("b", 1, "r");
    tell(&mut node, awake + Duration::from_millis(900), "b", kind::RECORD, refuted.envelope());
    assert_eq!(state(&node, "b"), Some(State::Alive), "the refutation was read in time");
}

/// Rule S-9: a fresh signature of the peer answers the probe under way, and no other.
#[test]
fn a_proven_handshake_answers_the_probe_under_way() {
    let mut node = acquainted(&["b"]);
    let mut now = at(0);
    while node.stats().probes == 0 {
        now = node.poll_timeout().unwrap().0;
        node.handle_timeout(now);
    }
    node.handle_peer_proven(now, id("z"), address("z"), false);
    assert_eq!(node.stats().probes_acked, 0, "somebody else's proof");
    node.handle_peer_proven(now, id("b"), address("b"), false);
    assert_eq!(node.stats().probes_acked, 1);
    node.handle_peer_proven(now, id("b"), address("b"), false);
    assert_eq!(node.stats().probes_acked, 1, "one proof, one probe");
}

/// Rule S-8: a record counts only under a certificate that names its node, cluster and role.
#[test]
fn a_record_under_another_certificate_is_refused() {
    let mut node = acquainted(&["b"]);
    events(&mut node);
    let incarnation = Incarnation { generation: BORN, counter: 7 };
    let stolen = first_record(CLUSTER, incarnation, vec![address("c")], metadata("b"));
    let mut wrong_role = first_record(CLUSTER, incarnation, vec![address("b")], metadata("b"));
    wrong_role.metadata.role = "gateway".into();
    for (record, signer) in [(stolen, "c"), (wrong_role, "b")] {
        let signed = SignedRecord::author(record, &Names::of(signer)).unwrap();
        tell(&mut node, at(5), "c", kind::RECORD, signed.envelope());
        let refused = events(&mut node).into_iter().any(|event| {
            matches!(event, Event::RecordRejected { error: PeerError::Signature(_), .. })
        });
        assert!(refused, "signed by {signer}");
    }
    assert_eq!(node.member(id("b")).unwrap().incarnation().counter, 0);
}

/// Rule S-11: a record keeps its name under another signature of the same bytes.
#[test]
fn the_record_hash_excludes_the_signature() {
    let incarnation = Incarnation { generation: BORN, counter: 0 };
    let signed = |salt, region: &str| {
        let metadata = Metadata { region: region.into(), ..metadata("b") };
        let record = first_record(CLUSTER, incarnation, vec![address("b")], metadata);
        SignedRecord::author(record, &Names { salt, ..Names::of("b") }).unwrap()
    };
    assert_ne!(signed(1, "r").envelope(), signed(2, "r").envelope());
    assert_eq!(signed(1, "r").hash(), signed(2, "r").hash());
    assert_ne!(signed(1, "r").hash(), signed(1, "s").hash());
}

/// Rules F-7 and M-4: a claim about ourselves above what we signed moves nothing, at the end of
/// all numbers neither; the sender is asked for the record that would prove it.
#[test]
fn nobody_moves_our_incarnation_but_our_own_signature() {
    let far = [
        Incarnation { generation: u64::MAX, counter: u32::MAX },
        Incarnation { generation: u64::MAX - 1, counter: 0 },
        Incarnation { generation: BORN, counter: 7 },
    ];
    for incarnation in far {
        let wire = WireIncarnation::from(incarnation);
        let mut node = acquainted(&["b", "c"]);
        let own = node.local().record().incarnation;
        let doubt = Suspicion { incarnation: wire, ..doubt("a", 0, "c") };
        tell_body(&mut node, at(10), "b", &doubt);
        tell_body(&mut node, at(20), "b", &Death { incarnation: wire, ..death("a", 0, "c") });
        let notice = Notice { incarnation: wire, announcer: id("c").0 };
        tell_body(&mut node, at(30), "b", &notice);
        assert_eq!(node.local().record().incarnation, own, "{incarnation}");
        assert_eq!(pulls(&drain(&mut node, at(30)), "a"), 1, "asked once");
        assert_eq!(node.stats().refutations, 0);
    }
}

/// Rule M-2: our own signed record of a life whose clock was ahead does move it.
#[test]
fn our_own_later_record_is_superseded() {
    let mut node = acquainted(&["b"]);
    let later = Incarnation { generation: BORN + 500, counter: 3 };
    let record = first_record(CLUSTER, later, vec![address("a")], metadata("a"));
    let record = SignedRecord::author(record, &Names::of("a")).unwrap();
    tell(&mut node, at(10), "b", kind::RECORD, record.envelope());
    let above = Incarnation { generation: BORN + 501, counter: 0 };
    assert_eq!(node.local().record().incarnation, above);
}

/// Rule L-1: whoever asks again after the leave is told again.
#[test]
fn a_second_leave_is_answered_too() {
    let mut node = acquainted(&["b"]);
    node.handle_command(at(10), Command::Leave).unwrap();
    let ack = LeaveAck { incarnation: node.local().record().incarnation.into() };
    tell_body(&mut node, at(20), "b", &ack);
    let told = |node: &mut Node| {
        let complete = |event: &Event| *event == Event::LeaveComplete { acknowledged: 1 };
        events(node).iter().filter(|event| complete(event)).count()
    };
    assert_eq!(told(&mut node), 1);
    node.handle_command(at(30), Command::Leave).unwrap();
    assert_eq!(told(&mut node), 1);
}

/// Rule L-1: after a stop nothing is heard, and what arrives is counted by its own reason.
#[test]
fn whoever_has_stopped_hears_nothing() {
    let mut node = acquainted(&["b"]);
    node.handle_command(at(10), Command::Leave).unwrap();
    let ack = LeaveAck { incarnation: node.local().record().incarnation.into() };
    tell_body(&mut node, at(20), "b", &ack);
    tell(&mut node, at(30), "b", kind::RECORD, record("b", 1, "r").envelope());
    assert_eq!(node.member(id("b")).unwrap().incarnation(), stage::incarnation(0));
    let rejected = node.stats().rejected;
    assert_eq!((rejected.get("stopped"), rejected.get("own-id")), (Some(&1), None));
}

/// Rule R-6: a revision of metadata that has changed meanwhile is refused, so none is lost.
#[test]
fn a_revision_of_stale_metadata_is_refused() {
    let mut node = acquainted(&["b"]);
    let read = node.local().record().metadata.clone();
    let first = Metadata { mesh_version: "2".into(), ..read.clone() };
    node.handle_command(at(10), Command::ReviseMetadata(first)).unwrap();
    let second = Metadata { region: "r2".into(), ..read };
    let refused = node.handle_command(at(20), Command::ReviseMetadata(second));
    assert_eq!(refused, Err(CommandError::Stale));
    assert_eq!(node.local().record().metadata.mesh_version, "2");
}

/// Rule H-3: whoever says again and again that we are dead does not keep us from judging others.
#[test]
fn being_buried_again_and_again_delays_no_verdict_for_ever() {
    let mut node = credulous(&["b", "c", "d"]);
    // c is silent from the beginning, d lies.
    let mut buried = None;
    for round in 0..200 {
        let now = at(100 + round * 100);
        let incarnation = node.local().record().incarnation;
        let notice = Notice { incarnation: incarnation.into(), announcer: id("d").0 };
        tell_body(&mut node, now, "d", &notice);
        node.handle_timeout(now);
        drain(&mut node, now);
        if state(&node, "c") == Some(State::Dead) {
            buried = Some(round);
            break;
        }
    }
    assert!(buried.is_some(), "c is still {:?}", state(&node, "c"));
}
