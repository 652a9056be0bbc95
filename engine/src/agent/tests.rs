//! What an agent needs of its build and of its last life.

use std::time::SystemTime;

use mesh_gossip_proto::Config;

use super::*;
use crate::bootstrap::{CaValidity, CertificateAuthority, Subject};
use crate::options::{BackendChoice, Delivery, EngineOptions, PeerLabels, UpkeepOptions};

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[test]
fn a_build_without_renewal_refuses_to_promise_it() {
    for (wanted, built, possible) in
        [(true, false, false), (true, true, true), (false, false, true), (false, true, true)]
    {
        let refused = matches!(renewal_possible(wanted, built), Err(StartError::NoRenewal));
        assert_eq!(!refused, possible, "wanted {wanted}, built {built}");
    }
}

/// Rule S-12: a life begins above the last one that is on the disk, however the clock was set
/// back in between.
#[test]
fn a_life_begins_above_the_one_that_was_kept() {
    let home = tempfile::tempdir().unwrap();
    let ca =
        CertificateAuthority::create("td.test", "c1", SystemTime::now(), CaValidity::default());
    let (ca, day) = (ca.unwrap(), Duration::from_secs(86_400));
    let issued = ca.issue(&Subject::new("n1", "worker"), SystemTime::now(), day).unwrap();
    let ahead = WallTime(clock::wall().0 + 300_000);
    let kept = {
        let state = StateDirectory::open(home.path(), "c1", "n1").unwrap();
        state.begin_life(ahead).unwrap()
    };
    assert_eq!(kept, ahead);
    let options = AgentOptions {
        protocol: Config::new("c1"),
        node_id: "n1".into(),
        role: "worker".into(),
        region: "r".into(),
        mesh_version: "1".into(),
        http3_support: false,
        labels: std::collections::BTreeMap::new(),
        bind: ANY_PORT,
        advertise: Advertise::default(),
        seeds: Vec::new(),
        seed_file: None,
        metadata_refresh: Duration::from_secs(30),
        events: Delivery::default(),
        tls: issued.tls_options(&ca),
        control: None,
        peer_labels: PeerLabels::Auto,
        upkeep: UpkeepOptions { state: Some(home.path().into()), renewal: None },
    };
    let backend = BackendChoice::Mmsg;
    let engine = Engine::start(EngineOptions { backend, ..EngineOptions::default() }).unwrap();
    let agent = Agent::start(&engine, options).unwrap();
    let own = agent.view().view.member(agent.member_id()).unwrap().incarnation();
    assert_eq!(own.generation, kept.0 + 1);
}

/// What others are told of a node is what its settings say.
#[test]
fn a_node_describes_itself_as_its_settings_do() {
    use crate::settings::{Settings, Sources};
    let told = |subtree: &str| {
        let tls = r#""tls": {"certificatePath": "a", "caPath": "b"}"#;
        let text = format!("{{\"mesh:gossip\": {{{tls}, {subtree}}}}}");
        let settings = Settings::load(&Sources::new().json("app.json", &text)).unwrap();
        let (_, options) = settings.resolve().unwrap_or_else(|errors| panic!("{errors}"));
        let local = SocketAddr::new(options.bind.ip(), 4_711);
        first_metadata(&options, advertised(&options.advertise, local).unwrap())
    };
    let all = told(
        r#""nodeId": "n7", "role": "gateway", "clusterId": "c7", "region": "eu", "meshVersion": "9",
        "http3Support": false, "labels": {"rack": "r7"}, "bindAddress": "127.0.0.1",
        "advertiseHost": "10.0.0.7", "advertisePort": 443"#,
    );
    assert_eq!((all.node_id.as_str(), all.role.as_str()), ("n7", "gateway"));
    assert_eq!((all.cluster_id.as_str(), all.region.as_str()), ("c7", "eu"));
    assert_eq!((all.mesh_version.as_str(), all.http3_support), ("9", false));
    assert_eq!((all.labels["rack"].as_str(), all.endpoint.as_str()), ("r7", "10.0.0.7:443"));
    let least = told(r#""bindAddress": "127.0.0.1", "labels": {}"#);
    assert_eq!((least.endpoint.as_str(), least.http3_support), ("127.0.0.1:4711", true));
}

/// From settings to a member, with what only the host knows; and what is wrong comes back.
#[test]
fn a_builder_makes_an_agent_of_settings() {
    use crate::settings::Sources;
    let ca =
        CertificateAuthority::create("td.test", "c1", SystemTime::now(), CaValidity::default());
    let (ca, day) = (ca.unwrap(), Duration::from_secs(86_400));
    let issued = ca.issue(&Subject::new("n1", "worker"), SystemTime::now(), day).unwrap();
    let tls = issued.tls_options(&ca);
    let sources = |subtree: &str| {
        let text = format!("{{\"mesh:gossip\": {subtree}}}");
        Sources::new().json("app.json", &text)
    };
    let good = r#"{"clusterId": "c1", "nodeId": "n1", "bindAddress": "127.0.0.1", "port": 0,
        "control": {"port": 0}, "io": {"backend": "mmsg"},
        "tls": {"certificatePath": "a.pem", "caPath": "ca.pem", "trustDomain": "td.test"}}"#;
    let build = |subtree: &str| {
        let tls = tls.clone();
        Agent::builder().sources(sources(subtree)).change(move |options| options.tls = tls)
    };
    let agent = build(good)
        .change(|options| drop(options.labels.insert("rack".into(), "r7".into())))
        .start()
        .unwrap()
        .unwrap();
    assert_eq!((agent.node_id(), agent.cluster_id()), ("n1", "c1"));
    assert_eq!(agent.metadata().unwrap().labels["rack"], "r7");
    let engine = Engine::start(EngineOptions::default()).unwrap();
    assert!(build(good).engine(&engine).start().unwrap().is_some());

    assert!(build(r#"{"enabled": false}"#).start().unwrap().is_none());
    let wrong = build(r#"{"port": "x"}"#).start().unwrap_err();
    assert!(matches!(&wrong, BuildError::Settings(_)), "{wrong}");
    let elsewhere = good.replace("\"n1\"", "\"n2\"");
    let wrong = build(&elsewhere).start().unwrap_err();
    assert!(matches!(&wrong, BuildError::Start(StartError::Credentials(_))), "{wrong}");

    // The same for a task, whose executor has one thread: it is never held up, so that whoever
    // shares it goes on, and the ports are free once the goodbye is said.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (go_on, waits) = mpsc::channel::<()>();
        let starting = build(good).change(move |_| waits.recv().unwrap()).start_async();
        // It waits for a task that runs beside it; one that blocked would wait for ever.
        let beside = async move { go_on.send(()).unwrap() };
        let (agent, ()) = tokio::join!(starting, beside);
        let agent = agent.unwrap().unwrap();
        assert_eq!(agent.node_id(), "n1");
        let (at, control) = (agent.local_address(), agent.control_address().unwrap());
        assert_eq!(Arc::clone(&agent).shutdown(Duration::from_secs(5)).await.unwrap(), 0);
        drop(UdpSocket::bind(at).unwrap());
        drop(std::net::TcpListener::bind(control).unwrap());
        assert!(agent.inspect(Duration::from_secs(1)).is_err(), "it is over for all who share it");
        assert!(agent.shutdown(Duration::from_secs(1)).await.is_err(), "again does no harm");
        assert!(build(r#"{"enabled": false}"#).start_async().await.unwrap().is_none());
        let wrong = build(r#"{"port": "x"}"#).start_async().await.unwrap_err();
        assert!(matches!(&wrong, BuildError::Settings(_)), "{wrong}");
    });
}
