//! Metrics of one agent.
/// Metrics of one agent.
pub(crate) struct Metrics;
