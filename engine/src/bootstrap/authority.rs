//! The certificate authority of one cluster: a root and the issuing CA below it.
//!
//! Trust domain and cluster stand in the issuing certificate itself, as
//! `spiffe://<trust domain>/mesh/<cluster>`, so that a directory of PEM files is all there is.
//!
//! Invariant: the issuing CA signs leaves only (pathLen 0), for its own trust domain and cluster.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::bootstrap::files::{self, Existing, Readers};
use crate::bootstrap::{BootstrapError, Issued};
use crate::tls::identity::Identity;
use crate::tls::provider::provider;

/// Certificates start this much in the past: clocks of one fleet differ.
const BACKDATED: Duration = Duration::from_secs(60);

/// Longest common name that X.520 allows, in characters.
const MAX_COMMON_NAME: usize = 64;

/// How long the CAs of a new authority last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaValidity {
    /// Root.
    pub root: Duration,
    /// Issuing CA.
    pub issuing: Duration,
}

impl Default for CaValidity {
    /// Ten years and two.
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self { root: Duration::from_secs(3_650 * DAY), issuing: Duration::from_secs(730 * DAY) }
    }
}

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Subject {
    /// Name within the cluster.
    pub node_id: String,
    /// Role within the mesh.
    pub role: String,
    /// DNS names, for servers that share the certificate.
    pub dns_names: Vec<String>,
    /// Addresses, likewise.
    pub addresses: Vec<IpAddr>,
}

impl Subject {
    /// A node without further names.
    pub fn new(node_id: &str, role: &str) -> Self {
        Self { node_id: node_id.into(), role: role.into(), ..Self::default() }
    }
}

/// Mints node certificates.
pub struct CertificateAuthority {
    trust_domain: String,
    cluster: String,
    root_pem: String,
    /// Only while it has just been made: it belongs offline.
    root_key: Option<Zeroizing<KeyPair>>,
    issuing_pem: String,
    issuing_der: CertificateDer<'static>,
    issuing_key: Zeroizing<KeyPair>,
    issuing_not_after: SystemTime,
}

impl CertificateAuthority {
    /// Makes a new root and a new issuing CA.
    ///
    /// # Errors
    /// [`BootstrapError`] when a name is not canonical or a time is out of range.
    pub fn create(
        trust_domain: &str,
        cluster: &str,
        now: SystemTime,
        validity: CaValidity,
    ) -> Result<Self, BootstrapError> {
        // Role and node id are placeholders: only the first two parts are a CA's.
        Identity::new(trust_domain, cluster, "ca", "ca")?;
        let scope = format!("spiffe://{trust_domain}/mesh/{cluster}");

        let root_key = new_key()?;
        let mut root = ca_params(cluster, "root", &scope, now, validity.root)?;
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        let root_pem = root.self_signed(&*root_key)?.pem();

        let issuing_key = new_key()?;
        let validity = validity.issuing.min(validity.root);
        let mut issuing = ca_params(cluster, "issuing", &scope, now, validity)?;
        issuing.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        issuing.use_authority_key_identifier_extension = true;
        let certificate =
            issuing.signed_by(&*issuing_key, &Issuer::from_params(&root, &*root_key))?;
        Ok(Self {
            trust_domain: trust_domain.into(),
            cluster: cluster.into(),
            root_pem,
            root_key: Some(root_key),
            issuing_pem: certificate.pem(),
            issuing_der: certificate.der().clone(),
            issuing_key,
            issuing_not_after: system_time(issuing.not_after)?,
        })
    }

    /// Reads what [`CertificateAuthority::write`] wrote; the root's key may be absent.
    ///
    /// # Errors
    /// [`BootstrapError`] names the file that is missing or holds something else.
    pub fn load(directory: &Path) -> Result<Self, BootstrapError> {
        let root_path = directory.join(files::ROOT_CERTIFICATE);
        let root_pem = files::read(&root_path)?.to_string();
        if CertificateDer::from_pem_slice(root_pem.as_bytes()).is_err() {
            return Err(BootstrapError::Load { path: root_path, expected: "a PEM certificate" });
        }
        let path = directory.join(files::ISSUING_CERTIFICATE);
        let issuing_pem = files::read(&path)?.to_string();
        let fault = |expected| BootstrapError::Load { path: path.clone(), expected };
        let der = CertificateDer::from_pem_slice(issuing_pem.as_bytes())
            .map_err(|_| fault("a PEM certificate"))?;
        let (_, certificate) =
            X509Certificate::from_der(&der).map_err(|_| fault("an X.509 certificate"))?;
        if !certificate.is_ca() {
            return Err(fault("a CA certificate"));
        }
        let (trust_domain, cluster) = scope_of(&certificate)
            .ok_or_else(|| fault("one URI name spiffe://<trust domain>/mesh/<cluster>"))?;
        let issuing_not_after = system_time(certificate.validity().not_after.to_datetime())?;

        let key_path = directory.join(files::ISSUING_KEY);
        let key_fault = |expected| BootstrapError::Load { path: key_path.clone(), expected };
        let key = KeyPair::from_pem(&files::read(&key_path)?)
            .map_err(|_| key_fault("a PEM private key in PKCS#8"))?;
        let issuing_key = Zeroizing::new(key);
        if issuing_key.public_key_raw() != &*certificate.public_key().subject_public_key.data {
            return Err(key_fault("the private key of issuing.pem"));
        }
        Ok(Self {
            trust_domain,
            cluster,
            root_pem,
            root_key: None,
            issuing_pem,
            issuing_der: der.clone(),
            issuing_key,
            issuing_not_after,
        })
    }

    /// Writes root, issuing CA and trust bundle below `directory`; keys for the owner alone.
    ///
    /// # Errors
    /// [`BootstrapError::Exists`] or [`BootstrapError::Io`].
    pub fn write(&self, directory: &Path, existing: Existing) -> Result<(), BootstrapError> {
        let bundle = self.bundle_pem();
        let issuing_key = key_pem(&self.issuing_key);
        let root_key = self.root_key.as_deref().map(key_pem);
        let mut files = vec![
            (files::ISSUING_KEY, issuing_key.as_str(), Readers::Owner),
            (files::ISSUING_CERTIFICATE, self.issuing_pem.as_str(), Readers::All),
            (files::ROOT_CERTIFICATE, self.root_pem.as_str(), Readers::All),
            (files::TRUST_BUNDLE, bundle.as_str(), Readers::All),
        ];
        if let Some(key) = &root_key {
            files.insert(0, (files::ROOT_KEY, key.as_str(), Readers::Owner));
        }
        files::write_all(directory, &files, existing)
    }

    /// Trust domain of the certificates.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Cluster of the certificates.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// What nodes trust by: root and issuing certificate.
    pub fn bundle_pem(&self) -> String {
        format!("{}{}", self.root_pem, self.issuing_pem)
    }

    /// Mints a certificate and a key for `subject`, valid for `validity` from a minute ago.
    ///
    /// # Errors
    /// [`BootstrapError`] when a name is not canonical or the CA would expire first.
    pub fn issue(
        &self,
        subject: &Subject,
        now: SystemTime,
        validity: Duration,
    ) -> Result<Issued, BootstrapError> {
        let identity =
            Identity::new(&self.trust_domain, &self.cluster, &subject.role, &subject.node_id)?;
        let left = self.issuing_not_after.duration_since(now).unwrap_or(Duration::ZERO);
        if validity > left {
            let (wanted_s, left_s) = (validity.as_secs(), left.as_secs());
            return Err(BootstrapError::OutlivesIssuer { wanted_s, left_s });
        }
        let (mut params, serial) = params(&subject.node_id, now, validity)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = vec![uri(&identity.uri())?];
        for name in &subject.dns_names {
            let name = Ia5String::try_from(name.as_str())
                .ok()
                .filter(|_| rustls_pki_types::DnsName::try_from(name.as_str()).is_ok())
                .ok_or_else(|| BootstrapError::DnsName(name.clone()))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let addresses = subject.addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);

        let key = new_key()?;
        let issuer = Issuer::from_ca_cert_der(&self.issuing_der, &*self.issuing_key)?;
        let leaf = params.signed_by(&*key, &issuer)?;
        let key_pem = key_pem(&key);
        let chain_pem = format!("{}{}", leaf.pem(), self.issuing_pem);
        Ok(Issued { chain_pem, key_pem, serial, identity })
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("trust_domain", &self.trust_domain)
            .field("cluster", &self.cluster)
            .field("keys", &"redacted")
            .finish_non_exhaustive()
    }
}

/// Names of CAs carry a random part: two roots of one cluster, during a rotation or by mistake,
/// must not look alike to path building.
fn ca_params(
    cluster: &str,
    kind: &str,
    scope: &str,
    now: SystemTime,
    validity: Duration,
) -> Result<CertificateParams, BootstrapError> {
    let (mut params, serial) = params("", now, validity)?;
    let mut room = cluster.to_owned();
    room.truncate(MAX_COMMON_NAME - 24);
    let common_name = format!("mesh {room} {kind} {}", &serial[..8]);
    params.distinguished_name = named(&common_name);
    params.subject_alt_names = vec![uri(scope)?];
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Name, validity and a random serial number, which is also returned in hexadecimal.
fn params(
    common_name: &str,
    now: SystemTime,
    validity: Duration,
) -> Result<(CertificateParams, String), BootstrapError> {
    let mut serial = [0; 16];
    provider().secure_random.fill(&mut serial).map_err(|_| BootstrapError::Random)?;
    // Positive and of full length, so that DER, hexadecimal and logs show the same 16 bytes.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name =
        named(&common_name.chars().take(MAX_COMMON_NAME).collect::<String>());
    params.not_before = date(now.checked_sub(BACKDATED).ok_or(BootstrapError::Time)?)?;
    params.not_after = date(now.checked_add(validity).ok_or(BootstrapError::Time)?)?;
    Ok((params, serial.iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn new_key() -> Result<Zeroizing<KeyPair>, BootstrapError> {
    Ok(Zeroizing::new(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
}

/// PKCS#8 as PEM, in buffers that are wiped: the library's own writer leaves copies behind.
fn key_pem(key: &KeyPair) -> Zeroizing<String> {
    let body = Zeroizing::new(BASE64_STANDARD.encode(key.serialized_der()));
    let mut pem = Zeroizing::new(String::with_capacity(body.len() + body.len() / 32 + 64));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn uri(text: &str) -> Result<SanType, BootstrapError> {
    Ok(SanType::URI(Ia5String::try_from(text)?))
}

/// Reads `spiffe://<trust domain>/mesh/<cluster>` from a CA certificate.
fn scope_of(certificate: &X509Certificate<'_>) -> Option<(String, String)> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (scope, None) = (uris.next()?, uris.next()) else { return None };
    // The strict reader of identities reads scopes too.
    let identity = Identity::parse_uri(&format!("{scope}/ca/ca")).ok()?;
    Some((identity.trust_domain, identity.cluster))
}

fn date(time: SystemTime) -> Result<OffsetDateTime, BootstrapError> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| BootstrapError::Time)?;
    let seconds = i64::try_from(since.as_secs()).map_err(|_| BootstrapError::Time)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| BootstrapError::Time)
}

fn system_time(date: OffsetDateTime) -> Result<SystemTime, BootstrapError> {
    let seconds = u64::try_from(date.unix_timestamp()).map_err(|_| BootstrapError::Time)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(BootstrapError::Time)
}
