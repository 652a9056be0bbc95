//! Sessions at rest: what they keep, what wakes them, and who has to go.

use std::collections::HashSet;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::recency::List;
use super::tests::{Net, address, ca, credentials, links, message};
use super::trusting_tests::revoke;
use super::*;
use crate::tls::certificates_tests::list_of;
use crate::tls::credentials::Credentials;

const SECOND: Duration = Duration::from_secs(1);

/// Hot and dehydrated.
fn warmth(end: &Links) -> (u64, u64) {
    let stats = end.stats();
    assert_eq!(stats.hot + stats.dehydrated, stats.sessions);
    (stats.hot, stats.dehydrated)
}

/// A session stands among the dehydrated exactly when it has no keys.
fn assert_sorted(end: &Links) {
    for (index, entry) in end.slots.iter() {
        let Entry::Open(session) = entry else { continue };
        let rests = end.warmth.list_of(index) == Some(List::Cold);
        assert_eq!(rests, session.warm().is_none(), "{index:x}");
    }
}

/// Rule S-4: receiver index and packet number of every sealed datagram so far.
fn assert_numbers_are_used_once(net: &Net) -> usize {
    let mut seen = HashSet::new();
    let data = net.log.iter().filter(|(_, bytes)| bytes[0] == DATA);
    for (from, bytes) in data {
        let (header, _) = DataHeader::split(&mut bytes.clone()).map(|(h, _)| (h, ())).unwrap();
        let number = (*from, header.receiver.get(), header.packet_number.get());
        assert!(seen.insert(number), "a number is sealed twice: {number:x?}");
    }
    seen.len()
}

/// Rule S-4: keys go after a minute without use; counter and window stay, so that no number is
/// sealed twice and nothing is opened twice, however often a session rests.
#[test]
fn a_session_at_rest_goes_on_where_it_stopped() {
    let mut net = Net::of(&["a", "b"]);
    let mut opened = Vec::new();
    for round in 0..4 {
        net.send(0, 1, &message(&[b'a', round]));
        net.settle();
        net.send(1, 0, &message(&[b'b', round]));
        net.settle();
        assert_eq!(net.ends.iter().map(warmth).collect::<Vec<_>>(), [(1, 0); 2]);
        opened.push((net.received(0).len(), net.received(1).len()));
        net.run_for(SECOND * 59);
        assert_eq!(warmth(&net.ends[0]), (1, 0), "a minute is not over");
        net.run_for(SECOND * 2);
        assert_eq!(net.ends.iter().map(warmth).collect::<Vec<_>>(), [(0, 1); 2]);
        net.ends.iter().for_each(assert_sorted);
        // Everything that was ever sent arrives once more.
        let sealed = net.log.iter().filter(|(_, bytes)| bytes[0] == DATA);
        let sealed: Vec<_> = sealed.cloned().collect();
        for (from, mut bytes) in sealed {
            let to = 1 - from;
            let path = address(from as u8);
            assert!(net.ends[to].receive(net.now, path, &mut bytes).is_none());
        }
        assert_eq!(net.ends.iter().map(warmth).collect::<Vec<_>>(), [(0, 1); 2], "asleep still");
    }
    assert_eq!(opened, [(1, 1), (2, 2), (3, 3), (4, 4)]);
    assert!(assert_numbers_are_used_once(&net) >= 8);
    for end in &net.ends {
        let stats = end.stats();
        assert_eq!((stats.rehydrated, stats.confirmed), (3, 1));
        assert_eq!(stats.dropped.keys().collect::<Vec<_>>(), [&"replayed"]);
    }
}

/// What was late when the session fell asleep is opened once, and wakes it.
#[test]
fn a_late_datagram_wakes_a_session() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"first"));
    net.settle();
    let carried = net.log.len();
    net.fault = Box::new(|_, _| false);
    net.send(0, 1, &message(b"late"));
    net.send(0, 1, &message(b"later"));
    net.settle();
    net.fault = Box::new(|_, _| true);
    net.run_for(SECOND * 90);
    let late: Vec<_> = net.log[carried..].iter().rev().map(|(_, bytes)| bytes.clone()).collect();
    for bytes in &late {
        let path = address(0);
        assert!(net.ends[1].receive(net.now, path, &mut bytes.clone()).is_some());
        assert!(net.ends[1].receive(net.now, path, &mut bytes.clone()).is_none());
        assert_eq!(warmth(&net.ends[1]), (1, 0));
    }
    assert_eq!(late.len(), 2);
}

/// Whoever has no key cannot make us expand any for long: a forged datagram changes nothing.
#[test]
fn a_forged_datagram_wakes_nobody() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"hello"));
    net.settle();
    let (_, mut forged) =
        net.log.iter().rfind(|(from, b)| *from == 0 && b[0] == DATA).cloned().unwrap();
    net.run_for(SECOND * 61);
    // Another packet number: the tag does not fit.
    forged[9] ^= 1;
    assert!(net.ends[1].receive(net.now, address(0), &mut forged).is_none());
    let stats = net.ends[1].stats();
    assert_eq!((stats.dehydrated, stats.rehydrated, stats.dropped["forged"]), (1, 0, 1));
    net.run_for(SECOND * 540);
    assert_eq!(net.ends[1].stats().sessions, 0, "nor does it keep the session");
}

/// Rule S-16: a session at rest is asked like any other.
#[test]
fn a_revoked_peer_at_rest_is_neither_heard_nor_spoken_to() {
    let ca = ca("c");
    for looked in [false, true] {
        let (a, b) = (credentials(&ca, "c", "a"), credentials(&ca, "c", "b"));
        let serial = a.verified().standing.serial.to_string();
        let mut net = Net::with([links(a, "c", 1), links(b, "c", 2)].into_iter());
        net.send(0, 1, &message(b"hello"));
        net.settle();
        net.run_for(SECOND * 61);
        assert_eq!(warmth(&net.ends[1]), (0, 1));
        revoke(&net.ends[1], &list_of(&ca, 1, &[&serial]));
        if looked {
            net.ends[1].handle_trust(net.now);
            assert_eq!(net.ends[1].stats().sessions, 0);
        }
        net.send(0, 1, &message(b"revoked"));
        net.settle();
        let sealed = net.ends[1].stats().sealed;
        net.send(1, 0, &message(b"to the revoked"));
        net.run_for(SECOND * 30);
        assert_eq!(net.received(1), [message(b"hello")]);
        assert!(net.received(0).is_empty());
        let stats = net.ends[1].stats();
        assert_eq!(stats.fallen, [("revoked", 1)].into());
        assert_eq!((stats.sealed - sealed, stats.rehydrated, stats.sessions), (0, 0, 0));
    }
}

/// Rule S-22: agents of one shard share the room for keys.
#[test]
fn the_room_for_keys_is_shared() {
    let mut net = Net::of(&["a", "b", "c", "d"]);
    let keys = Arc::new(HotKeys::of(3));
    net.ends[..2].iter_mut().for_each(|end| end.share_keys(Arc::clone(&keys)));
    for (from, to) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        net.run_for(SECOND);
        net.send(from, to, &message(b"x"));
        net.settle();
    }
    // The one that needed a fourth place took it from itself.
    assert_eq!((warmth(&net.ends[0]), warmth(&net.ends[1])), ((2, 0), (1, 1)));
    net.ends.remove(0);
    net.run_for(Duration::ZERO);
    assert_eq!(warmth(&net.ends[0]), (1, 1));
    assert!(keys.has_room(), "whoever ends gives its places back");
}

/// Names of the hub's peers.
const PEERS: usize = 6;
const MOST_KEYS: usize = 3;
const MOST_SESSIONS: usize = 4;

/// One certificate each for all cases.
fn cast() -> &'static [Arc<Credentials>] {
    static CAST: OnceLock<Vec<Arc<Credentials>>> = OnceLock::new();
    CAST.get_or_init(|| {
        let ca = ca("c");
        (0..=PEERS).map(|n| credentials(&ca, "c", &format!("n{n}"))).collect()
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// The hub sends to a peer.
    Seal(usize),
    /// A peer sends to the hub, if it has a session.
    Open(usize),
    Idle(u64),
    /// These become the neighbours.
    Keep(Vec<usize>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..=PEERS).prop_map(Step::Seal),
        4 => (1..=PEERS).prop_map(Step::Open),
        2 => (1u64..90).prop_map(Step::Idle),
        1 => (500u64..620).prop_map(Step::Idle),
        1 => prop::collection::vec(1..=PEERS, 0..3).prop_map(Step::Keep),
    ]
}

/// What the table should look like: peers and when they were used last, the oldest first.
#[derive(Default)]
struct Model {
    now: u64,
    neighbours: Vec<usize>,
    kept: Vec<(usize, u64)>,
    hot: Vec<(usize, u64)>,
    cold: Vec<(usize, u64)>,
    evicted: u64,
    rehydrated: u64,
}

impl Model {
    fn has(&self, peer: usize) -> bool {
        [&self.kept, &self.hot, &self.cold].into_iter().flatten().any(|(one, _)| *one == peer)
    }

    fn use_one(&mut self, peer: usize) {
        let had = self.has(peer);
        let rested = self.cold.iter().any(|(one, _)| *one == peer);
        self.rehydrated += u64::from(rested);
        for list in [&mut self.kept, &mut self.hot, &mut self.cold] {
            list.retain(|(one, _)| *one != peer);
        }
        let kept = self.neighbours.contains(&peer);
        if kept { &mut self.kept } else { &mut self.hot }.push((peer, self.now));
        if !had || rested {
            while self.kept.len() + self.hot.len() > MOST_KEYS
                && self.hot.first().is_some_and(|(one, _)| *one != peer)
            {
                let oldest = self.hot.remove(0);
                self.cold.push(oldest);
            }
        }
        while !had && self.kept.len() + self.hot.len() + self.cold.len() > MOST_SESSIONS {
            let oldest = if self.cold.is_empty() { &mut self.hot } else { &mut self.cold };
            if oldest.first().is_none_or(|(one, _)| *one == peer) {
                break;
            }
            oldest.remove(0);
            self.evicted += 1;
        }
    }

    fn idle(&mut self, span: u64) {
        self.now += span;
        while self.hot.first().is_some_and(|(_, used)| self.now - used >= 60) {
            let oldest = self.hot.remove(0);
            self.cold.push(oldest);
        }
        while self.cold.first().is_some_and(|(_, used)| self.now - used >= 600) {
            self.cold.remove(0);
        }
    }

    fn keep(&mut self, neighbours: Vec<usize>) {
        let before = std::mem::replace(&mut self.neighbours, neighbours);
        for peer in before {
            if !self.neighbours.contains(&peer)
                && let Some(place) = self.kept.iter().position(|(one, _)| *one == peer)
            {
                let one = self.kept.remove(place);
                self.hot.push(one);
            }
        }
        for peer in &self.neighbours {
            if let Some(place) = self.hot.iter().position(|(one, _)| one == peer) {
                let one = self.hot.remove(place);
                self.kept.push(one);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Rule S-22: whatever is sent, heard, left alone or evicted: the table is what the model says, every
    /// payload arrives once, and no number is sealed twice.
    #[test]
    fn the_table_of_sessions_follows_its_model(steps in prop::collection::vec(step(), 1..40)) {
        let ends = cast().iter().enumerate();
        let mut net = Net::with(ends.map(|(n, own)| links(own.clone(), "c", n as u64 + 1)));
        net.ends[0].share_keys(Arc::new(HotKeys::of(MOST_KEYS)));
        net.ends[0].limit_sessions(MOST_SESSIONS);
        // The peers forget nothing, so that only the hub's table matters.
        let hub = net.id(0);
        net.ends[1..].iter_mut().for_each(|end| end.keep_warm([hub].into_iter()));
        let mut model = Model::default();
        let mut sent = vec![0; PEERS + 1];
        for (number, step) in steps.into_iter().enumerate() {
            let payload = message(&(number as u32).to_le_bytes());
            // Uses within a millisecond keep their order.
            net.run_for(Duration::from_millis(1));
            model.idle(0);
            match step {
                Step::Seal(peer) => {
                    // Handshakes with one peer are paced (rule S-18).
                    net.run_for(SECOND * 10);
                    model.idle(10);
                    net.send(0, peer, &payload);
                    net.settle();
                    model.use_one(peer);
                    sent[peer] += 1;
                }
                Step::Open(peer) if model.has(peer) => {
                    net.send(peer, 0, &payload);
                    net.settle();
                    model.use_one(peer);
                    sent[0] += 1;
                }
                Step::Open(_) => {}
                Step::Idle(span) => {
                    net.run_for(SECOND * span as u32);
                    model.idle(span);
                }
                Step::Keep(peers) => {
                    let ids: Vec<MemberId> = peers.iter().map(|peer| net.id(*peer)).collect();
                    net.ends[0].keep_warm(ids.into_iter());
                    model.keep(peers);
                }
            }
            assert_sorted(&net.ends[0]);
            let stats = net.ends[0].stats();
            let hot = model.kept.len() + model.hot.len();
            prop_assert_eq!((stats.hot, stats.dehydrated), (hot as u64, model.cold.len() as u64));
            prop_assert_eq!((stats.evicted, stats.rehydrated), (model.evicted, model.rehydrated));
            for peer in 1..=PEERS {
                let order = net.ends[0].members.get(&net.id(peer)).cloned().unwrap_or_default();
                let list = order.first().and_then(|index| net.ends[0].warmth.list_of(*index));
                let lists = [(&model.kept, List::Kept), (&model.hot, List::Hot), (&model.cold, List::Cold)];
                let mut found = lists.into_iter().filter(|(l, _)| l.iter().any(|(p, _)| *p == peer));
                prop_assert_eq!(list, found.next().map(|(_, list)| list), "peer {}", peer);
            }
        }
        for (end, sent) in sent.into_iter().enumerate() {
            let received = net.received(end);
            let distinct: HashSet<_> = received.iter().collect();
            prop_assert_eq!((received.len(), distinct.len()), (sent, sent), "end {}", end);
        }
        assert_numbers_are_used_once(&net);
    }
}
