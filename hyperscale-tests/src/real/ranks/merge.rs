//! The journals of all ranks, put together: what one process with all members would have said.
//!
//! Events of all ranks go to the simulator's measure by their time, counts are added up, maxima taken.
//!
//! Invariant: every rank of the plan has a journal with an end, or nothing is reported.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::journal::{self, Begin, End, Found, Line, Opened};
use super::plan::{Shared, share};
use super::{RankError, file};
use crate::measure::Seen;
use crate::outcome::{Load, Run, rounded};
use crate::real::counters::Counters;
use crate::real::figures::{Figures, Grown, Joined, Report, Sessions};
use crate::real::judge;
use crate::real::papers::{self, CLUSTER};
use crate::real::process::{Memory, Threads};
use crate::real::timeline::{self, Entry, Timeline};
use crate::report::machine::{self, Machine};
use mesh_gossip::proto::MemberId;

/// Flags of `hyperscale ranks`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Flags {
    /// The plan, or the directory that `hyperscale plan` wrote.
    #[arg(long)]
    pub plan: PathBuf,
    /// Where the journals are; ranks.json and ranks.md are written beside them.
    #[arg(long, default_value = "hyperscale-ranks")]
    pub out: PathBuf,
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
}

/// What all ranks showed together.
#[derive(Clone, Debug)]
pub struct Merged {
    /// As of one process.
    pub report: Report,
    /// Of each rank: its machine's name, its members, views complete as the window opened and as it
    /// ended, members that ran at its end.
    ranks: Vec<Rank>,
    /// From each death until each member that told of it had learned of it, microseconds.
    delays: Histogram<u64>,
}

#[derive(Clone, Debug)]
struct Rank {
    begin: Begin,
    found: Found,
    opened: Opened,
    end: End,
}

/// Reads the journals of a plan, and writes what they show together.
///
/// # Errors
/// [`RankError`] names the file that is missing, unreadable or unfinished.
pub fn run(flags: &Flags) -> Result<Merged, RankError> {
    let shared = Shared::read(&flags.plan)?;
    let merged = together(&shared, flags)?;
    let json = merged
        .json()
        .map_err(|error| RankError::Unreadable(flags.out.join("ranks.json"), error.to_string()))?;
    for (name, text) in [("ranks.json", format!("{json:#}\n")), ("ranks.md", merged.markdown())] {
        let path = flags.out.join(name);
        file(&path, fs::write(&path, text))?;
    }
    Ok(merged)
}

fn together(shared: &Shared, flags: &Flags) -> Result<Merged, RankError> {
    let mut lines = Vec::new();
    let mut unfinished = Vec::new();
    for rank in 0..shared.world {
        let path = journal::of_rank(&flags.out, rank);
        let read = if path.exists() { journal::read(&path)? } else { Vec::new() };
        if !matches!(read.last(), Some(Line::End(_))) {
            unfinished.push(rank);
        }
        lines.push(read);
    }
    if !unfinished.is_empty() {
        return Err(RankError::Unfinished(unfinished));
    }
    let ids: Vec<MemberId> =
        (0..shared.plan.nodes).map(|node| MemberId::derive(CLUSTER, &papers::name(node))).collect();
    let mut ranks = Vec::new();
    let mut events = Vec::new();
    for (rank, lines) in lines.into_iter().enumerate() {
        let path = journal::of_rank(&flags.out, rank);
        let part = take_apart(lines, &ids, &mut events);
        let part = part
            .ok_or_else(|| RankError::Unreadable(path.clone(), "it has no beginning".to_owned()))?;
        if part.begin.rank != rank || part.begin.members != share(ids.len(), shared.world, rank) {
            return Err(RankError::Unreadable(path, "it is another plan's".to_owned()));
        }
        ranks.push(part);
    }
    let mut delays = journal::nobody();
    for rank in 0..shared.world {
        journal::add(&journal::of_rank(&flags.out, rank).with_extension("hdr"), &mut delays)?;
    }
    let report = judge::judged(report(shared, &ranks, events, &ids));
    Ok(Merged { report, ranks, delays })
}

/// The parts of a journal that occur once; all else goes to `events`.
fn take_apart(lines: Vec<Line>, ids: &[MemberId], events: &mut Vec<(u64, Entry)>) -> Option<Rank> {
    let (mut begin, mut found, mut opened, mut end) = (None, None, None, None);
    for line in lines {
        match line {
            Line::Begin(line) => begin = Some(line),
            Line::Joined(line) => found = Some(line),
            Line::Opened(line) => opened = Some(line),
            Line::End(line) => end = Some(*line),
            Line::Saw(saw) => {
                let how = saw.how()?;
                let subject = *ids.get(saw.of)?;
                let seen = Seen { subject, how };
                events.push((saw.at_ms, Entry::Told { by: saw.by, seen }));
            }
            Line::Killed { at_ms, nodes } => events.push((at_ms, Entry::Killed(nodes))),
            Line::Restarted { at_ms, node } => events.push((at_ms, Entry::Restarted(node))),
        }
    }
    Some(Rank { begin: begin?, found: found?, opened: opened?, end: end? })
}

/// Deaths that the plan has at one instant are one, though each rank was a moment late in its own way.
fn gathered(events: Vec<(u64, Entry)>) -> Vec<(u64, Entry)> {
    /// A rank looks at its script so often, on a machine that is busy.
    const AT_ONCE_MS: u64 = 1_000;
    let (mut kills, mut rest): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|(_, entry)| matches!(entry, Entry::Killed(_)));
    kills.sort_by_key(|(at, _)| *at);
    let mut gathered: Vec<(u64, Vec<usize>)> = Vec::new();
    for (at, entry) in kills {
        let Entry::Killed(nodes) = entry else { continue };
        match gathered.last_mut() {
            Some((first, all)) if at - *first < AT_ONCE_MS => all.extend(nodes),
            Some(_) | None => gathered.push((at, nodes)),
        }
    }
    rest.extend(gathered.into_iter().map(|(at, nodes)| (at, Entry::Killed(nodes))));
    rest
}

fn report(shared: &Shared, ranks: &[Rank], events: Vec<(u64, Entry)>, ids: &[MemberId]) -> Report {
    let opened = ranks.iter().map(|rank| rank.opened.at_ms).min().unwrap_or_default();
    let ended = ranks.iter().map(|rank| rank.end.at_ms).min().unwrap_or_default();
    let first = events.iter().map(|(at, _)| *at).min().unwrap_or(opened).min(opened);
    let mut line = Timeline::new(timeline::at_ms(first), ids.iter().copied());
    let mut fired = BTreeMap::new();
    line.enter(timeline::at_ms(opened), Entry::Opened { pairs: false });
    for (at, entry) in gathered(events) {
        let (name, times) = match &entry {
            Entry::Killed(nodes) => ("crashes", nodes.len()),
            Entry::Restarted(_) => ("restarts", 1),
            Entry::Told { .. }
            | Entry::Opened { .. }
            | Entry::Outcast(_)
            | Entry::Impaired(_)
            | Entry::Parted(_)
            | Entry::Healed => ("", 0),
        };
        if times > 0 {
            *fired.entry(name.to_owned()).or_default() += times as u64;
        }
        line.enter(timeline::at_ms(at), entry);
    }
    let told: u64 = ranks.iter().map(|rank| rank.end.events).sum();
    let (found, warmup_false_deaths) = line.close(timeline::at_ms(ended));
    let mut spent = Counters::default();
    ranks.iter().for_each(|rank| spent.add(&rank.end.spent));
    let gauges: Vec<_> = ranks.iter().flat_map(|rank| rank.end.gauges.clone()).collect();
    let sessions = Sessions::of(&gauges);
    let figures = figures(shared, ranks, &spent, sessions, Duration::from_millis(ended - opened));
    let load = Load {
        datagrams: spent.datagrams,
        bytes: spent.bytes,
        handshakes: spent.handshakes,
        handshake_bytes: spent.handshake_bytes,
        sessions: (sessions.p50, sessions.max),
        ..Load::default()
    };
    let wall = ranks.iter().map(|rank| rank.end.wall_ms).max().unwrap_or_default();
    let run = Run {
        plan: shared.plan.clone(),
        seeds: vec![shared.plan.seed],
        found,
        load,
        warmup_false_deaths,
        converged: Vec::new(),
        storm: None,
        agreement: Vec::new(),
        view_error: None,
        words: None,
        violations: None,
        fired,
        events: told,
        wall: Duration::from_millis(wall),
        processor: figures.processor(),
        rss_bytes: figures.memory.resident,
        trace_hash: 0,
    };
    Report::new(run, figures)
}

fn figures(
    shared: &Shared,
    ranks: &[Rank],
    spent: &Counters,
    sessions: Sessions,
    window: Duration,
) -> Figures {
    let most = |of: fn(&Rank) -> u64| ranks.iter().map(of).max().unwrap_or_default();
    let sum = |of: fn(&Rank) -> u64| ranks.iter().map(of).sum::<u64>();
    let joined = Joined {
        started: Duration::from_millis(most(|rank| rank.found.started_ms)),
        converged: Duration::from_millis(most(|rank| rank.found.converged_ms)),
        handshakes: sum(|rank| rank.found.counters.handshakes),
        receive_drops: sum(|rank| rank.found.counters.receive_drops),
        suspicions: sum(|rank| rank.found.counters.suspicions),
        threads: all_of(ranks.iter().map(|rank| &rank.found.threads)),
        resident: sum(|rank| rank.found.resident[3]),
    };
    let load = |of: fn(&Rank) -> f64| ranks.iter().map(of).fold(0.0, f64::max);
    Figures {
        backend: ranks.first().map_or("", |rank| backend(&rank.begin.backend)),
        joined,
        window,
        threads: all_of(ranks.iter().map(|rank| &rank.end.threads)),
        memory: Memory {
            resident: sum(|rank| rank.end.memory.resident),
            anonymous: sum(|rank| rank.end.memory.anonymous),
            file: sum(|rank| rank.end.memory.file),
        },
        grown: Grown {
            process: sum(|rank| rank.found.resident[0]),
            certificates: sum(|rank| rank.found.resident[1]),
            engine: sum(|rank| rank.found.resident[2]),
            joined: sum(|rank| rank.found.resident[3]),
        },
        each: None,
        trend: None,
        drill: None,
        starved: Vec::new(),
        carried: None,
        promised: Vec::new(),
        sessions,
        descriptors: ranks.iter().map(|rank| rank.end.descriptors).sum(),
        suspicions: spent.suspicions,
        receive_drops: spent.receive_drops,
        load_average: (load(|rank| rank.opened.load_average), load(|rank| rank.end.load_average)),
        replay: format!(
            "{} --world {}",
            shared.plan.replay().replace(" sim ", " plan "),
            shared.world
        ),
    }
}

fn all_of<'a>(threads: impl Iterator<Item = &'a Threads>) -> Threads {
    let mut sum = Threads::new();
    for (name, used) in threads.flatten() {
        *sum.entry(name.clone()).or_default() += *used;
    }
    sum
}

/// One of the names that an engine gives its backends.
fn backend(name: &str) -> &'static str {
    use mesh_gossip::io::Backend;
    [Backend::Uring, Backend::Mmsg]
        .into_iter()
        .map(Backend::as_str)
        .find(|known| *known == name)
        .unwrap_or("unknown")
}

impl Merged {
    /// Whether every threshold was met, and every view was complete.
    pub fn pass(&self) -> bool {
        self.report.pass() && self.whole()
    }

    fn whole(&self) -> bool {
        let all = |rank: &Rank| {
            rank.opened.complete == rank.begin.members.len()
                && rank.end.complete == rank.end.running
        };
        self.ranks.iter().all(all)
    }

    /// The JSON object of one process, and `ranks` beside it.
    ///
    /// # Errors
    /// What serde says; figures that are no numbers.
    pub fn json(&self) -> serde_json::Result<Value> {
        let mut object = self.report.json()?;
        let quantile = |share| self.delays.value_at_quantile(share) as f64 / 1_000.0;
        let ranks = self.ranks.iter().map(|rank| {
            json!({
                "rank": rank.begin.rank,
                "host": rank.begin.host,
                "members": rank.begin.members.len(),
                "complete_at_opening": rank.opened.complete,
                "running_at_end": rank.end.running,
                "complete_at_end": rank.end.complete,
                "resident_bytes": rank.end.memory.resident,
                "cpu_ms": rounded(rank.end.threads.values().sum::<Duration>().as_secs_f64() * 1e3),
            })
        });
        object["ranks"] = json!({
            "world": self.ranks.len(),
            "each": ranks.collect::<Vec<_>>(),
            "learned_ms": {
                "p50": rounded(quantile(0.5)),
                "p99": rounded(quantile(0.99)),
                "max": rounded(self.delays.max() as f64 / 1_000.0),
                "n": self.delays.len(),
            },
        });
        object["pass"] = self.pass().into();
        Ok(object)
    }

    /// The same for people.
    pub fn markdown(&self) -> String {
        let (outcome, here) = (self.report.outcome(), Machine::here());
        let seconds =
            |value: Option<f64>| value.map_or("–".into(), |ms| format!("{:.2}", ms / 1e3));
        let mut text = format!(
            "# {} members in {} processes: {}\n\n{}, {} threads, commit {}. Made with `{}`.\n\n",
            outcome.nodes,
            self.ranks.len(),
            outcome.scenario,
            here.processor,
            here.cores,
            machine::commit(),
            self.report.figures.replay
        );
        text += "| rank | host | members | complete views, opening | complete views, end | resident |\n\
                 |---|---|---|---|---|---|\n";
        for rank in &self.ranks {
            let Rank { begin, opened, end, .. } = rank;
            let mib = end.memory.resident as f64 / 1_048_576.0;
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} of {} | {} of {} | {mib:.1} MiB |",
                begin.rank,
                begin.host,
                begin.members.len(),
                opened.complete,
                begin.members.len(),
                end.complete,
                end.running
            );
        }
        let (first, full) = (outcome.t_first_ms, outcome.t_full_ms);
        let _ = write!(
            text,
            "\nDetected {}, missed {}; first verdict after {} s at the median, all after {} s at the \
             median and {} s at most (n = {}); {} false deaths in {} node-hours; {} messages, {} bytes \
             and {} bytes of handshakes a node and second.\n\n",
            outcome.detected,
            outcome.missed,
            seconds(first.p50),
            seconds(full.p50),
            seconds(full.max),
            full.n,
            outcome.false_deaths,
            outcome.node_hours,
            outcome.messages_per_node_s,
            outcome.bytes_per_node_s,
            outcome.handshake_bytes_per_node_s
        );
        for check in &outcome.checks {
            let _ = writeln!(text, "- {check}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_of_one_instant_are_one_wherever_they_happened() {
        let killed = |at, nodes: &[usize]| (at, Entry::Killed(nodes.to_vec()));
        let events = vec![
            killed(10_010, &[3]),
            (12_000, Entry::Restarted(1)),
            killed(10_002, &[7]),
            killed(30_000, &[4]),
        ];
        let gathered = gathered(events);
        let kills: Vec<_> = gathered
            .iter()
            .filter_map(|(at, entry)| match entry {
                Entry::Killed(nodes) => Some((*at, nodes.clone())),
                _ => None,
            })
            .collect();
        assert_eq!(kills, [(10_002, vec![7, 3]), (30_000, vec![4])]);
        assert_eq!(gathered.len(), 3, "and nothing else is lost");
    }
}
