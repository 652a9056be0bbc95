//! What a node says of itself while it lives and when it goes: metadata, lifecycle, the signed
//! leave (rules R-6 and L-1).
//!
//! Invariant: every record that we publish has a higher incarnation than the one before.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Node, Peer};
use crate::config::Config;
use crate::error::CommandError;
use crate::event::{Event, Timer};
use crate::member::{Lifecycle, MemberId, State};
use crate::membership::record::{NodeRecord, SignedRecord, document};
use crate::membership::table::{Member, MemberTable};
use crate::metadata::Metadata;
use crate::time::{Duration, Instant};

/// Members that get the leave directly.
const WITNESSES: usize = 8;
/// Acknowledgements that make the leave complete.
const ENOUGH: usize = 3;
/// The leave is repeated so often.
const REPEAT: Duration = Duration::from_millis(200);
/// And given up after so many repetitions.
const REPETITIONS: u32 = 15;

/// How far a leave has come.
#[derive(Clone, Debug, Default)]
pub(super) enum Departure {
    /// Not leaving.
    #[default]
    Staying,
    /// The signed leave is out.
    Leaving { witnesses: Vec<MemberId>, acknowledged: Vec<MemberId>, repetitions: u32 },
    /// Nothing is sent or heard any more; so many acknowledged the leave.
    Stopped { acknowledged: usize },
}

impl Departure {
    pub(super) fn is_leaving(&self) -> bool {
        match self {
            Self::Staying => false,
            Self::Leaving { .. } | Self::Stopped { .. } => true,
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }
}

/// Refuses metadata that nobody would accept.
pub(super) fn check(record: &NodeRecord, config: &Config) -> Result<(), CommandError> {
    if let Some(name) = record.metadata.missing() {
        return Err(CommandError::MetadataMissing(name));
    }
    let (bytes, limit) = (document(record).len(), config.limits.metadata_bytes);
    if bytes > limit {
        return Err(CommandError::MetadataTooLarge(bytes, limit));
    }
    Ok(())
}

/// Who hands its work over leads nothing from the same record on (rule E-6).
fn lay_down_unless_active(record: &mut NodeRecord) {
    if record.lifecycle != Lifecycle::Active
        && let Some(standing) = &mut record.standing
    {
        standing.lay_down();
    }
}

/// `revised`, made from `read`, on top of `held`: every field that the revision changes.
fn rebased(revised: Metadata, read: &Metadata, held: &Metadata) -> Metadata {
    fn pick<V: PartialEq + Clone>(revised: V, read: &V, held: &V) -> V {
        if revised == *read { held.clone() } else { revised }
    }
    Metadata {
        region: pick(revised.region, &read.region, &held.region),
        mesh_version: pick(revised.mesh_version, &read.mesh_version, &held.mesh_version),
        http3_support: pick(revised.http3_support, &read.http3_support, &held.http3_support),
        endpoint: pick(revised.endpoint, &read.endpoint, &held.endpoint),
        labels: pick(revised.labels, &read.labels, &held.labels),
        // Fixed, or set by the node: a revision of these is judged, not merged.
        node_id: revised.node_id,
        role: revised.role,
        cluster_id: revised.cluster_id,
        metadata_version: revised.metadata_version,
    }
}

impl<T: MemberTable> Node<T> {
    pub(super) fn set_metadata(
        &mut self,
        now: Instant,
        metadata: Metadata,
    ) -> Result<(), CommandError> {
        self.weigh_metadata(&metadata)?;
        let own = &self.local().record().metadata;
        let due = self.due().metadata.metadata_version;
        if (Metadata { metadata_version: due, ..metadata.clone() }) == self.due().metadata {
            return Ok(());
        }
        let metadata = Metadata { metadata_version: own.metadata_version + 1, ..metadata };
        self.change(now, |record| record.metadata = metadata)
    }

    /// Whether this could be published.
    ///
    /// # Errors
    /// [`CommandError`] says why not.
    pub fn weigh_metadata(&self, metadata: &Metadata) -> Result<(), CommandError> {
        if self.departure.is_leaving() {
            return Err(CommandError::Stopped);
        }
        let own = &self.local().record().metadata;
        for (new, old, name) in [
            (&metadata.node_id, &own.node_id, "nodeId"),
            (&metadata.cluster_id, &own.cluster_id, "clusterId"),
            (&metadata.role, &own.role, "role"),
        ] {
            if new != old {
                return Err(CommandError::Immutable(name));
            }
        }
        let metadata = Metadata { metadata_version: own.metadata_version + 1, ..metadata.clone() };
        check(&NodeRecord { metadata, ..self.due().clone() }, &self.config)
    }

    /// What we say of ourselves, or will as soon as we may: a change made in exile is held.
    fn due(&self) -> &NodeRecord {
        self.held.as_ref().unwrap_or_else(|| self.local().record())
    }

    /// As [`Node::set_metadata`], for metadata made from what was published last.
    pub(super) fn revise_metadata(
        &mut self,
        now: Instant,
        metadata: Metadata,
    ) -> Result<(), CommandError> {
        let published = &self.local().record().metadata;
        if metadata.metadata_version != published.metadata_version {
            return Err(CommandError::Stale);
        }
        let metadata = match &self.held {
            // A host reads what is published: of a second revision only what it changes counts,
            // and the first one, which it could not see, stands.
            Some(held) => rebased(metadata, published, &held.metadata),
            None => metadata,
        };
        self.set_metadata(now, metadata)
    }

    pub(super) fn set_lifecycle(
        &mut self,
        now: Instant,
        lifecycle: Lifecycle,
    ) -> Result<(), CommandError> {
        if self.departure.is_leaving() {
            return Err(CommandError::Stopped);
        }
        if lifecycle == Lifecycle::Leaving {
            return self.leave(now);
        }
        if self.due().lifecycle == lifecycle {
            return Ok(());
        }
        self.change(now, |record| {
            record.lifecycle = lifecycle;
            lay_down_unless_active(record);
        })
    }

    /// Publishes our record as it is under the next incarnation, signed by whom we sign with now.
    pub(super) fn sign_anew(&mut self, now: Instant) -> Result<(), CommandError> {
        self.change(now, |_| {})
    }

    /// Publishes our record changed, under the next incarnation. An exile holds the change until it
    /// may return: a higher incarnation would be the return (rule D-13).
    pub(super) fn change(
        &mut self,
        now: Instant,
        edit: impl FnOnce(&mut NodeRecord),
    ) -> Result<(), CommandError> {
        if self.is_exiled() {
            let mut record = self.due().clone();
            edit(&mut record);
            self.held = Some(record);
            return Ok(());
        }
        let next = self.local().record().incarnation.next();
        let changed = self.republish(now, |record| {
            record.incarnation = next;
            edit(record);
        });
        if !changed {
            return Err(CommandError::Signing);
        }
        let record = self.local().clone();
        self.emit(Event::Updated(record));
        Ok(())
    }

    /// Signs and announces our record after `edit`, which must raise its incarnation; says
    /// whether that succeeded.
    pub(super) fn republish(&mut self, now: Instant, edit: impl FnOnce(&mut NodeRecord)) -> bool {
        let before = self.local().record().incarnation;
        let mut record = self.due().clone();
        edit(&mut record);
        assert!(record.incarnation > before, "a published record exceeds its predecessor");
        let Some(signed) = SignedRecord::author(record, self.authority.as_ref()) else {
            self.stats.reject("signing");
            return false;
        };
        let signed = Arc::new(signed);
        let leaving = signed.record().lifecycle == Lifecycle::Leaving;
        let state = if leaving { State::Left } else { State::Alive };
        self.put(now, Member { record: signed.clone(), state, since: now });
        self.announce(now, &signed, state);
        self.is_renewed();
        if self.held.take().is_some() && !leaving {
            self.emit(Event::Updated(signed));
        }
        true
    }

    pub(super) fn leave(&mut self, now: Instant) -> Result<(), CommandError> {
        match self.departure {
            Departure::Staying => {}
            Departure::Leaving { .. } => return Ok(()),
            Departure::Stopped { acknowledged } => {
                // Whoever asks again is told again.
                self.emit(Event::LeaveComplete { acknowledged });
                return Ok(());
            }
        }
        // Drawn while we still count ourselves as present.
        let witnesses = self.draw_present(WITNESSES);
        let next = self.local().record().incarnation.next();
        let said = self.republish(now, |record| {
            record.incarnation = next;
            record.lifecycle = Lifecycle::Leaving;
            lay_down_unless_active(record);
        });
        if !said {
            return Err(CommandError::Signing);
        }
        self.timers.cancel(Timer::ProbeRound);
        self.departure = Departure::Leaving { witnesses, acknowledged: Vec::new(), repetitions: 0 };
        self.leave_again(now);
        Ok(())
    }

    /// Sends the leave to every witness that has not acknowledged it.
    pub(super) fn leave_again(&mut self, now: Instant) {
        let Departure::Leaving { witnesses, acknowledged, repetitions } = &mut self.departure
        else {
            return;
        };
        let open: Vec<MemberId> =
            witnesses.iter().filter(|id| !acknowledged.contains(id)).copied().collect();
        let enough = acknowledged.len() >= ENOUGH.min(witnesses.len());
        if enough || *repetitions >= REPETITIONS {
            self.stop();
            return;
        }
        *repetitions += 1;
        self.timers.set(Timer::Leave, now + REPEAT);
        let peers: Vec<Peer> = open.iter().filter_map(|id| self.peer(*id)).collect();
        for peer in peers {
            self.send_own_record(peer);
        }
    }

    pub(super) fn leave_acknowledged(&mut self, by: MemberId) {
        let Departure::Leaving { witnesses, acknowledged, .. } = &mut self.departure else {
            return;
        };
        if witnesses.contains(&by) && !acknowledged.contains(&by) {
            acknowledged.push(by);
        }
        if acknowledged.len() >= ENOUGH.min(witnesses.len()) {
            self.stop();
        }
    }

    fn stop(&mut self) {
        let acknowledged = match &self.departure {
            Departure::Leaving { acknowledged, .. } => acknowledged.len(),
            Departure::Staying | Departure::Stopped { .. } => return,
        };
        self.departure = Departure::Stopped { acknowledged };
        while let Some((_, timer)) = self.timers.next() {
            self.timers.cancel(timer);
        }
        self.emit(Event::LeaveComplete { acknowledged });
    }
}
