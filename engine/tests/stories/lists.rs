//! Revocation lists that reach every member through one of them.

use std::thread::sleep;
use std::time::Duration;

use mesh_gossip::options::{AgentOptions, Material};
use mesh_gossip::proto::State;

use crate::mesh::log::event_id;
use crate::mesh::{Authority, Host, Line, Spec, Stage, everyone_alive, on_both_backends, until};
use crate::papers::list;

const CLUSTER: &str = "lists";
const NAMES: [&str; 5] = ["alpha", "bravo", "charlie", "delta", "echo"];
const A_WHILE: Duration = Duration::from_secs(2);

/// Five hosts; the last one is to be revoked.
struct Five {
    authority: Authority,
    hosts: Vec<Host>,
    serial: String,
}

impl Five {
    fn together(stage: &Stage) -> Self {
        Self::with(stage, &|options| options)
    }

    fn with(stage: &Stage, change: &dyn Fn(AgentOptions) -> AgentOptions) -> Self {
        let authority = Authority::of(CLUSTER);
        let mut hosts: Vec<Host> = Vec::new();
        let mut serial = String::new();
        for name in NAMES {
            let issued = authority.issue(name, "worker");
            let mut options = authority.options(name, "worker");
            options.tls = issued.tls_options(&authority.0);
            serial = issued.serial;
            let mut spec = Spec::new(change(options));
            if let Some(first) = hosts.first() {
                spec = spec.seed(first.agent.local_address());
            }
            hosts.push(spec.start(stage.backend));
        }
        let five = Self { authority, hosts, serial };
        until("all five are there", || everyone_alive(&five.hosts.iter().collect::<Vec<_>>()));
        five
    }

    fn is_out(&self) -> bool {
        self.hosts[..4].iter().all(|host| host.sees("echo") == Some(State::Dead))
    }
}

fn fetched(host: &Host, outcome: &str) -> u64 {
    host.metrics().sum("mesh_gossip_crl_fetches_total", &[("mesh_outcome", outcome)])
}

fn in_force(host: &Host) -> u64 {
    host.metrics().sum("mesh_gossip_crl_entries", &[])
}

/// Rule S-16: the list is given to one of five, and the revoked member is out of every view and
/// cannot come back, restarted or not. A newcomer learns it when it joins.
#[test]
fn a_list_that_one_member_has_reaches_all_and_the_revoked_one_cannot_return() {
    on_both_backends(|stage| {
        let homes: Vec<_> = NAMES.iter().map(|_| tempfile::tempdir().unwrap()).collect();
        let mut five = Five::with(stage, &|mut options| {
            let at = NAMES.iter().position(|name| *name == options.node_id).unwrap();
            options.upkeep.state = Some(homes[at].path().to_owned());
            options
        });
        let revoking = list(&five.authority.0, 2, &[&five.serial]);
        let renewed = five.hosts[1].agent.add_revocation_lists(&revoking).unwrap();
        assert_eq!(renewed.revoked, 1);
        let took = until("it is out of every view", || five.is_out());
        let reason = |host: &Host| {
            let lines = host.log.about(event_id::LEFT, "echo");
            lines.first().map(|line| line.field("Reason").to_owned())
        };
        until("its departure has a reason of its own", || {
            reason(&five.hosts[1]).as_deref() == Some("revoked")
        });
        let departures = [("mesh_transition", "revoked")];
        let metrics = five.hosts[1].metrics();
        assert_eq!(metrics.sum("mesh_gossip_transitions_total", &departures), 1);
        println!("{:?}: out of all views after {} ms", stage.backend, took.as_millis());
        for at in [0, 2, 3] {
            let host = &five.hosts[at];
            until("it took the list from a member", || fetched(host, "fresh") >= 1);
        }
        sleep(A_WHILE);
        assert!(five.is_out(), "it still runs and dials, and nobody listens");

        // A restart of either side changes nothing.
        let echo = five.hosts.pop().unwrap();
        let (echo_options, delta) = (echo.options.clone(), five.hosts.pop().unwrap());
        let delta_options = delta.options.clone();
        drop((echo, delta));
        let delta = Spec::new(delta_options).start(stage.backend);
        let asked = || delta.metrics().sum("mesh_gossip_crl_fetches_total", &[]);
        until("what came by gossip is in force again", || in_force(&delta) == 1);
        assert_eq!(asked(), 0, "it was kept, nobody was asked");
        let seed = five.hosts[0].agent.local_address();
        let echo = Spec::new(echo_options).seed(seed).start(stage.backend);
        five.hosts.extend([delta, echo]);
        until("delta is back", || {
            five.hosts[..3].iter().all(|host| host.sees("delta") == Some(State::Alive))
        });
        let newcomer = Spec::new(five.authority.options("foxtrot", "worker")).seed(seed);
        let newcomer = newcomer.start(stage.backend);
        until("a newcomer learns it when it joins", || in_force(&newcomer) == 1);
        sleep(A_WHILE);
        for host in five.hosts[..4].iter().chain([&newcomer]) {
            assert_ne!(host.sees("echo"), Some(State::Alive), "{}", host.name());
        }
        assert!(!five.hosts[4].agent.is_joined());
    });
}

/// Rule S-16: whoever has an older list, or none, learns the newer one, and an older one that a
/// member puts in force changes nothing anywhere else.
#[test]
fn an_older_list_goes_nowhere_and_its_holder_learns_the_newer_one() {
    on_both_backends(|stage| {
        let five = Five::together(stage);
        let ca = &five.authority.0;
        let [alpha, bravo] = [&five.hosts[0], &five.hosts[1]];
        alpha.agent.add_revocation_lists(&list(ca, 7, &[&five.serial])).unwrap();
        until("it is out of every view", || five.is_out());
        let late = Spec::new(five.authority.options("late", "worker")).start(stage.backend);
        late.agent.add_revocation_lists(&list(ca, 3, &[])).unwrap();
        late.agent.join(vec![bravo.agent.local_address()]).unwrap();
        until("the newcomer learns the newer list", || in_force(&late) == 1);
        sleep(A_WHILE);
        assert!(five.is_out());
        for host in &five.hosts[..4] {
            assert_eq!((in_force(host), fetched(host, "outdated")), (1, 0), "{}", host.name());
        }
    });
}

/// Rule S-16: where revocation is not checked no list is taken, from nobody.
#[test]
fn a_member_that_checks_nothing_takes_no_list_from_others() {
    on_both_backends(|stage| {
        let five = Five::with(stage, &|mut options| {
            options.tls.revocation.check = options.node_id != "delta";
            options
        });
        let revoking = list(&five.authority.0, 2, &[&five.serial]);
        let refusal = five.hosts[3].agent.add_revocation_lists(&revoking).unwrap_err();
        assert!(refusal.to_string().contains("checkCertificateRevocation"), "{refusal}");
        five.hosts[0].agent.add_revocation_lists(&revoking).unwrap();
        until("the others learn it", || five.hosts[..3].iter().all(|host| in_force(host) == 1));
        sleep(A_WHILE);
        assert_eq!(in_force(&five.hosts[3]), 0);
    });
}

/// Rule S-16: a list that no CA of ours has signed changes nothing, is counted, goes no further
/// than its holder, and is not fetched again at once however often it is announced.
#[test]
fn a_list_of_a_strange_authority_is_counted_and_goes_no_further() {
    on_both_backends(|stage| {
        let strangers = Authority::of(CLUSTER);
        let foreign = strangers.0.bundle_pem();
        let five = Five::with(stage, &|mut options| {
            if options.node_id == "bravo"
                && let Material::Bytes(own) = &options.tls.ca
            {
                let both = [own.as_slice(), foreign.as_bytes()].concat();
                options.tls.ca = Material::Bytes(both.into());
            }
            options
        });
        let bravo = &five.hosts[1];
        let forged = list(&strangers.0, 9, &[&five.serial]);
        assert!(bravo.agent.add_revocation_lists(&forged).unwrap().trust, "it trusts them too");
        let others = || five.hosts.iter().filter(|host| host.name() != "bravo");
        until("somebody was offered it", || {
            others().any(|host| fetched(host, "unknown-issuer") == 1)
        });
        sleep(A_WHILE);
        // All looks before any wait: after ten seconds whoever fetched it may fetch it again.
        for host in others() {
            let fetches = (fetched(host, "unknown-issuer"), fetched(host, "fresh"));
            assert!(fetches.0 <= 1 && fetches.1 == 0, "{}: {fetches:?}", host.name());
        }
        for host in others() {
            assert_eq!(in_force(host), 0, "{}", host.name());
            until("nobody is lost", || host.alive() == 5);
            let warned = || {
                let lines = host.log.lines();
                let told = |line: &&Line| line.field("message").contains("does not count");
                lines.iter().filter(told).count() as u64
            };
            until("it is told as often as counted", || warned() == fetched(host, "unknown-issuer"));
        }
    });
}
