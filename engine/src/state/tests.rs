use std::os::unix::fs::PermissionsExt;

use super::*;

const NOW: WallTime = WallTime(1_800_000_000_000);

fn open(root: &Path) -> StateDirectory {
    StateDirectory::open(root, "c1", "n1").unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Rule S-12: a restart takes max(now, persisted + 1).
#[test]
fn a_life_begins_above_the_one_before_whatever_the_clock_says() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("deep/state");
    let minute_ago = WallTime(NOW.0 - 60_000);
    assert_eq!(open(&root).begin_life(NOW).unwrap(), NOW);
    assert_eq!(open(&root).begin_life(minute_ago).unwrap(), WallTime(NOW.0 + 1));
    let state = open(&root);
    assert_eq!(state.begin_life(WallTime(NOW.0 + 500)).unwrap(), WallTime(NOW.0 + 500));
    // It rose while it lived, because somebody held a higher one.
    assert!(state.lacks_generation(NOW.0 + 900) && !state.lacks_generation(NOW.0 + 500));
    state.keep_generation(NOW.0 + 900).unwrap();
    state.keep_generation(NOW.0 + 700).unwrap();
    drop(state);
    assert_eq!(open(&root).begin_life(NOW).unwrap(), WallTime(NOW.0 + 901));
    // Another agent below the same root has a life of its own.
    let other = StateDirectory::open(&root, "c1", "n2").unwrap();
    assert_eq!(other.begin_life(minute_ago).unwrap(), minute_ago);
}

/// Rule S-12: one wrong clock never burns an identity for ever.
#[test]
fn a_generation_that_nobody_can_have_accepted_is_not_followed() {
    let home = tempfile::tempdir().unwrap();
    let next_year = WallTime(NOW.0 + 31_000_000_000);
    assert_eq!(open(home.path()).begin_life(next_year).unwrap(), next_year);
    assert_eq!(open(home.path()).begin_life(NOW).unwrap(), NOW);
}

/// Rule S-12: a damaged generation is set aside, loudly, and the clock stands in for it.
#[test]
fn a_damaged_generation_is_done_without_and_a_damaged_list_is_not() {
    let home = tempfile::tempdir().unwrap();
    open(home.path()).begin_life(NOW).unwrap();
    let own = home.path().join("c1/n1");
    let generation = own.join(GENERATION);
    let whole = fs::read(&generation).unwrap();
    for damage in [&whole[..whole.len() - 1], b"", b"1800000000000", b"\xff\xfe"] {
        fs::write(&generation, damage).unwrap();
        let lines = crate::control::stage_tests::Lines::default();
        let born = tracing::subscriber::with_default(lines.subscriber(), || {
            open(home.path()).begin_life(WallTime(NOW.0 - 5)).unwrap()
        });
        assert_eq!(born, WallTime(NOW.0 - 5));
        assert!(lines.text().contains("generation is damaged"), "{}", lines.text());
        assert_eq!(fs::read(own.join("generation.damaged")).unwrap(), damage);
        assert_eq!(open(home.path()).begin_life(WallTime(NOW.0 - 9)).unwrap().0, NOW.0 - 4);
    }
    file::write(&own.join("lists/x.crl"), LISTS, b"a list").unwrap();
    assert_eq!(open(home.path()).lists().unwrap()[0].der, b"a list");
    let list = own.join("lists/x.crl");
    let mut bytes = fs::read(&list).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&list, bytes).unwrap();
    let Err(StateError::Damaged { path }) = open(home.path()).lists() else {
        panic!("a damaged list was believed")
    };
    assert_eq!(path, list);
}

/// A crash in the middle of a write leaves the old file, and the next write works all the same.
#[test]
fn an_interrupted_write_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    open(home.path()).begin_life(NOW).unwrap();
    let own = home.path().join("c1/n1");
    fs::write(own.join("generation.new"), b"mesh-gossip sta").unwrap();
    fs::write(own.join("lists/x.crl.new"), b"mesh-gossip sta").unwrap();
    assert!(open(home.path()).lists().unwrap().is_empty());
    assert_eq!(open(home.path()).begin_life(NOW).unwrap(), WallTime(NOW.0 + 1));
    assert!(!own.join("generation.new").exists());
}

/// Rule S-21.
#[test]
fn state_is_its_owners_alone_and_a_loose_directory_is_told() {
    let home = tempfile::tempdir().unwrap();
    let state = open(home.path());
    state.begin_life(NOW).unwrap();
    let own = home.path().join("c1/n1");
    assert_eq!((mode(&own), mode(&own.join(LISTS))), (0o700, 0o700));
    assert_eq!((mode(&own.join(GENERATION)), mode(&own.join("lock"))), (0o600, 0o600));
    assert!(state.warnings().is_empty());
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    let warning = state.warnings().remove(0);
    assert!(warning.contains("0755") && warning.contains("chmod 700"), "{warning}");
}

#[test]
fn one_agent_at_a_time_has_the_state_open() {
    let home = tempfile::tempdir().unwrap();
    let first = open(home.path());
    let second = StateDirectory::open(home.path(), "c1", "n1");
    assert!(matches!(second, Err(StateError::Locked { .. })), "{second:?}");
    assert!(StateDirectory::open(home.path(), "c2", "n1").is_ok());
    drop(first);
    open(home.path());
}
