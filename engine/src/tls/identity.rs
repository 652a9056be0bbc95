//! Who a certificate says its holder is: one URI, one spelling (rule S-8).
//!
//! Think of a passport with exactly one name line and a fixed alphabet: two readers can never
//! read two names out of it, so a comparison of strings is a comparison of identities.
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

/// An identity as its certificate spells it: `spiffe://<trust domain>/mesh/<cluster>/<role>/<node>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Identity {
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
    /// Puts an identity together from its parts.
    ///
    /// # Errors
    /// [`IdentityError::Segment`] names the first part that is not canonical.
    pub fn new(
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
        }
        Ok(Self {
            trust_domain: trust_domain.into(),
            cluster: cluster.into(),
            role: role.into(),
            node_id: node_id.into(),
        })
    }

    /// Reads the URI form, as strictly as [`Identity::uri`] writes it.
    ///
    /// # Errors
    /// [`IdentityError::Shape`] or [`IdentityError::Segment`].
    pub fn parse_uri(uri: &str) -> Result<Self, IdentityError> {
        let shape = || IdentityError::Shape { found: quote(uri) };
        let rest = uri.strip_prefix("spiffe://").ok_or_else(shape)?;
        let mut segments = rest.split('/');
        let mut next = || segments.next().ok_or_else(shape);
        let (trust_domain, fixed) = (next()?, next()?);
        let (cluster, role, node_id) = (next()?, next()?, next()?);
        if fixed != "mesh" || segments.next().is_some() {
            return Err(shape());
        }
        Self::new(trust_domain, cluster, role, node_id)
    }

    /// Reads the identity of a leaf certificate; other kinds of names do not matter.
    ///
    /// # Errors
    /// [`IdentityError`] by what is wrong with the certificate's URI names.
    pub fn of_leaf(leaf: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (rest, certificate) =
            X509Certificate::from_der(leaf).map_err(|_| IdentityError::Undecodable)?;
        if !rest.is_empty() {
            return Err(IdentityError::Undecodable);
        }
        Self::of_certificate(&certificate)
    }

    pub(crate) fn of_certificate(certificate: &X509Certificate<'_>) -> Result<Self, IdentityError> {
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| IdentityError::Undecodable)?
            .ok_or(IdentityError::NoUri)?;
        let mut uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let first = uris.next().ok_or(IdentityError::NoUri)?;
        if let Some(second) = uris.next() {
            return Err(IdentityError::SeveralUris { found: [quote(first), quote(second)] });
        }
        Self::parse_uri(first)
    }

    /// The URI form.
    pub fn uri(&self) -> String {
        let Self { trust_domain, cluster, role, node_id } = self;
        format!("spiffe://{trust_domain}/mesh/{cluster}/{role}/{node_id}")
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
        f.write_str(&self.uri())
    }
}

/// The identity that a finished handshake's peer showed.
///
/// # Errors
/// [`IdentityError`]; [`IdentityError::NoUri`] when there is no certificate at all.
pub fn peer_of(certificates: Option<&[CertificateDer<'_>]>) -> Result<Identity, IdentityError> {
    let leaf = certificates.and_then(<[_]>::first).ok_or(IdentityError::NoUri)?;
    identity_of(leaf)
}

/// The identity of one leaf certificate; says nothing about who issued it.
///
/// # Errors
/// As [`Identity::of_leaf`].
pub fn identity_of(leaf: &CertificateDer<'_>) -> Result<Identity, IdentityError> {
    Identity::of_leaf(leaf)
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
    /// No URI among the subject alternative names.
    NoUri,
    /// More than one URI: the first two.
    SeveralUris {
        /// The first two URIs.
        found: [String; 2],
    },
    /// The URI is not of the expected form.
    Shape {
        /// The URI.
        found: String,
    },
    /// A part is empty, too long, `.` or `..`, or leaves the alphabet.
    Segment {
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
            Self::NoUri => f.write_str(
                "the certificate has no URI name, expected one spiffe://<trust domain>/mesh/<cluster>/<role>/<node id>",
            ),
            Self::SeveralUris { found: [first, second] } => write!(
                f,
                "the certificate has several URI names ({first:?}, {second:?}, …), expected exactly one"
            ),
            Self::Shape { found } => write!(
                f,
                "the URI name is {found:?}, expected spiffe://<trust domain>/mesh/<cluster>/<role>/<node id>"
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

/// A peer chooses what its certificate says; an error repeats a bounded part of it.
fn quote(text: &str) -> String {
    text.chars().take(MAX_QUOTE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-8.
    #[test]
    fn one_spelling_of_an_identity_is_accepted() {
        let identity = Identity::parse_uri("spiffe://td.example/mesh/c-1/worker/node_7").unwrap();
        assert_eq!(identity.node_id, "node_7");
        assert_eq!(identity.member_id(), MemberId::derive("c-1", "node_7"));
        assert_eq!(Identity::parse_uri(&identity.uri()), Ok(identity));
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
            assert!(Identity::parse_uri(wrong).is_err(), "{wrong:?} passed");
        }
        let long = "n".repeat(MAX_SEGMENT);
        assert!(Identity::new("td", "c", "w", &long).is_ok());
        assert!(Identity::new("td", "c", "w", &(long + "n")).is_err());
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
        let text = Identity::parse_uri(&"x".repeat(5_000)).unwrap_err().to_string();
        assert!(text.len() < 500, "a peer's name is repeated in part only");
    }
}
