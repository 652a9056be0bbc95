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
    let now = SystemTime::now();
    let authority = CertificateAuthority::create(TRUST_DOMAIN, CLUSTER, now, CaValidity::default())
        .map_err(DemoError::Mint)?;
    (1..=nodes)
        .zip(ROLES.into_iter().cycle())
        .map(|(number, role)| {
            let node_id = format!("demo-{number}");
            let subject = Subject::new(&node_id, role);
            let issued = authority.issue(&subject, now, VALIDITY).map_err(DemoError::Mint)?;
            Ok(Identity { node_id, role, tls: issued.tls_options(&authority) })
        })
        .collect()
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
