//! One full datagram of hot updates: written, and read back.
//!
//! Throughput is in updates, so that criterion prints updates a second beside the time.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mesh_gossip_proto::wire::message::{Message, Messages, Packet, Update};
use mesh_gossip_proto::{Config, Incarnation, MemberId, RecordHash, State};

/// More updates than fit, each about another member.
fn updates() -> Vec<Update> {
    (0..64u8)
        .map(|n| {
            let incarnation = Incarnation { generation: 1_700_000_000_000, counter: u32::from(n) };
            let hash = RecordHash(u64::from(n) << 32);
            Update::new(MemberId([n; 16]), incarnation, State::Alive, hash)
        })
        .collect()
}

/// Fills `packet` to `limit`; returns how many updates fitted.
fn fill(packet: &mut Packet, limit: usize, updates: &[Update]) -> u64 {
    let mut fitted = 0;
    for update in updates {
        if !packet.push(limit, update) {
            break;
        }
        fitted += 1;
    }
    fitted
}

/// Reads every message; returns something that depends on each.
fn read(bytes: &[u8]) -> u64 {
    let mut mixed = 0;
    for message in Messages::new(bytes) {
        match message {
            Ok(Message::Update(update)) => mixed ^= update.hash.get(),
            other => panic!("only updates were written: {other:?}"),
        }
    }
    mixed
}

fn wire(criterion: &mut Criterion) {
    let limit = Config::new("bench").max_payload;
    let updates = updates();
    let mut packet = Packet::default();
    let per_datagram = fill(&mut packet, limit, &updates);
    println!("{per_datagram} updates in a datagram of {limit} bytes");

    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(per_datagram));
    group.bench_function("encode a full datagram", |bencher| {
        let mut buffer = Vec::with_capacity(limit);
        bencher.iter(|| {
            buffer.clear();
            let mut packet = Packet::on(std::mem::take(&mut buffer));
            fill(&mut packet, limit, black_box(&updates));
            buffer = packet.into_bytes();
            black_box(buffer.len())
        });
    });
    group.bench_function("decode a full datagram", |bencher| {
        bencher.iter(|| black_box(read(black_box(packet.as_bytes()))));
    });
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);
