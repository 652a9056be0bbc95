//! One table of everything that can be written below `mesh:gossip`.
//!
//! Think of a form with one row per question: the row holds the question's name, the kind of
//! answer, the answer taken when the field stays blank, and one line of help. The parser, the
//! search for the nearest key, and the table of `docs/configuration.md` all read this form.
//!
//! Invariant: names are unique without regard to case, and every default is an answer that its
//! own kind accepts.

use std::fmt::Write as _;

/// The section that every key stands in.
pub const ROOT: &str = "mesh:gossip";

/// One key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// Name below `mesh:gossip`, in its documented spelling: `tls:caPath`.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// What stands when nobody sets it.
    pub default: Default,
    /// Whether this build acts on it.
    pub standing: Standing,
    /// One line for the reader.
    pub doc: &'static str,
}

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number within bounds.
    Count {
        /// Smallest.
        least: u64,
        /// Largest.
        most: u64,
    },
    /// A decimal number.
    Real,
    /// A duration.
    Span,
    /// Text that is not empty.
    Text,
    /// A segment of the certificate's identity: `[a-z0-9._-]`.
    Segment,
    /// A secret value, never shown.
    Secret,
    /// Where a secret is found: an environment variable, or a file when it contains a slash.
    SecretName,
    /// A file.
    Path,
    /// An IP address.
    Address,
    /// A host name or an IP address.
    Host,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A `host:port`.
    Endpoint,
    /// SHA-256 of a certificate.
    Fingerprint,
    /// A list of `host:port`.
    Seeds,
    /// A list of certificate thumbprints.
    Thumbprints,
    /// Scopes of leadership.
    Scopes,
    /// Names with values.
    Labels,
}

impl Kind {
    /// Whether values must be kept out of errors, logs and listings.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::SecretName)
    }

    /// Whether the key holds several values, one per index.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Seeds | Self::Thumbprints | Self::Scopes)
    }

    /// Whether an empty value means that nothing is set.
    pub(super) fn empty_unsets(self) -> bool {
        matches!(self, Self::Secret | Self::SecretName | Self::Path | Self::Host)
    }

    fn words(self) -> String {
        match self {
            Self::Switch => "`true` or `false`".into(),
            Self::Count { least, most } if most == COUNT_MAX => {
                format!("whole number from {least}")
            }
            Self::Count { least, most } => format!("whole number, {least} to {most}"),
            Self::Real => "number".into(),
            Self::Span => "duration".into(),
            Self::Text => "text".into(),
            Self::Segment => "name of `a-z 0-9 . _ -`".into(),
            Self::Secret => "secret".into(),
            Self::SecretName => "name of a secret".into(),
            Self::Path => "file".into(),
            Self::Address => "IP address".into(),
            Self::Host => "host name or IP address".into(),
            Self::Choice(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                quoted.join(", ")
            }
            Self::Endpoint => "`host:port`".into(),
            Self::Fingerprint => "SHA-256 in hexadecimal".into(),
            Self::Seeds => "list of `host:port`".into(),
            Self::Thumbprints => "list of thumbprints".into(),
            Self::Scopes => "list of `name; role=…; region=…`".into(),
            Self::Labels => "names with values".into(),
        }
    }
}

/// What stands when nobody sets a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// This value.
    Is(&'static str),
    /// Something found at start, in words.
    Derived(&'static str),
    /// Nothing.
    Unset,
}

impl Default {
    fn words(self) -> String {
        match self {
            Self::Is(value) => format!("`{value}`"),
            Self::Derived(words) => words.into(),
            Self::Unset => "unset".into(),
        }
    }
}

/// Whether this build acts on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Used,
    /// It does not, which harms nobody: setting the key gives this note.
    Noted(&'static str),
    /// It does not, and to ignore it would mislead: setting the key is this error.
    Refused(&'static str),
}

/// Upper bound of counts that have no bound of their own.
const COUNT_MAX: u64 = u32::MAX as u64;
const COUNT: Kind = Kind::Count { least: 0, most: COUNT_MAX };
const LIMIT: Kind = Kind::Count { least: 1, most: 16_777_216 };
const LISTENING_PORT: Kind = Kind::Count { least: 0, most: 65_535 };

const NO_SHUFFLE: &str = "this membership protocol keeps a full view and does not shuffle views";
const CONTROL_TLS: &str =
    "mTLS on the control address is not served by this build; keep the address on loopback";

const fn used(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default: Default::Is(default), standing: Standing::Used, doc }
}

const fn unset(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, default: Default::Unset, standing: Standing::Used, doc }
}

const fn derived(name: &'static str, kind: Kind, words: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default: Default::Derived(words), standing: Standing::Used, doc }
}

const fn noted(key: Key, why: &'static str) -> Key {
    Key { standing: Standing::Noted(why), ..key }
}

const fn refused(key: Key, why: &'static str) -> Key {
    Key { standing: Standing::Refused(why), ..key }
}

/// Every key, in the order of the documentation.
pub static KEYS: &[Key] = &[
    used("enabled", Kind::Switch, "true", "Whether the agent runs at all."),
    derived(
        "nodeId",
        Kind::Segment,
        "`mesh-<hostname>`",
        "Name within the cluster; the certificate must carry the same.",
    ),
    used(
        "role",
        Kind::Segment,
        "worker",
        "Role within the mesh; the certificate must carry the same.",
    ),
    used("clusterId", Kind::Segment, "local", "Cluster; the certificate must carry the same."),
    used("region", Kind::Text, "local", "Region, free text."),
    used("meshVersion", Kind::Text, "dev", "Version of the mesh software that the host announces."),
    used("http3Support", Kind::Switch, "true", "Whether the host serves HTTP/3."),
    unset("labels", Kind::Labels, "Free labels, `labels:rack = r7`."),
    unset(
        "seedPeers",
        Kind::Seeds,
        "Members to find the mesh through; a DNS name may have several addresses.",
    ),
    unset("seedFile", Kind::Path, "A file of seeds, one a line."),
    used(
        "bindAddress",
        Kind::Address,
        "0.0.0.0",
        "Address that datagrams and bulk sync bind; `::` takes both IPv6 and IPv4.",
    ),
    used(
        "port",
        LISTENING_PORT,
        "17421",
        "UDP port, and TCP port of bulk sync; 0 takes any free one.",
    ),
    derived("advertiseHost", Kind::Host, "the bound address", "Host that others are told to dial."),
    derived(
        "advertisePort",
        Kind::Count { least: 1, most: 65_535 },
        "= port",
        "Port that others are told to dial.",
    ),
    used("interval", Kind::Span, "00:00:01", "Time between probe rounds."),
    used(
        "pingTimeout",
        Kind::Span,
        "00:00:02",
        "Ceiling of the ping timeout, which follows the peer's round-trip time.",
    ),
    used(
        "suspicionInterval",
        Kind::Span,
        "00:00:05",
        "Budget from the end of a member to its removal; at least two intervals. Kept from five \
         intervals on, from 3 to 16 members; beyond, the detector takes what it needs.",
    ),
    used(
        "indirectPings",
        COUNT,
        "3",
        "Relays asked when a direct ping is late; without effect with `observers`.",
    ),
    used(
        "detector",
        Kind::Choice(&["observers", "lifeguard", "swim"]),
        "observers",
        "Failure detector.",
    ),
    used(
        "grace",
        Kind::Span,
        "2.05s",
        "Silence that `observers` forgives, 100 ms to 60 s; a removal takes as much longer.",
    ),
    used(
        "fanout",
        COUNT,
        "3",
        "Members reached by one gossip tick, when adaptiveFanout is off or was left out.",
    ),
    used("adaptiveFanout", Kind::Switch, "true", "Let the fan-out follow the size of the cluster."),
    used("fanoutCoefficient", Kind::Real, "1.5", "Multiplier of log2 n in the adaptive fan-out."),
    used("fanoutFloor", COUNT, "3", "Least adaptive fan-out."),
    used("fanoutCeiling", COUNT, "32", "Largest adaptive fan-out."),
    used("maxOutboundPerRound", COUNT, "20", "Most datagrams of one gossip tick."),
    used("retransmitLimit", COUNT, "4", "λ of the transmit limit λ·⌈log10(n+1)⌉."),
    used(
        "metadataRefreshPeriod",
        Kind::Span,
        "00:00:30",
        "How often the host's metadata source is read again; published only on change.",
    ),
    used("leftRetention", Kind::Span, "00:10:00", "How long a departed member stays listed."),
    unset(
        "leadership:scopes",
        Kind::Scopes,
        "What the mesh has one leader for, 16 at most; a role or region restricts who may lead. The \
         same list in every member that may.",
    ),
    unset(
        "stateDirectory",
        Kind::Path,
        "Directory for what outlives a restart: the generation and the revocation lists in force.",
    ),
    noted(used("activeViewSize", COUNT, "16", "Accepted, without effect."), NO_SHUFFLE),
    noted(used("passiveViewSize", COUNT, "64", "Accepted, without effect."), NO_SHUFFLE),
    noted(used("shuffleInterval", Kind::Span, "00:00:02", "Accepted, without effect."), NO_SHUFFLE),
    noted(used("shuffleSampleSize", COUNT, "10", "Accepted, without effect."), NO_SHUFFLE),
    used(
        "certificateReloadInterval",
        Kind::Span,
        "00:05:00",
        "How often certificate files are read again at least; a change is noticed within seconds.",
    ),
    unset(
        "tls:certificatePath",
        Kind::Path,
        "PEM chain, leaf first, with or without its key; or a PKCS#12 store.",
    ),
    unset("tls:certificatePathSecret", Kind::SecretName, "Where the certificate's path is found."),
    unset(
        "tls:certificateData",
        Kind::Secret,
        "The same as base64, or as PEM text; wins over the path.",
    ),
    unset("tls:certificateDataSecret", Kind::SecretName, "Where the certificate's data is found."),
    unset("tls:certificatePassword", Kind::Secret, "Password of a PKCS#12 store."),
    unset("tls:certificatePasswordSecret", Kind::SecretName, "Where the password is found."),
    unset(
        "tls:keyPath",
        Kind::Path,
        "PEM private key, when the certificate's file does not hold it.",
    ),
    unset("tls:caPath", Kind::Path, "PEM trust anchors. Required."),
    unset(
        "tls:crlPath",
        Kind::Path,
        "Revocation lists, PEM or DER: a file, or a directory of files.",
    ),
    used(
        "tls:crlGrace",
        Kind::Span,
        "1.00:00:00",
        "How long after its next update a list still lets new handshakes pass.",
    ),
    used("tls:trustDomain", Kind::Segment, "mesh.local", "Trust domain of the SPIFFE identities."),
    used(
        "tls:identity",
        Kind::Choice(&["spiffe", "dns"]),
        "spiffe",
        "How a certificate names its node; this build knows `spiffe`.",
    ),
    used(
        "tls:checkCertificateRevocation",
        Kind::Switch,
        "true",
        "Check revocation, by the lists of crlPath, of the host and of other members.",
    ),
    unset(
        "tls:allowedThumbprints",
        Kind::Thumbprints,
        "SHA-1 or SHA-256 thumbprints that peers' certificates are restricted to.",
    ),
    derived(
        "tls:reloadIntervalOverride",
        Kind::Span,
        "= certificateReloadInterval",
        "Overrides certificateReloadInterval.",
    ),
    used("tls:allowUntrustedCertificates", Kind::Switch, "false", "Only `false` is accepted."),
    unset(
        "bootstrap:server",
        Kind::Endpoint,
        "Server of the authority that the agent renews its certificate from, by itself.",
    ),
    unset(
        "bootstrap:caFingerprint",
        Kind::Fingerprint,
        "Fingerprint of the root that this server has to end in; without it any of caPath.",
    ),
    used(
        "bootstrap:crlInterval",
        Kind::Span,
        "00:05:00",
        "How often the authority's revocation list is fetched from this server.",
    ),
    used(
        "control:address",
        Kind::Address,
        "127.0.0.1",
        "Address of the control HTTP server; loopback only in this build.",
    ),
    used(
        "control:port",
        LISTENING_PORT,
        "8080",
        "Port of the control HTTP server; 0 takes any free one.",
    ),
    derived(
        "control:socket",
        Kind::Path,
        "`$XDG_RUNTIME_DIR/mesh-gossip/<nodeId>.sock`",
        "Unix socket through which the agent's owner may change it.",
    ),
    refused(
        unset(
            "control:tls:certificatePath",
            Kind::Path,
            "Server certificate of the control address; refused by this build.",
        ),
        CONTROL_TLS,
    ),
    refused(
        unset("control:tls:keyPath", Kind::Path, "Its private key; refused by this build."),
        CONTROL_TLS,
    ),
    refused(
        unset(
            "control:tls:caPath",
            Kind::Path,
            "Trust anchors for its clients; refused by this build.",
        ),
        CONTROL_TLS,
    ),
    used(
        "io:backend",
        Kind::Choice(&["auto", "uring", "mmsg"]),
        "auto",
        "Datagram backend; `auto` takes io_uring where it is usable.",
    ),
    derived(
        "io:shards",
        Kind::Count { least: 1, most: 1_024 },
        "1 for a single agent",
        "Shard threads.",
    ),
    used("io:pin", Kind::Switch, "false", "Pin each shard to a core of its own."),
    used(
        "io:spin",
        Kind::Span,
        "0s",
        "How long a shard looks for datagrams before it sleeps, 1ms at most; less often where that finds none.",
    ),
    used("log:format", Kind::Choice(&["text", "json"]), "text", "Form of log lines."),
    used(
        "log:level",
        Kind::Choice(&["off", "error", "warn", "info", "debug", "trace"]),
        "info",
        "Least severity that is logged.",
    ),
    used(
        "events:delivery",
        Kind::Choice(&["batched", "immediate"]),
        "batched",
        "When the host is told of changes: together after a quiet second, five at most, or at once.",
    ),
    used(
        "metrics:peerLabels",
        Kind::Choice(&["auto", "on", "off"]),
        "auto",
        "Whether metrics carry a label per peer; `auto`: up to about 100 members.",
    ),
    used(
        "limits:members",
        LIMIT,
        "200000",
        "Members known, departed ones included, who make room for newcomers; beyond, a further one \
         is refused and counted.",
    ),
    used(
        "limits:metadataBytes",
        Kind::Count { least: 256, most: 65_535 },
        "4096",
        "Bytes of one metadata document; a larger one is refused and counted.",
    ),
    used(
        "limits:queueEntries",
        LIMIT,
        "65536",
        "Updates waiting for gossip; the most often sent one makes room and is counted.",
    ),
    used(
        "limits:pulls",
        LIMIT,
        "1024",
        "Records asked for and not yet received; further hints wait for the next gossip.",
    ),
    used(
        "limits:relays",
        LIMIT,
        "256",
        "Indirect probes carried out for others at one time; a further one gets no nack.",
    ),
    used(
        "limits:tests",
        LIMIT,
        "256",
        "Tests of doubted members open at one time; a further one is refused and counted.",
    ),
    used("limits:proofs", LIMIT, "4096", "Proofs of death kept for whoever asks; the oldest goes."),
    used(
        "limits:broadcasts",
        LIMIT,
        "4096",
        "Broadcasts waiting to be passed on; the most often sent one makes room and is counted.",
    ),
    used("limits:broadcastBytes", LIMIT, "1048576", "Bytes of the broadcasts that wait, likewise."),
    used(
        "limits:events",
        LIMIT,
        "65536",
        "Events not yet taken by the host; when full, the newest are dropped and the host is told \
         how many.",
    ),
];

/// The key of this name, without regard to case.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name.eq_ignore_ascii_case(name))
}

/// The key of our own code's name.
pub(super) fn known(name: &str) -> &'static Key {
    find(name).unwrap_or_else(|| panic!("the table of keys has no {name}"))
}

/// Whether keys stand below this name: `tls`, `control:tls`.
pub(super) fn is_section(name: &str) -> bool {
    let below = format!("{}:", name.to_ascii_lowercase());
    KEYS.iter().any(|key| key.name.to_ascii_lowercase().starts_with(&below))
}

/// The key that `name` was probably meant to be: at most one edit in three characters away.
///
/// The right key in the wrong section counts as two edits, so that `caPath` finds `tls:caPath`.
pub fn nearest(name: &str) -> Option<&'static Key> {
    const MOVED: usize = 2;
    let name = name.to_ascii_lowercase();
    let last = last_segment(&name);
    let most = 1.max(last.chars().count() / 3);
    let cost = |key: &Key| {
        let full = key.name.to_ascii_lowercase();
        let whole = strsim::damerau_levenshtein(&name, &full);
        let moved = strsim::damerau_levenshtein(last, last_segment(&full));
        (whole.min(moved) <= most).then(|| whole.min(moved + MOVED))
    };
    let close = KEYS.iter().filter_map(|key| Some((cost(key)?, key)));
    close.min_by_key(|(cost, _)| *cost).map(|(_, key)| key)
}

/// The environment variable of a key under the first root.
pub(super) fn variable(name: &str) -> String {
    format!("MESH__GOSSIP__{}", name.replace(':', "__").to_ascii_uppercase())
}

/// The table of keys as `docs/configuration.md` shows it.
pub fn markdown() -> String {
    let mut table = String::from("| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in KEYS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            key.name,
            key.kind.words(),
            key.default.words(),
            key.doc
        );
    }
    table
}

fn last_segment(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_valid() {
        for (at, key) in KEYS.iter().enumerate() {
            let twin = KEYS[..at].iter().find(|other| other.name.eq_ignore_ascii_case(key.name));
            assert_eq!(twin, None, "{}", key.name);
            if let Default::Is(text) = key.default {
                let parsed = super::super::value::parse(key.kind, text);
                assert!(parsed.is_ok(), "{} = {text}: {parsed:?}", key.name);
            }
        }
    }

    #[test]
    fn a_typing_error_finds_the_key_that_was_meant() {
        for (typed, meant) in [
            ("fanuot", "fanout"),
            ("tls:port", "port"),
            ("seedPeer", "seedPeers"),
            ("caPath", "tls:caPath"),
            ("tls:certficatePath", "tls:certificatePath"),
            ("controll:port", "control:port"),
            ("SUSPICION_INTERVAL", "suspicionInterval"),
        ] {
            assert_eq!(nearest(typed).map(|key| key.name), Some(meant), "{typed}");
        }
        for typed in ["", "nope", "zzzzzzzzzzzz"] {
            assert_eq!(nearest(typed), None, "{typed}");
        }
    }
}
