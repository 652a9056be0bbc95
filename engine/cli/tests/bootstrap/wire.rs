//! Both ends of a connection by hand: a server that writes down what it is sent, and a client that
//! trusts anybody.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::stage::Outcome;

const PATIENCE: Duration = Duration::from_secs(15);

/// Everything that one client sends, as it is after decryption; empty when the client hung up.
pub(crate) struct Recorder {
    pub(crate) address: String,
    thread: JoinHandle<Vec<u8>>,
}

impl Recorder {
    /// Shows this chain and takes one connection.
    pub(crate) fn start(chain_pem: &str, key_pem: &str) -> Outcome<Self> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let thread = thread::spawn(move || {
            let mut read = Vec::new();
            let (Ok((socket, _)), Ok(connection)) =
                (listener.accept(), ServerConnection::new(config))
            else {
                return b"the recorder failed".to_vec();
            };
            let _ = socket.set_read_timeout(Some(PATIENCE));
            let mut stream = StreamOwned::new(connection, socket);
            let mut chunk = [0; 1_024];
            // Until the client hangs up, or has said all of a request.
            while let Ok(count @ 1..) = stream.read(&mut chunk) {
                read.extend_from_slice(&chunk[..count]);
                if read.ends_with(b"}") {
                    break;
                }
            }
            read
        });
        Ok(Self { address, thread })
    }

    pub(crate) fn read(self) -> Outcome<String> {
        let bytes = self.thread.join().map_err(|_| "the recorder panicked")?;
        Ok(String::from_utf8(bytes)?)
    }
}

/// Sends a request to whoever is there; returns status and body.
pub(crate) fn post(address: &str, path: &str, body: &str) -> Outcome<(u16, String)> {
    let length = body.len();
    let text = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
    let answer = exchange(address, text.as_bytes())?;
    let status = answer.split(' ').nth(1).ok_or("no status")?.parse()?;
    let body = answer.split_once("\r\n\r\n").ok_or("no body")?.1.to_owned();
    Ok((status, body))
}

/// Sends bytes over TLS and reads until the server hangs up.
pub(crate) fn exchange(address: &str, bytes: &[u8]) -> Outcome<String> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let name = ServerName::try_from("x")?;
    let connection = ClientConnection::new(Arc::new(config), name)?;
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(bytes)?;
    stream.flush()?;
    let mut answer = Vec::new();
    // A server that refuses to listen hangs up without a farewell.
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8(answer)?)
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
