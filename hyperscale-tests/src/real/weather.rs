//! The simulator's network, between real sockets.
//!
//! Losses, cuts, regions and blocked members are decided by the same [`Network`] as in virtual time
//! and drawn from the same seed; only the order in which datagrams ask is the machine's.
//!
//! Invariant: who was placed keeps its number while it is down, so that what is still on its way to
//! a killed agent is judged like everything else.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_gossip::io::weather::Weather;

use super::flags::Hazards;
use crate::Network;
use crate::fault::Fired;
use crate::plan::{Plan, Scenario, Variant};
use crate::scenario::regions;

/// Ports of an address.
const PORTS: usize = 1 << 16;

/// The network that agents of a run stand on.
pub(crate) struct Sky {
    air: Mutex<Air>,
    /// Who is bound to a port of loopback, counted from one; zero is nobody of ours.
    bound: Box<[AtomicU32]>,
    blocked: Box<[AtomicBool]>,
    pauses: AtomicU64,
    held: AtomicU64,
    delayed: AtomicU64,
}

/// What becomes of a datagram: each copy is taken after so long.
pub(crate) type Fate = [Option<Duration>; 2];

struct Air {
    network: Network,
    /// Probability that a datagram arrives twice, both copies: for who carries bytes itself.
    duplication: f64,
    rng: fastrand::Rng,
    fired: Fired,
}

impl Sky {
    /// The network of a plan; `None` where nothing is asked for that loopback does not do itself.
    pub(super) fn of(plan: &Plan, hazards: Hazards) -> Option<Arc<Self>> {
        let calm = match plan.scenario {
            Scenario::Steady
            | Scenario::Crash
            | Scenario::RollingRestart
            | Scenario::Churn
            | Scenario::AntiEntropy
            | Scenario::Certificates
            | Scenario::Exhaustion
            | Scenario::JoinStorm => true,
            Scenario::Asymmetric
            | Scenario::FlipFlop
            | Scenario::LifeguardInterval
            | Scenario::Threshold
            | Scenario::Partition
            | Scenario::Drill
            | Scenario::Wan => false,
        };
        if calm && plan.loss == 0.0 && plan.regions <= 1 && hazards == Hazards::default() {
            return None;
        }
        // Loopback has a latency of its own.
        let mut network = Network::of_latency((Duration::ZERO, hazards.jitter()));
        (network.loss, network.reordering) = (plan.loss, hazards.reordering);
        if plan.regions > 1 {
            let of = (0..plan.nodes).map(|node| regions::of(node, plan.regions)).collect();
            network.set_regions(of, &regions::latencies(plan.regions));
        }
        Some(Arc::new(Self::between(plan.nodes, plan.seed, network, hazards.duplication)))
    }

    /// A network of one's own between so many nodes.
    pub(crate) fn between(nodes: usize, seed: u64, network: Network, duplication: f64) -> Self {
        let rng = fastrand::Rng::with_seed(seed ^ 0x0077_6561_7468_6572);
        Self {
            air: Mutex::new(Air { network, duplication, rng, fired: Fired::default() }),
            bound: (0..PORTS).map(|_| AtomicU32::new(0)).collect(),
            blocked: (0..nodes).map(|_| AtomicBool::new(false)).collect(),
            pauses: AtomicU64::new(0),
            held: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
        }
    }

    /// Faults that a run under this network has to show, by the names of their counters.
    pub(super) fn promised(plan: &Plan, hazards: Hazards) -> Vec<&'static str> {
        let mut promised = Vec::new();
        let mut add = |asked: bool, name| {
            if asked {
                promised.push(name);
            }
        };
        add(plan.loss > 0.0, "lost");
        add(hazards.duplication > 0.0, "duplicated");
        add(hazards.reordering > 0.0, "reordered");
        add(hazards.jitter_ms > 0, "delayed");
        add(matches!(plan.scenario, Scenario::Partition | Scenario::Wan), "withheld");
        let one_way = plan.scenario == Scenario::Asymmetric;
        add(one_way && plan.variant == Variant::Egress, "lost_egress");
        add(one_way && plan.variant != Variant::Egress, "lost_ingress");
        let blocks = matches!(plan.scenario, Scenario::LifeguardInterval | Scenario::Threshold);
        add(blocks, "pauses");
        promised
    }

    /// This node is bound to this address from here on.
    pub(crate) fn place(&self, node: usize, at: SocketAddr) {
        let number = u32::try_from(node + 1).unwrap_or(0);
        self.bound[usize::from(at.port())].store(number, Ordering::Relaxed);
    }

    /// Changes the network.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Network)) {
        change(&mut self.air().network);
    }

    /// Blocks a node, or lets it go on.
    pub(crate) fn block(&self, node: usize, blocked: bool) {
        let before = self.blocked[node].swap(blocked, Ordering::Relaxed);
        self.pauses.fetch_add(u64::from(blocked && !before), Ordering::Relaxed);
    }

    /// How often each kind of fault took effect.
    pub(crate) fn fired(&self) -> Vec<(&'static str, u64)> {
        let mut fired = self.air().fired.clone();
        fired.pauses = self.pauses.load(Ordering::Relaxed);
        fired.held = self.held.load(Ordering::Relaxed);
        let delayed = ("delayed", self.delayed.load(Ordering::Relaxed));
        let all = fired.by_name().into_iter().chain([delayed]);
        all.filter(|(_, times)| *times > 0).collect()
    }

    /// What becomes of a datagram between two nodes, for who carries both copies of it.
    pub(crate) fn fate(&self, from: usize, to: usize) -> Fate {
        let Air { network, duplication, rng, fired } = &mut *self.air();
        let Some(first) = network.carry(rng, fired, from, to).delay else { return [None; 2] };
        let twice = *duplication > 0.0 && rng.f64() < *duplication;
        let second = twice.then(|| network.delay(rng, from, to));
        fired.duplicated += u64::from(twice);
        fired.overtaken += u64::from(second.is_some_and(|second| second < first));
        self.delayed.fetch_add(u64::from(!first.is_zero()), Ordering::Relaxed);
        [Some(first), second]
    }

    /// Whether a node neither sends nor receives at the moment.
    pub(crate) fn blocks(&self, node: usize) -> bool {
        self.blocked[node].load(Ordering::Relaxed)
    }

    /// A datagram waits for who is blocked.
    pub(crate) fn held(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether any two nodes are cut off from each other.
    pub(crate) fn is_parted(&self) -> bool {
        self.air().network.is_parted()
    }

    /// Whether no stream passes between two nodes; it needs both directions.
    pub(crate) fn parts(&self, a: usize, b: usize) -> bool {
        let mut air = self.air();
        let parted = air.network.is_cut(a, b) || air.network.is_cut(b, a);
        air.fired.withheld += u64::from(parted);
        parted
    }

    fn air(&self) -> MutexGuard<'_, Air> {
        self.air.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn node(&self, at: SocketAddr) -> Option<usize> {
        let number = self.bound[usize::from(at.port())].load(Ordering::Relaxed);
        (number as usize).checked_sub(1)
    }
}

impl Weather for Sky {
    fn carry(&self, from: SocketAddr, to: SocketAddr) -> Option<Duration> {
        let (Some(from), Some(to)) = (self.node(from), self.node(to)) else {
            return Some(Duration::ZERO);
        };
        let Air { network, rng, fired, .. } = &mut *self.air();
        let delay = network.carry(rng, fired, from, to).delay;
        let late = delay.is_some_and(|delay| !delay.is_zero());
        self.delayed.fetch_add(u64::from(late), Ordering::Relaxed);
        delay
    }

    fn is_blocked(&self, at: SocketAddr) -> bool {
        self.node(at).is_some_and(|node| self.blocked[node].load(Ordering::Relaxed))
    }

    fn holds(&self) {
        self.held();
    }

    /// A stream needs both directions.
    fn connects(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let (Some(from), Some(to)) = (self.node(from), self.node(to)) else { return true };
        let air = self.air();
        !air.network.is_cut(from, to) && !air.network.is_cut(to, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_calm_plan_has_no_weather() {
        assert!(Sky::of(&Plan::new(Scenario::Crash, 8), Hazards::default()).is_none());
        let lossy = Plan { loss: 0.1, ..Plan::new(Scenario::Crash, 8) };
        assert!(Sky::of(&lossy, Hazards::default()).is_some());
    }

    #[test]
    fn a_cut_stops_datagrams_and_streams_and_nobody_else() {
        let sky = Sky::of(&Plan::new(Scenario::Partition, 3), Hazards::default())
            .expect("a partition has a weather");
        for node in 0..3 {
            sky.place(node, at(7_000 + node as u16));
        }
        sky.change(|network| network.part(&[0], &[1, 2]));
        let (a, b, c) = (at(7_000), at(7_001), at(7_002));
        assert_eq!(sky.carry(a, b), None);
        assert_eq!(sky.carry(b, c), Some(Duration::ZERO));
        assert!(!sky.connects(b, a) && sky.connects(b, c) && sky.connects(at(9), a));
        sky.change(Network::heal);
        assert_eq!(sky.carry(a, b), Some(Duration::ZERO));
        assert_eq!(sky.fired(), [("withheld", 1)]);
    }

    #[test]
    fn hazards_are_a_weather_and_a_second_copy_is_one_of_them() {
        let hazards = Hazards { duplication: 0.5, reordering: 0.5, jitter_ms: 3 };
        let plan = Plan::new(Scenario::Steady, 2);
        let sky = Sky::of(&plan, hazards).expect("a weather");
        let copies: usize = (0..1_000).map(|_| sky.fate(0, 1).iter().flatten().count()).sum();
        let fired = sky.fired();
        let count = |name| fired.iter().find(|(known, _)| *known == name).map_or(0, |pair| pair.1);
        assert_eq!(copies as u64, 1_000 + count("duplicated"));
        for name in Sky::promised(&plan, hazards) {
            assert!(count(name) > 100, "{name}: {fired:?}");
        }
        assert_eq!(Sky::promised(&plan, Hazards::default()), [""; 0]);
    }

    #[test]
    fn who_is_blocked_is_counted_once() {
        let sky = Sky::of(&Plan::new(Scenario::Threshold, 2), Hazards::default())
            .expect("blocking is weather");
        sky.place(1, at(7_100));
        sky.block(1, true);
        sky.block(1, true);
        sky.holds();
        assert!(sky.is_blocked(at(7_100)) && !sky.is_blocked(at(7_101)));
        sky.block(1, false);
        assert!(!sky.is_blocked(at(7_100)));
        assert_eq!(sky.fired(), [("pauses", 1), ("held", 1)]);
    }
}
