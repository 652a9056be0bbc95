//! Spreading news: which updates travel, how often, and in which order.

pub mod balance;
pub mod broadcasts;
pub mod lists;
pub mod origins;
pub mod queue;
pub mod recent;
