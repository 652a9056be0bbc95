//! A process that is refused io_uring by its kernel, as container runtimes have it refused: what the
//! doctor says of it, and that an agent goes on without.
//!
//! The refusal is a real one: a seccomp filter that the process cannot take off again. A few lines of
//! Python put it in place and become the command, since what a test of this crate may do is safe Rust.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::stage::{Outcome, Stage, omnirelay, skipped, stderr, stdout};

/// Has io_uring_setup (425 everywhere) fail with the error of the first argument, for ever, and becomes
/// the rest.
const FORBID: &str = "\
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def step(code, jt, jf, k):
    return struct.pack('=HBBI', code, jt, jf, k)
text = (step(0x20, 0, 0, 0) + step(0x15, 0, 1, 425)
        + step(0x06, 0, 0, 0x00050000 | int(sys.argv[1])) + step(0x06, 0, 0, 0x7fff0000))
steps = ctypes.create_string_buffer(text, len(text))
class Program(ctypes.Structure):
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
program = Program(len(text) // 8, ctypes.cast(steps, ctypes.c_void_p))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
    sys.exit('no filter: ' + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[2], sys.argv[2:])
";

const EPERM: &str = "1";
const ENOSYS: &str = "38";

/// The command under the filter; `None` without Python.
fn forbidden(stage: &Stage, errno: &str, line: &[&str]) -> Option<Command> {
    if Command::new("python3").arg("--version").output().is_err() {
        skipped("python3");
        return None;
    }
    let plain = omnirelay(stage.home());
    let mut command = Command::new("python3");
    command.current_dir(stage.home()).stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        if value.is_none() {
            command.env_remove(name);
        }
    }
    command.args(["-c", FORBID, errno]).arg(plain.get_program()).args(line);
    Some(command)
}

#[test]
fn the_doctor_says_who_refuses_io_uring_and_what_to_do() -> Outcome {
    let stage = Stage::new("refused", "refused.local")?;
    let mut settings = stage.settings("refused-a", "worker")?;
    for (errno, backend, verdict, evidence, fix) in [
        (EPERM, "auto", "WARN", &["seccomp profile forbids", "io_uring_disabled"], "io_uring"),
        (ENOSYS, "auto", "WARN", &["the kernel lacks", "6.1"], "a kernel of 6.1"),
        (
            EPERM,
            "uring",
            "FAIL",
            &["forced to uring", "not usable"],
            "mesh:gossip:io:backend to auto",
        ),
    ] {
        settings.insert("io".into(), json!({ "backend": backend }));
        stage.write("node.json", &settings)?;
        let line = ["mesh", "doctor", "--json", "--config", "node.json"];
        let Some(mut command) = forbidden(&stage, errno, &line) else { return Ok(()) };
        let output = command.output()?;
        let document: Value = serde_json::from_slice(&output.stdout)
            .map_err(|_| format!("{} {}", stdout(&output), stderr(&output)))?;
        let checks = document["checks"].as_array().ok_or("a list")?;
        let found =
            checks.iter().find(|found| found["check"] == "io_uring").ok_or("it is checked")?;
        assert_eq!(found["verdict"], verdict, "{errno} {backend}: {found}");
        let said = found["evidence"].as_str().ok_or("evidence")?;
        // An administrator who has disabled it comes first, wherever that is so.
        assert!(evidence.iter().any(|part| said.contains(part)), "{errno} {backend}: {said}");
        let cure = found["fix"].as_str().ok_or("a fix")?;
        assert!(cure.contains(fix), "{errno} {backend}: {cure}");
        assert_eq!(output.status.code(), Some(i32::from(verdict == "FAIL")), "{document}");
    }
    Ok(())
}

#[test]
fn an_agent_that_is_refused_io_uring_goes_on_without_it() -> Outcome {
    let stage = Stage::new("without", "without.local")?;
    let config = stage.write("node.json", &stage.settings("without-a", "worker")?)?;
    let line = ["mesh", "agent", "--config", config.to_str().ok_or("text")?];
    let Some(mut command) = forbidden(&stage, EPERM, &line) else { return Ok(()) };
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut said = String::new();
    let read = BufReader::new(child.stdout.take().ok_or("stdout is piped")?).read_line(&mut said);
    child.kill()?;
    child.wait()?;
    read?;
    let listening: Value = serde_json::from_str(&said).map_err(|_| format!("it said {said:?}"))?;
    assert_eq!(listening["backend"], "mmsg", "{said}");
    Ok(())
}
