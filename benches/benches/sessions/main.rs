//! What sessions cost: a full handshake at either end, sealing and opening one datagram, and the
//! memory of ten thousand, beside quinn-proto on the same certificates, configurations and verifier,
//! and beside the AEADs of both providers alone.
//!
//! Everything runs on one thread without sockets. Alternatives take turns in slices of a few
//! milliseconds within one run, so that a busy machine disturbs all of them alike: compare the
//! ratios, which stand with their 10th and 90th percentile. `--quick` runs a few slices.

mod quic;
mod seals;
mod slices;

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration as Span;

use mesh_gossip::link::HotKeys;
use mesh_gossip::tls::credentials::Credentials;
use mesh_gossip_benches::meeting::{End, Notary, Traffic, meet, message};
use mesh_gossip_proto::{Duration, Instant};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use quic::Host;
use slices::Figure;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Sessions whose memory is counted.
const SESSIONS: u32 = 10_000;
/// Handshakes that fill every memory of a fixed size first.
const BEFORE: u32 = 300;
const HANDSHAKES: usize = 300;
const ROUNDS: usize = 120;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let scale = if quick { 20 } else { 1 };
    let notary = Notary::new();
    let pair = [notary.credentials(1), notary.credentials(2)];
    handshakes(&pair, HANDSHAKES / scale);
    seals::run(&pair, ROUNDS / scale);
    memory(&notary, SESSIONS / scale as u32);
}

fn now() -> Instant {
    Instant::ORIGIN + Duration::from_secs(60)
}

/// One handshake with a first payload of 64 bytes behind it.
fn handshakes(pair: &[Arc<Credentials>; 2], rounds: usize) {
    println!("full handshake and a first payload of 64 bytes, microseconds an end");
    let mut hosts = [Host::new(&pair[0]), Host::new(&pair[1])];
    let mut ours = [Vec::new(), Vec::new()];
    let mut theirs = [Vec::new(), Vec::new()];
    let mut traffic = [Traffic::default(); 2];
    for _ in 0..rounds {
        let mut ends = [End::new(pair[0].clone(), 1), End::new(pair[1].clone(), 2)];
        let [a, b] = &mut ends;
        traffic[0] = meet(now(), a, b, &message(64));
        assert_eq!(traffic[0].delivered, 1);
        let [a, b] = &mut hosts;
        traffic[1] = quic::meet(a, b, &message(64)).traffic;
        assert_eq!(traffic[1].delivered, 1);
        for side in 0..2 {
            ours[side].push(micros(traffic[0].spent[side]));
            theirs[side].push(micros(traffic[1].spent[side]));
        }
    }
    for (side, name) in ["client", "server"].into_iter().enumerate() {
        Figure::of(&ours[side], &ours[side]).print(&format!("mesh-gossip, {name}"), "us");
        Figure::of(&theirs[side], &ours[side]).print(&format!("quinn-proto, {name}"), "us");
    }
    for (name, traffic) in ["mesh-gossip", "quinn-proto"].into_iter().zip(traffic) {
        println!("  {name}: {} datagrams, {} bytes", traffic.datagrams, traffic.bytes);
    }
}

fn micros(span: Span) -> f64 {
    span.as_secs_f64() * 1e6
}

fn memory(notary: &Notary, sessions: u32) {
    println!("memory of {sessions} sessions at one end, bytes each, by the word of the allocator");
    let each = |region: &Region<'_, System>| {
        let stats = region.change();
        let held = stats.bytes_allocated as f64 - stats.bytes_deallocated as f64;
        held / f64::from(sessions)
    };
    let mut hub = End::new(notary.credentials(0), 0);
    hub.links.set_members(sessions as usize);
    hub.links.share_keys(Arc::new(HotKeys::of(sessions as usize)));
    // One after another, or most would draw nothing from the budget for strangers (rule S-7).
    let welcome = |hub: &mut End, mut now: Instant, numbers: std::ops::Range<u32>| {
        for number in numbers {
            now += Duration::from_millis(5);
            let mut peer = End::new(notary.credentials(number), number);
            meet(now, &mut peer, hub, &message(64));
            hub.run_until(now);
        }
        now
    };
    let settled = welcome(&mut hub, now(), 1..1 + BEFORE) + Duration::from_secs(1_000);
    hub.run_until(settled);
    let region = Region::new(ALLOCATOR);
    let met = welcome(&mut hub, settled, 1_000..1_000 + sessions);
    assert_eq!(hub.links.stats().hot, u64::from(sessions), "all of them were met");
    println!("  mesh-gossip, hot: {:.0}", each(&region));
    hub.run_until(met + Duration::from_secs(61));
    assert_eq!(hub.links.stats().dehydrated, u64::from(sessions), "all of them rest");
    println!("  mesh-gossip, dehydrated: {:.0}", each(&region));
    drop(hub);

    let (client, mut server) = (notary.credentials(1), Host::new(&notary.credentials(2)));
    let mut kept = Vec::with_capacity(sessions as usize);
    let mut welcome = |count: u32, kept: &mut Vec<_>| {
        for _ in 0..count {
            let mut peer = Host::new(&client);
            kept.push(quic::meet(&mut peer, &mut server, &message(64)).server);
        }
    };
    welcome(BEFORE, &mut Vec::new());
    let region = Region::new(ALLOCATOR);
    welcome(sessions, &mut kept);
    println!("  quinn-proto: {:.0}", each(&region));
}
