//! The office itself: an authority that keeps a ledger and signs what the ledger allows.
//!
//! Every certificate is entered before it is signed. Whoever asks again after a crash, with the
//! same key, finds the entry and gets the same certificate; whoever asks with another key finds
//! that the place is taken.
//!
//! Invariants: nothing is signed that the ledger on disk does not hold; a token leads to one
//! certificate, whatever dies in between; revocation and its list are entered together.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::PublicKeyData;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::bootstrap::audit::{Act, Audit, AuditLine};
use crate::bootstrap::crl::{CRL_LIFE, moment, seconds};
use crate::bootstrap::files::{self, Readers};
use crate::bootstrap::inspect::crl_number_of;
use crate::bootstrap::journal::{Journal, Turn};
use crate::bootstrap::key::{key_pem, new_key};
use crate::bootstrap::leaf::Terms;
use crate::bootstrap::ledger::{
    Admission, Certificate, Entry, Ledger, Origin, Reason, Revocation, TokenTerms,
};
use crate::bootstrap::names::{KeyId, Serial};
use crate::bootstrap::request::{ProvenKey, proven_key};
use crate::bootstrap::token::Token;
use crate::bootstrap::{BootstrapError, CertificateAuthority, Issued, Refusal, Subject};
use crate::tls::identity::{Identity, NameRule, RESERVED_ROLES};

/// Role of the certificate that a bootstrap server shows.
pub const SERVER_ROLE: &str = "bootstrap";

/// An authority with its directory.
pub struct Registrar {
    authority: CertificateAuthority,
    directory: PathBuf,
    journal: Journal,
    audit: Audit,
    /// The newest list and its number: anybody may ask for it, as often as he likes.
    list: Mutex<Option<(u64, String)>>,
}

/// A certificate for a key that is somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// Leaf and issuing certificate.
    pub chain_pem: String,
    /// As the ledger holds it.
    pub certificate: Certificate,
}

/// What is to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// One certificate.
    Serial(Serial),
    /// All live certificates of a node; it gets no other until somebody asks for one by name.
    Node(&'a str),
}

/// What was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Serial numbers.
    pub serials: Vec<Serial>,
    /// Number of the list that says so.
    pub crl_number: u64,
}

impl Registrar {
    /// Opens the authority in `directory`; `echo` hears of each audit line.
    ///
    /// # Errors
    /// [`BootstrapError`] names the file that is missing or holds something else.
    pub fn open(directory: &Path, echo: Option<fn(&str)>) -> Result<Self, BootstrapError> {
        let authority = CertificateAuthority::load(directory)?;
        let journal = Journal::open(directory)?;
        files::make_directory(&directory.join(files::ISSUED))?;
        let audit = Audit::new(directory, echo);
        Ok(Self {
            authority,
            directory: directory.to_owned(),
            journal,
            audit,
            list: Mutex::new(None),
        })
    }

    /// The authority.
    pub fn authority(&self) -> &CertificateAuthority {
        &self.authority
    }

    /// All that has happened, as it stands on disk.
    ///
    /// # Errors
    /// [`BootstrapError::Io`] or [`BootstrapError::Ledger`].
    pub fn ledger(&self) -> Result<Ledger, BootstrapError> {
        Ok(self.journal.turn()?.ledger().clone())
    }

    /// Makes a token for `node_id` in `role`: good for `ttl`, and for a certificate that lasts
    /// `validity`. A node that was revoked may return with it.
    ///
    /// # Errors
    /// [`BootstrapError`] when the names cannot stand in a certificate.
    pub fn token(
        &self,
        node_id: &str,
        role: &str,
        ttl: Duration,
        validity: Duration,
        now: SystemTime,
    ) -> Result<Token, BootstrapError> {
        member_role(role)?;
        // Refuses here what would be refused when the token is used.
        self.authority.terms(&Subject::new(node_id, role), now, validity)?;
        let token = Token::generate()?;
        let expires = now.checked_add(ttl).ok_or(BootstrapError::Time)?;
        let terms = TokenTerms {
            id: token.id().to_owned(),
            hash: token.hash(),
            node_id: node_id.to_owned(),
            role: role.to_owned(),
            validity_s: validity.as_secs(),
            expires_s: seconds(expires)?,
        };
        self.journal.turn()?.commit(&[Entry::Token(terms)])?;
        let mut line = AuditLine::new(Act::Token, "ok");
        (line.node_id, line.token_id) = (Some(node_id), Some(token.id()));
        self.audit.note(now, &line)?;
        Ok(token)
    }

    /// Mints a certificate and a key, entered in the ledger.
    ///
    /// # Errors
    /// As [`CertificateAuthority::issue`].
    pub fn issue(
        &self,
        subject: &Subject,
        now: SystemTime,
        validity: Duration,
    ) -> Result<Issued, BootstrapError> {
        let terms = self.authority.terms(subject, now, validity)?;
        let key = new_key()?;
        let id = KeyId::of(&key.subject_public_key_info());
        let certificate = entered(&terms, id, validity.as_secs(), Origin::Hand)?;
        self.journal.turn()?.commit(&[Entry::Issued(certificate)])?;
        let chain_pem = self.authority.sign(&terms, &*key)?;
        let mut line = AuditLine::new(Act::Issue, "ok");
        line.node_id = Some(&terms.identity.node_id);
        line.serial = Some(terms.serial);
        self.audit.note(now, &line)?;
        let serial = terms.serial.to_string();
        Ok(Issued { chain_pem, key_pem: key_pem(&key), serial, identity: terms.identity })
    }

    /// Answers a node that shows a token.
    ///
    /// # Errors
    /// [`BootstrapError::Refused`], or a fault of the authority's own.
    pub fn join(
        &self,
        token: &str,
        node_id: &str,
        request: &str,
        now: SystemTime,
        peer: Option<SocketAddr>,
    ) -> Result<Certified, BootstrapError> {
        let token = Token::parse(token);
        let answer = token.as_ref().ok_or(Refusal::UnknownToken.into()).and_then(|token| {
            let key = proven_key(request).map_err(|_| Refusal::BadRequest)?;
            self.certify(&key, now, |ledger, now_s| ledger.admit(token, node_id, key.id, now_s))
        });
        let mut line = AuditLine::new(Act::Join, outcome(&answer));
        let is_name = Identity::new("a", "a", "a", node_id).is_ok();
        line.node_id = is_name.then_some(node_id);
        line.token_id = token.as_ref().map(Token::id);
        line.serial = answer.as_ref().ok().map(|certified| certified.certificate.serial);
        line.peer = peer;
        self.audit.note(now, &line)?;
        answer
    }

    /// Answers a node that has shown `leaf`, whose chain and possession were proven.
    ///
    /// # Errors
    /// [`BootstrapError::Refused`], or a fault of the authority's own.
    pub fn renew(
        &self,
        leaf: &CertificateDer<'_>,
        request: &str,
        now: SystemTime,
        peer: Option<SocketAddr>,
    ) -> Result<Certified, BootstrapError> {
        let serial = X509Certificate::from_der(leaf)
            .ok()
            .and_then(|(_, certificate)| Serial::of_bytes(certificate.raw_serial()));
        let answer = serial.ok_or(Refusal::UnknownCertificate.into()).and_then(|serial| {
            let key = proven_key(request).map_err(|_| Refusal::BadRequest)?;
            self.certify(&key, now, |ledger, now_s| ledger.renew(serial, key.id, now_s))
        });
        let identity = Identity::of_leaf(NameRule::Spiffe, leaf).ok();
        let mut line = AuditLine::new(Act::Renew, outcome(&answer));
        line.node_id = identity.as_ref().map(|identity| identity.node_id.as_str());
        line.serial = answer.as_ref().ok().map(|c| c.certificate.serial).or(serial);
        line.peer = peer;
        self.audit.note(now, &line)?;
        answer
    }

    /// Enters and signs, in this order and in one turn.
    fn certify(
        &self,
        key: &ProvenKey,
        now: SystemTime,
        decide: impl FnOnce(&Ledger, u64) -> Result<Admission, Refusal>,
    ) -> Result<Certified, BootstrapError> {
        let mut turn = self.journal.turn()?;
        let certificate = match decide(turn.ledger(), seconds(now)?)? {
            Admission::Again(certificate) => certificate,
            Admission::New { node_id, role, validity_s, origin } => {
                let subject = Subject::new(&node_id, &role);
                // Near the issuing CA's end a shorter certificate is better than none.
                let left = self.authority.validity_left(now);
                if left.is_zero() {
                    let (wanted_s, left_s) = (validity_s, 0);
                    return Err(BootstrapError::OutlivesIssuer { wanted_s, left_s });
                }
                let validity = Duration::from_secs(validity_s).min(left);
                let terms = self.authority.terms(&subject, now, validity)?;
                let certificate = entered(&terms, key.id, validity_s, origin)?;
                turn.commit(&[Entry::Issued(certificate.clone())])?;
                certificate
            }
        };
        let chain_pem = self.signed(&certificate, key)?;
        Ok(Certified { chain_pem, certificate })
    }

    /// The chain of a certificate that was entered: as it was signed once, or signed here. Both in
    /// the ledger's turn, so that nobody signs it a second time.
    fn signed(&self, certificate: &Certificate, key: &ProvenKey) -> Result<String, BootstrapError> {
        let directory = self.directory.join(files::ISSUED);
        let path = directory.join(format!("{}.pem", certificate.serial));
        match fs::read_to_string(&path) {
            Ok(chain) => return Ok(chain),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(files::io_error(&path, error));
            }
            Err(_) => {}
        }
        let authority = &self.authority;
        let terms = Terms {
            identity: Identity::new(
                authority.trust_domain(),
                authority.cluster(),
                &certificate.role,
                &certificate.node_id,
            )?,
            serial: certificate.serial,
            not_before: moment(certificate.not_before_s)?,
            not_after: moment(certificate.not_after_s)?,
            dns_names: Vec::new(),
            addresses: Vec::new(),
        };
        let chain = authority.sign(&terms, &key.key)?;
        files::replace(&path, &chain, Readers::All)?;
        Ok(chain)
    }

    /// Revokes, and signs the list that says so.
    ///
    /// # Errors
    /// [`BootstrapError::NothingToRevoke`] when there is nothing of the kind.
    pub fn revoke(
        &self,
        target: Target<'_>,
        reason: Reason,
        now: SystemTime,
    ) -> Result<Revoked, BootstrapError> {
        let revocation = Revocation { reason, at_s: seconds(now)? };
        let mut turn = self.journal.turn()?;
        let mut entries = match target {
            Target::Serial(serial) => match turn.ledger().certificate(serial) {
                Some((_, None)) => vec![Entry::Revoked { serial, revocation }],
                Some((_, Some(_))) | None => {
                    return Err(BootstrapError::NothingToRevoke(serial.to_string()));
                }
            },
            Target::Node(node_id) => {
                let known = turn.ledger().certificates().any(|(c, _)| c.node_id == node_id)
                    || turn.ledger().tokens().any(|(terms, _)| terms.node_id == node_id);
                if !known {
                    return Err(BootstrapError::NothingToRevoke(node_id.to_owned()));
                }
                turn.ledger().barring(node_id, revocation)
            }
        };
        let serials: Vec<Serial> = entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Revoked { serial, .. } => Some(*serial),
                Entry::Token(_)
                | Entry::Issued(_)
                | Entry::Voided { .. }
                | Entry::Barred { .. }
                | Entry::Crl { .. } => None,
            })
            .collect();
        let crl_number = self.publish(&mut turn, &mut entries, now)?;
        drop(turn);
        for serial in &serials {
            let mut line = AuditLine::new(Act::Revoke, "ok");
            (line.serial, line.crl_number) = (Some(*serial), Some(crl_number));
            if let Target::Node(node_id) = target {
                line.node_id = Some(node_id);
            }
            self.audit.note(now, &line)?;
        }
        Ok(Revoked { serials, crl_number })
    }

    /// The newest list as PEM; signs a new one when half of the last one's life is over, or when
    /// a crash has kept the last one from being written.
    ///
    /// # Errors
    /// A fault of the authority's own.
    pub fn crl(&self, now: SystemTime) -> Result<String, BootstrapError> {
        let mut turn = self.journal.turn()?;
        let due_s = turn.ledger().crl_next_update_s().saturating_sub(CRL_LIFE.as_secs() / 2);
        let number = turn.ledger().crl_number();
        let path = self.directory.join(files::REVOCATION_LIST);
        let mut known = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if seconds(now)? < due_s {
            if let Some((_, text)) = known.as_ref().filter(|(known, _)| *known == number) {
                return Ok(text.clone());
            }
            let written = fs::read_to_string(&path).ok();
            if let Some(text) = written.filter(|text| crl_number_of(text) == Some(number)) {
                *known = Some((number, text.clone()));
                return Ok(text);
            }
        }
        let crl_number = self.publish(&mut turn, &mut Vec::new(), now)?;
        drop(turn);
        let mut line = AuditLine::new(Act::Crl, "ok");
        line.crl_number = Some(crl_number);
        self.audit.note(now, &line)?;
        Ok(files::read(&path)?.to_string())
    }

    /// Enters `entries` together with the number of a new list, and writes the list.
    fn publish(
        &self,
        turn: &mut Turn<'_>,
        entries: &mut Vec<Entry>,
        now: SystemTime,
    ) -> Result<u64, BootstrapError> {
        let number = turn.ledger().crl_number() + 1;
        let next_update = now.checked_add(CRL_LIFE).ok_or(BootstrapError::Time)?;
        entries.push(Entry::Crl { number, next_update_s: seconds(next_update)? });
        turn.commit(entries)?;
        let text = self.authority.sign_crl(turn.ledger(), number, now, next_update)?;
        files::replace(&self.directory.join(files::REVOCATION_LIST), &text, Readers::All)?;
        Ok(number)
    }
}

impl std::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registrar")
            .field("authority", &self.authority)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// Tokens and requests are for members of the mesh only.
fn member_role(role: &str) -> Result<(), BootstrapError> {
    if RESERVED_ROLES.contains(&role) {
        return Err(BootstrapError::ReservedRole(role.to_owned()));
    }
    Ok(())
}

fn outcome<T>(answer: &Result<T, BootstrapError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(BootstrapError::Refused(refusal)) => refusal.code(),
        Err(_) => "fault",
    }
}

/// What the ledger says of a certificate with these terms.
fn entered(
    terms: &Terms,
    key: KeyId,
    validity_s: u64,
    origin: Origin,
) -> Result<Certificate, BootstrapError> {
    Ok(Certificate {
        serial: terms.serial,
        node_id: terms.identity.node_id.clone(),
        role: terms.identity.role.clone(),
        key,
        not_before_s: seconds(terms.not_before)?,
        not_after_s: seconds(terms.not_after)?,
        validity_s,
        origin,
    })
}
