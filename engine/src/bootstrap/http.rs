//! As much of HTTP/1.1 as two of our own programs, and curl, need: one request and one answer a
//! connection, each with a length that is told beforehand.
//!
//! Invariant: neither side holds more of the other's bytes than the limits here.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// Largest request line with headers, or status line with headers.
const MAX_HEAD: usize = 8_192;
/// Largest body of a request.
pub(super) const MAX_REQUEST_BODY: usize = 16_384;
/// Largest body of an answer: a revocation list.
pub(super) const MAX_ANSWER_BODY: usize = 8 * 1_048_576;
/// Longest that a peer is listened to after the last word to it.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// Most headers.
const MAX_HEADERS: usize = 32;

pub(super) const JOIN: &str = "/v1/join";
pub(super) const RENEW: &str = "/v1/renew";
pub(super) const CRL: &str = "/v1/crl";

/// A node asks with a token.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JoinRequest {
    pub(super) node_id: String,
    pub(super) token: String,
    pub(super) csr: String,
}

impl Drop for JoinRequest {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

/// A node asks with its certificate.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RenewRequest {
    pub(super) csr: String,
}

/// What a node is given.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Grant {
    /// Leaf and issuing certificate.
    pub(super) chain: String,
    /// What to trust by.
    pub(super) bundle: String,
}

/// Why a node is given nothing.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Denial {
    pub(super) error: String,
}

/// A request as it was read.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// An answer as it was read.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Reads one request.
pub(super) fn read_request(stream: &mut impl Read) -> io::Result<Request> {
    let [head, rest] = read_head(stream)?;
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(&head).map_err(malformed)?;
    let (method, path) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let (method, path) = (method.to_owned(), path.to_owned());
    let length = length_of(request.headers)?.unwrap_or(0);
    let body = read_body(stream, &rest, length, MAX_REQUEST_BODY)?;
    Ok(Request { method, path, body: Zeroizing::new(body) })
}

/// Reads one answer.
pub(super) fn read_answer(stream: &mut impl Read) -> io::Result<Answer> {
    let [head, rest] = read_head(stream)?;
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    answer.parse(&head).map_err(malformed)?;
    let status = answer.code.ok_or_else(|| malformed("no status"))?;
    let length = length_of(answer.headers)?.ok_or_else(|| malformed("no length"))?;
    Ok(Answer { status, body: read_body(stream, &rest, length, MAX_ANSWER_BODY)? })
}

/// Writes one request.
pub(super) fn write_request(
    stream: &mut impl Write,
    method: &str,
    path: &str,
    body: &[u8],
) -> io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: bootstrap\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    )?;
    stream.write_all(body)?;
    stream.flush()
}

/// Writes one answer.
pub(super) fn write_answer(
    stream: &mut impl Write,
    status: u16,
    content_type: &str,
    body: &[u8],
) -> io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} {}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
         cache-control: no-store\r\nconnection: close\r\n\r\n",
        if status == 200 { "OK" } else { "Refused" }
    )?;
    stream.write_all(body)?;
    stream.flush()
}

/// Head up to the empty line, and what came behind it.
fn read_head(stream: &mut impl Read) -> io::Result<[Zeroizing<Vec<u8>>; 2]> {
    // Reserved up front: a buffer that grows would leave copies of a token behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_HEAD + MAX_REQUEST_BODY));
    let mut chunk = Zeroizing::new([0; 2_048]);
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = Zeroizing::new(bytes[at + 4..].to_vec());
            bytes.truncate(at + 4);
            return Ok([bytes, rest]);
        }
        if bytes.len() >= MAX_HEAD {
            return Err(malformed("headers are too long"));
        }
        let count = stream.read(&mut *chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
}

fn length_of(headers: &[httparse::Header<'_>]) -> io::Result<Option<usize>> {
    let mut length = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(malformed("a body without a length"));
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).map_err(malformed)?;
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let value = text.parse().ok().filter(|_| is_number);
            let value: usize = value.ok_or_else(|| malformed("a length that is no number"))?;
            if length.replace(value).is_some() {
                return Err(malformed("two lengths"));
            }
        }
    }
    Ok(length)
}

fn read_body(
    stream: &mut impl Read,
    rest: &[u8],
    length: usize,
    most: usize,
) -> io::Result<Vec<u8>> {
    if length > most || rest.len() > length {
        return Err(malformed("a body that is too long"));
    }
    let mut body = Vec::with_capacity(length);
    body.extend_from_slice(rest);
    stream.take((length - rest.len()) as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(body)
}

fn malformed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A socket on which everything together takes until a deadline, however slowly it trickles.
pub(super) struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Timed {
    pub(super) fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, until: Instant::now() + patience }
    }

    /// Ends our direction and takes what the other side still sends, within limits: a socket that
    /// is closed on unread bytes is reset, and the reset may overtake our last words.
    pub(super) fn hang_up(&mut self) {
        self.until = self.until.min(Instant::now() + LINGER);
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut left = MAX_HEAD + MAX_REQUEST_BODY;
        let mut chunk = Zeroizing::new([0; 2_048]);
        while left > 0 {
            match self.read(&mut *chunk) {
                Ok(count) if count > 0 => left = left.saturating_sub(count),
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> io::Result<Request> {
        read_request(&mut text.as_bytes())
    }

    #[test]
    fn what_is_written_is_read() {
        let mut wire = Vec::new();
        write_request(&mut wire, "POST", JOIN, b"{}").unwrap();
        let read = read_request(&mut &wire[..]).unwrap();
        assert_eq!((read.method.as_str(), read.path.as_str()), ("POST", JOIN));
        assert_eq!(&read.body[..], b"{}");
        let mut wire = Vec::new();
        write_answer(&mut wire, 403, "application/json", b"no").unwrap();
        let read = read_answer(&mut &wire[..]).unwrap();
        assert_eq!((read.status, &read.body[..]), (403, &b"no"[..]));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, tail: Vec<u8>) {
            let whole = [&bytes[..], b"\r\n\r\n", &tail].concat();
            let _ = read_request(&mut &whole[..]);
            let _ = read_answer(&mut &whole[..]);
            let line = [b"POST / HTTP/1.1\r\n", &whole[..]].concat();
            if let Ok(read) = read_request(&mut &line[..]) {
                assert!(read.body.len() <= MAX_REQUEST_BODY);
            }
        }
    }

    #[test]
    fn nothing_larger_than_the_limits_is_held() {
        let head = "GET / HTTP/1.1\r\nx: ";
        assert!(request(&format!("{head}{}\r\n\r\n", "y".repeat(3_000))).is_ok());
        assert!(request(&format!("{head}{}", "y".repeat(20_000))).is_err());
        let huge = "POST / HTTP/1.1\r\ncontent-length: 999999999999\r\n\r\n";
        assert!(request(huge).is_err());
        for wrong in [
            "",
            "GET / HTTP/1.1\r\n",
            "\x16\x03\x01\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nabc",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\nabc",
            "POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\na",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            assert!(request(wrong).is_err(), "{wrong:?}");
        }
    }
}
