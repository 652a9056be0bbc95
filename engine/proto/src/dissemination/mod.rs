//! Spreading news: which updates travel, how often, and in which order.

pub mod balance;
pub mod broadcasts;
pub mod former;
mod knowing;
pub mod lists;
pub mod origins;
mod purse;
pub mod queue;
pub mod recent;
