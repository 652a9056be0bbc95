//! What hosts say: filling a datagram with updates and broadcasts, and what a signature costs.
//!
//! Comparable: one datagram filled from queues that hold more than fits, by foca's `gossip` to one
//! member with as many updates waiting (foca has no broadcasts of the host here), and by memberlist's
//! queue and encoder without the tasks around them. All datagrams are of 1,168 bytes at most; how
//! many updates each holds is printed. An update is put into a queue by ours and memberlist's, in
//! place of an older one of the same member; foca queues none that it does not apply (`table`).
//! Not comparable: memberlist's updates name a member and where it listens, ours its record.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mesh_gossip::bootstrap::{CaValidity, CertificateAuthority, Subject};
use mesh_gossip::tls::authority::{Intermediates, MeshAuthority};
use mesh_gossip::tls::credentials::Credentials;
use mesh_gossip_benches::peers::{memberlist_queue, swim_foca};
use mesh_gossip_benches::population::metadata;
use mesh_gossip_proto::dissemination::balance::Balance;
use mesh_gossip_proto::dissemination::broadcasts::{Broadcasts, Target, Waiting};
use mesh_gossip_proto::dissemination::queue::{Carrier, Claim, Filling, Queue};
use mesh_gossip_proto::membership::broadcast::{BroadcastId, Spoken};
use mesh_gossip_proto::membership::record::first_record;
use mesh_gossip_proto::wire::message::{Packet, Update};
use mesh_gossip_proto::{
    Broadcast, Incarnation, Instant, MemberId, RecordHash, SignedRecord, State, WallTime,
};

const CLUSTER: &str = "bench";
const LIMIT: usize = 1_168;
/// Content of a broadcast.
const CONTENT: usize = 64;
/// More than fits, of both.
const WAITING: u64 = 64;

/// Queues an update of a member.
fn queue_update(queue: &mut Queue, number: u64, counter: u32) {
    let id = MemberId([number as u8; 16]);
    let incarnation = Incarnation { generation: 1_700_000_000_000, counter };
    let update = Update::new(id, incarnation, State::Alive, RecordHash(number));
    queue.push(Instant::ORIGIN, id, Claim::Update(update), 1_000);
}

/// Two queues that never run dry.
struct Queues {
    updates: Queue,
    broadcasts: Broadcasts,
    balance: Balance,
    burst: u64,
}

impl Queues {
    fn filled() -> Self {
        let (mut updates, mut broadcasts) = (Queue::default(), Broadcasts::default());
        let now = Instant::ORIGIN;
        for number in 0..WAITING {
            let id = MemberId([number as u8; 16]);
            queue_update(&mut updates, number, 0);
            let id = BroadcastId { origin: id, generation: 1_700_000_000_000, sequence: number };
            let body = vec![0; 54 + CONTENT + 12 + 72].into();
            let waiting = Waiting { id, key: None, from: id.origin, body };
            broadcasts.push(now, waiting, (1_000, 1_000_000));
        }
        Self { updates, broadcasts, balance: Balance::default(), burst: 0 }
    }

    /// As a node does; returns how many of each went in.
    fn fill(&mut self, packet: &mut Packet, speaking: bool) -> (usize, usize) {
        self.burst += 1;
        let to = MemberId([0xff; 16]);
        let endless = Filling { sends: u32::MAX, burst: self.burst, carrier: Carrier::Any, to };
        if !speaking {
            return (self.updates.fill(Instant::ORIGIN, packet, LIMIT, endless), 0);
        }
        let granted = self.balance.grant(LIMIT);
        let updates = self.updates.fill(Instant::ORIGIN, packet, LIMIT - granted, endless);
        let target = Target { to, burst: self.burst, sends: u32::MAX };
        let filled = self.broadcasts.fill(packet, LIMIT, granted, target);
        let more = self.updates.fill(Instant::ORIGIN, packet, LIMIT, endless);
        self.balance.settle(LIMIT, filled.bytes, filled.held_back && more > 0, LIMIT);
        (updates + more, filled.count)
    }
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode a full packet");
    for (name, speaking) in [("updates", false), ("updates and broadcasts", true)] {
        let mut queues = Queues::filled();
        let mut packet = Packet::default();
        let (updates, broadcasts) = queues.fill(&mut packet, speaking);
        println!("{name}: {updates} updates and {broadcasts} broadcasts of {CONTENT} bytes");
        assert!(updates + broadcasts * 5 >= 16);
        group.throughput(Throughput::Elements((updates + broadcasts) as u64));
        let mut buffer = Vec::with_capacity(LIMIT);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                buffer.clear();
                let mut packet = Packet::on(std::mem::take(&mut buffer));
                black_box(queues.fill(&mut packet, speaking));
                buffer = packet.into_bytes();
            });
        });
    }
    // Hardly more members than waiting updates: foca looks through all of them for a target.
    let mut foca = swim_foca::Peer::gossiping(2 * WAITING as u32, LIMIT);
    let mut incarnation = 0;
    foca.keep_waiting(WAITING as u32, &mut incarnation);
    println!("foca: a datagram of {} bytes", foca.gossip());
    group.throughput(Throughput::Elements(1));
    group.bench_function("foca: gossip to one member", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut sum = Duration::ZERO;
            for _ in 0..iterations {
                foca.keep_waiting(WAITING as u32, &mut incarnation);
                let begun = std::time::Instant::now();
                black_box(foca.gossip());
                sum += begun.elapsed();
            }
            sum
        });
    });
    let theirs = memberlist_queue::Queue::filled(WAITING as u32);
    let (updates, bytes) = theirs.fill(LIMIT);
    println!("memberlist: a datagram of {updates} updates, {bytes} bytes");
    assert!(bytes <= LIMIT && updates < WAITING as usize);
    group.throughput(Throughput::Elements(updates as u64));
    group.bench_function("memberlist: queue and encoder", |bencher| {
        bencher.iter(|| black_box(theirs.fill(LIMIT)));
    });
    group.finish();
}

fn queueing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue an update in place of an older one");
    let (mut ours, mut turn) = (Queues::filled().updates, 0);
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            turn += 1;
            queue_update(&mut ours, u64::from(turn) % WAITING, turn);
        });
    });
    let (theirs, mut turn) = (memberlist_queue::Queue::filled(WAITING as u32), 0);
    group.bench_function("memberlist", |bencher| {
        bencher.iter(|| {
            turn += 1;
            theirs.push(turn % WAITING as u32, turn);
        });
    });
    group.finish();
}

/// A member with a certificate, and its record.
fn speaker() -> (MeshAuthority, SignedRecord) {
    let now = SystemTime::now();
    let ca = CertificateAuthority::create("bench", CLUSTER, now, CaValidity::default());
    let ca = ca.expect("names are canonical");
    let metadata = metadata(1);
    let subject = Subject::new(&metadata.node_id, &metadata.role);
    let issued = ca.issue(&subject, now, Duration::from_secs(86_400)).expect("it issues");
    let tls = issued.tls_options(&ca);
    let credentials = Credentials::load(&tls, CLUSTER, &metadata.node_id, &metadata.role);
    let credentials = Arc::new(credentials.expect("they hold"));
    let authority = MeshAuthority::new(credentials, Arc::new(Intermediates::default()));
    let incarnation = Incarnation { generation: 1_700_000_000_000, counter: 0 };
    let addresses: Vec<SocketAddr> = vec!["127.0.0.1:1".parse().expect("an address")];
    let record = first_record(CLUSTER, incarnation, addresses, metadata);
    let record = SignedRecord::author(record, &authority).expect("it signs");
    (authority, record)
}

fn signatures(criterion: &mut Criterion) {
    let (authority, record) = speaker();
    let origin = record.record().id;
    let id = BroadcastId { origin, generation: 1_700_000_000_000, sequence: 1 };
    let broadcast = Broadcast { topic: 1, key: None, bytes: vec![7; CONTENT] };
    let sign = || broadcast.sign(id, WallTime(1), (CLUSTER, LIMIT), &authority).expect("it fits");
    let body = sign();
    println!("{CONTENT} bytes of content travel as {}", body.len());
    let mut group = criterion.benchmark_group("a broadcast");
    group.bench_function("sign (P-256)", |bencher| bencher.iter(|| black_box(sign())));
    group.bench_function("decode and verify (P-256)", |bencher| {
        bencher.iter(|| {
            let spoken = Spoken::decode(black_box(&body)).expect("a layout");
            spoken.check(&record, &authority).expect("it is signed");
        });
    });
    group.bench_function("decode alone", |bencher| {
        bencher.iter(|| black_box(Spoken::decode(black_box(&body)).expect("a layout").id));
    });
    group.finish();
}

criterion_group!(benches, encode, queueing, signatures);
criterion_main!(benches);
