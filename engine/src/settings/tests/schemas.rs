//! The schema says what the reader does, and the published file is the one that is made here.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::super::keys::{Default, KEYS, Standing};
use super::super::schema;

fn rule<'a>(document: &'a Value, name: &str) -> &'a Value {
    let mut at = &document["$defs"]["gossip"];
    for segment in name.split(':') {
        at = &at["properties"][segment];
    }
    at
}

fn docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[test]
fn the_published_schema_is_the_tables() {
    let path = docs().join("mesh-gossip.schema.json");
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    let made = schema::text();
    assert!(
        published == made,
        "{} has drifted; write it with `omnirelay mesh config schema`",
        path.display()
    );
}

#[test]
fn every_key_has_a_rule_with_its_meaning_and_default() {
    let document = schema::schema();
    for key in KEYS {
        let rule = rule(&document, key.name);
        let description = rule["description"].as_str().unwrap_or_default();
        assert!(description.starts_with(&key.doc.replace('`', "")), "{}: {rule}", key.name);
        match key.default {
            Default::Is(text) => {
                let default = &rule["default"];
                let shown = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
                assert_eq!(shown, text, "{}", key.name);
            }
            Default::Derived(_) | Default::Unset => assert_eq!(rule["default"], Value::Null),
        }
        let refused = matches!(key.standing, Standing::Refused(_));
        assert_eq!(rule["anyOf"].is_null(), refused, "{}", key.name);
        assert_eq!(rule["writeOnly"] == true, key.kind == super::super::Kind::Secret);
    }
}

/// An independent reader of schemas: what loads passes, and common mistakes do not.
#[test]
fn a_validator_agrees_with_the_reader() {
    const PROGRAM: &str = r#"
import json, sys
try:
    from jsonschema import Draft202012Validator as V
except ImportError:
    sys.exit(77)
schema = json.load(open(sys.argv[1]))
V.check_schema(schema)
v = V(schema)
good = [{}, {"other": 1}, {"mesh": {"dns": {}, "gossip": None}}] + [{"mesh": {"gossip": g}} for g in [
    {"port": 17421, "interval": "00:00:01", "suspicionInterval": "5s", "labels": {"rack": "r7", "n": 1}},
    {"seedPeers": ["a:1", "[2001:db8::1]:17421"], "tls": {"certificatePath": "a.pem", "caPath": None}},
    {"seedPeers": "a:1, b:2", "enabled": "False", "port": "9", "fanoutCoefficient": 1.5},
    {"tls:caPath": "ca.pem", "passiveViewSize": 64, "io": {"backend": "uring", "spin": "20us".replace("us", "ms")}},
]]
bad = [{"mesh": {"gossip": g}} for g in [
    {"fanuot": 3}, {"port": 70000}, {"port": "http"}, {"interval": 5}, {"interval": "5"}, {"enabled": "yes"},
    {"nodeId": "Gateway 1"}, {"seedPeers": ["gateway-1"]}, {"io": {"backend": "fast"}}, {"tls": {"caFile": "x"}},
    {"labels": []}, {"tls": "x"}, {"io": {"shards": 0}}]] + [{"mesh:gossip": {"nope": 1}}]
wrong = [f"refuses {g}" for g in good if not v.is_valid(g)] + [f"accepts {b}" for b in bad if v.is_valid(b)]
print("\n".join(wrong))
sys.exit(1 if wrong else 0)
"#;
    let schema = docs().join("mesh-gossip.schema.json");
    let Ok(output) = Command::new("python3").args(["-c", PROGRAM]).arg(schema).output() else {
        println!("SKIPPED: python3");
        return;
    };
    if output.status.code() == Some(77) {
        println!("SKIPPED: python3-jsonschema");
        return;
    }
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complaint}");
}
