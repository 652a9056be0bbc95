//! What the packages depend on, and under which licences.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};

/// Crates of the workspace and the crates of the workspace that each may depend on.
const ARROWS: [(&str, &[&str]); 6] = [
    ("mesh-gossip-proto", &[]),
    ("mesh-gossip", &["mesh-gossip-proto"]),
    ("mesh-gossip-ffi", &["mesh-gossip"]),
    ("omnirelay-cli", &["mesh-gossip"]),
    ("mesh-gossip-benches", &["mesh-gossip", "mesh-gossip-proto"]),
    ("hyperscale-tests", &["mesh-gossip", "mesh-gossip-proto"]),
];

/// What leaves the house.
const SHIPPED: [&str; 4] = ["mesh-gossip-proto", "mesh-gossip", "mesh-gossip-ffi", "omnirelay-cli"];

const PERMISSIVE: [&str; 12] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "0BSD",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "BSL-1.0",
];
const PUBLIC_DOMAIN: [&str; 1] = ["Unlicense"];
/// May stand beside us in tests and benches, never in what ships.
const DEVELOPMENT: [&str; 1] = ["MPL-2.0"];

/// Dependencies between `members` that no arrow allows. A crate may name itself, for features in
/// its own tests.
pub(crate) fn wrong_arrows(members: &[(String, Vec<String>)]) -> Vec<String> {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let names: BTreeSet<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let mut wrong = Vec::new();
    for (name, dependencies) in members {
        let Some(allowed) = arrows.get(name.as_str()) else {
            wrong.push(format!("{name} is no crate of the plan; add it to {}", file!()));
            continue;
        };
        for dependency in dependencies {
            let inside = names.contains(dependency.as_str()) && dependency != name;
            if inside && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    wrong
}

/// The members of the workspace with everything that they name, development included.
pub(crate) fn members(metadata: &Metadata) -> Vec<(String, Vec<String>)> {
    let names = |package: &&Package| {
        let dependencies = package.dependencies.iter().map(|d| d.name.to_string()).collect();
        (package.name.to_string(), dependencies)
    };
    metadata.workspace_packages().iter().map(names).collect()
}

/// Packages whose licence does not fit where they stand.
pub(crate) fn wrong_licences(metadata: &Metadata) -> Vec<String> {
    let shipped = reachable(metadata, |name, kind| {
        SHIPPED.contains(&name) && kind != DependencyKind::Development
    });
    let all = reachable(metadata, |_, _| true);
    assert!(shipped.len() > 20 && all.len() >= shipped.len(), "the search for packages is broken");
    let mut wrong = Vec::new();
    for package in metadata.packages.iter().filter(|package| all.contains(&package.id)) {
        let ships = shipped.contains(&package.id);
        let expression = package.license.as_deref().unwrap_or_default();
        if !permitted(expression, ships) {
            let place = if ships { "ships" } else { "serves development" };
            wrong.push(format!("{} {place} under '{expression}'", package.name));
        }
    }
    wrong
}

/// Packages reachable from the workspace; the first step from a member must please `follow`, the
/// following ones are what those packages need themselves.
fn reachable(
    metadata: &Metadata,
    follow: impl Fn(&str, DependencyKind) -> bool,
) -> BTreeSet<PackageId> {
    let resolve = metadata.resolve.as_ref().expect("cargo metadata resolves");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let members: BTreeMap<&PackageId, &str> =
        metadata.workspace_packages().iter().map(|p| (&p.id, p.name.as_str())).collect();
    let mut open: Vec<&PackageId> = members.keys().copied().collect();
    let mut found: BTreeSet<PackageId> = BTreeSet::new();
    let mut seen: BTreeSet<&PackageId> = open.iter().copied().collect();
    while let Some(id) = open.pop() {
        let Some(node) = nodes.get(id) else { continue };
        for dependency in &node.deps {
            let follows = dependency.dep_kinds.iter().any(|kind| match members.get(id) {
                Some(name) => follow(name, kind.kind),
                None => kind.kind != DependencyKind::Development,
            });
            if follows {
                found.insert(dependency.pkg.clone());
                if seen.insert(&dependency.pkg) {
                    open.push(&dependency.pkg);
                }
            }
        }
    }
    found
}

/// Whether an SPDX expression leaves a choice that fits. AND binds closer than OR; the `/` of old
/// manifests means OR; an exception (WITH) only ever permits more.
pub(crate) fn permitted(expression: &str, ships: bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let outcome = any_of(&mut words, ships);
    outcome && words.peek().is_none()
}

type Words<'a, 'w> = &'w mut std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: Words<'_, '_>, ships: bool) -> bool {
    let mut outcome = all_of(words, ships);
    while words.next_if_eq(&"OR").is_some() {
        // Read the rest in any case: the words must be consumed.
        let other = all_of(words, ships);
        outcome = outcome || other;
    }
    outcome
}

fn all_of(words: Words<'_, '_>, ships: bool) -> bool {
    let mut outcome = one(words, ships);
    while words.next_if_eq(&"AND").is_some() {
        let other = one(words, ships);
        outcome = outcome && other;
    }
    outcome
}

fn one(words: Words<'_, '_>, ships: bool) -> bool {
    match words.next() {
        None => false,
        Some("(") => {
            let outcome = any_of(words, ships);
            outcome && words.next() == Some(")")
        }
        Some(licence) => {
            if words.next_if_eq(&"WITH").is_some() {
                words.next();
            }
            PERMISSIVE.contains(&licence)
                || PUBLIC_DOMAIN.contains(&licence)
                || (!ships && DEVELOPMENT.contains(&licence))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions_are_read() {
        for (expression, ships, fits) in [
            ("MIT OR Apache-2.0", true, true),
            ("MIT/Apache-2.0", true, true),
            ("Apache-2.0 AND ISC", true, true),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true, true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true, true),
            ("GPL-3.0 OR (MIT AND GPL-2.0)", true, false),
            ("MIT AND GPL-3.0", true, false),
            ("GPL-3.0", false, false),
            ("MPL-2.0", true, false),
            ("MPL-2.0", false, true),
            ("MPL-2.0 OR MIT", true, true),
            ("(MIT", true, false),
            ("MIT nonsense", true, false),
            ("", true, false),
        ] {
            assert_eq!(permitted(expression, ships), fits, "{expression}, ships: {ships}");
        }
    }

    #[test]
    fn arrows_between_crates_point_one_way() {
        let member = |name: &str, dependencies: &[&str]| {
            (name.to_string(), dependencies.iter().map(ToString::to_string).collect())
        };
        let good = [
            member("mesh-gossip-proto", &["sha2"]),
            member("mesh-gossip", &["mesh-gossip-proto", "mesh-gossip", "libc"]),
            member("mesh-gossip-ffi", &["mesh-gossip"]),
        ];
        assert!(wrong_arrows(&good).is_empty());
        let bad = [
            member("mesh-gossip-proto", &["mesh-gossip"]),
            member("mesh-gossip", &["mesh-gossip-ffi"]),
            member("mesh-gossip-ffi", &["mesh-gossip-proto"]),
            member("extra", &[]),
        ];
        assert_eq!(wrong_arrows(&bad).len(), 4, "{:?}", wrong_arrows(&bad));
    }
}
