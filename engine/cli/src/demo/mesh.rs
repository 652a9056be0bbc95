//! The agents of the demo and what can be asked of all of them at once.
//!
//! Invariant: every question is answered from views, so that asking never disturbs the protocol.

use std::time::{Duration, Instant};

use mesh_gossip::options::{Advertise, EngineOptions};
use mesh_gossip::proto::{MemberId, State};
use mesh_gossip::{Agent, Engine};

use super::DemoError;
use super::options::{self, Identity, LOOPBACK};
use super::ports;
use super::voice::{Notice, PortUse, Voice};
use crate::signals::Stop;

/// Time between looks at the views; reading them takes no lock.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A port found free may be gone by the time it is bound; so often another one is looked for.
const BIND_ATTEMPTS: usize = 8;
/// Agents that a joining one is told of.
pub(crate) const SEEDS: usize = 3;

/// Ports to be tried first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstPorts {
    /// Of the first agent's gossip; the others follow.
    pub(crate) gossip: u16,
    /// Of the first agent's control server.
    pub(crate) control: u16,
}

/// An engine for so many agents.
pub(crate) fn start_engine(
    backend: mesh_gossip::options::BackendChoice,
    nodes: u16,
) -> Result<Engine, DemoError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = Some(cores.min(nodes.into()));
    Engine::start(EngineOptions { backend, shards, ..EngineOptions::default() })
        .map_err(DemoError::Engine)
}

/// Starts an agent for every identity.
pub(crate) fn start_agents(
    engine: &Engine,
    identities: &[Identity],
    first: FirstPorts,
    voice: &mut Voice,
) -> Result<Vec<Agent>, DemoError> {
    let mut agents: Vec<Agent> = Vec::with_capacity(identities.len());
    let mut from = first.gossip;
    for identity in identities {
        let control = agents.is_empty().then_some(first.control);
        let known = agents.iter().take(SEEDS);
        let seeds: Vec<_> = known.map(|agent| agent.local_address().to_string()).collect();
        let way = (&seeds[..], Advertise::default());
        let agent = start_agent(engine, identity, (from, control), way, voice)?;
        from = agent.local_address().port().saturating_add(1);
        agents.push(agent);
    }
    Ok(agents)
}

/// Starts one agent: the first ports to try, then the seeds, and where others reach it.
pub(crate) fn start_agent(
    engine: &Engine,
    identity: &Identity,
    wanted: (u16, Option<u16>),
    (seeds, advertise): (&[String], Advertise),
    voice: &mut Voice,
) -> Result<Agent, DemoError> {
    let (mut gossip_from, mut control_from) = wanted;
    let mut attempt = 1;
    let agent = loop {
        let port = ports::first_free(gossip_from, |port| ports::gossip_is_free(LOOPBACK, port))?;
        let control = control_from
            .map(|from| ports::first_free(from, |at| ports::control_is_free(LOOPBACK, at)))
            .transpose()?;
        let mut options = options::agent(identity, port, control, seeds.to_vec());
        options.advertise = advertise.clone();
        match Agent::start(engine, options) {
            Ok(agent) => break agent,
            Err(error) if error.is_port_busy() && attempt < BIND_ATTEMPTS => {
                // Somebody was faster; which of the two ports it took shows at the next look.
                attempt += 1;
                gossip_from = port;
                control_from = control;
            }
            Err(error) => return Err(DemoError::Agent { node: identity.node_id.clone(), error }),
        }
    };
    let node = agent.node_id();
    let address = agent.local_address();
    if address.port() != wanted.0 {
        let (from, to) = (wanted.0, address.port());
        voice.tell(&Notice::Moved { node, port: PortUse::Gossip, from, to })?;
    }
    if let (Some(from), Some(bound)) = (wanted.1, agent.control_address())
        && bound.port() != from
    {
        voice.tell(&Notice::Moved { node, port: PortUse::Control, from, to: bound.port() })?;
    }
    voice.tell(&Notice::Listening { node, address })?;
    Ok(agent)
}

/// Looks at `condition` until it holds; the time that took since `from`, or `None` when the
/// deadline or a signal came first. `between` runs after every look that failed.
pub(crate) fn wait(
    from: Instant,
    deadline: Instant,
    stop: &Stop,
    condition: impl Fn() -> bool,
    mut between: impl FnMut() -> Result<(), DemoError>,
) -> Result<Option<Duration>, DemoError> {
    loop {
        if condition() {
            return Ok(Some(from.elapsed()));
        }
        if stop.is_asked() || Instant::now() >= deadline {
            return Ok(None);
        }
        between()?;
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether every agent holds every agent Alive and nobody else present.
pub(crate) fn converged(agents: &[Agent]) -> bool {
    let ids = ids(agents);
    agents.iter().all(|agent| seen_by(agent, &ids) == ids.len())
}

/// `demo-2 sees 1 of 3` for every agent that does not see all.
pub(crate) fn blind_spots(agents: &[Agent]) -> Vec<String> {
    let ids = ids(agents);
    agents
        .iter()
        .map(|agent| (agent.node_id(), seen_by(agent, &ids)))
        .filter(|(_, seen)| *seen < ids.len())
        .map(|(node, seen)| format!("{node} sees {seen} of {}", ids.len()))
        .collect()
}

/// The agents that still hold `victim` a member: Alive or Suspect.
pub(crate) fn holders(agents: &[Agent], victim: MemberId) -> Vec<String> {
    let holds = |agent: &&Agent| agent.view().view.state(victim).is_some_and(State::is_present);
    agents.iter().filter(holds).map(|agent| agent.node_id().to_owned()).collect()
}

/// Whether no agent holds `victim` a member.
pub(crate) fn removed(agents: &[Agent], victim: MemberId) -> bool {
    agents.iter().all(|agent| !agent.view().view.state(victim).is_some_and(State::is_present))
}

/// Sorted ids of the agents.
fn ids(agents: &[Agent]) -> Vec<MemberId> {
    let mut ids: Vec<_> = agents.iter().map(|agent| agent.view().view.local()).collect();
    ids.sort_unstable();
    ids
}

/// How many of `ids` an agent holds Alive; none when it holds anybody else present, which means
/// that its picture is not this mesh.
fn seen_by(agent: &Agent, ids: &[MemberId]) -> usize {
    let published = agent.view();
    // Counted in O(1): most looks at a large mesh end here.
    let counts = published.view.counts();
    if counts.alive < ids.len() || counts.present() > ids.len() {
        return counts.alive.min(ids.len() - 1);
    }
    let alive = published.view.members().filter(|member| member.state == State::Alive);
    alive.filter(|member| ids.binary_search(&member.id()).is_ok()).count()
}
