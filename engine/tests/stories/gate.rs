//! The control server for other machines: who is let in, what it may do, and when it has to go.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_gossip::bootstrap::Subject;
use mesh_gossip::options::{ControlOptions, ControlTls, Material, TlsOptions};
use mesh_gossip::tls::caller::{Caller, CallerError};
use rustls::{ClientConnection, StreamOwned};

use crate::mesh::{Authority, Host, PATIENCE, Spec, Stage, on_both_backends, uncertified, until};
use crate::papers::{Content, Papers, list};

const CLUSTER: &str = "gate";

/// An agent whose control server asks for certificates, on every address of this machine.
struct Guarded {
    authority: Arc<Authority>,
    host: Host,
}

impl Guarded {
    fn start(stage: &Stage, tls: ControlTls) -> Self {
        Self::of(Arc::new(Authority::of(CLUSTER)), stage, tls)
    }

    fn of(authority: Arc<Authority>, stage: &Stage, tls: ControlTls) -> Self {
        let mut options = authority.options("gateway", "gateway");
        let bind = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        options.control = Some(ControlOptions { tls: Some(tls), ..ControlOptions::at(bind) });
        let host = Spec::new(options).start(stage.backend);
        Self { authority, host }
    }

    fn address(&self) -> SocketAddr {
        let port = self.host.agent.control_address().unwrap().port();
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// Somebody of this mesh.
    fn caller(&self, name: &str, role: &str) -> Caller {
        Caller::load(&self.authority.issue(name, role).tls_options(&self.authority.0)).unwrap()
    }

    fn dropped(&self, reason: &str) -> u64 {
        let labels = [("mesh_reason", reason)];
        self.host.metrics().sum("mesh_gossip_control_dropped_total", &labels)
    }

    /// Status and body of the answer.
    fn ask(&self, caller: &Caller, method: &str, path: &str) -> Result<(u16, String), CallerError> {
        let mut stream = dial(self.address(), caller)?;
        let head = format!("{method} {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
        let mut answer = String::new();
        let said = stream.write_all(head.as_bytes()).and_then(|()| stream.flush());
        said.and_then(|()| stream.read_to_string(&mut answer)).map_err(CallerError::Stream)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        Ok((status, body.to_owned()))
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn dial(address: SocketAddr, caller: &Caller) -> Result<Tls, CallerError> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    caller.meet(stream, None)
}

/// Rule S-20: whoever has a certificate of the mesh reads, and an operator changes.
#[test]
fn a_member_reads_and_an_operator_changes() {
    on_both_backends(|stage| {
        let guarded = Guarded::start(stage, ControlTls::OfTheNode);
        let operator = guarded.caller("ann", "operator");
        for (name, role) in
            [("worker-1", "worker"), ("grafana", "observer"), ("gateway", "gateway")]
        {
            let reader = guarded.caller(name, role);
            for path in ["/control/peers", "/metrics", "/control/upgrade", "/healthz", "/"] {
                assert_eq!(guarded.ask(&reader, "GET", path).unwrap().0, 200, "{role} {path}");
            }
            for path in
                ["cordon", "uncordon", "upgrade/drain", "upgrade/resume", "leave", "force-leave"]
            {
                let (status, body) =
                    guarded.ask(&reader, "POST", &format!("/control/{path}")).unwrap();
                assert_eq!(status, 403, "{role} {path}: {body}");
                assert!(body.contains("need one of the role operator"), "{body}");
            }
        }
        assert_eq!(guarded.dropped("forbidden"), 18);
        let (status, body) = guarded.ask(&operator, "POST", "/control/cordon").unwrap();
        assert!(status == 200 && body.contains(r#""state":"cordoned""#), "{body}");
        let (_, body) = guarded.ask(&operator, "GET", "/control/upgrade").unwrap();
        assert!(body.contains(r#""state":"cordoned""#), "{body}");
        let log = guarded.host.log.text();
        assert!(log.contains("an operator asks for a change"), "{log}");
        assert!(log.contains("/operator/ann"), "told by its name: {log}");
    });
}

/// Rules S-1, S-8 and S-20: nobody else hears a word.
#[test]
fn strangers_old_versions_and_other_protocols_are_refused() {
    on_both_backends(|stage| {
        let guarded = Guarded::start(stage, ControlTls::OfTheNode);
        let request = b"GET /control/peers HTTP/1.0\r\n\r\n";

        let heard = uncertified::heard_at(guarded.address(), b"http/1.1", request);
        assert!(heard.is_empty(), "no certificate: {heard:?}");
        until("it is counted", || guarded.dropped("handshake") == 1);

        // A CA of the same names, which the server does not trust and whose holder trusts ours.
        let strangers = Authority::of(CLUSTER);
        let trusting = TlsOptions {
            ca: Material::Bytes(guarded.authority.0.bundle_pem().into_bytes().into()),
            ..strangers.issue("ann", "operator").tls_options(&strangers.0)
        };
        let stranger = Caller::load(&trusting).unwrap();
        assert!(guarded.ask(&stranger, "GET", "/control/peers").is_err(), "a foreign CA");
        until("it is counted", || guarded.dropped("handshake") == 2);

        // A server is judged as well.
        let doubting = strangers.issue("ann", "operator").tls_options(&strangers.0);
        let refused = dial(guarded.address(), &Caller::load(&doubting).unwrap()).unwrap_err();
        assert!(matches!(refused, CallerError::Stream(_)), "{refused}");
        until("it is counted", || guarded.dropped("handshake") == 3);
        let stream = TcpStream::connect(guarded.address()).unwrap();
        let refused = guarded.caller("ann", "operator").meet(stream, Some("dispatcher"));
        assert!(matches!(refused, Err(CallerError::WrongPeer { .. })), "another member answers");

        let bootstrap = guarded.caller("office", "bootstrap");
        assert!(guarded.ask(&bootstrap, "GET", "/control/peers").is_err(), "a reserved role");

        // A ClientHello as TLS 1.2 knows it: no supported_versions extension.
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 4, 0xc0, 0x2b, 0x13, 0x01, 1, 0, 0, 16]);
        body.extend([0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3]);
        let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
        record.extend(body);
        let mut stream = TcpStream::connect(guarded.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&record).unwrap();
        let mut alert = Vec::new();
        stream.read_to_end(&mut alert).unwrap();
        assert_eq!((alert[0], &alert[3..]), (21, [0, 2, 2, 70].as_slice()), "protocol_version");

        // Plain HTTP is no TLS, and the port is deaf to it.
        let mut stream = TcpStream::connect(guarded.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        let reader = guarded.caller("worker-1", "worker");
        assert_eq!(guarded.ask(&reader, "GET", "/healthz").unwrap().0, 200, "others are served");
    });
}

/// An event stream over TLS, past its first event.
fn watch(guarded: &Guarded, caller: &Caller) -> BufReader<Tls> {
    let mut stream = BufReader::new(dial(guarded.address(), caller).unwrap());
    let head = b"GET /control/peers/watch HTTP/1.0\r\n\r\n";
    stream.get_mut().write_all(head).and_then(|()| stream.get_mut().flush()).unwrap();
    loop {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream goes on");
        if line.starts_with("data: ") {
            return stream;
        }
    }
}

/// Something is told on it, if only that somebody is there.
fn goes_on(stream: &mut BufReader<Tls>) {
    let mut line = String::new();
    while line.trim().is_empty() {
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream goes on");
    }
}

/// Rule S-16: whose certificate is revoked has to go, from a watch and from a quiet connection, and
/// does not come in again; nobody else notices.
#[test]
fn whoever_is_revoked_is_shown_out() {
    on_both_backends(|stage| {
        let guarded = Guarded::start(stage, ControlTls::OfTheNode);
        let issued = guarded.authority.issue("mallory", "operator");
        let mallory = Caller::load(&issued.tls_options(&guarded.authority.0)).unwrap();
        let bystander = guarded.caller("grafana", "observer");
        let mut watched = watch(&guarded, &mallory);
        let mut quiet = dial(guarded.address(), &mallory).unwrap();
        let mut other = watch(&guarded, &bystander);
        until("all are in", || {
            guarded.host.metrics().sum("mesh_gossip_control_watchers", &[]) == 2
        });
        // It keeps its connection without a request; that it is in shows with an answer.
        quiet.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        quiet.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");

        let revoking = list(&guarded.authority.0, 2, &[&issued.serial]);
        guarded.host.agent.add_revocation_lists(&revoking).unwrap();
        let mut rest = Vec::new();
        let _cut_off = watched.read_to_end(&mut rest);
        let _cut_off = quiet.read_to_end(&mut rest);
        until("both are counted", || guarded.dropped("revoked") == 2);
        assert_eq!(guarded.dropped("idle") + guarded.dropped("slow"), 0, "nothing else ended them");
        assert!(guarded.ask(&mallory, "GET", "/healthz").is_err(), "it does not come in again");
        assert_eq!(guarded.ask(&bystander, "GET", "/healthz").unwrap().0, 200);
        goes_on(&mut other);
    });
}

/// Rule S-16: whose certificate ends has to go as well.
#[test]
fn whoever_expires_is_shown_out() {
    on_both_backends(|stage| {
        let guarded = Guarded::start(stage, ControlTls::OfTheNode);
        let subject = Subject::new("visitor", "observer");
        let brief = Duration::from_secs(4);
        let issued = guarded.authority.0.issue(&subject, SystemTime::now(), brief).unwrap();
        let visitor = Caller::load(&issued.tls_options(&guarded.authority.0)).unwrap();
        let mut watched = watch(&guarded, &visitor);
        let mut rest = Vec::new();
        let _cut_off = watched.read_to_end(&mut rest);
        until("it is counted", || guarded.dropped("revoked") == 1);
        assert!(guarded.ask(&visitor, "GET", "/healthz").is_err(), "it does not come in again");
    });
}

/// The serial number of the certificate that is shown.
fn shown(guarded: &Guarded, caller: &Caller) -> Vec<u8> {
    let stream = dial(guarded.address(), caller).unwrap();
    let leaf = stream.conn.peer_certificates().unwrap()[0].to_vec();
    let (_, certificate) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    certificate.raw_serial().to_vec()
}

/// Rule S-15: connections from then on are shown the new certificate, and those before go on.
#[test]
fn a_new_certificate_is_shown_to_new_connections() {
    on_both_backends(|stage| {
        let authority = Arc::new(Authority::of(CLUSTER));
        let issue = |names: &[&str]| {
            let mut subject = Subject::new("gateway", "gateway");
            subject.dns_names = names.iter().map(|name| (*name).to_owned()).collect();
            authority.0.issue(&subject, SystemTime::now(), Duration::from_secs(3_600)).unwrap()
        };
        let content = Content::new(&issue(&["gateway.example"]), &authority.0);
        let papers = Papers::of(&content);
        let apart = ControlTls::Apart {
            certificate: Material::Path(papers.path("tls.crt")),
            key: Some(Material::Path(papers.path("tls.key"))),
        };
        for tls in [ControlTls::OfTheNode, apart] {
            let guarded = Guarded::of(Arc::clone(&authority), stage, tls.clone());
            let reader = guarded.caller("worker-1", "worker");
            let mut before = watch(&guarded, &reader);
            let first = shown(&guarded, &reader);
            let next = issue(&[]);
            match &tls {
                ControlTls::OfTheNode => {
                    let options = next.tls_options(&authority.0);
                    assert!(guarded.host.agent.rotate(options).unwrap().certificate);
                }
                ControlTls::Apart { .. } => papers.publish(&Content::new(&next, &authority.0)),
            }
            until("the new one is shown", || shown(&guarded, &reader) != first);
            goes_on(&mut before);
        }

        // A certificate of somebody else is not shown at all.
        let other = authority.issue("dispatcher", "gateway");
        papers.publish(&Content::new(&other, &authority.0));
        let mut options = authority.options("gateway", "gateway");
        let tls = ControlTls::Apart {
            certificate: Material::Path(papers.path("tls.crt")),
            key: Some(Material::Path(papers.path("tls.key"))),
        };
        let at = options.control.take().unwrap().bind;
        options.control = Some(ControlOptions { tls: Some(tls), ..ControlOptions::at(at) });
        let error =
            Spec::new(options).try_start(stage.backend).map(|_| ()).unwrap_err().to_string();
        for part in ["mesh:gossip:control:tls:certificatePath", "tls.crt", "dispatcher"] {
            assert!(error.contains(part), "{error}");
        }
    });
}

/// Rule S-20: strangers who say nothing hold up nobody for longer than a handshake may take, and
/// who was let in takes one of so many places.
#[test]
fn silent_strangers_hold_no_place_and_places_are_counted() {
    on_both_backends(|stage| {
        let guarded = Guarded::start(stage, ControlTls::OfTheNode);
        let reader = guarded.caller("worker-1", "worker");
        let silent: Vec<_> =
            (0..40).map(|_| TcpStream::connect(guarded.address()).unwrap()).collect();
        assert_eq!(guarded.ask(&reader, "GET", "/healthz").unwrap().0, 200);
        let crowded = guarded.dropped("crowded");
        assert!((24..=25).contains(&crowded), "{crowded} made room");
        drop(silent);

        let mut inside = Vec::new();
        until("there is no place left", || {
            inside.push(dial(guarded.address(), &reader));
            guarded.dropped("crowded") > crowded
        });
        assert!(inside.len() > 64, "{} were let in", inside.len());
        drop(inside);
        until("places are given back", || guarded.ask(&reader, "GET", "/healthz").is_ok());
    });
}

/// Other options come into force as a whole: with a certificate of the control server's own that cannot be
/// read, the node's new one stays out as well.
#[test]
fn a_control_certificate_that_cannot_be_read_changes_nothing() {
    on_both_backends(|stage| {
        let authority = Authority::of(CLUSTER);
        let content = Content::new(&authority.issue("gateway", "gateway"), &authority.0);
        let papers = Papers::of(&content);
        let mut options = authority.options("gateway", "gateway");
        let tls = ControlTls::Apart {
            certificate: Material::Path(papers.path("tls.crt")),
            key: Some(Material::Path(papers.path("tls.key"))),
        };
        let at = options.control.take().unwrap().bind;
        options.control = Some(ControlOptions { tls: Some(tls), ..ControlOptions::at(at) });
        let host = Spec::new(options.clone()).start(stage.backend);
        let whole = std::fs::read(papers.path("tls.crt")).unwrap();
        std::fs::write(papers.path("tls.crt"), "torn").unwrap();

        options.tls = authority.issue("gateway", "gateway").tls_options(&authority.0);
        options.region = "moved".into();
        let error = host.agent.reconfigure(options.clone()).unwrap_err().to_string();
        for part in ["mesh:gossip:control:tls:certificatePath", "tls.crt"] {
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(host.agent.metadata().unwrap().region, "region-of-gateway");
        assert!(host.agent.rotate(options.tls.clone()).is_err());

        // Once it can be read, all of it is new: nothing was taken before.
        std::fs::write(papers.path("tls.crt"), whole).unwrap();
        let report = host.agent.reconfigure(options).unwrap();
        assert!(report.certificates.certificate, "{report:?}");
        assert!(report.changed.contains(&"region"), "{report:?}");
    });
}
