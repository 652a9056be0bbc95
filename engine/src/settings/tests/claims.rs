//! Precedence, messages and what resolving makes of it all.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use mesh_gossip_proto::Fanout;
use proptest::prelude::*;

use super::super::{LogFormat, LogOptions, Origin, Settings, Sources};
use super::{described, errors, least, load, with_file, with_variables};
use crate::options::{
    BackendChoice, ControlSocket, ControlTls, Delivery, Material, RevocationOptions,
};

#[test]
fn later_files_cover_earlier_ones_and_the_environment_covers_files() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let all =
        r#"{"mesh": {"gossip": {"role": "a", "region": "a", "meshVersion": "a", "port": 1}}}"#;
    write("appsettings.json", all);
    let three = r#"{"Mesh": {"Gossip": {"Region": "b", "MeshVersion": "b", "Port": 2}}}"#;
    write("appsettings.Staging.json", three);
    write("own.json", "\u{feff}// two\n{\"mesh:gossip\": {\"meshVersion\": \"c\", \"port\": 3,},}");
    let sources = least()
        .directory(dir.path(), "Staging")
        .file(&dir.path().join("own.json"))
        .environment([("MESH__GOSSIP__PORT", "4")]);
    let settings = load(&sources);
    let (_, agent) = settings.resolve().unwrap();
    assert_eq!((agent.role.as_str(), agent.region.as_str()), ("a", "b"));
    assert_eq!((agent.mesh_version.as_str(), agent.bind.port()), ("c", 4));
    let origin = described(&settings, "meshVersion").origin.to_string();
    assert!(origin.ends_with("own.json:2"), "{origin}");
    let origin = described(&settings, "port").origin;
    assert_eq!(origin, Origin::Variable("MESH__GOSSIP__PORT".into()));
}

#[test]
fn among_variables_the_longest_root_wins_and_the_short_names_are_weakest() {
    let mut variables = vec![
        ("OMNIRELAY__MESH__GOSSIP__TLS__CERTIFICATEPATH", "4.pem"),
        ("MESH_GOSSIP__TLS__CERTIFICATEPATH", "3.pem"),
        ("MESH__GOSSIP__TLS__CERTIFICATEPATH", "2.pem"),
        ("MESH_GOSSIP_CERT_PATH", "1.pem"),
    ];
    while let Some((name, value)) = variables.first().copied() {
        let line = described(&load(&with_variables(&variables)), "tls:certificatePath");
        assert_eq!((line.value.as_str(), line.origin), (value, Origin::Variable(name.into())));
        variables.remove(0);
    }
}

#[test]
fn variables_that_kubernetes_sets_are_not_ours() {
    let settings = load(&with_variables(&[
        ("MESH_GOSSIP_PORT", "tcp://10.0.0.1:17421"),
        ("MESH_GOSSIP_SERVICE_HOST", "10.0.0.1"),
    ]));
    assert_eq!(described(&settings, "port").origin, Origin::Default);
}

#[test]
fn only_the_environment_changes_role_region_and_fanout() {
    let (_, before) = load(&least()).resolve().unwrap();
    assert_eq!((before.role.as_str(), before.region.as_str()), ("worker", "local"));
    let (_, after) = load(&with_variables(&[
        ("MESH__GOSSIP__ROLE", "gateway"),
        ("MESH_GOSSIP__REGION", "eu-1"),
        ("OMNIRELAY__MESH__GOSSIP__FANOUT", "7"),
    ]))
    .resolve()
    .unwrap();
    assert_eq!((after.role.as_str(), after.region.as_str()), ("gateway", "eu-1"));
    assert_eq!(after.protocol.fanout, Fanout::Fixed(7));
}

#[test]
fn fanout_is_fixed_when_it_is_set_alone_or_when_adaptive_is_off() {
    let adaptive = Fanout::Adaptive { coefficient: 1.5, floor: 3, ceiling: 32 };
    for (subtree, expected, notes) in [
        ("{}", adaptive, 0),
        (r#"{"fanout": 5}"#, Fanout::Fixed(5), 0),
        (r#"{"adaptiveFanout": false}"#, Fanout::Fixed(3), 0),
        (r#"{"fanout": 5, "adaptiveFanout": false}"#, Fanout::Fixed(5), 0),
        (r#"{"fanout": 5, "adaptiveFanout": true}"#, adaptive, 1),
    ] {
        let settings = load(&with_file(subtree));
        let (_, agent) = settings.resolve().unwrap();
        assert_eq!(agent.protocol.fanout, expected, "{subtree}");
        assert_eq!(settings.notes().len(), notes, "{subtree}");
    }
}

#[test]
fn lists_merge_by_index_and_a_text_replaces_them() {
    let seeds = |variables: &[(&str, &str)]| {
        let sources = with_file(r#"{"seedPeers": ["a:1", "b:2", "c:3"]}"#);
        let settings = load(&sources.environment(variables.iter().copied()));
        settings.resolve().unwrap().1.seeds
    };
    assert_eq!(seeds(&[]), ["a:1", "b:2", "c:3"]);
    assert_eq!(seeds(&[("MESH__GOSSIP__SEEDPEERS__1", "[::1]:9")]), ["a:1", "[::1]:9", "c:3"]);
    assert_eq!(seeds(&[("MESH__GOSSIP__SEEDPEERS__10", "d:4")]), ["a:1", "b:2", "c:3", "d:4"]);
    assert_eq!(seeds(&[("MESH__GOSSIP__SEEDPEERS__0", " ")]), ["b:2", "c:3"]);
    assert_eq!(seeds(&[("MESH__GOSSIP__SEEDPEERS", "x:1, y:2,")]), ["x:1", "y:2"]);
    assert_eq!(seeds(&[("MESH__GOSSIP__SEEDPEERS", "")]), [""; 0]);
}

#[test]
fn labels_merge_by_name_and_keep_their_first_spelling() {
    let sources = with_file(r#"{"labels": {"rack": "r1", "Zone": "z1"}}"#).environment([
        ("MESH__GOSSIP__LABELS__RACK", "r2"),
        ("MESH__GOSSIP__LABELS__topology.kubernetes.io/zone", "z2"),
    ]);
    let labels = load(&sources).resolve().unwrap().1.labels;
    let pairs: Vec<_> =
        labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("Zone", "z1"), ("rack", "r2"), ("topology.kubernetes.io/zone", "z2")]);
}

#[test]
fn null_takes_back_what_a_weaker_place_said() {
    let sources = with_file(r#"{"port": 5, "labels": {"a": "b"}}"#)
        .json("over.json", r#"{"mesh": {"gossip": {"port": null, "labels": null, "tls": {}}}}"#);
    let (_, agent) = load(&sources).resolve().unwrap();
    assert_eq!((agent.bind.port(), agent.labels.len()), (17_421, 0));
}

#[test]
fn an_error_names_key_value_origin_and_fix() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("port", "70000", &["not a whole number from 0 to 65535"]),
        ("port", "tcp://1", &["not a whole number from 0 to 65535"]),
        ("interval", "soon", &["hh:mm:ss", "with ms, s, m or h"]),
        ("interval", "5", &[".NET reads a bare number as days", "write 5s"]),
        ("enabled", "yes", &["neither true nor false"]),
        ("seedPeers:0", "gateway-1", &["has no port", "host:17421"]),
        ("seedPeers:0", "::1:17421", &["without brackets", "[2001:db8::1]:17421"]),
        ("seedPeers:0", "http://a:1", &["is a URL", "host:17421"]),
        ("seedPeers:x", "a:1", &["numbered from 0"]),
        ("bindAddress", "eth0", &["not an IP address; write 0.0.0.0"]),
        ("nodeId", "Gateway 1", &["a-z 0-9 . _ -"]),
        ("role", "", &["must not be empty"]),
        ("io:backend", "uring2", &["auto, uring, mmsg", "did you mean uring?"]),
        ("advertiseHost", "a:1", &["advertisePort"]),
        ("fanoutCoefficient", "NaN", &["not a number"]),
        ("tls:allowedThumbprints:0", "abc", &["40 (SHA-1)"]),
        ("port:number", "1", &["one value is expected"]),
        ("log", "debug", &["a section, not a value"]),
        ("fanout", "65", &["65 is outside 1 to 64"]),
        ("interval", "1ms", &["outside"]),
        ("suspicionInterval", "1s", &["below two intervals"]),
        ("grace", "99ms", &["99ms is outside 100ms to 60s"]),
        ("grace", "61s", &["61s is outside 100ms to 60s"]),
    ];
    for (key, value, fixes) in cases {
        let name = format!("MESH__GOSSIP__{}", key.replace(':', "__"));
        let from_variable = errors(&with_variables(&[(&name, value)]));
        let file = format!("{{\"mesh:gossip:{key}\":\n {value:?}}}");
        let from_file = errors(&least().json("app.json", &file));
        for (found, origin) in [
            (from_variable, format!("environment variable {name}")),
            (from_file, "app.json:1".into()),
        ] {
            assert_eq!(found.len(), 1, "{found:?}");
            let head = format!("mesh:gossip:{key} = {value:?} ({origin}): ");
            assert!(found[0].starts_with(&head), "{} does not start with {head}", found[0]);
            for fix in *fixes {
                assert!(found[0].contains(fix), "{} lacks {fix}", found[0]);
            }
        }
    }
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest() {
    let found = errors(&with_file("{\n\"fanuot\": 5}"));
    let expected = "mesh:gossip:fanuot = \"5\" (app.json:2): no such key; did you mean \
                    mesh:gossip:fanout?";
    assert_eq!(found, [expected]);
    let found = errors(&with_variables(&[("MESH_GOSSIP__SEEDPEER__0", "a:1")]));
    assert!(found[0].contains("MESH_GOSSIP__SEEDPEER__0"), "{found:?}");
    let found = errors(&with_variables(&[("MESH__GOSSIP__SEED_PEERS", "a:1")]));
    assert!(found[0].ends_with("did you mean mesh:gossip:seedPeers (MESH__GOSSIP__SEEDPEERS)?"));
}

#[test]
fn what_stands_outside_the_subtree_is_not_looked_at() {
    let others = r#"{"Logging": {"LogLevel": {"Default": 1}}, "meshes": [], "mesh": {"dns": {},
        "gossips": 1, "gossip": {"port": 9}, "leadership": {"port": "x"}}, "mesh:other": [[]]}"#;
    let (_, agent) = load(&least().json("app.json", others)).resolve().unwrap();
    assert_eq!(agent.bind.port(), 9);
}

#[test]
fn all_errors_are_told_at_once() {
    let subtree = r#"{"port": 70000, "interval": 5, "nope": 1}"#;
    let sources = with_file(subtree)
        .json("broken.json", "{\"a\": 1\n\"b\": 2}")
        .file(std::path::Path::new("/nonexistent/own.json"));
    let found = errors(&sources);
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(
        found.iter().any(|error| error.starts_with("broken.json:1:8: not valid JSON")),
        "{found:#?}"
    );
    assert!(found.iter().any(|error| error.starts_with("/nonexistent/own.json: cannot be read")));
}

#[test]
fn a_key_that_stands_twice_in_one_place_is_an_error() {
    let found =
        errors(&least().json("app.json", "{\"mesh:gossip:port\": 1,\n\"Mesh:Gossip:Port\": 2}"));
    assert_eq!(
        found,
        ["mesh:gossip:Port = \"2\" (app.json:2): set twice, by app.json:1 as well; keep one"]
    );
}

#[test]
fn a_missing_certificate_or_authority_names_key_and_fix() {
    let found = errors(&Sources::new());
    let exact =
        "mesh:gossip:tls:certificatePath must be configured when gossip is enabled. Set it to";
    assert!(found[0].starts_with(exact), "{found:?}");
    let exact = "mesh:gossip:tls:caPath must be configured when gossip is enabled. Set it to";
    assert!(found[1].starts_with(exact), "{found:?}");
}

#[test]
fn what_this_build_does_not_do_is_refused_by_name() {
    for (key, value, why) in [
        ("tls:allowUntrustedCertificates", "true", "every peer is authenticated"),
        (
            "control:address",
            "0.0.0.0",
            "a control address off loopback needs mutual TLS; set mesh:gossip:control:tls:enabled to true",
        ),
        ("control:tls:caPath", "a.pem", "clients are judged by the mesh's own trust"),
        ("control:tls:keyPath", "a.pem", "there is no certificate that it belongs to"),
    ] {
        let name = format!("MESH__GOSSIP__{}", key.replace(':', "__"));
        let found = errors(&with_variables(&[(&name, value)]));
        assert_eq!(found.len(), 1, "{found:?}");
        let head = format!("mesh:gossip:{key} = {value:?} (environment variable {name}): ");
        assert!(found[0].starts_with(&head) && found[0].contains(why), "{found:?}");
    }
}

#[test]
fn keys_without_effect_give_a_note_with_their_origin() {
    let subtree = r#"{"activeViewSize": 16, "passiveViewSize": 64, "shuffleInterval": "2s",
        "shuffleSampleSize": 10, "indirectPings": 3,
        "io": {"spin": "20ms"},
        "tls": {"checkCertificateRevocation": true, "reloadIntervalOverride": "1m"}}"#;
    let settings = load(&with_file(subtree));
    settings.resolve().unwrap();
    let keys: Vec<String> = settings.notes().iter().map(|note| note.key.clone()).collect();
    for key in [
        "activeViewSize",
        "passiveViewSize",
        "shuffleInterval",
        "shuffleSampleSize",
        "indirectPings",
        "io:spin",
    ] {
        assert!(keys.contains(&format!("mesh:gossip:{key}")), "{key}: {keys:?}");
    }
    assert_eq!(keys.len(), 7, "{keys:?}");
    assert!(settings.notes()[0].to_string().contains("(app.json:"));
    assert_eq!(settings.certificate_reload_interval(), Duration::from_secs(60));
}

/// Rule S-16: lists are checked where they are set, unless checking is off, which is told.
#[test]
fn revocation_lists_are_taken_and_told_where_they_have_no_effect() {
    let tls = |subtree: &str| {
        let settings = load(&with_file(subtree));
        let notes: Vec<String> = settings.notes().iter().map(|note| note.key.clone()).collect();
        (settings.resolve().unwrap().1.tls, notes)
    };
    let (options, notes) = tls(r#"{"tls": {"crlPath": "crl", "crlGrace": "2h",
        "checkCertificateRevocation": true}, "certificateReloadInterval": "10s"}"#);
    let lists = Some(Material::Path("crl".into()));
    let grace = Duration::from_secs(7_200);
    assert_eq!(options.revocation, RevocationOptions { check: true, lists, grace });
    assert_eq!((options.reload_interval, notes), (Duration::from_secs(10), Vec::new()));
    let (options, notes) =
        tls(r#"{"tls": {"crlPath": "crl", "checkCertificateRevocation": false}}"#);
    assert_eq!(
        options.revocation,
        RevocationOptions { check: false, ..RevocationOptions::default() }
    );
    assert_eq!(notes, ["mesh:gossip:tls:crlPath"]);
}

/// Rule F-6: the promise that the settings cannot keep is told where it was asked for.
#[test]
fn a_suspicion_interval_without_effect_gives_a_note() {
    let notes = |subtree: &str| -> Vec<String> {
        load(&with_file(subtree)).notes().iter().map(ToString::to_string).collect()
    };
    for fine in [
        r#"{"suspicionInterval": "5s"}"#,
        r#"{"detector": "swim"}"#,
        r#"{"suspicionInterval": "10s", "interval": "2s", "detector": "lifeguard"}"#,
        r#"{"suspicionInterval": "3.7s", "grace": "2s"}"#,
        r#"{"suspicionInterval": "2s", "grace": "900ms", "interval": "500ms"}"#,
        r#"{"suspicionInterval": "3.4s", "limits": {"members": 128}}"#,
        r#"{"indirectPings": 3, "detector": "lifeguard"}"#,
    ] {
        assert_eq!(notes(fine), [""; 0], "{fine}");
    }
    for (subtree, key, part) in [
        (r#"{"suspicionInterval": "5s", "detector": "swim"}"#, "suspicionInterval", "`swim`"),
        (r#"{"suspicionInterval": "2s", "detector": "swim"}"#, "suspicionInterval", "`swim`"),
        (
            r#"{"suspicionInterval": "4.9s", "detector": "lifeguard"}"#,
            "suspicionInterval",
            "below five intervals",
        ),
        (
            r#"{"interval": "1.1s", "detector": "lifeguard"}"#,
            "interval",
            "suspicionInterval is below five intervals",
        ),
        (
            r#"{"suspicionInterval": "3.5s"}"#,
            "suspicionInterval",
            "(3.5s) is below what removals take without loss, in 99 of 100 cases: 3.61s with \
             limits:members = 200000",
        ),
        (r#"{"grace": "4s"}"#, "grace", "(5s) is below what removals take"),
        (r#"{"interval": "3s"}"#, "interval", "5.61s with"),
        (r#"{"grace": "2s", "detector": "lifeguard"}"#, "grace", "only the detector `observers`"),
        (r#"{"indirectPings": 3}"#, "indirectPings", "asks no relays"),
    ] {
        let found = notes(subtree);
        assert_eq!(found.len(), 1, "{subtree}: {found:?}");
        assert!(found[0].starts_with(&format!("mesh:gossip:{key} (app.json:")), "{found:?}");
        assert!(found[0].contains(part), "{found:?}");
    }
}

#[test]
fn a_variable_that_is_no_text_is_an_error_when_it_is_ours() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    let garbled = || OsString::from_vec(b"a\xffb".to_vec());
    let with = |name: &str| least().environment_os([(name.into(), garbled())]);
    for name in ["MESH__GOSSIP__REGION", "mesh_gossip_cert_path", "DOTNET_ENVIRONMENT"] {
        let expected =
            format!("environment variable {name}: not valid UTF-8; write the value as UTF-8 text");
        assert_eq!(errors(&with(name)), [expected]);
    }
    for name in ["OTHERS", "MESH_GOSSIP_PORT"] {
        assert_eq!(load(&with(name)).notes(), [], "{name} is not ours");
    }
    let label = OsString::from_vec(b"MESH__GOSSIP__LABELS__a\xff".to_vec());
    let found = errors(&least().environment_os([(label, "x".into())]));
    assert!(found[0].contains("LABELS__a\u{fffd}: not valid UTF-8"), "{found:?}");
    let secret = [("MESH_GOSSIP_CERT_DATA_SECRET", "OTHERS")];
    let found = errors(&with("OTHERS").environment(secret));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("certificateDataSecret") && found[0].contains("UTF-8"), "{found:?}");
    let taken = load(&least().environment_os([("MESH__GOSSIP__REGION".into(), "ü".into())]));
    assert_eq!(described(&taken, "region").value, "ü");
}

/// Rule S-21.
#[test]
fn secrets_stay_out_of_errors_and_listings() {
    const SECRET: &str = "hunter2!";
    for key in ["TLS__CERTIFICATEDATA", "TLS__CERTIFICATEDATASECRET", "TLS__CERTIFICATEPASWORD"] {
        for sources in [
            with_variables(&[(&format!("MESH__GOSSIP__{key}"), SECRET)]),
            with_variables(&[("MESH_GOSSIP_CERT_PASWORD", SECRET)]),
            with_file(r#"{"tls": {"certificatePassword": {"a": "hunter2!"}}}"#),
            with_file(r#"{"tls": "hunter2!", "adminToken": "hunter2!"}"#),
            with_file(r#"{"port": "-----BEGIN PRIVATE KEY-----hunter2!"}"#),
        ] {
            let found = errors(&sources);
            assert!(found[0].contains("(redacted)"), "{found:?}");
            assert!(found.iter().all(|error| !error.contains(SECRET)), "{found:?}");
            assert!(!format!("{sources:?}").contains(SECRET));
        }
    }
    let settings = load(&with_variables(&[("MESH_GOSSIP_CERT_PASSWORD", SECRET)]));
    assert_eq!(described(&settings, "tls:certificatePassword").value, "(redacted)");
    let (_, agent) = settings.resolve().unwrap();
    assert_eq!(agent.tls.password.as_ref().map(|text| text.as_str()), Some(SECRET));
    assert!(!format!("{settings:?} {:?}", settings.describe()).contains(SECRET));
}

#[test]
fn certificate_data_wins_over_its_path_and_may_be_base64_or_pem() {
    let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let base64 = base64::engine::general_purpose::STANDARD.encode(pem);
    let wrapped =
        base64.as_bytes().chunks(20).map(|line| String::from_utf8_lossy(line).into_owned());
    let wrapped = wrapped.collect::<Vec<_>>().join("\r\n");
    for data in [String::from_utf8_lossy(pem).into_owned(), base64.clone(), wrapped] {
        let settings = load(&with_variables(&[("MESH_GOSSIP_CERT_DATA", &data)]));
        let (_, agent) = settings.resolve().unwrap();
        let Material::Bytes(bytes) = &agent.tls.certificate else { panic!("no bytes") };
        assert_eq!(bytes.as_slice(), pem);
        assert_eq!(settings.notes().len(), 1, "the path has no effect");
    }
}

#[test]
fn a_secret_is_found_in_a_variable_or_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, "from a file\n").unwrap();
    let password = |named: &str| {
        let sources = with_variables(&[("VAULT_PW", "from a variable")])
            .environment([("MESH_GOSSIP_CERT_PASSWORD_SECRET", named)]);
        let (_, agent) = load(&sources).resolve().unwrap();
        agent.tls.password.map(|text| text.to_string())
    };
    assert_eq!(password("VAULT_PW").as_deref(), Some("from a variable"));
    assert_eq!(password(&path.to_string_lossy()).as_deref(), Some("from a file"));
    let found = errors(&with_variables(&[("MESH_GOSSIP_CERT_DATA_SECRET", "NOWHERE")]));
    assert!(found[0].contains("names no environment variable"), "{found:?}");
}

#[test]
fn mutual_tls_opens_the_control_address_to_others() {
    let control = |subtree: &str| {
        let (_, agent) = load(&with_file(subtree)).resolve().unwrap();
        agent.control.unwrap()
    };
    let own = control(r#"{"control": {"address": "0.0.0.0", "tls": {"enabled": true}}}"#);
    assert_eq!(
        (own.bind.to_string().as_str(), own.tls),
        ("0.0.0.0:8080", Some(ControlTls::OfTheNode))
    );
    let subtree =
        r#"{"control": {"tls": {"enabled": true, "certificatePath": "c", "keyPath": "k"}}}"#;
    let (certificate, key) = (Material::Path("c".into()), Some(Material::Path("k".into())));
    assert_eq!(control(subtree).tls, Some(ControlTls::Apart { certificate, key }));
    let idle = load(&with_file(r#"{"control": {"tls": {"certificatePath": "c"}}}"#));
    assert_eq!(idle.resolve().unwrap().1.control.unwrap().tls, None);
    assert!(idle.notes()[0].to_string().contains("control:tls:enabled is false"));
}

#[test]
fn settings_resolve_to_the_options_that_were_written() {
    let subtree = r#"{"bindAddress": "::", "port": 0, "advertisePort": 443, "metadataRefreshPeriod": "1m",
        "tls": {"allowedThumbprints": ["AB:CDabcdabcdabcdabcdabcdabcdabcdabcdabcd"], "keyPath": "k.pem"},
        "io": {"backend": "MMSG", "shards": 2}, "control": {"address": "[::1]", "port": 0, "socket": "/run/s"},
        "log": {"format": "json", "level": "warn"}, "limits": {"members": 10, "tests": 11, "proofs": 12,
            "broadcasts": 13, "broadcastBytes": 2048},
        "retransmitLimit": 5, "grace": "1.5s", "events": {"delivery": "immediate"},
        "detector": "swim", "interval": "500ms", "pingTimeout": "00:00:00.4", "enabled": false}"#;
    let settings = load(&with_file(subtree));
    let (engine, agent) = settings.resolve().unwrap();
    assert!(!settings.enabled());
    assert_eq!((engine.backend, engine.shards), (BackendChoice::Mmsg, Some(2)));
    assert_eq!(agent.bind, "[::]:0".parse::<SocketAddr>().unwrap());
    assert_eq!((agent.advertise.host, agent.advertise.port), (None, Some(443)));
    let control = agent.control.unwrap();
    assert_eq!(control.bind, "[::1]:0".parse().unwrap());
    assert_eq!(control.socket, ControlSocket::At("/run/s".into()));
    assert_eq!(control.tls, None);
    assert_eq!(agent.node_id, "mesh-host-1");
    assert_eq!(agent.tls.allowed_thumbprints, ["abcd".repeat(10)]);
    let limits = agent.protocol.limits;
    assert_eq!((limits.members, limits.tests, limits.proofs), (10, 11, 12));
    assert_eq!((limits.broadcasts, limits.broadcast_bytes), (13, 2_048));
    assert_eq!(agent.protocol.grace, Duration::from_millis(1_500));
    assert_eq!(agent.events, Delivery::Immediate);
    assert_eq!(agent.protocol.interval, Duration::from_millis(500));
    assert_eq!(agent.metadata_refresh, Duration::from_secs(60));
    let level = tracing::level_filters::LevelFilter::WARN;
    assert_eq!(settings.log(), LogOptions { format: LogFormat::Json, level });
}

fn arbitrary_json() -> impl Strategy<Value = String> {
    let names = proptest::sample::select(vec![
        "mesh",
        "gossip",
        "mesh:gossip",
        "tls",
        "labels",
        "seedPeers",
        "port",
        "interval",
        ":",
        "",
        "é:x",
        "certificateData",
        "0",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|on| on.to_string()),
        any::<f64>().prop_map(|real| format!("{real:e}")),
        ".{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        let pair = (names.clone(), inner.clone());
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            proptest::collection::vec(pair, 0..6).prop_map(|pairs| {
                let written = pairs.iter().map(|(name, value)| format!("{name:?}:{value}"));
                format!("{{{}}}", written.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

fn exercise(sources: &Sources) {
    match Settings::load(sources) {
        Ok(settings) => {
            let _ = (settings.describe(), settings.notes(), settings.log());
            let _ = settings.resolve().map_err(|errors| errors.to_string());
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

proptest! {
    #[test]
    fn no_json_panics(inside in arbitrary_json(), outside in arbitrary_json(), text in ".{0,64}") {
        exercise(&Sources::new().json("a", &format!(r#"{{"mesh":{{"gossip":{inside}}}}}"#)));
        exercise(&Sources::new().json("b", &outside));
        exercise(&Sources::new().json("c", &text));
    }

    #[test]
    fn no_variable_panics(at in 0..super::super::keys::KEYS.len(), tail in ".{0,6}", value in ".{0,24}") {
        let key = super::super::keys::KEYS[at].name.replace(':', "__");
        exercise(&least().environment([(format!("MESH__GOSSIP__{key}{tail}"), value.clone())]));
        exercise(&least().environment([(tail, value)]));
    }
}

/// Rule S-21: a secret comes from a file of any kind, but never without an end.
#[test]
fn a_secret_file_without_an_end_is_an_error() {
    let found = errors(&with_variables(&[("MESH_GOSSIP_CERT_DATA_SECRET", "/dev/zero")]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("certificateDataSecret"), "{found:?}");
    assert!(found[0].contains("file too large"), "{found:?}");
}

/// A link that was set wrong, read again at each reload, would take the memory of the machine.
#[test]
fn a_settings_file_without_an_end_is_an_error() {
    let found = errors(&Sources::new().file(std::path::Path::new("/dev/zero")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("/dev/zero: cannot be read: file too large"), "{found:?}");
}

/// Rule E-1: scopes are a list like any other, and what is wrong with one is told with its place.
#[test]
fn scopes_of_leadership_are_read_and_judged() {
    let scopes = |value: &str| {
        let settings = load(&with_variables(&[("MESH__GOSSIP__LEADERSHIP__SCOPES", value)]));
        let resolved = settings.resolve().map(|(_, agent)| agent.protocol.scopes);
        resolved.map(|scopes| scopes.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let read = scopes("control, ingest;role=gateway,eu; region=eu 1").unwrap();
    assert_eq!(read, ["control", "ingest; role=gateway", "eu; region=eu 1"]);
    assert_eq!(scopes("").unwrap(), Vec::<String>::new());
    let twice = scopes("a,a;role=b").unwrap_err().to_string();
    assert!(
        twice.contains("leadership:scopes:1 = \"a;role=b\"") && twice.contains("same name"),
        "{twice}"
    );
    let found =
        errors(&with_variables(&[("MESH__GOSSIP__LEADERSHIP__SCOPES__0", "a; colour=red")]));
    assert!(found.len() == 1 && found[0].contains("role=ROLE"), "{found:?}");
}
