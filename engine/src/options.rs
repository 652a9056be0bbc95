//! What an engine and an agent are started with: validated values, whatever file, variable or
//! program they came from. [`Settings`](crate::settings) is what people write; this is what can
//! be true.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::tls::identity::NameRule;
pub use mesh_gossip_proto::batch::Delivery;
use zeroize::Zeroizing;

/// Which datagram backend an engine uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BackendChoice {
    /// io_uring where the probe at start finds it usable, else `mmsg`.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// recvmmsg/sendmmsg with epoll.
    Mmsg,
}

/// Parameters of an [`Engine`](crate::Engine).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EngineOptions {
    /// Datagram backend.
    pub backend: BackendChoice,
    /// Shard threads; `None`: one for one agent, more with more agents, up to one a core.
    pub shards: Option<usize>,
    /// Pin each shard to a core of its own.
    pub pin: bool,
    /// How long a shard may look for something to do before it sleeps,
    /// [`SPIN_MAX`](crate::io::SPIN_MAX) at most; zero: it sleeps at once.
    pub spin: Duration,
}

/// Parameters of an [`Agent`](crate::Agent).
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Protocol parameters, cluster id included.
    pub protocol: mesh_gossip_proto::Config,
    /// Name within the cluster; the certificate must carry the same.
    pub node_id: String,
    /// Role within the mesh; the certificate must carry the same.
    pub role: String,
    /// Region, free text.
    pub region: String,
    /// Version of the mesh software that the host announces.
    pub mesh_version: String,
    /// Whether the host serves HTTP/3.
    pub http3_support: bool,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Where datagrams and the bulk-sync listener bind; port 0 takes any free one.
    pub bind: SocketAddr,
    /// What others are told to dial; `None` stands for the bound address (its first non-loopback
    /// equivalent when bound to the wildcard) or the bound port.
    pub advertise: Advertise,
    /// `host:port` of members to find the mesh through; names are resolved by the control thread.
    pub seeds: Vec<String>,
    /// A file of seeds, one a line.
    pub seed_file: Option<PathBuf>,
    /// How often the host's metadata source is read again.
    pub metadata_refresh: Duration,
    /// When the host is told of changes.
    pub events: Delivery,
    /// Credentials and trust.
    pub tls: TlsOptions,
    /// Control HTTP server; `None` starts none.
    pub control: Option<ControlOptions>,
    /// Whether metrics carry a label per peer.
    pub peer_labels: PeerLabels,
    /// What outlives a restart, and where another certificate comes from.
    pub upkeep: UpkeepOptions,
}

/// What an agent keeps, and what it gets by itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UpkeepOptions {
    /// Where the generation and the revocation lists in force outlive a restart; below it each
    /// agent has a directory of its own. `None`: nowhere.
    pub state: Option<PathBuf>,
    /// Where the agent gets its next certificate from; `None`: somebody else sees to it.
    pub renewal: Option<RenewalOptions>,
}

/// The authority's server, as a running agent asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalOptions {
    /// `host:port`.
    pub server: String,
    /// SHA-256 of the root that the server has to end in; `None`: any trusted one.
    pub fingerprint: Option<[u8; 32]>,
    /// How often the authority's revocation list is fetched.
    pub list_interval: Duration,
}

impl RenewalOptions {
    /// How often the list is fetched where nobody says otherwise.
    pub const LIST_INTERVAL: Duration = Duration::from_secs(300);

    /// With this server, under any trusted root.
    pub fn from_server(server: &str) -> Self {
        let (server, list_interval) = (server.to_owned(), Self::LIST_INTERVAL);
        Self { server, fingerprint: None, list_interval }
    }
}

/// What others are told to dial.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Advertise {
    /// Host name or address; `None`: derived from the bound address.
    pub host: Option<String>,
    /// Port; `None`: the bound one.
    pub port: Option<u16>,
}

/// The control HTTP server of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlOptions {
    /// Where it listens; port 0 takes any free one.
    pub bind: SocketAddr,
    /// Where its owner may change the agent.
    pub socket: ControlSocket,
    /// Mutual TLS at `bind`; `None` serves loopback addresses only.
    pub tls: Option<ControlTls>,
}

impl ControlOptions {
    /// On this address, without a socket and without TLS.
    pub fn at(bind: SocketAddr) -> Self {
        Self { bind, socket: ControlSocket::Off, tls: None }
    }
}

/// What the control server shows its clients; they are judged by the trust of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ControlTls {
    /// The node's own certificate.
    #[default]
    OfTheNode,
    /// Another one of this node, as one with DNS names for browsers.
    Apart {
        /// PEM chain, leaf first; may hold the key too.
        certificate: Material,
        /// PEM private key, when the certificate's file does not hold it.
        key: Option<Material>,
    },
}

/// The Unix socket through which the agent's owner changes it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ControlSocket {
    /// There is none.
    #[default]
    Off,
    /// There; the agent does not start without it.
    At(PathBuf),
    /// There if that can be; else a warning says why not.
    IfPossible(PathBuf),
}

/// When a metric carries a label per peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PeerLabels {
    /// Up to about 100 members.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Bytes from a file or from memory.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// Read at start and again on reload.
    Path(PathBuf),
    /// Given by the host.
    Bytes(Zeroizing<Vec<u8>>),
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => write!(f, "Path({})", path.display()),
            Self::Bytes(_) => f.write_str("Bytes(redacted)"),
        }
    }
}

/// Credentials and trust of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM chain, leaf first; may hold the key too. Or a PKCS#12 store.
    pub certificate: Material,
    /// PEM private key, when the certificate's file does not hold it.
    pub key: Option<Material>,
    /// Password of a PKCS#12 store.
    pub password: Option<Zeroizing<String>>,
    /// PEM trust anchors (and intermediates to complete chains with).
    pub ca: Material,
    /// Trust domain of the identities.
    pub trust_domain: String,
    /// How certificates name their holders: all members of a mesh go by one rule.
    pub identity: NameRule,
    /// SHA-1 or SHA-256 thumbprints (hex) that peers' leaves are restricted to; empty: no
    /// restriction.
    pub allowed_thumbprints: Vec<String>,
    /// Which certificates count no longer.
    pub revocation: RevocationOptions,
    /// How often files are read again at least; a change is noticed within seconds.
    pub reload_interval: Duration,
}

impl TlsOptions {
    /// How often files are read again where nobody says otherwise.
    pub const RELOAD_INTERVAL: Duration = Duration::from_secs(300);
}

/// Revocation lists of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationOptions {
    /// Whether any list counts, wherever it comes from.
    pub check: bool,
    /// Lists as PEM or DER; a path may name a directory of them. `None`: only those count that
    /// were kept, or that come from the host or from other members.
    pub lists: Option<Material>,
    /// How long after its next update a list still lets new handshakes pass.
    pub grace: Duration,
}

impl Default for RevocationOptions {
    /// No list; a day of grace.
    fn default() -> Self {
        Self { check: true, lists: None, grace: Duration::from_secs(24 * 3_600) }
    }
}
