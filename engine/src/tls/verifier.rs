//! One judge for every certificate (rule S-16): handshakes in both roles, records, and our own
//! credentials.
//!
//! First the chain is proven, then the name is read, then our own restrictions are asked. The
//! order matters: what an error reports beyond the chain is something that a CA has signed.
//!
//! A chain that was proven is remembered for as long as nothing that it rests on changes: a
//! handshake asks twice, once when the certificate arrives and once when it is complete.
//!
//! Invariant: what is remembered was proven first, so a stranger who presents somebody's public
//! certificate changes nothing here but the time that the next look takes (rule S-7).

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls::identity::{Identity, IdentityError, NameRule};
use crate::tls::notary::{CircleId, Notary, Proven};
use crate::tls::provider::{sha256, verification_algorithms};
use crate::tls::standing::{CertificateId, Fall, KeyId, Serial, Standing, Steps, Thumbprints};
use crate::tls::trust::{Trust, TrustCell};

pub use crate::tls::trust_error::{TrustError, reason_of};

/// Ways to a root remembered: a mesh has one, two while its CA is exchanged.
const MAX_STEPS: usize = 16;

/// Most intermediates of a peer that path building looks at; longer chains fail as incomplete,
/// unless the trust bundle has the rest. Intermediates that are made to fit each other in any order
/// cost a signature check an order: 15 with three of them, 64 with four (rule S-7).
pub const MAX_SENT_INTERMEDIATES: usize = 3;

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
    /// Begin of the leaf's life.
    pub not_before: UnixTime,
    /// End of the leaf's life.
    pub leaf_not_after: UnixTime,
    /// Earliest end among leaf and intermediates: nothing rests on this chain longer.
    pub not_after: UnixTime,
    /// The intermediates of the proven path, the leaf's issuer first.
    pub intermediates: Vec<CertificateDer<'static>>,
    /// What it rests on, to be asked again when trust changes.
    pub standing: Standing,
}

/// Verifies the certificates of one trust domain and cluster, by the trust that is in force at
/// that moment.
pub struct MeshVerifier {
    trust: Arc<TrustCell>,
    rule: NameRule,
    trust_domain: String,
    cluster: String,
    /// Refused as a peer: a connection to ourselves (rule S-8).
    own_node_id: Option<String>,
    /// What this process has proven.
    notary: Arc<Notary>,
    /// Our circle there, as of the snapshot with this number.
    circle: Mutex<Option<(u64, CircleId)>>,
    /// Ways to a root, shared by the members below them.
    steps: Mutex<VecDeque<Arc<Steps>>>,
}

/// A chain that was proven, and when.
impl MeshVerifier {
    /// A verifier for members of `cluster` by their SPIFFE names; `own_node_id` is refused as a peer
    /// where given.
    pub fn new(trust: Trust, trust_domain: &str, cluster: &str, own_node_id: Option<&str>) -> Self {
        Self {
            trust: Arc::new(TrustCell::new(trust)),
            rule: NameRule::Spiffe,
            trust_domain: trust_domain.into(),
            cluster: cluster.into(),
            own_node_id: own_node_id.map(str::to_owned),
            notary: Arc::default(),
            circle: Mutex::default(),
            steps: Mutex::default(),
        }
    }

    /// The same, for members that go by this rule.
    #[must_use]
    pub fn naming(self, rule: NameRule) -> Self {
        Self { rule, ..self }
    }

    /// The same, sharing with other agents what was proven.
    #[must_use]
    pub(crate) fn sharing(self, notary: Arc<Notary>) -> Self {
        Self { notary, ..self }
    }

    /// What this process has proven.
    pub(super) fn notary(&self) -> &Arc<Notary> {
        &self.notary
    }

    /// Who trusts the same as this snapshot of ours.
    pub(super) fn circle(&self, trust: &Arc<Trust>) -> CircleId {
        let mut circle = self.circle.lock().unwrap_or_else(PoisonError::into_inner);
        match *circle {
            Some((epoch, id)) if epoch == trust.epoch() => id,
            Some(_) | None => {
                let id =
                    self.notary.circle_of(trust, self.rule, [&self.trust_domain, &self.cluster]);
                *circle = Some((trust.epoch(), id));
                id
            }
        }
    }

    /// Whether this snapshot is in force still: whatever was judged since it was loaded was judged
    /// by it alone.
    pub(super) fn is_in_force(&self, trust: &Trust) -> bool {
        self.trust.load().epoch() == trust.epoch()
    }

    /// What chains are verified against.
    pub fn trust(&self) -> &Arc<TrustCell> {
        &self.trust
    }

    /// Verifies a peer's chain, leaf first: [`MeshVerifier::verify_certificate`], and that the
    /// peer is not ourselves, passes the thumbprints, and that no revocation list which it is
    /// judged by is overdue.
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
        self.check_another(&verified)?;
        let trust = self.trust.load();
        if !trust.permits(&verified.standing.thumbprints) {
            return Err(TrustError::Pin { leaf_sha256: verified.leaf_sha256 });
        }
        check_freshness(&trust, &verified.standing, now)?;
        Ok(verified)
    }

    /// The same for a chain that most likely was verified a moment ago: proven again only if
    /// what it rests on has changed meanwhile.
    ///
    /// # Errors
    /// As [`MeshVerifier::verify_peer`].
    pub fn confirm_peer(
        &self,
        chain: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<Arc<Verified>, TrustError> {
        let trust = self.trust.load();
        let name = name_of(self.circle(&trust), chain, usage);
        if let Some(Proven { verified, at }) = self.notary.chain(&name)
            && (at..=verified.not_after).contains(&now)
        {
            self.check_another(&verified)?;
            check_freshness(&trust, &verified.standing, now)?;
            return Ok(numbered(verified, trust.epoch()));
        }
        let verified = Arc::new(self.verify_peer(chain, usage, now)?);
        if self.is_in_force(&trust) {
            self.notary.keep_chain(name, Proven { verified: Arc::clone(&verified), at: now });
        }
        Ok(verified)
    }

    /// A connection to ourselves is none to a peer (rule S-8).
    fn check_another(&self, verified: &Verified) -> Result<(), TrustError> {
        if self.own_node_id.as_ref() == Some(&verified.identity.node_id) {
            return Err(TrustError::OwnId { node_id: verified.identity.node_id.clone() });
        }
        Ok(())
    }

    /// The same steps, in one place for all who share them.
    fn shared(&self, steps: Steps) -> Arc<Steps> {
        let mut known = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.iter().find(|known| ***known == steps) {
            return Arc::clone(known);
        }
        let steps = Arc::new(steps);
        if known.len() >= MAX_STEPS {
            known.pop_front();
        }
        known.push_back(Arc::clone(&steps));
        steps
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
        let verified = self.verify_holder(leaf, sent, usage, now)?;
        verified.identity.require_member().map_err(TrustError::Identity)?;
        Ok(verified)
    }

    /// Verifies chain and identity of an operator of our cluster, who is no member (rule S-14).
    ///
    /// # Errors
    /// [`TrustError`] by the first rule broken.
    pub fn verify_operator(
        &self,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verified, TrustError> {
        let verified = self.verify_holder(leaf, sent, Usage::Client, now)?;
        verified.identity.require_operator().map_err(TrustError::Identity)?;
        Ok(verified)
    }

    /// Verifies who asks a control server: a member, ourselves included, or an operator of our
    /// cluster (rule S-20).
    ///
    /// # Errors
    /// [`TrustError`] by the first rule broken.
    pub fn verify_caller(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verified, TrustError> {
        let (leaf, sent) = chain.split_first().ok_or(TrustError::NoCertificate)?;
        let verified = self.verify_holder(leaf, sent, Usage::Client, now)?;
        if verified.identity.require_operator().is_err() {
            verified.identity.require_member().map_err(TrustError::Identity)?;
        }
        // Thumbprints restrict others.
        if self.own_node_id.as_ref() != Some(&verified.identity.node_id) {
            self.check_thumbprints(&verified)?;
        }
        check_freshness(&self.trust.load(), &verified.standing, now)?;
        Ok(verified)
    }

    fn verify_holder(
        &self,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<Verified, TrustError> {
        // One snapshot judges the whole chain.
        let trust = self.trust.load();
        let path = prove_chain(&trust, leaf, sent, usage, now)?;
        let certificate = decode(leaf)?;
        check_usage(&certificate, usage)?;
        let leaf_not_after = not_after(&certificate);
        let (steps, earliest) = steps(&path)?;
        let standing = Standing {
            epoch: trust.epoch(),
            serial: Serial::new(certificate.raw_serial()),
            steps: self.shared(steps),
            thumbprints: Thumbprints::of(leaf, certificate.public_key().raw),
            not_after: earliest.map_or(leaf_not_after, |end| end.min(leaf_not_after)),
        };
        if let Err(Fall::Revoked(id)) = trust.upholds(&standing, now) {
            return Err(TrustError::Revoked { serial: id.serial });
        }
        let identity =
            Identity::of_certificate(self.rule, &certificate).map_err(TrustError::Identity)?;
        self.check_identity(&identity)?;
        Ok(Verified {
            identity,
            leaf_sha256: sha256(leaf),
            serial: certificate.raw_serial().to_vec(),
            not_before: unix(certificate.validity().not_before.timestamp()),
            leaf_not_after,
            not_after: standing.not_after,
            intermediates: path.intermediates,
            standing,
        })
    }

    /// Applies the thumbprints (rule S-17) to what was verified.
    ///
    /// # Errors
    /// [`TrustError::Pin`].
    pub fn check_thumbprints(&self, verified: &Verified) -> Result<(), TrustError> {
        if self.trust.load().permits(&verified.standing.thumbprints) {
            return Ok(());
        }
        Err(TrustError::Pin { leaf_sha256: verified.leaf_sha256 })
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
        Ok(())
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
        self.confirm_peer(&whole(end_entity, intermediates), Usage::Server, now)?;
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
        self.confirm_peer(&whole(end_entity, intermediates), Usage::Client, now)?;
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

/// Rule S-1: TLS 1.3 or nothing.
pub(crate) fn too_old() -> rustls::Error {
    rustls::Error::PeerIncompatible(PeerIncompatible::SupportedVersionsExtensionRequired)
}

pub(crate) fn whole<'a>(
    leaf: &'a CertificateDer<'_>,
    intermediates: &'a [CertificateDer<'_>],
) -> Vec<CertificateDer<'a>> {
    std::iter::once(leaf)
        .chain(intermediates)
        .map(|certificate| CertificateDer::from(certificate.as_ref()))
        .collect()
}

/// Proves that `leaf` ends in `trust` and names this usage, whoever it belongs to.
#[cfg(feature = "bootstrap")]
pub(crate) fn prove(
    trust: &Trust,
    leaf: &CertificateDer<'_>,
    sent: &[CertificateDer<'_>],
    usage: Usage,
    now: UnixTime,
) -> Result<(), TrustError> {
    prove_chain(trust, leaf, sent, usage, now)?;
    let (_, certificate) = X509Certificate::from_der(leaf)
        .map_err(|_| TrustError::Identity(IdentityError::Undecodable))?;
    check_usage(&certificate, usage)
}

#[cfg(test)]
thread_local! {
    /// How often a chain was proven in this thread.
    pub(super) static CHAINS_PROVEN: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// A proven path from a leaf to a root.
struct Path {
    intermediates: Vec<CertificateDer<'static>>,
    anchor: KeyId,
}

fn prove_chain(
    trust: &Trust,
    leaf: &CertificateDer<'_>,
    sent: &[CertificateDer<'_>],
    usage: Usage,
    now: UnixTime,
) -> Result<Path, TrustError> {
    #[cfg(test)]
    CHAINS_PROVEN.set(CHAINS_PROVEN.get() + 1);
    let sent = sent.iter().take(MAX_SENT_INTERMEDIATES);
    let candidates: Vec<CertificateDer<'_>> = sent
        .chain(trust.intermediates())
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
            trust.anchors(),
            &candidates,
            now,
            key_usage,
            None,
            None,
        )
        .map_err(|error| match error {
            webpki::Error::RequiredEkuNotFoundContext(_) => TrustError::Usage { expected: usage },
            other => other.into(),
        })?;
    let intermediates = path.intermediate_certificates().map(|step| step.der().into_owned());
    Ok(Path { intermediates: intermediates.collect(), anchor: KeyId::of_anchor(path.anchor()) })
}

/// Refuses a chain while nobody can tell whether it is revoked (rule S-16).
fn check_freshness(trust: &Trust, standing: &Standing, now: UnixTime) -> Result<(), TrustError> {
    for id in standing.certificates() {
        if let Some(list) = trust.revocations().overdue(&id.issuer, now) {
            return Err(TrustError::StaleList { next_update: list.next_update(), now });
        }
    }
    Ok(())
}

/// Names everything above a leaf, and the earliest end up there.
fn steps(path: &Path) -> Result<(Steps, Option<UnixTime>), TrustError> {
    let mut earliest = None;
    let mut intermediates: Vec<CertificateId> = Vec::with_capacity(path.intermediates.len());
    let mut issuer = path.anchor;
    for intermediate in path.intermediates.iter().rev() {
        let certificate = decode(intermediate)?;
        let serial = Serial::new(certificate.raw_serial());
        intermediates.push(CertificateId { issuer, serial });
        issuer = KeyId::of_certificate(&certificate);
        let end = not_after(&certificate);
        earliest = Some(earliest.map_or(end, |earliest: UnixTime| earliest.min(end)));
    }
    intermediates.reverse();
    let steps = Steps { issuer, intermediates: intermediates.into(), anchor: path.anchor };
    Ok((steps, earliest))
}

/// The same in a verifier whose snapshot has this number: its sessions compare it.
fn numbered(verified: Arc<Verified>, epoch: u64) -> Arc<Verified> {
    if verified.standing.epoch == epoch {
        return verified;
    }
    let standing = Standing { epoch, ..verified.standing.clone() };
    Arc::new(Verified { standing, ..(*verified).clone() })
}

/// What a chain is remembered by: who trusts it, every byte of it, and its use.
fn name_of(circle: CircleId, chain: &[CertificateDer<'_>], usage: Usage) -> [u8; 32] {
    let mut hashes = circle.to_bytes().to_vec();
    hashes.push(u8::from(usage == Usage::Server));
    for certificate in chain {
        hashes.extend_from_slice(&sha256(certificate));
    }
    sha256(&hashes)
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
    unix(certificate.validity().not_after.timestamp())
}

fn unix(seconds: i64) -> UnixTime {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}
