//! The life of an agent's certificate, from a token to its revocation: an authority with its
//! server, and agents that ask it by themselves.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use mesh_gossip::bootstrap::client::{ClientError, JoinOptions, Obtained, Present, join, renew};
use mesh_gossip::bootstrap::{
    CaValidity, CertificateAuthority, Existing, Fingerprint, NodeFiles, NodeKey, Reason, Refusal,
    Registrar, ServeOptions, Server, Target, pkcs12, wall,
};
use mesh_gossip::options::{
    AgentOptions, BackendChoice, Material, RenewalOptions, TlsOptions, UpkeepOptions,
};
use mesh_gossip::proto::State;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;

use crate::mesh::{
    Authority, Host, Spec, everyone_alive, nobody_was_lost, on_both_backends, until,
};

const CLUSTER: &str = "certified";
const HOUR: Duration = Duration::from_secs(3_600);
const A_WHILE: Duration = Duration::from_secs(2);
const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// An authority with its directory and its server, and the directories of nodes.
struct Office {
    home: TempDir,
    registrar: Arc<Registrar>,
    server: Server,
    fingerprint: Fingerprint,
}

impl Office {
    fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let ca = CertificateAuthority::create("mesh.test", CLUSTER, wall(), CaValidity::default());
        let directory = home.path().join("ca");
        ca.unwrap().write(&directory, Existing::Refuse).unwrap();
        let registrar = Arc::new(Registrar::open(&directory, None).unwrap());
        let options = ServeOptions { listen: ANY_PORT, node_id: "bootstrap-1".into() };
        let server = Server::start(Arc::clone(&registrar), &options).unwrap();
        let root = std::fs::read(directory.join("root.pem")).unwrap();
        let fingerprint = Fingerprint::of(&CertificateDer::from_pem_slice(&root).unwrap());
        Self { home, registrar, server, fingerprint }
    }

    fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// A node gets its first certificate with a token, for a key that it made itself.
    fn join(&self, node_id: &str, validity: Duration) -> (NodeFiles, Obtained) {
        let token = self.registrar.token(node_id, "worker", HOUR, validity, wall()).unwrap();
        let files = NodeFiles::below(&self.home.path().join(node_id), node_id);
        let key = files.pending_key().unwrap();
        let options = JoinOptions {
            server: self.address(),
            fingerprint: self.fingerprint,
            trust_domain: None,
            cluster: None,
            node_id: node_id.to_owned(),
        };
        let obtained = join(&options, &token, &key).unwrap();
        files.install(&obtained.chain_pem, Some(&obtained.bundle_pem)).unwrap();
        (files, obtained)
    }

    /// Options of an agent that is certified by these files and renews them itself.
    fn options(&self, node_id: &str, files: &NodeFiles) -> AgentOptions {
        let options = Authority::of(CLUSTER).options(node_id, "worker");
        AgentOptions {
            tls: TlsOptions {
                certificate: Material::Path(files.certificate.clone()),
                key: Some(Material::Path(files.key.clone())),
                ca: Material::Path(files.ca.clone()),
                ..options.tls
            },
            upkeep: UpkeepOptions { state: None, renewal: Some(self.renewal()) },
            ..options
        }
    }

    fn renewal(&self) -> RenewalOptions {
        let pinned = Some(*self.fingerprint.as_bytes());
        RenewalOptions { fingerprint: pinned, ..RenewalOptions::from_server(&self.address()) }
    }

    /// Everything that lies in the authority's directory.
    fn bytes(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        let mut waiting = vec![self.home.path().join("ca")];
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                let entries = std::fs::read_dir(&path).unwrap();
                waiting.extend(entries.map(|entry| entry.unwrap().path()));
            } else {
                found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
        found
    }
}

fn renewals(host: &Host, outcome: &str) -> u64 {
    let labels = [("mesh_outcome", outcome)];
    host.metrics().sum("mesh_gossip_certificate_renewals_total", &labels)
}

fn told(host: &Host, part: &str) -> usize {
    let lines = host.log.lines();
    lines.iter().filter(|line| line.field("message").contains(part)).count()
}

fn leaf_of(path: &Path) -> Vec<u8> {
    let text = std::fs::read(path).unwrap();
    CertificateDer::from_pem_slice(&text).unwrap().to_vec()
}

/// The certificate under which `host` holds the record of `name` to be signed.
fn shown(host: &Host, name: &str) -> Vec<u8> {
    let member = host.member(name).expect("it is known");
    let (leaf, _) =
        mesh_gossip::proto::membership::record::signer(member.record.envelope()).unwrap();
    leaf.to_vec()
}

fn three(office: &Office, validity: Duration, backend: BackendChoice) -> [(Host, NodeFiles); 3] {
    three_that(office, validity, backend, true)
}

/// Three hosts that ask the authority for lists and renewals, or do not.
fn three_that(
    office: &Office,
    validity: Duration,
    backend: BackendChoice,
    asks: bool,
) -> [(Host, NodeFiles); 3] {
    let mut seed = None;
    let hosts = ["a", "b", "c"].map(|name| {
        let (files, _) = office.join(name, validity);
        let mut options = office.options(name, &files);
        if !asks {
            options.upkeep.renewal = None;
        }
        let mut spec = Spec::new(options);
        if let Some(seed) = seed {
            spec = spec.seed(seed);
        }
        let host = spec.start(backend);
        seed.get_or_insert(host.agent.local_address());
        (host, files)
    });
    until("all three are there", || everyone_alive(&hosts.each_ref().map(|(host, _)| host)));
    hosts
}

/// Rule S-15: agents renew their own certificates in time, again and again, with a new key each,
/// without a restart, and nobody is lost.
#[test]
fn agents_renew_their_own_certificates_and_nobody_notices() {
    on_both_backends(|stage| {
        let office = Office::open();
        // Issued a minute in the past: two thirds of its life are over at once.
        let hosts = three(&office, Duration::from_secs(18), stage.backend);
        let first = hosts.each_ref().map(|(_, files)| {
            (leaf_of(&files.certificate), std::fs::read_to_string(&files.key).unwrap())
        });
        until("each was renewed twice", || {
            hosts.iter().all(|(host, _)| renewals(host, "renewed") >= 2)
        });
        until("each shows the others what its file holds", || {
            hosts.iter().all(|(host, files)| {
                let leaf = leaf_of(&files.certificate);
                hosts.iter().all(|(seer, _)| shown(seer, host.name()) == leaf)
            })
        });
        for ((host, files), (leaf, key)) in hosts.iter().zip(&first) {
            assert_ne!(leaf_of(&files.certificate), *leaf);
            assert_ne!(std::fs::read_to_string(&files.key).unwrap(), *key, "a new key each time");
            let mode = std::fs::metadata(&files.key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert_eq!(told(host, "not renewed yet") + told(host, "unrenewed"), 0);
        }
        let all = || hosts.iter().map(|(host, _)| host);
        let others = |seer| all().filter(move |seen| !std::ptr::eq(*seen, seer));
        nobody_was_lost(all().flat_map(|seer| others(seer).map(move |seen| (seer, seen))));
        let lines = std::fs::read_to_string(office.home.path().join("ca/audit.jsonl")).unwrap();
        assert!(lines.lines().filter(|line| line.contains(r#""act":"renew""#)).count() >= 6);
    });
}

/// How often papers were read or taken again at this host, whatever came of it.
fn looks(host: &Host) -> u64 {
    host.metrics().sum("mesh_gossip_credential_reloads_total", &[])
}

/// Whether only a host with this change looks again and again.
fn only_then_looks_go_on(change: fn(&mut AgentOptions)) {
    on_both_backends(|stage| {
        let office = Office::open();
        let host = |name: &str, change: fn(&mut AgentOptions)| {
            let (files, _) = office.join(name, HOUR);
            let mut options = office.options(name, &files);
            change(&mut options);
            Spec::new(options).start(stage.backend)
        };
        let (often, seldom) = (host("often", change), host("seldom", |_| {}));
        until("it has looked ten times", || looks(&often) >= 10);
        // Its first look, and its first list.
        assert!(looks(&seldom) <= 2, "{}", looks(&seldom));
    });
}

#[test]
fn files_are_read_again_as_often_as_the_settings_say() {
    only_then_looks_go_on(|options| options.tls.reload_interval = Duration::from_millis(100));
}

#[test]
fn lists_are_fetched_as_often_as_the_settings_say() {
    only_then_looks_go_on(|options| {
        let renewal = options.upkeep.renewal.as_mut().unwrap();
        renewal.list_interval = Duration::from_millis(100);
    });
}

/// Rule S-15: an authority that does not answer is asked again, later each time; past three
/// quarters of the life that is an error, and the certificate in force stays.
#[test]
fn a_renewal_that_fails_is_tried_again_and_told_louder() {
    on_both_backends(|stage| {
        let office = Office::open();
        let life = Duration::from_secs(30);
        let (files, _) = office.join("a", life);
        let before = leaf_of(&files.certificate);
        let mut options = office.options("a", &files);
        // It is gone, and nobody else listens on the port of a socket that only we hold.
        let silent = std::net::UdpSocket::bind(ANY_PORT).unwrap().local_addr().unwrap();
        options.upkeep.renewal = Some(RenewalOptions::from_server(&silent.to_string()));
        let host = Spec::new(options.clone()).start(stage.backend);
        // Issued a minute in the past, it is due at once: two thirds of its life are over. Three
        // quarters are after seven seconds and a half.
        until("it tried twice", || renewals(&host, "unreachable") >= 2);
        until("it is told loudly", || told(&host, "nears its end unrenewed") >= 2);
        assert_eq!((leaf_of(&files.certificate), renewals(&host, "renewed")), (before, 0));
        drop(host);
        // Each host has a life of its own before it, however long the one before took.
        let _ = office.join("a", life);
        // Another root's fingerprint is no server to ask: nothing is sent, whoever listens.
        let strange = RenewalOptions { fingerprint: Some([7; 32]), ..office.renewal() };
        options.upkeep.renewal = Some(strange);
        let host = Spec::new(options.clone()).start(stage.backend);
        until("it is told", || renewals(&host, "own") >= 1);
        drop(host);
        let _ = office.join("a", life);
        options.upkeep.renewal = Some(office.renewal());
        let host = Spec::new(options).start(stage.backend);
        until("the authority is back", || renewals(&host, "renewed") >= 1);
    });
}

/// Where a certificate is, and where its key is unless it is there too.
type Place = (Material, Option<Material>);

/// A certificate is renewed where it is: in one file with its key, in a PKCS#12 store, or in the
/// host's own memory.
#[test]
fn every_kind_of_place_is_renewed() {
    on_both_backends(|stage| {
        let office = Office::open();
        let home = office.home.path();
        let (one, store) = (home.join("one.pem"), home.join("store.pfx"));
        let bytes = |text: &str| Material::Bytes(text.as_bytes().to_vec().into());
        // A node of its own for each: they live one after the other, and a certificate not long.
        let live = |name: &str, put: &dyn Fn(&str, &str) -> Place| {
            let (files, _) = office.join(name, Duration::from_secs(20));
            let [chain, key, bundle] = files.read().unwrap();
            let (certificate, place_of_key) = put(&chain, &key);
            let options = office.options(name, &files);
            let tls = TlsOptions {
                certificate,
                key: place_of_key,
                password: Some("sesame".to_owned().into()),
                ca: bytes(&bundle),
                ..options.tls
            };
            let host = Spec::new(AgentOptions { tls, ..options }).start(stage.backend);
            until("it is renewed", || renewals(&host, "renewed") >= 1);
            let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap().to_vec();
            until("the new one is shown", || shown(&host, name) != leaf);
            (chain, key)
        };
        let (chain, _) = live("a1", &|chain, key| {
            std::fs::write(&one, [chain, key].concat()).unwrap();
            (Material::Path(one.clone()), None)
        });
        let (_, key) = live("a2", &|chain, key| {
            std::fs::write(&store, &*pkcs12::write(chain, key, "sesame").unwrap()).unwrap();
            (Material::Path(store.clone()), None)
        });
        live("a3", &|chain, key| (bytes(chain), Some(bytes(key))));
        let text = std::fs::read_to_string(&one).unwrap();
        assert!(!text.contains(chain.as_str()) && text.contains("PRIVATE KEY"));
        let pair = pkcs12::read(&std::fs::read(&store).unwrap(), "sesame").unwrap();
        assert_ne!(pair.key_pem, key);
        for file in [&one, &store] {
            let mode = std::fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
    });
}

/// Rules S-8, S-15 and S-16, as one story: a node joins with a token, its key never leaves it, it is
/// a member; it is revoked, the list reaches the others by themselves, it is out of every view,
/// cannot come back, and is not renewed.
#[test]
fn from_a_token_to_a_revocation() {
    on_both_backends(|stage| {
        let office = Office::open();
        let hosts = three_that(&office, HOUR, stage.backend, false).map(|(host, _)| host);
        let (files, obtained) = office.join("late", HOUR);
        let key = std::fs::read_to_string(&files.key).unwrap();
        let secret = key.lines().nth(1).expect("base64").to_owned();
        for (path, bytes) in office.bytes() {
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(&secret), "the node's key lies in {path}");
        }
        let seed = hosts[0].agent.local_address();
        let late = Spec::new(office.options("late", &files)).seed(seed).start(stage.backend);
        until("it is a member", || everyone_alive(&[&hosts[0], &hosts[1], &hosts[2], &late]));

        let revoked =
            office.registrar.revoke(Target::Node("late"), Reason::KeyCompromise, wall()).unwrap();
        assert_eq!(revoked.serials, [obtained.serial]);
        // It is given to one of three; the others get it from each other.
        let list = office.registrar.crl(wall()).unwrap();
        let is_out = |host: &Host| host.sees("late") != Some(State::Alive);
        hosts[1].agent.add_revocation_lists(list.as_bytes()).unwrap();
        assert!(is_out(&hosts[1]), "success means that it has been acted on");
        for host in [&hosts[0], &hosts[2]] {
            let reached = |line: &crate::mesh::log::Line| {
                line.field("message").contains("list came from a member")
                    && line.field("Revoked") == "1"
            };
            until("the list reached it", || host.log.lines().iter().any(reached));
            assert!(is_out(host), "{}: not two intervals later but at once", host.name());
        }

        // Neither as it is nor restarted does it come back, nor is it renewed.
        let options = late.options.clone();
        drop(late);
        let late = Spec::new(options).seed(seed).start(stage.backend);
        sleep(A_WHILE);
        assert!(!late.agent.is_joined());
        for host in &hosts {
            assert!(is_out(host), "{}", host.name());
        }
        let [chain, key, bundle] = files.read().unwrap();
        let present = Present { chain_pem: &chain, key_pem: &key, bundle_pem: &bundle };
        let refused = renew(&office.address(), &present, &NodeKey::generate().unwrap());
        assert!(
            matches!(refused, Err(ClientError::Refused(Refusal::Revoked | Refusal::Barred))),
            "{refused:?}"
        );
        let audit = std::fs::read_to_string(office.home.path().join("ca/audit.jsonl")).unwrap();
        for (act, outcome) in
            [("token", "ok"), ("join", "ok"), ("revoke", "ok"), ("renew", "revoked")]
        {
            let is_it = |line: &&str| {
                line.contains(&format!(r#""act":"{act}","outcome":"{outcome}""#))
                    && line.contains(r#""nodeId":"late""#)
            };
            assert!(audit.lines().any(|line| is_it(&line)), "{act} {outcome}: {audit}");
        }
    });
}
