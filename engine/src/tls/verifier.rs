//! One judge for every certificate (rule S-16): handshakes in both roles, records, and our own
//! credentials.
//!
//! First the chain is proven, then the name is read, then our own restrictions are asked. The
//! order matters: what an error reports beyond the chain is something that a CA has signed.
//!
//! Invariant: verification has no side effect, so a stranger who presents somebody's public
//! certificate changes nothing here (rule S-7).

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, PeerIncompatible,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls::identity::{Identity, IdentityError};
use crate::tls::provider::{sha256, verification_algorithms};
use crate::tls::trust::Trust;

/// Most intermediates of a peer that path building looks at; longer chains fail as incomplete.
pub const MAX_SENT_INTERMEDIATES: usize = 8;

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Its holder accepted a connection (serverAuth).
    Server,
    /// Its holder dialled, or signed a record (clientAuth).
    Client,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "serverAuth",
            Self::Client => "clientAuth",
        })
    }
}

/// A certificate that holds, and what later decisions need of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whom it names.
    pub identity: Identity,
    /// SHA-256 of the leaf.
    pub leaf_sha256: [u8; 32],
    /// Serial number of the leaf, big endian, as encoded.
    pub serial: Vec<u8>,
    /// End of the leaf's life.
    pub leaf_not_after: UnixTime,
    /// Earliest end among leaf and intermediates: nothing rests on this chain longer.
    pub not_after: UnixTime,
    /// The intermediates of the proven path, the leaf's issuer first.
    pub intermediates: Vec<CertificateDer<'static>>,
}

/// Verifies the certificates of one trust domain and cluster.
pub struct MeshVerifier {
    trust: Trust,
    trust_domain: String,
    cluster: String,
    /// Refused as a peer: a connection to ourselves (rule S-8).
    own_node_id: Option<String>,
}

impl MeshVerifier {
    /// A verifier for members of `cluster`; `own_node_id` is refused as a peer where given.
    pub fn new(trust: Trust, trust_domain: &str, cluster: &str, own_node_id: Option<&str>) -> Self {
        Self {
            trust,
            trust_domain: trust_domain.into(),
            cluster: cluster.into(),
            own_node_id: own_node_id.map(str::to_owned),
        }
    }

    /// What chains are verified against.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Verifies a peer's chain, leaf first: [`MeshVerifier::verify_certificate`], and that the
    /// peer is not ourselves and passes the thumbprints.
    ///
    /// # Errors
    /// [`TrustError`] by the first rule broken.
    pub fn verify_peer(
        &self,
        chain: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<Verified, TrustError> {
        let (leaf, intermediates) = chain.split_first().ok_or(TrustError::NoCertificate)?;
        let verified = self.verify_certificate(leaf, intermediates, usage, now)?;
        if self.own_node_id.as_ref() == Some(&verified.identity.node_id) {
            return Err(TrustError::OwnId { node_id: verified.identity.node_id });
        }
        self.check_thumbprints(leaf)?;
        Ok(verified)
    }

    /// Verifies chain and identity, whoever's they are: our own too.
    ///
    /// # Errors
    /// [`TrustError`] by the first rule broken.
    pub fn verify_certificate(
        &self,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<Verified, TrustError> {
        let intermediates = self.prove_chain(leaf, sent, usage, now)?;
        let certificate = decode(leaf)?;
        check_usage(&certificate, usage)?;
        let identity = Identity::of_certificate(&certificate).map_err(TrustError::Identity)?;
        self.check_identity(&identity)?;
        let leaf_not_after = not_after(&certificate);
        let mut earliest = leaf_not_after;
        for intermediate in &intermediates {
            earliest = earliest.min(not_after(&decode(intermediate)?));
        }
        Ok(Verified {
            identity,
            leaf_sha256: sha256(leaf),
            serial: certificate.raw_serial().to_vec(),
            leaf_not_after,
            not_after: earliest,
            intermediates,
        })
    }

    /// Applies the thumbprints (rule S-17) to a leaf whose chain is proven.
    ///
    /// # Errors
    /// [`TrustError::Pin`].
    pub fn check_thumbprints(&self, leaf: &CertificateDer<'_>) -> Result<(), TrustError> {
        let public_key_info = decode(leaf)?.public_key().raw.to_vec();
        if self.trust.permits(leaf, &public_key_info) {
            return Ok(());
        }
        Err(TrustError::Pin { leaf_sha256: sha256(leaf) })
    }

    fn prove_chain(
        &self,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<Vec<CertificateDer<'static>>, TrustError> {
        let sent = sent.iter().take(MAX_SENT_INTERMEDIATES);
        let candidates: Vec<CertificateDer<'_>> = sent
            .chain(self.trust.intermediates())
            .map(|certificate| CertificateDer::from(certificate.as_ref()))
            .collect();
        let end_entity = EndEntityCert::try_from(leaf).map_err(TrustError::from)?;
        let key_usage = match usage {
            Usage::Server => KeyUsage::server_auth(),
            Usage::Client => KeyUsage::client_auth(),
        };
        let path = end_entity
            .verify_for_usage(
                verification_algorithms().all,
                self.trust.anchors(),
                &candidates,
                now,
                key_usage,
                None,
                None,
            )
            .map_err(|error| match error {
                webpki::Error::RequiredEkuNotFoundContext(_) => {
                    TrustError::Usage { expected: usage }
                }
                other => other.into(),
            })?;
        Ok(path.intermediate_certificates().map(|step| step.der().into_owned()).collect())
    }

    fn check_identity(&self, identity: &Identity) -> Result<(), TrustError> {
        if identity.trust_domain != self.trust_domain {
            return Err(TrustError::ForeignTrustDomain {
                found: identity.trust_domain.clone(),
                expected: self.trust_domain.clone(),
            });
        }
        if identity.cluster != self.cluster {
            return Err(TrustError::ForeignCluster {
                found: identity.cluster.clone(),
                expected: self.cluster.clone(),
            });
        }
        identity.require_member().map_err(TrustError::Identity)
    }
}

/// Names only: anchors and thumbprints are long and say nothing in a log.
impl fmt::Debug for MeshVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshVerifier")
            .field("trust_domain", &self.trust_domain)
            .field("cluster", &self.cluster)
            .field("own_node_id", &self.own_node_id)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for MeshVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify_peer(&whole(end_entity, intermediates), Usage::Server, now)?;
        Ok(ServerCertVerified::assertion())
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
        verify_tls13_signature(message, certificate, signature, verification_algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        verification_algorithms().supported_schemes()
    }
}

impl ClientCertVerifier for MeshVerifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// No hints: every member holds one certificate, and strangers need not learn our CAs.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify_peer(&whole(end_entity, intermediates), Usage::Client, now)?;
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
        verify_tls13_signature(message, certificate, signature, verification_algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        verification_algorithms().supported_schemes()
    }
}

fn too_old() -> rustls::Error {
    rustls::Error::PeerIncompatible(PeerIncompatible::SupportedVersionsExtensionRequired)
}

fn whole<'a>(
    leaf: &'a CertificateDer<'_>,
    intermediates: &'a [CertificateDer<'_>],
) -> Vec<CertificateDer<'a>> {
    std::iter::once(leaf)
        .chain(intermediates)
        .map(|certificate| CertificateDer::from(certificate.as_ref()))
        .collect()
}

fn decode<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, TrustError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(TrustError::Identity(IdentityError::Undecodable)),
    }
}

/// A leaf must name the usage; webpki alone lets a leaf without the extension pass.
fn check_usage(certificate: &X509Certificate<'_>, expected: Usage) -> Result<(), TrustError> {
    let usages = certificate
        .extended_key_usage()
        .map_err(|_| TrustError::Identity(IdentityError::Undecodable))?;
    let named = usages.is_some_and(|usages| match expected {
        Usage::Server => usages.value.server_auth,
        Usage::Client => usages.value.client_auth,
    });
    if named { Ok(()) } else { Err(TrustError::Usage { expected }) }
}

fn not_after(certificate: &X509Certificate<'_>) -> UnixTime {
    let seconds = certificate.validity().not_after.timestamp();
    let seconds = u64::try_from(seconds).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

/// A certificate that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustError {
    /// The peer presented none.
    NoCertificate,
    /// No path leads to one of our anchors.
    UnknownCa,
    /// It, or a certificate of its path, has expired.
    Expired {
        /// End of validity.
        not_after: UnixTime,
        /// Time of the check.
        now: UnixTime,
    },
    /// It, or a certificate of its path, is not valid yet.
    NotYetValid {
        /// Start of validity.
        not_before: UnixTime,
        /// Time of the check.
        now: UnixTime,
    },
    /// It is not for this use.
    Usage {
        /// The extended key usage that it lacks.
        expected: Usage,
    },
    /// The chain fails otherwise.
    Chain(webpki::Error),
    /// It carries no identity of a member.
    Identity(IdentityError),
    /// It belongs to another trust domain.
    ForeignTrustDomain {
        /// The certificate's.
        found: String,
        /// Ours.
        expected: String,
    },
    /// It belongs to another cluster.
    ForeignCluster {
        /// The certificate's.
        found: String,
        /// Ours.
        expected: String,
    },
    /// It names us: a connection to ourselves, or somebody holds our name.
    OwnId {
        /// Our node id.
        node_id: String,
    },
    /// The allowed thumbprints do not list it.
    Pin {
        /// SHA-256 of the leaf.
        leaf_sha256: [u8; 32],
    },
}

impl TrustError {
    /// A short stable word for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::UnknownCa => "unknown-ca",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::Usage { .. } => "usage",
            Self::Chain(_) => "chain",
            Self::Identity(_) => "identity",
            Self::ForeignTrustDomain { .. } => "foreign-trust-domain",
            Self::ForeignCluster { .. } => "foreign-cluster",
            Self::OwnId { .. } => "own-id",
            Self::Pin { .. } => "pin",
        }
    }
}

/// The reason word behind a failed handshake, ours or the peer's.
pub fn reason_of(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => "unknown-ca",
            CertificateError::ExpiredContext { .. } => "expired",
            CertificateError::NotValidYetContext { .. } => "not-yet-valid",
            CertificateError::Other(OtherError(error)) => {
                error.downcast_ref::<TrustError>().map_or("chain", TrustError::reason)
            }
            _ => "chain",
        },
        rustls::Error::NoCertificatesPresented => "no-certificate",
        rustls::Error::NoApplicationProtocol => "alpn",
        rustls::Error::PeerIncompatible(_) => "incompatible",
        rustls::Error::AlertReceived(_) => "peer-alert",
        _ => "tls",
    }
}

/// Failures that TLS has an alert for keep it, so that the peer's operator learns the reason too.
impl From<TrustError> for rustls::Error {
    fn from(error: TrustError) -> Self {
        Self::InvalidCertificate(match error {
            TrustError::NoCertificate => return Self::NoCertificatesPresented,
            TrustError::UnknownCa => CertificateError::UnknownIssuer,
            TrustError::Expired { not_after, now } => {
                CertificateError::ExpiredContext { time: now, not_after }
            }
            TrustError::NotYetValid { not_before, now } => {
                CertificateError::NotValidYetContext { time: now, not_before }
            }
            TrustError::Usage { .. }
            | TrustError::Chain(_)
            | TrustError::Identity(_)
            | TrustError::ForeignTrustDomain { .. }
            | TrustError::ForeignCluster { .. }
            | TrustError::OwnId { .. }
            | TrustError::Pin { .. } => CertificateError::Other(OtherError(Arc::new(error))),
        })
    }
}

impl From<webpki::Error> for TrustError {
    fn from(error: webpki::Error) -> Self {
        match error {
            // A foreign CA may bear the name of ours: then its signature is what fails.
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
                Self::UnknownCa
            }
            webpki::Error::CertExpired { time, not_after } => {
                Self::Expired { not_after, now: time }
            }
            webpki::Error::CertNotValidYet { time, not_before } => {
                Self::NotYetValid { not_before, now: time }
            }
            other => Self::Chain(other),
        }
    }
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("no certificate was presented"),
            Self::UnknownCa => f.write_str("the certificate is issued by no CA that is trusted"),
            Self::Expired { not_after, now } => write!(
                f,
                "the certificate or one of its issuers expired at {}, the time is {}",
                date(*not_after),
                date(*now)
            ),
            Self::NotYetValid { not_before, now } => write!(
                f,
                "the certificate or one of its issuers is valid from {}, the time is {}",
                date(*not_before),
                date(*now)
            ),
            Self::Usage { expected } => {
                write!(f, "the certificate lacks the extended key usage {expected}")
            }
            Self::Chain(error) => write!(f, "the certificate chain does not hold: {error}"),
            Self::Identity(error) => error.fmt(f),
            Self::ForeignTrustDomain { found, expected } => {
                write!(f, "the certificate's trust domain is {found:?}, expected {expected:?}")
            }
            Self::ForeignCluster { found, expected } => {
                write!(f, "the certificate's cluster is {found:?}, expected {expected:?}")
            }
            Self::OwnId { node_id } => {
                write!(f, "the certificate names this node itself ({node_id:?})")
            }
            Self::Pin { leaf_sha256 } => {
                f.write_str("the allowed thumbprints do not list the certificate, SHA-256 ")?;
                leaf_sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl std::error::Error for TrustError {}

fn date(time: UnixTime) -> String {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{seconds} s after 1970"))
}
