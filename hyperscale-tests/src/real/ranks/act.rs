//! One rank: starts its members, hears when the window opens, plays its part, writes it down.
//!
//! Rank 0 says when the window opens as a broadcast of member 0, once its own members have found all
//! others; it says so again and again until shortly before. Times are wall time: clocks of the machines
//! must agree within some milliseconds, as clocks that are kept by NTP do.
//!
//! Invariant: a rank kills and restarts its own members and nobody else.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant as Clock};

use clap::Args;
use mesh_gossip::options::{Advertise, AgentOptions};
use mesh_gossip::proto::{Event, MemberId};
use mesh_gossip::{Agent, Engine, HostEvent};

use super::journal::{Begin, End, Found, Journal, Line, Opened, Saw};
use super::plan::{Shared, share};
use super::{RankError, file, place};
use crate::measure::{How, Seen};
use crate::progress::Progress;
use crate::real::counters::{Counters, Gauges};
use crate::real::flags::Sockets;
use crate::real::hosts;
use crate::real::papers::{self, CLUSTER};
use crate::real::process::{self, Memory};
use crate::real::{CONVERGE_LIMIT, CONVERGE_LOOK, RealError, timeline};
use crate::scenario::script::{Act, Script};

/// What the word about the opening is about.
const OPENS: u16 = 0x4f50;
/// It is said so often, until so long before.
const SAYS_AGAIN: Duration = Duration::from_millis(500);
const SAID_BEFORE: Duration = Duration::from_secs(1);
/// Rank 0 has found everybody by then, and been heard.
const HEARD_LIMIT: Duration = Duration::from_secs(180);
/// Hosts are asked so often what they were told.
const TICK: Duration = Duration::from_millis(20);
/// The last events of the window are on their way for so long.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Nobody ends before everybody's window is over, whatever the clocks say.
const LINGERS: Duration = Duration::from_secs(3);
/// Rank 0's address, where the plan names no seeds.
const SEEDS: &str = "seeds";

/// Flags of `hyperscale agent`.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Flags {
    /// The plan, or the directory that `hyperscale plan` wrote.
    #[arg(long)]
    pub plan: PathBuf,
    /// Members of the whole mesh: said again so that a command line and a plan cannot differ unseen.
    #[arg(long)]
    pub members: Option<usize>,
    /// The plan's seed, likewise.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Which process this is, counted from 0, where the engine does not say so.
    #[arg(long)]
    pub rank: Option<usize>,
    /// Where journals go; without seeds in the plan all ranks must see this directory.
    #[arg(long, default_value = "hyperscale-ranks")]
    pub out: PathBuf,
    /// Address at which others reach this process, where it is not the one that it listens at.
    #[arg(long)]
    pub advertise: Option<String>,
    /// What the sockets stand on.
    #[command(flatten)]
    pub sockets: Sockets,
}

/// The members of one rank.
struct Crew {
    first: usize,
    options: Vec<AgentOptions>,
    agents: Vec<Option<Agent>>,
    ids: Vec<MemberId>,
    /// What the killed ones had counted.
    gone: Counters,
    engine: Engine,
}

/// A rank at work.
struct Rank<'a> {
    shared: &'a Shared,
    crew: Crew,
    journal: Journal,
    /// When the window opens, in milliseconds of wall time, once that is known.
    opens: Option<u64>,
    /// Who dies when, counted from there: everybody's, whoever kills them.
    deaths: Vec<(Duration, usize)>,
    events: u64,
}

/// Plays one rank of a plan; returns its journal.
///
/// # Errors
/// [`RankError`] says why it did not play to the end.
pub fn run(flags: &Flags, progress: &Progress) -> Result<PathBuf, RankError> {
    let begun = Clock::now();
    let before = Memory::now().resident;
    let shared = Shared::read(&flags.plan)?;
    agrees("members", "--members", flags.members, shared.plan.nodes)?;
    let seed = flags.seed.map(|seed| usize::try_from(seed).unwrap_or(usize::MAX));
    agrees("as the seed", "--seed", seed, usize::try_from(shared.plan.seed).unwrap_or(usize::MAX))?;
    let rank = place::rank(flags.rank, shared.world, |name| std::env::var(name).ok())?;
    let journal = Journal::create(&flags.out, rank)?;
    let crew = Crew::asleep(&shared, rank, flags)?;
    let engine = Memory::now().resident;
    let script = Script::of(&shared.plan);
    let death = |(at, act): &(Duration, Act)| {
        if let Act::Crash(node) = act { Some((*at, *node)) } else { None }
    };
    let deaths = script.acts.iter().filter_map(death).collect();
    let mut rank_at_work = Rank { shared: &shared, crew, journal, opens: None, deaths, events: 0 };
    let rank_at = &mut rank_at_work;
    rank_at.journal.write(&Line::Begin(Begin {
        rank,
        members: rank_at.crew.members(),
        flags: shared.plan.replay(),
        host: host_name(),
        backend: rank_at.crew.engine.backend().as_str().to_owned(),
    }))?;
    rank_at.join(rank, flags, progress, [before, engine])?;
    rank_at.open(rank, progress)?;
    rank_at.play(&script, progress, begun)?;
    progress.end();
    let Rank { crew, journal, .. } = rank_at_work;
    let path = journal.close()?;
    thread::sleep(LINGERS);
    drop(crew);
    Ok(path)
}

fn agrees(
    what: &'static str,
    said_by: &'static str,
    said: Option<usize>,
    planned: usize,
) -> Result<(), RankError> {
    match said {
        Some(said) if said != planned => Err(RankError::Differs { what, said_by, said, planned }),
        Some(_) | None => Ok(()),
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn now_ms() -> u64 {
    timeline::now().as_nanos() / 1_000_000
}

impl Rank<'_> {
    /// Starts everybody; everybody finds everybody.
    fn join(
        &mut self,
        rank: usize,
        flags: &Flags,
        progress: &Progress,
        [before, engine]: [u64; 2],
    ) -> Result<(), RankError> {
        let begun = Clock::now();
        let seeds = self.seeds(rank, &flags.out)?;
        for node in self.crew.members() {
            self.crew.start(node, &seeds)?;
            if node == 0 && self.shared.seeds.is_none() {
                self.publish_seed(&flags.out)?;
            }
            self.listen()?;
        }
        let started = begun.elapsed();
        let all = self.shared.plan.nodes;
        loop {
            self.listen()?;
            let complete = self.crew.complete(all);
            progress.say(&format!("{complete} of {} views complete", self.crew.agents.len()));
            if complete == self.crew.agents.len() {
                break;
            }
            if begun.elapsed() >= CONVERGE_LIMIT {
                let nodes = self.crew.agents.len();
                return Err(RealError::NotConverged { complete, nodes }.into());
            }
            thread::sleep(CONVERGE_LOOK);
        }
        let (counters, _) = self.crew.counters()?;
        self.journal.write(&Line::Joined(Found {
            started_ms: started.as_millis() as u64,
            converged_ms: begun.elapsed().as_millis() as u64,
            counters,
            threads: process::threads(),
            resident: [before, before, engine, Memory::now().resident],
        }))
    }

    /// Where members of this rank look for the mesh.
    fn seeds(&self, rank: usize, out: &Path) -> Result<Vec<String>, RankError> {
        if let Some(seeds) = &self.shared.seeds {
            return Ok(vec![seeds.clone()]);
        }
        if rank == 0 {
            return Ok(Vec::new());
        }
        let (path, begun) = (out.join(SEEDS), Clock::now());
        loop {
            match std::fs::read_to_string(&path) {
                Ok(text) => return Ok(text.lines().map(str::to_owned).collect()),
                Err(error) if begun.elapsed() >= CONVERGE_LIMIT => {
                    return Err(RankError::File(path, error));
                }
                Err(_) => thread::sleep(CONVERGE_LOOK),
            }
        }
    }

    /// Whole or not at all: others read it as soon as it is there.
    fn publish_seed(&self, out: &Path) -> Result<(), RankError> {
        let Some(Some(seed)) = self.crew.agents.first() else { return Ok(()) };
        let (path, draft) = (out.join(SEEDS), out.join("seeds.draft"));
        file(&draft, std::fs::write(&draft, format!("{}\n", seed.local_address())))?;
        file(&path, std::fs::rename(&draft, &path))
    }

    /// Agrees on when the window opens, and waits for that.
    fn open(&mut self, rank: usize, progress: &Progress) -> Result<(), RankError> {
        let begun = Clock::now();
        if rank == 0 {
            self.opens = Some(now_ms() + self.shared.plan.warmup.as_millis() as u64);
        }
        let mut said = None::<Clock>;
        progress.say("warming up");
        loop {
            self.listen()?;
            if let Some(opens) = self.opens {
                let left = Duration::from_millis(opens.saturating_sub(now_ms()));
                if left.is_zero() {
                    break;
                }
                let due = said.is_none_or(|last| last.elapsed() >= SAYS_AGAIN);
                if rank == 0 && due && (left > SAID_BEFORE || said.is_none()) {
                    self.crew.say(&opens.to_le_bytes())?;
                    said = Some(Clock::now());
                }
                thread::sleep(TICK.min(left));
            } else if begun.elapsed() >= HEARD_LIMIT {
                return Err(RankError::Unheard);
            } else {
                thread::sleep(TICK);
            }
        }
        let at_ms = self.opens.unwrap_or_default();
        let complete = self.crew.complete(self.shared.plan.nodes);
        let load_average = process::load_average();
        self.journal.write(&Line::Opened(Opened { at_ms, complete, load_average }))
    }

    fn play(
        &mut self,
        script: &Script,
        progress: &Progress,
        begun: Clock,
    ) -> Result<(), RankError> {
        progress.say("measuring");
        let (before, _) = self.crew.counters()?;
        let threads = process::threads();
        let opens = self.opens.unwrap_or_default();
        let elapsed = || Duration::from_millis(now_ms().saturating_sub(opens));
        let duration = self.shared.plan.duration;
        let own = self.crew.members();
        let is_own =
            |act: &Act| matches!(act, Act::Crash(node) | Act::Restart(node) if own.contains(node));
        let acts = script.acts.iter().filter(|(_, act)| is_own(act));
        let mut acts = acts.peekable();
        loop {
            self.listen()?;
            let now = elapsed();
            progress.reach((self.shared.plan.warmup + now).as_secs());
            while let Some((at, _)) = acts.peek().copied().filter(|(at, _)| *at <= now) {
                let mut killed = Vec::new();
                while let Some((_, act)) = acts.next_if(|(next, _)| next == at) {
                    if let Act::Crash(node) = act {
                        killed.push(*node);
                    } else if let Act::Restart(node) = act {
                        self.restart(*node)?;
                    }
                }
                self.kill(killed)?;
            }
            if now >= duration {
                break;
            }
            let next = acts.peek().map_or(duration, |(at, _)| *at).min(duration);
            thread::sleep(TICK.min(next.saturating_sub(elapsed())));
        }
        self.end(&before, &threads, begun)
    }

    fn kill(&mut self, nodes: Vec<usize>) -> Result<(), RankError> {
        if nodes.is_empty() {
            return Ok(());
        }
        let at_ms = self.crew.kill(&nodes)?;
        self.journal.write(&Line::Killed { at_ms, nodes })
    }

    fn restart(&mut self, node: usize) -> Result<(), RankError> {
        let at_ms = now_ms();
        let seeds = match &self.shared.seeds {
            Some(seeds) => vec![seeds.clone()],
            None => self.crew.anybody(node),
        };
        self.crew.start(node, &seeds)?;
        self.journal.write(&Line::Restarted { at_ms, node })
    }

    fn end(
        &mut self,
        before: &Counters,
        threads: &process::Threads,
        begun: Clock,
    ) -> Result<(), RankError> {
        let at_ms = now_ms();
        let threads = process::used_since(threads);
        let (memory, descriptors) = (Memory::now(), process::descriptors());
        let (counters, gauges) = self.crew.counters()?;
        let living = self.living();
        let complete = self.crew.complete(living);
        thread::sleep(LAST_WORDS);
        self.listen()?;
        self.journal.write(&Line::End(Box::new(End {
            at_ms,
            complete,
            running: self.crew.agents.iter().flatten().count(),
            spent: counters.since(before),
            gauges,
            threads,
            memory,
            descriptors,
            events: self.events,
            load_average: process::load_average(),
            wall_ms: begun.elapsed().as_millis() as u64,
        })))
    }

    /// Members of the whole mesh that run at the end, by the script.
    fn living(&self) -> usize {
        let mut runs = vec![true; self.shared.plan.nodes];
        let acts = Script::of(&self.shared.plan).acts.into_iter();
        for (_, act) in acts.filter(|(at, _)| *at <= self.shared.plan.duration) {
            if let Act::Crash(node) = act {
                runs[node] = false;
            } else if let Act::Restart(node) = act {
                runs[node] = true;
            }
        }
        runs.into_iter().filter(|runs| *runs).count()
    }

    /// Writes down what hosts were told, and heeds rank 0.
    fn listen(&mut self) -> Result<(), RankError> {
        let Self { crew, journal, opens, deaths, events, .. } = self;
        let speaker = crew.ids.first().copied();
        crew.told(|by, HostEvent { at, event }| {
            *events += 1;
            if let Event::Broadcast { from, topic: OPENS, bytes } = &event
                && Some(*from) == speaker
                && let Ok(said) = <[u8; 8]>::try_from(&**bytes)
            {
                opens.get_or_insert(u64::from_le_bytes(said));
            }
            let Some(Seen { subject, how }) = Seen::of(&event) else { return Ok(()) };
            let Some(of) = crew.ids.iter().position(|id| *id == subject) else { return Ok(()) };
            if how == How::Failed
                && let Some(after) = since_death(deaths, *opens, of, at.0)
            {
                journal.learned_after(after);
            }
            journal.write(&Line::Saw(Saw { at_ms: at.0, by, of, how: how.word().to_owned() }))
        })
    }
}

/// How long before `at_ms` the plan had let this member die last, in microseconds.
fn since_death(
    deaths: &[(Duration, usize)],
    opens: Option<u64>,
    of: usize,
    at_ms: u64,
) -> Option<u64> {
    let opens = opens?;
    let times = deaths.iter().filter(|(_, node)| *node == of);
    let times = times.map(|(after, _)| opens + after.as_millis() as u64);
    times.filter(|death| *death <= at_ms).max().map(|death| (at_ms - death) * 1_000)
}

impl Crew {
    /// Nobody runs yet.
    fn asleep(shared: &Shared, rank: usize, flags: &Flags) -> Result<Self, RankError> {
        let all = &shared.plan;
        let own = share(all.nodes, shared.world, rank);
        let first = own.start;
        let options = own.map(|node| {
            let port = match shared.port {
                0 => 0,
                port => port + (node - first) as u16,
            };
            AgentOptions {
                bind: SocketAddr::from((shared.bind, port)),
                advertise: Advertise { host: flags.advertise.clone(), port: None },
                ..hosts::options(all, node, shared.tls_options(rank, node))
            }
        });
        let options: Vec<AgentOptions> = options.collect();
        let agents = options.iter().map(|_| None).collect();
        let ids = (0..all.nodes).map(|node| MemberId::derive(CLUSTER, &papers::name(node)));
        let engine = Engine::start(flags.sockets.engine()).map_err(RealError::Start)?;
        let gone = Counters::default();
        Ok(Self { first, options, agents, ids: ids.collect(), gone, engine })
    }

    fn members(&self) -> Range<usize> {
        self.first..self.first + self.agents.len()
    }

    /// Starts a member that does not run; without seeds, the first one of this rank is its seed.
    fn start(&mut self, node: usize, seeds: &[String]) -> Result<(), RankError> {
        let own = node - self.first;
        assert!(self.agents[own].is_none(), "node {node} is started once");
        let mut options = self.options[own].clone();
        options.seeds = if seeds.is_empty() { self.anybody(node) } else { seeds.to_vec() };
        let agent = Agent::start(&self.engine, options).map_err(RealError::Start)?;
        self.options[own].bind = agent.local_address();
        self.agents[own] = Some(agent);
        Ok(())
    }

    /// Addresses of one member of this rank that runs, another one than `node`.
    fn anybody(&self, node: usize) -> Vec<String> {
        let others = self.agents.iter().enumerate();
        let mut others = others.filter(|(own, _)| own + self.first != node);
        let running = others.find_map(|(_, agent)| agent.as_ref());
        running.map(|agent| agent.local_address().to_string()).into_iter().collect()
    }

    /// Drops these without a goodbye, all at the same time; returns when, in milliseconds.
    fn kill(&mut self, nodes: &[usize]) -> Result<u64, RankError> {
        let mut dying = Vec::with_capacity(nodes.len());
        for node in nodes {
            let agent = self.agents[node - self.first].take();
            let agent = agent.unwrap_or_else(|| panic!("node {node} is killed while it runs"));
            self.gone.add(&Counters::of(&agent)?.0);
            dying.push(agent);
        }
        let at = now_ms();
        thread::scope(|scope| {
            for agent in dying {
                scope.spawn(|| agent.kill());
            }
        });
        Ok(at)
    }

    /// Member 0 says this to all.
    fn say(&self, bytes: &[u8]) -> Result<(), RankError> {
        if let Some(Some(speaker)) = self.agents.first() {
            speaker.broadcast_latest(OPENS, 0, bytes)?;
        }
        Ok(())
    }

    fn told(
        &self,
        mut take: impl FnMut(usize, HostEvent) -> Result<(), RankError>,
    ) -> Result<(), RankError> {
        for (own, agent) in self.agents.iter().enumerate() {
            let Some(agent) = agent else { continue };
            while let Some(batch) = agent.next_events(Duration::ZERO) {
                batch.into_iter().try_for_each(|event| take(self.first + own, event))?;
            }
        }
        Ok(())
    }

    /// Views that hold so many present and nobody in doubt.
    fn complete(&self, present: usize) -> usize {
        let whole = |agent: &&Agent| {
            let counts = agent.with_view(|published| published.view.counts());
            counts.present() == present && counts.suspect == 0
        };
        self.agents.iter().flatten().filter(whole).count()
    }

    fn counters(&self) -> Result<(Counters, Vec<Gauges>), RankError> {
        let (mut total, mut gauges) = (self.gone, Vec::new());
        for agent in self.agents.iter().flatten() {
            let (counters, gauge) = Counters::of(agent)?;
            total.add(&counters);
            gauges.push(gauge);
        }
        Ok((total, gauges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_counted_from_the_last_time_that_the_plan_had_it() {
        let deaths = [(Duration::from_secs(10), 3), (Duration::from_secs(50), 3)];
        assert_eq!(since_death(&deaths, Some(1_000), 3, 13_500), Some(2_500_000));
        assert_eq!(since_death(&deaths, Some(1_000), 3, 51_001), Some(1_000));
        assert_eq!(since_death(&deaths, Some(1_000), 3, 10_999), None, "a false death");
        assert_eq!(since_death(&deaths, Some(1_000), 4, 13_500), None);
        assert_eq!(since_death(&deaths, None, 3, 13_500), None, "the window has not opened");
    }
}
