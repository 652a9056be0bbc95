//! Three hosts and one seed find each other.

use crate::mesh::log::event_id;
use crate::mesh::trio::{CLUSTER, PEOPLE};
use crate::mesh::{Host, Metrics, Trio, eventually, on_both_backends, until};

/// Rule J-1, and what an operator sees of it: views, peers, metrics, logs, TLS.
#[test]
fn three_hosts_with_one_seed_find_each_other() {
    on_both_backends(|stage| {
        let trio = Trio::start(stage);
        let took = trio.wait_until_whole();
        println!("{:?}: together after {} ms", stage.backend, took.as_millis());
        for host in trio.all() {
            until("it is joined", || host.agent.is_joined());
            peers_are_listed_in_order(host);
            let own = || host.metrics();
            let scraped = || Metrics::read(&host.get("/metrics"));
            for look in [&own as &dyn Fn() -> Metrics, &scraped] {
                // Somebody may be doubted for a moment on a busy machine.
                let metrics = eventually("three are alive", || {
                    Some(look()).filter(|metrics| metrics.members("alive") == 3)
                });
                assert_eq!((metrics.members("suspect"), metrics.members("left")), (0, 0));
                assert_eq!(metrics.sum("mesh_gossip_view_size", &[]), 3);
            }
            let tls = eventually("a handshake", || host.agent.tls());
            assert_eq!(tls.version, "TLSv1.3");
            assert!(tls.suite.starts_with("TLS13_"), "{}", tls.suite);
        }
        for host in trio.all() {
            until("its shard records what it does", || {
                let recorded = host.inspect().recorded;
                let all = [recorded.lag_us, recorded.turn_datagrams, recorded.send_to_ack_us];
                all.iter().all(|quantiles| quantiles.count > 0 && quantiles.max > 0)
            });
        }
        for (seer, seen) in trio.pairs() {
            until("the joined line", || !seer.log.about(event_id::JOINED, seen.name()).is_empty());
            joined_is_logged_once(seer, seen);
        }
    });
}

/// A handshake is several datagrams; lost ones are sent again until the mesh is whole (rule S-6).
#[test]
fn a_fifth_of_all_datagrams_may_get_lost() {
    on_both_backends(|stage| {
        let network = stage.network();
        network.lose(0.2);
        let trio = Trio::start_over(stage, network);
        let took = trio.wait_until_whole();
        let counts = trio.network.counts();
        println!("{:?}: together after {} ms, {counts:?}", stage.backend, took.as_millis());
        assert!(counts.lost > 0, "without a loss this shows nothing");
    });
}

/// Ourselves first, then by name; with the metadata that each was started with.
fn peers_are_listed_in_order(host: &Host) {
    let document = eventually("all are listed alive", || {
        let alive = |peer: &serde_json::Value| peer["status"] == "Alive";
        let all = |document: &serde_json::Value| {
            document["peers"].as_array().is_some_and(|peers| peers.iter().all(alive))
        };
        Some(host.peers()).filter(all)
    });
    assert_eq!(document["schemaVersion"], "v1");
    assert_eq!(document["localNodeId"], host.name());
    let peers = document["peers"].as_array().expect("a list");
    let names: Vec<_> = peers.iter().map(|peer| peer["nodeId"].as_str().unwrap()).collect();
    let mut others: Vec<_> = PEOPLE.map(|(name, _)| name).to_vec();
    others.retain(|name| *name != host.name());
    others.sort_unstable();
    assert_eq!(names, [&[host.name()], &others[..]].concat());
    for peer in peers {
        let name = peer["nodeId"].as_str().unwrap();
        let (_, role) = PEOPLE.into_iter().find(|(known, _)| *known == name).unwrap();
        let metadata = &peer["metadata"];
        assert_eq!(metadata["role"], role);
        assert_eq!(metadata["clusterId"], CLUSTER);
        assert_eq!(metadata["region"], format!("region-of-{name}"));
        assert_eq!(metadata["meshVersion"], "1.2.3");
        assert_eq!(metadata["http3Support"], true);
        assert_eq!(metadata["metadataVersion"], 1);
        assert_eq!(metadata["labels"]["rack"], format!("rack-of-{name}"));
    }
}

fn joined_is_logged_once(seer: &Host, seen: &Host) {
    let lines = seer.log.about(event_id::JOINED, seen.name());
    assert_eq!(lines.len(), 1, "{} told of {}: {lines:?}", seer.name(), seen.name());
    let (_, role) = PEOPLE.into_iter().find(|(name, _)| *name == seen.name()).unwrap();
    let region = format!("region-of-{}", seen.name());
    for (field, value) in [
        ("NodeId", seer.name()),
        ("PeerId", seen.name()),
        ("ClusterId", CLUSTER),
        ("Role", role),
        ("Region", &region),
        ("Version", "1.2.3"),
        ("Http3", "true"),
    ] {
        assert_eq!(lines[0].field(field), value, "{field} in {lines:?}");
    }
    assert_eq!(lines[0].level, tracing::Level::INFO);
}
