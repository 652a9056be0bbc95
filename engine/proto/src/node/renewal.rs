//! Certificates that change while we live: our own, and those of others that were revoked (rules
//! S-15 and S-16).
//!
//! Invariant: a revocation is our own knowledge; it is acted on and never gossiped.

use alloc::sync::Arc;

use super::Node;
use crate::error::CommandError;
use crate::event::{Event, LeftReason};
use crate::member::{Incarnation, MemberId, State};
use crate::membership::record::Authority;
use crate::membership::table::{Member, MemberTable};
use crate::time::Instant;

impl<T: MemberTable> Node<T> {
    /// Signs and verifies through `authority` from here on: our record is signed again under the
    /// next incarnation (rule S-15).
    ///
    /// # Errors
    /// [`CommandError::Signing`] when it cannot sign; then the one before stays.
    pub fn handle_authority(
        &mut self,
        now: Instant,
        authority: Arc<dyn Authority>,
    ) -> Result<(), CommandError> {
        let before = core::mem::replace(&mut self.authority, authority);
        // The last word of whoever leaves stays as it was said.
        if self.departure.is_leaving() {
            return Ok(());
        }
        let renewed = self.sign_anew(now);
        if renewed.is_err() {
            self.authority = before;
        }
        renewed
    }

    /// The signer of this member's record at `incarnation` was revoked: it is gone from our view at
    /// once, without a proof and without a word to others, who learn it as we did (rule S-16). It
    /// comes back only with a record that our authority accepts.
    pub fn handle_revoked(&mut self, now: Instant, id: MemberId, incarnation: Incarnation) {
        if id == self.local {
            return;
        }
        let Some(member) = self.table.get(id).cloned() else { return };
        if member.incarnation() != incarnation || !member.state.is_present() {
            return;
        }
        self.end_suspicion(id);
        self.settle_observed(id);
        let record = member.record.clone();
        self.put(now, Member { state: State::Dead, since: now, ..member });
        self.emit(Event::Left { record, reason: LeftReason::Revoked });
    }
}
