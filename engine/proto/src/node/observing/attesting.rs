//! Signatures under findings of death: ours, and those of others (rule S-13).

use crate::detector::vote::{Finding, Refusal, Seal, SignedVote};
use crate::member::MemberId;
use crate::membership::table::MemberTable;
use crate::node::{Node, Peer};
use crate::time::Instant;

impl<T: MemberTable> Node<T> {
    /// Signs what we found ourselves, or believe with a proof.
    pub(super) fn sign(&mut self, finding: &Finding) -> Option<Seal> {
        let cluster = &self.config.cluster_id;
        let seal = Seal::sign(finding, cluster, self.local, self.authority.as_ref());
        if seal.is_none() {
            self.stats.reject("signing");
        }
        seal
    }

    /// Whether this vote is its voter's. `None` while that cannot be told: the record that shows the
    /// signer is asked for, of `from` who brought the vote, or `from` has used up what it may have
    /// verified for the moment.
    pub(super) fn verify_vote(
        &mut self,
        now: Instant,
        from: Peer,
        finding: &Finding,
        vote: &SignedVote,
    ) -> Option<bool> {
        let Some(record) = self.table.get(vote.voter).map(|member| member.record.clone()) else {
            self.pull_newest(now, from, vote.voter);
            return None;
        };
        if !self.observing.verified.take(now, from.id) {
            self.stats.reject("verify-budget");
            return None;
        }
        match vote.seal.check(finding, &record, self.authority.as_ref()) {
            Ok(()) => Some(true),
            Err(Refusal::UnknownSigner) => {
                self.stats.reject("unknown-signer");
                self.pull_newest(now, from, vote.voter);
                None
            }
            Err(Refusal::Fails(_)) => {
                self.stats.reject("vote-signature");
                Some(false)
            }
        }
    }

    /// Whether we hold `voter` departed: it has been away itself, and its vote does not count. Of
    /// whom we have not heard that is not known.
    pub(super) fn is_gone(&self, voter: MemberId) -> bool {
        self.table.get(voter).is_some_and(|member| !member.state.is_present())
    }
}
