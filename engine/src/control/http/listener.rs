//! Connections of the control server: so many at a time, each with so much patience.
//!
//! Invariant: a connection on which nothing moves gives its place back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::gate::TlsDoor;
use super::guard::Caller;
use super::socket::{OwnerSocket, SocketFile};
use crate::control::Site;
use crate::control::agents::listen;

/// A connection on which no answer moved for so long is closed: it holds one of few places. Below
/// the usual scrape interval of 15 s, so that a scraper never races with the end of its own.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(10);

/// A reader whom an answer waits for takes at least so much in that time, or is closed as well: who
/// sips would keep a place for ever.
const LEAST: usize = 64 * 1_024;

/// Where connections come from.
pub(super) enum Door {
    /// Anybody on this machine.
    Loopback(tokio::net::TcpListener),
    /// Its owner.
    Socket(OwnersDoor),
    /// Whoever has a certificate of the mesh.
    Tls(TlsDoor),
}

/// Somebody who came in.
pub(super) struct Admitted {
    pub(super) stream: Box<dyn Stream>,
    pub(super) caller: Caller,
    pub(super) standing: Standing,
    pub(super) place: OwnedSemaphorePermit,
}

/// For how long somebody who came in may stay.
pub(super) enum Standing {
    /// As long as it likes.
    Unbounded,
    /// Until this ends: its certificate counts no longer.
    Until(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// No longer.
    Over,
}

impl Standing {
    /// Ready once it is over.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Unbounded => return Poll::Pending,
            Self::Until(end) => ready!(end.as_mut().poll(context)),
            Self::Over => {}
        }
        *self = Self::Over;
        Poll::Ready(())
    }
}

/// See [`OwnerSocket`].
pub(super) struct OwnersDoor {
    _file: SocketFile,
    listener: UnixListener,
    /// User ids that may come in: its owner's, and root's, who may do what it likes in any case.
    welcome: [u32; 2],
}

const ROOT: u32 = 0;

impl Door {
    /// A listener on loopback, on this runtime.
    pub(super) fn loopback(listener: std::net::TcpListener) -> io::Result<Self> {
        listen(listener).map(Self::Loopback)
    }

    /// A socket of its owner, on this runtime.
    pub(super) fn socket(socket: OwnerSocket) -> io::Result<Self> {
        let OwnerSocket { file, listener, owner } = socket;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Self::Socket(OwnersDoor { _file: file, listener, welcome: [owner, ROOT] }))
    }

    /// The next one who may come in, once there is a place.
    async fn admit(&mut self, places: &Arc<Semaphore>, site: &dyn Site) -> io::Result<Admitted> {
        // Nobody closes the semaphore.
        let place = async || Arc::clone(places).acquire_owned().await.map_err(io::Error::other);
        let (stream, caller, place): (Box<dyn Stream>, _, _) = match self {
            Self::Loopback(listener) => {
                let place = place().await?;
                (Box::new(listener.accept().await?.0), Caller::Neighbour, place)
            }
            Self::Socket(door) => {
                let place = place().await?;
                (Box::new(door.accept(site).await?), Caller::Owner, place)
            }
            Self::Tls(door) => return door.admit(places).await,
        };
        Ok(Admitted { stream, caller, standing: Standing::Unbounded, place })
    }
}

impl OwnersDoor {
    /// The next one who is welcome; others are closed and counted.
    async fn accept(&self, site: &dyn Site) -> io::Result<tokio::net::UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            if self.welcome.contains(&stream.peer_cred()?.uid()) {
                return Ok(stream);
            }
            site.metrics().control_dropped("forbidden");
        }
    }
}

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Accepts while there are places.
pub(super) struct BoundedListener {
    pub(super) door: Door,
    pub(super) places: Arc<Semaphore>,
    pub(super) site: Arc<dyn Site>,
    /// Declared after the listener and dropped after it.
    pub(super) _open: oneshot::Sender<()>,
}

impl axum::serve::Listener for BoundedListener {
    type Io = Connection;
    type Addr = Caller;

    async fn accept(&mut self) -> (Connection, Caller) {
        loop {
            match self.door.admit(&self.places, &*self.site).await {
                Ok(Admitted { stream, caller, standing, place }) => {
                    let site = Arc::clone(&self.site);
                    let connection =
                        Connection::new(stream, CONNECTION_PATIENCE, site, standing, place);
                    return (connection, caller);
                }
                // Out of descriptors, most likely: accepting at once again would spin.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Who would come; nobody asks.
    fn local_addr(&self) -> io::Result<Caller> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A connection that gives its place back when no answer moves on it.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    /// Whether the kernel takes no more bytes of an answer: its reader is slow.
    is_blocked: bool,
    /// Bytes that it took since its patience was renewed.
    taken: usize,
    site: Arc<dyn Site>,
    standing: Standing,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(
        stream: Box<dyn Stream>,
        patience: Duration,
        site: Arc<dyn Site>,
        standing: Standing,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let deadline = Box::pin(sleep(patience));
        let (is_blocked, taken) = (false, 0);
        Self { stream, patience, deadline, is_blocked, taken, site, standing, _place: place }
    }

    /// An error once the other end's certificate counts no longer, whatever is under way.
    fn check_standing(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let was_over = matches!(self.standing, Standing::Over);
        if self.standing.poll_over(context).is_pending() {
            return Ok(());
        }
        if !was_over {
            self.site.metrics().control_dropped("revoked");
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.deadline.as_mut().poll(context));
        let why = if self.is_blocked { "slow" } else { "idle" };
        self.site.metrics().control_dropped(why);
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_standing(context)?;
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => self.poll_patience(context).map(Err),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_standing(context)?;
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(outcome) => {
                self.taken += outcome.as_ref().copied().unwrap_or_default();
                if !std::mem::take(&mut self.is_blocked) || self.taken >= LEAST {
                    let next = Instant::now() + self.patience;
                    self.deadline.set(sleep_until(next));
                    self.taken = 0;
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => {
                self.is_blocked = true;
                self.poll_patience(context).map(Err)
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::control::stage_tests::{Setting, Stage, TestMesh, inspection};
    use crate::io::Backend;

    async fn connected(patience: Duration, site: Arc<dyn Site>) -> (Connection, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let standing = Standing::Unbounded;
        (Connection::new(Box::new(stream), patience, site, standing, place), client)
    }

    #[tokio::test]
    async fn who_reads_nothing_and_who_says_nothing_are_told_apart() {
        let stage = Stage::set(Setting::new(Backend::Mmsg, &["me"]), TestMesh::new().certify("me"));
        let patience = Duration::from_millis(20);
        let site = || Arc::clone(&stage.site) as Arc<dyn Site>;
        let (mut slow, _client) = connected(patience, site()).await;
        let written = loop {
            if let Err(error) = slow.write_all(&[0; 65_536]).await {
                break error;
            }
        };
        assert_eq!(written.kind(), io::ErrorKind::TimedOut);
        // Who sips is slow as well.
        let (mut sipped, mut client) = connected(Duration::from_millis(300), site()).await;
        let sips = tokio::spawn(async move {
            while client.read_exact(&mut [0; 512]).await.is_ok() {
                sleep(Duration::from_millis(5)).await;
            }
        });
        let written = loop {
            if let Err(error) = sipped.write_all(&[0; 65_536]).await {
                break error;
            }
        };
        assert_eq!(written.kind(), io::ErrorKind::TimedOut);
        drop(sipped);
        sips.abort();
        let (mut idle, _client) = connected(patience, site()).await;
        let read = idle.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(read.kind(), io::ErrorKind::TimedOut);
        let text = stage.site.metrics.render(&stage.site.published().view, &inspection());
        for (reason, times) in [("slow", 2), ("idle", 1)] {
            let line =
                format!("mesh_gossip_control_dropped_total{{mesh_reason=\"{reason}\"}} {times}");
            assert!(text.contains(&line), "{text}");
        }
    }
    /// Rule S-20: whoever is neither the owner nor root is closed before a byte is read, and counted.
    #[tokio::test]
    async fn another_users_connection_to_the_socket_is_closed_and_counted() {
        let stage = Stage::set(Setting::new(Backend::Mmsg, &["me"]), TestMesh::new().certify("me"));
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("me.sock");
        let socket = OwnerSocket::bind(&path).unwrap();
        let us = socket.owner;
        let Ok(Door::Socket(mut door)) = Door::socket(socket) else { panic!("a socket's door") };
        let ours = tokio::net::UnixStream::connect(&path).await.unwrap();
        assert!(door.accept(&*stage.site).await.is_ok(), "the owner comes in");
        drop(ours);

        door.welcome = [us ^ 1, us ^ 2];
        let mut other = tokio::net::UnixStream::connect(&path).await.unwrap();
        let waits = tokio::time::timeout(Duration::from_millis(200), door.accept(&*stage.site));
        assert!(waits.await.is_err(), "nobody came in");
        assert_eq!(other.read(&mut [0; 1]).await.unwrap(), 0, "closed");
        let text = stage.site.metrics.render(&stage.site.published().view, &inspection());
        let line = "mesh_gossip_control_dropped_total{mesh_reason=\"forbidden\"} 1";
        assert!(text.contains(line), "{text}");
    }
}
