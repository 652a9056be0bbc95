//! What a member with a valid certificate may claim of others, to a node that judges by real
//! certificates: nothing of it changes anything, and all of it is counted.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::detector::proof::Proof;
use mesh_gossip_proto::detector::test::Ballot;
use mesh_gossip_proto::detector::vote::{Finding, Seal, SignedVote};
use mesh_gossip_proto::membership::record::first_record;
use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::wire::message::{Death, Packet, Vote, kind};
use mesh_gossip_proto::{
    Authority, Config, Destination, Incarnation, Instant, Lifecycle, MemberId, Metadata, Node,
    NodeRecord, SignedRecord, State, WallTime,
};
use zerocopy::IntoBytes;

use crate::bootstrap::CertificateAuthority;
use crate::tls::authority::{Intermediates, MeshAuthority};
use crate::tls::certificates_tests::{CLUSTER, ROLE, credentials, list_of, mesh_ca, start, unix};
use crate::tls::credentials::Credentials;
use crate::tls::trust::Trust;

/// Enough that five of eight decide.
const OTHERS: usize = 19;

pub(crate) fn at(ms: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(ms)
}

pub(crate) fn now_ms() -> u64 {
    unix(start()).as_secs() * 1_000
}

pub(crate) fn name(n: usize) -> String {
    format!("m{n}")
}

pub(crate) fn id(n: usize) -> MemberId {
    MemberId::derive(CLUSTER, &name(n))
}

pub(crate) fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 10_000 + n as u16))
}

pub(crate) fn incarnation(counter: u32) -> Incarnation {
    Incarnation { generation: now_ms(), counter }
}

pub(crate) fn metadata(n: usize) -> Metadata {
    Metadata {
        node_id: name(n),
        role: ROLE.into(),
        region: "r".into(),
        mesh_version: "1".into(),
        ..Metadata::default()
    }
}

pub(crate) fn record(n: usize, counter: u32) -> NodeRecord {
    first_record(CLUSTER, incarnation(counter), vec![address(n)], metadata(n))
}

fn finding(of: usize, counter: u32, round: u64) -> Finding {
    Finding { subject: id(of), incarnation: incarnation(counter), round }
}

/// Member 0 and what it hears; every other one has a certificate of its own.
pub(crate) struct Court {
    pub(crate) node: Node,
    pub(crate) members: Vec<Arc<MeshAuthority>>,
    pub(crate) now: Instant,
    /// What the node sent, to whom.
    pub(crate) sent: Vec<(MemberId, u8, Vec<u8>)>,
}

impl Court {
    pub(crate) fn sits() -> Self {
        Self::under(&mesh_ca())
    }

    pub(crate) fn under(ca: &CertificateAuthority) -> Self {
        let learned = Arc::new(Intermediates::default());
        let authority = |n: usize| MeshAuthority::new(credentials(ca, &name(n)), learned.clone());
        let members: Vec<_> = (0..=OTHERS).map(|n| Arc::new(authority(n))).collect();
        let birth = Birth {
            config: Arc::new(Config::new(CLUSTER).validate().unwrap()),
            metadata: metadata(0),
            addresses: vec![address(0)],
            born: WallTime(now_ms()),
            least_generation: 0,
            authority: members[0].clone(),
            seed: 7,
        };
        let node = Node::new(at(0), birth).unwrap();
        let mut court = Self { node, members, now: at(0), sent: Vec::new() };
        for n in 1..=OTHERS {
            let own = SignedRecord::author(record(n, 0), court.members[n].as_ref()).unwrap();
            court.hears(n, kind::RECORD, own.envelope());
            assert_eq!(court.sees(n), Some(State::Alive));
        }
        court
    }

    pub(crate) fn hears(&mut self, from: usize, kind: u8, body: &[u8]) {
        let mut packet = Packet::default();
        assert!(packet.push_raw(32_000, kind, body));
        self.node.handle_datagram(self.now, id(from), address(from), packet.as_bytes());
        self.drain();
    }

    /// Lets time pass until `ms` after the origin.
    pub(crate) fn until(&mut self, ms: u64) {
        while let Some((due, _)) = self.node.poll_timeout()
            && due <= at(ms)
        {
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.drain();
        }
        self.now = at(ms);
    }

    pub(crate) fn drain(&mut self) {
        let mut buffer = Vec::new();
        while let Some(transmit) = self.node.poll_transmit(self.now, &mut buffer) {
            let mut rest = buffer.as_slice();
            while let [kind, low, high, tail @ ..] = rest {
                let (body, tail) = tail.split_at(usize::from(u16::from_le_bytes([*low, *high])));
                if let Destination::Member(to) = transmit.to {
                    self.sent.push((to, *kind, body.to_vec()));
                }
                rest = tail;
            }
        }
    }

    /// Bodies of a kind that were sent, with their recipients.
    pub(crate) fn sent_of(&self, kind: u8) -> Vec<(MemberId, &[u8])> {
        let of_kind = self.sent.iter().filter(|(_, of, _)| *of == kind);
        of_kind.map(|(to, _, body)| (*to, body.as_slice())).collect()
    }

    pub(crate) fn sees(&self, n: usize) -> Option<State> {
        self.node.member(id(n)).map(|member| member.state)
    }

    pub(crate) fn counted(&self, reason: &str) -> u64 {
        self.node.stats().rejected.get(reason).copied().unwrap_or(0)
    }

    /// A vote in the name of `voter` by the keys of `signer`, which says that it is the voter's.
    fn vote(&self, voter: usize, signer: usize, finding: &Finding) -> SignedVote {
        let keys = self.members[signer].as_ref();
        let own = Seal::sign(finding, CLUSTER, id(voter), keys).unwrap();
        let shown = Seal::sign(finding, CLUSTER, id(voter), self.members[voter].as_ref()).unwrap();
        SignedVote { voter: id(voter), seal: Seal { signer: shown.signer, ..own } }
    }

    fn votes(&self, voters: &[usize], finding: &Finding) -> Vec<SignedVote> {
        voters.iter().map(|voter| self.vote(*voter, *voter, finding)).collect()
    }

    /// `from` announces the death of member 1 and hands over the proof.
    fn is_told(&mut self, from: usize, counter: u32, proof: &Proof) {
        let claim = Death {
            id: id(1).0,
            incarnation: incarnation(counter).into(),
            announcer: id(from).0,
            age_ms: 0.into(),
            proof: proof.hash.into(),
        };
        self.hears(from, kind::DEAD, claim.as_bytes());
        self.hears(from, kind::PROOF, &proof.bytes);
    }
}

/// Rules R-2 and S-8: alive, gone, with other metadata or at another address: only a member itself
/// says so.
#[test]
fn nobody_speaks_for_another_member() {
    let mut court = Court::sits();
    let known = court.node.member(id(1)).unwrap().clone();
    let ours = || record(1, 5);
    let labelled = Metadata { labels: [("a".into(), "b".into())].into(), ..metadata(1) };
    let forged = [
        ours(),
        NodeRecord { lifecycle: Lifecycle::Leaving, ..ours() },
        NodeRecord { metadata: Metadata { cluster_id: CLUSTER.into(), ..labelled }, ..ours() },
        NodeRecord { addresses: vec![address(99)], ..ours() },
    ];
    for (nth, forged) in forged.into_iter().enumerate() {
        // By the keys of a member that is in good standing.
        let signed = SignedRecord::author(forged, court.members[2].as_ref()).unwrap();
        court.hears(2, kind::RECORD, signed.envelope());
        assert_eq!(court.node.member(id(1)), Some(&known));
        assert_eq!(court.counted("signature"), nth as u64 + 1);
    }
}

/// Rule M-3: a record from before changes nothing, however truly it was signed.
#[test]
fn a_record_from_before_is_worthless() {
    let mut court = Court::sits();
    let signed =
        |counter| SignedRecord::author(record(1, counter), court.members[1].as_ref()).unwrap();
    let (old, new) = (signed(0), signed(3));
    court.hears(1, kind::RECORD, new.envelope());
    court.hears(2, kind::RECORD, old.envelope());
    assert_eq!(*court.node.member(id(1)).unwrap().record, new);
    assert_eq!(court.counted("stale-record"), 1);
}

/// Rule S-13: five that signed suffice; the same with one signature of somebody else's do not,
/// and neither do one, two or four liars, with whatever they make up.
#[test]
fn a_death_needs_a_quorum_of_signatures() {
    let finding = finding(1, 0, 9);
    let truth = [2, 3, 4, 5, 6];
    let mut court = Court::sits();
    let proof = Proof::new(finding, &court.votes(&truth, &finding));
    court.is_told(2, 0, &proof);
    assert_eq!(court.sees(1), Some(State::Dead));

    let mut court = Court::sits();
    let mut votes = court.votes(&truth, &finding);
    votes[2] = court.vote(4, 2, &finding);
    court.is_told(2, 0, &Proof::new(finding, &votes));
    assert_eq!(court.sees(1), Some(State::Alive));
    assert_eq!((court.counted("vote-signature"), court.counted("proof")), (1, 1));
    assert_eq!(court.node.stats().tests, 1, "it looks for itself");
    // One more that is true makes up for the one that is not.
    votes.push(court.vote(7, 7, &finding));
    court.is_told(3, 0, &Proof::new(finding, &votes));
    assert_eq!(court.sees(1), Some(State::Dead));

    for liars in [1, 2, 4] {
        let mut court = Court::sits();
        let signed = |voter: usize| court.vote(voter, voter.min(1 + liars), &finding);
        let proof = Proof::new(finding, &(2..=OTHERS).map(signed).collect::<Vec<_>>());
        court.is_told(2, 0, &proof);
        assert_eq!(court.sees(1), Some(State::Alive), "{liars} liars");
        assert_eq!(court.counted("proof"), 1);
        // No more is verified than it takes to know.
        let looked_at = court.counted("vote-signature");
        assert_eq!(looked_at as usize, OTHERS - 1 - 4, "{liars} liars");
    }
}

/// Rule S-13: a vote is about one life and one round, and of one cluster.
#[test]
fn votes_of_another_life_or_round_are_worthless() {
    let truth = [2, 3, 4, 5, 6];
    for stolen in [finding(1, 1, 8), finding(1, 0, 9), finding(7, 1, 9)] {
        let mut court = Court::sits();
        let alive = SignedRecord::author(record(1, 1), court.members[1].as_ref()).unwrap();
        court.hears(1, kind::RECORD, alive.envelope());
        let proof = Proof::new(finding(1, 1, 9), &court.votes(&truth, &stolen));
        court.is_told(2, 1, &proof);
        assert_eq!(court.sees(1), Some(State::Alive), "{stolen:?}");
        assert_eq!((court.counted("vote-signature"), court.counted("proof")), (1, 1));
    }
    // The true proof of the life before.
    let mut court = Court::sits();
    let alive = SignedRecord::author(record(1, 1), court.members[1].as_ref()).unwrap();
    court.hears(1, kind::RECORD, alive.envelope());
    let proof = Proof::new(finding(1, 0, 9), &court.votes(&truth, &finding(1, 0, 9)));
    court.is_told(2, 0, &proof);
    court.is_told(2, 1, &proof);
    assert_eq!(court.sees(1), Some(State::Alive));
    assert_eq!(court.counted("proof"), 1);
}

/// Rules S-13 and S-16: whom a list names has no vote any more, though its signature is its own.
#[test]
fn a_revoked_member_has_no_vote() {
    let ca = mesh_ca();
    let mut court = Court::under(&ca);
    let finding = finding(1, 0, 9);
    let mut votes = court.votes(&[2, 3, 4, 5, 6], &finding);
    let serial = |n: usize| court.members[n].credentials().verified().standing.serial.to_string();
    let list = list_of(&ca, 1, &[&serial(6)]);
    let verifier = court.members[0].credentials().verifier().clone();
    let mut trust = Trust::clone(&verifier.trust().load());
    trust.take_list(&list, unix(start())).unwrap();
    verifier.trust().replace(trust);
    court.is_told(2, 0, &Proof::new(finding, &votes));
    assert_eq!(court.sees(1), Some(State::Alive));
    assert_eq!((court.counted("vote-signature"), court.counted("proof")), (1, 1));
    votes[4] = court.vote(7, 7, &finding);
    court.is_told(2, 0, &Proof::new(finding, &votes));
    assert_eq!(court.sees(1), Some(State::Dead));
}

/// Rules S-13 and S-15: a vote under a certificate that we have not seen yet waits for the record
/// that shows it, and what was verified meanwhile is not verified again.
#[test]
fn a_vote_under_a_new_certificate_waits_for_its_record() {
    let ca = mesh_ca();
    let mut court = Court::under(&ca);
    let renewed: Arc<Credentials> = credentials(&ca, &name(6));
    court.members[6] = Arc::new(MeshAuthority::new(renewed, Arc::new(Intermediates::default())));
    let finding = finding(1, 0, 9);
    let proof = Proof::new(finding, &court.votes(&[2, 3, 4, 5, 6], &finding));
    court.is_told(2, 0, &proof);
    assert_eq!(court.sees(1), Some(State::Alive));
    assert_eq!((court.counted("unknown-signer"), court.counted("proof")), (1, 0), "it waits");
    let shown = SignedRecord::author(record(6, 1), court.members[6].as_ref()).unwrap();
    court.hears(2, kind::RECORD, shown.envelope());
    court.hears(2, kind::PROOF, &proof.bytes);
    assert_eq!(court.sees(1), Some(State::Dead));
}

/// Rule S-13: no signature of a record is one of a vote, nor the other way round.
#[test]
fn a_signature_says_one_thing() {
    let court = Court::sits();
    let keys = court.members[2].as_ref();
    let signed = SignedRecord::author(record(2, 4), keys).unwrap();
    let vote = court.vote(2, 2, &finding(1, 0, 9)).seal;
    let message = finding(1, 0, 9).message(CLUSTER, id(2), &signed.signer());
    let judge = court.members[0].as_ref();
    assert_eq!(signed.attests(&message, &vote.signature, judge), Ok(()));
    let mut as_record = signed.envelope().to_vec();
    let at = as_record.len() - 32 * keys.intermediates().len() - keys.leaf().len();
    let length = usize::from(u16::from_le_bytes([as_record[6], as_record[7]]));
    as_record.splice(at - length..at, vote.signature.bytes.iter().copied());
    as_record[6..8].copy_from_slice(&(vote.signature.bytes.len() as u16).to_le_bytes());
    assert!(SignedRecord::verify(&as_record, CLUSTER, 4_096, judge).is_err());
    let of_record = mesh_gossip_proto::Signature {
        scheme: vote.signature.scheme,
        bytes: signed.envelope()[at - length..at].to_vec(),
    };
    assert!(signed.attests(&message, &of_record, judge).is_err());
}

/// Rule S-13: nobody votes in a case that it was not asked about, and a ballot of death without a
/// signature of the voter is none.
#[test]
fn whoever_leads_counts_signed_ballots_of_whom_it_asked() {
    let mut court = Court::sits();
    // Nobody answers any ping; one of them talks, so that the node is not cut off.
    let mut asked = BTreeSet::new();
    let mut first = None;
    for second in 1..60 {
        court.hears(18, kind::HINT, &id(18).0);
        court.until(second * 1_000);
        let questions = court.sent_of(kind::VERIFY);
        let about = |body: &[u8]| (body[..16].to_vec(), body[28..36].to_vec());
        first = questions.first().map(|(_, body)| about(body));
        let same = questions.iter().filter(|(_, body)| Some(about(body)) == first);
        asked = same.map(|(voter, _)| *voter).collect();
        if asked.len() >= 7 {
            break;
        }
    }
    let (subject, round) = first.expect("a case is opened");
    let subject = MemberId(subject.try_into().unwrap());
    let round = u64::from_le_bytes(round.try_into().unwrap());
    let number = |member: MemberId| (1..=OTHERS).find(|n| id(*n) == member).unwrap();
    let (of, voters) = (number(subject), asked.iter().map(|voter| number(*voter)));
    let voters: Vec<usize> = voters.collect();
    let say = |court: &mut Court, from: usize, seal: Option<Seal>, round: u64| {
        let vote = Vote {
            subject: subject.0,
            incarnation: incarnation(0).into(),
            round: round.into(),
            ballot: Ballot::Dead as u8,
            reserved: [0; 3],
        };
        let mut bytes = vote.as_bytes().to_vec();
        if let Some(seal) = seal {
            seal.encode(&mut bytes);
        }
        court.hears(from, kind::VOTE, &bytes);
    };
    for voter in &voters {
        say(&mut court, *voter, None, round);
        let others = court.vote(*voter, 18, &finding(of, 0, round)).seal;
        say(&mut court, *voter, Some(others), round);
        let earlier = court.vote(*voter, *voter, &finding(of, 0, round ^ 1)).seal;
        say(&mut court, *voter, Some(earlier.clone()), round);
        say(&mut court, *voter, Some(earlier), round ^ 1);
    }
    let counted = ["unsigned-vote", "vote-signature", "vote"].map(|reason| court.counted(reason));
    let n = voters.len() as u64;
    assert_eq!(counted, [n, 2 * n, n]);
    assert_ne!(court.sees(of), Some(State::Dead));
}
