//! When a run passes: the thresholds of each scenario, in one place.
//!
//! Thresholds on times and load are promises of the default detector. A baseline is judged by
//! what it does: it must find who is gone and bury nobody else.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::measure::{P999_FROM, Spread, ms};
use crate::outcome::{Run, rounded};
use crate::plan::{Plan, Scenario, Variant};

/// What a check is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// It is a claim of the table of scenarios.
    Claim,
    /// Without it a run shows nothing; it shows nothing by itself.
    Condition,
    /// The claim could not be judged; the note says why.
    NotJudged,
}

/// One figure against one threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was measured.
    pub name: String,
    /// The figure; none where nothing happened that could be measured.
    pub value: Option<f64>,
    /// What it may be at most.
    pub limit: f64,
    /// Whether it is; what was not judged does not fail.
    pub pass: bool,
    /// What that is worth.
    pub weight: Weight,
    /// What belongs beside the figure.
    pub note: String,
}

impl Check {
    /// A figure that may be `limit` at most; one that is missing fails.
    pub fn at_most(name: &str, value: Option<f64>, limit: f64) -> Self {
        let pass = value.is_some_and(|value| value <= limit);
        let (name, value) = (name.into(), value.map(rounded));
        Self { name, value, limit, pass, weight: Weight::Claim, note: String::new() }
    }

    /// Something that must not have happened.
    pub fn none(name: &str, times: u64) -> Self {
        Self::at_most(name, Some(times as f64), 0.0)
    }

    /// A figure that must be `limit` at least.
    pub fn at_least(name: &str, value: Option<f64>, limit: f64) -> Self {
        let pass = value.is_some_and(|value| value >= limit);
        Self { pass, ..Self::at_most(&format!("{name} (at least)"), value, limit) }
    }

    /// A claim that this run cannot judge.
    pub fn not_judged(name: &str, limit: f64, why: String) -> Self {
        let weight = Weight::NotJudged;
        Self { pass: true, weight, note: why, ..Self::at_most(name, None, limit) }
    }

    /// The same check as a condition.
    #[must_use]
    pub fn condition(self) -> Self {
        Self { weight: Weight::Condition, ..self }
    }

    /// The same check with something to stand beside its figure.
    #[must_use]
    pub fn beside(self, note: String) -> Self {
        Self { note, ..self }
    }

    /// `pass`, `FAIL` or `not judged`.
    pub fn verdict(&self) -> &'static str {
        match (self.weight, self.pass) {
            (Weight::NotJudged, _) => "not judged",
            (Weight::Claim | Weight::Condition, true) => "pass",
            (Weight::Claim | Weight::Condition, false) => "FAIL",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.verdict(), self.name)?;
        match (self.weight, self.value) {
            (Weight::NotJudged, _) => {}
            (Weight::Claim | Weight::Condition, Some(value)) => {
                write!(f, ": {value}, limit {}", self.limit)?;
            }
            (Weight::Claim | Weight::Condition, None) => {
                write!(f, ": nothing measured, limit {}", self.limit)?;
            }
        }
        if self.note.is_empty() { Ok(()) } else { write!(f, " ({})", self.note) }
    }
}

/// The verdict on several checks: nothing passes of which nothing was claimed.
pub fn verdict(checks: &[Check]) -> &'static str {
    let claims = checks.iter().any(|check| check.weight == Weight::Claim);
    match (checks.iter().all(|check| check.pass), claims) {
        (false, _) => "FAIL",
        (true, true) => "pass",
        (true, false) => "figure",
    }
}

/// A median of fewer says nothing.
const MEDIAN_FROM: usize = 10;
/// Above so many nodes a 99th percentile needs as many crashes as it has parts.
const LARGE: usize = 1_000;
const TAIL_FROM: usize = 100;
/// H1: messages of one node in a second without faults.
const STEADY_MESSAGES: f64 = 2.3;
/// H15: differences that one datagram each way settles, and bytes that a thousand cost.
const FEW_DIFFERENCES: usize = 30;
const SETTLED_BYTES: f64 = 65_536.0;
/// H10: what the seed sends in a join storm, in whole states.
const SEED_SNAPSHOTS: f64 = 50.0;
/// H10: from so many nodes on real time and memory count too.
const STORM_OF_NOTE: usize = 10_000;
const STORM_WALL_S: f64 = 15.0 * 60.0;
const STORM_BYTES: f64 = 12.0 * 1024.0 * 1024.0 * 1024.0;
/// H5: deaths of healthy members that all hosts together are told, starved ones among them.
const EXHAUSTED: f64 = 50.0;
/// H19: share of wrong entries in a view.
const VIEW_ERROR: f64 = 0.001;

/// Words: milliseconds until 99 of 100 have reached every member.
const WORD_MS: f64 = 3_000.0;
/// An update of members waits this long at most to be sent for the first time: five ticks.
const UPDATE_MS: f64 = 1_000.0;

/// H2, H2b, H6 and H9: milliseconds until the last live member knows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Deadlines {
    p50: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
}

fn deadlines(plan: &Plan) -> Deadlines {
    let of = |p50, p99| Deadlines { p50: Some(p50), p99: Some(p99), ..Deadlines::default() };
    let longest = |max| Deadlines { max: Some(max), ..Deadlines::default() };
    let share = plan.crashes() as f64 / plan.nodes as f64;
    let survivors = plan.nodes - plan.crashes();
    let within = |given: Option<Duration>, ms| given.is_some_and(|span| span.as_millis() <= ms);
    let fast =
        within(plan.interval, 500) && within(plan.ping_timeout, 250) && within(plan.grace, 1_000);
    if plan.nodes <= 16 {
        return longest(match (plan.nodes, survivors) {
            (2, _) => 9_000.0,
            // Who is left alone has nobody to ask.
            (_, 1) => 32_000.0,
            (_, _) => 5_000.0,
        });
    }
    if share >= 0.1 {
        return longest(if share > 0.25 { 15_000.0 } else { 10_000.0 });
    }
    if plan.loss > 0.0 {
        let p99 = match plan.loss {
            loss if loss <= 0.1 => 7_000.0,
            loss if loss <= 0.2 => 9_000.0,
            _ => 12_000.0,
        };
        return Deadlines { p99: Some(p99), ..Deadlines::default() };
    }
    if fast {
        return of(2_000.0, 3_000.0);
    }
    match plan.nodes {
        0..=128 => Deadlines { p999: Some(8_000.0), ..of(3_500.0, 5_000.0) },
        129..=10_000 => of(4_000.0, 6_000.0),
        _ => of(4_500.0, 7_000.0),
    }
}

fn in_time(run: &Run, checks: &mut Vec<Check>) {
    let limits = deadlines(&run.plan);
    let spread = Spread::of_ms(&run.found.full);
    let tail_from = if run.plan.nodes > LARGE { TAIL_FROM } else { 1 };
    for (name, value, limit, from) in [
        ("t_full p50 (ms)", spread.p50, limits.p50, MEDIAN_FROM),
        ("t_full p99 (ms)", spread.p99, limits.p99, tail_from),
        ("t_full p99.9 (ms)", spread.p999, limits.p999, P999_FROM),
        ("t_full max (ms)", spread.max, limits.max, 1),
    ] {
        let Some(limit) = limit else { continue };
        // Without a single detection there is nothing that few could excuse.
        checks.push(if spread.n == 0 || spread.n >= from {
            Check::at_most(name, value, limit)
        } else {
            let why = format!("too few: {} detections of the {from} that it needs", spread.n);
            Check::not_judged(name, limit, why)
        });
    }
}

/// Handshake bytes stand beside every claim of load.
pub fn beside_load(run: &Run) -> String {
    let bytes = run.per_node_s(run.load.handshake_bytes);
    format!("and {bytes:.1} bytes of handshakes a node and second")
}

/// H1 and H6: what a node may send.
fn within_budget(run: &Run, checks: &mut Vec<Check>) {
    let bytes = Some(run.per_node_s(run.load.bytes));
    let limit = match run.plan.loss {
        0.0 => 250.0,
        loss if loss <= 0.1 => 300.0,
        loss if loss <= 0.2 => 400.0,
        _ => 600.0,
    };
    let load = Check::at_most("bytes a node and second", bytes, limit);
    checks.push(load.beside(beside_load(run)));
    if run.plan.loss == 0.0 {
        let messages = Some(run.per_node_s(run.load.datagrams));
        checks.push(Check::at_most("messages a node and second", messages, STEADY_MESSAGES));
        let handshakes = Some(run.handshakes_per_node_min());
        checks.push(Check::at_most("handshakes a node and minute", handshakes, 1.2));
    }
}

/// What it means that nothing happened in so many node-hours (the rule of three).
pub fn in_node_hours(hours: f64) -> String {
    format!(
        "in {hours:.2} node-hours: none means fewer than {:.4} a node-hour at 95 %",
        3.0 / hours
    )
}

/// Nobody without fault is buried; above 20 % loss, hardly anybody.
pub fn nobody_buried_alive(run: &Run, checks: &mut Vec<Check>) {
    let found = &run.found;
    let hours = run.node_hours().max(1e-9);
    let none = |name: &str, times| Check::none(name, times).beside(in_node_hours(hours));
    match run.plan.scenario {
        // What a blocked or deaf member believes is its own affair; others must not.
        Scenario::Asymmetric
        | Scenario::FlipFlop
        | Scenario::LifeguardInterval
        | Scenario::Threshold => {
            checks.push(none("false deaths at healthy members", found.false_deaths_healthy));
        }
        Scenario::Exhaustion => {
            checks.push(none("false deaths at healthy members", found.false_deaths_healthy));
            let all = Check::at_most("false deaths", Some(found.false_deaths as f64), EXHAUSTED);
            checks.push(all);
        }
        Scenario::Wan if run.plan.nodes > 128 => {
            let elsewhere = found.false_deaths - found.false_deaths_behind_cut;
            checks.push(none("false deaths of members not behind the cut", elsewhere));
        }
        Scenario::Steady
        | Scenario::Crash
        | Scenario::Partition
        | Scenario::RollingRestart
        | Scenario::Wan
        | Scenario::Churn
        | Scenario::AntiEntropy
        | Scenario::JoinStorm
        | Scenario::Drill
        | Scenario::Certificates => {
            if run.plan.loss > 0.2 {
                let rate = Some(found.false_deaths as f64 / hours);
                let check = Check::at_most("false deaths a node-hour", rate, 0.01);
                checks.push(check.beside(in_node_hours(hours)));
            } else {
                checks.push(none("false deaths", found.false_deaths));
            }
        }
    }
    let warming = Check::none("false deaths while warming up", run.warmup_false_deaths);
    checks.push(warming.condition());
}

/// Every threshold that applies to a run.
pub fn judge(run: &Run) -> Vec<Check> {
    let plan = &run.plan;
    let found = &run.found;
    let mut checks = Vec::new();
    let missed = Check::none("missed", found.missed as u64);
    let missed = match found.unresolved {
        0 => missed,
        some => missed.beside(format!("{some} were back before all had lost them, and not judged")),
    };
    checks.push(if found.detected + found.missed > 0 { missed } else { missed.condition() });
    nobody_buried_alive(run, &mut checks);
    checks.extend(fired(run));
    checks.extend(no_rule_broken(run));
    if plan.detector.is_ours() {
        promises(run, &mut checks);
    }
    checks
}

/// What must have happened for a run to show anything.
pub fn fired(run: &Run) -> Vec<Check> {
    let plan = &run.plan;
    let mut kinds = Vec::new();
    if plan.crashes() > 0 {
        kinds.push("crashes");
    }
    if plan.loss > 0.0 {
        kinds.push("lost");
    }
    match plan.scenario {
        Scenario::Steady | Scenario::Crash | Scenario::AntiEntropy => {}
        Scenario::JoinStorm => kinds.push("joins"),
        Scenario::Exhaustion => kinds.push("starved"),
        Scenario::Asymmetric => kinds.push(match plan.variant {
            Variant::Egress => "lost_egress",
            Variant::Ingress => "lost_ingress",
        }),
        Scenario::FlipFlop => kinds.push("lost_ingress"),
        Scenario::LifeguardInterval | Scenario::Threshold => kinds.extend(["pauses", "held"]),
        Scenario::Partition | Scenario::Wan => kinds.push("withheld"),
        Scenario::RollingRestart | Scenario::Churn => kinds.extend(["crashes", "restarts"]),
        Scenario::Certificates => kinds.extend(["crashes", "restarts", "rekeyed"]),
        Scenario::Drill => kinds.extend(["crashes", "restarts", "rekeyed", "described"]),
    }
    let times = |kind: &str| run.fired.get(kind).map(|times| *times as f64);
    kinds
        .into_iter()
        .map(|kind| Check::at_least(&format!("fault fired: {kind}"), times(kind), 1.0).condition())
        .collect()
}

/// H7: out in time, and no flap. Whoever is at fault to the end leaves every view once and stays
/// out; whoever is well again every other while may come back once.
fn expelled(run: &Run, most_changes: u32, checks: &mut Vec<Check>) {
    let found = &run.found;
    let slowest = found.full.iter().max().map(|span| ms(*span));
    checks.push(Check::at_most("t_full max (ms)", slowest, 20_000.0));
    let changes = Some(f64::from(found.changes_of_one_max));
    checks.push(Check::at_most("view changes of a member", changes, most_changes.into()));
    if most_changes == 1 {
        checks.push(Check::none("expelled and back at the end", found.returned as u64));
    }
}

/// No resurrection, nor anything else that the [checkers](crate::checkers) refuse, where they looked
/// on; in H11 it is asked for in any case.
pub fn no_rule_broken(run: &Run) -> Option<Check> {
    let name = "rules broken, resurrection among them";
    let Some(violations) = &run.violations else {
        let why = "checkers remember pairs: 2,000 nodes at most";
        let parted = run.plan.scenario == Scenario::Partition && run.plan.detector.is_ours();
        return parted.then(|| Check::not_judged(name, 0.0, why.into()));
    };
    let first = violations.first().cloned().unwrap_or_default();
    Some(Check::none(name, violations.len() as u64).beside(first))
}

/// H14: two handshakes a link for the leaf certificates and two for the CA, one an end; at most the
/// datagrams of one interval lost, of each node. Plaintext is not counted: there is none to send,
/// neither here nor in the engine's links.
fn renewed(run: &Run, checks: &mut Vec<Check>) {
    let most = Some(f64::from(run.load.rekeys_a_link));
    let rekeys = Check::at_most("successors a link, leaves and CA", most, 4.0);
    checks.push(rekeys.beside("one an end for each change".into()));
    let times = |kind: &str| run.fired.get(kind).copied().unwrap_or(0);
    let nodes = (run.plan.nodes * run.seeds.len()) as f64;
    let lost = Some(times("left") as f64 / nodes);
    let interval = run.plan.config("").interval.as_secs_f64();
    let an_interval = STEADY_MESSAGES * interval;
    let lost =
        Check::at_most("datagrams lost on sessions that are gone, a node", lost, an_interval);
    let (fallen, refused) = (times("fallen"), times("refused"));
    checks.push(lost.beside(format!(
        "{} in all; {fallen} sessions fell with the old CA, {refused} handshakes were refused",
        times("left")
    )));
}

/// Words: they reach all, once, and updates of members do not wait for them.
fn spoken(run: &Run, checks: &mut Vec<Check>) {
    let Some(heard) = run.words.as_ref().filter(|_| run.plan.words > 0) else { return };
    let reached = Check::at_most("a word at all members, p99 (ms)", heard.within(0.99), WORD_MS);
    checks.push(reached.beside(format!(
        "of {} judged {} were missed, by {} members in all",
        heard.judged(),
        heard.missed,
        heard.missed_by
    )));
    checks.push(Check::none("words told twice", heard.twice));
    let age = Some(ms(heard.update_age));
    checks.push(Check::at_most("oldest unsent update (ms)", age, UPDATE_MS));
}

/// H15: what it costs until views agree follows their difference. A ping and its ack carry a digest each.
fn settled(run: &Run, checks: &mut Vec<Check>) {
    const DIGESTS: u64 = 2 * 8;
    let (plan, differ) = (&run.plan, run.plan.differ);
    let agreed = run.converged_max().map(ms);
    checks.push(Check::at_most("one view (ms)", agreed, ms(plan.duration)).condition());
    let Some(spent) = run.load.settling else {
        return checks.push(Check::at_least("views that differ", None, 1.0).condition());
    };
    let bytes = spent.bytes + DIGESTS;
    let streamed = format!("{} B of streams in all", run.load.stream_bytes);
    if differ == 0 {
        checks.push(Check::at_most("bytes where views agree", Some(bytes as f64), 64.0));
    } else if differ <= FEW_DIFFERENCES {
        for (name, count) in [("sketches", spent.sketches), ("answers", spent.differences)] {
            let note = format!("{bytes} B, {streamed}");
            checks.push(Check::at_most(name, Some(count as f64), 1.0).beside(note));
        }
    } else if differ <= plan.nodes / 4 {
        let share = (differ as f64 / 1_000.0).max(1.0);
        let limit = share * SETTLED_BYTES;
        let note = format!("{} sketches, {streamed}", spent.sketches);
        checks.push(Check::at_most("bytes", Some(bytes as f64), limit).beside(note));
    } else {
        let why = format!("{bytes} B and {streamed}: the views have little in common");
        checks.push(Check::not_judged("bytes", SETTLED_BYTES, why));
    }
}

/// H10: everybody sees all in time, and the seed sends no state a joiner.
fn joined(run: &Run, checks: &mut Vec<Check>) {
    let limit = match run.plan.nodes {
        0..=1_000 => 3_000.0,
        1_001..=2_000 => 5_000.0,
        _ => 10_000.0,
    };
    let slowest = run.converged_max().map(ms);
    let name = "one view after the last join (ms)";
    if run.plan.loss > 0.0 {
        // The row is about storms, not about loss: with it everybody has to get there at all.
        let took = slowest.map_or("never".into(), |slowest| format!("took {slowest} ms"));
        checks.push(Check::not_judged(name, limit, took));
        checks.push(Check::at_most(name, slowest, ms(run.plan.duration)).condition());
    } else {
        checks.push(Check::at_most(name, slowest, limit));
    }
    let snapshots = run.storm.map(|storm| storm.snapshots());
    let figures = run.storm.map_or_else(String::new, |storm| {
        format!(
            "{} bytes; {} of {} joiners were granted its state of {} bytes",
            storm.seed_egress_bytes,
            storm.seed_states_granted,
            storm.seed_tickets,
            storm.snapshot_bytes
        )
    });
    let egress = Check::at_most("egress of the seed, in snapshots", snapshots, SEED_SNAPSHOTS);
    checks.push(egress.beside(figures));
    if run.plan.nodes >= STORM_OF_NOTE {
        let wall = Some(run.wall.as_secs_f64());
        checks.push(Check::at_most("real time of the whole run (s)", wall, STORM_WALL_S));
        checks.push(Check::at_most("most memory (bytes)", Some(run.rss_bytes as f64), STORM_BYTES));
    }
}

fn promises(run: &Run, checks: &mut Vec<Check>) {
    let plan = &run.plan;
    let found = &run.found;
    match plan.scenario {
        Scenario::Steady if plan.crashes() == 0 => within_budget(run, checks),
        Scenario::Steady | Scenario::Crash => in_time(run, checks),
        Scenario::Asymmetric => expelled(run, 1, checks),
        Scenario::FlipFlop => expelled(run, 2, checks),
        Scenario::Threshold => {
            if plan.block <= Duration::from_secs(2) {
                checks.push(Check::none("blocked members evicted", found.impaired_dead as u64));
            }
        }
        Scenario::Partition => {
            let slowest = run.converged_max().map(ms);
            checks.push(Check::at_most("one view after the heal (ms)", slowest, 10_000.0));
        }
        Scenario::RollingRestart => {
            let slowest = found.rejoin.iter().max().map(|span| ms(*span));
            checks.push(Check::at_most("rejoin max (ms)", slowest, 3_000.0));
            checks.push(Check::none("not back", found.not_rejoined as u64));
        }
        Scenario::Churn => {
            let why = || "no view was sampled: longer than ten seconds, please".to_string();
            checks.push(match run.view_error {
                Some(error) => Check::at_most("view error", Some(error), VIEW_ERROR),
                None => Check::not_judged("view error", VIEW_ERROR, why()),
            });
            spoken(run, checks);
        }
        Scenario::Certificates => renewed(run, checks),
        Scenario::AntiEntropy => settled(run, checks),
        Scenario::JoinStorm => joined(run, checks),
        Scenario::LifeguardInterval | Scenario::Exhaustion | Scenario::Drill | Scenario::Wan => {}
    }
}

#[cfg(test)]
#[path = "criteria/tests.rs"]
mod tests;
