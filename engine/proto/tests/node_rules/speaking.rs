//! What hosts say to each other: to all (rules U-1 to U-5) and to one (rule U-6), within bounds
//! (rules U-7 and U-8).

use std::sync::Arc;

use mesh_gossip_proto::membership::broadcast::{BroadcastId, MOST_BYTES};
use mesh_gossip_proto::membership::record::Claim;
use mesh_gossip_proto::{Authority, Broadcast, Signature, WallTime};

use super::*;

/// A broadcast of `by` as it travels, signed by `signer`.
fn card(by: &str, signer: &str, (generation, sequence): (u64, u64), bytes: &[u8]) -> Vec<u8> {
    keyed(by, signer, (generation, sequence), None, bytes)
}

fn keyed(
    by: &str,
    signer: &str,
    (generation, sequence): (u64, u64),
    key: Option<u64>,
    bytes: &[u8],
) -> Vec<u8> {
    let id = BroadcastId { origin: id(by), generation, sequence };
    let said = Broadcast { topic: 7, key, bytes: bytes.to_vec() };
    said.sign(id, WallTime(BORN), (CLUSTER, 1_168), &Names::of(signer)).unwrap()
}

fn brings(node: &mut Node, now: Instant, from: &str, card: &[u8]) {
    tell(node, now, from, kind::BROADCAST, card);
}

/// What the host is told that others said.
fn told(node: &mut Node) -> Vec<(bool, String)> {
    let heard = events(node).into_iter().filter_map(|event| match event {
        Event::Broadcast { from, bytes, .. } => Some((true, from, bytes)),
        Event::Message { from, bytes, .. } => Some((false, from, bytes)),
        _ => None,
    });
    heard
        .map(|(to_all, from, bytes)| {
            let name = ["a", "b", "c", "d"].into_iter().find(|name| id(name) == from);
            (to_all, format!("{}: {}", name.unwrap_or("?"), String::from_utf8_lossy(&bytes)))
        })
        .collect()
}

/// Broadcasts that were sent: to whom, and which body.
fn cards(stage: &stage::Stage) -> Vec<(Destination, Vec<u8>)> {
    stage.sent_of(kind::BROADCAST).iter().map(|sent| (sent.to, sent.body.clone())).collect()
}

fn say(node: &mut Node, now: Instant, bytes: &[u8]) -> Result<(), CommandError> {
    let broadcast = Broadcast { topic: 7, key: None, bytes: bytes.to_vec() };
    node.handle_command(now, Command::Broadcast(broadcast))
}

fn rejected(node: &Node, reason: &str) -> u64 {
    node.stats().rejected.get(reason).copied().unwrap_or(0)
}

/// A node in a mesh of four that has been at rest for a while.
fn at_rest() -> stage::Stage {
    let mut stage = stage::Stage::knowing(Config::new(CLUSTER), &["b", "c", "d"]);
    stage.until(20_000);
    assert_eq!(stage.node.stats().queue_depth, 0);
    stage.events();
    stage.sent.clear();
    stage
}

/// Rule U-1: what a member says is told under its name and passed on as it came; what others say in
/// its name is counted and goes no further, and does not stand in the way of the true word.
#[test]
fn nobody_speaks_in_anothers_name() {
    let mut stage = at_rest();
    let (forged, true_one) = (card("b", "c", (BORN, 0), b"lie"), card("b", "b", (BORN, 0), b"hi"));
    stage.tell("c", kind::BROADCAST, &forged);
    let mut changed = true_one.clone();
    changed[54] ^= 1;
    stage.tell("c", kind::BROADCAST, &changed);
    stage.until(25_000);
    assert_eq!((told(&mut stage.node), stage.node.stats().broadcasts_heard), (vec![], 0));
    assert_eq!(rejected(&stage.node, "broadcast-signature"), 1, "the changed one");
    let held = stage.node.stats().broadcasts_held;
    assert_eq!(held, 1, "another certificate: a newer record may tell");
    assert_eq!(cards(&stage), []);
    stage.tell("c", kind::BROADCAST, &true_one);
    assert_eq!(told(&mut stage.node), [(true, "b: hi".to_owned())]);
    stage.until(35_000);
    let passed = cards(&stage);
    assert!(!passed.is_empty() && passed.iter().all(|(_, body)| *body == true_one));
    let to: Vec<_> = passed.iter().map(|(to, _)| *to).collect();
    assert!(!to.contains(&Destination::Member(id("b"))), "it said it");
    assert!(!to.contains(&Destination::Member(id("c"))), "it brought it");
    assert!(to.contains(&Destination::Member(id("d"))));
}

/// Rule U-2: a broadcast is sent so often, and no more.
#[test]
fn a_broadcast_is_sent_so_often() {
    let mut stage = at_rest();
    let now = stage.now;
    say(&mut stage.node, now, b"hello").unwrap();
    stage.until(40_000);
    assert_eq!(cards(&stage).len(), 12, "max(12, λ·⌈log10(N+1)⌉)");
    let stats = stage.node.stats();
    assert_eq!((stats.broadcasts_said, stats.broadcasts_out), (1, 12));
    assert_eq!((stats.broadcasts_waiting, stats.broadcasts_dropped), (0, 0));
    assert_eq!(told(&mut stage.node), [], "whoever says it knows it");
}

/// Rule U-2: with little waiting it leaves soon; nothing waits for the tick.
#[test]
fn a_broadcast_leaves_soon() {
    let mut stage = at_rest();
    let now = stage.now;
    say(&mut stage.node, now, b"hello").unwrap();
    stage.until(20_020);
    assert_eq!(cards(&stage).len(), 3, "to all others");
}

/// Rule U-2: one that does not fit is refused with the limit that it breaks, and so is haste.
#[test]
fn what_cannot_be_passed_on_is_refused() {
    let mut node = acquainted(&["b"]);
    assert_eq!(say(&mut node, at(1), &[0; MOST_BYTES]), Ok(()));
    let too_large = Err(CommandError::TooLarge(MOST_BYTES + 1, MOST_BYTES));
    assert_eq!(say(&mut node, at(1), &[0; MOST_BYTES + 1]), too_large);
    let said = (0..500).filter(|_| say(&mut node, at(1), b"x").is_ok()).count();
    assert_eq!(said, 127, "128 at once");
    assert_eq!(say(&mut node, at(5), b"x"), Err(CommandError::TooFast));
    assert_eq!(say(&mut node, at(11), b"x"), Ok(()), "then one each ten milliseconds");
    assert_eq!(node.stats().broadcasts_said, 129);
}

/// Rule U-3: the host is told once, by whatever ways it comes, and of no earlier life.
#[test]
fn a_broadcast_is_told_once() {
    let mut node = acquainted(&["b", "c", "d"]);
    let first = card("b", "b", (BORN, 0), b"one");
    for from in ["b", "c", "d", "c"] {
        brings(&mut node, at(1), from, &first);
    }
    brings(&mut node, at(2), "c", &card("b", "b", (BORN, 5), b"six"));
    brings(&mut node, at(3), "c", &card("b", "b", (BORN, 1), b"two"));
    brings(&mut node, at(4), "c", &first);
    let heard = ["b: one", "b: six", "b: two"].map(|text| (true, text.to_owned()));
    assert_eq!(told(&mut node), heard);
    assert_eq!(node.stats().broadcasts_duplicate, 4);
    brings(&mut node, at(5), "c", &card("b", "b", (BORN - 1, 9), b"past"));
    assert_eq!((told(&mut node), rejected(&node, "broadcast-behind")), (vec![], 1));
    let mut own = acquainted(&["b"]);
    brings(&mut own, at(1), "b", &card("a", "a", (BORN, 0), b"mine"));
    assert_eq!((told(&mut own), own.stats().broadcasts_duplicate), (vec![], 1));
}

/// Rule U-3: what is older than a clock can be wrong is believed no more, so it cannot be replayed
/// once its number is forgotten.
#[test]
fn a_copy_that_was_kept_is_worth_nothing() {
    let mut node = acquainted(&["b", "c"]);
    let kept = card("b", "b", (BORN, 0), b"one");
    let hour = 3_600_000;
    brings(&mut node, at(hour), "c", &kept);
    assert_eq!((told(&mut node), rejected(&node, "broadcast-time")), (vec![], 1));
}

/// Rule U-8: what a newcomer says waits for its record; of what is held there is a bound.
#[test]
fn a_broadcast_waits_for_the_record_of_its_origin() {
    let mut node = acquainted(&["c", "d"]);
    let early = card("b", "b", (BORN, 0), b"new here");
    brings(&mut node, at(1), "c", &early);
    brings(&mut node, at(1), "d", &early);
    assert_eq!(told(&mut node), []);
    assert!(pulls(&drain(&mut node, at(1)), "b") > 0);
    tell(&mut node, at(2), "c", kind::RECORD, record("b", 0, "r").envelope());
    assert_eq!(told(&mut node), [(true, "b: new here".to_owned())]);
    let later = card("b", "b", (BORN + 7, 0), b"again here");
    brings(&mut node, at(3), "c", &later);
    assert_eq!(told(&mut node), [], "of a life that is not known yet");
    let life = Incarnation { generation: BORN + 7, counter: 0 };
    let record = stage::signed("b", life, Lifecycle::Active, "r");
    tell(&mut node, at(4), "c", kind::RECORD, record.envelope());
    assert_eq!(told(&mut node), [(true, "b: again here".to_owned())]);
}

/// The second certificate of a member.
fn second(name: &str) -> Names {
    let first = Names::of(name);
    Names { leaf: [&first.leaf[..], b"#2"].concat(), ..first }
}

/// `name` tells in the same life that it has exchanged its certificate.
fn exchange(stage: &mut stage::Stage, name: &str, counter: u32) {
    let content = record(name, counter, "r").record().clone();
    let record = SignedRecord::author(content, &second(name)).unwrap();
    stage.record("c", &record);
}

/// Rules U-1 and S-15: what a member said before it exchanged its certificate is heard and passed on
/// by those that know of the exchange already, for as long as a word is on its way.
#[test]
fn words_said_before_an_exchange_of_certificates_are_heard() {
    let mut stage = at_rest();
    exchange(&mut stage, "b", 1);
    let before = card("b", "b", (BORN, 0), b"before");
    stage.tell("c", kind::BROADCAST, &before);
    assert_eq!(told(&mut stage.node), [(true, "b: before".to_owned())]);
    assert_eq!(stage.node.stats().broadcasts_held, 0);
    stage.until(30_000);
    assert!(cards(&stage).contains(&(Destination::Member(id("d")), before)), "and passed on");
    // Later nobody can have said it before.
    stage.until(81_000);
    stage.tell("c", kind::BROADCAST, &card("b", "b", (BORN, 1), b"late"));
    assert_eq!((told(&mut stage.node), stage.node.stats().broadcasts_held), (vec![], 1));
}

/// Refuses the first certificate of `b`, as an authority does whose list names it.
struct Revoking(Names);

impl Authority for Revoking {
    fn sign(&self, message: &[u8]) -> Option<Signature> {
        self.0.sign(message)
    }
    fn leaf(&self) -> &[u8] {
        self.0.leaf()
    }
    fn intermediates(&self) -> &[[u8; 32]] {
        self.0.intermediates()
    }
    fn verify(&self, claim: &Claim<'_>) -> Result<(), PeerError> {
        if claim.leaf == Names::of("b").leaf {
            return Err(PeerError::Signature("revoked"));
        }
        self.0.verify(claim)
    }
}

/// Rules U-1 and S-16: a certificate that was revoked signs nothing that is heard, though it was
/// exchanged a moment ago; nor does one of a member that has gone.
#[test]
fn a_former_certificate_is_worth_no_more_than_its_member() {
    let mut stage = at_rest();
    exchange(&mut stage, "b", 1);
    let revoking = Revoking(Names::of("a"));
    stage.node.handle_authority(stage.now, Arc::new(revoking)).unwrap();
    stage.tell("c", kind::BROADCAST, &card("b", "b", (BORN, 0), b"stolen"));
    assert_eq!(rejected(&stage.node, "broadcast-signature"), 1);

    exchange(&mut stage, "d", 1);
    let mut leave = record("d", 2, "r").record().clone();
    leave.lifecycle = Lifecycle::Leaving;
    stage.record("c", &SignedRecord::author(leave, &second("d")).unwrap());
    stage.until(26_000);
    stage.tell("c", kind::BROADCAST, &card("d", "d", (BORN, 0), b"gone"));
    assert_eq!(rejected(&stage.node, "broadcast-departed"), 1);
    assert_eq!((told(&mut stage.node), cards(&stage)), (vec![], vec![]));
}

/// Rule U-8: what waits in vain is counted, whether it makes room or its time is up.
#[test]
fn what_is_held_in_vain_is_counted() {
    let mut stage = at_rest();
    for number in 0..20 {
        stage.tell("c", kind::BROADCAST, &card("x", "x", (BORN, number), b"who?"));
    }
    assert_eq!(stage.node.stats().broadcasts_held, 20);
    assert_eq!(rejected(&stage.node, "broadcast-held"), 4, "16 of one neighbour");
    stage.until(200_000);
    assert_eq!(rejected(&stage.node, "broadcast-held"), 20);
}

/// Rule U-8: a neighbour that brings more than it may silences itself and nobody else.
#[test]
fn what_one_neighbour_brings_has_a_budget() {
    let mut node = acquainted(&["b", "c", "d"]);
    for number in 0..3_000 {
        brings(&mut node, at(1), "c", &{
            let mut forged = card("b", "b", (BORN, number), b"x");
            forged[54] ^= 1;
            forged
        });
    }
    assert_eq!(rejected(&node, "broadcast-signature"), 1_024);
    assert_eq!(rejected(&node, "broadcast-budget"), 3_000 - 1_024);
    brings(&mut node, at(1), "d", &card("b", "b", (BORN, 0), b"true"));
    assert_eq!(told(&mut node), [(true, "b: true".to_owned())]);
}

/// Rule U-8: an origin that says more than it may is not passed on.
#[test]
fn what_one_origin_says_has_a_rate() {
    let mut node = acquainted(&["b", "c", "d"]);
    for number in 0..2_000 {
        let from = if number % 2 == 0 { "c" } else { "d" };
        brings(&mut node, at(1), from, &card("b", "b", (BORN, number), b"x"));
    }
    assert_eq!(node.stats().broadcasts_heard, 1_024);
    assert_eq!(rejected(&node, "broadcast-rate"), 2_000 - 1_024);
}

/// Rule U-8: whoever departed a while ago has nothing to say any more.
#[test]
fn the_departed_are_silent() {
    let mut node = acquainted(&["b", "c"]);
    let leave = stage::signed("b", stage::incarnation(1), Lifecycle::Leaving, "r");
    tell(&mut node, at(10), "c", kind::RECORD, leave.envelope());
    assert_eq!(state(&node, "b"), Some(State::Left));
    events(&mut node);
    brings(&mut node, at(4_000), "c", &card("b", "b", (BORN, 0), b"farewell"));
    assert_eq!(told(&mut node), [(true, "b: farewell".to_owned())]);
    brings(&mut node, at(6_000), "c", &card("b", "b", (BORN, 1), b"boo"));
    assert_eq!((told(&mut node), rejected(&node, "broadcast-departed")), (vec![], 1));
}

/// Rule U-4: while both wait, updates and broadcasts have half of each datagram (memberlist#299).
#[test]
fn updates_and_broadcasts_share_datagrams() {
    let mut node = acquainted(&["b", "c", "d"]);
    for number in 0..100 {
        let newcomer = format!("n{number}");
        tell(&mut node, at(1), "b", kind::RECORD, record(&newcomer, 0, "r").envelope());
        say(&mut node, at(1), &[0; 64]).unwrap();
    }
    let mut sent = Vec::new();
    while let Some((due, _)) = node.poll_timeout()
        && due <= at(210)
    {
        node.handle_timeout(due);
        sent.extend(drain(&mut node, due));
    }
    let (mut first, mut full) = ([0, 0], 0);
    for (_, bytes) in &sent {
        let (mut updates, mut broadcasts) = (0, 0);
        for message in Messages::new(bytes) {
            match message.unwrap() {
                Message::Update(_) => updates += 43,
                Message::Broadcast(body) => broadcasts += 3 + body.len(),
                _ => {}
            }
        }
        if updates + broadcasts > 1_000 {
            full += 1;
            first[0] += updates;
            first[1] += broadcasts;
        }
    }
    assert!(full >= 30, "{full} full datagrams");
    let [updates, broadcasts] = first;
    assert!(updates * 20 >= broadcasts * 9 && broadcasts * 20 >= updates * 9, "{first:?}");
    assert_eq!(node.stats().broadcasts_dropped, 0);
}

/// Rule U-5: a later word of one key spares the others an earlier one.
#[test]
fn the_latest_of_a_key_is_told() {
    let mut node = acquainted(&["b", "c", "d"]);
    let of = |number, text: &[u8]| keyed("b", "b", (BORN, number), Some(1), text);
    brings(&mut node, at(1), "c", &of(2, b"newer"));
    brings(&mut node, at(1), "c", &of(1, b"older"));
    assert_eq!(told(&mut node), [(true, "b: newer".to_owned())]);
    brings(&mut node, at(1), "c", &of(3, b"newest"));
    assert_eq!(told(&mut node), [(true, "b: newest".to_owned())]);
    let stats = node.stats();
    assert_eq!((stats.broadcasts_superseded, stats.broadcasts_waiting), (2, 1));
    node.handle_timeout(at(21));
    let sent = drain(&mut node, at(21));
    let passed =
        sent.iter().flat_map(|(_, bytes)| Messages::new(bytes)).filter_map(
            |message| match message {
                Ok(Message::Broadcast(body)) => Some(body),
                _ => None,
            },
        );
    let passed: Vec<_> = passed.collect();
    assert!(!passed.is_empty() && passed.iter().all(|body| **body == of(3, b"newest")));
}

/// Rule U-6: a message is one datagram to one member, and is told as coming from its sender.
#[test]
fn a_message_reaches_its_member_and_nobody_else() {
    let mut node = acquainted(&["b", "c"]);
    let send = |node: &mut Node, to: &str, bytes: usize| {
        let to = id(to);
        node.handle_command(at(1), Command::Send { to, topic: 9, bytes: vec![7; bytes] })
    };
    assert_eq!(send(&mut node, "b", 1_024), Ok(()));
    assert_eq!(send(&mut node, "b", 1_025), Err(CommandError::TooLarge(1_025, 1_024)));
    assert_eq!(send(&mut node, "nobody", 1), Err(CommandError::NoSuchMember));
    assert_eq!(send(&mut node, "a", 1), Err(CommandError::NoSuchMember), "ourselves");
    let direct = |(transmit, bytes): &(Transmit, Vec<u8>)| {
        let found = Messages::new(bytes).find_map(|message| match message {
            Ok(Message::Direct(head, bytes)) => Some((head.topic.get(), bytes.len())),
            _ => None,
        });
        found.map(|found| (transmit.to, found))
    };
    let mut sent = drain(&mut node, at(1));
    node.handle_timeout(at(500));
    sent.extend(drain(&mut node, at(500)));
    let sent: Vec<_> = sent.iter().filter_map(direct).collect();
    assert_eq!(sent, [(Destination::Member(id("b")), (9, 1_024))], "once");
    let said = (0..500).filter(|_| send(&mut node, "c", 1).is_ok()).count();
    assert_eq!(said, 128);
    assert_eq!(send(&mut node, "c", 1), Err(CommandError::TooFast));
    assert_eq!(send(&mut node, "b", 1), Ok(()), "each member by itself");

    events(&mut node);
    tell(&mut node, at(20_000), "b", kind::DIRECT, b"\x09\0\0\0psst");
    assert_eq!(told(&mut node), [(false, "b: psst".to_owned())]);
    tell(&mut node, at(20_000), "d", kind::DIRECT, b"\x09\0\0\0psst");
    assert_eq!((told(&mut node), rejected(&node, "message-stranger")), (vec![], 1));
}

/// Rules U-6 and U-8: what one member sends has a budget.
#[test]
fn messages_of_one_member_have_a_budget() {
    let mut node = acquainted(&["b", "c"]);
    for _ in 0..1_500 {
        tell(&mut node, at(1), "b", kind::DIRECT, b"\x09\0\0\0x");
    }
    assert_eq!(rejected(&node, "message-budget"), 1_500 - 1_024);
    tell(&mut node, at(1), "c", kind::DIRECT, b"\x09\0\0\0y");
    assert_eq!(node.stats().messages_heard, 1_025);
}

/// Rule U-7: a host that takes nothing misses the newest of what was said, is told how much, and
/// misses nothing of members.
#[test]
fn a_slow_host_misses_words_and_no_member() {
    let config = Config::new(CLUSTER);
    let limits = mesh_gossip_proto::Limits { events: 10, ..config.limits };
    let birth = stage::birth(Config { limits, ..config }, "a", BORN, 7);
    let mut node = introduced(Node::new(at(0), birth).unwrap(), &["b", "c"]);
    events(&mut node);
    for number in 0..25 {
        brings(&mut node, at(1), "c", &card("b", "b", (BORN, number), b"x"));
    }
    tell(&mut node, at(2), "c", kind::RECORD, record("d", 0, "r").envelope());
    let found = events(&mut node);
    assert!(matches!(found[0], Event::Joined(_)), "members first");
    assert_eq!(found[1], Event::Missed(15));
    assert_eq!(found.len(), 12);
    assert_eq!((node.stats().broadcasts_missed, node.stats().broadcasts_heard), (15, 25));
    assert_eq!(node.stats().broadcasts_waiting, 25, "they are passed on all the same");
}

/// Rule G-5: news that has waited longer than a tick is told to more members at once.
#[test]
fn late_news_raise_the_fanout() {
    let names: Vec<String> = (0..64).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let targets = |woken: u64| {
        let fanout = Fanout::Adaptive { coefficient: 1.0, floor: 1, ceiling: 32 };
        let config = Config {
            fanout,
            detector: Detector::Lifeguard,
            retransmit_limit: 16,
            ..Config::new(CLUSTER)
        };
        let birth = stage::birth(config, "a", BORN, 7);
        let mut node = introduced(Node::new(at(0), birth).unwrap(), &names);
        assert_eq!(node.fanout(), 7, "⌈log2 65⌉");
        assert_eq!(node.queue_age(at(woken)), Duration::from_millis(woken));
        node.handle_timeout(at(woken));
        let sent = drain(&mut node, at(woken));
        assert_eq!(node.queue_age(at(woken)), Duration::ZERO, "all went");
        let gossip = sent.iter().filter(|(_, bytes)| bytes[0] == kind::UPDATE);
        gossip.map(|(transmit, _)| transmit.to).collect::<std::collections::BTreeSet<_>>().len()
    };
    // A wake-up that comes late: after four ticks and a half, of which one is no delay.
    assert_eq!([targets(20), targets(390), targets(900)], [7, 7, 10]);
}
