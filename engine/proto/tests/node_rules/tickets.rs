//! Tickets: who may have the whole state from whom, and where a joiner goes with one.

use super::*;
use mesh_gossip_proto::MemberId;
use zerocopy::IntoBytes;

const ASK: TicketPull = TicketPull { pointed: 0, reserved: [0; 3] };

/// A ticket that names these members.
fn naming(others: &[&str]) -> Vec<u8> {
    let count = others.len() as u8;
    let mut body = TicketHeader { granted: 0, count, reserved: [0; 2] }.as_bytes().to_vec();
    for other in others {
        let SocketAddr::V4(v4) = address(other) else { unreachable!("stage addresses are IPv4") };
        let address = v4.ip().to_ipv6_mapped().octets();
        let peer = TicketPeer { id: id(other).0, address, port: v4.port().into() };
        body.extend_from_slice(peer.as_bytes());
    }
    body
}

/// Whom a node asked for a ticket, and whether it was sent there by another.
fn asked(node: &mut Node, now: Instant) -> Vec<(Destination, u8)> {
    let mut asked = Vec::new();
    for (transmit, bytes) in drain(node, now) {
        for message in Messages::new(&bytes) {
            if let Ok(Message::TicketPull(pull)) = message {
                asked.push((transmit.to, pull.pointed));
            }
        }
    }
    asked
}

/// A node that has just met its seed `s`, and asked it.
fn joiner() -> Node {
    let mut node = node("a");
    node.handle_command(at(0), Command::Join(vec![address("s")])).unwrap();
    node.handle_peer_proven(at(1), id("s"), address("s"), true);
    assert_eq!(asked(&mut node, at(1)), [], "there is no session yet");
    tell_body(&mut node, at(1), "s", &Nack { sequence: 0.into() });
    assert_eq!(asked(&mut node, at(1)), [(Destination::Member(id("s")), 0)]);
    assert_eq!(node.poll_stream(), None, "nobody streams unasked");
    node
}

fn run(node: &mut Node, from: u64, to: u64) -> Vec<(Destination, u8)> {
    let mut all = Vec::new();
    while let Some((due, _)) = node.poll_timeout().filter(|(due, _)| *due < at(to)) {
        let due = due.max(at(from));
        node.handle_timeout(due);
        all.extend(asked(node, due));
    }
    all
}

/// Rule J-5: a joiner goes where its ticket points; whoever is silent is asked four times, and in
/// the end it comes back to the seed.
#[test]
fn a_joiner_follows_its_ticket_and_comes_back() {
    let mut node = joiner();
    tell(&mut node, at(2), "s", kind::TICKET, &naming(&["b", "c"]));
    let mut all = asked(&mut node, at(2));
    all.extend(run(&mut node, 2, 2_700));
    let to = |other: &str, pointed| (Destination::Member(id(other)), pointed);
    let expected = [[to("b", 1); 4].as_slice(), &[to("c", 1); 4], &[to("s", 0)]].concat();
    assert_eq!(all, expected);
    tell_body(&mut node, at(2_700), "b", &granted());
    assert_eq!(node.poll_stream(), None, "nobody asks it any more");
    tell_body(&mut node, at(2_700), "s", &granted());
    assert_eq!(node.poll_stream().map(|request| request.peer), Some(id("s")));
}

/// Rule J-5: a ticket is no news of members, and one that nobody asked for points nowhere.
#[test]
fn a_ticket_makes_nobody_a_member() {
    let mut node = joiner();
    tell(&mut node, at(2), "z", kind::TICKET, &naming(&["b"]));
    assert_eq!(asked(&mut node, at(2)), [], "it asked somebody else");
    tell(&mut node, at(2), "s", kind::TICKET, &naming(&["b", "a", "s", "c", "d", "e"]));
    assert_eq!(asked(&mut node, at(2)), [(Destination::Member(id("b")), 1)]);
    assert!(["b", "c", "d", "e"].iter().all(|other| node.member(id(other)).is_none()));
}

/// Rule J-5: tickets that lead nowhere hold nobody up; another member is asked, and the liar left alone.
#[test]
fn tickets_that_lead_nowhere_are_given_up() {
    let mut node = joiner();
    let mut last = 0;
    let mut asks = 0;
    while last < 10_500 {
        tell(&mut node, at(last), "s", kind::TICKET, &naming(&[]));
        let next = run(&mut node, last, last + 310);
        asks += next.len();
        last += 310;
    }
    assert!((20..40).contains(&asks), "{asks} asks in ten seconds");
    tell_body(&mut node, at(last), "s", &Nack { sequence: 0.into() });
    assert_eq!(asked(&mut node, at(last)), [], "it has misled us");
    tell_body(&mut node, at(last), "z", &Nack { sequence: 0.into() });
    assert_eq!(asked(&mut node, at(last)), [(Destination::Member(id("z")), 0)]);
}

/// Rule J-1: records that were fetched alone are no state.
#[test]
fn fetched_records_complete_no_join() {
    let mut node = joiner();
    node.handle_stream_closed(id("s"), Extent::Part, true);
    assert!(!node.is_joined());
    tell_body(&mut node, at(2), "s", &granted());
    assert_eq!(
        node.poll_stream().map(|wish| (wish.peer, wish.extent())),
        Some((id("s"), Extent::Whole))
    );
    for complete in [false, true] {
        node.handle_stream_closed(id("s"), Extent::Part, complete);
        assert!(!node.is_joined(), "the state is on its way still");
    }
    node.handle_stream_closed(id("b"), Extent::Whole, false);
    tell_body(&mut node, at(3), "b", &Nack { sequence: 0.into() });
    assert_eq!(asked(&mut node, at(3)), [], "what failed was another's");
    node.handle_stream_closed(id("s"), Extent::Whole, true);
    assert!(node.is_joined());
}

/// Speaks to a joiner, and grants it what it asks for; says whether it asked, and of whom it then
/// wishes for the state.
fn meets(node: &mut Node, now: u64, other: &str) -> (bool, Option<MemberId>) {
    tell_body(node, at(now), other, &Nack { sequence: 0.into() });
    let asks = asked(node, at(now)) == [(Destination::Member(id(other)), 0)];
    tell_body(node, at(now), other, &granted());
    (asks, node.poll_stream().map(|wish| wish.peer))
}

/// A joiner to which `s` has granted its state, which is on its way.
fn taker() -> Node {
    let mut node = joiner();
    tell_body(&mut node, at(2), "s", &granted());
    assert_eq!(node.poll_stream().map(|wish| wish.peer), Some(id("s")));
    node
}

/// Rule J-1: a state that is late is waited for longer each time, a member whose state is on its way
/// is not asked for it again, and whichever comes first counts.
#[test]
fn a_state_that_is_late_is_no_reason_to_ask_for_many() {
    let mut node = taker();
    assert_eq!(meets(&mut node, 5_001, "b"), (false, None), "it is waited for");
    assert_eq!(meets(&mut node, 5_002, "s"), (false, None), "its state is on its way");
    assert_eq!(meets(&mut node, 5_003, "b"), (true, Some(id("b"))));
    assert_eq!(meets(&mut node, 15_002, "c"), (false, None), "twice as long");
    assert_eq!(meets(&mut node, 15_003, "c"), (true, Some(id("c"))));
    assert_eq!(meets(&mut node, 35_002, "d"), (false, None), "four times as long");
    assert_eq!(meets(&mut node, 35_003, "d"), (true, Some(id("d"))));
    assert_eq!(meets(&mut node, 55_002, "e"), (false, None), "and no longer than that");
    tell_body(&mut node, at(55_003), "e", &Nack { sequence: 0.into() });
    assert_eq!(asked(&mut node, at(55_003)), [(Destination::Member(id("e")), 0)]);
    assert!(!node.is_joined());
    node.handle_stream_closed(id("b"), Extent::Whole, true);
    assert!(node.is_joined(), "a late state counts while another is asked for");
    tell_body(&mut node, at(55_004), "e", &granted());
    assert_eq!(node.poll_stream(), None, "nobody needs another");
}

/// Rule J-1: one that fails after all changes nothing, and then its member may be asked again; so may
/// one of whose end nothing is told for longer than an exchange can last.
#[test]
fn whoever_failed_may_be_asked_again() {
    let mut node = taker();
    assert_eq!(meets(&mut node, 5_002, "b"), (true, Some(id("b"))));
    node.handle_stream_closed(id("s"), Extent::Whole, false);
    assert_eq!(meets(&mut node, 5_003, "c"), (false, None), "another is waited for");
    node.handle_stream_closed(id("b"), Extent::Whole, false);
    assert_eq!(meets(&mut node, 5_004, "s"), (true, Some(id("s"))));
    assert_eq!(meets(&mut node, 155_003, "s"), (false, None), "its end may still be told");
    assert_eq!(meets(&mut node, 155_004, "s"), (true, Some(id("s"))));
}

/// Rule J-1: a wish for which there is no room is none.
#[test]
fn a_wish_without_room_is_not_waited_for() {
    let mut node = joiner();
    for number in 0..16 {
        let member = RecordByStream { id: id("x").0 };
        tell_body(&mut node, at(2), &format!("m{number}"), &member);
    }
    tell_body(&mut node, at(2), "s", &granted());
    while let Some(wish) = node.poll_stream() {
        assert_eq!(wish.extent(), Extent::Part);
    }
    assert_eq!(meets(&mut node, 3, "s"), (true, Some(id("s"))), "not after five seconds");
}

/// Rule J-6: what a state brings that is waited for no longer is no news either.
#[test]
fn a_late_state_is_no_news() {
    let mut node = taker();
    assert_eq!(meets(&mut node, 5_002, "b"), (true, Some(id("b"))));
    let (given, new) = (record("d", 0, "r"), record("e", 0, "r"));
    node.handle_sync(at(5_003), id("s"), &entry(State::Alive, &given));
    tell(&mut node, at(5_003), "c", kind::RECORD, new.envelope());
    node.handle_stream_closed(id("b"), Extent::Whole, true);
    assert!(node.member(id("d")).is_some() && node.member(id("e")).is_some());
    let mut sent = drain(&mut node, at(5_003));
    while let Some((due, _)) = node.poll_timeout().filter(|(due, _)| *due < at(8_000)) {
        node.handle_timeout(due);
        sent.extend(drain(&mut node, due));
    }
    let told = |other: &str| {
        sent.iter().any(|(_, bytes)| {
            Messages::new(bytes).any(|message| {
                matches!(message, Ok(Message::Update(update)) if update.id == id(other).0)
            })
        })
    };
    assert!(told("e"), "what comes from others is");
    assert!(!told("d"));
}

/// Rules J-4 and J-5: a member that gives no ticket may be too busy for it; who goes on giving none
/// knows no tickets, and is asked for its state.
#[test]
fn whoever_knows_no_tickets_is_asked_for_its_state() {
    let mut node = joiner();
    let mut took = None;
    for now in (500..20_000).step_by(500) {
        tell_body(&mut node, at(now), "s", &Nack { sequence: 0.into() });
        run(&mut node, now, now + 500);
        took = took.or_else(|| node.poll_stream().map(|request| (now, request.peer)));
    }
    assert_eq!(took.map(|(_, peer)| peer), Some(id("s")));
    assert!(took.is_some_and(|(now, _)| (9_500..12_500).contains(&now)), "{took:?}");
}

/// Rules J-4 and J-5: a ticket ends the silence, and so does a state that comes to nothing; whoever is
/// busy after that is given its time again.
#[test]
fn silence_counts_from_the_last_ticket_or_state() {
    for heard in [granted().as_bytes().to_vec(), naming(&["b"])] {
        let mut node = joiner();
        let mut took = Vec::new();
        for now in (500..15_500).step_by(500) {
            tell_body(&mut node, at(now), "s", &Nack { sequence: 0.into() });
            if now == 6_000 {
                tell(&mut node, at(now), "s", kind::TICKET, &heard);
            }
            run(&mut node, now, now + 500);
            while let Some(request) = node.poll_stream() {
                node.handle_stream_closed(request.peer, Extent::Whole, false);
                took.push(now);
            }
        }
        assert!(took.iter().all(|now| *now == 6_000), "{took:?}");
    }
}

/// Rules J-1 and J-5: while one is silent another may have the state.
#[test]
fn whoever_is_silent_holds_nobody_up() {
    let mut node = joiner();
    assert_eq!(run(&mut node, 2, 1_300).len(), 3);
    tell_body(&mut node, at(1_300), "z", &Nack { sequence: 0.into() });
    assert_eq!(asked(&mut node, at(1_300)), [(Destination::Member(id("z")), 0)]);
    tell_body(&mut node, at(1_301), "z", &granted());
    assert_eq!(node.poll_stream().map(|request| request.peer), Some(id("z")));
}

/// Rules J-3 and J-4: in a rush a few are granted the state, the others learn where it will be,
/// and everything is counted; who asks too often is not answered.
#[test]
fn a_rush_is_granted_a_few_states() {
    let mut node = node("s");
    let names: Vec<String> = (0..100).map(|number| format!("j{number}")).collect();
    for name in &names {
        tell_body(&mut node, at(10), name, &ASK);
    }
    run(&mut node, 10, 200);
    let stats = node.stats();
    assert_eq!((stats.tickets, stats.states_granted, stats.states_elsewhere), (100, 8, 92));
    for _ in 0..40 {
        tell_body(&mut node, at(5_000), "j0", &ASK);
    }
    assert_eq!(node.stats().rejected.get("ticket-budget"), Some(&24));
}

/// Rule J-6: what a joiner is given is no news to others, and hot news waits for the state.
#[test]
fn a_joiner_neither_pulls_nor_tells_what_its_state_brings() {
    let mut node = joiner();
    let news = record("b", 0, "r");
    let content = news.record();
    let update = mesh_gossip_proto::wire::message::Update::new(
        content.id,
        content.incarnation,
        State::Alive,
        news.hash(),
    );
    let pulls = node.stats().pulls;
    tell_body(&mut node, at(2), "s", &update);
    assert_eq!(node.stats().pulls, pulls, "the state will bring it");
    tell_body(&mut node, at(3), "s", &granted());
    node.handle_sync(at(4), id("s"), &entry(State::Alive, &news));
    node.handle_stream_closed(id("s"), Extent::Whole, true);
    assert!(node.is_joined() && node.member(id("b")).is_some());
    let told = |bytes: &[u8]| {
        Messages::new(bytes)
            .any(|message| matches!(message, Ok(Message::Update(update)) if update.id == id("b").0))
    };
    let mut sent = drain(&mut node, at(4));
    while let Some((due, _)) = node.poll_timeout().filter(|(due, _)| *due < at(3_000)) {
        node.handle_timeout(due);
        sent.extend(drain(&mut node, due));
    }
    assert!(!sent.iter().any(|(_, bytes)| told(bytes)));
}
