//! The network between simulated nodes: latency, loss, cuts and partitions, and a count of every
//! fault that fired.

use std::collections::BTreeSet;
use std::time::Duration;

/// Faults in force. Nodes are named by their index.
#[derive(Clone, Debug)]
pub struct Network {
    /// One-way latency is uniform in this range.
    pub latency: (Duration, Duration),
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that a datagram arrives twice.
    pub duplication: f64,
    cuts: BTreeSet<(usize, usize)>,
    /// Datagrams lost by chance.
    pub lost: u64,
    /// Datagrams and streams stopped by a cut.
    pub withheld: u64,
    /// Datagrams delivered twice.
    pub duplicated: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            latency: (Duration::from_micros(300), Duration::from_millis(1)),
            loss: 0.0,
            duplication: 0.0,
            cuts: BTreeSet::new(),
            lost: 0,
            withheld: 0,
            duplicated: 0,
        }
    }
}

impl Network {
    /// Stops everything from `a` to `b`.
    pub fn cut_one_way(&mut self, a: usize, b: usize) {
        self.cuts.insert((a, b));
    }

    /// Stops everything between the two sides.
    pub fn part(&mut self, left: &[usize], right: &[usize]) {
        for a in left {
            for b in right {
                self.cut_one_way(*a, *b);
                self.cut_one_way(*b, *a);
            }
        }
    }

    /// Ends every cut.
    pub fn heal(&mut self) {
        self.cuts.clear();
    }

    pub(crate) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cuts.contains(&(a, b))
    }

    /// One-way delays of the copies that arrive of a datagram from `a` to `b`.
    pub(crate) fn carry(&mut self, rng: &mut fastrand::Rng, a: usize, b: usize) -> Vec<Duration> {
        if self.is_cut(a, b) {
            self.withheld += 1;
            return Vec::new();
        }
        if self.loss > 0.0 && rng.f64() < self.loss {
            self.lost += 1;
            return Vec::new();
        }
        let mut copies = vec![self.delay(rng)];
        if self.duplication > 0.0 && rng.f64() < self.duplication {
            self.duplicated += 1;
            copies.push(self.delay(rng));
        }
        copies
    }

    pub(crate) fn delay(&self, rng: &mut fastrand::Rng) -> Duration {
        let (low, high) = self.latency;
        low + (high - low).mul_f64(rng.f64())
    }
}
