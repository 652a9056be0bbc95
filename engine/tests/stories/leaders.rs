//! Who leads, as hosts and operators see it.

use std::time::Duration;

use mesh_gossip::LeaderWatch;
use mesh_gossip::options::AgentOptions;
use mesh_gossip::proto::{Event, Lifecycle, MemberId, Scope};
use serde_json::Value;

use crate::mesh::trio::CLUSTER;
use crate::mesh::{Authority, Host, Stage, Trio, on_both_backends, until};

const SCOPE: &str = "control";

fn scoped(mut options: AgentOptions) -> AgentOptions {
    options.protocol.scopes =
        [SCOPE, "ingest; role=worker"].map(|text| Scope::parse(text).unwrap()).into();
    options
}

fn trio(stage: &Stage) -> Trio {
    let trio = Trio::certified(stage, stage.network(), Authority::of(CLUSTER), &scoped);
    trio.wait_until_whole();
    trio
}

/// The token of a scope, as the control server of a host tells it.
fn token(host: &Host, scope: &str) -> Option<Value> {
    let document: Value =
        serde_json::from_str(&host.get(&format!("/control/leaders?scope={scope}"))).unwrap();
    document["tokens"].as_array().expect("a list of tokens").first().cloned()
}

/// Waits until all of these tell the same leader for this term; returns its name.
fn led(hosts: &[&Host], term: u64) -> String {
    let mut found = String::new();
    until(&format!("all tell the leader of term {term}"), || {
        let tokens: Vec<_> = hosts.iter().filter_map(|host| token(host, SCOPE)).collect();
        let told = |token: &Value| (token["leaderId"].clone(), token["fenceToken"].clone());
        let Some(first) = tokens.first() else { return false };
        found = first["leaderId"].as_str().expect("a name").to_owned();
        tokens.len() == hosts.len()
            && tokens.iter().all(|other| told(other) == told(first) && other["term"] == term)
    });
    found
}

fn is_led_by(watch: &mut LeaderWatch, leader: MemberId, term: u64) {
    until("the watch tells it", || {
        let told = watch.next(Duration::from_millis(100));
        told.is_some_and(|told| (told.leader, told.term) == (Some(leader), term))
    });
}

/// Rules E-4, E-5 and E-8: three agents agree on a leader, it is killed, another takes over for the
/// next term, and everybody is told so in every way that there is.
#[test]
fn a_killed_leader_is_succeeded_and_everybody_is_told() {
    on_both_backends(|stage| {
        let Trio { hosts, network, doors, .. } = trio(stage);
        let first = led(&hosts.each_ref(), 1);
        let id = |name: &str| MemberId::derive(CLUSTER, name);
        let scope = Scope::global(SCOPE);
        for host in &hosts {
            assert_eq!(host.agent.succession(&scope, 1), [id(&first)], "the first in the order");
            assert!(host.agent.leaders("unheard-of").is_none());
            let mut watch = host.agent.leaders(SCOPE).expect("it is configured");
            is_led_by(&mut watch, id(&first), 1);
            assert_eq!(watch.is_local(), host.name() == first);
            let fence = token(host, SCOPE).expect("somebody leads")["fenceToken"].as_u64();
            assert_eq!(watch.fence_token(), fence);
            let leads = host.metrics().sum("mesh_gossip_leader", &[("mesh_scope", SCOPE)]);
            assert_eq!(leads, u64::from(host.name() == first));
            // Only one of the three has the role.
            let worker = || token(host, "ingest").is_some_and(|token| token["leaderId"] == "zulu");
            until("the other scope is led by its only candidate", worker);
        }
        let before = token(&hosts[0], SCOPE).expect("somebody leads");
        let (victim, rest): (Vec<Host>, Vec<Host>) =
            hosts.into_iter().partition(|host| host.name() == first);
        let mut watches: Vec<_> =
            rest.iter().map(|host| host.agent.leaders(SCOPE).unwrap()).collect();
        for watch in &mut watches {
            assert_eq!(watch.next(Duration::ZERO).map(|told| told.term), Some(1));
        }
        drop(victim);

        let survivors: Vec<&Host> = rest.iter().collect();
        let second = led(&survivors, 2);
        assert_ne!(second, first);
        for (host, watch) in rest.iter().zip(&mut watches) {
            is_led_by(watch, id(&second), 2);
            let after = token(host, SCOPE).expect("somebody leads");
            assert!(after["fenceToken"].as_u64() > before["fenceToken"].as_u64(), "{after}");
            let metrics = host.metrics();
            let of_scope = [("mesh_scope", SCOPE)];
            assert_eq!(metrics.sum("mesh_gossip_leader_term", &of_scope), 2);
            assert!(metrics.sum("mesh_gossip_leader_changes_total", &of_scope) >= 2);
            told_as_event_and_line(host, id(&second), &second);
        }
        drop((network, doors));
    });
}

fn told_as_event_and_line(host: &Host, leader: MemberId, name: &str) {
    until("the event comes", || {
        let batch = host.agent.next_events(Duration::from_millis(100)).unwrap_or_default();
        batch.iter().any(|host_event| match &host_event.event {
            Event::LeaderChanged { scope, leader: now, term, .. } => {
                (scope.name.as_str(), *now, *term) == (SCOPE, Some(leader), 2)
            }
            _ => false,
        })
    });
    until("the line is written", || {
        host.log.lines().iter().any(|line| {
            (line.field("Scope"), line.field("LeaderId"), line.field("Term")) == (SCOPE, name, "2")
        })
    });
}

/// Rule E-6: a leader that drains hands over; back in service it takes over again.
#[test]
fn a_draining_leader_hands_over_and_comes_back() {
    on_both_backends(|stage| {
        let trio = trio(stage);
        let all = trio.all();
        let first = led(&all, 1);
        let leader = all.into_iter().find(|host| host.name() == first).expect("one of them");
        leader.agent.set_lifecycle(Lifecycle::Draining).unwrap();
        assert_ne!(led(&all, 2), first);
        leader.agent.set_lifecycle(Lifecycle::Active).unwrap();
        assert_eq!(led(&all, 3), first);
    });
}
