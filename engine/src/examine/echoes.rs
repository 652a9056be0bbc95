//! Datagrams that need no session to be answered: a sealed one of a session that nobody has is
//! answered with a hint (rule S-10), whatever its size, so that a path can be measured.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use mesh_gossip_proto::wire::header::{DataHeader, INIT_SIZE, ResetHint};
use zerocopy::IntoBytes;

use crate::entropy;

/// A datagram that passes every path.
pub const SMALL: usize = 64;
/// The largest that members send each other.
pub const LARGE: usize = INIT_SIZE;
/// Tries, since datagrams are lost.
const TRIES: u32 = 5;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// One was answered.
    pub came_back: bool,
    /// The packet numbers of those sent, by which [`heard`](super::heard) asks for them.
    pub sent: Vec<u64>,
}

/// Whether the member at `address` answers a datagram of `size` bytes. The answer has 16.
///
/// # Errors
/// What the socket said, where nothing could be sent.
pub fn echo(
    socket: &UdpSocket,
    address: SocketAddr,
    size: usize,
    patience: Duration,
) -> io::Result<Echo> {
    let mut sent = Vec::new();
    for _ in 0..TRIES {
        let random = || entropy::word().map_err(|_| io::Error::other("no random bytes"));
        let (receiver, packet_number) = ((random()? >> 32) as u32, random()?);
        sent.push(packet_number);
        let header = DataHeader::new(receiver, packet_number);
        let mut datagram = header.as_bytes().to_vec();
        datagram.resize(size.max(datagram.len()), 0);
        socket.send_to(&datagram, address)?;
        if hears(socket, address, ResetHint::answering(&header).as_bytes(), patience / TRIES)? {
            return Ok(Echo { came_back: true, sent });
        }
    }
    Ok(Echo { came_back: false, sent })
}

fn hears(
    socket: &UdpSocket,
    address: SocketAddr,
    answer: &[u8],
    patience: Duration,
) -> io::Result<bool> {
    let until = Instant::now() + patience;
    let mut buffer = [0; 2_048];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) if from == address && &buffer[..length] == answer => {
                return Ok(true);
            }
            // Of others, late, or a port where nobody listens: somebody may yet.
            Ok(_) => {}
            Err(error) if is_silence(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Nothing came, or a machine said that nobody listens there.
pub(super) fn is_silence(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | ConnectionRefused | Interrupted)
}
