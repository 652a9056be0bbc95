//! The server over real sockets, in this process.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::{ClientError, JoinOptions, Obtained, Present, fetch_crl, join, renew};
use super::*;
use crate::tls::certificates_tests::{CLUSTER, DAY, ROLE, TRUST_DOMAIN};

const HOUR: Duration = Duration::from_secs(3_600);

struct Counter {
    _home: TempDir,
    registrar: Arc<Registrar>,
    server: Server,
}

impl Counter {
    fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let authority =
            CertificateAuthority::create(TRUST_DOMAIN, CLUSTER, wall(), CaValidity::default());
        authority.unwrap().write(home.path(), Existing::Refuse).unwrap();
        let registrar = Arc::new(Registrar::open(home.path(), None).unwrap());
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ServeOptions { listen, node_id: "counter".into() };
        let server = Server::start(Arc::clone(&registrar), &options).unwrap();
        Self { _home: home, registrar, server }
    }

    fn address(&self) -> String {
        self.server.address().to_string()
    }

    fn token(&self, node_id: &str) -> Token {
        self.registrar.token(node_id, ROLE, HOUR, DAY, wall()).unwrap()
    }

    fn join(&self, node_id: &str, token: &Token, key: &NodeKey) -> Result<Obtained, ClientError> {
        let options = JoinOptions {
            server: self.address(),
            fingerprint: self.registrar.authority().fingerprint().unwrap(),
            trust_domain: None,
            cluster: None,
            node_id: node_id.into(),
        };
        join(&options, token, key)
    }
}

#[test]
fn a_node_joins_renews_and_fetches_the_list() {
    let counter = Counter::open();
    let key = NodeKey::generate().unwrap();
    let joined = counter.join("n1", &counter.token("n1"), &key).unwrap();
    assert_eq!((joined.identity.node_id.as_str(), joined.identity.role.as_str()), ("n1", ROLE));
    let key_pem = key.pem();
    let present =
        Present { chain_pem: &joined.chain_pem, key_pem: &key_pem, bundle_pem: &joined.bundle_pem };
    let renewed = renew(&counter.address(), &present, &NodeKey::generate().unwrap()).unwrap();
    assert_ne!(renewed.serial, joined.serial);
    let list = fetch_crl(&counter.address(), &joined.chain_pem, &joined.bundle_pem).unwrap();
    assert_eq!(list, counter.registrar.crl(wall()).unwrap());

    // A certificate of an authority that the server does not know is no certificate.
    let stranger = Counter::open();
    let foreign = stranger.join("n1", &stranger.token("n1"), &key).unwrap();
    let foreign =
        Present { chain_pem: &foreign.chain_pem, bundle_pem: &joined.bundle_pem, ..present };
    let refused = renew(&counter.address(), &foreign, &NodeKey::generate().unwrap()).unwrap_err();
    assert!(matches!(refused, ClientError::Own(_)), "not even heard, and told why: {refused}");
    assert_eq!(counter.registrar.ledger().unwrap().certificates().count(), 3, "with its own");
}

#[test]
fn who_writes_after_the_server_hung_up_is_told_why_it_did() {
    let (counter, stranger) = (Counter::open(), Counter::open());
    let (token, key) = (stranger.token("n1"), NodeKey::generate().unwrap());
    let foreign = stranger.join("n1", &token, &key).unwrap();
    let bundle = counter.join("n2", &counter.token("n2"), &NodeKey::generate().unwrap()).unwrap();
    let key_pem = key.pem();
    let present = Present {
        chain_pem: &foreign.chain_pem,
        key_pem: &key_pem,
        bundle_pem: &bundle.bundle_pem,
    };
    let (_, _, tls) = client::credentials(&present).unwrap();
    let (_, mut stream) = client::greet(&counter.address(), tls).unwrap();
    // So that the server has hung up for good, if it has not been starved; told it is either way.
    thread::sleep(http::LINGER + Duration::from_millis(500));
    let refused = client::ask(&mut stream, "POST", http::RENEW, &[b' '; 16_000]).err().unwrap();
    assert!(matches!(refused, ClientError::Own(_)), "{refused}");
}

#[test]
fn one_address_holds_half_of_the_places_and_gives_them_back() {
    let counter = Counter::open();
    let (token, key) = (counter.token("n1"), NodeKey::generate().unwrap());
    let idle: Vec<TcpStream> = (0..MAX_CONNECTIONS / 2)
        .map(|_| TcpStream::connect(counter.server.address()).unwrap())
        .collect();
    // The listener takes connections in their order, so that all of these hold a place by now.
    let refused = counter.join("n1", &token, &key).unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    drop(idle);
    let deadline = Instant::now() + Duration::from_secs(15);
    while let Err(error) = counter.join("n1", &token, &key) {
        assert!(error.is_transient() && Instant::now() < deadline, "{error}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_ends_with_its_handle_and_frees_its_address() {
    let counter = Counter::open();
    let address = counter.server.address();
    drop(counter);
    assert!(TcpStream::connect(address).is_err());
}
