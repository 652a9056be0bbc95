//! The node's side: it asks for a certificate, and looks twice at what it is given.
//!
//! Invariants: a token leaves only over a connection whose server was accepted; an answer is used
//! only when it is a certificate for our own key and our own name, under the authority that we
//! know already.

use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::bootstrap::authority::system_time;
use crate::bootstrap::http::{
    self, Answer, CRL, Denial, Grant, JOIN, JoinRequest, RENEW, RenewRequest, Timed,
};
use crate::bootstrap::names::{Fingerprint, KeyId, Serial};
use crate::bootstrap::peer::{Anchor, ServerJudge, prove};
use crate::bootstrap::{BootstrapError, NodeKey, Refusal, Token, wall};
use crate::tls::credentials::server_name;
use crate::tls::identity::{Identity, NameRule, peer_of};
use crate::tls::provider::{provider, signing_key};
use crate::tls::trust::{Trust, vouches_for_itself};
use crate::tls::verifier::Usage;

/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long an exchange may take, all together.
const EXCHANGE_PATIENCE: Duration = Duration::from_secs(15);

/// What a joining node knows of the authority.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// `host:port` of the authority's server.
    pub server: String,
    /// The root's fingerprint.
    pub fingerprint: Fingerprint,
    /// Expected trust domain; what the root says where not given.
    pub trust_domain: Option<String>,
    /// Expected cluster, likewise.
    pub cluster: Option<String>,
    /// The name to ask for.
    pub node_id: String,
}

/// What a node has at present.
pub struct Present<'a> {
    /// Chain, leaf first.
    pub chain_pem: &'a str,
    /// Its key.
    pub key_pem: &'a str,
    /// What it trusts by.
    pub bundle_pem: &'a str,
}

/// A certificate that was given and looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obtained {
    /// Leaf and issuing certificate.
    pub chain_pem: String,
    /// What to trust by.
    pub bundle_pem: String,
    /// Whom it names.
    pub identity: Identity,
    /// Its number.
    pub serial: Serial,
    /// Start.
    pub not_before: SystemTime,
    /// End.
    pub not_after: SystemTime,
}

/// Why a node has no new certificate.
#[derive(Debug)]
pub enum ClientError {
    /// The server cannot be reached, or hung up.
    Unreachable(io::Error),
    /// It is not the authority's server; nothing was sent to it.
    Untrusted(String),
    /// It refused.
    Refused(Refusal),
    /// It answered something else.
    Answer(String),
    /// Our own files cannot be used.
    Own(String),
    /// Our own key cannot be used.
    Key(BootstrapError),
}

impl ClientError {
    /// A short stable word for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Untrusted(_) => "untrusted",
            Self::Refused(refusal) => refusal.code(),
            Self::Answer(_) => "answer",
            Self::Own(_) => "own",
            Self::Key(_) => "files",
        }
    }

    /// Whether the same may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Refused(Refusal::Throttled) => true,
            Self::Untrusted(_)
            | Self::Refused(_)
            | Self::Answer(_)
            | Self::Own(_)
            | Self::Key(_) => false,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(
                f,
                "the bootstrap server cannot be reached: {error}; is `mesh bootstrap serve` \
                 running there, and does the firewall let its TCP port pass?"
            ),
            Self::Untrusted(why) => {
                write!(f, "not the authority's server, nothing was sent to it: {why}")
            }
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Answer(why) => write!(f, "the server's answer cannot be used: {why}"),
            Self::Own(why) => write!(f, "the present certificate cannot be used: {why}"),
            Self::Key(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {}

/// Asks for a certificate with a token.
///
/// # Errors
/// [`ClientError`].
pub fn join(options: &JoinOptions, token: &Token, key: &NodeKey) -> Result<Obtained, ClientError> {
    let judge = ServerJudge {
        anchor: Anchor::Fingerprint(options.fingerprint),
        trust_domain: options.trust_domain.clone(),
        cluster: options.cluster.clone(),
    };
    let request = JoinRequest {
        node_id: options.node_id.clone(),
        token: token.text().to_owned(),
        csr: key.request().map_err(ClientError::Key)?,
    };
    let body = Zeroizing::new(serde_json::to_vec(&request).map_err(answer_fault)?);
    let tls = builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(judge))
        .with_no_client_auth();
    let (server, answer) = exchange(&options.server, tls, "POST", JOIN, &body)?;
    let grant = granted(&answer)?;
    let bundle = certificates(&grant.bundle).map_err(ClientError::Answer)?;
    let pinned = |der: &CertificateDer<'_>| {
        let decoded = X509Certificate::from_der(der);
        decoded.is_ok_and(|(_, certificate)| !vouches_for_itself(&certificate))
            || Fingerprint::of(der) == options.fingerprint
    };
    if !bundle.iter().all(pinned) {
        return Err(ClientError::Answer("it comes with a root that was not pinned".into()));
    }
    let trust = Trust::of_bundle(bundle).map_err(answer_fault)?;
    let expected = Expected { node_id: &options.node_id, server: &server, key: key.id() };
    obtained(grant, &trust, &expected)
}

/// Asks for another certificate with the present one, for a new key.
///
/// # Errors
/// [`ClientError`].
pub fn renew(
    server: &str,
    present: &Present<'_>,
    new_key: &NodeKey,
) -> Result<Obtained, ClientError> {
    let (own, trust, tls) = credentials(present)?;
    let request = RenewRequest { csr: new_key.request().map_err(ClientError::Key)? };
    let body = serde_json::to_vec(&request).map_err(answer_fault)?;
    let (peer, answer) = exchange(server, tls, "POST", RENEW, &body)?;
    let grant = granted(&answer)?;
    let expected = Expected { node_id: &own.node_id, server: &peer, key: new_key.id() };
    let obtained = obtained(grant, &trust, &expected)?;
    if obtained.identity.role != own.role {
        return Err(ClientError::Answer("it names another role".into()));
    }
    // What is trusted is not changed by a renewal.
    Ok(Obtained { bundle_pem: present.bundle_pem.to_owned(), ..obtained })
}

/// Whom a node shows itself as, whom it believes, and both for TLS.
pub(super) fn credentials(
    present: &Present<'_>,
) -> Result<(Identity, Trust, ClientConfig), ClientError> {
    let chain = certificates(present.chain_pem).map_err(ClientError::Own)?;
    let leaf = chain.first().ok_or_else(|| ClientError::Own("it is empty".into()))?;
    let own = Identity::of_leaf(NameRule::Spiffe, leaf).map_err(own_fault)?;
    let trust = Trust::of_bundle(certificates(present.bundle_pem).map_err(ClientError::Own)?)
        .map_err(own_fault)?;
    let key = PrivateKeyDer::from_pem_slice(present.key_pem.as_bytes())
        .map_err(|_| ClientError::Own("its key is no PEM private key".into()))?;
    let certified = CertifiedKey::new(chain, signing_key(key).map_err(own_fault)?);
    certified.keys_match().map_err(own_fault)?;
    let judge = ServerJudge {
        anchor: Anchor::Bundle(trust.clone()),
        trust_domain: Some(own.trust_domain.clone()),
        cluster: Some(own.cluster.clone()),
    };
    let tls = builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(judge))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    Ok((own, trust, tls))
}

/// Fetches the newest revocation list, as PEM; its signature is for its reader to check.
///
/// # Errors
/// [`ClientError`].
pub fn fetch_crl(server: &str, chain_pem: &str, bundle_pem: &str) -> Result<String, ClientError> {
    let chain = certificates(chain_pem).map_err(ClientError::Own)?;
    let leaf = chain.first().ok_or_else(|| ClientError::Own("it is empty".into()))?;
    let own = Identity::of_leaf(NameRule::Spiffe, leaf).map_err(own_fault)?;
    let bundle = certificates(bundle_pem).map_err(ClientError::Own)?;
    let judge = ServerJudge {
        anchor: Anchor::Bundle(Trust::of_bundle(bundle).map_err(own_fault)?),
        trust_domain: Some(own.trust_domain),
        cluster: Some(own.cluster),
    };
    let tls = builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(judge))
        .with_no_client_auth();
    let (_, answer) = exchange(server, tls, "GET", CRL, b"")?;
    if answer.status != 200 {
        return Err(denied(&answer));
    }
    String::from_utf8(answer.body).map_err(answer_fault)
}

/// Start and end of a chain's leaf.
///
/// # Errors
/// [`ClientError::Own`] when there is none.
pub fn lifetime(chain_pem: &str) -> Result<(SystemTime, SystemTime), ClientError> {
    let chain = certificates(chain_pem).map_err(ClientError::Own)?;
    let leaf = chain.first().ok_or_else(|| ClientError::Own("it is empty".into()))?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(own_fault)?;
    let validity = certificate.validity();
    let not_before = system_time(validity.not_before.to_datetime()).map_err(own_fault)?;
    let not_after = system_time(validity.not_after.to_datetime()).map_err(own_fault)?;
    Ok((not_before, not_after))
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, ClientError> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(own_fault)
}

/// One request and its answer, with the server's identity.
fn exchange(
    server: &str,
    tls: ClientConfig,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<(Identity, Answer), ClientError> {
    let (peer, mut stream) = greet(server, tls)?;
    let answer = ask(&mut stream, method, path, body)?;
    Ok((peer, answer))
}

type Stream = StreamOwned<ClientConnection, Timed>;

/// The handshake: the server is judged before a byte of ours is written.
pub(super) fn greet(
    server: &str,
    mut tls: ClientConfig,
) -> Result<(Identity, Stream), ClientError> {
    tls.resumption = Resumption::disabled();
    tls.enable_sni = false;
    tls.enable_early_data = false;
    let socket = connect(server).map_err(ClientError::Unreachable)?;
    let connection = ClientConnection::new(Arc::new(tls), server_name()).map_err(own_fault)?;
    let mut stream = StreamOwned::new(connection, Timed::new(socket, EXCHANGE_PATIENCE));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(handshake_fault)?;
    }
    let peer = peer_of(NameRule::Spiffe, stream.conn.peer_certificates())
        .map_err(|error| ClientError::Untrusted(error.to_string()))?;
    Ok((peer, stream))
}

pub(super) fn ask(
    stream: &mut Stream,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<Answer, ClientError> {
    if let Err(error) = http::write_request(stream, method, path, body) {
        return Err(last_word(stream).unwrap_or(ClientError::Unreachable(error)));
    }
    http::read_answer(stream).map_err(exchange_fault)
}

/// What a server said that hung up before we wrote: in TLS 1.3 it judges our certificate after our
/// side of the handshake is over.
fn last_word(stream: &mut Stream) -> Option<ClientError> {
    loop {
        // Not through the stream, which first repeats the write that failed.
        if stream.conn.read_tls(&mut stream.sock).ok()? == 0 {
            return None;
        }
        if let Err(error) = stream.conn.process_new_packets() {
            let error = io::Error::new(io::ErrorKind::InvalidData, error);
            return Some(exchange_fault(error));
        }
    }
}

fn connect(server: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Our own judge speaks through the library's errors.
fn handshake_fault(error: io::Error) -> ClientError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::General(why)) => ClientError::Untrusted(why.clone()),
        Some(other) => ClientError::Untrusted(other.to_string()),
        None => ClientError::Unreachable(error),
    }
}

/// After the handshake of TLS 1.3 the server may still refuse our certificate.
fn exchange_fault(error: io::Error) -> ClientError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => {
            ClientError::Own(format!("the server does not accept it ({alert:?})"))
        }
        Some(_) | None => ClientError::Unreachable(error),
    }
}

fn granted(answer: &Answer) -> Result<Grant, ClientError> {
    if answer.status != 200 {
        return Err(denied(answer));
    }
    serde_json::from_slice(&answer.body).map_err(answer_fault)
}

fn denied(answer: &Answer) -> ClientError {
    let denial = serde_json::from_slice::<Denial>(&answer.body);
    match denial.ok().and_then(|denial| Refusal::of_code(&denial.error)) {
        Some(refusal) => ClientError::Refused(refusal),
        None => {
            ClientError::Answer(format!("status {}; the server's log says more", answer.status))
        }
    }
}

/// What an answer has to be about.
struct Expected<'a> {
    node_id: &'a str,
    server: &'a Identity,
    key: KeyId,
}

fn obtained(grant: Grant, trust: &Trust, expected: &Expected<'_>) -> Result<Obtained, ClientError> {
    let wrong = |what: &str| ClientError::Answer(what.to_owned());
    let chain = certificates(&grant.chain).map_err(ClientError::Answer)?;
    let (leaf, rest) = chain.split_first().ok_or_else(|| wrong("it holds no certificate"))?;
    let since = wall().duration_since(SystemTime::UNIX_EPOCH).map_err(answer_fault)?;
    prove(trust, leaf, rest, Usage::Client, UnixTime::since_unix_epoch(since))
        .map_err(ClientError::Answer)?;
    let identity = Identity::of_leaf(NameRule::Spiffe, leaf).map_err(answer_fault)?;
    identity.require_member().map_err(answer_fault)?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(answer_fault)?;
    if KeyId::of(certificate.public_key().raw) != expected.key {
        return Err(wrong("the certificate is for another key"));
    }
    let server = expected.server;
    if identity.node_id != expected.node_id
        || identity.cluster != server.cluster
        || identity.trust_domain != server.trust_domain
    {
        return Err(wrong("the certificate names another node, cluster or trust domain"));
    }
    let serial = Serial::of_bytes(certificate.raw_serial())
        .ok_or_else(|| wrong("the serial number is not of 16 bytes"))?;
    let validity = certificate.validity();
    Ok(Obtained {
        identity,
        serial,
        not_before: system_time(validity.not_before.to_datetime()).map_err(answer_fault)?,
        not_after: system_time(validity.not_after.to_datetime()).map_err(answer_fault)?,
        bundle_pem: grant.bundle,
        chain_pem: grant.chain,
    })
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

fn answer_fault(error: impl fmt::Display) -> ClientError {
    ClientError::Answer(error.to_string())
}

fn own_fault(error: impl fmt::Display) -> ClientError {
    ClientError::Own(error.to_string())
}
