//! What a scrape says, by name and value.

use std::time::Duration;

use mesh_gossip_proto::{Alarm, MemberId, PeerError};

use super::*;
use crate::control::stage_tests::{Person, inspection, record, view};

fn alive(names: &[&'static str]) -> View {
    let people: Vec<_> = names.iter().map(|name| Person { name, state: State::Alive }).collect();
    view(&people)
}

fn metrics(labels: PeerLabels) -> Metrics {
    Metrics::new(Backend::Mmsg, labels)
}

fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "`{line}` is missing in\n{text}");
    }
}

#[test]
fn a_scrape_carries_the_reference_names_and_the_inspected_values() {
    let metrics = metrics(PeerLabels::On);
    let view = view(&[
        Person { name: "me", state: State::Alive },
        Person { name: "a", state: State::Suspect },
        Person { name: "b", state: State::Dead },
        Person { name: "c", state: State::Left },
    ]);
    let mut inspection = inspection();
    inspection.fanout = 5;
    inspection.agrees = true;
    inspection.stats.probes_acked = 11;
    inspection.stats.suspicions = 2;
    inspection.stats.queue_depth = 7;
    inspection.stats.sketches = 5;
    inspection.stats.sketches_decoded = 4;
    inspection.stats.syncs_avoided = 3;
    (inspection.stats.rounds, inspection.stats.storms) = (9, 1);
    (inspection.stats.unexplained, inspection.stats.outbox_refused) = (12, 6);
    inspection.stats.rejected.insert("schema", 3);
    inspection.links.opened = 100;
    inspection.links.sealed = 90;
    inspection.links.unsent = 2;
    inspection.links.dropped.insert("replay", 4);
    inspection.links.dropped.insert("garbage", 5);
    inspection.links.handshake_failures.insert("untrusted", 6);
    inspection.links.doubts.insert("refused", 2);
    inspection.links.sessions = 3;
    inspection.links.idled = 8;
    inspection.io.send_failed = 1;
    for _scrape in 0..2 {
        let text = metrics.render(&view, &inspection);
        assert_lines(
            &text,
            &[
                "# TYPE mesh_gossip_members gauge",
                "mesh_gossip_members{mesh_status=\"alive\"} 1",
                "mesh_gossip_members{mesh_status=\"suspect\"} 1",
                "mesh_gossip_members{mesh_status=\"left\"} 2",
                "# TYPE mesh_gossip_messages_total counter",
                "mesh_gossip_messages_total{mesh_direction=\"inbound\",mesh_outcome=\"success\"} 100",
                "mesh_gossip_messages_total{mesh_direction=\"inbound\",mesh_outcome=\"failure\"} 9",
                "mesh_gossip_messages_total{mesh_direction=\"outbound\",mesh_outcome=\"success\"} 90",
                "mesh_gossip_messages_total{mesh_direction=\"outbound\",mesh_outcome=\"failure\"} 3",
                "# TYPE mesh_gossip_rtt_ms histogram",
                "mesh_gossip_view_size 2",
                "mesh_gossip_fanout 5",
                "mesh_gossip_duplicate_targets 0",
                "mesh_gossip_view_agreement 1",
                "mesh_gossip_probes_total{mesh_outcome=\"acked\"} 11",
                "mesh_gossip_suspicions_total 2",
                "mesh_gossip_queue_depth 7",
                "mesh_gossip_sketches_total{mesh_outcome=\"sent\"} 5",
                "mesh_gossip_sketches_total{mesh_outcome=\"decoded\"} 4",
                "mesh_gossip_syncs_avoided_total 3",
                "mesh_gossip_reconciliations_total 9",
                "mesh_gossip_storms_total 1",
                "mesh_gossip_differences_unexplained_total 12",
                "mesh_gossip_limit_reached_total{mesh_limit=\"outbox\"} 6",
                "mesh_gossip_rejected_total{mesh_reason=\"schema\"} 3",
                "mesh_gossip_datagrams_dropped_total{mesh_reason=\"replay\"} 4",
                "mesh_gossip_handshakes_total{mesh_outcome=\"failure\",mesh_reason=\"untrusted\"} 6",
                "mesh_gossip_sessions 3",
                "mesh_gossip_doubts_total{mesh_cause=\"refused\"} 2",
                "mesh_gossip_doubts_total{mesh_cause=\"no-session\"} 0",
                "mesh_gossip_sessions_idled_total 8",
                "mesh_gossip_io_backend_info{backend=\"mmsg\"} 1",
            ],
        );
        assert!(!text.contains("certificate_expiry"), "nobody has told when it expires");
    }
}

/// Rule U-8: what hosts say, and what of it was refused or lost, is counted.
#[test]
fn a_scrape_tells_what_hosts_said() {
    let metrics = metrics(PeerLabels::On);
    let view = view(&[Person { name: "me", state: State::Alive }]);
    let mut inspection = inspection();
    inspection.stats.broadcasts_said = 1;
    inspection.stats.broadcasts_heard = 2;
    inspection.stats.broadcasts_duplicate = 3;
    inspection.stats.broadcasts_superseded = 4;
    inspection.stats.broadcasts_dropped = 5;
    inspection.stats.broadcasts_held = 6;
    inspection.stats.broadcasts_out = 7;
    inspection.stats.broadcasts_waiting = 8;
    inspection.stats.broadcasts_missed = 9;
    inspection.stats.messages_said = 10;
    inspection.stats.messages_heard = 11;
    for _scrape in 0..2 {
        assert_lines(
            &metrics.render(&view, &inspection),
            &[
                "mesh_gossip_broadcasts_total{mesh_outcome=\"said\"} 1",
                "mesh_gossip_broadcasts_total{mesh_outcome=\"heard\"} 2",
                "mesh_gossip_broadcasts_total{mesh_outcome=\"duplicate\"} 3",
                "mesh_gossip_broadcasts_total{mesh_outcome=\"superseded\"} 4",
                "mesh_gossip_broadcasts_total{mesh_outcome=\"dropped\"} 5",
                "mesh_gossip_broadcasts_total{mesh_outcome=\"held\"} 6",
                "mesh_gossip_broadcast_copies_total 7",
                "mesh_gossip_broadcasts_waiting 8",
                "mesh_gossip_host_missed_total 9",
                "mesh_gossip_direct_messages_total{mesh_direction=\"outbound\"} 10",
                "mesh_gossip_direct_messages_total{mesh_direction=\"inbound\"} 11",
                "mesh_gossip_queue_age_seconds 1.5",
            ],
        );
    }
}

#[test]
fn a_scrape_tells_of_sessions_and_of_floods() {
    let metrics = metrics(PeerLabels::Off);
    let mut inspection = inspection();
    inspection.links.half_open_peak = 12;
    inspection.links.retries_out = 30;
    inspection.links.retries_in = 2;
    inspection.links.cookies = 20;
    inspection.links.proofs = 4;
    inspection.links.worthless_tokens.insert("cookie", 5);
    inspection.links.answering_us = 7_000;
    inspection.links.looks = 12;
    inspection.links.hot = 2;
    inspection.links.dehydrated = 1;
    inspection.links.evicted = 9;
    inspection.links.rehydrated = 10;
    assert_lines(
        &metrics.render(&alive(&["me"]), &inspection),
        &[
            "mesh_gossip_sessions_half_open_peak 12",
            "mesh_gossip_retries_total{mesh_direction=\"outbound\"} 30",
            "mesh_gossip_retries_total{mesh_direction=\"inbound\"} 2",
            "mesh_gossip_handshake_tokens_total{mesh_outcome=\"success\",mesh_token=\"cookie\"} 20",
            "mesh_gossip_handshake_tokens_total{mesh_outcome=\"failure\",mesh_token=\"cookie\"} 5",
            "mesh_gossip_handshake_tokens_total{mesh_outcome=\"success\",mesh_token=\"proof\"} 4",
            "mesh_gossip_answering_microseconds_total 7000",
            "mesh_gossip_handshakes_beside_probes_total 12",
            "mesh_gossip_sessions_hot 2",
            "mesh_gossip_sessions_dehydrated 1",
            "mesh_gossip_sessions_evicted_total 9",
            "mesh_gossip_sessions_rehydrated_total 10",
        ],
    );
}

#[test]
fn a_scrape_tells_what_the_observers_did() {
    let metrics = metrics(PeerLabels::Off);
    let mut inspection = inspection();
    inspection.stats.baseline_permille = 975;
    inspection.stats.tests = 4;
    inspection.stats.tests_refused = 1;
    inspection.stats.cases = 3;
    inspection.stats.verifies = 21;
    inspection.stats.votes = 9;
    inspection.stats.unreachable = 2;
    inspection.stats.proofs_pulled = 6;
    assert_lines(
        &metrics.render(&alive(&["me"]), &inspection),
        &[
            "mesh_gossip_baseline_ratio 0.975",
            "mesh_gossip_tests_total{mesh_outcome=\"begun\"} 4",
            "mesh_gossip_tests_total{mesh_outcome=\"refused\"} 1",
            "mesh_gossip_cases_total 3",
            "mesh_gossip_verifies_total 21",
            "mesh_gossip_votes_total 9",
            "mesh_gossip_unreachable_total 2",
            "mesh_gossip_proofs_pulled_total 6",
        ],
    );
}

#[test]
fn a_scrape_tells_who_the_agent_is_and_that_it_probes() {
    let metrics = metrics(PeerLabels::Off);
    let mut inspection = inspection();
    inspection.stats.probe_rounds = 17;
    for _scrape in 0..2 {
        let text = metrics.render(&alive(&["me", "a"]), &inspection);
        assert_lines(&text, &["mesh_gossip_probe_rounds_total 17"]);
        let infos: Vec<_> =
            text.lines().filter(|line| line.starts_with("mesh_gossip_agent_info{")).collect();
        assert_eq!(infos.len(), 1, "{infos:?}");
        let info = infos[0];
        for part in ["mesh_node=\"me\"", "mesh_cluster=\"", "mesh_region=\"", "mesh_version=\""] {
            assert!(info.contains(part), "{part} is missing in {info}");
        }
        assert!(info.ends_with("} 1"), "{info}");
    }
}

/// A rule that waits for the first rise of a counter needs the zero before it.
#[test]
fn what_alerts_watch_is_there_before_anything_happens() {
    let metrics = metrics(PeerLabels::Off);
    metrics.interval_is(Duration::from_millis(250));
    assert_lines(
        &metrics.render(&alive(&["me"]), &inspection()),
        &[
            "mesh_gossip_alarms_total{mesh_alarm=\"clock-off\"} 0",
            "mesh_gossip_transitions_total{mesh_transition=\"failed\"} 0",
            "mesh_gossip_credential_reloads_total{mesh_outcome=\"refused\"} 0",
            "mesh_gossip_interval_seconds 0.25",
        ],
    );
}

#[test]
fn lifecycles_of_who_is_present_are_counted() {
    let metrics = metrics(PeerLabels::Off);
    let view = view(&[
        Person { name: "me", state: State::Alive },
        Person { name: "a", state: State::Suspect },
        Person { name: "b", state: State::Dead },
    ]);
    assert_lines(
        &metrics.render(&view, &inspection()),
        &[
            "mesh_gossip_lifecycle{mesh_lifecycle=\"active\"} 1",
            "mesh_gossip_lifecycle{mesh_lifecycle=\"draining\"} 0",
            "mesh_gossip_lifecycle_members{mesh_lifecycle=\"active\"} 2",
            "mesh_gossip_lifecycle_members{mesh_lifecycle=\"drained\"} 0",
        ],
    );
}

/// Rule B-1: each limit of the configuration has its counter.
#[test]
fn a_scrape_tells_which_limits_were_reached() {
    let metrics = metrics(PeerLabels::Off);
    let mut inspection = inspection();
    let stats = &mut inspection.stats;
    let counters = [
        (&mut stats.members_refused, "members"),
        (&mut stats.members_displaced, "departed"),
        (&mut stats.queue_dropped, "queue"),
        (&mut stats.pulls_refused, "pulls"),
        (&mut stats.relays_refused, "relays"),
        (&mut stats.tests_refused, "tests"),
        (&mut stats.proofs_dropped, "proofs"),
        (&mut stats.events_lost, "events"),
    ];
    let mut lines = Vec::new();
    for (total, (counter, limit)) in (1..).zip(counters) {
        *counter = total;
        let name = "mesh_gossip_limit_reached_total";
        lines.push(format!("{name}{{mesh_limit=\"{limit}\"}} {total}"));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_lines(&metrics.render(&alive(&["me"]), &inspection), &lines);
}

#[test]
fn round_trips_are_labelled_until_their_member_goes() {
    let metrics = metrics(PeerLabels::On);
    let mut trips = metrics.round_trips();
    let peer = record("p");
    trips.observe(&Event::Joined(peer.clone()));
    let rtt = Duration::from_micros(400);
    trips.observe(&Event::RoundTrip { peer: peer.record().id, rtt });
    trips.observe(&Event::RoundTrip { peer: MemberId([9; 16]), rtt });
    let everybody_once = "mesh_gossip_rtt_ms_count{mesh_peer=\"\"} 1";
    let text = metrics.render(&alive(&["me", "p"]), &inspection());
    assert_lines(
        &text,
        &[
            "mesh_gossip_rtt_ms_bucket{mesh_peer=\"p\",le=\"0.25\"} 0",
            "mesh_gossip_rtt_ms_bucket{mesh_peer=\"p\",le=\"0.5\"} 1",
            "mesh_gossip_rtt_ms_count{mesh_peer=\"p\"} 1",
            everybody_once,
        ],
    );
    let left = Event::Left { record: peer, reason: LeftReason::Failed };
    metrics.observe(&left);
    trips.observe(&left);
    let text = metrics.render(&alive(&["me"]), &inspection());
    assert!(!text.contains("mesh_peer=\"p\""), "{text}");
    assert_lines(&text, &["mesh_gossip_transitions_total{mesh_transition=\"failed\"} 1"]);
}

#[test]
fn automatic_labels_end_above_a_hundred_members_and_return_when_they_are_few() {
    let metrics = metrics(PeerLabels::Auto);
    let mut trips = metrics.round_trips();
    let first = record("p0");
    for number in 0..101 {
        trips.observe(&Event::Joined(record(&format!("p{number}"))));
    }
    let rtt = Duration::from_millis(3);
    trips.observe(&Event::RoundTrip { peer: first.record().id, rtt });
    let names: Vec<&'static str> =
        (0..101).map(|number| &*Box::leak(format!("p{number}").into_boxed_str())).collect();
    let text = metrics.render(&alive(&names), &inspection());
    assert!(!text.contains("mesh_peer=\"p"), "{text}");
    assert_lines(&text, &["mesh_gossip_rtt_ms_count{mesh_peer=\"\"} 1"]);
    let few = alive(&["me", "p0"]);
    trips.resume_naming(&few);
    let text = metrics.render(&few, &inspection());
    assert_lines(&text, &["mesh_gossip_rtt_ms_count{mesh_peer=\"p0\"} 0"]);
}

#[test]
fn no_labels_means_no_names() {
    let metrics = metrics(PeerLabels::Off);
    let mut trips = metrics.round_trips();
    let peer = record("p");
    trips.observe(&Event::Joined(peer.clone()));
    trips.observe(&Event::RoundTrip { peer: peer.record().id, rtt: Duration::from_millis(1) });
    let text = metrics.render(&alive(&["me", "p"]), &inspection());
    assert!(!text.contains("mesh_peer=\"p\""), "{text}");
    assert_lines(&text, &["mesh_gossip_rtt_ms_count{mesh_peer=\"\"} 1"]);
}

#[test]
fn expiry_losses_and_exchanges_are_told() {
    let metrics = metrics(PeerLabels::Auto);
    let inspection = inspection();
    metrics.certificate_expires(WallTime(inspection.wall.0 + 90_500));
    metrics.certificate_expires(WallTime(inspection.wall.0 + 60_500));
    metrics.observe(&Event::Overflow(3));
    metrics.observe(&Event::Conflict(MemberId([1; 16])));
    metrics.observe(&Event::Alarm(Alarm::TwoCertificates(MemberId([1; 16]))));
    let error = PeerError::WrongId;
    metrics.observe(&Event::RecordRejected { from: MemberId([1; 16]), error });
    metrics.sync_ended(SyncRole::Requester, "complete");
    metrics.sync_ended(SyncRole::Responder, "idle");
    assert_lines(
        &metrics.render(&alive(&["me"]), &inspection),
        &[
            "mesh_gossip_certificate_expiry_seconds 60",
            "mesh_gossip_events_lost_total 3",
            "mesh_gossip_conflicts_total 1",
            "mesh_gossip_alarms_total{mesh_alarm=\"two-certificates\"} 1",
            "mesh_gossip_syncs_total{mesh_outcome=\"complete\",mesh_role=\"requester\"} 1",
            "mesh_gossip_syncs_total{mesh_outcome=\"idle\",mesh_role=\"responder\"} 1",
        ],
    );
}

/// Rule S-16: how old the lists are and when the next ones are due can be watched.
#[test]
fn revocation_lists_have_an_age_and_an_end() {
    use crate::tls::certificates_tests::{DAY, LaxCa, start, unix};
    use crate::tls::trust::Trust;

    let ca = LaxCa::new("root");
    let mut trust = Trust::of_bundle(vec![ca.der.clone()]).unwrap();
    let metrics = Metrics::new(Backend::Mmsg, PeerLabels::Auto);
    let hour_ms = 3_600_000;
    let at = WallTime(unix(start()).as_secs() * 1_000 + hour_ms);
    let scrape = |trust: &Trust| {
        metrics.trust_is(trust);
        let inspection = Inspection { wall: at, ..inspection() };
        metrics.render(&view(&[Person { name: "me", state: State::Alive }]), &inspection)
    };
    let text = scrape(&trust);
    assert!(text.contains("mesh_gossip_crl_age_seconds 0\n"), "{text}");
    let leaf = ca.leaf("spiffe://td.test/mesh/c1/worker/n", |_| {}).der;
    trust.take_list(&ca.list(1, &[&leaf], |_| {}), unix(start())).unwrap();
    let text = scrape(&trust);
    let due = DAY.as_secs() - 3_600;
    for line in [
        "mesh_gossip_crl_entries 1\n".to_owned(),
        "mesh_gossip_crl_age_seconds 3600\n".to_owned(),
        format!("mesh_gossip_crl_due_seconds {due}\n"),
    ] {
        assert!(text.contains(&line), "{line} is missing in {text}");
    }
}

#[test]
fn a_scrape_tells_how_the_shard_fares() {
    let metrics = metrics(PeerLabels::Off);
    let mut inspection = inspection();
    inspection.io.runs = 12;
    inspection.receive_drops = 21;
    inspection.recorded.lag_us.p99 = 1_500;
    inspection.recorded.send_to_ack_us.max = 64;
    inspection.recorded.turn_datagrams.p50 = 9;
    for _scrape in 0..2 {
        assert_lines(
            &metrics.render(&alive(&["me"]), &inspection),
            &[
                "mesh_gossip_io_total{mesh_io=\"runs\"} 12",
                "mesh_gossip_receive_drops_total 21",
                "mesh_gossip_loop_lag_seconds{mesh_quantile=\"0.99\"} 0.0015",
                "mesh_gossip_send_to_ack_seconds{mesh_quantile=\"1\"} 0.000064",
                "mesh_gossip_turn_datagrams{mesh_quantile=\"0.5\"} 9",
            ],
        );
    }
}
