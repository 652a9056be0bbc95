//! What an agent proves itself with and trusts by.

/// Credentials of one agent.
pub struct Credentials;
