//! What scripts may rely on: the last line of an asserting demo, and plain lines off a terminal.

use serde_json::Value;

use crate::stage::{Outcome, omnirelay, skipped, stderr, stdout};

/// Runs the assertions on `io` and holds the verdict against its contract.
fn assert_verdict(io: &str) -> Outcome {
    let home = tempfile::tempdir()?;
    let demo = ["mesh", "demo", "--assert", "--json", "--io", io];
    let output = omnirelay(home.path()).args(demo).output()?;
    let text = stdout(&output);
    let last = text.lines().last().ok_or("nothing was said")?;
    let line: Value = serde_json::from_str(last)?;
    if line["backend"].is_null() && text.contains("mesh:gossip:io:backend") {
        skipped(&format!("{io} is not usable here: {text}"));
        return Ok(());
    }

    // The views are looked at now and then: the doubt before it may fall between two looks.
    let gone = text.lines().any(|line| {
        line.starts_with("demo-3: ")
            && line.contains(" -> Left ")
            && line.ends_with("(Alive in 0 of 2 views)")
    });
    assert!(gone, "the change that ends the wait is told too: {text}");

    // A debug build on a busy machine may miss a budget; the verdict must then say so.
    let ms = |key: &str| line[key].as_u64().ok_or_else(|| format!("{key} not reached: {text}"));
    let (converged, removed) = (ms("converged_ms")?, ms("removed_ms")?);
    println!("{io}: converged after {converged} ms, removed after {removed} ms");
    let met = converged < 2_000 && removed <= 5_000;
    let suite = line["tls"]["suite"].as_str().ok_or("no suite")?;
    assert!(suite.starts_with("TLS13_"), "{suite}");
    let expected = format!(
        r#"{{"ok":{met},"backend":"{io}","nodes":3,"converged_ms":{converged},"killed":"demo-3","removed_ms":{removed},"suspicion_interval_ms":5000,"tls":{{"version":"TLSv1.3","suite":"{suite}"}}}}"#
    );
    assert_eq!(last, expected, "the fields and their order are a contract");
    assert_eq!(output.status.code(), Some(if met { 0 } else { 1 }), "{text}{}", stderr(&output));
    Ok(())
}

#[test]
fn the_verdict_on_uring_keeps_its_contract() -> Outcome {
    assert_verdict("uring")
}

#[test]
fn the_verdict_on_mmsg_keeps_its_contract() -> Outcome {
    assert_verdict("mmsg")
}

#[test]
fn off_a_terminal_the_demo_speaks_plain_lines() -> Outcome {
    let home = tempfile::tempdir()?;
    // Longer than a mesh gets to converge: on a busy machine that takes its time.
    let output = omnirelay(home.path())
        .args(["mesh", "demo", "--duration", "12s", "--nodes", "4"])
        .output()?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\n';
    assert!(!output.stdout.iter().any(control), "{:?}", stdout(&output));
    assert!(output.stdout.ends_with(b"\n"));
    let text = stdout(&output);
    for part in ["Starting 4 agents over mutual TLS", "All 4 agents see each other", "Control: "] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    for node in ["demo-1", "demo-2", "demo-3", "demo-4"] {
        let row = text.lines().find(|line| line.starts_with(node) && line.ends_with("4 of 4"));
        assert!(row.is_some_and(|row| row.contains(" Alive ")), "no row of {node} in {text}");
    }
    assert_eq!(stderr(&output), "", "the log is off unless asked for");
    Ok(())
}

#[test]
fn one_agent_alone_is_spoken_of_as_one() -> Outcome {
    let home = tempfile::tempdir()?;
    let alone = ["mesh", "demo", "--duration", "1s", "--nodes", "1"];
    let output = omnirelay(home.path()).args(alone).output()?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("Starting 1 agent over") && text.contains("The only agent"), "{text}");
    assert!(!text.contains("1 agents"), "{text}");
    Ok(())
}
