//! The certificate authority of one cluster: a root and the issuing CA below it.
//!
//! Trust domain and cluster stand in the issuing certificate itself, as
//! `spiffe://<trust domain>/mesh/<cluster>`, so that a directory of PEM files is all there is.
//!
//! Invariant: the issuing CA signs leaves only (pathLen 0), for its own trust domain and cluster.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::bootstrap::BootstrapError;
use crate::bootstrap::files::{self, Existing, Readers};
use crate::bootstrap::key::{key_pem, new_key};
use crate::bootstrap::names::{Fingerprint, Serial};
use crate::tls::identity::{Identity, NameRule};

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

/// Mints node certificates.
pub struct CertificateAuthority {
    pub(super) trust_domain: String,
    pub(super) cluster: String,
    pub(super) root_pem: String,
    /// Only while it has just been made: it belongs offline.
    root_key: Option<Zeroizing<KeyPair>>,
    pub(super) issuing_pem: String,
    pub(super) issuing_der: CertificateDer<'static>,
    pub(super) issuing_key: Zeroizing<KeyPair>,
    pub(super) issuing_not_after: SystemTime,
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
        if existing == Existing::Replace {
            files::retire(directory)?;
        }
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

    /// The root's certificate.
    ///
    /// # Errors
    /// [`BootstrapError::Load`] when it cannot be read back.
    pub fn root_der(&self) -> Result<CertificateDer<'static>, BootstrapError> {
        CertificateDer::from_pem_slice(self.root_pem.as_bytes()).map_err(|_| BootstrapError::Load {
            path: files::ROOT_CERTIFICATE.into(),
            expected: "a PEM certificate",
        })
    }

    /// SHA-256 of the root's certificate: what a joining node pins.
    ///
    /// # Errors
    /// As [`CertificateAuthority::root_der`].
    pub fn fingerprint(&self) -> Result<Fingerprint, BootstrapError> {
        Ok(Fingerprint::of(&self.root_der()?))
    }

    /// What an operator should be told about a directory and that stops nothing: keys that others
    /// than their owner may read.
    pub fn warnings(directory: &Path) -> Vec<String> {
        [files::ROOT_KEY, files::ISSUING_KEY, files::LEDGER]
            .into_iter()
            .filter_map(|name| files::permission_warning(&directory.join(name)))
            .collect()
    }

    /// How long the issuing CA lasts from `now`: no certificate outlives it.
    pub fn validity_left(&self, now: SystemTime) -> Duration {
        self.issuing_not_after.duration_since(now).unwrap_or(Duration::ZERO)
    }

    /// The issuing CA as the library signs with it.
    pub(super) fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, BootstrapError> {
        Ok(Issuer::from_ca_cert_der(&self.issuing_der, &*self.issuing_key)?)
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
    let serial = Serial::random()?;
    let mut room = cluster.to_owned();
    room.truncate(MAX_COMMON_NAME - 24);
    let common_name = format!("mesh {room} {kind} {}", &serial.to_string()[..8]);
    let (not_before, not_after) = lifetime(now, validity)?;
    let mut params = params(&common_name, &serial, not_before, not_after)?;
    params.subject_alt_names = vec![uri(scope)?];
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Name, validity and serial number.
pub(super) fn params(
    common_name: &str,
    serial: &Serial,
    not_before: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, BootstrapError> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.distinguished_name =
        named(&common_name.chars().take(MAX_COMMON_NAME).collect::<String>());
    params.not_before = date(not_before)?;
    params.not_after = date(not_after)?;
    Ok(params)
}

/// From a minute ago until `validity` from now.
pub(super) fn lifetime(
    now: SystemTime,
    validity: Duration,
) -> Result<(SystemTime, SystemTime), BootstrapError> {
    let not_before = now.checked_sub(BACKDATED).ok_or(BootstrapError::Time)?;
    let not_after = now.checked_add(validity).ok_or(BootstrapError::Time)?;
    Ok((not_before, not_after))
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

pub(super) fn uri(text: &str) -> Result<SanType, BootstrapError> {
    Ok(SanType::URI(Ia5String::try_from(text)?))
}

/// Reads `spiffe://<trust domain>/mesh/<cluster>` from a CA certificate.
pub(super) fn scope_of(certificate: &X509Certificate<'_>) -> Option<(String, String)> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (scope, None) = (uris.next()?, uris.next()) else { return None };
    // The strict reader of identities reads scopes too.
    let identity = Identity::parse(NameRule::Spiffe, &format!("{scope}/ca/ca")).ok()?;
    Some((identity.trust_domain, identity.cluster))
}

pub(super) fn date(time: SystemTime) -> Result<OffsetDateTime, BootstrapError> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| BootstrapError::Time)?;
    let seconds = i64::try_from(since.as_secs()).map_err(|_| BootstrapError::Time)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| BootstrapError::Time)
}

pub(super) fn system_time(date: OffsetDateTime) -> Result<SystemTime, BootstrapError> {
    let seconds = u64::try_from(date.unix_timestamp()).map_err(|_| BootstrapError::Time)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(BootstrapError::Time)
}
