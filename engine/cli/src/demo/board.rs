//! The members as the demo shows them: the first agent's view, and in how many views each of
//! them is Alive.
//!
//! Invariant: the order is by name, numbers by value, and stays the same while members change.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_gossip::Agent;
use mesh_gossip::proto::{MemberId, State};
use serde::Serialize;

use crate::table;

/// Rows drawn at most: a table taller than the screen cannot be redrawn in place.
const MAX_ROWS: usize = 16;

/// Round-trip times measured by the first agent.
pub(crate) type Rtts = BTreeMap<MemberId, Duration>;

/// One member.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) node: String,
    pub(crate) status: &'static str,
    pub(crate) role: String,
    pub(crate) region: String,
    pub(crate) version: String,
    pub(crate) http3: bool,
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) alive_in: usize,
}

/// All members at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Board {
    rows: Vec<Row>,
    views: usize,
}

/// What became of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    node: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'static str>,
    alive_in: usize,
    views: usize,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { node, status, previous, alive_in, views } = self;
        let node = table::harmless(node);
        match previous {
            Some(previous) => write!(f, "{node}: {previous} -> {status}")?,
            None => write!(f, "{node}: {status}")?,
        }
        let noun = if *views == 1 { "view" } else { "views" };
        write!(f, " (Alive in {alive_in} of {views} {noun})")
    }
}

impl Board {
    /// What the agents' views hold.
    pub(crate) fn take(agents: &[Agent], rtts: &Rtts) -> Self {
        let mut alive: BTreeMap<MemberId, usize> = BTreeMap::new();
        for agent in agents {
            for member in agent.view().view.members().filter(|m| m.state == State::Alive) {
                *alive.entry(member.id()).or_default() += 1;
            }
        }
        let Some(first) = agents.first() else { return Self::default() };
        let published = first.view();
        let rows = published.view.members().map(|member| {
            let metadata = &member.record.record().metadata;
            Row {
                node: metadata.node_id.clone(),
                status: status(member.state),
                role: metadata.role.clone(),
                region: metadata.region.clone(),
                version: metadata.mesh_version.clone(),
                http3: metadata.http3_support,
                rtt_ms: rtts.get(&member.id()).map(|rtt| rtt.as_secs_f64() * 1_000.0),
                alive_in: alive.get(&member.id()).copied().unwrap_or(0),
            }
        });
        Self::of(rows.collect(), agents.len())
    }

    fn of(mut rows: Vec<Row>, views: usize) -> Self {
        rows.sort_by(|a, b| by_name(&a.node).cmp(&by_name(&b.node)));
        Self { rows, views }
    }

    /// The table. Of a large mesh, those that are not Alive everywhere come before the cut.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines_of(MAX_ROWS)
    }

    /// The same with `most` members at most, and [`MAX_ROWS`].
    pub(crate) fn lines_of(&self, most: usize) -> Vec<String> {
        let most = most.min(MAX_ROWS);
        let header =
            ["Node", "Status", "Role", "Region", "Version", "HTTP/3", "rtt (ms)", "Alive in"];
        let mut shown: Vec<&Row> = self.rows.iter().collect();
        if shown.len() > most {
            shown.sort_by_key(|row| row.alive_in == self.views);
            shown.truncate(most);
        }
        let cells: Vec<_> = shown.iter().map(|row| row.cells(self.views)).collect();
        let mut lines = table::lines(header, &cells);
        if self.rows.len() > shown.len() {
            let alive = self.rows.iter().filter(|row| row.alive_in == self.views).count();
            let more = self.rows.len() - shown.len();
            lines.push(format!("… and {more} more; {alive} are Alive in every view"));
        }
        lines
    }

    /// Members whose status differs from the one they had `before`; all of them without one.
    pub(crate) fn changes(&self, before: Option<&Self>) -> Vec<Change> {
        let before: BTreeMap<&str, &'static str> = before
            .map(|board| board.rows.iter().map(|row| (row.node.as_str(), row.status)).collect())
            .unwrap_or_default();
        self.rows
            .iter()
            .map(|row| (row, before.get(row.node.as_str()).copied()))
            .filter(|(row, previous)| *previous != Some(row.status))
            .map(|(row, previous)| Change {
                node: row.node.clone(),
                status: row.status,
                previous,
                alive_in: row.alive_in,
                views: self.views,
            })
            .collect()
    }
}

impl Row {
    fn cells(&self, views: usize) -> [String; 8] {
        [
            self.node.clone(),
            self.status.into(),
            self.role.clone(),
            self.region.clone(),
            self.version.clone(),
            table::yes(self.http3),
            table::rtt(self.rtt_ms),
            format!("{} of {views}", self.alive_in),
        ]
    }
}

/// The word of `/control/peers`.
fn status(state: State) -> &'static str {
    match state {
        State::Alive => "Alive",
        State::Suspect => "Suspect",
        State::Dead | State::Left => "Left",
    }
}

/// `demo-2` before `demo-10`.
fn by_name(name: &str) -> (&str, u64, &str) {
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or(0), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: usize, status: &'static str, alive_in: usize) -> Row {
        Row {
            node: format!("demo-{number}"),
            status,
            role: "worker".into(),
            region: "local".into(),
            version: "0.1.0".into(),
            http3: false,
            rtt_ms: (number != 1).then_some(0.25),
            alive_in,
        }
    }

    #[test]
    fn the_table_shows_every_member_and_in_how_many_views_it_is_alive() {
        let board =
            Board::of(vec![row(10, "Suspect", 1), row(2, "Alive", 3), row(1, "Alive", 3)], 3);
        let expected = [
            "Node     Status   Role    Region  Version  HTTP/3  rtt (ms)  Alive in",
            "demo-1   Alive    worker  local   0.1.0    no      -         3 of 3",
            "demo-2   Alive    worker  local   0.1.0    no      0.25      3 of 3",
            "demo-10  Suspect  worker  local   0.1.0    no      0.25      1 of 3",
        ];
        assert_eq!(board.lines(), expected);
    }

    #[test]
    fn a_large_mesh_is_cut_and_keeps_the_troubled_in_sight() {
        let mut rows: Vec<_> = (1..=32).map(|number| row(number, "Alive", 32)).collect();
        rows[30] = row(31, "Suspect", 2);
        let lines = Board::of(rows, 32).lines();
        assert_eq!(lines.len(), 1 + MAX_ROWS + 1);
        assert!(lines[1].starts_with("demo-31  Suspect"), "{}", lines[1]);
        assert_eq!(lines[17], "… and 16 more; 31 are Alive in every view");
        let mut rows: Vec<_> = (1..=4).map(|number| row(number, "Alive", 4)).collect();
        rows[3] = row(4, "Suspect", 1);
        let lines = Board::of(rows, 4).lines_of(1);
        assert!(lines[1].starts_with("demo-4  Suspect"), "{}", lines[1]);
        assert_eq!(lines[2], "… and 3 more; 3 are Alive in every view");
    }

    #[test]
    fn a_change_is_told_once_with_what_it_was_before() {
        let before = Board::of(vec![row(1, "Alive", 2), row(2, "Alive", 2)], 2);
        let after = Board::of(vec![row(1, "Alive", 2), row(2, "Suspect", 0)], 2);
        let told: Vec<_> = after.changes(Some(&before)).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["demo-2: Alive -> Suspect (Alive in 0 of 2 views)"]);
        assert!(after.changes(Some(&after)).is_empty());
        assert_eq!(after.changes(None).len(), 2);
    }
}
