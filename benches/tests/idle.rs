//! The idle bench runs to its end and its last line keeps its contract. Its figures mean nothing
//! in a debug build.

use std::process::Command;

use serde_json::Value;

#[test]
fn three_idle_agents_are_measured_without_a_false_suspicion()
-> Result<(), Box<dyn std::error::Error>> {
    let output = Command::new(env!("CARGO_BIN_EXE_idle"))
        .args(["--nodes", "3", "--seconds", "2", "--shards", "2", "--json"])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let line: Value = serde_json::from_str(text.lines().last().ok_or("nothing was said")?)?;
    assert_eq!(line["ok"], true, "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(line["nodes"], 3);
    assert_eq!(line["views_complete_min"], 3);
    assert_eq!(line["false_suspicions"], 0);
    let one = &line["per_agent"];
    // A pair that opened at once holds a second session for some seconds.
    let sessions = one["sessions"].as_f64();
    assert!(sessions.is_some_and(|n| (2.0..=4.0).contains(&n)), "one with each other: {text}");
    for key in ["datagrams_per_s", "opened_per_s", "bytes_per_s", "bytes_with_headers_per_s"] {
        assert!(one[key].as_f64().is_some_and(|rate| rate > 0.0), "{key}: {text}");
    }
    Ok(())
}
