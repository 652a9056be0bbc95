//! Who asks a control server from elsewhere, and how a command asks one (rule S-20).
//!
//! Both ends hold certificates of one mesh. The server lets in members, who read, and operators,
//! who change; the client takes an answer only from a member of its own cluster.
//!
//! Invariant: what a caller may do follows from the role in its certificate, and from nothing that
//! it says.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    StreamOwned,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::options::TlsOptions;
use crate::tls::alpn;
use crate::tls::credentials::{
    CredentialsError, Fault, Pair, TRUST_DOMAIN, client_config, load_trust, server_name,
};
use crate::tls::identity::{Identity, IdentityError, NameRule, peer_of};
use crate::tls::verifier::{MeshVerifier, too_old, whole};

/// Judges the clients of a control server: anybody whom [`MeshVerifier::verify_caller`] lets in.
#[derive(Debug)]
pub(crate) struct Callers(Arc<MeshVerifier>);

impl Callers {
    pub(crate) fn judged_by(verifier: Arc<MeshVerifier>) -> Self {
        Self(verifier)
    }
}

impl ClientCertVerifier for Callers {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// No hints, as in gossip: strangers need not learn our CAs.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.verify_caller(&whole(end_entity, intermediates), now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ClientCertVerifier::verify_tls13_signature(&*self.0, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ClientCertVerifier::supported_verify_schemes(&*self.0)
    }
}

/// Certificate and trust of somebody who asks agents over mutual TLS.
pub struct Caller {
    identity: Identity,
    config: Arc<ClientConfig>,
}

/// A connection to a control server.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Why a caller got no connection.
#[derive(Debug)]
pub enum CallerError {
    /// Certificate, key or trust.
    Credentials(Box<CredentialsError>),
    /// The certificate does not name anybody of a mesh.
    Identity(IdentityError),
    /// The connection broke, or TLS failed: a certificate that one side refused, among others.
    Stream(io::Error),
    /// Another member than the expected one answered.
    WrongPeer {
        /// Who was expected.
        expected: String,
        /// Who answered.
        found: String,
    },
}

impl std::fmt::Display for CallerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Credentials(error) => error.fmt(f),
            Self::Identity(error) => error.fmt(f),
            Self::Stream(error) => error.fmt(f),
            Self::WrongPeer { expected, found } => {
                write!(f, "the member {found:?} answered, expected {expected:?}")
            }
        }
    }
}

impl std::error::Error for CallerError {}

impl From<CredentialsError> for CallerError {
    fn from(error: CredentialsError) -> Self {
        Self::Credentials(Box::new(error))
    }
}

impl Caller {
    /// Loads certificate, key, trust and revocation lists. Rule of names, trust domain and
    /// cluster are those of the certificate: an answer counts only from a member of the same mesh.
    ///
    /// # Errors
    /// [`CallerError`] names the setting, the file and the fix.
    pub fn load(options: &TlsOptions) -> Result<Self, CallerError> {
        let clock: Arc<dyn TimeProvider> = Arc::new(DefaultTimeProvider);
        let no_clock = CredentialsError { key: TRUST_DOMAIN, path: None, fault: Fault::NoClock };
        let now = clock.current_time().ok_or(no_clock)?;
        let pair = Pair::load(options)?;
        let leaf = &pair.chain()[0];
        let identity = Identity::of_leaf(NameRule::of_own(leaf), leaf);
        let identity = identity.map_err(CallerError::Identity)?;
        let trust = load_trust(options, pair.chain(), now, None)?;
        let judge = MeshVerifier::new(trust, &identity.trust_domain, &identity.cluster, None);
        let judge = judge.naming(identity.rule);
        let config = client_config(pair.certified(), Arc::new(judge), &clock, alpn::HTTP)
            .map_err(|error| CallerError::Stream(io::Error::other(error)))?;
        Ok(Self { identity, config })
    }

    /// Whom the certificate names.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// TLS over a connected stream, as far as it can be told before anything was said: whether the
    /// server lets us in shows with its first answer. `expected` is the node id that must answer;
    /// without it any member of our cluster may. Blocks, for as long as the stream's timeouts allow.
    ///
    /// # Errors
    /// [`CallerError::Stream`] or [`CallerError::WrongPeer`].
    pub fn meet(
        &self,
        stream: TcpStream,
        expected: Option<&str>,
    ) -> Result<TlsStream, CallerError> {
        let mut stream = stream;
        let mut tls = ClientConnection::new(Arc::clone(&self.config), server_name())
            .map_err(|error| CallerError::Stream(io::Error::other(error)))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).map_err(CallerError::Stream)?;
        }
        let found = peer_of(self.identity.rule, tls.peer_certificates());
        let found = found.map_err(CallerError::Identity)?.node_id;
        match expected {
            Some(expected) if expected != found => {
                Err(CallerError::WrongPeer { expected: expected.to_owned(), found })
            }
            Some(_) | None => Ok(StreamOwned::new(tls, stream)),
        }
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("identity", &self.identity.name()).finish_non_exhaustive()
    }
}
