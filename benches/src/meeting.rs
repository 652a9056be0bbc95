//! Two agents' links and nothing between them: what a session costs, without sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use mesh_gossip::bootstrap::{CaValidity, CertificateAuthority, Subject};
use mesh_gossip::link::{LinkOptions, Links};
use mesh_gossip::tls::authority::{Intermediates, MeshAuthority};
use mesh_gossip::tls::credentials::Credentials;
use mesh_gossip_proto::wire::message::Packet;
use mesh_gossip_proto::{Destination, Duration, Instant, MemberId, Transmit};

use crate::population::CLUSTER;

/// Longer than any bench.
const VALIDITY: Duration = Duration::from_secs(86_400);

/// Signs everybody's certificate.
pub struct Notary(CertificateAuthority);

impl Notary {
    /// A root and an issuing CA, as `omnirelay mesh bootstrap` makes them.
    ///
    /// # Panics
    /// If certificates cannot be made.
    pub fn new() -> Self {
        let now = SystemTime::now();
        let ca = CertificateAuthority::create("bench", CLUSTER, now, CaValidity::default());
        Self(ca.expect("names are canonical"))
    }

    /// The authority that signs.
    pub fn authority(&self) -> &CertificateAuthority {
        &self.0
    }

    /// A key and a certificate of its own for node `number`.
    ///
    /// # Panics
    /// If they cannot be made.
    pub fn credentials(&self, number: u32) -> Arc<Credentials> {
        let name = format!("n{number}");
        let subject = Subject::new(&name, "worker");
        let issued = self.0.issue(&subject, SystemTime::now(), VALIDITY).expect("it issues");
        let options = issued.tls_options(&self.0);
        Arc::new(Credentials::load(&options, CLUSTER, &name, "worker").expect("it holds"))
    }
}

impl Default for Notary {
    fn default() -> Self {
        Self::new()
    }
}

/// One end.
pub struct End {
    /// Its links.
    pub links: Links,
    id: MemberId,
    address: SocketAddr,
}

impl End {
    /// Links over `credentials`, at an address of their own.
    pub fn new(credentials: Arc<Credentials>, number: u32) -> Self {
        let address = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + number), 17_421));
        Self::at(credentials, number, address)
    }

    /// Links at `address`; `number` seeds what they draw.
    pub fn at(credentials: Arc<Credentials>, number: u32, address: SocketAddr) -> Self {
        let id = credentials.member_id();
        let authority = MeshAuthority::new(credentials, Arc::new(Intermediates::default()));
        let links = Links::new(LinkOptions {
            local: id,
            cluster_id: CLUSTER.into(),
            authority: Arc::new(authority),
            seed: u64::from(number),
            linger: Duration::from_secs(5),
        });
        Self { links, id, address }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends `payload` to `peer`; returns the sealed datagram, or none while it waits for a
    /// handshake.
    pub fn send(&mut self, now: Instant, peer: &Self, payload: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = Vec::new();
        self.seal(now, peer, payload, &mut sealed).map(|_| sealed)
    }

    /// Likewise, into `sealed`; returns where it goes.
    pub fn seal(
        &mut self,
        now: Instant,
        peer: &Self,
        payload: &[u8],
        sealed: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        let transmit = Transmit { to: Destination::Member(peer.id), address: peer.address };
        self.links.send(now, &transmit, payload, sealed)
    }

    /// Lets everything happen that is due until `now`.
    pub fn run_until(&mut self, now: Instant) {
        while let Some(due) = self.links.poll_timeout().filter(|due| *due <= now) {
            self.links.handle_timeout(due);
        }
        while self.links.poll_transmit().is_some() || self.links.poll_event().is_some() {}
    }
}

/// A message of `size` bytes in all.
///
/// # Panics
/// If `size` has no room for a frame.
pub fn message(size: usize) -> Vec<u8> {
    let mut packet = Packet::default();
    assert!(packet.push_raw(32_000, 200, &vec![7; size - 3]), "it fits");
    packet.into_bytes()
}

/// What went to and fro in a handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams.
    pub datagrams: usize,
    /// Bytes of UDP payload.
    pub bytes: usize,
    /// Payloads that arrived.
    pub delivered: usize,
    /// What each end spent on it: the one that began, and the other.
    pub spent: [Duration; 2],
}

/// `a` sends `payload` to `b`, and everything is carried that follows.
pub fn meet(now: Instant, a: &mut End, b: &mut End, payload: &[u8]) -> Traffic {
    let mut traffic = Traffic::default();
    let started = std::time::Instant::now();
    let sealed = a.send(now, b, payload);
    traffic.spent[0] += started.elapsed();
    if let Some(mut sealed) = sealed {
        carry(now, &a.address, b, &mut sealed, &mut traffic, 1);
    }
    loop {
        let there = pump(now, a, b, &mut traffic, 1);
        let back = pump(now, b, a, &mut traffic, 0);
        if !there && !back {
            return traffic;
        }
    }
}

/// Carries what `from` has to send; says whether there was anything. `receiver` tells whose time
/// counts.
fn pump(
    now: Instant,
    from: &mut End,
    to: &mut End,
    traffic: &mut Traffic,
    receiver: usize,
) -> bool {
    let mut any = false;
    while let Some((_, mut bytes)) = from.links.poll_transmit() {
        carry(now, &from.address, to, &mut bytes, traffic, receiver);
        any = true;
    }
    any
}

fn carry(
    now: Instant,
    from: &SocketAddr,
    to: &mut End,
    bytes: &mut [u8],
    traffic: &mut Traffic,
    receiver: usize,
) {
    traffic.datagrams += 1;
    traffic.bytes += bytes.len();
    let started = std::time::Instant::now();
    let delivered = to.links.receive(now, *from, bytes).is_some();
    traffic.spent[receiver] += started.elapsed();
    traffic.delivered += usize::from(delivered);
}
