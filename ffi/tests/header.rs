//! The committed header is what the sources say. `MESH_GOSSIP_WRITE_HEADER=1` writes it.

#[path = "header/guarded.rs"]
mod guarded;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};

/// In the order of the header.
const SOURCES: [&str; 17] = [
    "code",
    "abi",
    "error",
    "text",
    "log",
    "options",
    "layout",
    "agent",
    "snapshot",
    "lookup",
    "events",
    "commands",
    "metadata",
    "renewal",
    "documents",
    "leases",
    "contacts",
];

const OPAQUE_AND_RECORDS: [(&str, &str); 16] = [
    ("MeshGossipResult", "mesh_gossip_result"),
    ("MeshGossipError", "mesh_gossip_error"),
    ("MeshGossipText", "mesh_gossip_text"),
    ("MeshGossipOptions", "mesh_gossip_options"),
    ("MeshGossipStartOptions", "mesh_gossip_start_options"),
    ("MeshGossipWakeFn", "mesh_gossip_wake_fn"),
    ("MeshGossipLogFn", "mesh_gossip_log_fn"),
    ("MeshGossipAgent", "mesh_gossip_agent"),
    ("MeshGossipSnapshot", "mesh_gossip_snapshot"),
    ("MeshGossipEvents", "mesh_gossip_events"),
    ("MeshGossipEvent", "mesh_gossip_event"),
    ("MeshGossipContacts", "mesh_gossip_contacts"),
    ("MeshGossipContact", "mesh_gossip_contact"),
    ("MeshGossipMember", "mesh_gossip_member"),
    ("MeshGossipLabel", "mesh_gossip_label"),
    ("MeshGossipBytes", "mesh_gossip_bytes"),
];

const HEADER: &str = "\
/* mesh-gossip: embeddable gossip membership. C ABI, version 1. Generated: do not edit.
 *
 * Every function is thread-safe, but those that end in _free or _release may not run beside another
 * call on what they give back, and mesh_gossip_options_from_file not beside a change of the
 * environment. Functions return MESH_GOSSIP_OK or an error, and on failure write nothing but *err,
 * which may be NULL and otherwise takes an object that the caller frees. Strings are UTF-8 and
 * NUL-terminated, and copied before a call returns; bytes within snapshots and events are borrowed
 * from them. Within the functions that a host gives, log and wake, whatever would wait for their own
 * thread fails with MESH_GOSSIP_ERR_REENTRANT, also on another agent.
 */
#ifndef MESH_GOSSIP_H
#define MESH_GOSSIP_H
";

const CHECK: &str = "\
/* Whether the library loaded is the one that this header describes. Call it first. */
static inline mesh_gossip_result mesh_gossip_check_abi(void) {
  return mesh_gossip_abi_version() == MESH_GOSSIP_ABI_VERSION ? MESH_GOSSIP_OK
                                                              : MESH_GOSSIP_ERR_ABI;
}

#endif /* MESH_GOSSIP_H */";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn generated() -> String {
    let mut config = Config {
        language: Language::C,
        cpp_compat: true,
        style: Style::Both,
        usize_is_size_t: true,
        header: Some(HEADER.into()),
        trailer: Some(CHECK.into()),
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        documentation_style: DocumentationStyle::C,
        line_length: 100,
        ..Config::default()
    };
    let renamed = OPAQUE_AND_RECORDS.map(|(rust, c)| (rust.to_owned(), c.to_owned()));
    config.export.rename = renamed.into_iter().collect();
    let builder = SOURCES.iter().fold(Builder::new().with_config(config), |builder, name| {
        builder.with_src(root().join(format!("src/{name}.rs")))
    });
    let mut text = Vec::new();
    builder.generate().expect("the sources parse").write(&mut text);
    String::from_utf8(text).expect("UTF-8")
}

#[test]
fn the_committed_header_is_what_the_sources_say() {
    // Where a check plants a break.
    let elsewhere = std::env::var_os("MESH_GOSSIP_HEADER").map(PathBuf::from);
    let path = elsewhere.unwrap_or_else(|| root().join("include/mesh_gossip.h"));
    let generated = generated();
    if std::env::var_os("MESH_GOSSIP_WRITE_HEADER").is_some() {
        std::fs::write(&path, &generated).expect("the header is ours");
    }
    let committed = std::fs::read_to_string(&path).expect("the header is committed");
    assert!(
        committed == generated,
        "{} drifted; MESH_GOSSIP_WRITE_HEADER=1 cargo test -p mesh-gossip-ffi --test header",
        path.display()
    );
}

/// Whoever adds a function cannot forget the guard.
#[test]
fn every_exported_function_goes_through_the_guard() {
    let mut found = BTreeSet::new();
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(root().join("src")).expect("the sources are there") {
        let path = entry.expect("a readable entry").path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("sources are UTF-8");
        for (name, verdict) in guarded::exports(&source) {
            wrong.extend(verdict.err().map(|why| format!("{}: {name} {why}", path.display())));
            found.insert(name);
        }
    }
    let documents = std::fs::read_to_string(root().join("src/documents.rs")).expect("it is there");
    wrong.extend(guarded::within(&documents, "unsafe fn hand_out<").err());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // All were seen: a function that is exported in another way would be missing.
    let listed =
        std::fs::read_to_string(root().join("exports.txt")).expect("the list is committed");
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    assert_eq!(found, listed);
}
