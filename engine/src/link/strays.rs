//! Which sealed datagrams of no session came here of late.
//!
//! Somebody whose datagrams are not answered cannot tell whether they never arrive or whether the
//! answers do not. A member can ask over a stream, which takes another way (rule S-19); a list of
//! the last packet numbers is all that the answer needs. They are random where somebody asks.
//!
//! Invariants: the newest [`KEPT`] are known, and noting one takes a single store.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Packet numbers kept. A flood of strays makes a question fail, which costs a diagnosis its detail.
pub(crate) const KEPT: usize = 256;

/// Written by a shard, read by the control thread.
pub(crate) struct Strays {
    /// 0: nobody yet.
    latest: [AtomicU64; KEPT],
    next: AtomicUsize,
}

impl Default for Strays {
    fn default() -> Self {
        Self { latest: [const { AtomicU64::new(0) }; KEPT], next: AtomicUsize::new(0) }
    }
}

impl Strays {
    /// One came.
    pub(crate) fn note(&self, packet_number: u64) {
        // Order does not matter: each slot stands for itself.
        let at = self.next.fetch_add(1, Ordering::Relaxed) % KEPT;
        self.latest[at].store(packet_number, Ordering::Relaxed);
    }

    /// Whether this one came of late.
    pub(crate) fn has(&self, packet_number: u64) -> bool {
        packet_number != 0
            && self.latest.iter().any(|one| one.load(Ordering::Relaxed) == packet_number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_known_and_the_rest_forgotten() {
        let strays = Strays::default();
        assert!(!strays.has(0), "nobody came yet");
        for number in 1..=KEPT as u64 + 1 {
            strays.note(number);
        }
        assert!(!strays.has(1), "the oldest made room");
        assert!((2..=KEPT as u64 + 1).all(|number| strays.has(number)));
    }
}
