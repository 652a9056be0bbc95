//! One core, its sockets, its agents: the drain loop.

/// An agent as its shard holds it.
pub(crate) struct Hosted;
