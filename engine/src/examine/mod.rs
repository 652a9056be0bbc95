//! Looks at a member from outside, as a diagnosis needs it: over TCP, by datagrams without a
//! session, and through a session that ends with the look.
//!
//! Nobody joins: what is asked here changes no view. A session is made under the name of our own
//! certificate, though, and its peer would send it what our agent should hear; so whoever looks
//! while an agent of that name runs keeps to streams and [`echo`].
//!
//! Invariant: every look ends by its deadline.

mod echoes;
mod meeting;
mod questions;
mod streams;

pub use echoes::{Echo, LARGE, SMALL, echo};
pub use meeting::{Meeting, NoMeeting, meet};
pub use questions::{Held, heard, held};
pub use streams::{TlsTrouble, tls};
