//! How well are we ourselves? (rule F-4)
//!
//! A node whose probes fail although its relays answered suspects itself first: its score rises,
//! and its probe interval and timeouts stretch with it. Lifeguard §IV-A (Dadgar et al. 2018).
//!
//! Invariant: 0 ≤ score ≤ 8.

use crate::time::Duration;

/// Worst score.
pub const WORST: u32 = 8;

/// Local health multiplier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Awareness {
    score: u32,
}

impl Awareness {
    /// A probe came back.
    pub fn probe_acked(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// A probe failed: each relay that sent neither ack nor nack counts against us; with nobody
    /// to ask, the failure itself does.
    pub fn probe_failed(&mut self, relays: usize, nacks: usize) {
        let missing = relays.saturating_sub(nacks) as u32;
        self.add(if relays == 0 { 1 } else { missing });
    }

    /// Somebody had reason to doubt us.
    pub fn refuted(&mut self) {
        self.add(1);
    }

    /// The score.
    pub fn score(self) -> u32 {
        self.score
    }

    /// `duration`, stretched by the score.
    pub fn stretch(self, duration: Duration) -> Duration {
        duration * (self.score + 1)
    }

    fn add(&mut self, delta: u32) {
        self.score = (self.score + delta).min(WORST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule F-4.
    #[test]
    fn silence_of_relays_counts_against_us_and_acks_heal() {
        let mut awareness = Awareness::default();
        awareness.probe_failed(3, 3);
        assert_eq!(awareness.score(), 0, "all relays answered: the target is to blame");
        awareness.probe_failed(3, 1);
        assert_eq!(awareness.score(), 2);
        assert_eq!(awareness.stretch(Duration::from_secs(1)), Duration::from_secs(3));
        awareness.probe_failed(0, 0);
        awareness.refuted();
        assert_eq!(awareness.score(), 4);
        awareness.probe_failed(16, 0);
        assert_eq!(awareness.score(), WORST);
        for _ in 0..20 {
            awareness.probe_acked();
        }
        assert_eq!(awareness.score(), 0);
    }
}
