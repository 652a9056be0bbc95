//! TLS: credentials, verification, handshakes over datagrams, session keys.

pub mod alpn;
pub mod authority;
pub mod credentials;
mod credentials_error;
pub mod identity;
pub(crate) mod keys;
mod material;
pub mod provider;
pub mod trust;
pub mod verifier;

#[cfg(test)]
mod authority_tests;
#[cfg(test)]
pub(crate) mod certificates_tests;
#[cfg(test)]
mod credentials_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod verifier_tests;
