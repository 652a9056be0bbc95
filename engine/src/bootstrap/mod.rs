//! Minting of certificate authorities and node certificates.
//!
//! A root that can lie in a drawer signs an issuing CA that works; the issuing CA signs nodes.
//! Everything also works in memory, for demos and tests.
//!
//! Invariant: what is minted here passes the mesh's own verifier, and a private key is never
//! formatted, logged or written to a file that others may read (rule S-21).

mod authority;
mod error;
mod files;
mod issued;
#[cfg(test)]
mod tests;

pub use authority::{CaValidity, CertificateAuthority, Subject};
pub use error::BootstrapError;
pub use files::{
    Existing, ISSUING_CERTIFICATE, ISSUING_KEY, ROOT_CERTIFICATE, ROOT_KEY, TRUST_BUNDLE,
};
pub use issued::{Issued, IssuedFiles};
