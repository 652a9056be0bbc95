//! Metadata that changes while the mesh runs (rule R-6).

use mesh_gossip::AgentError;
use mesh_gossip::proto::{CommandError, Metadata};

use crate::mesh::log::event_id;
use crate::mesh::{Host, Trio, nobody_was_lost, on_both_backends, until};

#[test]
fn http3_support_and_mesh_version_change_at_run_time() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let [_, changed, _] = &trio.hosts;

        changed.agent.update_metadata(|metadata| metadata.http3_support = false).unwrap();
        everybody_sees(&trio, changed, |metadata| {
            (metadata.metadata_version, metadata.http3_support) == (2, false)
        });
        changed.agent.update_metadata(|metadata| metadata.mesh_version = "2.0.0".into()).unwrap();
        everybody_sees(&trio, changed, |metadata| {
            (metadata.metadata_version, metadata.mesh_version.as_str()) == (3, "2.0.0")
        });
        // What changes nothing is not published.
        changed.agent.update_metadata(|metadata| metadata.http3_support = false).unwrap();

        for host in trio.all() {
            let told = &host.peer(changed.name())["metadata"];
            assert_eq!(told["http3Support"], false);
            assert_eq!(told["meshVersion"], "2.0.0");
            assert_eq!(told["metadataVersion"], 3);
            assert_eq!(told["region"], "region-of-alpha", "the rest is as it was");
            assert_eq!(told["role"], "dispatcher");
        }
        for (seer, seen) in trio.pairs() {
            assert_eq!(seer.log.about(event_id::JOINED, seen.name()).len(), 1, "no second join");
        }
        nobody_was_lost(trio.pairs());
    });
}

/// Name, cluster and role stand in the certificate.
#[test]
fn what_the_certificate_says_cannot_change() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let [seed, changed, _] = &trio.hosts;
        let before = seed.member(changed.name()).unwrap().incarnation();
        type Edit = fn(&mut Metadata);
        let edits: [(Edit, &str); 3] = [
            (|metadata| metadata.role = "gateway".into(), "role"),
            (|metadata| metadata.node_id = "somebody".into(), "nodeId"),
            (|metadata| metadata.cluster_id = "elsewhere".into(), "clusterId"),
        ];
        for (edit, field) in edits {
            let refused = changed.agent.update_metadata(edit);
            assert_eq!(refused, Err(AgentError::Command(CommandError::Immutable(field))));
        }
        // A later change arrives, and it is the first that does.
        changed.agent.update_metadata(|metadata| metadata.region = "moved".into()).unwrap();
        everybody_sees(&trio, changed, |metadata| metadata.region == "moved");
        let member = seed.member(changed.name()).unwrap();
        assert_eq!(member.record.record().metadata.metadata_version, 2);
        assert_eq!(member.record.record().metadata.role, "dispatcher");
        assert!(member.incarnation() > before);
    });
}

fn everybody_sees(trio: &Trio, changed: &Host, expected: impl Fn(&Metadata) -> bool) {
    until("the change reaches every view", || {
        let sees = |host: &&Host| {
            let member = host.member(changed.name());
            member.is_some_and(|member| expected(&member.record.record().metadata))
        };
        trio.all().iter().all(sees)
    });
}
