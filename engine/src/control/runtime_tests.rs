//! The control thread as a whole: seeds, events, logs, and its end.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use mesh_gossip_proto::{Command, Event, MemberId, WallTime};

use super::runtime::Control;
use super::stage_tests::{AGENT, Lines, Setting, Stage, TestMesh, eventually, record};
use super::{ControlMessage, HostEvent};
use crate::io::Backend;
use crate::orders::{Order, Refused, Work};

const BACKENDS: [Backend; 2] = [Backend::Uring, Backend::Mmsg];

fn stage(setting: Setting) -> Stage {
    Stage::set(setting, TestMesh::new().certify("me"))
}

fn joined(stage: &Stage) -> Vec<String> {
    match stage.order() {
        Order::Command { agent: AGENT, command: Command::Join(seeds), .. } => {
            seeds.iter().map(ToString::to_string).collect()
        }
        _ => panic!("the first order is to join"),
    }
}

/// Rule J-1: addresses are told at once, names when they are found.
#[test]
fn seeds_reach_the_node() {
    for backend in BACKENDS {
        let seeds = ["10.0.0.2:17421", "10.0.0.1:17421"].map(str::to_owned).to_vec();
        let literal = stage(Setting { seeds, ..Setting::new(backend, &["me"]) });
        assert_eq!(joined(&literal), ["10.0.0.1:17421", "10.0.0.2:17421"]);
        let seeds = ["10.0.0.2:1", "localhost:2"].map(str::to_owned).to_vec();
        let named = stage(Setting { seeds, ..Setting::new(backend, &["me"]) });
        assert_eq!(joined(&named), ["10.0.0.2:1"]);
        let both = joined(&named);
        assert!(both.contains(&"127.0.0.1:2".into()) && both.contains(&"10.0.0.2:1".into()));
    }
}

#[test]
fn events_reach_the_host_and_the_starters_log() {
    let lines = Lines::default();
    let stage = tracing::subscriber::with_default(lines.subscriber(), || {
        stage(Setting::new(Backend::Mmsg, &["me"]))
    });
    let event = Event::Joined(record("peer"));
    stage.work(Work::Event { agent: AGENT, at: WallTime(5), event: event.clone() });
    let told = told(&stage);
    assert_eq!((told.at, told.event), (WallTime(5), event));
    assert!(lines.text().contains("PeerId=\"peer\""), "{}", lines.text());
}

#[test]
fn a_host_that_does_not_listen_is_told_how_much_it_missed() {
    let stage = stage(Setting { events: 2, ..Setting::new(Backend::Mmsg, &["me"]) });
    let forgotten = |number| Work::Event {
        agent: AGENT,
        at: WallTime(1),
        event: Event::Forgotten(MemberId([number; 16])),
    };
    (0..5).for_each(|number| stage.work(forgotten(number)));
    eventually(|| {
        let view = &super::Site::published(&*stage.site).view;
        let text = stage.site.metrics.render(view, &super::stage_tests::inspection());
        text.contains("mesh_gossip_events_lost_total 3\n").then_some(())
    });
    (0..2).for_each(|_| drop(told(&stage)));
    let next = told(&stage);
    assert_eq!(next.event, Event::Overflow(3), "once there is room, whatever else happens");
    let more = stage.events.next(Duration::from_millis(100));
    assert!(more.is_none(), "two are kept and no more: {more:?}");
    stage.work(forgotten(9));
    let next = told(&stage);
    assert_eq!(next.event, Event::Forgotten(MemberId([9; 16])));
    // What crosses for the log alone is not the host's.
    let failed = Event::ProbeFailed(MemberId([1; 16]));
    stage.work(Work::Event { agent: AGENT, at: WallTime(1), event: failed });
    stage.work(forgotten(8));
    let next = told(&stage);
    assert_eq!(next.event, Event::Forgotten(MemberId([8; 16])));
}

#[test]
fn a_removed_agent_gives_its_ports_back() {
    for backend in BACKENDS {
        let stage = stage(Setting::new(backend, &["me"]));
        eventually(|| TcpStream::connect(stage.http).ok());
        let (done, removed) = std::sync::mpsc::sync_channel(1);
        let done = Box::new(move |()| done.send(()).unwrap());
        let message = ControlMessage::RemoveAgent { agent: AGENT, done };
        stage.control.handle().try_send(message).unwrap();
        removed.recv_timeout(Duration::from_secs(10)).expect("it says when it is done");
        TcpListener::bind(stage.sync).expect("the sync port is free by then");
        TcpListener::bind(stage.http).expect("and so is the control port");
    }
}

/// The next event, waited for.
fn told(stage: &Stage) -> HostEvent {
    let mut batch = stage.events.next(Duration::from_secs(10)).expect("an event");
    assert_eq!(batch.len(), 1, "immediate events come one by one");
    batch.remove(0)
}

fn removal() -> ControlMessage {
    ControlMessage::RemoveAgent { agent: AGENT, done: Box::new(drop) }
}

#[test]
fn dropping_ends_the_thread_with_exchanges_under_way() {
    for backend in BACKENDS {
        let stage = stage(Setting::new(backend, &["me"]));
        let handle = stage.control.handle();
        let _silent = TcpStream::connect(stage.sync).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let begun = Instant::now();
        drop(stage);
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        let late = handle.try_send(removal());
        assert_eq!(late, Err(Refused::Stopped));
    }
}

/// Rule B-1: a control thread that falls behind refuses, it does not block.
#[test]
fn a_full_queue_refuses_at_once() {
    let control = Control::start(Backend::Mmsg, 1).unwrap();
    let handle = control.handle();
    let refused = (0..100_000).any(|_| handle.try_send(removal()) == Err(Refused::Busy));
    assert!(refused);
}

/// Control HTTP without TLS is not offered to a network.
#[test]
fn a_listener_off_loopback_is_not_served() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let stage = stage(Setting::new(Backend::Mmsg, &["me"]));
    let refused = stage.add_with_http(listener).unwrap_err();
    assert!(refused.to_string().contains("on loopback only"), "{refused}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}
