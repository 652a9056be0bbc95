//! What a table of 100,000 members costs, by the word of the allocator. It has a process to
//! itself, so that nobody else's bytes are counted.

use std::alloc::System;

use mesh_gossip_benches::population::{CLUSTER, members};
use mesh_gossip_proto::{DenseTable, Instant, Member, MemberTable, State};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MEMBERS: u32 = 100_000;
const LEAST_WITHOUT_RINGS_BYTES: f64 = 24.0;
const MOST_WITHOUT_RINGS_BYTES: f64 = 128.0;
const MOST_A_RING_BYTES: f64 = 12.0;

fn held(region: &Region<'_, System>) -> f64 {
    let stats = region.change();
    (stats.bytes_allocated as f64 - stats.bytes_deallocated as f64) / f64::from(MEMBERS)
}

/// Bytes a member that a table of `rings` rings holds beside the records, which are there before:
/// full, with a view that was published and a half of the members changed since, with all
/// members judged failed.
fn bytes_a_member(population: &[Member], rings: u8) -> [f64; 3] {
    let region = Region::new(ALLOCATOR);
    let mut table = DenseTable::for_cluster(CLUSTER, rings);
    for member in population {
        table.put(member.clone());
    }
    assert_eq!(table.len(), population.len());
    let full = held(&region);

    let local = population[0].id();
    let view = table.view(local, 1, Instant::ORIGIN);
    for member in &population[..population.len() / 2] {
        table.put(Member { state: State::Suspect, ..member.clone() });
    }
    let with_view = held(&region);
    drop(view);

    for member in population {
        table.put(Member { state: State::Dead, ..member.clone() });
    }
    [full, with_view, held(&region)]
}

#[test]
fn a_member_costs_at_most_128_bytes_and_12_a_ring() {
    let population = members(MEMBERS);
    let one = bytes_a_member(&population, 1);
    let eight = bytes_a_member(&population, 8);
    let a_ring = (eight[0] - one[0]) / 7.0;
    let bare = one[0] - a_ring;
    println!("{MEMBERS} members, bytes a member beside its record:");
    println!("{bare:.1} without ring order, {a_ring:.1} a ring");
    println!("{:.1} with one ring, {:.1} with eight", one[0], eight[0]);
    println!("{:.1} more while a view holds half of them as they were", one[1] - one[0]);
    println!("{:.1} once all are dead", one[2]);

    assert!(bare >= LEAST_WITHOUT_RINGS_BYTES, "the allocator was not asked: {bare:.1}");
    assert!(bare <= MOST_WITHOUT_RINGS_BYTES, "{bare:.1} bytes without ring order");
    assert!(a_ring <= MOST_A_RING_BYTES, "{a_ring:.1} bytes for one ring");
    assert!(one[1] <= MOST_WITHOUT_RINGS_BYTES, "{:.1} bytes with a view", one[1]);
    // The departed stand on no ring, whatever room the rings had.
    assert!(eight[2] <= MOST_WITHOUT_RINGS_BYTES, "{:.1} bytes when all are dead", eight[2]);
}
