//! The host programs of `engine/examples`, run as somebody runs them who starts from one of them: in a
//! directory with an `appsettings.json`, beside an agent that is their mesh, to their end.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::stage::{Outcome, Process, Stage, omnirelay, until};

/// How a host is told to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Enter,
    Terminate,
}

/// A host that runs; it ends with its handle.
struct Host {
    child: Child,
    said: PathBuf,
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended by itself, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example of this name, built as these tests are: `cargo test` builds it beside them, and one test
/// alone has it built.
fn example(name: &str) -> Outcome<PathBuf> {
    let tests = std::env::current_exe()?;
    let profile =
        tests.parent().and_then(Path::parent).ok_or("the tests lie two directories deep")?;
    let path = profile.join("examples").join(name);
    if !path.exists() {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--locked", "-p", "mesh-gossip", "--example", name]);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        build.arg("--target-dir").arg(profile.parent().ok_or("a target directory")?);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status()?.success(), "{name} is not built");
    }
    Ok(path)
}

impl Host {
    /// Starts it in a directory of its own with these settings.
    fn start(stage: &Stage, name: &str, settings: &Value) -> Outcome<Self> {
        let home = stage.home().join(format!("host-{name}"));
        fs::create_dir(&home)?;
        fs::write(
            home.join("appsettings.json"),
            json!({"mesh": {"gossip": settings}}).to_string(),
        )?;
        let said = home.join("said.log");
        let mut command = Command::new(example(name)?);
        for (variable, value) in omnirelay(&home).get_envs() {
            if value.is_none() {
                command.env_remove(variable);
            }
        }
        let out = File::create(&said)?;
        command.current_dir(&home).stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        Ok(Self { child: command.spawn()?, said })
    }

    fn said(&self) -> Outcome<String> {
        Ok(fs::read_to_string(&self.said)?)
    }

    /// The rest of its first line that has this in it.
    fn tells(&mut self, what: &str) -> Outcome<String> {
        until(what, || {
            let said = self.said()?;
            if let Some((_, rest)) = said.split_once(what) {
                return Ok(Some(rest.lines().next().unwrap_or_default().to_owned()));
            }
            match self.child.try_wait()? {
                None => Ok(None),
                Some(status) => Err(format!("it ended with {status}: {said}").into()),
            }
        })
    }

    fn stop(&mut self, how: Stop) -> Outcome {
        match how {
            Stop::Enter => self.child.stdin.as_mut().ok_or("stdin is piped")?.write_all(b"\n")?,
            Stop::Terminate => {
                let pid = self.child.id().to_string();
                let sent = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &pid]).status()?;
                assert!(sent.success());
            }
        }
        let status = until("the host ends", || Ok(self.child.try_wait()?))?;
        assert!(status.success(), "{status}: {}", self.said()?);
        Ok(())
    }
}

/// Starts an example, sees it in the mesh, has `look` look closer, and sees it leave.
fn lives(name: &str, how: Stop, look: impl FnOnce(&mut Host, &Process) -> Outcome) -> Outcome {
    let (node, cluster) = (format!("host-{name}"), format!("hosts-{name}"));
    let stage = Stage::new(&cluster, "hosts.test")?;
    let agent = stage.settings("agent", "worker")?;
    let seed = format!("127.0.0.1:{}", agent["port"]);
    let agent = stage.start(&stage.write("agent.json", &agent)?, &[])?;
    let mut own = stage.settings(&node, "gateway")?;
    own.insert("seedPeers".into(), json!([seed]));
    for key in ["certificatePath", "keyPath", "caPath"] {
        let path = own["tls"][key].as_str().ok_or("a path")?;
        own["tls"][key] = json!(stage.home().join(path));
    }
    let mut host = Host::start(&stage, name, &Value::Object(own))?;
    let sees =
        |status: &str| agent.peer(&node).map(|peer| peer.filter(|peer| peer["status"] == status));
    until("the mesh sees the host", || sees("Alive"))?;
    look(&mut host, &agent)?;
    host.stop(how)?;
    assert_eq!(host.tells_last()?, "1 members know that we left");
    until("the mesh sees it go", || sees("Left"))?;
    Ok(())
}

impl Host {
    fn tells_last(&self) -> Outcome<String> {
        Ok(self.said()?.lines().last().unwrap_or_default().to_owned())
    }
}

#[test]
fn the_plain_host_joins_tells_of_changes_and_leaves() -> Outcome {
    lives("plain", Stop::Enter, |host, _| {
        let listens = host.tells("host-plain listens on ")?;
        assert!(listens.starts_with("127.0.0.1:"), "{listens}");
        host.tells("Joined").map(drop)
    })
}

#[test]
fn the_host_on_tokio_joins_tells_of_changes_and_leaves() -> Outcome {
    lives("tokio", Stop::Terminate, |host, _| {
        let listens = host.tells("host-tokio listens on ")?;
        assert!(listens.starts_with("127.0.0.1:"), "{listens}");
        host.tells("Joined").map(drop)
    })
}

#[test]
fn the_web_server_on_axum_tells_the_members_and_leaves() -> Outcome {
    lives("axum", Stop::Enter, |host, _| {
        let rest = host.tells("http://")?;
        let (at, _) = rest.split_once(';').ok_or("an address")?;
        until("it tells both", || {
            let text = ureq::get(format!("http://{at}")).call()?.body_mut().read_to_string()?;
            let mut members: Vec<String> = serde_json::from_str(&text)?;
            members.sort();
            Ok((members == ["agent", "host-axum"]).then_some(()))
        })
    })
}
