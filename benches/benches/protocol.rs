//! One datagram: a ping with sixteen updates, through the real codec, until nothing is left to
//! send. The receiver knows 1,000 members; "in turn" it knows more, and no two datagrams that
//! follow each other tell of the same ones, so that memory has its share.
//!
//! Comparable: the ping, its answer, and sixteen updates that are known already. Not comparable
//! without a word: news. foca and memberlist believe whoever tells it and are done with one
//! datagram; here an update names a signed record, which is asked for and arrives in a datagram
//! of its own, so that "news" is seventeen datagrams in and sixteen records hashed and decoded.
//! "Hot updates alone" is the first of those seventeen. Signature checks and encryption are left
//! out of all three. memberlist cannot be driven without a runtime: see `peers/swim_memberlist.rs`
//! for what its figure includes.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mesh_gossip_benches::peers::ours::{Ours, record_datagram, update_of};
use mesh_gossip_benches::peers::{swim_foca, swim_memberlist, timed};
use mesh_gossip_benches::population::{member, members};
use mesh_gossip_proto::Member;

const MEMBERS: u32 = 1_000;
const UPDATES: u32 = 16;
const SIZES: [u32; 3] = [1_000, 10_000, 100_000];

/// Sixteen members in turn, and how often all have had their turn.
#[derive(Default)]
struct Turn {
    count: u32,
}

impl Turn {
    fn next(&mut self) -> (Vec<u32>, u32) {
        // Member 0 sends; the others take turns.
        let first = self.count * UPDATES;
        self.count += 1;
        let others = MEMBERS - 1;
        // A multiple of sixteen a round, so that nobody comes twice in one.
        let round = others / UPDATES * UPDATES;
        ((0..UPDATES).map(|k| 1 + (first + k) % round).collect(), 2 + first / round)
    }
}

fn ours(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    let everybody = members(MEMBERS);
    let mut ours = Ours::knowing(&everybody);
    let known = everybody[1..=UPDATES as usize].iter();
    let datagram = ours.datagram(known.map(|member| update_of(&member.record)));
    group.bench_function("all known", |bencher| {
        bencher.iter(|| ours.handle(&everybody[0], &datagram));
    });
    assert!(ours.answers > 0, "pings are answered");

    for size in SIZES {
        let everybody = members(size);
        let mut ours = Ours::knowing(&everybody);
        let mut about: Vec<&Member> = everybody[1..].iter().collect();
        fastrand::Rng::with_seed(1).shuffle(&mut about);
        let tell = |some: &[&Member]| ours.datagram(some.iter().map(|m| update_of(&m.record)));
        let datagrams: Vec<_> = about.chunks_exact(UPDATES as usize).map(tell).collect();
        let mut next = datagrams.iter().cycle();
        group.bench_function(format!("all known, of {size} members in turn"), |bencher| {
            bencher.iter(|| ours.handle(&everybody[0], next.next().expect("it is a cycle")));
        });
    }

    let mut turn = Turn::default();
    group.bench_function("news: hot updates alone", |bencher| {
        let mut ours = Ours::knowing(&everybody);
        bencher.iter_custom(|iterations| {
            let datagrams = Ours::knowing(&everybody);
            let prepare = || {
                let (about, counter) = turn.next();
                let records = about.iter().map(|number| member(*number, counter).record);
                datagrams.datagram(records.map(|record| update_of(&record)))
            };
            timed(iterations, prepare, |datagram| ours.handle(&everybody[0], &datagram))
        });
        assert!(ours.node.stats().pulls > 0, "news are asked for");
    });

    let mut turn = Turn::default();
    group.bench_function("news: updates and the records that they name", |bencher| {
        let mut ours = Ours::knowing(&everybody);
        let version = ours.node.version();
        bencher.iter_custom(|iterations| {
            let datagrams = Ours::knowing(&everybody);
            let prepare = || {
                let (about, counter) = turn.next();
                let records: Vec<_> =
                    about.iter().map(|number| member(*number, counter).record).collect();
                let updates = datagrams.datagram(records.iter().map(|record| update_of(record)));
                (updates, records.iter().map(|record| record_datagram(record)).collect::<Vec<_>>())
            };
            timed(iterations, prepare, |(updates, records)| {
                ours.handle(&everybody[0], &updates);
                for record in &records {
                    ours.handle(&everybody[0], record);
                }
            })
        });
        assert!(ours.node.version() >= version + u64::from(UPDATES), "records are applied");
    });
}

fn theirs(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    let known: Vec<u32> = (1..=UPDATES).collect();
    let mut foca = swim_foca::Peer::knowing(MEMBERS);
    let datagram = foca.datagram(&known, 0);
    group.bench_function("foca: all known", |bencher| {
        bencher.iter(|| foca.handle(&datagram));
    });
    assert!(foca.answers() > 0, "foca answers pings");
    group.bench_function("foca: news", |bencher| {
        let (mut foca, mut turn) = (swim_foca::Peer::knowing(MEMBERS), Turn::default());
        let mut author = swim_foca::Peer::knowing(MEMBERS);
        bencher.iter_custom(|iterations| {
            let prepare = || {
                let (about, incarnation) = turn.next();
                author.datagram(&about, incarnation.min(u16::MAX.into()) as u16)
            };
            timed(iterations, prepare, |datagram| foca.handle(&datagram))
        });
    });

    let mut memberlist = swim_memberlist::Peer::knowing(MEMBERS);
    let datagram = memberlist.datagram(&known, 1);
    group.bench_function("memberlist: all known", |bencher| {
        bencher.iter(|| memberlist.handle(datagram.clone(), UPDATES as usize));
    });
    assert!(memberlist.answers() > 0, "memberlist answers pings");
    group.bench_function("memberlist: news", |bencher| {
        let (mut memberlist, mut turn) = (swim_memberlist::Peer::knowing(MEMBERS), Turn::default());
        let mut author = swim_memberlist::Peer::knowing(MEMBERS);
        bencher.iter_custom(|iterations| {
            let prepare = || {
                let (about, incarnation) = turn.next();
                author.datagram(&about, incarnation)
            };
            timed(iterations, prepare, |bytes| memberlist.handle(bytes, UPDATES as usize))
        });
    });
}

fn protocol(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a datagram of sixteen updates");
    group.throughput(Throughput::Elements(UPDATES.into()));
    ours(&mut group);
    theirs(&mut group);
    group.finish();
}

criterion_group!(benches, protocol);
criterion_main!(benches);
