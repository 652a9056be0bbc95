//! Real agents on real sockets, few and for a short time: every figure is there, and what is counted
//! is right. Times and shares of a core depend on the machine and decide nothing here.

use std::process::Command;

use serde_json::Value;

/// Runs `hyperscale real` and returns the object of its last line.
fn report(arguments: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyperscale"));
    let output = command.arg("real").args(arguments.split_whitespace()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr));
    })
}

type Field = (&'static str, fn(&Value) -> bool);

const FIELDS: [Field; 29] = [
    ("/scenario", Value::is_string),
    ("/nodes", Value::is_u64),
    ("/seed", Value::is_u64),
    ("/detector", Value::is_string),
    ("/duration_s", Value::is_f64),
    ("/t_first_ms/p50", Value::is_f64),
    ("/t_full_ms/p99", Value::is_f64),
    ("/false_deaths", Value::is_u64),
    ("/node_hours", Value::is_f64),
    ("/bytes_per_node_s", Value::is_f64),
    ("/handshake_bytes_per_node_s", Value::is_f64),
    ("/messages_per_node_s", Value::is_f64),
    ("/sessions_per_node/p50", Value::is_u64),
    ("/converged_ms", Value::is_f64),
    ("/events", Value::is_u64),
    ("/rss_bytes", Value::is_u64),
    ("/pass", Value::is_boolean),
    ("/checks", Value::is_array),
    ("/trace_hash", Value::is_null),
    ("/false_verdicts", Value::is_null),
    ("/sockets/backend", Value::is_string),
    ("/sockets/converged_ms", Value::is_f64),
    ("/sockets/cpu_percent_of_core", Value::is_f64),
    ("/sockets/cpu_percent_of_core_by_thread/mesh-shard", Value::is_f64),
    ("/sockets/memory_bytes/total", Value::is_u64),
    ("/sockets/memory_bytes/per_node", Value::is_u64),
    ("/sockets/sessions/all", Value::is_u64),
    ("/sockets/descriptors", Value::is_u64),
    ("/sockets/load_average", Value::is_array),
];

fn killed_agents_leave(io: &str) {
    let flags = "--scenario crash --nodes 24 --crash 3 --duration 30 --warmup-s 5 --json";
    let report = report(&format!("{flags} --io {io}"));
    for (field, holds) in FIELDS {
        let value = report.pointer(field).unwrap_or(&Value::Null);
        assert!(holds(value), "{field} in {report}");
    }
    assert_eq!((&report["detected"], &report["missed"]), (&3.into(), &0.into()), "{report}");
    assert_eq!((&report["t_full_ms"]["n"], &report["false_deaths"]), (&3.into(), &0.into()));
    assert_eq!(report["faults_fired"]["crashes"], 3, "{report}");
    let sent = report["messages_per_node_s"].as_f64().unwrap_or_default();
    let bytes = report["bytes_per_node_s"].as_f64().unwrap_or_default();
    assert!(sent > 0.1 && bytes > 28.0 * sent, "somebody spoke, and headers count: {report}");
    let replay = report["replay"].as_str().unwrap_or_default();
    assert!(replay.contains(" real --scenario crash --nodes 24"), "{replay}");
}

// A test for each run: they mostly wait, and do so side by side.

#[test]
fn killed_agents_leave_every_view_and_every_figure_is_told() {
    killed_agents_leave("auto");
}

#[test]
fn killed_agents_leave_every_view_without_a_ring_too() {
    killed_agents_leave("mmsg");
}

#[test]
fn restarted_agents_are_members_again() {
    let restart = "--scenario rolling-restart --nodes 10 --duration 35 --warmup-s 3 --json";
    let report_of = report(restart);
    let crashes = &report_of["faults_fired"]["crashes"];
    assert_eq!((crashes, &report_of["not_rejoined"]), (&3.into(), &0.into()), "{report_of}");
    assert_eq!(report_of["faults_fired"]["restarts"], 2, "{report_of}");
}

#[test]
fn a_storm_of_joiners_ends_with_everybody_inside() {
    let storm = report("--scenario join-storm --nodes 24 --duration 25 --json");
    assert_eq!(storm["faults_fired"]["joins"], 23, "{storm}");
    let converged = storm["converged_ms"].as_f64();
    assert!(converged.is_some_and(|ms| ms > 0.0), "{storm}");
}

fn counted(report: &Value, name: &str) -> u64 {
    report["faults_fired"][name].as_u64().unwrap_or(0)
}

/// What the network is told to do, it does: the same plan as in a simulation has the same faults.
#[test]
fn sockets_are_parted_as_in_a_simulation() {
    let parted = report(
        "--scenario partition --nodes 16 --partition-s 20 --duration 45 --warmup-s 3 --json",
    );
    assert!(counted(&parted, "withheld") > 0, "{parted}");
    assert_eq!(parted["false_deaths"], 0, "across a cut a verdict is right: {parted}");
    assert!(parted["converged_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{parted}");
}

/// Likewise.
#[test]
fn sockets_are_blocked_as_in_a_simulation() {
    let blocked = report("--scenario threshold --nodes 16 --duration 16 --warmup-s 3 --json");
    assert_eq!(counted(&blocked, "pauses"), 4, "{blocked}");
    assert!(counted(&blocked, "held") > 0, "{blocked}");
}

/// Likewise.
#[test]
fn sockets_are_far_apart_and_lossy_as_in_a_simulation() {
    // Of two regions half of all pairs are cut, so that some speak whatever rings are drawn.
    let flags = "--scenario wan --nodes 16 --regions 2 --loss 20% --duration 14 --warmup-s 3";
    let lossy = report(&format!("{flags} --json"));
    let (lost, sent) = (counted(&lossy, "lost"), lossy["messages_per_node_s"].as_f64());
    assert!(lost > 20 && counted(&lossy, "withheld") > 0, "{lossy}");
    assert!(sent.is_some_and(|sent| sent > 0.1), "{lossy}");
}

#[test]
fn certificates_and_their_ca_are_exchanged_under_way() {
    let report = report("--scenario certificates --nodes 12 --duration 85 --warmup-s 3 --json");
    let fired = &report["faults_fired"];
    assert!(fired["rekeyed"].as_u64().is_some_and(|times| times >= 12 * 11 / 2), "{report}");
    // Sessions with who was down meanwhile may fall with the old CA, and their members do not.
    assert_eq!((&report["false_deaths"], &report["missed"]), (&0.into(), &0.into()), "{report}");
}

/// What a drill looks at is there: views, descriptions, versions, round trips, and the rules' silence.
#[test]
fn a_drill_looks_into_views_and_asks_the_shipped_rules() {
    let report = report("--scenario drill --nodes 12 --duration 60 --warmup-s 4 --json");
    let drill = &report["sockets"]["drill"];
    let number = |path: &str| drill.pointer(path).and_then(Value::as_f64).unwrap_or_default();
    for (path, least) in [
        ("/least_share_kept", 0.5),
        ("/description_everywhere_ms/n", 30.0),
        ("/version_everywhere_ms/n", 6.0),
        ("/rtt_pairs", 60.0),
        ("/rtt_p95_ms", 150.0),
        ("/injected_p95_ms", 300.0),
        ("/alerts/series", 16.0),
        ("/alerts/rounds", 4.0),
    ] {
        assert!(number(path) >= least, "{path} is below {least}: {report}");
    }
    // Null where there is no promtool.
    let stood = &drill["alerts"]["stood"];
    assert!(stood.is_null() || *stood == serde_json::json!({}), "{stood}: {report}");
    for fault in ["crashes", "restarts", "rekeyed", "described", "lost"] {
        assert!(report["faults_fired"][fault].as_u64() > Some(0), "{fault}: {report}");
    }
}
