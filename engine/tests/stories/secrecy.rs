//! What somebody who reads every byte of a mesh's life learns.

use std::time::Duration;

use crate::mesh::recording::Datagram;
use crate::mesh::trio::{CLUSTER, PEOPLE};
use crate::mesh::{Spec, Trio, everyone_alive, on_both_backends, until};

/// No name, role, region, label or cluster in clear, in datagrams or streams: not while the mesh
/// forms, changes, exchanges whole states, doubts, buries or says goodbye. cortex#4045, loki#3750 and
/// alertmanager#2237 ask for TLS; here there is nothing else.
#[test]
fn nothing_is_ever_said_in_clear() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        for host in trio.all() {
            until("it has the whole state", || host.agent.is_joined());
        }
        let Trio { hosts: [mike, alpha, zulu], doors, network, authority } = trio;
        alpha.agent.update_metadata(|metadata| metadata.region = "changed-region".into()).unwrap();
        until("the change is seen", || {
            zulu.member("alpha").unwrap().record.record().metadata.region == "changed-region"
        });
        zulu.agent.leave(Duration::from_secs(10)).unwrap();
        let successor = Spec::new(zulu.options.clone());
        drop(zulu);
        let zulu = successor.start_behind(&doors[2], stage.backend);
        until("it is back", || everyone_alive(&[&mike, &alpha, &zulu]));
        until("it has the whole state", || zulu.agent.is_joined());
        drop(zulu);
        until("it is gone", || mike.alive() == 2 && alpha.alive() == 2);

        let recording = network.recording();
        println!(
            "{:?}: {} datagrams of {} bytes, {} streams of {} bytes",
            stage.backend,
            recording.datagrams.len(),
            recording.datagram_bytes(),
            recording.streams.len(),
            recording.stream_bytes()
        );
        assert!(recording.datagrams.len() > 30, "a life leaves traces");
        assert!(recording.streams.len() >= 6 && recording.stream_bytes() > 6_000, "so do states");
        for (name, _) in PEOPLE {
            let sent = |datagram: &Datagram| datagram.from.as_deref() == Some(name);
            assert!(recording.datagrams.iter().any(sent), "{name} spoke");
        }
        // The search finds what is in clear: the protocol names of both handshakes.
        assert!(recording.holds(b"mesh-gossip/1") && recording.holds(b"mesh-sync/1"));
        assert!(!recording.holds(&mike.agent.member_id().0), "no member id");
        let mut secrets = vec![CLUSTER.to_owned(), "changed-region".to_owned(), "1.2.3".to_owned()];
        for (name, role) in PEOPLE {
            let (region, label) = (format!("region-of-{name}"), format!("rack-of-{name}"));
            secrets.extend([name.to_owned(), role.to_owned(), region, label]);
        }
        secrets.extend(["spiffe:".to_owned(), "mesh.test".to_owned()]);
        for secret in secrets {
            assert!(!recording.holds(secret.as_bytes()), "{secret:?} went over the wire in clear");
        }
        drop(authority);
    });
}
