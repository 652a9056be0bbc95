//! A TLS handshake with a member's bulk-sync port, for the precise reason where it fails.
//!
//! In TLS 1.3 the server judges our certificate after our side is done, so that success shows only
//! later: we say goodbye at once, and whoever refuses us answers with an alert instead of its own
//! goodbye.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{CertificateError, ClientConnection, OtherError};

use crate::tls::credentials::{Credentials, server_name};
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

/// Shakes hands and says goodbye.
///
/// # Errors
/// [`TlsTrouble`]: who refused whom, and why.
pub fn tls(
    credentials: &Credentials,
    address: SocketAddr,
    patience: Duration,
) -> Result<(), TlsTrouble> {
    let until = Instant::now() + patience;
    let mut stream = TcpStream::connect_timeout(&address, patience).map_err(TlsTrouble::Dial)?;
    let config = Arc::clone(credentials.sync_client());
    let mut tls = ClientConnection::new(config, server_name()).map_err(|error| blame(&error))?;
    while tls.is_handshaking() {
        turn(&mut tls, &mut stream, until)?;
    }
    tls.send_close_notify();
    while turn(&mut tls, &mut stream, until)? {}
    Ok(())
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
