//! The idle bench runs to its end and its last line keeps its contract. Its figures mean nothing
//! in a debug build, and how often somebody is doubted is the machine's affair (decision 59): what
//! is held here is that the verdict says what was found.

use std::process::Command;

use serde_json::Value;

#[test]
fn three_idle_agents_are_measured_and_the_verdict_says_what_was_found()
-> Result<(), Box<dyn std::error::Error>> {
    let output = Command::new(env!("CARGO_BIN_EXE_idle"))
        .args(["--nodes", "3", "--seconds", "2", "--shards", "2", "--json"])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let line: Value = serde_json::from_str(text.lines().last().ok_or("nothing was said")?)?;
    assert_eq!(line["nodes"], 3);
    let figure = |key: &str| line[key].as_u64().ok_or_else(|| format!("no {key}: {text}"));
    let (suspicions, complete) = (figure("false_suspicions")?, figure("views_complete_min")?);
    println!("{suspicions} false suspicions, at least {complete} of 3 views complete");
    let is_ok = suspicions == 0 && complete == 3;
    assert_eq!(line["ok"], is_ok, "{text}");
    assert_eq!(output.status.code(), Some(i32::from(!is_ok)), "{text}");
    let one = &line["per_agent"];
    // A pair that opened at once holds a second session for some seconds.
    let sessions = one["sessions"].as_f64();
    assert!(sessions.is_some_and(|n| (2.0..=4.0).contains(&n)), "one with each other: {text}");
    for key in ["datagrams_per_s", "opened_per_s", "bytes_per_s", "bytes_with_headers_per_s"] {
        assert!(one[key].as_f64().is_some_and(|rate| rate > 0.0), "{key}: {text}");
    }
    Ok(())
}
