//! Minting of certificate authorities and node certificates.
