//! What everything is bounded by, and what happens there.

use super::{Key, Kind, LIMIT, used};

pub(super) const KEYS: &[Key] = &[
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
    used(
        "limits:broadcastBytes",
        // The largest broadcast fits one datagram.
        Kind::Count { least: 2_048, most: 16_777_216 },
        "1048576",
        "Bytes of the broadcasts that wait, likewise.",
    ),
    used(
        "limits:events",
        LIMIT,
        "65536",
        "Events not yet taken by the host; when full, the newest are dropped and the host is told \
         how many.",
    ),
];
