//! A stage for the detector `observers`: two dozen named peers and what they say about each other.

use std::collections::BTreeMap;

use mesh_gossip_proto::detector::test::Ballot;
use mesh_gossip_proto::wire::message::{Ping, Verify, Vote, kind};
use mesh_gossip_proto::{Config, Destination, Detector, MemberId, MemberTable};
use zerocopy::IntoBytes;

use super::{CLUSTER, Sent, Stage, finding, id, incarnation, ms, signed_vote};

/// `b` to `z`, so many of them.
pub(crate) fn names(count: u8) -> Vec<String> {
    (0..count).map(|n| char::from(b'b' + n).to_string()).collect()
}

/// A stage with so many others, whose estimates have settled.
pub(crate) fn settled(others: u8) -> Stage {
    let config = Config { detector: Detector::Observers, ..Config::new(CLUSTER) };
    let names = names(others);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::knowing(config, &names);
    stage.until(120_000);
    stage.sent.clear();
    stage.events();
    stage
}

pub(crate) fn name_of(member: MemberId) -> String {
    names(25).into_iter().find(|name| id(name) == member).unwrap()
}

pub(crate) fn silence(stage: &mut Stage, who: &str) {
    stage.answering.retain(|name| name != who);
}

/// Whom the node observes.
pub(crate) fn subjects(stage: &Stage) -> Vec<String> {
    stage.node.observing().map(name_of).collect()
}

pub(crate) fn receiver(sent: &Sent) -> Option<String> {
    match sent.to {
        Destination::Member(member) => Some(name_of(member)),
        Destination::Seed => None,
    }
}

/// To whom messages of a kind went.
pub(crate) fn to(kind: u8, stage: &Stage) -> Vec<String> {
    stage.sent_of(kind).into_iter().filter_map(receiver).collect()
}

pub(crate) fn verify(of: &str, round: u64) -> Verify {
    Verify {
        subject: id(of).0,
        incarnation: incarnation(0).into(),
        round: round.into(),
        elapsed_ms: 0.into(),
    }
}

pub(crate) fn vote(of: &str, round: u64, ballot: Ballot) -> Vote {
    Vote {
        subject: id(of).0,
        incarnation: incarnation(0).into(),
        round: round.into(),
        ballot: ballot as u8,
        reserved: [0; 3],
    }
}

/// `voter` votes; one of death is signed.
pub(crate) fn cast(stage: &mut Stage, voter: &str, of: &str, round: u64, ballot: Ballot) {
    let mut bytes = vote(of, round, ballot).as_bytes().to_vec();
    if ballot == Ballot::Dead {
        signed_vote(voter, &finding(of, 0, round)).seal.encode(&mut bytes);
    }
    stage.tell(voter, kind::VOTE, &bytes);
}

/// The subject and the round of a VERIFY.
pub(crate) fn asked_about(sent: &Sent) -> (String, u64) {
    let subject = MemberId(sent.body[..16].try_into().unwrap());
    (name_of(subject), u64::from_le_bytes(sent.body[28..36].try_into().unwrap()))
}

/// Lets `span` milliseconds pass; every VERIFY of that time is answered within 50 ms as `answer`
/// says, which gets the voter and the subject. Somebody else talks meanwhile, so that the node is
/// not cut off. Returns how many were asked about whom.
pub(crate) fn voting(
    stage: &mut Stage,
    span: u64,
    mut answer: impl FnMut(&str, &str) -> Option<Ballot>,
) -> BTreeMap<String, usize> {
    let end = ms(stage.now) + span;
    let mut seen = stage.sent.len();
    let mut asked = BTreeMap::new();
    while ms(stage.now) < end {
        if ms(stage.now).is_multiple_of(1_000)
            && let Some(talker) = stage.answering.last().cloned()
        {
            let digest = stage.node.table().digest().into();
            stage.say(&talker, &Ping { sequence: 1.into(), digest });
        }
        let fresh = stage.sent[seen..].to_vec();
        seen = stage.sent.len();
        for sent in fresh.iter().filter(|sent| sent.kind == kind::VERIFY) {
            let (Some(voter), (subject, round)) = (receiver(sent), asked_about(sent)) else {
                continue;
            };
            *asked.entry(subject.clone()).or_default() += 1;
            if let Some(ballot) = answer(&voter, &subject) {
                cast(stage, &voter, &subject, round, ballot);
            }
        }
        stage.until(ms(stage.now) + 50);
    }
    asked
}
