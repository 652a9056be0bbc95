//! What an agent knows again after a restart, and what nobody can talk it out of.

use std::path::Path;

use mesh_gossip::options::AgentOptions;
use mesh_gossip::proto::State;
use mesh_gossip::{StartError, StateError};

use crate::mesh::{Authority, Host, Spec, everyone_alive, on_both_backends, until};
use crate::papers::list;

const CLUSTER: &str = "restart";

fn keeping(mut options: AgentOptions, home: &Path) -> AgentOptions {
    options.upkeep.state = Some(home.to_owned());
    options
}

fn revoked(host: &Host) -> u64 {
    host.metrics().sum("mesh_gossip_crl_entries", &[])
}

fn own_generation(host: &Host) -> u64 {
    host.member(host.name()).expect("it knows itself").incarnation().generation
}

/// Rule S-16: the number of a list is persisted with its body. After a restart the list is in force
/// from the start, an older one is refused, and the member that it revokes cannot come back.
#[test]
fn a_revocation_outlives_a_restart_and_an_older_list_does_not_undo_it() {
    on_both_backends(|stage| {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::of(CLUSTER);
        let mike = Spec::new(keeping(authority.options("mike", "worker"), home.path()));
        let mike = mike.start(stage.backend);
        let zulu = authority.issue("zulu", "worker");
        let mut options = authority.options("zulu", "worker");
        options.tls = zulu.tls_options(&authority.0);
        let zulu_host = Spec::new(options.clone()).seed(mike.agent.local_address());
        let zulu_host = zulu_host.start(stage.backend);
        until("both are there", || everyone_alive(&[&mike, &zulu_host]));
        let renewed = mike.agent.add_revocation_lists(&list(&authority.0, 5, &[&zulu.serial]));
        assert_eq!(renewed.unwrap().revoked, 1);
        drop(zulu_host);

        let options_of_mike = mike.options.clone();
        drop(mike);
        let mike = Spec::new(options_of_mike.clone()).start(stage.backend);
        until("the list is in force from the start", || revoked(&mike) == 1);
        let older = mike.agent.add_revocation_lists(&list(&authority.0, 4, &[])).unwrap();
        assert!(!older.trust, "an older list changes nothing, after a restart as before");
        assert_eq!(revoked(&mike), 1);
        let zulu_host = Spec::new(options).seed(mike.agent.local_address()).start(stage.backend);
        until("its handshakes are refused", || mike.metrics().handshakes_failed("revoked") > 0);
        assert_ne!(mike.sees("zulu"), Some(State::Alive));
        assert!(!zulu_host.agent.is_joined());

        // A newer one is taken up, and kept in its turn.
        mike.agent.add_revocation_lists(&list(&authority.0, 6, &[])).unwrap();
        drop(mike);
        let mike = Spec::new(options_of_mike).start(stage.backend);
        until("the newer list is in force", || revoked(&mike) == 0);
        assert!(!mike.agent.add_revocation_lists(&list(&authority.0, 5, &[])).unwrap().trust);
        drop(zulu_host);
    });
}

/// Rule S-16: a list that the disk has damaged is an error at start, since whom it revoked would
/// be let in; deleted by its owner it is done without.
#[test]
fn a_damaged_list_is_an_error_at_start() {
    on_both_backends(|stage| {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::of(CLUSTER);
        let options = keeping(authority.options("mike", "worker"), home.path());
        let mike = Spec::new(options.clone()).start(stage.backend);
        mike.agent.add_revocation_lists(&list(&authority.0, 5, &[])).unwrap();
        drop(mike);
        let lists = home.path().join(CLUSTER).join("mike/lists");
        let file = std::fs::read_dir(&lists).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        let error = Spec::new(options.clone()).try_start(stage.backend).map(|_| ()).unwrap_err();
        assert!(matches!(error, StartError::State(StateError::Damaged { .. })), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("mesh:gossip:stateDirectory: ") && text.contains("damaged"));
        std::fs::remove_file(&file).unwrap();
        Spec::new(options).start(stage.backend);
    });
}

/// Rule S-12: the generation is on the disk, and two agents cannot share it.
#[test]
fn a_life_is_written_down_before_it_begins_and_belongs_to_one_agent() {
    on_both_backends(|stage| {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::of(CLUSTER);
        let options = keeping(authority.options("mike", "worker"), home.path());
        let mike = Spec::new(options.clone()).start(stage.backend);
        let kept = || {
            let file = home.path().join(CLUSTER).join("mike/generation");
            let text = std::fs::read_to_string(file).unwrap();
            text.lines().nth(1).expect("a head and a number").parse::<u64>().unwrap()
        };
        let first = own_generation(&mike);
        assert_eq!(kept(), first);
        let error = Spec::new(options.clone()).try_start(stage.backend).map(|_| ()).unwrap_err();
        assert!(matches!(error, StartError::State(StateError::Locked { .. })), "{error}");
        drop(mike);
        let mike = Spec::new(options).start(stage.backend);
        assert!(own_generation(&mike) > first);
        assert_eq!(kept(), own_generation(&mike));
    });
}
