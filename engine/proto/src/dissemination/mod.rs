//! Spreading news: which updates travel, how often, and in which order.

pub mod lists;
pub mod queue;
