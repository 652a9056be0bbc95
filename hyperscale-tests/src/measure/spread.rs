//! Percentiles and curves.
//!
//! Percentiles are exact (nearest rank over all samples), so that merging runs is appending.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A 99.9th percentile of fewer samples is an anecdote.
pub const P999_FROM: usize = 4_000;

/// Percentiles of a sample, in the unit of the field that holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Median.
    pub p50: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// 99.9th percentile; absent below [`P999_FROM`] samples.
    pub p999: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Samples.
    pub n: usize,
}

impl Spread {
    /// Of numbers.
    pub fn of(mut sample: Vec<f64>) -> Self {
        sample.sort_by(f64::total_cmp);
        let n = sample.len();
        let rank = |share: f64| {
            let rank = (share * n as f64).ceil() as usize;
            sample.get(rank.saturating_sub(1)).copied()
        };
        let p999 = rank(0.999).filter(|_| n >= P999_FROM);
        Self { p50: rank(0.5), p99: rank(0.99), p999, max: sample.last().copied(), n }
    }

    /// Of times, in milliseconds.
    pub fn of_ms(sample: &[Duration]) -> Self {
        Self::of(sample.iter().map(|span| ms(*span)).collect())
    }
}

/// Milliseconds, to the microsecond.
pub fn ms(span: Duration) -> f64 {
    span.as_micros() as f64 / 1e3
}

/// How many of those who have to learn something have learnt it, over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    expected: usize,
    steps: Vec<u32>,
}

/// Resolution of a curve.
const STEP: Duration = Duration::from_millis(50);
/// Beyond that a curve says nothing that percentiles do not.
const LONGEST: usize = 2_400;

impl Curve {
    /// So many more have to learn.
    pub fn expect(&mut self, more: usize) {
        self.expected += more;
    }

    /// One has learnt.
    pub fn inform(&mut self, after: Duration) {
        let step = (after.as_millis() / STEP.as_millis()) as usize;
        let step = step.min(LONGEST);
        if self.steps.len() <= step {
            self.steps.resize(step + 1, 0);
        }
        self.steps[step] += 1;
    }

    /// Takes in what another run showed.
    pub fn merge(&mut self, other: &Self) {
        self.expected += other.expected;
        if self.steps.len() < other.steps.len() {
            self.steps.resize(other.steps.len(), 0);
        }
        for (mine, theirs) in self.steps.iter_mut().zip(&other.steps) {
            *mine += theirs;
        }
    }

    /// Percentiles of the time until one had learnt, in milliseconds, to the next step; who never
    /// learnt is not among them.
    pub fn spread_ms(&self) -> Spread {
        let n: usize = self.steps.iter().map(|count| *count as usize).sum();
        let at = |step: usize| ((step + 1) as u128 * STEP.as_millis()) as f64;
        let rank = |share: f64| {
            let mut left = (share * n as f64).ceil() as usize;
            self.steps.iter().enumerate().find_map(|(step, count)| {
                let reached = left <= *count as usize;
                left = left.saturating_sub(*count as usize);
                (n > 0 && reached).then(|| at(step))
            })
        };
        let max = self.steps.iter().rposition(|count| *count > 0).map(at);
        let p999 = rank(0.999).filter(|_| n >= P999_FROM);
        Spread { p50: rank(0.5), p99: rank(0.99), p999, max, n }
    }

    /// Points (seconds, share informed), from the origin to the last change.
    pub fn points(&self) -> Vec<(f64, f64)> {
        if self.expected == 0 {
            return Vec::new();
        }
        let mut informed = 0;
        let mut points = vec![(0.0, 0.0)];
        for (step, count) in self.steps.iter().enumerate() {
            informed += u64::from(*count);
            let at = STEP.as_secs_f64() * (step + 1) as f64;
            points.push((at, informed as f64 / self.expected as f64));
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_and_the_last_one_needs_thousands() {
        let spread = Spread::of((1..=100).map(f64::from).collect());
        assert_eq!((spread.p50, spread.p99, spread.p999), (Some(50.0), Some(99.0), None));
        assert_eq!((spread.max, spread.n), (Some(100.0), 100));
        let spread = Spread::of((1..=4_000).map(f64::from).collect());
        assert_eq!(spread.p999, Some(3_996.0));
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }

    #[test]
    fn a_curve_rises_to_the_share_that_learnt() {
        let mut curve = Curve::default();
        curve.expect(4);
        for ms in [10, 60, 60] {
            curve.inform(Duration::from_millis(ms));
        }
        assert_eq!(curve.points(), [(0.0, 0.0), (0.05, 0.25), (0.1, 0.75)]);
        let spread = curve.spread_ms();
        assert_eq!((spread.p50, spread.max, spread.n), (Some(100.0), Some(100.0), 3));
        let mut twice = curve.clone();
        twice.merge(&curve);
        assert_eq!(twice.points(), curve.points());
    }
}
