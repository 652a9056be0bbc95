//! Other options for hosts that run: what can change does, at everybody, and a mistake changes
//! nothing.

use std::time::Duration;

use mesh_gossip::ReconfigureError;
use mesh_gossip::options::{AgentOptions, Material, PeerLabels};
use mesh_gossip::proto::State;

use crate::mesh::{Authority, Host, Spec, Trio, nobody_was_lost, on_both_backends, until};

/// A copy of what the host runs with, changed.
fn changed(host: &Host, change: impl FnOnce(&mut AgentOptions)) -> AgentOptions {
    let mut options = host.options.clone();
    change(&mut options);
    options
}

#[test]
fn what_can_change_does_and_what_needs_a_restart_is_named() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let [seer, host, _] = &trio.hosts;
        let options = changed(host, |options| {
            options.region = "moved".into();
            options.labels.insert("rack".into(), "r9".into());
            options.peer_labels = PeerLabels::Off;
            options.protocol.left_retention = Duration::from_secs(77);
            options.protocol.interval *= 2;
            options.control.as_mut().unwrap().bind.set_port(9);
        });
        let report = host.agent.reconfigure(options.clone()).unwrap();
        assert_eq!(report.changed, ["region", "labels", "leftRetention", "metrics:peerLabels"]);
        assert_eq!(report.needs_restart, ["interval", "control:port"]);
        assert!(!report.certificates.certificate && !report.certificates.trust);
        until("another host knows it", || {
            let member = seer.member(host.name()).unwrap();
            let metadata = &member.record.record().metadata;
            metadata.region == "moved"
                && metadata.labels.get("rack").map(String::as_str) == Some("r9")
        });
        let text = host.agent.metrics_text(Duration::from_secs(10)).unwrap();
        let named = format!("mesh_peer=\"{}\"", seer.name());
        assert!(!text.contains(&named), "no peer is named any more:\n{text}");

        // The same again: nothing is left to change, and the restart is still due.
        let report = host.agent.reconfigure(options).unwrap();
        assert_eq!((report.changed.len(), report.needs_restart.len()), (0, 2));
        // What the host itself published stays.
        host.agent.update_metadata(|metadata| metadata.region = "by hand".into()).unwrap();
        let back = changed(host, |options| options.region = "moved".into());
        host.agent.reconfigure(back).unwrap();
        let metadata = host.agent.metadata().unwrap();
        assert_eq!(
            (metadata.region.as_str(), metadata.labels.len()),
            ("by hand", host.options.labels.len())
        );
        let text = host.agent.metrics_text(Duration::from_secs(10)).unwrap();
        assert!(text.contains(&named), "peers are named again:\n{text}");
        nobody_was_lost(trio.pairs());
    });
}

#[test]
fn a_mistake_changes_nothing() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let [_, host, _] = &trio.hosts;
        let before = host.agent.metadata().unwrap();
        let refused = |change: fn(&mut AgentOptions)| {
            let options = changed(host, |options| {
                options.region = "never".into();
                change(options);
            });
            host.agent.reconfigure(options).unwrap_err()
        };
        assert!(matches!(
            refused(|options| options.protocol.grace = Duration::ZERO),
            ReconfigureError::Config(error) if error.key == "grace"
        ));
        assert!(matches!(
            refused(|options| drop(options.labels.insert("long".into(), "x".repeat(70_000)))),
            ReconfigureError::Metadata(_)
        ));
        assert!(matches!(
            refused(|options| options.tls.ca = Material::Path("/nowhere/ca.pem".into())),
            ReconfigureError::Renew(_)
        ));
        assert_eq!(host.agent.metadata().unwrap(), before);
        nobody_was_lost(trio.pairs());
    });
}

/// Rule S-8: what a running agent is told of another member, its certificate and its trust beside,
/// is refused as a whole, whatever of it could have been applied.
#[test]
fn options_of_another_member_are_refused_whole() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let [seer, host, _] = &trio.hosts;
        let before = host.agent.metadata().unwrap();
        let other = Authority::of("elsewhere").options("another", "gateway");
        let refused = |change: &dyn Fn(&mut AgentOptions)| {
            let options = changed(host, |options| {
                options.region = "never".into();
                options.peer_labels = PeerLabels::Off;
                options.protocol.left_retention = Duration::ZERO;
                options.seeds = vec!["127.0.0.1:1".into()];
                options.tls.ca = other.tls.ca.clone();
                change(options);
            });
            match host.agent.reconfigure(options).unwrap_err() {
                ReconfigureError::Identity { key, .. } => key,
                error => panic!("another reason: {error}"),
            }
        };
        assert_eq!(refused(&|options| options.node_id = "another".into()), "nodeId");
        assert_eq!(refused(&|options| options.role = "gateway".into()), "role");
        assert_eq!(refused(&|options| options.protocol.cluster_id = "x".into()), "clusterId");
        assert_eq!(refused(&|options| options.tls.trust_domain = "x".into()), "tls:trustDomain");
        assert_eq!(host.agent.metadata().unwrap(), before);
        let text = host.agent.metrics_text(Duration::from_secs(10)).unwrap();
        assert!(text.contains(&format!("mesh_peer=\"{}\"", seer.name())), "{text}");

        // All of it is still to be applied once the options are ours: nothing was taken before.
        let report = host.agent.reconfigure(changed(host, |options| {
            options.region = "now".into();
            options.peer_labels = PeerLabels::Off;
            options.protocol.left_retention = Duration::ZERO;
            options.protocol.interval *= 2;
        }));
        let report = report.unwrap();
        assert_eq!(report.changed, ["region", "leftRetention", "metrics:peerLabels"]);
        assert_eq!(report.needs_restart, ["interval"]);
        assert!(!report.certificates.certificate && !report.certificates.trust);
        nobody_was_lost(trio.pairs());
    });
}

/// Who is told of other seeds looks there, and finds the mesh.
#[test]
fn other_seeds_are_dialled() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let [first, ..] = &trio.hosts;
        let spec = Spec::new(trio.authority.options("latecomer", "worker"));
        let alone = spec.start(stage.backend);
        assert_eq!(alone.alive(), 1);
        let seed = first.agent.local_address().to_string();
        let options = changed(&alone, |options| options.seeds = vec![seed]);
        let report = alone.agent.reconfigure(options).unwrap();
        assert_eq!(report.changed, ["seedPeers"]);
        until("it is found", || first.sees(alone.name()) == Some(State::Alive));
    });
}

/// Rule J-2: what a host names and what its settings name are both dialled for as long as they are
/// absent, whichever came last.
#[test]
fn seeds_of_the_host_and_of_the_settings_are_both_dialled() {
    on_both_backends(|stage| {
        let network = stage.network();
        let authority = Authority::of("both-seeds");
        let nobody = network.door("nobody").address();
        let spec = |name| Spec::new(authority.options(name, "worker"));

        let configured = network.door("configured");
        let early = spec("early").seed(configured.address()).start(stage.backend);
        early.agent.join(vec![nobody]).unwrap();
        let late = spec("configured").start_behind(&configured, stage.backend);
        until("the settings' seed is found", || early.sees(late.name()) == Some(State::Alive));

        let named = network.door("named");
        let other = spec("other").start(stage.backend);
        other.agent.join(vec![named.address()]).unwrap();
        let options = changed(&other, |options| options.seeds = vec![nobody.to_string()]);
        assert_eq!(other.agent.reconfigure(options).unwrap().changed, ["seedPeers"]);
        let late = spec("named").start_behind(&named, stage.backend);
        until("the host's seed is found", || other.sees(late.name()) == Some(State::Alive));
    });
}

/// Rule L-4: another retention counts at once, for those too that are gone already.
#[test]
fn another_retention_counts_for_who_has_left() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let [seer, _, leaver] = &trio.hosts;
        leaver.agent.leave(Duration::from_secs(10)).unwrap();
        until("the goodbye is heard", || seer.sees(leaver.name()) == Some(State::Left));
        assert_eq!(seer.peer(leaver.name())["status"], "Left");
        let options = changed(seer, |options| options.protocol.left_retention = Duration::ZERO);
        assert_eq!(seer.agent.reconfigure(options).unwrap().changed, ["leftRetention"]);
        let listed = || seer.peers()["peers"].as_array().map(Vec::len);
        until("it is listed no longer", || listed() == Some(2));
    });
}
