//! The authority's server: TLS 1.3, one request a connection, a thread each.
//!
//! A counter with a fixed number of places: whoever gets one must say what he wants at once, is
//! answered, and leaves.
//!
//! Invariants: a connection holds its place for at most [`PATIENCE`]; there are at most
//! [`MAX_CONNECTIONS`], and half of them from one network: an IPv6 host has any number of addresses.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::bootstrap::http::{
    self, CRL, Denial, Grant, JOIN, JoinRequest, RENEW, RenewRequest, Request, Timed,
};
use crate::bootstrap::limiter::{Allowance, Limiter};
use crate::bootstrap::peer::ClientJudge;
use crate::bootstrap::registrar::{Certified, Registrar, SERVER_ROLE};
use crate::bootstrap::renewal::Renewer;
use crate::bootstrap::{BootstrapError, Refusal, Subject, random_word, wall};
use crate::network::Network;
use crate::tls::identity::{Identity, NameRule};
use crate::tls::provider::{provider, signing_key};
use crate::tls::trust::Trust;

/// Most connections at a time.
pub const MAX_CONNECTIONS: usize = 128;
/// How long a connection may take, all together.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long the server's own certificate lasts: it is made anew while it runs.
const OWN_VALIDITY: Duration = Duration::from_secs(7 * 86_400);
/// How often the server looks whether its certificate or the revocation list is due.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Unknown tokens and nonsense by network, and all together.
const WRONG_TOKENS: Allowance = Allowance { burst: 10, refill: Duration::from_secs(6) };
const ALL_WRONG_TOKENS: Allowance = Allowance { burst: 200, refill: Duration::from_millis(100) };
/// Tokens that exist and lead to nothing (any more), by network, and all together: each leaves a
/// line in the audit log. A rack that shares an address, or one node that repeats itself, is far
/// below it.
const SPENT_TOKENS: Allowance = Allowance { burst: 200, refill: Duration::from_secs(1) };
const ALL_SPENT_TOKENS: Allowance = Allowance { burst: 2_000, refill: Duration::from_millis(100) };
/// Renewals by node, and all together.
const RENEWALS: Allowance = Allowance { burst: 10, refill: Duration::from_secs(60) };
const ALL_RENEWALS: Allowance = Allowance { burst: 20_000, refill: Duration::from_millis(5) };

/// How a server is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Node id in its own certificate.
    pub node_id: String,
}

/// A running server; it ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What all connections share.
struct Office {
    registrar: Arc<Registrar>,
    bundle: String,
    tls: Arc<ServerConfig>,
    wrong_tokens: Mutex<Limiter<Network>>,
    spent_tokens: Mutex<Limiter<Network>>,
    renewals: Mutex<Limiter<String>>,
    places: Places,
}

impl Server {
    /// Mints the server's certificate, binds and answers.
    ///
    /// # Errors
    /// [`BootstrapError`] when the certificate cannot be made or the address not be bound.
    pub fn start(
        registrar: Arc<Registrar>,
        options: &ServeOptions,
    ) -> Result<Self, BootstrapError> {
        let fault = |error| BootstrapError::Listen { address: options.listen, error };
        let listener = TcpListener::bind(options.listen).map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        let (own, renewer) = own_certificate(&registrar, &options.node_id)?;
        let resolver = Arc::new(Resolver(ArcSwap::from_pointee(own)));
        let office = Arc::new(Office::new(registrar, &resolver)?);
        office.registrar.crl(wall())?;
        let stop = Arc::new(AtomicBool::new(false));
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.into()).spawn(work).map_err(fault)
        };
        let (keeper_office, keeper_stop) = (Arc::clone(&office), Arc::clone(&stop));
        let node_id = options.node_id.clone();
        let keep = move || keep(&keeper_office, &resolver, &node_id, renewer, &keeper_stop);
        let keeper = spawn("bootstrap-keep", Box::new(keep))?;
        let accept_stop = Arc::clone(&stop);
        let accept = move || accept(&listener, &office, &accept_stop);
        let acceptor = spawn("bootstrap-accept", Box::new(accept))?;
        Ok(Self { address, stop, threads: vec![keeper, acceptor] })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // A connection of our own wakes the acceptor.
        let mut own = self.address;
        if own.ip().is_unspecified() {
            own.set_ip(match own.ip() {
                IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let _ = TcpStream::connect_timeout(&own, Duration::from_secs(1));
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// The certificate that the server shows, exchanged while it runs.
#[derive(Debug)]
struct Resolver(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// The chain ends in the root: a joining node knows only its fingerprint.
fn own_certificate(
    registrar: &Registrar,
    node_id: &str,
) -> Result<(CertifiedKey, Renewer), BootstrapError> {
    let now = wall();
    let validity = registrar.authority().validity_left(now).min(OWN_VALIDITY);
    let issued = registrar.issue(&Subject::new(node_id, SERVER_ROLE), now, validity)?;
    let root = registrar.authority().root_der()?;
    let unusable = |_| BootstrapError::OwnCertificate;
    let mut chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(unusable)?;
    chain.push(root);
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).map_err(unusable)?;
    let key = signing_key(key).map_err(|_| BootstrapError::OwnCertificate)?;
    let renewer = Renewer::new(now, now + validity, random_word()?);
    Ok((CertifiedKey::new(chain, key), renewer))
}

fn configure(
    registrar: &Registrar,
    resolver: Arc<Resolver>,
) -> Result<Arc<ServerConfig>, BootstrapError> {
    let authority = registrar.authority();
    let bundle = CertificateDer::pem_slice_iter(authority.bundle_pem().as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| BootstrapError::OwnCertificate)?;
    let judge = ClientJudge {
        trust: Arc::new(Trust::of_bundle(bundle).map_err(|_| BootstrapError::OwnCertificate)?),
        trust_domain: authority.trust_domain().to_owned(),
        cluster: authority.cluster().to_owned(),
    };
    let mut tls = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|_| BootstrapError::OwnCertificate)?
        .with_client_cert_verifier(Arc::new(judge))
        .with_cert_resolver(resolver);
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    Ok(Arc::new(tls))
}

/// Makes the certificate and the revocation list anew in time.
fn keep(
    office: &Office,
    resolver: &Resolver,
    node_id: &str,
    mut renewer: Renewer,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Acquire) {
        thread::park_timeout(LOOK_EVERY);
        let now = wall();
        if let Err(error) = office.registrar.crl(now) {
            tracing::error!(%error, "the revocation list could not be made anew");
        }
        if renewer.wait(now).is_zero() {
            match own_certificate(&office.registrar, node_id) {
                Ok((own, next)) => {
                    resolver.0.store(Arc::new(own));
                    renewer = next;
                }
                Err(error) => {
                    renewer.failed(now, random_word().unwrap_or_default());
                    tracing::error!(%error, "the server's certificate could not be made anew");
                }
            }
        }
    }
}

fn accept(listener: &TcpListener, office: &Arc<Office>, stop: &AtomicBool) {
    loop {
        let accepted = listener.accept();
        if stop.load(Ordering::Acquire) {
            return;
        }
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors, most likely: others must end first.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        // Over its share a network is hung up on; it may come again.
        let Some(place) = Places::take(office, peer) else { continue };
        let work = move || answer(&place.office, stream, peer);
        if let Err(error) = thread::Builder::new().name("bootstrap-answer".into()).spawn(work) {
            tracing::warn!(%error, "a connection could not be answered");
        }
    }
}

/// Places that are taken, by network.
#[derive(Default)]
struct Places {
    taken: Mutex<(usize, HashMap<Network, usize>)>,
    freed: Condvar,
}

/// One taken place.
struct Place {
    office: Arc<Office>,
    network: Network,
}

impl Places {
    /// Waits for a place; `None` when the network holds its share.
    fn take(office: &Arc<Office>, peer: SocketAddr) -> Option<Place> {
        let network = Network::of(peer);
        let places = &office.places;
        let mut taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while taken.0 >= MAX_CONNECTIONS {
            taken = places.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        let held = taken.1.entry(network).or_default();
        if *held >= MAX_CONNECTIONS / 2 {
            return None;
        }
        *held += 1;
        taken.0 += 1;
        Some(Place { office: Arc::clone(office), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = &self.office.places;
        let mut taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.0 -= 1;
        if let Some(held) = taken.1.get_mut(&self.network) {
            *held -= 1;
            if *held == 0 {
                taken.1.remove(&self.network);
            }
        }
        places.freed.notify_one();
    }
}

/// One connection. What goes wrong on it is the peer's affair.
fn answer(office: &Office, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let Ok(connection) = ServerConnection::new(Arc::clone(&office.tls)) else { return };
    let mut stream = StreamOwned::new(connection, Timed::new(stream, PATIENCE));
    let exchanged = (|| -> io::Result<()> {
        let request = http::read_request(&mut stream)?;
        let leaf = stream.conn.peer_certificates().and_then(<[_]>::first).cloned();
        let reply = office.reply(&request, leaf.as_ref(), peer);
        http::write_answer(&mut stream, reply.status, reply.content_type, &reply.body)?;
        stream.conn.send_close_notify();
        stream.flush_tls()
    })();
    if let Err(error) = exchanged {
        tracing::debug!(%error, %peer, "a connection ended without an answer");
    }
    // The place goes back when the peer has read why it is refused, or after a moment.
    stream.sock.hang_up();
}

trait FlushTls {
    fn flush_tls(&mut self) -> io::Result<()>;
}

impl FlushTls for StreamOwned<ServerConnection, Timed> {
    fn flush_tls(&mut self) -> io::Result<()> {
        while self.conn.wants_write() {
            self.conn.write_tls(&mut self.sock)?;
        }
        Ok(())
    }
}

/// An answer before it is written.
struct Reply {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Reply {
    fn json(status: u16, value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self { status, content_type: "application/json", body }
    }

    fn denial(status: u16, code: &str) -> Self {
        Self::json(status, &Denial { error: code.to_owned() })
    }

    fn refusal(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Throttled => 429,
            Refusal::BadRequest => 400,
            Refusal::UnknownToken | Refusal::NoCertificate => 401,
            Refusal::OtherNode
            | Refusal::UsedToken
            | Refusal::VoidToken
            | Refusal::ExpiredToken
            | Refusal::KnownKey
            | Refusal::UnknownCertificate
            | Refusal::Revoked
            | Refusal::Barred
            | Refusal::Expired
            | Refusal::TooManyRenewals => 403,
        };
        Self::denial(status, refusal.code())
    }
}

impl Office {
    fn new(registrar: Arc<Registrar>, own: &Arc<Resolver>) -> Result<Self, BootstrapError> {
        let now = Instant::now();
        Ok(Self {
            bundle: registrar.authority().bundle_pem(),
            tls: configure(&registrar, Arc::clone(own))?,
            registrar,
            wrong_tokens: Mutex::new(Limiter::new(WRONG_TOKENS, ALL_WRONG_TOKENS, now)),
            spent_tokens: Mutex::new(Limiter::new(SPENT_TOKENS, ALL_SPENT_TOKENS, now)),
            renewals: Mutex::new(Limiter::new(RENEWALS, ALL_RENEWALS, now)),
            places: Places::default(),
        })
    }

    fn reply(
        &self,
        request: &Request,
        leaf: Option<&CertificateDer<'_>>,
        peer: SocketAddr,
    ) -> Reply {
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", JOIN) => self.join(&request.body, peer),
            ("POST", RENEW) => self.renew(&request.body, leaf, peer),
            ("GET", CRL) => match self.registrar.crl(wall()) {
                Ok(text) => {
                    let content_type = "application/x-pem-file";
                    Reply { status: 200, content_type, body: text.into_bytes() }
                }
                Err(error) => fault(&error),
            },
            (_, JOIN | RENEW | CRL) => Reply::denial(405, "method"),
            _ => Reply::denial(404, "path"),
        }
    }

    fn join(&self, body: &[u8], peer: SocketAddr) -> Reply {
        let (network, now) = (Network::of(peer), Instant::now());
        let wrong = || self.wrong_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = || self.spent_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if !wrong().may_try(&network, now) || !spent().may_try(&network, now) {
            return Reply::refusal(Refusal::Throttled);
        }
        let Ok(request) = serde_json::from_slice::<JoinRequest>(body) else {
            wrong().pay(network, now);
            return Reply::refusal(Refusal::BadRequest);
        };
        let JoinRequest { node_id, token, csr } = &request;
        let answer = self.registrar.join(token, node_id, csr, wall(), Some(peer));
        // Guesses and nonsense cost much, a token that exists and leads to nothing costs little.
        if let Err(BootstrapError::Refused(refusal)) = &answer {
            match refusal {
                Refusal::UnknownToken | Refusal::BadRequest => wrong().pay(network, now),
                Refusal::OtherNode
                | Refusal::UsedToken
                | Refusal::VoidToken
                | Refusal::ExpiredToken
                | Refusal::KnownKey
                | Refusal::Barred => spent().pay(network, now),
                // Not of a join.
                Refusal::UnknownCertificate
                | Refusal::Revoked
                | Refusal::Expired
                | Refusal::TooManyRenewals
                | Refusal::Throttled
                | Refusal::NoCertificate => {}
            }
        }
        self.tell(answer)
    }

    fn renew(&self, body: &[u8], leaf: Option<&CertificateDer<'_>>, peer: SocketAddr) -> Reply {
        let Some(leaf) = leaf else { return Reply::refusal(Refusal::NoCertificate) };
        let Ok(identity) = Identity::of_leaf(NameRule::Spiffe, leaf) else {
            return Reply::refusal(Refusal::NoCertificate);
        };
        {
            let mut limiter = self.renewals.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if !limiter.may_try(&identity.node_id, now) {
                return Reply::refusal(Refusal::Throttled);
            }
            limiter.pay(identity.node_id, now);
        }
        let Ok(request) = serde_json::from_slice::<RenewRequest>(body) else {
            return Reply::refusal(Refusal::BadRequest);
        };
        self.tell(self.registrar.renew(leaf, &request.csr, wall(), Some(peer)))
    }

    fn tell(&self, answer: Result<Certified, BootstrapError>) -> Reply {
        match answer {
            Ok(certified) => {
                let bundle = self.bundle.clone();
                Reply::json(200, &Grant { chain: certified.chain_pem, bundle })
            }
            Err(BootstrapError::Refused(refusal)) => Reply::refusal(refusal),
            Err(error) => fault(&error),
        }
    }
}

/// Our own fault: the operator reads what it was, the peer only that.
fn fault(error: &BootstrapError) -> Reply {
    tracing::error!(%error, "a request could not be answered");
    Reply::denial(500, "fault")
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::bootstrap::{AUDIT, CaValidity, CertificateAuthority, Existing, NodeKey};
    use crate::tls::certificates_tests::{CLUSTER, DAY, ROLE, TRUST_DOMAIN};

    fn office() -> (TempDir, Arc<Office>) {
        let home = tempfile::tempdir().unwrap();
        let authority =
            CertificateAuthority::create(TRUST_DOMAIN, CLUSTER, wall(), CaValidity::default());
        authority.unwrap().write(home.path(), Existing::Refuse).unwrap();
        let registrar = Arc::new(Registrar::open(home.path(), None).unwrap());
        let (own, _) = own_certificate(&registrar, "counter").unwrap();
        let own = Arc::new(Resolver(ArcSwap::from_pointee(own)));
        (home, Arc::new(Office::new(registrar, &own).unwrap()))
    }

    /// A host of an IPv6 network.
    fn host(network: u16, n: u16) -> SocketAddr {
        SocketAddr::from(([0x2001, 0xdb8, 0, network, 0, 0, 0, n], 1))
    }

    #[test]
    fn one_network_holds_half_of_the_places() {
        let (_home, office) = office();
        let half = MAX_CONNECTIONS as u16 / 2;
        let held: Vec<_> = (0..half).map(|n| Places::take(&office, host(1, n)).unwrap()).collect();
        assert!(Places::take(&office, host(1, half)).is_none());
        assert!(Places::take(&office, host(2, 1)).is_some(), "others are served");
        drop(held);
        assert!(Places::take(&office, host(1, half)).is_some());
    }

    #[test]
    fn a_token_that_leads_to_nothing_is_heard_so_often() {
        let (home, office) = office();
        let hour = Duration::from_secs(3_600);
        let token = office.registrar.token("n1", ROLE, hour, DAY, wall()).unwrap();
        let request = JoinRequest {
            node_id: "n2".into(),
            token: token.text().to_owned(),
            csr: NodeKey::generate().unwrap().request().unwrap(),
        };
        let body = serde_json::to_vec(&request).unwrap();
        let asked = |from| office.join(&body, from).status;
        // Time passes meanwhile, and a coin a second comes back.
        let heard = (0..5_000).take_while(|n| asked(host(1, *n)) == 403).count();
        assert!((200..5_000).contains(&heard), "{heard}");
        let audit = std::fs::read_to_string(home.path().join(AUDIT)).unwrap();
        let lines = audit.lines().filter(|line| line.contains("other-node")).count();
        assert_eq!(lines, heard, "whoever is not heard leaves no line");
        assert_eq!(asked(host(2, 1)), 403, "another network is");
    }
}
