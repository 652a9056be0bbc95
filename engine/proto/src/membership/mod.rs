//! What is known of whom: records, the table of members, the immutable view, random choice.

pub mod broadcast;
pub mod chunks;
pub mod circle;
pub mod digest;
pub mod index;
pub mod order;
pub mod pace;
pub mod record;
#[cfg(test)]
pub(crate) mod record_tests;
pub mod ring;
#[cfg(test)]
pub(crate) mod ring_tests;
pub mod roster;
pub mod shares;
pub mod signers;
pub mod slots;
mod split;
pub mod table;
#[cfg(test)]
mod table_tests;
pub mod tombstones;
pub mod view;
