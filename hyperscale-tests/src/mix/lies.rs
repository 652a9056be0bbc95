//! What a member may say that is not so: claims about others, forged records, noise.

use mesh_gossip_proto::detector::proof::Proof;
use mesh_gossip_proto::detector::vote::{Finding, Seal, SignedVote};
use mesh_gossip_proto::member::Incarnation;
use mesh_gossip_proto::membership::record::RecordHash;
use mesh_gossip_proto::wire::message::{
    Body, Death, Hint, Notice, Packet, RecordPull, Suspicion, Update, Verify, Vote,
    WireIncarnation, kind,
};
use mesh_gossip_proto::{MemberId, SignedRecord, State};
use zerocopy::IntoBytes;

use super::Mix;
use crate::fault::{Fault, Fired};
use crate::table::SimTable;

const MOST_BYTES: usize = 1_100;
/// So many kinds of lies are drawn here.
const LIES: u8 = 14;

/// Whom a lie is about, and who tells it.
struct Victim {
    id: MemberId,
    incarnation: Incarnation,
    hash: RecordHash,
    envelope: Vec<u8>,
    /// The present incarnation of whoever is told.
    of_the_deceived: Incarnation,
    /// Place of the liar in the world: its keys are the only ones that it has.
    liar: usize,
}

impl<T: SimTable> Mix<T> {
    /// A running member tells another something about a third, or about either of the two.
    pub(super) fn lie(&mut self) {
        let running = self.world.running();
        if running.is_empty() {
            return;
        }
        let [by, to, about] = [0; 3].map(|_| running[self.rng.usize(..running.len())]);
        let record = self.world.node(about).local();
        let victim = Victim {
            id: self.world.id(about),
            incarnation: record.record().incarnation,
            hash: record.hash(),
            envelope: record.envelope().to_vec(),
            of_the_deceived: self.world.node(to).local().record().incarnation,
            liar: by,
        };
        let liar = self.world.id(by);
        let mut packet = Packet::default();
        for _ in 0..self.rng.usize(1..=3) {
            self.add_lie(&mut packet, liar, &victim);
        }
        let payload = packet.into_bytes();
        self.world.apply(&Fault::Inject { by, to, payload });
    }

    fn add_lie(&mut self, packet: &mut Packet, liar: MemberId, victim: &Victim) {
        let rng = &mut self.rng;
        let incarnation = some_incarnation(rng, victim.incarnation);
        let (id, round) = (victim.id.0, rng.u64(..4));
        let kind = rng.u8(..LIES);
        *told(self.world.fired_mut(), kind) += 1;
        let rng = &mut self.rng;
        match kind {
            0 => put(packet, &Suspicion { id, incarnation, accuser: liar.0 }),
            1 => put(
                packet,
                &Death {
                    id,
                    incarnation,
                    announcer: liar.0,
                    age_ms: rng.u32(..40_000).into(),
                    proof: rng.u64(..).into(),
                },
            ),
            2 => put(packet, &Notice { incarnation, announcer: liar.0 }),
            3 => {
                let state = if rng.bool() { State::Alive } else { State::Left };
                let hash = if rng.bool() { victim.hash } else { RecordHash(rng.u64(..)) };
                put(packet, &Update::new(victim.id, incarnation.into(), state, hash));
            }
            4 => put(packet, &RecordPull { id, hash: 0.into() }),
            5 => {
                let elapsed_ms = rng.u32(..30_000).into();
                let subject = id;
                put(packet, &Verify { subject, incarnation, round: round.into(), elapsed_ms });
            }
            6 => {
                let ballot = rng.u8(..5);
                let (subject, round) = (id, round.into());
                let vote = Vote { subject, incarnation, round, ballot, reserved: [0; 3] };
                let mut bytes = vote.as_bytes().to_vec();
                // With a signature of nobody's behind it, or none, or the liar's own.
                if rng.bool() {
                    bytes.extend((0..rng.usize(..90)).map(|_| rng.u8(..)));
                } else {
                    let incarnation = incarnation.into();
                    let finding = Finding { subject: victim.id, incarnation, round: 1 };
                    self.seal(&finding, liar, victim.liar).encode(&mut bytes);
                }
                packet.push_raw(MOST_BYTES, kind::VOTE, &bytes);
            }
            7 => put(packet, &Hint { subject: id }),
            8 => {
                // Its own record, changed by one bit: name, life, lifecycle or signature.
                let mut envelope = victim.envelope.clone();
                let at = rng.usize(..envelope.len());
                envelope[at] ^= 1 << rng.u8(..8);
                packet.push_raw(MOST_BYTES, kind::RECORD, &envelope);
            }
            9 => {
                let noise: Vec<u8> = (0..rng.usize(..300)).map(|_| rng.u8(..)).collect();
                packet.push_raw(MOST_BYTES, kind::PROOF, &noise);
            }
            10 => {
                let noise: Vec<u8> = (0..rng.usize(..64)).map(|_| rng.u8(..)).collect();
                packet.push_raw(MOST_BYTES, rng.u8(..40), &noise);
            }
            11 => drop(packet.push_raw(MOST_BYTES, kind::RECORD, &victim.envelope)),
            12 => {
                let incarnation = victim.of_the_deceived.into();
                put(packet, &Notice { incarnation, announcer: liar.0 });
            }
            _ => self.prove_a_lie(packet, liar, victim, incarnation),
        }
    }

    /// What the liar's keys make of a finding in the name of `voter`.
    fn seal(&self, finding: &Finding, voter: MemberId, liar: usize) -> Seal {
        let cluster = &self.world.node(liar).local().record().metadata.cluster_id;
        let seal = Seal::sign(finding, cluster, voter, &self.world.authority(liar));
        seal.expect("the model signs whatever it is given")
    }

    /// Votes of members that run, signed by the liar in their names.
    fn others_votes(&mut self, finding: &Finding, liar: usize) -> Vec<SignedVote> {
        let mut running = self.world.running();
        self.rng.shuffle(&mut running);
        let others = running.into_iter().take(8).filter(|voter| *voter != liar);
        let vote = |voter: usize| {
            let record = self.world.node(voter).local();
            let (voter, signer) = (record.record().id, signer_of(record));
            // As though it came from the voter's certificate, so that it is looked at.
            let seal = Seal { signer, ..self.seal(finding, voter, liar) };
            SignedVote { voter, seal }
        };
        others.map(vote).collect()
    }

    /// A death of `id` and the bytes of its proof, in which the liar votes for all others as well.
    pub(super) fn signed_for_everybody(
        &mut self,
        liar: usize,
        id: MemberId,
        incarnation: Incarnation,
    ) -> (Death, Vec<u8>) {
        let finding = Finding { subject: id, incarnation, round: self.rng.u64(..) };
        let announcer = self.world.id(liar);
        let mut votes = self.others_votes(&finding, liar);
        votes.push(SignedVote { voter: announcer, seal: self.seal(&finding, announcer, liar) });
        let proof = Proof::new(finding, &votes);
        let death = Death {
            id: id.0,
            incarnation: incarnation.into(),
            announcer: announcer.0,
            age_ms: 0.into(),
            proof: proof.hash.into(),
        };
        (death, proof.bytes.to_vec())
    }

    /// A death with its proof behind it, well formed: the voters are nobody, or too few, or real
    /// members, as many as one likes, in whose names the liar signed.
    fn prove_a_lie(
        &mut self,
        packet: &mut Packet,
        liar: MemberId,
        victim: &Victim,
        incarnation: WireIncarnation,
    ) {
        let round = self.rng.u64(..);
        let finding = Finding { subject: victim.id, incarnation: incarnation.into(), round };
        let own = SignedVote { voter: liar, seal: self.seal(&finding, liar, victim.liar) };
        let mut votes = vec![own];
        match self.rng.u8(..3) {
            0 => {}
            1 => {
                for _ in 0..self.rng.usize(1..=8) {
                    let voter = MemberId(self.rng.u128(..).to_be_bytes());
                    let seal = self.seal(&finding, voter, victim.liar);
                    votes.push(SignedVote { voter, seal });
                }
            }
            _ => votes.extend(self.others_votes(&finding, victim.liar)),
        }
        let proof = Proof::new(finding, &votes);
        let rng = &mut self.rng;
        put(
            packet,
            &Death {
                id: victim.id.0,
                incarnation,
                announcer: liar.0,
                age_ms: rng.u32(..20_000).into(),
                proof: proof.hash.into(),
            },
        );
        packet.push_raw(MOST_BYTES, kind::PROOF, &proof.bytes);
    }
}

/// The present incarnation, a past one, or one that nobody has signed.
fn some_incarnation(rng: &mut fastrand::Rng, present: Incarnation) -> WireIncarnation {
    match rng.u8(..4) {
        0 => Incarnation { generation: 0, counter: 0 },
        1 => Incarnation { generation: present.generation + 9, counter: 0 },
        2 => present.next(),
        _ => present,
    }
    .into()
}

/// The counter of a kind of lie.
fn told(fired: &mut Fired, kind: u8) -> &mut u64 {
    match kind {
        0 => &mut fired.lie_suspicion,
        1 => &mut fired.lie_death,
        2 => &mut fired.lie_notice,
        3 => &mut fired.lie_update,
        4 => &mut fired.lie_record_pull,
        5 => &mut fired.lie_verify,
        6 => &mut fired.lie_vote,
        7 => &mut fired.lie_hint,
        8 => &mut fired.lie_spoiled_record,
        9 => &mut fired.lie_noise_as_proof,
        10 => &mut fired.lie_noise,
        11 => &mut fired.lie_echoed_record,
        12 => &mut fired.lie_own_notice,
        _ => &mut fired.lie_proof,
    }
}

fn signer_of(record: &SignedRecord) -> u64 {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&record.signer()[..8]);
    u64::from_le_bytes(prefix)
}

fn put<B: Body>(packet: &mut Packet, body: &B) {
    packet.push(MOST_BYTES, body);
}
