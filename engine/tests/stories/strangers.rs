//! Agents with real certificates that belong elsewhere (rule S-8).

use std::thread::sleep;
use std::time::Duration;

use mesh_gossip::options::{AgentOptions, Material};
use zeroize::Zeroizing;

use crate::mesh::trio::CLUSTER;
use crate::mesh::{Authority, Host, Spec, Stage, Trio, on_both_backends, until};

/// The same cluster, a name of its own, signed by somebody else; the intruder itself trusts the
/// mesh, so that only the mesh can end this.
#[test]
fn a_certificate_of_a_foreign_authority_opens_no_door() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        let foreign = Authority::of(CLUSTER);
        let both = both(&trio.authority, &foreign);
        let intruder = trusting(&both, foreign.options("intruder", "worker"));
        let intruder = stays_outside(stage, &trio, intruder);
        let [mike, alpha, _] = &trio.hosts;
        for host in [mike, alpha] {
            until("the reason is counted", || host.metrics().handshakes_failed("unknown-ca") > 0);
        }
        until("it is not confirmed", || intruder.metrics().handshakes_failed("unconfirmed") > 0);
    });
}

/// The mesh trusts both authorities and so does the intruder; only the cluster differs. grafana/agent#4988
/// tells of such a mismatch as a bare EOF: here both ends count it by its reason.
#[test]
fn a_certificate_of_another_cluster_opens_no_door() {
    on_both_backends(|stage| {
        let (ours, theirs) = (Authority::of(CLUSTER), Authority::of("another-cluster"));
        let both = both(&ours, &theirs);
        let network = stage.network();
        let trio = Trio::certified(stage, network, ours, &|options| trusting(&both, options));
        trio.wait_until_whole();
        let intruder = trusting(&both, theirs.options("intruder", "worker"));
        let intruder = stays_outside(stage, &trio, intruder);
        let [mike, alpha, _] = &trio.hosts;
        for host in [alpha, &intruder] {
            let counted = || host.metrics().handshakes_failed("foreign-cluster") > 0;
            until("the reason is counted", counted);
        }
        until("who is dialled sees it give up", || mike.metrics().handshakes_failed("timeout") > 0);
    });
}

fn both(ours: &Authority, theirs: &Authority) -> String {
    format!("{}{}", ours.0.bundle_pem(), theirs.0.bundle_pem())
}

fn trusting(bundle: &str, mut options: AgentOptions) -> AgentOptions {
    options.tls.ca = Material::Bytes(Zeroizing::new(bundle.as_bytes().to_vec()));
    options
}

/// The intruder dials the mesh, and the mesh is told to dial the intruder: neither helps.
fn stays_outside(stage: &Stage, trio: &Trio, intruder: AgentOptions) -> Host {
    let [mike, alpha, _] = &trio.hosts;
    let intruder = Spec::new(intruder).seed(trio.doors[0].address()).start(stage.backend);
    alpha.agent.join(vec![intruder.agent.local_address()]).unwrap();
    for host in [mike, alpha, &intruder] {
        let failures = || host.inspect().links.handshake_failures.values().sum::<u64>();
        until(&format!("a handshake fails at {}", host.name()), || failures() > 0);
    }
    // It goes on dialling; nothing comes of that either.
    sleep(Duration::from_secs(2));
    for host in trio.all() {
        assert!(host.sees("intruder").is_none(), "{} lists it", host.name());
        until("the mesh is whole", || host.alive() == 3);
    }
    assert_eq!(intruder.agent.view().view.members().count(), 1, "it is alone");
    assert!(!intruder.agent.is_joined());
    assert_eq!(intruder.inspect().links.opened, 0, "it never opened a sealed datagram");
    intruder
}
