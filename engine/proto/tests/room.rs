//! Who is remembered after it has gone (rules L-2 to L-4), and what happens at each limit (rules H-4
//! and B-1).

mod stage;

use mesh_gossip_proto::wire::message::{Death, Notice, PingRequest, Update, kind};
use mesh_gossip_proto::{
    Broadcast, Command, CommandError, Config, Detector, Duration, Event, Extent, Lifecycle, Limits,
    MemberTable, Metadata, RecordHash, SignedRecord, State,
};
use stage::observers::verify;
use stage::{CLUSTER, Names, Stage, at, death, id, incarnation, metadata, ms, record, signed};

/// Detector `lifeguard`, which believes a death without a proof.
fn limited(limits: Limits) -> Config {
    Config { detector: Detector::Lifeguard, limits, ..Config::new(CLUSTER) }
}

fn places(members: usize) -> Config {
    limited(Limits { members, ..Limits::default() })
}

fn leave(name: &str) -> SignedRecord {
    signed(name, incarnation(1), Lifecycle::Leaving, "r")
}

fn forgotten(stage: &mut Stage) -> usize {
    stage.events().iter().filter(|event| matches!(event, Event::Forgotten(_))).count()
}

/// Rule L-3, foca#31 and #32, serf's lists that grew from 400 to 6,000: members that come and go for
/// ever under new names find a place, and what is kept of them stays bounded.
#[test]
fn thousands_of_short_lives_stay_bounded() {
    const PLACES: usize = 64;
    const LIVES: usize = 3_000;
    let mut stage = Stage::knowing(places(PLACES), &["b", "c"]);
    let mut told = 0;
    for n in 0..LIVES {
        let name = format!("s{n}");
        stage.record(&name, &record(&name, 0));
        assert_eq!(stage.state(&name), Some(State::Alive), "life {n} finds a place");
        if n % 2 == 0 {
            stage.record(&name, &leave(&name));
        } else {
            stage.say("b", &death(&name, 0, "b"));
        }
        assert!(!stage.node.member(id(&name)).unwrap().state.is_present());
        stage.until(ms(stage.now) + 50);
        assert!(stage.node.table().len() <= PLACES);
        assert!(stage.node.contacts().count() <= PLACES, "{n}");
        told += forgotten(&mut stage);
    }
    assert_eq!([stage.state("b"), stage.state("c")], [Some(State::Alive); 2]);
    let stats = stage.node.stats();
    let over = LIVES + 3 - PLACES;
    assert_eq!((stats.members_displaced as usize, told, stats.members_refused), (over, over, 0));
}

/// Rules L-3 and S-11: nobody present makes room; whoever did leaves its tombstone.
#[test]
fn nobody_present_makes_room() {
    let mut stage = Stage::knowing(places(4), &["b", "c", "d"]);
    stage.record("e", &record("e", 0));
    assert_eq!((stage.state("e"), stage.node.stats().members_refused), (None, 1));
    stage.record("c", &leave("c"));
    stage.record("e", &record("e", 0));
    assert_eq!((stage.state("e"), stage.state("c")), (Some(State::Alive), None));
    assert_eq!(stage.node.stats().members_displaced, 1);
    stage.record("d", &record("c", 0));
    assert_eq!((stage.state("c"), stage.node.stats().members_refused), (None, 2));
    stage.record("d", &leave("d"));
    stage.record("b", &record("c", 0));
    assert_eq!(stage.state("c"), None, "its life is over");
    assert_eq!(stage.node.stats().rejected["tombstone"], 1);
}

/// Rule L-3: the dead may live behind a partition; who left by its own word does not, and goes first.
#[test]
fn who_left_makes_room_before_the_dead() {
    let mut stage = Stage::knowing(places(4), &["b", "c", "d"]);
    stage.say("c", &death("b", 0, "c"));
    stage.until(5_000);
    stage.record("d", &leave("d"));
    // A stranger's leave is not worth anybody's place.
    stage.record("x", &leave("x"));
    assert_eq!((stage.state("x"), stage.node.stats().members_refused), (None, 1));
    for (newcomer, gone, stays) in [("e", "d", Some(State::Dead)), ("f", "b", None)] {
        stage.record(newcomer, &record(newcomer, 0));
        assert_eq!(stage.state(newcomer), Some(State::Alive));
        assert_eq!((stage.state(gone), stage.state("b")), (None, stays));
    }
}

/// Rule L-4: a departed member is shown for `leftRetention`, and known to the redial for longer.
#[test]
fn the_departed_are_listed_for_a_while() {
    let config = Config { left_retention: Duration::from_secs(30), ..places(100) };
    let mut stage = Stage::knowing(config, &["b", "c"]);
    stage.say("b", &death("c", 0, "b"));
    let listed = |stage: &Stage, ms| {
        let view = stage.node.view(at(ms));
        let listed = view.listed().any(|member| member.id() == id("c"));
        assert!(view.listed().any(|member| member.id() == id("b")), "the present always are");
        (listed, view.version())
    };
    stage.until(29_000);
    let (before, version) = listed(&stage, 29_000);
    stage.until(41_000);
    let (after, later) = listed(&stage, 41_000);
    assert!(before && !after);
    assert!(later > version, "whoever publishes views publishes another");
    assert_eq!(stage.state("c"), Some(State::Dead), "it may come back");
    stage.until(60_000);
    assert_eq!(stage.node.version(), later, "once");
}

/// Rules H-4 and S-7: a storm of notices gets few answers, is counted, and moves us once.
#[test]
fn a_storm_of_notices_is_answered_a_few_times() {
    for detector in [Detector::Observers, Detector::Lifeguard] {
        let config = Config { detector, ..places(100) };
        let mut stage = Stage::knowing(config, &["b", "c", "d"]);
        let notice = Notice { incarnation: incarnation(0).into(), announcer: id("b").0 };
        (0..500).for_each(|_| stage.say("b", &notice));
        let (rejected, own) =
            (stage.node.stats().rejected, stage.node.local().record().incarnation);
        assert_eq!(rejected["notice-budget"], 496);
        assert!(own <= incarnation(1), "{detector:?}: {own}");
        assert!(stage.sent_of(kind::RECORD).len() <= 4);
        let before = stage.sent_of(kind::RECORD).len();
        stage.say("c", &Notice { incarnation: own.into(), ..notice });
        assert_eq!(stage.sent_of(kind::RECORD).len(), before + 1, "nobody else is silenced");
    }
}

/// Rule B-1, `limits.metadataBytes`; memberlist#191: 512 bytes are not enough, 4,096 are the default.
#[test]
fn metadata_is_taken_up_to_its_limit() {
    let labelled = |bytes: usize| {
        let label = |n: usize| (format!("label-{n}"), "v".repeat(bytes / 8));
        Metadata {
            cluster_id: CLUSTER.into(),
            labels: (0..8).map(label).collect(),
            ..metadata("a")
        }
    };
    let mut stage = Stage::knowing(places(100), &["b"]);
    stage.node.handle_command(stage.now, Command::SetMetadata(labelled(3_800))).unwrap();
    let refused = stage.node.handle_command(stage.now, Command::SetMetadata(labelled(4_096)));
    assert!(matches!(refused, Err(CommandError::MetadataTooLarge(_, 4_096))), "{refused:?}");
    // Another's is refused by whoever allows less.
    let limits = Limits { metadata_bytes: 512, ..Limits::default() };
    let mut strict = Stage::knowing(limited(limits), &["b"]);
    let mut content = record("b", 1).record().clone();
    content.metadata = Metadata { node_id: "b".into(), ..labelled(600) };
    strict.record("b", &SignedRecord::author(content, &Names::of("b")).unwrap());
    assert_eq!(strict.node.member(id("b")).unwrap().incarnation(), incarnation(0));
    assert_eq!(strict.node.stats().rejected["decode"], 1);
}

/// Rule B-1, `limits.queueEntries`: the most often told makes room.
#[test]
fn a_full_queue_drops_and_counts() {
    let limits = Limits { queue_entries: 2, ..Limits::default() };
    let mut stage = Stage::knowing(limited(limits), &["b", "c", "d", "e"]);
    ["b", "c", "d", "e"].into_iter().for_each(|name| stage.record(name, &record(name, 1)));
    let stats = stage.node.stats();
    assert_eq!(stats.queue_depth, 2);
    assert!(stats.queue_dropped >= 2, "{}", stats.queue_dropped);
}

/// Rule B-1, `limits.pulls`: a hint without room waits for the next one.
#[test]
fn a_pull_without_room_is_counted() {
    let limits = Limits { pulls: 1, ..Limits::default() };
    let mut stage = Stage::knowing(limited(limits), &["b"]);
    // Nobody gives a ticket, so a state is asked for, and comes.
    stage.until(3_000);
    stage.node.handle_stream_closed(id("b"), Extent::Whole, true);
    stage.sent.clear();
    for name in ["x", "y"] {
        stage.say("b", &Update::new(id(name), incarnation(0), State::Alive, RecordHash(1)));
    }
    assert_eq!(stage.sent_of(kind::RECORD_PULL).len(), 1);
    assert_eq!(stage.node.stats().pulls_refused, 1);
}

/// Rule B-1, `limits.relays`: a further request gets no nack.
#[test]
fn a_relay_without_room_is_counted() {
    let limits = Limits { relays: 1, ..Limits::default() };
    let mut stage = Stage::knowing(limited(limits), &["b", "c"]);
    stage.answering.clear();
    for sequence in [1_u32, 2] {
        let target = id("c").0;
        let (sequence, timeout_ms, reserved) = (sequence.into(), 500.into(), 0.into());
        stage.say("b", &PingRequest { sequence, timeout_ms, reserved, target });
    }
    assert_eq!(stage.node.stats().relays_refused, 1);
    stage.until(600);
    assert_eq!(stage.sent_of(kind::NACK).len(), 1);
}

/// Rule B-1, `limits.tests`: a further one is refused.
#[test]
fn a_test_without_room_is_counted() {
    let limits = Limits { tests: 1, ..Limits::default() };
    let config = Config { detector: Detector::Observers, ..limited(limits) };
    let mut stage = Stage::knowing(config, &["b", "c", "d", "e"]);
    ["c", "d"].into_iter().for_each(|subject| stage.say("b", &verify(subject, 1)));
    let stats = stage.node.stats();
    assert_eq!((stats.tests, stats.tests_refused), (1, 1));
}

/// Rule B-1, `limits.proofs`: a death whose proof has no room is looked into.
#[test]
fn a_proof_without_room_is_counted() {
    let limits = Limits { proofs: 1, ..Limits::default() };
    let config = Config { detector: Detector::Observers, ..limited(limits) };
    let mut stage = Stage::knowing(config, &["b", "c", "d", "e"]);
    for subject in ["c", "d"] {
        stage.say("b", &Death { proof: 5.into(), ..death(subject, 0, "b") });
    }
    let stats = stage.node.stats();
    assert_eq!((stats.proofs_pulled, stats.proofs_dropped), (1, 1));
    assert_eq!(stats.tests, 1, "we look ourselves");
}

/// What became of five broadcasts of 1,000 bytes: how many wait, and how many were dropped.
fn five_words(limits: Limits) -> (u64, u64) {
    let mut stage = Stage::knowing(limited(limits), &["b", "c"]);
    for word in 0..5 {
        let broadcast = Broadcast { topic: 7, key: None, bytes: vec![word; 1_000] };
        stage.node.handle_command(stage.now, Command::Broadcast(broadcast)).unwrap();
    }
    let stats = stage.node.stats();
    (stats.broadcasts_waiting, stats.broadcasts_dropped)
}

/// Rules U-2 and B-1, `limits.broadcasts`: the most often sent makes room.
#[test]
fn broadcasts_without_a_place_are_counted() {
    assert_eq!(five_words(Limits::default()), (5, 0));
    assert_eq!(five_words(Limits { broadcasts: 3, ..Limits::default() }), (3, 2));
}

/// Rules U-2 and B-1, `limits.broadcast_bytes`: likewise, signatures included.
#[test]
fn broadcasts_without_room_for_their_bytes_are_counted() {
    let bytes = |broadcast_bytes| five_words(Limits { broadcast_bytes, ..Limits::default() });
    assert_eq!(bytes(2_500), (2, 3));
    assert_eq!(bytes(2_048), (1, 4), "the least that may be set holds the largest broadcast");
}

/// Rule B-1, `limits.events`: the oldest go, and the host is told how many.
#[test]
fn events_without_room_are_counted() {
    let limits = Limits { events: 2, ..Limits::default() };
    let mut stage = Stage::knowing(limited(limits), &["b", "c", "d", "e", "f"]);
    let told = stage.events();
    assert_eq!((told.len(), &told[0]), (3, &Event::Overflow(3)));
    assert_eq!(stage.node.stats().events_lost, 3);
}
