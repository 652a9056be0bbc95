//! What a host is told when it cannot start, and what is left of the attempt: nothing.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

use mesh_gossip::options::{AgentOptions, BackendChoice, ControlOptions, EngineOptions, Material};
use mesh_gossip::{Agent, Engine, StartError};

use crate::mesh::{Authority, Spec, on_both_backends};

const CLUSTER: &str = "start-errors";

/// Any free port of a loopback address that no other story uses: a port that was free a moment ago
/// is free still.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    (Ipv4Addr::new(127, 77, 0, NEXT.fetch_add(1, Ordering::Relaxed)), 0).into()
}

fn refused(options: AgentOptions, backend: BackendChoice) -> StartError {
    Spec::new(options).try_start(backend).map(|host| host.agent.local_address()).unwrap_err()
}

fn mentions(error: &StartError, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

fn is_free(address: SocketAddr) {
    UdpSocket::bind(address).unwrap_or_else(|error| panic!("UDP {address}: {error}"));
    TcpListener::bind(address).unwrap_or_else(|error| panic!("TCP {address}: {error}"));
}

#[test]
fn a_busy_gossip_port_is_named_for_either_protocol() {
    on_both_backends(|stage| {
        let authority = Authority::of(CLUSTER);
        let mut options = authority.options("late", "worker");
        let datagrams = UdpSocket::bind(own_address()).unwrap();
        options.bind = datagrams.local_addr().unwrap();
        let taken = options.bind.port().to_string();
        let words = ["mesh:gossip:port", &taken, "taken", "choose another port"];
        let error = refused(options.clone(), stage.backend);
        mentions(&error, &words);
        assert!(error.is_port_busy());
        drop(datagrams);
        is_free(options.bind);

        let streams = TcpListener::bind(options.bind).unwrap();
        let error = refused(options.clone(), stage.backend);
        mentions(&error, &words);
        assert!(error.is_port_busy());
        UdpSocket::bind(options.bind).expect("the other half was given back");
        drop(streams);
        Spec::new(options).start(stage.backend);
    });
}

#[test]
fn a_busy_control_port_is_named_and_the_gossip_port_given_back() {
    on_both_backends(|stage| {
        let authority = Authority::of(CLUSTER);
        let mut options = authority.options("late", "worker");
        let free = UdpSocket::bind(own_address()).unwrap();
        options.bind = free.local_addr().unwrap();
        drop(free);
        let holder = TcpListener::bind(own_address()).unwrap();
        let bind = holder.local_addr().unwrap();
        options.control = Some(ControlOptions::at(bind));
        let error = refused(options.clone(), stage.backend);
        let taken = bind.port().to_string();
        mentions(&error, &["mesh:gossip:control:port", &taken, "choose another port"]);
        assert!(error.is_port_busy());
        is_free(options.bind);
    });
}

#[test]
fn a_missing_certificate_file_is_named_with_its_key() {
    on_both_backends(|stage| {
        let authority = Authority::of(CLUSTER);
        let absent = PathBuf::from("/nonexistent/mesh/late.pem");
        let mut options = authority.options("late", "worker");
        options.tls.certificate = Material::Path(absent.clone());
        let words = ["mesh:gossip:tls:certificatePath", "/nonexistent/mesh/late.pem", "check that"];
        mentions(&refused(options, stage.backend), &words);

        let mut options = authority.options("late", "worker");
        options.tls.ca = Material::Path(absent);
        mentions(&refused(options, stage.backend), &["mesh:gossip:tls:caPath", "check that"]);
    });
}

/// Rule S-8: the certificate and the settings must name the same member.
#[test]
fn a_certificate_of_somebody_else_is_named_with_both_names() {
    on_both_backends(|stage| {
        let authority = Authority::of(CLUSTER);
        let mut options = authority.options("late", "worker");
        options.node_id = "early".to_owned();
        let words = ["mesh:gossip:nodeId", "\"late\"", "\"early\"", "issue a certificate for"];
        mentions(&refused(options, stage.backend), &words);

        let mut options = authority.options("late", "worker");
        options.role = "gateway".to_owned();
        let words = ["mesh:gossip:role", "\"worker\"", "\"gateway\""];
        mentions(&refused(options, stage.backend), &words);
    });
}

/// memberlist#123: a stop ends. A port is free again as soon as its agent is dropped: a restart need
/// not look for another.
#[test]
fn a_dropped_agent_gives_its_ports_back_at_once() {
    on_both_backends(|stage| {
        let authority = Authority::of(CLUSTER);
        let engine = EngineOptions { backend: stage.backend, ..EngineOptions::default() };
        let engine = Engine::start(engine).unwrap();
        let mut options = authority.options("again", "worker");
        options.bind = own_address();
        options.control = Some(ControlOptions::at(options.bind));
        let first = Agent::start(&engine, options.clone()).unwrap();
        options.bind = first.local_address();
        options.control = first.control_address().map(ControlOptions::at);
        drop(first);
        for restart in 1..=20 {
            let agent = Agent::start(&engine, options.clone());
            let agent = agent.unwrap_or_else(|error| panic!("restart {restart}: {error}"));
            assert_eq!(agent.local_address(), options.bind);
        }
    });
}
