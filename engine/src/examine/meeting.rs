//! A handshake by datagrams, and one question: what time is it?
//!
//! The machine that agents use for their links makes the session, so that whatever stands in their
//! way stands in ours. Its datagrams fill a path in both directions.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::wire::message::{ClockPull, Message, Messages, Packet};
use mesh_gossip_proto::{Destination, Instant, Transmit, WallTime};
use zerocopy::byteorder::little_endian::U64;

use super::echoes::is_silence;
use crate::clock::{self, Clock};
use crate::entropy;
use crate::io::DATAGRAM_MAX_BYTES;
use crate::link::{LinkEvent, LinkOptions, Links};
use crate::tls::authority::{Intermediates, MeshAuthority};
use crate::tls::credentials::Credentials;

/// The question is asked again after so long.
const AGAIN: Duration = Duration::from_millis(300);

/// What a session showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// Our clock less theirs, milliseconds; `None` where the member did not tell the time.
    pub ahead_ms: Option<i64>,
}

/// Why there was no session.
#[derive(Debug)]
pub enum NoMeeting {
    /// The socket, or random bytes.
    Io(io::Error),
    /// The member, or we, refused; a short stable word.
    Failed(&'static str),
    /// Nothing came in time.
    Silence,
}

impl fmt::Display for NoMeeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Failed(reason) => write!(f, "the handshake by datagrams failed: {reason}"),
            Self::Silence => f.write_str("no answer in time"),
        }
    }
}

impl std::error::Error for NoMeeting {}

impl From<io::Error> for NoMeeting {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Meets the member at `address` and compares clocks; `wall` reads ours, `None` stands for the
/// system's.
///
/// # Errors
/// [`NoMeeting`] when no session came about.
pub fn meet(
    credentials: &Arc<Credentials>,
    address: SocketAddr,
    patience: Duration,
    wall: Option<fn() -> WallTime>,
) -> Result<Meeting, NoMeeting> {
    let any: SocketAddr =
        if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    let mut visit = Visit::begin(credentials, address, socket)?;
    visit.turn(patience, wall.unwrap_or(clock::wall))
}

struct Visit {
    socket: UdpSocket,
    links: Links,
    clock: Clock,
    seed: Transmit,
    question: Vec<u8>,
    token: u64,
    proven: bool,
}

impl Visit {
    fn begin(
        credentials: &Arc<Credentials>,
        address: SocketAddr,
        socket: UdpSocket,
    ) -> Result<Self, NoMeeting> {
        let word = || entropy::word().map_err(|_| io::Error::other("no random bytes"));
        let learned = Arc::new(Intermediates::default());
        let links = Links::new(LinkOptions {
            local: credentials.member_id(),
            cluster_id: credentials.identity().cluster.clone(),
            authority: Arc::new(MeshAuthority::new(Arc::clone(credentials), learned)),
            seed: word()?,
            linger: Duration::from_secs(1),
        });
        let token = word()?;
        let mut packet = Packet::default();
        // Eleven bytes fit.
        packet.push(DATAGRAM_MAX_BYTES, &ClockPull { token: U64::new(token) });
        let question = packet.as_bytes().to_vec();
        let seed = Transmit { to: Destination::Seed, address };
        Ok(Self { socket, links, clock: Clock::start(), seed, question, token, proven: false })
    }

    fn turn(&mut self, patience: Duration, wall: fn() -> WallTime) -> Result<Meeting, NoMeeting> {
        let end = self.clock.now() + patience;
        let mut ask_at = self.clock.now();
        let mut sealed = Vec::new();
        let mut buffer = [0; 2_048];
        loop {
            let now = self.clock.now();
            if now >= end {
                return if self.proven {
                    Ok(Meeting { ahead_ms: None })
                } else {
                    Err(NoMeeting::Silence)
                };
            }
            if now >= ask_at {
                ask_at = now + AGAIN;
                if let Some(path) = self.links.send(now, &self.seed, &self.question, &mut sealed) {
                    self.socket.send_to(&sealed, path)?;
                }
            }
            if self.links.poll_timeout().is_some_and(|due| due <= now) {
                self.links.handle_timeout(now);
            }
            self.flush()?;
            let wake = Instant::earliest(self.links.poll_timeout(), Some(ask_at.min(end)));
            let wait = wake.map_or(AGAIN, |at| at.since(now)).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(wait))?;
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let told = self.receive(from, &mut buffer[..length]);
                    self.flush()?;
                    if let Some(theirs) = told {
                        let ahead = i128::from(wall().0) - i128::from(theirs.0);
                        let ahead_ms = i64::try_from(ahead).unwrap_or(i64::MAX);
                        return Ok(Meeting { ahead_ms: Some(ahead_ms) });
                    }
                }
                Err(error) if is_silence(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What the member says the time is.
    fn receive(&mut self, from: SocketAddr, datagram: &mut [u8]) -> Option<WallTime> {
        let now = self.clock.now();
        let delivery = self.links.receive(now, from, datagram)?;
        Messages::new(delivery.payload).find_map(|message| match message {
            Ok(Message::Clock(clock)) if clock.token.get() == self.token => {
                Some(WallTime(clock.wall_ms.get()))
            }
            Ok(_) | Err(_) => None,
        })
    }

    fn flush(&mut self) -> Result<(), NoMeeting> {
        while let Some((to, datagram)) = self.links.poll_transmit() {
            self.socket.send_to(&datagram, to)?;
        }
        while let Some(event) = self.links.poll_event() {
            match event {
                LinkEvent::Proven { .. } => self.proven = true,
                LinkEvent::Ourselves { .. } => return Err(NoMeeting::Failed("own-id")),
                // Silence is told when the patience ends.
                LinkEvent::Failed { reason: "timeout", .. }
                | LinkEvent::Rejected { .. }
                | LinkEvent::Fallen { .. } => {}
                LinkEvent::Failed { reason, .. } => return Err(NoMeeting::Failed(reason)),
            }
        }
        Ok(())
    }
}
