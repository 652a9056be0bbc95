//! The peers of whoever is measured: sockets on loopback, driven off the clock.
//!
//! They do as engines of ours do: what a peer says to one at a time is handed to the kernel as one
//! (GSO), and taken as one where it comes as one (GRO). For a receiver that takes datagrams one by one the
//! kernel cuts it, before it is there and off the clock.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mesh_gossip::io::bind;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
    sockopt,
};

/// Loopback delivers in the sender's call; a core that is busy elsewhere may need a moment.
const PATIENCE: Duration = Duration::from_millis(250);

/// Who talks to an alternative, and how much at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Different peers.
    pub(crate) peers: usize,
    /// Datagrams that each has under way.
    pub(crate) depth: usize,
}

impl Shape {
    /// Datagrams of a batch.
    pub(crate) fn batch(self) -> usize {
        self.peers * self.depth
    }
}

/// The peers' sockets.
pub(crate) struct Crowd {
    sockets: Vec<UdpSocket>,
    addresses: Vec<SocketAddr>,
    buffer: Vec<u8>,
    said: Vec<u8>,
    /// What is left of what came as one, how long each is, and whose it is.
    rest: (Range<usize>, usize, usize),
}

/// An IP packet is no longer.
const JOINED_MAX_BYTES: usize = 65_536;

impl Crowd {
    /// # Errors
    /// The kernel gives no sockets.
    pub(crate) fn of(peers: usize) -> io::Result<Self> {
        let sockets = (0..peers).map(|_| bind(loopback())).collect::<io::Result<Vec<_>>>()?;
        for socket in &sockets {
            setsockopt(socket, sockopt::UdpGroSegment, &true)?;
        }
        let addresses = sockets.iter().map(UdpSocket::local_addr).collect::<io::Result<_>>()?;
        let buffer = vec![0; JOINED_MAX_BYTES];
        let said = nix::cmsg_space!(i32);
        Ok(Self { sockets, addresses, buffer, said, rest: (0..0, 0, 0) })
    }

    /// Where peer `number` is.
    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        self.addresses[number]
    }

    /// Peer `number` says something: datagrams of `each` bytes, one behind the other.
    pub(crate) fn say(&self, number: usize, to: SocketAddr, bytes: &[u8], each: usize) {
        let SocketAddr::V4(to) = to else { return };
        let (parts, to) = ([IoSlice::new(bytes)], SockaddrIn::from(to));
        let size = each as u16;
        let cut = [ControlMessage::UdpGsoSegments(&size)];
        let cut = if bytes.len() > each { &cut[..] } else { &[] };
        // What the kernel refuses is not answered, which is noticed.
        let _ =
            sendmsg(self.sockets[number].as_raw_fd(), &parts, cut, MsgFlags::empty(), Some(&to));
    }

    /// Takes the next datagram that peer `number` was sent, if there is one.
    pub(crate) fn take(&mut self, number: usize) -> Option<&mut [u8]> {
        if self.rest.2 != number || self.rest.0.is_empty() {
            let (len, each) = self.receive(number)?;
            self.rest = (0..len, each, number);
        }
        let (rest, each, _) = &mut self.rest;
        let piece = rest.start..(rest.start + *each).min(rest.end);
        rest.start = piece.end;
        Some(&mut self.buffer[piece])
    }

    /// How much came, and how long each datagram of it is.
    fn receive(&mut self, number: usize) -> Option<(usize, usize)> {
        let Self { sockets, buffer, said, .. } = self;
        let mut parts = [IoSliceMut::new(buffer)];
        let (fd, flags) = (sockets[number].as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let came = recvmsg::<SockaddrIn>(fd, &mut parts, Some(said), flags).ok()?;
        let each = came.cmsgs().ok()?.find_map(|said| match said {
            ControlMessageOwned::UdpGroSegments(each) => usize::try_from(each).ok(),
            _ => None,
        });
        Some((came.bytes, each.unwrap_or(came.bytes).max(1)))
    }
}

/// Any free port.
pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Asks again and again until a batch is complete or must be given up.
pub(crate) fn until_served(batch: usize, mut some: impl FnMut() -> usize) -> usize {
    let (mut served, mut gave_up_at) = (0, None);
    while served < batch {
        match some() {
            0 => {
                let ends = *gave_up_at.get_or_insert_with(|| Instant::now() + PATIENCE);
                if Instant::now() >= ends {
                    break;
                }
            }
            more => {
                served += more;
                gave_up_at = None;
            }
        }
    }
    served
}
