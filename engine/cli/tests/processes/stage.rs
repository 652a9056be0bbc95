//! A directory with an authority, certificates and settings files, and the processes that run on
//! them.
//!
//! Invariant: a process ends with its handle, and only processes of ours are ever signalled.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// What a test ends with.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Nothing that works takes so long, not even on a machine with other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Below the range that the kernel hands out by itself: nobody is given one of these between our
/// look at it and its use.
const PORTS_FROM: u16 = 20_000;
const PORTS_A_PROCESS: u16 = 20;

/// The binary, without whatever settings surround this test.
pub(crate) fn omnirelay(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_omnirelay"));
    command.current_dir(directory).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy().to_ascii_uppercase();
        let ours = ["MESH", "OMNIRELAY", "DOTNET_ENVIRONMENT", "ASPNETCORE_ENVIRONMENT"];
        if ours.iter().any(|start| shown.starts_with(start)) {
            command.env_remove(name);
        }
    }
    command
}

/// Looks until there is something; `what` is told when there never is.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The last look begins after the deadline: a stalled machine is no verdict.
        let last = Instant::now() >= deadline;
        if let Some(found) = look()? {
            return Ok(found);
        }
        if last {
            return Err(format!("after {PATIENCE:?} still not: {what}").into());
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Tells that a test shows nothing here; around the harness, which hides what a passing test prints.
pub(crate) fn skipped(why: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// A port that is free for datagrams and streams.
pub(crate) fn free_port() -> Outcome<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 500)? * PORTS_A_PROCESS;
    for _ in 0..1_000 {
        let port = PORTS_FROM + own + NEXT.fetch_add(1, Ordering::Relaxed);
        let at = (Ipv4Addr::LOCALHOST, port);
        if UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok() {
            return Ok(port);
        }
    }
    Err("no port is free".into())
}

/// Sends a process of ours a signal.
pub(crate) fn signal(pid: u32, name: &str) -> Outcome {
    // The shell's own `kill`: a program of that name is not installed everywhere.
    let pid = pid.to_string();
    let sent = Command::new("sh").args(["-c", "kill -s \"$1\" \"$0\"", &pid, name]).status()?;
    assert!(sent.success());
    Ok(())
}

/// What the command said on stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the command said on stdout.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An authority and whatever is made with it.
pub(crate) struct Stage {
    home: TempDir,
}

impl Stage {
    /// `mesh bootstrap init`.
    pub(crate) fn new(cluster: &str, trust_domain: &str) -> Outcome<Self> {
        let stage = Self { home: tempfile::tempdir()? };
        let names = ["--trust-domain", trust_domain, "--cluster", cluster];
        let init = [&["mesh", "bootstrap", "init", "--dir", "ca"][..], &names].concat();
        let output = omnirelay(stage.home()).args(init).output()?;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        Ok(stage)
    }

    /// Where everything is, and where processes are started.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// `mesh bootstrap issue` into a directory of the node and role; returns the settings that it
    /// printed, below `mesh:gossip`.
    pub(crate) fn issue(&self, node: &str, role: &str) -> Outcome<Map<String, Value>> {
        let out = format!("{node}-{role}");
        let names = ["--node", node, "--role", role, "--out", &out];
        let issue = [&["mesh", "bootstrap", "issue", "--dir", "ca"][..], &names].concat();
        let output = omnirelay(self.home()).args(issue).output()?;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let mut printed: Value = serde_json::from_slice(&output.stdout)?;
        let Value::Object(gossip) = printed["mesh"]["gossip"].take() else {
            return Err("no settings were printed".into());
        };
        Ok(gossip)
    }

    /// What [`Stage::issue`] printed, for an agent on loopback with a log that can be read.
    pub(crate) fn settings(&self, node: &str, role: &str) -> Outcome<Map<String, Value>> {
        let mut gossip = self.issue(node, role)?;
        gossip.insert("bindAddress".into(), json!("127.0.0.1"));
        gossip.insert("port".into(), json!(free_port()?));
        gossip.insert("control".into(), json!({ "port": 0 }));
        gossip.insert("log".into(), json!({ "format": "json", "level": "info" }));
        Ok(gossip)
    }

    /// Writes a settings file as people do, with comments and commas that are too many.
    pub(crate) fn write(&self, file: &str, gossip: &Map<String, Value>) -> Outcome<PathBuf> {
        let lines: String =
            gossip.iter().map(|(key, value)| format!("  \"{key}\": {value}, // {key}\n")).collect();
        let text = format!(
            "/* Settings of one node. */\n{{ \"mesh\": {{ \"gossip\": {{\n{lines}}} }} }}\n"
        );
        let path = self.home().join(file);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// `mesh agent --config FILE`, not yet started.
    pub(crate) fn agent(&self, config: &Path) -> Command {
        let mut command = omnirelay(self.home());
        command.args(["mesh", "agent", "--config"]).arg(config);
        command
    }

    /// Starts an agent and waits until it says that it listens.
    pub(crate) fn start(&self, config: &Path, environment: &[(&str, &str)]) -> Outcome<Process> {
        self.start_as(self.agent(config), environment)
    }

    /// The same for a command that becomes an agent.
    pub(crate) fn start_as(
        &self,
        mut command: Command,
        environment: &[(&str, &str)],
    ) -> Outcome<Process> {
        static LOGS: AtomicU16 = AtomicU16::new(0);
        let number = LOGS.fetch_add(1, Ordering::Relaxed);
        let log = self.home().join(format!("{number}.log"));
        command.envs(environment.iter().copied());
        command.stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut process =
            Process { child: command.spawn()?, log, address: LOCALHOST, control: String::new() };
        let stdout = process.child.stdout.take().ok_or("stdout is piped")?;
        let mut said = String::new();
        BufReader::new(stdout).read_line(&mut said)?;
        let listening: Value = serde_json::from_str(&said)
            .map_err(|_| format!("it said {said:?}, and {}", process.log_text()))?;
        process.address = listening["address"].as_str().ok_or("no address")?.parse()?;
        process.control = listening["control"].as_str().ok_or("no control URL")?.into();
        Ok(process)
    }
}

const LOCALHOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// One running agent.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    /// Where it gossips.
    pub(crate) address: SocketAddr,
    /// Where its control server listens.
    pub(crate) control: String,
}

impl Process {
    /// The members of its `/control/peers`.
    pub(crate) fn peers(&self) -> Outcome<Vec<Value>> {
        let mut document: Value = serde_json::from_str(&self.read("/control/peers")?)?;
        match document["peers"].take() {
            Value::Array(peers) => Ok(peers),
            _ => Err("no list of members".into()),
        }
    }

    /// One member of its `/control/peers`.
    pub(crate) fn peer(&self, node: &str) -> Outcome<Option<Value>> {
        Ok(self.peers()?.into_iter().find(|peer| peer["nodeId"] == node))
    }

    /// The value of one line of its `/metrics`, labels included in `name`.
    pub(crate) fn metric(&self, name: &str) -> Outcome<f64> {
        let text = self.read("/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.ok_or_else(|| format!("no {name} in {text}"))?.parse()?)
    }

    /// What its control server answers.
    pub(crate) fn read(&self, path: &str) -> Outcome<String> {
        let mut answer = ureq::get(format!("{}{path}", self.control)).call()?;
        Ok(answer.body_mut().read_to_string()?)
    }

    /// Its log so far, one object a line.
    pub(crate) fn log(&self) -> Vec<Value> {
        // A line that is being written is not yet one.
        self.log_text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The process.
    #[cfg(target_os = "linux")]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) -> Outcome {
        signal(self.child.id(), name)
    }

    /// Ends it without a goodbye (SIGKILL).
    pub(crate) fn kill(mut self) -> Outcome<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub(crate) fn terminate(&mut self) -> Outcome<ExitStatus> {
        self.signal("TERM")?;
        until("the process ends after SIGTERM", || Ok(self.child.try_wait()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
