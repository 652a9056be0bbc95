//! What the simulator charges for a handshake is what a real one costs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use hyperscale_tests::World;
use mesh_gossip::bootstrap::{CaValidity, CertificateAuthority, Subject};
use mesh_gossip::options::{Advertise, Delivery, PeerLabels, UpkeepOptions};
use mesh_gossip::{Agent, AgentOptions, Engine, EngineOptions};
use mesh_gossip_proto::Config;

const CLUSTER: &str = "cost";
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a busy machine may spoil the figure.
const TRIES: usize = 5;

fn agent(engine: &Engine, authority: &CertificateAuthority, name: &str, seed: &[String]) -> Agent {
    let now = SystemTime::now();
    let issued = authority.issue(&Subject::new(name, "worker"), now, Duration::from_secs(3_600));
    let tls = issued.expect("it issues").tls_options(authority);
    let options = AgentOptions {
        protocol: Config::new(CLUSTER),
        node_id: name.into(),
        role: "worker".into(),
        region: "r1".into(),
        mesh_version: "1".into(),
        http3_support: false,
        labels: [].into(),
        bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        advertise: Advertise::default(),
        seeds: seed.to_vec(),
        seed_file: None,
        metadata_refresh: Duration::from_secs(30),
        events: Delivery::default(),
        tls,
        control: None,
        peer_labels: PeerLabels::Auto,
        upkeep: UpkeepOptions::default(),
    };
    Agent::start(engine, options).expect("it starts")
}

/// Bytes of UDP payload that two real agents send for one handshake.
fn real_bytes() -> u64 {
    let engine = Engine::start(EngineOptions::default()).expect("an engine");
    let validity = CaValidity::default();
    let authority =
        CertificateAuthority::create("cost.local", CLUSTER, SystemTime::now(), validity)
            .expect("an authority");
    let first = agent(&engine, &authority, "n0", &[]);
    let second = agent(&engine, &authority, "n1", &[first.local_address().to_string()]);
    let started = Instant::now();
    let bytes = loop {
        let links =
            [&first, &second].map(|agent| agent.inspect(PATIENCE).expect("it answers").links);
        let [a, b] = &links;
        if a.sessions > 0 && b.sessions > 0 && a.half_open + b.half_open == 0 {
            let sent = a.handshake_bytes_out + b.handshake_bytes_out;
            break sent / (a.dials + b.dials).max(1);
        }
        assert!(started.elapsed() < PATIENCE, "no session came about: {links:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    drop((first, second));
    engine.shutdown();
    bytes
}

#[test]
fn a_modelled_handshake_costs_what_a_real_one_does() {
    let mut world: World = World::seeded(1).nodes(2);
    world.run_for(Duration::from_secs(5));
    let total = world.ledger().total;
    // Six datagrams, each with 28 bytes of headers.
    assert_eq!(total.handshake_datagrams, 6 * total.handshakes);
    let modelled = total.handshake_bytes / total.handshakes - 6 * 28;
    // What waits for a core is sent again, which costs more than a handshake does.
    let mut found = Vec::new();
    let is_close = (0..TRIES).any(|_| {
        let real = real_bytes();
        println!("modelled {modelled} bytes, real {real}");
        found.push(real);
        modelled.abs_diff(real) as f64 / real as f64 <= 0.05
    });
    assert!(is_close, "modelled {modelled} bytes, real {found:?}: constants in src/sessions.rs");
}
