//! What the list of 10,000 members costs who makes it, tagged and paged answers left out: those
//! cost less. The list is made on a thread of its own (`engine/src/control/http.rs`), so that this
//! time delays neither a probe nor bulk sync; the goal is 200 ms.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use mesh_gossip::link::stats::LinkStats;
use mesh_gossip::{Inspection, Recorded, io, peers_json};
use mesh_gossip_benches::population::{CLUSTER, members};
use mesh_gossip_proto::detector::contacts::Contact;
use mesh_gossip_proto::{DenseTable, Instant, MemberTable, Stats, WallTime};

const RINGS: u8 = 8;

fn inspection(population: &[mesh_gossip_proto::Member]) -> Inspection {
    // A member talks to some neighbours, never to everybody.
    let contact = |member: &mesh_gossip_proto::Member| {
        let mut contact = Contact::new(Instant::ORIGIN);
        contact.measured(Duration::from_micros(420));
        (member.id(), contact)
    };
    Inspection {
        now: Instant::ORIGIN,
        wall: WallTime(1_714_564_800_250),
        stats: Stats::default(),
        contacts: population.iter().take(64).map(contact).collect(),
        links: LinkStats::default(),
        io: io::IoStats::default(),
        receive_drops: 0,
        recorded: Recorded::default(),
        joined: true,
        agrees: true,
        queue_age: Duration::ZERO,
        fanout: 3,
    }
}

fn listing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peers");
    for size in [1_000, 10_000] {
        let population = members(size);
        let mut table = DenseTable::for_cluster(CLUSTER, RINGS);
        for member in &population {
            table.put(member.clone());
        }
        let view = table.view(population[0].id(), 1, Instant::ORIGIN);
        let inspection = inspection(&population);
        group.bench_function(format!("list of {size}"), |bencher| {
            bencher.iter(|| black_box(peers_json(&view, &inspection)));
        });
    }
    group.finish();
}

criterion_group!(benches, listing);
criterion_main!(benches);
