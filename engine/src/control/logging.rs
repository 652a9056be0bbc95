//! What the host logs, changed while it runs.
//!
//! The log is the host's: the agent has no subscriber of its own. It keeps a switch that the host
//! has given it, turns it when somebody asks, and turns it back when the time that was asked for is
//! over or the agent ends, so that nobody has to remember.
//!
//! Invariant: at most one filter stands in the place of the configured one, and at most one timer
//! waits for its end.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use mesh_gossip_proto::WallTime;
use serde::Serialize;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::clock;
use crate::wall::rfc3339;

/// Bytes of a filter, at most.
pub(crate) const MOST_FILTER: usize = 1_024;
/// A filter stands for a day at most, where a time is given.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// The host's log, as far as an agent may change it ([`Agent::give_log`](crate::Agent::give_log)).
///
/// A filter is a level, `debug`, or a list of them by target, `info,mesh_gossip=trace`; how much
/// more the host understands is its own affair.
pub trait LogSwitch: Send + Sync + 'static {
    /// The filter that the host's settings name.
    fn configured(&self) -> String;

    /// Puts this filter in force; `None`: the configured one. Called from any thread; does not
    /// block.
    ///
    /// # Errors
    /// [`FilterError`] says what is wrong with the filter; nothing has changed then.
    fn set(&self, filter: Option<&str>) -> Result<(), FilterError>;
}

/// A filter that the host does not understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// What is wrong with it, for whoever asked.
    pub reason: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for FilterError {}

/// What is logged, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogStatus {
    filter: String,
    configured: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

/// Why a log was not changed, or not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogError {
    /// The host has not given its log.
    NotGiven,
    /// The host does not understand the filter.
    Filter(FilterError),
}

/// The switch of one agent, and what it was turned to.
#[derive(Default)]
pub(crate) struct Logging {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    switch: Option<Arc<dyn LogSwitch>>,
    turned: Option<Turned>,
}

/// A filter in the place of the configured one.
struct Turned {
    filter: String,
    until: Option<(WallTime, AbortHandle)>,
}

impl Drop for Turned {
    fn drop(&mut self) {
        if let Some((_, timer)) = &self.until {
            timer.abort();
        }
    }
}

impl Logging {
    /// Takes the host's log, in the place of one that was given before.
    pub(crate) fn give(&self, switch: Arc<dyn LogSwitch>) {
        let mut state = self.state();
        state.turn_back();
        state.switch = Some(switch);
    }

    /// What is logged.
    pub(crate) fn status(&self) -> Result<LogStatus, LogError> {
        self.state().status()
    }

    /// Puts a filter in force, for a while or until somebody asks again; `None`: the configured one.
    /// Runs on the control thread, which carries the timer.
    pub(crate) fn turn(
        self: &Arc<Self>,
        filter: Option<&str>,
        within: Option<Duration>,
    ) -> Result<LogStatus, LogError> {
        let mut state = self.state();
        let switch = Arc::clone(state.switch.as_ref().ok_or(LogError::NotGiven)?);
        switch.set(filter).map_err(LogError::Filter)?;
        state.turned = filter.map(|filter| {
            let until = within.map(|within| {
                let end = WallTime(clock::wall().0 + within.as_millis() as u64);
                let timer = tokio::spawn(Self::turn_back_after(Arc::downgrade(self), within));
                (end, timer.abort_handle())
            });
            Turned { filter: filter.to_owned(), until }
        });
        state.status()
    }

    async fn turn_back_after(this: Weak<Self>, within: Duration) {
        sleep(within).await;
        if let Some(this) = this.upgrade() {
            this.state().turn_back();
            tracing::info!(target: "mesh_gossip", "the log is as configured again");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn status(&self) -> Result<LogStatus, LogError> {
        let configured = self.switch.as_ref().ok_or(LogError::NotGiven)?.configured();
        let turned = self.turned.as_ref();
        let filter = turned.map_or_else(|| configured.clone(), |turned| turned.filter.clone());
        let until = turned.and_then(|turned| turned.until.as_ref()).map(|(end, _)| rfc3339(*end));
        Ok(LogStatus { filter, configured, until })
    }

    fn turn_back(&mut self) {
        if self.turned.take().is_some()
            && let Some(switch) = &self.switch
        {
            // What was configured was understood once; if it is not, there is nobody to tell.
            let _ = switch.set(None);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.turn_back();
    }
}
