//! The table of keys as a JSON schema (draft 2020-12), for editors that help while people write.
//!
//! A schema is stricter than the reader in two ways that help a person and harm nobody: names have
//! their documented spelling, and words of a choice theirs. Everything outside `mesh:gossip`
//! belongs to others and is left alone.
//!
//! Invariant: nothing stands here that the table of keys does not say.

use serde_json::{Map, Value, json};

use super::keys::{Default, KEYS, Key, Kind, Standing};

/// What a duration looks like: a time span of .NET, or a number with a unit.
const SPAN: &str = r"^\s*(([0-9]+\.)?[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]{1,9})?|[0-9]+(\.[0-9]{1,9})? ?(ms|s|m|h))\s*$";
const SEED: &str = r"^\s*(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}\s*$";
const SEGMENT: &str = r"^\s*[a-z0-9._-]{1,128}\s*$";
const SWITCH: &str = "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$";
const DIGITS: &str = "^[0-9]+$";
const THUMBPRINT: &str = r"^[0-9A-Fa-f:\s-]{40,}$";

/// The schema of a settings file, with one rule a key.
pub fn schema() -> Value {
    let mut gossip = section("Gossip membership of this host (docs/configuration.md).");
    for key in KEYS {
        let mut at = &mut gossip;
        let mut segments = key.name.split(':').peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            let properties = at["properties"].as_object_mut().expect("a section has properties");
            let make = || if last { rule(key) } else { section("A section.") };
            at = properties.entry(segment).or_insert_with(make);
        }
    }
    // A name may hold several segments: `"tls:caPath": "ca.pem"`.
    gossip["patternProperties"] = json!({":": {}});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of mesh-gossip",
        "description": "appsettings.json: what stands outside mesh:gossip belongs to others.",
        "type": "object",
        "properties": {
            "mesh": {"type": ["object", "null"], "properties": {"gossip": {"$ref": "#/$defs/gossip"}}},
            "mesh:gossip": {"$ref": "#/$defs/gossip"},
        },
        "$defs": {"gossip": gossip},
    })
}

/// The schema as it is published.
pub fn text() -> String {
    format!("{:#}\n", schema())
}

fn section(description: &str) -> Value {
    json!({
        "type": ["object", "null"],
        "description": description,
        "properties": {},
        "additionalProperties": false,
    })
}

/// One key's rule. `null` takes back what a weaker file says, so every key allows it.
fn rule(key: &Key) -> Value {
    let mut rule = Map::new();
    rule.insert("description".into(), described(key).into());
    if let Default::Is(text) = key.default {
        rule.insert("default".into(), typed(key.kind, text));
    }
    match key.standing {
        Standing::Used => {}
        Standing::Noted(_) => drop(rule.insert("deprecated".into(), true.into())),
        Standing::Refused(_) => {
            rule.insert("type".into(), "null".into());
            return rule.into();
        }
    }
    if key.kind == Kind::Secret {
        rule.insert("writeOnly".into(), true.into());
    }
    let mut shapes = shapes(key.kind);
    shapes.push(json!({"type": "null"}));
    rule.insert("anyOf".into(), shapes.into());
    rule.into()
}

fn described(key: &Key) -> String {
    let doc = key.doc.replace('`', "");
    match (key.default, key.standing) {
        (_, Standing::Noted(why) | Standing::Refused(why)) => format!("{doc} ({why})"),
        (Default::Derived(words), Standing::Used) => {
            format!("{doc} Default: {}.", words.replace('`', ""))
        }
        (Default::Is(_) | Default::Unset, Standing::Used) => doc,
    }
}

/// A default in JSON's own type.
fn typed(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Switch | Kind::Count { .. } | Kind::Real => {
            serde_json::from_str(text).unwrap_or_else(|_| text.into())
        }
        Kind::Span
        | Kind::Text
        | Kind::Segment
        | Kind::Secret
        | Kind::SecretName
        | Kind::Path
        | Kind::Address
        | Kind::Host
        | Kind::Choice(_)
        | Kind::Endpoint
        | Kind::Fingerprint
        | Kind::Seeds
        | Kind::Thumbprints
        | Kind::Scopes
        | Kind::Labels => text.into(),
    }
}

/// What a value may look like.
fn shapes(kind: Kind) -> Vec<Value> {
    let text = || json!({"type": "string"});
    let like = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let list = |item: Value| vec![json!({"type": "array", "items": item}), text()];
    match kind {
        Kind::Switch => vec![json!({"type": "boolean"}), like(SWITCH)],
        Kind::Count { least, most } => {
            vec![json!({"type": "integer", "minimum": least, "maximum": most}), like(DIGITS)]
        }
        Kind::Real => vec![json!({"type": "number"}), text()],
        Kind::Span => vec![like(SPAN)],
        Kind::Segment => vec![like(SEGMENT)],
        Kind::Choice(words) => vec![json!({"enum": words})],
        Kind::Endpoint => vec![like(SEED)],
        Kind::Fingerprint => vec![like(THUMBPRINT)],
        Kind::Seeds => list(like(SEED)),
        Kind::Thumbprints => list(like(THUMBPRINT)),
        Kind::Scopes => list(text()),
        Kind::Labels => vec![json!({
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        })],
        Kind::Text | Kind::Secret | Kind::SecretName | Kind::Path | Kind::Address | Kind::Host => {
            vec![text()]
        }
    }
}
