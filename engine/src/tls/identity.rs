//! Who a certificate says its holder is: one name, one spelling (rule S-8).
//!
//! Think of a passport with exactly one name line and a fixed alphabet: two readers can never
//! read two names out of it, so a comparison of strings is a comparison of identities. The name is
//! a SPIFFE URI; where an authority cannot issue one, a DNS name of a fixed form that holds the same
//! parts. A member goes by one of the two rules, and no certificate passes both.
//!
//! Invariant: every part of an [`Identity`] is a canonical segment of `[a-z0-9._-]`, so nothing
//! in it needs escaping in a URI, a path or a log line.

use std::fmt;

use mesh_gossip_proto::MemberId;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest segment, in bytes: what the length fields of a record hold.
pub const MAX_SEGMENT: usize = 255;

/// Role of people: they order, and never gossip (rule S-14).
pub const OPERATOR: &str = "operator";

/// Roles that certificates may carry and that never gossip.
pub const RESERVED_ROLES: [&str; 2] = ["bootstrap", OPERATOR];

/// Most characters of a peer's name that an error repeats.
const MAX_QUOTE: usize = 200;

/// Longest DNS name and label, in bytes (RFC 1035, section 2.3.4, without the root's dot).
const MAX_DNS: usize = 253;
const MAX_LABEL: usize = 63;

/// How certificates name their holders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NameRule {
    /// One URI, `spiffe://<trust domain>/mesh/<cluster>/<role>/<node id>`; other kinds of names do
    /// not matter.
    #[default]
    Spiffe,
    /// One DNS name, `<node id>.<role>.<cluster>.mesh.<trust domain>`, and no URI: what also has a
    /// URI could be somebody else to a member that goes by those.
    Dns,
}

impl NameRule {
    /// The word that settings use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Spiffe => "spiffe",
            Self::Dns => "dns",
        }
    }

    /// The rule by which our own certificate is meant to be read: by its URI where it has one.
    pub fn of_own(leaf: &CertificateDer<'_>) -> Self {
        match Identity::of_leaf(Self::Spiffe, leaf) {
            Err(IdentityError::NoName(_)) => Self::Dns,
            Ok(_) | Err(_) => Self::Spiffe,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Spiffe => "URI",
            Self::Dns => "DNS",
        }
    }

    fn form(self) -> &'static str {
        match self {
            Self::Spiffe => "spiffe://<trust domain>/mesh/<cluster>/<role>/<node id>",
            Self::Dns => "<node id>.<role>.<cluster>.mesh.<trust domain>",
        }
    }
}

/// An identity as its certificate spells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Identity {
    /// How it is spelt.
    pub rule: NameRule,
    /// Who vouches for the name.
    pub trust_domain: String,
    /// Cluster.
    pub cluster: String,
    /// Role within the mesh.
    pub role: String,
    /// Name within the cluster.
    pub node_id: String,
}

impl Identity {
    /// Puts a SPIFFE identity together from its parts.
    ///
    /// # Errors
    /// [`IdentityError::Segment`] names the first part that is not canonical.
    pub fn new(
        trust_domain: &str,
        cluster: &str,
        role: &str,
        node_id: &str,
    ) -> Result<Self, IdentityError> {
        Self::by(NameRule::Spiffe, trust_domain, cluster, role, node_id)
    }

    /// Puts an identity together that a certificate can spell by this rule.
    ///
    /// # Errors
    /// [`IdentityError::Segment`] or [`IdentityError::Label`] names the first part that does not
    /// fit; [`IdentityError::Shape`] a DNS name that is too long.
    pub fn by(
        rule: NameRule,
        trust_domain: &str,
        cluster: &str,
        role: &str,
        node_id: &str,
    ) -> Result<Self, IdentityError> {
        let parts = [
            (Part::TrustDomain, trust_domain),
            (Part::Cluster, cluster),
            (Part::Role, role),
            (Part::NodeId, node_id),
        ];
        for (part, text) in parts {
            check_segment(part, text)?;
            if rule == NameRule::Dns {
                check_labels(part, text)?;
            }
        }
        let identity = Self {
            rule,
            trust_domain: trust_domain.into(),
            cluster: cluster.into(),
            role: role.into(),
            node_id: node_id.into(),
        };
        let name = identity.name();
        if rule == NameRule::Dns && name.len() > MAX_DNS {
            return Err(IdentityError::Shape { rule, found: quote(&name) });
        }
        Ok(identity)
    }

    /// Reads a name as strictly as [`Identity::name`] writes it.
    ///
    /// # Errors
    /// [`IdentityError::Shape`], [`IdentityError::Segment`] or [`IdentityError::Label`].
    pub fn parse(rule: NameRule, name: &str) -> Result<Self, IdentityError> {
        let shape = || IdentityError::Shape { rule, found: quote(name) };
        let (trust_domain, fixed, cluster, role, node_id) = match rule {
            NameRule::Spiffe => {
                let rest = name.strip_prefix("spiffe://").ok_or_else(shape)?;
                let mut segments = rest.split('/');
                let mut next = || segments.next().ok_or_else(shape);
                let (trust_domain, fixed) = (next()?, next()?);
                let (cluster, role, node_id) = (next()?, next()?, next()?);
                if segments.next().is_some() {
                    return Err(shape());
                }
                (trust_domain, fixed, cluster, role, node_id)
            }
            NameRule::Dns => {
                let mut labels = name.splitn(5, '.');
                let mut next = || labels.next().ok_or_else(shape);
                let (node_id, role, cluster) = (next()?, next()?, next()?);
                let (fixed, trust_domain) = (next()?, next()?);
                (trust_domain, fixed, cluster, role, node_id)
            }
        };
        if fixed != "mesh" {
            return Err(shape());
        }
        Self::by(rule, trust_domain, cluster, role, node_id)
    }

    /// Reads the identity of a leaf certificate; says nothing about who issued it.
    ///
    /// # Errors
    /// [`IdentityError`] by what is wrong with the certificate's names.
    pub fn of_leaf(rule: NameRule, leaf: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (rest, certificate) =
            X509Certificate::from_der(leaf).map_err(|_| IdentityError::Undecodable)?;
        if !rest.is_empty() {
            return Err(IdentityError::Undecodable);
        }
        Self::of_certificate(rule, &certificate)
    }

    pub(crate) fn of_certificate(
        rule: NameRule,
        certificate: &X509Certificate<'_>,
    ) -> Result<Self, IdentityError> {
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| IdentityError::Undecodable)?
            .ok_or(IdentityError::NoName(rule))?;
        let names = &names.value.general_names;
        let uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let dns = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        });
        match rule {
            NameRule::Spiffe => Self::parse(rule, only(rule, uris)?),
            NameRule::Dns => match { uris }.next() {
                Some(uri) => Err(IdentityError::UriBesideDns { found: quote(uri) }),
                None => Self::parse(rule, only(rule, dns)?),
            },
        }
    }

    /// The name, as the certificate spells it.
    pub fn name(&self) -> String {
        let Self { rule, trust_domain, cluster, role, node_id } = self;
        match rule {
            NameRule::Spiffe => format!("spiffe://{trust_domain}/mesh/{cluster}/{role}/{node_id}"),
            NameRule::Dns => format!("{node_id}.{role}.{cluster}.mesh.{trust_domain}"),
        }
    }

    /// The member that this identity names.
    pub fn member_id(&self) -> MemberId {
        MemberId::derive(&self.cluster, &self.node_id)
    }

    /// Refuses the roles that never gossip.
    ///
    /// # Errors
    /// [`IdentityError::ReservedRole`].
    pub fn require_member(&self) -> Result<(), IdentityError> {
        if RESERVED_ROLES.contains(&self.role.as_str()) {
            return Err(IdentityError::ReservedRole { found: self.role.clone() });
        }
        Ok(())
    }

    /// Refuses whoever is no operator.
    ///
    /// # Errors
    /// [`IdentityError::NoOperator`].
    pub fn require_operator(&self) -> Result<(), IdentityError> {
        if self.role == OPERATOR {
            return Ok(());
        }
        Err(IdentityError::NoOperator { found: self.role.clone() })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// The identity that a finished handshake's peer showed.
///
/// # Errors
/// As [`Identity::of_leaf`]; [`IdentityError::NoName`] when there is no certificate at all.
pub fn peer_of(
    rule: NameRule,
    certificates: Option<&[CertificateDer<'_>]>,
) -> Result<Identity, IdentityError> {
    let leaf = certificates.and_then(<[_]>::first).ok_or(IdentityError::NoName(rule))?;
    Identity::of_leaf(rule, leaf)
}

/// The one name among these.
fn only<'a>(
    rule: NameRule,
    mut names: impl Iterator<Item = &'a str>,
) -> Result<&'a str, IdentityError> {
    let first = names.next().ok_or(IdentityError::NoName(rule))?;
    match names.next() {
        None => Ok(first),
        Some(second) => {
            Err(IdentityError::SeveralNames { rule, found: [quote(first), quote(second)] })
        }
    }
}

/// A part of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Trust domain.
    TrustDomain,
    /// Cluster.
    Cluster,
    /// Role.
    Role,
    /// Node id.
    NodeId,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TrustDomain => "trust domain",
            Self::Cluster => "cluster",
            Self::Role => "role",
            Self::NodeId => "node id",
        })
    }
}

/// A certificate or a name that carries no usable identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// Not an X.509 certificate, or its names cannot be read.
    Undecodable,
    /// No name of the rule's kind among the subject alternative names.
    NoName(NameRule),
    /// More than one name of the rule's kind.
    SeveralNames {
        /// The rule.
        rule: NameRule,
        /// The first two names.
        found: [String; 2],
    },
    /// A URI, where certificates name their holders by DNS names.
    UriBesideDns {
        /// The URI.
        found: String,
    },
    /// The name is not of the rule's form.
    Shape {
        /// The rule.
        rule: NameRule,
        /// The name.
        found: String,
    },
    /// A part is empty, too long, `.` or `..`, or leaves the alphabet.
    Segment {
        /// Which part.
        part: Part,
        /// What stands there.
        found: String,
    },
    /// A part cannot stand in a DNS name.
    Label {
        /// Which part.
        part: Part,
        /// What stands there.
        found: String,
    },
    /// The role is kept for certificates that never gossip.
    ReservedRole {
        /// The role.
        found: String,
    },
    /// Only an operator may say that.
    NoOperator {
        /// The role.
        found: String,
    },
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undecodable => f.write_str("the certificate or its names cannot be decoded"),
            Self::NoName(rule) => write!(
                f,
                "the certificate has no {} name, expected one {}",
                rule.kind(),
                rule.form()
            ),
            Self::SeveralNames { rule, found: [first, second] } => write!(
                f,
                "the certificate has several {} names ({first:?}, {second:?}, …), expected exactly one",
                rule.kind()
            ),
            Self::UriBesideDns { found } => write!(
                f,
                "the certificate has a URI name ({found:?}), expected none beside the DNS name"
            ),
            Self::Shape { rule, found } => {
                write!(f, "the {} name is {found:?}, expected {}", rule.kind(), rule.form())?;
                match rule {
                    NameRule::Spiffe => Ok(()),
                    NameRule::Dns => write!(f, " of at most {MAX_DNS} characters"),
                }
            }
            Self::Label { part, found } => write!(
                f,
                "the {part} is {found:?}, which no DNS name holds: expected 1 to {MAX_LABEL} \
                 characters of a-z 0-9 -, neither first nor last a -{}",
                if *part == Part::TrustDomain { ", between dots" } else { "" }
            ),
            Self::Segment { part, found } => write!(
                f,
                "the {part} is {found:?}, expected 1 to {MAX_SEGMENT} characters of a-z 0-9 . _ - that are not . or .."
            ),
            Self::NoOperator { found } => {
                write!(f, "the role is {found:?}; only {OPERATOR:?} may order members out")
            }
            Self::ReservedRole { found } => write!(
                f,
                "the role is {found:?}, expected a member's: {} and {} never gossip",
                RESERVED_ROLES[0], RESERVED_ROLES[1]
            ),
        }
    }
}

impl std::error::Error for IdentityError {}

fn check_segment(part: Part, text: &str) -> Result<(), IdentityError> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let fits = (1..=MAX_SEGMENT).contains(&text.len()) && text != "." && text != "..";
    if fits && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(IdentityError::Segment { part, found: quote(text) })
}

/// Each part is one label of a DNS name, the trust domain one or more.
fn check_labels(part: Part, text: &str) -> Result<(), IdentityError> {
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let fits = match part {
        Part::TrustDomain => text.split('.').all(is_label),
        Part::Cluster | Part::Role | Part::NodeId => is_label(text),
    };
    if fits {
        return Ok(());
    }
    Err(IdentityError::Label { part, found: quote(text) })
}

/// A peer chooses what its certificate says; an error repeats a bounded part of it.
fn quote(text: &str) -> String {
    text.chars().take(MAX_QUOTE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<Identity, IdentityError> {
        Identity::parse(NameRule::Spiffe, name)
    }

    /// Rule S-8.
    #[test]
    fn one_spelling_of_an_identity_is_accepted() {
        let identity = parse("spiffe://td.example/mesh/c-1/worker/node_7").unwrap();
        assert_eq!(identity.node_id, "node_7");
        assert_eq!(identity.member_id(), MemberId::derive("c-1", "node_7"));
        assert_eq!(parse(&identity.name()), Ok(identity));
        for wrong in [
            "",
            "spiffe://td",
            "spiffe://td/mesh/c/w",
            "spiffe://td/mesh/c/w/n/",
            "spiffe://td/mesh/c/w/n/x",
            "spiffe://td/mash/c/w/n",
            "spiffe:///mesh/c/w/n",
            "spiffe://td/mesh//w/n",
            "spiffe://td/mesh/c/w/",
            "SPIFFE://td/mesh/c/w/n",
            "https://td/mesh/c/w/n",
            "spiffe://TD/mesh/c/w/n",
            "spiffe://td:1/mesh/c/w/n",
            "spiffe://u@td/mesh/c/w/n",
            "spiffe://td/mesh/c/w/N",
            "spiffe://td/mesh/c/w/n%61",
            "spiffe://td/mesh/c/w/n?q",
            "spiffe://td/mesh/c/w/n#f",
            "spiffe://td/mesh/c/w/.",
            "spiffe://td/mesh/../w/n",
            "spiffe://td/mesh/c/w/n\0",
            "spiffe://td/mesh/c/w/ä",
            " spiffe://td/mesh/c/w/n",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?} passed");
        }
        let long = "n".repeat(MAX_SEGMENT);
        assert!(Identity::new("td", "c", "w", &long).is_ok());
        assert!(Identity::new("td", "c", "w", &(long + "n")).is_err());
    }

    /// Rule S-8: a DNS name holds the same parts, each in a place of its own.
    #[test]
    fn one_spelling_of_a_dns_name_is_accepted() {
        let parse = |name: &str| Identity::parse(NameRule::Dns, name);
        let identity = parse("node-7.worker.c-1.mesh.td.example").unwrap();
        let parts = [&identity.node_id, &identity.role, &identity.cluster, &identity.trust_domain];
        assert_eq!(parts, ["node-7", "worker", "c-1", "td.example"]);
        let by_uri = Identity::new("td.example", "c-1", "worker", "node-7").unwrap();
        assert_eq!(identity.member_id(), by_uri.member_id(), "a member is the same by either rule");
        assert_eq!(parse(&identity.name()), Ok(identity));
        assert!(parse("n.w.c.mesh.td").is_ok());
        for wrong in [
            "",
            "n.w.c.mesh",
            "n.w.c.mesh.",
            "n.w.c.mash.td",
            "n.w.c.td.mesh",
            "n.x.w.c.mesh.td",
            ".w.c.mesh.td",
            "n..c.mesh.td",
            "n.w.c.mesh.td.",
            "n.w.c.mesh..td",
            "*.w.c.mesh.td",
            "N.w.c.mesh.td",
            "n.w.c.MESH.td",
            "n_1.w.c.mesh.td",
            "-n.w.c.mesh.td",
            "n-.w.c.mesh.td",
            "n.w.c.mesh.td-",
            "n.w.c.mesh.t d",
            "n.w.c.mesh.td\0",
            "spiffe://td/mesh/c/w/n",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?} passed");
        }
        let label = "n".repeat(MAX_LABEL);
        let by = |domain: &str, node: &str| Identity::by(NameRule::Dns, domain, "c", "w", node);
        assert!(by("td", &label).is_ok());
        let error = by("td", &format!("{label}n")).unwrap_err();
        assert!(matches!(error, IdentityError::Label { part: Part::NodeId, .. }), "{error}");
        let error = by(&[&label[..]; 4].join("."), "n").unwrap_err();
        assert!(matches!(error, IdentityError::Shape { .. }), "{error}");
        assert!(error.to_string().contains("253"), "{error}");
    }

    /// Rule S-8.
    #[test]
    fn reserved_roles_are_identities_but_never_members() {
        for role in RESERVED_ROLES {
            let identity = Identity::new("td", "c", role, "n").unwrap();
            assert_eq!(
                identity.require_member(),
                Err(IdentityError::ReservedRole { found: role.into() })
            );
        }
        assert_eq!(Identity::new("td", "c", "worker", "n").unwrap().require_member(), Ok(()));
    }

    #[test]
    fn an_error_says_what_was_found_and_what_was_expected() {
        let text = Identity::new("td", "c", "w", "Node").unwrap_err().to_string();
        assert!(text.contains("node id is \"Node\"") && text.contains("expected"), "{text}");
        let text = parse(&"x".repeat(5_000)).unwrap_err().to_string();
        assert!(text.len() < 500, "a peer's name is repeated in part only");
    }
}
