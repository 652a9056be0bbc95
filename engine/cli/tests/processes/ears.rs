//! Ears that are shut: whoever reads the log or the answer has gone, or takes nothing any more.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{Outcome, Stage, omnirelay, until};

/// Ends with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a pipe holds, more or less.
const PIPE: usize = 64 * 1_024;

/// The log goes into a pipe that nobody empties. The agent goes on: it answers over HTTP, it ends with a
/// goodbye, and the reader who returns is told that lines are missing.
#[test]
fn a_log_that_nobody_reads_holds_no_agent_up() -> Outcome {
    let stage = Stage::new("unread", "unread.local")?;
    let mut settings = stage.settings("unread-a", "worker")?;
    settings.insert("log".into(), json!({ "format": "json", "level": "trace" }));
    let config = stage.write("node.json", &settings)?;
    let mut command = stage.agent(&config);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut agent = Running(command.spawn()?);
    let mut said = String::new();
    BufReader::new(agent.0.stdout.take().ok_or("stdout is piped")?).read_line(&mut said)?;
    let listening: Value = serde_json::from_str(&said)?;
    let at = listening["address"].as_str().ok_or("an address")?;
    let url = listening["control"].as_str().ok_or("a control URL")?;
    // A stranger at the sync port is worth a line of more than a hundred bytes.
    for _ in 0..3 * PIPE / 100 {
        drop(TcpStream::connect(at)?);
    }
    let asking: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(20))).build().into();
    assert_eq!(asking.get(format!("{url}/healthz")).call()?.status(), 200);
    crate::stage::signal(agent.0.id(), "TERM")?;
    let ended = until("it says goodbye", || Ok(agent.0.try_wait()?))?;
    assert_eq!(ended.code(), Some(0));
    Ok(())
}

/// A command tells by its exit code, whether or not its words are heard.
#[test]
fn a_stderr_that_is_full_changes_no_exit_code() -> Outcome {
    let stage = Stage::new("full", "full.local")?;
    let full = || OpenOptions::new().write(true).open("/dev/full");
    let (certified, wrong) = (
        ["mesh", "bootstrap", "issue", "--dir", "ca", "--node", "n", "--role", "r", "--out", "n"],
        ["mesh", "peers", "-u", "http://127.0.0.1:1"],
    );
    for (line, code) in [(&certified[..], 0), (&wrong[..], 1)] {
        let mut command = omnirelay(stage.home());
        let status = command.args(line).stdout(Stdio::null()).stderr(full()?).status()?;
        assert_eq!(status.code(), Some(code), "{line:?}");
    }
    assert!(stage.home().join("n/n.pem").exists());
    // An answer that is not written is an error, and no panic.
    let mut command = omnirelay(stage.home());
    let output = command.args(["mesh", "config", "schema"]).stdout(full()?).output()?;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr)?;
    assert!(said.starts_with("error: cannot write the answer"), "{said}");
    Ok(())
}

/// Who watches and pipes into `head` gets the prompt back: the end is noticed on a quiet mesh as well, and is
/// no error.
#[test]
fn a_watch_ends_with_its_reader() -> Outcome {
    let stage = Stage::new("head", "head.local")?;
    let mut settings = stage.settings("head-a", "worker")?;
    settings.insert("leadership".into(), json!({ "scopes": ["control"] }));
    let agent = stage.start(&stage.write("node.json", &settings)?, &[])?;
    for verb in ["peers watch", "leaders status --watch"] {
        let mut command = omnirelay(stage.home());
        command.arg("mesh").args(verb.split(' ')).args(["-u", &agent.control]);
        let mut watch = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?);
        let mut first = String::new();
        BufReader::new(watch.0.stdout.take().ok_or("stdout is piped")?).read_line(&mut first)?;
        assert!(first.starts_with("Generated at: "), "{verb}: {first}");
        let ended = until(&format!("{verb} ends"), || Ok(watch.0.try_wait()?))?;
        let mut complaints = String::new();
        watch.0.stderr.take().ok_or("stderr is piped")?.read_to_string(&mut complaints)?;
        assert_eq!((ended.code(), complaints.as_str()), (Some(0), ""), "{verb}");
    }
    Ok(())
}
