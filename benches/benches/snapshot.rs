//! What a reader of the membership pays for its size, while a writer applies 10,000 updates a second.
//!
//! Readers are one and two threads; a time is that of one read by the slower thread. Updates come in
//! tens, every millisecond: ours publishes a view after each ten, as a shard does after a batch of
//! datagrams; the vector behind a lock is written to in place.
//!
//! memberlist's `members()` is measured for one reader and without updates: it copies the list
//! behind an asynchronous lock, and both readers and updates are tasks of its runtime.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, RwLock};
use std::thread;
use std::time::{Duration, Instant as Clock};

use criterion::{Criterion, criterion_group, criterion_main};
use mesh_gossip::snapshot::{Published, Snapshot};
use mesh_gossip_benches::peers::swim_memberlist;
use mesh_gossip_benches::population::{CLUSTER, member, members};
use mesh_gossip_proto::{DenseTable, Instant, Member, MemberTable, View, WallTime};

const MEMBERS: u32 = 1_000;
const UPDATES: u32 = 10;
const UPDATES_EVERY: Duration = Duration::from_millis(1);
const RINGS: u8 = 8;

/// What is read and written.
trait Membership: Sync {
    fn size(&self) -> usize;
    fn update(&self, writer: &mut Writer, changed: Vec<Member>);
}

/// The writer's own.
struct Writer {
    table: DenseTable,
    version: u64,
}

impl Writer {
    fn new(population: &[Member]) -> Self {
        let mut table = DenseTable::for_cluster(CLUSTER, RINGS);
        for member in population {
            table.put(member.clone());
        }
        Self { table, version: 1 }
    }

    fn view(&self, local: &Member) -> Published {
        let view: View = self.table.view(local.id(), self.version, Instant::ORIGIN);
        Published { view, at: WallTime(0) }
    }
}

struct Viewed {
    snapshot: Snapshot,
    local: Member,
}

/// By a look at the view where it stands.
struct Looking(Viewed);

/// By a share in the view.
struct Sharing(Viewed);

impl Viewed {
    fn new(population: &[Member]) -> Self {
        let local = population[0].clone();
        Self { snapshot: Snapshot::new(Writer::new(population).view(&local)), local }
    }

    fn update(&self, writer: &mut Writer, changed: Vec<Member>) {
        for member in changed {
            writer.table.put(member);
        }
        writer.version += 1;
        self.snapshot.publish(writer.view(&self.local));
    }
}

impl Membership for Looking {
    fn size(&self) -> usize {
        self.0.snapshot.with(|published| published.view.slots().len())
    }

    fn update(&self, writer: &mut Writer, changed: Vec<Member>) {
        self.0.update(writer, changed);
    }
}

impl Membership for Sharing {
    fn size(&self) -> usize {
        self.0.snapshot.load().view.slots().len()
    }

    fn update(&self, writer: &mut Writer, changed: Vec<Member>) {
        self.0.update(writer, changed);
    }
}

impl Membership for RwLock<Vec<Member>> {
    fn size(&self) -> usize {
        self.read().expect("nobody panics").len()
    }

    fn update(&self, writer: &mut Writer, changed: Vec<Member>) {
        writer.version += 1;
        for member in changed {
            // Each is written by itself, as a datagram's updates are applied.
            let mut list = self.write().expect("nobody panics");
            if let Some(place) = list.iter().position(|own| own.id() == member.id()) {
                list[place] = member;
            }
        }
    }
}

/// `iterations` reads by each of `readers` threads; the time of the slowest.
fn read(membership: &dyn Membership, readers: usize, iterations: u64) -> Duration {
    let start = Barrier::new(readers);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let begun = Clock::now();
                    for _ in 0..iterations {
                        black_box(membership.size());
                    }
                    begun.elapsed()
                })
            })
            .collect();
        let times = threads.into_iter().map(|thread| thread.join().expect("it reads"));
        times.max().unwrap_or_default()
    })
}

/// Runs `measured` while somebody writes.
fn while_written(membership: &dyn Membership, population: &[Member], measured: impl FnOnce()) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut writer, mut turn) = (Writer::new(population), 0);
            // Made beforehand: a record costs more than an update.
            let news: Vec<Member> = (0..MEMBERS).map(|number| member(number, 1)).collect();
            let mut next = Clock::now();
            while !ended.load(Ordering::Relaxed) {
                let changed = (0..UPDATES).map(|k| news[((turn + k) % MEMBERS) as usize].clone());
                membership.update(&mut writer, changed.collect());
                turn += UPDATES;
                next += UPDATES_EVERY;
                thread::sleep(next.saturating_duration_since(Clock::now()));
            }
        });
        measured();
        ended.store(true, Ordering::Relaxed);
    });
}

fn snapshot(criterion: &mut Criterion) {
    let population = members(MEMBERS);
    let mut group = criterion.benchmark_group("the size of a membership");
    let ours = [Viewed::new(&population), Viewed::new(&population)];
    let [first, second] = ours;
    let (looking, sharing) = (Looking(first), Sharing(second));
    let locked = RwLock::new(population.clone());
    let all: [(&str, &dyn Membership); 3] = [
        ("a look at the snapshot", &looking),
        ("a share in the snapshot", &sharing),
        ("a vector behind a lock", &locked),
    ];
    for (name, membership) in all {
        assert_eq!(membership.size(), MEMBERS as usize);
        for readers in [1, 2] {
            while_written(membership, &population, || {
                group.bench_function(format!("{name}, {readers} reading"), |bencher| {
                    bencher.iter_custom(|iterations| read(membership, readers, iterations));
                });
            });
        }
    }
    let memberlist = swim_memberlist::Peer::knowing(MEMBERS);
    group.bench_function("memberlist's members(), 1 reading, no updates", |bencher| {
        bencher.iter(|| memberlist.members());
    });
    group.finish();
}

criterion_group!(benches, snapshot);
criterion_main!(benches);
