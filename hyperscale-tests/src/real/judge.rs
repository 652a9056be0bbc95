//! Thresholds of a run on sockets: the simulator's, and what a process may cost.
//!
//! Invariant: a threshold of the simulator that sockets cannot judge is printed as not judged, with the
//! reason; none is left out and none is loosened.

use std::time::Duration;

use super::drill::Drilled;
use super::figures::Report;
use super::trend::Trend;
use crate::measure::{Spread, ms};
use crate::plan::Scenario;
use crate::scenario::criteria::{self, Check};

/// What one process with so many agents may take.
struct Budget {
    converge: Duration,
    cpu_percent: f64,
    memory_bytes: f64,
}

/// Killed agents are gone from every view after so long.
const GONE_MS: f64 = 8_000.0;
/// Waiting in parts of running, from which on a member starves.
const HUNGRY: u32 = 10;
/// A handful of members has a patience of its own.
const CROWD: usize = 17;

/// What agents cannot tell, by the beginnings of the names of checks.
const UNJUDGED: [(&str, &str); 3] = [
    ("egress of the seed", "agents do not count what their streams carried"),
    ("successors a link", "agents do not count them by link"),
    ("rules broken", "no checker sees every mutation of an agent"),
];

fn budget(nodes: usize) -> Option<Budget> {
    let of = |seconds, cpu_percent, memory_bytes| Budget {
        converge: Duration::from_secs(seconds),
        cpu_percent,
        memory_bytes,
    };
    match nodes {
        0..=256 => Some(of(10, 10.0, 250e6)),
        257..=1_000 => Some(of(30, 25.0, 1_073_741_824.0)),
        _ => None,
    }
}

/// The report with every threshold that applies.
pub(super) fn judged(mut report: Report) -> Report {
    let why = |check: &Check| UNJUDGED.iter().find(|(name, _)| check.name.starts_with(name));
    let mut checks: Vec<Check> = criteria::judge(&report.run);
    for check in &mut checks {
        if let Some((_, why)) = why(check) {
            *check = Check::not_judged(&check.name, check.limit, (*why).into());
        }
    }
    cost(&report, &mut checks);
    if report.run.plan.scenario == Scenario::Crash && report.run.plan.nodes >= CROWD {
        let slowest = Spread::of_ms(&report.run.found.full).max;
        checks.push(Check::at_most("gone from every view, max (ms)", slowest, GONE_MS));
    }
    checks.extend(report.figures.trend.iter().flat_map(Trend::checks));
    checks.extend(report.figures.drill.iter().flat_map(Drilled::checks));
    starved(&report, &mut checks);
    for name in &report.figures.promised {
        let times = report.run.fired.get(*name).copied().unwrap_or_default();
        let name = format!("faults that fired: {name}");
        checks.push(Check::at_least(&name, Some(times as f64), 1.0).condition());
    }
    report.checks = checks;
    report
}

/// Who was to starve waited many times as long as it ran, or nothing was shown.
fn starved(report: &Report, checks: &mut Vec<Check>) {
    if report.run.plan.scenario != Scenario::Exhaustion {
        return;
    }
    let hungry = report.figures.starved.iter();
    let hungry = hungry.filter(|one| one.turns.waited > one.turns.ran * HUNGRY).count();
    let all = report.run.plan.impaired as f64;
    let name = format!("members that waited for a core {HUNGRY} times as long as they had it");
    checks.push(Check::at_least(&name, Some(hungry as f64), all).condition());
}

fn cost(report: &Report, checks: &mut Vec<Check>) {
    let (plan, figures) = (&report.run.plan, &report.figures);
    let Some(budget) = budget(plan.nodes) else { return };
    if plan.scenario != Scenario::JoinStorm {
        let took = Some(ms(figures.joined.converged));
        checks.push(Check::at_most("all see all from one seed (ms)", took, ms(budget.converge)));
    }
    if figures.each.is_some() {
        let why = "the limit is that of one process for all; what each takes is printed";
        for (name, limit) in
            [("percent of a core", budget.cpu_percent), ("resident bytes", budget.memory_bytes)]
        {
            checks.push(Check::not_judged(name, limit, why.into()));
        }
        return;
    }
    let (before, after) = figures.load_average;
    if plan.scenario == Scenario::Steady && plan.crashes() == 0 {
        let cpu =
            Check::at_most("percent of a core", Some(figures.cpu_percent()), budget.cpu_percent);
        checks.push(cpu.beside(format!("load average {before:.2} before, {after:.2} after")));
    }
    let memory = Some(figures.memory.resident as f64);
    checks.push(Check::at_most("resident bytes", memory, budget.memory_bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_the_budget_of_its_size() {
        let cpu = |nodes| budget(nodes).map(|budget| budget.cpu_percent);
        assert_eq!(
            (cpu(256), cpu(257), cpu(1_000), cpu(1_001)),
            (Some(10.0), Some(25.0), Some(25.0), None)
        );
    }
}
