use super::*;
use crate::plan::{Contender, Crash};
use crate::progress::Progress;
use crate::scenario;

fn named<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    let found = checks.iter().find(|check| check.name.starts_with(name));
    found.unwrap_or_else(|| panic!("{name} is not among {checks:?}"))
}

fn ran(scenario: Scenario, nodes: usize, seconds: u64, crashes: usize) -> Run {
    let mut plan = Plan::new(scenario, nodes);
    plan.warmup = Duration::from_secs(5);
    plan.duration = Duration::from_secs(seconds);
    plan.crash = Crash::Members(crashes);
    scenario::run(&plan, &Progress::silent())
}

#[test]
fn conditions_alone_are_no_pass() {
    let condition = Check::none("fault fired", 0).condition();
    let claim = Check::none("false deaths", 0);
    let unjudged = Check::not_judged("p99", 1.0, "too few".into());
    assert_eq!(verdict(&[]), "figure");
    assert_eq!(verdict(&[condition.clone(), unjudged.clone()]), "figure");
    assert_eq!(verdict(&[condition.clone(), claim]), "pass");
    assert_eq!(verdict(&[Check::none("fault fired", 1).condition()]), "FAIL");
    assert_eq!(unjudged.to_string(), "not judged: p99 (too few)");
}

/// Words: a missed one counts as one that never reached all, and starving updates are seen.
#[test]
fn words_that_are_missed_or_starve_updates_fail() {
    let mut plan = Plan::new(Scenario::Churn, 24);
    (plan.warmup, plan.duration, plan.words) =
        (Duration::from_secs(5), Duration::from_secs(16), 50);
    let run = scenario::run(&plan, &Progress::silent());
    let failing = |run: &Run| {
        let mut checks = Vec::new();
        spoken(run, &mut checks);
        assert_eq!(checks.len(), 3);
        checks.iter().filter(|check| !check.pass).count()
    };
    let heard = run.words.clone().unwrap_or_default();
    assert!(heard.said >= 790 && heard.judged() >= 290, "{heard:?}");
    assert_eq!((heard.missed, failing(&run)), (0, 0), "{heard:?}");
    let with = |edit: &dyn Fn(&mut crate::words::Heard)| {
        let mut run = run.clone();
        run.words.iter_mut().for_each(edit);
        failing(&run)
    };
    assert_eq!(with(&|heard| heard.missed = heard.full.len() / 50), 1);
    assert_eq!(with(&|heard| heard.twice = 1), 1);
    assert_eq!(with(&|heard| heard.update_age = Duration::from_secs(2)), 1);
}

/// A large mesh needs a hundred crashes for a 99th percentile, a small one four thousand for the
/// last: with fewer it says so.
#[test]
fn percentiles_of_few_crashes_are_not_judged() {
    let mut run = ran(Scenario::Crash, 128, 12, 0);
    let judged = |run: &Run, name: &str| {
        let mut checks = Vec::new();
        in_time(run, &mut checks);
        named(&checks, name).weight
    };
    run.found.full = vec![Duration::from_secs(3); 99];
    assert_eq!(judged(&run, "t_full p99 "), Weight::Claim);
    assert_eq!(judged(&run, "t_full p99.9"), Weight::NotJudged);
    run.plan.nodes = 10_000;
    assert_eq!(judged(&run, "t_full p99 "), Weight::NotJudged);
    run.found.full.push(Duration::from_secs(3));
    assert_eq!(judged(&run, "t_full p99 "), Weight::Claim);
    run.found.full.truncate(9);
    assert_eq!(judged(&run, "t_full p50"), Weight::NotJudged);
    run.found.full.clear();
    let mut checks = Vec::new();
    in_time(&run, &mut checks);
    assert!(!named(&checks, "t_full p50").pass, "nothing detected is no excuse");
}

/// Whoever is left alone can mark the others unreachable, and does.
#[test]
fn a_lone_survivor_detects_by_its_own_mark() {
    let run = ran(Scenario::Crash, 3, 60, 2);
    let checks = judge(&run);
    assert_eq!((run.found.detected, run.found.missed), (2, 0), "{checks:?}");
    assert_eq!(verdict(&checks), "pass", "{checks:?}");
}

#[test]
fn a_partition_is_checked_for_resurrection() {
    let mut plan = Plan::new(Scenario::Partition, 16);
    plan.partition = Duration::from_secs(20);
    plan.duration = Duration::from_secs(60);
    let mut run = scenario::run(&plan, &Progress::silent());
    assert_eq!(run.violations, Some(Vec::new()));
    assert_eq!(named(&judge(&run), "rules broken").weight, Weight::Claim);
    run.violations = Some(vec!["no-resurrection".into()]);
    assert!(!named(&judge(&run), "rules broken").pass);
    run.violations = None;
    assert_eq!(named(&judge(&run), "rules broken").weight, Weight::NotJudged);
}

#[test]
fn zero_false_deaths_are_told_with_their_node_hours() {
    let run = ran(Scenario::Steady, 16, 20, 0);
    let checks = judge(&run);
    assert!(named(&checks, "false deaths").note.contains("in 0.09 node-hours"), "{checks:?}");
    assert!(named(&checks, "bytes a node").note.contains("handshakes"), "{checks:?}");
}

/// Beyond what is forgiven the blocked may go; the others must still hold each other.
#[test]
fn a_long_block_is_judged_by_the_healthy() {
    let mut plan = Plan::new(Scenario::Threshold, 16);
    plan.block = Duration::from_secs(8);
    plan.duration = Duration::from_secs(30);
    let mut run = scenario::run(&plan, &Progress::silent());
    assert!(named(&judge(&run), "false deaths at healthy").pass);
    run.found.false_deaths_healthy = 1;
    assert_eq!(verdict(&judge(&run)), "FAIL");
}

#[test]
fn churn_without_a_sample_is_not_judged() {
    let run = ran(Scenario::Churn, 8, 5, 0);
    assert_eq!(run.view_error, None);
    assert_eq!(named(&judge(&run), "view error").weight, Weight::NotJudged);
}

#[test]
fn whoever_comes_back_for_good_or_for_a_while_has_flapped() {
    let mut run = ran(Scenario::Steady, 8, 5, 0);
    run.plan.scenario = Scenario::Asymmetric;
    run.plan.detector = Contender::Observers;
    run.found.full = vec![Duration::from_secs(4)];
    run.found.changes_of_one_max = 1;
    let expels = |run: &Run| {
        let mut checks = Vec::new();
        promises(run, &mut checks);
        checks.iter().all(|check| check.pass)
    };
    assert!(expels(&run));
    run.found.returned = 1;
    assert!(!expels(&run), "back at the end");
    run.found.returned = 0;
    run.found.changes_of_one_max = 3;
    assert!(!expels(&run), "out, in and out again");
}

/// H15: one datagram each way for a few differences, whoever finds them; what is more is counted.
#[test]
fn views_that_differ_are_judged_by_what_settling_costs() {
    for (differ, named_check) in [(0, "bytes where"), (20, "sketches"), (45, "bytes")] {
        let mut plan = Plan::new(Scenario::AntiEntropy, 240);
        (plan.differ, plan.duration) = (differ, Duration::from_secs(12));
        let mut run = scenario::run(&plan, &Progress::silent());
        let checks = judge(&run);
        assert_eq!(verdict(&checks), "pass", "{checks:?}");
        let check = named(&checks, named_check);
        assert_eq!(check.weight, Weight::Claim);
        let spent = run.load.settling.as_mut().expect("four began behind");
        assert_eq!(spent.sketches > 0, differ > 0);
        (spent.sketches, spent.bytes) = (2, 70_000);
        assert!(!named(&judge(&run), named_check).pass);
        run.converged = vec![None];
        assert!(!named(&judge(&run), "one view").pass);
    }
    let mut plan = Plan::new(Scenario::AntiEntropy, 240);
    (plan.differ, plan.duration) = (200, Duration::from_secs(12));
    let run = scenario::run(&plan, &Progress::silent());
    let checks = judge(&run);
    assert_eq!(named(&checks, "bytes").weight, Weight::NotJudged, "most of all differs");
    assert!(run.load.stream_bytes > 0 && named(&checks, "one view").pass);
}
