//! Why a death is believed: the votes behind it (rule D-8).
//!
//! A death is gossiped with the hash of its proof; whoever has not seen the proof asks for it once
//! and keeps it as long as others may ask. Each vote is signed by its voter, so it makes no
//! difference who hands a proof over (rule S-13).
//!
//! Invariants: a proof names each voter once; only a proof that was believed is kept; the store
//! holds at most its limit, the oldest go; a death that waits has a place in the share of whoever
//! told of it first; the hash covers the signatures, so what was found of a vote holds for every
//! copy of the proof.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use arrayvec::ArrayVec;
use sha2::{Digest, Sha256};
use zerocopy::byteorder::little_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

use crate::detector::vote::{Finding, Seal, SignedVote};
use crate::error::DecodeError;
use crate::member::MemberId;
use crate::membership::shares::{Room, Shares};
use crate::membership::table::IdMap;
use crate::time::{Duration, Instant};
use crate::wire::message::{Death, ProofHeader};

/// Most votes in one proof: a case asks no more members.
const MOST_VOTES: usize = 64;
/// A proof that was asked for and has not come is asked for again, of the next who hinted at it.
const PATIENCE: Duration = Duration::from_millis(200);
/// So many requests, and the death is forgotten until somebody tells it again: where three in ten
/// datagrams are lost, one exchange in two fails, and twenty in a row once in a million.
const TIMES: usize = 20;
/// Members remembered that told of one death.
const SOURCES: usize = 4;

/// A decoded proof, its signatures unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What all votes say.
    pub finding: Finding,
    /// Who says so.
    pub voters: Vec<MemberId>,
    /// As it travels.
    pub bytes: Arc<[u8]>,
    /// First eight bytes of SHA-256 of the bytes.
    pub hash: u64,
}

impl Proof {
    /// Makes a proof of a closed case; of more voters than one proof holds the first count.
    pub fn new(finding: Finding, votes: &[SignedVote]) -> Self {
        let votes = &votes[..votes.len().min(MOST_VOTES)];
        let header = ProofHeader {
            subject: finding.subject.0,
            incarnation: finding.incarnation.into(),
            round: U64::new(finding.round),
            count: votes.len() as u8,
            reserved: [0; 3],
        };
        let mut bytes = header.as_bytes().to_vec();
        for vote in votes {
            bytes.extend_from_slice(&vote.voter.0);
            vote.seal.encode(&mut bytes);
        }
        let hash = hash_of(&bytes);
        let voters = votes.iter().map(|vote| vote.voter).collect();
        Self { finding, voters, bytes: bytes.into(), hash }
    }

    /// Reads a proof.
    ///
    /// # Errors
    /// [`DecodeError`] when the layout does not hold or a voter stands twice.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (finding, voters) = read(bytes)?;
        Ok(Self { finding, voters, bytes: bytes.into(), hash: hash_of(bytes) })
    }

    /// The votes with their signatures: read again from the bytes, which is what a proof keeps.
    pub fn votes(&self) -> Vec<SignedVote> {
        let mut rest = &self.bytes[size_of::<ProofHeader>()..];
        let mut votes = Vec::with_capacity(self.voters.len());
        while let Ok((vote, after)) = next_vote(rest) {
            votes.push(vote);
            rest = after;
        }
        assert_eq!(votes.len(), self.voters.len(), "the layout held when the proof was made");
        votes
    }
}

/// What the votes of a proof say, and whose they are.
fn read(bytes: &[u8]) -> Result<(Finding, Vec<MemberId>), DecodeError> {
    let (header, mut rest) =
        ProofHeader::read_from_prefix(bytes).map_err(|_| DecodeError::Truncated)?;
    if usize::from(header.count) > MOST_VOTES {
        return Err(DecodeError::Oversized("proof votes"));
    }
    let mut voters = Vec::with_capacity(header.count.into());
    for _ in 0..header.count {
        let (vote, after) = next_vote(rest)?;
        if voters.contains(&vote.voter) {
            return Err(DecodeError::Field("proof voter"));
        }
        voters.push(vote.voter);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(DecodeError::Field("trailing bytes"));
    }
    let finding = Finding {
        subject: MemberId(header.subject),
        incarnation: header.incarnation.into(),
        round: header.round.get(),
    };
    Ok((finding, voters))
}

fn next_vote(bytes: &[u8]) -> Result<(SignedVote, &[u8]), DecodeError> {
    let (voter, rest) = bytes.split_first_chunk::<16>().ok_or(DecodeError::Truncated)?;
    let (seal, rest) = Seal::decode(rest)?;
    Ok((SignedVote { voter: MemberId(*voter), seal }, rest))
}

fn hash_of(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(prefix)
}

/// A death that waits for its proof.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The claim.
    pub death: Death,
    /// When the judgement was passed, on our clock.
    pub since: Instant,
    began: Instant,
    asked: Instant,
    times: usize,
    /// Never empty; the first one's share holds it.
    sources: ArrayVec<MemberId, SOURCES>,
    /// Votes of its proof that were looked at, and whether they hold: none is verified twice.
    checked: Vec<(MemberId, bool)>,
}

impl Waiting {
    /// Who told of it first.
    pub fn source(&self) -> MemberId {
        self.sources[0]
    }

    /// What was found of the vote of `voter`, if it was looked at.
    pub fn found(&self, voter: MemberId) -> Option<bool> {
        self.checked.iter().find(|(known, _)| *known == voter).map(|(_, holds)| *holds)
    }

    /// The vote of `voter` was looked at.
    pub fn note(&mut self, voter: MemberId, holds: bool) {
        self.checked.push((voter, holds));
    }
}

/// What becomes of a death whose proof we lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It waits: ask for the proof.
    Begun,
    /// It waits already.
    UnderWay,
    /// There is no room.
    Refused,
}

/// Proofs known and deaths that wait for one.
#[derive(Clone, Debug, Default)]
pub struct Proofs {
    /// As they travel, which nodes of one process share: after a mass death there are thousands.
    known: BTreeMap<u64, Arc<[u8]>>,
    order: VecDeque<u64>,
    newest: IdMap<u64>,
    /// By proof and subject: a claim that names another's proof is another claim.
    waiting: BTreeMap<(u64, MemberId), Waiting>,
    shares: Shares,
}

impl Proofs {
    /// The proof with this hash.
    pub fn get(&self, hash: u64) -> Option<Proof> {
        let bytes = self.known.get(&hash)?.clone();
        let Ok((finding, voters)) = read(&bytes) else {
            unreachable!("its layout held when it was made")
        };
        Some(Proof { finding, voters, bytes, hash })
    }

    /// The proof with this hash, as it travels.
    pub fn bytes_of(&self, hash: u64) -> Option<&Arc<[u8]>> {
        self.known.get(&hash)
    }

    /// The newest proof about `subject`.
    pub fn hash_for(&self, subject: MemberId) -> Option<u64> {
        self.newest.get(&subject).copied()
    }

    /// Keeps a proof; beyond `limit` the oldest goes. Returns how many went.
    pub fn keep(&mut self, proof: Proof, limit: usize) -> u64 {
        let mut gone = 0;
        let (hash, subject) = (proof.hash, proof.finding.subject);
        if self.known.insert(hash, proof.bytes).is_none() {
            self.order.push_back(hash);
            self.newest.insert(subject, hash);
        }
        while self.order.len() > limit {
            let Some(oldest) = self.order.pop_front() else { break };
            let Some(bytes) = self.known.remove(&oldest) else { continue };
            gone += 1;
            // Where the newest about a member goes, the older ones have gone before.
            if let Ok((header, _)) = ProofHeader::ref_from_prefix(&bytes)
                && self.hash_for(MemberId(header.subject)) == Some(oldest)
            {
                self.newest.remove(&MemberId(header.subject));
            }
        }
        gone
    }

    /// A death came from `from`, whose proof we lack: whether it waits for that, among `limit` at
    /// most.
    pub fn wait(
        &mut self,
        now: Instant,
        from: MemberId,
        death: Death,
        since: Instant,
        limit: usize,
    ) -> Wait {
        let key = (death.proof.get(), MemberId(death.id));
        if let Some(waiting) = self.waiting.get_mut(&key) {
            if !waiting.sources.contains(&from) && !waiting.sources.is_full() {
                waiting.sources.push(from);
            }
            return Wait::UnderWay;
        }
        match self.shares.room(from, self.waiting.len(), limit) {
            Room::Free => {}
            Room::InsteadOf(source) => self.drop_oldest_of(source),
            Room::None => return Wait::Refused,
        }
        let sources = ArrayVec::from_iter([from]);
        let checked = Vec::new();
        let waiting = Waiting { death, since, began: now, asked: now, times: 1, sources, checked };
        self.waiting.insert(key, waiting);
        self.shares.take(from);
        Wait::Begun
    }

    fn drop_oldest_of(&mut self, source: MemberId) {
        let held = self.waiting.iter().filter(|(_, waiting)| waiting.source() == source);
        if let Some((hash, subject)) =
            held.min_by_key(|(_, waiting)| waiting.began).map(|(k, _)| *k)
        {
            self.take_waiting(hash, subject);
        }
    }

    /// The death of `subject` that waits for this proof.
    pub fn waiting_mut(&mut self, hash: u64, subject: MemberId) -> Option<&mut Waiting> {
        self.waiting.get_mut(&(hash, subject))
    }

    /// Deaths whose proof has not come however often it was asked for: they wait no longer. Who
    /// told of whose.
    pub fn given_up(&mut self, now: Instant) -> Vec<(MemberId, MemberId)> {
        let over = self
            .waiting
            .iter()
            .filter(|(_, death)| death.times >= TIMES && now.since(death.asked) >= PATIENCE);
        let over: Vec<_> = over.map(|((hash, id), death)| (*hash, *id, death.source())).collect();
        for (hash, subject, _) in &over {
            self.take_waiting(*hash, *subject);
        }
        over.into_iter().map(|(_, subject, source)| (source, subject)).collect()
    }

    /// Requests to be repeated at `now`: whom to ask for which proof of whose death. They count as
    /// repeated.
    pub fn overdue(&mut self, now: Instant) -> Vec<(MemberId, MemberId, u64)> {
        let due = self.waiting.iter_mut().filter(|(_, death)| now.since(death.asked) >= PATIENCE);
        let again = due.map(|((hash, subject), waiting)| {
            let source = waiting.sources[waiting.times % waiting.sources.len()];
            waiting.asked = now;
            waiting.times += 1;
            (source, *subject, *hash)
        });
        again.collect()
    }

    /// When the next request is to be repeated.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.values().map(|death| death.asked + PATIENCE).min()
    }

    /// Takes the death of `subject` that waited for this proof.
    pub fn take_waiting(&mut self, hash: u64, subject: MemberId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&(hash, subject))?;
        self.shares.release(waiting.source());
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Incarnation;
    use crate::membership::record::Signature;
    use proptest::prelude::*;

    const INCARNATION: Incarnation = Incarnation { generation: 3, counter: 1 };

    fn id(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    fn proof_of(subject: u8, round: u64, voters: &[u8]) -> Proof {
        let finding = Finding { subject: id(subject), incarnation: INCARNATION, round };
        let vote = |voter: &u8| {
            let signature = Signature { scheme: 0x0403, bytes: Vec::from([*voter; 72]) };
            SignedVote { voter: id(*voter), seal: Seal { signer: 5, signature } }
        };
        Proof::new(finding, &voters.iter().map(vote).collect::<Vec<_>>())
    }

    /// Rule D-8.
    #[test]
    fn a_proof_survives_its_bytes_and_names_a_voter_once() {
        let proof = proof_of(1, 77, &[2, 3]);
        assert_eq!(Proof::decode(&proof.bytes), Ok(proof.clone()));
        assert_eq!(proof.votes()[1].seal.signature.bytes, [3; 72]);
        assert_eq!(proof.bytes.len(), 240);
        let twice = proof_of(1, 77, &[2, 2]);
        assert_eq!(Proof::decode(&twice.bytes), Err(DecodeError::Field("proof voter")));
        assert_eq!(Proof::decode(&proof.bytes[..239]), Err(DecodeError::Truncated));
        let longer = [&proof.bytes[..], &[0]].concat();
        assert_eq!(Proof::decode(&longer), Err(DecodeError::Field("trailing bytes")));
    }

    #[test]
    fn a_proof_is_asked_for_in_turn_and_not_for_ever() {
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let death = |proof: u64| Death {
            id: id(1).0,
            incarnation: INCARNATION.into(),
            announcer: id(2).0,
            age_ms: 0.into(),
            proof: proof.into(),
        };
        let mut proofs = Proofs::default();
        assert_eq!(proofs.wait(at(0), id(7), death(1), at(0), 1), Wait::Begun);
        assert_eq!(proofs.wait(at(10), id(8), death(1), at(0), 1), Wait::UnderWay);
        assert_eq!(proofs.wait(at(10), id(7), death(2), at(0), 1), Wait::Refused, "bounded");
        assert_eq!(proofs.due(), Some(at(200)));
        let asked: Vec<_> = (1..20).map(|turn| proofs.overdue(at(200 * turn))).collect();
        let of = |source| Vec::from([(source, id(1), 1)]);
        assert_eq!(asked[..3], [of(id(8)), of(id(7)), of(id(8))], "in turn");
        assert_eq!(asked[18].len(), 1);
        assert_eq!(proofs.given_up(at(3_999)), []);
        assert_eq!(proofs.given_up(at(4_000)), [(id(7), id(1))], "not for ever");
        assert_eq!(
            proofs.wait(at(6_000), id(7), death(2), at(0), 1),
            Wait::Begun,
            "that made room"
        );
        assert!(proofs.take_waiting(1, id(1)).is_none());
        assert!(proofs.take_waiting(2, id(2)).is_none(), "of whom it was not told");
        assert!(proofs.take_waiting(2, id(1)).is_some());
    }

    #[test]
    fn the_oldest_proofs_go_and_the_newest_of_a_member_is_known() {
        let mut proofs = Proofs::default();
        let proof = |n, round| proof_of(n, round, &[]);
        for (n, round) in [(0, 1), (1, 1), (1, 2), (2, 1)] {
            proofs.keep(proof(n, round), 3);
        }
        assert_eq!((proofs.known.len(), proofs.order.len(), proofs.newest.len()), (3, 3, 2));
        assert_eq!(proofs.hash_for(id(0)), None);
        assert_eq!(proofs.hash_for(id(1)), Some(proof(1, 2).hash));
        proofs.keep(proof(3, 1), 3);
        assert_eq!(proofs.hash_for(id(1)), Some(proof(1, 2).hash), "an older one went");
        proofs.keep(proof(4, 1), 3);
        assert_eq!(proofs.hash_for(id(1)), None);
    }

    /// Rule B-1: when all places are taken, whoever holds most makes room.
    #[test]
    fn nobody_holds_all_places() {
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        let death = |proof: u64| Death {
            id: id(1).0,
            incarnation: INCARNATION.into(),
            announcer: id(2).0,
            age_ms: 0.into(),
            proof: proof.into(),
        };
        let mut proofs = Proofs::default();
        let flood = (1..=4_096u64).map(|n| proofs.wait(at(n), id(7), death(n), at(0), 4_096));
        assert_eq!(flood.filter(|wait| *wait == Wait::Begun).count(), 256);
        assert_eq!(proofs.wait(at(5_000), id(8), death(5_000), at(0), 256), Wait::Begun);
        assert_eq!(proofs.waiting.len(), 256);
        assert!(!proofs.waiting.contains_key(&(1, id(1))), "the oldest went");
        assert_eq!(proofs.wait(at(5_000), id(7), death(6_000), at(0), 256), Wait::Refused);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(proof) = Proof::decode(&bytes) {
                prop_assert!(proof.voters.len() <= MOST_VOTES);
            }
        }
    }
}
