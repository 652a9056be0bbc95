//! What was compared, as a table and as JSON; who is ahead is said by the figures.

use std::fmt;
use std::fmt::Write as _;

use serde::Serialize;

use super::Kind;
use crate::outcome::rounded;
use crate::real::figures::Each;
use crate::report::machine::{self, Machine};

/// One death, at one rate of loss.
#[derive(Clone, Debug, Serialize)]
pub struct Death {
    /// Share of datagrams lost.
    pub loss: f64,
    /// Until the first survivor held it dead, of those that held it alive when it died.
    pub first_ms: Option<f64>,
    /// Until all did; none where some never did.
    pub full_ms: Option<f64>,
    /// Survivors that held it dead in the end,
    pub learned: usize,
    /// of so many;
    pub of: usize,
    /// that had buried it before it died, and are in none of the times.
    pub before: usize,
    /// Living members that were held dead, counted by who held them so.
    pub false_deaths: usize,
    /// Views that held exactly the living in the end.
    pub complete: usize,
    /// Datagrams lost.
    pub lost: u64,
    /// Bytes a node and second, streams included.
    pub bytes_per_node_s: f64,
}

/// One mesh.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Whose.
    pub kind: Kind,
    /// Members.
    pub nodes: usize,
    /// From the first joiner's start until all views were complete; none where that never was.
    pub joined_ms: Option<f64>,
    /// Views that were complete then.
    pub complete: usize,
    /// What the join took, streams included.
    pub join_bytes_per_node: f64,
    /// Without faults: datagram bytes with UDP and IP headers, and bytes of streams.
    pub bytes_per_node_s: f64,
    /// Datagrams.
    pub messages_per_node_s: f64,
    /// Percent of a core of the median process.
    pub cpu_percent: Option<f64>,
    /// Resident bytes of the median process, shared pages divided among processes,
    pub proportional_bytes: Option<f64>,
    /// and those that it allocated.
    pub anonymous_bytes: Option<f64>,
    /// Living members held dead without any fault.
    pub idle_false_deaths: usize,
    /// Datagrams that the proxy could not tell the sender of, or had no room for.
    pub dropped: u64,
    /// Deaths, without loss first.
    pub deaths: Vec<Death>,
}

impl Row {
    pub(super) fn of(kind: Kind, nodes: usize) -> Self {
        Self {
            kind,
            nodes,
            joined_ms: None,
            complete: 0,
            join_bytes_per_node: 0.0,
            bytes_per_node_s: 0.0,
            messages_per_node_s: 0.0,
            cpu_percent: None,
            proportional_bytes: None,
            anonymous_bytes: None,
            idle_false_deaths: 0,
            dropped: 0,
            deaths: Vec::new(),
        }
    }

    pub(super) fn idle(&mut self, each: Option<Each>) {
        self.cpu_percent = each.map(|each| rounded(each.cpu_percent.p50));
        self.proportional_bytes = each.map(|each| each.proportional.p50);
        self.anonymous_bytes = each.map(|each| each.anonymous.p50);
    }

    /// Whether every rate of loss that was asked for lost something, and nothing else was lost: a
    /// member that sends from elsewhere would look as if it were deaf.
    fn fired(&self) -> bool {
        let lost = self.deaths.iter().all(|death| death.loss == 0.0 || death.lost > 0);
        lost && self.dropped == 0
    }

    fn false_deaths(&self) -> usize {
        self.idle_false_deaths + self.deaths.iter().map(|death| death.false_deaths).sum::<usize>()
    }

    /// Every printed figure, by which one is ahead of another: a name, and less is better; none is
    /// worst.
    fn figures(&self) -> Vec<(String, Option<f64>)> {
        let some = |count: usize| Some(count as f64);
        let mut figures = vec![
            ("time to join".to_owned(), self.joined_ms),
            ("views short of complete".to_owned(), some(self.nodes - self.complete)),
            ("bytes to join".to_owned(), Some(self.join_bytes_per_node)),
            ("bytes".to_owned(), Some(self.bytes_per_node_s)),
            ("messages".to_owned(), Some(self.messages_per_node_s)),
            ("processor".to_owned(), self.cpu_percent),
            ("memory".to_owned(), self.proportional_bytes),
            ("memory allocated".to_owned(), self.anonymous_bytes),
            ("false deaths, idle".to_owned(), some(self.idle_false_deaths)),
        ];
        for death in &self.deaths {
            let loss = format!("at {} % loss", rounded(death.loss * 100.0));
            figures.extend([
                (format!("first verdict {loss}"), death.first_ms),
                (format!("detection {loss}"), death.full_ms),
                (format!("views that kept the dead {loss}"), some(death.of - death.learned)),
                (format!("false deaths {loss}"), some(death.false_deaths)),
                (format!("views not complete {loss}"), some(death.of - death.complete)),
                (format!("bytes {loss}"), Some(death.bytes_per_node_s)),
            ]);
        }
        figures
    }
}

fn seconds(ms: Option<f64>) -> String {
    ms.map_or("never".into(), |ms| format!("{:.2} s", ms / 1e3))
}

fn mib(bytes: Option<f64>) -> String {
    bytes.map_or("–".into(), |bytes| format!("{:.1}", bytes / 1_048_576.0))
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<19}{:>4} members: joined {} ({} views), {:.0} B/s, {} % of a core, {} MiB, {} false \
             deaths;",
            self.kind.name(),
            self.nodes,
            seconds(self.joined_ms),
            self.complete,
            self.bytes_per_node_s,
            self.cpu_percent.unwrap_or(f64::NAN),
            mib(self.proportional_bytes),
            self.false_deaths()
        )?;
        for death in &self.deaths {
            write!(
                f,
                " at {} % gone after {}",
                rounded(death.loss * 100.0),
                seconds(death.full_ms)
            )?;
        }
        Ok(())
    }
}

/// Who played.
#[derive(Clone, Debug, Serialize)]
struct Player {
    kind: Kind,
    name: &'static str,
    version: String,
    parameters: &'static str,
}

/// All of them beside each other.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    machine: Machine,
    commit: String,
    replay: String,
    load_average: f64,
    players: Vec<Player>,
    left_out: Vec<(&'static str, String)>,
    rows: Vec<Row>,
}

impl Compared {
    pub(super) fn begin(replay: String) -> Self {
        Self {
            machine: Machine::here(),
            commit: machine::commit(),
            replay,
            load_average: crate::real::process::load_average(),
            players: Vec::new(),
            left_out: Vec::new(),
            rows: Vec::new(),
        }
    }

    pub(super) fn plays(&mut self, kind: Kind, version: String) {
        let (name, parameters) = (kind.name(), kind.parameters());
        self.players.push(Player { kind, name, version, parameters });
    }

    pub(super) fn left_out(&mut self, kind: Kind, why: String) {
        self.left_out.push((kind.name(), why));
    }

    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Whether the run shows anything: somebody played, and every loss that was asked for was seen. Who is
    /// ahead decides nothing here.
    pub fn shows(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(Row::fired)
    }

    /// Where ours is behind, a sentence each.
    pub fn behind(&self) -> Vec<String> {
        let ours = self.rows.iter().filter(|row| row.kind == Kind::Ours);
        let mut behind = Vec::new();
        for ours in ours {
            let others =
                self.rows.iter().filter(|row| row.nodes == ours.nodes && row.kind != Kind::Ours);
            for other in others {
                for ((name, mine), (_, theirs)) in ours.figures().into_iter().zip(other.figures()) {
                    let value = |figure: Option<f64>| figure.unwrap_or(f64::INFINITY);
                    if value(theirs) < value(mine) {
                        behind.push(format!(
                            "{name} at {} members: {} against {} of {}",
                            ours.nodes,
                            mine.map_or("never".into(), |mine| rounded(mine).to_string()),
                            rounded(value(theirs)),
                            other.kind.name()
                        ));
                    }
                }
            }
        }
        behind
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# Beside other libraries\n\n{}, commit {}, load average {} before. Made with `{}`. Every member \
             is a process; all speak through one proxy. Losses are of datagrams: streams, over which serf and memberlist \
             ping as well, lose nothing.\n\n",
            self.machine, self.commit, self.load_average, self.replay
        );
        text += "| library | version | parameters |\n|---|---|---|\n";
        for player in &self.players {
            let _ =
                writeln!(text, "| {} | {} | {} |", player.name, player.version, player.parameters);
        }
        for (name, why) in &self.left_out {
            let _ = writeln!(text, "| {name} | left out | {} |", why.replace('\n', " "));
        }
        text += "\n| library | members | all see all | bytes to join, a node | B/s a node | msg/s a node | \
                 % of a core | MiB, shared pages divided | MiB allocated | false deaths, idle |\n\
                 |---|---|---|---|---|---|---|---|---|---|\n";
        for row in &self.rows {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.0} | {:.0} | {:.2} | {} | {} | {} | {} |",
                row.kind.name(),
                row.nodes,
                seconds(row.joined_ms),
                row.join_bytes_per_node,
                row.bytes_per_node_s,
                row.messages_per_node_s,
                row.cpu_percent.map_or("–".into(), |percent| percent.to_string()),
                mib(row.proportional_bytes),
                mib(row.anonymous_bytes),
                row.idle_false_deaths
            );
        }
        text += "\n| library | members | loss | first verdict | gone from all views | held dead by | buried \
                 before | false deaths | complete views, end | B/s a node |\n\
                 |---|---|---|---|---|---|---|---|---|---|\n";
        for row in &self.rows {
            for death in &row.deaths {
                let _ = writeln!(
                    text,
                    "| {} | {} | {} % | {} | {} | {} of {} | {} | {} | {} of {} | {:.0} |",
                    row.kind.name(),
                    row.nodes,
                    rounded(death.loss * 100.0),
                    seconds(death.first_ms),
                    seconds(death.full_ms),
                    death.learned,
                    death.of,
                    death.before,
                    death.false_deaths,
                    death.complete,
                    death.of,
                    death.bytes_per_node_s
                );
            }
        }
        text += "\nWhere ours is behind, one death a cell:\n\n";
        let behind = self.behind();
        if behind.is_empty() {
            text += "- nowhere among these figures\n";
        }
        for sentence in behind {
            let _ = writeln!(text, "- {sentence}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_behind_is_said_and_who_never_learns_is_last() {
        let row = |kind, joined_ms, bytes_per_node_s| Row {
            joined_ms,
            bytes_per_node_s,
            ..Row::of(kind, 8)
        };
        let mut compared = Compared::begin(String::new());
        compared.add(row(Kind::Ours, None, 100.0));
        compared.add(row(Kind::Foca, Some(900.0), 300.0));
        assert_eq!(compared.behind(), ["time to join at 8 members: never against 900 of foca"]);
        assert!(compared.markdown().contains("- time to join"));
    }

    #[test]
    fn losses_that_never_happened_show_nothing() {
        let death = |lost| Death {
            loss: 0.1,
            first_ms: None,
            full_ms: None,
            learned: 0,
            of: 3,
            before: 0,
            false_deaths: 0,
            complete: 0,
            lost,
            bytes_per_node_s: 0.0,
        };
        let shows = |lost| {
            let mut compared = Compared::begin(String::new());
            compared.add(Row { deaths: vec![death(lost)], ..Row::of(Kind::Serf, 4) });
            compared.shows()
        };
        assert!(shows(7) && !shows(0));
        assert!(!Compared::begin(String::new()).shows(), "nobody played");
    }
}
