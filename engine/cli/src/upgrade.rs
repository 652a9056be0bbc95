//! `omnirelay mesh cordon`, `uncordon`, `drain`, `resume`, `leave` and `upgrade`: what an agent's
//! owner changes through its control socket.
//!
//! Invariant: what was asked goes on in the agent, whatever becomes of this process.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::json;

use crate::control::{ControlError, DoorArgs};
use crate::paint::Paint;
use crate::table;

/// How often a waiting command asks how far the node is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which agent, and how the answer is printed.
#[derive(Args, Clone, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    door: DoorArgs,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The same with a reason.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReasonArgs {
    #[command(flatten)]
    of: StatusArgs,
    /// Why, for whoever asks later.
    #[arg(long)]
    reason: Option<String>,
}

/// The same, waited for.
#[derive(Args, Clone, Debug)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    of: ReasonArgs,
    /// Wait until the node is drained: exit code 1 when it fails, 2 after --timeout.
    #[arg(long)]
    wait: bool,
}

/// Shows or changes whether a node drains.
#[derive(Args, Debug)]
pub(crate) struct UpgradeArgs {
    #[command(subcommand)]
    verb: UpgradeVerb,
}

#[derive(Subcommand, Debug)]
enum UpgradeVerb {
    /// Shows how far the node is.
    Status(StatusArgs),
    /// Hands the node's work over.
    Drain(DrainArgs),
    /// Takes work again.
    Resume(StatusArgs),
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Lines for people.
    Text,
    /// The server's document.
    Json,
}

/// What the lines need of the document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    state: String,
    reason: Option<String>,
    updated_at: String,
    participants: Vec<Participant>,
}

#[derive(Deserialize)]
struct Participant {
    name: String,
    state: String,
    error: Option<String>,
}

/// Takes no new work.
pub(crate) fn cordon(args: &ReasonArgs) -> Result<(), ControlError> {
    let body = wish(args.reason.as_deref());
    print(&args.of, &change(&args.of, "/control/cordon", &body)?)
}

/// Takes new work again.
pub(crate) fn uncordon(args: &StatusArgs) -> Result<(), ControlError> {
    print(args, &change(args, "/control/uncordon", b"")?)
}

/// Hands the work over.
pub(crate) fn drain(args: &DrainArgs) -> Result<(), ControlError> {
    let (of, until) = (&args.of.of, Instant::now() + args.of.of.door.timeout);
    let body = wish(args.of.reason.as_deref());
    let mut answer = change(of, "/control/upgrade/drain", &body)?;
    while args.wait && read(&answer)?.state == "draining" {
        if Instant::now() >= until {
            let what = format!("the node drains, but {} is not drained: it", of.door.door()?);
            return Err(ControlError::Timeout { what, after: of.door.timeout });
        }
        thread::sleep(LOOK_EVERY);
        answer = tell(of)?;
    }
    print(of, &answer)?;
    match read(&answer)?.state.as_str() {
        "failed" if args.wait => Err(ControlError::Failed(
            "a participant could not finish; `mesh drain` lets it try again, `mesh resume` calls \
             the drain off"
                .into(),
        )),
        _ => Ok(()),
    }
}

/// Takes work again.
pub(crate) fn resume(args: &StatusArgs) -> Result<(), ControlError> {
    print(args, &change(args, "/control/upgrade/resume", b"")?)
}

/// Says goodbye.
pub(crate) fn leave(args: &StatusArgs) -> Result<(), ControlError> {
    #[derive(Deserialize)]
    struct Left {
        acknowledged: usize,
    }
    let answer = change(args, "/control/leave", b"")?;
    let left: Left = parsed(&answer)?;
    let text = match args.format {
        Format::Text => format!("left the mesh; {} members acknowledged it\n", left.acknowledged),
        Format::Json => String::from_utf8_lossy(&answer).into_owned() + "\n",
    };
    written(&text)
}

/// `mesh upgrade`.
pub(crate) fn run(args: &UpgradeArgs) -> Result<(), ControlError> {
    match &args.verb {
        UpgradeVerb::Status(args) => print(args, &tell(args)?),
        UpgradeVerb::Drain(args) => drain(args),
        UpgradeVerb::Resume(args) => resume(args),
    }
}

fn wish(reason: Option<&str>) -> Vec<u8> {
    reason.map(|reason| json!({"reason": reason}).to_string().into_bytes()).unwrap_or_default()
}

fn change(args: &StatusArgs, path: &str, body: &[u8]) -> Result<Vec<u8>, ControlError> {
    args.door.door()?.ask("POST", path, body, args.door.timeout)
}

fn tell(args: &StatusArgs) -> Result<Vec<u8>, ControlError> {
    args.door.door()?.ask("GET", "/control/upgrade", b"", args.door.timeout)
}

pub(crate) fn parsed<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, ControlError> {
    let strange = |error| ControlError::Failed(format!("the answer is not understood: {error}"));
    serde_json::from_slice(answer).map_err(strange)
}

fn read(answer: &[u8]) -> Result<Status, ControlError> {
    parsed(answer)
}

fn print(args: &StatusArgs, answer: &[u8]) -> Result<(), ControlError> {
    match args.format {
        Format::Json => written(&(String::from_utf8_lossy(answer).into_owned() + "\n")),
        Format::Text => written(&Paint::for_stdout().text(&as_text(&read(answer)?))),
    }
}

fn as_text(status: &Status) -> String {
    let mut text = format!("State: {}\n", table::harmless(&status.state));
    if let Some(reason) = &status.reason {
        text += &format!("Reason: {}\n", table::harmless(reason));
    }
    text += &format!("Updated at: {}\n", table::harmless(&status.updated_at));
    if !status.participants.is_empty() {
        let row = |participant: &Participant| {
            let error = participant.error.clone().unwrap_or_default();
            [participant.name.clone(), participant.state.clone(), error]
        };
        let rows: Vec<_> = status.participants.iter().map(row).collect();
        for line in table::lines(["Participant", "State", "Error"], &rows) {
            text += &format!("{line}\n");
        }
    }
    text
}

pub(crate) fn written(text: &str) -> Result<(), ControlError> {
    let mut out = std::io::stdout().lock();
    let done = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    done.map_err(|error| ControlError::Io { what: "stdout".into(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_lines_for_people() {
        let answer = br#"{"state":"failed","reason":"kernel","updatedAt":"2026-01-02T03:04:05Z",
            "participants":[{"name":"leases","state":"drained"},
            {"name":"queue","state":"failed","error":"two\u001b are stuck"}]}"#;
        let status = read(answer).unwrap_or_else(|error| panic!("{error}"));
        let expected = "\
State: failed
Reason: kernel
Updated at: 2026-01-02T03:04:05Z
Participant  State    Error
leases       drained
queue        failed   two\u{fffd} are stuck
";
        assert_eq!(as_text(&status), expected);
    }
}
