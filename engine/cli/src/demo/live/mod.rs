//! The demo for somebody at a terminal: the members live, and keys that make things happen.
//!
//! Everything that decides stands in [`scene`], which knows neither terminal nor mesh; here its acts
//! are done and the views looked at, often while a story is open, so that its milliseconds are
//! those of the views.

mod cables;
mod keys;
mod scene;
#[cfg(test)]
mod scene_tests;
mod terminal;

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mesh_gossip::options::Advertise;
use mesh_gossip::proto::{Lifecycle, Member, MemberId, State};
use mesh_gossip::{Agent, Engine};

use self::cables::Cables;
use self::keys::{HELP, Keys};
use self::scene::{Act, Goal, MOST_AGENTS, Reached, Scene};
use super::follow::{CONVERGE_LIMIT, Follower};
use super::mesh::{self, FirstPorts, SEEDS};
use super::options::Mint;
use super::report::{CONVERGE_BUDGET, whole_ms};
use super::voice::{Notice, Voice, rows};
use super::{DemoArgs, DemoError};
use crate::signals::Stop;

use self::terminal::Terminal;

/// Between two looks while a story is open, and while none is.
const EAGER: Duration = Duration::from_millis(2);
const CALM: Duration = Duration::from_millis(30);
/// A story that is open is drawn again this often.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// A goodbye that nobody confirms is over after this.
const GOODBYE: Duration = Duration::from_secs(5);
/// Lines below the members: a blank one, the control URL, who is selected, the keys; and the cursor's.
const AROUND: usize = 5;
/// And above and among them: their header, how many are not shown, a story.
const BESIDE: usize = 3;

/// Whether somebody is there to press keys, and so many agents can be played with.
pub(super) fn is_possible(nodes: u16) -> bool {
    Terminal::is_there() && usize::from(nodes) <= MOST_AGENTS
}

/// Runs until `q`, a signal or the end of `--duration`.
pub(super) fn run(args: &DemoArgs, stop: &Stop, voice: &mut Voice) -> Result<(), DemoError> {
    let mint = Mint::new()?;
    let started = Instant::now();
    let engine = mesh::start_engine(args.backend(), args.nodes)?;
    let backend = engine.backend().as_str();
    voice.tell(&Notice::Started { backend, nodes: args.nodes })?;
    let mut troupe = Troupe {
        engine,
        mint,
        cables: Cables::default(),
        agents: Vec::new(),
        doors: Vec::new(),
        cut: Vec::new(),
        papers: None,
        leaving: Vec::new(),
        next_port: args.port,
    };
    for number in 1..=args.nodes {
        let control = (number == 1).then_some(args.control_port);
        troupe.start(&format!("demo-{number}"), control, voice)?;
    }
    let done = troupe.play(args, started, stop, voice);
    troupe.end();
    done
}

/// The agents, and what is needed for more of them.
struct Troupe {
    engine: Engine,
    mint: Mint,
    cables: Cables,
    agents: Vec<Agent>,
    /// Each one's door.
    doors: Vec<usize>,
    /// Whose cable is pulled.
    cut: Vec<String>,
    /// The certificate that the agent of the last rotation showed before it.
    papers: Option<(String, [u8; 32])>,
    leaving: Vec<JoinHandle<()>>,
    next_port: u16,
}

impl Troupe {
    fn start(
        &mut self,
        node: &str,
        control: Option<u16>,
        voice: &mut Voice,
    ) -> Result<(), DemoError> {
        let number = node.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(1);
        let identity = self.mint.identity(number)?;
        let (door, address) = self.cables.door()?;
        let seeds = self.agents.iter().zip(&self.doors).take(SEEDS);
        let seeds: Vec<String> = seeds.filter_map(|(agent, _)| advertised(agent)).collect();
        let advertise =
            Advertise { host: Some(address.ip().to_string()), port: Some(address.port()) };
        let ports = FirstPorts { gossip: self.next_port, control: control.unwrap_or(0) };
        let wanted = (ports.gossip, control);
        let agent = mesh::start_agent(&self.engine, &identity, wanted, (&seeds, advertise), voice)?;
        self.next_port = agent.local_address().port().saturating_add(1);
        self.cables.lead(door, agent.local_address());
        self.agents.push(agent);
        self.doors.push(door);
        Ok(())
    }

    fn play(
        &mut self,
        args: &DemoArgs,
        started: Instant,
        stop: &Stop,
        voice: &mut Voice,
    ) -> Result<(), DemoError> {
        let end = args.duration.map(|span| started + span);
        let limit = started + CONVERGE_LIMIT;
        let deadline = end.map_or(limit, |end| end.min(limit));
        let all = || mesh::converged(&self.agents);
        let Some(took) = mesh::wait(started, deadline, stop, all, || Ok(()))? else {
            if stop.is_asked() {
                return Ok(());
            }
            let missing = mesh::blind_spots(&self.agents);
            return Err(DemoError::NotConverged { after: started.elapsed(), missing });
        };
        let (ms, budget_ms) = (whole_ms(took), whole_ms(CONVERGE_BUDGET));
        voice.tell(&Notice::Converged { nodes: self.agents.len(), ms, budget_ms })?;
        let terminal = Terminal::take()?;
        let names = self.agents.iter().map(|agent| agent.node_id().to_owned());
        let (mut scene, mut keys) = (Scene::new(names), Keys::default());
        let mut follower = Follower::new(None);
        let (mut stale, mut drawn) = (true, started);
        while !stop.is_asked() && end.is_none_or(|end| Instant::now() < end) {
            while let Some(byte) = terminal.key() {
                let Some(wish) = keys.push(byte) else { continue };
                stale = true;
                match scene.key(wish) {
                    Some(Act::Quit) => return Ok(()),
                    Some(act) => self.act(&act, started, &mut scene, voice),
                    None => {}
                }
            }
            let was_waiting = scene.is_waiting();
            stale |= scene.see(started.elapsed(), |node, goal| self.reached(node, goal));
            stale |= follower.refresh(&self.agents);
            if stale || (was_waiting && drawn.elapsed() >= DRAW_EVERY) {
                let lines = self.frame(&follower, &scene, started.elapsed(), rows());
                voice.draw(&lines)?;
                (stale, drawn) = (false, Instant::now());
            }
            thread::sleep(if scene.is_waiting() { EAGER } else { CALM });
        }
        Ok(())
    }

    /// Does what a key asked for; its time counts from before it is done.
    fn act(&mut self, act: &Act, started: Instant, scene: &mut Scene, voice: &mut Voice) {
        let began = started.elapsed();
        match self.attempt(act, voice) {
            Ok(()) => scene.began(began, act),
            Err(why) => scene.failed(why),
        }
    }

    fn attempt(&mut self, act: &Act, voice: &mut Voice) -> Result<(), String> {
        match act {
            Act::Kill(node) => {
                let agent = self.take(node)?;
                agent.kill();
            }
            Act::Leave(node) => {
                let agent = self.take(node)?;
                // Its goodbye takes as long as the others need to confirm it.
                let leave = move || drop(agent.leave(GOODBYE));
                let thread = thread::Builder::new().name("demo-goodbye".into()).spawn(leave);
                self.leaving.push(thread.map_err(|error| error.to_string())?);
            }
            Act::Add(node) => self.start(node, None, voice).map_err(|error| error.to_string())?,
            Act::Cut(node) => self.pull(node, true)?,
            Act::Connect(node) => self.pull(node, false)?,
            Act::Drain(node) => {
                let done = self.find(node)?.drain(Some("a key was pressed"));
                done.map_err(|error| error.to_string())?;
            }
            Act::Resume(node) => {
                self.find(node)?.resume().map_err(|error| error.to_string())?;
            }
            Act::Rotate(node) => {
                let agent = self.find(node)?;
                let before =
                    agent.view().view.member(agent.member_id()).map(|own| own.record.signer());
                let papers = self.mint.papers(node).map_err(|error| error.to_string())?;
                agent.rotate(papers).map_err(|error| error.to_string())?;
                self.papers = before.map(|before| (node.clone(), before));
            }
            Act::Quit => {}
        }
        Ok(())
    }

    fn at(&self, node: &str) -> Result<usize, String> {
        let at = self.agents.iter().position(|agent| agent.node_id() == node);
        at.ok_or_else(|| format!("{node} is gone"))
    }

    fn find(&self, node: &str) -> Result<&Agent, String> {
        Ok(&self.agents[self.at(node)?])
    }

    fn take(&mut self, node: &str) -> Result<Agent, String> {
        let at = self.at(node)?;
        self.doors.remove(at);
        self.cut.retain(|cut| cut != node);
        Ok(self.agents.remove(at))
    }

    fn pull(&mut self, node: &str, pulled: bool) -> Result<(), String> {
        self.cables.pull(self.doors[self.at(node)?], pulled);
        self.cut.retain(|cut| cut != node);
        if pulled {
            self.cut.push(node.to_owned());
        }
        Ok(())
    }

    /// In how many views of others a goal is reached. Who is cut off has no say.
    fn reached(&self, node: &str, goal: Goal) -> Reached {
        let Some(id) = self.agents.first().map(|agent| MemberId::derive(agent.cluster_id(), node))
        else {
            return Reached { views: 0, of: 0 };
        };
        let others = self.agents.iter().filter(|agent| {
            agent.node_id() != node && !self.cut.iter().any(|cut| cut == agent.node_id())
        });
        let (mut views, mut of) = (0, 0);
        for agent in others {
            let known = agent.with_view(|published| published.view.member(id).cloned());
            of += 1;
            views += usize::from(self.holds(node, goal, known.as_ref()));
        }
        Reached { views, of }
    }

    fn holds(&self, node: &str, goal: Goal, member: Option<&Member>) -> bool {
        let Some(member) = member else { return goal == Goal::Gone };
        let lifecycle = member.record.record().lifecycle;
        match goal {
            Goal::Gone => !member.state.is_present(),
            Goal::Alive => member.state == State::Alive,
            Goal::Draining => matches!(lifecycle, Lifecycle::Draining | Lifecycle::Drained),
            Goal::Active => lifecycle == Lifecycle::Active,
            Goal::Papers => {
                let before = self.papers.as_ref().filter(|(name, _)| name == node);
                before.is_some_and(|(_, before)| member.record.signer() != *before)
            }
        }
    }

    fn frame(&self, follower: &Follower, scene: &Scene, now: Duration, rows: usize) -> Vec<String> {
        let selected = scene.selected();
        let members = rows.saturating_sub(AROUND + BESIDE).max(1);
        let mut lines: Vec<String> = follower.board().lines_of(members);
        for line in &mut lines {
            if line.split_whitespace().next() == Some(selected) {
                // Swapped foreground and background: seen where colours are not.
                *line = format!("\x1b[7m{line}\x1b[0m");
            }
        }
        lines.push(String::new());
        let room = rows.saturating_sub(lines.len() + AROUND).max(1);
        lines.extend(scene.lines(now, room));
        let control = self.agents.iter().find_map(Agent::control_address);
        lines
            .extend(control.map(|at| Notice::Control { url: &format!("http://{at}") }.to_string()));
        let state = if scene.is_cut(selected) { ", cut off" } else { "" };
        lines.push(format!("{selected} is selected{state}"));
        lines.push(HELP.into());
        lines
    }

    fn end(self) {
        drop(self.agents);
        for thread in self.leaving {
            // What it had to say was said by the views.
            let _ = thread.join();
        }
        drop(self.cables);
        self.engine.shutdown();
    }
}

/// Where others reach it.
fn advertised(agent: &Agent) -> Option<String> {
    agent.metadata().map(|metadata| metadata.endpoint)
}
