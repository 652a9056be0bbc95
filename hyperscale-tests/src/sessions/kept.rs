//! Sessions by peer: each on a cache line of its own, which is fetched before it is asked for.

use mesh_gossip_proto::near::{Entry, Near};

use super::Session;

/// A session and whose it is, on a cache line of its own.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Kept(pub(super) Option<(u32, Session)>);

const _: () = assert!(size_of::<Kept>() == 64);

impl Entry for Kept {
    type Key = u32;
    const FREE: Self = Self(None);

    fn key(&self) -> Option<u32> {
        self.0.map(|(peer, _)| peer)
    }

    /// A multiplication spreads indices, and the upper bits are the well mixed ones (Knuth 6.4).
    fn spread(peer: u32) -> usize {
        (u64::from(peer).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
    }
}

/// The session with `peer`, to be changed.
pub(super) fn session_of(sessions: &mut Near<Kept>, peer: u32) -> Option<&mut Session> {
    sessions.get_mut(peer)?.0.as_mut().map(|(_, session)| session)
}
