//! From what people wrote to an agent that runs, in one go.
//!
//! Invariant: a builder that fails leaves nothing running.

use std::fmt;
use std::sync::Arc;

use super::Agent;
use crate::control::logging::LogSwitch;
use crate::engine::Engine;
use crate::error::StartError;
use crate::options::AgentOptions;
use crate::settings::{Settings, SettingsErrors, Sources};

type Change = Box<dyn FnOnce(&mut AgentOptions) + Send>;

/// Makes an agent of settings; [`Agent::builder`].
#[must_use = "nothing runs before `start`"]
#[derive(Default)]
pub struct AgentBuilder {
    sources: Option<Sources>,
    engine: Option<Engine>,
    changes: Vec<Change>,
    log: Option<Arc<dyn LogSwitch>>,
}

/// No agent was started.
#[derive(Debug)]
pub enum BuildError {
    /// What people wrote cannot be.
    Settings(SettingsErrors),
    /// The engine or the agent did not start.
    Start(StartError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(errors) => errors.fmt(f),
            Self::Start(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BuildError {}

impl Agent {
    /// Makes an agent of settings, on an engine of its own where none is given.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use mesh_gossip::Agent;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let built = Agent::builder()
    ///     .change(|options| drop(options.labels.insert("rack".into(), "r7".into())))
    ///     .start()?;
    /// let Some(agent) = built else { return Ok(()) }; // mesh:gossip:enabled is false
    /// println!("{} members", agent.view().view.counts().present());
    /// agent.leave(Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> AgentBuilder {
        AgentBuilder::default()
    }
}

impl AgentBuilder {
    /// Reads these; without them [`Sources::from_process`] without a file of its own.
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = Some(sources);
        self
    }

    /// Runs on this engine, which may have other agents; what the settings say of `io:*` does not
    /// count then.
    pub fn engine(mut self, engine: &Engine) -> Self {
        self.engine = Some(engine.clone());
        self
    }

    /// Changes what the settings came to, in the order of these calls: what only the host knows.
    pub fn change(mut self, change: impl FnOnce(&mut AgentOptions) + Send + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Gives it the host's log; see [`Agent::give_log`].
    pub fn log(mut self, switch: Arc<dyn LogSwitch>) -> Self {
        self.log = Some(switch);
        self
    }

    /// Starts it; `None` where `mesh:gossip:enabled` is false. Blocks for milliseconds; a task takes
    /// [`AgentBuilder::start_async`]. Notes about keys without effect are logged as warnings.
    ///
    /// # Errors
    /// [`BuildError`] names what is wrong and what would be right.
    pub fn start(self) -> Result<Option<Agent>, BuildError> {
        let sources = self.sources.unwrap_or_else(|| Sources::from_process(None));
        let settings = Settings::load(&sources).map_err(BuildError::Settings)?;
        if !settings.enabled() {
            return Ok(None);
        }
        let (engine_options, mut options) = settings.resolve().map_err(BuildError::Settings)?;
        for note in settings.notes() {
            tracing::warn!(target: "mesh_gossip", "{note}");
        }
        self.changes.into_iter().for_each(|change| change(&mut options));
        let engine = match self.engine {
            Some(engine) => engine,
            None => Engine::start(engine_options).map_err(BuildError::Start)?,
        };
        let agent = Agent::start(&engine, options).map_err(BuildError::Start)?;
        if let Some(switch) = self.log {
            agent.give_log(switch);
        }
        Ok(Some(agent))
    }
}
