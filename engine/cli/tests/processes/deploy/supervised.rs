//! An agent under a service manager: a socket in its place hears what the agent says.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::json;

use super::document;
use crate::stage::{Outcome, PATIENCE, Process, Stage, free_port, skipped};

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(stage: &Stage) -> Outcome<Self> {
        let path = stage.home().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, path })
    }

    fn start(&self, stage: &Stage, config: &std::path::Path) -> Outcome<Process> {
        let path = self.path.to_str().ok_or("a path that is text")?;
        stage.start(config, &[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "600000")])
    }

    /// The next datagram, line by line.
    fn hears(&self) -> Outcome<Vec<String>> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer)?;
        Ok(std::str::from_utf8(&buffer[..length])?.lines().map(str::to_owned).collect())
    }

    /// Everything up to a datagram that begins with `line`, which is the last one.
    fn hears_until(&self, line: &str) -> Outcome<Vec<Vec<String>>> {
        let mut heard = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        // The watchdog never falls silent: the time is looked at beside the socket's.
        while Instant::now() < deadline {
            let said = self.hears().map_err(|error| format!("{line}: {error}, after {heard:?}"))?;
            let is_it = said.first().is_some_and(|first| first.starts_with(line));
            heard.push(said);
            if is_it {
                return Ok(heard);
            }
        }
        Err(format!("{line} was not said: {heard:?}").into())
    }
}

fn says(heard: &[Vec<String>], line: &str) -> usize {
    heard.iter().flatten().filter(|said| *said == line).count()
}

/// Ready comes with the mesh, a reload is announced with its time and ended, the watchdog is fed, and the
/// goodbye is told before it is said.
#[test]
fn a_service_manager_is_told_of_join_reload_progress_and_end() -> Outcome {
    let stage = Stage::new("managed", "managed.test")?;
    let manager = Manager::new(&stage)?;
    let seed = free_port()?;
    let mut settings = stage.settings("managed-b", "worker")?;
    settings.insert("seedPeers".into(), json!([format!("127.0.0.1:{seed}")]));
    let mut agent = manager.start(&stage, &stage.write("b.json", &settings)?)?;
    let mut before = manager.hears_until("WATCHDOG=1")?;
    for _look in 0..3 {
        before.extend(manager.hears_until("WATCHDOG=1")?);
    }
    assert_eq!(says(&before, "READY=1"), 0, "nobody has answered: {before:?}");
    let status = "STATUS=managed-b: 1 alive, 0 suspect, 0 left; no seed has answered";
    assert_eq!(says(&before, status), 1, "{before:?}");

    let mut first = stage.settings("managed-a", "worker")?;
    first.insert("port".into(), json!(seed));
    let _first = stage.start(&stage.write("a.json", &first)?, &[])?;
    let mut joined = manager.hears_until("READY=1")?;
    let status = "STATUS=managed-b: 2 alive, 0 suspect, 0 left; active";
    if says(&joined, status) == 0 {
        joined = manager.hears_until(status)?;
    }
    assert_eq!(says(&joined, status), 1, "{joined:?}");

    agent.signal("HUP")?;
    let reloading = manager.hears_until("RELOADING=1")?.pop().unwrap_or_default();
    let time = reloading.get(1).and_then(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(time.ok_or("no time")?.parse::<u64>()? > 0, "{reloading:?}");
    manager.hears_until("READY=1")?;
    manager.hears_until("WATCHDOG=1")?;

    assert_eq!(agent.terminate()?.code(), Some(0));
    let last = manager.hears_until("STOPPING=1")?.pop().unwrap_or_default();
    assert_eq!(last, ["STOPPING=1", "STATUS=leaving the mesh"]);
    Ok(())
}

/// A manager that is gone is no reason to fail.
#[test]
fn an_agent_lives_without_a_manager_that_listens() -> Outcome {
    let stage = Stage::new("unmanaged", "unmanaged.test")?;
    let file = stage.write("node.json", &stage.settings("unmanaged-a", "worker")?)?;
    let mut agent = stage.start(&file, &[("NOTIFY_SOCKET", "/nobody/listens/here")])?;
    assert_eq!(agent.peers()?[0]["status"], "Alive");
    assert_eq!(agent.terminate()?.code(), Some(0));
    Ok(())
}

/// Whatever `systemd-analyze verify` says of a unit; what concerns others, and a manual page that is
/// not installed here, is left out.
fn verdict(unit: &str) -> Outcome<Vec<String>> {
    let stage = tempfile::tempdir()?;
    let copy = stage.path().join("mesh-gossip.service");
    // The user and the binary are there where the unit is installed.
    let here = unit.replace("/usr/bin/omnirelay", env!("CARGO_BIN_EXE_omnirelay"));
    std::fs::write(&copy, here.replace("=mesh-gossip\nGroup=mesh-gossip", "=root\nGroup=root"))?;
    let output = Command::new("systemd-analyze").arg("verify").arg(&copy).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours = |line: &&str| line.contains("mesh-gossip") && !line.contains("man omnirelay");
    Ok(said.lines().filter(ours).map(str::to_owned).collect())
}

/// The unit is one that systemd understands: no key is unknown, no value refused. Rings are among the
/// system calls that its filter lets through.
#[test]
fn the_unit_is_understood_by_systemd() -> Outcome {
    const NEW_TYPE_FROM: u32 = 253;
    let mut unit = document("deploy/systemd/mesh-gossip.service")?;
    for line in ["Type=notify-reload", "WatchdogSec=30", "SystemCallFilter=@system-service"] {
        assert!(unit.lines().any(|found| found == line), "{line} is missing");
    }
    let Ok(output) = Command::new("systemd-analyze").arg("--version").output() else {
        skipped("systemd-analyze is not installed; the unit was not verified");
        return Ok(());
    };
    let version = String::from_utf8(output.stdout)?;
    let version: u32 = version.split_whitespace().nth(1).ok_or("no version")?.parse()?;
    if version < NEW_TYPE_FROM {
        skipped(&format!("systemd {version} knows no Type=notify-reload; the rest is verified"));
        unit = unit.replace("notify-reload", "notify");
    }
    assert_eq!(verdict(&unit)?, [""; 0]);
    for (right, wrong) in [("Type=notify", "Type=sometimes"), ("WatchdogSec", "WatchDogSec")] {
        let said = verdict(&unit.replace(right, wrong))?;
        assert!(!said.is_empty(), "{wrong} is not noticed");
    }
    for set in ["@system-service", "@aio"] {
        let output = Command::new("systemd-analyze").args(["syscall-filter", set]).output()?;
        let calls = String::from_utf8(output.stdout)?;
        assert!(calls.contains("@aio") || calls.contains("io_uring_enter"), "{set}: {calls}");
    }
    Ok(())
}
