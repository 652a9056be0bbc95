//! An operator's word that a life of a member is over (rule S-14).
//!
//! A member that is gone for good need not be waited for, and one that hangs can be sent away. The
//! order names exactly one life, so it says nothing of the member's return, and it has an end, so
//! that nobody keeps it for another day.
//!
//! Invariant: an [`Order`] exists only for bytes that an operator of this cluster signed.

use alloc::sync::Arc;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};
use zerocopy::byteorder::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{DecodeError, PeerError};
use crate::member::{Incarnation, MemberId};
use crate::membership::record::{Authority, OperatorClaim, Parts, seal};
use crate::time::{Duration, WallTime};
use crate::wire::message::WireIncarnation;

/// Domain separation: what an order's signature covers begins with these bytes.
pub const SIGNATURE_PREFIX: &[u8] = b"mesh-gossip force-leave v1\0";

/// No order holds for longer.
pub const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// Body of an order; the cluster id follows, to its end.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct BodyHeader {
    subject: [u8; 16],
    incarnation: WireIncarnation,
    reserved: [u8; 4],
    issued_ms: U64,
    expires_ms: U64,
    signer: [u8; 32],
}
const _: () = assert!(size_of::<BodyHeader>() == 80);

/// A verified order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who is to be gone.
    pub subject: MemberId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// From when on the order holds,
    pub issued: WallTime,
    /// and until when.
    pub expires: WallTime,
    /// As it travels.
    pub bytes: Arc<[u8]>,
}

/// What an operator signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentence<'a> {
    /// Of which cluster.
    pub cluster_id: &'a str,
    /// Who is to be gone.
    pub subject: MemberId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// From when on the order holds.
    pub issued: WallTime,
    /// For how long: [`LONGEST`] at most.
    pub lifetime: Duration,
}

impl Sentence<'_> {
    /// The order as it travels, signed by `operator`; `None` when the operator's key cannot sign or
    /// the lifetime is longer than allowed.
    pub fn sign(&self, operator: &dyn Authority) -> Option<Vec<u8>> {
        if self.lifetime > LONGEST {
            return None;
        }
        let lifetime = u64::try_from(self.lifetime.as_millis()).ok()?;
        let header = BodyHeader {
            subject: self.subject.0,
            incarnation: self.incarnation.into(),
            reserved: [0; 4],
            issued_ms: U64::new(self.issued.0),
            expires_ms: U64::new(self.issued.0.checked_add(lifetime)?),
            signer: Sha256::digest(operator.leaf()).into(),
        };
        let body = [header.as_bytes(), self.cluster_id.as_bytes()].concat();
        seal(SIGNATURE_PREFIX, &body, operator)
    }
}

impl Order {
    /// Whom an order is about by its own account, unverified.
    pub(crate) fn peek(bytes: &[u8]) -> Option<MemberId> {
        let parts = Parts::split(bytes).ok()?;
        let (header, _) = BodyHeader::read_from_prefix(parts.body).ok()?;
        Some(MemberId(header.subject))
    }

    /// Reads and verifies an order of `cluster_id`. Whether it holds at this time is another
    /// question.
    ///
    /// # Errors
    /// [`PeerError`] by the rule that is broken.
    pub fn verify(
        bytes: &[u8],
        cluster_id: &str,
        authority: &dyn Authority,
    ) -> Result<Self, PeerError> {
        let parts = Parts::split(bytes)?;
        let (header, cluster) =
            BodyHeader::read_from_prefix(parts.body).map_err(|_| DecodeError::Truncated)?;
        if header.reserved != [0; 4] {
            return Err(DecodeError::Reserved.into());
        }
        if cluster != cluster_id.as_bytes() {
            return Err(PeerError::ForeignCluster);
        }
        if header.signer != <[u8; 32]>::from(Sha256::digest(parts.leaf)) {
            return Err(PeerError::Signature("the leaf certificate is not the signer"));
        }
        let (issued, expires) = (header.issued_ms.get(), header.expires_ms.get());
        let longest = LONGEST.as_millis() as u64;
        if expires.checked_sub(issued).is_none_or(|lifetime| lifetime > longest) {
            return Err(DecodeError::Field("lifetime of an order").into());
        }
        authority.verify_operator(&OperatorClaim {
            cluster_id,
            message: &[SIGNATURE_PREFIX, parts.body].concat(),
            scheme: parts.scheme,
            signature: parts.signature,
            leaf: parts.leaf,
            intermediates: &parts.intermediates,
        })?;
        Ok(Self {
            subject: MemberId(header.subject),
            incarnation: header.incarnation.into(),
            issued: WallTime(issued),
            expires: WallTime(expires),
            bytes: bytes.into(),
        })
    }
}
