//! The documentation is checked against the code, and the samples are loaded.

use std::path::{Path, PathBuf};

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
