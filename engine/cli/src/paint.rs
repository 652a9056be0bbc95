//! Colours for people: on a terminal, unless `NO_COLOR` is set, and never in what programs read.
//!
//! A word gets a colour only where it is a whole cell, so that a name that contains one stays as it
//! is. Colour repeats what the word says; nothing is told by it alone.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

/// Whether what goes to stdout has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// What suits stdout and the environment.
    pub(crate) fn for_stdout() -> Self {
        let variable = |name| std::env::var_os(name);
        let terminal = io::stdout().is_terminal();
        Self::suits(terminal, variable("NO_COLOR").as_deref(), variable("TERM").as_deref())
    }

    /// An empty `NO_COLOR` is none, as <https://no-color.org> has it.
    fn suits(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        let refused = no_color.is_some_and(|set| !set.is_empty());
        Self(terminal && !refused && term.is_none_or(|term| term != "dumb"))
    }

    /// Colours the words that stand in cells of their own: columns have two spaces between them.
    pub(crate) fn text(self, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        text.split_inclusive('\n').map(line).collect()
    }
}

fn line(line: &str) -> String {
    let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
    let cells: Vec<String> = body
        .split("  ")
        .map(|cell| {
            let word = cell.trim();
            match colour(word) {
                Some(colour) => cell.replace(word, &format!("{colour}{word}{RESET}")),
                None => cell.to_owned(),
            }
        })
        .collect();
    cells.join("  ") + end
}

fn colour(word: &str) -> Option<&'static str> {
    match word {
        "Alive" | "PASS" | "drained" => Some(GREEN),
        "Suspect" | "WARN" | "late" => Some(YELLOW),
        "Left" | "Removed" | "FAIL" | "failed" => Some(RED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_cells_are_coloured_and_parts_of_others_are_not() {
        let text = "Node      Status\nLeft-1    Alive    worker\na Alive b  Suspect\nx  Left\n";
        let expected = "Node      Status\nLeft-1    \u{1b}[32mAlive\u{1b}[0m    worker\n\
                        a Alive b  \u{1b}[33mSuspect\u{1b}[0m\nx  \u{1b}[31mLeft\u{1b}[0m\n";
        assert_eq!(Paint(true).text(text), expected);
        assert_eq!(Paint(false).text(text), text);
        let doctor = "FAIL  clock  Alive it is\n        fix: set it";
        assert_eq!(
            Paint(true).text(doctor),
            "\u{1b}[31mFAIL\u{1b}[0m  clock  Alive it is\n        fix: set it"
        );
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let suits = |terminal, no_color: Option<&str>, term: Option<&str>| {
            Paint::suits(terminal, no_color.map(OsStr::new), term.map(OsStr::new)).0
        };
        assert!(suits(true, None, Some("xterm")) && suits(true, Some(""), None));
        assert!(!suits(false, None, Some("xterm")), "a pipe");
        assert!(!suits(true, Some("1"), Some("xterm")), "NO_COLOR");
        assert!(!suits(true, None, Some("dumb")));
    }
}
