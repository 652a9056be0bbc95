//! Who a node is, where it listens and whom it looks for.

use super::{Key, Kind, LISTENING_PORT, derived, unset, used};

pub(super) const KEYS: &[Key] = &[
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
];
