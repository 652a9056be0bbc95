//! What is known of whom: records, the table of members, the immutable view, random choice.

pub mod record;
