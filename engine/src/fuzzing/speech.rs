//! What a member can say in one message, its fields chosen so that they mean something.

use std::net::Ipv4Addr;

use mesh_gossip_proto::membership::digest;
use mesh_gossip_proto::sync::sketch::Sketch;
use mesh_gossip_proto::wire::message::{
    Ack, Body, Death, DifferenceHeader, Hint, LeaveAck, Nack, Notice, Ping, PingRequest, ProofPull,
    RecordByStream, RecordPull, RelayedAck, SketchHeader, Suspicion, TicketHeader, TicketPeer,
    TicketPull, Update, Verify, Vote, WireIncarnation, kind,
};
use mesh_gossip_proto::{Incarnation, MemberId, RecordHash, State};
use zerocopy::IntoBytes;

use super::input::Input;

/// What is spoken of.
pub(super) struct Topic {
    pub(super) about: MemberId,
    pub(super) whose: MemberId,
    pub(super) at: Incarnation,
    /// Of the last ping that the speaker got, or near it.
    pub(super) sequence: u32,
    /// Of the last question.
    pub(super) round: u64,
    /// Of the last proof, or 0.
    pub(super) proof: u64,
    /// Bits that twist the rest.
    pub(super) bend: u8,
}

/// A kind and its body.
type Said = (u8, Vec<u8>);

fn said<B: Body>(body: &B) -> Said {
    (B::KIND, body.as_bytes().to_vec())
}

impl Topic {
    /// One of seventeen messages.
    pub(super) fn said(&self, choice: u8, input: &mut Input<'_>) -> Said {
        match choice {
            0..=4 => self.of_probes(choice, input),
            5..=11 => self.of_members(choice, input),
            _ => self.of_verdicts(choice, input),
        }
    }

    /// A vote in the round that was asked for.
    pub(super) fn ballot(&self, ballot: u8) -> Vote {
        let (subject, incarnation) = (self.about.0, self.at.into());
        Vote { subject, incarnation, round: self.round.into(), ballot, reserved: [0; 3] }
    }

    /// A sketch, a difference or a want.
    pub(super) fn of_views(&self, choice: u8, input: &mut Input<'_>) -> Said {
        let (salt, parts) = (u64::from(self.bend & 3), u16::from(self.bend >> 4) + 1);
        let part = u16::from(input.byte()) % parts;
        let share = digest::share(self.about, RecordHash(input.byte().into()));
        match choice {
            253 => {
                let mut sketch = Sketch::new(salt);
                (0..input.below(99)).for_each(|n| sketch.add(share ^ n as u64));
                let header =
                    SketchHeader { salt: salt.into(), part: part.into(), parts: parts.into() };
                (kind::SKETCH, [header.as_bytes(), &sketch.to_bytes()].concat())
            }
            254 => {
                let header = DifferenceHeader {
                    salt: salt.into(),
                    part: part.into(),
                    parts: parts.into(),
                    size: (u32::from(input.word()) << (self.bend & 8)).into(),
                    offered: u16::from(self.bend & 1).into(),
                    outcome: self.bend % 5,
                    reserved: 0,
                };
                (kind::DIFFERENCE, [header.as_bytes(), &share.to_le_bytes(), &[0; 8]].concat())
            }
            _ => (kind::WANT, [share.to_le_bytes(), [self.bend; 8]].concat()),
        }
    }

    /// A ticket, or the wish for one.
    pub(super) fn of_joins(&self, choice: u8, input: &mut Input<'_>) -> Said {
        if choice == 251 {
            return said(&TicketPull { pointed: self.bend & 1, reserved: [0; 3] });
        }
        let named: Vec<TicketPeer> = (0..input.below(6) as u16)
            .map(|n| TicketPeer {
                id: if n & 1 == 0 { self.about.0 } else { self.whose.0 },
                address: Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets(),
                port: (n * u16::from(self.bend)).into(),
            })
            .collect();
        let (granted, count) = (self.bend & 1, named.len() as u8);
        let header = TicketHeader { granted, count, reserved: [0; 2] };
        (kind::TICKET, [header.as_bytes(), named.as_bytes()].concat())
    }

    fn of_probes(&self, choice: u8, input: &mut Input<'_>) -> Said {
        let (sequence, digest) = (self.sequence.into(), u64::from(self.bend & 1).into());
        let incarnation: WireIncarnation = self.at.into();
        match choice {
            0 => said(&Ping { sequence, digest }),
            1 => {
                let (baseline, phase_error) = (input.word().into(), (input.word() as i16).into());
                said(&Ack { sequence, incarnation, digest, baseline, phase_error })
            }
            2 => {
                let (timeout_ms, target) = (input.word().into(), self.about.0);
                said(&PingRequest { sequence, timeout_ms, reserved: 0.into(), target })
            }
            3 => said(&Nack { sequence }),
            _ => said(&RelayedAck { sequence, incarnation }),
        }
    }

    fn of_members(&self, choice: u8, input: &mut Input<'_>) -> Said {
        let (id, incarnation) = (self.about.0, self.at.into());
        match choice {
            5 => {
                let state = if self.bend & 4 == 0 { State::Alive } else { State::Left };
                let hash = RecordHash(input.byte().into());
                said(&Update::new(self.about, self.at, state, hash))
            }
            6 => said(&Suspicion { id, incarnation, accuser: self.whose.0 }),
            7 => said(&Death {
                id,
                incarnation,
                announcer: self.whose.0,
                age_ms: (u32::from(input.byte()) * 100).into(),
                proof: self.proof.into(),
            }),
            8 => said(&Notice { incarnation, announcer: self.whose.0 }),
            9 => said(&RecordPull { id, hash: u64::from(input.byte()).into() }),
            10 => said(&RecordByStream { id }),
            _ => said(&LeaveAck { incarnation }),
        }
    }

    fn of_verdicts(&self, choice: u8, input: &mut Input<'_>) -> Said {
        let (subject, incarnation) = (self.about.0, self.at.into());
        match choice {
            12 => {
                let round = u64::from(input.byte()).into();
                let elapsed_ms = (u32::from(input.byte()) * 50).into();
                said(&Verify { subject, incarnation, round, elapsed_ms })
            }
            13 | 14 => said(&self.ballot(input.byte() % 5)),
            15 => said(&Hint { subject }),
            _ => said(&ProofPull { subject, proof: self.proof.into() }),
        }
    }
}
