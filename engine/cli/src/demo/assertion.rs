//! The demo for scripts: converge, kill one agent without a goodbye, wait until nobody holds it a
//! member, and say whether both took no longer than promised.
//!
//! Invariant: the verdict is the last line, whatever failed; time is measured on the views, and a
//! wait that is given up leaves its field null.

use std::io::Write;
use std::time::{Duration, Instant};

use mesh_gossip::proto::detector::order::KEEPS_ORDER;
use mesh_gossip::{Agent, Engine};

use super::follow::{CONVERGE_LIMIT, Follower};
use super::mesh::{self, FirstPorts};
use super::report::{CONVERGE_BUDGET, Report, Tls, whole_ms};
use super::voice::{Notice, Voice};
use super::{DemoArgs, DemoError, options};
use crate::signals::Stop;

/// How long beyond its budget a removal is waited for.
const REMOVE_SLACK: Duration = Duration::from_secs(10);

/// Runs the assertions and prints the verdict.
pub(crate) fn run(args: &DemoArgs, stop: &Stop, voice: &mut Voice) -> Result<(), DemoError> {
    let mut report = Report::new(args.nodes, options::protocol().suspicion_interval);
    let mut running = Running { engine: None, agents: Vec::new() };
    let driven = drive(args, stop, voice, &mut report, &mut running);
    let printed = verdict(args, &report, driven.as_ref().err());
    // Nothing is printed from here on, and a shutdown that hangs cannot hide the verdict.
    running.end();
    printed?;
    if driven.is_ok() && report.is_ok() { Ok(()) } else { Err(DemoError::Asserted) }
}

/// What must be ended, whatever happened.
struct Running {
    engine: Option<Engine>,
    agents: Vec<Agent>,
}

impl Running {
    fn end(self) {
        drop(self.agents);
        if let Some(engine) = self.engine {
            engine.shutdown();
        }
    }
}

fn drive(
    args: &DemoArgs,
    stop: &Stop,
    voice: &mut Voice,
    report: &mut Report,
    running: &mut Running,
) -> Result<(), DemoError> {
    if args.nodes < 2 {
        return Err(DemoError::TooFewToKill);
    }
    if usize::from(args.nodes) > KEEPS_ORDER {
        return Err(DemoError::TooManyToPromise { nodes: args.nodes, most: KEEPS_ORDER });
    }
    let identities = options::mint(args.nodes)?;
    let started = Instant::now();
    let give_up = |limit: Instant| args.duration.map_or(limit, |span| limit.min(started + span));

    let engine = running.engine.insert(mesh::start_engine(args.backend(), args.nodes)?);
    let backend = engine.backend().as_str();
    report.backend = Some(backend);
    voice.tell(&Notice::Started { backend, nodes: args.nodes })?;
    let first = FirstPorts { gossip: args.port, control: args.control_port };
    running.agents = mesh::start_agents(engine, &identities, first, voice)?;
    let agents = &mut running.agents;

    let deadline = give_up(started + CONVERGE_LIMIT);
    let took = mesh::wait(started, deadline, stop, || mesh::converged(agents), || Ok(()))?;
    report.converged = took;
    report.tls = sessions(agents);
    let Some(took) = took else {
        let missing = mesh::blind_spots(agents);
        return Err(unfinished(
            stop,
            DemoError::NotConverged { after: started.elapsed(), missing },
        ));
    };
    let (ms, budget_ms) = (whole_ms(took), whole_ms(CONVERGE_BUDGET));
    voice.tell(&Notice::Converged { nodes: agents.len(), ms, budget_ms })?;

    let Some(victim) = agents.pop() else { return Err(DemoError::TooFewToKill) };
    let deadline = |killed: Instant| give_up(killed + report.removal_budget() + REMOVE_SLACK);
    let (name, removal) = kill(victim, agents, deadline, stop, voice)?;
    report.killed = Some(name.clone());
    match removal {
        Removal::Done(took) => {
            report.removed = Some(took);
            let (ms, budget_ms) = (whole_ms(took), whole_ms(report.removal_budget()));
            Ok(voice.tell(&Notice::Removed { node: &name, ms, budget_ms })?)
        }
        Removal::GivenUp { after, still_in } => {
            Err(unfinished(stop, DemoError::NotRemoved { after, still_in }))
        }
    }
}

enum Removal {
    Done(Duration),
    GivenUp { after: Duration, still_in: Vec<String> },
}

/// Ends `victim` without a goodbye and watches the others notice; returns its name.
fn kill(
    victim: Agent,
    survivors: &[Agent],
    deadline: impl Fn(Instant) -> Instant,
    stop: &Stop,
    voice: &mut Voice,
) -> Result<(String, Removal), DemoError> {
    let name = victim.node_id().to_owned();
    let id = victim.view().view.local();
    let mut follower = Follower::new(None);
    follower.note(survivors);
    let killed = Instant::now();
    victim.kill();
    voice.tell(&Notice::Killed { node: &name })?;
    let gone = || mesh::removed(survivors, id);
    let follow = || follower.look(survivors, voice);
    let took = mesh::wait(killed, deadline(killed), stop, gone, follow)?;
    // What ended the wait is worth its line too.
    follower.look(survivors, voice)?;
    let removal = match took {
        Some(took) => Removal::Done(took),
        None => {
            Removal::GivenUp { after: killed.elapsed(), still_in: mesh::holders(survivors, id) }
        }
    };
    Ok((name, removal))
}

fn unfinished(stop: &Stop, error: DemoError) -> DemoError {
    if stop.is_asked() { DemoError::Interrupted } else { error }
}

/// What every agent's newest session runs on; nothing as long as one of them has none. Agents
/// that differ are told by the one that is not like the first.
fn sessions(agents: &[Agent]) -> Tls {
    let mut common = Tls::default();
    for agent in agents {
        let Some(tls) = agent.tls() else { return Tls::default() };
        let this = Tls { version: Some(tls.version), suite: Some(tls.suite) };
        if common.version.is_some() && common.version != this.version {
            return this;
        }
        common = this;
    }
    common
}

fn verdict(args: &DemoArgs, report: &Report, error: Option<&DemoError>) -> Result<(), DemoError> {
    let mut out = std::io::stdout().lock();
    if let Some(error) = error {
        writeln!(out, "error: {error}")?;
    } else {
        for broken in report.broken() {
            writeln!(out, "error: {broken}")?;
        }
    }
    if args.json {
        let line = report.to_json().map_err(std::io::Error::from)?;
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "{}", if report.is_ok() { "ok" } else { "failed" })?;
    }
    Ok(out.flush()?)
}
