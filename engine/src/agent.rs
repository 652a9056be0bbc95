//! One member of a mesh, as its host holds it.
//!
//! Starting it loads the credentials, binds the ports, signs the first record and hands the node
//! to a shard; from then on this is a remote control: views are read from the snapshot, commands
//! go over the shard's queue.
//!
//! Invariant: whatever way an agent goes, its ports are free again when its drop returns.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use mesh_gossip_proto::membership::record::Authority;
use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::{
    Command, CommandError, MemberId, Metadata, Node, Scope, WallTime, leadership,
};
use rustls::time_provider::DefaultTimeProvider;

use crate::clock;
use crate::control::leases::Leases;
use crate::control::logging::Logging;
use crate::control::post::{Mailbox, letter_box};
use crate::control::runtime;
use crate::control::seeds::SeedList;
use crate::control::upgrade::Upgrade;
use crate::control::{AgentPort, ControlMessage, Gate, HostEvent, HttpPort};
use crate::engine::Engine;
use crate::entropy;
use crate::error::{AgentError, StartError};
use crate::leaders::LeaderWatch;
use crate::link::stats::TlsSummary;
use crate::link::{LinkOptions, Links};
use crate::metrics::Metrics;
use crate::options::{Advertise, AgentOptions, TlsOptions};
use crate::orders::{AgentId, Inspection, Order, Refused, Reply, ShardHandle};
use crate::shard::Hosted;
use crate::shared::Shared;
use crate::snapshot::{Published, Snapshot};
use crate::state::{StateDirectory, StateError};
use crate::tls::authority::{Intermediates, MeshAuthority};
use crate::tls::credentials::Credentials;
use crate::trace;
use crate::upkeep::{Change, Held, Keeper, RenewError, Renewed};
use bound::Bound;

mod bound;
mod building;
mod documents;
mod hosting;
mod joining;
mod reading;
mod reconfiguring;
mod speaking;
mod upgrading;

pub use building::{AgentBuilder, BuildError};

pub use documents::{DocumentError, Health};
pub use reading::{EventReader, ViewReader};

/// A shard answers orders within microseconds; one that takes this long is in trouble.
const PATIENCE: Duration = Duration::from_secs(5);

/// A member of a mesh. It stops, without a goodbye, when it is dropped.
pub struct Agent {
    id: AgentId,
    shard: ShardHandle,
    shared: Arc<Shared>,
    keeper: Arc<Keeper>,
    upgrade: Arc<Upgrade>,
    leases: Arc<Leases>,
    logging: Arc<Logging>,
    seeds: Arc<SeedList>,
    local: SocketAddr,
    control: Option<SocketAddr>,
    events: Mailbox,
    metadata_refresh: Duration,
    /// What it runs with, certificates included.
    in_force: Mutex<AgentOptions>,
    engine: Engine,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("node_id", &self.shared.node_id)
            .field("address", &self.local)
            .finish_non_exhaustive()
    }
}

/// What is made of the options before it goes to its threads.
struct Placed {
    node: Node,
    links: Links,
    authority: Arc<MeshAuthority>,
    shared: Arc<Shared>,
    state: Option<Arc<StateDirectory>>,
}

impl Agent {
    /// Starts a member on `engine`.
    ///
    /// # Errors
    /// [`StartError`] names the setting that is wrong and what would be right.
    pub fn start(engine: &Engine, options: AgentOptions) -> Result<Self, StartError> {
        let config = options.protocol.clone().validate().map_err(StartError::Config)?;
        renewal_possible(options.upkeep.renewal.is_some(), cfg!(feature = "bootstrap"))?;
        let cluster_id = config.cluster_id.clone();
        let open = |root| StateDirectory::open(root, &cluster_id, &options.node_id);
        let state = options.upkeep.state.as_deref().map(open).transpose();
        let state = state.map_err(StartError::State)?.map(Arc::new);
        let credentials = Arc::new(credentials(engine, &options, &cluster_id, state.as_deref())?);
        let bound = Bound::bind(&options)?;
        let advertised = advertised(&options.advertise, bound.local)?;
        let authority =
            Arc::new(MeshAuthority::new(credentials.clone(), Arc::new(Intermediates::default())));
        // Last of all that may fail: a life that never began need not be remembered.
        let born = clock::wall();
        let life = begin_life(state.as_deref(), &credentials, born);
        let least_generation = life.map_err(StartError::State)?;
        let now = engine.clock().now();
        let interval = config.interval;
        let linger = Duration::from_secs(5).max(interval * 2);
        let birth = Birth {
            metadata: first_metadata(&options, advertised),
            config: Arc::new(config),
            addresses: vec![advertised],
            born,
            least_generation,
            authority: Arc::clone(&authority) as Arc<dyn Authority>,
            seed: entropy::word().map_err(|_| StartError::Entropy)?,
        };
        let mut node = Node::new(now, birth).map_err(StartError::Metadata)?;
        let trust = credentials.verifier().trust().load_full();
        node.handle_lists(now, &trust.revocations().notices());
        let links = Links::new(LinkOptions {
            local: node.id(),
            cluster_id: cluster_id.clone(),
            authority: Arc::clone(&authority),
            seed: entropy::word().map_err(|_| StartError::Entropy)?,
            linger,
        });
        let metrics = Metrics::new(engine.backend(), options.peer_labels);
        metrics.interval_is(interval);
        metrics
            .certificate_expires(WallTime(credentials.verified().leaf_not_after.as_secs() * 1_000));
        let view = node.view(now);
        let snapshot = Snapshot::new(Published { view, at: clock::wall() });
        let node_id = options.node_id.clone();
        let (id, strays) = (node.id(), links.strays());
        let shared = Shared::new(id, node_id, cluster_id, snapshot, metrics, &authority, strays);
        let placed = Placed { node, links, authority, shared: Arc::new(shared), state };
        Self::place(engine, options, bound, placed)
    }

    /// Hands the parts to a shard and to the control thread.
    fn place(
        engine: &Engine,
        options: AgentOptions,
        bound: Bound,
        placed: Placed,
    ) -> Result<Self, StartError> {
        let Placed { node, links, authority, shared, state } = placed;
        let in_force = Mutex::new(options.clone());
        let id = engine.next_agent();
        let shard = engine.shard_of(id);
        let Bound { datagrams, streams, local, http, socket } = bound;
        trace::listening(&shared.node_id, local, node.fanout(), engine.backend());
        let (reply, opened) = answer();
        let (outbox, events) = letter_box(options.protocol.limits.events, options.events);
        let tls = options.control.as_ref().and_then(|control| control.tls.as_ref());
        let gate = tls.map(|tls| Gate::new(tls, Arc::clone(&shared))).transpose();
        let gate = gate.map_err(|error| StartError::Credentials(Box::new(error)))?.map(Arc::new);
        let (http, control) = http.map_or((None, None), |(listener, at)| {
            (Some(HttpPort { listener, gate: gate.clone() }), Some(at))
        });
        let held = Held { options: options.tls, authority };
        let keeper = Keeper::new(id, shard.clone(), shared.clone(), held, state, engine.clock());
        let keeper = Arc::new(keeper.with_gate(gate));
        let upgrade = Arc::new(Upgrade::new(id, &shared.node_id, shard.clone()));
        let (leases, logging) = (Arc::<Leases>::default(), Arc::<Logging>::default());
        let seeds = Arc::new(SeedList::new(id, &shared.node_id, shard.clone()));
        let port = AgentPort {
            agent: id,
            shard: shard.clone(),
            site: shared.clone(),
            keeper: Some(keeper.clone()),
            #[cfg(feature = "bootstrap")]
            renewal: options.upkeep.renewal,
            sync_listener: streams,
            http,
            socket,
            upgrade: upgrade.clone(),
            leases: leases.clone(),
            logging: logging.clone(),
            seeds: options.seeds,
            seed_file: options.seed_file,
            seed_list: seeds.clone(),
            events: outbox,
            #[cfg(feature = "weather")]
            weather: engine.weather(),
        };
        let hosted = Hosted { port, node, links, socket: datagrams, shared: shared.clone(), reply };
        let metadata_refresh = options.metadata_refresh;
        let engine = engine.clone();
        let agent = Self {
            id,
            shard,
            shared,
            keeper,
            upgrade,
            leases,
            logging,
            seeds,
            local,
            control,
            events,
            metadata_refresh,
            in_force,
            engine,
        };
        agent.shard.order(Order::Start(Box::new(hosted))).map_err(StartError::Refused)?;
        is_open(&opened, local)?;
        Ok(agent)
    }

    /// Name within the cluster.
    pub fn node_id(&self) -> &str {
        &self.shared.node_id
    }

    /// Id within the mesh: a hash of cluster and name.
    pub fn member_id(&self) -> MemberId {
        self.shared.id
    }

    /// Cluster.
    pub fn cluster_id(&self) -> &str {
        &self.shared.cluster_id
    }

    /// Where datagrams (UDP) and bulk sync (TCP) are received.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Where the control HTTP server listens.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control
    }

    /// The newest view. Never blocks; costs an atomic load and a reference count.
    pub fn view(&self) -> Arc<Published> {
        self.shared.snapshot.load()
    }

    /// Looks at the newest view without keeping it: the cheapest read there is. Whoever looks for
    /// longer than a moment takes [`Agent::view`] instead.
    pub fn with_view<R>(&self, look: impl FnOnce(&Published) -> R) -> R {
        self.shared.snapshot.with(look)
    }

    /// Whether the agent's shard has ended, which only a failure of the datagram backend or a
    /// defect can cause: the agent is deaf then and has to be started anew.
    pub fn has_ended(&self) -> bool {
        self.shard.has_ended()
    }

    /// Whether the first full exchange with the mesh is done, or there was nobody to have it
    /// with.
    pub fn is_joined(&self) -> bool {
        self.shared.is_joined()
    }

    /// Counters, gauges and contacts as of one moment on the agent's shard.
    ///
    /// # Errors
    /// [`AgentError`] when the shard does not answer within `timeout`.
    pub fn inspect(&self, timeout: Duration) -> Result<Inspection, AgentError> {
        self.ask(timeout, |reply| Order::Inspect { agent: self.id, reply })
    }

    /// What TLS negotiated with the newest peer; `None` before the first handshake.
    pub fn tls(&self) -> Option<TlsSummary> {
        self.inspect(PATIENCE).ok()?.links.tls
    }

    /// The metrics in Prometheus' text format.
    ///
    /// # Errors
    /// As for [`Agent::inspect`].
    pub fn metrics_text(&self, timeout: Duration) -> Result<String, AgentError> {
        let inspection = self.inspect(timeout)?;
        Ok(self.shared.metrics.render(&self.view().view, &inspection))
    }

    /// The next events, in order, waiting up to `timeout` for them; `None` when none came.
    ///
    /// Changes that come at about the same time come in one batch: it ends after a second without
    /// a change, at most five seconds after its first one, or at once with
    /// [`Delivery::Immediate`](crate::options::Delivery). The end of the join, of a leave, or an
    /// overflow ends a batch as well. What other hosts say comes at once, each by itself, and waits
    /// apart: a host that is slow misses some of it, and is told how many, but nothing of members. The view, logs and metrics are ahead of a batch, never
    /// behind it.
    pub fn next_events(&self, timeout: Duration) -> Option<Vec<HostEvent>> {
        self.events.next(timeout)
    }

    /// A watch of who leads the scope of this name, `None` where it is not configured. What it
    /// tells is advice: fencing needs a lease store ([`leaders`](crate::leaders)).
    pub fn leaders(&self, scope: &str) -> Option<LeaderWatch> {
        LeaderWatch::of(&self.shared, scope)
    }

    /// The first `most` members of a scope's order of succession as of the newest view; the scope
    /// need not be configured anywhere.
    pub fn succession(&self, scope: &Scope, most: usize) -> Vec<MemberId> {
        leadership::succession(&self.view().view, scope, most)
    }

    /// What this member says of itself at present.
    pub fn metadata(&self) -> Option<Metadata> {
        let published = self.view();
        let member = published.view.member(self.shared.id)?;
        Some(member.record.record().metadata.clone())
    }

    /// Publishes metadata under a higher incarnation, if `change` changes it. Name, cluster and
    /// role stand in the certificate and cannot change. `change` is called again when somebody
    /// else changed the metadata meanwhile, so that no change is lost. Afterwards the change
    /// stands in the view.
    ///
    /// # Errors
    /// [`AgentError`] says why nothing changed.
    pub fn update_metadata(&self, mut change: impl FnMut(&mut Metadata)) -> Result<(), AgentError> {
        loop {
            let mut metadata = self.metadata().ok_or(AgentError::Stopped)?;
            let version = metadata.metadata_version;
            change(&mut metadata);
            metadata.metadata_version = version;
            match self.command(Command::ReviseMetadata(metadata)) {
                Err(AgentError::Command(CommandError::Stale)) => {}
                done => return done,
            }
        }
    }

    /// Reads the host's description of itself from `source` now and every
    /// `metadataRefreshPeriod`, and publishes what changed. `source` runs on the engine's control
    /// thread and may not block; a later source replaces an earlier one.
    ///
    /// # Errors
    /// [`AgentError`] when the control thread does not take it.
    pub fn follow_metadata(
        &self,
        source: impl FnMut(&mut Metadata) + Send + 'static,
    ) -> Result<(), AgentError> {
        let (agent, period) = (self.id, self.metadata_refresh);
        let source = Box::new(source);
        let message = ControlMessage::FollowMetadata { agent, period, source };
        Ok(self.engine.control().try_send(message)?)
    }

    /// Reads certificate, key, trust and revocation lists again, as a watch of the files does on
    /// its own, and returns once all of it is in force and acted on. What would not hold changes
    /// nothing. Blocks while files are read.
    ///
    /// # Errors
    /// [`RenewError`] names the setting, the file and the fix.
    pub fn reload(&self) -> Result<Renewed, RenewError> {
        self.keeper.renew(Change::Again)
    }

    /// The same with these in place of what the agent was started with: other files, or bytes.
    /// The trust domain cannot change, and revocation lists that are in force stay.
    ///
    /// # Errors
    /// As [`Agent::reload`].
    pub fn rotate(&self, tls: TlsOptions) -> Result<Renewed, RenewError> {
        self.keeper.renew(Change::Options(Box::new(tls)))
    }

    /// Takes revocation lists, PEM or DER, beside those of the files. A list counts if a trusted
    /// CA has signed it and its number is higher than that of the list in force.
    ///
    /// # Errors
    /// As [`Agent::reload`].
    pub fn add_revocation_lists(&self, lists: &[u8]) -> Result<Renewed, RenewError> {
        self.keeper.renew(Change::Lists(lists))
    }

    /// Obeys an operator's signed order that a member's life is over, and passes it on; `omnirelay
    /// mesh force-leave` and [`Operator`](crate::tls::operator::Operator) make one. If it names this
    /// member, it leaves.
    ///
    /// # Errors
    /// [`AgentError`] says why the order does not hold; then nothing changed.
    pub fn force_leave(&self, order: Vec<u8>) -> Result<(), AgentError> {
        self.command(Command::ForceLeave(order))
    }

    /// Says goodbye and waits until enough members know; returns how many acknowledged.
    ///
    /// # Errors
    /// [`AgentError::Timeout`] when that took longer than `timeout`.
    pub fn leave(&self, timeout: Duration) -> Result<usize, AgentError> {
        let left = self.ask(timeout, |reply| Order::Leave { agent: self.id, reply })?;
        let acknowledged = left?;
        self.upgrade.leaves();
        Ok(acknowledged)
    }

    /// Stops without a goodbye, as a crash would.
    pub fn kill(self) {}

    fn remove_without_shard(&self) -> mpsc::Receiver<()> {
        let (done, gone) = answer();
        let message = ControlMessage::RemoveAgent { agent: self.id, done };
        // Refused, it hangs up on `gone`.
        let _ = self.engine.control().try_send(message);
        gone
    }

    fn command(&self, command: Command) -> Result<(), AgentError> {
        let done = self.ask(PATIENCE, |reply| Order::Command { agent: self.id, command, reply })?;
        Ok(done?)
    }

    fn ask<T: Send + 'static>(
        &self,
        timeout: Duration,
        order: impl FnOnce(Reply<T>) -> Order,
    ) -> Result<T, AgentError> {
        let (reply, answered) = answer();
        self.shard.order(order(reply))?;
        wait(&answered, timeout)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Agent {
    /// Stops, without a goodbye, and returns once the ports are free: what a drop does, for
    /// whoever shares the agent. Commands under way and later ones fail with
    /// [`AgentError::Command`] or [`AgentError::Stopped`]; views can still be read. Again, it does
    /// nothing.
    pub fn stop(&self) {
        let clock = self.engine.clock();
        let until = clock.now() + PATIENCE;
        // The shard closes its socket and tells the control thread, which closes its listeners.
        let gone = loop {
            let (reply, gone) = answer();
            match self.shard.order(Order::Stop { agent: self.id, reply }) {
                Ok(()) => break gone,
                Err(Refused::Busy) if clock.now() < until => {
                    thread::sleep(Duration::from_millis(1));
                }
                // A shard that has ended took its sockets along.
                Err(Refused::Busy | Refused::Stopped) => break self.remove_without_shard(),
            }
        };
        if runtime::is_control_thread() {
            // A host's closure dropped it there: what is waited for is this very thread.
            return;
        }
        // Afterwards the ports are free again.
        let left = || until.since(clock.now());
        if gone.recv_timeout(left()) == Err(mpsc::RecvTimeoutError::Disconnected) {
            // The shard ended before it told the control thread.
            let _ = self.remove_without_shard().recv_timeout(left());
        }
    }
}

/// A reply and where its answer arrives.
fn answer<T: Send + 'static>() -> (Reply<T>, mpsc::Receiver<T>) {
    let (sender, receiver) = mpsc::sync_channel(1);
    let reply = Box::new(move |answer| {
        // Whoever asked may have given up.
        let _ = sender.try_send(answer);
    });
    (reply, receiver)
}

/// Waits until the shard has taken an agent in.
fn is_open(opened: &mpsc::Receiver<io::Result<()>>, local: SocketAddr) -> Result<(), StartError> {
    match opened.recv_timeout(PATIENCE) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(StartError::Bind { key: "mesh:gossip:port", address: local, error }),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(StartError::Refused(Refused::Busy)),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(StartError::Refused(Refused::Stopped)),
    }
}

fn wait<T>(answered: &mpsc::Receiver<T>, timeout: Duration) -> Result<T, AgentError> {
    answered.recv_timeout(timeout).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => AgentError::Timeout,
        mpsc::RecvTimeoutError::Disconnected => AgentError::Stopped,
    })
}

/// Whoever wants the agent to renew its certificate needs a build that can.
fn renewal_possible(wanted: bool, built: bool) -> Result<(), StartError> {
    if wanted && !built { Err(StartError::NoRenewal) } else { Ok(()) }
}

/// Certificate, key and trust, with the revocation lists that were kept.
fn credentials(
    engine: &Engine,
    options: &AgentOptions,
    cluster_id: &str,
    state: Option<&StateDirectory>,
) -> Result<Credentials, StartError> {
    let kept = state.map(StateDirectory::lists).transpose().map_err(StartError::State)?;
    let name = [cluster_id, &options.node_id, &options.role];
    let time = Arc::new(DefaultTimeProvider);
    let kept = kept.unwrap_or_default();
    let credentials = Credentials::load_keeping(&options.tls, name, time, &kept, engine.notary())
        .map_err(|error| StartError::Credentials(Box::new(error)))?;
    let of_state = state.map(StateDirectory::warnings).unwrap_or_default();
    for warning in credentials.warnings().iter().chain(&of_state) {
        tracing::warn!(target: "mesh_gossip", NodeId = %options.node_id, "{warning}");
    }
    Ok(credentials)
}

/// The least generation of the life that begins: above the life before, which is then on the disk, and
/// so are the lists in force (rules S-12 and S-16). It may lie ahead of the clock, and is no time of day.
fn begin_life(
    state: Option<&StateDirectory>,
    credentials: &Credentials,
    now: WallTime,
) -> Result<u64, StateError> {
    let Some(state) = state else { return Ok(0) };
    let trust = credentials.verifier().trust().load();
    state.keep_lists(trust.revocations().lists().map(|list| &**list))?;
    state.begin_life(now).map(|life| life.0)
}

fn first_metadata(options: &AgentOptions, advertised: SocketAddr) -> Metadata {
    Metadata {
        node_id: options.node_id.clone(),
        role: options.role.clone(),
        cluster_id: options.protocol.cluster_id.clone(),
        region: options.region.clone(),
        mesh_version: options.mesh_version.clone(),
        http3_support: options.http3_support,
        metadata_version: 1,
        endpoint: advertised.to_string(),
        labels: options.labels.clone(),
    }
}

/// The address that others are told to dial.
fn advertised(advertise: &Advertise, local: SocketAddr) -> Result<SocketAddr, StartError> {
    let port = advertise.port.unwrap_or(local.port());
    let Some(host) = &advertise.host else {
        let ip = if local.ip().is_unspecified() { outward_ip(local) } else { local.ip() };
        return Ok(SocketAddr::new(ip, port));
    };
    let failed = |error| StartError::Advertise { host: host.clone(), error };
    let mut addresses = (host.as_str(), port).to_socket_addrs().map_err(failed)?;
    addresses
        .next()
        .ok_or_else(|| failed(io::Error::new(io::ErrorKind::NotFound, "no address to dial")))
}

/// The address that this machine would send from; nothing is sent to find out. Loopback where it
/// has no route.
fn outward_ip(local: SocketAddr) -> IpAddr {
    // Documentation ranges (RFC 5737, RFC 3849): connecting a datagram socket only asks for a route.
    let probes: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let wanted = probes.iter().filter(|(any, _)| any.is_ipv4() || local.is_ipv6());
    for (any, far) in wanted {
        let routed = UdpSocket::bind((*any, 0))
            .and_then(|socket| socket.connect((*far, 9)).map(|()| socket))
            .and_then(|socket| socket.local_addr());
        if let Ok(address) = routed
            && !address.ip().is_unspecified()
        {
            return address.ip();
        }
    }
    Ipv4Addr::LOCALHOST.into()
}

#[cfg(test)]
mod tests;
