//! The functions in docs/c-abi.md: signature and words as in the header, and beside them what a
//! person wrote of ownership, threads and errors.
//!
//! Invariant: each function that the header declares has a place there, and no other has.

use std::fmt::Write;
use std::path::PathBuf;

use crate::header::{Function, Header};
use crate::{Outcome, Request, read, write};

/// What a person writes for each function.
const ASPECTS: [&str; 3] = ["- Ownership:", "- Threads:", "- Errors:"];

pub(crate) fn run(request: &Request) -> Outcome {
    let header = Header::of(request)?;
    let path = page(request);
    let text = read(&path)?;
    if !request.check {
        return write(&path, &rewrite(&text, &header.functions));
    }
    let wrong = wrong(&text, &header.functions);
    if wrong.is_empty() {
        println!("reference: {} functions in docs/c-abi.md", header.functions.len());
        return Ok(());
    }
    Err(format!("docs/c-abi.md differs from the header\n{wrong}`capi reference` writes it anew"))
}

/// The page beside the committed files.
fn page(request: &Request) -> PathBuf {
    request.ffi.parent().map(|root| root.join("docs/c-abi.md")).unwrap_or_default()
}

/// What stands above a person's words.
fn generated(function: &Function) -> String {
    let mut text = format!("### `{}`\n\n```c\n", function.name);
    if function.text.len() <= 96 {
        let _ = writeln!(text, "{};", function.text);
    } else {
        let wrapped = function.text.replacen('(', "(\n    ", 1).replace(", ", ",\n    ");
        let _ = writeln!(text, "{wrapped};");
    }
    let _ = write!(text, "```\n\n{}\n\n", function.words);
    text
}

/// From the heading of a function to the next heading, or to the end.
fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = &text[text.find(&format!("### `{name}`\n"))?..];
    let end = rest.match_indices("\n#").map(|(at, _)| at + 1).next();
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// The part of a section that a person wrote.
fn by_hand(section: &str) -> &str {
    section.find(ASPECTS[0]).map_or("", |at| section[at..].trim_end())
}

fn wrong(text: &str, functions: &[Function]) -> String {
    let mut wrong = String::new();
    for function in functions {
        let name = &function.name;
        let Some(section) = section(text, name) else {
            let _ = writeln!(wrong, "  {name} is missing");
            continue;
        };
        if !section.starts_with(&generated(function)) {
            let _ = writeln!(wrong, "  {name} reads otherwise in the header");
        }
        for aspect in ASPECTS {
            let said = section.lines().find_map(|line| line.strip_prefix(aspect));
            if said.is_none_or(|said| said.trim().is_empty()) {
                let _ = writeln!(wrong, "  {name} says nothing after {aspect:?}");
            }
        }
    }
    for heading in text.lines().filter_map(|line| line.strip_prefix("### `mesh_gossip_")) {
        let name = format!("mesh_gossip_{}", heading.trim_end_matches('`'));
        if !functions.iter().any(|function| function.name == name) {
            let _ = writeln!(wrong, "  {name} is in no header");
        }
    }
    wrong
}

/// The same page with the header's words; what a person wrote stays, and a new function finds a
/// place behind the one before it.
fn rewrite(text: &str, functions: &[Function]) -> String {
    let mut text = text.to_owned();
    let mut behind = text.len();
    for function in functions {
        let generated = generated(function);
        match section(&text, &function.name) {
            Some(old) => {
                let at = text.find(old).unwrap_or(0);
                let own = by_hand(old);
                let own = if own.is_empty() { ASPECTS.join("\n") } else { own.to_owned() };
                let more = if at + old.len() < text.len() { "\n\n" } else { "\n" };
                let new = format!("{generated}{own}{more}");
                text.replace_range(at..at + old.len(), &new);
                behind = at + new.len();
            }
            None => {
                let new = format!("{generated}{}\n\n", ASPECTS.join("\n"));
                text.insert_str(behind, &new);
                behind += new.len();
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, words: &str) -> Function {
        let text = format!("void {name}(void)");
        Function { name: name.to_owned(), text, words: words.to_owned() }
    }

    #[test]
    fn words_follow_the_header_and_a_persons_stay() {
        let old = [function("mesh_gossip_a", "Does."), function("mesh_gossip_c", "Ends.")];
        let filled = rewrite("# Page\n\n## Functions\n\n", &old)
            .replace("Ownership:", "Ownership: none")
            .replace("Threads:", "Threads: any")
            .replace("Errors:", "Errors: none");
        assert_eq!(wrong(&filled, &old), "");
        let new = [
            function("mesh_gossip_a", "Does so."),
            function("mesh_gossip_b", "New."),
            function("mesh_gossip_c", "Ends."),
        ];
        let said = wrong(&filled, &new);
        assert!(said.contains("mesh_gossip_a reads otherwise"), "{said}");
        assert!(said.contains("mesh_gossip_b is missing"), "{said}");
        let next = rewrite(&filled, &new);
        let said = wrong(&next, &new);
        assert_eq!(said.lines().count(), 3, "the new one wants words: {said}\n{next}");
        assert!(next.find("_b`").unwrap() < next.find("_c`").unwrap());
        assert!(wrong(&next, &old).contains("mesh_gossip_b is in no header"));
        assert_eq!(rewrite(&next, &new), next);
    }
}
