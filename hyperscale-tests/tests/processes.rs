//! Agents in processes of their own, few and for a short time: what is counted is what one process would
//! count, faults of the proxy are seen to fire, and nobody outlives a run.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

fn real(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyperscale"));
    command.arg("real").args(arguments.split_whitespace());
    command.args(["--shards", "1", "--json"]);
    command
}

/// Runs it and returns the object of its last line.
fn report(arguments: &str) -> Value {
    let output = real(arguments).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr));
    })
}

fn fired(report: &Value, name: &str) -> u64 {
    report["faults_fired"][name].as_u64().unwrap_or(0)
}

#[test]
fn a_process_that_is_killed_leaves_every_view_and_each_is_measured() {
    let report = report(
        "--scenario crash --nodes 8 --processes 8 --crash 2 --duration 30 --warmup-s 4 --seed 3",
    );
    assert_eq!((&report["detected"], &report["missed"]), (&2.into(), &0.into()), "{report}");
    assert_eq!(
        (&report["false_deaths"], &report["t_full_ms"]["n"]),
        (&0.into(), &2.into()),
        "{report}"
    );
    assert_eq!(fired(&report, "crashes"), 2, "{report}");
    let each = &report["sockets"]["processes"];
    assert_eq!(each["count"], 6, "those that lived through the window: {report}");
    for field in ["resident_bytes", "anonymous_bytes", "proportional_bytes", "cpu_percent_of_core"]
    {
        assert!(
            each[field]["least"].as_f64().is_some_and(|least| least > 0.0),
            "{field}: {report}"
        );
    }
    let all = report["sockets"]["memory_bytes"]["total"].as_f64().unwrap_or_default();
    assert!(all >= 6.0 * each["resident_bytes"]["least"].as_f64().unwrap_or(f64::MAX), "{report}");
    assert!(report["sockets"]["cpu_percent_of_core_by_thread"]["mesh-shard"].is_f64(), "{report}");
    assert!(report["sockets"]["proxy"].is_null(), "nothing was asked of the network: {report}");
    let replay = report["replay"].as_str().unwrap_or_default();
    assert!(
        replay.contains(" real --scenario crash") && replay.ends_with("--processes 8"),
        "{replay}"
    );
}

#[test]
fn a_storm_of_processes_ends_with_everybody_inside() {
    let storm =
        report("--scenario join-storm --nodes 8 --processes 8 --duration 30 --reordering 20%");
    assert_eq!(fired(&storm, "joins"), 7, "{storm}");
    assert!(storm["converged_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{storm}");
    assert!(fired(&storm, "reordered") > 0, "{storm}");
    // Newcomers fetch the state over streams, by way of the proxy.
    assert!(
        storm["sockets"]["proxy"]["streams"].as_u64().is_some_and(|streams| streams > 0),
        "{storm}"
    );
}

#[test]
fn processes_are_parted_and_find_together_again() {
    let parted = report(
        "--scenario partition --nodes 8 --processes 8 --partition-s 15 --duration 45 --warmup-s 3 \
         --loss 5% --duplication 10% --jitter-ms 3",
    );
    for name in ["withheld", "lost", "duplicated", "delayed"] {
        assert!(fired(&parted, name) > 0, "{name}: {parted}");
        let check = format!("faults that fired: {name} (at least)");
        let checks = parted["checks"].as_array().expect("checks");
        assert!(
            checks.iter().any(|known| known["name"] == check.as_str() && known["pass"] == true),
            "{check}: {parted}"
        );
    }
    assert!(parted["converged_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{parted}");
    assert!(
        parted["sockets"]["proxy"]["datagrams"].as_u64().is_some_and(|some| some > 100),
        "{parted}"
    );
}

/// A network that is asked for losses and carries nothing has shown nothing.
#[test]
fn a_run_whose_faults_never_fired_fails() {
    let report = report("--nodes 2 --processes 2 --loss 0.000001 --duration 1 --warmup-s 1");
    assert_eq!(fired(&report, "lost"), 0, "one in a million: {report}");
    assert_eq!(report["pass"], false, "{report}");
}

fn children(of: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let children = tasks.map(|task| std::fs::read_to_string(task.path().join("children")));
    let children = children.map(Result::unwrap_or_default);
    children
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Whether this process is still one of ours: numbers are given to others later.
fn is_a_member(id: &str) -> bool {
    let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"member")
}

#[test]
fn whoever_ends_a_run_ends_its_processes() {
    // Whoever starts tests in the background may have had them ignore interrupts.
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let (kill, interrupt, terminate) = (("KILL", 9), ("INT", 2), ("TERM", 15));
    let heeded = |(_, number): &(&str, u32)| ignored & (1 << (number - 1)) == 0;
    for (signal, _) in [kill, interrupt, terminate].into_iter().filter(heeded) {
        let mut run = real("--nodes 3 --processes 3 --duration 300");
        let mut run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let members = loop {
            let members = children(run.id());
            if members.len() == 3 && members.iter().all(|id| is_a_member(id)) {
                break members;
            }
            assert!(run.try_wait().expect("a process").is_none(), "it runs for minutes");
            thread::sleep(Duration::from_millis(10));
        };
        let sent =
            Command::new("kill").args([&format!("-{signal}"), &run.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        run.wait().expect("it ends");
        // They end because their input does; a test that waits for ever has failed.
        while members.iter().any(|id| is_a_member(id)) {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_process_that_ends_by_itself_ends_the_run_and_is_named() {
    let mut run = real("--nodes 3 --processes 3 --duration 300");
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let first = loop {
        let members = children(run.id());
        if members.len() == 3 && members.iter().all(|id| is_a_member(id)) {
            break members;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let killed = Command::new("kill").args(["-KILL", &first[0]]).status();
    assert!(killed.expect("kill runs").success());
    let said: Vec<String> =
        BufReader::new(run.stderr.take().expect("a pipe")).lines().map_while(Result::ok).collect();
    assert!(!run.wait().expect("it ends").success());
    assert!(said.iter().any(|line| line.contains("it has ended")), "{said:?}");
    assert!(first.iter().all(|id| !is_a_member(id) || !Path::new("/proc").join(id).exists()));
}

/// Groups of runs that are over.
fn groups_left() -> Vec<String> {
    let roots = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup"];
    let entries = roots.iter().filter_map(|root| std::fs::read_dir(root).ok()).flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let over = |name: &String| {
        let run = name.strip_prefix("mesh-gossip-").and_then(|rest| rest.split('-').next());
        run.is_some_and(|run| !Path::new("/proc").join(run).exists())
    };
    names.filter(over).collect()
}

#[test]
fn members_without_a_core_wait_for_one_and_harm_nobody() {
    let arguments = "--scenario exhaustion --nodes 8 --processes 8 --impaired 2 --busy 4 \
                     --duration 30 --warmup-s 4";
    let output = real(arguments).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("a control group in") || errors.contains("no control groups") {
        println!("SKIPPED: {errors}");
        return;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    let report: Value =
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
    assert_eq!((fired(&report, "starved"), &report["sockets"]["starved"]["count"]), (2, &2.into()));
    let name = "members that waited for a core 10 times as long as they had it (at least)";
    let checks = report["checks"].as_array().expect("checks");
    assert!(
        checks.iter().any(|check| check["name"] == name && check["pass"] == true),
        "{}",
        report["sockets"]["starved"]
    );
    assert_eq!(report["false_deaths_healthy"], 0, "{report}");
    assert_eq!(groups_left(), Vec::<String>::new());
}

/// Members are of another build until they start again; here that is this one behind a script that tells of
/// its starts.
#[test]
#[cfg(unix)]
fn members_of_an_older_build_are_upgraded_one_after_the_other() {
    use std::os::unix::fs::PermissionsExt;

    let folder = std::env::temp_dir().join(format!("mesh-gossip-older-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (older, starts) = (folder.join("older"), folder.join("starts"));
    let hyperscale = env!("CARGO_BIN_EXE_hyperscale");
    let script =
        format!("#!/bin/sh\necho start >> {}\nexec {hyperscale} \"$@\"\n", starts.display());
    std::fs::write(&older, script).expect("a script");
    std::fs::set_permissions(&older, PermissionsExt::from_mode(0o755)).expect("it may run");
    let report = report(&format!(
        "--scenario rolling-restart --nodes 4 --processes 4 --duration 40 --warmup-s 4 --older {}",
        older.display()
    ));
    assert_eq!((fired(&report, "older"), fired(&report, "upgraded")), (4, 3), "{report}");
    assert_eq!(report["false_deaths"], 0, "{report}");
    let told = std::fs::read_to_string(&starts).expect("starts");
    assert_eq!(told.lines().count(), 4, "{told}");
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}
