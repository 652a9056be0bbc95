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

use super::socket::{OwnerSocket, SocketFile};
use crate::control::Site;
use crate::control::agents::listen;

/// A connection on which no answer moved for so long is closed: it holds one of few places. Below
/// the usual scrape interval of 15 s, so that a scraper never races with the end of its own.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(10);

/// Where connections come from.
pub(super) enum Door {
    /// Anybody on this machine.
    Loopback(tokio::net::TcpListener),
    /// Its owner.
    Socket(OwnersDoor),
}

/// See [`OwnerSocket`].
pub(super) struct OwnersDoor {
    _file: SocketFile,
    listener: UnixListener,
    owner: u32,
}

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
        Ok(Self::Socket(OwnersDoor { _file: file, listener, owner }))
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Loopback(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Socket(door) => loop {
                let (stream, _) = door.listener.accept().await?;
                // Root may do what it likes in any case.
                if [door.owner, 0].contains(&stream.peer_cred()?.uid()) {
                    return Ok(Box::new(stream));
                }
            },
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
    type Addr = ();

    async fn accept(&mut self) -> (Connection, ()) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                // Nobody closes the semaphore; if somebody did, there are no places any more.
                std::future::pending::<()>().await;
                continue;
            };
            match self.door.accept().await {
                Ok(stream) => {
                    let site = Arc::clone(&self.site);
                    return (Connection::new(stream, CONNECTION_PATIENCE, site, place), ());
                }
                // Out of descriptors, most likely: accepting at once again would spin.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection that gives its place back when no answer moves on it.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    /// Whether the kernel takes no more bytes of an answer: its reader is slow.
    is_blocked: bool,
    site: Arc<dyn Site>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(
        stream: Box<dyn Stream>,
        patience: Duration,
        site: Arc<dyn Site>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let deadline = Box::pin(sleep(patience));
        Self { stream, patience, deadline, is_blocked: false, site, _place: place }
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
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(outcome) => {
                let next = Instant::now() + self.patience;
                self.deadline.set(sleep_until(next));
                self.is_blocked = false;
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
        (Connection::new(Box::new(stream), patience, site, place), client)
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
        let (mut idle, _client) = connected(patience, site()).await;
        let read = idle.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(read.kind(), io::ErrorKind::TimedOut);
        let text = stage.site.metrics.render(&stage.site.published().view, &inspection());
        for reason in ["slow", "idle"] {
            let line = format!("mesh_gossip_control_dropped_total{{mesh_reason=\"{reason}\"}} 1");
            assert!(text.contains(&line), "{text}");
        }
    }
}
