//! What people get wrong, and what they are told: key, value, origin and fix, every time.

use super::super::{Origin, Settings, SettingsError, Sources};
use super::{least, with_file, with_variables};

/// Key as it is told, text of the value as it is told, a part of the problem, a part of the fix.
type Told = (&'static str, &'static str, &'static str, &'static str);

/// A value of the file's subtree, and what is told.
const IN_FILES: &[(&str, Told)] = &[
    (
        r#"{"port": 70000}"#,
        ("port", "70000", "whole number from 0 to 65535", "within these bounds"),
    ),
    (r#"{"port": "http"}"#, ("port", "http", "whole number from 0 to 65535", "in digits")),
    (r#"{"port": -1}"#, ("port", "-1", "whole number", "in digits")),
    (r#"{"port": 17421.5}"#, ("port", "17421.5", "whole number", "in digits")),
    (r#"{"port": [17421]}"#, ("port:0", "17421", "one value", "write one text")),
    (r#"{"port": {}}"#, ("port", "", "one value", "write one text")),
    (r#"{"advertisePort": 0}"#, ("advertisePort", "0", "from 1 to 65535", "within these bounds")),
    (
        r#"{"advertiseHost": "gw:17421"}"#,
        ("advertiseHost", "gw:17421", "DNS name", "advertisePort"),
    ),
    (r#"{"advertiseHost": "10.0.0.300"}"#, ("advertiseHost", "10.0.0.300", "DNS name", "address")),
    (r#"{"bindAddress": "eth0"}"#, ("bindAddress", "eth0", "not an IP address", "0.0.0.0")),
    (r#"{"bindAddress": "localhost"}"#, ("bindAddress", "localhost", "not an IP", "127.0.0.1")),
    (r#"{"interval": 5}"#, ("interval", "5", "needs a unit", "5s")),
    (r#"{"interval": "soon"}"#, ("interval", "soon", "not a duration", "hh:mm:ss")),
    (r#"{"interval": "00:05"}"#, ("interval", "00:05", "two parts", "hh:mm:ss")),
    (r#"{"interval": "-1s"}"#, ("interval", "-1s", "not a duration", "ms, s, m or h")),
    (r#"{"interval": "5 seconds"}"#, ("interval", "5 seconds", "not a duration", "ms, s, m or h")),
    (r#"{"interval": "1ms"}"#, ("interval", "1ms", "outside 10ms", "within these bounds")),
    (r#"{"interval": "90000000h"}"#, ("interval", "90000000h", "the most allowed", "shorter")),
    (
        r#"{"suspicionInterval": "1s"}"#,
        ("suspicionInterval", "1s", "below two intervals", "choose a value"),
    ),
    (r#"{"pingTimeout": "5m"}"#, ("pingTimeout", "5m", "outside 10ms to 60s", "choose a value")),
    (r#"{"grace": "99ms"}"#, ("grace", "99ms", "outside 100ms to 60s", "choose a value")),
    (r#"{"fanout": 65}"#, ("fanout", "65", "outside 1 to 64", "choose a value")),
    (r#"{"fanoutFloor": 40}"#, ("fanoutFloor", "40", "above fanoutCeiling", "choose a value")),
    (r#"{"fanoutCoefficient": "much"}"#, ("fanoutCoefficient", "much", "not a number", "1.5")),
    (r#"{"fanoutCoefficient": 0}"#, ("fanoutCoefficient", "0", "not above 0", "choose a value")),
    (r#"{"retransmitLimit": 99}"#, ("retransmitLimit", "99", "outside 1 to 32", "choose a value")),
    (r#"{"enabled": "yes"}"#, ("enabled", "yes", "neither true nor false", "true or false")),
    (r#"{"http3Support": 1}"#, ("http3Support", "1", "neither true nor false", "true or false")),
    (r#"{"nodeId": "Gateway 1"}"#, ("nodeId", "Gateway 1", "certificate's identity", "a-z 0-9")),
    (r#"{"role": ""}"#, ("role", "", "must not be empty", "remove the key")),
    (r#"{"clusterId": "prod/eu"}"#, ("clusterId", "prod/eu", "certificate's identity", "a-z 0-9")),
    (r#"{"detector": "paxos"}"#, ("detector", "paxos", "not one of observers", "write observers")),
    (r#"{"io": {"backend": "urnig"}}"#, ("io:backend", "urnig", "not one of", "mean uring?")),
    (r#"{"io": {"shards": 0}}"#, ("io:shards", "0", "from 1 to 1024", "within these bounds")),
    (r#"{"log": {"level": "loud"}}"#, ("log:level", "loud", "not one of", "write off")),
    (r#"{"log": "debug"}"#, ("log", "debug", "a section", "its keys below it")),
    (r#"{"seedPeers": ["gw"]}"#, ("seedPeers:0", "gw", "has no port", "host:17421")),
    (r#"{"seedPeers": ["gw:0"]}"#, ("seedPeers:0", "gw:0", "1 to 65535", "host:17421")),
    (r#"{"seedPeers": ["::1:17421"]}"#, ("seedPeers:0", "::1:17421", "brackets", "[2001:db8::1]")),
    (r#"{"seedPeers": ["http://a:1"]}"#, ("seedPeers:0", "http://a:1", "URL", "host:17421")),
    (r#"{"seedPeers": {"a": "b:1"}}"#, ("seedPeers:a", "b:1", "numbered from 0", "as a list")),
    (r#"{"labels": "rack=r7"}"#, ("labels", "rack=r7", "one value each", "labels:rack = r7")),
    (r#"{"fanuot": 5}"#, ("fanuot", "5", "no such key", "mean mesh:gossip:fanout?")),
    (r#"{"caPath": "x"}"#, ("caPath", "x", "no such key", "mean mesh:gossip:tls:caPath?")),
    (r#"{"colour": "red"}"#, ("colour", "red", "no such key", "lists all keys")),
    (
        r#"{"tls": {"allowedThumbprints": ["abc"]}}"#,
        ("tls:allowedThumbprints:0", "abc", "not a thumbprint", "40 (SHA-1)"),
    ),
    (
        r#"{"tls": {"identity": "dns"}, "nodeId": "n_1"}"#,
        ("nodeId", "n_1", "part of a DNS name", "a-z 0-9 -"),
    ),
    (
        r#"{"tls": {"identity": "dns"}, "bootstrap": {"server": "a:1"}}"#,
        ("tls:identity", "dns", "issues SPIFFE names alone", "use spiffe"),
    ),
    (
        r#"{"tls": {"allowUntrustedCertificates": true}}"#,
        ("tls:allowUntrustedCertificates", "true", "every peer is authenticated", "remove the key"),
    ),
    (
        r#"{"tls": {"certificateData": "%%%"}}"#,
        ("tls:certificateData", "(redacted)", "neither base64 nor PEM", "encode the file"),
    ),
    (
        r#"{"tls": {"certificatePasswordSecret": "NOWHERE"}}"#,
        ("tls:certificatePasswordSecret", "(redacted)", "names no environment variable", "set it"),
    ),
    (
        r#"{"tls": {"certificatePasswordSecret": "/nowhere/password"}}"#,
        ("tls:certificatePasswordSecret", "(redacted)", "cannot be read", "check that the path"),
    ),
    (
        r#"{"bootstrap": {"caFingerprint": "ab"}}"#,
        ("bootstrap:caFingerprint", "ab", "not a fingerprint", "64 hexadecimal digits"),
    ),
    (
        r#"{"bootstrap": {"server": "ca.example"}}"#,
        ("bootstrap:server", "ca.example", "has no port", "host:17421"),
    ),
    (
        r#"{"limits": {"metadataBytes": 1}}"#,
        ("limits:metadataBytes", "1", "from 256 to 65535", "within these bounds"),
    ),
    (
        r#"{"metrics": {"peerLabels": "yes"}}"#,
        ("metrics:peerLabels", "yes", "not one of auto, on, off", "write auto"),
    ),
    (
        r#"{"leadership": {"scopes": ["a; rule=b"]}}"#,
        ("leadership:scopes:0", "a; rule=b", "", "name; role=gateway"),
    ),
    (
        r#"{"leadership": {"scopes": ["a", "b", "a; role=worker"]}}"#,
        ("leadership:scopes:2", "a; role=worker", "has the same name", "a name of its own"),
    ),
    (
        r#"{"leadership": {"scopes": "a,a"}}"#,
        ("leadership:scopes:1", "a", "has the same name", "remove it"),
    ),
    (
        r#"{"leadership": {"scopes": "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"}}"#,
        ("leadership:scopes:16", "q", "16 are the most", "remove it"),
    ),
    (r#"{"port": 8080}"#, ("port", "8080", "want the same port", "another number")),
    (
        r#"{"control": {"port": 17421}}"#,
        ("control:port", "17421", "want the same port", "0 for any free one"),
    ),
];

fn found(sources: &Sources) -> Vec<SettingsError> {
    Settings::check(sources).problems
}

fn assert_told(case: &str, error: &SettingsError, origin: &Origin, told: Told) {
    let (key, value, problem, fix) = told;
    let parts = error.diagnosis();
    assert_eq!(parts.key, Some(format!("mesh:gossip:{key}")), "{case}");
    assert_eq!(parts.value.as_deref(), Some(value), "{case}");
    assert_eq!(parts.origin.as_ref(), Some(origin), "{case}");
    assert!(parts.problem.contains(problem), "{case}: {}", parts.problem);
    assert!(parts.fix.contains(fix), "{case}: {}", parts.fix);
    let line = error.to_string();
    for part in [&format!("mesh:gossip:{key} = "), value, &origin.to_string(), problem, fix] {
        assert!(line.contains(part), "{case}: {line:?} lacks {part:?}");
    }
}

#[test]
fn every_mistake_in_a_file_names_key_value_origin_and_fix() {
    assert!(IN_FILES.len() >= 50, "{}", IN_FILES.len());
    for (subtree, told) in IN_FILES {
        let errors = found(&with_file(&format!("\n\n{subtree}")));
        assert_eq!(errors.len(), 1, "{subtree}: {errors:?}");
        let origin = Origin::File { path: "app.json".into(), line: 3 };
        assert_told(subtree, &errors[0], &origin, *told);
    }
}

#[test]
fn every_mistake_in_the_environment_names_the_variable_and_the_fix() {
    let cases: &[(&str, &str, Told)] = &[
        ("MESH__GOSSIP__PORT", "70000", ("port", "70000", "0 to 65535", "within these bounds")),
        ("MESH_GOSSIP__INTERVAL", "5", ("interval", "5", "needs a unit", "5s")),
        (
            "OMNIRELAY__MESH__GOSSIP__REGOIN",
            "eu",
            ("REGOIN", "eu", "no such key", "region (MESH__GOSSIP__REGION)"),
        ),
        ("MESH__GOSSIP__SEEDPEERS__0", "gw", ("seedPeers:0", "gw", "has no port", "host:17421")),
        (
            "MESH__GOSSIP__LEADERSHIP__SCOPES",
            "a,a",
            ("leadership:scopes:1", "a", "has the same name", "a name of its own"),
        ),
        (
            "MESH__GOSSIP__CONTROL__PORT",
            "17421",
            ("control:port", "17421", "want the same port", "another number"),
        ),
        (
            "MESH_GOSSIP_CERT_PASWORD",
            "hunter2",
            ("tls:certificatePASWORD", "(redacted)", "no such key", "tls:certificatePassword"),
        ),
    ];
    for (variable, value, told) in cases {
        let errors = found(&with_variables(&[(variable, value)]));
        assert_eq!(errors.len(), 1, "{variable}: {errors:?}");
        assert_told(variable, &errors[0], &Origin::Variable((*variable).into()), *told);
    }
}

#[test]
fn mistakes_that_are_about_no_single_value_name_place_and_fix() {
    let broken = found(&least().json("broken.json", "{\"a\": 1\n\"b\": 2}"));
    let line = broken[0].to_string();
    assert!(line.starts_with("broken.json:1:8: not valid JSON"), "{line}");
    assert!(line.ends_with("correct the file there; comments and trailing commas are allowed"));

    let absent = found(&least().file(std::path::Path::new("/nowhere/own.json")));
    let line = absent[0].to_string();
    assert!(line.starts_with("/nowhere/own.json: cannot be read") && line.contains("check that"));

    let twice =
        found(&least().json("app.json", "{\"mesh:gossip:port\": 1,\n\"Mesh:Gossip:Port\": 2}"));
    let origin = Origin::File { path: "app.json".into(), line: 2 };
    assert_told("twice", &twice[0], &origin, ("Port", "2", "by app.json:1 as well", "keep one"));

    let missing: Vec<String> = found(&Sources::new()).iter().map(ToString::to_string).collect();
    assert_eq!(missing.len(), 2, "{missing:?}");
    for (line, parts) in missing.iter().zip([
        ["mesh:gossip:tls:certificatePath must be configured", "MESH_GOSSIP_CERT_PATH"],
        ["mesh:gossip:tls:caPath must be configured", "MESH__GOSSIP__TLS__CAPATH"],
    ]) {
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
}

/// One scope in two layers is told at the upper one; ports that differ in address do not clash.
#[test]
fn clashes_are_told_where_they_were_written_last() {
    let sources = with_file(r#"{"leadership": {"scopes": ["a"]}, "port": 9000}"#)
        .environment([("MESH__GOSSIP__LEADERSHIP__SCOPES__1", "a")]);
    let errors = found(&sources);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let variable = Origin::Variable("MESH__GOSSIP__LEADERSHIP__SCOPES__1".into());
    assert_told("scopes", &errors[0], &variable, ("leadership:scopes:1", "a", "same name", "own"));

    let apart = r#"{"bindAddress": "127.0.0.2", "port": 8080}"#;
    assert!(found(&with_file(apart)).is_empty());
    assert!(found(&with_file(r#"{"port": 0, "control": {"port": 0}}"#)).is_empty());
    let errors = found(&with_file(r#"{"port": 9000, "control": {"port": 9000}}"#));
    assert_eq!(
        errors.iter().filter_map(SettingsError::key).collect::<Vec<_>>(),
        ["mesh:gossip:control:port"]
    );
}

/// Loading stops at what a value is by itself, and the protocol at its first broken bound; a check
/// goes on, and blames each key once.
#[test]
fn a_check_tells_everything_at_once() {
    let subtree = r#"{"port": 70000, "nope": 1, "grace": "1ms", "interval": "1ms", "retransmitLimit": 99,
        "maxOutboundPerRound": 0, "nodeId": "n_1", "tls": {"identity": "dns", "caPath": null}}"#;
    let checked = Settings::check(&with_file(subtree));
    let mut keys: Vec<String> = checked.problems.iter().filter_map(SettingsError::key).collect();
    keys.sort();
    let expected = [
        "grace",
        "interval",
        "maxOutboundPerRound",
        "nodeId",
        "nope",
        "port",
        "retransmitLimit",
        "tls:caPath",
    ];
    assert_eq!(keys, expected.map(|key| format!("mesh:gossip:{key}")));
}

/// One mistake is one line: what follows from it is not told as a second one.
#[test]
fn nothing_is_told_that_follows_from_another_mistake() {
    let alone = |sources: &Sources| found(sources).len();
    let ca = r#"{"mesh:gossip:tls:caPath": "ca.pem"}"#;
    let data = Sources::new().json("ca.json", ca);
    assert_eq!(
        alone(&data.clone().json("app.json", r#"{"mesh:gossip:tls:certificateData": "%"}"#)),
        1
    );
    let named = r#"{"mesh:gossip:tls:certificateDataSecret": "NOWHERE"}"#;
    assert_eq!(alone(&data.json("app.json", named)), 1);
    assert_eq!(alone(&Sources::new().json("app.json", "{")), 1);
    assert_eq!(alone(&Sources::new().json("app.json", r#"{"mesh:gossip:enabled": false}"#)), 0);
    assert_eq!(alone(&least()), 0);
}
