//! Whom the two ends of a bootstrap connection take for real.
//!
//! The joining node knows nothing but the root's fingerprint, so the server shows the root too,
//! and the node trusts what ends in it and says `bootstrap`. A worker's certificate of the same
//! authority is not enough: a member must not collect the tokens of others.
//!
//! Invariant: nothing is sent to a server before [`ServerJudge`] has accepted it in the handshake
//! (rule S-8).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::bootstrap::authority::scope_of;
use crate::bootstrap::names::Fingerprint;
use crate::bootstrap::registrar::SERVER_ROLE;
use crate::tls::identity::{Identity, NameRule};
use crate::tls::provider::verification_algorithms;
use crate::tls::trust::Trust;
use crate::tls::verifier::{self, MAX_SENT_INTERMEDIATES, Usage};

/// What a node knows of the authority before it asks it anything.
#[derive(Clone, Debug)]
pub(super) enum Anchor {
    /// The root's fingerprint: the server shows the root.
    Fingerprint(Fingerprint),
    /// The roots themselves.
    Bundle(Trust),
}

/// Accepts bootstrap servers of one authority, trust domain and cluster.
#[derive(Debug)]
pub(super) struct ServerJudge {
    pub(super) anchor: Anchor,
    /// Where not given, what the pinned root says.
    pub(super) trust_domain: Option<String>,
    pub(super) cluster: Option<String>,
}

impl ServerJudge {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), String> {
        let trust = match &self.anchor {
            Anchor::Bundle(trust) => trust.clone(),
            Anchor::Fingerprint(pinned) => {
                let root = pinned_root(sent, *pinned).ok_or_else(|| {
                    format!(
                        "the server shows no CA with the fingerprint {pinned}; compare it with \
                         what `mesh bootstrap init` told"
                    )
                })?;
                Trust::of_bundle(vec![root]).map_err(|error| error.to_string())?
            }
        };
        prove(&trust, leaf, sent, Usage::Server, now)?;
        let identity =
            Identity::of_leaf(NameRule::Spiffe, leaf).map_err(|error| error.to_string())?;
        if identity.role != SERVER_ROLE {
            return Err(format!(
                "the server shows the role {:?}, expected {SERVER_ROLE:?}: it is a member, not the \
                 authority's server",
                identity.role
            ));
        }
        let said = match &self.anchor {
            Anchor::Fingerprint(pinned) => pinned_root(sent, *pinned).and_then(|root| {
                X509Certificate::from_der(&root).ok().and_then(|(_, root)| scope_of(&root))
            }),
            Anchor::Bundle(_) => None,
        };
        let (said_domain, said_cluster) = said.unzip();
        for (what, found, expected) in [
            (
                "trust domain",
                &identity.trust_domain,
                self.trust_domain.as_ref().or(said_domain.as_ref()),
            ),
            ("cluster", &identity.cluster, self.cluster.as_ref().or(said_cluster.as_ref())),
        ] {
            let expected = expected
                .ok_or_else(|| format!("the pinned root names no {what}; say which is expected"))?;
            if found != expected {
                return Err(format!("the server's {what} is {found:?}, expected {expected:?}"));
            }
        }
        Ok(())
    }
}

fn pinned_root(
    sent: &[CertificateDer<'_>],
    pinned: Fingerprint,
) -> Option<CertificateDer<'static>> {
    let sent = sent.iter().take(MAX_SENT_INTERMEDIATES);
    let mut roots = sent.filter(|der| Fingerprint::of(der) == pinned);
    roots.next().map(|der| der.clone().into_owned())
}

/// Proves that `leaf` ends in `trust` and is for this usage.
pub(super) fn prove(
    trust: &Trust,
    leaf: &CertificateDer<'_>,
    sent: &[CertificateDer<'_>],
    usage: Usage,
    now: UnixTime,
) -> Result<(), String> {
    verifier::prove(trust, leaf, sent, usage, now)
        .map_err(|error| format!("the certificate does not hold: {error}"))
}

fn refused(why: String) -> rustls::Error {
    rustls::Error::General(why)
}

impl ServerCertVerifier for ServerJudge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates, now).map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(verifier::too_old())
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

/// Accepts members of one trust domain and cluster, and those who show nothing: what they may ask
/// for is decided by what they show. Revocation is the ledger's word, not a list's.
#[derive(Debug)]
pub(super) struct ClientJudge {
    pub(super) trust: Arc<Trust>,
    pub(super) trust_domain: String,
    pub(super) cluster: String,
}

impl ClientJudge {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), String> {
        prove(&self.trust, leaf, sent, Usage::Client, now)?;
        let identity =
            Identity::of_leaf(NameRule::Spiffe, leaf).map_err(|error| error.to_string())?;
        identity.require_member().map_err(|error| error.to_string())?;
        if identity.trust_domain != self.trust_domain || identity.cluster != self.cluster {
            return Err("the certificate is of another trust domain or cluster".into());
        }
        Ok(())
    }
}

impl ClientCertVerifier for ClientJudge {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates, now).map_err(refused)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(verifier::too_old())
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
