//! Documents that repeat each other say the same, and their links lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::document;
use crate::stage::Outcome;

const NOT_BEFORE: &str = "<!-- keys";

/// Key, value and default of each row of a table.
fn keys(text: &str) -> BTreeMap<String, (String, String)> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let read = |row: &str| {
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').map(str::trim).collect();
        let [key, value, default, ..] = cells[..] else { return None };
        Some((key.trim_end_matches('`').to_owned(), (value.to_owned(), default.to_owned())))
    };
    rows.filter_map(read).collect()
}

fn configuration() -> Outcome<BTreeMap<String, (String, String)>> {
    let text = document("configuration.md")?;
    let (_, table) = text.split_once(NOT_BEFORE).ok_or("no table of keys")?;
    let (table, _) = table.split_once("<!-- end").ok_or("an open table")?;
    let keys = keys(table);
    assert!(keys.len() > 60, "only {} keys read", keys.len());
    Ok(keys)
}

/// Keys, values and defaults of the page that the requirement cites are those of the reference of settings; and
/// its two sections have the names by which it is cited.
#[test]
fn service_discovery_says_what_the_configuration_says() -> Outcome {
    let text = document("architecture/service-discovery.md")?;
    for heading in
        ["## Membership gossip layer + leader elections", "## Transport & encoding strategy"]
    {
        assert!(text.lines().any(|line| line == heading), "{heading}");
    }
    let (_, schema) = text.split_once("## Configuration schema and defaults").ok_or("no schema")?;
    let schema = schema.split("\n## ").next().unwrap_or_default();
    assert_eq!(keys(schema), configuration()?);
    Ok(())
}

/// A host that is migrated finds each of its keys, and each is one that this build knows.
#[test]
fn every_key_of_omnirelay_is_in_the_migration() -> Outcome {
    // The options of its gossip host.
    const THERE: [&str; 34] = [
        "enabled",
        "nodeId",
        "role",
        "clusterId",
        "region",
        "meshVersion",
        "http3Support",
        "labels",
        "bindAddress",
        "port",
        "advertiseHost",
        "advertisePort",
        "interval",
        "fanout",
        "fanoutCeiling",
        "fanoutFloor",
        "fanoutCoefficient",
        "adaptiveFanout",
        "maxOutboundPerRound",
        "activeViewSize",
        "passiveViewSize",
        "suspicionInterval",
        "pingTimeout",
        "retransmitLimit",
        "metadataRefreshPeriod",
        "certificateReloadInterval",
        "seedPeers",
        "tls:certificatePath",
        "tls:certificateData",
        "tls:certificateDataSecret",
        "tls:certificatePassword",
        "tls:certificatePasswordSecret",
        "tls:allowUntrustedCertificates",
        "tls:checkCertificateRevocation",
    ];
    let text = document("migrating-from-omnirelay.md")?;
    let (_, table) = text.split_once("## Settings, key by key").ok_or("no settings")?;
    let table = table.split("\n## ").next().unwrap_or_default();
    let firsts = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let told: BTreeSet<&str> =
        firsts.flat_map(|cell| cell.split("`, `")).map(|key| key.trim_matches('`')).collect();
    for key in THERE {
        assert!(told.contains(key), "{key} is not told");
    }
    let known = configuration()?;
    for key in told {
        assert!(known.contains_key(key), "{key} is no key of this build");
    }
    Ok(())
}

/// The anchor that a heading has on the web.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Text outside of code blocks.
fn prose(text: &str) -> String {
    let mut inside = false;
    let outside = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        inside ^= is_fence;
        !inside && !is_fence
    };
    text.lines().filter(outside).collect::<Vec<_>>().join("\n")
}

fn pages(directory: &Path, found: &mut Vec<PathBuf>) -> Outcome {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            pages(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    Ok(())
}

/// Links inside the repository: the files are there, and the headings in them.
#[test]
fn links_of_the_documents_lead_somewhere() -> Outcome {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let mut found = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    pages(&root.join("docs"), &mut found)?;
    let (mut wrong, mut links) = (Vec::new(), 0);
    for page in &found {
        let text = prose(&fs::read_to_string(page)?);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.contains(' ') {
                continue;
            }
            links += 1;
            let (path, place) = target.split_once('#').unwrap_or((target, ""));
            let directory = page.parent().ok_or("a page without a directory")?;
            let there = if path.is_empty() { page.clone() } else { directory.join(path) };
            let shown = format!("{}: {target}", page.strip_prefix(&root)?.display());
            if !there.exists() {
                wrong.push(shown);
            } else if !place.is_empty() {
                let text = prose(&fs::read_to_string(&there)?);
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                if !headings.any(|line| anchor(line.trim_start_matches('#')) == place) {
                    wrong.push(format!("{shown} (no such heading)"));
                }
            }
        }
    }
    assert!(links > 50, "only {links} links read");
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
    Ok(())
}
