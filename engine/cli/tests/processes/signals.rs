//! What a running agent makes of signals.

use std::time::Duration;

use serde_json::Value;

use crate::stage::{Outcome, Process, Stage, until};

/// Log lines whose message contains `part`.
fn lines(process: &Process, part: &str) -> Vec<Value> {
    let mut lines = process.log();
    lines.retain(|line| line["message"].as_str().is_some_and(|said| said.contains(part)));
    lines
}

#[test]
fn a_hangup_ends_no_agent_and_a_goodbye_is_logged_once() -> Outcome {
    let stage = Stage::new("signals", "signals.local")?;
    let settings = stage.settings("signals-a", "worker")?;
    let file = stage.write("node.json", &settings)?;
    let mut agent = stage.start(&file, &[])?;
    for heard in 1..=2 {
        agent.signal("HUP")?;
        until("the hangup is logged", || {
            Ok((lines(&agent, "SIGHUP").len() == heard).then_some(()))
        })?;
    }
    // It would be gone by then, had it been ended.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(agent.peers()?[0]["status"], "Alive");
    let warned = lines(&agent, "SIGHUP");
    assert_eq!(warned.len(), 2, "one line a signal: {warned:?}");
    assert_eq!(warned[0]["level"], "WARN");

    assert_eq!(agent.terminate()?.code(), Some(0));
    let left = lines(&agent, "left the mesh");
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["NodeId"], "signals-a");
    assert_eq!(left[0]["Acknowledged"], 0);
    Ok(())
}
