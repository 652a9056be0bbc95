//! Numbered rules: those that the documents state, those that source and tests cite.
//!
//! Stated: lines that begin with `- **X-n ` or `| X-n |`, outside sections whose heading begins with
//! a word of [`UNREAD`]. Cited: `rule X-n`, `rules X-1 and X-2`, `rules X-1 to X-3` in comments,
//! which may be broken over lines.

use std::collections::BTreeSet;

use crate::lexer::{Line, first_test_line, is_word};

/// Sections that state rules whose code has not landed: they may be cited, and need not be.
const UNREAD: [&str; 2] = ["Landing", "Planned"];

/// `S-8`: its letter and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule(pub(crate) char, pub(crate) u32);

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// What a document states.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stated {
    /// Rules with code and a test.
    pub(crate) landed: BTreeSet<Rule>,
    /// Rules of sections that are not read.
    pub(crate) planned: BTreeSet<Rule>,
}

/// Reads a document.
pub(crate) fn stated(document: &str) -> Stated {
    let mut stated = Stated::default();
    let mut planned = false;
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let heading = heading.trim_start_matches('#').trim_start();
            planned = UNREAD.iter().any(|word| heading.starts_with(word));
        }
        let start = line.strip_prefix("- **").or_else(|| line.strip_prefix("| "));
        if let Some((rule, _)) = start.and_then(rule_at) {
            let rules = if planned { &mut stated.planned } else { &mut stated.landed };
            rules.insert(rule);
        }
    }
    stated
}

/// What files cite.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Cited {
    /// Outside tests.
    pub(crate) source: BTreeSet<Rule>,
    /// In tests.
    pub(crate) tests: BTreeSet<Rule>,
}

impl Cited {
    /// Adds the citations of one file; `is_test` says that all of it is a test.
    pub(crate) fn add(&mut self, lines: &[Line], is_test: bool) {
        let tests = if is_test { 0 } else { first_test_line(lines) };
        self.source.extend(citations(&lines[..tests]));
        self.tests.extend(citations(&lines[tests..]));
    }
}

/// What does not match; empty when all is well.
pub(crate) fn mismatches(stated: &Stated, cited: &Cited) -> Vec<String> {
    let mut wrong = Vec::new();
    for rule in &stated.landed {
        if !cited.source.contains(rule) {
            wrong.push(format!("rule {rule} is stated, but no source line cites it"));
        }
        if !cited.tests.contains(rule) {
            wrong.push(format!("rule {rule} is stated, but no test cites it"));
        }
    }
    for rule in cited.source.union(&cited.tests) {
        if !stated.landed.contains(rule) && !stated.planned.contains(rule) {
            wrong.push(format!("rule {rule} is cited, but no document states it"));
        }
    }
    for rule in stated.landed.intersection(&stated.planned) {
        wrong.push(format!("rule {rule} is stated both as landed and as planned"));
    }
    wrong
}

fn citations(lines: &[Line]) -> BTreeSet<Rule> {
    let mut text = String::new();
    for line in lines {
        // `//!` and `///` leave their third character in the comment.
        text.push_str(line.comment.trim_start_matches(['/', '!']));
        text.push(if line.comment.is_empty() { '\n' } else { ' ' });
    }
    let mut found = BTreeSet::new();
    for paragraph in text.split('\n') {
        let mut words = paragraph.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let word = word.trim_start_matches(|c: char| !is_word(c));
            if matches!(word, "rule" | "rules" | "Rule" | "Rules") {
                list(&mut words, &mut found);
            }
        }
    }
    found
}

/// `X-1`, `X-1 and Y-2`, `X-1, Y-2 and Z-3`, `X-1 to X-3 and Y-9`.
fn list<'a>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    found: &mut BTreeSet<Rule>,
) {
    let mut range_from: Option<Rule> = None;
    let mut last: Option<Rule> = None;
    while let Some(word) = words.peek() {
        match *word {
            "and" | "or" => {}
            "to" => range_from = last,
            word => {
                let Some((rule, rest)) = rule_at(word) else { return };
                if let Some(Rule(letter, first)) = range_from.take()
                    && letter == rule.0
                {
                    found.extend((first..=rule.1).map(|number| Rule(letter, number)));
                }
                found.insert(rule);
                last = Some(rule);
                if !rest.is_empty() && rest != "," {
                    words.next();
                    return;
                }
            }
        }
        words.next();
    }
}

/// The rule that `text` begins with, and what follows.
fn rule_at(text: &str) -> Option<(Rule, &str)> {
    let mut chars = text.chars();
    let letter = chars.next().filter(char::is_ascii_uppercase)?;
    let rest = chars.as_str().strip_prefix('-')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let number = rest[..end].parse().ok()?;
    let rest = &rest[end..];
    (!rest.starts_with(is_word)).then_some((Rule(letter, number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::lines;

    fn names(rules: &BTreeSet<Rule>) -> Vec<String> {
        rules.iter().map(Rule::to_string).collect()
    }

    #[test]
    fn rules_are_read_from_lists_and_tables_but_not_from_plans() {
        let document = "## A\n- **M-1 Id.** text, see M-7\n| S-8 | words |\n| rule | X-1 |\n\
                        ## Landing with something\n| S-1 | words |\n### Planned\n- **D-2 Probe.**\n\
                        ## B\n- **G-1 Limit.** x\n";
        let stated = stated(document);
        assert_eq!(names(&stated.landed), ["G-1", "M-1", "S-8"]);
        assert_eq!(names(&stated.planned), ["D-2", "S-1"]);
    }

    #[test]
    fn citations_are_read_from_comments_over_lines() {
        let source = "//! Rounds (rules F-1 to F-3 and\n//! F-8). No rule P-256x.\n\
                      fn a() { /* rule G-1 */ \"rule Q-1\"; }\n\
                      /// The observer rules D-n.\n/// A rule, M-9 is elsewhere.\n\
                      #[cfg(test)]\nmod tests {\n/// Rules H-1, H-2 and\n/// A-2: both.\n}";
        let mut cited = Cited::default();
        cited.add(&lines(source), false);
        assert_eq!(names(&cited.source), ["F-1", "F-2", "F-3", "F-8", "G-1"]);
        assert_eq!(names(&cited.tests), ["A-2", "H-1", "H-2"]);
    }

    #[test]
    fn every_kind_of_mismatch_is_found() {
        let stated = stated("- **M-1 x**\n- **M-2 x**\n- **M-3 x**\n## Landing\n- **S-1 x**");
        let mut cited = Cited::default();
        cited.add(&lines("// rules M-1 and M-2\n// rule Z-9\n// rule S-1"), false);
        cited.add(&lines("// rules M-1 and M-3"), true);
        let wrong = mismatches(&stated, &cited);
        assert_eq!(
            wrong,
            [
                "rule M-2 is stated, but no test cites it",
                "rule M-3 is stated, but no source line cites it",
                "rule Z-9 is cited, but no document states it",
            ]
        );
    }
}
