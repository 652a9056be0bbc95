//! Certificate files are watched, and what is about to expire is told (rules S-15 and S-16).
//!
//! A look compares what identifies each file, links followed, so that a link that is swapped is
//! as good as a file that is written. Files that change together are rarely seen at one moment:
//! what does not hold is looked at again, and told only if it still does not hold.
//!
//! Invariants: one line a transition, however often it is looked; reading never blocks the
//! control thread.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::tls::standing::KeyId;
use crate::upkeep::{Change, Keeper, RenewError, Renewed};

/// A change is noticed within so long.
const LOOK: Duration = Duration::from_secs(2);
/// And not looked for more often than this, whatever the settings say.
const LEAST_LOOK: Duration = Duration::from_millis(50);

/// Watches for as long as the agent is served; `readers` are the agents that may read at a time.
pub(super) async fn keep_fresh(keeper: Arc<Keeper>, readers: Arc<Semaphore>) {
    // Before it has looked once nobody knows what has changed since the start.
    let mut seen = None;
    let mut read = Instant::now();
    let mut pause = Duration::ZERO;
    let mut alarms = Alarms::default();
    let mut failures = Failures::default();
    loop {
        sleep(pause).await;
        alarms.look(&keeper);
        if let Some(generation) = keeper.risen_generation() {
            let at_work = Arc::clone(&keeper);
            // A panic there was told by its own thread.
            let _ = spawn_blocking(move || at_work.keep_generation(generation)).await;
        }
        let Some((stamps, interval)) = keeper.look() else {
            pause = LEAST_LOOK;
            continue;
        };
        let interval = interval.max(LEAST_LOOK);
        pause = LOOK.min(interval);
        if stamps.is_empty() {
            // Everything is the host's own bytes: it says so when they change.
            continue;
        }
        let changed = seen.replace(stamps.clone()).is_none_or(|seen| seen != stamps);
        if !changed && read.elapsed() < interval && !failures.wants_another_look() {
            continue;
        }
        read = Instant::now();
        let Ok(_turn) = readers.acquire().await else { return };
        let at_work = Arc::clone(&keeper);
        let outcome = spawn_blocking(move || at_work.renew(Change::Again)).await;
        // It failed to run only if it panicked, which its thread has told.
        if let Ok(outcome) = outcome {
            failures.tell(keeper.shared().node_id.as_str(), &outcome);
        }
    }
}

/// Reads that did not hold, told once when they persist.
#[derive(Default)]
struct Failures {
    /// What is wrong, and in how many looks in a row it was.
    last: Option<(String, u32)>,
}

impl Failures {
    fn wants_another_look(&self) -> bool {
        self.last.as_ref().is_some_and(|(_, times)| *times == 1)
    }

    fn tell(&mut self, node_id: &str, outcome: &Result<Renewed, RenewError>) {
        let wrong = match outcome {
            Ok(Renewed { refused: Some(error), .. }) => {
                Some(format!("our certificate is refused, the one in force stays: {error}"))
            }
            Err(error) => Some(format!("nothing has changed: {error}")),
            Ok(_) => None,
        };
        if let Ok(renewed) = outcome
            && (renewed.certificate || renewed.trust)
        {
            tracing::info!(
                target: "mesh_gossip",
                NodeId = node_id,
                Certificate = renewed.certificate,
                Trust = renewed.trust,
                Revoked = renewed.revoked,
                "certificates reloaded"
            );
        }
        let times = match (&wrong, &self.last) {
            (Some(wrong), Some((last, times))) if wrong == last => times + 1,
            _ => 1,
        };
        self.last = wrong.map(|wrong| (wrong, times));
        if let Some((wrong, 2)) = &self.last {
            tracing::error!(
                target: "mesh_gossip",
                NodeId = node_id,
                Reason = wrong,
                "certificates not reloaded"
            );
        }
    }
}

/// What was told about the end of certificates and lists.
#[derive(Default)]
struct Alarms {
    /// The end of the certificate, and how loud it was told.
    certificate: Option<(UnixTime, Stage)>,
    lists: Vec<(KeyId, UnixTime, Stage)>,
}

/// How far something is through its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Fresh,
    /// Three quarters are over.
    Ageing,
    /// It has ended.
    Ended,
}

impl Stage {
    fn of(begin: UnixTime, end: UnixTime, now: UnixTime) -> Self {
        let (begin, end, now) = (begin.as_secs(), end.as_secs(), now.as_secs());
        let life = end.saturating_sub(begin);
        if now > end {
            Self::Ended
        } else if now.saturating_sub(begin) > life - life / 4 {
            Self::Ageing
        } else {
            Self::Fresh
        }
    }
}

impl Alarms {
    fn look(&mut self, keeper: &Keeper) {
        let shared = keeper.shared();
        let credentials = shared.credentials.load();
        let Some(now) = credentials.now() else { return };
        let verified = credentials.verified();
        let end = verified.not_after;
        let stage = Stage::of(verified.not_before, end, now);
        let before = self.certificate.filter(|(of, _)| *of == end).map(|(_, stage)| stage);
        if stage > before.unwrap_or_default() {
            tell_certificate(&shared.node_id, stage, end, now);
        }
        self.certificate = Some((end, stage));

        let trust = credentials.verifier().trust().load();
        shared.metrics.trust_is(&trust);
        let mut lists = Vec::new();
        for list in trust.revocations().lists() {
            let (issuer, end) = (list.issuer(), list.next_update());
            let stage = Stage::of(list.this_update(), end, now);
            let told = self.lists.iter().find(|(of, until, _)| (*of, *until) == (issuer, end));
            if stage > told.map(|(_, _, stage)| *stage).unwrap_or_default() {
                tell_list(&shared.node_id, stage, issuer, end, now);
            }
            lists.push((issuer, end, stage));
        }
        self.lists = lists;
    }
}

fn tell_certificate(node_id: &str, stage: Stage, end: UnixTime, now: UnixTime) {
    let left = end.as_secs().saturating_sub(now.as_secs());
    match stage {
        Stage::Fresh => {}
        Stage::Ageing => tracing::warn!(
            target: "mesh_gossip",
            NodeId = node_id,
            ExpiresInSeconds = left,
            "our certificate is past three quarters of its life and was not renewed"
        ),
        Stage::Ended => tracing::error!(
            target: "mesh_gossip",
            NodeId = node_id,
            "our certificate has expired: peers refuse it; renew it, the agent takes it up at once"
        ),
    }
}

fn tell_list(node_id: &str, stage: Stage, issuer: KeyId, end: UnixTime, now: UnixTime) {
    let left = end.as_secs().saturating_sub(now.as_secs());
    match stage {
        Stage::Fresh => {}
        Stage::Ageing => tracing::warn!(
            target: "mesh_gossip",
            NodeId = node_id,
            Issuer = %issuer,
            DueInSeconds = left,
            "the next revocation list is due soon"
        ),
        Stage::Ended => tracing::error!(
            target: "mesh_gossip",
            NodeId = node_id,
            Issuer = %issuer,
            "the next revocation list is overdue: after the grace new handshakes fail"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    /// Rule S-15: three quarters of a life are the time to say so.
    #[test]
    fn a_life_has_three_stages() {
        let stage = |now| Stage::of(at(1_000), at(2_000), at(now));
        assert_eq!([0, 1_000, 1_750].map(stage), [Stage::Fresh; 3]);
        assert_eq!([1_751, 2_000].map(stage), [Stage::Ageing; 2]);
        assert_eq!(stage(2_001), Stage::Ended);
        assert_eq!(Stage::of(at(9), at(5), at(7)), Stage::Ended, "a life that never was");
    }

    #[test]
    fn a_failure_is_told_when_it_persists_and_once() {
        let mut failures = Failures::default();
        let wrong = || Err(RenewError::List(crate::tls::revocation::ListError::Seal));
        failures.tell("n", &wrong());
        assert!(failures.wants_another_look());
        for times in 2..5 {
            failures.tell("n", &wrong());
            assert!(!failures.wants_another_look());
            assert_eq!(failures.last.as_ref().unwrap().1, times);
        }
        failures.tell("n", &Ok(Renewed::default()));
        assert!(failures.last.is_none() && !failures.wants_another_look());
    }
}
