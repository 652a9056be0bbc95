//! Table-driven over the table of keys: nothing can be added there without these claims.

use super::super::keys::{KEYS, Key, Kind, ROOT};
use super::super::{Origin, Settings, Shown, Sources};
use super::{described, load};

/// A value that the kind accepts and that is no key's default.
fn sample(kind: Kind) -> String {
    match kind {
        Kind::Switch => "False".into(),
        Kind::Count { least, most } => (least + 300).min(most).to_string(),
        Kind::Real => "2.25".into(),
        Kind::Span => "00:00:07.5".into(),
        Kind::Text | Kind::Segment => "sample-1".into(),
        Kind::Secret => "hunter2".into(),
        Kind::SecretName => "SAMPLE_SECRET".into(),
        Kind::Path => "some/file.pem".into(),
        Kind::Address => "127.0.0.2".into(),
        Kind::Host => "host.example".into(),
        Kind::Choice(words) => words[words.len() - 1].into(),
        Kind::Endpoint | Kind::Seeds => "seed-1:17421".into(),
        Kind::Fingerprint => "ab".repeat(32),
        Kind::Thumbprints => "ab".repeat(20),
        Kind::Scopes => "control; role=gateway".into(),
        Kind::Labels => "r7".into(),
    }
}

/// The key's name with the element that a list or a map needs.
fn element(key: &Key, list: &str, label: &str) -> String {
    match key.kind {
        Kind::Seeds | Kind::Thumbprints | Kind::Scopes => format!("{}{list}", key.name),
        Kind::Labels => format!("{}{label}", key.name),
        Kind::Switch
        | Kind::Count { .. }
        | Kind::Real
        | Kind::Span
        | Kind::Text
        | Kind::Segment
        | Kind::Secret
        | Kind::SecretName
        | Kind::Path
        | Kind::Address
        | Kind::Host
        | Kind::Endpoint
        | Kind::Fingerprint
        | Kind::Choice(_) => key.name.into(),
    }
}

fn assert_stands(settings: &Settings, key: &Key, origin: &Origin) {
    let line = described(settings, &element(key, ":0", ":rack"));
    let expected = if key.kind.is_secret() { Shown::REDACTED.into() } else { sample(key.kind) };
    assert_eq!((line.value, &line.origin), (expected, origin), "{}", key.name);
}

fn sources() -> Sources {
    Sources::new().environment([("SAMPLE_SECRET", "found")])
}

/// A key's value as JSON: lists as arrays, numbers and switches in their own types.
fn json(key: &Key) -> String {
    let text = sample(key.kind);
    match key.kind {
        Kind::Switch => text.to_lowercase(),
        Kind::Count { .. } | Kind::Real => text,
        Kind::Seeds | Kind::Thumbprints | Kind::Scopes => format!("[{text:?}]"),
        Kind::Labels => format!(r#"{{"rack": {text:?}}}"#),
        Kind::Span
        | Kind::Text
        | Kind::Segment
        | Kind::Secret
        | Kind::SecretName
        | Kind::Path
        | Kind::Address
        | Kind::Host
        | Kind::Endpoint
        | Kind::Fingerprint
        | Kind::Choice(_) => format!("{text:?}"),
    }
}

#[test]
fn every_key_parses_from_a_nested_file() {
    for key in KEYS {
        let segments: Vec<&str> = ROOT.split(':').chain(key.name.split(':')).collect();
        let open: String = segments.iter().map(|name| format!("{{\"{name}\":\n")).collect();
        let text = format!("{open}{}{}", json(key), "}".repeat(segments.len()));
        let settings = load(&sources().json("app.json", &text));
        // An element of a list stands on the line after its key here.
        let list =
            matches!(key.kind, Kind::Seeds | Kind::Thumbprints | Kind::Scopes | Kind::Labels);
        let line = segments.len() + usize::from(list);
        let line_of = described(&settings, &element(key, ":0", ":rack"));
        assert_eq!(line_of.origin, Origin::File { path: "app.json".into(), line }, "{}", key.name);
        if key.kind != Kind::Switch {
            assert_stands(&settings, key, &line_of.origin);
        }
    }
}

#[test]
fn every_key_parses_from_a_flat_file_in_any_case() {
    for key in KEYS {
        let name = format!("{ROOT}:{}", key.name).to_uppercase();
        let text = format!("{{{name:?}: {}}}", json(key));
        let settings = load(&sources().json("app.json", &text));
        let origin = Origin::File { path: "app.json".into(), line: 1 };
        assert_eq!(described(&settings, &element(key, ":0", ":rack")).origin, origin);
    }
}

#[test]
fn every_key_parses_from_every_root_of_the_environment() {
    for key in KEYS {
        for root in ["MESH__GOSSIP__", "MESH_GOSSIP__", "OMNIRELAY__MESH__GOSSIP__"] {
            let name = element(key, "__0", "").replace(':', "__").to_uppercase();
            let label = if key.kind == Kind::Labels { "__rack" } else { "" };
            let variable = format!("{root}{name}{label}");
            let settings = load(&sources().environment([(variable.clone(), sample(key.kind))]));
            assert_stands(&settings, key, &Origin::Variable(variable));
        }
    }
}

#[test]
fn a_file_and_the_environment_mean_the_same() {
    for key in KEYS {
        let text = format!("{{\"{ROOT}:{}\": {}}}", key.name, json(key));
        let file = load(&sources().json("app.json", &text));
        let name = element(key, "__0", "__rack").replace(':', "__");
        let variable = format!("MESH__GOSSIP__{name}");
        let environment = load(&sources().environment([(variable, sample(key.kind))]));
        let values = |settings: &Settings| {
            let entries = settings.entries.values();
            entries.map(|entry| (entry.name.clone(), entry.value.clone())).collect::<Vec<_>>()
        };
        assert_eq!(values(&file), values(&environment));
    }
}

#[test]
fn without_sources_every_key_has_its_default() {
    let settings = load(&Sources::new().host_name("Host_1.Example"));
    let lines = settings.describe();
    assert_eq!(lines.len(), KEYS.len());
    assert!(lines.iter().all(|line| line.origin == Origin::Default));
    assert_eq!(described(&settings, "nodeId").value, "mesh-host_1.example");
    assert_eq!(described(&settings, "port").value, "17421");
    assert!(settings.enabled());
    assert_eq!(settings.notes(), []);
}

/// Each word of the table is one that our matches name: none of them panics.
#[test]
fn every_word_of_every_choice_is_understood() {
    let required =
        "{\"mesh:gossip:tls\": {\"certificatePath\": \"a.pem\", \"caPath\": \"ca.pem\"}}";
    for key in KEYS {
        let Kind::Choice(words) = key.kind else { continue };
        for word in words {
            let text = format!("{{\"{ROOT}:{}\": {word:?}}}", key.name);
            let settings =
                load(&Sources::new().json("least.json", required).json("app.json", &text));
            let (_, _) = (settings.log(), settings.notes());
            assert!(settings.resolve().is_ok(), "{} = {word}", key.name);
        }
    }
}
