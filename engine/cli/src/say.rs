//! Words for people beside what was asked for: on stderr.
//!
//! Invariant: a stderr that nobody holds open, or that is full, ends nothing. The standard library's macros
//! panic there, and a server would leave its client without an answer.

use std::fmt::Arguments;
use std::io::Write as _;

/// One line.
pub(crate) fn line(text: Arguments<'_>) {
    // Nobody is left to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says one line on stderr, as `eprintln!` does, whatever becomes of it.
macro_rules! tell {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
pub(crate) use tell;
