//! Bulk sync: two members exchange whole states over TCP (rules A-3 and S-19).
//!
//! The one who wishes for it dials the TCP port of the same number as the peer's datagram port.
//! Both speak TLS 1.3 with their node certificates under the protocol name [`PROTOCOL`] and
//! nothing else; whoever finds another name, another member than the expected one, or no identity
//! hangs up. Then, in [frames](super::frames):
//!
//! ```text
//! requester                                   responder
//! LISTS   (the revocation lists that it has)
//! REQUEST (ids; none = everybody, both ways)
//! [ENTRIES … END]   only when ids is empty    (reads them to the end)
//!                                             [LIST BYTES … those that are newer]
//!                                             ENTRIES … END
//! close_notify                                close_notify
//! ```
//!
//! END in place of REQUEST asks for revocation lists alone. Without LISTS none come. HEARD in place
//! of it all asks which datagrams came, and is answered by HEARD: a diagnosis asks, no member does.
//!
//! The directions take turns, so neither side can block the other with a full socket. Each piece
//! received goes to the shard as it comes. Entries have relay trust only: the shard verifies every
//! record as if it had come by gossip.
//!
//! Invariant: an exchange that we wished for ends in exactly one `StreamClosed`, unless the agent
//! is removed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::sync::snapshot;
use mesh_gossip_proto::{MemberId, StreamRequest};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Desk;
use super::crowd::Crowd;
use super::frames::{Frame, FrameError, MOST_IDS, MOST_NOTICES};
use super::lists::{self, Arriving};
use super::stream::{SecureStream, Stream};
use crate::orders::{Order, Refused, SYNC_PIECE, Ticket};
use crate::tls::credentials::Credentials;
use crate::tls::verifier::Usage;

/// The application protocol (ALPN) of bulk sync.
pub(crate) const PROTOCOL: &[u8] = b"mesh-sync/1";

/// What a stream proves itself with and trusts by; immutable, so that an exchange ends under the
/// credentials it began with.
pub(crate) struct Terms {
    /// Offers [`PROTOCOL`] and our certificate.
    pub(crate) client: Arc<rustls::ClientConfig>,
    /// Demands a certificate and speaks only [`PROTOCOL`].
    pub(crate) server: Arc<rustls::ServerConfig>,
    /// The name that the verifier of both roles goes by.
    pub(crate) server_name: ServerName<'static>,
    /// Judges who answered.
    pub(crate) judge: Arc<dyn Judge>,
}

/// Judges certificates by the trust in force (rules S-16 and S-19).
pub(crate) trait Judge: Send + Sync {
    /// Whose chain this is and how long it lasts at least; `None`: nobody's in this cluster, or
    /// it counts no longer.
    fn vouch(&self, chain: &[CertificateDer<'_>], side: Side) -> Option<(MemberId, Duration)>;

    /// Tells of every change of what is trusted.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Which side of a stream the judged peer is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It dialled us.
    Requester,
    /// We dialled it.
    Responder,
}

impl Judge for Credentials {
    fn vouch(&self, chain: &[CertificateDer<'_>], side: Side) -> Option<(MemberId, Duration)> {
        let usage = match side {
            Side::Requester => Usage::Client,
            Side::Responder => Usage::Server,
        };
        let now = self.now()?;
        let verified = self.verifier().confirm_peer(chain, usage, now).ok()?;
        let left = verified.not_after.as_secs().saturating_sub(now.as_secs());
        Some((verified.identity.member_id(), Duration::from_secs(left)))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.verifier().trust().watch()
    }
}

/// A peer that proved who it is, for as long as that holds.
struct Vouched {
    peer: MemberId,
    left: Duration,
    chain: Vec<CertificateDer<'static>>,
    side: Side,
    judge: Arc<dyn Judge>,
    changes: watch::Receiver<u64>,
}

impl Vouched {
    fn of(stream: &SecureStream, judge: Arc<dyn Judge>, side: Side) -> Result<Self, SyncError> {
        // Subscribed first: what changes while the chain is judged is seen.
        let (chain, changes) = (stream.peer_chain(), judge.changes());
        let (peer, left) = judge.vouch(&chain, side).ok_or(SyncError::Anonymous)?;
        Ok(Self { peer, left, chain, side, judge, changes })
    }

    /// Carries out an exchange; it ends when its time is over or the peer counts no longer.
    async fn hold<T>(
        mut self,
        limit: Duration,
        exchange: impl Future<Output = Result<T, SyncError>>,
    ) -> Result<T, SyncError> {
        let fallen = async {
            while self.changes.changed().await.is_ok() {
                if self.judge.vouch(&self.chain, self.side).is_none() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = in_time(limit.min(self.left), exchange) => outcome,
            () = fallen => Err(SyncError::Fallen),
        }
    }
}

/// Bounds of one agent's exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncLimits {
    /// Bytes of entries in one direction; beyond it the exchange fails, but for departed members,
    /// of whom those that fit are sent. 256 MiB are the 200,000 members that `limits:members`
    /// allows, with P-256 leaves and metadata of a hundred bytes.
    pub(crate) most_bytes: usize,
    /// A peer that neither sends nor takes a byte for so long is gone, or wishes us ill. Ten
    /// seconds outlast any retransmission that a usable path needs.
    pub(crate) idle: Duration,
    /// Until the peer has proved who it is. Strangers hold a place no longer than this.
    pub(crate) handshake: Duration,
    /// The whole exchange, so that a peer that trickles gives its place back: 256 MiB in this
    /// time are two megabytes a second.
    pub(crate) longest: Duration,
    /// Exchanges served at a time: each holds a few hundred kilobytes of buffers.
    pub(crate) inbound: usize,
    /// Connections that wait for one of those places for as long as a handshake may take; a
    /// further one is closed and counted. A whole rack may join at once.
    pub(crate) waiting: usize,
    /// Exchanges served for one peer at a time; a further one is closed and counted. An honest
    /// peer has one, and one more whose end it has not noticed.
    pub(crate) per_peer: usize,
    /// Exchanges of our own at a time; further wishes wait.
    pub(crate) outbound: usize,
    /// Wishes that wait; a further one fails and is counted.
    pub(crate) wishes: usize,
    /// Pause before an order that a busy shard refused is offered again.
    pub(crate) retry: Duration,
    /// Offers before the exchange fails: two seconds of refusals are no passing peak.
    pub(crate) offers: u32,
}

impl Default for SyncLimits {
    fn default() -> Self {
        Self {
            most_bytes: 256 * 1_024 * 1_024,
            idle: Duration::from_secs(10),
            handshake: Duration::from_secs(5),
            longest: Duration::from_secs(120),
            inbound: 32,
            waiting: 128,
            per_peer: 4,
            outbound: 8,
            wishes: 64,
            retry: Duration::from_millis(5),
            offers: 400,
        }
    }
}

/// Why an exchange failed.
#[derive(Debug)]
pub(crate) enum SyncError {
    /// Nobody answered at the address.
    Dial(io::Error),
    /// The connection broke.
    Stream(io::Error),
    /// The peer ended it early.
    Closed,
    /// The peer was silent for too long.
    Idle,
    /// The exchange as a whole, or its handshake, took too long.
    Late,
    /// TLS: an untrusted certificate, garbage, an alert.
    Tls(rustls::Error),
    /// The peer does not speak [`PROTOCOL`].
    Protocol,
    /// The peer's certificate names no member of this cluster.
    Anonymous,
    /// The peer's certificate counts no longer.
    Fallen,
    /// Somebody else than the expected member answered.
    WrongPeer(MemberId),
    /// The peer broke the framing.
    Frame(FrameError),
    /// More bytes than one direction may carry.
    TooLarge,
    /// Too many exchanges at a time, of this peer or of all, or too many of this peer of late.
    Crowded,
    /// Too many of the peer's entries were forged.
    Forged,
    /// Our own shard took no orders.
    Shard(Refused),
}

impl From<FrameError> for SyncError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl SyncError {
    /// A short stable word for counters.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Dial(_) => "dial",
            Self::Stream(_) => "stream",
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Late => "late",
            Self::Tls(_) => "tls",
            Self::Protocol => "protocol",
            Self::Anonymous => "anonymous",
            Self::Fallen => "fallen",
            Self::WrongPeer(_) => "wrong-peer",
            Self::Frame(_) => "frame",
            Self::TooLarge => "too-large",
            Self::Crowded => "crowded",
            Self::Forged => "forged",
            Self::Shard(_) => "shard",
        }
    }
}

impl std::fmt::Display for SyncError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dial(error) => write!(f, "nobody answered: {error}"),
            Self::Stream(error) => write!(f, "the connection broke: {error}"),
            Self::Closed => f.write_str("the peer ended the exchange early"),
            Self::Idle => f.write_str("the peer was silent for too long"),
            Self::Late => f.write_str("the exchange took too long"),
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::Protocol => f.write_str("the peer does not speak mesh-sync/1"),
            Self::Anonymous => f.write_str("the peer's certificate names no member"),
            Self::Fallen => f.write_str("the peer's certificate counts no longer"),
            Self::WrongPeer(found) => write!(f, "member {found} answered for another"),
            Self::Frame(error) => write!(f, "framing: {error}"),
            Self::TooLarge => f.write_str("more bytes than an exchange may carry"),
            Self::Crowded => f.write_str("too many exchanges"),
            Self::Forged => f.write_str("too many of the peer's entries were forged"),
            Self::Shard(refused) => write!(f, "our shard: {refused}"),
        }
    }
}

/// Carries out an exchange that our node wished for; returns the revocation lists that came along.
pub(super) async fn request(
    desk: &Desk,
    request: &StreamRequest,
) -> Result<Vec<Vec<u8>>, SyncError> {
    let (mut stream, vouched) = meet(desk, request).await?;
    let exchange = async {
        let wanted = match request.members.len() {
            0..=MOST_IDS => request.members.clone(),
            _ => Vec::new(),
        };
        let both_ways = wanted.is_empty();
        if both_ways {
            say_lists(desk, &mut stream).await?;
        }
        stream.write_all(&Frame::Request(wanted).encode()).await?;
        if both_ways {
            send(desk, &mut stream, &[]).await?;
        }
        let lists = receive(desk, &mut stream, request.peer, both_ways).await?;
        // Everything has arrived: a peer that is gone by now changes nothing.
        let _ = stream.close().await;
        Ok(lists)
    };
    vouched.hold(desk.limits.longest, exchange).await
}

/// Asks a member for the revocation lists that it has and we lack (rule S-16).
pub(super) async fn request_lists(
    desk: &Desk,
    request: &StreamRequest,
) -> Result<Vec<Vec<u8>>, SyncError> {
    let (mut stream, vouched) = meet(desk, request).await?;
    let exchange = async {
        say_lists(desk, &mut stream).await?;
        stream.write_all(&Frame::End.encode()).await?;
        let lists = receive(desk, &mut stream, request.peer, true).await?;
        let _ = stream.close().await;
        Ok(lists)
    };
    vouched.hold(desk.limits.longest, exchange).await
}

/// Dials and makes sure who answers.
async fn meet(desk: &Desk, request: &StreamRequest) -> Result<(SecureStream, Vouched), SyncError> {
    let terms = desk.site.terms();
    let judge = Arc::clone(&terms.judge);
    let stream = dial(desk, terms, request.address).await?;
    let vouched = Vouched::of(&stream, judge, Side::Responder)?;
    if vouched.peer != request.peer {
        return Err(SyncError::WrongPeer(vouched.peer));
    }
    Ok((stream, vouched))
}

/// Says which revocation lists we have, where we take any.
async fn say_lists(desk: &Desk, stream: &mut SecureStream) -> Result<(), SyncError> {
    let Some(lists) = desk.site.lists() else { return Ok(()) };
    let notices = lists.iter().take(MOST_NOTICES).map(|list| list.notice()).collect();
    stream.write_all(&Frame::Lists(notices).encode()).await
}

/// Answers an exchange that somebody else wished for.
pub(super) async fn respond(
    desk: &Desk,
    stream: tokio::net::TcpStream,
    crowd: &Crowd,
) -> Result<(), SyncError> {
    let terms = desk.site.terms();
    let mut stream = in_time(desk.limits.handshake, async {
        let stream = Stream::adopt(desk.driver, stream).map_err(SyncError::Stream)?;
        let tls = rustls::ServerConnection::new(terms.server).map_err(SyncError::Tls)?;
        SecureStream::handshake(stream, tls.into(), PROTOCOL, desk.limits.idle).await
    })
    .await?;
    let vouched = Vouched::of(&stream, terms.judge, Side::Requester)?;
    let peer = vouched.peer;
    let _place = crowd.enter(peer, desk.limits.per_peer).ok_or(SyncError::Crowded)?;
    vouched.hold(desk.limits.longest, answer(desk, &mut stream, peer, crowd)).await
}

async fn answer(
    desk: &Desk,
    stream: &mut SecureStream,
    peer: MemberId,
    crowd: &Crowd,
) -> Result<(), SyncError> {
    let mut frame = Frame::read(stream).await?;
    if let Frame::Heard(mut numbers) = frame {
        numbers.retain(|number| desk.site.has_heard(*number));
        stream.write_all(&Frame::Heard(numbers).encode()).await?;
        let _ = stream.close().await;
        return Ok(());
    }
    let mut held = None;
    if let Frame::Lists(notices) = frame {
        held = Some(notices);
        frame = Frame::read(stream).await?;
    }
    let wanted = match frame {
        Frame::Request(wanted) => Some(wanted),
        Frame::End if held.is_some() => None,
        Frame::End
        | Frame::Entries(_)
        | Frame::Lists(_)
        | Frame::List(_)
        | Frame::Bytes(_)
        | Frame::Heard(_) => return Err(FrameError::Order.into()),
    };
    if wanted.as_ref().is_some_and(Vec::is_empty) {
        if !crowd.may_have_all(peer) {
            return Err(SyncError::Crowded);
        }
        receive(desk, stream, peer, false).await?;
    }
    if let Some(held) = held {
        lists::serve(desk, stream, peer, &held).await?;
    }
    match wanted {
        Some(wanted) => send(desk, stream, &wanted).await?,
        None => stream.write_all(&Frame::End.encode()).await?,
    }
    let _ = stream.close().await;
    Ok(())
}

async fn dial(desk: &Desk, terms: Terms, address: SocketAddr) -> Result<SecureStream, SyncError> {
    in_time(desk.limits.idle, async {
        #[cfg(feature = "weather")]
        desk.reach(address).await;
        let stream = Stream::dial(desk.driver, address).await.map_err(SyncError::Dial)?;
        let tls = rustls::ClientConnection::new(terms.client, terms.server_name)
            .map_err(SyncError::Tls)?;
        SecureStream::handshake(stream, tls.into(), PROTOCOL, desk.limits.idle).await
    })
    .await
}

/// Sends our state, or the wanted part of it, to the end; of departed members as many as fit.
async fn send(
    desk: &Desk,
    stream: &mut SecureStream,
    wanted: &[MemberId],
) -> Result<(), SyncError> {
    let published = desk.site.published();
    let view = &published.view;
    let mut total_bytes = 0;
    for piece in snapshot::pieces(view, view.taken(), wanted, SYNC_PIECE) {
        total_bytes += piece.bytes.len();
        if total_bytes > desk.limits.most_bytes {
            if piece.present {
                return Err(SyncError::TooLarge);
            }
            desk.site.metrics().state_cut();
            break;
        }
        stream.write_all(&Frame::Entries(piece.bytes).encode()).await?;
    }
    stream.write_all(&Frame::End.encode()).await
}

/// Takes the peer's entries to the end, and returns the revocation lists among them, which only
/// come where they were asked for.
async fn receive(
    desk: &Desk,
    stream: &mut SecureStream,
    from: MemberId,
    takes_lists: bool,
) -> Result<Vec<Vec<u8>>, SyncError> {
    let mut total_bytes = 0;
    let mut arriving = Arriving::default();
    let forged = Arc::default();
    loop {
        let entries = match Frame::read(stream).await? {
            Frame::Entries(entries) => entries,
            Frame::End => return arriving.whole(),
            Frame::List(bytes) if takes_lists => {
                arriving.begin(bytes)?;
                continue;
            }
            Frame::Bytes(piece) if takes_lists => {
                arriving.piece(&piece)?;
                continue;
            }
            Frame::Request(_)
            | Frame::Lists(_)
            | Frame::List(_)
            | Frame::Bytes(_)
            | Frame::Heard(_) => return Err(FrameError::Order.into()),
        };
        total_bytes += entries.len();
        if total_bytes > desk.limits.most_bytes {
            return Err(SyncError::TooLarge);
        }
        // The peer waits while its pieces before this one are merged.
        let place = Arc::clone(&desk.pieces).acquire_owned().await;
        let ticket = Ticket::new(place.map_err(|_| SyncError::Shard(Refused::Stopped))?, &forged);
        if !ticket.is_wanted() {
            return Err(SyncError::Forged);
        }
        let (agent, ticket) = (desk.agent, &ticket);
        let order =
            || Order::Sync { agent, from, entries: entries.clone(), ticket: ticket.clone() };
        offer(desk, order).await?;
    }
}

/// Offers an order until the shard takes it, within limits.
pub(super) async fn offer(desk: &Desk, order: impl Fn() -> Order) -> Result<(), SyncError> {
    let mut offers = 1;
    loop {
        match desk.shard.order(order()) {
            Ok(()) => return Ok(()),
            Err(Refused::Busy) if offers < desk.limits.offers => sleep(desk.limits.retry).await,
            Err(refused) => return Err(SyncError::Shard(refused)),
        }
        offers += 1;
    }
}

/// Offers an order until the shard takes it or has ended: for what must not be lost.
pub(super) async fn insist(desk: &Desk, order: impl Fn() -> Order) {
    while let Err(SyncError::Shard(Refused::Busy)) = offer(desk, &order).await {}
}

async fn in_time<T>(
    limit: Duration,
    exchange: impl Future<Output = Result<T, SyncError>>,
) -> Result<T, SyncError> {
    timeout(limit, exchange).await.unwrap_or(Err(SyncError::Late))
}
