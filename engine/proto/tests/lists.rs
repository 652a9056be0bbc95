//! Revocation lists: their numbers gossip, and whoever has an older one asks.

mod stage;

use mesh_gossip_proto::wire::message::{ListNotice, kind};
use mesh_gossip_proto::{Config, Destination, StreamRequest};
use stage::{CLUSTER, Stage, address, id};

fn notice(number: u8) -> ListNotice {
    let mut wide = [0; 20];
    wide[19] = number;
    ListNotice { issuer: [1; 16], number: wide, hash: u64::from(number).into() }
}

fn stage() -> Stage {
    Stage::knowing(Config::new(CLUSTER), &["b", "c", "d"])
}

/// Rule S-16: a list that is news is announced to everybody within a gossip tick or two, so often
/// and no more; without one nothing is said at all.
#[test]
fn a_new_list_is_announced_and_then_only_reminded_of() {
    let mut stage = stage();
    stage.until(5_000);
    assert!(stage.sent_of(kind::LIST_NOTICE).is_empty());
    stage.node.handle_lists(stage.now, &[notice(7)]);
    stage.until(6_000);
    let told = stage.sent_of(kind::LIST_NOTICE);
    for name in ["b", "c", "d"] {
        assert!(told.iter().any(|sent| sent.to == Destination::Member(id(name))), "{name}");
    }
    let first = told.len();
    assert_eq!(first, 8, "the transmit limit of a small mesh");
    stage.until(66_000);
    let reminders = stage.sent_of(kind::LIST_NOTICE).len() - first;
    assert!((3..=18).contains(&reminders), "three in ten seconds, not {reminders} in a minute");
}

/// Rule S-16: who shows a higher number is asked for the list, once a second at most, and its
/// number is not passed on before the list is here.
#[test]
fn a_higher_number_is_asked_for_and_goes_no_further() {
    let mut stage = stage();
    while stage.node.poll_stream().is_some() {}
    for _ in 0..50 {
        stage.say("b", &notice(9));
    }
    let wish = StreamRequest { peer: id("b"), address: address("b"), members: Vec::new() };
    assert_eq!(stage.node.poll_list_wish(), Some(wish.clone()));
    assert_eq!(stage.node.poll_list_wish(), None);
    assert_eq!(stage.node.poll_stream(), None, "it is no exchange of states");
    stage.until(30_000);
    assert!(stage.sent_of(kind::LIST_NOTICE).is_empty(), "a number alone is nobody's news");
    stage.say("b", &notice(9));
    assert_eq!(stage.node.poll_list_wish(), Some(wish));
    stage.node.handle_lists(stage.now, &[notice(9)]);
    stage.say("c", &notice(9));
    assert_eq!(stage.node.poll_list_wish(), None, "it is here");
}

/// Rule S-16: who shows an older number is told the newer one at once.
#[test]
fn an_older_number_is_answered() {
    let mut stage = stage();
    stage.node.handle_lists(stage.now, &[notice(7)]);
    // The reminders of this ten seconds have gone out.
    stage.until(59_000);
    stage.sent.clear();
    for _ in 0..50 {
        stage.say("c", &notice(6));
    }
    let told = stage.sent_of(kind::LIST_NOTICE);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].to, told[0].body[35]), (Destination::Member(id("c")), 7));
    assert_eq!(stage.node.poll_list_wish(), None);
}
