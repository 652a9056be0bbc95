//! What scripts may rely on: the last line of an asserting demo, and plain lines off a terminal. And
//! what somebody at a terminal sees who presses keys.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::stage::{Outcome, free_port, omnirelay, skipped, stderr, stdout, until};

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

/// The demo on a terminal of its own.
struct Seat {
    child: Child,
    keyboard: File,
    /// Everything that was drawn.
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Seat {
    fn take(home: &std::path::Path, args: &[&str]) -> Outcome<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?.into_string()?;
        let end = || OpenOptions::new().read(true).write(true).open(&name);
        let (port, control) = (free_port()?.to_string(), free_port()?.to_string());
        let demo = ["mesh", "demo", "--nodes", "4", "--port", &port, "--control-port", &control];
        let mut command = omnirelay(home);
        command.args(demo).args(args).stdin(end()?).stdout(end()?).stderr(end()?);
        let child = command.spawn()?;
        let keyboard = File::from(master);
        let (screen, mut drawn) = (Arc::new(Mutex::new(Vec::new())), keyboard.try_clone()?);
        let picture = Arc::clone(&screen);
        // It ends with the last descriptor of the other end.
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(read @ 1..) = drawn.read(&mut bytes) {
                picture.lock().expect("nobody panics with it").extend(&bytes[..read]);
            }
        });
        Ok(Self { child, keyboard, screen })
    }

    fn press(&mut self, key: &str) -> Outcome {
        Ok(self.keyboard.write_all(key.as_bytes())?)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("nobody panics with it")).into_owned()
    }

    /// Waits for a line that begins and ends so; returns it.
    fn sees(&self, begin: &str, part: &str) -> Outcome<String> {
        let look = || {
            let text = self.text();
            let mut lines = text.lines();
            Ok(lines.find(|line| line.starts_with(begin) && line.contains(part)).map(str::to_owned))
        };
        let what = format!("{begin} … {part}");
        // A return takes thirty pings, and a busy machine its time: twice the patience of others.
        let found = until(&what, look).or_else(|_| until(&what, look));
        found.map_err(|error| format!("{error}; it shows {:?}", self.text()).into())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every key, on the real binary: each act is followed by the milliseconds of its story.
#[test]
fn on_a_terminal_keys_make_things_happen_and_each_has_its_story() -> Outcome {
    let home = tempfile::tempdir()?;
    let mut seat = Seat::take(home.path(), &[])?;
    seat.sees("k kill", "q quit")?;
    seat.sees("demo-4 is selected", "")?;
    for (key, story, end) in [
        ("d", "demo-4 drains: ", "known in all 3 views after"),
        ("d", "demo-4 takes work again: ", "known in all 3 views after"),
        ("r", "demo-4 shows another certificate: ", "known in all 3 views after"),
        ("p", "demo-4 was cut off: ", "gone from all 3 views after"),
        ("p", "demo-4 was connected again: ", "Alive in all 3 views after"),
        ("a", "demo-5 was started: ", "Alive in all 4 views after"),
        ("k", "demo-4 was killed: ", "gone from all 4 views after"),
        ("l", "demo-5 said goodbye: ", "gone from all 3 views after"),
    ] {
        seat.press(key)?;
        let line = seat.sees(story, end)?;
        assert!(line.trim_end().ends_with(" ms"), "{line}");
        println!("{}", line.trim_end());
    }
    seat.press("\x1b[A")?;
    seat.sees("demo-2 is selected", "")?;
    seat.press("q")?;
    let status = until("it ends", || Ok(seat.child.try_wait()?))?;
    assert!(status.success(), "{status}");
    Ok(())
}

/// The terminal is given back as it was, also when a signal ends the demo.
#[test]
fn a_terminal_echoes_again_when_the_demo_is_over() -> Outcome {
    let home = tempfile::tempdir()?;
    let mut seat = Seat::take(home.path(), &[])?;
    let echoes = |seat: &Seat| -> Outcome<bool> {
        let modes = rustix::termios::tcgetattr(&seat.keyboard)?.local_modes;
        Ok(modes.contains(rustix::termios::LocalModes::ECHO))
    };
    assert!(echoes(&seat)?);
    seat.sees("k kill", "q quit")?;
    assert!(!echoes(&seat)?, "a key is no text");
    let pid = rustix::process::Pid::from_child(&seat.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    let status = until("it ends", || Ok(seat.child.try_wait()?))?;
    assert!(status.success(), "{status}");
    assert!(echoes(&seat)?);
    Ok(())
}
