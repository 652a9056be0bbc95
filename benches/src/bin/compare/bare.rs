//! A backend of ours that echoes what it receives and seals nothing: what is left between it and our
//! whole path is the price of sessions.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_gossip::io::{AnyDatagrams, Backend, Datagrams, SocketId, bind, start};
use mesh_gossip::options::BackendChoice;

use crate::crowd::{Crowd, Shape, loopback, until_served};
use crate::raw::Chatter;
use crate::turns::{Alternative, Mistake};

/// An echo.
pub(crate) struct Bare<'a> {
    crowd: &'a RefCell<Crowd>,
    shape: Shape,
    io: AnyDatagrams,
    socket: SocketId,
    address: SocketAddr,
    chatter: Chatter,
    owed: Vec<SocketAddr>,
    size: usize,
    buffer: Vec<u8>,
}

impl<'a> Bare<'a> {
    pub(crate) fn new(
        crowd: &'a RefCell<Crowd>,
        shape: Shape,
        choice: BackendChoice,
        size: usize,
    ) -> io::Result<Self> {
        let (mut io, _) = start(choice).map_err(io::Error::other)?;
        let socket = bind(loopback())?;
        let address = socket.local_addr()?;
        let socket = io.open(socket)?;
        let (owed, buffer) = (Vec::new(), vec![7; size]);
        let chatter = Chatter::open(size);
        Ok(Self { crowd, shape, io, socket, address, chatter, owed, size, buffer })
    }

    fn turn(&mut self) -> usize {
        let Self { io, owed, size, .. } = self;
        let turned = io.turn(Some(Duration::ZERO), &mut |_, from, datagram| {
            if datagram.len() == *size {
                owed.push(from);
            }
        });
        turned.expect("the backend goes on");
        let answered = owed.len();
        for to in owed.drain(..) {
            io.send(self.socket, to, &self.buffer);
        }
        answered
    }
}

impl Alternative for Bare<'_> {
    fn name(&self) -> &'static str {
        match self.io.backend() {
            Backend::Uring => "uring, unsealed",
            Backend::Mmsg => "mmsg, unsealed",
        }
    }

    fn prepare(&mut self) -> usize {
        self.chatter.say(&self.crowd.borrow(), self.shape, self.address)
    }

    fn serve(&mut self) -> usize {
        let batch = self.shape.batch();
        let served = until_served(batch, || self.turn());
        // What was answered last leaves with the next turn.
        served + self.turn()
    }

    fn collect(&mut self) -> Result<(), Mistake> {
        self.chatter.check(&mut self.crowd.borrow_mut(), self.shape)
    }
}
