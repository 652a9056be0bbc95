//! SIGINT and SIGTERM: the first asks for an orderly end, the second ends at once. SIGHUP, where
//! it is taken over, is a note on the door that is read and ends nothing.
//!
//! Invariant: the first signal never ends the process by itself, and a SIGHUP that was taken over
//! never does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// How often a waiting thread looks whether it was asked to stop.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whether the process was asked to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Takes over both signals.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it, the next one
            // finds it up and exits.
            flag::register_conditional_shutdown(signal, 1, asked.clone())?;
            flag::register(signal, asked.clone())?;
        }
        Ok(Self(asked))
    }

    /// Whether a signal has come.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns when a signal has come, or at `deadline`.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) {
        while !self.is_asked() {
            let left =
                deadline.map_or(LOOK_EVERY, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}

/// Whether a SIGHUP has come: daemons read their settings again then.
#[derive(Clone, Debug)]
pub(crate) struct Hangup(Arc<AtomicBool>);

impl Hangup {
    /// Takes over SIGHUP, which ends a process otherwise.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn on_signal() -> io::Result<Self> {
        let come = Arc::new(AtomicBool::new(false));
        flag::register(SIGHUP, come.clone())?;
        Ok(Self(come))
    }

    /// Whether one has come since the last call.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_at_the_deadline_or_with_the_signal() {
        let stop = Stop(Arc::new(AtomicBool::new(false)));
        stop.wait_until(Some(Instant::now()));
        assert!(!stop.is_asked());
        stop.0.store(true, Ordering::Relaxed);
        stop.wait_until(None);
        assert!(stop.is_asked());
    }

    #[test]
    fn a_hangup_is_taken_once() {
        let hangup = Hangup(Arc::new(AtomicBool::new(true)));
        assert!(hangup.take());
        assert!(!hangup.take());
    }
}
