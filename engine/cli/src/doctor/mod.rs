//! `omnirelay mesh doctor`: what keeps an agent with these settings out of its mesh.
//!
//! Checks look and change nothing: no member joins, no file is written. Each ends as PASS, WARN or
//! FAIL with what was seen; what did not pass names one fix.
//!
//! Invariant: a check that cannot be made, since an earlier one failed, is not told; and the whole
//! ends, whatever others do: each question to another machine has a deadline.

mod credentials;
mod local;
mod paths;
mod report;
mod running;
mod seeds;
mod thirds;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use mesh_gossip::settings::{Checked, Settings, Sources};

use crate::paint::Paint;
use crate::{duration, peers};
use paths::Looks;
use report::{Finding, Report};
use running::Running;

/// Looks for what keeps an agent with these settings out of its mesh.
///
/// Each check ends as PASS, WARN or FAIL with what was seen and, where it did not pass, one fix.
/// Nothing is changed and nobody joins. Exit code 0 when nothing failed, 1 otherwise.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// JSON settings, read after appsettings.json and before the environment.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Control URL of the agent that runs with these settings; else where they put it.
    #[arg(short, long, value_parser = peers::base)]
    url: Option<String>,
    /// How long each question to another machine may take.
    #[arg(long, default_value = "3s", value_parser = duration::parse_positive)]
    timeout: Duration,
}

/// Why the end is not good.
#[derive(Debug)]
pub(crate) enum DoctorError {
    /// So many checks failed, and were told.
    Failed(usize),
    /// Our own output could not be written.
    Output(std::io::Error),
}

impl std::fmt::Display for DoctorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(1) => f.write_str("1 check failed"),
            Self::Failed(count) => write!(f, "{count} checks failed"),
            Self::Output(error) => write!(f, "cannot write the answer: {error}"),
        }
    }
}

impl std::error::Error for DoctorError {}

/// Makes the checks and prints what they found.
pub(crate) fn run(args: &DoctorArgs) -> Result<(), DoctorError> {
    let report = Report::of(examine(args));
    let text = if args.json { report.json() } else { Paint::for_stdout().text(&report.text()) };
    let mut out = std::io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match report.failures() {
        0 => printed.map_err(DoctorError::Output),
        // Which matters more than who has heard it.
        count => Err(DoctorError::Failed(count)),
    }
}

fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let checked = Settings::check(&Sources::from_process(args.config.as_deref()));
    let mut findings = configuration(&checked);
    if !checked.problems.is_empty() || !checked.settings.enabled() {
        return findings;
    }
    let (engine, options) = match checked.settings.resolve() {
        Ok(resolved) => resolved,
        // What a check finds good resolves; were it not so, the reason is worth a line.
        Err(errors) => {
            let fix = "omnirelay mesh config check";
            findings.push(Finding::fail("configuration", errors.to_string(), fix));
            return findings;
        }
    };
    let running = Running::find(&options, args.url.as_deref(), args.timeout);
    let (credentials, found) = credentials::check(&options);
    findings.extend(found);
    let (addresses, found) = seeds::check(&options, args.timeout);
    findings.extend(found);
    findings.extend(local::binds(&options, running.as_ref()));
    findings.push(local::datagrams(engine));
    let alone = running.is_none() && local::is_free(options.bind);
    if let Some(credentials) = credentials.map(Arc::new) {
        let (credentials, patience) = (&credentials, args.timeout);
        let runs = running.is_some();
        let looks = Looks { options: &options, credentials, alone, runs, patience, wall: None };
        findings.extend(looks.at(&addresses));
    }
    findings.extend(running.into_iter().flat_map(|agent| agent.health(args.timeout)));
    findings
}

fn configuration(checked: &Checked) -> Vec<Finding> {
    const CHECK: &str = "configuration";
    let mut findings: Vec<Finding> = checked
        .problems
        .iter()
        .map(|problem| Finding::fail(CHECK, problem.to_string(), problem.diagnosis().fix))
        .collect();
    findings.extend(
        checked
            .notes
            .iter()
            .map(|note| Finding::warn(CHECK, note.to_string(), format!("remove {}", note.key))),
    );
    if checked.problems.is_empty() {
        findings.push(if checked.settings.enabled() {
            Finding::pass(CHECK, "the settings hold")
        } else {
            let fix = "set mesh:gossip:enabled to true";
            Finding::warn(CHECK, "mesh:gossip:enabled is false, so that no agent runs", fix)
        });
    }
    findings
}
