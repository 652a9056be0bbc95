//! Lines of files, names, what the node is told of them, and when.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mesh_gossip_proto::Command;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::*;
use crate::control::stage_tests::{AGENT, Lines};
use crate::io::Waker;
use crate::orders::{Order, Orders, ShardHandle};

/// So quick that a test can wait for many looks.
const QUICK: Pace = Pace { renew: Duration::from_millis(2), retry: Duration::from_millis(1) };
/// What is bound to come is waited for so long ...
const PATIENCE: Duration = Duration::from_secs(10);
/// ... and what must not come gets so long to happen.
const A_WHILE: Duration = Duration::from_millis(200);

fn address(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([10, 0, high, low], 1))
}

fn addresses(numbers: impl IntoIterator<Item = u16>) -> Vec<SocketAddr> {
    numbers.into_iter().map(address).collect()
}

fn sorted(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.sort_unstable();
    addresses
}

/// The list of an agent whose orders are read by the test.
fn list(orders: usize) -> (Arc<SeedList>, Arc<Orders>) {
    let orders = Arc::new(Orders::new(orders));
    let shard = ShardHandle::new(Arc::clone(&orders), Waker::unheard());
    (Arc::new(SeedList::new(AGENT, "me", shard)), orders)
}

/// What the node was told next, if anything.
fn told(orders: &Orders) -> Option<Vec<SocketAddr>> {
    orders.pop().map(|order| match order {
        Order::Command { agent: AGENT, command: Command::Join(seeds), .. } => seeds,
        _ => panic!("no order of seeds"),
    })
}

/// The same, waited for.
async fn joined(orders: &Orders) -> Vec<SocketAddr> {
    let join = async {
        loop {
            match told(orders) {
                Some(seeds) => return seeds,
                None => sleep(Duration::from_millis(1)).await,
            }
        }
    };
    timeout(PATIENCE, join).await.expect("a join in time")
}

/// Runs `story` while these seeds are looked for, quickly.
fn beside(seeds: Seeds, list: &Arc<SeedList>, story: impl Future<Output = ()>) {
    let seeds = Seeds { pace: QUICK, ..seeds };
    let looking = seeds.keep_joining(Arc::clone(list), Arc::new(Semaphore::new(1)), || false);
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        tokio::select! {
            () = looking => panic!("it looks for as long as there is a shard"),
            () = story => {}
        }
    });
}

/// Puts this text in the place of the file at once, as whoever writes seed files should.
fn write(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, file).unwrap();
}

/// Rule J-1: a file that changes while the agent runs leads to its new addresses, told once each.
#[test]
fn a_file_that_is_rewritten_is_told_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("seeds");
    write(&file, "10.0.0.1:1\n");
    let seeds = Seeds::new(vec!["10.0.0.9:1".into()], Some(file.clone()));
    let (list, orders) = list(16);
    beside(seeds, &list, async {
        assert_eq!(joined(&orders).await, addresses([9]));
        assert_eq!(joined(&orders).await, addresses([1, 9]));
        write(&file, "10.0.0.2:1\n10.0.0.3:1\n");
        assert_eq!(joined(&orders).await, addresses([2, 3, 9]));
        // One that cannot be read takes nothing back, and is read again once it is there.
        fs::remove_file(&file).unwrap();
        sleep(A_WHILE).await;
        assert_eq!(told(&orders), None);
        write(&file, "10.0.0.4:1\n");
        assert_eq!(joined(&orders).await, addresses([4, 9]));
    });
}

/// The same addresses in another order, by a name or twice, are no news.
#[test]
fn what_did_not_change_is_not_told_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("seeds");
    write(&file, "10.0.0.2:1\n10.0.0.1:1\n");
    let (list, orders) = list(16);
    beside(Seeds::new(Vec::new(), Some(file.clone())), &list, async {
        assert_eq!(joined(&orders).await, addresses([1, 2]));
        sleep(A_WHILE).await;
        write(&file, "10.0.0.1:1 # first\n10.0.0.2:1\n10.0.0.1:1\n");
        sleep(A_WHILE).await;
        assert_eq!(told(&orders), None);
        // It had not ceased to look.
        write(&file, "10.0.0.5:1\n");
        assert_eq!(joined(&orders).await, addresses([5]));
    });
}

/// Rule J-2: what the host names wipes out no seed of the settings, and what these change to wipes
/// out none of the host's.
#[test]
fn the_hosts_seeds_stand_beside_those_of_the_settings() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("seeds");
    write(&file, "10.0.0.1:1\n");
    let (list, orders) = list(16);
    let named = |numbers: &[u16]| {
        list.name(addresses(numbers.iter().copied()), Box::new(drop)).unwrap();
        told(&orders).expect("told before the host goes on")
    };
    beside(Seeds::new(Vec::new(), Some(file.clone())), &list, async {
        assert_eq!(joined(&orders).await, addresses([1]));
        assert_eq!(named(&[8, 7]), addresses([1, 7, 8]));
        write(&file, "10.0.0.2:1\n");
        assert_eq!(joined(&orders).await, addresses([2, 7, 8]));
        assert_eq!(named(&[6]), addresses([2, 6]), "in place of what the host said before");
        assert_eq!(named(&[]), addresses([2]));
        assert_eq!(named(&[6]), addresses([2, 6]));
    });
    // Other settings, as a reload brings them.
    beside(Seeds::new(vec!["10.0.0.3:1".into()], None), &list, async {
        assert_eq!(joined(&orders).await, addresses([3, 6]));
    });
    beside(Seeds::new(Vec::new(), None), &list, async {
        assert_eq!(joined(&orders).await, addresses([6]));
    });
}

/// What the shard does not take has changed nothing.
#[test]
fn a_host_that_is_refused_has_named_nobody() {
    let (list, orders) = list(1);
    list.configure(addresses([1]));
    assert_eq!(list.tell(), Ok(()));
    assert_eq!(list.name(addresses([2]), Box::new(drop)), Err(Refused::Busy));
    assert_eq!(told(&orders), Some(addresses([1])));
    assert_eq!(list.tell(), Ok(()));
    assert_eq!(told(&orders), None, "there is nothing to tell");
    orders.close();
    assert_eq!(list.name(addresses([2]), Box::new(drop)), Err(Refused::Stopped));
}

/// A shard that is busy is told later.
#[test]
fn a_busy_shard_is_told_later() {
    let (list, orders) = list(1);
    list.name(addresses([7]), Box::new(drop)).unwrap();
    beside(Seeds::new(vec!["10.0.0.1:1".into()], None), &list, async {
        sleep(A_WHILE).await;
        assert_eq!(joined(&orders).await, addresses([7]));
        assert_eq!(joined(&orders).await, addresses([1, 7]));
    });
}

/// Of a list that is too long nobody is left out for good, however many of the lowest are stale.
#[test]
fn a_list_that_is_too_long_is_dialled_in_turns() {
    let most = u16::try_from(MOST_SEEDS).unwrap();
    let all = 2 * most + 44;
    let names = addresses(0..all).iter().map(ToString::to_string).collect();
    let (list, orders) = list(1_024);
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.subscriber(), || {
        beside(Seeds::new(names, None), &list, async {
            assert_eq!(joined(&orders).await, addresses(0..most));
            assert_eq!(joined(&orders).await, addresses(most..2 * most));
            let rest = (2 * most..all).chain(0..most - 44);
            assert_eq!(joined(&orders).await, addresses(rest));
        });
    });
    let text = lines.text();
    assert_eq!(text.matches("they take turns").count(), 1, "{text}");
    assert!(text.contains("Seeds=556") && text.contains("Dialled=256"), "{text}");
}

/// The same where only the host's make it too long, and no turn is skipped where the list changes.
#[test]
fn whoever_makes_the_list_too_long_and_whatever_changes_all_have_their_turn() {
    let most = u16::try_from(MOST_SEEDS).unwrap();
    let (list, orders) = list(1_024);
    beside(Seeds::new(vec!["10.0.0.0:1".into()], None), &list, async {
        assert_eq!(joined(&orders).await, addresses([0]));
        list.name(addresses(1..most + 10), Box::new(drop)).unwrap();
        assert_eq!(joined(&orders).await, addresses(0..most));
        let next = joined(&orders).await;
        assert_eq!(next, addresses((most..most + 10).chain(0..most - 10)));
    });
    let mut seen = BTreeSet::new();
    for look in 0..4 {
        // The same three hundred behind another crowd of names each time.
        list.configure(addresses((1_000..1_300).chain(2_000 + look * 50..2_200 + look * 50)));
        list.next_turn();
        list.tell().unwrap();
        while let Some(turn) = told(&orders) {
            assert_eq!(turn.len(), MOST_SEEDS);
            seen.extend(turn);
        }
    }
    assert!(addresses(1_000..1_300).iter().all(|address| seen.contains(address)));
}

#[test]
fn files_hold_one_seed_a_line_and_comments() {
    let text = "# the first rack\n10.0.0.1:17421\n\n  seed.mesh:17421  # two addresses\n#x:1\n";
    assert_eq!(lines(text).collect::<Vec<_>>(), ["10.0.0.1:17421", "seed.mesh:17421"]);
}

#[test]
fn names_literals_and_files_are_looked_up_and_failures_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("seeds");
    fs::write(&file, "[::1]:3 # six\n").unwrap();
    let names = ["127.0.0.1:1", "localhost:2", "nothing", "no.invalid:9"];
    let seeds = Seeds::new(names.map(str::to_owned).to_vec(), Some(file));
    let found = seeds.look_blocking(Vec::new());
    let failed: Vec<_> = found.failed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(failed, ["nothing", "no.invalid:9"]);
    let gone = Seeds::new(Vec::new(), Some(directory.path().join("absent")));
    assert_eq!(gone.look_blocking(Vec::new()).failed.len(), 1);
    let known = Memory::default().take(&seeds.names, found);
    for address in ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"] {
        assert!(known.contains(&address.parse().unwrap()), "{address}: {known:?}");
    }
}

/// What was found stays while its name fails, and goes when nobody names it any more.
#[test]
fn a_resolver_that_fails_takes_nothing_back() {
    let names = ["a:1".to_owned(), "b:1".to_owned()];
    let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 1));
    let resolved = |name: &str, n| (name.to_owned(), vec![address(n)]);
    let mut memory = Memory::default();
    let listed = Some(vec!["c:1".to_owned()]);
    let all = vec![resolved("a:1", 1), resolved("b:1", 2), resolved("c:1", 3)];
    memory.take(&names, Found { listed, resolved: all, failed: Vec::new() });
    let moved = Found { resolved: vec![resolved("a:1", 9)], ..Found::default() };
    let known = sorted(memory.take(&names, moved));
    assert_eq!(known, [address(2), address(3), address(9)]);
    let emptied = Found { listed: Some(Vec::new()), ..Found::default() };
    let known = sorted(memory.take(&names, emptied));
    assert_eq!(known, [address(2), address(9)]);
}
