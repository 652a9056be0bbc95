//! A node's certificate: what it says is decided first, then it is signed for a public key.
//!
//! A clerk fills the form from the office's own books and takes nothing but the photograph from
//! the applicant: of a request only its public key gets in.
//!
//! Invariant: every leaf says CA:FALSE, digitalSignature, both TLS usages and one identity of the
//! authority's own trust domain and cluster (rule S-8).

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PublicKeyData, SanType};

use crate::bootstrap::authority::{CertificateAuthority, lifetime, params, uri};
use crate::bootstrap::key::{key_pem, new_key};
use crate::bootstrap::names::Serial;
use crate::bootstrap::{BootstrapError, Issued};
use crate::tls::identity::Identity;

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

/// What a leaf will say; all of it comes from the authority's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) identity: Identity,
    pub(super) serial: Serial,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) dns_names: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
}

impl CertificateAuthority {
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
        let terms = self.terms(subject, now, validity)?;
        let key = new_key()?;
        let chain_pem = self.sign(&terms, &*key)?;
        let serial = terms.serial.to_string();
        Ok(Issued { chain_pem, key_pem: key_pem(&key), serial, identity: terms.identity })
    }

    /// Decides what a certificate for `subject` will say, under a new serial number.
    pub(super) fn terms(
        &self,
        subject: &Subject,
        now: SystemTime,
        validity: Duration,
    ) -> Result<Terms, BootstrapError> {
        let identity =
            Identity::new(&self.trust_domain, &self.cluster, &subject.role, &subject.node_id)?;
        let left = self.validity_left(now);
        if validity > left {
            let (wanted_s, left_s) = (validity.as_secs(), left.as_secs());
            return Err(BootstrapError::OutlivesIssuer { wanted_s, left_s });
        }
        let (not_before, not_after) = lifetime(now, validity)?;
        Ok(Terms {
            identity,
            serial: Serial::random()?,
            not_before,
            not_after,
            dns_names: subject.dns_names.clone(),
            addresses: subject.addresses.clone(),
        })
    }

    /// Signs a leaf with these terms for `key`; returns the chain, leaf first.
    pub(super) fn sign(
        &self,
        terms: &Terms,
        key: &impl PublicKeyData,
    ) -> Result<String, BootstrapError> {
        let identity = &terms.identity;
        let mut params =
            params(&identity.node_id, &terms.serial, terms.not_before, terms.not_after)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = vec![uri(&identity.name())?];
        for name in &terms.dns_names {
            let name = Ia5String::try_from(name.as_str())
                .ok()
                .filter(|_| rustls_pki_types::DnsName::try_from(name.as_str()).is_ok())
                .ok_or_else(|| BootstrapError::DnsName(name.clone()))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let addresses = terms.addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        let leaf = params.signed_by(key, &self.issuer()?)?;
        Ok(format!("{}{}", leaf.pem(), self.issuing_pem))
    }
}
