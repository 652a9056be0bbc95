//! What a cell, and a row of cells, must show.

use serde::Serialize;

use crate::measure::Spread;
use crate::plan::Contender;
use crate::scenario::criteria::{self, Check};
use crate::suite::cell::{Row, Shown, Yardstick};

/// H8: batches of events that a member may publish.
const MOST_BATCHES: f64 = 3.0;
/// H17: happenings a second of one core's time.
const LEAST_EVENTS_PER_S: f64 = 1e6;
/// H17: at 100,000 nodes.
const GIANT: usize = 100_000;
const GIANT_WALL_S: f64 = 300.0;
const GIANT_BYTES: f64 = 8.0 * 1024.0 * 1024.0 * 1024.0;

/// A statement about several cells.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Its row.
    pub row: &'static str,
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
            checks.extend(criteria::fired(run));
            checks
        }
        Yardstick::Row => criteria::fired(run),
        Yardstick::Simulator => {
            let core = Some(run.events_per_core_s());
            let same = shown.repeated.map(|same| u64::from(!same) as f64);
            let mut checks = vec![
                Check::at_most("different hashes of two runs", same, 0.0),
                Check::at_least("events a second of a core", core, LEAST_EVENTS_PER_S),
            ];
            if run.plan.nodes >= GIANT {
                let wall = Some(run.wall.as_secs_f64());
                checks.push(Check::at_most("real time (s)", wall, GIANT_WALL_S));
                let bytes = Some(run.rss_bytes as f64);
                checks.push(Check::at_most("resident memory (bytes)", bytes, GIANT_BYTES));
            }
            checks
        }
    }
}

/// Statements about whole rows.
pub fn compare(all: &[Shown]) -> Vec<Comparison> {
    let mut compared = Vec::new();
    compared.extend(load_is_flat(all));
    compared.extend(sooner(all));
    compared.extend(interval(all));
    compared
}

fn of(row: Row, contender: Contender, all: &[Shown]) -> Vec<&Shown> {
    all.iter()
        .filter(|shown| shown.cell.row == row && shown.run.plan.detector == contender)
        .collect()
}

/// H1: load does not grow with the cluster.
fn load_is_flat(all: &[Shown]) -> Option<Comparison> {
    let rows = of(Row::H1, Contender::Observers, all);
    let load = |shown: &Shown| shown.run.per_node_s(shown.run.load.bytes);
    let thousand = rows.iter().find(|shown| shown.run.plan.nodes == 1_000)?;
    let most = rows.iter().max_by_key(|shown| shown.run.plan.nodes)?;
    let nodes = most.run.plan.nodes;
    if nodes <= 1_000 {
        return None;
    }
    let ratio = load(most) / load(thousand).max(1e-9);
    let checks = vec![Check::at_most("load against N = 1,000", Some(ratio), 1.10)];
    Some(Comparison {
        row: Row::H1.name(),
        label: format!("load({nodes}) / load(1000)"),
        pass: checks.iter().all(|check| check.pass),
        checks,
        note: format!(
            "handshake bytes beside it: {:.1} and {:.1} a node and second",
            most.run.per_node_s(most.run.load.handshake_bytes),
            thousand.run.per_node_s(thousand.run.load.handshake_bytes)
        ),
        counts: true,
    })
}

/// H2: how many times sooner than Lifeguard.
fn sooner(all: &[Shown]) -> Vec<Comparison> {
    let ours = of(Row::H2, Contender::Observers, all);
    let theirs = of(Row::H2, Contender::Lifeguard, all);
    let median = |shown: &Shown| Spread::of_ms(&shown.run.found.full).p50;
    ours.iter()
        .filter_map(|ours| {
            let other = theirs.iter().find(|other| other.cell.label == ours.cell.label)?;
            let times = median(other)? / median(ours)?;
            Some(Comparison {
                row: Row::H2.name(),
                label: format!("{}: Lifeguard's T_full p50 / ours", ours.cell.label),
                checks: Vec::new(),
                note: format!("{times:.2} times sooner"),
                pass: true,
                counts: false,
            })
        })
        .collect()
}

/// FP and FP- in percent of SWIM's, as published.
const PUBLISHED: [(Contender, f64, f64); 4] = [
    (Contender::LhaProbe, 67.72, 32.88),
    (Contender::LhaSuspicion, 3.00, 6.71),
    (Contender::Buddy, 94.08, 44.57),
    (Contender::Lifeguard, 1.53, 1.89),
];
/// Messages and bytes of Lifeguard in percent of SWIM's.
const PUBLISHED_LOAD: (f64, f64) = (110.59, 97.97);
const FACTOR: f64 = 3.0;

#[derive(Clone, Copy, Default)]
struct Sum {
    deaths: f64,
    healthy: f64,
    views: f64,
    messages: f64,
    bytes: f64,
}

fn sum(contender: Contender, all: &[Shown]) -> Option<Sum> {
    let cells = of(Row::H3, contender, all);
    if cells.is_empty() {
        return None;
    }
    let mut sum = Sum::default();
    for shown in cells {
        sum.deaths += shown.run.found.false_verdicts as f64;
        sum.healthy += shown.run.found.false_verdicts_healthy as f64;
        sum.views += shown.run.found.false_deaths as f64;
        sum.messages += shown.run.load.datagrams as f64;
        sum.bytes += shown.run.load.bytes as f64;
    }
    Some(sum)
}

/// A ratio within a factor of a published one: 1 is equal, 3 the most that fits.
fn off_by(name: &str, ours: f64, published: f64) -> Check {
    let off = if ours > 0.0 { (ours / published).max(published / ours) } else { f64::INFINITY };
    let name = format!("{name}: {ours:.2} % of SWIM, published {published} %, off by a factor of");
    let off = off.is_finite().then_some(off);
    Check::at_most(&name, off, FACTOR)
}

/// H3: calibration first, then the claim.
fn interval(all: &[Shown]) -> Vec<Comparison> {
    let Some(swim) = sum(Contender::Swim, all) else { return Vec::new() };
    let percent = |part: f64, whole: f64| 100.0 * part / whole.max(1.0);
    let mut compared = Vec::new();
    let mut fits = true;
    for (contender, deaths, healthy) in PUBLISHED {
        let Some(theirs) = sum(contender, all) else { continue };
        let mut checks = vec![
            off_by("FP", percent(theirs.deaths, swim.deaths), deaths),
            off_by("FP-", percent(theirs.healthy, swim.healthy), healthy),
        ];
        if contender == Contender::Lifeguard {
            let (messages, bytes) = PUBLISHED_LOAD;
            checks.push(off_by("messages", percent(theirs.messages, swim.messages), messages));
            checks.push(off_by("bytes", percent(theirs.bytes, swim.bytes), bytes));
        }
        let pass = checks.iter().all(|check| check.pass);
        fits &= pass;
        compared.push(Comparison {
            row: Row::H3.name(),
            label: format!("calibration of {}", contender.name()),
            checks,
            note: format!(
                "FP / FP- {} / {}; SWIM {} / {}; in views {} and {}",
                theirs.deaths, theirs.healthy, swim.deaths, swim.healthy, theirs.views, swim.views
            ),
            pass,
            counts: false,
        });
    }
    if let Some(ours) = sum(Contender::Observers, all) {
        let checks = vec![
            Check::at_most("FP in % of SWIM", Some(percent(ours.deaths, swim.deaths)), 0.1),
            Check::at_most("FP-", Some(ours.healthy), 0.0),
            Check::at_most("bytes in % of SWIM", Some(percent(ours.bytes, swim.bytes)), 70.0),
        ];
        let calibrated = if fits { "the baselines fit" } else { "some baselines do not fit" };
        compared.push(Comparison {
            row: Row::H3.name(),
            label: "observers against SWIM".into(),
            pass: checks.iter().all(|check| check.pass),
            checks,
            note: format!("FP / FP- {} / {}; {calibrated}", ours.deaths, ours.healthy),
            counts: true,
        });
    }
    compared
}
