//! TLS: credentials, verification, handshakes over datagrams, session keys.

pub mod alpn;
pub mod authority;
mod bounded;
pub mod caller;
pub mod credentials;
mod credentials_error;
pub mod identity;
pub(crate) mod keys;
pub(crate) mod material;
pub mod notary;
pub mod operator;
pub(crate) mod proof;
pub mod provider;
pub mod revocation;
pub mod standing;
#[cfg(feature = "pkcs12")]
pub(crate) mod store;
pub mod trust;
mod trust_error;
pub mod verifier;

#[cfg(test)]
mod authority_tests;
#[cfg(test)]
pub(crate) mod certificates_tests;
#[cfg(test)]
mod chains_tests;
#[cfg(test)]
mod credentials_tests;
#[cfg(test)]
pub(crate) mod forgery_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod notary_tests;
#[cfg(test)]
mod orders_tests;
#[cfg(test)]
mod revocation_tests;
#[cfg(test)]
mod verifier_tests;
