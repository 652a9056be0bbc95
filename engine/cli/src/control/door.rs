//! Ways to a control server: its owner's socket, loopback, or mutual TLS from elsewhere.
//!
//! Invariant: over TLS nothing is asked before a member of our own cluster has answered.

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use mesh_gossip::options::{Material, RevocationOptions, TlsOptions};
use mesh_gossip::tls::caller::{Caller, CallerError, TlsStream};
use mesh_gossip::tls::identity::NameRule;
use ureq::http::Uri;

use super::{ControlError, MOST_ANSWER, refusal, status};

/// What we show a control server on another machine, and whom we take answers from.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CertificateArgs {
    /// Certificate chain to show an https URL, PEM; the key may stand in the same file. A member's
    /// or observer's reads, an operator's changes as well.
    #[arg(long, value_name = "FILE", global = true)]
    certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", global = true)]
    key: Option<PathBuf>,
    /// Certificate authorities of the mesh, PEM: the agent that answers must have a certificate of
    /// them for the cluster of ours.
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// Revocation lists that the agent's certificate must not be in, PEM or DER.
    #[arg(long, value_name = "FILE", global = true)]
    crl: Option<PathBuf>,
    /// Node id of the agent that must answer; without it any member of our cluster may.
    #[arg(long, value_name = "ID", global = true)]
    expect: Option<String>,
}

impl CertificateArgs {
    /// With this certificate.
    pub(crate) fn of(certificate: &Path, key: Option<&PathBuf>, ca: Option<&PathBuf>) -> Self {
        let certificate = Some(certificate.to_owned());
        Self { certificate, key: key.cloned(), ca: ca.cloned(), ..Self::default() }
    }

    /// The way to this URL, which [`base`](crate::peers::base) let pass.
    pub(crate) fn door(&self, url: &str) -> Result<Door, ControlError> {
        if is_plain(url) {
            return Ok(Door::plain(url));
        }
        let missing = |option| ControlError::NoDoor(format!("{url} needs mutual TLS: {option}"));
        let certificate = self
            .certificate
            .clone()
            .ok_or_else(|| missing("name a certificate of the mesh with --certificate FILE"))?;
        let ca = self.ca.clone().ok_or_else(|| missing("name its authorities with --ca FILE"))?;
        let options = TlsOptions {
            certificate: Material::Path(certificate),
            key: self.key.clone().map(Material::Path),
            password: None,
            ca: Material::Path(ca),
            // Those of the certificate count.
            trust_domain: String::new(),
            identity: NameRule::default(),
            allowed_thumbprints: Vec::new(),
            revocation: RevocationOptions {
                lists: self.crl.clone().map(Material::Path),
                ..RevocationOptions::default()
            },
            reload_interval: TlsOptions::RELOAD_INTERVAL,
        };
        Door::secure(url, &options, self.expect.clone())
    }
}

/// Whether this URL is read without TLS.
pub(crate) fn is_plain(url: &str) -> bool {
    !url.starts_with("https:")
}

/// A way to a control server.
#[derive(Debug)]
pub(crate) enum Door {
    /// Its owner's.
    Socket(PathBuf),
    /// Plain HTTP at `host:port`.
    Plain(String),
    /// Mutual TLS.
    Secure {
        /// `host:port`.
        authority: String,
        caller: Caller,
        /// Who has to answer.
        expect: Option<String>,
    },
}

impl Door {
    fn plain(url: &str) -> Self {
        Self::Plain(authority(url, 80))
    }

    /// With a certificate of the mesh.
    pub(crate) fn secure(
        url: &str,
        options: &TlsOptions,
        expect: Option<String>,
    ) -> Result<Self, ControlError> {
        let caller =
            Caller::load(options).map_err(|error| ControlError::NoDoor(error.to_string()))?;
        Ok(Self::Secure { authority: authority(url, 443), caller, expect })
    }

    /// The answer to a question.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        timeout: Duration,
    ) -> Result<Vec<u8>, ControlError> {
        self.ask_within(method, path, body, timeout, MOST_ANSWER)
    }

    /// The same with `most` bytes at most.
    pub(crate) fn ask_within(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        timeout: Duration,
        most: u64,
    ) -> Result<Vec<u8>, ControlError> {
        let until = Instant::now() + timeout;
        let what = self.to_string();
        let head = format!("Content-Length: {}\r\n", body.len());
        let mut stream = self.send(method, path, &head, body, timeout)?;
        let blame = |error| ControlError::io(&what, timeout, error);
        let status = status(&mut stream, &what, timeout)?;
        let mut answer = Vec::new();
        let mut piece = vec![0; 1 << 16];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(blame(io::ErrorKind::TimedOut.into()));
            }
            stream.get_ref().set_patience(left).map_err(blame)?;
            match stream.read(&mut piece).map_err(blame)? {
                0 => break,
                read => answer.extend_from_slice(&piece[..read]),
            }
            if answer.len() as u64 > most {
                return Err(ControlError::Protocol(what));
            }
        }
        if status == 200 { Ok(answer) } else { Err(refusal(status, &answer)) }
    }

    /// An answer that goes on, as it comes; `patience` is between two reads.
    pub(crate) fn open(
        &self,
        path: &str,
        last: Option<&str>,
        patience: Duration,
    ) -> Result<BufReader<Box<dyn Wire>>, ControlError> {
        let what = self.to_string();
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let mut stream = self.send("GET", path, &last, b"", patience)?;
        let status = status(&mut stream, &what, patience)?;
        if status == 200 {
            return Ok(stream);
        }
        let mut body = Vec::new();
        let read = stream.take(MOST_ANSWER).read_to_end(&mut body);
        read.map_err(|error| ControlError::io(&what, patience, error))?;
        Err(refusal(status, &body))
    }

    /// Says a question. HTTP/1.0: the answer ends with the connection, so that one that never ends,
    /// as a watch is one, needs nothing else.
    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
        patience: Duration,
    ) -> Result<BufReader<Box<dyn Wire>>, ControlError> {
        let what = self.to_string();
        let blame = |error| ControlError::io(&what, patience, error);
        let (mut wire, host): (Box<dyn Wire>, _) = match self {
            Self::Socket(path) => {
                let stream = UnixStream::connect(path).map_err(blame)?;
                stream.set_write_timeout(Some(patience)).map_err(blame)?;
                (Box::new(stream), String::new())
            }
            Self::Plain(authority) => {
                let stream = connect(authority, patience).map_err(blame)?;
                (Box::new(stream), format!("Host: {authority}\r\n"))
            }
            Self::Secure { authority, caller, expect } => {
                let stream = connect(authority, patience).map_err(blame)?;
                stream.set_patience(patience).map_err(blame)?;
                let met = caller.meet(stream, expect.as_deref()).map_err(|error| match error {
                    CallerError::Stream(error) => blame(error),
                    error => ControlError::Failed(format!("{what}: {error}")),
                })?;
                (Box::new(met), format!("Host: {authority}\r\n"))
            }
        };
        wire.set_patience(patience).map_err(blame)?;
        let head = format!("{method} {path} HTTP/1.0\r\n{host}{headers}\r\n");
        let sent = [head.as_bytes(), body].concat();
        wire.write_all(&sent).and_then(|()| wire.flush()).map_err(blame)?;
        Ok(BufReader::new(wire))
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Plain(authority) => write!(f, "http://{authority}"),
            Self::Secure { authority, .. } => write!(f, "https://{authority}"),
        }
    }
}

/// Bytes both ways, waited for with patience.
pub(crate) trait Wire: Read + Write {
    /// No read waits longer.
    fn set_patience(&self, patience: Duration) -> io::Result<()>;
}

impl Wire for UnixStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }
}

impl Wire for TcpStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }
}

impl Wire for TlsStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.sock.set_patience(patience)
    }
}

fn connect(authority: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut outcome = Err(io::Error::from(io::ErrorKind::NotFound));
    for address in authority.to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, patience);
        if outcome.is_ok() {
            break;
        }
    }
    let stream = outcome?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

/// `host:port` of a URL that was looked at before.
fn authority(url: &str, port: u16) -> String {
    let uri: Uri = url.parse().unwrap_or_default();
    let host = uri.authority().map_or("", |authority| authority.as_str());
    if uri.port().is_some() { host.to_owned() } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_to_a_door_and_https_asks_for_papers() {
        let door = |url: &str| CertificateArgs::default().door(url);
        let plain = |url: &str| door(url).map(|door| door.to_string()).unwrap_or_default();
        assert_eq!(plain("http://[::1]:8"), "http://[::1]:8");
        assert_eq!(plain("http://h"), "http://h:80");
        let error = door("https://h").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("https://h needs mutual TLS: name a certificate"), "{error}");
        assert_eq!(authority("https://h", 443), "h:443");
    }
}
