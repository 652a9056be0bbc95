//! What the links' targets know of datagrams in flight.

use std::collections::HashSet;

use mesh_gossip_proto::wire::header::{DATA, DataHeader, Handshake, INIT, RESP};
use mesh_gossip_proto::{Duration, Instant};

use super::input::Input;

/// How far time leaps, from less than a round trip to more than a session's life.
const LEAPS_MS: [u64; 12] =
    [1, 10, 40, 250, 1_000, 2_999, 3_001, 5_000, 20_000, 61_000, 601_000, 90_000_000];

/// Chooses a leap.
pub(super) fn leap(input: &mut Input<'_>) -> Duration {
    Duration::from_millis(LEAPS_MS[input.below(LEAPS_MS.len())])
}

/// The beginning of every target's time.
pub(super) fn start() -> Instant {
    Instant::ORIGIN + Duration::from_secs(10)
}

/// The sealed part of a datagram: all of it, or a handshake's trailer.
pub(super) fn sealed_part(datagram: &[u8]) -> Option<Vec<u8>> {
    match *datagram.first()? {
        DATA => Some(datagram.to_vec()),
        INIT | RESP => {
            let mut bytes = datagram.to_vec();
            let parts = Handshake::split(&mut bytes).ok()?;
            (!parts.trailer.is_empty()).then(|| parts.trailer.to_vec())
        }
        _ => None,
    }
}

/// Receiver's index and packet number: what must not repeat under one key.
fn nonce(sealed: &[u8]) -> Option<(u32, u64)> {
    let mut bytes = sealed.to_vec();
    let (header, _) = DataHeader::split(&mut bytes).ok()?;
    Some((header.receiver.get(), header.packet_number.get()))
}

/// What one end has sealed, and what the other has opened of it (rule S-4).
#[derive(Default)]
pub(super) struct Ledger {
    sealed: HashSet<Vec<u8>>,
    nonces: HashSet<(u32, u64)>,
    opened: HashSet<(u32, u64)>,
}

impl Ledger {
    /// A datagram leaves its sender. An index stands for one key of that sender.
    pub(super) fn leaves(&mut self, datagram: &[u8]) {
        let Some(sealed) = sealed_part(datagram) else { return };
        let nonce = nonce(&sealed).expect("what we seal has a header");
        assert!(self.nonces.insert(nonce), "a nonce was used twice: {nonce:?}");
        self.sealed.insert(sealed);
    }

    /// A datagram was opened at the other end.
    pub(super) fn opens(&mut self, datagram: &[u8]) {
        let sealed = sealed_part(datagram).expect("what was opened had a sealed part");
        assert!(self.sealed.contains(&sealed), "something was opened that nobody sealed");
        let nonce = nonce(&sealed).expect("what was sealed has a header");
        assert!(self.opened.insert(nonce), "{nonce:?} was opened twice");
    }
}
