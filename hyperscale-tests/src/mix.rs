//! Everything at once: a small mesh under a random mixture of faults and lies, all checkers on.
//!
//! The seed draws the mesh, what befalls it and when. At the end all faults stop, whoever is down
//! starts again, and the mesh has to agree.
//!
//! Invariant: the same seed draws the same mixture and gives the same trace.

use std::time::Duration;

use mesh_gossip_proto::{DenseTable, Detector, Limits};

use crate::checkers::{Checkers, Violation};
use crate::fault::{Fault, Fired};
use crate::table::SimTable;
use crate::world::World;

mod lies;
mod refused;

/// Time to form before the first fault.
const FORMING: Duration = Duration::from_secs(6);
/// All faults lie within so long after that.
const UNREST: (u64, u64) = (30, 60);
/// A mesh that has not agreed so long after its last fault never will: an evicted member may need
/// half a minute of good behaviour to come back (rule D-13), and lone survivors as long to notice.
const PATIENCE: Duration = Duration::from_secs(150);

/// What a run was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Nodes at the start.
    pub nodes: usize,
    /// Which detector ran.
    pub detector: Detector,
    /// Which faults took effect, and how often.
    pub fired: Fired,
    /// Happenings handled.
    pub events: u64,
    /// Time from the last fault to agreement.
    pub settled: Duration,
    /// Hash over everything that happened.
    pub trace_hash: u64,
}

/// Runs the mixture that `seed` draws.
///
/// # Errors
/// The first rule that it broke.
pub fn fault_mix(seed: u64) -> Result<Report, Violation> {
    Mix::<DenseTable>::draw(seed).run()
}

/// The kinds of faults that a sweep has not seen; empty when it has seen them all.
pub fn never_fired(fired: &Fired) -> Vec<&'static str> {
    let silent = |(name, count): (&'static str, u64)| (count == 0).then_some(name);
    fired.by_name().into_iter().filter_map(silent).collect()
}

/// One mixture under way.
struct Mix<T: SimTable> {
    world: World<T>,
    rng: fastrand::Rng,
    nodes: usize,
    detector: Detector,
    archive: refused::Archive,
    /// What comes when, after the mesh has had time to form.
    plan: Vec<(Duration, Act)>,
}

/// What a plan consists of: faults, and lies that are thought up when their time comes.
enum Act {
    Fault(Fault),
    Lie,
    /// A lie whose refusal is looked at.
    OpenLie,
}

/// So many kinds are drawn from.
const KINDS: u8 = 17;
/// Those that leave the network as it is: crash, leave, join, skew, new certificates with lies.
const CALM: [u8; 5] = [0, 2, 3, 14, 16];

/// So small that two dozen members and a liar reach them.
fn small_limits() -> Limits {
    Limits {
        members: 128,
        queue_entries: 12,
        pulls: 6,
        relays: 4,
        tests: 6,
        proofs: 4,
        ..Limits::default()
    }
}

impl<T: SimTable> Mix<T> {
    fn draw(seed: u64) -> Self {
        // Another stream than the world's, which begins with the seed itself.
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x6d69_7865_645f_7570);
        let nodes = rng.usize(4..=24);
        let detector = if rng.u8(..4) == 0 { Detector::Lifeguard } else { Detector::Observers };
        let world = World::seeded(seed)
            .configured(|config| {
                config.detector = detector;
                config.limits = small_limits();
            })
            .seeds(&[0, 1])
            .recording(false)
            .taped()
            .checked();
        let world = world.nodes(nodes);
        let archive = refused::Archive::default();
        let mut mix = Self { world, rng, nodes, detector, archive, plan: Vec::new() };
        let unrest = mix.rng.u64(UNREST.0..=UNREST.1) * 1_000;
        // Behind a faulty network a false eviction may be nobody's lie: every third mesh has a
        // sound one, and liars from beginning to end.
        let calm = mix.rng.u8(..3) == 0;
        for _ in 0..mix.rng.usize(4..=10) {
            let kind = if calm { CALM[mix.rng.usize(..CALM.len())] } else { mix.rng.u8(..KINDS) };
            mix.plan_one(unrest, kind);
        }
        if calm {
            mix.plan_lies(Duration::ZERO, Duration::from_millis(unrest));
        }
        mix.plan.sort_by_key(|(at, _)| *at);
        mix
    }

    /// A node, any.
    fn node(&mut self) -> usize {
        self.rng.usize(..self.nodes)
    }

    /// Some nodes, at least one and at most `share` of all.
    fn some(&mut self, share: f64) -> Vec<usize> {
        let most = ((self.nodes as f64 * share) as usize).max(1);
        let count = self.rng.usize(1..=most);
        (0..count).map(|_| self.node()).collect()
    }

    /// Adds one misfortune, which begins within `unrest` milliseconds and ends in time.
    fn plan_one(&mut self, unrest: u64, kind: u8) {
        let begins = self.rng.u64(..unrest);
        let ends = (begins + self.rng.u64(200..20_000)).min(unrest);
        let [begins, ends] = [begins, ends].map(Duration::from_millis);
        let span = ends - begins;
        let odds = self.rng.f64();
        let mut put = Vec::new();
        let mut pair = |first, last| put.extend([(begins, first), (ends, last)]);
        match kind {
            0 => {
                let nodes = self.some(0.5);
                pair(Fault::Crash(nodes.clone()), Fault::Restart(nodes));
            }
            1 => {
                let nodes = self.some(0.4);
                pair(Fault::Pause(nodes.clone()), Fault::Resume(nodes));
            }
            2 => {
                // It comes back after its leave, once it has stopped.
                let nodes = self.some(0.2);
                put.push((begins, Fault::Leave(nodes.clone())));
                put.push((begins + span / 2, Fault::Crash(nodes.clone())));
                put.push((ends, Fault::Restart(nodes)));
            }
            3 => put.push((begins, Fault::JoinCold(self.rng.usize(1..=2)))),
            4 => {
                let (left, right) = (0..self.nodes).partition(|_| self.rng.bool());
                pair(Fault::Part { left, right }, Fault::Heal);
            }
            5 => {
                let sides = (0..self.nodes).map(|_| self.rng.u8(..4)).collect();
                pair(Fault::PartByMask(sides), Fault::Heal);
            }
            6 => {
                let (from, to) = (self.node(), self.node());
                pair(Fault::CutOneWay { from, to }, Fault::Heal);
            }
            7 => pair(Fault::Loss(odds * 0.35), Fault::Loss(0.0)),
            8 => {
                let nodes = self.some(0.3);
                let first = Fault::Egress { nodes: nodes.clone(), loss: odds };
                pair(first, Fault::Egress { nodes, loss: 0.0 });
            }
            9 => {
                let nodes = self.some(0.3);
                let first = Fault::Ingress { nodes: nodes.clone(), loss: odds };
                pair(first, Fault::Ingress { nodes, loss: 0.0 });
            }
            10 => pair(Fault::Duplication(odds * 0.5), Fault::Duplication(0.0)),
            11 => pair(Fault::Reordering(odds * 0.5), Fault::Reordering(0.0)),
            12 => pair(Fault::Corruption(odds * 0.3), Fault::Corruption(0.0)),
            13 => pair(Fault::Garbling(odds * 0.3), Fault::Garbling(0.0)),
            14 => {
                let nodes = self.some(0.2);
                let by_ms = self.rng.i64(-60_000..60_000);
                put.push((begins, Fault::Skew { nodes: nodes.clone(), by_ms }));
                put.push((begins, Fault::Crash(nodes.clone())));
                put.push((ends, Fault::Restart(nodes)));
            }
            15 => {
                let nodes = self.some(0.3);
                pair(Fault::Expire(nodes.clone()), Fault::Rekey(nodes));
            }
            _ => {
                put.push((begins, Fault::Rekey(self.some(0.5))));
                self.plan_lies(begins, ends);
            }
        }
        self.plan.extend(put.into_iter().map(|(at, fault)| (at, Act::Fault(fault))));
    }

    /// Somebody lies for a while: own lies, and what others said a while ago.
    fn plan_lies(&mut self, begins: Duration, ends: Duration) {
        let span = (ends - begins).as_millis() as u64;
        for _ in 0..self.rng.usize(5..60) {
            let at = begins + Duration::from_millis(self.rng.u64(..=span));
            let act = match self.rng.u8(..6) {
                0 => {
                    let (by, to) = (self.node(), self.node());
                    Act::Fault(Fault::Replay { by, to })
                }
                1 | 2 => Act::OpenLie,
                _ => Act::Lie,
            };
            self.plan.push((at, act));
        }
    }

    fn run(mut self) -> Result<Report, Violation> {
        self.world.run_for(FORMING);
        let begun = self.world.now();
        for (at, act) in std::mem::take(&mut self.plan) {
            let until = begun + at;
            self.world.run_for(until.since(self.world.now()));
            self.remember();
            match act {
                Act::Fault(fault) => self.world.apply(&fault),
                Act::Lie => self.lie(),
                Act::OpenLie => self.lie_openly()?,
            }
            self.check()?;
            self.look_for_calm();
        }
        self.end_all_faults();
        self.look_for_calm();
        let pace = Duration::from_millis(500);
        let settled =
            self.world.run_until_every(pace, PATIENCE, |world| world.agree(&world.live()));
        self.settled()?;
        Ok(Report {
            seed: self.world.seed(),
            nodes: self.nodes,
            detector: self.detector,
            fired: self.world.fired().clone(),
            events: self.world.ledger().events,
            settled: settled.unwrap_or(PATIENCE),
            trace_hash: self.world.trace_hash(),
        })
    }

    /// Tells the checkers whether a member can be out of reach through no fault of its own.
    fn look_for_calm(&mut self) {
        let roll = self.world.roll();
        let moving = (0..self.world.len()).all(|node| !roll.standing(node).paused);
        let judged = match self.detector {
            Detector::Observers => true,
            // There one member's word is enough to bury another: that is what a quorum is for.
            Detector::Lifeguard | Detector::Swim => false,
        };
        let sound = self.world.network.is_calm() && self.world.everybody_is_upheld();
        let calm = judged && moving && sound;
        let now = self.world.now();
        if let Some(checkers) = self.world.watch_mut::<Checkers>() {
            checkers.calm(now, calm);
        }
    }

    /// The network is well, everybody runs.
    fn end_all_faults(&mut self) {
        self.world.network.calm();
        let everybody: Vec<usize> = (0..self.world.len()).collect();
        self.world.apply(&Fault::Resume(everybody.clone()));
        self.world.apply(&Fault::Skew { nodes: everybody.clone(), by_ms: 0 });
        if !self.world.everybody_is_upheld() {
            self.world.apply(&Fault::Rekey(everybody.clone()));
        }
        self.world.apply(&Fault::Restart(everybody));
    }

    fn check(&self) -> Result<(), Violation> {
        self.world.check().map_err(|violation| self.named(violation))
    }

    fn settled(&self) -> Result<(), Violation> {
        self.world.check_settled().map_err(|violation| self.named(violation))
    }

    fn named(&self, violation: Violation) -> Violation {
        let seed = self.world.seed();
        let replay = format!(
            "replay ({} nodes, {:?}): cargo run --release -p hyperscale-tests --bin hyperscale -- \
             sweep --seeds 1 --first {seed}",
            self.nodes, self.detector
        );
        Violation { replay, ..violation }
    }
}
