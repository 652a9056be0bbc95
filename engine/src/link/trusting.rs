//! Sessions whose peer's certificate counts no longer (rule S-16).
//!
//! Every datagram that is sealed or opened compares two numbers. When trust has changed since the
//! session was last looked at, what its certificate rests on is looked up; whoever fell is
//! dropped there and then. The look at all sessions that follows a change merely hurries this.
//!
//! Invariant: nothing is sealed for, and nothing is opened from, a certificate that the trust in
//! force does not uphold.

use mesh_gossip_proto::Instant;

use super::session::Session;
use super::{Entry, LinkEvent, Links};
use crate::tls::standing::Fall;
use crate::tls::trust::TrustCell;
use rustls_pki_types::UnixTime;

impl Links {
    /// Whether the session at `index` may be used; one that may not is gone afterwards.
    #[inline]
    pub(super) fn upheld(&mut self, now: Instant, index: u32) -> bool {
        let Some(Entry::Open(session)) = self.slots.get(index) else { return false };
        let is_known = session.standing.epoch == self.trust.epoch() && now < session.ends;
        is_known || self.still_upheld(now, index)
    }

    /// Trust has changed since, or the session has lived long enough.
    #[cold]
    fn still_upheld(&mut self, now: Instant, index: u32) -> bool {
        let Some(Entry::Open(session)) = self.slots.get_mut(index) else { return false };
        let verdict = look(session, &self.trust, now, self.authority.credentials().now());
        let (peer, path, serial) = (session.peer, session.path, session.standing.serial);
        let Err(fall) = verdict else { return true };
        let reason = fall.reason();
        *self.stats.fallen.entry(reason).or_default() += 1;
        // One that was succeeded already says nothing new.
        let order = self.members.get(&peer);
        let succeeded = order.is_some_and(|order| order.iter().skip(1).any(|one| *one == index));
        if !succeeded {
            self.events.push_back(LinkEvent::Fallen { peer, path, serial, reason });
        }
        self.close(index);
        false
    }

    /// Trust has changed: looks at every session at once.
    pub fn handle_trust(&mut self, now: Instant) {
        let indices: Vec<u32> = self.slots.iter().map(|(index, _)| index).collect();
        for index in indices {
            // Handshakes under way are asked when they are complete.
            self.upheld(now, index);
        }
    }
}

/// Asks the snapshot in force, and remembers that it was asked.
fn look(
    session: &mut Session,
    trust: &TrustCell,
    now: Instant,
    wall: Option<UnixTime>,
) -> Result<(), Fall> {
    let trust = trust.load();
    let wall = wall.unwrap_or(session.standing.not_after);
    trust.upholds(&session.standing, wall)?;
    if now >= session.ends {
        return Err(Fall::Expired);
    }
    session.standing.epoch = trust.epoch();
    Ok(())
}
