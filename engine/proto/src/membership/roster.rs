//! The two lists that a member is on one of.

/// Which members are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Alive or suspect.
    Present,
    /// Dead or left.
    Departed,
}
