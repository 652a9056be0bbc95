//! Whose a certificate is.

use mesh_gossip_proto::MemberId;
use rustls_pki_types::CertificateDer;

/// The member that a certificate names.
pub struct Identity(MemberId);

impl Identity {
    /// Its id.
    pub fn member_id(&self) -> MemberId {
        self.0
    }
}

/// The certificate names no member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoIdentity;

/// Reads the identity of a leaf.
///
/// # Errors
/// [`NoIdentity`].
pub fn identity_of(_leaf: &CertificateDer<'_>) -> Result<Identity, NoIdentity> {
    Err(NoIdentity)
}
