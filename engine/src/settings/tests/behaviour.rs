//! From a written key to what a node does: each key of the protocol is set in a file, and the node
//! that comes of it is watched. And the list in `docs/configuration.md` that names the test of every
//! key is held complete.
//!
//! Time is an argument here, as everywhere in the protocol.

#[path = "../../../proto/tests/stage/mod.rs"]
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mesh_gossip_proto::wire::message::kind;
use mesh_gossip_proto::{Command, Config, Destination, Lifecycle, Metadata, State};

use super::super::keys::KEYS;
use super::{load, with_file};
use stage::{CLUSTER, Stage, incarnation, ms, signed};

/// Twenty others: `b` to `u`.
const MANY: u8 = 20;

/// The protocol's part of these settings.
fn config(subtree: &str) -> Config {
    let common = r#"{"mesh:gossip:clusterId": "c"}"#;
    let settings = load(&with_file(subtree).json("cluster.json", common));
    settings.resolve().unwrap_or_else(|errors| panic!("{errors}")).1.protocol
}

/// A node with these settings that knows so many others, who answer.
fn node(subtree: &str, others: u8) -> Stage {
    let names = stage::observers::names(others);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Stage::knowing(config(subtree), &names)
}

/// The same, and nobody answers.
fn deserted(subtree: &str, others: u8) -> Stage {
    let mut stage = node(subtree, others);
    stage.answering.clear();
    stage
}

/// When messages of a kind were sent, milliseconds.
fn times(stage: &Stage, kind: u8) -> Vec<u64> {
    stage.sent_of(kind).iter().map(|sent| ms(sent.at)).collect()
}

#[test]
fn interval_is_the_pace_of_probes() {
    for (interval, pause) in [("1s", 1_000), ("4s", 4_000)] {
        let settings = format!(
            r#"{{"interval": "{interval}", "suspicionInterval": "60s", "detector": "swim"}}"#
        );
        let mut stage = node(&settings, MANY);
        stage.until(120_000);
        let pings = times(&stage, kind::PING);
        assert!(pings.len() > 20, "{interval}: {pings:?}");
        assert!(pings.windows(2).all(|pair| pair[1] - pair[0] == pause), "{interval}: {pings:?}");
    }
}

/// Who does not answer is asked for through others: after the ceiling, as nothing is measured yet.
#[test]
fn ping_timeout_is_when_relays_are_asked_and_indirect_pings_how_many() {
    for (timeout, relays) in [(100, 1), (400, 5)] {
        let settings = format!(
            r#"{{"pingTimeout": "{timeout}ms", "indirectPings": {relays}, "detector": "lifeguard"}}"#
        );
        let mut stage = deserted(&settings, MANY);
        stage.until(60_000);
        let first = times(&stage, kind::PING)[0];
        let asked = times(&stage, kind::PING_REQUEST);
        assert_eq!(asked[0] - first, timeout);
        assert_eq!(asked.iter().filter(|at| **at == asked[0]).count(), relays);
    }
}

/// When the members hold `b` dead that fell silent after a minute, counted from then.
fn removed_after(subtree: &str, others: u8) -> u64 {
    const SILENT: u64 = 60_000;
    let mut stage = node(subtree, others);
    stage.until(SILENT);
    stage.answering.retain(|name| name != "b");
    (SILENT..)
        .step_by(10)
        .find(|now| {
            stage.until(*now);
            stage.state("b") == Some(State::Dead)
        })
        .map(|now| now - SILENT)
        .unwrap()
}

/// The budget is kept, and used: a longer one is a later verdict.
#[test]
fn suspicion_interval_bounds_the_removal() {
    let after = |budget: u64| {
        let settings = format!(r#"{{"suspicionInterval": "{budget}s", "detector": "lifeguard"}}"#);
        removed_after(&settings, 3)
    };
    let (short, long) = (after(5), after(20));
    assert!(short <= 5_000, "{short}");
    assert!((5_000..=20_000).contains(&long), "{long}");
}

#[test]
fn the_detector_is_the_one_that_was_chosen() {
    let told = |detector: &str| {
        let mut stage = node(&format!(r#"{{"detector": "{detector}"}}"#), 7);
        stage.until(60_000);
        stage.answering.retain(|name| name != "b");
        stage.until(90_000);
        [kind::VERIFY, kind::SUSPECT, kind::PING_REQUEST]
            .map(|kind| !stage.sent_of(kind).is_empty())
    };
    assert_eq!(told("observers"), [true, false, false], "observers ask each other");
    assert_eq!(told("lifeguard"), [false, true, true], "doubts are gossiped");
    assert_eq!(told("swim"), [false, true, true]);
}

/// Among two the one is a quorum: its finding is the verdict, and none comes within the grace.
#[test]
fn grace_delays_the_verdict_of_observers() {
    let after = |grace: &str| {
        removed_after(&format!(r#"{{"grace": "{grace}", "suspicionInterval": "60s"}}"#), 1)
    };
    let (short, long) = (after("500ms"), after("9s"));
    assert!((500..5_000).contains(&short), "{short}");
    assert!((9_000..15_000).contains(&long), "{long}");
}

/// A change of our own: to how many the first tick tells it, and how often it is told at all.
fn told_of_a_change(subtree: &str) -> (usize, usize) {
    let mut stage = node(subtree, MANY);
    stage.until(60_000);
    stage.sent.clear();
    let changed =
        Metadata { mesh_version: "2".into(), cluster_id: CLUSTER.into(), ..stage::metadata("a") };
    stage.node.handle_command(stage.now, Command::SetMetadata(changed)).unwrap();
    stage.until(120_000);
    let gossip = stage.sent_of(kind::UPDATE);
    let first = gossip[0].at;
    let told: BTreeSet<String> = gossip
        .iter()
        .filter(|sent| sent.at == first && matches!(sent.to, Destination::Member(_)))
        .map(|sent| format!("{:?}", sent.to))
        .collect();
    (told.len(), gossip.len())
}

/// Twenty-one members: the logarithm is 5, rounded up.
#[test]
fn fan_out_follows_its_keys() {
    let quiet = r#""interval": "1h", "suspicionInterval": "10h", "detector": "swim""#;
    for (keys, expected) in [
        (r#""fanout": 5"#, 5),
        (r#""fanout": 9, "adaptiveFanout": false"#, 9),
        (r#""adaptiveFanout": false"#, 3),
        (r#""adaptiveFanout": true"#, 8),
        (r#""fanoutCoefficient": 2.5"#, 13),
        (r#""fanoutFloor": 10"#, 10),
        (r#""fanoutCeiling": 4"#, 4),
        (r#""fanout": 9, "maxOutboundPerRound": 2"#, 2),
    ] {
        // So many sends that the first tick is not cut short by them.
        let settings = format!(r#"{{{quiet}, "retransmitLimit": 20, {keys}}}"#);
        assert_eq!(told_of_a_change(&settings).0, expected, "{keys}");
    }
}

/// λ·⌈log10 22⌉ = 2λ.
#[test]
fn retransmit_limit_is_how_often_a_change_is_told() {
    let quiet = r#""interval": "1h", "suspicionInterval": "10h", "detector": "swim""#;
    let sends =
        |limit: u32| told_of_a_change(&format!(r#"{{{quiet}, "retransmitLimit": {limit}}}"#)).1;
    assert_eq!([4, 16].map(sends), [8, 32]);
}

#[test]
fn left_retention_is_how_long_the_departed_are_listed() {
    for (retention, after_ms, listed) in
        [("30s", 29_000, true), ("30s", 31_000, false), ("1h", 31_000, true)]
    {
        let mut stage = node(&format!(r#"{{"leftRetention": "{retention}"}}"#), 5);
        stage.until(60_000);
        stage.record("b", &signed("b", incarnation(1), Lifecycle::Leaving, "r"));
        stage.until(60_000 + after_ms);
        let view = stage.node.view(stage.now);
        let found = view.listed().any(|member| member.state == State::Left);
        assert_eq!(found, listed, "{retention} after {after_ms} ms");
    }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md")
}

/// Every test in the sources of the product, with its text.
fn tests_in(directory: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                tests_in(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // What lies between one attribute and the next is the test, and helpers at most.
            for part in text.split("#[test]").skip(1).chain(text.split("#[tokio::test").skip(1)) {
                let Some((before, rest)) = part.split_once("fn ") else { continue };
                let Some((name, _)) = rest.split_once('(') else { continue };
                // In a module of tests it ends where its own indentation does.
                let end = if before.ends_with("\n    ") { "\n    }\n" } else { "\n}\n" };
                let body = rest.split(end).next().unwrap_or(rest);
                found.entry(name.to_owned()).or_default().push_str(body);
            }
        }
    }
}

/// What a key is called where tests set the option that it becomes.
const OPTIONS: &[(&str, &str)] = &[
    ("metadataRefreshPeriod", "metadata_refresh"),
    ("leadership:scopes", "scope"),
    ("stateDirectory", "StateDirectory"),
    ("certificateReloadInterval", "reload_interval"),
    ("tls:reloadIntervalOverride", "reload_interval"),
    ("tls:keyPath", "key"),
    ("tls:certificatePathSecret", "_SECRET"),
    ("tls:certificateDataSecret", "_SECRET"),
    ("tls:certificatePasswordSecret", "_SECRET"),
    ("bootstrap:server", "renewal"),
    ("bootstrap:caFingerprint", "fingerprint"),
    ("bootstrap:crlInterval", "list_interval"),
    ("events:delivery", "Delivery"),
    ("limits:broadcasts", "limits"),
    ("limits:broadcastBytes", "limits"),
];

/// Whether a test's text sets the key, or the option that it becomes.
fn is_about(key: &str, text: &str) -> bool {
    let last = key.rsplit(':').next().unwrap_or(key);
    let snake: String = last
        .chars()
        .flat_map(|letter| {
            letter
                .is_ascii_uppercase()
                .then_some('_')
                .into_iter()
                .chain([letter.to_ascii_lowercase()])
        })
        .collect();
    let option = OPTIONS.iter().find(|(known, _)| *known == key).map(|(_, option)| *option);
    text.contains(last) || text.contains(&snake) || option.is_some_and(|word| text.contains(word))
}

/// The rows of the list: key, and the tests that show its effect.
fn rows(text: &str) -> BTreeMap<String, Vec<String>> {
    let list = text.split_once("<!-- tests of keys").expect("the list begins").1;
    let list = list.split_once("<!-- end of tests of keys -->").expect("the list ends").0;
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut rows = BTreeMap::new();
    for line in list.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').collect();
        for key in quoted(cells[1]) {
            let twice = rows.insert(key.clone(), quoted(cells[2]));
            assert_eq!(twice, None, "{key} stands twice");
        }
    }
    rows
}

/// No key without a test that shows what it does, and no test that is not there.
#[test]
fn every_key_has_a_test_of_its_effect() {
    let rows = rows(&std::fs::read_to_string(docs()).unwrap());
    let mut tests = BTreeMap::new();
    for top in ["engine", "ffi", "hyperscale-tests"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(top);
        tests_in(&root, &mut tests);
    }
    assert!(tests.len() > 500, "only {} tests found: the search is broken", tests.len());
    for key in KEYS {
        let named = rows.get(key.name).unwrap_or_else(|| panic!("{} has no row", key.name));
        assert!(!named.is_empty(), "{} names no test", key.name);
        for test in named {
            assert!(tests.contains_key(test), "{}: there is no test {test}", key.name);
        }
        let about = named.iter().any(|test| is_about(key.name, &tests[test]));
        assert!(about, "{}: none of {named:?} has it in its text", key.name);
    }
    let known: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
    let strange: Vec<&String> = rows.keys().filter(|key| !known.contains(key.as_str())).collect();
    assert!(strange.is_empty(), "{strange:?} are no keys");
}
