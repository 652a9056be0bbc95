//! What the links of one agent have counted.

use std::collections::BTreeMap;

/// What TLS negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsSummary {
    /// Protocol version, as OpenSSL writes it: `TLSv1.3`.
    pub version: &'static str,
    /// Cipher suite by its name in the registry, for example `TLS13_AES_128_GCM_SHA256`.
    pub suite: &'static str,
}

/// Counters since the start; gauges are named as such.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Sealed datagrams opened.
    pub opened: u64,
    /// Sealed datagrams sent.
    pub sealed: u64,
    /// Bytes of UDP payload received, handshakes included.
    pub bytes_in: u64,
    /// Bytes of UDP payload sent, handshakes included.
    pub bytes_out: u64,
    /// Bytes of UDP payload sent for handshakes.
    pub handshake_bytes_out: u64,
    /// Datagrams sent for handshakes.
    pub handshake_datagrams_out: u64,
    /// Handshakes begun by us.
    pub dials: u64,
    /// Handshakes beside the probe of a peer that was silent on its session.
    pub looks: u64,
    /// Handshakes that ended in a confirmed session, either side.
    pub confirmed: u64,
    /// Handshakes that failed or timed out, either side, by reason.
    pub handshake_failures: BTreeMap<&'static str, u64>,
    /// Datagrams dropped on arrival, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Payloads that could not be sent (no session came about, a queue was full).
    pub unsent: u64,
    /// Sessions that ended because nothing was sent or heard on them.
    pub idled: u64,
    /// Sessions that ended because there were too many, the least recently used first.
    pub evicted: u64,
    /// Sessions whose keys were expanded again for a datagram.
    pub rehydrated: u64,
    /// Live sessions whose keys are expanded (gauge).
    pub hot: u64,
    /// Those of them that stay hot because the peer is a ring neighbour (gauge).
    pub kept: u64,
    /// Live sessions that keep only their secrets (gauge).
    pub dehydrated: u64,
    /// Sessions that ended because what the peer's certificate rests on fell, by reason.
    pub fallen: BTreeMap<&'static str, u64>,
    /// Members that were doubted here, by what their sessions tell of the cause: `silence` where
    /// nothing is amiss with it.
    pub doubts: BTreeMap<&'static str, u64>,
    /// Handshakes begun because our certificate was exchanged.
    pub rekeys: u64,
    /// Members whose session rests on an earlier certificate of ours (gauge).
    pub outdated: u64,
    /// Live sessions (gauge).
    pub sessions: u64,
    /// Handshakes under way (gauge).
    pub half_open: u64,
    /// The most handshakes under way at once since the start (gauge).
    pub half_open_peak: u64,
    /// Cookies asked for: INITs that were answered by a RETRY (rule S-7).
    pub retries_out: u64,
    /// Cookies that we were asked for, and showed.
    pub retries_in: u64,
    /// Handshakes of others that began with a cookie of ours.
    pub cookies: u64,
    /// Handshakes of others that began with the proof of a live session.
    pub proofs: u64,
    /// Cookies and proofs that did not hold; whoever showed one counts as a stranger.
    pub worthless_tokens: BTreeMap<&'static str, u64>,
    /// Processor time that answering strangers and members was granted, microseconds by the model
    /// of rule S-7.
    pub answering_us: u64,
    /// What the newest confirmed handshake negotiated.
    pub tls: Option<TlsSummary>,
}
