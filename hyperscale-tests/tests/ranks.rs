//! One mesh over several processes, started as an engine starts them: by a number in the environment.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

const MEMBERS: usize = 12;
const WORLD: usize = 3;
const CRASHED: usize = 2;

fn hyperscale() -> Command {
    Command::new(env!("CARGO_BIN_EXE_hyperscale"))
}

fn fails(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A directory of its own for each test, gone with it.
struct Room(PathBuf);

impl Room {
    fn named(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hyperscale-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn plan(at: &Path) {
    let flags = format!(
        "--scenario crash --nodes {MEMBERS} --crash {CRASHED} --seed 7 --warmup-s 5 --duration 25 --world {WORLD}"
    );
    let mut made = hyperscale();
    made.arg("plan").args(flags.split_whitespace()).arg("--out").arg(at);
    let made = made.output().expect("it runs");
    assert!(made.status.success(), "{}", fails(&made));
}

fn agent(plan: &Path, out: &Path, rank: usize) -> Child {
    let mut agent = hyperscale();
    agent.args(["agent", "--members", &MEMBERS.to_string(), "--seed", "7", "--plan"]).arg(plan);
    agent.arg("--out").arg(out).args(["--io", "mmsg", "--shards", "1"]);
    agent.env("JOB_COMPLETION_INDEX", rank.to_string());
    agent.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

fn ranks(plan: &Path, out: &Path) -> (Output, Option<Value>) {
    let mut ranks = hyperscale();
    ranks.args(["ranks", "--json", "--plan"]).arg(plan).arg("--out").arg(out);
    let output = ranks.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let object = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    (output, object)
}

/// Counts, never times: every member is seen by all, every death is detected by all, nobody else dies,
/// and the object is that of one process.
#[test]
fn processes_play_a_plan_together_and_their_journals_make_one_report() {
    let room = Room::named("ranks");
    let (at, out) = (room.path("plan"), room.path("out"));
    plan(&at);
    let agents: Vec<Child> = (0..WORLD).map(|rank| agent(&at, &out, rank)).collect();
    for agent in agents {
        let output = agent.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", fails(&output));
    }
    let (output, object) = ranks(&at, &out);
    let object = object.unwrap_or_else(|| panic!("{}", fails(&output)));
    assert_eq!(object["nodes"], MEMBERS);
    assert_eq!(object["ranks"]["world"], WORLD);
    assert_eq!((&object["detected"], &object["missed"]), (&CRASHED.into(), &0.into()), "{object}");
    assert_eq!(object["false_deaths"], 0, "{object}");
    assert_eq!(object["faults_fired"]["crashes"], CRASHED);
    assert_eq!(object["t_full_ms"]["n"], CRASHED);
    for rank in object["ranks"]["each"].as_array().expect("ranks") {
        assert_eq!(rank["complete_at_opening"], rank["members"], "{object}");
        assert_eq!(rank["complete_at_end"], rank["running_at_end"], "{object}");
    }
    // Each survivor learned of each death, once.
    let learned = (MEMBERS - CRASHED) * CRASHED;
    assert_eq!(object["ranks"]["learned_ms"]["n"], learned, "{object}");
    assert_eq!(object["t_pair_ms"]["n"], learned, "{object}");
    for name in ["ranks.json", "ranks.md", "rank-0.jsonl", "rank-2.hdr"] {
        assert!(out.join(name).exists(), "no {name}");
    }
    // The fields are those of one process.
    let mut single = hyperscale();
    single.args([
        "real",
        "--scenario",
        "steady",
        "--nodes",
        "3",
        "--warmup-s",
        "1",
        "--duration",
        "1",
    ]);
    let single =
        single.args(["--io", "mmsg", "--shards", "1", "--json"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&single.stdout).into_owned();
    let single: Value = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("{}", fails(&single)));
    for field in single.as_object().expect("an object").keys() {
        assert!(object.get(field).is_some(), "no {field} in {object}");
    }
}

#[test]
fn a_rank_that_is_missing_or_misplaced_is_told() {
    let room = Room::named("ranks-missing");
    let (at, out) = (room.path("plan"), room.path("out"));
    plan(&at);
    let (output, _) = ranks(&at, &out);
    assert!(!output.status.success());
    assert!(fails(&output).contains("[0, 1, 2]"), "{}", fails(&output));
    let output = agent(&at, &out, WORLD).wait_with_output().expect("it ends");
    assert!(fails(&output).contains("JOB_COMPLETION_INDEX says 3"), "{}", fails(&output));
    let mut other = hyperscale();
    other.args(["agent", "--members", "13", "--rank", "0", "--plan"]).arg(&at);
    let output = other.output().expect("it runs");
    assert!(
        fails(&output).contains("--members says 13 members, the plan has 12"),
        "{}",
        fails(&output)
    );
}

/// The Kubernetes manifest, without a cluster: its parts fit each other and the plan of its README, and
/// the command in it is one.
#[test]
fn the_manifest_is_what_a_rank_needs() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/deploy/hyperscale");
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("a file");
    let (manifest, readme) = (read("job.yaml"), read("README.md"));
    let objects = YamlLoader::load_from_str(&manifest).expect("YAML");
    let [service, job] = objects.as_slice() else { panic!("{} objects", objects.len()) };
    assert_eq!(
        (service["kind"].as_str(), service["apiVersion"].as_str()),
        (Some("Service"), Some("v1"))
    );
    assert_eq!((job["kind"].as_str(), job["apiVersion"].as_str()), (Some("Job"), Some("batch/v1")));
    assert_eq!(service["spec"]["clusterIP"].as_str(), Some("None"));
    assert_eq!(service["spec"]["publishNotReadyAddresses"].as_bool(), Some(true));
    let (spec, template) = (&job["spec"], &job["spec"]["template"]);
    assert_eq!(service["spec"]["selector"], template["metadata"]["labels"]);
    assert_eq!(spec["completionMode"].as_str(), Some("Indexed"));
    let world = spec["completions"].as_i64().expect("a number");
    assert_eq!(spec["parallelism"].as_i64(), Some(world), "all at once");
    let pod = &template["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    let agent = &pod["containers"][0];
    assert_eq!(agent["securityContext"]["allowPrivilegeEscalation"].as_bool(), Some(false));
    let volume = pod["volumes"][0]["name"].as_str().expect("a volume");
    assert_eq!(agent["volumeMounts"][0]["name"].as_str(), Some(volume));
    let ports = |list: &Yaml, key: &str| -> Vec<(String, i64)> {
        let read = |port: &Yaml| Some((port["protocol"].as_str()?.to_owned(), port[key].as_i64()?));
        list.as_vec().expect("ports").iter().filter_map(read).collect()
    };
    let served = ports(&agent["ports"], "containerPort");
    assert_eq!(served, ports(&service["spec"]["ports"], "port"));
    let [(_, port), _] = served.as_slice() else { panic!("{served:?}") };

    // The plan of the README, in a directory of the test, and the command of the pod upon it.
    let line =
        readme.lines().find(|line| line.starts_with("hyperscale plan") && line.contains("--seeds"));
    let (flags, _) = line.expect("a plan for a cluster").split_once(" --out ").expect("an end");
    let flags: Vec<&str> = flags.split_whitespace().skip(1).collect();
    let after = |flag: &str| flags.iter().skip_while(|word| **word != flag).nth(1).copied();
    assert_eq!(after("--world"), Some(world.to_string().as_str()));
    assert_eq!(after("--port"), Some(port.to_string().as_str()));
    let name = service["metadata"]["name"].as_str().expect("a name");
    assert_eq!(after("--seeds"), Some(format!("{name}:{port}").as_str()));
    let room = Room::named("manifest");
    let at = room.path("plan");
    let made = hyperscale().args(&flags).arg("--out").arg(&at).output().expect("it runs");
    assert!(made.status.success(), "{}", fails(&made));
    let words = agent["args"].as_vec().expect("arguments").iter().filter_map(Yaml::as_str);
    let words = words.map(|word| match word {
        "/run/hyperscale/plan" => at.display().to_string(),
        "/run/hyperscale/out" => room.path("out").display().to_string(),
        other => other.replace("$(POD_IP)", "127.0.0.1"),
    });
    // A pod that does not exist: everything before that was understood.
    let output = hyperscale().args(words).env("JOB_COMPLETION_INDEX", world.to_string()).output();
    let output = output.expect("it runs");
    assert!(fails(&output).contains("JOB_COMPLETION_INDEX says 4"), "{}", fails(&output));
}
