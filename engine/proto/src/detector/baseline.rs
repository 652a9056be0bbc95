//! How often does a living member answer us in time? (rule D-4)
//!
//! One number a node: the share of pings that came back in time, among pings whose target turned
//! out to live. It weighs every silence: who loses half of everything is not surprised by one more.
//!
//! Invariant: 0 ≤ b ≤ 1; what is used lies within 0.1 … 0.98.

/// Share by which one sample moves the estimate.
const GAIN: f64 = 1.0 / 20.0;
/// Estimate of a node that has seen nothing yet.
const START: f64 = 0.5;
/// Below it a silence would count for nearly nothing, above it a single one for a verdict.
const USED: (f64, f64) = (0.1, 0.98);
/// After so many samples little of the first guess is left in the estimate.
const LEARNED: u32 = 20;
/// Weight of the estimate beside the controls of one test, in samples.
const PRIOR: f64 = 10.0;

/// Probability of a timely ack from a living member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    b: f64,
    samples: u32,
}

impl Default for Baseline {
    fn default() -> Self {
        Self { b: START, samples: 0 }
    }
}

impl Baseline {
    /// A ping to a living member came back in time, or did not.
    pub fn sample(&mut self, timely: bool) {
        let target = if timely { 1.0 } else { 0.0 };
        self.b += (target - self.b) * GAIN;
        self.samples = self.samples.saturating_add(1);
    }

    /// Whether the estimate rests on what was seen rather than on the first guess.
    pub fn is_learned(self) -> bool {
        self.samples >= LEARNED
    }

    /// The estimate within its usable range.
    pub fn used(self) -> f64 {
        clamp(self.b)
    }

    /// The estimate of one test: b' = (10·b + control acks)/(10 + controls).
    pub fn with_controls(self, controls: u32, acked: u32) -> f64 {
        clamp((PRIOR * self.b + f64::from(acked)) / (PRIOR + f64::from(controls)))
    }

    /// As carried by an ack, in 1/65535.
    pub fn to_wire(self) -> u16 {
        // 0 ≤ b ≤ 1, so the product fits; the cast drops a fraction.
        (self.b * f64::from(u16::MAX)) as u16
    }

    /// From an ack.
    pub fn from_wire(value: u16) -> f64 {
        f64::from(value) / f64::from(u16::MAX)
    }
}

fn clamp(b: f64) -> f64 {
    b.clamp(USED.0, USED.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule D-4.
    #[test]
    fn the_estimate_follows_samples_and_stays_usable() {
        let mut baseline = Baseline::default();
        assert!((baseline.used() - 0.5).abs() < 1e-9);
        baseline.sample(true);
        assert!((baseline.used() - 0.525).abs() < 1e-9);
        for _ in 0..1_000 {
            baseline.sample(true);
        }
        assert!((baseline.used() - 0.98).abs() < 1e-9);
        for _ in 0..1_000 {
            baseline.sample(false);
        }
        assert!((baseline.used() - 0.1).abs() < 1e-9);
        assert_eq!(baseline.to_wire(), 0);
    }

    /// Rule D-7: controls that fail with the subject take the blame off it.
    #[test]
    fn controls_outweigh_the_past() {
        let mut baseline = Baseline::default();
        for _ in 0..200 {
            baseline.sample(true);
        }
        assert!(baseline.with_controls(10, 10) > 0.97);
        assert!((baseline.with_controls(10, 0) - 0.5).abs() < 0.01);
        let there_and_back = Baseline::from_wire(baseline.to_wire());
        assert!((there_and_back - baseline.used()).abs() < 0.03);
    }
}
