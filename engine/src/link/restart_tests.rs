//! A peer that is killed and comes back at its address before anybody doubts it: nodes over their
//! links, in virtual time.

use mesh_gossip_proto::config::Detector;
use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::{Command, Config, DenseTable, Event, Metadata, Node, State, WallTime};

use super::tests::{address, ca, credentials, links};
use super::*;
use crate::clock;
use crate::tls::credentials::Credentials;

const SECOND: Duration = Duration::from_secs(1);

struct Person {
    node: Node<DenseTable>,
    links: Links,
}

impl Person {
    fn born(
        now: Instant,
        own: &Arc<Credentials>,
        place: u8,
        life: u64,
        detector: Detector,
    ) -> Self {
        let links = links(own.clone(), "c", life * 100 + u64::from(place));
        let config = Config { detector, ..Config::new("c") };
        let birth = Birth {
            config: Arc::new(config.validate().unwrap()),
            metadata: Metadata {
                node_id: format!("n{place}"),
                role: "worker".into(),
                cluster_id: "c".into(),
                region: "r".into(),
                mesh_version: "1".into(),
                endpoint: address(place).to_string(),
                ..Metadata::default()
            },
            addresses: vec![address(place)],
            born: WallTime(clock::wall().0 + life * 1_000),
            least_generation: 0,
            authority: links.authority.clone(),
            seed: life * 100 + u64::from(place),
        };
        Self { node: Node::new(now, birth).unwrap(), links }
    }

    fn due(&self) -> Option<Instant> {
        Instant::earliest(self.node.poll_timeout().map(|(at, _)| at), self.links.poll_timeout())
    }

    /// As the shard does it; what is to be sent comes back.
    fn drain(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut out = Vec::new();
        loop {
            while let Some(event) = self.links.poll_event() {
                if let LinkEvent::Proven { peer, path, seed } = event {
                    self.node.handle_peer_proven(now, peer, path, seed);
                }
            }
            while let Some((peer, address)) = self.node.poll_silent() {
                self.links.look_afresh(now, peer, address);
            }
            let before = out.len();
            let (mut plain, mut sealed) = (Vec::new(), Vec::new());
            while let Some(transmit) = self.node.poll_transmit(now, &mut plain) {
                let path = self.links.send(now, &transmit, &plain, &mut sealed);
                out.extend(path.map(|path| (path, sealed.clone())));
            }
            out.extend(std::iter::from_fn(|| self.links.poll_transmit()));
            if out.len() == before {
                return out;
            }
        }
    }
}

struct Town {
    now: Instant,
    people: Vec<Person>,
    on_the_way: VecDeque<(Instant, u8, SocketAddr, Vec<u8>)>,
    hints_lost: usize,
    suspected: usize,
}

impl Town {
    /// Carries everything for `span`, each datagram a millisecond, and loses every hint.
    fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            for place in 0..self.people.len() {
                let person = &mut self.people[place];
                for (to, bytes) in person.drain(self.now) {
                    let lost = bytes[0] == RESET_HINT;
                    self.hints_lost += usize::from(lost);
                    if !lost {
                        let at = self.now + Duration::from_millis(1);
                        self.on_the_way.push_back((at, place as u8, to, bytes));
                    }
                }
                while let Some(event) = person.node.poll_event() {
                    self.suspected += usize::from(matches!(event, Event::Suspected { .. }));
                }
                while let Some(wish) = person.node.poll_stream() {
                    person.node.handle_stream_closed(wish.peer, wish.extent(), false);
                }
            }
            let arrives = self.on_the_way.front().map(|(at, ..)| *at);
            let due = self.people.iter().filter_map(Person::due).min();
            let Some(next) = Instant::earliest(arrives, due).filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if arrives.is_some_and(|at| at <= self.now) {
                let Some((_, from, to, mut bytes)) = self.on_the_way.pop_front() else { continue };
                let place = (0..self.people.len()).find(|n| address(*n as u8) == to);
                let Some(person) = place.map(|place| &mut self.people[place]) else { continue };
                let got = person.links.receive(self.now, address(from), &mut bytes);
                if let Some(Delivery { from, path, payload }) = got {
                    person.node.handle_datagram(self.now, from, path, payload);
                }
            } else {
                for person in &mut self.people {
                    person.links.handle_timeout(self.now);
                    if person.node.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                        person.node.handle_timeout(self.now);
                    }
                }
            }
        }
        self.now = until;
    }
}

/// Rule S-9: whoever lost its sessions in a restart and whose hints are lost is reached by a fresh
/// handshake beside the pings that it cannot read, and nobody suspects it.
#[test]
fn a_peer_that_restarts_within_an_interval_is_not_suspected() {
    let ca = ca("c");
    let all: Vec<_> = (0..3).map(|n| credentials(&ca, "c", &format!("n{n}"))).collect();
    for detector in [Detector::Observers, Detector::Lifeguard, Detector::Swim] {
        let now = Instant::ORIGIN + SECOND * 10;
        let born =
            |own: (usize, &Arc<Credentials>)| Person::born(now, own.1, own.0 as u8, 0, detector);
        let people: Vec<_> = all.iter().enumerate().map(born).collect();
        let on_the_way = VecDeque::new();
        let mut town = Town { now, people, on_the_way, hints_lost: 0, suspected: 0 };
        for person in &mut town.people[1..] {
            person.node.handle_command(now, Command::Join(vec![address(0)])).unwrap();
        }
        town.run_for(SECOND * 30);
        let present = |town: &Town| {
            let people = town.people.iter();
            people.map(|one| one.node.view(town.now).counts().present()).collect::<Vec<_>>()
        };
        assert_eq!(present(&town), [3; 3], "{detector:?}");
        for life in 1..4 {
            // It comes back knowing nobody: only the others can find it.
            let (now, looks) = (town.now, town.people[0].links.stats().looks);
            town.people[2] = Person::born(now, &all[2], 2, life, detector);
            town.run_for(SECOND * 30);
            assert_eq!(town.suspected, 0, "{detector:?}, life {life}");
            assert_eq!(present(&town), [3; 3], "{detector:?}, life {life}");
            let id = town.people[2].node.id();
            let state = town.people[0].node.member(id).map(|member| member.state);
            assert_eq!(state, Some(State::Alive));
            let stats = town.people[0].links.stats();
            assert!(stats.looks > looks, "{detector:?}, life {life}: {stats:?}");
        }
        assert!(town.hints_lost >= 6, "{detector:?}: nobody would have needed a handshake");
    }
}
