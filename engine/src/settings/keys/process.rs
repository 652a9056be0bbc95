//! What surrounds the protocol: control server, datagrams, log, events, metrics.

use super::{Key, Kind, LISTENING_PORT, derived, refused, unset, used};

const CONTROL_TLS: &str =
    "mTLS on the control address is not served by this build; keep the address on loopback";

pub(super) const KEYS: &[Key] = &[
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
];
