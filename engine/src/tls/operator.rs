//! An operator, who is no member: certificate and key of a person, to sign orders with.
//!
//! Invariant: an [`Operator`] has a certificate that names it so; whether others trust that
//! certificate is for them to say (rule S-14).

use std::fmt;
use std::time::Duration;

use mesh_gossip_proto::error::PeerError;
use mesh_gossip_proto::membership::order::{LONGEST, Sentence};
use mesh_gossip_proto::membership::record::{Authority, Claim, Signature};
use mesh_gossip_proto::{Incarnation, MemberId, WallTime};

use crate::options::TlsOptions;
use crate::tls::authority::sign_with;
use crate::tls::credentials::{CredentialsError, Pair};
use crate::tls::identity::{Identity, IdentityError, NameRule};
use crate::tls::provider::sha256;

/// Certificate and key of an operator.
pub struct Operator {
    pair: Pair,
    identity: Identity,
    intermediates: Vec<[u8; 32]>,
}

/// Why there is no operator, or no order.
#[derive(Debug)]
pub enum OperatorError {
    /// The files could not be read.
    Credentials(Box<CredentialsError>),
    /// The certificate does not name an operator.
    Identity(IdentityError),
    /// An order holds for so long at most.
    Lifetime(Duration),
    /// The key could not sign.
    Signing,
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials(error) => error.fmt(f),
            Self::Identity(error) => error.fmt(f),
            Self::Lifetime(given) => write!(
                f,
                "an order of {} s is too long: it holds for {} s at most",
                given.as_secs(),
                LONGEST.as_secs()
            ),
            Self::Signing => f.write_str("the operator's key could not sign the order"),
        }
    }
}

impl std::error::Error for OperatorError {}

impl Operator {
    /// Loads certificate and key; what `options` say of trust is not looked at.
    ///
    /// # Errors
    /// [`OperatorError`] names the setting, the file and the fix.
    pub fn load(options: &TlsOptions) -> Result<Self, OperatorError> {
        let pair =
            Pair::load(options).map_err(|error| OperatorError::Credentials(Box::new(error)))?;
        let leaf = &pair.chain()[0];
        let identity = Identity::of_leaf(NameRule::of_own(leaf), leaf);
        let identity = identity.map_err(OperatorError::Identity)?;
        identity.require_operator().map_err(OperatorError::Identity)?;
        let intermediates = pair.chain()[1..].iter().map(|der| sha256(der)).collect();
        Ok(Self { pair, identity, intermediates })
    }

    /// Whom the certificate names.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The order that this life of a member of our cluster is over, from `issued` on for `lifetime`.
    ///
    /// # Errors
    /// [`OperatorError::Lifetime`] or [`OperatorError::Signing`].
    pub fn force_leave(
        &self,
        subject: MemberId,
        incarnation: Incarnation,
        issued: WallTime,
        lifetime: Duration,
    ) -> Result<Vec<u8>, OperatorError> {
        if lifetime > LONGEST {
            return Err(OperatorError::Lifetime(lifetime));
        }
        let cluster_id = &self.identity.cluster;
        let sentence = Sentence { cluster_id, subject, incarnation, issued, lifetime };
        sentence.sign(self).ok_or(OperatorError::Signing)
    }
}

impl Authority for Operator {
    fn sign(&self, message: &[u8]) -> Option<Signature> {
        sign_with(self.pair.key().as_ref(), message)
    }

    fn leaf(&self) -> &[u8] {
        &self.pair.chain()[0]
    }

    fn intermediates(&self) -> &[[u8; 32]] {
        &self.intermediates
    }

    /// It judges nobody.
    fn verify(&self, _claim: &Claim<'_>) -> Result<(), PeerError> {
        Err(PeerError::Signature("an operator verifies nobody"))
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator").field("identity", &self.identity.name()).finish_non_exhaustive()
    }
}
