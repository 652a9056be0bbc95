//! Certificates, authorities and revocation lists that change while the mesh runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use mesh_gossip::RenewError;
use mesh_gossip::bootstrap::{CertificateAuthority, Issued, Subject};
use mesh_gossip::options::{AgentOptions, Material};
use mesh_gossip::proto::State;
use mesh_gossip::proto::membership::record::signer;
use mesh_gossip::tls::revocation::ListError;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::mesh::trio::{CLUSTER, PEOPLE};
use crate::mesh::{
    Authority, Host, Spec, Stage, Trio, all_talk_with_each_other, everyone_alive, nobody_was_lost,
    on_both_backends, until,
};
use crate::papers::{Content, Papers, list};

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// What must not happen gets so long to happen.
const A_WHILE: Duration = Duration::from_secs(3);

/// An address of these stories alone: on the common one a port may have been somebody's whose peers
/// have not noticed yet, and what they send is refused, which is counted.
const APART: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 78, 0, 1)), 0);

/// Why a datagram of a session is refused.
const SEALED: [&str; 4] = ["replayed", "forged", "unknown-session", "untrusted"];

/// Three hosts whose certificates are files.
struct Town {
    trio: Trio,
    papers: Vec<Papers>,
    contents: Vec<Content>,
    serials: Vec<String>,
}

impl Town {
    fn together(stage: &Stage) -> Self {
        let authority = Authority::of(CLUSTER);
        let issued = PEOPLE.map(|(name, role)| authority.issue(name, role));
        let contents = issued.iter().map(|issued| Content::new(issued, &authority.0));
        let contents: Vec<Content> = contents.collect();
        let papers: Vec<Papers> = contents.iter().map(Papers::of).collect();
        let serials = issued.iter().map(|issued| issued.serial.clone()).collect();
        let with_files = |options: AgentOptions| {
            let at = PEOPLE.iter().position(|(name, _)| *name == options.node_id).unwrap();
            AgentOptions { bind: APART, ..papers[at].in_place_of(options, LOOK) }
        };
        let network = stage.network().on(APART.ip());
        let trio = Trio::certified(stage, network, authority, &with_files);
        trio.wait_until_whole();
        Self { trio, papers, contents, serials }
    }

    fn rewrite(&mut self, at: usize, edit: impl FnOnce(&mut Content)) {
        edit(&mut self.contents[at]);
        self.papers[at].publish(&self.contents[at]);
    }

    /// Gives a host the certificate that somebody issued it.
    fn certify(&mut self, at: usize, issued: &Issued) {
        self.rewrite(at, |content| {
            content.chain.clone_from(&issued.chain_pem);
            content.key = issued.key_pem.to_string();
        });
    }

    /// Waits until every host shows these leaves to every other and talks under them alone.
    fn wait_until_shown(&self, leaves: &[Vec<u8>]) {
        until("records are signed under the new certificates", || {
            self.trio.hosts.iter().all(|host| {
                PEOPLE.iter().zip(leaves).all(|((name, _), leaf)| shows(host, name) == *leaf)
            })
        });
        until("sessions rest on the new certificates", || {
            self.trio.hosts.iter().all(|host| host.inspect().links.outdated == 0)
        });
    }

    fn nobody_was_lost(&self) {
        nobody_was_lost(self.trio.pairs());
    }
}

/// The certificate under which `host` holds the record of `name` to be signed.
fn shows(host: &Host, name: &str) -> Vec<u8> {
    let member = host.member(name).expect("it is known");
    signer(member.record.envelope()).unwrap().0.to_vec()
}

fn leaf(issued: &Issued) -> Vec<u8> {
    CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap().to_vec()
}

/// What one host counted of it.
#[derive(Debug, PartialEq, Eq)]
struct Losses {
    refused: BTreeMap<&'static str, u64>,
    unsent: u64,
    fallen: u64,
}

/// What must stay as it is while certificates change: datagrams of a session that were refused, those
/// that could not be sent, and sessions that fell. Other refusals are of handshakes whose datagrams
/// came twice or late, as on a busy machine they do.
fn losses(town: &Town) -> Vec<Losses> {
    let of = |host: &Host| {
        let mut links = host.inspect().links;
        links.dropped.retain(|reason, _| SEALED.contains(reason));
        let fallen = links.fallen.values().sum();
        Losses { refused: links.dropped, unsent: links.unsent, fallen }
    };
    town.trio.hosts.iter().map(of).collect()
}

/// Rule S-15: leaf certificates are exchanged again and again under probing; nobody is lost, no
/// datagram is refused, and every session is succeeded.
#[test]
fn leaves_are_rotated_under_probing_and_nobody_notices() {
    on_both_backends(|stage| {
        let mut town = Town::together(stage);
        until("all handshakes are over", || {
            town.trio.hosts.iter().all(|host| host.inspect().links.half_open == 0)
        });
        let before = losses(&town);
        for round in 1..=3 {
            let issued = PEOPLE.map(|(name, role)| town.trio.authority.issue(name, role));
            for (at, issued) in issued.iter().enumerate() {
                town.certify(at, issued);
            }
            town.wait_until_shown(&issued.each_ref().map(leaf));
            for host in town.trio.all() {
                let reloads = host
                    .metrics()
                    .sum("mesh_gossip_credential_reloads_total", &[("mesh_outcome", "renewed")]);
                assert_eq!(reloads, round, "{}", host.name());
            }
        }
        // Old sessions go on receiving for a while, then they are gone.
        until("one session a neighbour is left", || {
            town.trio.hosts.iter().all(|host| host.inspect().links.sessions == 2)
        });
        sleep(A_WHILE);
        town.nobody_was_lost();
        assert_eq!(losses(&town), before, "not one datagram was refused");
        let fallen: usize = town.trio.hosts.iter().map(|h| h.inspect().links.fallen.len()).sum();
        assert_eq!(fallen, 0);
    });
}

/// Rule S-15: another authority takes over: both roots, new certificates, the old root goes.
#[test]
fn an_authority_is_rotated_and_nobody_notices() {
    on_both_backends(|stage| {
        let mut town = Town::together(stage);
        let successor = Authority::of(CLUSTER);
        let old = town.trio.authority.0.bundle_pem();
        let new = successor.0.bundle_pem();
        let trust = |town: &mut Town, edit: &dyn Fn(&mut Content)| {
            let of = |host: &Host| host.metrics().sum("mesh_gossip_trust_epoch", &[]);
            let before: Vec<u64> = town.trio.hosts.iter().map(of).collect();
            for at in 0..PEOPLE.len() {
                town.rewrite(at, edit);
            }
            until("the bundle is in force", || {
                town.trio.hosts.iter().zip(&before).all(|(host, before)| of(host) > *before)
            });
        };
        trust(&mut town, &|content| content.bundle = format!("{old}{new}"));
        let issued = PEOPLE.map(|(name, role)| successor.issue(name, role));
        for (at, issued) in issued.iter().enumerate() {
            town.certify(at, issued);
        }
        town.wait_until_shown(&issued.each_ref().map(leaf));
        let lists = list(&successor.0, 1, &[]);
        trust(&mut town, &|content| {
            content.bundle.clone_from(&new);
            content.list.clone_from(&lists);
        });
        sleep(A_WHILE);
        town.nobody_was_lost();

        // Whoever comes with a certificate of the old authority comes too late.
        let mut options = town.trio.authority.options("late", "worker");
        options.tls.ca = Material::Bytes(format!("{old}{new}").into_bytes().into());
        let late = Spec::new(options).seed(town.trio.doors[0].address()).start(stage.backend);
        let mike = &town.trio.hosts[0];
        until("it is refused", || mike.metrics().handshakes_failed("unknown-ca") > 0);
        assert!(mike.sees("late").is_none() && !late.agent.is_joined());
    });
}

/// Rule S-16: a serial number in the list of each node, and the member is out of every view, its
/// sessions are gone, and it cannot come back, restarted or not, until it is certified anew.
#[test]
fn a_revoked_member_is_out_and_cannot_return() {
    on_both_backends(|stage| {
        let mut town = Town::together(stage);
        all_talk_with_each_other(&town.trio.hosts);
        let revoking = list(&town.trio.authority.0, 2, &[&town.serials[2]]);
        for at in [0, 1] {
            town.rewrite(at, |content| content.list.clone_from(&revoking));
        }
        let [mike, alpha, zulu] = &town.trio.hosts;
        let out = || [mike, alpha].iter().all(|host| host.sees("zulu") == Some(State::Dead));
        let took = until("it is out of every view", out);
        println!("{:?}: out after {} ms", stage.backend, took.as_millis());
        for host in [mike, alpha] {
            assert_eq!(host.peer("zulu")["reason"], "revoked");
        }
        for host in [mike, alpha] {
            until("its session is gone", || {
                host.inspect().links.fallen.get("revoked").is_some_and(|ended| *ended > 0)
            });
            let told = |serial: &str| {
                let lines = host.log.lines();
                lines.iter().filter(|line| line.field("Serial") == serial).count()
            };
            until("it is told", || told(&town.serials[2]) > 0);
        }
        // It still runs, dials, and tells whoever listens that it lives.
        zulu.agent.set_lifecycle(mesh_gossip::proto::Lifecycle::Cordoned).unwrap();
        sleep(A_WHILE);
        assert!(out());
        until("its handshakes are refused", || mike.metrics().handshakes_failed("revoked") > 0);
        nobody_was_lost([(mike, alpha), (alpha, mike)]);

        // A restart under the same certificate helps as little.
        let Trio { authority, hosts: [mike, alpha, zulu], doors, network } = town.trio;
        let again = Spec::new(zulu.options.clone());
        drop(zulu);
        let zulu = again.start_behind(&doors[2], stage.backend);
        sleep(A_WHILE);
        for host in [&mike, &alpha] {
            assert_eq!(host.sees("zulu"), Some(State::Dead));
        }
        assert!(!zulu.agent.is_joined());

        // Certified anew, while it runs, it is no stranger.
        let issued = authority.issue("zulu", "worker");
        town.contents[2].chain.clone_from(&issued.chain_pem);
        town.contents[2].key = issued.key_pem.to_string();
        town.papers[2].publish(&town.contents[2]);
        until("it is back everywhere", || everyone_alive(&[&mike, &alpha, &zulu]));
        drop(network);
    });
}

/// Rules S-15 and S-16: a host gives bytes, and gets an error for what does not hold, which changes
/// nothing.
#[test]
fn bytes_are_taken_over_and_what_does_not_hold_is_refused() {
    on_both_backends(|stage| {
        let Trio { authority, hosts, doors, network } = Trio::together(stage);
        let [mike, alpha, zulu] = &hosts;
        let ca: &CertificateAuthority = &authority.0;
        let serial = {
            let issued = authority.issue("zulu", "worker");
            let renewed = zulu.agent.rotate(issued.tls_options(ca)).unwrap();
            assert!(renewed.certificate && !renewed.trust && renewed.refused.is_none());
            until("it is shown", || shows(mike, "zulu") == leaf(&issued));
            issued.serial
        };
        // A certificate of strangers, one of somebody else, and trust that would not bear our own.
        let others = Authority::of(CLUSTER);
        let ours = |issued: Issued| issued.tls_options(ca);
        let strange = others.issue("zulu", "worker");
        for refused in [ours(strange), ours(authority.issue("alpha", "worker"))] {
            let renewed = zulu.agent.rotate(refused).unwrap();
            let error = renewed.refused.expect("peers would refuse it");
            assert!(error.to_string().starts_with("mesh:gossip:tls:certificate"), "{error}");
            assert!(!renewed.certificate && !renewed.trust);
        }
        let mut elsewhere = ours(authority.issue("zulu", "worker"));
        elsewhere.ca = others.issue("zulu", "worker").tls_options(&others.0).ca;
        let error = zulu.agent.rotate(elsewhere).unwrap_err();
        assert!(matches!(error, RenewError::Credentials(_)), "{error}");

        let forged = list(&others.0, 9, &[&serial]);
        let refusal = mike.agent.add_revocation_lists(&forged).unwrap_err();
        assert!(matches!(refusal, RenewError::List(ListError::UnknownIssuer { .. })), "{refusal}");
        assert_eq!(mike.sees("zulu"), Some(State::Alive));
        let revoking = list(ca, 2, &[&serial]);
        for host in [mike, alpha] {
            let renewed = host.agent.add_revocation_lists(&revoking).unwrap();
            // The second may have it from the first by then.
            if host.agent.node_id() == mike.agent.node_id() || renewed.trust {
                assert_eq!((renewed.trust, renewed.revoked), (true, 1));
            }
            // Success means that it has been acted on.
            assert_eq!(host.sees("zulu"), Some(State::Dead));
            let again = host.agent.add_revocation_lists(&revoking).unwrap();
            assert!(!again.trust, "it is known");
            let older = host.agent.add_revocation_lists(&list(ca, 1, &[])).unwrap();
            assert!(!older.trust, "an older list changes nothing");
        }
        drop((doors, network));
    });
}

/// Rules S-16 and S-17: whoever the pins list no longer loses its sessions, gets no other, and is
/// found dead like any member that cannot be reached.
#[test]
fn a_pin_that_goes_ends_sessions_and_lets_nobody_back() {
    on_both_backends(|stage| {
        let trio = Trio::together(stage);
        all_talk_with_each_other(&trio.hosts);
        let [mike, alpha, _] = &trio.hosts;
        let digest = |der: &[u8]| -> String {
            let digest = ring::digest::digest(&ring::digest::SHA256, der);
            digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let leaves = [mike, alpha].map(|host| digest(&shows(host, host.name())));
        for host in [mike, alpha] {
            let mut options = host.options.tls.clone();
            options.allowed_thumbprints = leaves.to_vec();
            let renewed = host.agent.rotate(options).unwrap();
            assert!(renewed.trust && !renewed.certificate && renewed.revoked == 0);
        }
        let fell = |host: &Host| host.inspect().links.fallen.get("pin").copied().unwrap_or(0);
        assert!(fell(mike) + fell(alpha) > 0, "success means that it has been acted on");
        let gone = || [mike, alpha].iter().all(|host| host.sees("zulu") == Some(State::Dead));
        until("it is gone from both views", gone);
        until("its handshakes are refused", || mike.metrics().handshakes_failed("pin") > 0);
        sleep(A_WHILE);
        assert!(gone());
        nobody_was_lost([(mike, alpha), (alpha, mike)]);
    });
}

/// Rule S-15: a file that does not hold changes nothing and is told once, until it holds.
#[test]
fn a_broken_file_changes_nothing_and_is_told_once() {
    on_both_backends(|stage| {
        let mut town = Town::together(stage);
        let before = shows(&town.trio.hosts[0], "alpha");
        let good = town.contents[1].clone();
        town.rewrite(1, |content| content.chain = "-----BEGIN nonsense".into());
        let alpha = &town.trio.hosts[1];
        let told = |host: &Host| {
            let lines = host.log.lines();
            lines.iter().filter(|line| line.field("message").contains("not reloaded")).count()
        };
        until("it is told", || told(alpha) == 1);
        sleep(LOOK * 10);
        assert_eq!(told(alpha), 1);
        assert_eq!(shows(&town.trio.hosts[0], "alpha"), before);
        let issued = town.trio.authority.issue("alpha", "dispatcher");
        town.contents[1] = good;
        town.certify(1, &issued);
        let mike = &town.trio.hosts[0];
        until("the next one is taken up", || shows(mike, "alpha") == leaf(&issued));
        town.nobody_was_lost();
    });
}

/// Rule S-15: expiry is loud, before it comes and when it has come, and makes no storm of
/// handshakes; a new certificate ends it.
#[test]
fn expiry_is_told_twice_and_makes_no_storm() {
    on_both_backends(|stage| {
        let authority = Authority::of(CLUSTER);
        // Issued a minute in the past: three quarters of its life are over at once.
        let soon = Duration::from_secs(20);
        let subject = Subject::new("zulu", "worker");
        let short = authority.0.issue(&subject, SystemTime::now(), soon).unwrap();
        let certify = |mut options: AgentOptions| {
            if options.node_id == "zulu" {
                options.tls = short.tls_options(&authority.0);
            }
            options.tls.reload_interval = LOOK;
            options
        };
        let mut hosts = Vec::new();
        for (name, role) in PEOPLE {
            let mut spec = Spec::new(certify(authority.options(name, role)));
            if let Some(first) = hosts.first().map(|host: &Host| host.agent.local_address()) {
                spec = spec.seed(first);
            }
            hosts.push(spec.start(stage.backend));
        }
        let [mike, alpha, zulu] = &hosts[..] else { unreachable!("three people") };
        until("all are there", || everyone_alive(&[mike, alpha, zulu]));
        all_talk_with_each_other(&hosts);
        let told = |part: &str| {
            let lines = zulu.log.lines();
            lines.iter().filter(|line| line.field("message").contains(part)).count()
        };
        until("its age is told", || told("three quarters") == 1);
        until("its end is told", || told("has expired") == 1);
        until("its sessions have ended", || {
            let fell = |host: &Host| host.inspect().links.fallen.contains_key("expired");
            fell(mike) && fell(alpha)
        });
        let dials = || -> u64 { hosts.iter().map(|host| host.inspect().links.dials).sum() };
        let before = dials();
        sleep(A_WHILE);
        // Each pair has a burst of three and one in ten seconds more, in either direction.
        assert!(dials() - before <= 6 * 5, "{}", dials() - before);
        assert_eq!((told("three quarters"), told("has expired")), (1, 1));
        let issued = authority.issue("zulu", "worker");
        zulu.agent.rotate(issued.tls_options(&authority.0)).unwrap();
        until("it is back", || everyone_alive(&[mike, alpha, zulu]));
    });
}
