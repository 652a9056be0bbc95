//! Errors named by blame: bytes, a peer, or our own caller.

use alloc::string::String;
use core::fmt;

/// The bytes are not what the format says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// Shorter than the layout or a length field demands.
    Truncated,
    /// A reserved field is not zero.
    Reserved,
    /// A version or format that this build does not know.
    Version,
    /// A field holds a value outside its range; the name of the field.
    Field(&'static str),
    /// Longer than a limit allows; the name of the limit.
    Oversized(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("truncated"),
            Self::Reserved => f.write_str("a reserved field is set"),
            Self::Version => f.write_str("unknown version"),
            Self::Field(name) => write!(f, "field {name} is out of range"),
            Self::Oversized(name) => write!(f, "larger than the limit {name}"),
        }
    }
}

/// A member broke a rule of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerError {
    /// The bytes could not be decoded.
    Decode(DecodeError),
    /// The record belongs to another cluster.
    ForeignCluster,
    /// The member id is not the hash of cluster and node id.
    WrongId,
    /// The signature, or the certificate behind it, does not hold; the authority's reason.
    Signature(&'static str),
    /// The chain of the signer is not complete here: its issuer has to be asked for first.
    UnknownSigner,
    /// The metadata document lacks a required field; its name.
    MetadataMissing(&'static str),
    /// The metadata document and the record disagree on a field; its name.
    MetadataMismatch(&'static str),
    /// The incarnation lies outside the signer's lifetime.
    Incarnation,
}

impl From<DecodeError> for PeerError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl PeerError {
    /// A short stable word for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Decode(_) => "decode",
            Self::ForeignCluster => "foreign-cluster",
            Self::WrongId => "wrong-id",
            Self::Signature(_) => "signature",
            Self::UnknownSigner => "unknown-signer",
            Self::MetadataMissing(_) | Self::MetadataMismatch(_) => "schema",
            Self::Incarnation => "incarnation",
        }
    }
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => write!(f, "undecodable: {error}"),
            Self::ForeignCluster => f.write_str("the record belongs to another cluster"),
            Self::WrongId => f.write_str("the member id does not match cluster and node id"),
            Self::Signature(why) => write!(f, "the signature does not hold: {why}"),
            Self::UnknownSigner => f.write_str("the signer's chain is incomplete"),
            Self::MetadataMissing(name) => write!(f, "metadata lacks the required field {name}"),
            Self::MetadataMismatch(name) => {
                write!(f, "metadata field {name} differs from the record's")
            }
            Self::Incarnation => f.write_str("the incarnation lies outside the signer's lifetime"),
        }
    }
}

/// The caller asked for something that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The node has left; a new one must be made.
    Stopped,
    /// The metadata document is larger than the limit: bytes, limit.
    MetadataTooLarge(usize, usize),
    /// A required metadata field is empty; its name.
    MetadataMissing(&'static str),
    /// The metadata has changed since it was read; read it again.
    Stale,
    /// nodeId, clusterId and role come from the certificate and cannot change at run time.
    Immutable(&'static str),
    /// The credentials refused to sign.
    Signing,
    /// The order does not hold; why.
    Order(&'static str),
    /// The bytes are no order.
    NoOrder(DecodeError),
    /// What was to be said is larger than what fits: bytes, limit.
    TooLarge(usize, usize),
    /// More was to be said than others would listen to; say it a little later.
    TooFast,
    /// No such member is present.
    NoSuchMember,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the node has left"),
            Self::MetadataTooLarge(bytes, limit) => {
                write!(f, "metadata takes {bytes} bytes, the limit is {limit}")
            }
            Self::MetadataMissing(name) => write!(f, "metadata field {name} must not be empty"),
            Self::Immutable(name) => write!(f, "metadata field {name} cannot change at run time"),
            Self::Stale => f.write_str("the metadata has changed since it was read"),
            Self::Signing => f.write_str("the credentials could not sign the record"),
            Self::Order(why) => write!(f, "the operator's order does not hold: {why}"),
            Self::NoOrder(error) => write!(f, "the bytes are no order: {error}"),
            Self::TooLarge(bytes, limit) => write!(
                f,
                "{bytes} bytes do not fit one datagram beside their signature; the limit is {limit}"
            ),
            Self::TooFast => f.write_str(
                "too much was said at once: 128 at a time and 100 a second are passed on",
            ),
            Self::NoSuchMember => f.write_str("no such member is present"),
        }
    }
}

/// A configuration that cannot be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, as people write it below `mesh:gossip`.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

impl core::error::Error for DecodeError {}
impl core::error::Error for PeerError {}
impl core::error::Error for CommandError {}
impl core::error::Error for ConfigError {}
