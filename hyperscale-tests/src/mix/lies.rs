//! What a member may say that is not so: claims about others, forged records, noise.

use mesh_gossip_proto::detector::proof::Proof;
use mesh_gossip_proto::member::Incarnation;
use mesh_gossip_proto::membership::record::RecordHash;
use mesh_gossip_proto::wire::message::{
    Body, Death, Hint, Notice, Packet, RecordPull, Suspicion, Update, Verify, Vote,
    WireIncarnation, kind,
};
use mesh_gossip_proto::{MemberId, State};
use zerocopy::IntoBytes;

use super::Mix;
use crate::fault::Fault;
use crate::table::SimTable;

const MOST_BYTES: usize = 1_100;
/// So many kinds of lies.
const LIES: u8 = 14;

/// Whom a lie is about.
struct Victim {
    id: MemberId,
    incarnation: Incarnation,
    hash: RecordHash,
    envelope: Vec<u8>,
    /// The present incarnation of whoever is told.
    of_the_deceived: Incarnation,
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
        // The present incarnation, a past one, or one that nobody has signed.
        let incarnation: WireIncarnation = match rng.u8(..4) {
            0 => Incarnation { generation: 0, counter: 0 },
            1 => Incarnation { generation: victim.incarnation.generation + 9, counter: 0 },
            2 => victim.incarnation.next(),
            _ => victim.incarnation,
        }
        .into();
        let (id, round) = (victim.id.0, rng.u64(..4));
        match rng.u8(..LIES) {
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
                // With a signature of nobody's behind it, or none.
                bytes.extend((0..rng.usize(..72)).map(|_| rng.u8(..)));
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

    /// A death with its proof behind it, well formed: but the voters are nobody, or too few.
    ///
    /// Not among the lies: a proof with the ids of a quorum of real members. Votes in a proof bear
    /// no signature, so that one cannot be told from a true one; whoever relays it vouches for it.
    fn prove_a_lie(
        &mut self,
        packet: &mut Packet,
        liar: MemberId,
        victim: &Victim,
        incarnation: WireIncarnation,
    ) {
        let rng = &mut self.rng;
        let mut voters = vec![liar];
        if rng.bool() {
            voters.extend((0..rng.usize(1..=8)).map(|_| MemberId(rng.u128(..).to_be_bytes())));
        }
        let proof = Proof::new(victim.id, incarnation.into(), rng.u64(..), voters);
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

fn put<B: Body>(packet: &mut Packet, body: &B) {
    packet.push(MOST_BYTES, body);
}
