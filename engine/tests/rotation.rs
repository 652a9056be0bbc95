//! Certificates of sixteen members change twenty times, and their authority once, under probing.
//!
//! The only test of its process: whatever else opened a file meanwhile would be counted. Nothing in
//! it is decided by a clock: the next rotation comes when every member has had answers to its
//! probes since the last one, and what is lost is counted by the members themselves.

#[path = "mesh/authority.rs"]
mod authority;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use mesh_gossip::bootstrap::client::{self, JoinOptions, Present};
use mesh_gossip::bootstrap::{
    CertificateAuthority, Existing, NodeKey, Registrar, ServeOptions, Server,
};
use mesh_gossip::options::{BackendChoice, EngineOptions, Material, TlsOptions};
use mesh_gossip::proto::Config;
use mesh_gossip::{Agent, Engine, Inspection};
use tempfile::TempDir;

use authority::Authority;

const MEMBERS: usize = 16;
const ROTATIONS: usize = 20;
/// What the counter lets one node renew within a minute; the other certificates are issued by hand.
const SERVED: usize = 9;
const VALIDITY: Duration = Duration::from_secs(3_600);
/// The longest that anything bound to come is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `bootstrap serve` runs.
struct Counter {
    registrar: Arc<Registrar>,
    server: Server,
    _home: TempDir,
}

impl Counter {
    fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        Authority::of("rotation").0.write(home.path(), Existing::Refuse).unwrap();
        let registrar = Arc::new(Registrar::open(home.path(), None).unwrap());
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ServeOptions { listen, node_id: "counter".into() };
        let server = Server::start(Arc::clone(&registrar), &options).unwrap();
        Self { registrar, server, _home: home }
    }

    fn authority(&self) -> &CertificateAuthority {
        self.registrar.authority()
    }
}

/// What a node holds.
struct Papers {
    chain: String,
    key: String,
    bundle: String,
}

impl Papers {
    /// With a token, as a node that is new.
    fn joined(counter: &Counter, name: &str) -> Self {
        let now = SystemTime::now();
        let token = counter.registrar.token(name, "worker", VALIDITY, VALIDITY, now).unwrap();
        let key = NodeKey::generate().unwrap();
        let options = JoinOptions {
            server: counter.server.address().to_string(),
            fingerprint: counter.authority().fingerprint().unwrap(),
            trust_domain: None,
            cluster: None,
            node_id: name.into(),
        };
        let got = client::join(&options, &token, &key).unwrap();
        Self { chain: got.chain_pem, key: key.pem().to_string(), bundle: got.bundle_pem }
    }

    /// With the certificate that there is.
    fn renew(&mut self, counter: &Counter) {
        let key = NodeKey::generate().unwrap();
        let (chain_pem, key_pem, bundle_pem) = (&self.chain, &self.key, &self.bundle);
        let present = Present { chain_pem, key_pem, bundle_pem };
        let got = client::renew(&counter.server.address().to_string(), &present, &key).unwrap();
        (self.chain, self.key) = (got.chain_pem, key.pem().to_string());
    }

    /// By the operator's hand.
    fn issue(&mut self, counter: &Counter, name: &str) {
        let subject = mesh_gossip::bootstrap::Subject::new(name, "worker");
        let issued = counter.registrar.issue(&subject, SystemTime::now(), VALIDITY).unwrap();
        (self.chain, self.key) = (issued.chain_pem.clone(), issued.key_pem.to_string());
    }

    fn options(&self, like: TlsOptions) -> TlsOptions {
        let bytes = |text: &str| Material::Bytes(text.as_bytes().to_vec().into());
        let (certificate, key) = (bytes(&self.chain), Some(bytes(&self.key)));
        TlsOptions { certificate, key, ca: bytes(&self.bundle), ..like }
    }
}

struct Member {
    agent: Agent,
    papers: Papers,
    tls: TlsOptions,
}

impl Member {
    fn show(&self) {
        self.agent.rotate(self.papers.options(self.tls.clone())).unwrap();
    }

    fn inspect(&self) -> Inspection {
        self.agent.inspect(PATIENCE).expect("the shard answers")
    }
}

/// Thirty-two members shake hands on a core or two, and who waits for it answers after more than the
/// 100 ms that a ping has: that is asked about, not a loss, and how often it happens is the machine's
/// affair. It is printed; the simulator counts suspicions where no machine decides, and of those here
/// none may be the doing of a session. A member that
/// nobody reaches for twenty seconds is unreachable here, and what is lost is counted to the datagram.
fn patient(protocol: &mut Config) {
    protocol.interval = Duration::from_millis(500);
    protocol.suspicion_interval = Duration::from_secs(60);
    protocol.grace = Duration::from_secs(20);
}

/// Sixteen members on one backend.
struct Mesh {
    members: Vec<Member>,
}

impl Mesh {
    fn start(backend: BackendChoice, counter: &Counter) -> Option<Self> {
        let options = EngineOptions { backend, shards: Some(2), ..EngineOptions::default() };
        let engine = match Engine::start(options) {
            Ok(engine) => engine,
            Err(error) => {
                let may_skip = std::env::var_os("MESH_GOSSIP_BOTH_BACKENDS").is_none();
                assert!(may_skip, "{backend:?}: {error}");
                println!("SKIPPED: {backend:?}: {error}");
                return None;
            }
        };
        let template = Authority::of("rotation");
        let mut members: Vec<Member> = Vec::new();
        for number in 0..MEMBERS {
            let name = format!("{}-{number}", format!("{backend:?}").to_lowercase());
            let papers = Papers::joined(counter, &name);
            let mut options = template.options(&name, "worker");
            options.control = None;
            patient(&mut options.protocol);
            options.seeds =
                members.iter().take(1).map(|m| m.agent.local_address().to_string()).collect();
            options.tls = papers.options(options.tls);
            let tls = options.tls.clone();
            members.push(Member { agent: Agent::start(&engine, options).unwrap(), papers, tls });
        }
        Some(Self { members })
    }

    fn is_whole(&self) -> bool {
        self.members.iter().all(|member| member.agent.view().view.counts().alive == MEMBERS)
    }
}

/// Why a datagram of a session is refused. Other refusals are of handshakes whose datagrams came twice
/// or late, as on a busy machine they do.
const SEALED: [&str; 4] = ["replayed", "forged", "unknown-session", "untrusted"];

/// What one member counted, of all that may not rise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Losses {
    refused: BTreeMap<&'static str, u64>,
    unsent: u64,
    fallen: u64,
    unreachable: u64,
    declared_dead: u64,
    /// Doubts that a session is the cause of, and not the machine (decision 94).
    doubts: BTreeMap<&'static str, u64>,
}

fn losses(inspection: &Inspection) -> Losses {
    let (links, stats) = (&inspection.links, &inspection.stats);
    let mut refused = links.dropped.clone();
    refused.retain(|reason, _| SEALED.contains(reason));
    let mut doubts = links.doubts.clone();
    doubts.retain(|cause, _| *cause != "silence");
    Losses {
        refused,
        unsent: links.unsent,
        fallen: links.fallen.values().sum(),
        unreachable: stats.unreachable,
        declared_dead: stats.declared_dead,
        doubts,
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "within {PATIENCE:?} it did not come about: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// Waits until every member has had `answers` to its probes from here on.
fn probed(meshes: &[Mesh], answers: u64) {
    let all = || meshes.iter().flat_map(|mesh| &mesh.members);
    let acked = |member: &Member| member.inspect().stats.probes_acked;
    let before: Vec<u64> = all().map(acked).collect();
    until("probes are answered", || {
        all().zip(&before).all(|(member, before)| acked(member) >= before + answers)
    });
}

/// Waits until nothing but one session a pair is left, each under both ends' present certificates.
fn settled(meshes: &[Mesh]) {
    let all = || meshes.iter().flat_map(|mesh| &mesh.members).map(Member::inspect);
    until("every session has followed, and the old ones are gone", || {
        all().all(|i| i.links.outdated == 0 && i.links.sessions < MEMBERS as u64)
    });
}

fn open_descriptors() -> usize {
    // Without what a thread holds for a moment: an exchange with the counter, a bulk sync.
    let looks = (0..100).map(|_| {
        sleep(Duration::from_millis(5));
        std::fs::read_dir("/proc/self/fd").expect("Linux tells our descriptors").count()
    });
    looks.min().expect("a hundred looks")
}

/// Rule S-15: nobody is lost, no datagram is, nothing stays open.
#[test]
fn sixteen_members_rotate_twenty_times_and_change_their_authority() {
    let (old, new) = (Counter::open(), Counter::open());
    let backends = [BackendChoice::Uring, BackendChoice::Mmsg];
    let mut meshes: Vec<Mesh> =
        backends.into_iter().filter_map(|backend| Mesh::start(backend, &old)).collect();
    assert!(!meshes.is_empty(), "one backend at least");
    until("all know all", || meshes.iter().all(Mesh::is_whole));
    // Joining is another story: a stranger waits for its first handshakes.
    probed(&meshes, 3);
    settled(&meshes);
    let look = |meshes: &[Mesh]| -> Vec<Inspection> {
        meshes.iter().flat_map(|mesh| &mesh.members).map(Member::inspect).collect()
    };
    let (before, descriptors) = (look(&meshes), open_descriptors());
    let every = |meshes: &mut [Mesh], act: &mut dyn FnMut(&mut Papers, &str)| {
        for member in meshes.iter_mut().flat_map(|mesh| &mut mesh.members) {
            let name = member.agent.node_id().to_owned();
            act(&mut member.papers, &name);
            member.show();
        }
        probed(meshes, 1);
    };
    for round in 0..ROTATIONS {
        every(&mut meshes, &mut |papers, name| {
            if round < SERVED { papers.renew(&old) } else { papers.issue(&old, name) }
        });
    }
    let (old_root, new_root) = (old.authority().bundle_pem(), new.authority().bundle_pem());
    every(&mut meshes, &mut |papers, _| papers.bundle = format!("{old_root}{new_root}"));
    every(&mut meshes, &mut |papers, name| papers.issue(&new, name));
    settled(&meshes);
    every(&mut meshes, &mut |papers, _| papers.bundle.clone_from(&new_root));
    settled(&meshes);

    // Somebody may be doubted at this moment on a busy machine; who is lost is counted below.
    until("all hold all alive", || meshes.iter().all(Mesh::is_whole));
    let after = look(&meshes);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(losses(after), losses(before), "{:?}", after.links);
        assert!(after.links.rekeys >= 4 * (MEMBERS as u64 - 1) / 2, "{:?}", after.links);
        assert!(after.stats.probes_acked >= before.stats.probes_acked + ROTATIONS as u64 + 3);
    }
    until("descriptors are flat", || open_descriptors() <= descriptors);
    let sum = |of: fn(&Inspection) -> u64| {
        after.iter().map(of).sum::<u64>() - before.iter().map(of).sum::<u64>()
    };
    println!(
        "{} members: {} probes answered, {} sessions succeeded, 0 datagrams refused, {} late, none for \
         want of a session",
        after.len(),
        sum(|i| i.stats.probes_acked),
        sum(|i| i.links.rekeys),
        sum(|i| i.stats.suspicions),
    );
}
