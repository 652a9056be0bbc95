//! The network between simulated nodes: latency by region, losses, partitions, disorder.
//!
//! Invariant: a fault that is off draws no random number, so that worlds without faults do not
//! depend on which faults exist.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fault::Fired;

/// Datagrams held back arrive up to so much later.
const HELD_BACK: Duration = Duration::from_millis(30);

/// Least and greatest one-way latency.
pub type Latency = (Duration, Duration);

/// Faults in force. Nodes are named by their index.
#[derive(Clone, Debug)]
pub struct Network {
    /// One-way latency is uniform in this range, where no regions are set.
    pub latency: Latency,
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that a datagram arrives twice.
    pub duplication: f64,
    /// Probability that a datagram is held back.
    pub reordering: f64,
    /// Probability that a datagram's seal does not open.
    pub corruption: f64,
    /// Probability that a datagram has flipped bits behind a valid seal.
    pub garbling: f64,
    regions: Regions,
    egress: Vec<f64>,
    ingress: Vec<f64>,
    partitions: Vec<Vec<u8>>,
    cuts: BTreeSet<(usize, usize)>,
}

#[derive(Clone, Debug, Default)]
struct Regions {
    of: Vec<u8>,
    count: usize,
    latency: Vec<Latency>,
}

/// What becomes of one datagram.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    /// One-way delay until it is taken: the sooner of two copies; none where nothing arrives.
    pub(crate) delay: Option<Duration>,
    /// Its bytes change behind a valid seal.
    pub(crate) garbled: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            latency: (Duration::from_micros(300), Duration::from_millis(1)),
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            corruption: 0.0,
            garbling: 0.0,
            regions: Regions::default(),
            egress: Vec::new(),
            ingress: Vec::new(),
            partitions: Vec::new(),
            cuts: BTreeSet::new(),
        }
    }
}

impl Network {
    /// A network without faults, of this latency.
    pub fn of_latency(latency: Latency) -> Self {
        Self { latency, ..Self::default() }
    }

    /// Puts nodes into regions: `of[node]` is a node's region, 0 where the list ends, and
    /// `latency[from][to]` the one-way latency between two.
    ///
    /// # Panics
    /// When the matrix is not square or a region lies outside it.
    pub fn set_regions(&mut self, of: Vec<u8>, latency: &[Vec<Latency>]) {
        let count = latency.len();
        assert!(latency.iter().all(|row| row.len() == count), "the matrix is square");
        assert!(of.iter().all(|region| usize::from(*region) < count), "every region has a row");
        self.regions = Regions { of, count, latency: latency.concat() };
    }

    /// The region of a node.
    pub fn region(&self, node: usize) -> u8 {
        self.regions.of.get(node).copied().unwrap_or(0)
    }

    /// The regions of two nodes; none where there is one region for all.
    pub(crate) fn regions(&self, from: usize, to: usize) -> Option<(u8, u8)> {
        (self.regions.count > 1).then(|| (self.region(from), self.region(to)))
    }

    /// Datagrams that `node` sends are lost with this probability.
    pub fn set_egress(&mut self, node: usize, loss: f64) {
        set(&mut self.egress, node, loss);
    }

    /// Datagrams to `node` are lost with this probability.
    pub fn set_ingress(&mut self, node: usize, loss: f64) {
        set(&mut self.ingress, node, loss);
    }

    /// Stops everything from `a` to `b`.
    pub fn cut_one_way(&mut self, a: usize, b: usize) {
        self.cuts.insert((a, b));
    }

    /// Stops everything between the two sides; whoever is on neither reaches both.
    pub fn part(&mut self, left: &[usize], right: &[usize]) {
        let nodes = left.iter().chain(right).max().map_or(0, |most| most + 1);
        let mut sides = vec![0; nodes];
        for (side, members) in [(1, left), (2, right)] {
            for member in members {
                sides[*member] = side;
            }
        }
        self.part_by_mask(sides);
    }

    /// Stops everything between nodes of different numbers; number 0 reaches everybody. Partitions
    /// add up until they are healed.
    pub fn part_by_mask(&mut self, sides: Vec<u8>) {
        self.partitions.push(sides);
    }

    /// Ends every partition and every cut.
    pub fn heal(&mut self) {
        self.partitions.clear();
        self.cuts.clear();
    }

    /// Whether nothing passes from `a` to `b`.
    pub fn is_cut(&self, a: usize, b: usize) -> bool {
        let side = |sides: &Vec<u8>, node| sides.get(node).copied().unwrap_or(0);
        let parted = |sides: &Vec<u8>| {
            let (a, b) = (side(sides, a), side(sides, b));
            a != b && a != 0 && b != 0
        };
        self.partitions.iter().any(parted) || (!self.cuts.is_empty() && self.cuts.contains(&(a, b)))
    }

    /// Whether any partition or cut stands.
    pub fn is_parted(&self) -> bool {
        !(self.partitions.is_empty() && self.cuts.is_empty())
    }

    /// Whether everything arrives, as it was sent: duplicates and disorder may be.
    pub fn is_calm(&self) -> bool {
        let losses = [self.loss, self.corruption, self.garbling];
        let some = |losses: &[f64]| losses.iter().any(|loss| *loss > 0.0);
        !(self.is_parted() || some(&losses) || some(&self.egress) || some(&self.ingress))
    }

    /// Ends every fault; latency and regions stay.
    pub fn calm(&mut self) {
        let Self { latency, regions, .. } = std::mem::take(self);
        *self = Self { latency, regions, ..Self::default() };
    }

    /// What becomes of a datagram from `a` to `b`.
    pub(crate) fn carry(
        &self,
        rng: &mut fastrand::Rng,
        fired: &mut Fired,
        a: usize,
        b: usize,
    ) -> Carried {
        if self.is_cut(a, b) {
            fired.withheld += 1;
            return Carried::default();
        }
        if chance(rng, self.loss) {
            fired.lost += 1;
            return Carried::default();
        }
        if chance(rng, self.egress.get(a).copied().unwrap_or(0.0)) {
            fired.lost_egress += 1;
            return Carried::default();
        }
        if chance(rng, self.ingress.get(b).copied().unwrap_or(0.0)) {
            fired.lost_ingress += 1;
            return Carried::default();
        }
        if chance(rng, self.corruption) {
            fired.corrupted += 1;
            return Carried::default();
        }
        let mut first = self.delay(rng, a, b);
        if chance(rng, self.reordering) {
            fired.reordered += 1;
            first += HELD_BACK.mul_f64(rng.f64());
        }
        if chance(rng, self.duplication) {
            fired.duplicated += 1;
            let second = self.delay(rng, a, b);
            fired.overtaken += u64::from(second < first);
            // The receiver's window refuses the later copy (rule S-3), whichever that is.
            first = first.min(second);
        }
        let garbled = chance(rng, self.garbling);
        Carried { delay: Some(first), garbled }
    }

    pub(crate) fn delay(&self, rng: &mut fastrand::Rng, a: usize, b: usize) -> Duration {
        let (low, high) = if self.regions.count == 0 {
            self.latency
        } else {
            let row = usize::from(self.region(a)) * self.regions.count;
            self.regions.latency[row + usize::from(self.region(b))]
        };
        Duration::from_nanos(rng.u64(low.as_nanos() as u64..=high.as_nanos() as u64))
    }
}

fn chance(rng: &mut fastrand::Rng, probability: f64) -> bool {
    probability > 0.0 && rng.f64() < probability
}

fn set(losses: &mut Vec<f64>, node: usize, loss: f64) {
    if losses.len() <= node {
        losses.resize(node + 1, 0.0);
    }
    losses[node] = loss;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_add_up_and_the_middle_reaches_both() {
        let mut network = Network { loss: 0.01, ..Network::default() };
        network.part(&[1], &[2]);
        assert!(network.is_cut(1, 2) && network.is_cut(2, 1));
        assert!(!network.is_cut(0, 1) && !network.is_cut(0, 2) && !network.is_cut(2, 9));
        network.part(&[0], &[3, 1]);
        assert!(network.is_cut(1, 2) && network.is_cut(0, 3) && !network.is_cut(2, 3));
        network.cut_one_way(2, 3);
        assert!(network.is_cut(2, 3) && !network.is_cut(3, 2));
        network.heal();
        assert!(!network.is_cut(1, 2) && !network.is_cut(2, 3));
        assert!((network.loss - 0.01).abs() < 1e-12, "what is lost by chance is no cut");
    }

    #[test]
    fn regions_decide_the_latency() {
        let mut network = Network::default();
        let ms = |low, high| (Duration::from_millis(low), Duration::from_millis(high));
        network.set_regions(vec![0, 1], &[vec![ms(1, 2), ms(80, 90)], vec![ms(70, 75), ms(1, 2)]]);
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..100 {
            let there = network.delay(&mut rng, 0, 1);
            let back = network.delay(&mut rng, 1, 5);
            assert!((80..=90).contains(&there.as_millis()), "{there:?}");
            assert!((70..=75).contains(&back.as_millis()), "{back:?}");
        }
    }

    /// Of two copies the sooner is taken: a datagram that is duplicated comes no later, and often
    /// sooner, than it would have come alone.
    #[test]
    fn the_sooner_of_two_copies_arrives() {
        let [mut once, mut twice] = [Network::default(), Network::default()];
        (once.reordering, twice.reordering) = (1.0, 1.0);
        twice.duplication = 1.0;
        let (mut sooner, mut overtaken) = (0, 0);
        for seed in 0..200 {
            let carry = |network: &Network, fired: &mut Fired| {
                let carried = network.carry(&mut fastrand::Rng::with_seed(seed), fired, 0, 1);
                carried.delay.expect("nothing is lost")
            };
            let (mut none, mut fired) = (Fired::default(), Fired::default());
            let (alone, doubled) = (carry(&once, &mut none), carry(&twice, &mut fired));
            assert!(doubled <= alone, "seed {seed}");
            assert_eq!((none.duplicated, fired.duplicated), (0, 1));
            sooner += u64::from(doubled < alone);
            overtaken += fired.overtaken;
        }
        assert!(sooner > 100 && sooner == overtaken, "{sooner} sooner, {overtaken} overtaken");
    }

    #[test]
    fn every_loss_is_counted_by_its_cause() {
        let mut network = Network { loss: 0.2, corruption: 0.2, ..Network::default() };
        network.set_egress(0, 0.5);
        network.set_ingress(1, 0.5);
        let (mut rng, mut fired) = (fastrand::Rng::with_seed(1), Fired::default());
        let arrived = (0..1_000)
            .filter(|_| network.carry(&mut rng, &mut fired, 0, 1).delay.is_some())
            .count();
        let Fired { lost, lost_egress, lost_ingress, corrupted, .. } = fired;
        assert!([lost, lost_egress, lost_ingress, corrupted].iter().all(|count| *count > 20));
        assert_eq!(arrived as u64 + lost + lost_egress + lost_ingress + corrupted, 1_000);
    }
}
