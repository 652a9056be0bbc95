//! `omnirelay mesh agent`: one member as a daemon.
//!
//! Its log goes to stderr. Stdout carries one line, once everything is bound: the ports may have
//! been left to the kernel, and whoever starts an agent waits for that line.
//!
//! Invariant: the first SIGTERM or SIGINT says goodbye for at most [`GOODBYE`], then exit code 0;
//! a second one ends the process at once. SIGHUP ends nothing: the settings are read again, and
//! what can change is taken over if everything holds.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use mesh_gossip::settings::{LogFormat, Settings, SettingsErrors, Sources};
use mesh_gossip::{Agent, Engine, StartError};
use serde::Serialize;

use crate::logging::{self, LoggingError};
use crate::otlp::Export;
use crate::reload::{Files, Occasion, Reload};
use crate::say::tell;
use crate::signals::{Hangup, Stop};
use crate::supervision::Supervision;

/// How long a leaving agent waits for others to acknowledge.
const GOODBYE: Duration = Duration::from_secs(5);
/// How often a running agent looks whether a SIGHUP has come or a settings file has changed.
const HANGUP_LOOK: Duration = Duration::from_millis(250);

/// Runs one agent until SIGTERM or SIGINT.
///
/// Logs go to stderr (mesh:gossip:log:format, log:level); stdout carries one line, when the
/// agent listens, with the addresses that were bound. The agent stays in the foreground. The
/// first SIGTERM or SIGINT says goodbye to the mesh, a second one ends the process at once;
/// SIGHUP, or a change of a settings file, reads the settings again and takes over what can change
/// while the agent runs, or nothing; the log names what did and what needs a restart. Changed
/// certificate files are taken over without a signal. A service manager that set NOTIFY_SOCKET is
/// told of the start, of reloads and of the end (systemd: Type=notify-reload), and its watchdog is
/// fed while rounds of probes begin.
#[derive(Args, Debug)]
pub(crate) struct AgentArgs {
    /// JSON settings, read after appsettings.json and before the environment.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why an agent does not run.
#[derive(Debug)]
pub(crate) enum AgentError {
    /// What people wrote cannot be.
    Settings(SettingsErrors),
    /// The log's settings cannot be.
    Logging(LoggingError),
    /// The engine or the agent did not start.
    Start(StartError),
    /// Signals could not be taken over, or stdout is closed.
    Process(std::io::Error),
    /// It ran, and then its shard ended.
    Deaf,
}

impl std::fmt::Display for AgentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Settings(errors) => errors.fmt(f),
            Self::Logging(error) => error.fmt(f),
            Self::Start(error) if error.is_port_busy() => write!(
                f,
                "{error}\nhint: another process holds that port; free it or set mesh:gossip:port \
                 (mesh:gossip:control:port for the control server) to another one"
            ),
            Self::Start(error) => error.fmt(f),
            Self::Process(error) => write!(f, "cannot run as a daemon: {error}"),
            Self::Deaf => f.write_str(
                "the agent can neither hear nor speak any more, the log says why; start it again",
            ),
        }
    }
}

impl std::error::Error for AgentError {}

/// What stdout says when the agent listens.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listening<'a> {
    node_id: &'a str,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<String>,
    backend: &'static str,
}

/// Starts, waits for a signal, leaves.
pub(crate) fn run(args: &AgentArgs) -> Result<(), AgentError> {
    // First of all: whoever tells daemons to reload need not know how far this one has come.
    let hangup = Hangup::on_signal().map_err(AgentError::Process)?;
    let sources = Sources::from_process(args.config.as_deref());
    let files = Files::before_reading(&sources);
    let settings = Settings::load(&sources).map_err(AgentError::Settings)?;
    if !settings.enabled() {
        tell!("mesh:gossip:enabled is false: there is nothing to run");
        return Ok(());
    }
    let (engine_options, agent_options) = settings.resolve().map_err(AgentError::Settings)?;
    let log = settings.log();
    let export = Export::from_environment(&agent_options.node_id);
    let level = logging::start_exporting(log, &export).map_err(AgentError::Logging)?;
    for note in settings.notes() {
        tracing::warn!("{note}");
    }
    if let Some(note) = export.note() {
        tracing::warn!("{note}");
    }
    let stop = Stop::on_signals().map_err(AgentError::Process)?;
    let engine = Engine::start(engine_options).map_err(AgentError::Start)?;
    let mut supervision = Supervision::from_environment(agent_options.protocol.interval);
    let agent = Agent::start(&engine, agent_options).map_err(AgentError::Start)?;
    agent.give_log(level.clone());
    announce(&engine, &agent, log.format).map_err(AgentError::Process)?;
    let reload = Reload::new(args.config.clone(), files, engine_options, log, level);
    let end = wait(&stop, &hangup, &agent, reload, &mut supervision);
    supervision.stopping();
    let was_sent_away = match end {
        End::Asked => false,
        End::SentAway => true,
        End::Deaf => {
            drop(agent);
            engine.shutdown();
            export.finish();
            return Err(AgentError::Deaf);
        }
    };
    tracing::debug!("leaving; a second signal ends the process at once");
    // The one line at info about the departure: the engine's own may be lost at shutdown.
    match agent.leave(GOODBYE) {
        Ok(acknowledged) => {
            tracing::info!(NodeId = agent.node_id(), Acknowledged = acknowledged, "left the mesh");
        }
        // What there was to say has been said.
        Err(_) if was_sent_away => {
            tracing::info!(NodeId = agent.node_id(), "left the mesh, as its owner asked");
        }
        Err(error) => tracing::warn!(%error, "left without a full goodbye"),
    }
    drop(agent);
    engine.shutdown();
    export.finish();
    Ok(())
}

/// Why a daemon is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By a signal.
    Asked,
    /// Its owner sent it away.
    SentAway,
    /// Its shard has ended: whoever supervises this process had better start it again than keep a
    /// member up that nobody hears.
    Deaf,
}

impl End {
    fn of(asked: bool, state: &str, deaf: bool) -> Option<Self> {
        if asked {
            Some(Self::Asked)
        } else if state == "leaving" {
            Some(Self::SentAway)
        } else {
            deaf.then_some(Self::Deaf)
        }
    }
}

/// Returns when there is a reason to end; SIGHUPs and changed files are answered meanwhile, and
/// the service manager is told how it goes.
fn wait(
    stop: &Stop,
    hangup: &Hangup,
    agent: &Agent,
    mut reload: Reload,
    supervision: &mut Supervision,
) -> End {
    loop {
        if let Some(end) = End::of(stop.is_asked(), agent.upgrade_status().state, agent.has_ended())
        {
            return end;
        }
        let occasion = if hangup.take() {
            Some(Occasion::Hangup)
        } else {
            reload.files_changed().then_some(Occasion::File)
        };
        if let Some(occasion) = occasion {
            supervision.reloading();
            reload.apply(agent, occasion);
            supervision.reloaded();
        }
        supervision.look(Instant::now(), agent);
        stop.wait_until(Some(Instant::now() + HANGUP_LOOK));
    }
}

fn announce(engine: &Engine, agent: &Agent, format: LogFormat) -> std::io::Result<()> {
    let listening = Listening {
        node_id: agent.node_id(),
        address: agent.local_address().to_string(),
        control: agent.control_url(),
        backend: engine.backend().as_str(),
    };
    let line = match format {
        LogFormat::Json => serde_json::to_string(&listening)?,
        LogFormat::Text => format!(
            "{} listens on {} ({}), control {}",
            listening.node_id,
            listening.address,
            listening.backend,
            listening.control.as_deref().unwrap_or("off"),
        ),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_ends_when_it_is_asked_sent_away_or_deaf() {
        assert_eq!(End::of(false, "active", false), None);
        assert_eq!(End::of(false, "draining", false), None);
        assert_eq!(End::of(true, "active", false), Some(End::Asked));
        assert_eq!(End::of(true, "leaving", true), Some(End::Asked), "a goodbye is tried");
        assert_eq!(End::of(false, "leaving", false), Some(End::SentAway));
        assert_eq!(End::of(false, "leaving", true), Some(End::SentAway));
        assert_eq!(End::of(false, "cordoned", true), Some(End::Deaf));
        assert!(AgentError::Deaf.to_string().contains("start it again"));
    }
}
