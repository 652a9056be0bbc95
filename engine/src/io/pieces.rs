//! What arrives as one and was sent as several: the kernel joins datagrams of one length from one
//! peer where it has them at hand (GRO), and says how long each is.
//!
//! A run that a peer of ours sends costs one receive that way, and not one for each of its
//! datagrams. What came alone is one piece.
//!
//! Invariant: pieces are as they were sent: all of one length but the last, which may be shorter.

use std::mem::offset_of;
use std::ops::Range;
use std::os::fd::RawFd;

use super::socket::set_option;

/// The kernel joins no more than an IP packet may be long.
pub(crate) const JOINED_MAX_BYTES: usize = 65_536;
/// From one receive buffer to the next: their first pages are all that most datagrams touch, and
/// must not all begin in the same few sets of the cache.
pub(crate) const STRIDE: usize = JOINED_MAX_BYTES + 4_096 + 64;

/// Room for what the kernel says of a datagram's pieces.
pub(crate) const CONTROL_BYTES: usize = 32;
const HEAD_BYTES: usize = size_of::<libc::cmsghdr>();
const _: () = assert!(HEAD_BYTES + size_of::<i32>() <= CONTROL_BYTES);

/// Lets the kernel join what arrives on a socket, where it can.
pub(crate) fn join(fd: RawFd) {
    // Best effort: before Linux 5.0 every datagram comes by itself.
    let _ = set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
}

/// How long pieces are, by a control message; none where nothing was joined.
pub(crate) fn piece_bytes(control: &[u8]) -> Option<usize> {
    let word = |at: usize| {
        let bytes = control.get(at..at + size_of::<i32>())?;
        Some(i32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let level = word(offset_of!(libc::cmsghdr, cmsg_level))?;
    let kind = word(offset_of!(libc::cmsghdr, cmsg_type))?;
    let bytes = usize::try_from(word(HEAD_BYTES)?).ok()?;
    (level == libc::SOL_UDP && kind == libc::UDP_GRO && bytes > 0).then_some(bytes)
}

/// The pieces of what arrived that are still to be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pieces {
    at: usize,
    len: usize,
    each: usize,
}

impl Pieces {
    /// Of a payload of `len` bytes, in which pieces have `each`.
    pub(crate) fn of(len: usize, each: Option<usize>) -> Self {
        Self { at: 0, len, each: each.unwrap_or(len) }
    }

    /// Where the next one is. An empty datagram has one, which is empty.
    pub(crate) fn next(&mut self) -> Range<usize> {
        let end = (self.at + self.each).min(self.len);
        std::mem::replace(&mut self.at, end)..end
    }

    /// Whether there were several from the beginning.
    pub(crate) fn are_joined(&self) -> bool {
        self.each < self.len
    }

    /// Whether there are more.
    pub(crate) fn are_left(&self) -> bool {
        self.at < self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beginnings and ends.
    fn all(len: usize, each: Option<usize>) -> Vec<(usize, usize)> {
        let mut pieces = Pieces::of(len, each);
        let mut all = Vec::new();
        loop {
            let piece = pieces.next();
            all.push((piece.start, piece.end));
            if !pieces.are_left() {
                return all;
            }
        }
    }

    #[test]
    fn pieces_are_of_one_length_but_the_last() {
        assert_eq!(all(0, None), [(0, 0)]);
        assert_eq!(all(7, None), [(0, 7)]);
        assert_eq!(all(7, Some(9)), [(0, 7)]);
        assert_eq!(all(6, Some(3)), [(0, 3), (3, 6)]);
        assert_eq!(all(7, Some(3)), [(0, 3), (3, 6), (6, 7)]);
    }

    #[test]
    fn only_the_kernels_word_on_pieces_is_read() {
        let mut control = [0; CONTROL_BYTES];
        let mut put = |at: usize, word: i32| {
            control[at..at + 4].copy_from_slice(&word.to_ne_bytes());
            control
        };
        put(offset_of!(libc::cmsghdr, cmsg_level), libc::SOL_UDP);
        put(offset_of!(libc::cmsghdr, cmsg_type), libc::UDP_GRO);
        let whole = put(HEAD_BYTES, 64);
        assert_eq!(piece_bytes(&whole), Some(64));
        for len in 0..HEAD_BYTES + 4 {
            assert_eq!(piece_bytes(&whole[..len]), None, "{len} bytes");
        }
        assert_eq!(piece_bytes(&put(HEAD_BYTES, -1)), None);
        assert_eq!(piece_bytes(&put(HEAD_BYTES, 0)), None);
        put(HEAD_BYTES, 64);
        assert_eq!(piece_bytes(&put(offset_of!(libc::cmsghdr, cmsg_type), 1)), None);
    }
}
