//! Datagrams are withheld: between two of three, then between one and the others, then no more.

use std::thread::sleep;
use std::time::Duration;

use mesh_gossip::proto::{Detector, State};

use crate::mesh::log::{Line, event_id};
use crate::mesh::trio::CLUSTER;
use crate::mesh::{
    Authority, Host, Trio, everyone_alive, no_doubt_follows_the_departure, on_both_backends, until,
};

/// Longer than the suspicion interval: whoever is not vouched for has left by then.
const LONG_ENOUGH: Duration = Duration::from_millis(6_500);

/// Rule D-8: two members that cannot hear each other doubt each other, and nobody leaves: the third
/// one votes that both live.
#[test]
fn a_third_one_vouches_for_whom_it_hears() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let [mike, alpha, zulu] = &trio.hosts;
        trio.network.cut(&trio.doors[1], &trio.doors[2]);
        for host in [alpha, zulu] {
            until("the third one is asked", || total(host, "mesh_gossip_verifies_total") >= 1);
        }
        until("the third one has voted", || total(mike, "mesh_gossip_votes_total") >= 2);
        sleep(LONG_ENOUGH);
        assert!(trio.network.counts().withheld > 0, "without a cut this shows nothing");
        for (seer, seen) in trio.pairs() {
            assert!(seer.sees(seen.name()).is_some_and(State::is_present), "{}", seer.name());
            assert!(seer.log.about(event_id::LEFT, seen.name()).is_empty(), "{}", seer.name());
        }
        for host in [alpha, zulu] {
            let alive = || mike.sees(host.name()) == Some(State::Alive);
            until("mike holds it alive: their doubt is told to nobody", alive);
        }
        assert_eq!(total(mike, "mesh_gossip_declared_dead_total"), 0);
        trio.network.heal();
        trio.wait_until_whole();
    });
}

/// Rule F-3: the same under `lifeguard`, where the third one is a relay.
#[test]
fn a_relay_vouches_for_whom_it_hears() {
    on_both_backends(|stage| {
        let authority = Authority::of(CLUSTER);
        let trio = Trio::certified(stage, stage.network(), authority, &|mut options| {
            options.protocol.detector = Detector::Lifeguard;
            options
        });
        trio.wait_until_whole();
        let [mike, alpha, zulu] = &trio.hosts;
        trio.network.cut(&trio.doors[1], &trio.doors[2]);
        for host in [alpha, zulu] {
            until("relays are asked", || total(host, "mesh_gossip_indirect_pings_total") >= 3);
        }
        sleep(LONG_ENOUGH);
        assert!(trio.network.counts().withheld > 0, "without a cut this shows nothing");
        for (seer, seen) in trio.pairs() {
            assert!(seer.sees(seen.name()).is_some_and(State::is_present), "{}", seer.name());
            assert!(seer.log.about(event_id::LEFT, seen.name()).is_empty(), "{}", seer.name());
        }
        assert_eq!(total(mike, "mesh_gossip_declared_dead_total"), 0);
        trio.network.heal();
        trio.wait_until_whole();
    });
}

/// Rules D-8, D-9, D-13 and D-14: who is cut off from everybody is doubted, then gone; when the cut ends, it
/// is back everywhere, and nobody had to do anything. Each step is told once.
#[test]
fn a_member_that_is_cut_off_leaves_and_comes_back_by_itself() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let [mike, alpha, zulu] = &trio.hosts;
        for host in [mike, alpha] {
            let heard = |id| host.inspect().contacts.iter().any(|(peer, _)| *peer == id);
            until("it was heard once", || heard(zulu.agent.member_id()));
        }
        for door in &trio.doors[..2] {
            trio.network.cut(door, &trio.doors[2]);
        }
        let majority = [mike, alpha];
        until("the majority holds it gone", || {
            majority.iter().all(|host| host.sees("zulu") == Some(State::Dead))
        });
        until("it holds the others unreachable", || {
            total(zulu, "mesh_gossip_unreachable_total") == 2
        });
        // Whoever is alone cannot tell who is dead (rule D-9).
        assert_eq!(
            (zulu.sees("mike"), zulu.sees("alpha")),
            (Some(State::Suspect), Some(State::Suspect))
        );
        // It was cut off from whoever buried it, so that it returns at once (rule D-13).
        for host in majority {
            until("the departure is told", || !told(host, event_id::LEFT).is_empty());
            departure_is_told_once(host);
            let peer = host.peer("zulu");
            assert_eq!((&peer["status"], &peer["reason"]), (&"Left".into(), &"failed".into()));
            until("two are alive and one has left", || {
                let metrics = host.metrics();
                (metrics.members("alive"), metrics.members("left")) == (2, 1)
            });
            let metrics = host.metrics();
            assert!(metrics.transitions("suspected") >= 1);
            assert_eq!(metrics.transitions("failed"), 1);
        }
        until("the majority stays whole", || everyone_alive(&[mike, alpha]));

        trio.network.heal();
        let took = trio.wait_until_whole();
        println!("{:?}: whole {} ms after the heal", stage.backend, took.as_millis());
        for host in majority {
            // A doubt that was refuted is told by the same event.
            let returns = || {
                let mut lines = told(host, event_id::RECOVERED);
                lines.retain(|line| line.field("PreviousStatus") == "Left");
                lines
            };
            until("the return is told", || !returns().is_empty());
            let lines = returns();
            assert_eq!(lines.len(), 1, "{lines:?}");
            for (field, value) in
                [("PreviousStatus", "Left"), ("ClusterId", CLUSTER), ("Role", "worker")]
            {
                assert_eq!(lines[0].field(field), value, "{field} in {lines:?}");
            }
            assert_eq!(told(host, event_id::JOINED).len(), 1, "a return is no second join");
            assert_eq!(host.metrics().transitions("returned"), 1);
            until("it is listed alive", || host.peer("zulu")["status"] == "Alive");
        }
        // The two never lost sight of each other, whatever the third one had come to think.
        for (seer, seen) in [(mike, alpha), (alpha, mike)] {
            let lines = seer.log.about(event_id::LEFT, seen.name());
            assert!(lines.is_empty(), "{} told: {lines:?}", seer.name());
        }
    });
}

/// What `host` told of the member that is cut off.
fn told(host: &Host, event: &str) -> Vec<Line> {
    host.log.about(event, "zulu")
}

fn departure_is_told_once(host: &Host) {
    let (suspect, left) = (told(host, event_id::SUSPECT), told(host, event_id::LEFT));
    // Doubted once at least: a busy machine may have raised a doubt before, which was refuted.
    assert_eq!((suspect.is_empty(), left.len()), (false, 1), "{suspect:?} {left:?}");
    no_doubt_follows_the_departure(host, "zulu");
    for (line, fields) in [
        (&suspect[0], [("ClusterId", CLUSTER), ("Role", "worker")].as_slice()),
        (&left[0], &[("ClusterId", CLUSTER), ("Role", "worker"), ("Reason", "failed")]),
    ] {
        assert_eq!(line.level, tracing::Level::WARN);
        for (field, value) in fields {
            assert_eq!(line.field(field), *value, "{field} in {line:?}");
        }
    }
    assert!(suspect[0].field("LastSeen").starts_with("20"), "a moment: {suspect:?}");
}

fn total(host: &Host, family: &str) -> u64 {
    host.metrics().sum(family, &[])
}
