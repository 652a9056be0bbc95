//! What a made network does to datagrams, on both backends.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::tests::{Heard, PATIENCE, backend, hear, opened};
use super::weather::Weather;
use super::{AnyDatagrams, Datagrams, TURN_MAX_DATAGRAMS};
use crate::clock::Clock;
use crate::options::BackendChoice;

/// A network as a test wishes it.
#[derive(Default)]
struct Wished {
    lost: Mutex<BTreeSet<(SocketAddr, SocketAddr)>>,
    blocked: Mutex<BTreeSet<SocketAddr>>,
    delay: Mutex<Duration>,
}

impl Weather for Wished {
    fn carry(&self, from: SocketAddr, to: SocketAddr) -> Option<Duration> {
        (!self.lost.lock().unwrap().contains(&(from, to))).then(|| *self.delay.lock().unwrap())
    }

    fn is_blocked(&self, at: SocketAddr) -> bool {
        self.blocked.lock().unwrap().contains(&at)
    }

    fn holds(&self) {}

    fn connects(&self, _: SocketAddr, _: SocketAddr) -> bool {
        true
    }
}

/// Plays a test on every backend that this machine has.
fn everywhere(play: impl Fn(AnyDatagrams, &Wished, Clock)) {
    for choice in [BackendChoice::Uring, BackendChoice::Mmsg] {
        let Some(io) = backend(choice) else { continue };
        let (wished, clock) = (Arc::new(Wished::default()), Clock::start());
        play(io.weathered(wished.clone(), clock), &wished, clock);
    }
}

fn bytes(heard: &Heard) -> Vec<u8> {
    heard.iter().map(|(_, _, bytes)| bytes[0]).collect()
}

#[test]
fn what_is_lost_one_way_arrives_the_other_way() {
    everywhere(|mut io, wished, _| {
        let ((a, a_addr), (b, b_addr)) = (opened(&mut io), opened(&mut io));
        wished.lost.lock().unwrap().insert((a_addr, b_addr));
        io.send(a, b_addr, &[1]);
        io.send(b, a_addr, &[2]);
        assert_eq!(hear(&mut io, 1), [(a, b_addr, vec![2])]);
        wished.lost.lock().unwrap().clear();
        io.send(a, b_addr, &[3]);
        assert_eq!(bytes(&hear(&mut io, 1)), [3], "the first one never comes");
    });
}

#[test]
fn what_is_far_away_takes_its_time_and_keeps_its_order() {
    everywhere(|mut io, wished, clock| {
        let ((a, _), (_, b_addr)) = (opened(&mut io), opened(&mut io));
        let far = Duration::from_millis(60);
        *wished.delay.lock().unwrap() = far;
        let sent = clock.now();
        for number in 0..100 {
            io.send(a, b_addr, &[number]);
        }
        // An early end of a turn does not bring it sooner.
        let heard = hear(&mut io, 100);
        assert_eq!(bytes(&heard), (0..100).collect::<Vec<u8>>());
        assert!(clock.now().since(sent) >= far);
    });
}

/// A turn that waits for nothing else ends when something late is due.
#[test]
fn a_sleeping_shard_wakes_for_what_is_late() {
    everywhere(|mut io, wished, _| {
        let ((a, _), (_, b_addr)) = (opened(&mut io), opened(&mut io));
        *wished.delay.lock().unwrap() = Duration::from_millis(20);
        io.send(a, b_addr, &[7]);
        let mut heard = 0;
        while heard == 0 {
            heard = io.turn(None, &mut |_, _, _| {}).unwrap();
        }
        assert_eq!(heard, 1);
    });
}

#[test]
fn who_is_blocked_says_and_hears_everything_afterwards() {
    everywhere(|mut io, wished, _| {
        let ((a, a_addr), (b, b_addr)) = (opened(&mut io), opened(&mut io));
        wished.blocked.lock().unwrap().insert(a_addr);
        for number in 0..10 {
            io.send(a, b_addr, &[number]);
            io.send(b, a_addr, &[100 + number]);
        }
        assert_eq!(hear_for(&mut io, PATIENCE), Heard::new());
        wished.blocked.lock().unwrap().clear();
        let heard = hear(&mut io, 20);
        let of = |id| heard.iter().filter(move |(at, ..)| *at == id).map(|(.., bytes)| bytes[0]);
        assert_eq!(of(a).collect::<Vec<u8>>(), (100..110).collect::<Vec<u8>>());
        assert_eq!(of(b).collect::<Vec<u8>>(), (0..10).collect::<Vec<u8>>());
    });
}

/// What a closed socket had before it goes nowhere, also where another socket takes its place.
#[test]
fn who_is_gone_hears_nothing_late() {
    everywhere(|mut io, wished, _| {
        let ((a, _), (b, b_addr)) = (opened(&mut io), opened(&mut io));
        *wished.delay.lock().unwrap() = Duration::from_millis(30);
        io.send(a, b_addr, &[1]);
        assert_eq!(hear_for(&mut io, Duration::from_millis(5)), Heard::new());
        io.close(b);
        opened(&mut io);
        assert_eq!(hear_for(&mut io, PATIENCE), Heard::new());
    });
}

#[test]
fn a_turn_hands_out_no_more_than_its_share() {
    everywhere(|mut io, wished, _| {
        let ((a, _), (_, b_addr)) = (opened(&mut io), opened(&mut io));
        *wished.delay.lock().unwrap() = Duration::from_millis(20);
        let many = TURN_MAX_DATAGRAMS + 30;
        for number in 0..many {
            io.send(a, b_addr, &[number as u8]);
        }
        let mut heard = 0;
        while heard < many {
            // All are due at once, and a turn bears with so many.
            let taken = io.turn(Some(Duration::from_millis(1)), &mut |_, _, _| {}).unwrap();
            assert!(taken <= TURN_MAX_DATAGRAMS);
            heard += taken;
        }
    });
}

fn hear_for(io: &mut AnyDatagrams, span: Duration) -> Heard {
    let (clock, mut heard) = (Clock::start(), Heard::new());
    let begun = clock.now();
    while clock.now().since(begun) < span {
        let left = span.saturating_sub(clock.now().since(begun));
        io.turn(Some(left), &mut |id, from, bytes| heard.push((id, from, bytes.to_vec()))).unwrap();
    }
    heard
}
