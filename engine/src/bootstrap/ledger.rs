//! What an authority has promised: tokens, certificates, revocations, in the order in which it
//! happened.
//!
//! A shop's till roll: nothing is ever rubbed out, and what is owed is read by going through it
//! from the top. Every question (may this token be used, may this certificate be renewed) is
//! answered from the roll alone.
//!
//! Invariants: a token leads to at most one certificate, a key to at most one certificate, a
//! revocation is never taken back, and the number of revocation lists only rises.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::bootstrap::names::{KeyId, Serial};
use crate::bootstrap::refusal::Refusal;
use crate::bootstrap::token::{Token, same_hash};

/// How often one certificate may be renewed: again after a lost key, not without end.
pub const MAX_SUCCESSORS: u32 = 5;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Entry {
    /// A token was made.
    Token(TokenTerms),
    /// A certificate was promised: it may be signed from here on, with this key alone.
    Issued(Certificate),
    /// A token was taken back before it was used.
    Voided {
        /// Which.
        token: String,
    },
    /// A certificate is not to be trusted any more.
    Revoked {
        /// Which.
        serial: Serial,
        /// Why and when.
        revocation: Revocation,
    },
    /// A node gets nothing until a person asks for it again by name.
    Barred {
        /// Which.
        node_id: String,
    },
    /// A revocation list was numbered.
    Crl {
        /// Its number.
        number: u64,
        /// When the next one is due, in seconds after 1970.
        next_update_s: u64,
    },
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenTerms {
    /// What logs call it by.
    pub id: String,
    /// SHA-256 of its text.
    pub hash: String,
    /// For whom.
    pub node_id: String,
    /// In which role.
    pub role: String,
    /// How long the certificate lasts, in seconds.
    pub validity_s: u64,
    /// Until when it can be used, in seconds after 1970.
    pub expires_s: u64,
}

/// A certificate as it was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Its number.
    pub serial: Serial,
    /// Whom it names.
    pub node_id: String,
    /// In which role.
    pub role: String,
    /// SHA-256 of the public key that it is for.
    pub key: KeyId,
    /// Start, in seconds after 1970.
    pub not_before_s: u64,
    /// End, in seconds after 1970.
    pub not_after_s: u64,
    /// How long it was asked to last, in seconds.
    pub validity_s: u64,
    /// What it was given for.
    pub origin: Origin,
}

/// What a certificate was given for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// Somebody with access to the authority's directory asked.
    Hand,
    /// A token, by id.
    Token(String),
    /// An older certificate, by serial number.
    Renewal(Serial),
}

/// Why and when a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// Why.
    pub reason: Reason,
    /// When, in seconds after 1970.
    pub at_s: u64,
}

/// Why a certificate was revoked (RFC 5280, section 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Not said.
    Unspecified,
    /// The key may be known to others.
    KeyCompromise,
    /// Another certificate took its place.
    Superseded,
    /// The node is gone for good.
    CessationOfOperation,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
        })
    }
}

/// What became of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet.
    Open,
    /// It led to this certificate.
    Used(Serial),
    /// It was taken back.
    Void,
}

/// A certificate may be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Promise it first.
    New { node_id: String, role: String, validity_s: u64, origin: Origin },
    /// It has been promised to this very key already.
    Again(Certificate),
}

/// An entry that contradicts what came before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction(pub &'static str);

impl std::fmt::Display for Contradiction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// All that happened, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    tokens: BTreeMap<String, (TokenTerms, Fate)>,
    certificates: BTreeMap<Serial, (Certificate, Option<Revocation>)>,
    by_key: HashMap<KeyId, Serial>,
    successors: HashMap<Serial, u32>,
    barred: BTreeSet<String>,
    crl_number: u64,
    crl_next_update_s: u64,
}

impl Ledger {
    /// Tokens by id, with what became of them.
    pub fn tokens(&self) -> impl Iterator<Item = (&TokenTerms, &Fate)> {
        self.tokens.values().map(|(terms, fate)| (terms, fate))
    }

    /// Certificates by serial number, with their revocation.
    pub fn certificates(&self) -> impl Iterator<Item = (&Certificate, Option<Revocation>)> {
        self.certificates.values().map(|(certificate, revoked)| (certificate, *revoked))
    }

    /// One certificate with its revocation.
    pub fn certificate(&self, serial: Serial) -> Option<(&Certificate, Option<Revocation>)> {
        self.certificates.get(&serial).map(|(certificate, revoked)| (certificate, *revoked))
    }

    /// Nodes that get nothing until a person asks for it again.
    pub fn barred(&self) -> impl Iterator<Item = &str> {
        self.barred.iter().map(String::as_str)
    }

    /// Number of the newest revocation list, 0 before the first.
    pub fn crl_number(&self) -> u64 {
        self.crl_number
    }

    /// When the newest revocation list has to be followed by another, in seconds after 1970.
    pub fn crl_next_update_s(&self) -> u64 {
        self.crl_next_update_s
    }

    /// Whether this token may have a certificate for `node_id` and `key`.
    pub(super) fn admit(
        &self,
        token: &Token,
        node_id: &str,
        key: KeyId,
        now_s: u64,
    ) -> Result<Admission, Refusal> {
        let (terms, fate) = self.tokens.get(token.id()).ok_or(Refusal::UnknownToken)?;
        if !same_hash(&terms.hash, &token.hash()) {
            return Err(Refusal::UnknownToken);
        }
        if terms.node_id != node_id {
            return Err(Refusal::OtherNode);
        }
        match fate {
            Fate::Used(serial) => {
                let promised = self.promised(*serial, key, now_s)?;
                return promised.map(Admission::Again).ok_or(Refusal::UsedToken);
            }
            Fate::Void => return Err(Refusal::VoidToken),
            Fate::Open => {}
        }
        if now_s >= terms.expires_s {
            return Err(Refusal::ExpiredToken);
        }
        if self.by_key.contains_key(&key) {
            return Err(Refusal::KnownKey);
        }
        Ok(Admission::New {
            node_id: terms.node_id.clone(),
            role: terms.role.clone(),
            validity_s: terms.validity_s,
            origin: Origin::Token(terms.id.clone()),
        })
    }

    /// Whether the holder of certificate `serial` may have another one for `key`.
    pub(super) fn renew(
        &self,
        serial: Serial,
        key: KeyId,
        now_s: u64,
    ) -> Result<Admission, Refusal> {
        let (certificate, revoked) =
            self.certificates.get(&serial).ok_or(Refusal::UnknownCertificate)?;
        if revoked.is_some() {
            return Err(Refusal::Revoked);
        }
        if self.barred.contains(&certificate.node_id) {
            return Err(Refusal::Barred);
        }
        if now_s > certificate.not_after_s {
            return Err(Refusal::Expired);
        }
        if let Some(known) = self.by_key.get(&key) {
            let (before, _) = &self.certificates[known];
            if before.origin != Origin::Renewal(serial) {
                return Err(Refusal::KnownKey);
            }
            let promised = self.promised(*known, key, now_s)?;
            return promised.map(Admission::Again).ok_or(Refusal::KnownKey);
        }
        if self.successors.get(&serial).is_some_and(|count| *count >= MAX_SUCCESSORS) {
            return Err(Refusal::TooManyRenewals);
        }
        Ok(Admission::New {
            node_id: certificate.node_id.clone(),
            role: certificate.role.clone(),
            validity_s: certificate.validity_s,
            origin: Origin::Renewal(serial),
        })
    }

    /// The certificate, when it was promised to this key and still stands.
    fn promised(
        &self,
        serial: Serial,
        key: KeyId,
        now_s: u64,
    ) -> Result<Option<Certificate>, Refusal> {
        let (certificate, revoked) =
            self.certificates.get(&serial).ok_or(Refusal::UnknownCertificate)?;
        if certificate.key != key {
            return Ok(None);
        }
        if revoked.is_some() {
            return Err(Refusal::Revoked);
        }
        if now_s > certificate.not_after_s {
            return Err(Refusal::Expired);
        }
        Ok(Some(certificate.clone()))
    }

    /// What bars a node: its live certificates revoked, its open tokens void.
    pub(super) fn barring(&self, node_id: &str, revocation: Revocation) -> Vec<Entry> {
        let live = self.certificates.values().filter(|(certificate, revoked)| {
            certificate.node_id == node_id
                && revoked.is_none()
                && certificate.not_after_s >= revocation.at_s
        });
        let revoked =
            live.map(|(certificate, _)| Entry::Revoked { serial: certificate.serial, revocation });
        let open = self
            .tokens
            .values()
            .filter(|(terms, fate)| terms.node_id == node_id && *fate == Fate::Open);
        let voided = open.map(|(terms, _)| Entry::Voided { token: terms.id.clone() });
        let mut entries: Vec<Entry> = revoked.chain(voided).collect();
        entries.push(Entry::Barred { node_id: node_id.to_owned() });
        entries
    }

    /// Takes one entry in.
    ///
    /// # Errors
    /// [`Contradiction`]; the ledger is as it was then.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), Contradiction> {
        match entry {
            Entry::Token(terms) => {
                if self.tokens.contains_key(&terms.id) {
                    return Err(Contradiction("the token exists"));
                }
                self.barred.remove(&terms.node_id);
                self.tokens.insert(terms.id.clone(), (terms.clone(), Fate::Open));
            }
            Entry::Issued(certificate) => self.issued(certificate)?,
            Entry::Voided { token } => {
                let (_, fate) = self.tokens.get_mut(token).ok_or(Contradiction("no such token"))?;
                if *fate != Fate::Open {
                    return Err(Contradiction("the token is not open"));
                }
                *fate = Fate::Void;
            }
            Entry::Revoked { serial, revocation } => {
                let (_, revoked) =
                    self.certificates.get_mut(serial).ok_or(Contradiction("no such serial"))?;
                if revoked.is_some() {
                    return Err(Contradiction("the certificate is revoked already"));
                }
                *revoked = Some(*revocation);
            }
            Entry::Barred { node_id } => {
                self.barred.insert(node_id.clone());
            }
            Entry::Crl { number, next_update_s } => {
                if *number <= self.crl_number {
                    return Err(Contradiction("the number of a revocation list does not rise"));
                }
                (self.crl_number, self.crl_next_update_s) = (*number, *next_update_s);
            }
        }
        Ok(())
    }

    fn issued(&mut self, certificate: &Certificate) -> Result<(), Contradiction> {
        if self.certificates.contains_key(&certificate.serial) {
            return Err(Contradiction("the serial number exists"));
        }
        if self.by_key.contains_key(&certificate.key) {
            return Err(Contradiction("the key has a certificate"));
        }
        match &certificate.origin {
            Origin::Hand => {
                self.barred.remove(&certificate.node_id);
            }
            Origin::Token(id) => {
                let (_, fate) = self.tokens.get_mut(id).ok_or(Contradiction("no such token"))?;
                if *fate != Fate::Open {
                    return Err(Contradiction("the token is not open"));
                }
                *fate = Fate::Used(certificate.serial);
            }
            Origin::Renewal(before) => {
                if !self.certificates.contains_key(before) {
                    return Err(Contradiction("no such serial"));
                }
                *self.successors.entry(*before).or_default() += 1;
            }
        }
        self.by_key.insert(certificate.key, certificate.serial);
        self.certificates.insert(certificate.serial, (certificate.clone(), None));
        Ok(())
    }
}
