//! What certificates, revocation lists and an authority's directory say, as text or as JSON.
//!
//! Invariant: nothing here verifies a signature or writes a file, and no secret is shown: keys and token hashes are
//! left out.

use std::fmt::Write;
use std::path::Path;
use std::time::SystemTime;

use mesh_gossip_proto::WallTime;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use serde::Serialize;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::bootstrap::journal::Journal;
use crate::bootstrap::ledger::{Fate, Origin};
use crate::bootstrap::names::{Fingerprint, KeyId};
use crate::bootstrap::{BootstrapError, CertificateAuthority, files, pkcs12};
use crate::wall::rfc3339;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// Certificates, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateFacts>,
    /// Revocation lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revocation_lists: Vec<CrlFacts>,
    /// The authority, where a directory was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<AuthorityFacts>,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateFacts {
    /// Subject.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Alternative names of any kind.
    pub names: Vec<String>,
    /// Whether it is a CA's.
    pub is_ca: bool,
    /// How many CAs may follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_length: Option<u32>,
    /// Start.
    pub not_before: String,
    /// End.
    pub not_after: String,
    /// `valid`, `expired` or `not-yet-valid`, by the clock.
    pub validity: &'static str,
    /// SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// SHA-256 of the public key.
    pub key: KeyId,
}

/// A revocation list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CrlFacts {
    /// Issuer.
    pub issuer: String,
    /// Number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// When it was made.
    pub this_update: String,
    /// When the next one is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_update: Option<String>,
    /// Serial numbers, hexadecimal.
    pub revoked: Vec<String>,
}

/// An authority's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityFacts {
    /// Trust domain.
    pub trust_domain: String,
    /// Cluster.
    pub cluster: String,
    /// The root's fingerprint, for joining nodes.
    pub fingerprint: Fingerprint,
    /// Number of the newest revocation list.
    pub crl_number: u64,
    /// Tokens.
    pub tokens: Vec<TokenFacts>,
    /// Certificates as the ledger holds them.
    pub issued: Vec<IssuedFacts>,
    /// Nodes that get nothing until somebody asks by name.
    pub barred: Vec<String>,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenFacts {
    /// Id.
    pub id: String,
    /// For whom.
    pub node_id: String,
    /// In which role.
    pub role: String,
    /// Until when.
    pub expires: String,
    /// `open`, `expired`, `void` or `used`.
    pub state: &'static str,
}

/// A certificate of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuedFacts {
    /// Serial number.
    pub serial: String,
    /// Whom it names.
    pub node_id: String,
    /// In which role.
    pub role: String,
    /// End.
    pub not_after: String,
    /// `live`, `expired` or `revoked`.
    pub state: &'static str,
    /// `hand`, `token <id>` or `renewal of <serial>`.
    pub origin: String,
}

/// Looks at a PEM file, or at an authority's directory.
///
/// # Errors
/// [`BootstrapError`] when it cannot be read or holds nothing of the kind.
pub fn path(path: &Path, now: SystemTime) -> Result<Findings, BootstrapError> {
    if path.is_dir() { directory(path, now) } else { pem(path, &files::read(path)?, now) }
}

/// Looks at the certificates of a PKCS#12 store.
///
/// # Errors
/// [`BootstrapError`] when it cannot be read or opened.
pub fn store(path: &Path, password: &str, now: SystemTime) -> Result<Findings, BootstrapError> {
    let bytes = std::fs::read(path).map_err(|error| files::io_error(path, error))?;
    pem(path, &pkcs12::read(&bytes, password)?.chain_pem, now)
}

fn pem(path: &Path, text: &str, now: SystemTime) -> Result<Findings, BootstrapError> {
    let fault = || BootstrapError::Load {
        path: path.to_owned(),
        expected: "certificates or revocation lists in PEM",
    };
    let mut findings =
        Findings { certificates: Vec::new(), revocation_lists: Vec::new(), authority: None };
    for der in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let facts = certificate(&der.map_err(|_| fault())?, now).ok_or_else(fault)?;
        findings.certificates.push(facts);
    }
    for der in CertificateRevocationListDer::pem_slice_iter(text.as_bytes()) {
        let facts = revocation_list(&der.map_err(|_| fault())?).ok_or_else(fault)?;
        findings.revocation_lists.push(facts);
    }
    if findings.certificates.is_empty() && findings.revocation_lists.is_empty() {
        return Err(fault());
    }
    Ok(findings)
}

fn certificate(der: &CertificateDer<'_>, now: SystemTime) -> Option<CertificateFacts> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate
        .subject_alternative_name()
        .ok()?
        .map(|names| names.value.general_names.iter().map(name).collect::<Vec<_>>());
    let limits = certificate.basic_constraints().ok()?;
    let validity = certificate.validity();
    let now_s = seconds(now);
    Some(CertificateFacts {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: hex(certificate.raw_serial()),
        names: names.unwrap_or_default(),
        is_ca: certificate.is_ca(),
        path_length: limits.and_then(|limits| limits.value.path_len_constraint),
        not_before: date(validity.not_before.timestamp()),
        not_after: date(validity.not_after.timestamp()),
        validity: if now_s < validity.not_before.timestamp() {
            "not-yet-valid"
        } else if now_s > validity.not_after.timestamp() {
            "expired"
        } else {
            "valid"
        },
        fingerprint: Fingerprint::of(der),
        key: KeyId::of(certificate.public_key().raw),
    })
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::URI(uri) => (*uri).to_owned(),
        GeneralName::DNSName(name) => format!("DNS:{name}"),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => format!("IP:{}", std::net::Ipv4Addr::from(v4)),
            Err(_) => <[u8; 16]>::try_from(*bytes).map_or_else(
                |_| "IP:?".into(),
                |v6| format!("IP:{}", std::net::Ipv6Addr::from(v6)),
            ),
        },
        other => format!("{other:?}"),
    }
}

fn revocation_list(der: &CertificateRevocationListDer<'_>) -> Option<CrlFacts> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    Some(CrlFacts {
        issuer: list.issuer().to_string(),
        number: number_of(&list),
        this_update: date(list.last_update().timestamp()),
        next_update: list.next_update().map(|time| date(time.timestamp())),
        revoked: list.iter_revoked_certificates().map(|entry| hex(entry.raw_serial())).collect(),
    })
}

fn number_of(list: &CertificateRevocationList<'_>) -> Option<u64> {
    let number = list.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::CRLNumber(number) => Some(number),
        _ => None,
    })?;
    number.try_into().ok()
}

/// The number of a revocation list in PEM.
pub(super) fn crl_number_of(pem: &str) -> Option<u64> {
    let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, list) = CertificateRevocationList::from_der(&der).ok()?;
    number_of(&list)
}

fn directory(path: &Path, now: SystemTime) -> Result<Findings, BootstrapError> {
    let authority = CertificateAuthority::load(path)?;
    let ledger = Journal::peek(path)?;
    let now_s = seconds(now) as u64;
    let tokens = ledger.tokens().map(|(terms, fate)| TokenFacts {
        id: terms.id.clone(),
        node_id: terms.node_id.clone(),
        role: terms.role.clone(),
        expires: date(terms.expires_s as i64),
        state: match fate {
            Fate::Used(_) => "used",
            Fate::Void => "void",
            Fate::Open if now_s >= terms.expires_s => "expired",
            Fate::Open => "open",
        },
    });
    let issued = ledger.certificates().map(|(certificate, revoked)| IssuedFacts {
        serial: certificate.serial.to_string(),
        node_id: certificate.node_id.clone(),
        role: certificate.role.clone(),
        not_after: date(certificate.not_after_s as i64),
        state: match revoked {
            Some(_) => "revoked",
            None if now_s > certificate.not_after_s => "expired",
            None => "live",
        },
        origin: match &certificate.origin {
            Origin::Hand => "hand".into(),
            Origin::Token(id) => format!("token {id}"),
            Origin::Renewal(serial) => format!("renewal of {serial}"),
        },
    });
    let facts = AuthorityFacts {
        trust_domain: authority.trust_domain().to_owned(),
        cluster: authority.cluster().to_owned(),
        fingerprint: authority.fingerprint()?,
        crl_number: ledger.crl_number(),
        tokens: tokens.collect(),
        issued: issued.collect(),
        barred: ledger.barred().map(str::to_owned).collect(),
    };
    let bundle = path.join(files::TRUST_BUNDLE);
    let mut findings = pem(&bundle, &authority.bundle_pem(), now)?;
    findings.authority = Some(facts);
    Ok(findings)
}

impl Findings {
    /// As people read it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        for facts in &self.certificates {
            let CertificateFacts { subject, issuer, serial, not_before, not_after, .. } = facts;
            writeln!(out, "certificate  {subject}")?;
            for name in &facts.names {
                writeln!(out, "  name         {name}")?;
            }
            writeln!(out, "  issuer       {issuer}\n  serial       {serial}")?;
            let limit = facts.path_length.map(|n| format!(", at most {n} CAs below it"));
            let kind = if facts.is_ca { "CA" } else { "leaf" };
            writeln!(out, "  kind         {kind}{}", limit.unwrap_or_default())?;
            writeln!(out, "  validity     {not_before} to {not_after} ({})", facts.validity)?;
            writeln!(out, "  fingerprint  {}\n  key          {}", facts.fingerprint, facts.key)?;
        }
        for facts in &self.revocation_lists {
            writeln!(out, "revocation list  {}", facts.issuer)?;
            let number = facts.number.map_or_else(|| "none".to_owned(), |n| n.to_string());
            writeln!(out, "  number       {number}\n  made         {}", facts.this_update)?;
            let next = facts.next_update.as_deref().unwrap_or("not said");
            writeln!(out, "  next due     {next}\n  revoked      {}", facts.revoked.len())?;
            for serial in &facts.revoked {
                writeln!(out, "    {serial}")?;
            }
        }
        let Some(facts) = &self.authority else { return Ok(()) };
        writeln!(out, "authority  {} in {}", facts.cluster, facts.trust_domain)?;
        writeln!(out, "  fingerprint  {}", facts.fingerprint)?;
        writeln!(out, "  newest list  {}", facts.crl_number)?;
        for token in &facts.tokens {
            let TokenFacts { id, node_id, role, expires, state } = token;
            writeln!(out, "  token        {id}  {state}  {node_id} ({role})  until {expires}")?;
        }
        for issued in &facts.issued {
            let IssuedFacts { serial, node_id, role, not_after, state, origin } = issued;
            writeln!(
                out,
                "  certificate  {serial}  {state}  {node_id} ({role})  until {not_after}  by {origin}"
            )?;
        }
        for node_id in &facts.barred {
            writeln!(out, "  barred       {node_id}")?;
        }
        Ok(())
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() as i64
}

fn date(seconds: i64) -> String {
    rfc3339(WallTime(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
