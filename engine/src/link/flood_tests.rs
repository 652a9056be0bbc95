//! Floods of handshakes against one responder, with real TLS and virtual time (rules S-6 and S-7).

use std::collections::HashMap;

use super::admission::{Claim, FEW, MOST_HALF_OPEN, OPEN_TO_ALL, Verdict};
use super::session::PROOF_KEYS_MADE;
use super::tests::{Net, address, ca, credentials, links, message};
use super::*;
use crate::tls::authority::Intermediates;
use mesh_gossip_proto::wire::header::{FLAG_COOKIE, FLAG_PROOF, HandshakeHeader};

const HEADER: usize = size_of::<HandshakeHeader>();

/// One of very many addresses.
fn source(n: u32) -> SocketAddr {
    let [_, a, b, c] = n.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 17_421))
}

fn header(datagram: &[u8]) -> HandshakeHeader {
    zerocopy::FromBytes::read_from_bytes(&datagram[..HEADER]).unwrap()
}

/// The first INIT of somebody that the mesh does not know.
fn hello() -> Vec<u8> {
    let mut stranger = links(credentials(&ca("c"), "c", "x"), "c", 7);
    let transmit = Transmit { to: Destination::Seed, address: address(1) };
    let now = Instant::ORIGIN + Duration::from_secs(10);
    stranger.send(now, &transmit, b"x", &mut Vec::new());
    stranger.poll_transmit().unwrap().1
}

/// The same as another attempt.
fn attempt(hello: &[u8], n: u64) -> Vec<u8> {
    let mut init = hello.to_vec();
    init[24..32].copy_from_slice(&n.to_le_bytes());
    init
}

/// The same showing the cookie of `retry`.
fn with_cookie(init: &[u8], retry: &[u8]) -> Vec<u8> {
    let mut init = init.to_vec();
    init[2] = FLAG_COOKIE;
    init[32..64].copy_from_slice(&header(retry).token);
    init
}

/// What `end` sends because it received `init`.
fn ask(end: &mut Links, now: Instant, from: SocketAddr, init: &[u8]) -> Vec<Vec<u8>> {
    assert!(end.receive(now, from, &mut init.to_vec()).is_none());
    std::iter::from_fn(|| end.poll_transmit()).map(|(_, bytes)| bytes).collect()
}

/// The kinds of datagrams, each run of one kind once.
fn kinds(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut kinds: Vec<u8> = datagrams.iter().map(|datagram| datagram[0]).collect();
    kinds.dedup();
    kinds
}

/// `count` strangers ask at once.
fn flood(end: &mut Links, now: Instant, hello: &[u8], count: u32) {
    for n in 0..count {
        ask(end, now, source(n), &attempt(hello, n.into()));
    }
}

/// Rule S-7: of many strangers the first are answered, the next are sent cookies and forgotten,
/// the rest is silence: state, work and bytes are bounded.
#[test]
fn a_flood_of_strangers_is_sent_cookies_and_forgotten() {
    let mut net = Net::of(&["a"]);
    let (now, hello) = (net.now, hello());
    let before = net.ends[0].stats().bytes_out;
    flood(&mut net.ends[0], now, &hello, 50_000);
    let stats = net.ends[0].stats();
    assert_eq!((stats.half_open, stats.retries_out), (142, 1_000));
    assert_eq!((stats.dropped["cookie-asked"], stats.dropped["retry-budget"]), (1_000, 48_858));
    assert_eq!(net.ends[0].slots.len(), 142, "nothing else is kept");
    assert!(stats.bytes_out - before < 50_000 * 1_200 / 50);
    net.run_for(Duration::from_secs(4));
    assert_eq!(net.ends[0].stats().half_open, 0, "and what was kept ends by itself");
}

/// Rule S-7: in the middle of a flood somebody who receives where it sends from gets in, at the
/// price of one round trip; the server remembers nothing of it in between.
#[test]
fn a_cookie_opens_the_door_in_a_flood() {
    let mut net = Net::of(&["a", "b"]);
    let (now, hello) = (net.now, hello());
    flood(&mut net.ends[1], now, &hello, 1_100);
    let places = net.ends[1].slots.len();
    net.send(0, 1, &message(b"let me in"));
    assert!(net.carry_one(), "the first INIT");
    assert_eq!(net.ends[1].slots.len(), places, "a RETRY leaves nothing behind");
    net.settle();
    assert_eq!(net.received(1), [message(b"let me in")]);
    let (client, server) = (net.ends[0].stats(), net.ends[1].stats());
    assert_eq!((client.retries_in, server.cookies, server.confirmed), (1, 1, 1));
    assert!(server.worthless_tokens.is_empty());
}

/// Rule S-7: a RETRY is obeyed once, and only if it knows the attempt and comes from the path.
#[test]
fn a_retry_is_answered_once() {
    let mut net = Net::of(&["a"]);
    let transmit = Transmit { to: Destination::Seed, address: address(1) };
    net.ends[0].send(net.now, &transmit, b"x", &mut Vec::new());
    let (_, init) = net.ends[0].poll_transmit().unwrap();
    let retry = HandshakeHeader::retry(&header(&init), [9; 32]).as_bytes().to_vec();
    let now = net.now;
    let mut other_attempt = retry.clone();
    other_attempt[24] ^= 1;
    let mut no_cookie = retry.clone();
    no_cookie[2] = 0;
    no_cookie[32..].fill(0);
    for (from, bytes) in [(1, &other_attempt), (2, &retry), (1, &no_cookie)] {
        assert!(ask(&mut net.ends[0], now, address(from), bytes).is_empty());
    }
    let again = ask(&mut net.ends[0], now, address(1), &retry);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0], with_cookie(&init, &retry), "all else is as it was");
    assert!(ask(&mut net.ends[0], now, address(1), &retry).is_empty());
    let stats = net.ends[0].stats();
    assert_eq!((stats.retries_in, stats.dropped["retry"]), (1, 4));
}

/// Rule S-10: whoever stays silent gets three INITs, and whoever asked for a cookie three more.
#[test]
fn an_unverified_path_gets_three_inits_and_three_after_a_retry() {
    let sent = |retried: bool| {
        let mut net = Net::of(&["a"]);
        let transmit = Transmit { to: Destination::Seed, address: address(1) };
        net.ends[0].send(net.now, &transmit, b"x", &mut Vec::new());
        let (_, init) = net.ends[0].poll_transmit().unwrap();
        let mut sent = vec![init.clone()];
        if retried {
            let retry = HandshakeHeader::retry(&header(&init), [9; 32]);
            sent.extend(ask(&mut net.ends[0], net.now, address(1), retry.as_bytes()));
        }
        while let Some(due) = net.ends[0].poll_timeout() {
            net.ends[0].handle_timeout(due);
            sent.extend(std::iter::from_fn(|| net.ends[0].poll_transmit()).map(|(_, bytes)| bytes));
        }
        assert_eq!(net.ends[0].stats().handshake_failures["timeout"], 1);
        (sent.len(), sent.iter().filter(|init| init[2] == FLAG_COOKIE).count())
    };
    assert_eq!((sent(false), sent(true)), ((3, 0), (4, 3)));
}

/// Rule S-7: what is lost on the way, RETRY and cookie too, is repeated.
#[test]
fn a_lossy_path_makes_sessions_in_a_flood() {
    let hello = hello();
    let (mut made, mut cookies, mut lost) = (0, 0, 0);
    for seed in 0..12 {
        let mut net = Net::of(&["a", "b"]);
        let mut rng = fastrand::Rng::with_seed(seed);
        let dropped = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = std::rc::Rc::clone(&dropped);
        net.fault = Box::new(move |_, _| {
            let lost = rng.f64() < 0.2;
            count.set(count.get() + usize::from(lost));
            !lost
        });
        for _ in 0..60 {
            let now = net.now;
            flood(&mut net.ends[1], now, &hello, 300);
            net.send(0, 1, &message(b"x"));
            net.run_for(Duration::from_millis(100));
        }
        let stats = net.ends[1].stats();
        made += usize::from(stats.sessions > 0);
        cookies += stats.cookies;
        lost += dropped.get();
    }
    assert!(lost > 12, "the fault never fired");
    assert!(cookies >= 10, "{cookies} cookies");
    assert!(made >= 11, "{made} of 12 at 20 % loss");
}

/// Rule S-7: the second INIT of a source gets a RETRY, not silence; with the cookie it is served
/// beside the first, and the fifth takes the place of the oldest.
#[test]
fn a_second_handshake_of_a_source_is_asked_for_a_cookie() {
    let mut net = Net::of(&["a"]);
    let (now, hello) = (net.now, hello());
    let end = &mut net.ends[0];
    let from = source(1);
    assert_eq!(kinds(&ask(end, now, from, &attempt(&hello, 0))), [RESP]);
    assert_eq!(kinds(&ask(end, now, from, &attempt(&hello, 0))), [RESP], "a repetition is none");
    for n in 1..20 {
        let init = attempt(&hello, n);
        let answer = ask(end, now, from, &init);
        assert_eq!(kinds(&answer), [RETRY]);
        assert_eq!(answer[0].len(), HEADER);
        assert_eq!(kinds(&ask(end, now, from, &with_cookie(&init, &answer[0]))), [RESP]);
        assert_eq!(end.stats().half_open, (n + 1).min(4));
    }
    let stats = end.stats();
    assert_eq!((stats.cookies, stats.handshake_failures["displaced"]), (19, 16));
}

/// Rule S-7: a cookie counts for the source, the attempt and the index that asked; any other one
/// makes nobody more than a stranger.
#[test]
fn a_cookie_of_somebody_else_is_worth_nothing() {
    let mut net = Net::of(&["a"]);
    let (now, hello) = (net.now, hello());
    let end = &mut net.ends[0];
    flood(end, now, &hello, 400);
    let init = attempt(&hello, 1_000);
    let retry = ask(end, now, source(1_000), &init).remove(0);
    let good = with_cookie(&init, &retry);
    let mut other_attempt = good.clone();
    other_attempt[24] ^= 1;
    let mut other_index = good.clone();
    other_index[8] ^= 1;
    let stale = now + Duration::from_secs(11);
    let cases = [
        (now, source(1_001), &good),
        (now, source(1_000), &other_attempt),
        (now, source(1_000), &other_index),
    ];
    for (when, from, init) in cases {
        assert_eq!(kinds(&ask(end, when, from, init)), [RETRY]);
    }
    assert_eq!(kinds(&ask(end, now, source(1_000), &good)), [RESP]);
    flood(end, stale, &hello, 400);
    assert_eq!(kinds(&ask(end, stale, source(1_002), &good)), [RETRY], "too old");
    assert_eq!(end.stats().worthless_tokens["cookie"], 4);
}

/// Rule S-7: a handshake that succeeds a live session proves it, and a flood does not delay it.
#[test]
fn successors_prove_the_session_they_succeed() {
    let ca = ca("c");
    let ends =
        [links(credentials(&ca, "c", "a"), "c", 1), links(credentials(&ca, "c", "b"), "c", 2)];
    let mut net = Net::with(ends.into_iter());
    net.send(0, 1, &message(b"one"));
    net.settle();
    let (now, hello) = (net.now, hello());
    flood(&mut net.ends[1], now, &hello, 5_000);
    let renewed = credentials(&ca, "c", "a");
    let renewed = MeshAuthority::new(renewed, Arc::new(Intermediates::default()));
    net.ends[0].set_authority(now, Arc::new(renewed));
    net.run_for(Duration::from_millis(100));
    let (client, server) = (net.ends[0].stats(), net.ends[1].stats());
    assert_eq!((client.rekeys, client.retries_in, client.confirmed), (1, 0, 2));
    assert_eq!((server.proofs, server.cookies, server.confirmed), (1, 0, 2));
    assert!(server.worthless_tokens.is_empty());
}

/// Rule S-7: a proof that was changed, moved to another path, or whose session is unknown makes
/// its bearer a stranger, and nothing more.
#[test]
fn a_proof_that_does_not_hold_is_worth_nothing() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"one"));
    net.settle();
    let now = net.now;
    let peer = net.id(1);
    assert!(net.ends[0].dial(now, Target::Member(peer), address(1)));
    let (_, init) = net.ends[0].poll_transmit().unwrap();
    assert_eq!((init[2], header(&init).receiver.get() != 0), (FLAG_PROOF, true));
    let changed = |at: usize| {
        let mut changed = init.clone();
        changed[at] ^= 1;
        changed
    };
    let end = &mut net.ends[1];
    flood(end, now, &hello(), 400);
    let me = address(0);
    // The session, the attempt, the fragment, the proof; and another path.
    for init in [changed(4), changed(24), changed(80), changed(40)] {
        assert_eq!(kinds(&ask(end, now, me, &init)), [RETRY]);
    }
    let made = PROOF_KEYS_MADE.get();
    assert_eq!(kinds(&ask(end, now, source(77), &init)), [RETRY]);
    assert_eq!(PROOF_KEYS_MADE.get(), made, "a wrong path costs no key");
    assert_eq!(end.stats().worthless_tokens["proof"], 5);
    let mut nameless = init.clone();
    nameless[4..8].fill(0);
    assert!(ask(end, now, me, &nameless).is_empty());
    assert_eq!(end.stats().dropped["token"], 1);
    assert_eq!(kinds(&ask(end, now, me, &init)), [RESP]);
    assert_eq!((end.stats().proofs, end.stats().sessions), (1, 1));
}

/// The same INIT as another attempt, with a proof that holds.
fn proven(end: &Links, peer: MemberId, init: &[u8], n: u64) -> Vec<u8> {
    let mut init = attempt(init, n);
    let mut header = header(&init);
    let fragment = init[HEADER..][..usize::from(header.fragment.get())].to_vec();
    end.ticket_for(Target::Member(peer), address(1)).stamp(&mut header, &fragment);
    init[..HEADER].copy_from_slice(header.as_bytes());
    init
}

/// Rule S-7: a member that begins handshakes without end uses up what is there for it and for
/// strangers; the members' part of the budget is there for the others.
#[test]
fn one_member_leaves_the_others_their_part_of_the_budget() {
    let mut net = Net::of(&["a", "b", "c"]);
    net.send(0, 1, &message(b"one"));
    net.send(2, 1, &message(b"one"));
    net.settle();
    let (now, peer) = (net.now + Duration::from_secs(1), net.id(1));
    let mut dial = |end: usize| {
        assert!(net.ends[end].dial(now, Target::Member(peer), address(1)));
        net.ends[end].poll_transmit().unwrap().1
    };
    let (greedy, modest) = (dial(0), dial(2));
    let (clients, servers) = net.ends.split_at_mut(1);
    let end = &mut servers[0];
    let mut answered = 0;
    for n in 0..900 {
        let mut init = proven(&clients[0], peer, &greedy, n);
        let mut answer = ask(end, now, address(0), &init);
        if kinds(&answer) == [RETRY] {
            init[4..8].fill(0);
            answer = ask(end, now, address(0), &with_cookie(&init, &answer[0]));
        }
        answered += u32::from(kinds(&answer) == [RESP]);
    }
    assert_eq!(end.stats().worthless_tokens["member-pace"], 896, "four, two with a cookie too");
    assert!((200..250).contains(&answered), "{answered} of 285 that are saved up");
    assert_eq!(kinds(&ask(end, now, address(2), &modest)), [RESP], "another member's turn");
    // With time a member is one again.
    let later = now + Duration::from_secs(5);
    let proofs = end.stats().proofs;
    ask(end, later, address(0), &proven(&clients[0], peer, &greedy, 5_000));
    assert_eq!(end.stats().proofs, proofs + 1);
}

/// Rule S-7: clients that do show cookies, from very many networks, are bounded by places and by
/// processor time; current members still come in.
#[test]
fn half_open_handshakes_and_their_cost_are_bounded() {
    let mut net = Net::of(&["a", "b"]);
    net.send(0, 1, &message(b"one"));
    net.settle();
    let (hello, peer) = (hello(), net.id(1));
    let (begun, mut spent) = (net.now, net.ends[1].stats().answering_us);
    let mut answered = 0;
    for step in 0..50u32 {
        for n in 0..100 {
            let (from, init) = (source(step * 100 + n), attempt(&hello, n.into()));
            let now = net.now;
            let end = &mut net.ends[1];
            let mut answer = ask(end, now, from, &init);
            if kinds(&answer) == [RETRY] {
                answer = ask(end, now, from, &with_cookie(&init, &answer[0]));
            }
            answered += u64::from(kinds(&answer) == [RESP]);
            assert!(end.stats().half_open <= MOST_HALF_OPEN);
        }
        net.now += Duration::from_millis(100);
        let now = net.now;
        net.ends[1].handle_timeout(now);
    }
    let stats = net.ends[1].stats();
    let elapsed = net.now.since(begun).as_micros() as u64;
    spent = stats.answering_us - spent;
    assert!(spent <= 102_000 + elapsed / 10, "{spent} µs in {elapsed} µs");
    assert!(answered >= 1_000, "and who shows a cookie is served as far as that goes: {answered}");
    assert!(stats.dropped["budget"] > 1_000, "{stats:?}");
    assert!(stats.half_open_peak > FEW);
    // What is left is for members.
    let now = net.now;
    assert!(net.ends[0].dial(now, Target::Member(peer), address(1)));
    net.send(0, 1, &message(b"two"));
    net.settle();
    assert_eq!((net.ends[1].stats().proofs, net.ends[1].stats().confirmed), (1, 2));
}

/// Rule S-7: a cookie takes the place of somebody who has shown nothing, a network with many
/// ports takes no more than its share, and the last quarter of the places is for members.
#[test]
fn the_last_places_are_for_members() {
    let mut books = Admission::default();
    let mut now = Instant::ORIGIN + Duration::from_secs(10);
    let mut open = 0u64;
    let mut next = 0u32;
    // Places never end here; time passes only to refill the budget.
    let mut judge = |books: &mut Admission, from, claim, open: u64| {
        now += Duration::from_millis(5);
        let verdict = books.judge(now, from, claim, open);
        if let Verdict::Answer { .. } = verdict {
            next += 1;
            books.entered(from, claim, next);
        }
        (verdict, next)
    };
    let answer = Verdict::Answer { displaced: None };
    for n in 0..FEW as u32 {
        assert_eq!(judge(&mut books, source(n), Claim::Stranger, open).0, answer);
        open += 1;
    }
    assert_eq!(judge(&mut books, source(999), Claim::Stranger, open).0, Verdict::Retry);
    let one_network = |port| SocketAddr::from(([192, 0, 2, 1], port));
    for port in 0..128 {
        assert_eq!(judge(&mut books, one_network(port), Claim::Reachable, open).0, answer);
        open += 1;
    }
    let full = judge(&mut books, one_network(128), Claim::Reachable, open).0;
    assert_eq!(full, Verdict::Drop("source-full"));
    let mut others = 1_000;
    while open < OPEN_TO_ALL {
        others += 1;
        assert_eq!(judge(&mut books, source(others), Claim::Reachable, open).0, answer);
        open += 1;
    }
    // Every further one displaces the oldest stranger, and then there is none.
    for oldest in 0..FEW as u32 {
        others += 1;
        let verdict = judge(&mut books, source(others), Claim::Reachable, open).0;
        assert_eq!(verdict, Verdict::Answer { displaced: Some(oldest + 1) });
        books.left(source(oldest), Claim::Stranger, oldest + 1);
    }
    others += 1;
    let verdict = judge(&mut books, source(others), Claim::Reachable, open).0;
    assert_eq!(verdict, Verdict::Drop("half-open-full"));
    for claim in [Claim::Proven, Claim::Neighbour] {
        for _ in 0..128 {
            others += 1;
            assert_eq!(judge(&mut books, source(others), claim, open).0, answer);
            open += 1;
        }
    }
    assert_eq!(open, MOST_HALF_OPEN);
    let verdict = judge(&mut books, source(9_999), Claim::Proven, open).0;
    assert_eq!(verdict, Verdict::Drop("half-open-full"));
}

/// A hostile client's bag of datagrams, by which it makes others.
struct Hostile {
    rng: fastrand::Rng,
    bag: Vec<Vec<u8>>,
    strangers: Vec<Links>,
}

impl Hostile {
    fn seeded(seed: u64) -> Self {
        let foreign = ca("c");
        let stranger = |n: u64| links(credentials(&foreign, "c", "x"), "c", n);
        let strangers = (0..4).map(stranger).collect();
        Self { rng: fastrand::Rng::with_seed(seed), bag: vec![hello()], strangers }
    }

    /// Something to send from source `n`: fresh, repeated, cut, changed, glued or made up.
    fn next(&mut self, now: Instant, n: usize) -> Vec<u8> {
        let Self { rng, bag, strangers } = self;
        let mut bytes = bag[rng.usize(..bag.len())].clone();
        match rng.u32(..10) {
            0 | 1 => {
                let to = Transmit { to: Destination::Seed, address: address(1) };
                strangers[n].send(now, &to, b"x", &mut Vec::new());
                if let Some((_, fresh)) = strangers[n].poll_transmit() {
                    bytes = fresh;
                }
            }
            2 if bytes.len() >= HEADER => bytes = attempt(&bytes, rng.u64(..)),
            3 => bytes.truncate(rng.usize(..=bytes.len())),
            4 => {
                let at = rng.usize(..bytes.len().max(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.u32(0..8);
                }
            }
            5 => {
                let other = &bag[rng.usize(..bag.len())];
                if bytes.len() >= 64 && other.len() >= 64 {
                    bytes[32..64].copy_from_slice(&other[32..64]);
                    bytes[2] = other[2];
                }
            }
            6 => bytes = (0..rng.usize(0..1_400)).map(|_| rng.u8(..)).collect(),
            7 => bytes.resize(1_200, 0),
            8 => {
                bytes = DataHeader::new(rng.u32(..), rng.u64(..)).as_bytes().to_vec();
                bytes.resize(rng.usize(33..200), 1);
            }
            _ => {}
        }
        bytes
    }

    fn keep(&mut self, bytes: Vec<u8>) {
        if self.bag.len() < 400 {
            self.bag.push(bytes);
        } else {
            let at = self.rng.usize(1..self.bag.len());
            self.bag[at] = bytes;
        }
    }
}

/// Rules S-6 and S-7: whatever a source that is not authenticated sends, in whatever order, at no
/// moment has it been sent more than three times what it sent, RETRY and hints included.
#[test]
fn a_ledger_of_bytes_never_shows_amplification() {
    let mut seen = HashMap::<u8, u64>::new();
    for seed in 0..6 {
        let mut net = Net::of(&["a", "b"]);
        net.send(0, 1, &message(b"x"));
        net.settle();
        let mut hostile = Hostile::seeded(seed);
        let mut ledger = HashMap::<SocketAddr, (usize, usize)>::new();
        for round in 0..4_000 {
            let n = hostile.rng.usize(..4);
            let from = source(n as u32);
            let mut bytes = hostile.next(net.now, n);
            ledger.entry(from).or_default().0 += bytes.len();
            let kept = bytes.clone();
            let end = &mut net.ends[1];
            assert!(end.receive(net.now, from, &mut bytes).is_none());
            hostile.keep(kept);
            while let Some((to, answer)) = end.poll_transmit() {
                let books = ledger.entry(to).or_default();
                books.1 += answer.len();
                assert!(books.1 <= 3 * books.0, "seed {seed} round {round}: {to} {books:?}");
                *seen.entry(answer[0]).or_default() += 1;
                // The client goes on with it, or keeps it for later.
                if hostile.rng.bool() {
                    let stranger = &mut hostile.strangers[n];
                    stranger.receive(net.now, address(1), &mut answer.clone());
                }
                while let Some((_, next)) = hostile.strangers[n].poll_transmit() {
                    hostile.keep(next);
                }
                hostile.keep(answer);
            }
            if round % 16 == 0 {
                net.now += Duration::from_millis(hostile.rng.u64(..400));
                net.ends[1].handle_timeout(net.now);
                for stranger in &mut hostile.strangers {
                    stranger.handle_timeout(net.now);
                }
                // A responder has no timer that sends (rule S-6).
                assert!(net.ends[1].poll_transmit().is_none());
            }
        }
        let stats = net.ends[1].stats();
        assert_eq!(stats.confirmed, 1, "nobody got in");
        assert!(stats.cookies > 0, "seed {seed}: {stats:?}");
    }
    for kind in [RESP, RETRY, RESET_HINT] {
        assert!(seen.get(&kind).is_some_and(|count| *count > 20), "{kind}: {seen:?}");
    }
}
