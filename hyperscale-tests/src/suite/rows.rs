//! Which cells each tier has. Thresholds stand elsewhere; this is how often and how large.

use std::time::Duration;

use crate::plan::{Contender, Crash, Plan, Scenario, Variant};
use crate::scenario::cells::CELLS;
use crate::suite::Tier;
use crate::suite::cell::{Cell, Row, Yardstick};

/// Observers, and each of the two baselines, so often.
fn contenders(ours: usize, theirs: usize) -> Vec<(Contender, usize)> {
    vec![(Contender::Observers, ours), (Contender::Lifeguard, theirs), (Contender::Swim, theirs)]
}

fn cell(row: Row, label: String, plan: Plan, ours: usize, theirs: usize) -> Cell {
    Cell {
        row,
        label,
        plan,
        first: 0,
        contenders: contenders(ours, theirs),
        baseline: None,
        yardstick: Yardstick::Scenario,
        alone: false,
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Every cell of a tier.
pub(super) fn cells(tier: Tier) -> Vec<Cell> {
    match tier {
        Tier::T0 => t0(),
        Tier::T1 => t1(),
        Tier::T2 => t2(),
        Tier::T3 => t3(),
    }
}

const NO_BASELINE: (Duration, Duration) = (Duration::ZERO, Duration::ZERO);

/// A subset: larger cells have few seeds, and baselines run short where loss makes them slow.
fn t0() -> Vec<Cell> {
    let brief = (secs(5), secs(10));
    let mut cells = vec![simulator(1_000, 60)];
    cells.extend([128, 1_000].map(|nodes| steady(nodes, secs(600), 1, 1)));
    cells.push(crash(128, 1, 60, 6));
    cells.push(crash(128, 10, 12, 2));
    cells.push(crash(1_000, 10, 5, 1));
    cells.push(fast(128, 10, 10));
    cells.push(fast(1_000, 10, 1));
    cells.extend(interval(&[4], 1));
    cells.extend(threshold(1).into_iter().filter(|cell| cell.plan.block <= secs(8)));
    for loss in [0.01, 0.05, 0.1] {
        cells.push(loss_cell(1_000, loss, secs(60), 1, brief));
    }
    for loss in [0.2, 0.3] {
        cells.push(loss_cell(1_000, loss, secs(60), 1, NO_BASELINE));
        // There the baselines flood 1,000 nodes with tens of kilobytes a node and second.
        cells.push(loss_cell(128, loss, secs(60), 1, brief));
    }
    // A crash at 128 nodes: a hundred of them in less than the time of one seed at 1,000.
    for loss in [0.1, 0.2, 0.3] {
        cells.push(loss_crash(128, loss, 6));
    }
    cells.extend(asymmetric(secs(120), 1, (secs(5), secs(25))));
    cells.push(batches(2, 1));
    cells.extend([10, 25, 50].map(|percent| mass(1_000, percent, 1, 0)));
    cells.extend([10, 25, 50].map(|percent| mass(128, percent, 1, 1)));
    cells.push(storm(200, 0.0, 3, 1));
    cells.push(storm(200, 0.05, 3, 1));
    cells.push(partition(128, (50, 50), secs(60), 3, 1));
    cells.push(rolling(128, 1, 1));
    cells.push(wan(128, 3, 1));
    cells.push(certificates(128, 3));
    cells.extend([0, 1, 30, 200].map(|differ| anti_entropy(1_000, differ, 2)));
    cells.extend(churn(128, secs(600), 3, secs(300)));
    cells.extend(words(64, secs(240), 1));
    cells
}

fn t1() -> Vec<Cell> {
    let mut cells = vec![simulator(1_000, 300), simulator(20_000, 60)];
    cells.extend([128, 1_000].map(|nodes| steady(nodes, secs(600), 3, 1)));
    cells.push(steady(10_000, secs(600), 1, 0));
    cells.push(crash(128, 1, 4_000, 100));
    cells.push(crash(128, 10, 100, 10));
    cells.push(crash(1_000, 1, 100, 10));
    cells.push(crash(1_000, 10, 50, 10));
    cells.push(crash(10_000, 1, 3, 0));
    cells.push(crash(10_000, 10, 10, 1));
    cells.push(fast(128, 10, 20));
    cells.push(fast(1_000, 10, 10));
    cells.extend(interval(&[1, 4, 8, 16, 32], 10));
    cells.extend(threshold(10));
    for loss in [0.01, 0.05, 0.1, 0.2, 0.3] {
        cells.push(loss_cell(1_000, loss, secs(3_600), 1, (secs(60), secs(60))));
        cells.push(loss_cell(10_000, loss, secs(360), 1, NO_BASELINE));
    }
    for loss in [0.1, 0.2, 0.3] {
        cells.push(loss_crash(1_000, loss, 20));
    }
    cells.extend(asymmetric(secs(900), 10, (secs(60), secs(300))));
    cells.push(batches(20, 5));
    for percent in [10, 25, 50] {
        cells.push(mass(1_000, percent, 10, 2));
        cells.push(mass(10_000, percent, 1, 0));
    }
    cells.push(storm(1_000, 0.0, 5, 1));
    cells.push(storm(2_000, 0.0, 3, 0));
    cells.push(storm(1_000, 0.05, 3, 0));
    for split in [(50, 50), (90, 10)] {
        for stands in [30, 120, 600] {
            cells.push(partition(64, split, secs(stands), 60, 0));
            cells.push(partition(128, split, secs(stands), 30, 2));
            cells.push(partition(300, split, secs(stands), 10, 0));
        }
        cells.push(partition(2_000, split, secs(120), 1, 0));
    }
    cells.extend([128, 1_000].map(|nodes| rolling(nodes, 5, 1)));
    cells.extend([128, 1_000].map(|nodes| wan(nodes, 10, 2)));
    cells.push(certificates(1_000, 1));
    cells.extend([0, 1, 30, 1_000, 9_000].map(|differ| anti_entropy(10_000, differ, 3)));
    cells.extend(churn(1_000, secs(600), 3, secs(600)));
    cells.extend(words(1_000, secs(180), 3));
    cells
}

fn t2() -> Vec<Cell> {
    let mut giant = simulator(100_000, 60);
    giant.plan.warmup = Duration::ZERO;
    let mut cells = vec![
        giant,
        steady(1_000, secs(600), 1, 0),
        Cell { alone: true, ..storm(10_000, 0.0, 1, 0) },
        Cell { alone: true, ..steady(100_000, secs(600), 1, 0) },
        Cell { alone: true, ..crash(100_000, 10, 10, 0) },
    ];
    let settled = [0, 30, 1_000, 10_000];
    cells.extend(settled.map(|differ| Cell { alone: true, ..anti_entropy(100_000, differ, 1) }));
    cells.extend(churn(10_000, secs(3_600), 1, secs(600)));
    cells.extend([(50, 50), (90, 10)].into_iter().flat_map(great_partition));
    cells
}

/// Five seeds of one large partition, each a cell: a run is an hour of a core, and reports of some of
/// them can be merged.
fn great_partition(split: (u8, u8)) -> impl Iterator<Item = Cell> {
    (1..=5).map(move |run| {
        let cell = partition(10_000, split, secs(120), 1, 0);
        Cell { first: run - 1, label: format!("{}, run {run} of 5", cell.label), ..cell }
    })
}

fn t3() -> Vec<Cell> {
    vec![
        Cell { alone: true, ..steady(1_000_000, secs(60), 1, 0) },
        Cell { alone: true, ..crash(1_000_000, 10, 1, 0) },
        steady(1_000, secs(600), 1, 0),
        steady(128, secs(6 * 3_600), 1, 1),
        partition(128, (50, 50), secs(6 * 3_600), 3, 0),
    ]
}

fn simulator(nodes: usize, seconds: u64) -> Cell {
    let mut plan = Plan::new(Scenario::Steady, nodes);
    plan.duration = secs(seconds);
    Cell {
        contenders: vec![(Contender::Observers, 2)],
        yardstick: Yardstick::Simulator,
        alone: true,
        ..cell(Row::H17, format!("{nodes} nodes, {seconds} s"), plan, 0, 0)
    }
}

fn steady(nodes: usize, duration: Duration, ours: usize, theirs: usize) -> Cell {
    let mut plan = Plan::new(Scenario::Steady, nodes);
    plan.duration = duration;
    let label = format!("{nodes} nodes, {} s", duration.as_secs());
    Cell { baseline: Some((secs(20), secs(60))), ..cell(Row::H1, label, plan, ours, theirs) }
}

/// Observers that have not told all by then are too late by far.
fn crashing(nodes: usize, crash: Crash) -> Plan {
    let mut plan = Plan::new(Scenario::Crash, nodes);
    plan.crash = crash;
    plan.duration = secs(30);
    plan
}

/// A baseline at 1,000 nodes needs 30 s to tell all.
const SLOW: Option<(Duration, Duration)> = Some((Duration::from_secs(20), Duration::from_secs(50)));

fn crash(nodes: usize, killed: usize, ours: usize, theirs: usize) -> Cell {
    let plan = crashing(nodes, Crash::Members(killed));
    Cell { baseline: SLOW, ..cell(Row::H2, format!("{killed} of {nodes}"), plan, ours, theirs) }
}

fn fast(nodes: usize, killed: usize, runs: usize) -> Cell {
    let mut plan = crashing(nodes, Crash::Members(killed));
    plan.interval = Some(Duration::from_millis(500));
    plan.ping_timeout = Some(Duration::from_millis(250));
    plan.grace = Some(secs(1));
    Cell { baseline: SLOW, ..cell(Row::H2b, format!("{killed} of {nodes}"), plan, runs, 1) }
}

fn interval(anomalous: &[usize], runs: usize) -> Vec<Cell> {
    let mut all = Vec::new();
    for pair in CELLS {
        for count in anomalous {
            let mut plan = Plan::new(Scenario::LifeguardInterval, 128);
            plan.impaired = *count;
            plan.block = pair.block;
            plan.run = pair.run;
            let label = format!("{} ({:?} x {:?}), C = {count}", pair.name, pair.block, pair.run);
            all.push(Cell {
                contenders: Contender::ALL.map(|contender| (contender, runs)).to_vec(),
                yardstick: Yardstick::Row,
                ..cell(Row::H3, label, plan, 0, 0)
            });
        }
    }
    all
}

fn threshold(runs: usize) -> Vec<Cell> {
    let blocks = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000];
    blocks
        .into_iter()
        .map(|block_ms| {
            let mut plan = Plan::new(Scenario::Threshold, 128);
            plan.block = Duration::from_millis(block_ms);
            plan.duration = plan.block + secs(60);
            let label = format!("{} of 128 blocked {:?}", plan.impaired, plan.block);
            // Up to two seconds the blocked stay; beyond, at least nobody else is buried.
            cell(Row::H4, label, plan, if block_ms <= 2_000 { 5 * runs } else { runs }, 1)
        })
        .collect()
}

fn loss_cell(
    nodes: usize,
    loss: f64,
    duration: Duration,
    ours: usize,
    baseline: (Duration, Duration),
) -> Cell {
    let mut plan = Plan::new(Scenario::Steady, nodes);
    plan.loss = loss;
    plan.duration = duration;
    let label = format!("{nodes} nodes, {:.0} % loss, {} s", loss * 100.0, duration.as_secs());
    let theirs = usize::from(!baseline.1.is_zero());
    Cell { baseline: Some(baseline), ..cell(Row::H6, label, plan, ours, theirs) }
}

fn loss_crash(nodes: usize, loss: f64, runs: usize) -> Cell {
    let mut plan = crashing(nodes, Crash::Members(10));
    plan.loss = loss;
    let label = format!("10 of {nodes} killed, {:.0} % loss", loss * 100.0);
    cell(Row::H6, label, plan, runs, 0)
}

fn asymmetric(duration: Duration, ours: usize, baseline: (Duration, Duration)) -> Vec<Cell> {
    let kinds = [
        ("80 % egress", Scenario::Asymmetric, Variant::Egress),
        ("80 % ingress", Scenario::Asymmetric, Variant::Ingress),
        ("ingress 20/20 s", Scenario::FlipFlop, Variant::Ingress),
    ];
    kinds
        .into_iter()
        .map(|(name, scenario, variant)| {
            let mut plan = Plan::new(scenario, 1_000);
            plan.variant = variant;
            plan.duration = duration;
            let label = format!("10 of 1000, {name}, {} s", duration.as_secs());
            Cell { baseline: Some(baseline), ..cell(Row::H7, label, plan, ours, 1) }
        })
        .collect()
}

fn batches(ours: usize, theirs: usize) -> Cell {
    let plan = crashing(1_000, Crash::Members(10));
    Cell { yardstick: Yardstick::Batches, ..cell(Row::H8, "10 of 1000".into(), plan, ours, theirs) }
}

fn mass(nodes: usize, percent: u8, ours: usize, theirs: usize) -> Cell {
    let mut plan = crashing(nodes, Crash::Share(f64::from(percent) / 100.0));
    plan.duration = secs(40);
    let label = format!("{percent} % of {nodes}");
    Cell { baseline: Some((secs(20), secs(70))), ..cell(Row::H9, label, plan, ours, theirs) }
}

fn storm(nodes: usize, loss: f64, ours: usize, theirs: usize) -> Cell {
    let mut plan = Plan::new(Scenario::JoinStorm, nodes);
    plan.loss = loss;
    let label = format!("{nodes} nodes, {:.0} % loss", loss * 100.0);
    let baseline = Some((Duration::ZERO, secs(80)));
    Cell { baseline, ..cell(Row::H10, label, plan, ours, theirs) }
}

fn partition(nodes: usize, split: (u8, u8), stands: Duration, ours: usize, theirs: usize) -> Cell {
    let mut plan = Plan::new(Scenario::Partition, nodes);
    plan.split = split;
    plan.partition = stands;
    plan.duration = stands + secs(70);
    let label = format!("{}/{} of {nodes}, {} s", split.0, split.1, stands.as_secs());
    cell(Row::H11, label, plan, ours, theirs)
}

fn rolling(nodes: usize, ours: usize, theirs: usize) -> Cell {
    let plan = Plan::new(Scenario::RollingRestart, nodes);
    cell(Row::H12, format!("{nodes} nodes, 10 % at a time, 5 s down"), plan, ours, theirs)
}

fn wan(nodes: usize, ours: usize, theirs: usize) -> Cell {
    let plan = Plan::new(Scenario::Wan, nodes);
    cell(Row::H13, format!("{nodes} nodes, 1 % loss"), plan, ours, theirs)
}

fn certificates(nodes: usize, runs: usize) -> Cell {
    let plan = Plan::new(Scenario::Certificates, nodes);
    cell(Row::H14, format!("{nodes} nodes, 120 s"), plan, runs, 0)
}

fn anti_entropy(nodes: usize, differ: usize, runs: usize) -> Cell {
    let mut plan = Plan::new(Scenario::AntiEntropy, nodes);
    plan.differ = differ;
    cell(Row::H15, format!("{differ} differences of {nodes}"), plan, runs, 0)
}

/// The churning mesh, and the same one at rest to compare its load with.
fn churn(nodes: usize, duration: Duration, runs: usize, rests: Duration) -> [Cell; 2] {
    let mut plan = Plan::new(Scenario::Churn, nodes);
    plan.duration = duration;
    let label = format!("{nodes} nodes, {} s", duration.as_secs());
    let churn = cell(Row::H19, label, plan, runs, 0);
    let mut plan = Plan::new(Scenario::Steady, nodes);
    plan.duration = rests;
    let label = format!("{nodes} nodes at rest, {} s", rests.as_secs());
    let rest = cell(Row::H19, label, plan, 1, 0);
    [churn, Cell { yardstick: Yardstick::Row, ..rest }]
}

/// The same mesh and the same deaths, with words and without.
fn words(nodes: usize, duration: Duration, runs: usize) -> Vec<Cell> {
    let with = |words: u32| {
        let mut plan = Plan::new(Scenario::Churn, nodes);
        (plan.duration, plan.words) = (duration, words);
        let label = format!("{nodes} nodes, {words} words a second, {} s", duration.as_secs());
        cell(Row::Words, label, plan, runs, 0)
    };
    vec![with(100), with(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_every_tier_can_be_run_and_is_named_once() {
        for tier in [Tier::T0, Tier::T1, Tier::T2, Tier::T3] {
            let mut names = std::collections::BTreeSet::new();
            let mut plans = std::collections::BTreeSet::new();
            for cell in cells(tier) {
                assert!(names.insert((cell.row, cell.label.clone())), "{} twice", cell.label);
                let first = format!("{:?}", cell.plan_of(cell.contenders[0].0, 0));
                assert!(plans.insert((cell.row, first)), "{} is played elsewhere", cell.label);
                for (contender, runs) in cell.contenders.clone() {
                    for number in 0..runs.min(2) {
                        let plan = cell.plan_of(contender, number);
                        assert!(plan.validate().is_ok(), "{}", cell.label);
                    }
                }
            }
        }
    }

    #[test]
    fn the_smallest_tier_stays_below_a_thousand_nodes() {
        assert!(cells(Tier::T0).iter().all(|cell| cell.plan.nodes <= 1_000));
    }
}
