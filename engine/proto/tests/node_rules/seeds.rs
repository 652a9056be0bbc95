//! Seeds: dialled while absent, known when they spoke, let be when they seem to be ourselves.

use super::*;

/// Rule J-2: an absent seed is dialled every interval, long after the join.
#[test]
fn absent_seeds_are_dialled_for_ever() {
    let mut node = node("a");
    node.handle_command(at(0), Command::Join(vec![address("s")])).unwrap();
    node.handle_peer_proven(at(1), id("s"), address("s"), true);
    tell_body(&mut node, at(1), "s", &Nack { sequence: 0.into() });
    tell_body(&mut node, at(1), "s", &granted());
    assert!(node.poll_stream().is_some());
    node.handle_stream_closed(id("s"), Extent::Whole, true);
    assert!(node.is_joined(), "the seed answered once, then vanished");
    drain(&mut node, at(1));
    let mut dialled = 0;
    while let Some((due, _)) = node.poll_timeout().filter(|(due, _)| *due < at(600_000)) {
        node.handle_timeout(due);
        let sent = drain(&mut node, due);
        dialled += sent.iter().filter(|(to, _)| to.to == Destination::Seed).count();
    }
    assert!((595..=605).contains(&dialled), "{dialled} dials in 600 intervals");
}

/// Rule J-2: a seed that we met without dialling it is known, and not greeted for ever.
#[test]
fn a_seed_that_spoke_first_is_known() {
    let mut node = acquainted(&["b"]);
    node.handle_command(at(10), Command::Join(vec![address("b")])).unwrap();
    drain(&mut node, at(10));
    tell_body(&mut node, at(20), "b", &Nack { sequence: 0.into() });
    // Within this time its silence is no death yet.
    for round in 1..4 {
        let now = at(round * 1_000);
        node.handle_timeout(now);
        let greeted = drain(&mut node, now).iter().any(|(to, _)| to.to == Destination::Seed);
        assert!(!greeted, "round {round}");
    }
}

/// Rule J-1: a seed that seems to be ourselves keeps nobody waiting and is asked again later: what
/// it showed proves nothing.
#[test]
fn a_seed_that_seems_to_be_ours_is_asked_again() {
    let mut node = node("a");
    node.handle_command(at(10), Command::Join(vec![address("b")])).unwrap();
    assert!(!node.is_joined());
    node.handle_own_address(at(20), address("b"));
    assert!(node.is_joined(), "there is nobody else to wait for");
    let mut greetings = Vec::new();
    drain(&mut node, at(20));
    for second in 1..130 {
        let now = at(second * 1_000);
        while let Some((due, _)) = node.poll_timeout().filter(|(due, _)| *due <= now) {
            node.handle_timeout(due);
        }
        let sent = drain(&mut node, now);
        if sent.iter().any(|(transmit, _)| transmit.to == Destination::Seed) {
            greetings.push(second);
            node.handle_own_address(now, address("b"));
        }
    }
    assert_eq!(greetings.len(), 2, "once a minute: {greetings:?}");
}
