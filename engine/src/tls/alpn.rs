//! The protocol name that both ends agree on fixes the version of everything inside (rule S-1).
//!
//! Invariant: a session without an agreed name does not exist; rustls alone would allow it.

/// Datagrams.
pub const GOSSIP: &[u8] = b"mesh-gossip/1";

/// Bulk sync over TCP.
pub const SYNC: &[u8] = b"mesh-sync/1";

/// The control server. A client may leave it out, as many do; one that speaks something else is
/// refused, so that no stream of the mesh ends here.
pub const HTTP: &[u8] = b"http/1.1";

/// Whether the handshake agreed on `expected`. Absence is fatal on both sides: a client that
/// offers nothing passes a rustls server, and a server that answers nothing passes a client.
#[must_use]
pub fn ok(negotiated: Option<&[u8]>, expected: &[u8]) -> bool {
    negotiated == Some(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-1.
    #[test]
    fn only_the_expected_name_will_do() {
        assert!(ok(Some(GOSSIP), GOSSIP));
        assert!(!ok(None, GOSSIP));
        assert!(!ok(Some(SYNC), GOSSIP));
    }
}
