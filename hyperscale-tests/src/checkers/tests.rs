//! Every checker is shown a history that it must refuse, and one that it must not.

use mesh_gossip_proto::membership::record::first_record;
use mesh_gossip_proto::{LeftReason, Metadata};

use super::*;
use crate::authority::ModelAuthority;

const NODE: &str = "n7";

/// A record that `signer` signs for [`NODE`], with `notary` watching.
fn record(notary: &Notary, signer: &str, counter: u32) -> Arc<SignedRecord> {
    let metadata = Metadata {
        node_id: NODE.into(),
        role: "worker".into(),
        region: "r1".into(),
        mesh_version: "1".into(),
        ..Metadata::default()
    };
    let incarnation = Incarnation { generation: 1, counter };
    let record = first_record("sim", incarnation, Vec::new(), metadata);
    let authority = ModelAuthority::new(signer, 0, notary.clone());
    Arc::new(SignedRecord::author(record, &authority).expect("it signs"))
}

fn member(record: &Arc<SignedRecord>, state: State) -> Member {
    Member { record: record.clone(), state, since: Instant::ORIGIN }
}

/// What the checkers say to a history of node 0.
fn verdict(notary: &Notary, history: &[Event]) -> Option<&'static str> {
    let mut checkers = Checkers::new(1, notary.clone());
    let roll = Roll::default();
    for event in history {
        checkers.event(Instant::ORIGIN, 0, event, &roll);
    }
    checkers.first().map(|violation| violation.checker)
}

fn look<'a>(id: MemberId, config: &'a Config, stats: &'a Stats) -> Look<'a> {
    Look { at: Instant::ORIGIN, by: 0, id, leaving: false, config, stats }
}

#[test]
fn the_departed_come_back_under_a_higher_incarnation_alone() {
    let notary = Notary::default();
    let [old, new] = [0, 1].map(|counter| record(&notary, NODE, counter));
    let left = Event::Left { record: old.clone(), reason: LeftReason::Failed };
    let back = |record: &Arc<SignedRecord>| Event::Recovered {
        record: record.clone(),
        previous: State::Dead,
    };
    let joined = Event::Joined(old.clone());
    let wrong = [joined.clone(), left.clone(), back(&old)];
    assert_eq!(verdict(&notary, &wrong), Some(NO_RESURRECTION));
    assert_eq!(verdict(&notary, &[joined.clone(), left.clone(), back(&new)]), None);
    let forgotten = Event::Forgotten(old.record().id);
    let news = [joined.clone(), left.clone(), forgotten, joined];
    assert_eq!(verdict(&notary, &news), None, "whom nobody remembers is new");
}

#[test]
fn incarnations_never_fall() {
    let notary = Notary::default();
    let [old, new] = [0, 1].map(|counter| record(&notary, NODE, counter));
    let fall = [Event::Joined(new.clone()), Event::Updated(old.clone())];
    assert_eq!(verdict(&notary, &fall), Some(INCARNATION_MONOTONIC));
    assert_eq!(verdict(&notary, &[Event::Joined(old.clone()), Event::Updated(new.clone())]), None);
    // And the table must hold what was told.
    let mut checkers = Checkers::new(1, notary.clone());
    checkers.event(Instant::ORIGIN, 0, &Event::Joined(new.clone()), &Roll::default());
    let (config, stats) = (Config::new("sim"), Stats::default());
    let look = look(MemberId([0; 16]), &config, &stats);
    let held = checkers.look_at(&look, &member(&old, State::Alive));
    assert_eq!(held.map_err(|violation| violation.checker), Err(INCARNATION_MONOTONIC));
    assert_eq!(checkers.look_at(&look, &member(&new, State::Alive)), Ok(()));
}

#[test]
fn a_record_that_its_owner_never_signed_is_noticed() {
    let notary = Notary::default();
    let forged = record(&notary, "n8", 0);
    assert_eq!(verdict(&notary, &[Event::Joined(forged.clone())]), Some(NO_FORGED_RECORD));
    let (config, stats) = (Config::new("sim"), Stats::default());
    let look = look(MemberId([0; 16]), &config, &stats);
    let held = Checkers::new(1, notary).look_at(&look, &member(&forged, State::Alive));
    assert_eq!(held.map_err(|violation| violation.checker), Err(NO_FORGED_RECORD));
}

#[test]
fn full_queues_and_lost_events_are_noticed() {
    let notary = Notary::default();
    assert_eq!(verdict(&notary, &[Event::Overflow(3)]), Some(BOUNDED_QUEUES));
    let config = Config::new("sim");
    let checkers = Checkers::new(1, notary);
    let of = |stats: Stats, sizes: Sizes, burst| {
        let seen =
            checkers.look_at_queues(&look(MemberId([0; 16]), &config, &stats), &sizes, burst);
        seen.map_err(|violation| violation.checker)
    };
    let (none, no_size) = (Stats::default(), Sizes::default());
    let full = Sizes { members: 200_000, contacts: 200_000, observers: 8 };
    let stats = Stats { queue_depth: 65_536, awareness: 8, baseline_permille: 980, ..none.clone() };
    assert_eq!(of(stats, full, 20), Ok(()));
    for sizes in [
        Sizes { members: 200_001, ..full },
        Sizes { contacts: 200_001, ..full },
        Sizes { observers: 9, ..full },
    ] {
        assert_eq!(of(none.clone(), sizes, 0), Err(BOUNDED_QUEUES), "{sizes:?}");
    }
    for stats in [
        Stats { queue_depth: 65_537, ..none.clone() },
        Stats { awareness: 9, ..none.clone() },
        Stats { baseline_permille: 1_001, ..none.clone() },
    ] {
        assert_eq!(of(stats.clone(), no_size, 0), Err(BOUNDED_QUEUES), "{stats:?}");
    }
    assert_eq!(of(none, no_size, 100_000), Err(BOUNDED_QUEUES));
}

/// Whoever has been well for half a minute, with a sound network around it, is held failed by
/// nobody; during faults, or soon after, a verdict may be right.
#[test]
fn a_false_eviction_is_noticed_once_the_faults_have_died_away() {
    let notary = Notary::default();
    let own = record(&notary, NODE, 0);
    let left = Event::Left { record: own.clone(), reason: LeftReason::Failed };
    let at = |seconds: u64| Instant::ORIGIN + Duration::from_secs(seconds);
    let mut roll = Roll::default();
    roll.enter(own.record().id);
    roll.starts(0, at(5));
    let verdict = |roll: &Roll, calm: &[(u64, bool)], told: u64| {
        let mut checkers = Checkers::new(1, notary.clone());
        for (since, calm) in calm {
            checkers.calm(at(*since), *calm);
        }
        checkers.event(at(told), 0, &left, roll);
        checkers.first().map(|violation| violation.checker)
    };
    assert_eq!(verdict(&roll, &[(6, true), (20, true)], 36), Some(NO_FALSE_EVICTION));
    assert_eq!(verdict(&roll, &[(6, true)], 34), None, "it has just started");
    assert_eq!(verdict(&roll, &[(6, true), (10, false), (20, true)], 49), None, "an echo");
    assert_eq!(verdict(&roll, &[(6, true), (10, false)], 90), None, "a faulty network");
    assert_eq!(verdict(&roll, &[], 90), None, "nobody said that it was sound");
    roll.leaves(0);
    assert_eq!(verdict(&roll, &[(6, true)], 90), None, "it was told to leave");
    roll.ends(0, at(40));
    assert_eq!(verdict(&roll, &[(6, true)], 90), None, "it does not run");
}

#[test]
fn whoever_holds_itself_gone_is_noticed() {
    let notary = Notary::default();
    let own = record(&notary, NODE, 0);
    let checkers = Checkers::new(1, notary);
    let (config, stats) = (Config::new("sim"), Stats::default());
    let here = look(own.record().id, &config, &stats);
    let held = checkers.look_at(&here, &member(&own, State::Dead));
    assert_eq!(held.map_err(|violation| violation.checker), Err(SELF_ALIVE));
    assert_eq!(checkers.look_at(&here, &member(&own, State::Alive)), Ok(()));
    let leaving = Look { leaving: true, ..here };
    assert_eq!(checkers.look_at(&leaving, &member(&own, State::Left)), Ok(()));
}

#[test]
fn views_that_differ_are_noticed() {
    use crate::World;
    use std::time::Duration;
    let mut world: World = World::seeded(4).nodes(4).checked();
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.check_settled(), Ok(()));
    world.network.part(&[0], &[1, 2, 3]);
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.check(), Ok(()));
    let seen = world.check_settled().map_err(|violation| violation.checker);
    assert_eq!(seen, Err(CONVERGENCE));
}

#[test]
fn a_violation_names_checker_seed_and_replay() {
    let text = Checkers::new(0x2a, Notary::default()).differs(Instant::ORIGIN, "x".into());
    let text = text.to_string();
    for part in [CONVERGENCE, "0x2a", "World::seeded(0x2a)"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}
