//! The peers of whoever is measured: plain sockets on loopback, driven off the clock.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use mesh_gossip::io::{DATAGRAM_MAX_BYTES, bind};

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
}

impl Crowd {
    /// # Errors
    /// The kernel gives no sockets.
    pub(crate) fn of(peers: usize) -> io::Result<Self> {
        let sockets = (0..peers).map(|_| bind(loopback())).collect::<io::Result<Vec<_>>>()?;
        let addresses = sockets.iter().map(UdpSocket::local_addr).collect::<io::Result<_>>()?;
        Ok(Self { sockets, addresses, buffer: vec![0; DATAGRAM_MAX_BYTES] })
    }

    /// Where peer `number` is.
    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        self.addresses[number]
    }

    /// Peer `number` says something.
    pub(crate) fn say(&self, number: usize, to: SocketAddr, bytes: &[u8]) {
        // What the kernel refuses is not answered, which is noticed.
        let _ = self.sockets[number].send_to(bytes, to);
    }

    /// Takes the next datagram that peer `number` was sent, if there is one.
    pub(crate) fn take(&mut self, number: usize) -> Option<&mut [u8]> {
        let size = self.sockets[number].recv(&mut self.buffer).ok()?;
        Some(&mut self.buffer[..size])
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
