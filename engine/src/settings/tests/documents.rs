//! The documentation is checked against the code, and the samples are loaded.

use std::path::{Path, PathBuf};

use mesh_gossip_proto::Fanout;

use super::super::keys;
use super::load;
use crate::settings::Sources;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

#[test]
fn the_documentation_lists_every_key_with_its_default() {
    let path = docs("configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let table = keys::markdown();
    assert!(text.contains(&table), "the table of keys in {} has to be:\n\n{table}", path.display());
}

#[test]
fn the_samples_load_and_resolve_without_notes() {
    for name in ["dev", "prod"] {
        let path = docs("samples").join(format!("{name}.appsettings.json"));
        let settings = load(&Sources::new().host_name("host-1").file(&path));
        assert_eq!(settings.notes(), [], "{name}");
        let (_, agent) = settings.resolve().unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(agent.protocol.cluster_id, name);
    }
}

/// Ports, TLS, pins, seeds and fan-out, for development and for production.
#[test]
fn the_demos_samples_load_as_a_host_loads_them() {
    let home = docs("samples/resource-lease-mesh-demo");
    let sample = |environment: &str, node: &str| {
        let settings = load(
            &Sources::new()
                .directory(&home, environment)
                .environment([("MESH__GOSSIP__NODEID", node), ("MESH__GOSSIP__PORT", "17422")]),
        );
        assert_eq!(settings.notes(), [], "{environment}");
        settings.resolve().unwrap_or_else(|errors| panic!("{environment}: {errors}")).1
    };
    let development = sample("Development", "dispatcher-1");
    assert_eq!(development.protocol.cluster_id, "lease-dev");
    assert_eq!(development.bind.to_string(), "127.0.0.1:17422");
    assert_eq!(development.protocol.fanout, Fanout::Fixed(2));
    assert_eq!(development.seeds.len(), 2);
    assert_eq!(development.tls.trust_domain, "lease.local");
    assert_eq!(development.protocol.scopes.len(), 1, "the common file is read as well");

    let production = sample("Production", "worker-7");
    assert_eq!((production.node_id.as_str(), production.role.as_str()), ("worker-7", "worker"));
    assert_eq!(production.protocol.cluster_id, "lease-prod");
    assert_eq!(production.bind.to_string(), "[::]:17422");
    let adaptive = Fanout::Adaptive { coefficient: 1.5, floor: 3, ceiling: 32 };
    assert_eq!(production.protocol.fanout, adaptive);
    assert_eq!(production.seeds[1], "[2001:db8::10]:17421");
    assert_eq!(production.tls.allowed_thumbprints.len(), 2);
    assert!(production.tls.revocation.check && production.tls.revocation.lists.is_some());
    assert!(production.control.is_some_and(|control| control.bind.ip().is_loopback()));
}
