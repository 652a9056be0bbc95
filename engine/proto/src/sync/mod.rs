//! Agreement: pulling records and what proves them, noticing that views and clocks differ,
//! exchanging whole states.

pub mod agreement;
pub mod chains;
pub mod clocks;
pub mod early;
pub mod partners;
pub mod pulls;
pub mod push_pull;
pub mod reconciler;
pub mod sketch;
pub mod snapshot;
pub mod storm;
