use std::time::Duration;

use super::*;
use crate::plan::{Crash, Plan, Scenario};
use crate::progress::Progress;
use crate::scenario;
use crate::scenario::criteria::Weight;
use crate::suite::cell::Cell;

/// A small run that says it was another cell's.
fn shown(row: Row, contender: Contender, nodes: usize) -> Shown {
    let mut plan = Plan::new(Scenario::Steady, 8);
    (plan.warmup, plan.duration) = (Duration::from_secs(2), Duration::from_secs(5));
    plan.detector = contender;
    let mut run = scenario::run(&plan, &Progress::silent());
    run.plan.nodes = nodes;
    plan.nodes = nodes;
    let cell = Cell {
        row,
        label: format!("{nodes}"),
        plan,
        first: 0,
        contenders: Vec::new(),
        baseline: None,
        yardstick: Yardstick::Scenario,
        alone: false,
    };
    Shown { cell, run, checks: Vec::new(), pass: true, repeated: None }
}

fn only(compared: Vec<Comparison>, row: Row) -> Comparison {
    let mut of_row: Vec<_> = compared.into_iter().filter(|one| one.row == row.name()).collect();
    assert_eq!(of_row.len(), 1, "{of_row:?}");
    of_row.remove(0)
}

#[test]
fn flat_load_needs_two_sizes() {
    let small = shown(Row::H1, Contender::Observers, 128);
    let thousand = shown(Row::H1, Contender::Observers, 1_000);
    let mut giant = shown(Row::H1, Contender::Observers, 100_000);
    let weight = |all: &[Shown]| only(compare(all), Row::H1).checks[0].weight;
    assert_eq!(weight(&[small.clone(), thousand.clone()]), Weight::NotJudged);
    assert_eq!(weight(&[small.clone(), giant.clone()]), Weight::NotJudged);
    let all = [small.clone(), thousand.clone(), giant.clone()];
    let judged = only(compare(&all), Row::H1);
    assert!(judged.counts && judged.pass && judged.checks[0].note.contains("handshakes"));
    giant.run.load.bytes *= 2;
    assert!(!only(compare(&[thousand, giant]), Row::H1).pass);
}

/// The headline: at least three times sooner than Lifeguard, and the verdict hangs on it.
#[test]
fn three_times_sooner_than_lifeguard_counts() {
    let mut ours = shown(Row::H2, Contender::Observers, 128);
    let mut theirs = shown(Row::H2, Contender::Lifeguard, 128);
    for (shown, seconds) in [(&mut ours, 3), (&mut theirs, 12)] {
        shown.run.plan.crash = Crash::Members(1);
        shown.run.seeds = (0..10).collect();
        shown.run.found.full = vec![Duration::from_secs(seconds); 10];
    }
    let judged = only(compare(&[ours.clone(), theirs.clone()]), Row::H2);
    assert!(judged.counts && judged.pass, "{judged:?}");
    assert!(judged.note.contains("calibration"), "{judged:?}");
    theirs.run.found.full = vec![Duration::from_secs(8); 10];
    assert!(!only(compare(&[ours.clone(), theirs.clone()]), Row::H2).pass);
    // Seeds that the other has not run do not help.
    theirs.run.found.full.truncate(9);
    theirs.run.seeds.truncate(9);
    let judged = only(compare(&[ours, theirs]), Row::H2);
    assert_eq!(judged.checks[0].weight, Weight::NotJudged);
}

#[test]
fn a_zero_needs_a_thousand_node_hours() {
    let mut cell = shown(Row::H6, Contender::Observers, 1_000);
    cell.run.plan.loss = 0.1;
    let judged = only(compare(&[cell.clone()]), Row::H6);
    assert_eq!(judged.checks[0].weight, Weight::NotJudged);
    cell.run.found.lived = Duration::from_secs(3_600) * 1_000;
    let judged = only(compare(&[cell.clone()]), Row::H6);
    assert_eq!((judged.checks[0].weight, judged.pass), (Weight::Claim, true));
    cell.run.found.lived = Duration::from_secs(3_600);
    cell.run.found.false_deaths = 1;
    assert!(!only(compare(&[cell]), Row::H6).pass, "one is one, in however short a time");
}

#[test]
fn churn_is_compared_with_the_same_mesh_at_rest() {
    let mut churned = shown(Row::H19, Contender::Observers, 128);
    churned.run.plan.scenario = Scenario::Churn;
    let rest = shown(Row::H1, Contender::Observers, 128);
    let judged = only(compare(&[churned.clone()]), Row::H19);
    assert_eq!(judged.checks[0].weight, Weight::NotJudged);
    assert!(only(compare(&[churned.clone(), rest.clone()]), Row::H19).pass);
    churned.run.load.bytes = rest.run.load.bytes * 3;
    assert!(!only(compare(&[churned.clone(), rest.clone()]), Row::H19).pass);
    let beside = Shown { cell: Cell { row: Row::H19, ..rest.cell.clone() }, ..rest.clone() };
    assert!(!only(compare(&[churned.clone(), beside]), Row::H19).pass, "its own mesh at rest");
    churned.run.load.body_bytes = rest.run.load.bytes * 2;
    let judged = only(compare(&[churned, rest]), Row::H19);
    assert!(judged.pass && judged.checks[0].note.contains("bodies"), "bodies are left out");
}

#[test]
fn detection_with_words_is_compared_with_the_silent_mesh() {
    let mut silent = shown(Row::Words, Contender::Observers, 128);
    let mut spoken = silent.clone();
    spoken.run.plan.words = 100;
    silent.run.found.full = vec![Duration::from_secs(3); 10];
    spoken.run.found.full = vec![Duration::from_millis(3_250); 10];
    assert!(only(compare(&[spoken.clone(), silent.clone()]), Row::Words).pass);
    spoken.run.found.full[3] = Duration::from_millis(3_350);
    assert!(!only(compare(&[spoken.clone(), silent]), Row::Words).pass);
    assert!(compare(&[spoken]).is_empty(), "nothing to compare with");
}

#[test]
fn baselines_that_do_not_fit_are_marked_wherever_they_are_compared() {
    let mut swim = shown(Row::H3, Contender::Swim, 128);
    let mut guard = shown(Row::H3, Contender::Lifeguard, 128);
    swim.run.found.false_verdicts = 1_000;
    swim.run.found.false_verdicts_healthy = 1_000;
    guard.run.found.false_verdicts = 500;
    guard.run.found.false_verdicts_healthy = 500;
    let ours = shown(Row::H2, Contender::Observers, 128);
    let theirs = shown(Row::H2, Contender::Lifeguard, 128);
    let all = [swim, guard, ours, theirs];
    assert!(only(compare(&all), Row::H2).note.contains("NOT CALIBRATED"));
    let judged = only(compare(&all), Row::H3);
    assert!(!judged.counts && judged.note.contains("not calibrated"), "{judged:?}");
}
