//! A network in user space: each host stands behind a door, and what its peers send it, datagrams
//! and streams alike, comes through that door and goes back through it.
//!
//! A door is one port number of UDP and TCP, and the host advertises it as its own address. Hosts
//! send from the port that they are bound to, so a door knows which host a datagram came from; it
//! gives every client a socket of its own towards the host, as a NAT would.
//!
//! Invariant: everything that comes to a door is recorded before it is carried, withheld or lost.
//! What is lost follows from the seed and the order of datagrams between two hosts.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::authority::ANY_PORT;
use super::recording::{Datagram, Recording};

/// Larger than any datagram.
const ROOM: usize = 65_536;

/// A network; its doors close with it.
pub(crate) struct Network {
    wire: Arc<Mutex<Wire>>,
    /// Where doors are bound.
    doors: SocketAddr,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Where a host is reached.
pub(crate) struct Door {
    wire: Arc<Mutex<Wire>>,
    number: usize,
    address: SocketAddr,
}

/// What became of the datagrams so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) carried: u64,
    /// Kept back by a cut.
    pub(crate) withheld: u64,
    /// Lost by chance.
    pub(crate) lost: u64,
}

#[derive(Default)]
struct Wire {
    seed: u64,
    hosts: Vec<Behind>,
    /// Pairs of hosts whose datagrams are withheld, both directions listed.
    cuts: HashSet<(usize, usize)>,
    loss: f64,
    chances: HashMap<(Option<usize>, Option<usize>), fastrand::Rng>,
    counts: Counts,
    recording: Recording,
}

/// A host as the network knows it.
struct Behind {
    name: String,
    inside: Option<SocketAddr>,
}

impl Network {
    /// A network that loses nothing yet.
    pub(crate) fn seeded(seed: u64) -> Self {
        let wire = Arc::new(Mutex::new(Wire { seed, ..Wire::default() }));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let turn = move || {
            // The sender is never used: it is dropped.
            let _ = runtime.block_on(stopped);
        };
        let thread = thread::Builder::new().name("network".into()).spawn(turn).unwrap();
        Self { wire, doors: ANY_PORT, runtime: handle, stop: Some(stop), thread: Some(thread) }
    }

    /// Its doors are on this address of the machine.
    pub(crate) fn on(mut self, address: IpAddr) -> Self {
        self.doors.set_ip(address);
        self
    }

    /// A door for the host of this name. It leads nowhere until [`Door::lead_to`].
    pub(crate) fn door(&self, name: &str) -> Door {
        let (datagrams, streams) = mesh_gossip::io::bind_pair(self.doors).unwrap();
        let address = datagrams.local_addr().unwrap();
        let number = {
            let mut wire = self.wire.lock().unwrap();
            wire.hosts.push(Behind { name: name.to_owned(), inside: None });
            wire.hosts.len() - 1
        };
        self.runtime.spawn(carry_datagrams(Arc::clone(&self.wire), number, datagrams));
        self.runtime.spawn(carry_streams(Arc::clone(&self.wire), number, streams));
        Door { wire: Arc::clone(&self.wire), number, address }
    }

    /// Withholds the datagrams between two hosts, both ways.
    pub(crate) fn cut(&self, a: &Door, b: &Door) {
        self.wire.lock().unwrap().cuts.extend([(a.number, b.number), (b.number, a.number)]);
    }

    /// Ends every cut.
    pub(crate) fn heal(&self) {
        self.wire.lock().unwrap().cuts.clear();
    }

    /// Loses each datagram with this probability from here on.
    pub(crate) fn lose(&self, probability: f64) {
        self.wire.lock().unwrap().loss = probability;
    }

    /// What became of the datagrams so far.
    pub(crate) fn counts(&self) -> Counts {
        self.wire.lock().unwrap().counts
    }

    /// Everything so far.
    pub(crate) fn recording(&self) -> Recording {
        self.wire.lock().unwrap().recording.clone()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the network did not fail");
        }
    }
}

impl Door {
    /// The address to advertise.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The host behind it listens here.
    pub(crate) fn lead_to(&self, inside: SocketAddr) {
        self.wire.lock().unwrap().hosts[self.number].inside = Some(inside);
    }
}

impl Wire {
    fn inside(&self, number: usize) -> Option<SocketAddr> {
        self.hosts[number].inside
    }

    fn host_at(&self, inside: SocketAddr) -> Option<usize> {
        self.hosts.iter().position(|host| host.inside == Some(inside))
    }

    /// Records a datagram and says whether it arrives.
    fn passes(&mut self, from: Option<usize>, to: Option<usize>, bytes: &[u8]) -> bool {
        let name = |number: Option<usize>| number.map(|number| self.hosts[number].name.clone());
        let datagram = Datagram { from: name(from), to: name(to), bytes: bytes.to_vec() };
        self.recording.datagrams.push(datagram);
        if let (Some(from), Some(to)) = (from, to)
            && self.cuts.contains(&(from, to))
        {
            self.counts.withheld += 1;
            return false;
        }
        let number = |party: Option<usize>| party.map_or(0, |number| number as u64 + 1);
        let seed = self.seed ^ (number(from) << 32) ^ number(to);
        let chance = self.chances.entry((from, to));
        let chance = chance.or_insert_with(|| fastrand::Rng::with_seed(seed)).f64();
        if chance < self.loss {
            self.counts.lost += 1;
            return false;
        }
        self.counts.carried += 1;
        true
    }
}

/// A client's own way to the host behind a door.
struct Flow {
    inside: SocketAddr,
    socket: Arc<net::UdpSocket>,
    _back: JoinSet<()>,
}

async fn carry_datagrams(wire: Arc<Mutex<Wire>>, door: usize, front: UdpSocket) {
    let front = Arc::new(net::UdpSocket::from_std(front).unwrap());
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut room = vec![0; ROOM];
    loop {
        let (size, client) = front.recv_from(&mut room).await.unwrap();
        let (from, inside) = {
            let wire = wire.lock().unwrap();
            (wire.host_at(client), wire.inside(door))
        };
        if !wire.lock().unwrap().passes(from, Some(door), &room[..size]) {
            continue;
        }
        // Nobody is behind the door yet.
        let Some(inside) = inside else { continue };
        if flows.get(&client).is_none_or(|flow| flow.inside != inside) {
            flows.insert(client, Flow::to(inside, client, &wire, door, &front).await);
        }
        // A host that is gone refuses; so would a real one.
        let _ = flows[&client].socket.send(&room[..size]).await;
    }
}

impl Flow {
    async fn to(
        inside: SocketAddr,
        client: SocketAddr,
        wire: &Arc<Mutex<Wire>>,
        door: usize,
        front: &Arc<net::UdpSocket>,
    ) -> Self {
        let socket = Arc::new(net::UdpSocket::bind(ANY_PORT).await.unwrap());
        socket.connect(inside).await.unwrap();
        let mut back = JoinSet::new();
        let (wire, front, answers) = (Arc::clone(wire), Arc::clone(front), Arc::clone(&socket));
        back.spawn(async move {
            let mut room = vec![0; ROOM];
            loop {
                // An error is the host's refusal, told once a datagram.
                let Ok(size) = answers.recv(&mut room).await else { continue };
                let passes = {
                    let mut wire = wire.lock().unwrap();
                    let to = wire.host_at(client);
                    wire.passes(Some(door), to, &room[..size])
                };
                if passes {
                    let _ = front.send_to(&room[..size], client).await;
                }
            }
        });
        Self { inside, socket, _back: back }
    }
}

/// Streams are recorded and never cut: a cut withholds datagrams.
async fn carry_streams(wire: Arc<Mutex<Wire>>, door: usize, listener: TcpListener) {
    let listener = net::TcpListener::from_std(listener).unwrap();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let Some(inside) = wire.lock().unwrap().inside(door) else { continue };
        let wire = Arc::clone(&wire);
        tokio::spawn(async move {
            // A host that is gone: the client sees its connection end.
            let Ok(host) = net::TcpStream::connect(inside).await else { return };
            let (client_read, client_write) = client.into_split();
            let (host_read, host_write) = host.into_split();
            tokio::join!(
                carry_bytes(&wire, client_read, host_write),
                carry_bytes(&wire, host_read, client_write)
            );
        });
    }
}

async fn carry_bytes(
    wire: &Mutex<Wire>,
    mut from: net::tcp::OwnedReadHalf,
    mut to: net::tcp::OwnedWriteHalf,
) {
    let mut room = vec![0; ROOM];
    let mut stream = None;
    while let Ok(size @ 1..) = from.read(&mut room).await {
        {
            let streams = &mut wire.lock().unwrap().recording.streams;
            let number = *stream.get_or_insert(streams.len());
            streams.resize_with(streams.len().max(number + 1), Vec::new);
            streams[number].extend_from_slice(&room[..size]);
        }
        if to.write_all(&room[..size]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
