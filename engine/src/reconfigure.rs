//! What of an agent's options can change while it runs, and what needs a restart.
//!
//! A house that is lived in: pictures, curtains and the lock on the door can be changed today;
//! walls wait until everybody has moved out. Each option stands in one table with the key that
//! people know it by.
//!
//! Whose house it is does not change: options of another member are turned away at the door.
//!
//! Invariant: an option that differs is named, as changed, as in need of a restart, or as the
//! reason why all are refused, never not at all.

use std::fmt;

use crate::error::AgentError;
use crate::options::{AgentOptions, ControlOptions, ControlTls, EngineOptions};
use crate::tls::credentials::CredentialsError;
use crate::upkeep::{RenewError, Renewed};

/// What a reconfiguration came to. Keys are named below `mesh:gossip`.
#[derive(Debug, Default)]
pub struct Report {
    /// What is in force now.
    pub changed: Vec<&'static str>,
    /// What differs from what the agent was started with, and stays as it is until a restart.
    pub needs_restart: Vec<&'static str>,
    /// What became of certificates, trust and revocation lists, which were read again.
    pub certificates: Renewed,
}

/// Nothing was changed, or no more than is said.
#[derive(Debug)]
pub enum ReconfigureError {
    /// The options are another member's: its certificate, its labels and its seeds are not ours to
    /// take. Nothing has changed.
    Identity {
        /// What differs, below `mesh:gossip`.
        key: &'static str,
        /// Who the agent is.
        before: String,
        /// Whom the options describe.
        after: String,
    },
    /// The options contradict a rule of the protocol; nothing has changed.
    Config(mesh_gossip_proto::ConfigError),
    /// Our own description cannot be published; nothing has changed.
    Metadata(AgentError),
    /// Certificates or lists do not hold; nothing has changed.
    Renew(RenewError),
    /// Peers would refuse our new certificate, so the one before stays. What the trust that came
    /// with it says of others counts (rule S-16); nothing else has changed.
    Refused {
        /// Why.
        error: Box<CredentialsError>,
        /// New trust is in force.
        trust: bool,
    },
    /// Certificates are in force, but the agent did not take the rest.
    Agent(AgentError),
}

impl fmt::Display for ReconfigureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity { key, before, after } => write!(
                f,
                "mesh:gossip:{key} = {after:?}: a running agent stays who it is ({before:?}); \
                 put it back, or restart the agent"
            ),
            Self::Config(error) => write!(f, "mesh:gossip:{error}"),
            Self::Metadata(error) => {
                write!(
                    f,
                    "mesh:gossip:labels: cannot be published: {error}; shorten labels or region"
                )
            }
            Self::Renew(error) => error.fmt(f),
            Self::Refused { error, .. } => error.fmt(f),
            Self::Agent(error) => write!(f, "the agent did not take all of it: {error}"),
        }
    }
}

impl std::error::Error for ReconfigureError {}

/// One part of who an agent is: what its certificate names (rule S-8).
struct Name {
    key: &'static str,
    of: fn(&AgentOptions) -> &str,
}

/// Who an agent is for as long as it runs.
const IDENTITY: &[Name] = &[
    Name { key: "nodeId", of: |options| &options.node_id },
    Name { key: "role", of: |options| &options.role },
    Name { key: "clusterId", of: |options| &options.protocol.cluster_id },
    Name { key: "tls:trustDomain", of: |options| &options.tls.trust_domain },
    Name { key: "tls:identity", of: |options| options.tls.identity.word() },
];

/// One option.
struct Field {
    /// Key below `mesh:gossip`.
    key: &'static str,
    /// Whether a running agent can take it over.
    live: bool,
    same: fn(&AgentOptions, &AgentOptions) -> bool,
}

const fn live(key: &'static str, same: fn(&AgentOptions, &AgentOptions) -> bool) -> Field {
    Field { key, live: true, same }
}

const fn fixed(key: &'static str, same: fn(&AgentOptions, &AgentOptions) -> bool) -> Field {
    Field { key, live: false, same }
}

/// A part of the control server's options, where there is one.
fn of_control<'a, T>(
    options: &'a AgentOptions,
    part: impl Fn(&'a ControlOptions) -> T,
) -> Option<T> {
    options.control.as_ref().map(part)
}

/// Every option of an agent but who it is.
const FIELDS: &[Field] = &[
    live("region", |a, b| a.region == b.region),
    live("meshVersion", |a, b| a.mesh_version == b.mesh_version),
    live("http3Support", |a, b| a.http3_support == b.http3_support),
    live("labels", |a, b| a.labels == b.labels),
    live("seedPeers", |a, b| a.seeds == b.seeds),
    live("seedFile", |a, b| a.seed_file == b.seed_file),
    fixed("bindAddress", |a, b| a.bind.ip() == b.bind.ip()),
    fixed("port", |a, b| a.bind.port() == b.bind.port()),
    fixed("advertiseHost", |a, b| a.advertise.host == b.advertise.host),
    fixed("advertisePort", |a, b| a.advertise.port == b.advertise.port),
    fixed("interval", |a, b| a.protocol.interval == b.protocol.interval),
    fixed("pingTimeout", |a, b| a.protocol.ping_timeout == b.protocol.ping_timeout),
    fixed("suspicionInterval", |a, b| {
        a.protocol.suspicion_interval == b.protocol.suspicion_interval
    }),
    fixed("indirectPings", |a, b| a.protocol.indirect_pings == b.protocol.indirect_pings),
    fixed("detector", |a, b| a.protocol.detector == b.protocol.detector),
    fixed("grace", |a, b| a.protocol.grace == b.protocol.grace),
    fixed("fanout", |a, b| a.protocol.fanout == b.protocol.fanout),
    fixed("maxOutboundPerRound", |a, b| {
        a.protocol.max_outbound_per_round == b.protocol.max_outbound_per_round
    }),
    fixed("retransmitLimit", |a, b| a.protocol.retransmit_limit == b.protocol.retransmit_limit),
    fixed("metadataRefreshPeriod", |a, b| a.metadata_refresh == b.metadata_refresh),
    live("leftRetention", |a, b| a.protocol.left_retention == b.protocol.left_retention),
    fixed("leadership:scopes", |a, b| a.protocol.scopes == b.protocol.scopes),
    fixed("stateDirectory", |a, b| a.upkeep.state == b.upkeep.state),
    live("tls:certificatePath", |a, b| a.tls.certificate == b.tls.certificate),
    live("tls:keyPath", |a, b| a.tls.key == b.tls.key),
    live("tls:certificatePassword", |a, b| a.tls.password == b.tls.password),
    live("tls:caPath", |a, b| a.tls.ca == b.tls.ca),
    live("tls:crlPath", |a, b| a.tls.revocation.lists == b.tls.revocation.lists),
    live("tls:crlGrace", |a, b| a.tls.revocation.grace == b.tls.revocation.grace),
    live("tls:checkCertificateRevocation", |a, b| a.tls.revocation.check == b.tls.revocation.check),
    live("tls:allowedThumbprints", |a, b| a.tls.allowed_thumbprints == b.tls.allowed_thumbprints),
    live("certificateReloadInterval", |a, b| a.tls.reload_interval == b.tls.reload_interval),
    fixed("bootstrap:server", |a, b| a.upkeep.renewal == b.upkeep.renewal),
    fixed("control:address", |a, b| {
        of_control(a, |control| control.bind.ip()) == of_control(b, |control| control.bind.ip())
    }),
    fixed("control:port", |a, b| {
        of_control(a, |control| control.bind.port()) == of_control(b, |control| control.bind.port())
    }),
    fixed("control:socket", |a, b| {
        of_control(a, |control| &control.socket) == of_control(b, |control| &control.socket)
    }),
    fixed("control:tls:enabled", |a, b| {
        let served = |options| of_control(options, |control| control.tls.is_some());
        served(a) == served(b)
    }),
    fixed("control:tls:certificatePath", |a, b| {
        let certificate = |options| {
            of_control(options, |control| match &control.tls {
                Some(ControlTls::Apart { certificate, .. }) => Some(certificate),
                Some(ControlTls::OfTheNode) | None => None,
            })
        };
        certificate(a) == certificate(b)
    }),
    fixed("control:tls:keyPath", |a, b| {
        let key = |options| {
            of_control(options, |control| match &control.tls {
                Some(ControlTls::Apart { key, .. }) => key.as_ref(),
                Some(ControlTls::OfTheNode) | None => None,
            })
        };
        key(a) == key(b)
    }),
    fixed("events:delivery", |a, b| a.events == b.events),
    live("metrics:peerLabels", |a, b| a.peer_labels == b.peer_labels),
    fixed("limits", |a, b| a.protocol.limits == b.protocol.limits),
];

/// Refuses options that are another member's.
pub(crate) fn same_member(
    before: &AgentOptions,
    after: &AgentOptions,
) -> Result<(), ReconfigureError> {
    match IDENTITY.iter().find(|name| (name.of)(before) != (name.of)(after)) {
        None => Ok(()),
        Some(name) => Err(ReconfigureError::Identity {
            key: name.key,
            before: (name.of)(before).to_owned(),
            after: (name.of)(after).to_owned(),
        }),
    }
}

/// Which options differ: those that a running agent takes over, and those that need a restart.
pub(crate) fn differences(
    before: &AgentOptions,
    after: &AgentOptions,
) -> (Vec<&'static str>, Vec<&'static str>) {
    let differ = FIELDS.iter().filter(|field| !(field.same)(before, after));
    let (live, fixed): (Vec<&Field>, Vec<&Field>) = differ.partition(|field| field.live);
    let keys = |fields: Vec<&Field>| fields.into_iter().map(|field| field.key).collect();
    (keys(live), keys(fixed))
}

/// The options of an engine that differ; none can change while it runs.
pub fn engine_differences(before: &EngineOptions, after: &EngineOptions) -> Vec<&'static str> {
    let differ = [
        ("io:backend", before.backend != after.backend),
        ("io:shards", before.shards != after.shards),
        ("io:pin", before.pin != after.pin),
        ("io:spin", before.spin != after.spin),
    ];
    differ.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

/// What is in force once everything live of the same member was taken over: the rest stays.
pub(crate) fn merged(before: &AgentOptions, after: AgentOptions) -> AgentOptions {
    let mut protocol = before.protocol.clone();
    protocol.left_retention = after.protocol.left_retention;
    AgentOptions {
        protocol,
        region: after.region,
        mesh_version: after.mesh_version,
        http3_support: after.http3_support,
        labels: after.labels,
        seeds: after.seeds,
        seed_file: after.seed_file,
        tls: after.tls,
        peer_labels: after.peer_labels,
        ..before.clone()
    }
}
