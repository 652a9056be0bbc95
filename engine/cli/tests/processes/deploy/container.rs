//! The container file and its seccomp profile: what they name exists, and an agent runs under the
//! profile with rings.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::document;
use crate::stage::{Outcome, Stage, omnirelay, skipped, stderr, stdout, until};

const FILE: &str = "deploy/container/Containerfile";
const PROFILE: &str = "deploy/container/seccomp.json";

/// An agent whose control socket is at the returned path.
pub(super) fn agent_with_socket(
    stage: &Stage,
    node: &str,
) -> Outcome<(crate::stage::Process, PathBuf)> {
    let socket = stage.home().join("agent.sock");
    let mut settings = stage.settings(node, "worker")?;
    settings.insert("control".into(), json!({ "port": 0, "socket": socket }));
    let agent = stage.start(&stage.write(&format!("{node}.json"), &settings)?, &[])?;
    Ok((agent, socket))
}

/// The command of a manifest, without its own name, with the socket where it is here.
pub(super) fn asked(stage: &Stage, command: &[&str], socket: &Path) -> Outcome<Command> {
    let (name, rest) = command.split_first().ok_or("an empty command")?;
    assert!(name.ends_with("omnirelay"), "{command:?}");
    let mut here = omnirelay(stage.home());
    for word in rest {
        match *word {
            "/run/mesh-gossip/agent.sock" => here.arg(socket),
            other => here.arg(other),
        };
    }
    Ok(here)
}

/// Instructions of the container file, each in one line.
fn instructions() -> Outcome<Vec<String>> {
    let text = document(FILE)?.replace("\\\n", " ");
    let lines = text.lines().map(str::trim);
    Ok(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

fn argument(lines: &[String], instruction: &str) -> Outcome<String> {
    let mut found = lines.iter().filter_map(|line| line.strip_prefix(instruction));
    Ok(found.next_back().ok_or_else(|| format!("no {instruction}"))?.trim().to_owned())
}

#[test]
fn the_container_file_copies_what_exists_and_runs_as_nobody() -> Outcome {
    let lines = instructions()?;
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut copied = BTreeSet::new();
    for line in lines.iter().filter_map(|line| line.strip_prefix("COPY ")) {
        if line.starts_with("--from=") {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, sources) = words.split_last().ok_or("COPY of nothing")?;
        for source in sources {
            assert!(root.join(source).exists(), "{source} is not in the repository");
            copied.insert((*source).to_owned());
        }
    }
    // Cargo wants every member of the workspace, whatever is built.
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let members = manifest.lines().find(|line| line.starts_with("members")).ok_or("no members")?;
    for member in members.split('"').skip(1).step_by(2) {
        let top = member.split('/').next().ok_or("a member without a name")?;
        assert!(copied.contains(top), "{member} is not copied");
    }
    let user = argument(&lines, "USER ")?;
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    assert_eq!(argument(&lines, "STOPSIGNAL ")?, "SIGTERM");
    assert_eq!(argument(&lines, "ENTRYPOINT ")?, r#"["/usr/bin/omnirelay"]"#);
    Ok(())
}

/// What an engine asks a container is answered by an agent: well, ready, and no longer ready when it drains.
#[test]
fn health_is_asked_through_the_socket() -> Outcome {
    let lines = instructions()?;
    let check = argument(&lines, "HEALTHCHECK ")?;
    let (_, command) = check.split_once("CMD ").ok_or("no command")?;
    let command: Vec<String> = serde_json::from_str(command)?;
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let stage = Stage::new("contained", "contained.test")?;
    let (_agent, socket) = agent_with_socket(&stage, "contained-a")?;
    let well = asked(&stage, &command, &socket)?.output()?;
    assert_eq!((well.status.code(), stdout(&well).as_str()), (Some(0), "healthy\n"));
    let at = socket.to_str().ok_or("a path that is text")?;
    let mesh = |words: &[&str]| {
        omnirelay(stage.home()).arg("mesh").args(words).args(["--socket", at]).output()
    };
    let ready = mesh(&["health", "--ready"])?;
    assert_eq!((ready.status.code(), stdout(&ready).as_str()), (Some(0), "ready\n"));
    let drained = mesh(&["drain", "--wait"])?;
    assert_eq!(drained.status.code(), Some(0), "{}", stderr(&drained));
    let ready = mesh(&["health", "--ready"])?;
    assert_eq!(ready.status.code(), Some(1));
    assert!(stderr(&ready).contains("draining"), "{}", stderr(&ready));
    let well = mesh(&["health"])?;
    assert_eq!(well.status.code(), Some(0), "a draining node is well");
    let nobody = asked(&stage, &command, Path::new("/nobody/listens"))?.output()?;
    assert_eq!(nobody.status.code(), Some(1));
    Ok(())
}

fn allowed(profile: &Value) -> Outcome<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for rule in profile["syscalls"].as_array().ok_or("no rules")? {
        if rule["action"] == "SCMP_ACT_ALLOW" {
            assert!(rule.get("args").is_none(), "rules look at no arguments: {rule}");
            let listed = rule["names"].as_array().ok_or("a rule without names")?;
            names.extend(listed.iter().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    Ok(names)
}

#[test]
fn the_seccomp_profile_allows_rings_and_nothing_that_changes_the_machine() -> Outcome {
    let profile: Value = serde_json::from_str(&document(PROFILE)?)?;
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let allowed = allowed(&profile)?;
    for needed in ["io_uring_setup", "io_uring_enter", "io_uring_register", "recvmmsg", "execve"] {
        assert!(allowed.contains(needed), "{needed}");
    }
    for refused in [
        "mount",
        "umount2",
        "pivot_root",
        "unshare",
        "setns",
        "ptrace",
        "process_vm_writev",
        "bpf",
        "perf_event_open",
        "init_module",
        "finit_module",
        "kexec_load",
        "reboot",
        "settimeofday",
        "clock_settime",
        "keyctl",
        "userfaultfd",
        "open_by_handle_at",
        "swapon",
        "chroot",
    ] {
        assert!(!allowed.contains(refused), "{refused}");
    }
    Ok(())
}

/// Loads the profile with the library that container engines load it with, and becomes the command.
const LOADER: &str = r"
import ctypes, json, os, sys
try:
    lib = ctypes.CDLL('libseccomp.so.2')
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(77)
lib.seccomp_init.restype = ctypes.c_void_p
profile = json.load(open(sys.argv[1]))
ERRNO, ALLOW = 0x00050000, 0x7FFF0000
context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(ERRNO | profile['defaultErrnoRet'])))
for rule in profile['syscalls']:
    allow = rule['action'] == 'SCMP_ACT_ALLOW'
    action = ALLOW if allow else ERRNO | rule['errnoRet']
    for name in rule['names']:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        # Calls of other machines are left out, as engines do.
        if number >= 0 and lib.seccomp_rule_add(context, ctypes.c_uint32(action), number, 0) != 0:
            sys.exit('cannot add ' + name)
if lib.seccomp_load(context) != 0:
    print('seccomp_load', file=sys.stderr)
    sys.exit(77)
os.execv(sys.argv[2], sys.argv[2:])
";

/// The profile, loaded as container engines load it: two agents run under it and meet, with rings where the
/// machine has them, and their owner's commands work.
#[test]
fn agents_meet_under_the_seccomp_profile() -> Outcome {
    let stage = Stage::new("filtered", "filtered.test")?;
    let profile = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(PROFILE);
    let under = |words: &[&std::ffi::OsStr]| {
        let mut command = Command::new("python3");
        command.current_dir(stage.home()).stdin(Stdio::null());
        command.args(["-c", LOADER]).arg(&profile).arg(env!("CARGO_BIN_EXE_omnirelay")).args(words);
        command
    };
    let version = under(&["--version".as_ref()]).output();
    match version {
        Ok(output) if output.status.success() => {}
        Ok(output) if output.status.code() == Some(77) => {
            skipped(&format!("libseccomp: {}", stderr(&output).trim()));
            return Ok(());
        }
        Ok(output) => return Err(stderr(&output).into()),
        Err(error) => {
            skipped(&format!("python3: {error}"));
            return Ok(());
        }
    }
    let (first, socket) = agent_with_socket(&stage, "filtered-a")?;
    let mut settings = stage.settings("filtered-b", "worker")?;
    settings.insert("seedPeers".into(), json!([first.address.to_string()]));
    let config = stage.write("filtered-b.json", &settings)?;
    let agent = under(&["mesh".as_ref(), "agent".as_ref(), "--config".as_ref(), config.as_ref()]);
    let second = stage.start_as(agent, &[])?;
    until("both are alive", || {
        let alive = |peers: &[Value]| peers.iter().filter(|peer| peer["status"] == "Alive").count();
        Ok((alive(&first.peers()?) == 2 && alive(&second.peers()?) == 2).then_some(()))
    })?;
    // The same rings as outside.
    let backend = |text: &str| {
        text.lines().find(|line| line.starts_with("mesh_gossip_io_backend_info")).map(str::to_owned)
    };
    let (outside, inside) = (first.read("/metrics")?, second.read("/metrics")?);
    assert!(backend(&inside).is_some(), "{inside}");
    assert_eq!(backend(&inside), backend(&outside));
    let words = ["mesh", "health", "--ready", "--socket"].map(std::ffi::OsStr::new);
    let well = under(&[&words[..], &[socket.as_ref()]].concat()).output()?;
    assert_eq!(well.status.code(), Some(0), "{}", stderr(&well));
    Ok(())
}
