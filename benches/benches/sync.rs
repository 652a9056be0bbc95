//! Anti-entropy: what a change costs the digest of a view, and what a sketch of 100,000 members costs.
//!
//! Neither foca nor memberlist has a digest or a sketch: they exchange whole states, so nothing stands
//! beside these. "Walk" includes finding the members in the table, as a node does for each sketch.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mesh_gossip_benches::population::{CLUSTER, member, members};
use mesh_gossip_proto::membership::digest::share;
use mesh_gossip_proto::membership::roster::List;
use mesh_gossip_proto::sync::sketch::Sketch;
use mesh_gossip_proto::{DenseTable, Member, MemberTable};

const MEMBERS: u32 = 100_000;
const SALT: u64 = 7;

fn sync(criterion: &mut Criterion) {
    let population = members(MEMBERS);
    let shares: Vec<u64> = population.iter().map(Member::share).collect();
    let mut group = criterion.benchmark_group("sync");

    let (before, after) = (&population[0], member(0, 1));
    let mut digest = shares.iter().fold(0, |sum, share| sum ^ share);
    group.bench_function("digest, one change", |bencher| {
        bencher.iter(|| {
            let before = share(black_box(before).id(), before.record.hash());
            digest ^= before ^ share(black_box(&after).id(), after.record.hash());
            black_box(digest)
        });
    });

    group.bench_function("build a sketch, 100,000 shares", |bencher| {
        bencher.iter(|| black_box(Sketch::of(SALT, shares.iter().copied())));
    });
    let mut table = DenseTable::for_cluster(CLUSTER, 8);
    population.iter().for_each(|member| table.put(member.clone()));
    group.bench_function("walk 100,000 members and build a sketch", |bencher| {
        bencher.iter(|| {
            let shares = table.members(List::Present).map(Member::share);
            black_box(Sketch::of(SALT, shares))
        });
    });

    let ours = Sketch::of(SALT, shares.iter().copied());
    for differences in [1, 30, 40] {
        let theirs = Sketch::of(SALT, shares[differences..].iter().copied());
        let mut difference = ours.clone();
        difference.subtract(&theirs);
        assert_eq!(difference.clone().decode().map(|found| found.ours.len()), Some(differences));
        group.bench_function(format!("decode, {differences} of 100,000 differ"), |bencher| {
            bencher.iter_batched(
                || ours.clone(),
                |mut sketch| {
                    sketch.subtract(&theirs);
                    black_box(sketch.decode())
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, sync);
criterion_main!(benches);
