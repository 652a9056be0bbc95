//! What a completion belongs to, in the 64 bits that travel with a request.

use super::SocketId;
use super::sends::Run;

/// What a completion belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Receive(SocketId),
    Cancel(SocketId),
    /// A run of the queue, and how often that had been emptied before.
    Send(Run, u16),
    Wake,
}

impl Tag {
    const SEND: u64 = 1 << 32;
    const WAKE: u64 = 2 << 32;
    const RECEIVE: u64 = 3 << 32;
    const CANCEL: u64 = 4 << 32;

    pub(crate) fn to_user_data(self) -> u64 {
        match self {
            Self::Send(run, generation) => {
                let run = (run.start as u64) << 8 | run.len as u64;
                Self::SEND | run << 16 | u64::from(generation)
            }
            Self::Wake => Self::WAKE,
            Self::Receive(id) => Self::RECEIVE | u64::from(id.0),
            Self::Cancel(id) => Self::CANCEL | u64::from(id.0),
        }
    }

    pub(crate) fn from_user_data(data: u64) -> Option<Self> {
        let id = SocketId(data as u32);
        match data & !u64::from(u32::MAX) {
            Self::SEND => {
                let run = Run { start: (id.0 >> 24) as usize, len: (id.0 >> 16 & 0xFF) as usize };
                Some(Self::Send(run, id.0 as u16))
            }
            Self::WAKE => Some(Self::Wake),
            Self::RECEIVE => Some(Self::Receive(id)),
            Self::CANCEL => Some(Self::Cancel(id)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_kernel() {
        let id = SocketId(u32::MAX);
        let send = Tag::Send(Run { start: 63, len: 64 }, u16::MAX);
        for tag in [send, Tag::Wake, Tag::Receive(id), Tag::Cancel(SocketId(7))] {
            assert_eq!(Tag::from_user_data(tag.to_user_data()), Some(tag));
        }
        assert_eq!(Tag::from_user_data(0), None);
    }
}
