//! When votes of death are enough, and whom they wait for: one node that leads.

use mesh_gossip_proto::State;
use mesh_gossip_proto::detector::test::Ballot;
use mesh_gossip_proto::wire::message::kind;

use crate::stage::observers::{names, settled, silence, subjects, to, verify, voting};
use crate::stage::{self, Stage};

/// Numbers voters in the order in which they were asked first.
#[derive(Default)]
struct Turns(Vec<String>);

impl Turns {
    fn of(&mut self, voter: &str) -> usize {
        self.0.iter().position(|known| known == voter).unwrap_or_else(|| {
            self.0.push(voter.to_string());
            self.0.len() - 1
        })
    }
}

fn until_it_asks(stage: &mut Stage) {
    while stage.sent_of(kind::VERIFY).is_empty() {
        stage.until(stage::ms(stage.now) + 10);
        assert!(stage::ms(stage.now) < 140_000, "it never led");
    }
}

/// A node that is no observer of a silent member, was asked about it and heard of no outcome: the
/// moment at which it begins to ask.
fn stand_in() -> (Stage, String) {
    let mut stage = settled(20);
    let near = subjects(&stage);
    let subject = names(20).into_iter().find(|name| !near.contains(name)).unwrap();
    let leader = stage.answering.iter().find(|name| **name != subject).cloned().unwrap();
    silence(&mut stage, &subject);
    stage.say(&leader, &verify(&subject, 77));
    until_it_asks(&mut stage);
    let first = to(kind::VERIFY, &stage);
    assert_eq!(first.len(), 8, "all observers are asked: {first:?}");
    // The first questions are not answered: they come again after half a second.
    (stage, subject)
}

/// Lets the first `dead` of those asked find death and the others say what `others` says.
fn lead(stage: &mut Stage, turns: &mut Turns, span: u64, dead: usize, others: Option<Ballot>) {
    voting(
        stage,
        span,
        |voter, _| {
            if turns.of(voter) < dead { Some(Ballot::Dead) } else { others }
        },
    );
}

/// Rule D-8: four observers that find death answer a stand-in at once. With its own finding they are
/// no quorum while the other four look, and none when these find life.
#[test]
fn a_stand_in_waits_for_those_who_look() {
    let (mut stage, subject) = stand_in();
    let mut turns = Turns::default();
    lead(&mut stage, &mut turns, 6_000, 4, Some(Ballot::Pending));
    assert_eq!(stage.state(&subject), Some(State::Suspect));
    assert_eq!(turns.0.len(), 8, "eight answer, so nobody else is asked");
    lead(&mut stage, &mut turns, 3_000, 4, Some(Ballot::Alive));
    assert!(stage.sent_of(kind::DEAD).is_empty());
    assert_ne!(stage.state(&subject), Some(State::Dead));

    let (mut stage, subject) = stand_in();
    lead(&mut stage, &mut Turns::default(), 1_000, 5, Some(Ballot::Pending));
    assert_eq!(stage.state(&subject), Some(State::Dead), "five observers decide");
}

/// Rule D-8: observers that say nothing for as long as it takes to find death hold up no verdict.
#[test]
fn a_stand_in_does_not_wait_for_the_silent() {
    let (mut stage, subject) = stand_in();
    let mut turns = Turns::default();
    lead(&mut stage, &mut turns, 1_900, 4, None);
    assert_eq!(stage.state(&subject), Some(State::Suspect), "they have had less than a grace");
    lead(&mut stage, &mut turns, 3_000, 4, None);
    assert_eq!(stage.state(&subject), Some(State::Dead));
}

/// Rules D-6 and D-8: a stand-in is no substitute for an observer that is silent, so with seven answers
/// of eight it asks others, who find life.
#[test]
fn a_stand_in_does_not_answer_for_the_silent() {
    let (mut stage, subject) = stand_in();
    let mut turns = Turns::default();
    voting(&mut stage, 6_000, |voter, _| match turns.of(voter) {
        0..4 => Some(Ballot::Dead),
        4 => None,
        _ => Some(Ballot::Alive),
    });
    assert!(turns.0.len() > 8, "{:?}", turns.0);
    assert!(stage.sent_of(kind::DEAD).is_empty());
    assert_ne!(stage.state(&subject), Some(State::Dead));
}

/// Rule D-8: where observers are silent others are asked; one of these that has looked already answers
/// at once, and makes no quorum before those who look now have had their say.
#[test]
fn whoever_knows_already_does_not_outrun_those_who_look() {
    let run = |late: Ballot| {
        let mut stage = settled(20);
        let subject = subjects(&stage)[0].clone();
        silence(&mut stage, &subject);
        until_it_asks(&mut stage);
        let mut turns = Turns::default();
        for (span, then) in [(5_000, Ballot::Pending), (3_000, late)] {
            voting(&mut stage, span, |voter, _| match turns.of(voter) {
                // Of the other seven observers three find death and four are silent.
                0..3 | 7 => Some(Ballot::Dead),
                3..7 => None,
                _ => Some(then),
            });
            if then == Ballot::Pending {
                assert_eq!(stage.state(&subject), Some(State::Suspect));
            }
        }
        assert!(turns.0.len() > 8, "others were asked: {:?}", turns.0);
        stage.state(&subject)
    };
    assert_ne!(run(Ballot::Alive), Some(State::Dead));
    assert_eq!(run(Ballot::Dead), Some(State::Dead));
}
