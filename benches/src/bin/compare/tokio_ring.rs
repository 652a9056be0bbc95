//! tokio-uring's UdpSocket with as many tasks as datagrams are under way: with fewer it waits for
//! each of them alone.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mesh_gossip::io::{DATAGRAM_MAX_BYTES, bind};
use tokio::sync::Notify;
use tokio_uring::Runtime;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::UdpSocket;

use crate::crowd::{Crowd, Shape, loopback};
use crate::plain::{Keys, Way};
use crate::raw::Chatter;
use crate::turns::{Alternative, Mistake};

const PATIENCE: Duration = Duration::from_millis(250);

/// What the tasks share.
struct Desk {
    socket: UdpSocket,
    keys: RefCell<Keys>,
    served: Cell<usize>,
    batch: usize,
    complete: Notify,
}

/// A sealed echo.
pub(crate) struct TokioRing<'a> {
    crowd: &'a RefCell<Crowd>,
    shape: Shape,
    address: SocketAddr,
    desk: Rc<Desk>,
    chatter: Chatter,
    // Dropped last: the socket's operations belong to it.
    runtime: Runtime,
}

impl<'a> TokioRing<'a> {
    pub(crate) fn new(crowd: &'a RefCell<Crowd>, shape: Shape, size: usize) -> io::Result<Self> {
        let runtime = Runtime::new(&tokio_uring::builder())?;
        let socket = bind(loopback())?;
        // tokio-uring wants its sockets to block, or it gets EAGAIN instead of a datagram.
        socket.set_nonblocking(false)?;
        let address = socket.local_addr()?;
        let desk = Rc::new(Desk {
            socket: UdpSocket::from_std(socket),
            keys: RefCell::new(Keys::of(shape.peers)),
            served: Cell::new(0),
            batch: shape.batch(),
            complete: Notify::new(),
        });
        runtime.block_on(async {
            for _ in 0..shape.batch() {
                let desk = Rc::clone(&desk);
                tokio_uring::spawn(async move { desk.serve().await });
            }
            // Every task has its receive under way before the first datagram comes.
            tokio::task::yield_now().await;
        });
        let chatter = Chatter::sealed(size, shape.peers);
        Ok(Self { crowd, shape, address, desk, chatter, runtime })
    }
}

impl Desk {
    async fn serve(&self) {
        let mut buffer = vec![0; DATAGRAM_MAX_BYTES];
        loop {
            let (received, filled) = self.socket.recv_from(buffer).await;
            buffer = filled;
            let Ok((size, from)) = received else { continue };
            let Some(peer) = self.keys.borrow().open(Way::In, &mut buffer[..size]) else {
                continue;
            };
            self.keys.borrow_mut().seal(Way::Out, peer, &mut buffer[..size]);
            let (sent, slice) = self.socket.send_to(buffer.slice(..size), from).await;
            buffer = slice.into_inner();
            self.served.set(self.served.get() + usize::from(sent.is_ok()));
            if self.served.get() == self.batch {
                self.complete.notify_one();
            }
        }
    }
}

impl Alternative for TokioRing<'_> {
    fn name(&self) -> &'static str {
        "tokio-uring, sealed"
    }

    fn prepare(&mut self) -> usize {
        self.chatter.say(&self.crowd.borrow(), self.shape, self.address)
    }

    fn serve(&mut self) -> usize {
        let desk = &self.desk;
        desk.served.set(0);
        // Ends early when something was lost; what was served until then counts.
        let _ = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, desk.complete.notified()).await });
        desk.served.get()
    }

    fn collect(&mut self) -> Result<(), Mistake> {
        self.chatter.check(&mut self.crowd.borrow_mut(), self.shape)
    }
}
