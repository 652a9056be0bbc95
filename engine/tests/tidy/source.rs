//! Checks of single files and of the top level.

use crate::lexer::{Line, first_test_line, is_word};

/// Longest source file.
const MOST_LINES: usize = 600;

/// Long by intent: a header that is generated out of many sources, and the layer for C++, which is one
/// header so that a host can take it into its own sources by copying one file.
const LONG_BY_INTENT: [&str; 2] = ["ffi/include/mesh_gossip.h", "ffi/include/mesh_gossip.hpp"];

/// What is written in other languages, beside the C ABI and in the bindings.
const OTHER_LANGUAGES: [&str; 9] = ["c", "h", "hpp", "cpp", "py", "go", "js", "ts", "cs"];

/// Whether a file is source in a language that nothing else here reads.
pub(crate) fn is_foreign(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| OTHER_LANGUAGES.contains(&extension))
}

/// The same limit in every language.
pub(crate) fn wrong_length(path: &str, lines: usize) -> Option<String> {
    (lines >= MOST_LINES && !LONG_BY_INTENT.contains(&path))
        .then(|| format!("{path}: {lines} lines; a small machine is missing"))
}

/// Where `unsafe` may stand.
const UNSAFE_ALLOWED: [&str; 4] = [
    "engine/src/io/",
    "ffi/",
    "hyperscale-tests/src/fetch.rs",
    "hyperscale-tests/src/real/process.rs",
];

/// What ships: a surprise is an error there, never an `unwrap`.
const SHIPPED: [&str; 4] = ["engine/src/", "engine/proto/src/", "engine/cli/src/", "ffi/src/"];

const TOP_LEVEL: [&str; 24] = [
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".deny.toml",
    ".editorconfig",
    ".git",
    ".gitattributes",
    ".github",
    ".gitignore",
    ".rustfmt.toml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "benches",
    "bindings",
    "docs",
    "engine",
    "ffi",
    "hyperscale-tests",
    "target",
];

/// Names that have no place at the top level.
pub(crate) fn strangers(names: &[String]) -> Vec<String> {
    names
        .iter()
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()))
        .map(|name| format!("{name} has no place at the top level"))
        .collect()
}

/// Whether all of the file is a test.
pub(crate) fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

/// What is wrong with the file at `path`, relative to the workspace.
pub(crate) fn wrong_source(path: &str, lines: &[Line]) -> Vec<String> {
    // The last entry is what follows the last line end: nothing.
    let mut wrong = Vec::from_iter(wrong_length(path, lines.len().saturating_sub(1)));
    let ships = SHIPPED.iter().any(|place| path.starts_with(place)) && !is_test(path);
    let shipped_lines = if ships { first_test_line(lines) } else { 0 };
    for (index, line) in lines[..shipped_lines].iter().enumerate() {
        if line.code.contains(".unwrap()") {
            wrong.push(format!("{path}:{}: unwrap() outside tests", index + 1));
        }
    }
    let may_be_unsafe = UNSAFE_ALLOWED.iter().any(|place| path.starts_with(place));
    for (index, line) in lines.iter().enumerate() {
        let place = format!("{path}:{}", index + 1);
        if !may_be_unsafe && has_word(&line.code, "unsafe") {
            wrong.push(format!(
                "{place}: unsafe lives in engine/src/io, ffi and two files of hyperscale-tests"
            ));
        }
        for left_open in ["todo!", "unimplemented!"] {
            if has_word(&line.code, left_open.trim_end_matches('!'))
                && line.code.contains(left_open)
            {
                wrong.push(format!("{place}: {left_open}"));
            }
        }
        let squeezed: String = line.code.chars().filter(|c| !c.is_whitespace()).collect();
        if squeezed.contains("#[ignore") {
            wrong.push(format!("{place}: an ignored test proves nothing"));
        }
    }
    wrong
}

fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::lines;

    fn wrong(path: &str, source: &str) -> usize {
        wrong_source(path, &lines(source)).len()
    }

    #[test]
    fn long_files_are_found() {
        assert_eq!(wrong("a.rs", &"x;\n".repeat(599)), 0);
        assert_eq!(wrong("a.rs", &"x;\n".repeat(600)), 1);
        assert!(wrong_length("bindings/go/agent.go", 600).is_some());
        assert!(wrong_length("bindings/go/agent.go", 599).is_none());
        assert!(wrong_length("ffi/include/mesh_gossip.hpp", 600).is_none());
        assert!(is_foreign("ffi/tests/told.c") && !is_foreign("ffi/src/lib.rs"));
    }

    #[test]
    fn unsafe_code_is_found_where_it_may_not_stand() {
        let code = "fn f() { unsafe { g() } }";
        assert_eq!(wrong("engine/src/io/uring.rs", code), 0);
        assert_eq!(wrong("ffi/src/lib.rs", code), 0);
        assert_eq!(wrong("hyperscale-tests/src/fetch.rs", code), 0);
        assert_eq!(wrong("hyperscale-tests/src/wheel.rs", code), 1);
        assert_eq!(wrong("engine/src/shard.rs", code), 1);
        assert_eq!(wrong("engine/src/shard.rs", "#![forbid(unsafe_code)] // unsafe"), 0);
    }

    #[test]
    fn unwraps_are_found_where_they_ship() {
        let code = "fn f() { g().unwrap() }\n#[cfg(test)]\nmod tests {\n h().unwrap()\n}";
        assert_eq!(wrong("engine/src/a.rs", code), 1);
        assert_eq!(wrong("engine/src/a_tests.rs", code), 0);
        assert_eq!(wrong("engine/src/a/tests.rs", code), 0);
        assert_eq!(wrong("hyperscale-tests/tests/a.rs", code), 0);
    }

    #[test]
    fn open_ends_are_found() {
        assert_eq!(wrong("a.rs", "fn f() { todo!() }"), 1);
        assert_eq!(wrong("a.rs", "fn f() { unimplemented!(\"x\") }"), 1);
        assert_eq!(wrong("a.rs", "#[ignore = \"slow\"]\n#[ ignore ]"), 2);
        assert_eq!(wrong("a.rs", "// todo! #[ignore]\nlet a = \"todo!\"; not_todo!();"), 0);
    }

    #[test]
    fn strangers_at_the_top_are_found() {
        let names = ["docs", "engine", "notes.txt"].map(String::from);
        assert_eq!(strangers(&names), ["notes.txt has no place at the top level"]);
    }
}
