//! tokio's UdpSocket as its documentation shows it: one task that receives, and answers.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_gossip::io::{DATAGRAM_MAX_BYTES, bind};
use tokio::net::UdpSocket;
use tokio::runtime::{Builder, Runtime};

use crate::crowd::{Crowd, Shape, loopback};
use crate::plain::{Keys, Way};
use crate::raw::Chatter;
use crate::turns::{Alternative, Mistake};

/// A batch of which something was lost is given up.
const PATIENCE: Duration = Duration::from_millis(250);

/// An echo, sealed or not.
pub(crate) struct Tokio<'a> {
    crowd: &'a RefCell<Crowd>,
    shape: Shape,
    address: SocketAddr,
    runtime: Runtime,
    socket: UdpSocket,
    keys: Option<Keys>,
    chatter: Chatter,
    buffer: Vec<u8>,
}

impl<'a> Tokio<'a> {
    /// In the clear.
    pub(crate) fn open(crowd: &'a RefCell<Crowd>, shape: Shape, size: usize) -> io::Result<Self> {
        Self::new(crowd, shape, None, Chatter::open(size))
    }

    /// With the AEAD of our sessions.
    pub(crate) fn sealed(crowd: &'a RefCell<Crowd>, shape: Shape, size: usize) -> io::Result<Self> {
        let keys = Some(Keys::of(shape.peers));
        Self::new(crowd, shape, keys, Chatter::sealed(size, shape.peers))
    }

    fn new(
        crowd: &'a RefCell<Crowd>,
        shape: Shape,
        keys: Option<Keys>,
        chatter: Chatter,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let socket = bind(loopback())?;
        let address = socket.local_addr()?;
        let socket = {
            let _inside = runtime.enter();
            UdpSocket::from_std(socket)?
        };
        let buffer = vec![0; DATAGRAM_MAX_BYTES];
        Ok(Self { crowd, shape, address, runtime, socket, keys, chatter, buffer })
    }
}

impl Alternative for Tokio<'_> {
    fn name(&self) -> &'static str {
        if self.keys.is_some() { "tokio, sealed" } else { "tokio" }
    }

    fn prepare(&mut self) -> usize {
        self.chatter.say(&self.crowd.borrow(), self.shape, self.address)
    }

    fn serve(&mut self) -> usize {
        let Self { runtime, socket, keys, buffer, .. } = self;
        let batch = self.shape.batch();
        let mut served = 0;
        // Ends early when something was lost; what was served until then counts.
        let _ = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, async {
                while served < batch {
                    let Ok((size, from)) = socket.recv_from(buffer).await else { continue };
                    let datagram = &mut buffer[..size];
                    if let Some(keys) = keys {
                        let Some(peer) = keys.open(Way::In, datagram) else { continue };
                        keys.seal(Way::Out, peer, datagram);
                    }
                    served += usize::from(socket.send_to(datagram, from).await.is_ok());
                }
            })
            .await
        });
        served
    }

    fn collect(&mut self) -> Result<(), Mistake> {
        self.chatter.check(&mut self.crowd.borrow_mut(), self.shape)
    }
}
