//! What the checks found, for people and for programs.
//!
//! Invariant: what passed needs no fix; whatever else has exactly one.

use serde::Serialize;

use crate::table;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Verdict {
    /// As it should be.
    Pass,
    /// It works, yet not as well as it could, or not for long.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) evidence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
}

impl Finding {
    pub(super) fn pass(check: &'static str, evidence: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Pass, evidence: evidence.into(), fix: None }
    }

    pub(super) fn warn(
        check: &'static str,
        evidence: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::bad(check, Verdict::Warn, evidence.into(), fix.into())
    }

    pub(super) fn fail(
        check: &'static str,
        evidence: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::bad(check, Verdict::Fail, evidence.into(), fix.into())
    }

    /// The engine's errors end with what helps, after their last semicolon.
    pub(super) fn fail_of(check: &'static str, error: &str, otherwise: &str) -> Self {
        match error.rsplit_once("; ") {
            Some((evidence, fix)) => Self::fail(check, evidence, fix),
            None => Self::fail(check, error, otherwise),
        }
    }

    fn bad(check: &'static str, verdict: Verdict, evidence: String, fix: String) -> Self {
        Self { check, verdict, evidence, fix: Some(fix) }
    }
}

/// All findings, in the order of the checks.
#[derive(Serialize)]
pub(super) struct Report {
    ok: bool,
    checks: Vec<Finding>,
}

impl Report {
    pub(super) fn of(checks: Vec<Finding>) -> Self {
        Self { ok: failed(&checks) == 0, checks }
    }

    /// How many checks failed.
    pub(super) fn failures(&self) -> usize {
        failed(&self.checks)
    }

    pub(super) fn text(&self) -> String {
        let width = self.checks.iter().map(|found| found.check.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Finding { check, verdict, evidence, fix } in &self.checks {
            let evidence = table::harmless(evidence);
            text.push_str(&format!("{}  {check:<width$}  {evidence}\n", verdict.as_str()));
            if let Some(fix) = fix {
                text.push_str(&format!(
                    "{:width$}    fix: {}\n",
                    "",
                    table::harmless(fix),
                    width = width + 4
                ));
            }
        }
        text
    }

    pub(super) fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("text and lists are always JSON") + "\n"
    }
}

fn failed(checks: &[Finding]) -> usize {
    checks.iter().filter(|found| found.verdict == Verdict::Fail).count()
}
