//! What a cell, and a row of cells, must show.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::measure::Spread;
use crate::plan::{Contender, Scenario};
use crate::scenario::criteria::{self, Check};
use crate::suite::cell::{Row, Shown, Yardstick};
use crate::suite::interval;

/// H8: batches of events that a member may publish.
const MOST_BATCHES: f64 = 3.0;
/// H17: happenings a second of one core's time.
const LEAST_EVENTS_PER_S: f64 = 1e6;
/// H17: nodes and measured seconds of the runs that have to end in so many seconds.
const SOON: [(usize, u64); 2] = [(1_000, 300), (20_000, 60)];
const SOON_S: f64 = 45.0;
/// H17: at 100,000 nodes.
const GIANT: usize = 100_000;
const GIANT_WALL_S: f64 = 300.0;
const GIANT_BYTES: f64 = 8.0 * 1024.0 * 1024.0 * 1024.0;

/// H1: load at any size against that at 1,000 nodes.
const FLAT: f64 = 1.10;
/// H2: times sooner than Lifeguard, judged at these sizes, from so many detections.
const SOONER: f64 = 3.0;
const SOONER_AT: [usize; 2] = [128, 1_000];
const MEDIAN_FROM: usize = 10;
/// H6: node-hours without a false death that the claim takes.
const NODE_HOURS: f64 = 1_000.0;
/// Words: detection with them against the same without.
const SLOWED: f64 = 1.10;
/// H19: load against H1.
const CHURN: f64 = 2.0;

/// A statement about several cells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// Its row.
    pub row: String,
    /// What is compared.
    pub label: String,
    /// Figures against thresholds.
    pub checks: Vec<Check>,
    /// What a reader should know.
    pub note: String,
    /// Whether all hold.
    pub pass: bool,
    /// Whether it is part of the verdict.
    pub counts: bool,
}

/// The thresholds that apply to one detector in one cell.
pub fn checks(shown: &Shown) -> Vec<Check> {
    let run = &shown.run;
    match shown.cell.yardstick {
        Yardstick::Scenario => criteria::judge(run),
        Yardstick::Batches => {
            let batches = run.found.batches.iter().max().map(|most| f64::from(*most));
            let mut checks = vec![
                Check::none("missed", run.found.missed as u64),
                Check::at_most("batches of events a member", batches, MOST_BATCHES),
            ];
            criteria::nobody_buried_alive(run, &mut checks);
            checks.extend(criteria::fired(run));
            checks.extend(criteria::no_rule_broken(run));
            checks
        }
        Yardstick::Row => {
            let mut checks = criteria::fired(run);
            checks.extend(criteria::no_rule_broken(run));
            checks
        }
        Yardstick::Simulator => {
            let core = Some(run.events_per_core_s());
            let wall = Some(run.wall.as_secs_f64());
            let same = shown.repeated.map(|same| u64::from(!same) as f64);
            let mut checks = vec![
                Check::at_most("different hashes of two runs", same, 0.0),
                Check::at_least("events a second of a core", core, LEAST_EVENTS_PER_S),
            ];
            let shape = (run.plan.nodes, run.plan.duration.as_secs());
            if SOON.contains(&shape) {
                checks.push(Check::at_most("real time of the whole run (s)", wall, SOON_S));
            }
            if run.plan.nodes >= GIANT {
                checks.push(Check::at_most("real time of the whole run (s)", wall, GIANT_WALL_S));
                let bytes = Some(run.rss_bytes as f64);
                checks.push(Check::at_most("most memory (bytes)", bytes, GIANT_BYTES));
            }
            checks
        }
    }
}

/// Statements about whole rows.
pub fn compare(all: &[Shown]) -> Vec<Comparison> {
    let (interval, calibration) = interval::compare(all);
    let mut compared = Vec::new();
    compared.extend(load_is_flat(all));
    compared.extend(sooner(all, &calibration));
    compared.extend(interval);
    compared.extend(long_enough(all));
    compared.extend(across_regions(all));
    compared.extend(churn(all));
    compared.extend(unhindered(all));
    compared
}

impl Comparison {
    pub(super) fn of(row: Row, label: String, checks: Vec<Check>, note: String) -> Self {
        let pass = checks.iter().all(|check| check.pass);
        Self { row: row.name().into(), label, checks, note, pass, counts: true }
    }
}

pub(super) fn of(row: Row, contender: Contender, all: &[Shown]) -> Vec<&Shown> {
    all.iter()
        .filter(|shown| shown.cell.row == row && shown.run.plan.detector == contender)
        .collect()
}

fn load(shown: &Shown) -> f64 {
    shown.run.per_node_s(shown.run.load.bytes)
}

/// H1: load does not grow with the cluster.
fn load_is_flat(all: &[Shown]) -> Option<Comparison> {
    let rows = of(Row::H1, Contender::Observers, all);
    let most = rows.iter().max_by_key(|shown| shown.run.plan.nodes)?;
    let nodes = most.run.plan.nodes;
    let name = "load against N = 1,000";
    let thousand = rows.iter().find(|shown| shown.run.plan.nodes == 1_000);
    let check = match thousand.filter(|_| nodes > 1_000) {
        Some(thousand) => {
            let ratio = load(most) / load(thousand).max(1e-9);
            let beside = [*most, *thousand].map(|shown| criteria::beside_load(&shown.run));
            Check::at_most(name, Some(ratio), FLAT).beside(beside.join("; at 1,000 "))
        }
        None => {
            let sizes: Vec<String> =
                rows.iter().map(|shown| shown.run.plan.nodes.to_string()).collect();
            let why = format!("it needs 1,000 nodes and more; here are {}", sizes.join(", "));
            Check::not_judged(name, FLAT, why)
        }
    };
    let note = if nodes < GIANT { "the claim is about 100,000 nodes" } else { "as claimed" };
    let label = match thousand {
        Some(_) if nodes > 1_000 => format!("load({nodes}) / load(1000)"),
        Some(_) | None => "the largest mesh's load against that of 1,000 nodes".into(),
    };
    Some(Comparison::of(Row::H1, label, vec![check], note.into()))
}

/// H2: how many times sooner than Lifeguard, under the same seeds.
fn sooner(all: &[Shown], calibration: &str) -> Vec<Comparison> {
    let theirs = of(Row::H2, Contender::Lifeguard, all);
    let mut compared = Vec::new();
    for ours in of(Row::H2, Contender::Observers, all) {
        let Some(theirs) = theirs.iter().find(|other| other.cell.label == ours.cell.label) else {
            continue;
        };
        let name = "Lifeguard's T_full p50 / ours";
        let spreads = [ours, *theirs].map(|shown| under_shared_seeds(shown, ours, theirs));
        let few = spreads.iter().map(|spread| spread.n).min().unwrap_or(0);
        let check = match (spreads[0].p50, spreads[1].p50) {
            (Some(ours), Some(theirs)) if few >= MEDIAN_FROM => {
                Check::at_least(name, Some(theirs / ours), SOONER)
            }
            (Some(_) | None, _) => {
                let why = format!("too few: {few} detections of the {MEDIAN_FROM} that it needs");
                Check::not_judged(name, SOONER, why)
            }
        };
        let label = format!("{}: sooner than Lifeguard", ours.cell.label);
        let note = format!("p50 over {few} detections at least; {calibration}");
        let mut one = Comparison::of(Row::H2, label, vec![check], note);
        one.counts = SOONER_AT.contains(&ours.run.plan.nodes);
        compared.push(one);
    }
    compared
}

/// Percentiles over those seeds that both have; seeds count up from one first seed, and the times
/// stand in their order as long as nobody was missed.
fn under_shared_seeds(shown: &Shown, ours: &Shown, theirs: &Shown) -> Spread {
    let shared = ours.run.seeds.len().min(theirs.run.seeds.len());
    let crashes = shown.run.plan.crashes();
    let full = &shown.run.found.full;
    let complete = full.len() == crashes * shown.run.seeds.len();
    let upto = if complete { crashes * shared } else { full.len() };
    Spread::of_ms(&full[..upto])
}

/// H6: nobody is buried alive, shown over so many node-hours that it means something.
fn long_enough(all: &[Shown]) -> Vec<Comparison> {
    let mut by_loss: BTreeMap<u32, (f64, u64)> = BTreeMap::new();
    for shown in of(Row::H6, Contender::Observers, all) {
        let sum = by_loss.entry((shown.run.plan.loss * 1e3).round() as u32).or_default();
        sum.0 += shown.run.node_hours();
        sum.1 += shown.run.found.false_deaths;
    }
    let judge = |(permille, (hours, deaths)): (u32, (f64, u64))| {
        let name = format!("false deaths over {NODE_HOURS} node-hours");
        let most = if permille > 200 { hours * 0.01 } else { 0.0 };
        let check = if deaths as f64 > most || hours >= NODE_HOURS {
            Check::at_most("false deaths", Some(deaths as f64), most)
        } else {
            let why =
                format!("{deaths} in {hours:.1} node-hours, below the {NODE_HOURS} of the claim");
            Check::not_judged(&name, most, why)
        };
        let label = format!("all cells at {} % loss", f64::from(permille) / 10.0);
        Comparison::of(Row::H6, label, vec![check], criteria::in_node_hours(hours))
    };
    by_loss.into_iter().map(judge).collect()
}

/// H13: how much crosses from one region to another; a figure.
fn across_regions(all: &[Shown]) -> Vec<Comparison> {
    let share = |shown: &&Shown| {
        let across = shown.run.load.cross_region_bytes?;
        let percent = 100.0 * across as f64 / shown.run.load.bytes.max(1) as f64;
        let regions = f64::from(shown.run.plan.regions);
        let label = format!("{}: bytes between regions", shown.cell.label);
        let note = format!(
            "{percent:.1} % of all; among peers drawn at random it would be {:.1} %",
            100.0 * (regions - 1.0) / regions
        );
        Some(Comparison { counts: false, ..Comparison::of(Row::H13, label, Vec::new(), note) })
    };
    of(Row::H13, Contender::Observers, all).iter().filter_map(share).collect()
}

/// H19: what churn costs, against the same mesh at rest. What is pulled once by everybody who has not
/// seen it, bodies of records and proofs, is left out on both sides and stands beside.
fn churn(all: &[Shown]) -> Vec<Comparison> {
    let churning = |shown: &&Shown| shown.run.plan.scenario == Scenario::Churn;
    let ours = of(Row::H19, Contender::Observers, all);
    let mut rest: Vec<&Shown> = ours.iter().filter(|shown| !churning(shown)).copied().collect();
    rest.extend(of(Row::H1, Contender::Observers, all));
    let bare = |shown: &Shown| load(shown) - bodies(shown);
    let judge = |shown: &Shown| {
        let nodes = shown.run.plan.nodes;
        let name = "load against the same mesh at rest, without bodies";
        let check = match rest.iter().find(|rest| rest.run.plan.nodes == nodes) {
            Some(rest) => {
                let ratio = bare(shown) / bare(rest).max(1e-9);
                let beside = format!(
                    "{:.0} and {:.0} B/s; bodies of records and proofs {:.0} and {:.0} B/s, {}",
                    bare(shown),
                    bare(rest),
                    bodies(shown),
                    bodies(rest),
                    criteria::beside_load(&shown.run)
                );
                Check::at_most(name, Some(ratio), CHURN).beside(beside)
            }
            None => Check::not_judged(name, CHURN, format!("no mesh of {nodes} nodes at rest")),
        };
        let label = format!("{}: load", shown.cell.label);
        let note = "under the same conditions, in the same run of the suite";
        Comparison::of(Row::H19, label, vec![check], note.into())
    };
    ours.into_iter().filter(churning).map(judge).collect()
}

fn bodies(shown: &Shown) -> f64 {
    shown.run.per_node_s(shown.run.load.body_bytes)
}

/// Words: the same deaths are found as soon with them as without.
fn unhindered(all: &[Shown]) -> Vec<Comparison> {
    let rows = of(Row::Words, Contender::Observers, all);
    let judge = |shown: &&Shown| {
        let plan = &shown.run.plan;
        let same = |other: &&&Shown| {
            let theirs = &other.run.plan;
            theirs.words == 0 && (theirs.nodes, theirs.duration) == (plan.nodes, plan.duration)
        };
        let silent = rows.iter().find(same)?.full();
        let spoken = shown.full();
        let ratio = spoken.p99.zip(silent.p99).map(|(with, without)| with / without);
        let check = Check::at_most("t_full p99 with words / without", ratio, SLOWED);
        let p50 = spoken.p50.zip(silent.p50).map_or(0.0, |(with, without)| with / without);
        let load = load(shown);
        let note = format!(
            "{} and {} deaths; the medians' ratio is {p50:.3}; {load:.0} B a node and second",
            spoken.n, silent.n
        );
        let label = format!("{}: detection", shown.cell.label);
        Some(Comparison::of(Row::Words, label, vec![check], note))
    };
    rows.iter().filter(|shown| shown.run.plan.words > 0).filter_map(judge).collect()
}

#[cfg(test)]
#[path = "judge/tests.rs"]
mod tests;
