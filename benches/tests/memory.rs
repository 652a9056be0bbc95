//! What a table of 100,000 members costs, and what 10,000 sessions do, by the word of the
//! allocator. They have a process to themselves and take turns, so that nobody else's bytes are
//! counted.

use std::alloc::System;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_gossip::link::HotKeys;
use mesh_gossip_benches::meeting::{End, Notary, meet, message};
use mesh_gossip_benches::population::{CLUSTER, members};
use mesh_gossip_proto::{DenseTable, Duration, Instant, Member, MemberTable, State};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static TURN: Mutex<()> = Mutex::new(());

const SESSIONS: u32 = 10_000;
/// Handshakes that fill every memory of a fixed size before anything is counted.
const BEFORE: u32 = 300;
const MOST_SESSION_BYTES: isize = 4_000_000;

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
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Sessions at rest cost 400 bytes at most, with everything in the links that grows with them:
/// places, indices, deadlines, secrets, and what the peer's certificate rests on.
#[test]
fn ten_thousand_dehydrated_sessions_fit_in_four_megabytes() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let notary = Notary::new();
    let mut hub = End::new(notary.credentials(0), 0);
    hub.links.set_members(SESSIONS as usize);
    hub.links.share_keys(Arc::new(HotKeys::of(SESSIONS as usize)));
    let mut now = Instant::ORIGIN + Duration::from_secs(60);
    // Each peer is there for as long as the handshake takes.
    // They come one after another, or most would draw nothing from the budget for strangers (rule S-7).
    let meet_many = |hub: &mut End, now: &mut Instant, numbers: std::ops::Range<u32>| {
        for number in numbers {
            *now += Duration::from_millis(5);
            let now = *now;
            let mut peer = End::new(notary.credentials(number), number);
            // Half of them dial, the others are dialled.
            if number % 2 == 0 {
                meet(now, hub, &mut peer, &message(64));
            } else {
                meet(now, &mut peer, hub, &message(64));
            }
            hub.run_until(now);
        }
    };
    meet_many(&mut hub, &mut now, 1..1 + BEFORE);
    now += Duration::from_secs(1_000);
    hub.run_until(now);
    assert_eq!(hub.links.stats().sessions, 0);

    let region = Region::new(ALLOCATOR);
    let held = || {
        let stats = region.change();
        stats.bytes_allocated as isize - stats.bytes_deallocated as isize
    };
    meet_many(&mut hub, &mut now, 1_000..1_000 + SESSIONS);
    let (hot, stats) = (held(), hub.links.stats());
    assert_eq!((stats.hot, stats.dehydrated), (SESSIONS.into(), 0));
    hub.run_until(now + Duration::from_secs(61));
    let (rested, stats) = (held(), hub.links.stats());
    assert_eq!((stats.hot, stats.dehydrated), (0, SESSIONS.into()));
    let each = |bytes: isize| bytes as f64 / f64::from(SESSIONS);
    println!("bytes a session: {:.0} hot, {:.0} dehydrated", each(hot), each(rested));
    assert!(hot > 3 * rested, "keys were not expanded: {hot}");
    assert!(rested >= 200 * SESSIONS as isize, "the allocator was not asked: {rested}");
    assert!(rested <= MOST_SESSION_BYTES, "{rested} bytes");
}
