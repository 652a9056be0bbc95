//! What the tests of the control thread share: records, views, inspections, captured log lines,
//! certificates, and a stage on which one agent plays without a shard.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mesh_gossip_proto::membership::record::{Authority, Claim, first_record};
use mesh_gossip_proto::{
    Command, DenseTable, Incarnation, Instant, Leader, Lifecycle, Member, MemberId, MemberTable,
    Metadata, PeerError, Scope, Signature, SignedRecord, State, Stats, View, WallTime,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::sync::watch;
use tracing_subscriber::fmt::MakeWriter;

use super::leases::Leases;
use super::logging::Logging;
use super::post::{Mailbox, letter_box};
use super::runtime::{Control, is_control_thread};
use super::seeds::SeedList;
use super::sync::{Judge, PROTOCOL, Side, SyncLimits, Terms};
use super::upgrade::Upgrade;
use super::{AgentPort, ControlMessage, HttpPort, OwnerSocket, Site};
use crate::io::{Backend, IoStats, Waker};
use crate::link::stats::LinkStats;
use crate::metrics::Metrics;
use crate::options::{Delivery, PeerLabels};
use crate::orders::{AgentId, Inspection, Order, Orders, ShardHandle, Work};
use crate::shard::records::Recorded;
use crate::snapshot::Published;
use crate::tls::revocation::RevocationList;

/// A member of a made-up view; the first one is the local one.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) state: State,
}

/// Signs with nothing: these records never meet a verifier.
struct Blank;

impl Authority for Blank {
    fn sign(&self, _message: &[u8]) -> Option<Signature> {
        Some(Signature { scheme: 1, bytes: vec![0; 64] })
    }

    fn leaf(&self) -> &[u8] {
        b"leaf"
    }

    fn intermediates(&self) -> &[[u8; 32]] {
        &[]
    }

    fn verify(&self, _claim: &Claim<'_>) -> Result<(), PeerError> {
        Ok(())
    }
}

/// The id of a test member.
pub(crate) fn id(name: &str) -> MemberId {
    MemberId::derive("test", name)
}

/// A record of the cluster `test`.
pub(crate) fn record(name: &str) -> Arc<SignedRecord> {
    let metadata = Metadata {
        node_id: name.into(),
        role: "worker".into(),
        region: "eu".into(),
        mesh_version: "1.0".into(),
        http3_support: true,
        metadata_version: 1,
        endpoint: format!("{name}:17421"),
        labels: [("rack".into(), "r1".into())].into(),
        ..Metadata::default()
    };
    let incarnation = Incarnation { generation: 1_000, counter: 0 };
    let record = first_record("test", incarnation, Vec::new(), metadata);
    Arc::new(SignedRecord::author(record, &Blank).unwrap())
}

/// A view whose owner is the first person.
pub(crate) fn view(people: &[Person]) -> View {
    let people: Vec<_> =
        people.iter().map(|person| (person.name.to_owned(), person.state)).collect();
    view_of(&people, 1)
}

/// The view of these members, all alive, at `version`; the first is the local one.
pub(crate) fn view_at(names: &[&str], version: u64) -> View {
    let people: Vec<_> = names.iter().map(|name| ((*name).to_owned(), State::Alive)).collect();
    view_of(&people, version)
}

/// The view of these members at `version`; the first is the local one.
pub(crate) fn view_of(people: &[(String, State)], version: u64) -> View {
    let mut table = DenseTable::for_cluster("c", 1);
    for (name, state) in people {
        let record = record(name);
        table.put(Member { record, state: *state, since: Instant::ORIGIN });
    }
    table.view(id(&people[0].0), version, inspection().now)
}

/// A view in which `leader` leads one scope, and nobody the other.
pub(crate) fn led_by(leader: &'static str) -> View {
    let people = ["me", leader].map(|name| Person { name, state: State::Alive });
    let entry = |text: &str, leader, term| Leader {
        scope: Scope::parse(text).unwrap().into(),
        leader,
        term,
        since: WallTime(1_714_564_790_000),
    };
    let leaders = [entry("vacant", None, 9), entry("ingest; role=worker", Some(id(leader)), 3)];
    view(&people).with_leaders(leaders.into())
}

/// A view of these people, published at the time of [`inspection`].
pub(crate) fn published(people: &[Person]) -> Published {
    Published { view: view(people), at: inspection().wall }
}

/// A joined agent that has done nothing.
pub(crate) fn inspection() -> Inspection {
    Inspection {
        now: Instant::from_nanos(60_000_000_000),
        wall: WallTime(1_714_564_800_250),
        stats: Stats::default(),
        contacts: Vec::new(),
        links: LinkStats::default(),
        io: IoStats::default(),
        receive_drops: 0,
        recorded: Recorded::default(),
        joined: true,
        queue_age: Duration::from_millis(1_500),
        agrees: false,
        fanout: 3,
    }
}

/// Log lines kept in memory.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// A subscriber that writes here, everything down to TRACE.
    pub(crate) fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_env_filter("mesh_gossip=debug")
            .with_ansi(false)
            .without_time()
            .with_writer(self.clone())
            .finish()
    }

    /// What was written.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// A certificate authority and the members that it certified.
pub(crate) struct TestMesh {
    issuer: Issuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
}

/// One member's configurations for streams.
#[derive(Clone)]
pub(crate) struct Certified {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

const STREAM_NAME: &str = "mesh-sync.test";

impl TestMesh {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        Self { issuer: Issuer::new(params, key), roots: Arc::new(roots) }
    }

    /// Certifies `name`.
    pub(crate) fn certify(&self, name: &str) -> Certified {
        self.certify_for(name, &[PROTOCOL])
    }

    /// Certifies `name` for the given application protocols.
    pub(crate) fn certify_for(&self, name: &str, protocols: &[&[u8]]) -> Certified {
        let mut params = CertificateParams::new(vec![STREAM_NAME.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()];
        let key = || PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&self.roots),
            Arc::clone(&provider),
        );
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(chain.clone(), key())
            .unwrap();
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(chain, key())
            .unwrap();
        let protocols: Vec<_> = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        server.alpn_protocols.clone_from(&protocols);
        client.alpn_protocols = protocols;
        Certified { client: Arc::new(client), server: Arc::new(server) }
    }
}

/// Vouches for the member whose name is the common name, unless it is on the list.
pub(crate) struct StageTrust {
    revoked: Mutex<Vec<MemberId>>,
    epochs: watch::Sender<u64>,
}

impl StageTrust {
    /// From here on nobody vouches for `name`.
    pub(crate) fn revoke(&self, name: &str) {
        self.revoked.lock().unwrap().push(id(name));
        self.epochs.send_modify(|epoch| *epoch += 1);
    }
}

impl Judge for StageTrust {
    fn vouch(&self, chain: &[CertificateDer<'_>], _side: Side) -> Option<(MemberId, Duration)> {
        let (_, leaf) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
        let member = id(leaf.subject().iter_common_name().next()?.as_str().ok()?);
        let stands = !self.revoked.lock().unwrap().contains(&member);
        stands.then_some((member, Duration::from_secs(3_600)))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.epochs.subscribe()
    }
}

/// A blocking client of `certified`, as a stranger to our code would be.
pub(crate) fn stranger(
    certified: &Certified,
    address: SocketAddr,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let name = ServerName::try_from(STREAM_NAME).unwrap();
    let tls = rustls::ClientConnection::new(Arc::clone(&certified.client), name).unwrap();
    rustls::StreamOwned::new(tls, TcpStream::connect(address).unwrap())
}

/// An agent without a shard: its orders are read by the test.
pub(crate) struct Stage {
    pub(crate) control: Control,
    pub(crate) orders: Arc<Orders>,
    pub(crate) site: Arc<StageSite>,
    pub(crate) sync: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) upgrade: Arc<Upgrade>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) logging: Arc<Logging>,
    /// What the agent was told to publish, while somebody attends.
    pub(crate) lifecycles: Arc<Mutex<Vec<Lifecycle>>>,
    pub(crate) events: Mailbox,
    _home: tempfile::TempDir,
}

/// How a [`Stage`] is set.
pub(crate) struct Setting {
    pub(crate) backend: Backend,
    pub(crate) limits: SyncLimits,
    pub(crate) orders: usize,
    pub(crate) people: Vec<Person>,
    pub(crate) seeds: Vec<String>,
    pub(crate) events: usize,
}

impl Setting {
    pub(crate) fn new(backend: Backend, people: &[&'static str]) -> Self {
        let alive = |name: &&'static str| Person { name, state: State::Alive };
        Self {
            backend,
            limits: SyncLimits::default(),
            orders: 1_024,
            people: people.iter().map(alive).collect(),
            seeds: Vec::new(),
            events: 16,
        }
    }
}

/// The only agent of a stage.
pub(crate) const AGENT: AgentId = AgentId(7);

impl Stage {
    /// Starts a control thread that serves one agent.
    pub(crate) fn set(setting: Setting, certified: Certified) -> Self {
        let Setting { backend, limits, orders, people, seeds, events } = setting;
        let site = Arc::new(StageSite {
            node_id: people[0].name,
            published: Mutex::new(Arc::new(published(&people))),
            metrics: Metrics::new(backend, PeerLabels::Auto),
            joined: AtomicBool::new(true),
            judged_in_control: AtomicBool::new(false),
            judged_aside: AtomicBool::new(false),
            certified,
            trust: Arc::new(StageTrust {
                revoked: Mutex::new(Vec::new()),
                epochs: watch::channel(0).0,
            }),
        });
        let orders = Arc::new(Orders::new(orders));
        let (outbox, events) = letter_box(events, Delivery::Immediate);
        let control = Control::start_within(backend, 64, limits).unwrap();
        let (sync_listener, sync) = bound();
        let (http_listener, http) = bound();
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("me.sock");
        let upgrade = Arc::new(Upgrade::new(AGENT, "me", shard(&orders)));
        let (leases, logging) = (Arc::<Leases>::default(), Arc::<Logging>::default());
        let port = AgentPort {
            agent: AGENT,
            shard: shard(&orders),
            site: site.clone(),
            keeper: None,
            renewal: None,
            sync_listener,
            http: Some(HttpPort { listener: http_listener, gate: None }),
            socket: Some(OwnerSocket::bind(&socket).unwrap()),
            upgrade: Arc::clone(&upgrade),
            leases: Arc::clone(&leases),
            logging: Arc::clone(&logging),
            seeds,
            seed_file: None,
            seed_list: Arc::new(SeedList::new(AGENT, "me", shard(&orders))),
            events: outbox,
            #[cfg(feature = "weather")]
            weather: None,
        };
        add(&control, port).unwrap();
        let lifecycles = Arc::default();
        Self {
            control,
            orders,
            site,
            sync,
            http,
            socket,
            upgrade,
            leases,
            logging,
            lifecycles,
            events,
            _home: home,
        }
    }

    /// Puts this view in the place of the last one.
    pub(crate) fn publish(&self, view: View) {
        let published = Published { view, at: inspection().wall };
        *self.site.published.lock().unwrap() = Arc::new(published);
    }

    /// Adds another agent that differs by where it serves HTTP.
    pub(crate) fn add_with_http(&self, http: TcpListener) -> io::Result<()> {
        let port = AgentPort {
            agent: AgentId(AGENT.0 + 1),
            shard: shard(&self.orders),
            site: self.site.clone(),
            keeper: None,
            renewal: None,
            sync_listener: bound().0,
            http: Some(HttpPort { listener: http, gate: None }),
            socket: None,
            upgrade: Arc::clone(&self.upgrade),
            leases: Arc::default(),
            logging: Arc::default(),
            seeds: Vec::new(),
            seed_file: None,
            seed_list: Arc::new(SeedList::new(AGENT, "me", shard(&self.orders))),
            events: letter_box(1, Delivery::Immediate).0,
            #[cfg(feature = "weather")]
            weather: None,
        };
        add(&self.control, port)
    }

    /// Takes the agent away; returns once its listeners are closed.
    pub(crate) fn remove(&self) {
        let (sender, gone) = std::sync::mpsc::channel();
        let done = Box::new(move |()| sender.send(()).unwrap());
        let message = ControlMessage::RemoveAgent { agent: AGENT, done };
        self.control.handle().try_send(message).unwrap();
        gone.recv().unwrap();
    }

    /// Hands the control thread some work.
    pub(crate) fn work(&self, work: Work) {
        self.control.handle().try_send(ControlMessage::Work(work)).unwrap();
    }

    /// The next order, waited for.
    pub(crate) fn order(&self) -> Order {
        eventually(|| self.orders.pop())
    }

    /// Waits until an exchange has ended this way.
    pub(crate) fn sync_ended(&self, role: &str, outcome: &str) {
        self.counted(&format!(
            "mesh_gossip_syncs_total{{mesh_outcome=\"{outcome}\",mesh_role=\"{role}\"}} "
        ));
    }

    /// Waits until a scrape has a line that begins so.
    pub(crate) fn counted(&self, line: &str) {
        eventually(|| {
            let text = self.site.metrics.render(&self.site.published().view, &inspection());
            text.contains(line).then_some(())
        });
    }

    /// Answers inspections until the guard is dropped, as a shard would.
    pub(crate) fn attend(&self, inspection: Inspection) -> Attendant {
        let (orders, done) = (Arc::clone(&self.orders), Arc::new(AtomicBool::new(false)));
        let (ended, lifecycles) = (Arc::clone(&done), Arc::clone(&self.lifecycles));
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Acquire) {
                match orders.pop() {
                    Some(Order::Inspect { agent, reply }) => {
                        assert_eq!(agent, AGENT);
                        reply(inspection.clone());
                    }
                    Some(Order::Command { command: Command::SetLifecycle(to), reply, .. }) => {
                        lifecycles.lock().unwrap().push(to);
                        reply(Ok(()));
                    }
                    Some(Order::Leave { reply, .. }) => reply(Ok(2)),
                    Some(_) => {}
                    None => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        Attendant { done, thread: Some(thread) }
    }
}

/// See [`Stage::attend`].
pub(crate) struct Attendant {
    done: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// What the control thread reads of the stage's agent.
pub(crate) struct StageSite {
    node_id: &'static str,
    pub(crate) published: Mutex<Arc<Published>>,
    pub(crate) metrics: Metrics,
    pub(crate) joined: AtomicBool,
    /// Whether records were asked about on the control thread, and beside it.
    pub(crate) judged_in_control: AtomicBool,
    pub(crate) judged_aside: AtomicBool,
    certified: Certified,
    pub(crate) trust: Arc<StageTrust>,
}

impl Site for StageSite {
    fn node_id(&self) -> &str {
        self.node_id
    }

    fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.lock().unwrap())
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Acquire)
    }

    fn terms(&self) -> Terms {
        Terms {
            client: Arc::clone(&self.certified.client),
            server: Arc::clone(&self.certified.server),
            server_name: ServerName::try_from(STREAM_NAME).unwrap(),
            judge: self.trust.clone(),
        }
    }

    fn is_revoked(&self, _envelope: &[u8]) -> bool {
        let by_control = is_control_thread();
        let judged = if by_control { &self.judged_in_control } else { &self.judged_aside };
        judged.store(true, Ordering::Release);
        false
    }

    fn lists(&self) -> Option<Vec<Arc<RevocationList>>> {
        None
    }

    /// Even ones came.
    fn has_heard(&self, packet_number: u64) -> bool {
        packet_number.is_multiple_of(2)
    }
}

/// Adds an agent and waits for the answer.
fn add(control: &Control, port: AgentPort) -> io::Result<()> {
    let (sender, added) = std::sync::mpsc::channel();
    let done = Box::new(move |outcome| sender.send(outcome).unwrap());
    let message = ControlMessage::AddAgent { port: Box::new(port), done };
    control.handle().try_send(message).unwrap();
    added.recv().unwrap()
}

/// The way into a shard that nobody runs.
fn shard(orders: &Arc<Orders>) -> ShardHandle {
    ShardHandle::new(Arc::clone(orders), Waker::unheard())
}

fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Waits for what is bound to come, within ten seconds.
pub(crate) fn eventually<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "it did not come within ten seconds");
        thread::sleep(Duration::from_millis(2));
    }
}
