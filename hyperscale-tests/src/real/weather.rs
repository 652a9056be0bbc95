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

use crate::Network;
use crate::fault::Fired;
use crate::plan::{Plan, Scenario};
use crate::scenario::regions;

/// Ports of an address.
const PORTS: usize = 1 << 16;

/// The network that agents of a run stand on.
pub(super) struct Sky {
    air: Mutex<Air>,
    /// Who is bound to a port of loopback, counted from one; zero is nobody of ours.
    bound: Box<[AtomicU32]>,
    blocked: Box<[AtomicBool]>,
    pauses: AtomicU64,
    held: AtomicU64,
}

struct Air {
    network: Network,
    rng: fastrand::Rng,
    fired: Fired,
}

impl Sky {
    /// The network of a plan; `None` where it asks for nothing that loopback does not do itself.
    pub(super) fn of(plan: &Plan) -> Option<Arc<Self>> {
        let calm = match plan.scenario {
            Scenario::Steady
            | Scenario::Crash
            | Scenario::RollingRestart
            | Scenario::Churn
            | Scenario::AntiEntropy
            | Scenario::Certificates
            | Scenario::JoinStorm => true,
            Scenario::Asymmetric
            | Scenario::FlipFlop
            | Scenario::LifeguardInterval
            | Scenario::Threshold
            | Scenario::Partition
            | Scenario::Wan => false,
        };
        if calm && plan.loss == 0.0 && plan.regions <= 1 {
            return None;
        }
        // Loopback has a latency of its own.
        let latency = (Duration::ZERO, Duration::ZERO);
        let mut network = Network::default();
        (network.latency, network.loss) = (latency, plan.loss);
        if plan.regions > 1 {
            let of = (0..plan.nodes).map(|node| regions::of(node, plan.regions)).collect();
            network.set_regions(of, &regions::latencies(plan.regions));
        }
        let rng = fastrand::Rng::with_seed(plan.seed ^ 0x0077_6561_7468_6572);
        Some(Arc::new(Self {
            air: Mutex::new(Air { network, rng, fired: Fired::default() }),
            bound: (0..PORTS).map(|_| AtomicU32::new(0)).collect(),
            blocked: (0..plan.nodes).map(|_| AtomicBool::new(false)).collect(),
            pauses: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }))
    }

    /// This node is bound to this address from here on.
    pub(super) fn place(&self, node: usize, at: SocketAddr) {
        let number = u32::try_from(node + 1).unwrap_or(0);
        self.bound[usize::from(at.port())].store(number, Ordering::Relaxed);
    }

    /// Changes the network.
    pub(super) fn change(&self, change: impl FnOnce(&mut Network)) {
        change(&mut self.air().network);
    }

    /// Blocks a node, or lets it go on.
    pub(super) fn block(&self, node: usize, blocked: bool) {
        let before = self.blocked[node].swap(blocked, Ordering::Relaxed);
        self.pauses.fetch_add(u64::from(blocked && !before), Ordering::Relaxed);
    }

    /// How often each kind of fault took effect.
    pub(super) fn fired(&self) -> Vec<(&'static str, u64)> {
        let mut fired = self.air().fired.clone();
        fired.pauses = self.pauses.load(Ordering::Relaxed);
        fired.held = self.held.load(Ordering::Relaxed);
        fired.by_name().into_iter().filter(|(_, times)| *times > 0).collect()
    }

    fn air(&self) -> MutexGuard<'_, Air> {
        self.air.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, at: SocketAddr) -> Option<usize> {
        let number = self.bound[usize::from(at.port())].load(Ordering::Relaxed);
        (number as usize).checked_sub(1)
    }
}

impl Weather for Sky {
    fn carry(&self, from: SocketAddr, to: SocketAddr) -> Option<Duration> {
        let (Some(from), Some(to)) = (self.node(from), self.node(to)) else {
            return Some(Duration::ZERO);
        };
        let Air { network, rng, fired } = &mut *self.air();
        network.carry(rng, fired, from, to).delay
    }

    fn is_blocked(&self, at: SocketAddr) -> bool {
        self.node(at).is_some_and(|node| self.blocked[node].load(Ordering::Relaxed))
    }

    fn holds(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
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
        assert!(Sky::of(&Plan::new(Scenario::Crash, 8)).is_none());
        let lossy = Plan { loss: 0.1, ..Plan::new(Scenario::Crash, 8) };
        assert!(Sky::of(&lossy).is_some());
    }

    #[test]
    fn a_cut_stops_datagrams_and_streams_and_nobody_else() {
        let sky = Sky::of(&Plan::new(Scenario::Partition, 3)).expect("a partition has a weather");
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
    fn who_is_blocked_is_counted_once() {
        let sky = Sky::of(&Plan::new(Scenario::Threshold, 2)).expect("blocking is weather");
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
