//! How the demo speaks: plain lines, a table redrawn in place, or a JSON object a line.
//!
//! Invariant: on a terminal the cursor stands below the table that was drawn last, so that
//! drawing again replaces exactly its lines.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;

use rustix::termios::tcgetwinsize;
use serde::Serialize;

use super::board::{Board, Change};

/// Rows of a terminal that does not tell.
const ROWS: usize = 24;

/// A port of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum PortUse {
    /// Datagrams and bulk sync.
    Gossip,
    /// The control server.
    Control,
}

/// Something worth a line.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Notice<'a> {
    /// The engine runs.
    Started { backend: &'static str, nodes: u16 },
    /// A wanted port is taken.
    Moved { node: &'a str, port: PortUse, from: u16, to: u16 },
    /// An agent runs.
    Listening { node: &'a str, address: SocketAddr },
    /// Everyone sees everyone.
    Converged { nodes: usize, ms: u64, budget_ms: u64 },
    /// Where the first agent's control server listens.
    Control { url: &'a str },
    /// A member as the first agent sees it, or a change of that.
    Member(&'a Change),
    /// An agent was ended without a goodbye.
    Killed { node: &'a str },
    /// No survivor holds it a member.
    Removed { node: &'a str, ms: u64, budget_ms: u64 },
}

impl std::fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Started { backend, nodes } => {
                let agents = if *nodes == 1 { "agent" } else { "agents" };
                write!(f, "Starting {nodes} {agents} over mutual TLS on {backend}")
            }
            Self::Moved { node, port, from, to } => {
                let what = match port {
                    PortUse::Gossip => "port",
                    PortUse::Control => "control port",
                };
                write!(f, "{what} {from} is busy: {node} moved to {to}")
            }
            Self::Listening { node, address } => write!(f, "{node} listens on {address}"),
            Self::Converged { nodes: 1, ms, .. } => {
                write!(f, "The only agent sees itself after {ms} ms")
            }
            Self::Converged { nodes, ms, budget_ms } => {
                write!(f, "All {nodes} agents see each other after {ms} ms (budget {budget_ms} ms)")
            }
            Self::Control { url } => write!(f, "Control: {url}/control/peers"),
            Self::Member(change) => change.fmt(f),
            Self::Killed { node } => write!(f, "Killed {node} without a goodbye"),
            Self::Removed { node, ms, budget_ms } => {
                write!(f, "{node} is gone from every view after {ms} ms (budget {budget_ms} ms)")
            }
        }
    }
}

/// Where lines go.
#[derive(Debug)]
pub(crate) enum Voice {
    /// Plain lines.
    Plain,
    /// A terminal on which `drawn` lines of a table stand above the cursor.
    Terminal { drawn: usize },
    /// JSON, one object a line.
    Ndjson,
}

impl Voice {
    /// Plain lines, whatever stdout is.
    pub(crate) fn plain() -> Self {
        Self::Plain
    }

    /// What suits stdout.
    pub(crate) fn for_stdout(json: bool) -> Self {
        match (json, io::stdout().is_terminal()) {
            (true, _) => Self::Ndjson,
            (false, true) => Self::Terminal { drawn: 0 },
            (false, false) => Self::Plain,
        }
    }

    /// Whether the table is redrawn in place.
    pub(crate) fn redraws(&self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    /// Says one line.
    pub(crate) fn tell(&mut self, notice: &Notice<'_>) -> io::Result<()> {
        let line = match self {
            Self::Plain => notice.to_string(),
            Self::Terminal { drawn } => {
                *drawn = 0;
                notice.to_string()
            }
            Self::Ndjson => serde_json::to_string(notice)?,
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// Shows the members for the first time.
    pub(crate) fn show(&mut self, board: &Board, control: Option<&str>) -> io::Result<()> {
        match self {
            Self::Plain | Self::Terminal { .. } => {
                let mut out = io::stdout().lock();
                writeln!(out)?;
                let lines = frame(board, control);
                write!(out, "{}", self.drawing(&lines))?;
                out.flush()
            }
            Self::Ndjson => {
                if let Some(url) = control {
                    self.tell(&Notice::Control { url })?;
                }
                board.changes(None).iter().try_for_each(|change| self.tell(&Notice::Member(change)))
            }
        }
    }

    /// Shows what became of the members since `before`.
    pub(crate) fn follow(
        &mut self,
        board: &Board,
        before: &Board,
        control: Option<&str>,
    ) -> io::Result<()> {
        match self {
            Self::Terminal { .. } => {
                let text = self.drawing(&frame(board, control));
                let mut out = io::stdout().lock();
                write!(out, "{text}")?;
                out.flush()
            }
            Self::Plain | Self::Ndjson => {
                let changes = board.changes(Some(before));
                changes.iter().try_for_each(|change| self.tell(&Notice::Member(change)))
            }
        }
    }

    /// Draws these lines in the place of those drawn last.
    pub(crate) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let text = self.drawing(lines);
        let mut out = io::stdout().lock();
        write!(out, "{text}")?;
        out.flush()
    }

    fn drawing(&mut self, lines: &[String]) -> String {
        match self {
            Self::Plain | Self::Ndjson => lines.iter().map(|line| format!("{line}\n")).collect(),
            Self::Terminal { drawn } => {
                let lines = fitting(lines, rows());
                redraw(lines, std::mem::replace(drawn, lines.len()))
            }
        }
    }
}

/// Height of the terminal at stdout.
pub(crate) fn rows() -> usize {
    let told = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
    if told == 0 { ROWS } else { told }
}

/// The last of these lines, as many as stay on a screen of so many rows with the cursor below them: what has
/// scrolled away could not be drawn over.
fn fitting(lines: &[String], rows: usize) -> &[String] {
    let room = rows.saturating_sub(1).max(1);
    &lines[lines.len().saturating_sub(room)..]
}

/// Replaces the `drawn` lines above the cursor. Wrapping is off meanwhile: a line longer than the
/// terminal is wide would take two and put the count wrong.
fn redraw(lines: &[String], drawn: usize) -> String {
    let up = if drawn == 0 { String::new() } else { format!("\x1b[{drawn}A") };
    let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{up}\r\x1b[J\x1b[?7l{body}\x1b[?7h")
}

fn frame(board: &Board, control: Option<&str>) -> Vec<String> {
    let mut lines = board.lines();
    lines.push(String::new());
    if let Some(url) = control {
        lines.push(Notice::Control { url }.to_string());
    }
    lines.push("Ctrl-C ends the demo.".into());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redrawing_replaces_exactly_the_lines_drawn_before() {
        let mut voice = Voice::Terminal { drawn: 0 };
        let two = ["a".to_owned(), "b".to_owned()];
        assert_eq!(voice.drawing(&two), "\r\x1b[J\x1b[?7la\r\nb\r\n\x1b[?7h");
        assert_eq!(voice.drawing(&two[..1]), "\x1b[2A\r\x1b[J\x1b[?7la\r\n\x1b[?7h");
        assert_eq!(voice.drawing(&two), "\x1b[1A\r\x1b[J\x1b[?7la\r\nb\r\n\x1b[?7h");
        assert_eq!(Voice::Plain.drawing(&two), "a\nb\n");
    }

    #[test]
    fn no_more_is_drawn_than_a_small_screen_holds() {
        let lines: Vec<String> = (0..30).map(|number| number.to_string()).collect();
        assert_eq!(fitting(&lines, 31), &lines[..]);
        assert_eq!(fitting(&lines, 30), &lines[1..]);
        assert_eq!(fitting(&lines, 10), &lines[21..], "the keys stand last");
        for tiny in [0, 1, 2] {
            assert_eq!(fitting(&lines, tiny), &lines[29..]);
        }
        assert_eq!(fitting(&[], 5), &[] as &[String]);
    }

    #[test]
    fn notices_are_a_sentence_for_people_and_an_object_for_programs() {
        let moved = Notice::Moved { node: "demo-1", port: PortUse::Control, from: 8080, to: 8081 };
        assert_eq!(moved.to_string(), "control port 8080 is busy: demo-1 moved to 8081");
        assert_eq!(
            serde_json::to_string(&moved).ok().as_deref(),
            Some(r#"{"event":"moved","node":"demo-1","port":"control","from":8080,"to":8081}"#)
        );
        let alone = Notice::Converged { nodes: 1, ms: 41, budget_ms: 2_000 };
        assert_eq!(alone.to_string(), "The only agent sees itself after 41 ms");
        let one = Notice::Started { backend: "mmsg", nodes: 1 };
        assert_eq!(one.to_string(), "Starting 1 agent over mutual TLS on mmsg");
        let converged = Notice::Converged { nodes: 3, ms: 41, budget_ms: 2_000 };
        assert_eq!(
            serde_json::to_string(&converged).ok().as_deref(),
            Some(r#"{"event":"converged","nodes":3,"ms":41,"budgetMs":2000}"#)
        );
    }
}
