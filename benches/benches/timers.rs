//! Deadlines of a node: what a ping and its ack cost, beside the same by two sorted trees.
//!
//! One operation is a ping sent and an ack received: two deadlines set, the next one read, two
//! cancelled; every tenth ping is never acked and its deadlines come. `n` others stay throughout.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mesh_gossip_proto::timers::Timers;
use mesh_gossip_proto::{Duration, Instant, MemberId, Timer};

const SIZES: [u32; 4] = [5, 20, 100, 10_000];

trait Deadlines: Default {
    fn set(&mut self, key: Timer, at: Instant);
    fn cancel(&mut self, key: Timer) -> Option<Instant>;
    fn next(&self) -> Option<(Instant, Timer)>;
    fn pop_due(&mut self, now: Instant) -> Option<Timer>;
}

impl Deadlines for Timers<Timer> {
    fn set(&mut self, key: Timer, at: Instant) {
        Timers::set(self, key, at);
    }
    fn cancel(&mut self, key: Timer) -> Option<Instant> {
        Timers::cancel(self, key)
    }
    fn next(&self) -> Option<(Instant, Timer)> {
        Timers::next(self)
    }
    fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        Timers::pop_due(self, now)
    }
}

#[derive(Default)]
struct Trees {
    due: BTreeSet<(Instant, Timer)>,
    by_key: BTreeMap<Timer, Instant>,
}

impl Deadlines for Trees {
    fn set(&mut self, key: Timer, at: Instant) {
        if let Some(previous) = self.by_key.insert(key, at) {
            self.due.remove(&(previous, key));
        }
        self.due.insert((at, key));
    }
    fn cancel(&mut self, key: Timer) -> Option<Instant> {
        let at = self.by_key.remove(&key)?;
        self.due.remove(&(at, key));
        Some(at)
    }
    fn next(&self) -> Option<(Instant, Timer)> {
        self.due.first().copied()
    }
    fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, key) = self.next()?;
        (at <= now).then(|| {
            self.cancel(key);
            key
        })
    }
}

struct Pinging<T> {
    deadlines: T,
    now: Instant,
    sequence: u32,
}

impl<T: Deadlines> Pinging<T> {
    fn beside(others: u32) -> Self {
        let mut deadlines = T::default();
        for number in 0..others {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
            // Far ahead, so that they stay.
            let at = Instant::ORIGIN + Duration::from_secs(1 << 30) * (number + 1);
            deadlines.set(Timer::Suspicion(MemberId(id)), at);
        }
        Self { deadlines, now: Instant::ORIGIN, sequence: 0 }
    }

    fn ping(&mut self) -> Option<(Instant, Timer)> {
        self.sequence = self.sequence.wrapping_add(1);
        self.now += Duration::from_millis(10);
        while let Some(timer) = self.deadlines.pop_due(self.now) {
            black_box(timer);
        }
        let (late, end) = (Timer::PingLate(self.sequence), Timer::ProbeEnd(self.sequence));
        self.deadlines.set(late, self.now + Duration::from_millis(200));
        self.deadlines.set(end, self.now + Duration::from_secs(1));
        let next = self.deadlines.next();
        if !self.sequence.is_multiple_of(10) {
            self.deadlines.cancel(late);
            self.deadlines.cancel(end);
        }
        next
    }
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers");
    for others in SIZES {
        let mut pinging = Pinging::<Timers<Timer>>::beside(others);
        group.bench_function(BenchmarkId::new("a ping and its ack", others), |bencher| {
            bencher.iter(|| black_box(pinging.ping()));
        });
        let mut pinging = Pinging::<Trees>::beside(others);
        group.bench_function(BenchmarkId::new("the same by two trees", others), |bencher| {
            bencher.iter(|| black_box(pinging.ping()));
        });
    }
    group.finish();
}

criterion_group!(benches, timers);
criterion_main!(benches);
