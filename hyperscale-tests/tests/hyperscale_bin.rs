//! The command itself: one object with every figure, one seed with one history, and clear words
//! for what cannot be.

use std::process::{Command, Output};

use serde_json::Value;

fn hyperscale(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyperscale"));
    command.args(arguments.split_whitespace()).output().expect("it runs")
}

fn report(arguments: &str) -> (bool, Value) {
    let output = hyperscale(arguments);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let last = text.lines().last().unwrap_or_default();
    let report = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.success(), report)
}

type Field = (&'static str, fn(&Value) -> bool);

/// Every field that the design promises, and what its value is.
const FIELDS: [Field; 27] = [
    ("scenario", Value::is_string),
    ("nodes", Value::is_u64),
    ("seed", Value::is_u64),
    ("detector", Value::is_string),
    ("loss", Value::is_f64),
    ("crash", Value::is_u64),
    ("duration_s", Value::is_f64),
    ("t_first_ms", Value::is_object),
    ("t_full_ms", Value::is_object),
    ("detected", Value::is_u64),
    ("missed", Value::is_u64),
    ("false_deaths", Value::is_u64),
    ("false_deaths_healthy", Value::is_u64),
    ("node_hours", Value::is_f64),
    ("bytes_per_node_s", Value::is_f64),
    ("handshake_bytes_per_node_s", Value::is_f64),
    ("handshakes_per_node_min", Value::is_f64),
    ("messages_per_node_s", Value::is_f64),
    ("view_changes_max", Value::is_u64),
    ("converged_ms", Value::is_null),
    ("events", Value::is_u64),
    ("events_per_s", Value::is_f64),
    ("rss_bytes", Value::is_u64),
    ("trace_hash", Value::is_string),
    ("pass", Value::is_boolean),
    ("sessions_per_node", Value::is_object),
    ("batches", Value::is_object),
];

const CRASH: &str = "sim --scenario crash --nodes 40 --crash 2 --duration 30 --warmup-s 10 --json";

#[test]
fn a_crash_is_reported_with_every_figure() {
    for detector in ["observers", "lifeguard", "swim"] {
        let (ok, report) = report(&format!("{CRASH} --detector {detector}"));
        assert!(ok, "{report}");
        for (field, holds) in FIELDS {
            assert!(holds(&report[field]), "{field} in {report}");
        }
        for field in ["t_first_ms", "t_full_ms"] {
            assert_eq!(report[field]["n"], 2, "{field} in {report}");
            let p99 = report[field]["p99"].as_f64();
            assert!(p99.is_some_and(|ms| ms > 0.0), "{field} in {report}");
            assert!(report[field]["p999"].is_null(), "two are no thousand: {report}");
        }
        assert_eq!((&report["detected"], &report["missed"]), (&2.into(), &0.into()), "{report}");
        assert_eq!(report["faults_fired"]["crashes"], 2, "{report}");
    }
}

#[test]
fn one_seed_has_one_history_in_either_table() {
    let flags = "--loss 5% --seed 7";
    let hash = |more: &str| {
        let (_, report) = report(&format!("{CRASH} {flags} {more}"));
        report["trace_hash"].as_str().map(str::to_string).expect("a hash")
    };
    let first = hash("");
    assert_eq!(first, hash(""), "the same run again");
    assert_eq!(first, hash("--table dense"));
    assert_eq!(first, hash("--table shared"));
    let (_, other) = report(&format!("{CRASH} --loss 5% --seed 8"));
    assert_ne!(other["trace_hash"], Value::from(first), "another seed, another history");
}

#[test]
fn every_scenario_runs_with_loss_and_crashes() {
    for scenario in [
        "steady --duration 30",
        "asymmetric",
        "flip-flop --duration 60",
        "lifeguard-interval --impaired 2 --cell limp --duration 30",
        "threshold --duration 30",
        "partition --partition-s 15 --duration 60",
        "rolling-restart --duration 60",
        "wan --duration 75",
        "churn --duration 300",
    ] {
        let line =
            format!("sim --scenario {scenario} --nodes 24 --loss 1% --crash 2 --warmup-s 5 --json");
        // Whether it passes is another question; that it says what it did is this one.
        let (_, report) = report(&line);
        let fired = &report["faults_fired"];
        assert!(fired["crashes"].as_u64() >= Some(2), "{scenario}: {report}");
        assert!(fired["lost"].as_u64() > Some(0), "{scenario}: {report}");
        assert_eq!(report["loss"], 0.01, "{scenario}: {report}");
    }
}

#[test]
fn a_healed_partition_says_when_all_agreed() {
    let line = "sim --scenario partition --nodes 24 --partition-s 30 --duration 80 --json";
    let (ok, report) = report(line);
    assert!(ok, "{report}");
    assert!(report["converged_ms"].as_f64().is_some_and(|ms| ms <= 10_000.0), "{report}");
    assert!(report["faults_fired"]["withheld"].as_u64() > Some(0), "{report}");
}

#[test]
fn the_plain_report_names_seed_options_commit_and_replay() {
    let output = hyperscale("sim --nodes 8 --seed 3 --duration 5 --warmup-s 10");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for part in ["seed           3", "options", "commit", "--seed 3", "trace hash", "pass"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn a_run_that_misses_a_crash_fails() {
    // The member is killed in the last second: nobody can have noticed.
    let (ok, report) = report("sim --nodes 8 --crash 1 --duration 11 --warmup-s 1 --json");
    assert!(!ok, "{report}");
    assert_eq!((&report["missed"], &report["pass"]), (&1.into(), &false.into()), "{report}");
}

#[test]
fn a_sweep_runs_its_seeds() {
    let output = hyperscale("sweep --seeds 1 --first 3 --jobs 1");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 from 3, 1 clean"), "{text}");
}

/// Two seeds are no replay, and too few for every kind of fault.
#[test]
fn a_sweep_in_which_a_fault_never_fired_fails() {
    let output = hyperscale("sweep --seeds 2 --first 3");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("2 clean") && text.contains("FAIL: never fired: "), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    for (arguments, hint) in [
        ("sim --scenario nonsense", "steady"),
        ("sim --nodes 3 --crash 3", "at most 2 of 3"),
        ("sim --loss 2", "below 1"),
        ("sim --interval 1", "500ms"),
        ("sim --scenario wan --regions 1", "2 regions"),
        ("sim --scenario lifeguard-interval --block 0ms --run 0ms", "1ms"),
        ("suite --tier t9", "t0"),
        ("suite --only H99", "H17"),
        ("suite --tier t2 --only H7", "no"),
    ] {
        let output = hyperscale(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments}");
        assert!(text.contains(hint), "{arguments}: {text}");
    }
}
