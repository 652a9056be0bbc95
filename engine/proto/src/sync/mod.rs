//! Agreement: pulling records, noticing that views differ, exchanging whole states.

pub mod agreement;
pub mod pulls;
pub mod push_pull;
pub mod snapshot;
