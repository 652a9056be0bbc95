//! Alternatives that take turns, and what came of it.

use std::time::{Duration, Instant};

/// How long an alternative runs before the next one does.
const SLICE: Duration = Duration::from_millis(4);

/// One alternative: does its work so many times.
pub(crate) type Work<'a> = Box<dyn FnMut(u32) + 'a>;

/// A median with its 10th and 90th percentile, and the same of the ratio to a reference.
pub(crate) struct Figure {
    value: [f64; 3],
    ratio: [f64; 3],
}

impl Figure {
    /// Of samples that were taken in turn with those of the reference.
    pub(crate) fn of(samples: &[f64], reference: &[f64]) -> Self {
        let ratios: Vec<f64> = samples.iter().zip(reference).map(|(a, b)| a / b).collect();
        Self { value: spread(samples), ratio: spread(&ratios) }
    }

    pub(crate) fn print(&self, name: &str, unit: &str) {
        let ([low, median, high], [least, ratio, most]) = (self.value, self.ratio);
        println!(
            "  {name:<40} {median:>7.0} {unit} ({low:.0} to {high:.0}), \
             x{ratio:.2} ({least:.2} to {most:.2})"
        );
    }
}

fn spread(samples: &[f64]) -> [f64; 3] {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    [0.1, 0.5, 0.9].map(|share| sorted[(share * (sorted.len() - 1) as f64).round() as usize])
}

/// Runs all in turn, `rounds` times, and prints nanoseconds each; ratios are to the first.
pub(crate) fn compare(rounds: usize, mut alternatives: Vec<(&str, Work<'_>)>) {
    let times: Vec<u32> = alternatives
        .iter_mut()
        .map(|(_, work)| {
            work(2_000);
            let started = Instant::now();
            work(2_000);
            let one = started.elapsed() / 2_000;
            (SLICE.as_nanos() / one.as_nanos().max(1)) as u32
        })
        .collect();
    let mut samples = vec![Vec::new(); alternatives.len()];
    for _ in 0..rounds.max(2) {
        for (place, (_, work)) in alternatives.iter_mut().enumerate() {
            let started = Instant::now();
            work(times[place]);
            let spent = started.elapsed().as_secs_f64() * 1e9;
            samples[place].push(spent / f64::from(times[place]));
        }
    }
    for (place, (name, _)) in alternatives.iter().enumerate() {
        Figure::of(&samples[place], &samples[0]).print(name, "ns");
    }
}
