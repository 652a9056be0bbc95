//! A host: an agent on an engine of its own, its log, and what it tells about its members.

use std::net::SocketAddr;
use std::time::Duration;

use mesh_gossip::options::{Advertise, AgentOptions, BackendChoice, EngineOptions};
use mesh_gossip::proto::{Member, State};
use mesh_gossip::{Agent, Engine, Inspection, StartError};

use super::{Door, Log, Metrics};

/// A shard answers within microseconds; on a busy machine within this.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// A host to be.
pub(crate) struct Spec {
    pub(crate) options: AgentOptions,
    pub(crate) log: Log,
}

impl Spec {
    /// With a log of its own.
    pub(crate) fn new(options: AgentOptions) -> Self {
        Self { options, log: Log::default() }
    }

    /// It finds the mesh through this address.
    pub(crate) fn seed(mut self, seed: SocketAddr) -> Self {
        self.options.seeds.push(seed.to_string());
        self
    }

    /// Peers are told to reach it through `door`.
    pub(crate) fn behind(mut self, door: &Door) -> Self {
        let address = door.address();
        let (host, port) = (Some(address.ip().to_string()), Some(address.port()));
        self.options.advertise = Advertise { host, port };
        self
    }

    /// Starts an engine and the agent on it.
    pub(crate) fn try_start(self, backend: BackendChoice) -> Result<Host, StartError> {
        let Self { options, log } = self;
        let agent = log.of(|| {
            let engine = Engine::start(EngineOptions { backend, ..EngineOptions::default() })?;
            Agent::start(&engine, options.clone())
        })?;
        Ok(Host { agent, options, log })
    }

    /// Starts an engine and the agent on it.
    pub(crate) fn start(self, backend: BackendChoice) -> Host {
        let name = self.options.node_id.clone();
        self.try_start(backend).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The same behind `door`, which leads to it from then on.
    pub(crate) fn start_behind(self, door: &Door, backend: BackendChoice) -> Host {
        let host = self.behind(door).start(backend);
        door.lead_to(host.agent.local_address());
        host
    }
}

/// A running agent.
pub(crate) struct Host {
    pub(crate) agent: Agent,
    /// What it was started with, for its successor.
    pub(crate) options: AgentOptions,
    pub(crate) log: Log,
}

impl Host {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.agent.node_id()
    }

    /// Its picture of another member.
    pub(crate) fn member(&self, name: &str) -> Option<Member> {
        let published = self.agent.view();
        let is_it = |member: &&Member| member.record.record().metadata.node_id == name;
        published.view.members().find(is_it).cloned()
    }

    /// What it holds another member to be.
    pub(crate) fn sees(&self, name: &str) -> Option<State> {
        self.member(name).map(|member| member.state)
    }

    /// Members that it holds alive.
    pub(crate) fn alive(&self) -> usize {
        self.agent.view().view.counts().alive
    }

    /// How it is.
    pub(crate) fn inspect(&self) -> Inspection {
        self.agent.inspect(ANSWER).expect("the shard answers")
    }

    /// Its metrics, from the agent itself.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::read(&self.agent.metrics_text(ANSWER).expect("the shard answers"))
    }

    /// The answer of its control server.
    pub(crate) fn get(&self, path: &str) -> String {
        let address = self.agent.control_address().expect("it has a control server");
        let mut answer = ureq::get(format!("http://{address}{path}")).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    }

    /// The peers document of its control server.
    pub(crate) fn peers(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/control/peers")).unwrap()
    }

    /// One peer of that document.
    pub(crate) fn peer(&self, name: &str) -> serde_json::Value {
        let document = self.peers();
        let peers = document["peers"].as_array().expect("a list of peers");
        let found = peers.iter().find(|peer| peer["nodeId"] == name);
        found.unwrap_or_else(|| panic!("{} does not list {name}: {document}", self.name())).clone()
    }
}

impl Drop for Host {
    /// A failure shows what its hosts logged.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.name(), self.log.text());
        }
    }
}

/// Whether every host holds every host alive and nobody else.
pub(crate) fn everyone_alive(hosts: &[&Host]) -> bool {
    let alive = |seer: &&Host, seen: &&Host| seer.sees(seen.name()) == Some(State::Alive);
    hosts
        .iter()
        .all(|seer| seer.alive() == hosts.len() && hosts.iter().all(|seen| alive(seer, seen)))
}
