//! A certificate authority in memory and the options of the agents that it certifies.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use mesh_gossip::bootstrap::{CaValidity, CertificateAuthority, Issued, Subject};
use mesh_gossip::options::{
    Advertise, AgentOptions, ControlOptions, Delivery, PeerLabels, UpkeepOptions,
};
use mesh_gossip::proto::Config;

/// Longer than any test.
const VALIDITY: Duration = Duration::from_secs(3_600);

/// Any free loopback port.
pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The authority of one cluster.
pub(crate) struct Authority(pub(crate) CertificateAuthority);

impl Authority {
    /// A new root for `cluster`.
    pub(crate) fn of(cluster: &str) -> Self {
        let now = SystemTime::now();
        Self(
            CertificateAuthority::create("mesh.test", cluster, now, CaValidity::default()).unwrap(),
        )
    }

    /// A certificate for a node.
    pub(crate) fn issue(&self, node_id: &str, role: &str) -> Issued {
        self.0.issue(&Subject::new(node_id, role), SystemTime::now(), VALIDITY).unwrap()
    }

    /// Options of a certified node: product defaults on free loopback ports, a control server,
    /// no seeds.
    pub(crate) fn options(&self, node_id: &str, role: &str) -> AgentOptions {
        AgentOptions {
            protocol: Config::new(self.0.cluster()),
            node_id: node_id.to_owned(),
            role: role.to_owned(),
            region: format!("region-of-{node_id}"),
            mesh_version: "1.2.3".to_owned(),
            http3_support: true,
            labels: [("rack".to_owned(), format!("rack-of-{node_id}"))].into(),
            bind: ANY_PORT,
            advertise: Advertise::default(),
            seeds: Vec::new(),
            seed_file: None,
            metadata_refresh: Duration::from_secs(30),
            events: Delivery::default(),
            tls: self.issue(node_id, role).tls_options(&self.0),
            control: Some(ControlOptions::at(ANY_PORT)),
            peer_labels: PeerLabels::Auto,
            upkeep: UpkeepOptions::default(),
        }
    }
}
