//! The signed record: everything a member says of itself, in one opaque blob (rules ).
//!
//! A record is stored and relayed as the bytes that its author signed; nobody re-encodes it, so
//! fields that this build does not know survive a relay. Layout: `docs/wire.md` §5.
//!
//! Invariant: a [`SignedRecord`] exists only for bytes that were authored here or verified.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use sha2::{Digest, Sha256};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{DecodeError, PeerError};
use crate::member::{Incarnation, Lifecycle, MemberId};
use crate::metadata::{Metadata, Standing};
use crate::time::WallTime;

/// Domain separation: what a record's signature covers begins with these bytes.
pub const SIGNATURE_PREFIX: &[u8] = b"mesh-gossip record v1\0";

/// Versions of the message layer that this build speaks.
pub const PROTOCOL_VERSIONS: (u8, u8) = (1, 1);

/// Most addresses one record may claim.
pub const MAX_ADDRESSES: usize = 8;

/// Largest envelope accepted, in bytes: body, signature and leaf certificate together.
pub const MAX_ENVELOPE: usize = 32_768;

const FORMAT: u8 = 1;

/// First eight bytes of SHA-256(prefix ‖ body): names a record in hot updates. It excludes the
/// signature, because ECDSA signatures are malleable (rule S-11).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RecordHash(pub u64);

impl fmt::Debug for RecordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A signature with its TLS `SignatureScheme` code point (RFC 8446 §4.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Code point, for example 0x0403 for ECDSA P-256 with SHA-256.
    pub scheme: u16,
    /// Signature bytes as TLS encodes them.
    pub bytes: Vec<u8>,
}

/// A claim to authenticity, as handed to [`Authority::verify`]: of a record, or of another word of
/// its author's that begins with a prefix of its own (rule S-13).
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Cluster named by the record; already equal to ours.
    pub cluster_id: &'a str,
    /// Node named by the record; the certificate must name the same.
    pub node_id: &'a str,
    /// Role named by the record; the certificate must name the same.
    pub role: &'a str,
    /// Start of the author's life, checked against the certificate's validity.
    pub incarnation: Incarnation,
    /// What was signed: a prefix, and what it says.
    pub message: &'a [u8],
    /// TLS signature scheme.
    pub scheme: u16,
    /// The signature.
    pub signature: &'a [u8],
    /// The author's leaf certificate, DER.
    pub leaf: &'a [u8],
    /// SHA-256 of the intermediates that complete the chain.
    pub intermediates: &'a [[u8; 32]],
}

/// An operator's claim to authenticity, as handed to [`Authority::verify_operator`].
#[derive(Clone, Copy, Debug)]
pub struct OperatorClaim<'a> {
    /// Cluster named by the order; already equal to ours.
    pub cluster_id: &'a str,
    /// What was signed: a prefix, and what it says.
    pub message: &'a [u8],
    /// TLS signature scheme.
    pub scheme: u16,
    /// The signature.
    pub signature: &'a [u8],
    /// The operator's leaf certificate, DER.
    pub leaf: &'a [u8],
    /// SHA-256 of the intermediates that complete the chain.
    pub intermediates: &'a [[u8; 32]],
}

/// The seam to keys and certificates: signs what we say and verifies what others do.
///
/// Production puts TLS credentials behind it, the simulator a model of them.
pub trait Authority: Send + Sync {
    /// Signs `message` with the key of [`Authority::leaf`]; `None` when the key cannot.
    fn sign(&self, message: &[u8]) -> Option<Signature>;

    /// Our leaf certificate, DER.
    fn leaf(&self) -> &[u8];

    /// SHA-256 of our intermediates, leaf's issuer first.
    fn intermediates(&self) -> &[[u8; 32]];

    /// Checks chain, identity and signature of a member's word (rule S-8).
    ///
    /// # Errors
    /// [`PeerError::Signature`] or [`PeerError::Incarnation`] with the reason;
    /// [`PeerError::UnknownSigner`] when a certificate of the chain is missing here.
    fn verify(&self, claim: &Claim<'_>) -> Result<(), PeerError>;

    /// Checks chain, role and signature of an operator's word (rule S-14). Who does not know
    /// operators obeys none.
    ///
    /// # Errors
    /// As [`Authority::verify`].
    fn verify_operator(&self, claim: &OperatorClaim<'_>) -> Result<(), PeerError> {
        let _ = claim;
        Err(PeerError::Signature("operators are not known here"))
    }

    /// The intermediate certificate with this SHA-256, DER, if it is known here: to complete a
    /// chain, or to be served to whoever lacks it (rule S-11).
    fn certificate(&self, hash: &[u8; 32]) -> Option<Vec<u8>> {
        let _ = hash;
        None
    }

    /// Offers the intermediates of a leaf; those of a chain that holds are known from here on.
    fn complete(&self, leaf: &[u8], intermediates: &[Vec<u8>]) {
        let _ = (leaf, intermediates);
    }

    /// When a leaf certificate ends.
    fn not_after(&self, leaf: &[u8]) -> Option<WallTime> {
        let _ = leaf;
        None
    }

    /// A record that was verified before, byte for byte: many nodes of one process share it.
    fn interned(&self, envelope: &[u8]) -> Option<Arc<SignedRecord>> {
        let _ = envelope;
        None
    }

    /// These bytes, which other nodes of this process may hold as well: as one copy for all.
    fn shared(&self, bytes: Arc<[u8]>) -> Arc<[u8]> {
        bytes
    }

    /// A verified record, which other nodes of this process may hold as well: as one copy for all.
    fn intern(&self, record: Arc<SignedRecord>) -> Arc<SignedRecord> {
        record
    }
}

/// What a member says of itself, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Member id; the hash of cluster and node id.
    pub id: MemberId,
    /// Life and version.
    pub incarnation: Incarnation,
    /// Readiness; `Leaving` makes the record a signed leave.
    pub lifecycle: Lifecycle,
    /// Versions of the message layer that the author speaks: least, greatest.
    pub versions: (u8, u8),
    /// Where the member listens, the preferred address first. Claims, not facts.
    pub addresses: Vec<SocketAddr>,
    /// Metadata document.
    pub metadata: Metadata,
    /// What it says of the scopes of leadership, in the same document (rule E-3).
    pub standing: Option<Box<Standing>>,
}

/// A verified record with the bytes that prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    envelope: Arc<[u8]>,
    hash: RecordHash,
    record: NodeRecord,
}

/// Envelope header; body, signature, leaf and intermediate hashes follow in this order.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct EnvelopeHeader {
    format: u8,
    intermediates: u8,
    scheme: U16,
    body: U16,
    signature: U16,
    leaf: U16,
    reserved: U16,
}
const _: () = assert!(size_of::<EnvelopeHeader>() == 12);

/// Body header; cluster id, node id, addresses, metadata and unknown extensions follow.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct BodyHeader {
    format: u8,
    lifecycle: u8,
    version_min: u8,
    version_max: u8,
    cluster_len: u8,
    node_len: u8,
    addresses: u8,
    reserved: u8,
    metadata_len: U16,
    extensions_len: U16,
    counter: U32,
    generation: U64,
    id: [u8; 16],
    signer: [u8; 32],
}
const _: () = assert!(size_of::<BodyHeader>() == 72);
/// Where the signer stands in a body.
const SIGNER_AT: usize = core::mem::offset_of!(BodyHeader, signer);

/// An address: IPv6, or IPv4 mapped into it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct WireAddress {
    ip: [u8; 16],
    port: U16,
}
const _: () = assert!(size_of::<WireAddress>() == 18);

impl SignedRecord {
    /// Encodes and signs `record` as its author.
    ///
    /// Returns `None` when the authority cannot sign or a part exceeds its field.
    pub fn author(record: NodeRecord, authority: &dyn Authority) -> Option<Self> {
        let body = encode_body(&record, authority.leaf())?;
        let envelope = seal(SIGNATURE_PREFIX, &body, authority)?;
        Some(Self { envelope: envelope.into(), hash: hash_of(&signed_message(&body)), record })
    }

    /// Decodes and verifies an envelope of `cluster_id`.
    ///
    /// # Errors
    /// [`PeerError`] by the rule that the author broke.
    pub fn verify(
        envelope: &[u8],
        cluster_id: &str,
        metadata_limit: usize,
        authority: &dyn Authority,
    ) -> Result<Self, PeerError> {
        let parts = Parts::split(envelope)?;
        let (record, names) = decode_body(parts.body, parts.leaf, metadata_limit)?;
        if names.cluster_id != cluster_id {
            return Err(PeerError::ForeignCluster);
        }
        if record.id != MemberId::derive(cluster_id, names.node_id) {
            return Err(PeerError::WrongId);
        }
        for (named, of_record, field) in [
            (&record.metadata.node_id, names.node_id, "nodeId"),
            (&record.metadata.cluster_id, cluster_id, "clusterId"),
        ] {
            if named != of_record {
                return Err(PeerError::MetadataMismatch(field));
            }
        }
        let message = signed_message(parts.body);
        authority.verify(&Claim {
            cluster_id,
            node_id: names.node_id,
            role: &record.metadata.role,
            incarnation: record.incarnation,
            message: &message,
            scheme: parts.scheme,
            signature: parts.signature,
            leaf: parts.leaf,
            intermediates: &parts.intermediates,
        })?;
        Ok(Self { envelope: envelope.into(), hash: hash_of(&message), record })
    }

    /// SHA-256 of the leaf certificate that signed it.
    pub fn signer(&self) -> [u8; 32] {
        // Both layouts held when the record was made.
        let at = size_of::<EnvelopeHeader>() + SIGNER_AT;
        let mut signer = [0; 32];
        signer.copy_from_slice(&self.envelope[at..at + 32]);
        signer
    }

    /// Whether the author of this record signed `message` with the same certificate.
    ///
    /// # Errors
    /// As [`Authority::verify`].
    pub fn attests(
        &self,
        message: &[u8],
        signature: &Signature,
        authority: &dyn Authority,
    ) -> Result<(), PeerError> {
        let parts = Parts::split(&self.envelope)?;
        authority.verify(&Claim {
            cluster_id: &self.record.metadata.cluster_id,
            node_id: &self.record.metadata.node_id,
            role: &self.record.metadata.role,
            incarnation: self.record.incarnation,
            message,
            scheme: signature.scheme,
            signature: &signature.bytes,
            leaf: parts.leaf,
            intermediates: &parts.intermediates,
        })
    }

    /// The bytes as their author signed them.
    pub fn envelope(&self) -> &Arc<[u8]> {
        &self.envelope
    }

    /// The name of this record in hot updates.
    pub fn hash(&self) -> RecordHash {
        self.hash
    }

    /// The decoded content.
    pub fn record(&self) -> &NodeRecord {
        &self.record
    }
}

/// Reads member id, incarnation and hash of an envelope without verifying it, to decide whether
/// verification is worth its cost.
///
/// # Errors
/// [`DecodeError`] when the layout does not hold.
pub fn peek(envelope: &[u8]) -> Result<(MemberId, Incarnation, RecordHash), DecodeError> {
    let parts = Parts::split(envelope)?;
    let (header, _) =
        BodyHeader::read_from_prefix(parts.body).map_err(|_| DecodeError::Truncated)?;
    let incarnation =
        Incarnation { generation: header.generation.get(), counter: header.counter.get() };
    Ok((MemberId(header.id), incarnation, hash_of(&signed_message(parts.body))))
}

/// Who signed an envelope, as it says itself: its leaf certificate in DER and the SHA-256 of the
/// intermediates that complete its chain.
///
/// # Errors
/// [`DecodeError`] when the layout does not hold.
pub fn signer(envelope: &[u8]) -> Result<(&[u8], Vec<[u8; 32]>), DecodeError> {
    let parts = Parts::split(envelope)?;
    Ok((parts.leaf, parts.intermediates))
}

/// Puts a signed body into an envelope; `None` when the authority cannot sign or a part exceeds its
/// field.
pub(crate) fn seal(prefix: &[u8], body: &[u8], authority: &dyn Authority) -> Option<Vec<u8>> {
    let signature = authority.sign(&[prefix, body].concat())?;
    let header = EnvelopeHeader {
        format: FORMAT,
        intermediates: u8::try_from(authority.intermediates().len()).ok()?,
        scheme: U16::new(signature.scheme),
        body: U16::new(u16::try_from(body.len()).ok()?),
        signature: U16::new(u16::try_from(signature.bytes.len()).ok()?),
        leaf: U16::new(u16::try_from(authority.leaf().len()).ok()?),
        reserved: U16::ZERO,
    };
    let mut envelope = Vec::with_capacity(64 + body.len() + authority.leaf().len());
    envelope.extend_from_slice(header.as_bytes());
    envelope.extend_from_slice(body);
    envelope.extend_from_slice(&signature.bytes);
    envelope.extend_from_slice(authority.leaf());
    for hash in authority.intermediates() {
        envelope.extend_from_slice(hash);
    }
    (envelope.len() <= MAX_ENVELOPE).then_some(envelope)
}

/// An envelope taken apart.
pub(crate) struct Parts<'a> {
    pub(crate) scheme: u16,
    pub(crate) body: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) leaf: &'a [u8],
    pub(crate) intermediates: Vec<[u8; 32]>,
}

impl<'a> Parts<'a> {
    pub(crate) fn split(envelope: &'a [u8]) -> Result<Self, DecodeError> {
        if envelope.len() > MAX_ENVELOPE {
            return Err(DecodeError::Oversized("record envelope"));
        }
        let (header, rest) =
            EnvelopeHeader::read_from_prefix(envelope).map_err(|_| DecodeError::Truncated)?;
        if header.format != FORMAT {
            return Err(DecodeError::Version);
        }
        if header.reserved.get() != 0 {
            return Err(DecodeError::Reserved);
        }
        let (body, rest) = take(rest, header.body.get().into())?;
        let (signature, rest) = take(rest, header.signature.get().into())?;
        let (leaf, rest) = take(rest, header.leaf.get().into())?;
        let (hashes, rest) = take(rest, usize::from(header.intermediates) * 32)?;
        if !rest.is_empty() {
            return Err(DecodeError::Field("trailing bytes"));
        }
        let intermediates = hashes
            .chunks_exact(32)
            .map(|chunk| {
                let mut hash = [0; 32];
                hash.copy_from_slice(chunk);
                hash
            })
            .collect();
        Ok(Self { scheme: header.scheme.get(), body, signature, leaf, intermediates })
    }
}

struct Names<'a> {
    cluster_id: &'a str,
    node_id: &'a str,
}

/// The metadata document with what the node itself adds to it.
pub(crate) fn document(record: &NodeRecord) -> Vec<u8> {
    let mut document = record.metadata.encode();
    if let Some(standing) = &record.standing {
        document.extend(standing.encode());
    }
    document
}

fn encode_body(record: &NodeRecord, leaf: &[u8]) -> Option<Vec<u8>> {
    let (cluster, node) = (&record.metadata.cluster_id, &record.metadata.node_id);
    let metadata = document(record);
    if record.addresses.len() > MAX_ADDRESSES {
        return None;
    }
    let header = BodyHeader {
        format: FORMAT,
        lifecycle: record.lifecycle as u8,
        version_min: record.versions.0,
        version_max: record.versions.1,
        cluster_len: u8::try_from(cluster.len()).ok()?,
        node_len: u8::try_from(node.len()).ok()?,
        addresses: record.addresses.len() as u8,
        reserved: 0,
        metadata_len: U16::new(u16::try_from(metadata.len()).ok()?),
        extensions_len: U16::ZERO,
        counter: U32::new(record.incarnation.counter),
        generation: U64::new(record.incarnation.generation),
        id: record.id.0,
        signer: Sha256::digest(leaf).into(),
    };
    let mut body = Vec::with_capacity(96 + cluster.len() + node.len() + metadata.len());
    body.extend_from_slice(header.as_bytes());
    body.extend_from_slice(cluster.as_bytes());
    body.extend_from_slice(node.as_bytes());
    for address in &record.addresses {
        body.extend_from_slice(encode_address(*address).as_bytes());
    }
    body.extend_from_slice(&metadata);
    Some(body)
}

fn decode_body<'a>(
    body: &'a [u8],
    leaf: &[u8],
    metadata_limit: usize,
) -> Result<(NodeRecord, Names<'a>), PeerError> {
    let (header, rest) = BodyHeader::read_from_prefix(body).map_err(|_| DecodeError::Truncated)?;
    if header.format != FORMAT {
        return Err(DecodeError::Version.into());
    }
    if header.reserved != 0 {
        return Err(DecodeError::Reserved.into());
    }
    if header.signer != <[u8; 32]>::from(Sha256::digest(leaf)) {
        return Err(PeerError::Signature("the leaf certificate is not the signer"));
    }
    let lifecycle =
        Lifecycle::from_wire(header.lifecycle).ok_or(DecodeError::Field("lifecycle"))?;
    if usize::from(header.addresses) > MAX_ADDRESSES {
        return Err(DecodeError::Oversized("record addresses").into());
    }
    if usize::from(header.metadata_len.get()) > metadata_limit {
        return Err(DecodeError::Oversized("metadata").into());
    }
    let (cluster, rest) = take(rest, header.cluster_len.into())?;
    let (node, rest) = take(rest, header.node_len.into())?;
    let (addresses, rest) = take(rest, usize::from(header.addresses) * 18)?;
    let (metadata, rest) = take(rest, header.metadata_len.get().into())?;
    let (_extensions, rest) = take(rest, header.extensions_len.get().into())?;
    if !rest.is_empty() {
        return Err(DecodeError::Field("trailing bytes").into());
    }
    let names = Names { cluster_id: text(cluster, "cluster id")?, node_id: text(node, "node id")? };
    let record = NodeRecord {
        id: MemberId(header.id),
        incarnation: Incarnation {
            generation: header.generation.get(),
            counter: header.counter.get(),
        },
        lifecycle,
        versions: (header.version_min, header.version_max),
        addresses: addresses.chunks_exact(18).filter_map(decode_address).collect(),
        metadata: Metadata::decode(metadata)?,
        standing: Standing::decode(metadata)?,
    };
    Ok((record, names))
}

fn encode_address(address: SocketAddr) -> WireAddress {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    WireAddress { ip: ip.octets(), port: U16::new(address.port()) }
}

fn decode_address(bytes: &[u8]) -> Option<SocketAddr> {
    let address = WireAddress::read_from_bytes(bytes).ok()?;
    let ip = Ipv6Addr::from(address.ip).to_canonical();
    // Sends to a group or to nobody are refused here, once, for every use (rule S-10).
    if ip.is_multicast() || ip.is_unspecified() || address.port.get() == 0 {
        return None;
    }
    Some(SocketAddr::new(ip, address.port.get()))
}

fn signed_message(body: &[u8]) -> Vec<u8> {
    [SIGNATURE_PREFIX, body].concat()
}

fn hash_of(message: &[u8]) -> RecordHash {
    let digest = Sha256::digest(message);
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&digest[..8]);
    RecordHash(u64::from_le_bytes(prefix))
}

fn take(bytes: &[u8], len: usize) -> Result<(&[u8], &[u8]), DecodeError> {
    bytes.split_at_checked(len).ok_or(DecodeError::Truncated)
}

fn text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, DecodeError> {
    core::str::from_utf8(bytes).map_err(|_| DecodeError::Field(field))
}

/// The record that a node starts its life with.
pub fn first_record(
    cluster_id: &str,
    incarnation: Incarnation,
    addresses: Vec<SocketAddr>,
    metadata: Metadata,
) -> NodeRecord {
    let metadata = Metadata { cluster_id: String::from(cluster_id), ..metadata };
    NodeRecord {
        id: MemberId::derive(cluster_id, &metadata.node_id.to_string()),
        incarnation,
        lifecycle: Lifecycle::Active,
        versions: PROTOCOL_VERSIONS,
        addresses,
        metadata,
        standing: None,
    }
}
