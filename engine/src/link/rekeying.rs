//! Our certificate was exchanged: every session gets a successor under the new one (rule S-15).
//!
//! Make before break, at a walk: each session that we send on is succeeded by a new handshake, a
//! few at a time, so that a thousand neighbours cost a trickle and not a storm. The session
//! before goes on receiving for as long as the peer may send on it. Who could not be reached is
//! tried again later, and later still.
//!
//! A peer whose handshake we answered under the certificate before makes a session that needs a
//! successor too. It is waited for: two handshakes at once make two sessions, and where that one wins
//! (rule S-18) a third is due.
//!
//! Invariant: a session ends here only when its successor is confirmed.

use std::collections::VecDeque;
use std::net::SocketAddr;

use mesh_gossip_proto::{Duration, Instant, MemberId};

use super::session::{Phase, Session};
use super::targets::Target;
use super::{Entry, Links};
use crate::tls::authority::MeshAuthority;
use std::sync::Arc;

/// Handshakes begun in one step, and the pause to the next one: at a third of a millisecond each
/// they take some 6 % of a core.
const AT_ONCE: usize = 4;
const STEP: Duration = Duration::from_millis(20);
/// When those that are left are looked for. Longer than any handshake that had begun before, and
/// than the pause between handshakes with one peer (rule S-18); it doubles each time.
const FIRST_REST: Duration = Duration::from_secs(15);
const LONGEST_REST: Duration = Duration::from_secs(240);

/// How far the walk has come.
#[derive(Debug, Default)]
pub(super) struct Rekeying {
    generation: u64,
    walk: Walk,
    /// Whom we had answered when the certificate changed, and where that handshake stands.
    answered: Vec<(SocketAddr, u32)>,
}

#[derive(Debug, Default)]
enum Walk {
    /// Every session rests on our present certificate, as far as is known.
    #[default]
    Done,
    /// These sessions are next.
    Under { next: Instant, waiting: VecDeque<u32>, rest: Duration },
    /// Whoever is left is looked for then.
    Resting { until: Instant, rest: Duration },
}

impl Rekeying {
    /// Which of our certificates is shown now.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// When [`Links::rekey`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.walk {
            Walk::Done => None,
            Walk::Under { next, .. } => Some(*next),
            Walk::Resting { until, .. } => Some(*until),
        }
    }
}

impl Links {
    /// We were held dead, and are back: the paths work again, perhaps since a moment ago, and no pace
    /// of handshakes that failed meanwhile is to hold us up (rule S-18).
    pub(crate) fn forgive(&mut self, now: Instant) {
        self.targets.forgive(now);
    }

    /// Handshakes show the certificate of `authority` from here on, and sessions follow.
    pub(crate) fn set_authority(&mut self, now: Instant, authority: Arc<MeshAuthority>) {
        self.authority = authority;
        self.rekeying.generation += 1;
        let answered = self.slots.iter().filter_map(|(index, entry)| {
            let path = match entry {
                Entry::Answering(answer) => answer.path,
                Entry::Open(session) => session.path,
                Entry::Dialing(_) => return None,
            };
            self.is_unfinished(now, index).then_some((path, index))
        });
        self.rekeying.answered = answered.collect();
        let waiting = self.outdated().map(|(index, _)| index).collect();
        self.rekeying.walk = Walk::Under { next: now, waiting, rest: FIRST_REST };
    }

    /// Takes the next step of the walk, if it is due.
    pub(super) fn rekey(&mut self, now: Instant) {
        if self.rekeying.due().is_none_or(|due| due > now) {
            return;
        }
        self.rekeying.walk = match std::mem::take(&mut self.rekeying.walk) {
            Walk::Done => Walk::Done,
            Walk::Under { mut waiting, rest, .. } => {
                let step = waiting.len().min(AT_ONCE);
                let mut later = Vec::new();
                for index in waiting.drain(..step) {
                    if self.is_about_to_be_succeeded(now, index) {
                        later.push(index);
                    } else {
                        self.succeed(now, index);
                    }
                }
                waiting.extend(later);
                if waiting.is_empty() {
                    Walk::Resting { until: now + rest, rest: (rest * 2).min(LONGEST_REST) }
                } else {
                    Walk::Under { next: now + STEP, waiting, rest }
                }
            }
            Walk::Resting { rest, .. } => {
                let waiting: VecDeque<u32> = self.outdated().map(|(index, _)| index).collect();
                if waiting.is_empty() {
                    Walk::Done
                } else {
                    Walk::Under { next: now, waiting, rest }
                }
            }
        };
    }

    /// Whether we answered a handshake under an earlier certificate that is not complete: for three
    /// seconds at most (rule S-5), whoever began it.
    fn is_unfinished(&self, now: Instant, index: u32) -> bool {
        let (generation, open) = match self.slots.get(index) {
            Some(Entry::Answering(answer)) => (answer.generation, true),
            Some(Entry::Open(session)) => {
                let open = match session.phase {
                    Phase::Awaited => true,
                    // What begins at the moment of a confirmation does not count as later.
                    Phase::Live { confirmed } => confirmed >= now,
                    Phase::Finishing(_) => false,
                };
                (session.generation, open)
            }
            Some(Entry::Dialing(_)) | None => return false,
        };
        open && generation != self.rekeying.generation
    }

    fn is_about_to_be_succeeded(&self, now: Instant, index: u32) -> bool {
        let Some(Entry::Open(session)) = self.slots.get(index) else { return false };
        let mut answered = self.rekeying.answered.iter();
        answered.any(|(path, other)| *path == session.path && self.is_unfinished(now, *other))
    }

    /// Begins a handshake that makes the successor of the session at `index`, if it wants one.
    fn succeed(&mut self, now: Instant, index: u32) {
        let Some(Entry::Open(session)) = self.slots.get(index) else { return };
        let (peer, path) = (session.peer, session.path);
        let best = self.members.get(&peer).and_then(|sessions| sessions.first());
        let outdated = session.generation != self.rekeying.generation;
        if best == Some(&index) && outdated && self.dial(now, Target::Member(peer), path) {
            self.stats.rekeys += 1;
        }
    }

    /// The sessions that we send on and that rest on an earlier certificate of ours.
    pub(super) fn outdated(&self) -> impl Iterator<Item = (u32, MemberId)> {
        let outdated = |session: &Session| session.generation != self.rekeying.generation;
        let best = self.members.values().filter_map(|sessions| sessions.first());
        best.filter_map(move |index| match self.slots.get(*index) {
            Some(Entry::Open(session)) if outdated(session) => Some((*index, session.peer)),
            Some(Entry::Open(_) | Entry::Dialing(_) | Entry::Answering(_)) | None => None,
        })
    }
}
