//! What the demo's agents are started with: the defaults of a real agent, on loopback. What the
//! demo shows is what a deployment gets, at the same speeds.
//!
//! Invariant: protocol parameters are the defaults, no agent leaves loopback, and no key is
//! written to a file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use mesh_gossip::bootstrap::{CaValidity, CertificateAuthority, Subject};
use mesh_gossip::options::{
    Advertise, AgentOptions, ControlOptions, Delivery, PeerLabels, TlsOptions, UpkeepOptions,
};
use mesh_gossip::proto::Config;

use super::DemoError;

/// Where every agent of the demo lives.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CLUSTER: &str = "demo";
const TRUST_DOMAIN: &str = "demo.local";
/// The authority dies with the process; a day outlives any demo.
const VALIDITY: Duration = Duration::from_secs(86_400);
/// Roles are dealt out in turn.
const ROLES: [&str; 3] = ["gateway", "dispatcher", "worker"];

/// Name, role and credentials of one agent.
pub(crate) struct Identity {
    /// Its name.
    pub(crate) node_id: String,
    role: &'static str,
    tls: TlsOptions,
}

/// Protocol parameters: the defaults.
pub(crate) fn protocol() -> Config {
    Config::new(CLUSTER)
}

/// Mints an authority and an identity for each of `nodes` agents, in memory.
pub(crate) fn mint(nodes: u16) -> Result<Vec<Identity>, DemoError> {
    let mint = Mint::new()?;
    (1..=nodes).map(|number| mint.identity(number)).collect()
}

/// An authority in memory.
pub(crate) struct Mint(CertificateAuthority);

impl Mint {
    pub(crate) fn new() -> Result<Self, DemoError> {
        let validity = CaValidity::default();
        let now = SystemTime::now();
        let authority = CertificateAuthority::create(TRUST_DOMAIN, CLUSTER, now, validity);
        authority.map(Self).map_err(DemoError::Mint)
    }

    /// The agent of this number, from 1.
    pub(crate) fn identity(&self, number: u16) -> Result<Identity, DemoError> {
        let node_id = format!("demo-{number}");
        let role = ROLES[usize::from(number.saturating_sub(1)) % ROLES.len()];
        let tls = self.issue(&node_id, role)?;
        Ok(Identity { node_id, role, tls })
    }

    /// Another certificate for an agent that has one.
    pub(crate) fn papers(&self, node_id: &str) -> Result<TlsOptions, DemoError> {
        let number = node_id.rsplit('-').next().and_then(|number| number.parse().ok());
        Ok(self.identity(number.unwrap_or(1))?.tls)
    }

    fn issue(&self, node_id: &str, role: &str) -> Result<TlsOptions, DemoError> {
        let subject = Subject::new(node_id, role);
        let issued = self.0.issue(&subject, SystemTime::now(), VALIDITY);
        Ok(issued.map_err(DemoError::Mint)?.tls_options(&self.0))
    }
}

/// Options of one agent.
pub(crate) fn agent(
    identity: &Identity,
    port: u16,
    control_port: Option<u16>,
    seeds: Vec<String>,
) -> AgentOptions {
    AgentOptions {
        protocol: protocol(),
        node_id: identity.node_id.clone(),
        role: identity.role.into(),
        region: "local".into(),
        mesh_version: env!("CARGO_PKG_VERSION").into(),
        http3_support: identity.role == "gateway",
        labels: [("demo".to_owned(), "true".to_owned())].into(),
        bind: SocketAddr::new(LOOPBACK, port),
        advertise: Advertise::default(),
        seeds,
        seed_file: None,
        metadata_refresh: Duration::from_secs(30),
        events: Delivery::default(),
        tls: identity.tls.clone(),
        control: control_port.map(|port| ControlOptions::at(SocketAddr::new(LOOPBACK, port))),
        peer_labels: PeerLabels::Auto,
        upkeep: UpkeepOptions::default(),
    }
}
