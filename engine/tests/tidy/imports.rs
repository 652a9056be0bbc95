//! Who may import whom inside the protocol crate: node → event → leaves → ground → vocabulary, and
//! leaves never import each other.

use crate::lexer::{Line, first_test_line, is_word};

const VOCABULARY: [&str; 7] = ["config", "error", "member", "metadata", "near", "time", "timers"];
const GROUND: [&str; 2] = ["membership", "wire"];
const LEAVES: [&str; 6] = ["batch", "detector", "dissemination", "leadership", "session", "sync"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Vocabulary,
    Ground,
    Leaf,
    Boundary,
    Router,
}

fn layer(module: &str) -> Option<Layer> {
    match module {
        "node" => Some(Layer::Router),
        "event" => Some(Layer::Boundary),
        _ if LEAVES.contains(&module) => Some(Layer::Leaf),
        _ if GROUND.contains(&module) => Some(Layer::Ground),
        _ if VOCABULARY.contains(&module) => Some(Layer::Vocabulary),
        _ => None,
    }
}

/// What is wrong with the imports of the file at `path`, relative to the crate's `src`.
pub(crate) fn wrong_imports(path: &str, lines: &[Line]) -> Vec<String> {
    let modules = module_path(path);
    let Some(from) = modules.first().copied() else { return Vec::new() };
    let Some(own) = layer(from) else {
        return vec![format!("{path}: module {from} has no layer; give it one in {}", file!())];
    };
    let mut wrong = Vec::new();
    for to in imported(&modules, lines) {
        let allowed = match layer(&to) {
            None => false,
            Some(_) if to == from => true,
            Some(Layer::Leaf) if own == Layer::Leaf => false,
            Some(target) => target <= own,
        };
        if !allowed {
            wrong.push(format!("{path}: {from} must not import {to}"));
        }
    }
    wrong.dedup();
    wrong
}

/// `detector/order.rs` is `detector::order`; `lib.rs` is the root, which may see everything.
fn module_path(path: &str) -> Vec<&str> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut modules: Vec<&str> = path.split('/').collect();
    if matches!(modules.last(), Some(&("mod" | "lib"))) {
        modules.pop();
    }
    modules
}

/// The top-level modules that the code names by `crate::` or by climbing with `super::`.
fn imported(modules: &[&str], lines: &[Line]) -> Vec<String> {
    let all = text(lines);
    let mut found = heads(&all, "crate::");
    // Inside a test module `super` is the file itself, so that only the code before it counts.
    let code = text(&lines[..first_test_line(lines)]);
    let climb = "super::".repeat(modules.len());
    found.extend(heads(&code, &climb).into_iter().filter(|head| head != "super"));
    found
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(|line| format!("{}\n", line.code)).collect()
}

/// The first segments after each `prefix` in `code`; all of them where a group follows.
fn heads(code: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| is_word(c) || c == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.push(rest.chars().take_while(|c| is_word(*c)).collect()),
        }
    }
    found.retain(|head| !head.is_empty());
    found
}

/// First segments of a group's items: `a::{b, c}, d}` gives a and d.
fn group_heads(group: &str) -> Vec<String> {
    let mut depth = 0usize;
    let mut heads = vec![String::new()];
    let mut in_head = true;
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(String::new());
                in_head = true;
            }
            c if depth == 0 && in_head && is_word(c) => {
                if let Some(head) = heads.last_mut() {
                    head.push(c);
                }
            }
            c if c.is_whitespace() => {}
            _ => in_head = false,
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::lines;

    fn wrong(path: &str, source: &str) -> Vec<String> {
        wrong_imports(path, &lines(source))
    }

    #[test]
    fn arrows_point_down_only() {
        assert!(wrong("node/gossip.rs", "use crate::detector::order::X;").is_empty());
        assert!(wrong("sync/pulls.rs", "use crate::membership::table::X;").is_empty());
        assert!(wrong("detector/a.rs", "use crate::detector::b::X;").is_empty());
        assert!(wrong("lib.rs", "pub use crate::node::Node;").is_empty());
        for (path, source) in [
            ("detector/a.rs", "use crate::sync::pulls::Pulls;"),
            ("detector/a.rs", "use crate::node::Node;"),
            ("membership/table.rs", "fn f() { crate::event::f() }"),
            ("member.rs", "use crate::{time::{A, B}, wire::C};"),
            ("event.rs", "use crate::node::Node;"),
            ("sync/a.rs", "use super::super::dissemination::X;"),
            ("novelty.rs", "fn f() {}"),
        ] {
            assert_eq!(wrong(path, source).len(), 1, "{path}: {source}");
        }
    }

    #[test]
    fn what_is_no_import_is_let_pass() {
        assert!(wrong("detector/a.rs", "// crate::node\nfn f() { \"crate::node\"; }").is_empty());
        assert!(wrong("detector/a.rs", "use super::b::X;\nuse std::crate_sync::X;").is_empty());
        let test = "#[cfg(test)]\nmod tests {\n    use super::super::order::X;\n}";
        assert!(wrong("detector/a.rs", test).is_empty());
    }

    #[test]
    fn a_name_from_the_root_counts_as_unknown() {
        assert_eq!(wrong("sync/a.rs", "use crate::Node;").len(), 1);
    }
}
