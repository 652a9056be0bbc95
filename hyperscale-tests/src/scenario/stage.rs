//! The world as a scenario sees it: a warm mesh, acts, and what can be read off it.
//!
//! Invariant: whatever is done to the world is told to the [`Measure`] at the same instant, so
//! that no verdict is judged by faults that lie ahead.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use mesh_gossip_proto::membership::roster::List;
use mesh_gossip_proto::sync::snapshot;
use mesh_gossip_proto::{Instant, Member, MemberId, State};

use crate::ledger::Purposes;
use crate::measure::{Findings, Measure};
use crate::outcome::Storm;
use crate::plan::{Plan, Scenario};
use crate::scenario::regions;
use crate::scenario::script::{Act, AtFault, Script};
use crate::words::{Heard, Words};
use crate::{Behind, Fault, Settling, SimTable, World};

/// Observers whose views an error is estimated from.
const SAMPLED: usize = 20;
/// Checkers remember every pair of members: with more it would be gigabytes.
const MOST_CHECKED: usize = 2_000;
/// They look at every member of every view, which is what a run of this size takes anyway.
const USUALLY_CHECKED: usize = 300;

/// A mesh in virtual time.
pub(super) struct Stage<T: SimTable> {
    world: World<T>,
    checked: bool,
    sampler: fastrand::Rng,
    /// Who speaks next.
    speakers: fastrand::Rng,
}

/// Counters so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    pub(super) body_bytes: u64,
    pub(super) by_purpose: Purposes,
    pub(super) handshakes: u64,
    pub(super) handshake_bytes: u64,
    pub(super) stream_bytes: u64,
    pub(super) cross_region_bytes: Option<u64>,
    pub(super) events: u64,
}

impl<T: SimTable> Stage<T> {
    /// Everybody knows everybody; the loss of the plan is in force.
    pub(super) fn warm(plan: &Plan) -> Self {
        let mut world: World<T> =
            World::seeded(plan.seed).configured(|config| *config = plan.config(&config.cluster_id));
        if plan.regions > 1 {
            let of = (0..plan.nodes).map(|node| regions::of(node, plan.regions)).collect();
            world.network.set_regions(of, &regions::latencies(plan.regions));
        }
        let mut world = if plan.scenario == Scenario::AntiEntropy {
            world.warm_but(plan.nodes, &Behind::by(plan.differ, plan.impaired, plan.nodes))
        } else if plan.scenario == Scenario::JoinStorm {
            world.asleep(plan.nodes)
        } else {
            world.warm(plan.nodes)
        };
        world.network.loss = plan.loss;
        let ids: Vec<MemberId> = (0..plan.nodes).map(|node| world.id(node)).collect();
        let measure = Measure::new(world.now(), ids);
        let mut world = world.watched(measure);
        if plan.scenario == Scenario::Churn {
            world = world.watched(Words::default());
        }
        // Where views part and meet again, resurrection is the question: larger meshes are checked.
        let most =
            if plan.scenario == Scenario::Partition { MOST_CHECKED } else { USUALLY_CHECKED };
        let checked = plan.nodes <= most;
        if checked {
            world = world.checked();
        }
        let random = |stream| fastrand::Rng::with_seed(plan.seed ^ stream);
        Self { world, checked, sampler: random(0), speakers: random(0x0077_6f72_6473) }
    }

    /// A member says something to all.
    pub(super) fn speak(&mut self) {
        let (now, nodes) = (self.world.now(), self.world.len());
        let running = self.world.running();
        let origin = running[self.speakers.usize(..running.len())];
        let Some(word) = self.world.watch::<Words>().map(Words::next) else { return };
        let taken = self.world.broadcast(origin, word);
        if let Some(words) = self.world.watch_mut::<Words>() {
            words.said(now, origin, nodes, taken);
        }
    }

    /// Looks at how long updates wait, and at which words have spread.
    pub(super) fn listen(&mut self) {
        let now = self.world.now();
        let running = self.world.running();
        let ages = running.into_iter().map(|node| self.world.node(node).update_age(now));
        let oldest = ages.max().unwrap_or_default();
        let roll = self.world.roll().clone();
        if let Some(words) = self.world.watch_mut::<Words>() {
            words.waited(oldest);
            words.settle(now, &roll);
        }
    }

    /// What the words showed, if any was listened for.
    pub(super) fn words(&mut self) -> Option<Heard> {
        let (now, roll) = (self.world.now(), self.world.roll().clone());
        self.world.watch_mut::<Words>().map(|words| words.found(now, &roll))
    }

    /// The measured window begins; returns the deaths of members without fault so far.
    pub(super) fn open(&mut self, script: &Script) -> u64 {
        self.world.reset_ledger();
        let now = self.world.now();
        let measure = self.measure();
        let false_deaths = measure.reopen(now);
        if !script.outcasts.is_empty() {
            measure.count_pairs();
        }
        false_deaths
    }

    fn measure(&mut self) -> &mut Measure {
        match self.world.watch_mut::<Measure>() {
            Some(measure) => measure,
            None => unreachable!("it was hired with the world"),
        }
    }

    /// Does what is due, all at one instant.
    pub(super) fn apply(&mut self, plan: &Plan, due: &[Act], script: &Script) {
        let now = self.world.now();
        let AtFault { killed, outcasts, blocked } = script.at_fault(due);
        let measure = self.measure();
        measure.killed(now, &killed);
        measure.outcast(now, &outcasts);
        measure.impaired(now, &blocked);
        for act in due {
            self.act(plan, now, act);
        }
    }

    fn act(&mut self, plan: &Plan, now: Instant, act: &Act) {
        let fault = match act {
            Act::Crash(node) => Fault::Crash(vec![*node]),
            Act::Restart(node) => {
                self.measure().restarted(now, *node);
                Fault::Restart(vec![*node])
            }
            Act::Join(node) => {
                self.world.begin(*node);
                return;
            }
            Act::Block(node) => Fault::Pause(vec![*node]),
            Act::Unblock(node) => Fault::Resume(vec![*node]),
            Act::Starve(_) | Act::Deploy(_, _) | Act::Describe(_) => {
                unreachable!("on sockets alone: such plans are refused")
            }
            Act::Egress(node, loss) => Fault::Egress { nodes: vec![*node], loss: *loss },
            Act::Ingress(node, loss) => Fault::Ingress { nodes: vec![*node], loss: *loss },
            Act::Part(first) => {
                self.measure().parted(*first);
                Fault::PartByMask(regions::parted(plan.nodes, *first))
            }
            Act::CutRegions(a, b) => {
                let behind = self.behind_cut(plan, (*a, *b));
                self.measure().behind_cut(behind);
                Fault::PartByMask(regions::cut(plan.nodes, plan.regions, (*a, *b)))
            }
            Act::Certify(node, root) => Fault::Certify { nodes: vec![*node], root: *root },
            Act::Trust(node, roots) => Fault::Trust { nodes: vec![*node], roots: *roots },
            Act::Heal => {
                self.measure().healed(now);
                Fault::Heal
            }
        };
        self.world.apply(&fault);
    }

    /// Members that a quorum of their observers cannot reach across a cut between two regions.
    fn behind_cut(&self, plan: &Plan, (a, b): (u8, u8)) -> BTreeSet<usize> {
        let table = self.world.node(0).table();
        let config = self.world.config();
        let observers = config.observers.min(plan.nodes - 1);
        let quorum = observers / 2 + 1;
        let cut_off = |node: &usize| {
            let across = match regions::of(*node, plan.regions) {
                there if there == a => b,
                there if there == b => a,
                _ => return false,
            };
            let mut watching: Vec<MemberId> = Vec::with_capacity(observers);
            while watching.len() < observers {
                let ring = (watching.len() % usize::from(config.rings)) as u8;
                let next = table
                    .before(ring, self.world.id(*node))
                    .find(|observer| !watching.contains(observer));
                let Some(next) = next else { break };
                watching.push(next);
            }
            let roll = self.world.roll();
            let indices = watching.iter().filter_map(|id| roll.index(*id));
            indices.filter(|index| regions::of(*index, plan.regions) == across).count() >= quorum
        };
        (0..plan.nodes).filter(cut_off).collect()
    }

    pub(super) fn run_for(&mut self, span: Duration) {
        self.world.run_for(span);
    }

    pub(super) fn tally(&self) -> Tally {
        let ledger = self.world.ledger();
        let cross_region_bytes = ledger.cross_region_bytes();
        Tally {
            datagrams: ledger.total.datagrams,
            bytes: ledger.total.bytes,
            body_bytes: ledger.total.body_bytes,
            by_purpose: ledger.by_purpose,
            handshakes: ledger.total.handshakes,
            handshake_bytes: ledger.total.handshake_bytes,
            stream_bytes: ledger.total.stream_bytes,
            cross_region_bytes,
            events: ledger.events,
        }
    }

    pub(super) fn sessions(&self) -> (usize, usize) {
        let sessions = self.world.sessions();
        (sessions.p50, sessions.max)
    }

    /// The most successors of sessions that one pair of nodes made because certificates changed.
    pub(super) fn rekeys_a_link(&self) -> u32 {
        self.world.rekeys_a_link()
    }

    /// The most that settling its differences cost a node which began behind the others.
    pub(super) fn settling(&self) -> Option<Settling> {
        self.world.settling()
    }

    /// Nodes that run.
    pub(super) fn live(&self) -> usize {
        self.world.roll().running()
    }

    /// The first rule that was broken, if one was; none where no checker looked on.
    pub(super) fn violations(&self) -> Option<Vec<String>> {
        let broken = || self.world.check().err().map(|violation| violation.to_string());
        self.checked.then(|| broken().into_iter().collect())
    }

    /// Share of the running nodes that hold exactly all running nodes present, none of them in
    /// doubt, by one digest.
    pub(super) fn agreement(&self) -> f64 {
        let running = self.world.running();
        let mut views: BTreeMap<u64, usize> = BTreeMap::new();
        for node in &running {
            let table = self.world.node(*node).table();
            let counts = table.counts();
            if counts.present() == running.len() && counts.suspect == 0 {
                *views.entry(table.digest()).or_default() += 1;
            }
        }
        let most = views.into_values().max().unwrap_or(0);
        most as f64 / running.len().max(1) as f64
    }

    /// Share of the running nodes that hold all of them present, whatever they doubt: who joined has
    /// joined.
    pub(super) fn gathered(&self) -> f64 {
        let running = self.world.running();
        let present = |node: &&usize| self.world.node(**node).table().counts().present();
        let whole = running.iter().filter(|node| present(node) == running.len()).count();
        whole as f64 / running.len().max(1) as f64
    }

    /// What node 0 sent in the measured window, in all, and what it takes to send its state once.
    pub(super) fn storm(&self) -> Storm {
        let spent = self.world.spent(0);
        let table = self.world.node(0).table();
        let entries = [List::Present, List::Departed].map(|list| {
            let bytes = |member: &Member| snapshot::entry_bytes(member) as u64;
            table.members(list).map(bytes).sum::<u64>()
        });
        let stats = self.world.node(0).stats();
        Storm {
            seed_egress_bytes: spent.bytes + spent.handshake_bytes + spent.stream_bytes,
            snapshot_bytes: entries.iter().sum(),
            seed_tickets: stats.tickets,
            seed_states_granted: stats.states_granted,
        }
    }

    /// Share of wrong entries, in the views of some running nodes.
    pub(super) fn view_error(&mut self) -> f64 {
        let running = self.world.running();
        let nodes = self.world.len();
        let mut wrong = 0;
        for _ in 0..SAMPLED {
            let by = running[self.sampler.usize(..running.len())];
            for node in 0..nodes {
                let seen = self.world.sees(by, node).is_some_and(State::is_present);
                wrong += usize::from(seen != self.world.roll().standing(node).up);
            }
        }
        wrong as f64 / (SAMPLED * nodes) as f64
    }

    pub(super) fn fired(&self) -> BTreeMap<String, u64> {
        // Nobody lies in a scenario: that is for the mixtures of faults.
        let lies = |(kind, _): &(&str, u64)| kind.starts_with("lie_");
        let counters = self.world.fired().by_name();
        counters
            .into_iter()
            .filter(|counter| !lies(counter))
            .map(|(kind, times)| (kind.to_string(), times))
            .collect()
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.world.trace_hash()
    }

    /// Ends the measured window.
    pub(super) fn close(mut self) -> Findings {
        let now = self.world.now();
        self.measure().findings(now)
    }
}
