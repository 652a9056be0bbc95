//! An authority with a running server, and the nodes that ask it.
//!
//! Invariant: the server ends with its handle.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::stage::{Outcome, Stage, free_port, omnirelay, stderr, stdout};

pub(crate) const CLUSTER: &str = "c1";
pub(crate) const TRUST_DOMAIN: &str = "td.test";

/// An authority below `ca`, and the port of its server.
pub(crate) struct Office {
    pub(crate) stage: Stage,
    pub(crate) port: u16,
    pub(crate) fingerprint: String,
}

/// `mesh bootstrap serve`.
pub(crate) struct Served {
    child: Child,
}

impl Office {
    pub(crate) fn new() -> Outcome<Self> {
        let stage = Stage::new(CLUSTER, TRUST_DOMAIN)?;
        let mut office = Self { stage, port: free_port()?, fingerprint: String::new() };
        let findings = office.inspect("ca")?;
        let told = &findings["authority"]["fingerprint"];
        office.fingerprint = told.as_str().ok_or("no fingerprint")?.to_owned();
        Ok(office)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts the server and waits until it listens.
    pub(crate) fn serve(&self) -> Outcome<Served> {
        let log = File::options().create(true).append(true).open(self.path("serve.log"))?;
        let mut command = self.verb("serve");
        command.args(["--dir", "ca", "--listen", &self.address()]);
        let mut served = Served { child: command.stdout(Stdio::piped()).stderr(log).spawn()? };
        let mut said = String::new();
        let out = served.child.stdout.take().ok_or("stdout is piped")?;
        BufReader::new(out).read_line(&mut said)?;
        let line: Value = serde_json::from_str(&said).map_err(|_| {
            format!(
                "it said {said:?}: {}",
                fs::read_to_string(self.path("serve.log")).unwrap_or_default()
            )
        })?;
        assert_eq!(line["address"], self.address());
        assert_eq!(line["fingerprint"], self.fingerprint.as_str());
        Ok(served)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.stage.home().join(name)
    }

    /// `mesh bootstrap VERB`, not yet started.
    pub(crate) fn verb(&self, verb: &str) -> Command {
        let mut command = omnirelay(self.stage.home());
        command.args(["mesh", "bootstrap", verb]);
        command
    }

    /// A token for a worker, in a file.
    pub(crate) fn token(&self, node: &str, file: &str, more: &[&str]) -> Outcome<String> {
        let mut command = self.verb("token");
        command.args(["--dir", "ca", "--node", node, "--role", "worker", "--out", file]);
        succeeded(&command.args(more).output()?)?;
        Ok(fs::read_to_string(self.path(file))?.trim().to_owned())
    }

    /// `join`, not yet started.
    pub(crate) fn join(&self, node: &str, token_file: &str, out: &str) -> Command {
        self.join_at(&self.address(), &self.fingerprint, node, token_file, out)
    }

    pub(crate) fn join_at(
        &self,
        server: &str,
        fingerprint: &str,
        node: &str,
        token_file: &str,
        out: &str,
    ) -> Command {
        let mut command = self.verb("join");
        command.args(["--server", server, "--ca-fingerprint", fingerprint]);
        command.args(["--node", node, "--token-file", token_file, "--out", out]);
        command
    }

    /// `renew`, once.
    pub(crate) fn renew(&self, node: &str, dir: &str) -> Outcome<Output> {
        let mut command = self.verb("renew");
        command.args(["--server", &self.address(), "--dir", dir, "--node", node]);
        Ok(command.output()?)
    }

    /// What `inspect --json` says of a path.
    pub(crate) fn inspect(&self, path: &str) -> Outcome<Value> {
        let output = self.verb("inspect").args(["--json", path]).output()?;
        let findings: Value = serde_json::from_str(&succeeded(&output)?)?;
        Ok(findings[0].clone())
    }

    /// Lines of the audit log about one act.
    pub(crate) fn audit(&self, act: &str) -> Outcome<Vec<Value>> {
        let text = fs::read_to_string(self.path("ca/audit.jsonl"))?;
        // A line that is being written is not yet one.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines.filter(|line| line["act"] == act).collect())
    }
}

impl Served {
    /// SIGKILL.
    pub(crate) fn kill(mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it printed, when it succeeded.
pub(crate) fn succeeded(output: &Output) -> Outcome<String> {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    Ok(stdout(output))
}

/// What it said on stderr, when it failed and printed nothing.
pub(crate) fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    assert!(stdout(output).is_empty(), "{}", stdout(output));
    stderr(output)
}
