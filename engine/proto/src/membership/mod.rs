//! What is known of whom: records, the table of members, the immutable view, random choice.

pub mod chunks;
pub mod digest;
pub mod record;
#[cfg(test)]
pub(crate) mod record_tests;
pub mod ring;
pub mod roster;
pub mod table;
pub mod view;
