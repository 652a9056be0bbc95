//! The verdict of `--assert`: what was reached, in how many milliseconds, and whether it was
//! promised so.
//!
//! Invariant: `ok` follows from the other fields; a field that was not reached is null.

use std::time::Duration;

use serde::Serialize;

/// Everyone must see everyone in less than this.
pub(crate) const CONVERGE_BUDGET: Duration = Duration::from_millis(2_000);

/// Of two agents the survivor has nobody to ask and is patient: thirty pings, within this.
const LONE_BUDGET: Duration = Duration::from_secs(9);

const TLS_VERSION: &str = "TLSv1.3";

/// What was reached so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Datagram backend.
    pub(crate) backend: Option<&'static str>,
    /// Agents.
    pub(crate) nodes: u16,
    /// From the first start call until everyone saw everyone.
    pub(crate) converged: Option<Duration>,
    /// The agent that was killed.
    pub(crate) killed: Option<String>,
    /// From the kill until the last survivor had removed it.
    pub(crate) removed: Option<Duration>,
    /// The promise that the removal is measured by, where somebody can be asked.
    pub(crate) suspicion_interval: Duration,
    /// Of a session that was confirmed.
    pub(crate) tls: Tls,
}

/// What the sessions run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tls {
    /// Protocol version.
    pub(crate) version: Option<&'static str>,
    /// Cipher suite.
    pub(crate) suite: Option<&'static str>,
}

#[derive(Serialize)]
struct Line<'a> {
    ok: bool,
    backend: Option<&'static str>,
    nodes: u16,
    converged_ms: Option<u64>,
    killed: Option<&'a str>,
    removed_ms: Option<u64>,
    suspicion_interval_ms: u64,
    tls: Tls,
}

impl Report {
    /// Nothing is reached yet.
    pub(crate) fn new(nodes: u16, suspicion_interval: Duration) -> Self {
        Self {
            backend: None,
            nodes,
            converged: None,
            killed: None,
            removed: None,
            suspicion_interval,
            tls: Tls::default(),
        }
    }

    /// What the removal may take.
    pub(crate) fn removal_budget(&self) -> Duration {
        if self.nodes == 2 {
            LONE_BUDGET.max(self.suspicion_interval)
        } else {
            self.suspicion_interval
        }
    }

    /// Whether every promise was kept.
    pub(crate) fn is_ok(&self) -> bool {
        self.broken().is_empty()
    }

    /// The promises that were broken, as sentences.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let budget_ms = whole_ms(CONVERGE_BUDGET);
        match self.converged.map(whole_ms) {
            None => broken.push("the agents never saw each other".into()),
            Some(ms) if ms >= budget_ms => {
                broken.push(format!("converging took {ms} ms, not less than {budget_ms} ms"));
            }
            Some(_) => {}
        }
        let limit_ms = whole_ms(self.removal_budget());
        match self.removed.map(whole_ms) {
            None => broken.push("the killed agent was not removed".into()),
            Some(ms) if ms > limit_ms => {
                broken.push(format!("the removal took {ms} ms, more than {limit_ms} ms"));
            }
            Some(_) => {}
        }
        if self.tls.version != Some(TLS_VERSION) {
            broken.push(format!("no session over {TLS_VERSION} was confirmed"));
        }
        broken
    }

    /// The report as one line of JSON.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Line {
            ok: self.is_ok(),
            backend: self.backend,
            nodes: self.nodes,
            converged_ms: self.converged.map(whole_ms),
            killed: self.killed.as_deref(),
            removed_ms: self.removed.map(whole_ms),
            suspicion_interval_ms: whole_ms(self.suspicion_interval),
            tls: self.tls,
        })
    }
}

/// Milliseconds, rounded up: a budget is not met by rounding.
pub(crate) fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Report {
        Report {
            backend: Some("uring"),
            nodes: 3,
            converged: Some(Duration::from_millis(1_999)),
            killed: Some("demo-3".into()),
            removed: Some(Duration::from_millis(5_000)),
            suspicion_interval: Duration::from_millis(5_000),
            tls: Tls { version: Some("TLSv1.3"), suite: Some("TLS13_AES_128_GCM_SHA256") },
        }
    }

    #[test]
    fn the_line_has_the_promised_fields_in_the_promised_order() -> serde_json::Result<()> {
        assert_eq!(
            kept().to_json()?,
            r#"{"ok":true,"backend":"uring","nodes":3,"converged_ms":1999,"killed":"demo-3","removed_ms":5000,"suspicion_interval_ms":5000,"tls":{"version":"TLSv1.3","suite":"TLS13_AES_128_GCM_SHA256"}}"#
        );
        assert_eq!(
            Report::new(3, Duration::from_secs(5)).to_json()?,
            r#"{"ok":false,"backend":null,"nodes":3,"converged_ms":null,"killed":null,"removed_ms":null,"suspicion_interval_ms":5000,"tls":{"version":null,"suite":null}}"#
        );
        Ok(())
    }

    #[test]
    fn ok_means_every_promise_and_nothing_is_rounded_down() {
        assert!(kept().is_ok());
        let late = Duration::from_micros(1_999_001);
        let broken = [
            Report { converged: Some(late), ..kept() },
            Report { converged: None, ..kept() },
            Report { removed: Some(Duration::from_micros(5_000_001)), ..kept() },
            Report { removed: None, ..kept() },
            Report { tls: Tls::default(), ..kept() },
            Report { tls: Tls { version: Some("TLSv1.2"), suite: None }, ..kept() },
        ];
        for report in broken {
            assert_eq!(report.broken().len(), 1, "{report:?}");
        }
    }
}
