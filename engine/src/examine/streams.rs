//! A TLS handshake with a member's bulk-sync port, for the precise reason where it fails.
//!
//! In TLS 1.3 the server judges our certificate after our side is done, so that success shows only
//! later: we say goodbye at once, and whoever refuses us answers with an alert instead of its own
//! goodbye.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{CertificateError, ClientConnection, OtherError};

use crate::tls::credentials::{Credentials, server_name};
use crate::tls::identity::{Identity, NameRule, peer_of};
use crate::tls::verifier::{TrustError, reason_of};

/// Why no TLS connection came about.
#[derive(Debug)]
pub enum TlsTrouble {
    /// Nobody answers there over TCP.
    Dial(io::Error),
    /// The connection broke or fell silent.
    Broken(io::Error),
    /// We refuse the member's certificate, or what it says.
    Refused {
        /// A short stable word.
        reason: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The member refuses our certificate, or what we say; the alert that it sent.
    RefusesUs {
        /// The alert's name.
        alert: String,
    },
}

impl fmt::Display for TlsTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => write!(f, "nobody answers over TCP: {error}"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Refused { why, .. } => f.write_str(why),
            Self::RefusesUs { alert } => write!(f, "it refuses us with the alert {alert}"),
        }
    }
}

impl std::error::Error for TlsTrouble {}

/// Shakes hands and says goodbye; returns whose certificate the member showed.
///
/// # Errors
/// [`TlsTrouble`]: who refused whom, and why.
pub fn tls(
    credentials: &Credentials,
    address: SocketAddr,
    patience: Duration,
) -> Result<Identity, TlsTrouble> {
    let mut line = Line::open(credentials, address, patience)?;
    line.close()?;
    line.peer()
}

/// A stream to a member, under our node's name.
pub(super) struct Line {
    tls: ClientConnection,
    stream: TcpStream,
    until: Instant,
    rule: NameRule,
}

impl Line {
    pub(super) fn open(
        credentials: &Credentials,
        address: SocketAddr,
        patience: Duration,
    ) -> Result<Self, TlsTrouble> {
        let until = Instant::now() + patience;
        let stream = TcpStream::connect_timeout(&address, patience).map_err(TlsTrouble::Dial)?;
        let config = Arc::clone(credentials.sync_client());
        let tls = ClientConnection::new(config, server_name()).map_err(|error| blame(&error))?;
        let rule = credentials.identity().rule;
        let mut line = Self { tls, stream, until, rule };
        while line.tls.is_handshaking() {
            line.turn()?;
        }
        Ok(line)
    }

    /// Asks, and collects what comes until `enough` finds it whole.
    pub(super) fn ask<T>(
        &mut self,
        question: &[u8],
        mut enough: impl FnMut(&[u8]) -> Result<Option<T>, TlsTrouble>,
    ) -> Result<T, TlsTrouble> {
        self.tls.writer().write_all(question).map_err(TlsTrouble::Broken)?;
        let mut answer = Vec::new();
        loop {
            let more = self.turn()?;
            match self.tls.reader().read_to_end(&mut answer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(TlsTrouble::Broken(error)),
            }
            if let Some(answer) = enough(&answer)? {
                return Ok(answer);
            }
            if !more {
                return Err(TlsTrouble::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn close(&mut self) -> Result<(), TlsTrouble> {
        self.tls.send_close_notify();
        while self.turn()? {}
        Ok(())
    }

    fn peer(&self) -> Result<Identity, TlsTrouble> {
        peer_of(self.rule, self.tls.peer_certificates())
            .map_err(|error| TlsTrouble::Refused { reason: "identity", why: error.to_string() })
    }

    fn turn(&mut self) -> Result<bool, TlsTrouble> {
        turn(&mut self.tls, &mut self.stream, self.until)
    }
}

/// Writes what there is and reads once; whether the member may still say something.
fn turn(
    tls: &mut ClientConnection,
    stream: &mut TcpStream,
    until: Instant,
) -> Result<bool, TlsTrouble> {
    while tls.wants_write() {
        stream.set_write_timeout(Some(left(until)?)).map_err(TlsTrouble::Broken)?;
        // Who refused us may have hung up already; its alert waits to be read.
        if tls.write_tls(stream).is_err() {
            break;
        }
    }
    stream.set_read_timeout(Some(left(until)?)).map_err(TlsTrouble::Broken)?;
    let read = tls.read_tls(stream).map_err(TlsTrouble::Broken)?;
    let state = tls.process_new_packets();
    // An alert of ours tells the member's operator.
    let _ = state.is_err() && tls.write_tls(stream).is_err();
    let state = state.map_err(|error| blame(&error))?;
    if read == 0 && tls.is_handshaking() {
        return Err(TlsTrouble::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(read > 0 && !state.peer_has_closed())
}

fn left(until: Instant) -> Result<Duration, TlsTrouble> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(TlsTrouble::Broken(io::ErrorKind::TimedOut.into())) } else { Ok(left) }
}

fn blame(error: &rustls::Error) -> TlsTrouble {
    if let rustls::Error::AlertReceived(alert) = error {
        return TlsTrouble::RefusesUs { alert: format!("{alert:?}") };
    }
    let why = match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => TrustError::UnknownCa.to_string(),
            CertificateError::ExpiredContext { time, not_after } => {
                TrustError::Expired { not_after: *not_after, now: *time }.to_string()
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                TrustError::NotYetValid { not_before: *not_before, now: *time }.to_string()
            }
            CertificateError::Other(OtherError(error)) => error.to_string(),
            other => other.to_string(),
        },
        other => other.to_string(),
    };
    TlsTrouble::Refused { reason: reason_of(error), why }
}
