//! Rule F-9. The baselines are the papers' and memberlist's, part by part: what this project adds is off when
//! it is asked to be (`Baseline::paper`), and each part of Lifeguard can be had alone.

mod stage;

use mesh_gossip_proto::wire::message::{Notice, PingRequest, Update, kind};
use mesh_gossip_proto::{Baseline, Config, Destination, Detector, Extent, State};
use stage::{CLUSTER, Sent, Stage, death, doubt, id, incarnation, ms, record};

const OTHERS: [&str; 8] = ["b", "c", "d", "e", "f", "g", "h", "i"];

fn with(baseline: Baseline) -> Config {
    Config { baseline, ..Config::memberlist_lan(CLUSTER) }
}

fn swim() -> Config {
    Config { detector: Detector::Swim, ..Config::memberlist_lan(CLUSTER) }
}

/// Every ablation and both ends, by name.
fn all() -> [(&'static str, Config); 5] {
    [
        ("swim", swim()),
        ("LHA-Probe", with(Baseline::probe_only())),
        ("LHA-Suspicion", with(Baseline::suspicion_only())),
        ("buddy", with(Baseline::buddy_only())),
        ("lifeguard", with(Baseline::paper())),
    ]
}

fn pings(stage: &Stage) -> Vec<(u64, Destination)> {
    stage.sent_of(kind::PING).iter().map(|sent| (ms(sent.at), sent.to)).collect()
}

/// Rule F-1: one probe an interval however small the cluster, in an order that changes every round.
#[test]
fn the_papers_probe_once_an_interval_and_reshuffle_every_round() {
    for others in [&OTHERS[..2], &OTHERS[..]] {
        let mut stage = Stage::knowing(with(Baseline::paper()), others);
        stage.until(60 * 1_000 * others.len() as u64);
        let pings = pings(&stage);
        assert!(pings.windows(2).all(|pair| pair[1].0 - pair[0].0 == 1_000));
        let rounds: Vec<Vec<Destination>> = pings
            .chunks_exact(others.len())
            .map(|r| r.iter().map(|(_, to)| *to).collect())
            .collect();
        for round in &rounds {
            let all = others.iter().all(|o| round.contains(&Destination::Member(id(o))));
            assert!(all, "everybody once a round: {round:?}");
        }
        let changed = rounds.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changed > rounds.len() / 4, "{changed} of {}", rounds.len());
    }
}

/// Rule G-1: λ·⌈log10(n+1)⌉ sends and no floor below it; rule G-3: one datagram each to three
/// members every 200 ms, on a tick of random phase.
#[test]
fn the_papers_gossip_to_three_members_a_tick_and_as_often_as_the_formula_says() {
    let quiet = Config { interval: core::time::Duration::from_secs(3_600), ..swim() };
    let quiet = Config { suspicion_interval: quiet.interval * 10, ..quiet };
    let mut stage = Stage::knowing(quiet, &OTHERS);
    stage.until(60_000);
    stage.sent.clear();
    stage.record("b", &record("b", 1));
    stage.until(120_000);
    let gossip: Vec<&Sent> = stage.sent_of(kind::UPDATE);
    assert_eq!(gossip.len(), 4, "nine members have one digit: 4 sends");
    let first = ms(gossip[0].at);
    assert!((60_000..60_200).contains(&first), "{first}");
    let ticks: Vec<u64> = gossip.iter().map(|sent| ms(sent.at) - first).collect();
    assert_eq!(ticks, [0, 0, 0, 200]);
    let distinct =
        gossip[..3].iter().map(|sent| sent.to).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(distinct.len(), 3);
}

/// Rule F-7: with the buddy system a suspect learns of the doubt from the ping, otherwise from
/// gossip alone.
#[test]
fn only_the_buddy_system_warns_a_suspect_with_its_ping() {
    for (name, config) in all() {
        let buddy = config.parts().buddy;
        let mut stage = Stage::knowing(config, &OTHERS);
        stage.until(60_000);
        stage.sent.clear();
        stage.say("c", &doubt("b", 0, "c"));
        stage.until(90_000);
        let to = Destination::Member(id("b"));
        let warned = stage
            .sent_of(kind::SUSPECT)
            .iter()
            .filter(|sent| sent.to == to && sent.body[28..] == id("a").0)
            .count();
        assert_eq!(warned > 0, buddy, "{name}: {warned} warnings of our own");
    }
}

/// Rule F-5: with LHA-Suspicion a lone accuser waits six times as long as with SWIM.
#[test]
fn only_dynamic_suspicion_waits_for_more_accusers() {
    for (name, config) in all() {
        let wait_ms = if config.parts().dynamic { 24_000 } else { 4_000 };
        let mut stage = Stage::knowing(config, &OTHERS);
        stage.until(60_000);
        stage.say("c", &doubt("b", 0, "c"));
        stage.until(60_000 + wait_ms - 1);
        assert_eq!(stage.state("b"), Some(State::Suspect), "{name}");
        stage.until(60_000 + wait_ms);
        assert_eq!(stage.state("b"), Some(State::Dead), "{name}");
    }
}

/// Rule F-4: with LHA-Probe silence of relays and refutations stretch interval and timeout, and a
/// relay says that it is well; SWIM knows neither.
#[test]
fn only_local_health_stretches_probes_and_sends_nacks() {
    for (name, config) in all() {
        let health = config.parts().health;
        let mut stage = Stage::knowing(config, &OTHERS);
        stage.say("c", &doubt("a", 0, "c"));
        assert_eq!(stage.node.stats().awareness, u32::from(health), "{name}");
        stage.answering.clear();
        let request = PingRequest {
            sequence: 5.into(),
            timeout_ms: 400.into(),
            reserved: 0.into(),
            target: id("b").0,
        };
        stage.say("c", &request);
        stage.until(60_000);
        assert_eq!(stage.sent_of(kind::NACK).len(), usize::from(health), "{name}");
        let expected = if health { 8 } else { 0 };
        assert_eq!(stage.node.stats().awareness, expected, "{name}: nobody answers");
    }
}

/// Rules H-1, H-2, H-3 and A-2: no notice, no redial, no exchange for a difference; but gossip to
/// the recently dead, and a periodic exchange.
#[test]
fn the_papers_neither_redial_the_dead_nor_tell_them() {
    let mut stage = Stage::knowing(with(Baseline::paper()), &OTHERS);
    stage.node.handle_stream_closed(id("b"), Extent::Whole, true);
    while stage.node.poll_stream().is_some() {}
    stage.until(60_000);
    stage.say("c", &death("b", 0, "c"));
    stage.sent.clear();
    stage.record("b", &record("b", 0));
    stage.say("b", &death("d", 0, "b"));
    assert_eq!(stage.state("d"), Some(State::Dead), "the word of the dead counts");
    for n in 1..60 {
        stage.record("c", &record("c", n));
        stage.until(60_000 + n as u64 * 500);
    }
    let to = Destination::Member(id("b"));
    let told = stage.sent.iter().filter(|sent| sent.to == to);
    assert!(told.clone().any(|sent| sent.kind == kind::DEAD && sent.body[..16] == id("b").0));
    stage.sent.clear();
    for n in 60..400 {
        stage.record("c", &record("c", n));
        stage.until(60_000 + n as u64 * 500 + 1_000);
    }
    let told = stage.sent.iter().filter(|sent| sent.to == to && sent.kind != kind::RECORD);
    assert_eq!(told.count(), 0, "30 s later the dead hear nothing");
    assert!(stage.sent_of(kind::NOTICE).is_empty());
    let exchanges = std::iter::from_fn(|| stage.node.poll_stream()).count();
    assert!((4..=8).contains(&exchanges), "{exchanges} in 200 s, one every 30 s");
}

/// Rule F-7: a refutation travels by gossip; nobody is sent a record that it did not ask for.
#[test]
fn the_papers_refute_by_gossip() {
    let mut stage = Stage::knowing(with(Baseline::paper()), &OTHERS);
    stage.until(60_000);
    stage.sent.clear();
    stage.say("c", &doubt("a", 0, "c"));
    stage.say("c", &Notice { incarnation: incarnation(0).into(), announcer: id("c").0 });
    stage.until(61_000);
    assert!(stage.sent_of(kind::RECORD).is_empty());
    let own = Update::new(id("a"), incarnation(1), State::Alive, stage.node.local().hash());
    use zerocopy::IntoBytes;
    assert!(stage.sent_of(kind::UPDATE).iter().any(|sent| sent.body == own.as_bytes()));
}

/// Rule F-8: a stall of our own is not forgiven: what was overdue fails.
#[test]
fn the_papers_forgive_no_stall() {
    let mut stage = Stage::knowing(with(Baseline::paper()), &OTHERS);
    stage.answering.clear();
    while stage.node.stats().probes == 0 {
        let next = ms(stage.now) + 100;
        stage.until(next);
    }
    stage.now = stage::at(ms(stage.now) + 60_000);
    stage.node.handle_timeout(stage.now);
    assert_eq!(stage.node.stats().stalls, 0);
    assert!(stage.node.stats().probes_failed > 0);
}
