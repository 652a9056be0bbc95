//! The command itself: two nodes, one crash, one seed, one history.

use std::process::{Command, Output};

fn hyperscale(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hyperscale")).args(arguments).output().expect("it runs")
}

fn report(arguments: &[&str]) -> (bool, serde_json::Value) {
    let output = hyperscale(arguments);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let last = text.lines().last().unwrap_or_default();
    let report = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.success(), report)
}

/// Rules J-1 and F-6: two nodes meet within 2 s, and the killed one is out within 5 s.
#[test]
fn two_nodes_meet_and_a_crash_is_removed() {
    let arguments = ["sim", "--nodes", "2", "--seed", "7", "--crash", "1", "--json"];
    let (ok, first) = report(&arguments);
    assert!(ok, "{first}");
    assert!(first["converged_ms"].as_f64().is_some_and(|ms| ms < 2_000.0), "{first}");
    assert!(first["detection_last_ms"].as_f64().is_some_and(|ms| ms <= 5_000.0), "{first}");
    assert_eq!(first["false_deaths"], 0, "{first}");
    let (_, second) = report(&arguments);
    assert_eq!(first, second, "one seed, one history");
}

#[test]
fn the_plain_report_names_seed_replay_and_hash() {
    let output = hyperscale(&["sim", "--nodes", "2", "--seed", "3", "--duration", "5"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for part in ["seed          3", "--seed 3 --crash 0", "trace hash", "converged", "pass"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn a_run_that_misses_a_crash_fails() {
    // The members are killed at the last moment: nobody can have noticed.
    let (ok, report) =
        report(&["sim", "--nodes", "3", "--crash", "1", "--duration", "10", "--json"]);
    assert!(!ok, "{report}");
    assert_eq!((&report["missed"], &report["pass"]), (&1.into(), &false.into()), "{report}");
}
