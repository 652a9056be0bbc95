//! The repository keeps its own rules: imports, file sizes, numbered rules, licences.
//!
//! Each check is a function from text to complaints and has tests on small bad samples, so that it
//! is known to be able to fail.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/lexer.rs"]
mod lexer;
#[path = "tidy/packages.rs"]
mod packages;
#[path = "tidy/pains.rs"]
mod pains;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use lexer::Line;

const PROTOCOL_CRATE: &str = "engine/proto/src/";

/// One source file.
struct File {
    /// Relative to the workspace, with `/`.
    path: String,
    lines: Vec<Line>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace holds us").to_path_buf()
}

fn files() -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    for top in ["engine", "ffi", "bindings", "benches", "hyperscale-tests"] {
        collect(&root, &root.join(top), &mut found);
    }
    assert!(found.len() > 30, "only {} source files found: the search is broken", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(root: &Path, directory: &Path, found: &mut Vec<File>) {
    let entries = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            // Build output and installed packages are nobody's source.
            if !path.ends_with("target") && !path.ends_with("node_modules") {
                collect(root, &path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("source is UTF-8");
            let relative = path.strip_prefix(root).expect("below the root");
            let path = relative.to_string_lossy().replace('\\', "/");
            found.push(File { path, lines: lexer::lines(&text) });
        }
    }
}

fn document(name: &str) -> rules::Stated {
    let path = root().join("docs").join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    rules::stated(&text)
}

/// The workspace as it is built here: what other platforms need besides was never fetched by a build,
/// and nothing is fetched for a test.
fn metadata() -> cargo_metadata::Metadata {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = std::process::Command::new(rustc).arg("-vV").output().expect("rustc runs");
    let told = String::from_utf8(told.stdout).expect("text");
    let host = told.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--offline", "--locked", "--filter-platform", host].map(String::from))
        .exec()
        .expect("cargo describes the workspace without the network")
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
}

#[test]
fn source_files_are_short_safe_and_finished() {
    let wrong: Vec<String> =
        files().iter().flat_map(|file| source::wrong_source(&file.path, &file.lines)).collect();
    none(&wrong);
}

/// Not the length of what a compiler or an installer put there.
#[test]
fn files_in_other_languages_are_short_as_well() {
    let root = root();
    let mut paths = vec![root.join("ffi"), root.join("bindings")];
    let (mut seen, mut wrong) = (0, Vec::new());
    while let Some(path) = paths.pop() {
        let relative = path.strip_prefix(&root).expect("below the root").to_string_lossy();
        if path.is_dir() {
            let built = ["target", "node_modules", "out", "build"];
            if !built.iter().any(|name| path.ends_with(name)) {
                let entries = std::fs::read_dir(&path).expect("a readable directory");
                paths.extend(entries.map(|entry| entry.expect("a readable entry").path()));
            }
        } else if source::is_foreign(&relative) {
            seen += 1;
            let text = std::fs::read_to_string(&path).expect("source is UTF-8");
            wrong.extend(source::wrong_length(&relative, text.lines().count()));
        }
    }
    assert!(seen > 60, "only {seen} files found: the search is broken");
    none(&wrong);
}

#[test]
fn the_top_level_holds_what_belongs_there() {
    let names: Vec<String> = std::fs::read_dir(root())
        .expect("the root can be read")
        .map(|entry| entry.expect("a readable entry").file_name().to_string_lossy().into_owned())
        .collect();
    none(&source::strangers(&names));
}

#[test]
fn imports_inside_the_protocol_point_down() {
    let files = files();
    let own = files.iter().filter_map(|file| Some((file.path.strip_prefix(PROTOCOL_CRATE)?, file)));
    let wrong: Vec<String> =
        own.flat_map(|(path, file)| imports::wrong_imports(path, &file.lines)).collect();
    none(&wrong);
}

/// Purity is compiled: without these two attributes the arrows above would be etiquette.
#[test]
fn the_protocol_is_no_std_and_safe() {
    let files = files();
    let root = files.iter().find(|file| file.path == "engine/proto/src/lib.rs").expect("it exists");
    for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        assert!(root.lines.iter().any(|line| line.code.trim() == attribute), "{attribute}");
    }
}

#[test]
fn crates_depend_in_one_direction() {
    none(&packages::wrong_arrows(&packages::members(&metadata())));
}

#[test]
fn licences_are_permissive() {
    none(&packages::wrong_licences(&metadata()));
}

#[test]
fn every_rule_has_code_and_a_test_and_every_citation_a_rule() {
    let mut stated = document("protocol.md");
    let security = document("security.md");
    let twice: BTreeSet<_> = stated.landed.intersection(&security.landed).collect();
    assert!(twice.is_empty(), "stated in two documents: {twice:?}");
    assert!(stated.landed.len() > 20, "only {} rules read", stated.landed.len());
    stated.landed.extend(security.landed);
    stated.planned.extend(security.planned);
    let mut cited = rules::Cited::default();
    // The checks themselves speak of rules that do not exist.
    for file in files().iter().filter(|file| !file.path.starts_with("engine/tests/tidy")) {
        cited.add(&file.lines, source::is_test(&file.path));
    }
    none(&rules::mismatches(&stated, &cited));
}

#[test]
fn every_pain_of_others_has_a_test_that_names_it() {
    let path = root().join("docs/peers.md");
    let text = std::fs::read_to_string(&path).expect("it can be read");
    let rows = pains::rows(&text);
    assert_eq!(rows.len(), 22, "rows of the table of pains");
    let mut tests = pains::Tests::default();
    for file in files() {
        tests.add(&file.lines, source::is_test(&file.path));
    }
    none(&pains::mismatches(&rows, &tests));
}
