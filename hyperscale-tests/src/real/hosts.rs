//! The agents of a run: certified by one authority in memory, on one engine, on loopback.
//!
//! Each has a name, a certificate and a port of its own. Who is killed and starts again does so on
//! its port and with its certificate, as a restarted host would.
//!
//! Invariant: what a killed agent counted is kept, so that sums over all agents never fall.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mesh_gossip::options::{
    Advertise, AgentOptions, Delivery, EngineOptions, PeerLabels, TlsOptions, UpkeepOptions,
};
use mesh_gossip::proto::{Instant, MemberId};
use mesh_gossip::{Agent, Engine, HostEvent, StartError};

use super::RealError;
use super::cast::{Cast, Costs};
use super::counters::{ANSWER, Counters, Gauges};
use super::papers::{self, CLUSTER, Papers};
use super::process::{self, Memory};
use super::timeline;
use super::trend::Holding;
use super::weather::Sky;
use crate::ledger::peak_bytes;
use crate::measure::Seen;
use crate::plan::{Plan, Scenario};

/// Members to be and members that run.
pub(super) struct Hosts {
    options: Vec<AgentOptions>,
    agents: Vec<Option<Agent>>,
    papers: Papers,
    /// The network, where it is not loopback's own.
    sky: Option<Arc<Sky>>,
    /// What the killed ones had counted.
    gone: Counters,
    /// Dropped last: its threads end with the last handle.
    engine: Engine,
}

/// The options of every host, certificates included.
pub(super) struct Identities(Vec<AgentOptions>, Papers);

impl Identities {
    /// Mints all of them.
    pub(super) fn mint(plan: &Plan) -> Result<Self, RealError> {
        let papers = Papers::mint(plan)?;
        let options = |node| options(plan, node, papers.tls_options(node));
        Ok(Self((0..plan.nodes).map(options).collect(), papers))
    }
}

/// How a node is, wherever it runs: on any port of loopback, without seeds.
pub(super) fn options(plan: &Plan, node: usize, tls: TlsOptions) -> AgentOptions {
    AgentOptions {
        protocol: plan.config(CLUSTER),
        node_id: papers::name(node),
        role: "worker".into(),
        region: format!("region-{}", node % usize::from(plan.regions.max(1))),
        mesh_version: papers::version(0),
        http3_support: false,
        labels: [("rack".to_owned(), "r1".to_owned())].into(),
        bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        advertise: Advertise::default(),
        seeds: Vec::new(),
        seed_file: None,
        metadata_refresh: Duration::from_secs(30),
        events: Delivery::Immediate,
        tls,
        control: None,
        // One series a peer is more than a drill can evaluate.
        peer_labels: if plan.scenario == Scenario::Drill {
            PeerLabels::Off
        } else {
            PeerLabels::Auto
        },
        upkeep: UpkeepOptions::default(),
    }
}

impl Hosts {
    /// Nobody runs yet.
    pub(super) fn asleep(
        identities: Identities,
        options: EngineOptions,
        sky: Option<Arc<Sky>>,
    ) -> Result<Self, StartError> {
        let Identities(all, papers) = identities;
        let agents = all.iter().map(|_| None).collect();
        let engine = match &sky {
            Some(sky) => Engine::start_under(options, sky.clone())?,
            None => Engine::start(options)?,
        };
        Ok(Self { options: all, agents, papers, sky, gone: Counters::default(), engine })
    }

    /// Those that run, by their number.
    fn those_running(&self) -> impl Iterator<Item = (usize, &Agent)> {
        let agents = self.agents.iter().enumerate();
        agents.filter_map(|(node, agent)| Some((node, agent.as_ref()?)))
    }

    /// One, if it runs.
    pub(super) fn agent(&self, node: usize) -> Option<&Agent> {
        self.agents[node].as_ref()
    }

    /// From its next start on a node runs this version.
    pub(super) fn deploy(&mut self, node: usize, version: u8) {
        self.options[node].mesh_version = papers::version(version);
    }

    /// The version that a node runs, or will when it starts.
    pub(super) fn version(&self, node: usize) -> &str {
        &self.options[node].mesh_version
    }

    /// A node says this of itself, if it runs.
    pub(super) fn describe(&self, node: usize, label: &str, word: &str) -> Result<bool, RealError> {
        let Some(agent) = self.agent(node) else { return Ok(false) };
        let labelled = agent.update_metadata(|metadata| {
            metadata.labels.insert(label.to_owned(), word.to_owned());
        });
        labelled.map_err(RealError::Agent)?;
        Ok(true)
    }

    /// What Prometheus would be told by a node, if it runs.
    pub(super) fn scrape(&self, node: usize) -> Result<Option<String>, RealError> {
        let text = self.agent(node).map(|agent| agent.metrics_text(ANSWER));
        text.transpose().map_err(RealError::Agent)
    }

    fn renew(&mut self, node: usize) -> Result<(), RealError> {
        let tls = self.papers.tls_options(node);
        self.options[node].tls = tls.clone();
        if let Some(agent) = &self.agents[node] {
            agent.rotate(tls)?;
        }
        Ok(())
    }
}

impl Cast for Hosts {
    fn len(&self) -> usize {
        self.agents.len()
    }

    fn ids(&self) -> Vec<MemberId> {
        let names = self.options.iter().map(|options| &options.node_id);
        names.map(|name| MemberId::derive(CLUSTER, name)).collect()
    }

    fn within(&mut self) -> Option<&mut Hosts> {
        Some(self)
    }

    fn backend(&self) -> &'static str {
        self.engine.backend().as_str()
    }

    fn sky(&self) -> Option<&Sky> {
        self.sky.as_deref()
    }

    fn start(&mut self, node: usize) -> Result<(), RealError> {
        assert!(self.agents[node].is_none(), "node {node} is started once");
        let mut options = self.options[node].clone();
        if node > 0 {
            let seed = self.agents[0].as_ref().map(|seed| seed.local_address().to_string());
            options.seeds = seed.into_iter().collect();
        }
        let agent = match Agent::start(&self.engine, options.clone()) {
            // A connection on its way out may have been given the port meanwhile.
            Err(StartError::Bind { .. }) if options.bind.port() != 0 => {
                options.bind.set_port(0);
                Agent::start(&self.engine, options)
            }
            outcome => outcome,
        }?;
        self.options[node].bind = agent.local_address();
        if let Some(sky) = &self.sky {
            sky.place(node, agent.local_address());
        }
        self.agents[node] = Some(agent);
        Ok(())
    }

    fn kill(&mut self, nodes: &[usize]) -> Result<Instant, RealError> {
        let mut dying = Vec::with_capacity(nodes.len());
        for node in nodes {
            let agent = self.agents[*node].take();
            let agent = agent.unwrap_or_else(|| panic!("node {node} is killed while it runs"));
            self.gone.add(&Counters::of(&agent).map_err(RealError::Agent)?.0);
            dying.push(agent);
        }
        let at = timeline::now();
        thread::scope(|scope| {
            for agent in dying {
                scope.spawn(|| agent.kill());
            }
        });
        Ok(at)
    }

    fn certify(&mut self, node: usize, by: u8) -> Result<(), RealError> {
        self.papers.certify(node, by)?;
        self.renew(node)
    }

    fn trust(&mut self, node: usize, roots: u8) -> Result<(), RealError> {
        if self.papers.trust(node, roots) { self.renew(node) } else { Ok(()) }
    }

    fn told(
        &mut self,
        take: &mut dyn FnMut(usize, Instant, Option<Seen>),
    ) -> Result<(), RealError> {
        for (node, agent) in self.those_running() {
            while let Some(batch) = agent.next_events(Duration::ZERO) {
                for HostEvent { at, event } in batch {
                    take(node, timeline::at_ms(at.0), Seen::of(&event));
                }
            }
        }
        Ok(())
    }

    fn running(&self) -> usize {
        self.those_running().count()
    }

    fn complete(&self, doubted_too: bool) -> usize {
        let running = self.running();
        let whole = |agent: &Agent| {
            let counts = agent.with_view(|published| published.view.counts());
            counts.present() == running && (doubted_too || counts.suspect == 0)
        };
        self.those_running().filter(|(_, agent)| whole(agent)).count()
    }

    fn view_error(&mut self) -> Result<f64, RealError> {
        let up: Vec<(MemberId, bool)> =
            self.ids().into_iter().zip(self.agents.iter().map(Option::is_some)).collect();
        let (mut wrong, mut looks) = (0, 0);
        for (_, agent) in self.those_running() {
            let published = agent.view();
            looks += up.len();
            for (id, up) in &up {
                let present = published.view.state(*id).is_some_and(|state| state.is_present());
                wrong += usize::from(present != *up);
            }
        }
        Ok(wrong as f64 / looks.max(1) as f64)
    }

    fn counters(&mut self) -> Result<(Counters, Vec<Gauges>), RealError> {
        let mut total = self.gone;
        let mut gauges = Vec::new();
        for (_, agent) in self.those_running() {
            let (counters, gauge) = Counters::of(agent).map_err(RealError::Agent)?;
            total.add(&counters);
            gauges.push(gauge);
        }
        Ok((total, gauges))
    }

    fn holds(&self) -> Result<Holding, RealError> {
        // Who does not answer in time ends no run: then the number is not known.
        let of = |(_, agent)| Counters::of(agent).ok().map(|(_, gauges)| gauges.sessions);
        let sessions = self.those_running().map(of).sum();
        Ok(Holding {
            resident: Memory::now().resident,
            descriptors: process::descriptors(),
            allocated: process::allocated(),
            sessions,
        })
    }

    fn costs(&self) -> Costs {
        Costs {
            threads: process::threads(),
            memory: Memory::now(),
            peak: peak_bytes(),
            descriptors: process::descriptors(),
            each: Vec::new(),
        }
    }
}
