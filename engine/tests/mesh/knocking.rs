//! A client of the handshake port that is built from its parts: it can begin handshakes from any
//! address, as often as it likes, with a certificate that the mesh does not know.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip::options::Material;
use mesh_gossip::proto::session::stream::{Receiver, Sender};
use mesh_gossip::proto::wire::header::{
    FLAG_COOKIE, FRAMING, Handshake, HandshakeHeader, INIT, INIT_SIZE, RESP, RETRY,
};
use mesh_gossip::tls::credentials::{Credentials, server_name};
use rustls::{ClientConfig, ClientConnection};
use zerocopy::IntoBytes;
use zeroize::Zeroizing;

use super::Authority;

/// How long an answer is waited for, and how often it is asked for.
const WAIT: Duration = Duration::from_millis(250);
const TIMES: usize = 3;

/// How far a handshake came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knock {
    /// Our certificate was sent to the server.
    Finished,
    /// Nobody answered.
    Silence,
    /// The server's stream made no sense.
    Broken,
}

/// Makes handshakes.
pub(crate) struct Knocker {
    config: Arc<ClientConfig>,
}

/// One of very many loopback addresses.
pub(crate) fn spoofed(n: u32) -> Ipv4Addr {
    let [_, a, b, c] = (n + 0x0010_0000).to_be_bytes();
    Ipv4Addr::new(127, a, b, c)
}

impl Knocker {
    /// Certified by `foreign`, trusting the mesh of `ours`.
    pub(crate) fn of(foreign: &Authority, ours: &Authority, node: &str) -> Self {
        let bundle = format!("{}{}", ours.0.bundle_pem(), foreign.0.bundle_pem());
        let mut tls = foreign.issue(node, "worker").tls_options(&foreign.0);
        tls.ca = Material::Bytes(Zeroizing::new(bundle.into_bytes()));
        let credentials = Credentials::load(&tls, foreign.0.cluster(), node, "worker").unwrap();
        Self { config: credentials.gossip_client().clone() }
    }

    /// A ClientHello in its datagram.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let mut tls = ClientConnection::new(self.config.clone(), server_name()).unwrap();
        let mut out = Sender::default();
        assert!(out.push(&written(&mut tls)));
        Attempt { number: 1, index: 1, server: 0, cookie: None, ack: 0 }.flight(&out).remove(0)
    }

    /// A whole handshake from `from` to `victim`.
    pub(crate) fn knock(&self, from: Ipv4Addr, victim: SocketAddr, number: u64) -> Knock {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        let mut tls = ClientConnection::new(self.config.clone(), server_name()).unwrap();
        let (mut out, mut input) = (Sender::default(), Receiver::default());
        assert!(out.push(&written(&mut tls)));
        let mut attempt = Attempt { number, index: 1, server: 0, cookie: None, ack: 0 };
        let send = |attempt: &Attempt, out: &Sender| {
            for datagram in attempt.flight(out) {
                // A full buffer of our own is as good as loss.
                let _ = socket.send_to(&datagram, victim);
            }
        };
        send(&attempt, &out);
        let (mut times, mut room) = (1, [0; 2_048]);
        while tls.is_handshaking() {
            let Ok((size, _)) = socket.recv_from(&mut room) else {
                if times == TIMES {
                    return Knock::Silence;
                }
                times += 1;
                send(&attempt, &out);
                continue;
            };
            let Ok(parts) = Handshake::split(&mut room[..size]) else { return Knock::Broken };
            match parts.header.kind {
                RETRY if attempt.cookie.is_none() => {
                    attempt.cookie = Some(parts.header.token);
                    send(&attempt, &out);
                }
                RESP => {
                    attempt.server = parts.header.sender.get();
                    out.acknowledge(parts.header.ack.get());
                    let mut ready = Vec::new();
                    let offset = parts.header.offset.get();
                    input.take(offset, parts.fragment, &mut ready).unwrap();
                    attempt.ack = input.acknowledges();
                    let mut unread = ready.as_slice();
                    while !unread.is_empty() {
                        tls.read_tls(&mut unread).unwrap();
                        if tls.process_new_packets().is_err() {
                            return Knock::Broken;
                        }
                    }
                }
                _ => {}
            }
        }
        assert!(out.push(&written(&mut tls)));
        send(&attempt, &out);
        Knock::Finished
    }
}

fn written(tls: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// The fields that the datagrams of one handshake share.
struct Attempt {
    number: u64,
    index: u32,
    server: u32,
    cookie: Option<[u8; 32]>,
    ack: u16,
}

impl Attempt {
    fn flight(&self, stream: &Sender) -> Vec<Vec<u8>> {
        let room = INIT_SIZE - size_of::<HandshakeHeader>();
        // Once the server has let us a place there is nothing more to show.
        let cookie = self.cookie.filter(|_| self.server == 0);
        let datagram = |(offset, fragment): (u16, &[u8])| {
            let header = HandshakeHeader {
                kind: INIT,
                framing: FRAMING,
                flags: if cookie.is_some() { FLAG_COOKIE } else { 0 },
                reserved: 0,
                receiver: self.server.into(),
                sender: self.index.into(),
                offset: offset.into(),
                ack: self.ack.into(),
                fragment: (fragment.len() as u16).into(),
                trailer: 0.into(),
                reserved_word: 0.into(),
                attempt: self.number.into(),
                token: cookie.unwrap_or_default(),
            };
            let mut datagram = [header.as_bytes(), fragment].concat();
            datagram.resize(INIT_SIZE, 0);
            datagram
        };
        stream.fragments(room).map(datagram).collect()
    }
}
