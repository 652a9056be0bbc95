//! Revocation lists: read and verified once, then only looked up (rule S-16).
//!
//! A list is a letter from a CA. Before anything in it counts its seal is checked with the key of
//! a CA that we trust; then it becomes a set of serial numbers under that key, so that a
//! handshake pays one lookup a certificate and never the list's length.
//!
//! Invariants: an entry exists only under the key that signed its list, so a CA can revoke nobody
//! but its own; a list with a lower number never takes the place of one with a higher.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::wire::message::ListNotice;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_CRL_NUMBER,
    OID_X509_EXT_DELTA_CRL_INDICATOR, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};
use x509_parser::x509::{ReasonCode, X509Version};

use crate::tls::provider::{sha256, verification_algorithms};
use crate::tls::standing::{CertificateId, KeyId, Serial, element};

/// Largest list, in bytes: some two hundred thousand entries.
pub const MAX_LIST: usize = 8 * 1_024 * 1_024;

/// Clocks of a CA and of a node may part by so many seconds: a list that was just made counts.
const MAX_SKEW_S: u64 = 600;

/// Longest CRL number that RFC 5280 allows, in bytes.
const MAX_NUMBER: usize = 20;

/// A CA whose lists are believed: what its certificate says about signing them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListIssuer {
    key: KeyId,
    name: Box<[u8]>,
    public_key_algorithm: Box<[u8]>,
    public_key: Box<[u8]>,
    may_sign: bool,
}

impl ListIssuer {
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        let info = certificate.public_key();
        // RFC 5280, 6.3.3 (f): where key usages are listed, signing lists must be among them.
        let may_sign = match certificate.key_usage() {
            Ok(usage) => usage.is_none_or(|usage| usage.value.crl_sign()),
            Err(_) => false,
        };
        Self {
            key: KeyId::of_certificate(certificate),
            name: certificate.subject().as_raw().into(),
            public_key_algorithm: algorithm_of(info.raw),
            public_key: info.subject_public_key.data.as_ref().into(),
            may_sign,
        }
    }

    pub(crate) fn of_der(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        certificate.is_ca().then(|| Self::of(&certificate))
    }
}

/// The contents of the first element of a DER sequence: an AlgorithmIdentifier's, in a
/// SubjectPublicKeyInfo.
fn algorithm_of(sequence: &[u8]) -> Box<[u8]> {
    let first = element(sequence).and_then(|(inner, _)| element(inner));
    first.map_or_else(Box::default, |(first, _)| first.into())
}

/// A verified list.
#[derive(PartialEq, Eq)]
pub struct RevocationList {
    issuer: KeyId,
    /// Big endian, without leading zeros.
    number: Vec<u8>,
    this_update: UnixTime,
    next_update: UnixTime,
    serials: HashSet<Serial>,
    der: Box<[u8]>,
    /// SHA-256 of what is signed. What surrounds it, the seal included, has several encodings.
    signed: [u8; 32],
}

impl RevocationList {
    /// Reads a list in DER and checks its seal.
    ///
    /// # Errors
    /// [`ListError`] by the first rule broken; no entry counts then.
    pub(crate) fn verify(
        der: &[u8],
        issuers: &[ListIssuer],
        now: UnixTime,
    ) -> Result<Self, ListError> {
        if der.len() > MAX_LIST {
            return Err(ListError::TooLarge);
        }
        let Ok(([], list)) = CertificateRevocationList::from_der(der) else {
            return Err(ListError::Undecodable);
        };
        let key = sealed_by(&list, der, issuers)?;
        // From here on a CA speaks, so its mistakes are worth their own words.
        if list.version() != Some(X509Version(1)) {
            return Err(ListError::Unsupported("a list of version 1"));
        }
        let number = number_of(&list)?;
        let this_update = unix(list.last_update().timestamp());
        let next_update = list.next_update().ok_or(ListError::NoNextUpdate)?;
        if this_update.as_secs() > now.as_secs().saturating_add(MAX_SKEW_S) {
            return Err(ListError::NotYetValid);
        }
        let mut serials = HashSet::with_capacity(list.tbs_cert_list.revoked_certificates.len());
        for entry in list.iter_revoked_certificates() {
            check_entry(entry)?;
            serials.insert(Serial::new(entry.raw_serial()));
        }
        Ok(Self {
            issuer: key,
            number,
            this_update,
            next_update: unix(next_update.timestamp()),
            serials,
            der: der.into(),
            signed: sha256(list.tbs_cert_list.as_ref()),
        })
    }

    /// The key that signed it.
    pub fn issuer(&self) -> KeyId {
        self.issuer
    }

    /// When it was made.
    pub fn this_update(&self) -> UnixTime {
        self.this_update
    }

    /// When its successor is due.
    pub fn next_update(&self) -> UnixTime {
        self.next_update
    }

    /// How many certificates it revokes.
    pub fn len(&self) -> usize {
        self.serials.len()
    }

    /// Whether it revokes nobody.
    pub fn is_empty(&self) -> bool {
        self.serials.is_empty()
    }

    /// Its number in hexadecimal.
    pub fn number(&self) -> String {
        self.number.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The list as it was signed.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// What is said of it to other members.
    pub(crate) fn notice(&self) -> ListNotice {
        let (key, hash) = (self.issuer.as_bytes(), sha256(&self.der));
        let mut issuer = [0; 16];
        issuer.copy_from_slice(&key[..16]);
        let mut number = [0; MAX_NUMBER];
        number[MAX_NUMBER - self.number.len()..].copy_from_slice(&self.number);
        let mut short = [0; 8];
        short.copy_from_slice(&hash[..8]);
        ListNotice { issuer, number, hash: u64::from_le_bytes(short).into() }
    }

    fn rank(&self) -> (usize, &[u8]) {
        (self.number.len(), &self.number)
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList")
            .field("issuer", &self.issuer)
            .field("number", &self.number())
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

/// The key of the CA that signed the list.
fn sealed_by(
    list: &CertificateRevocationList<'_>,
    der: &[u8],
    issuers: &[ListIssuer],
) -> Result<KeyId, ListError> {
    let name = list.issuer().as_raw();
    let mut named = issuers.iter().filter(|issuer| *issuer.name == *name).peekable();
    if named.peek().is_none() {
        return Err(ListError::UnknownIssuer { name: list.issuer().to_string() });
    }
    let signed = list.tbs_cert_list.as_ref();
    let outer = element(der).and_then(|(inner, _)| element(inner)).map(|(_, rest)| rest);
    let algorithm = outer.and_then(element).map(|(algorithm, _)| algorithm);
    let algorithm = algorithm.ok_or(ListError::Undecodable)?;
    if list.tbs_cert_list.signature != list.signature_algorithm {
        return Err(ListError::Seal);
    }
    for issuer in named {
        let holds = verification_algorithms().all.iter().any(|verifier| {
            verifier.signature_alg_id().as_ref() == algorithm
                && verifier.public_key_alg_id().as_ref() == &*issuer.public_key_algorithm
                && verifier
                    .verify_signature(&issuer.public_key, signed, &list.signature_value.data)
                    .is_ok()
        });
        if holds && issuer.may_sign {
            return Ok(issuer.key);
        }
    }
    Err(ListError::Seal)
}

/// Reads the number and refuses what would make the list mean less than it seems to.
fn number_of(list: &CertificateRevocationList<'_>) -> Result<Vec<u8>, ListError> {
    let mut number = None;
    for extension in list.extensions() {
        if extension.oid == OID_X509_EXT_DELTA_CRL_INDICATOR {
            return Err(ListError::Unsupported("a delta list"));
        } else if extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT {
            return Err(ListError::Unsupported(
                "a list for a part of the certificates, or indirect",
            ));
        } else if extension.oid == OID_X509_EXT_CRL_NUMBER {
            let ParsedExtension::CRLNumber(value) = extension.parsed_extension() else {
                return Err(ListError::Undecodable);
            };
            if number.replace(value.to_bytes_be()).is_some() {
                return Err(ListError::Undecodable);
            }
        } else if extension.critical && extension.oid != OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER {
            return Err(ListError::Unsupported("an unknown critical extension"));
        }
    }
    let mut number = number.ok_or(ListError::NoNumber)?;
    if number == [0] {
        number.clear();
    }
    if number.len() > MAX_NUMBER { Err(ListError::Undecodable) } else { Ok(number) }
}

fn check_entry(entry: &RevokedCertificate<'_>) -> Result<(), ListError> {
    for extension in entry.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::ReasonCode(ReasonCode::RemoveFromCRL) => {
                return Err(ListError::Unsupported("an entry of a delta list"));
            }
            ParsedExtension::ReasonCode(_) | ParsedExtension::InvalidityDate(_) => {}
            // A certificate issuer among them: the entry is about another CA's certificate.
            _ if extension.critical => {
                return Err(ListError::Unsupported("an indirect entry, or an unknown one"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn unix(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// What became of a list that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in force.
    Fresh,
    /// It was in force already.
    Known,
    /// One with a higher number is in force.
    Outdated,
}

/// The lists in force, one a signing key: a mesh has as many as it has CAs, which is a handful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocations {
    lists: Vec<Arc<RevocationList>>,
    /// Whether any list is taken.
    checked: bool,
    /// How long after its next update a list still lets new handshakes pass.
    grace: Duration,
}

impl Default for Revocations {
    fn default() -> Self {
        Self::with_grace(Duration::ZERO)
    }
}

impl Revocations {
    /// No list yet.
    pub fn with_grace(grace: Duration) -> Self {
        Self { lists: Vec::new(), checked: true, grace }
    }

    /// Takes lists, or none whatever is offered.
    #[must_use]
    pub(crate) fn checked(self, checked: bool) -> Self {
        Self { checked, ..self }
    }

    /// Whether lists are taken.
    pub(crate) fn are_checked(&self) -> bool {
        self.checked
    }

    /// What is said of the lists in force to other members.
    pub(crate) fn notices(&self) -> Vec<ListNotice> {
        self.lists.iter().map(|list| list.notice()).collect()
    }

    /// Takes over the lists that were in force.
    pub(crate) fn keep(&mut self, before: Option<&Self>) {
        if let Some(before) = before.filter(|_| self.checked) {
            self.lists.clone_from(&before.lists);
        }
    }

    /// The lists, in no meaningful order.
    pub fn lists(&self) -> impl Iterator<Item = &Arc<RevocationList>> {
        self.lists.iter()
    }

    fn of(&self, issuer: &KeyId) -> Option<&RevocationList> {
        self.lists.iter().find(|list| list.issuer == *issuer).map(|list| &**list)
    }

    /// Takes a list, if its number is higher than that of the one in force.
    ///
    /// # Errors
    /// [`ListError::Number`] when two lists bear one number.
    pub(crate) fn take(&mut self, list: Arc<RevocationList>) -> Result<Taken, ListError> {
        let Some(known) = self.lists.iter_mut().find(|known| known.issuer == list.issuer) else {
            self.lists.push(list);
            return Ok(Taken::Fresh);
        };
        match known.rank().cmp(&list.rank()) {
            Ordering::Greater => Ok(Taken::Outdated),
            Ordering::Equal if known.signed == list.signed => Ok(Taken::Known),
            Ordering::Equal => Err(ListError::Number),
            Ordering::Less => {
                *known = list;
                Ok(Taken::Fresh)
            }
        }
    }

    /// Whether this certificate is revoked.
    pub fn revokes(&self, certificate: &CertificateId) -> bool {
        let list = self.of(&certificate.issuer);
        list.is_some_and(|list| list.serials.contains(&certificate.serial))
    }

    /// Whether any CA has revoked a certificate of this number: reason enough to look closer.
    pub fn may_revoke(&self, serial: &Serial) -> bool {
        self.lists.iter().any(|list| list.serials.contains(serial))
    }

    /// The list of this CA that is overdue, grace included.
    pub fn overdue(&self, issuer: &KeyId, now: UnixTime) -> Option<&RevocationList> {
        let list = self.of(issuer)?;
        let end = list.next_update.as_secs().saturating_add(self.grace.as_secs());
        (now.as_secs() > end).then_some(list)
    }
}

/// A list that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListError {
    /// Not a revocation list.
    Undecodable,
    /// Longer than [`MAX_LIST`].
    TooLarge,
    /// No CA of ours bears the name of its issuer.
    UnknownIssuer {
        /// The issuer that it names.
        name: String,
    },
    /// Not signed by the CA that it names, or that CA may not sign lists.
    Seal,
    /// It says more than this build understands; what.
    Unsupported(&'static str),
    /// It has no number.
    NoNumber,
    /// Another list in force bears the same number.
    Number,
    /// It does not say when the next one is due.
    NoNextUpdate,
    /// It comes from the future.
    NotYetValid,
    /// None is taken here: checking is off.
    Unchecked,
}

impl ListError {
    /// A short stable word for counters.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::TooLarge => "too-large",
            Self::UnknownIssuer { .. } => "unknown-issuer",
            Self::Seal => "seal",
            Self::Unsupported(_) => "unsupported",
            Self::NoNumber => "no-number",
            Self::Number => "number",
            Self::NoNextUpdate => "no-next-update",
            Self::NotYetValid => "not-yet-valid",
            Self::Unchecked => "unchecked",
        }
    }
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undecodable => f.write_str("it is no X.509 revocation list; issue it again"),
            Self::TooLarge => write!(f, "it is larger than {MAX_LIST} bytes"),
            Self::UnknownIssuer { name } => write!(
                f,
                "its issuer ({name}) is no CA of ours; add that CA's certificate to mesh:gossip:tls:caPath"
            ),
            Self::Seal => f.write_str("it is not signed by the CA that it names; fetch it again"),
            Self::Unsupported(what) => {
                write!(f, "{what} is not supported; issue a complete list of one CA")
            }
            Self::NoNumber => f.write_str("it has no number; issue it with a CRL number"),
            Self::Number => f.write_str(
                "another list with the same number is in force; issue it with a higher number",
            ),
            Self::NoNextUpdate => f.write_str("it does not say when the next one is due"),
            Self::NotYetValid => f.write_str("it comes from the future; set the clock"),
            Self::Unchecked => f.write_str(
                "revocation is not checked; set mesh:gossip:tls:checkCertificateRevocation to true",
            ),
        }
    }
}

impl std::error::Error for ListError {}
