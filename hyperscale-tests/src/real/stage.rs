//! The sockets as a scenario sees them: who runs, what is done to them, and what can be read off.
//!
//! Invariant: whatever is done to an agent is entered into the timeline with the moment before it was
//! done, so that no verdict seems earlier than its cause.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant as Clock};

use mesh_gossip::proto::Instant;

use super::cast::{Cast, Costs};
use super::counters::Counters;
use super::drill::Drill;
use super::figures::{Each, Figures, Grown, Joined, Report, Sessions};
use super::flags::Ground;
use super::process;
use super::proxy::Carried;
use super::timeline::{self, Entry, Timeline};
use super::trend::{self, Held, Trend};
use super::weather::Sky;
use super::{CONVERGE_LIMIT, CONVERGE_LOOK, RealError};
use crate::Network;
use crate::outcome::{Load, Run};
use crate::plan::{Plan, Scenario};
use crate::progress::Progress;
use crate::scenario::regions;
use crate::scenario::script::{Act, AtFault, Script};

/// Hosts are asked so often what they were told (and when): of many less often, or asking them would
/// be a part of what they cost.
const TICK: Duration = Duration::from_millis(20);
const HOSTS_A_TICK: usize = 250;
/// After a heal, agreement is looked at so often, and closely until it has lasted for so long.
const AGREEMENT: Duration = Duration::from_millis(100);
const LASTS: Duration = Duration::from_secs(15);
/// Views are compared with the truth so often, where members come and go.
const VIEWS: Duration = Duration::from_secs(10);
/// The last events of a window are on their way for so long.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A mesh on sockets.
pub(super) struct Stage<'a, C> {
    plan: &'a Plan,
    script: Script,
    hosts: C,
    timeline: Timeline,
    opening: Opening,
    fired: BTreeMap<String, u64>,
    healed: Option<Duration>,
    disagreed: Option<Duration>,
    agreement: Vec<(f64, f64)>,
    errors: (f64, u32),
    held: Vec<Held>,
    drill: Option<Drill<'a>>,
}

/// How it stood when the window opened.
struct Opening {
    at: Instant,
    counters: Counters,
    costs: Costs,
    carried: Carried,
    load_average: f64,
}

impl<'a, C: Cast> Stage<'a, C> {
    pub(super) fn new(plan: &'a Plan, hosts: C) -> Self {
        let now = timeline::now();
        let opening = Opening {
            at: now,
            counters: Counters::default(),
            costs: Costs::default(),
            carried: Carried::default(),
            load_average: 0.0,
        };
        let drills = plan.scenario == Scenario::Drill;
        Self {
            plan,
            drill: drills.then(|| Drill::new(plan, hosts.ids())),
            script: Script::of(plan),
            timeline: Timeline::new(now, hosts.ids()),
            hosts,
            opening,
            fired: BTreeMap::new(),
            healed: None,
            disagreed: None,
            agreement: Vec::new(),
            errors: (0.0, 0),
            held: Vec::new(),
        }
    }

    /// Everybody who plays.
    pub(super) fn hosts(&self) -> &C {
        &self.hosts
    }

    fn tick(&self) -> Duration {
        TICK * self.plan.nodes.div_ceil(HOSTS_A_TICK) as u32
    }

    /// Starts everybody, or the seed alone before a storm; all find all.
    pub(super) fn start(&mut self, progress: &Progress) -> Result<Joined, RealError> {
        let begun = Clock::now();
        let first = if self.plan.scenario == Scenario::JoinStorm { 1 } else { self.hosts.len() };
        for node in 0..first {
            self.hosts.start(node)?;
            progress.say(&format!("{} of {first} agents started", node + 1));
        }
        let started = begun.elapsed();
        loop {
            let (complete, took) = (self.hosts.complete(false), begun.elapsed());
            progress.say(&format!("{complete} of {first} views complete"));
            self.listen()?;
            if complete == first {
                let (counters, _) = self.hosts.counters()?;
                return Ok(Joined {
                    started,
                    converged: took,
                    handshakes: counters.handshakes,
                    receive_drops: counters.receive_drops,
                    suspicions: counters.suspicions,
                    threads: self.hosts.costs().threads,
                    resident: self.hosts.costs().memory.resident,
                });
            }
            if took >= CONVERGE_LIMIT {
                return Err(RealError::NotConverged { complete, nodes: first });
            }
            thread::sleep(CONVERGE_LOOK);
        }
    }

    /// Lets sessions come about; then the window opens.
    pub(super) fn warm(&mut self, progress: &Progress) -> Result<(), RealError> {
        progress.say("warming up");
        let begun = Clock::now();
        while begun.elapsed() < self.plan.warmup {
            self.listen()?;
            progress.reach(begun.elapsed().as_secs());
            thread::sleep(self.tick().min(self.plan.warmup.saturating_sub(begun.elapsed())));
        }
        self.opening = Opening {
            counters: self.hosts.counters()?.0,
            costs: self.hosts.costs(),
            carried: self.hosts.carried().unwrap_or_default(),
            load_average: process::load_average(),
            at: timeline::now(),
        };
        let pairs = !self.script.outcasts.is_empty();
        self.timeline.enter(self.opening.at, Entry::Opened { pairs });
        Ok(())
    }

    /// Plays the script to the end of the window.
    pub(super) fn play(&mut self, progress: &Progress) -> Result<(), RealError> {
        progress.say("measuring");
        let begun = Clock::now();
        if let Some(drill) = &mut self.drill {
            drill.open();
        }
        let last_heal = self.script.healed_at();
        let mut acts = std::mem::take(&mut self.script.acts).into_iter().peekable();
        let (mut agreed, mut viewed, mut looked) = (Duration::ZERO, VIEWS, Duration::ZERO);
        loop {
            let now = begun.elapsed();
            self.listen()?;
            progress.reach((self.plan.warmup + now).as_secs());
            while let Some(at) = acts.peek().map(|(at, _)| *at).filter(|at| *at <= now) {
                let mut due = Vec::new();
                while let Some((_, act)) = acts.next_if(|(next, _)| *next == at) {
                    due.push(act);
                }
                let last_heal = last_heal == Some(at);
                self.apply(begun.elapsed(), &due, last_heal)?;
            }
            if let (Some(drill), Some(hosts)) = (&mut self.drill, self.hosts.within()) {
                drill.look(hosts)?;
            }
            if let Some(healed) = self.healed
                && now >= agreed
                && self.disagreed.is_some_and(|last| now.saturating_sub(last) < LASTS)
            {
                self.watch_agreement(begun, healed);
                agreed = now + AGREEMENT;
            }
            if self.plan.scenario == Scenario::Churn && now >= viewed {
                self.errors.0 += self.hosts.view_error()?;
                self.errors.1 += 1;
                viewed += VIEWS;
            }
            if now >= looked {
                let holding = self.hosts.holds()?;
                self.held.push(Held { at: now, holding });
                looked += trend::EVERY;
            }
            if now >= self.plan.duration {
                return Ok(());
            }
            let next = acts.peek().map_or(self.plan.duration, |(at, _)| *at);
            let next = next.min(self.plan.duration).saturating_sub(begun.elapsed());
            thread::sleep(self.tick().min(next));
        }
    }

    /// Ends the window and says what it showed.
    pub(super) fn close(
        mut self,
        ground: &Ground,
        joined: Joined,
        grown: Grown,
        begun: Clock,
    ) -> Result<Report, RealError> {
        let end = timeline::now();
        let costs = self.hosts.costs();
        let starved = self.hosts.starved();
        // Whoever starves cannot be asked.
        self.hosts.feed();
        let threads = process::used_between(&self.opening.costs.threads, costs.threads);
        let window = end.since(self.opening.at);
        let each = Each::between(&self.opening.costs.each, &costs.each, window);
        let (counters, gauges) = self.hosts.counters()?;
        let spent = counters.since(&self.opening.counters);
        thread::sleep(LAST_WORDS);
        self.listen()?;
        let fired = self.all_fired(&spent);
        let sessions = Sessions::of(&gauges);
        let converged = converged(self.healed, self.disagreed, self.plan.duration);
        let mut figures = Figures {
            backend: self.hosts.backend(),
            joined,
            window,
            threads,
            memory: costs.memory,
            grown,
            each,
            trend: Trend::of(&self.held, self.plan.duration),
            drill: None,
            starved,
            sessions,
            descriptors: costs.descriptors,
            suspicions: spent.suspicions,
            receive_drops: spent.receive_drops,
            load_average: (self.opening.load_average, process::load_average()),
            carried: self.hosts.carried().map(|all| all.since(self.opening.carried)),
            promised: promised(self.plan, ground),
            replay: self.plan.replay().replace(" sim ", " real ") + &ground.replay(),
        };
        let events = self.timeline.told();
        let (found, warmup_false_deaths) = self.timeline.close(end);
        // Only now: whoever evaluates rules takes processor time that no figure may have.
        if let (Some(drill), Some(hosts)) = (self.drill.take(), self.hosts.within()) {
            figures.drill = Some(drill.close(hosts)?);
        }
        let load = Load {
            datagrams: spent.datagrams,
            bytes: spent.bytes,
            handshakes: spent.handshakes,
            handshake_bytes: spent.handshake_bytes,
            sessions: (sessions.p50, sessions.max),
            ..Load::default()
        };
        let run = Run {
            plan: self.plan.clone(),
            seeds: vec![self.plan.seed],
            found,
            load,
            warmup_false_deaths,
            converged,
            storm: None,
            agreement: self.agreement,
            view_error: (self.errors.1 > 0).then(|| self.errors.0 / f64::from(self.errors.1)),
            words: None,
            violations: None,
            fired,
            events,
            wall: begun.elapsed(),
            processor: figures.processor(),
            rss_bytes: costs.peak,
            trace_hash: 0,
        };
        Ok(Report::new(run, figures))
    }

    /// Everything that took effect: what was done, what the network did, and what sessions went through.
    fn all_fired(&mut self, spent: &Counters) -> BTreeMap<String, u64> {
        let mut fired = std::mem::take(&mut self.fired);
        let of_sessions = [
            ("rekeyed", spent.rekeys),
            ("fallen", spent.fallen),
            ("left", spent.left),
            ("refused", spent.handshakes_failed),
        ];
        let of_network = self.hosts.sky().map(Sky::fired).unwrap_or_default();
        let all = of_sessions.into_iter().chain(of_network).chain(self.hosts.upgrades());
        for (name, times) in all {
            *fired.entry(name.to_owned()).or_default() += times;
        }
        fired
    }

    fn listen(&mut self) -> Result<(), RealError> {
        let timeline = &mut self.timeline;
        self.hosts.told(&mut |by, at, seen| {
            timeline.count(1);
            if let Some(seen) = seen {
                timeline.enter(at, Entry::Told { by, seen });
            }
        })?;
        timeline.settle(timeline::now());
        Ok(())
    }

    /// Does what is due, all at one instant.
    fn apply(&mut self, now: Duration, due: &[Act], last_heal: bool) -> Result<(), RealError> {
        let AtFault { killed, outcasts, blocked } = self.script.at_fault(due);
        if !killed.is_empty() {
            let at = self.hosts.kill(&killed)?;
            self.count("crashes", killed.len());
            if let Some(drill) = &mut self.drill {
                drill.killed(&killed);
            }
            self.timeline.enter(at, Entry::Killed(killed));
        }
        if last_heal || due.iter().any(|act| matches!(act, Act::Join(_))) {
            (self.healed, self.disagreed) = (Some(now), Some(now));
        }
        for (nodes, entry) in
            [(outcasts, Entry::Outcast as fn(Vec<usize>) -> Entry), (blocked, Entry::Impaired)]
        {
            if !nodes.is_empty() {
                self.timeline.enter(timeline::now(), entry(nodes));
            }
        }
        let hungry = |act: &Act| if let Act::Starve(node) = act { Some(*node) } else { None };
        let hungry: Vec<usize> = due.iter().filter_map(hungry).collect();
        if !hungry.is_empty() {
            self.hosts.starve(&hungry)?;
            self.count("starved", hungry.len());
        }
        due.iter().try_for_each(|act| self.act(act))
    }

    fn act(&mut self, act: &Act) -> Result<(), RealError> {
        let at = timeline::now();
        match act {
            Act::Crash(_) | Act::Starve(_) => {}
            Act::Restart(node) => {
                self.hosts.start(*node)?;
                self.count("restarts", 1);
                self.timeline.enter(at, Entry::Restarted(*node));
                if let (Some(drill), Some(hosts)) = (&mut self.drill, self.hosts.within()) {
                    drill.started(*node, hosts.version(*node));
                }
            }
            Act::Deploy(node, version) => {
                if let Some(hosts) = self.hosts.within() {
                    hosts.deploy(*node, *version);
                }
            }
            Act::Describe(node) => {
                if let (Some(drill), Some(hosts)) = (&mut self.drill, self.hosts.within())
                    && drill.describe(hosts, *node)?
                {
                    self.count("described", 1);
                }
            }
            Act::Join(node) => {
                self.hosts.start(*node)?;
                self.count("joins", 1);
            }
            Act::Block(node) => self.sky().block(*node, true),
            Act::Unblock(node) => self.sky().block(*node, false),
            Act::Egress(node, loss) => {
                self.sky().change(|network| network.set_egress(*node, *loss));
            }
            Act::Ingress(node, loss) => {
                self.sky().change(|network| network.set_ingress(*node, *loss));
            }
            Act::Part(first) => {
                let sides = regions::parted(self.plan.nodes, *first);
                self.timeline.enter(at, Entry::Parted(*first));
                self.sky().change(|network| network.part_by_mask(sides));
            }
            Act::CutRegions(a, b) => {
                let sides = regions::cut(self.plan.nodes, self.plan.regions, (*a, *b));
                self.sky().change(|network| network.part_by_mask(sides));
            }
            Act::Heal => {
                self.sky().change(Network::heal);
                self.timeline.enter(timeline::now(), Entry::Healed);
            }
            Act::Certify(node, by) => self.hosts.certify(*node, *by)?,
            Act::Trust(node, roots) => self.hosts.trust(*node, *roots)?,
        }
        Ok(())
    }

    fn sky(&self) -> &Sky {
        let sky = self.hosts.sky();
        sky.unwrap_or_else(|| unreachable!("a plan with impairments has a weather"))
    }

    fn count(&mut self, what: &str, times: usize) {
        *self.fired.entry(what.to_owned()).or_default() += times as u64;
    }

    fn watch_agreement(&mut self, begun: Clock, healed: Duration) {
        let storm = self.plan.scenario == Scenario::JoinStorm;
        let running = self.hosts.running().max(1);
        let share = self.hosts.complete(storm) as f64 / running as f64;
        let now = begun.elapsed();
        self.agreement.push((now.saturating_sub(healed).as_secs_f64(), share));
        if share < 1.0 {
            self.disagreed = Some(now + AGREEMENT);
        }
    }
}

/// Faults that have to show.
fn promised(plan: &Plan, ground: &Ground) -> Vec<&'static str> {
    let mut promised = Sky::promised(plan, ground.hazards);
    if ground.older.is_some() {
        promised.extend(["older", "upgraded"]);
    }
    promised
}

/// From the last heal or join to the end of the last disagreement; never, if that goes on.
fn converged(
    healed: Option<Duration>,
    last: Option<Duration>,
    duration: Duration,
) -> Vec<Option<Duration>> {
    let (Some(healed), Some(last)) = (healed, last) else { return Vec::new() };
    vec![(last <= duration).then(|| last.saturating_sub(healed))]
}
