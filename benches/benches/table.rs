//! The member table at 1,000, 10,000 and 100,000 members, random members throughout.
//!
//! Members are drawn from sixty, from a thousand or from all, spread over the table. What sixty of
//! them touch stays in the nearest cache, so that the first shows what the operation does and must not
//! grow with the table. The others add what memory costs: a thousand that are spread stand on more
//! pages than a core remembers, and 100,000 records of a kilobyte fit no cache.
//!
//! Beside it, where the operation is the same: foca's `apply_many` of one update, not passed on,
//! which searches a vector; memberlist's `by_id`, which takes a lock and searches a map. Neither
//! publishes views, knows rings or draws by content; memberlist applies updates only by way of
//! its tasks, which `protocol.rs` measures. A record of ours is shared, theirs is copied.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main,
};
use mesh_gossip_benches::peers::{swim_foca, swim_memberlist};
use mesh_gossip_benches::population::{CLUSTER, members};
use mesh_gossip_proto::membership::roster::List;
use mesh_gossip_proto::{DenseTable, Instant, Member, MemberTable, State};

const SIZES: [u32; 3] = [1_000, 10_000, 100_000];
const RINGS: u8 = 8;

fn filled(population: &[Member]) -> DenseTable {
    let mut table = DenseTable::for_cluster(CLUSTER, RINGS);
    for member in population {
        table.put(member.clone());
    }
    table
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn ours(group: &mut Group<'_>, size: u32) {
    let population = members(size);
    let mut table = filled(&population);
    let mut rng = fastrand::Rng::with_seed(1);

    let groups = [("of sixty", 60), ("of a thousand", 1_000), ("of all", population.len())];
    for (whom, among) in groups {
        let stride = population.len() / among;
        let mut changes = 0u32;
        let name = format!("apply an update, {whom}");
        group.bench_function(BenchmarkId::new(name, size), |bencher| {
            bencher.iter(|| {
                changes += 1;
                let state = if changes.is_multiple_of(2) { State::Alive } else { State::Suspect };
                let member = &population[rng.usize(..among) * stride];
                table.put(Member { state, ..member.clone() });
            });
        });
        let name = format!("look up, {whom}");
        group.bench_function(BenchmarkId::new(name, size), |bencher| {
            bencher.iter_batched(
                || population[rng.usize(..among) * stride].id(),
                |id| black_box(table.get(id).is_some()),
                BatchSize::SmallInput,
            );
        });
    }
    group.bench_function(BenchmarkId::new("leave and join", size), |bencher| {
        bencher.iter(|| {
            let member = &population[rng.usize(..population.len())];
            table.remove(member.id());
            table.put(member.clone());
        });
    });
    group.bench_function(BenchmarkId::new("draw", size), |bencher| {
        bencher.iter(|| black_box(table.sample(List::Present, &mut rng).is_some()));
    });
    group.bench_function(BenchmarkId::new("walk eight back", size), |bencher| {
        bencher.iter_batched(
            || (rng.u8(..RINGS), population[rng.usize(..population.len())].id()),
            |(ring, id)| black_box(table.before(ring, id).take(8).last()),
            BatchSize::SmallInput,
        );
    });
    let local = population[0].id();
    let mut view = table.view(local, 0, Instant::ORIGIN);
    group.bench_function(BenchmarkId::new("publish after one change", size), |bencher| {
        bencher.iter(|| {
            let member = &population[rng.usize(..population.len())];
            table.put(Member { state: State::Suspect, ..member.clone() });
            view = table.view(local, view.version() + 1, Instant::ORIGIN);
        });
    });
    group.bench_function(BenchmarkId::new("look up in a view", size), |bencher| {
        bencher.iter_batched(
            || population[rng.usize(..population.len())].id(),
            |id| black_box(view.state(id)),
            BatchSize::SmallInput,
        );
    });
}

fn theirs(group: &mut Group<'_>, size: u32) {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut foca = swim_foca::Peer::knowing(size);
    let mut round = 0;
    group.bench_function(BenchmarkId::new("foca: apply an update", size), |bencher| {
        bencher.iter(|| {
            round += 1;
            // Higher than whatever is known of that member, mostly.
            foca.apply(rng.u32(..size), (round / size).min(u16::MAX.into()) as u16);
        });
    });
    let memberlist = swim_memberlist::Peer::knowing(size);
    group.bench_function(BenchmarkId::new("memberlist: look up", size), |bencher| {
        bencher.iter_batched(
            || swim_memberlist::who(rng.u32(..size)),
            |id| black_box(memberlist.knows(&id)),
            BatchSize::SmallInput,
        );
    });
}

fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    for size in SIZES {
        ours(&mut group, size);
        theirs(&mut group, size);
    }
    group.finish();
}

criterion_group!(benches, table);
criterion_main!(benches);
