//! What surrounds the protocol: control server, datagrams, log, events, metrics.

use super::{Key, Kind, LISTENING_PORT, derived, refused, unset, used};

const CLIENTS_OF_THE_MESH: &str = "clients are judged by the mesh's own trust, pins and revocation lists; remove the key and list \
     their authority in mesh:gossip:tls:caPath";

pub(super) const KEYS: &[Key] = &[
    used(
        "control:address",
        Kind::Address,
        "127.0.0.1",
        "Address of the control HTTP server; off loopback it needs control:tls:enabled.",
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
    used(
        "control:tls:enabled",
        Kind::Switch,
        "false",
        "Mutual TLS on the control address: certificates of the mesh read, those of operators change.",
    ),
    derived(
        "control:tls:certificatePath",
        Kind::Path,
        "= tls:certificatePath",
        "What the control server shows: a PEM chain of this node, leaf first, with or without its key.",
    ),
    unset(
        "control:tls:keyPath",
        Kind::Path,
        "Its PEM private key, when the certificate's file does not hold it.",
    ),
    refused(
        unset(
            "control:tls:caPath",
            Kind::Path,
            "Refused: clients are judged by the mesh's own trust.",
        ),
        CLIENTS_OF_THE_MESH,
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
