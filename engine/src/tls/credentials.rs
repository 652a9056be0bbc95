//! What an agent proves itself with and trusts by.
//!
//! Before an agent shows its certificate to anybody, it judges it as a peer would: a certificate
//! that others would refuse is an error at start, with the setting to change, and not a silent
//! mesh of one.
//!
//! Invariant: a [`Credentials`] value passed the peer verifier in both roles against its own
//! name, and never changes; a reload makes another one (rule S-15).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_gossip_proto::MemberId;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::TLS13;
use rustls::{ClientConfig, InconsistentKeys, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroize;

use crate::options::{Material, TlsOptions};
use crate::state::KeptList;
use crate::tls::alpn;
use crate::tls::caller::Callers;
use crate::tls::identity::{Identity, IdentityError, Part};
use crate::tls::material::{Contents, List, Source};
use crate::tls::notary::Notary;
use crate::tls::provider::{provider, sha256, signing_key};
use crate::tls::revocation::{ListError, Revocations};
use crate::tls::trust::{Pin, Trust, vouches_for_itself};
use crate::tls::verifier::{MeshVerifier, TrustError, Usage, Verified};

pub use crate::tls::credentials_error::{CredentialsError, Fault};

const CERTIFICATE_PATH: &str = "mesh:gossip:tls:certificatePath";
const CERTIFICATE_DATA: &str = "mesh:gossip:tls:certificateData";
const KEY_PATH: &str = "mesh:gossip:tls:keyPath";
const CONTROL_CERTIFICATE: &str = "mesh:gossip:control:tls:certificatePath";
const CONTROL_KEY: &str = "mesh:gossip:control:tls:keyPath";
const CA_PATH: &str = "mesh:gossip:tls:caPath";
pub(crate) const TRUST_DOMAIN: &str = "mesh:gossip:tls:trustDomain";
pub(crate) const IDENTITY_RULE: &str = "mesh:gossip:tls:identity";
const THUMBPRINTS: &str = "mesh:gossip:tls:allowedThumbprints";
const CRL_PATH: &str = "mesh:gossip:tls:crlPath";
const STATE_DIRECTORY: &str = "mesh:gossip:stateDirectory";

/// What to pass where rustls wants a server's name: certificates are matched by identity, and
/// no name is sent (rule S-8).
pub fn server_name() -> ServerName<'static> {
    ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// Credentials of one agent.
pub struct Credentials {
    certified: Arc<CertifiedKey>,
    intermediates: Vec<[u8; 32]>,
    verified: Verified,
    verifier: Arc<MeshVerifier>,
    clock: Arc<dyn TimeProvider>,
    gossip: Configs,
    sync: Configs,
    control: Arc<ServerConfig>,
    warnings: Vec<String>,
}

struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Credentials {
    /// Loads and checks credentials for this node, by the system's clock.
    ///
    /// # Errors
    /// [`CredentialsError`] names the setting, the file and the fix.
    pub fn load(
        options: &TlsOptions,
        cluster: &str,
        node_id: &str,
        role: &str,
    ) -> Result<Self, CredentialsError> {
        Self::load_with_clock(options, cluster, node_id, role, Arc::new(DefaultTimeProvider))
    }

    /// As [`Credentials::load`], by a clock of the caller's.
    ///
    /// # Errors
    /// As [`Credentials::load`].
    pub fn load_with_clock(
        options: &TlsOptions,
        cluster: &str,
        node_id: &str,
        role: &str,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, CredentialsError> {
        Self::load_keeping(options, [cluster, node_id, role], clock, &[], Arc::default())
    }

    /// As [`Credentials::load_with_clock`], with the revocation lists that were kept in force from
    /// the start (rule S-16), sharing with other agents what was proven; the name is cluster, node id
    /// and role.
    pub(crate) fn load_keeping(
        options: &TlsOptions,
        [cluster, node_id, role]: [&str; 3],
        clock: Arc<dyn TimeProvider>,
        kept: &[KeptList],
        notary: Arc<Notary>,
    ) -> Result<Self, CredentialsError> {
        let expected = expected_identity(options, cluster, role, node_id)?;
        let now = clock.current_time().ok_or(CredentialsError {
            key: CERTIFICATE_PATH,
            path: None,
            fault: Fault::NoClock,
        })?;
        let mut pair = Pair::load(options)?;
        let mut trust = load_trust(options, pair.chain(), now, None)?;
        if options.revocation.check {
            pair.warnings.extend(take_kept(&mut trust, kept, now)?);
        }
        let verifier = MeshVerifier::new(trust, &options.trust_domain, cluster, Some(node_id));
        let verifier = verifier.naming(options.identity).sharing(notary);
        let verified = pair.judge(&expected, &verifier, now)?;
        Self::over(Arc::new(verifier), clock, pair, verified)
    }

    /// Configurations for a pair that was judged; peers are judged by `verifier`.
    pub(crate) fn over(
        verifier: Arc<MeshVerifier>,
        clock: Arc<dyn TimeProvider>,
        pair: Pair,
        verified: Verified,
    ) -> Result<Self, CredentialsError> {
        let Pair { certified, warnings, place } = pair;
        let configure = |protocol: &[u8]| {
            Configs::new(&certified, &verifier, &clock, protocol)
                .map_err(|error| place.error(Fault::Tls(error)))
        };
        let (gossip, sync) = (configure(alpn::GOSSIP)?, configure(alpn::SYNC)?);
        let callers = Arc::new(Callers::judged_by(Arc::clone(&verifier)));
        let control = server_config(&certified, callers, &clock, alpn::HTTP)
            .map_err(|error| place.error(Fault::Tls(error)))?;
        let intermediates = certified.cert[1..].iter().map(|der| sha256(der)).collect();
        Ok(Self {
            certified,
            intermediates,
            verified,
            verifier,
            clock,
            gossip,
            sync,
            control,
            warnings,
        })
    }

    /// The clock that certificates are judged by.
    pub(crate) fn clock(&self) -> &Arc<dyn TimeProvider> {
        &self.clock
    }

    /// Whether `pair` is what these credentials show.
    pub(crate) fn shows(&self, pair: &Pair) -> bool {
        self.certified.cert == pair.certified.cert
    }

    /// Whom our certificate names.
    pub fn identity(&self) -> &Identity {
        &self.verified.identity
    }

    /// The member that we are.
    pub fn member_id(&self) -> MemberId {
        self.identity().member_id()
    }

    /// What our own certificate was verified as.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// What we send: leaf first, without roots.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Our leaf certificate.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.certified.cert[0]
    }

    /// SHA-256 of our intermediates, the leaf's issuer first.
    pub fn intermediates(&self) -> &[[u8; 32]] {
        &self.intermediates
    }

    /// Our key: signs handshakes and records.
    pub fn signing_key(&self) -> &Arc<dyn SigningKey> {
        &self.certified.key
    }

    /// The judge of peers.
    pub fn verifier(&self) -> &Arc<MeshVerifier> {
        &self.verifier
    }

    /// The time that certificates are judged at.
    pub fn now(&self) -> Option<UnixTime> {
        self.clock.current_time()
    }

    /// For dialling over datagrams.
    pub fn gossip_client(&self) -> &Arc<ClientConfig> {
        &self.gossip.client
    }

    /// For answering over datagrams.
    pub fn gossip_server(&self) -> &Arc<ServerConfig> {
        &self.gossip.server
    }

    /// For dialling bulk sync.
    pub fn sync_client(&self) -> &Arc<ClientConfig> {
        &self.sync.client
    }

    /// For accepting bulk sync.
    pub fn sync_server(&self) -> &Arc<ServerConfig> {
        &self.sync.server
    }

    /// For the control server: members and operators are let in (rule S-20).
    pub(crate) fn control_server(&self) -> &Arc<ServerConfig> {
        &self.control
    }

    /// What an operator should be told and that stops nothing.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity().name())
            .field("not_after", &self.verified.not_after)
            .field("key", &"redacted")
            .finish_non_exhaustive()
    }
}

impl Configs {
    /// Both roles under one protocol name. Tickets, resumption and early data are off: each would
    /// skip the check of the peer's certificate. No name is sent, no key is logged.
    fn new(
        certified: &Arc<CertifiedKey>,
        verifier: &Arc<MeshVerifier>,
        clock: &Arc<dyn TimeProvider>,
        protocol: &[u8],
    ) -> Result<Self, rustls::Error> {
        let client = client_config(certified, Arc::clone(verifier) as Arc<_>, clock, protocol)?;
        let server = server_config(certified, Arc::clone(verifier) as Arc<_>, clock, protocol)?;
        Ok(Self { client, server })
    }
}

/// How we dial, under one protocol name.
pub(crate) fn client_config(
    certified: &Arc<CertifiedKey>,
    verifier: Arc<dyn ServerCertVerifier>,
    clock: &Arc<dyn TimeProvider>,
    protocol: &[u8],
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(certified)));
    let mut client = ClientConfig::builder_with_details(provider(), Arc::clone(clock))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(resolver);
    client.alpn_protocols = vec![protocol.to_vec()];
    client.resumption = Resumption::disabled();
    client.enable_sni = false;
    client.enable_early_data = false;
    Ok(Arc::new(client))
}

/// How we answer, under one protocol name.
fn server_config(
    certified: &Arc<CertifiedKey>,
    verifier: Arc<dyn ClientCertVerifier>,
    clock: &Arc<dyn TimeProvider>,
    protocol: &[u8],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(certified)));
    let mut server = ServerConfig::builder_with_details(provider(), Arc::clone(clock))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    server.alpn_protocols = vec![protocol.to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    server.max_tls13_tickets = 0;
    server.max_early_data_size = 0;
    Ok(Arc::new(server))
}

/// The settings must be able to name a member at all, by their rule of names.
pub(crate) fn expected_identity(
    options: &TlsOptions,
    cluster: &str,
    role: &str,
    node_id: &str,
) -> Result<Identity, CredentialsError> {
    let identity = Identity::by(options.identity, &options.trust_domain, cluster, role, node_id)
        .and_then(|identity| identity.require_member().map(|()| identity));
    identity.map_err(|error| {
        use IdentityError::{Label, ReservedRole, Segment};
        let key = match &error {
            Segment { part, .. } | Label { part, .. } => match part {
                Part::Cluster => "mesh:gossip:clusterId",
                Part::NodeId => "mesh:gossip:nodeId",
                Part::Role => "mesh:gossip:role",
                Part::TrustDomain => TRUST_DOMAIN,
            },
            ReservedRole { .. } => "mesh:gossip:role",
            // A DNS name that is too long; only a certificate could raise the others, and none is
            // read here.
            IdentityError::Shape { .. }
            | IdentityError::Undecodable
            | IdentityError::NoName(_)
            | IdentityError::SeveralNames { .. }
            | IdentityError::UriBesideDns { .. }
            | IdentityError::NoOperator { .. } => TRUST_DOMAIN,
        };
        CredentialsError { key, path: None, fault: Fault::Setting(error) }
    })
}

fn parse_thumbprints(texts: &[String]) -> Result<Vec<Pin>, CredentialsError> {
    let parse = |text: &String| {
        Pin::parse(text).ok_or_else(|| CredentialsError {
            key: THUMBPRINTS,
            path: None,
            fault: Fault::Thumbprint(text.clone()),
        })
    };
    texts.iter().map(parse).collect()
}

/// Anchors, thumbprints and revocation lists as they are written; lists that are in force stay
/// unless a newer one is there. The CAs of our own `chain` may sign lists too.
pub(crate) fn load_trust(
    options: &TlsOptions,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
    before: Option<&Revocations>,
) -> Result<Trust, CredentialsError> {
    let ca = Source { key: CA_PATH, material: &options.ca, password: None };
    let trust = Trust::of_bundle(ca.contents()?.certificates)
        .map_err(|error| ca.error(Fault::Bundle(error)))?
        .restricted_to(parse_thumbprints(&options.allowed_thumbprints)?)
        .with_list_issuers(&chain[1..]);
    let revocations = Revocations::with_grace(options.revocation.grace);
    let mut revocations = revocations.checked(options.revocation.check);
    revocations.keep(before);
    let mut trust = trust.with_revocations(revocations);
    if let Some(material) = options.revocation.lists.as_ref().filter(|_| options.revocation.check) {
        let source = Source { key: CRL_PATH, material, password: None };
        for List { path, der } in source.lists()? {
            trust.take_list(&der, now).map_err(|error| CredentialsError {
                key: CRL_PATH,
                path,
                fault: Fault::List(error),
            })?;
        }
    }
    Ok(trust)
}

/// Puts kept lists in force; returns what its owner should be told. A list by a CA that is trusted
/// no longer could revoke nobody whom that CA would let in.
fn take_kept(
    trust: &mut Trust,
    kept: &[KeptList],
    now: UnixTime,
) -> Result<Vec<String>, CredentialsError> {
    let mut warnings = Vec::new();
    for KeptList { path, der } in kept {
        match trust.take_list(der, now) {
            Ok(_) => {}
            Err(ListError::UnknownIssuer { name }) => warnings.push(format!(
                "{}: its issuer ({name}) is trusted no longer; the kept list is not used",
                path.display()
            )),
            Err(error) => {
                let (path, fault) = (Some(path.clone()), Fault::List(error));
                return Err(CredentialsError { key: STATE_DIRECTORY, path, fault });
            }
        }
    }
    Ok(warnings)
}

/// A chain and the key that belongs to it, not judged yet.
pub(crate) struct Pair {
    certified: Arc<CertifiedKey>,
    warnings: Vec<String>,
    place: Place,
}

/// The setting and the file that something came from.
struct Place {
    key: &'static str,
    path: Option<PathBuf>,
}

impl Place {
    fn error(&self, fault: Fault) -> CredentialsError {
        CredentialsError { key: self.key, path: self.path.clone(), fault }
    }
}

impl Pair {
    pub(crate) fn load(options: &TlsOptions) -> Result<Self, CredentialsError> {
        let certificate = Source {
            key: match options.certificate {
                Material::Path(_) => CERTIFICATE_PATH,
                Material::Bytes(_) => CERTIFICATE_DATA,
            },
            material: &options.certificate,
            password: options.password.as_ref().map(|password| password.as_str()),
        };
        let (certified, warnings) = load_pair(&certificate, options.key.as_ref())?;
        let place = Place { key: certificate.key, path: certificate.path().map(Path::to_owned) };
        Ok(Self { certified: Arc::new(certified), warnings, place })
    }

    /// As [`Pair::load`], of what the control server shows apart from the node.
    pub(crate) fn load_control(
        certificate: &Material,
        key: Option<&Material>,
    ) -> Result<Self, CredentialsError> {
        let source = Source { key: CONTROL_CERTIFICATE, material: certificate, password: None };
        let loaded = load_pair(&source, key).map_err(|error| match error.key {
            KEY_PATH => CredentialsError { key: CONTROL_KEY, ..error },
            _ => error,
        });
        let (certified, warnings) = loaded?;
        let place = Place { key: CONTROL_CERTIFICATE, path: source.path().map(Path::to_owned) };
        Ok(Self { certified: Arc::new(certified), warnings, place })
    }

    /// Leaf first; there is one.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Chain and key.
    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The key of the leaf.
    pub(crate) fn key(&self) -> &Arc<dyn SigningKey> {
        &self.certified.key
    }

    /// Judges the chain as peers will, and compares it with what we say we are.
    pub(crate) fn judge(
        &self,
        expected: &Identity,
        verifier: &MeshVerifier,
        now: UnixTime,
    ) -> Result<Verified, CredentialsError> {
        judge(&self.certified.cert, expected, verifier, now)
            .map_err(|fault| self.place.error(fault))
    }
}

/// Reads the chain and the key that belongs to it.
fn load_pair(
    certificate: &Source<'_>,
    separate_key: Option<&Material>,
) -> Result<(CertifiedKey, Vec<String>), CredentialsError> {
    let Contents { certificates, keys, has_encrypted_key } = certificate.contents()?;
    let chain = without_roots(certificate, certificates)?;
    let separate = separate_key.map(|material| Source { key: KEY_PATH, material, password: None });
    let (holder, key) = match &separate {
        Some(source) => {
            let contents = source.contents()?;
            (source, only_key(source, contents.keys, contents.has_encrypted_key)?)
        }
        None => (certificate, only_key(certificate, keys, has_encrypted_key)?),
    };
    let key = signing_key(key).map_err(|_| holder.error(Fault::UnusableKey))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => {}
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            return Err(holder.error(Fault::KeyMismatch));
        }
        Err(_) => return Err(holder.error(Fault::UnusableKey)),
    }
    Ok((certified, holder.permission_warning().into_iter().collect()))
}

fn only_key(
    source: &Source<'_>,
    mut keys: Vec<PrivateKeyDer<'static>>,
    has_encrypted_key: bool,
) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (Some(mut key), more) => {
            key.zeroize();
            keys.iter_mut().for_each(Zeroize::zeroize);
            Err(source.error(Fault::SeveralKeys(more + 1)))
        }
        (None, _) if has_encrypted_key => Err(source.error(Fault::EncryptedKey)),
        (None, _) => Err(source.error(Fault::NoKey)),
    }
}

/// Peers hold the roots already, and each certificate costs a datagram's bytes.
fn without_roots(
    source: &Source<'_>,
    chain: Vec<CertificateDer<'static>>,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let mut kept = Vec::with_capacity(chain.len());
    for (position, der) in chain.into_iter().enumerate() {
        let Ok((_, certificate)) = X509Certificate::from_der(&der) else {
            return Err(source.error(Fault::BadCertificate { position: position + 1 }));
        };
        if position == 0 || !vouches_for_itself(&certificate) {
            kept.push(der);
        }
    }
    if kept.is_empty() {
        return Err(source.error(Fault::NoCertificate));
    }
    Ok(kept)
}

/// Judges our own chain as peers will, in both roles, and compares it with what we say we are.
fn judge(
    chain: &[CertificateDer<'static>],
    expected: &Identity,
    verifier: &MeshVerifier,
    now: UnixTime,
) -> Result<Verified, Fault> {
    let judge = |usage| -> Result<Verified, TrustError> {
        verifier.verify_certificate(&chain[0], &chain[1..], usage, now)
    };
    judge(Usage::Server).map_err(Fault::Refused)?;
    let verified = judge(Usage::Client).map_err(Fault::Refused)?;
    let names = [
        ("mesh:gossip:nodeId", &verified.identity.node_id, &expected.node_id),
        ("mesh:gossip:role", &verified.identity.role, &expected.role),
    ];
    for (setting, found, expected) in names {
        if found != expected {
            let (found, expected) = (found.clone(), expected.clone());
            return Err(Fault::OtherName { setting, found, expected });
        }
    }
    Ok(verified)
}
