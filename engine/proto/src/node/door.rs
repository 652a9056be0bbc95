//! Who may have the whole state from us, and who is sent to others for it (rules J-3 and J-4).
//!
//! Joiners stand in line. Every so often the line is served: the first few are granted our state,
//! the others are pointed to those before them, so that a state walks down a tree of which we
//! feed the top alone. Whoever asks after a quiet time is served at once; in a rush the line fills
//! for a moment, so that the state that is handed out already holds all those who stand in it.
//! Whoever says that it was sent here is served at once where we have a state, and alone: that is
//! its own word, which hastens nobody else.
//!
//! Invariants: states granted stay within the bucket; nobody stands in line twice; nobody is
//! pointed to itself.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::detector::budget::{Bucket, REMEMBERED};
use crate::member::MemberId;
use crate::membership::table::IdMap;
use crate::time::{Duration, Instant};

/// Whole states granted at once, then one each such time: in ten seconds 48.
pub(super) const GRANTS: (u32, Duration) = (8, Duration::from_millis(250));
/// Joiners that are pointed to one member: as many as it may grant a state at once.
const BRANCHES: usize = GRANTS.0 as usize;
/// Members that one ticket names.
pub(super) const NAMED: usize = 3;
/// Whoever was granted a state and asks again within this time has lost the answer.
const LOST: Duration = Duration::from_secs(5);
/// Joiners that stand in line; a further one is served at once.
const LINE: usize = REMEMBERED;
/// After so long without anybody a joiner is served at once.
const CALM: Duration = Duration::from_secs(1);
/// A rush is over after so long without another joiner ...
const LULL: Duration = Duration::from_millis(100);
/// ... and the line is served after so long in any case.
const RUSH: Duration = Duration::from_millis(500);
/// While we have no state ourselves whoever was sent to us waits so long.
const HOLD: Duration = Duration::from_secs(3);

/// Somebody who asks, or who is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Guest {
    /// Its id.
    pub(super) id: MemberId,
    /// Where it is reached.
    pub(super) address: SocketAddr,
}

/// What we are when somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// We have a state to give.
    Ready,
    /// We are joining ourselves.
    Joining,
}

/// What a joiner is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It may have our state.
    Granted,
    /// These have it, or are about to.
    Elsewhere(Vec<Guest>),
}

/// The door at which joiners ask.
#[derive(Clone, Debug)]
pub(super) struct Door {
    grants: Bucket,
    line: Vec<Guest>,
    /// Who is served at once, outside the line.
    alone: Vec<Guest>,
    /// Turns through those who were granted a state, for those who are pointed to one alone.
    turn: usize,
    standing: IdMap<()>,
    granted: VecDeque<(Guest, Instant)>,
    last: Option<Instant>,
    first: Option<Instant>,
    due: Option<Instant>,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            grants: Bucket::new(GRANTS.0, GRANTS.1),
            line: Vec::new(),
            alone: Vec::new(),
            turn: 0,
            standing: IdMap::default(),
            granted: VecDeque::new(),
            last: None,
            first: None,
            due: None,
        }
    }
}

impl Door {
    /// Somebody asks for the state; `pointed` says that another member sent it here.
    pub(super) fn ask(&mut self, now: Instant, guest: Guest, pointed: bool, host: Host) {
        if pointed && host == Host::Ready {
            // It loses its place in the line, for it needs none.
            self.standing.remove(&guest.id);
            self.alone.push(guest);
            return;
        }
        let calm = self.last.is_none_or(|last| now.since(last) >= CALM);
        self.last = Some(now);
        if self.standing.insert(guest.id, ()).is_none() {
            self.line.push(guest);
        }
        let first = *self.first.get_or_insert(now);
        let full = self.line.len() >= LINE;
        let due = match (host, pointed) {
            (Host::Ready, _) if calm || full => now,
            (Host::Ready, _) => (first + RUSH).min(now + LULL),
            (Host::Joining, _) if full => now,
            (Host::Joining, false) => first + RUSH,
            (Host::Joining, true) => first + HOLD,
        };
        self.due = Some(match (self.due, host) {
            // A rush goes on: what was to be served after a lull waits for the next.
            (Some(set), Host::Ready) if set > now => due,
            (Some(set), _) => set.min(due),
            (None, _) => due,
        });
    }

    /// When the line is to be served.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// We have a state: whoever waits for it need not wait longer.
    pub(super) fn is_ready(&mut self, now: Instant) {
        if !self.line.is_empty() {
            self.due = Some(now);
        }
    }

    /// Serves those who are served at once, and the line when its time has come.
    pub(super) fn open(&mut self, now: Instant) -> Vec<(Guest, Answer)> {
        let mut answers = self.serve_alone(now);
        if self.due.is_some_and(|due| due <= now) {
            answers.extend(self.serve_line(now));
        }
        answers
    }

    /// Those who were sent here: our state, or the names of others who were granted it.
    fn serve_alone(&mut self, now: Instant) -> Vec<(Guest, Answer)> {
        let mut answers = Vec::with_capacity(self.alone.len());
        for guest in core::mem::take(&mut self.alone) {
            if self.grants_to(now, guest) {
                answers.push((guest, Answer::Granted));
                continue;
            }
            self.turn = self.turn.wrapping_add(1);
            let from = self.turn % self.granted.len().max(1);
            let others = self.granted.iter().cycle().skip(from).take(self.granted.len());
            let others = others.map(|(other, _)| *other).filter(|other| other.id != guest.id);
            answers.push((guest, Answer::Elsewhere(others.take(NAMED).collect())));
        }
        answers
    }

    /// Serves the line, in the order in which it stands.
    fn serve_line(&mut self, now: Instant) -> Vec<(Guest, Answer)> {
        (self.first, self.due) = (None, None);
        let mut line = core::mem::take(&mut self.line);
        line.retain(|guest| self.standing.remove(&guest.id).is_some());
        self.standing.clear();
        let mut answers = Vec::with_capacity(line.len());
        let (mut tree, mut others) = (Vec::new(), Vec::new());
        for guest in line {
            if self.grants_to(now, guest) {
                tree.push(guest);
                answers.push((guest, Answer::Granted));
            } else {
                others.push(guest);
            }
        }
        if tree.is_empty() {
            tree.extend(self.granted.iter().map(|(guest, _)| *guest));
        }
        for (number, guest) in others.into_iter().enumerate() {
            let parent = number / BRANCHES;
            let mut named: Vec<Guest> = Vec::with_capacity(NAMED);
            for place in [parent, parent / 2, (parent + 1).min(number)] {
                let Some(other) = tree.get(place) else { continue };
                if other.id != guest.id && !named.contains(other) {
                    named.push(*other);
                }
            }
            tree.push(guest);
            answers.push((guest, Answer::Elsewhere(named)));
        }
        answers
    }

    fn grants_to(&mut self, now: Instant, guest: Guest) -> bool {
        let lost = |(other, at): &(Guest, Instant)| other.id == guest.id && now.since(*at) < LOST;
        if self.granted.iter().any(lost) {
            return true;
        }
        if !self.grants.take(now) {
            return false;
        }
        if self.granted.len() == BRANCHES {
            self.granted.pop_front();
        }
        self.granted.push_back((guest, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn guest(number: u32) -> Guest {
        let id = MemberId(core::array::from_fn(|i| number.to_le_bytes()[i % 4]));
        Guest { id, address: SocketAddr::from((Ipv4Addr::from(number), 1)) }
    }

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    /// Rule J-3: who comes alone does not wait; in a rush the line fills first.
    #[test]
    fn a_single_joiner_is_served_at_once_and_a_rush_in_one_go() {
        let mut door = Door::default();
        door.ask(at(10), guest(1), false, Host::Ready);
        assert_eq!(door.open(at(10)), [(guest(1), Answer::Granted)]);
        for number in 2..6 {
            door.ask(at(10 + u64::from(number)), guest(number), false, Host::Ready);
        }
        door.ask(at(15), guest(5), false, Host::Ready);
        assert!(door.open(at(100)).is_empty(), "somebody more may come");
        assert_eq!(door.due(), Some(at(115)));
        assert_eq!(door.open(at(115)).len(), 4, "nobody stands in line twice");
        for number in 0..40 {
            door.ask(at(200 + 50 * number), guest(number as u32 + 50), false, Host::Ready);
        }
        assert!(door.due().is_some_and(|due| due <= at(700)), "a long rush is served meanwhile");
    }

    /// Rule J-3: the bucket feeds the top of a tree, in which everybody has few below and is
    /// pointed to those before it.
    #[test]
    fn the_line_becomes_a_tree() {
        let mut door = Door::default();
        let line = 1_000;
        for number in 0..line {
            door.ask(at(10), guest(number), false, Host::Joining);
        }
        let answers = door.open(at(5_000));
        let mut below: IdMap<usize> = IdMap::default();
        let mut fed: IdMap<()> = IdMap::default();
        let mut granted = 0;
        for (guest, answer) in &answers {
            match answer {
                Answer::Granted => granted += 1,
                Answer::Elsewhere(named) => {
                    assert!(!named.is_empty() && named.len() <= NAMED);
                    assert!(named.iter().all(|other| fed.contains_key(&other.id)), "{named:?}");
                    *below.entry(named[0].id).or_default() += 1;
                }
            }
            fed.insert(guest.id, ());
        }
        assert_eq!((answers.len(), granted), (line as usize, GRANTS.0));
        assert!(below.values().all(|count| *count <= BRANCHES));
    }

    /// Rule J-4, ringpop-node#168: states are granted at a pace, however many ask; whoever lost the answer gets it again.
    #[test]
    fn states_are_granted_at_a_pace() {
        let mut door = Door::default();
        let mut granted = 0;
        for number in 0..10_000_u32 {
            door.ask(at(number.into()), guest(number), true, Host::Ready);
            let answers = door.open(at(number.into()));
            granted += answers.iter().filter(|(_, answer)| *answer == Answer::Granted).count();
        }
        assert_eq!(granted, 48 - 1, "eight, and four a second for ten seconds less a moment");
        let mut door = Door::default();
        for _ in 0..9 {
            door.ask(at(10), guest(1), true, Host::Ready);
            assert_eq!(door.open(at(10)), [(guest(1), Answer::Granted)]);
        }
        let others = (2..9).map(|number| {
            door.ask(at(10), guest(number), true, Host::Ready);
            door.open(at(10)).remove(0).1
        });
        assert_eq!(others.filter(|answer| *answer == Answer::Granted).count(), 7);
    }

    /// Rule J-3: who says that it was sent here is served alone; the line waits for its time.
    #[test]
    fn whoever_was_pointed_here_hastens_nobody_else() {
        let mut door = Door::default();
        door.ask(at(10), guest(1), false, Host::Ready);
        assert_eq!(door.open(at(10)).len(), 1);
        for number in 2..6 {
            door.ask(at(20), guest(number), false, Host::Ready);
        }
        for number in [50, 5] {
            door.ask(at(30), guest(number), true, Host::Ready);
            assert_eq!(door.open(at(30)), [(guest(number), Answer::Granted)]);
        }
        assert_eq!(door.due(), Some(at(120)), "after the lull, as before");
        let served: Vec<Guest> = door.open(at(120)).into_iter().map(|(guest, _)| guest).collect();
        assert_eq!(served, [guest(2), guest(3), guest(4)], "nobody is served twice");
    }

    /// Rule J-3: who was sent to a member that has no state yet waits for it.
    #[test]
    fn whoever_was_pointed_here_waits_for_our_state() {
        let mut door = Door::default();
        door.ask(at(10), guest(1), true, Host::Joining);
        assert!(door.open(at(1_000)).is_empty());
        door.is_ready(at(1_000));
        assert_eq!(door.open(at(1_000)), [(guest(1), Answer::Granted)]);
    }
}
