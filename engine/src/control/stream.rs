//! A TCP stream on either runtime, and TLS over it, pumped by hand.
//!
//! The ring reads and writes whole owned buffers, so rustls runs on its buffered side: its bytes
//! go out of and into vectors here, and nothing borrows a buffer while the kernel owns it.
//! Accepting and dialling go by readiness on both runtimes, because a readiness wait can be
//! dropped at any moment while an operation of a ring cannot.
//!
//! Invariant: every wait for the peer ends within the idle limit, and no plaintext of the peer is
//! seen before its certificate was verified by the configuration in use.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::sync::SyncError;

/// Bytes asked of the kernel at a time: one TLS record and its framing.
const READ_BYTES: usize = 16 * 1_024 + 512;

/// Which runtime drives the streams of this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// tokio-uring.
    Ring,
    /// Plain tokio.
    Poll,
}

/// A connected TCP stream.
pub(super) enum Stream {
    Ring(tokio_uring::net::TcpStream),
    Poll(tokio::net::TcpStream),
}

impl Stream {
    /// Dials.
    pub(super) async fn dial(driver: Driver, address: SocketAddr) -> io::Result<Self> {
        Self::adopt(driver, tokio::net::TcpStream::connect(address).await?)
    }

    /// Takes over a connected stream.
    pub(super) fn adopt(driver: Driver, stream: tokio::net::TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        match driver {
            Driver::Poll => Ok(Self::Poll(stream)),
            Driver::Ring => {
                let stream = stream.into_std()?;
                // A ring waits for a blocking socket and gives EAGAIN on another.
                stream.set_nonblocking(false)?;
                Ok(Self::Ring(tokio_uring::net::TcpStream::from_std(stream)))
            }
        }
    }

    /// Reads what is there into `buffer`, replacing its content; 0 is the end.
    async fn read(&mut self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        match self {
            Self::Ring(stream) => {
                buffer.clear();
                buffer.reserve(READ_BYTES);
                stream.read(buffer).await
            }
            Self::Poll(stream) => {
                buffer.resize(READ_BYTES, 0);
                let outcome = stream.read(&mut buffer).await;
                buffer.truncate(*outcome.as_ref().unwrap_or(&0));
                (outcome, buffer)
            }
        }
    }

    async fn write_all(&mut self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        match self {
            Self::Ring(stream) => stream.write_all(buffer).await,
            Self::Poll(stream) => {
                let outcome = stream.write_all(&buffer).await;
                (outcome, buffer)
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        match self {
            // An operation that was given up holds the descriptor until it ends; this ends it.
            // The socket may be closed by the peer already, which is as good.
            Self::Ring(stream) => drop(stream.shutdown(std::net::Shutdown::Both)),
            Self::Poll(_) => {}
        }
    }
}

/// TLS over a [`Stream`].
pub(super) struct SecureStream {
    stream: Stream,
    tls: rustls::Connection,
    idle: Duration,
    /// Read and not yet given to rustls from `taken` on: its buffer of plaintext is small, so
    /// each record is taken out before the next goes in.
    ciphertext: Vec<u8>,
    taken: usize,
}

impl SecureStream {
    /// Completes the handshake and demands `protocol`. No wait for the peer is longer than
    /// `idle`, then or later.
    pub(super) async fn handshake(
        stream: Stream,
        tls: rustls::Connection,
        protocol: &[u8],
        idle: Duration,
    ) -> Result<Self, SyncError> {
        let mut secure = Self { stream, tls, idle, ciphertext: Vec::new(), taken: 0 };
        while secure.tls.is_handshaking() {
            secure.flush().await?;
            if secure.tls.is_handshaking() && secure.tls.wants_read() {
                secure.fill().await?;
            }
        }
        secure.flush().await?;
        match secure.tls.alpn_protocol() {
            Some(agreed) if agreed == protocol => Ok(secure),
            Some(_) | None => Err(SyncError::Protocol),
        }
    }

    /// The peer's verified certificates, leaf first.
    pub(super) fn peer_chain(&self) -> Vec<CertificateDer<'static>> {
        self.tls.peer_certificates().unwrap_or_default().to_vec()
    }

    /// Fills `bytes` from the peer.
    pub(super) async fn read_exact(&mut self, mut bytes: &mut [u8]) -> Result<(), SyncError> {
        while !bytes.is_empty() {
            match self.tls.reader().read(bytes) {
                // The peer said goodbye in the middle of something.
                Ok(0) => return Err(SyncError::Closed),
                Ok(read) => bytes = &mut bytes[read..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.fill().await?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(SyncError::Closed);
                }
                Err(error) => return Err(SyncError::Stream(error)),
            }
        }
        Ok(())
    }

    /// Sends `bytes` and waits until the kernel has taken them.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), SyncError> {
        while !bytes.is_empty() {
            // rustls takes as much as its buffer limit allows.
            let taken = self.tls.writer().write(bytes).map_err(SyncError::Stream)?;
            bytes = &bytes[taken..];
            self.flush().await?;
        }
        Ok(())
    }

    /// Says goodbye.
    pub(super) async fn close(&mut self) -> Result<(), SyncError> {
        self.tls.send_close_notify();
        self.flush().await
    }

    /// Gives rustls something to work on: what is left of the last read, else another read.
    async fn fill(&mut self) -> Result<(), SyncError> {
        if self.taken == self.ciphertext.len() {
            let buffer = std::mem::take(&mut self.ciphertext);
            let (outcome, buffer) = within(self.idle, self.stream.read(buffer)).await?;
            (self.ciphertext, self.taken) = (buffer, 0);
            if outcome.map_err(SyncError::Stream)? == 0 {
                return Err(SyncError::Closed);
            }
        }
        let mut rest = &self.ciphertext[self.taken..];
        self.taken += self.tls.read_tls(&mut rest).map_err(SyncError::Stream)?;
        if let Err(error) = self.tls.process_new_packets() {
            // The alert tells the peer why. Whether it arrives changes nothing here.
            let _ = self.flush().await;
            return Err(SyncError::Tls(error));
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SyncError> {
        while self.tls.wants_write() {
            let mut records = Vec::new();
            self.tls.write_tls(&mut records).map_err(SyncError::Stream)?;
            let (outcome, _) = within(self.idle, self.stream.write_all(records)).await?;
            outcome.map_err(SyncError::Stream)?;
        }
        Ok(())
    }
}

async fn within<T>(limit: Duration, operation: impl Future<Output = T>) -> Result<T, SyncError> {
    timeout(limit, operation).await.map_err(|_elapsed| SyncError::Idle)
}
