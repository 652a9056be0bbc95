//! Lies whose refusal can be seen: each is told alone, to somebody who knows better, and has to be
//! counted there and to change nothing.
//!
//! Forged claims are signed with the liar's own keys, the only ones that it has; stale ones were true
//! once, and are kept and told again.
//!
//! Invariant: whoever is told holds the subject at a higher incarnation than a stale claim names.

use std::sync::Arc;

use mesh_gossip_proto::wire::message::{Death, Message, Messages, Notice, Packet, kind};
use mesh_gossip_proto::{
    Detector, Incarnation, Lifecycle, MemberId, NodeRecord, RecordHash, SignedRecord, State, Stats,
};

use super::Mix;
use crate::checkers::{REFUSED_AND_COUNTED, Violation};
use crate::fault::{Fault, Fired};
use crate::table::SimTable;

const MOST_BYTES: usize = 1_100;
/// So much of the past is kept.
const KEPT: usize = 48;
/// Words in a storm of notices: a datagram full.
const STORM: usize = 30;
/// Kinds of lies here.
const KINDS: u8 = 7;

/// What was said once.
#[derive(Default)]
pub(super) struct Archive {
    records: Vec<Arc<SignedRecord>>,
    /// Announced deaths, and the proof where it passed by.
    deaths: Vec<(Death, Option<Vec<u8>>)>,
}

/// What is told, and the counter of its kind.
struct Told {
    fault: Fault,
    count: fn(&mut Fired) -> &mut u64,
    about: MemberId,
    /// The counter that has to rise where it is told; any will do where none is named.
    reason: Option<&'static str>,
}

/// What a node holds of a member that no lie may change.
type Held = Option<(Incarnation, RecordHash, bool)>;

fn refusals(stats: &Stats, reason: Option<&'static str>) -> u64 {
    match reason {
        Some(reason) => stats.rejected.get(reason).copied().unwrap_or(0),
        None => stats.rejected.values().sum::<u64>() + stats.members_refused + stats.proofs_dropped,
    }
}

impl Archive {
    fn keep<V>(kept: &mut Vec<V>, value: V, at: usize) {
        if kept.len() < KEPT { kept.push(value) } else { kept[at % KEPT] = value }
    }
}

impl<T: SimTable> Mix<T> {
    /// Remembers what is true at present: some day it will not be.
    pub(super) fn remember(&mut self) {
        let running = self.world.running();
        if running.is_empty() {
            return;
        }
        let node = running[self.rng.usize(..running.len())];
        let record = self.world.node(node).local().clone();
        if !self.archive.records.contains(&record) {
            Archive::keep(&mut self.archive.records, record, self.rng.usize(..KEPT));
        }
        let (mut deaths, mut proofs) = (Vec::new(), Vec::new());
        for datagram in self.world.said_lately() {
            for message in Messages::new(datagram) {
                match message {
                    Ok(Message::Death(death)) => deaths.push(*death),
                    Ok(Message::Proof(bytes)) => proofs.push(bytes.to_vec()),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        for death in deaths {
            let same = |kept: &&mut (Death, Option<Vec<u8>>)| {
                (kept.0.id, kept.0.incarnation) == (death.id, death.incarnation)
            };
            let of = |bytes: &&Vec<u8>| bytes.starts_with(&death.id);
            let proof = proofs.iter().find(of).cloned();
            match self.archive.deaths.iter_mut().find(same) {
                Some(kept) => kept.1 = kept.1.take().or(proof),
                None => {
                    Archive::keep(&mut self.archive.deaths, (death, proof), self.rng.usize(..KEPT));
                }
            }
        }
    }

    /// A running member tells another, who listens and stays, something that has to be refused.
    ///
    /// # Errors
    /// When it was not counted, or changed what the other holds of its subject.
    pub(super) fn lie_openly(&mut self) -> Result<(), Violation> {
        let roll = self.world.roll();
        let listens = |node: &usize| {
            let standing = roll.standing(*node);
            standing.up && !standing.paused && !standing.leaving
        };
        let listening: Vec<usize> = self.world.running().into_iter().filter(listens).collect();
        if listening.len() < 3 {
            return Ok(());
        }
        let [by, to, about] = [0; 3].map(|_| listening[self.rng.usize(..listening.len())]);
        if by == to || by == about {
            return Ok(());
        }
        let told = match self.rng.u8(..KINDS) {
            0 => self.forged_leave(by, to, about),
            1 => self.forged_metadata(by, to, about),
            2 => self.stale_record(by, to),
            3 => self.stale_state(by, to),
            4 => self.replayed_death(by, to),
            5 => self.forged_proof(by, to, about),
            _ => self.notice_storm(by, to),
        };
        told.map_or(Ok(()), |told| self.tell_and_see(to, &told))
    }

    fn tell_and_see(&mut self, to: usize, told: &Told) -> Result<(), Violation> {
        let seen = |mix: &Self| -> (u64, Held) {
            let node = mix.world.node(to);
            let held = |member: &mesh_gossip_proto::Member| {
                (member.incarnation(), member.record.hash(), member.state.is_present())
            };
            (refusals(&node.stats(), told.reason), node.member(told.about).map(held))
        };
        let (counted, held) = seen(self);
        *(told.count)(self.world.fired_mut()) += 1;
        self.world.apply(&told.fault);
        let (counted_after, held_after) = seen(self);
        // Whoever hears of its own end answers with a higher incarnation, once (rule F-7).
        let own = told.about == self.world.id(to);
        let unchanged = if own {
            held.map(|held| held.2) == held_after.map(|held| held.2)
        } else {
            held == held_after
        };
        if counted_after > counted && unchanged {
            return Ok(());
        }
        let what = format!(
            "{to} counted {} refusals and holds {held_after:?} after {held:?}: {:?}",
            counted_after - counted,
            told.fault
        );
        Err(self.named(self.world.violated(REFUSED_AND_COUNTED, what)))
    }

    /// The next record of `about` as `by` would like it, signed with the keys that `by` has.
    fn forged(
        &self,
        by: usize,
        to: usize,
        about: usize,
        count: fn(&mut Fired) -> &mut u64,
        edit: impl FnOnce(&mut NodeRecord),
    ) -> Option<Told> {
        let mut record = self.world.node(about).local().record().clone();
        let held = self.world.node(to).member(record.id).map(|member| member.incarnation());
        record.incarnation = record.incarnation.max(held.unwrap_or_default()).next();
        edit(&mut record);
        let id = record.id;
        let forged = SignedRecord::author(record, &self.world.authority(by))?;
        let fault = whole(by, to, kind::RECORD, forged.envelope())?;
        Some(Told { fault, count, about: id, reason: None })
    }

    fn forged_leave(&mut self, by: usize, to: usize, about: usize) -> Option<Told> {
        self.forged(
            by,
            to,
            about,
            |fired| &mut fired.lie_forged_leave,
            |record| {
                record.lifecycle = Lifecycle::Leaving;
            },
        )
    }

    fn forged_metadata(&mut self, by: usize, to: usize, about: usize) -> Option<Told> {
        self.forged(
            by,
            to,
            about,
            |fired| &mut fired.lie_forged_metadata,
            |record| {
                record.metadata.region = "nowhere".into();
            },
        )
    }

    /// A record that `to` knows to be superseded.
    fn superseded(&mut self, to: usize) -> Option<Arc<SignedRecord>> {
        let table = self.world.node(to).table();
        let is_stale = |record: &&Arc<SignedRecord>| {
            let content = record.record();
            let known = table.get(content.id).map(|member| member.incarnation());
            known.is_some_and(|known| known > content.incarnation)
        };
        let stale: Vec<_> = self.archive.records.iter().filter(is_stale).cloned().collect();
        (!stale.is_empty()).then(|| stale[self.rng.usize(..stale.len())].clone())
    }

    fn stale_record(&mut self, by: usize, to: usize) -> Option<Told> {
        let old = self.superseded(to)?;
        let fault = whole(by, to, kind::RECORD, old.envelope())?;
        let about = old.record().id;
        Some(Told { fault, count: |fired| &mut fired.lie_stale_record, about, reason: None })
    }

    /// A state from the past, over a stream: there the record is, and what was held of its subject.
    fn stale_state(&mut self, by: usize, to: usize) -> Option<Told> {
        let old = self.superseded(to)?;
        let states = [State::Alive, State::Suspect, State::Dead, State::Left];
        let state = states[self.rng.usize(..states.len())];
        let mut entries = vec![state as u8, 0, 0, 0];
        entries.extend(self.rng.u32(..20_000).to_le_bytes());
        entries.extend((old.envelope().len() as u32).to_le_bytes());
        entries.extend_from_slice(old.envelope());
        let fault = Fault::InjectState { by, to, entries };
        let about = old.record().id;
        Some(Told { fault, count: |fired| &mut fired.lie_stale_state, about, reason: None })
    }

    /// The announced death of a life that is over, with its true proof if that was seen.
    fn replayed_death(&mut self, by: usize, to: usize) -> Option<Told> {
        let table = self.world.node(to).table();
        let is_stale = |(death, _): &&(Death, Option<Vec<u8>>)| {
            let known = table.get(MemberId(death.id)).map(|member| member.incarnation());
            known.is_some_and(|known| known > death.incarnation.into())
        };
        let stale: Vec<_> = self.archive.deaths.iter().filter(is_stale).cloned().collect();
        if stale.is_empty() {
            return None;
        }
        let (death, proof) = stale[self.rng.usize(..stale.len())].clone();
        let mut packet = Packet::default();
        let young = Death { age_ms: self.rng.u32(..14_000).into(), ..death };
        packet.push(MOST_BYTES, &young);
        if let Some(proof) = &proof {
            packet.push_raw(MOST_BYTES, kind::PROOF, proof);
        }
        let fault = Fault::Inject { by, to, payload: packet.into_bytes() };
        let about = MemberId(death.id);
        Some(Told { fault, count: |fired| &mut fired.lie_replayed_death, about, reason: None })
    }

    /// A death of somebody who lives, with a proof in which the liar signed for everybody.
    fn forged_proof(&mut self, by: usize, to: usize, about: usize) -> Option<Told> {
        // Among `lifeguard`'s members one word is enough: that is what proofs are for.
        match self.detector {
            Detector::Observers => {}
            Detector::Lifeguard | Detector::Swim => return None,
        }
        let id = self.world.id(about);
        let member = self.world.node(to).member(id).filter(|member| member.state.is_present())?;
        let incarnation = member.incarnation();
        let (death, proof) = self.signed_for_everybody(by, id, incarnation);
        let mut packet = Packet::default();
        packet.push(MOST_BYTES, &death);
        packet.push_raw(MOST_BYTES, kind::PROOF, &proof);
        let fault = Fault::Inject { by, to, payload: packet.into_bytes() };
        let told =
            Told { fault, count: |fired| &mut fired.lie_forged_proof, about: id, reason: None };
        (about != to).then_some(told)
    }

    /// "You are dead", again and again.
    fn notice_storm(&mut self, by: usize, to: usize) -> Option<Told> {
        let about = self.world.id(to);
        let incarnation = self.world.node(to).local().record().incarnation.into();
        let notice = Notice { incarnation, announcer: self.world.id(by).0 };
        let mut packet = Packet::default();
        for _ in 0..STORM {
            packet.push(MOST_BYTES, &notice);
        }
        let fault = Fault::Inject { by, to, payload: packet.into_bytes() };
        let reason = Some("notice-budget");
        Some(Told { fault, count: |fired| &mut fired.lie_notice_storm, about, reason })
    }
}

/// One message, if it fits a datagram.
fn whole(by: usize, to: usize, kind: u8, body: &[u8]) -> Option<Fault> {
    let mut packet = Packet::default();
    let fits = packet.push_raw(MOST_BYTES, kind, body);
    fits.then(|| Fault::Inject { by, to, payload: packet.into_bytes() })
}
