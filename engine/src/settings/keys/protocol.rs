//! How a node probes, gossips, removes and elects.

use super::{COUNT, Key, Kind, noted, unset, used};

const NO_SHUFFLE: &str = "this membership protocol keeps a full view and does not shuffle views";

pub(super) const KEYS: &[Key] = &[
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
    used("fanoutCoefficient", Kind::Real, "1.5", "Multiplier of ⌈log2 n⌉ in the adaptive fan-out."),
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
];
