//! recvmmsg and sendmmsg with batches of 32, straight on a socket: the least that the kernel asks
//! for a datagram when nobody seals anything. No call waits and nothing polls. With the AEAD of a
//! session and nothing else of one it is what nobody who seals can do without.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use mesh_gossip::io::{DATAGRAM_MAX_BYTES, bind};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

use crate::crowd::{Crowd, Shape, loopback, until_served};
use crate::plain::{Keys, Way};
use crate::turns::{Alternative, Mistake};

const BATCH: usize = 32;

/// The alternatives' names.
pub(crate) const OPEN: &str = "raw";
pub(crate) const SEALED: &str = "raw, sealed";

/// A socket that is read and written a batch at a time.
pub(crate) struct Batches {
    pub(crate) socket: UdpSocket,
    received: MultiHeaders<SockaddrIn>,
    sent: MultiHeaders<SockaddrIn>,
    memory: Vec<u8>,
    /// Of the last `receive`: sizes and senders.
    pub(crate) arrivals: Vec<(usize, SockaddrIn)>,
}

impl Batches {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            socket: bind(loopback())?,
            received: MultiHeaders::preallocate(BATCH, None),
            sent: MultiHeaders::preallocate(BATCH, None),
            memory: vec![0; BATCH * DATAGRAM_MAX_BYTES],
            arrivals: Vec::with_capacity(BATCH),
        })
    }

    /// Fills the batch; returns how many came.
    pub(crate) fn receive(&mut self) -> usize {
        let Self { socket, received, memory, arrivals, .. } = self;
        arrivals.clear();
        let mut parts: [_; BATCH] = {
            let mut chunks = memory.chunks_mut(DATAGRAM_MAX_BYTES);
            std::array::from_fn(|_| [IoSliceMut::new(chunks.next().expect("one for each"))])
        };
        let took =
            recvmmsg(socket.as_raw_fd(), received, parts.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
        let Ok(took) = took else { return 0 };
        arrivals.extend(took.filter_map(|one| Some((one.bytes, one.address?))));
        arrivals.len()
    }

    /// What came in at `place` of the batch.
    pub(crate) fn arrival(&mut self, place: usize) -> (&mut [u8], SocketAddr) {
        let (size, from) = self.arrivals[place];
        let at = place * DATAGRAM_MAX_BYTES;
        (&mut self.memory[at..at + size], SocketAddrV4::from(from).into())
    }

    /// Sends the batch back as it stands in memory; returns how many left.
    pub(crate) fn answer(&mut self) -> usize {
        let Self { socket, sent, memory, arrivals, .. } = self;
        let parts: Vec<_> = memory
            .chunks(DATAGRAM_MAX_BYTES)
            .zip(arrivals.iter())
            .map(|(chunk, (size, _))| [IoSlice::new(&chunk[..*size])])
            .collect();
        let addresses: Vec<_> = arrivals.iter().map(|(_, from)| Some(*from)).collect();
        send(socket, sent, &parts, &addresses)
    }

    /// Sends something else.
    pub(crate) fn send_all(&mut self, datagrams: &[(SocketAddr, Vec<u8>)]) -> usize {
        let mut left = 0;
        for datagrams in datagrams.chunks(BATCH) {
            let parts: Vec<_> = datagrams.iter().map(|(_, bytes)| [IoSlice::new(bytes)]).collect();
            let addresses: Vec<_> = datagrams.iter().map(|(to, _)| v4(*to)).collect();
            left += send(&self.socket, &mut self.sent, &parts, &addresses);
        }
        left
    }
}

fn v4(address: SocketAddr) -> Option<SockaddrIn> {
    match address {
        SocketAddr::V4(address) => Some(address.into()),
        SocketAddr::V6(_) => None,
    }
}

fn send<'a>(
    socket: &UdpSocket,
    headers: &'a mut MultiHeaders<SockaddrIn>,
    parts: &'a [[IoSlice<'a>; 1]],
    addresses: &[Option<SockaddrIn>],
) -> usize {
    let flags = MsgFlags::MSG_DONTWAIT;
    sendmmsg(socket.as_raw_fd(), headers, parts.iter(), addresses, [], flags)
        .map_or(0, Iterator::count)
}

/// An echo, sealed or not.
pub(crate) struct Raw<'a> {
    crowd: &'a std::cell::RefCell<Crowd>,
    shape: Shape,
    batches: Batches,
    address: SocketAddr,
    keys: Option<Keys>,
    chatter: Chatter,
}

impl<'a> Raw<'a> {
    /// In the clear.
    pub(crate) fn open(
        crowd: &'a std::cell::RefCell<Crowd>,
        shape: Shape,
        size: usize,
    ) -> io::Result<Self> {
        Self::new(crowd, shape, None, Chatter::open(size))
    }

    /// With the AEAD of our sessions, in the place where the datagram came.
    pub(crate) fn sealed(
        crowd: &'a std::cell::RefCell<Crowd>,
        shape: Shape,
        size: usize,
    ) -> io::Result<Self> {
        let keys = Some(Keys::of(shape.peers));
        Self::new(crowd, shape, keys, Chatter::sealed(size, shape.peers))
    }

    fn new(
        crowd: &'a std::cell::RefCell<Crowd>,
        shape: Shape,
        keys: Option<Keys>,
        chatter: Chatter,
    ) -> io::Result<Self> {
        let batches = Batches::new()?;
        let address = batches.socket.local_addr()?;
        Ok(Self { crowd, shape, batches, address, keys, chatter })
    }
}

impl Alternative for Raw<'_> {
    fn name(&self) -> &'static str {
        if self.keys.is_some() { SEALED } else { OPEN }
    }

    fn prepare(&mut self) -> usize {
        self.chatter.say(&self.crowd.borrow(), self.shape, self.address)
    }

    fn serve(&mut self) -> usize {
        let Self { batches, keys, .. } = self;
        until_served(self.shape.batch(), || {
            let came = batches.receive();
            if let Some(keys) = keys {
                for place in 0..came {
                    let (datagram, _) = batches.arrival(place);
                    // What does not open goes back as it came, and ends the comparison.
                    if let Some(peer) = keys.open(Way::In, datagram) {
                        keys.seal(Way::Out, peer, datagram);
                    }
                }
            }
            if came == 0 { 0 } else { batches.answer() }
        })
    }

    fn collect(&mut self) -> Result<(), Mistake> {
        self.chatter.check(&mut self.crowd.borrow_mut(), self.shape)
    }
}

/// What peers say that seal with plain keys or with none.
pub(crate) struct Chatter {
    /// Ours of the keys; the alternative has others that are the same.
    keys: Option<Keys>,
    datagram: Vec<u8>,
    /// What a peer says at a time.
    run: Vec<u8>,
}

impl Chatter {
    /// In the clear.
    pub(crate) fn open(size: usize) -> Self {
        Self { keys: None, datagram: vec![7; size], run: Vec::new() }
    }

    /// Sealed.
    pub(crate) fn sealed(size: usize, peers: usize) -> Self {
        Self { keys: Some(Keys::of(peers)), datagram: vec![7; size], run: Vec::new() }
    }

    /// A batch.
    pub(crate) fn say(&mut self, crowd: &Crowd, shape: Shape, to: SocketAddr) -> usize {
        for peer in 0..shape.peers {
            self.run.clear();
            for _ in 0..shape.depth {
                if let Some(keys) = &mut self.keys {
                    self.datagram.fill(7);
                    keys.seal(Way::In, peer, &mut self.datagram);
                }
                self.run.extend_from_slice(&self.datagram);
            }
            crowd.say(peer, to, &self.run, self.datagram.len());
        }
        shape.batch()
    }

    /// Takes the answers to a batch.
    pub(crate) fn check(&self, crowd: &mut Crowd, shape: Shape) -> Result<(), Mistake> {
        for peer in 0..shape.peers {
            while let Some(answer) = crowd.take(peer) {
                if answer.len() != self.datagram.len() {
                    return Err(Mistake("an answer has another size"));
                }
                if let Some(keys) = &self.keys
                    && keys.open(Way::Out, answer) != Some(peer)
                {
                    return Err(Mistake("an answer does not open"));
                }
            }
        }
        Ok(())
    }
}
