//! Every input that a fuzzer found worth keeping, and every one that once broke a rule, through
//! its target again: what `engine/fuzz` searches, this suite remembers (threat model, "no
//! certificate").

use std::fs;
use std::path::{Path, PathBuf};

use mesh_gossip::fuzzing::{TARGETS, seeds};

fn files_of(kind: &str, target: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target);
    let Ok(entries) = fs::read_dir(&directory) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    files.sort();
    files
}

/// Names the input that broke a rule, and how to run it alone.
struct Replaying<'a>(&'a str, &'a Path);

impl Drop for Replaying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(target, file) = self;
            eprintln!("{} breaks a rule of the target `{target}`", file.display());
        }
    }
}

fn replay(name: &str) {
    let (_, drive) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target");
    let corpus = files_of("corpus", name);
    assert!(!corpus.is_empty(), "no corpus of {name}");
    for file in corpus.iter().chain(&files_of("regressions", name)) {
        let _named = Replaying(name, file);
        drive(&fs::read(file).expect("a readable file"));
    }
}

macro_rules! corpora {
    ($($test:ident: $target:literal,)*) => {
        $(#[test]
        fn $test() {
            replay($target);
        })*

        #[test]
        fn every_target_has_a_replay() {
            let targets: Vec<&str> = TARGETS.iter().map(|(target, _)| *target).collect();
            assert_eq!(targets, [$($target),*]);
        }
    };
}

corpora! {
    headers_of_the_corpus_are_split_or_refused: "header",
    handshakes_of_the_corpus_never_amplify_nor_stay: "handshake",
    messages_of_the_corpus_are_read_or_refused: "messages",
    documents_of_the_corpus_are_read_or_refused: "documents",
    settings_of_the_corpus_are_read_or_refused_and_tell_no_secret: "settings",
    certificates_of_the_corpus_are_nobodys: "credentials",
    sessions_of_the_corpus_open_what_was_sealed_and_once: "sessions",
    nodes_of_the_corpus_speak_for_themselves: "node",
    sketches_of_the_corpus_tell_what_differs_within_bounds: "sketches",
}

/// `CORPUS_SEEDS=engine/fuzz/corpus` writes them too, for a fuzzer to begin with.
#[test]
fn seeds_hold_and_reach_their_targets() {
    let into = std::env::var_os("CORPUS_SEEDS").map(PathBuf::from);
    let seeds = seeds();
    for (name, drive) in TARGETS {
        let of_target = seeds.iter().filter(|(target, ..)| *target == name);
        assert!(of_target.clone().count() >= 3, "too few seeds of {name}");
        for (_, seed, input) in of_target {
            if let Some(into) = &into {
                let directory = into.join(name);
                fs::create_dir_all(&directory).expect("a directory to write to");
                fs::write(directory.join(seed), input).expect("a seed is written");
            }
            let _named = Replaying(name, Path::new(seed));
            drive(input);
        }
    }
}
