//! A whole run at the loudest level, and no byte of a key, a password or a token in anything that
//! it told.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh_gossip::bootstrap::client::{JoinOptions, Obtained, join};
use mesh_gossip::bootstrap::{
    CaValidity, CertificateAuthority, Existing, Fingerprint, NodeKey, Registrar, ServeOptions,
    Server, pkcs12, wall,
};
use mesh_gossip::options::{
    AgentOptions, EngineOptions, Material, RenewalOptions, TlsOptions, UpkeepOptions,
};
use mesh_gossip::{Agent, Engine};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::mesh::authority::ANY_PORT;
use crate::mesh::host::ANSWER;
use crate::mesh::{Authority, Stage, on_both_backends, until};

const CLUSTER: &str = "secrets";
const PASSWORD: &str = "correct-horse-battery";
const HOUR: Duration = Duration::from_secs(3_600);

/// What was told, wherever.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

impl io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Told {
    fn add(&self, text: &str) {
        self.0.lock().unwrap().extend_from_slice(text.as_bytes());
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// The ways in which a private key could be told: its PEM, its number in hexadecimal of either
/// case, and as a list of bytes.
fn spellings(key_pem: &str) -> Vec<String> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    // RFC 5958 with a P-256 key of RFC 5915: its number stands at this place.
    let number = &der.secret_pkcs8_der()[36..68];
    let hex: String = number.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{:?}", &number[..8]);
    let list = list.trim_matches(['[', ']']).to_owned();
    let lines = key_pem.lines().filter(|line| !line.starts_with('-'));
    let mut found: Vec<String> = lines.map(ToOwned::to_owned).collect();
    found.extend([hex.to_uppercase(), hex, list]);
    found
}

/// An authority, its server, and what nodes know of it.
struct Office {
    registrar: Arc<Registrar>,
    server: Server,
    fingerprint: Fingerprint,
}

impl Office {
    fn open(directory: &Path) -> Self {
        let ca = CertificateAuthority::create("mesh.test", CLUSTER, wall(), CaValidity::default());
        ca.unwrap().write(directory, Existing::Refuse).unwrap();
        let registrar = Arc::new(Registrar::open(directory, None).unwrap());
        let options = ServeOptions { listen: ANY_PORT, node_id: "office".into() };
        let server = Server::start(Arc::clone(&registrar), &options).unwrap();
        let root = std::fs::read(directory.join("root.pem")).unwrap();
        let fingerprint = Fingerprint::of(&CertificateDer::from_pem_slice(&root).unwrap());
        Self { registrar, server, fingerprint }
    }

    /// Joins with a token, and once more with the token used up.
    fn join(&self, told: &Told, secrets: &mut Vec<String>) -> (Obtained, NodeKey) {
        let life = Duration::from_secs(30);
        let token = self.registrar.token("a", "worker", HOUR, life, wall()).unwrap();
        secrets.push(token.text().rsplit('.').next().unwrap().to_owned());
        let key = NodeKey::generate().unwrap();
        secrets.extend(spellings(&key.pem()));
        let options = JoinOptions {
            server: self.server.address().to_string(),
            fingerprint: self.fingerprint,
            trust_domain: None,
            cluster: None,
            node_id: "a".into(),
        };
        let obtained = join(&options, &token, &key).unwrap();
        let again = join(&options, &token, &NodeKey::generate().unwrap()).unwrap_err();
        told.add(&format!("{token:?} {key:?} {obtained:?} {options:?} {again:?} {again}"));
        (obtained, key)
    }
}

/// What goes wrong is told without secrets as well.
fn go_wrong(told: &Told, agent: &Agent, tls: &TlsOptions, chain: &str, key: &str) {
    let Material::Path(store) = &tls.certificate else { panic!("it is a file") };
    let whole = std::fs::read(store).unwrap();
    std::fs::write(store, &whole[..whole.len() / 2]).unwrap();
    let error = agent.reload().unwrap_err();
    told.add(&format!("{error:?} {error}"));
    let pem = |text: &str| Material::Bytes(text.as_bytes().to_vec().into());
    for (certificate, key) in [
        (pem(chain), Some(pem(key))),
        (pem(chain), Some(pem(&key.replace('M', "N")))),
        (pem(key), None),
    ] {
        let error = agent.rotate(TlsOptions { certificate, key, ..tls.clone() }).unwrap_err();
        told.add(&format!("{error:?} {error}"));
    }
}

/// An agent's life in files below `home`; returns every secret of it.
fn live(stage: &Stage, told: &Told, home: &Path) -> Vec<String> {
    let mut secrets = vec![PASSWORD.to_owned()];
    let office = Office::open(&home.join("ca"));
    let (obtained, key) = office.join(told, &mut secrets);
    let store = home.join("a.pfx");
    let sealed = pkcs12::write(&obtained.chain_pem, &key.pem(), PASSWORD).unwrap();
    std::fs::write(&store, &*sealed).unwrap();
    let plain = Authority::of(CLUSTER).options("a", "worker");
    let options = AgentOptions {
        tls: TlsOptions {
            certificate: Material::Path(store.clone()),
            key: None,
            password: Some(PASSWORD.to_owned().into()),
            ca: Material::Bytes(obtained.bundle_pem.as_bytes().to_vec().into()),
            ..plain.tls
        },
        upkeep: UpkeepOptions {
            state: Some(home.join("state")),
            renewal: Some(RenewalOptions::from_server(&office.server.address().to_string())),
        },
        ..plain
    };
    let engine = EngineOptions { backend: stage.backend, ..EngineOptions::default() };
    let engine = Engine::start(engine).unwrap();
    let agent = Agent::start(&engine, options.clone()).unwrap();
    let renewed = "mesh_gossip_certificate_renewals_total{mesh_outcome=\"renewed\"} 1";
    until("it is renewed", || agent.metrics_text(ANSWER).unwrap().contains(renewed));
    let pair = pkcs12::read(&std::fs::read(&store).unwrap(), PASSWORD).unwrap();
    assert_ne!(pair.key_pem, key.pem());
    secrets.extend(spellings(&pair.key_pem));
    let control = agent.control_address().unwrap();
    let mut peers = ureq::get(format!("http://{control}/control/peers")).call().unwrap();
    told.add(&peers.body_mut().read_to_string().unwrap());
    told.add(&agent.metrics_text(ANSWER).unwrap());
    told.add(&format!("{options:?} {agent:?} {:?}", agent.inspect(ANSWER).unwrap()));
    go_wrong(told, &agent, &options.tls, &obtained.chain_pem, &pair.key_pem);
    secrets
}

/// Rule S-21: logs at every level, debug output, errors, metrics, documents of the control server
/// and the authority's audit log hold no secret of a run that joins, gossips, renews and fails.
#[test]
fn no_secret_is_told_anywhere() {
    on_both_backends(|stage| {
        let told = Told::default();
        let writer = told.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let home = tempfile::tempdir().unwrap();
        let secrets =
            tracing::subscriber::with_default(subscriber, || live(stage, &told, home.path()));
        told.add(&std::fs::read_to_string(home.path().join("ca/audit.jsonl")).unwrap());
        let text = told.text();
        for part in ["mesh gossip listening", "our certificate was renewed", "used-token"] {
            assert!(text.contains(part), "{part:?} is missing in: {text}");
        }
        for secret in secrets {
            assert!(secret.len() >= 12, "{secret:?} proves nothing");
            assert!(!text.contains(&secret), "{secret:?} is told in: {text}");
        }
    });
}
