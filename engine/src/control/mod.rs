//! The control thread: everything of an engine that may take its time.
//!
//! A shard must answer a probe in microseconds, so whatever blocks, allocates much or follows a
//! stranger's pace happens here: bulk sync over TCP, names of seeds, HTTP, logs. The thread owns
//! no state of the protocol: it reads published views and hands orders to shards.
//!
//! Invariants: no queue between the threads is unbounded, and nothing here makes a shard wait.

mod agents;
mod changes;
mod crowd;
pub(crate) mod frames;
mod http;
pub(crate) mod leaders;
pub(crate) mod leases;
mod lists;
pub(crate) mod logging;
pub(crate) mod peers;
pub(crate) mod post;
pub(crate) mod refresh;
#[cfg(feature = "bootstrap")]
mod renewals;
pub(crate) mod runtime;
pub(crate) mod seeds;
pub(crate) mod selection;
mod stream;
pub(crate) mod sync;
pub(crate) mod upgrade;
mod watch;

#[cfg(test)]
mod http_tests;
#[cfg(test)]
mod logging_tests;
#[cfg(test)]
mod runtime_tests;
#[cfg(test)]
pub(crate) mod stage_tests;
#[cfg(test)]
mod sync_tests;
#[cfg(test)]
mod upgrade_tests;

use std::io;
#[cfg(feature = "weather")]
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::{Event, WallTime};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

#[cfg(feature = "weather")]
use crate::io::weather::Weather;
use crate::metrics::Metrics;
#[cfg(feature = "bootstrap")]
use crate::options::RenewalOptions;
use crate::orders::{AgentId, Inspection, Order, Reply, ShardHandle, Work};
use crate::shared::Shared;
use crate::snapshot::Published;
use crate::tls::authority::{MeshAuthority, RevokedSteps};
use crate::tls::credentials::server_name;
use crate::tls::revocation::RevocationList;
use crate::upkeep::Keeper;
pub(crate) use http::gate::{Gate, HttpPort};
pub(crate) use http::socket::OwnerSocket;
use leases::Leases;
use logging::Logging;
use post::Outbox;
use refresh::MetadataSource;
use seeds::SeedList;
use stream::Driver;
use sync::{Judge, SyncLimits, Terms};
use upgrade::Upgrade;

/// A shard that has not answered by then is not well, and its askers are told so.
const INSPECTION_PATIENCE: Duration = Duration::from_secs(2);

/// What happened, as a host receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEvent {
    /// When, in wall time.
    pub at: WallTime,
    /// What.
    pub event: Event,
}

/// To the control thread.
pub(crate) enum ControlMessage {
    /// Serve this agent; `done` tells whether that is so.
    AddAgent { port: Box<AgentPort>, done: Reply<io::Result<()>> },
    /// Read this host's description of itself from here, every so often.
    FollowMetadata { agent: AgentId, period: Duration, source: MetadataSource },
    /// Look for the mesh through these seeds of the settings, and what the host named.
    Seeds { agent: AgentId, seeds: Vec<String>, file: Option<PathBuf> },
    /// Serve it no longer; `done` is called once its listeners are closed.
    RemoveAgent { agent: AgentId, done: Reply<()> },
    /// Something that a shard wants done.
    Work(Work),
}

/// An agent as it is handed to the control thread.
pub(crate) struct AgentPort {
    /// Which one.
    pub(crate) agent: AgentId,
    /// The way to its shard.
    pub(crate) shard: ShardHandle,
    /// What is read of it.
    pub(crate) site: Arc<dyn Site>,
    /// Keeps its certificates up to date.
    pub(crate) keeper: Option<Arc<Keeper>>,
    /// Where it gets its next certificate from.
    #[cfg(feature = "bootstrap")]
    pub(crate) renewal: Option<RenewalOptions>,
    /// Where bulk sync is served: the TCP port of the datagram port's number.
    pub(crate) sync_listener: TcpListener,
    /// Where HTTP is served.
    pub(crate) http: Option<HttpPort>,
    /// Where its owner may change it.
    pub(crate) socket: Option<OwnerSocket>,
    /// Its lifecycle, and the parts of the host that hand over work.
    pub(crate) upgrade: Arc<Upgrade>,
    /// What the host reports of others' work.
    pub(crate) leases: Arc<Leases>,
    /// The host's log.
    pub(crate) logging: Arc<Logging>,
    /// `host:port` of members to find the mesh through.
    pub(crate) seeds: Vec<String>,
    /// A file of more seeds.
    pub(crate) seed_file: Option<PathBuf>,
    /// All of them as its node is told, with what the host named.
    pub(crate) seed_list: Arc<SeedList>,
    /// What the host takes its events from.
    pub(crate) events: Outbox,
    /// The network that it stands on, where it is a made one.
    #[cfg(feature = "weather")]
    pub(crate) weather: Option<Arc<dyn Weather>>,
}

/// What the control thread reads of an agent: in production its [`Shared`].
pub(crate) trait Site: Send + Sync {
    /// Name within the cluster.
    fn node_id(&self) -> &str;

    /// The newest view.
    fn published(&self) -> Arc<Published>;

    /// Its metrics.
    fn metrics(&self) -> &Metrics;

    /// Whether the first full exchange with the mesh is done.
    fn is_joined(&self) -> bool;

    /// The credentials in force, for streams.
    fn terms(&self) -> Terms;

    /// Whether a record in this envelope was signed under a certificate that is revoked.
    fn is_revoked(&self, envelope: &[u8]) -> bool;

    /// The revocation lists in force; `None` where none are passed on or taken (rule S-16).
    fn lists(&self) -> Option<Vec<Arc<RevocationList>>>;

    /// Whether a sealed datagram of no session with this packet number came of late.
    fn has_heard(&self, packet_number: u64) -> bool;
}

impl Site for Shared {
    fn node_id(&self) -> &str {
        &self.node_id
    }

    fn published(&self) -> Arc<Published> {
        self.snapshot.load()
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn is_joined(&self) -> bool {
        Shared::is_joined(self)
    }

    fn terms(&self) -> Terms {
        let credentials = self.credentials.load_full();
        Terms {
            client: Arc::clone(credentials.sync_client()),
            server: Arc::clone(credentials.sync_server()),
            server_name: server_name(),
            judge: Arc::clone(&credentials) as Arc<dyn Judge>,
        }
    }

    fn is_revoked(&self, envelope: &[u8]) -> bool {
        let (credentials, learned) = (self.credentials.load_full(), Arc::clone(&self.learned));
        MeshAuthority::new(credentials, learned).is_revoked(envelope, &mut RevokedSteps::default())
    }

    fn lists(&self) -> Option<Vec<Arc<RevocationList>>> {
        let trust = self.credentials.load().verifier().trust().load_full();
        let revocations = trust.revocations();
        revocations.are_checked().then(|| revocations.lists().cloned().collect())
    }

    fn has_heard(&self, packet_number: u64) -> bool {
        self.strays.has(packet_number)
    }
}

/// One agent's desk on this thread: whom it serves and by which bounds.
struct Desk {
    agent: AgentId,
    shard: ShardHandle,
    site: Arc<dyn Site>,
    upgrade: Arc<Upgrade>,
    leases: Arc<Leases>,
    logging: Arc<Logging>,
    driver: Driver,
    limits: SyncLimits,
    /// Who was given revocation lists of late.
    served: lists::Paces,
    /// Places for pieces of others' states on their way to the shard.
    pieces: Arc<Semaphore>,
    /// The network that it stands on, where it is a made one, and where.
    #[cfg(feature = "weather")]
    weather: Option<(Arc<dyn Weather>, SocketAddr)>,
}

impl Desk {
    /// Waits for ever where a made network lets no stream through to this address.
    #[cfg(feature = "weather")]
    async fn reach(&self, address: SocketAddr) {
        if let Some((weather, own)) = &self.weather
            && !weather.connects(*own, address)
        {
            std::future::pending::<()>().await;
        }
    }

    /// Asks the shard how the agent is; `None` when no answer comes in time.
    async fn inspect(&self) -> Option<Inspection> {
        let (answer, asked) = oneshot::channel();
        let reply = Box::new(move |inspection| {
            // Whoever asked may have given up.
            let _ = answer.send(inspection);
        });
        self.shard.order(Order::Inspect { agent: self.agent, reply }).ok()?;
        timeout(INSPECTION_PATIENCE, asked).await.ok()?.ok()
    }
}
