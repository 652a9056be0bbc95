//! Cables that can be pulled: every agent stands behind a door in user space, and what the others
//! send it comes through.
//!
//! An agent sends from the port that it is bound to, so a door knows whose datagram it has, and
//! hands it on from that one's own door: both ends see the advertised addresses and nothing else.
//! Whose stream it is no door can tell; while a cable is pulled no streams pass at all.
//!
//! Invariant: the threads end with this value.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mesh_gossip::io::bind_pair;

use crate::demo::options::LOOPBACK;

/// How often a door looks whether it is to close.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Larger than any datagram.
const ROOM: usize = 2_048;

/// One agent's cable.
struct Cable {
    front: Arc<UdpSocket>,
    inside: Option<SocketAddr>,
    pulled: bool,
}

/// The doors of all agents.
#[derive(Default)]
pub(super) struct Cables {
    wire: Arc<Wire>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Wire {
    cables: Mutex<Vec<Cable>>,
    closed: AtomicBool,
}

impl Cables {
    /// A door for another agent: its number and the address to advertise.
    pub(super) fn door(&mut self) -> io::Result<(usize, SocketAddr)> {
        let (datagrams, streams) = bind_pair(SocketAddr::new(LOOPBACK, 0))?;
        let address = datagrams.local_addr()?;
        datagrams.set_nonblocking(false)?;
        datagrams.set_read_timeout(Some(LOOK_EVERY))?;
        streams.set_nonblocking(true)?;
        let front = Arc::new(datagrams);
        let number = {
            let mut cables = self.wire.cables();
            cables.push(Cable { front: Arc::clone(&front), inside: None, pulled: false });
            cables.len() - 1
        };
        let wire = Arc::clone(&self.wire);
        let carry = move || wire.carry_datagrams(number, &front);
        self.threads.push(thread::Builder::new().name("demo-door".into()).spawn(carry)?);
        let wire = Arc::clone(&self.wire);
        let carry = move || wire.carry_streams(number, &streams);
        self.threads.push(thread::Builder::new().name("demo-door".into()).spawn(carry)?);
        Ok((number, address))
    }

    /// The agent behind a door is bound here.
    pub(super) fn lead(&self, number: usize, inside: SocketAddr) {
        self.wire.cables()[number].inside = Some(inside);
    }

    /// Pulls a cable, or plugs it in.
    pub(super) fn pull(&self, number: usize, pulled: bool) {
        self.wire.cables()[number].pulled = pulled;
    }
}

impl Wire {
    fn cables(&self) -> MutexGuard<'_, Vec<Cable>> {
        self.cables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn carry_datagrams(&self, number: usize, front: &UdpSocket) {
        let mut room = [0; ROOM];
        while !self.is_closed() {
            let Ok((size, from)) = front.recv_from(&mut room) else { continue };
            let way = {
                let cables = self.cables();
                let to = &cables[number];
                let sender = cables.iter().find(|cable| cable.inside == Some(from));
                let both = sender.filter(|sender| !sender.pulled && !to.pulled);
                both.and_then(|sender| Some((Arc::clone(&sender.front), to.inside?)))
            };
            if let Some((out, inside)) = way {
                // What a full socket refuses is lost, as on any cable.
                let _ = out.send_to(&room[..size], inside);
            }
        }
    }

    fn carry_streams(&self, number: usize, streams: &TcpListener) {
        while !self.is_closed() {
            let Ok((near, _)) = streams.accept() else {
                thread::sleep(LOOK_EVERY / 5);
                continue;
            };
            let inside = {
                let cables = self.cables();
                let whole = cables.iter().all(|cable| !cable.pulled);
                cables[number].inside.filter(|_| whole)
            };
            // A stream that cannot be carried is closed, and tried again by whoever needs it.
            let _ = inside.map(|inside| join(near, inside));
        }
    }
}

/// Copies both ways until both ends are done.
fn join(near: TcpStream, inside: SocketAddr) -> io::Result<()> {
    near.set_nonblocking(false)?;
    let far = TcpStream::connect(inside)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        thread::Builder::new().name("demo-stream".into()).spawn(move || copy(from, to))?;
    }
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}

impl Drop for Cables {
    fn drop(&mut self) {
        self.wire.closed.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
