//! What a service manager is told: systemd's protocol of datagrams to `NOTIFY_SOCKET`.
//!
//! "Ready" means that the mesh answered, for what is started after us counts on it. A seed that
//! stays away is no reason to be killed, so it is said after [`JOIN_PATIENCE`] in any case. The
//! watchdog is fed for what the process is there for, rounds of probes, and not for being able to
//! send a datagram: a thread that lives beside a shard that hangs would keep a deaf member up.
//!
//! Invariant: without a `NOTIFY_SOCKET` nothing is done, and a manager that does not listen changes
//! nothing for the agent.

use std::time::{Duration, Instant};

use mesh_gossip::Agent;
use sd_notify::NotifyState;

/// How long "ready" waits for the join.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// Looks within the time that the watchdog gives: one may fail.
const LOOKS_A_PERIOD: u32 = 3;
/// Intervals between two rounds at most: nine in the worst health of the detector, and one more.
const MOST_INTERVALS: u32 = 10;
/// The longest that a look waits for the shard.
const ANSWER: Duration = Duration::from_secs(5);
/// And the least, however short the period is: a shard that is given no time hangs by definition.
const LEAST_ANSWER: Duration = Duration::from_millis(100);
/// States of the mesh are told so often at most.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// What the manager knows of us.
pub(crate) struct Supervision {
    /// Nobody listens otherwise.
    is_on: bool,
    started: Instant,
    is_ready: bool,
    watch: Option<Watch>,
    status: String,
    next_status: Instant,
    /// Said once: the log need not repeat it.
    is_deaf: bool,
}

impl Supervision {
    /// As the environment asks for it; `interval` is the time between rounds of probes.
    pub(crate) fn from_environment(interval: Duration) -> Self {
        let now = Instant::now();
        let is_on = std::env::var_os("NOTIFY_SOCKET").is_some_and(|at| !at.is_empty());
        let period = if is_on { sd_notify::watchdog_enabled() } else { None };
        // Zero is how a unit switches it off.
        let period = period.filter(|period| !period.is_zero());
        let watch = period.map(|period| Watch::new(now, period, interval));
        Self {
            is_on,
            started: now,
            is_ready: false,
            watch,
            status: String::new(),
            next_status: now,
            is_deaf: false,
        }
    }

    /// Tells what is new. Called several times a second.
    pub(crate) fn look(&mut self, now: Instant, agent: &Agent) {
        if !self.is_on {
            return;
        }
        let joined = agent.is_joined();
        if now >= self.next_status {
            let status = status(agent, joined);
            if status != self.status {
                self.say(&[NotifyState::Status(&status)]);
                self.status = status;
                self.next_status = now + STATUS_EVERY;
            }
        }
        if !self.is_ready && is_ready(joined, now - self.started) {
            self.is_ready = true;
            self.say(&[NotifyState::Ready]);
        }
        if let Some(watch) = &mut self.watch
            && now >= watch.next
        {
            let answer = agent.inspect(watch.every.clamp(LEAST_ANSWER, ANSWER));
            let rounds = answer.map(|inspection| inspection.stats.probe_rounds).ok();
            if watch.feeds(Instant::now(), rounds) {
                self.say(&[NotifyState::Watchdog]);
            }
        }
    }

    /// The settings are about to be read again. The time tells the manager that it is later than
    /// its signal.
    pub(crate) fn reloading(&mut self) {
        // Before "ready" a reload is part of the start.
        if !self.is_ready {
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(time) => self.say(&[NotifyState::Reloading, time]),
            Err(error) => tracing::warn!(%error, "the service manager is not told of a reload"),
        }
    }

    /// Whatever came of it, it is over.
    pub(crate) fn reloaded(&mut self) {
        if self.is_ready {
            self.say(&[NotifyState::Ready]);
        }
    }

    /// The goodbye begins.
    pub(crate) fn stopping(&mut self) {
        self.say(&[NotifyState::Stopping, NotifyState::Status("leaving the mesh")]);
    }

    fn say(&mut self, state: &[NotifyState<'_>]) {
        if !self.is_on {
            return;
        }
        match sd_notify::notify(state) {
            Ok(()) => self.is_deaf = false,
            Err(error) if !self.is_deaf => {
                self.is_deaf = true;
                tracing::warn!(%error, "the service manager does not listen on NOTIFY_SOCKET");
            }
            Err(_) => {}
        }
    }
}

fn is_ready(joined: bool, waited: Duration) -> bool {
    joined || waited >= JOIN_PATIENCE
}

fn status(agent: &Agent, joined: bool) -> String {
    let counts = agent.view().view.counts();
    let gone = counts.dead + counts.left;
    let state = if joined { agent.upgrade_status().state } else { "no seed has answered" };
    let node = agent.node_id();
    format!("{node}: {} alive, {} suspect, {gone} left; {state}", counts.alive, counts.suspect)
}

/// Whether the watchdog is fed. Time and what was seen are arguments.
///
/// Invariant: it is fed only when the shard answered, and only while rounds of probes begin as
/// often as the detector's worst health allows.
struct Watch {
    every: Duration,
    patience: Duration,
    next: Instant,
    rounds: u64,
    rose: Instant,
    is_fed: bool,
}

impl Watch {
    fn new(now: Instant, period: Duration, interval: Duration) -> Self {
        let (every, patience) = (period / LOOKS_A_PERIOD, interval * MOST_INTERVALS);
        Self { every, patience, next: now, rounds: 0, rose: now, is_fed: true }
    }

    /// After a look: `rounds` begun since the start, `None` when the shard did not answer.
    fn feeds(&mut self, now: Instant, rounds: Option<u64>) -> bool {
        self.next = now + self.every;
        if let Some(rounds) = rounds
            && rounds > self.rounds
        {
            (self.rounds, self.rose) = (rounds, now);
        }
        let is_fed = rounds.is_some() && now - self.rose <= self.patience;
        if self.is_fed && !is_fed {
            let answers = rounds.is_some();
            tracing::error!(Answers = answers, Rounds = self.rounds, "no round of probes begins");
        }
        self.is_fed = is_fed;
        is_fed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ready_waits_for_the_join_and_not_for_ever() {
        assert!(!is_ready(false, Duration::ZERO));
        assert!(!is_ready(false, JOIN_PATIENCE - SECOND));
        assert!(is_ready(false, JOIN_PATIENCE));
        assert!(is_ready(true, Duration::ZERO));
    }

    #[test]
    fn the_watchdog_is_fed_while_rounds_begin() {
        let start = Instant::now();
        let mut watch = Watch::new(start, 30 * SECOND, SECOND);
        for look in 1..=20 {
            let now = start + 10 * SECOND * look;
            assert!(watch.feeds(now, Some(u64::from(look))), "look {look}");
            assert_eq!(watch.next, now + 10 * SECOND);
        }
    }

    #[test]
    fn a_shard_that_turns_without_probing_is_not_fed() {
        let start = Instant::now();
        let mut watch = Watch::new(start, 30 * SECOND, SECOND);
        assert!(watch.feeds(start + SECOND, Some(1)));
        assert!(watch.feeds(start + 11 * SECOND, Some(1)), "the worst health allows it");
        assert!(!watch.feeds(start + 12 * SECOND, Some(1)));
        assert!(watch.feeds(start + 13 * SECOND, Some(2)), "it goes on");
    }

    #[test]
    fn a_shard_that_does_not_answer_is_not_fed() {
        let start = Instant::now();
        let mut watch = Watch::new(start, 30 * SECOND, SECOND);
        assert!(watch.feeds(start + SECOND, Some(1)));
        assert!(!watch.feeds(start + 2 * SECOND, None));
        assert!(watch.feeds(start + 3 * SECOND, Some(3)));
    }
}
