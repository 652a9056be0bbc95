//! A scenario is a list of acts: what is done to whom, and when.
//!
//! Invariant: the script follows from the plan alone, and is ordered by time; acts of one instant
//! keep the order in which they were written. Node 0, everybody's seed, is never at fault.

use std::time::Duration;

use crate::plan::{FAULT_AT, Plan, Scenario, Variant, WAVE_EVERY};

/// What is done at one instant. Nodes are named by their index.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Kills a node without a goodbye.
    Crash(usize),
    /// Starts a killed node again.
    Restart(usize),
    /// Starts a node that never ran.
    Join(usize),
    /// Stops a node from sending and receiving; its timers run.
    Block(usize),
    /// Lets it go on; what came in meanwhile is received at once.
    Unblock(usize),
    /// A node hardly ever gets a core from here on; on sockets alone.
    Starve(usize),
    /// What a node sends is lost with this probability.
    Egress(usize, f64),
    /// What is sent to a node is lost with this probability.
    Ingress(usize, f64),
    /// Nothing passes between the first nodes, so many, and all others.
    Part(usize),
    /// Nothing passes between two regions.
    CutRegions(u8, u8),
    /// Ends every cut.
    Heal,
    /// A node has a new certificate of the CA with this number.
    Certify(usize, u8),
    /// A node trusts these CAs alone, a bit for each.
    Trust(usize, u8),
    /// A node, which is down, comes back with this version of the software; on sockets alone.
    Deploy(usize, u8),
    /// A node describes itself anew, if it runs; on sockets alone.
    Describe(usize),
}

/// A scenario, written out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// What is done, and when, counted from the start of the measured window.
    pub acts: Vec<(Duration, Act)>,
    /// Members that the mesh is expected to expel although they live.
    pub outcasts: Vec<usize>,
    /// Members that are at fault and may or may not be expelled.
    pub anomalous: Vec<usize>,
}

/// Who is at fault from an instant on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AtFault {
    /// Killed.
    pub killed: Vec<usize>,
    /// Impaired so that the mesh is expected to expel them.
    pub outcasts: Vec<usize>,
    /// Blocked or starved, and not expected to be expelled.
    pub blocked: Vec<usize>,
}

/// Ten members lose so much of one direction.
const IMPAIRED_LOSS: f64 = 0.8;
const FLIP: Duration = Duration::from_secs(20);
const DOWN: Duration = Duration::from_secs(5);
/// Killed in a wave, a member stays down for so long.
const WAVE_DOWN: Duration = Duration::from_secs(14);
/// From one batch of a rolling restart to the next.
const BATCH_EVERY: Duration = Duration::from_secs(10);
const WAN_CUT: Duration = Duration::from_secs(60);
/// A killed member of the churn comes back after so long.
const AWAY: Duration = Duration::from_secs(120);
/// Share of all members that die in a minute of churn, and that come back.
const CHURN_PER_MIN: f64 = 0.01;
const RENEWING_CHURN_PER_MIN: f64 = 0.05;
/// They come back after so long, and so long before the end nobody dies any more, in either churn: all
/// are to be detected.
const BRIEFLY: Duration = Duration::from_secs(20);
/// When, in seconds after the first fault, each member at a moment of its own: has a certificate of
/// the old CA and learns to trust both; has one of the new CA; trusts the new one alone. In the pause
/// before that whoever could not be reached at first is dialled again (rule S-15).
const RENEWED: (f64, f64) = (0.0, 15.0);
const CERTIFIED: (f64, f64) = (15.0, 35.0);
const TRUSTED: (f64, f64) = (52.0, 60.0);
/// A deployment is rolled back so long after it began.
const ROLLED_BACK: Duration = Duration::from_secs(300);
const DESCRIBED_EVERY: Duration = Duration::from_secs(1);
const OLD_CA: u8 = 0;
const NEW_CA: u8 = 1;

impl Script {
    /// Writes out a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0x5c71_9700);
        let mut order: Vec<usize> = (1..plan.nodes).collect();
        rng.shuffle(&mut order);
        let mut script = Self::default();
        if plan.waves > 1 {
            script.waves(plan, &order);
        } else {
            let killed = order.split_off(order.len() - plan.crashes());
            script.acts.extend(killed.into_iter().map(|node| (FAULT_AT, Act::Crash(node))));
        }
        match plan.scenario {
            Scenario::Steady | Scenario::Crash | Scenario::AntiEntropy => {}
            Scenario::Asymmetric => script.asymmetric(plan, &order),
            Scenario::FlipFlop => script.flip_flop(plan, &order),
            Scenario::LifeguardInterval => script.interval(plan, &order),
            Scenario::Threshold => script.threshold(plan, &order),
            Scenario::Exhaustion => {
                script.anomalous = order[..plan.impaired].to_vec();
                let starve = |node: &usize| (FAULT_AT, Act::Starve(*node));
                script.acts.extend(script.anomalous.iter().map(starve));
            }
            Scenario::Partition => script.partition(plan),
            Scenario::RollingRestart => script.rolling(plan, &order),
            Scenario::Wan => {
                script.acts.push((FAULT_AT, Act::CutRegions(0, 1)));
                script.acts.push((FAULT_AT + WAN_CUT, Act::Heal));
            }
            Scenario::Churn => {
                script.churn(plan, order, (CHURN_PER_MIN, AWAY, BRIEFLY), &mut rng);
            }
            Scenario::Certificates => {
                script.certificates(plan, &mut rng);
                script.churn(plan, order, (RENEWING_CHURN_PER_MIN, BRIEFLY, BRIEFLY), &mut rng);
            }
            Scenario::Drill => {
                for (at, version) in [(FAULT_AT, 1), (FAULT_AT + ROLLED_BACK, 0)] {
                    script.deploy(plan, &order, at, version);
                }
                script.certificates(plan, &mut rng);
                script.describe(plan, &mut rng);
            }
            Scenario::JoinStorm => {
                // Whoever is killed at that instant was not there yet.
                script.acts.clear();
                script.acts.extend((1..plan.nodes).map(|node| (FAULT_AT, Act::Join(node))));
            }
        }
        script.acts.retain(|(at, _)| *at < plan.duration);
        script.acts.sort_by_key(|(at, _)| *at);
        script
    }

    /// Whom these acts of one instant put at fault.
    pub fn at_fault(&self, due: &[Act]) -> AtFault {
        let mut faulty = AtFault::default();
        for act in due {
            match act {
                Act::Crash(node) => faulty.killed.push(*node),
                Act::Egress(node, _) | Act::Ingress(node, _) => faulty.outcasts.push(*node),
                Act::Block(node) | Act::Starve(node) => faulty.blocked.push(*node),
                Act::Restart(_)
                | Act::Join(_)
                | Act::Unblock(_)
                | Act::Part(_)
                | Act::CutRegions(_, _)
                | Act::Heal
                | Act::Certify(_, _)
                | Act::Trust(_, _)
                | Act::Deploy(_, _)
                | Act::Describe(_) => {}
            }
        }
        faulty.outcasts.retain(|node| self.outcasts.contains(node));
        faulty
    }

    /// When the last cut ends.
    pub fn healed_at(&self) -> Option<Duration> {
        let heals = self.acts.iter().filter(|(_, act)| *act == Act::Heal);
        heals.map(|(at, _)| *at).max()
    }

    /// Each wave strikes those who come next in the order, and has been forgotten when another comes.
    fn waves(&mut self, plan: &Plan, order: &[usize]) {
        let mut next = order.iter().copied().cycle();
        let mut at = FAULT_AT;
        for _ in 0..plan.waves {
            let killed: Vec<usize> = next.by_ref().take(plan.crashes()).collect();
            self.acts.extend(killed.iter().map(|node| (at, Act::Crash(*node))));
            self.acts.extend(killed.iter().map(|node| (at + WAVE_DOWN, Act::Restart(*node))));
            at += WAVE_EVERY;
        }
    }

    fn asymmetric(&mut self, plan: &Plan, order: &[usize]) {
        self.outcasts = order[..plan.impaired].to_vec();
        for node in self.outcasts.clone() {
            let act = match plan.variant {
                Variant::Egress => Act::Egress(node, IMPAIRED_LOSS),
                Variant::Ingress => Act::Ingress(node, IMPAIRED_LOSS),
            };
            self.acts.push((FAULT_AT, act));
        }
    }

    fn flip_flop(&mut self, plan: &Plan, order: &[usize]) {
        self.outcasts = order[..plan.impaired].to_vec();
        let mut at = FAULT_AT;
        let mut deaf = true;
        while at < plan.duration {
            let loss = if deaf { 1.0 } else { 0.0 };
            self.acts.extend(self.outcasts.iter().map(|node| (at, Act::Ingress(*node, loss))));
            deaf = !deaf;
            at += FLIP;
        }
    }

    fn interval(&mut self, plan: &Plan, order: &[usize]) {
        self.anomalous = order[..plan.impaired].to_vec();
        // Anomalous members are blocked together, as the paper's are.
        let mut at = Duration::ZERO;
        while at < plan.duration {
            self.acts.extend(self.anomalous.iter().map(|node| (at, Act::Block(*node))));
            at += plan.block;
            self.acts.extend(self.anomalous.iter().map(|node| (at, Act::Unblock(*node))));
            at += plan.run.max(Duration::from_micros(1));
        }
    }

    fn threshold(&mut self, plan: &Plan, order: &[usize]) {
        self.anomalous = order[..plan.impaired].to_vec();
        for node in self.anomalous.clone() {
            self.acts.push((FAULT_AT, Act::Block(node)));
            self.acts.push((FAULT_AT + plan.block, Act::Unblock(node)));
        }
    }

    fn partition(&mut self, plan: &Plan) {
        let larger = plan.nodes * usize::from(plan.split.0) / 100;
        let larger = larger.clamp(1, plan.nodes - 1);
        self.acts.push((FAULT_AT, Act::Part(larger)));
        self.acts.push((FAULT_AT + plan.partition, Act::Heal));
    }

    fn rolling(&mut self, plan: &Plan, order: &[usize]) {
        let batch = plan.nodes.div_ceil(10);
        let mut at = FAULT_AT;
        for nodes in order.chunks(batch) {
            self.acts.extend(nodes.iter().map(|node| (at, Act::Crash(*node))));
            self.acts.extend(nodes.iter().map(|node| (at + DOWN, Act::Restart(*node))));
            at += BATCH_EVERY;
        }
    }

    /// As a rolling restart, after which all have this version.
    fn deploy(&mut self, plan: &Plan, order: &[usize], mut at: Duration, version: u8) {
        let batch = plan.nodes.div_ceil(10);
        for nodes in order.chunks(batch) {
            self.acts.extend(nodes.iter().map(|node| (at, Act::Crash(*node))));
            for node in nodes {
                let acts = [Act::Deploy(*node, version), Act::Restart(*node)];
                self.acts.extend(acts.map(|act| (at + DOWN, act)));
            }
            at += BATCH_EVERY;
        }
    }

    /// Somebody at a time.
    fn describe(&mut self, plan: &Plan, rng: &mut fastrand::Rng) {
        let mut at = Duration::ZERO;
        while at < plan.duration {
            self.acts.push((at, Act::Describe(rng.usize(..plan.nodes))));
            at += DESCRIBED_EVERY;
        }
    }

    /// Each member at a moment of its own. Both CAs are trusted everywhere before the new one's
    /// certificates are shown, and the old one goes when all have new ones.
    fn certificates(&mut self, plan: &Plan, rng: &mut fastrand::Rng) {
        let (old, both, new) = (1 << OLD_CA, 1 << OLD_CA | 1 << NEW_CA, 1 << NEW_CA);
        for node in 0..plan.nodes {
            self.acts.push((Duration::ZERO, Act::Trust(node, old)));
            let phases = [
                (RENEWED, vec![Act::Trust(node, both), Act::Certify(node, OLD_CA)]),
                (CERTIFIED, vec![Act::Certify(node, NEW_CA)]),
                (TRUSTED, vec![Act::Trust(node, new)]),
            ];
            for ((from, to), acts) in phases {
                let at = FAULT_AT + Duration::from_secs_f64(from + (to - from) * rng.f64());
                self.acts.extend(acts.into_iter().map(|act| (at, act)));
            }
        }
    }

    fn churn(
        &mut self,
        plan: &Plan,
        mut up: Vec<usize>,
        (per_min, away, calm): (f64, Duration, Duration),
        rng: &mut fastrand::Rng,
    ) {
        let per_s = (plan.nodes as f64 * per_min / 60.0).max(1.0 / 60.0);
        let mut back: std::collections::VecDeque<(Duration, usize)> = [].into();
        let mut at = FAULT_AT;
        loop {
            // Deaths come independently of one another: exponential pauses between them.
            at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / per_s);
            if at + calm >= plan.duration {
                return;
            }
            while let Some((since, node)) = back.pop_front() {
                if since > at {
                    back.push_front((since, node));
                    break;
                }
                up.push(node);
            }
            if up.len() < 2 {
                continue;
            }
            let node = up.swap_remove(rng.usize(..up.len()));
            self.acts.push((at, Act::Crash(node)));
            self.acts.push((at + away, Act::Restart(node)));
            back.push_back((at + away * 2, node));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Crash;
    use std::collections::BTreeSet;

    #[test]
    fn every_scenario_also_crashes_and_leaves_the_seed_alone() {
        for scenario in Scenario::ALL.into_iter().filter(|one| *one != Scenario::JoinStorm) {
            let mut plan = Plan::new(scenario, 40);
            plan.crash = Crash::Members(7);
            let script = Script::of(&plan);
            assert_eq!(script, Script::of(&plan), "one plan, one script");
            let mut killed = BTreeSet::new();
            let mut last = Duration::ZERO;
            for (at, act) in &script.acts {
                assert!(*at >= last, "{scenario:?} is ordered");
                last = *at;
                match act {
                    Act::Crash(node) => {
                        assert!(killed.insert(*node), "{scenario:?} kills {node} twice");
                    }
                    Act::Restart(node) => {
                        assert!(killed.remove(node), "{scenario:?} restarts {node}, which runs");
                    }
                    Act::Block(node)
                    | Act::Unblock(node)
                    | Act::Starve(node)
                    | Act::Egress(node, _)
                    | Act::Ingress(node, _) => {
                        assert_ne!(*node, 0, "{scenario:?}");
                        assert!(!killed.contains(node), "{scenario:?} impairs who is killed");
                    }
                    Act::Part(_)
                    | Act::Join(_)
                    | Act::CutRegions(_, _)
                    | Act::Heal
                    | Act::Certify(_, _)
                    | Act::Describe(_)
                    | Act::Trust(_, _) => {}
                    Act::Deploy(node, _) => assert!(killed.contains(node), "{scenario:?}"),
                }
                assert!(!killed.contains(&0), "{scenario:?}");
            }
            assert!(killed.len() >= 7, "{scenario:?}: {killed:?}");
        }
    }

    /// A death in the last seconds would count as missed, whoever detects.
    #[test]
    fn nobody_dies_right_before_the_end() {
        for scenario in [Scenario::Churn, Scenario::Certificates] {
            let plan = Plan::new(scenario, 500);
            let script = Script::of(&plan);
            let last = script.acts.iter().rev().find(|(_, act)| matches!(act, Act::Crash(_)));
            let (at, _) = last.expect("somebody dies");
            assert!(*at + BRIEFLY < plan.duration, "{scenario:?}: {at:?}");
        }
    }

    #[test]
    fn waves_strike_as_many_each_time_and_nobody_who_is_down() {
        let mut plan = Plan::new(Scenario::Crash, 10);
        (plan.crash, plan.waves, plan.duration) = (Crash::Members(2), 8, Plan::lasting(8));
        let mut down = BTreeSet::new();
        let mut kills = 0;
        for (at, act) in &Script::of(&plan).acts {
            match act {
                Act::Crash(node) => {
                    assert!(*node != 0 && down.insert(*node), "{at:?}");
                    kills += 1;
                }
                Act::Restart(node) => assert!(down.remove(node), "{at:?}"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((kills, down.len()), (16, 0));
    }

    #[test]
    fn a_partition_heals_when_the_plan_says() {
        let plan = Plan::new(Scenario::Partition, 10);
        assert_eq!(Script::of(&plan).healed_at(), Some(Duration::from_secs(130)));
    }
}
