//! What can change while an agent runs is held against every key that an agent's options come from:
//! a key without a row here fails.

use super::super::Settings;
use super::super::keys::{KEYS, Standing};
use super::{least, load};
use crate::reconfigure::{differences, same_member};

/// What a change of each key is reported as: the key's value, its report.
const REPORTS: &[(&str, &str, &str)] = &[
    ("region", "eu-1", "region"),
    ("meshVersion", "2", "meshVersion"),
    ("http3Support", "false", "http3Support"),
    ("labels:rack", "r7", "labels"),
    ("seedPeers:0", "a:1", "seedPeers"),
    ("seedFile", "seeds", "seedFile"),
    ("bindAddress", "127.0.0.1", "bindAddress"),
    ("port", "5", "port"),
    ("advertiseHost", "h", "advertiseHost"),
    ("advertisePort", "5", "advertisePort"),
    ("interval", "2s", "interval"),
    ("pingTimeout", "1s", "pingTimeout"),
    ("suspicionInterval", "9s", "suspicionInterval"),
    ("indirectPings", "5", "indirectPings"),
    ("detector", "swim", "detector"),
    ("grace", "1s", "grace"),
    ("fanout", "5", "fanout"),
    ("adaptiveFanout", "false", "fanout"),
    ("fanoutCoefficient", "2", "fanout"),
    ("fanoutFloor", "4", "fanout"),
    ("fanoutCeiling", "20", "fanout"),
    ("maxOutboundPerRound", "5", "maxOutboundPerRound"),
    ("retransmitLimit", "5", "retransmitLimit"),
    ("metadataRefreshPeriod", "1s", "metadataRefreshPeriod"),
    ("leftRetention", "1s", "leftRetention"),
    ("leadership:scopes:0", "a", "leadership:scopes"),
    ("stateDirectory", "s", "stateDirectory"),
    ("certificateReloadInterval", "1s", "certificateReloadInterval"),
    ("tls:reloadIntervalOverride", "1s", "certificateReloadInterval"),
    ("tls:certificatePath", "b.pem", "tls:certificatePath"),
    ("tls:certificateData", "aaaa", "tls:certificatePath"),
    ("tls:certificateDataSecret", "DATA", "tls:certificatePath"),
    ("tls:certificatePassword", "x", "tls:certificatePassword"),
    ("tls:certificatePasswordSecret", "DATA", "tls:certificatePassword"),
    ("tls:keyPath", "k", "tls:keyPath"),
    ("tls:caPath", "b", "tls:caPath"),
    ("tls:crlPath", "c", "tls:crlPath"),
    ("tls:crlGrace", "1s", "tls:crlGrace"),
    ("tls:checkCertificateRevocation", "false", "tls:checkCertificateRevocation"),
    (
        "tls:allowedThumbprints:0",
        "abababababababababababababababababababab",
        "tls:allowedThumbprints",
    ),
    ("bootstrap:server", "a:1", "bootstrap:server"),
    ("control:address", "::1", "control:address"),
    ("control:port", "9", "control:port"),
    ("control:socket", "here.sock", "control:socket"),
    ("control:tls:enabled", "true", "control:tls:enabled"),
    ("events:delivery", "immediate", "events:delivery"),
    ("metrics:peerLabels", "off", "metrics:peerLabels"),
    ("limits:members", "9", "limits"),
    ("limits:metadataBytes", "999", "limits"),
    ("limits:queueEntries", "9", "limits"),
    ("limits:pulls", "9", "limits"),
    ("limits:relays", "9", "limits"),
    ("limits:tests", "9", "limits"),
    ("limits:proofs", "9", "limits"),
    ("limits:broadcasts", "9", "limits"),
    ("limits:broadcastBytes", "9999", "limits"),
    ("limits:events", "9", "limits"),
];

/// Who an agent is: a change of it is another agent.
const IDENTITY: &[(&str, &str)] = &[
    ("nodeId", "n2"),
    ("role", "gateway"),
    ("clusterId", "other"),
    ("tls:trustDomain", "b"),
    ("tls:identity", "dns"),
];

/// Used by no agent's options by itself: the engine's, the log's, or with another key only.
const ELSEWHERE: &[&str] = &[
    "enabled",
    "tls:certificatePathSecret",
    "tls:allowUntrustedCertificates",
    "bootstrap:caFingerprint",
    "bootstrap:crlInterval",
    "control:tls:certificatePath",
    "control:tls:keyPath",
    "io:backend",
    "io:shards",
    "io:pin",
    "io:spin",
    "log:format",
    "log:level",
];

fn with(name: &str, value: &str) -> Settings {
    let variable = format!("MESH__GOSSIP__{}", name.replace(':', "__"));
    load(&least().environment([(variable.as_str(), value), ("DATA", "aaaa")]))
}

#[test]
fn every_change_of_an_agents_options_is_reported_by_its_key() {
    let (_, before) = load(&least()).resolve().unwrap();
    for (name, value, reported) in REPORTS {
        let (_, after) = with(name, value).resolve().unwrap_or_else(|errors| panic!("{errors}"));
        let (live, fixed) = differences(&before, &after);
        assert_eq!([live, fixed].concat(), [*reported], "{name} = {value}");
        assert!(same_member(&before, &after).is_ok(), "{name}");
    }
    for (name, value) in IDENTITY {
        let (_, after) = with(name, value).resolve().unwrap_or_else(|errors| panic!("{errors}"));
        let refused = same_member(&before, &after).unwrap_err().to_string();
        assert!(refused.contains(&format!("mesh:gossip:{name} = \"{value}\"")), "{refused}");
    }
    for key in KEYS.iter().filter(|key| key.standing == Standing::Used) {
        let rows = REPORTS.iter().filter(|(name, ..)| {
            name.strip_prefix(key.name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        });
        let elsewhere = usize::from(ELSEWHERE.contains(&key.name));
        let identity = IDENTITY.iter().filter(|(name, _)| *name == key.name).count();
        assert_eq!(rows.count() + elsewhere + identity, 1, "{} has no row", key.name);
    }
}
