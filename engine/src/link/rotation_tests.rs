//! Certificates that change faster than sessions retire, over a network that delays and loses:
//! what is sent on a session that its receiver has left is counted.

use super::tests::{address, ca, credentials, links, message, ping};
use super::*;
use crate::tls::authority::Intermediates;
use std::collections::{BTreeMap, BinaryHeap};
use zerocopy::IntoBytes;

const MS: Duration = Duration::from_millis(1);

/// Members that talk now and then, over a network with delay, jitter and loss.
struct Mesh {
    now: Instant,
    ends: Vec<Links>,
    names: Vec<String>,
    ca: crate::bootstrap::CertificateAuthority,
    rng: fastrand::Rng,
    /// By arrival; ties by order of sending.
    wire: BinaryHeap<std::cmp::Reverse<(Instant, u64)>>,
    flying: HashMap<u64, (usize, SocketAddr, Vec<u8>)>,
    sent: u64,
    delay: std::ops::Range<u64>,
    loss: f64,
    payloads: u64,
    delivered: u64,
}

impl Mesh {
    fn of(count: usize, seed: u64, delay_ms: std::ops::Range<u64>, loss: f64) -> Self {
        let ca = ca("c");
        let names: Vec<String> = (0..count).map(|n| format!("member-{n}")).collect();
        let ends = names.iter().enumerate();
        let ends = ends.map(|(n, name)| links(credentials(&ca, "c", name), "c", seed + n as u64));
        Self {
            now: Instant::ORIGIN + Duration::from_secs(10),
            ends: ends.collect(),
            names,
            ca,
            rng: fastrand::Rng::with_seed(seed),
            wire: BinaryHeap::new(),
            flying: HashMap::new(),
            sent: 0,
            delay: delay_ms,
            loss,
            payloads: 0,
            delivered: 0,
        }
    }

    fn carry(&mut self, from: usize, to: SocketAddr, bytes: Vec<u8>) {
        if self.rng.f64() < self.loss {
            return;
        }
        let at = self.now + MS * self.rng.u32(self.delay.start as u32..self.delay.end as u32);
        self.sent += 1;
        self.wire.push(std::cmp::Reverse((at, self.sent)));
        self.flying.insert(self.sent, (from, to, bytes));
    }

    fn collect(&mut self) {
        for from in 0..self.ends.len() {
            while let Some((to, bytes)) = self.ends[from].poll_transmit() {
                self.carry(from, to, bytes);
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, payload: &[u8]) {
        let member = self.ends[to].local;
        let transmit = Transmit { to: Destination::Member(member), address: address(to as u8) };
        let mut sealed = Vec::new();
        self.payloads += 1;
        if let Some(path) = self.ends[from].send(self.now, &transmit, payload, &mut sealed) {
            self.carry(from, path, sealed);
        }
        self.collect();
    }

    fn rotate(&mut self, end: usize) {
        let credentials = credentials(&self.ca, "c", &self.names[end]);
        let authority = MeshAuthority::new(credentials, Arc::new(Intermediates::default()));
        self.ends[end].set_authority(self.now, Arc::new(authority));
    }

    fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            self.collect();
            let timer = self.ends.iter().filter_map(Links::poll_timeout).min();
            let arrival = self.wire.peek().map(|next| next.0.0);
            let Some(next) = Instant::earliest(timer, arrival).filter(|at| *at <= until) else {
                break;
            };
            self.now = next.max(self.now);
            if arrival.is_some_and(|at| at <= self.now) {
                let std::cmp::Reverse((_, number)) = self.wire.pop().unwrap();
                let (from, to, mut bytes) = self.flying.remove(&number).unwrap();
                let std::net::IpAddr::V4(ip) = to.ip() else { unreachable!() };
                let end = usize::from(ip.octets()[3]);
                let got = self.ends[end].receive(self.now, address(from as u8), &mut bytes);
                self.delivered += u64::from(got.is_some());
                continue;
            }
            for end in &mut self.ends {
                end.handle_timeout(self.now);
            }
        }
        self.now = until;
    }

    fn dropped(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (reason, times) in self.ends.iter().flat_map(|end| end.stats().dropped) {
            *all.entry(reason).or_default() += times;
        }
        all
    }
}

/// Two members exchange their certificates twenty times, twice a second, and say something now and
/// then, `gap_ms` apart on average; returns what was refused and how many sessions are left.
fn twenty_rotations(mesh: &mut Mesh, gap_ms: u32) -> (BTreeMap<&'static str, u64>, u64) {
    mesh.send(0, 1, &message(b"hello"));
    mesh.run_for(MS * 3_000);
    let mut next_send = [0; 2];
    for at in (0..30_000).step_by(50) {
        if at % 500 == 0 && at < 10_000 {
            mesh.rotate(0);
            let between = MS * mesh.rng.u32(0..50);
            mesh.run_for(between);
            mesh.rotate(1);
        }
        for end in [0, 1] {
            if at >= next_send[end] {
                next_send[end] = at + mesh.rng.u32(0..2 * gap_ms);
                mesh.send(end, 1 - end, &ping());
            }
        }
        mesh.run_for(MS * 50);
    }
    let refused = mesh.dropped();
    mesh.run_for(MS * 30_000);
    (refused, mesh.ends.iter().map(|end| end.stats().sessions).sum())
}

/// Rules S-15 and S-18: certificates change faster than old sessions retire and faster than
/// handshakes may follow, both ends dial at once, confirmations come late and twice, and members
/// are silent for longer than an old session receives: nothing is sent on a session that its
/// receiver has left, and in the end one session is left.
#[test]
fn rotations_faster_than_sessions_retire_lose_nothing() {
    let mut rekeys = 0;
    for (delay, loss, gap) in
        [(0..2, 0.0, 100), (0..40, 0.0, 4_000), (0..200, 0.0, 4_000), (0..200, 0.05, 8_000)]
    {
        for seed in 0..20 {
            let mut mesh = Mesh::of(2, seed * 100 + 1, delay.clone(), loss);
            let (refused, left) = twenty_rotations(&mut mesh, gap);
            let told = format!("delay {delay:?} ms, loss {loss}, gap {gap} ms, seed {seed}");
            assert_eq!(refused.get("unknown-session"), None, "{told}: {refused:?}");
            assert_eq!(left, 2, "{told}");
            if loss == 0.0 {
                assert!(refused.is_empty(), "{told}: {refused:?}");
                assert!(mesh.delivered >= mesh.payloads, "{told}: every payload arrives");
            }
            rekeys += mesh.ends.iter().map(|end| end.stats().rekeys).sum::<u64>();
        }
    }
    assert!(rekeys >= 80 * 4, "{rekeys}: sessions were succeeded");
}

/// Rule S-15: an old session receives for as long as the rule says, however many came after it.
#[test]
fn a_late_datagram_finds_its_session_behind_many_successors() {
    let mut mesh = Mesh::of(2, 7, 0..2, 0.0);
    mesh.send(0, 1, &message(b"hello"));
    mesh.run_for(MS * 1_000);
    mesh.delay = 4_900..4_901;
    mesh.send(0, 1, &message(b"late"));
    mesh.delay = 0..2;
    let before = mesh.delivered;
    for _ in 0..6 {
        mesh.rotate(0);
        mesh.rotate(1);
        mesh.run_for(MS * 700);
    }
    let made: Vec<usize> = mesh.ends.iter().map(|end| end.stats().sessions as usize).collect();
    assert!(made.iter().all(|sessions| *sessions > 4), "{made:?}");
    assert_eq!(mesh.delivered, before);
    mesh.run_for(MS * 2_000);
    assert_eq!((mesh.delivered, mesh.dropped()), (before + 1, [].into()));
}

/// Two members after so many rotations, in turns, and which of them has the lower id.
struct Rotated {
    mesh: Mesh,
    low: usize,
    high: usize,
}

impl Rotated {
    fn times(rotations: usize) -> Self {
        let mut mesh = Mesh::of(2, 7, 0..2, 0.0);
        mesh.send(0, 1, &message(b"hello"));
        mesh.run_for(MS * 1_000);
        for turn in 0..rotations {
            mesh.rotate(turn % 2);
            mesh.run_for(MS * 1_000);
        }
        let first = mesh.ends[0].local < mesh.ends[1].local;
        let (low, high) = if first { (0, 1) } else { (1, 0) };
        Self { mesh, low, high }
    }

    fn sessions(&self, end: usize) -> Vec<u32> {
        self.mesh.ends[end].members[&self.mesh.ends[1 - end].local].to_vec()
    }

    fn sealed(&self, end: usize) -> u64 {
        self.mesh.ends[end].stats().sealed
    }
}

/// Rule S-18: who hears a CONFIRM on a session that it does not send on says what it does send on,
/// once for each, and of many in a row to three and then one a second; the other end follows.
#[test]
fn who_is_wrong_about_a_session_is_told_and_no_more_often_than_it_helps() {
    let mut pair = Rotated::times(1);
    let (low, high) = (pair.low, pair.high);
    let (of_low, of_high) = (pair.sessions(low), pair.sessions(high));
    let (before, now) = (pair.sealed(low), pair.mesh.now);
    pair.mesh.ends[high].send_confirmation(now, of_high[1]);
    pair.mesh.run_for(MS * 10);
    assert_eq!(pair.sessions(low), of_low, "the lower one does not follow");
    assert_eq!(pair.sealed(low), before + 1);
    assert_eq!(pair.sessions(high), of_high);
    let now = pair.mesh.now;
    (0..100).for_each(|_| pair.mesh.ends[high].send_confirmation(now, of_high[1]));
    pair.mesh.run_for(MS * 10);
    assert_eq!(pair.sealed(low), before + 3);
    pair.mesh.run_for(MS * 1_000);
    let now = pair.mesh.now;
    (0..100).for_each(|_| pair.mesh.ends[high].send_confirmation(now, of_high[1]));
    pair.mesh.run_for(MS * 10);
    assert_eq!(pair.sealed(low), before + 4);
    assert!(!pair.mesh.ends[low].said.is_empty());
    pair.mesh.run_for(MS * 120_000);
    assert!(pair.mesh.ends[low].said.is_empty(), "it is forgotten");
}

/// Rule S-18: before old sessions retire their end says three times what it sends on, not three
/// times each.
#[test]
fn sessions_that_retire_together_are_spoken_for_together() {
    let mut pair = Rotated::times(3);
    let low = pair.low;
    assert_eq!(pair.sessions(low).len(), 4);
    let before = pair.sealed(low);
    pair.mesh.run_for(MS * 20_000);
    assert_eq!(pair.sessions(low).len(), 1);
    let said = pair.sealed(low) - before;
    assert!((3..=4).contains(&said), "{said}");
}

/// Rule S-18: a confirmation that is repeated, or late, is no choice. Who takes it for one is told
/// before the session that it went back to retires.
#[test]
fn who_follows_a_late_confirmation_is_told_before_it_matters() {
    let mut mesh = Mesh::of(2, 7, 0..2, 0.0);
    mesh.send(0, 1, &message(b"hello"));
    mesh.run_for(MS * 1_000);
    mesh.rotate(0);
    mesh.run_for(MS * 1_000);
    let (low, high) = if mesh.ends[0].local < mesh.ends[1].local { (0, 1) } else { (1, 0) };
    let best = |mesh: &Mesh, end: usize| mesh.ends[end].members[&mesh.ends[1 - end].local][0];
    let (kept, newest) = (mesh.ends[low].members[&mesh.ends[high].local][1], best(&mesh, high));
    // As the answer to a repeated last flight of the older handshake would.
    let now = mesh.now;
    mesh.ends[low].send_confirmation(now, kept);
    mesh.run_for(MS * 10);
    assert_ne!(best(&mesh, high), newest, "it is taken for a choice");
    mesh.run_for(MS * 20_000);
    assert_eq!(best(&mesh, high), newest);
    mesh.send(high, low, &message(b"after a long silence"));
    mesh.run_for(MS * 10);
    assert_eq!(mesh.dropped(), [].into());
    assert!(mesh.ends.iter().all(|end| end.stats().sessions == 1));
}

/// Rule S-15: two members change their certificates one after the other, so that the second answers
/// the first one's handshake under the certificate before. It waits for that: each end makes one
/// successor for each change, whichever has the lower id.
#[test]
fn changes_that_cross_cost_one_handshake_an_end() {
    for first in [0, 1] {
        let mut made = BTreeMap::new();
        for gap in (0..140).step_by(7) {
            let mut mesh = Mesh::of(2, 7, 20..21, 0.0);
            mesh.send(0, 1, &message(b"hello"));
            mesh.run_for(MS * 3_000);
            mesh.rotate(first);
            mesh.run_for(MS * gap);
            mesh.rotate(1 - first);
            for _ in 0..400 {
                mesh.send(0, 1, &ping());
                mesh.send(1, 0, &ping());
                mesh.run_for(MS * 100);
            }
            let rekeys: u64 = mesh.ends.iter().map(|end| end.stats().rekeys).sum();
            assert!(mesh.ends.iter().all(|end| end.stats().outdated == 0), "{first}, {gap} ms");
            made.insert(gap, rekeys);
        }
        assert!(made.values().all(|rekeys| *rekeys <= 2), "{first} is the first one: {made:?}");
    }
}

/// Decision 94: a doubt is counted by what the session tells of its cause, and never by how late
/// anybody is.
#[test]
fn a_doubt_is_counted_by_what_the_session_tells() {
    let mut mesh = Mesh::of(2, 7, 20..21, 0.0);
    let other = mesh.ends[1].local;
    let count = |mesh: &mut Mesh| {
        let before = mesh.ends[0].stats().doubts;
        let now = mesh.now;
        mesh.ends[0].count_doubt(now, other);
        let after = mesh.ends[0].stats().doubts;
        let rose = |(cause, times): &(&&'static str, &u64)| before.get(**cause) != Some(*times);
        let risen: Vec<&str> = after.iter().filter(rose).map(|(cause, _)| *cause).collect();
        risen.concat()
    };
    assert_eq!(count(&mut mesh), "no-session");
    mesh.send(0, 1, &message(b"hello"));
    mesh.run_for(MS * 1_000);
    assert_eq!(count(&mut mesh), "silence");
    // What claims to be of the session and does not open.
    let index = mesh.ends[0].members[&other].first().copied().unwrap();
    let mut forged = [DataHeader::new(index, 9_999).as_bytes(), &[1; 40]].concat();
    let now = mesh.now;
    assert!(mesh.ends[0].receive(now, address(1), &mut forged).is_none());
    assert_eq!(count(&mut mesh), "refused");
    mesh.run_for(MS * 6_000);
    assert_eq!(count(&mut mesh), "silence", "that was long ago");
    // The peer has lost its sessions, and says so.
    mesh.ends[1].drop_all();
    mesh.send(0, 1, &ping());
    mesh.run_for(MS * 45);
    assert_eq!(count(&mut mesh), "unknown-session");
    mesh.run_for(MS * 1_000);
    assert_eq!(count(&mut mesh), "silence", "there is another session");
}
