//! Members that go: with a goodbye, and without.

use std::time::{Duration, SystemTime};

use mesh_gossip::proto::{Incarnation, State, WallTime};
use mesh_gossip::tls::operator::Operator;

use crate::mesh::log::event_id;
use crate::mesh::{
    Host, Spec, Trio, everyone_alive, no_doubt_follows_the_departure, on_both_backends, until,
};

/// Rule L-1: a leave is acknowledged, nobody doubts who said goodbye, and it may come back at
/// once, above its past (rule M-2).
#[test]
fn who_leaves_is_not_doubted_and_may_come_back_at_once() {
    on_both_backends(|stage| {
        let Trio { hosts: [mike, alpha, zulu], doors, network, .. } = Trio::together(stage);
        let acknowledged = zulu.agent.leave(Duration::from_secs(10)).unwrap();
        assert_eq!(acknowledged, 2, "both others know");
        for host in [&mike, &alpha] {
            until("it has left", || host.sees("zulu") == Some(State::Left));
            until("it is told", || !host.log.about(event_id::LEFT, "zulu").is_empty());
            let lines = host.log.about(event_id::LEFT, "zulu");
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert_eq!(lines[0].field("Reason"), "left");
            no_doubt_follows_the_departure(host, "zulu");
            let peer = host.peer("zulu");
            assert_eq!((&peer["status"], &peer["reason"]), (&"Left".into(), &"left".into()));
            let metrics = host.metrics();
            assert_eq!((metrics.transitions("left"), metrics.transitions("failed")), (1, 0));
        }
        let past = incarnation(&mike, "zulu");
        let successor = Spec::new(zulu.options.clone());
        drop(zulu);

        let zulu = successor.start_behind(&doors[2], stage.backend);
        let took = until("it is back everywhere", || everyone_alive(&[&mike, &alpha, &zulu]));
        println!("{:?}: back after {} ms", stage.backend, took.as_millis());
        for host in [&mike, &alpha] {
            assert!(incarnation(host, "zulu") > past, "a restart supersedes its past");
            // A doubt that was refuted is told by the same event.
            let returns = || {
                let mut lines = host.log.about(event_id::RECOVERED, "zulu");
                lines.retain(|line| line.field("PreviousStatus") == "Left");
                lines
            };
            until("it is told", || !returns().is_empty());
            assert_eq!(returns().len(), 1, "{:?}", returns());
        }
        drop(network);
    });
}

/// Rule S-14: an operator's order, handed to one member, sends another away from everywhere.
#[test]
fn an_operator_sends_a_member_away() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let [mike, alpha, zulu] = &trio.hosts;
        let console = trio.authority.issue("console", "operator").tls_options(&trio.authority.0);
        let operator = Operator::load(&console).unwrap();
        let order = |of: Incarnation| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let issued = WallTime(now.as_millis() as u64);
            let subject = zulu.agent.member_id();
            operator.force_leave(subject, of, issued, Duration::from_secs(60)).unwrap()
        };
        let life = incarnation(mike, "zulu");
        // Of a later start, so that no refutation of a doubt leads there.
        let never = Incarnation { generation: life.generation + 1, ..life };
        assert!(mike.agent.force_leave(order(never)).is_err(), "no such life");
        assert!(mike.agent.force_leave(order(life)[1..].to_vec()).is_err(), "no order");
        // An order is about one life: who refutes a doubt meanwhile, as on a busy machine somebody
        // may, lives on under another and takes another order.
        let mut orders = 0;
        until("it is gone from every view", || {
            if mike.sees("zulu").is_some_and(State::is_present) {
                let taken = mike.agent.force_leave(order(incarnation(mike, "zulu")));
                orders += u64::from(taken.is_ok());
            }
            [mike, alpha].iter().all(|host| host.sees("zulu") == Some(State::Left))
        });
        let told = [("mesh_alarm", "ordered-out")];
        let alarms = |host: &Host| host.metrics().sum("mesh_gossip_alarms_total", &told);
        until("all were told, itself as well", || trio.hosts.iter().all(|host| alarms(host) >= 1));
        for host in &trio.hosts {
            assert!(alarms(host) <= orders, "{} of {orders} orders: once each", host.name());
        }
        no_doubt_follows_the_departure(mike, "zulu");
    });
}

/// Rule F-6 on real sockets: nobody says goodbye, and it is gone all the same.
#[test]
fn a_killed_member_is_gone_from_every_view() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let Trio { authority, hosts: [mike, alpha, zulu], doors, network } = trio;
        let past = incarnation(&mike, "zulu");
        drop(zulu);
        let gone = || [&mike, &alpha].iter().all(|host| host.sees("zulu") == Some(State::Dead));
        let took = until("it is gone from every view", gone);
        // The promise of five seconds is held in virtual time; here a busy machine has its say.
        println!("{:?}: gone after {} ms", stage.backend, took.as_millis());
        for host in [&mike, &alpha] {
            until("it is told", || !host.log.about(event_id::LEFT, "zulu").is_empty());
            let lines = host.log.about(event_id::LEFT, "zulu");
            assert_eq!((lines.len(), lines[0].field("Reason")), (1, "failed"), "{lines:?}");
            assert!(!host.log.about(event_id::SUSPECT, "zulu").is_empty(), "it is doubted first");
            no_doubt_follows_the_departure(host, "zulu");
        }

        // Its successor has a certificate of its own, is no stranger, and above its past.
        let spec = Spec::new(authority.options("zulu", "worker")).seed(doors[0].address());
        let zulu = spec.start_behind(&doors[2], stage.backend);
        let took = until("it is back everywhere", || everyone_alive(&[&mike, &alpha, &zulu]));
        println!("{:?}: back after {} ms", stage.backend, took.as_millis());
        assert!(incarnation(&mike, "zulu") > past);
        drop(network);
    });
}

fn incarnation(host: &Host, name: &str) -> Incarnation {
    host.member(name).expect("it is known").incarnation()
}
