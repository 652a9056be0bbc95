//! What a record's proof lacks here, and what does not fit a datagram (rules S-11 and W-4).

use zerocopy::IntoBytes;

use sha2::{Digest, Sha256};

use super::receive::NOTICE_PAUSE;
use super::{Node, Peer};
use crate::error::PeerError;
use crate::member::{Incarnation, MemberId};
use crate::membership::record;
use crate::membership::table::MemberTable;
use crate::sync::chains::MOST_CERTIFICATE;
use crate::time::{Instant, WallTime};
use crate::wire::message::{CertificatePull, FRAME, Notice, PartHeader, kind};
use crate::wire::parts;

impl<T: MemberTable> Node<T> {
    /// The record that `from` brought is signed under a certificate whose issuer we have not met:
    /// it waits while `from`, who has verified it, is asked.
    pub(super) fn ask_for_chain(
        &mut self,
        now: Instant,
        from: MemberId,
        id: MemberId,
        envelope: &[u8],
    ) {
        let missing: alloc::vec::Vec<[u8; 32]> = match record::signer(envelope) {
            Ok((_, hashes)) => {
                hashes.into_iter().filter(|h| self.authority.certificate(h).is_none()).collect()
            }
            Err(error) => return self.reject(from, error.into()),
        };
        let Some(peer) = self.peer(from) else {
            return self.reject(from, PeerError::UnknownSigner);
        };
        // Nothing is missing: the chain leads to nobody whom we trust.
        if missing.is_empty() {
            return self.reject(from, PeerError::UnknownSigner);
        }
        if self.chains.wait(now, from, id, envelope, missing.clone()) {
            self.stats.reject("unknown-signer");
            for hash in missing {
                self.send(peer, &CertificatePull { hash });
            }
            self.plan_pulls();
        }
    }

    pub(super) fn pull_certificates_again(&mut self, now: Instant) {
        for (from, hash) in self.chains.overdue(now) {
            if let Some(peer) = self.peer(from) {
                self.send(peer, &CertificatePull { hash });
            }
        }
    }

    pub(super) fn on_certificate_pull(&mut self, from: Peer, pull: &CertificatePull) {
        if let Some(der) = self.authority.certificate(&pull.hash) {
            self.send_whole(from, kind::CERTIFICATE, &der);
        }
    }

    /// A certificate arrived: what it completes is judged again.
    pub(super) fn on_certificate(&mut self, now: Instant, der: &[u8]) {
        if der.len() > MOST_CERTIFICATE {
            self.stats.reject("decode");
            return;
        }
        let hash = <[u8; 32]>::from(Sha256::digest(der));
        for complete in self.chains.certificate(&hash, der) {
            if let Ok((leaf, hashes)) = record::signer(&complete.envelope) {
                // The whole chain in its order: what was known before, and what has come.
                let came = |hash: &[u8; 32]| {
                    complete.found.iter().find(|der| <[u8; 32]>::from(Sha256::digest(der)) == *hash)
                };
                let whole = hashes.iter().filter_map(|hash| {
                    came(hash).cloned().or_else(|| self.authority.certificate(hash))
                });
                let whole: alloc::vec::Vec<_> = whole.collect();
                self.authority.complete(leaf, &whole);
            }
            self.take_record(now, complete.from, &complete.envelope);
        }
    }

    /// Sends a body in one datagram, or in parts.
    pub(super) fn send_whole(&mut self, to: Peer, kind: u8, body: &[u8]) {
        if self.send_raw(to, kind, body) {
            return;
        }
        let room = self.config.max_payload - FRAME - size_of::<PartHeader>();
        for (header, bytes) in parts::split(kind, body, room) {
            self.send_raw(to, kind::PART, &[header.as_bytes(), bytes].concat());
        }
    }

    pub(super) fn on_part(&mut self, now: Instant, from: Peer, header: &PartHeader, bytes: &[u8]) {
        match self.parts.take(from.id, header, bytes) {
            Some((kind::PROOF, body)) => self.on_proof(now, from, &body),
            Some((kind::CERTIFICATE, body)) => self.on_certificate(now, &body),
            Some((kind::FORCE_LEAVE, body)) => self.on_force_leave(now, from, &body),
            Some(_) | None => {}
        }
    }

    /// A departed member is forgotten: its lives so far are over, as long as its certificate could
    /// bring one of them back.
    pub(super) fn set_a_stone(&mut self, id: MemberId) {
        let Some(member) = self.table.get(id) else { return };
        let leaf = record::signer(member.record.envelope()).map(|(leaf, _)| leaf);
        let ends = leaf.ok().and_then(|leaf| self.authority.not_after(leaf));
        self.tombstones.set(id, member.incarnation(), ends.unwrap_or(WallTime(u64::MAX)));
    }

    /// `from` may have lived on unnoticed after its life was over to us: it is told, so that it begins
    /// another. Nobody knows any more who passed the judgement.
    pub(super) fn tell_of_the_stone(&mut self, now: Instant, from: Peer, incarnation: Incarnation) {
        let last = self.noticed.get(&from.id);
        if last.is_none_or(|last| now.since(*last) >= NOTICE_PAUSE) {
            self.noticed.insert(from.id, now);
            let announcer = from.id.0;
            self.send(from, &Notice { incarnation: incarnation.into(), announcer });
        }
    }
}
