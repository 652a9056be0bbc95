//! Settings that change while an agent runs.
//!
//! All that can change is taken over, or nothing is; what needs a restart is named each time until
//! it is done.
//!
//! Invariant: one line is logged for each occasion, whatever comes of it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_gossip::options::EngineOptions;
use mesh_gossip::reconfigure::engine_differences;
use mesh_gossip::settings::{LogOptions, Settings, Sources};
use mesh_gossip::{Agent, ReconfigureError};

use crate::logging::Level;

/// Why the settings are read again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Occasion {
    Hangup,
    File,
}

impl Occasion {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::File => "a settings file changed",
        }
    }
}

/// What tells that a file is another one; `None`: there is none.
type Stamp = Option<(u64, i64, i64, u64)>;

/// Settings files, and how they looked.
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    /// As they were read last.
    taken: Vec<Stamp>,
    /// As they were seen last: a file that is being written looks different each time.
    seen: Vec<Stamp>,
}

impl Files {
    /// How they look before they are read: what is written from here on is a change, however long the
    /// start takes.
    pub(crate) fn before_reading(sources: &Sources) -> Self {
        Self::at(sources.paths().map(Path::to_path_buf).collect())
    }

    fn at(paths: Vec<PathBuf>) -> Self {
        let taken = stamps(&paths);
        let seen = taken.clone();
        Self { paths, taken, seen }
    }

    /// Whether one is another, and has been since the look before.
    fn changed(&mut self) -> bool {
        let stamps = stamps(&self.paths);
        let settled = stamps == self.seen;
        self.seen = stamps;
        settled && self.seen != self.taken
    }

    /// They are about to be read.
    fn take(&mut self) {
        self.taken = stamps(&self.paths);
    }
}

/// What an agent was started with outside of itself.
pub(crate) struct Reload {
    config: Option<PathBuf>,
    files: Files,
    engine: EngineOptions,
    log: LogOptions,
    level: Arc<Level>,
}

impl Reload {
    pub(crate) fn new(
        config: Option<PathBuf>,
        files: Files,
        engine: EngineOptions,
        log: LogOptions,
        level: Arc<Level>,
    ) -> Self {
        Self { config, files, engine, log, level }
    }

    /// Whether a settings file is another one, and has been since the look before.
    pub(crate) fn files_changed(&mut self) -> bool {
        self.files.changed()
    }

    /// Reads the settings again and takes over what can change: all of it, or nothing.
    pub(crate) fn apply(&mut self, agent: &Agent, occasion: Occasion) {
        let said = occasion.as_str();
        // Before they are read: what is written meanwhile is another change.
        self.files.take();
        let settings = Settings::load(&Sources::from_process(self.config.as_deref()));
        let resolved = settings.and_then(|settings| {
            let (engine, options) = settings.resolve()?;
            Ok((settings, engine, options))
        });
        let (settings, engine, options) = match resolved {
            Ok(resolved) => resolved,
            Err(errors) => {
                // One line of the log, however many mistakes there are.
                let reason = errors.to_string().replace('\n', "; ");
                tracing::error!(Reason = reason, "{said}: the settings cannot be; nothing changed");
                return;
            }
        };
        let report = match agent.reconfigure(options) {
            Ok(report) => report,
            Err(error @ ReconfigureError::Refused { trust, .. }) => {
                tracing::error!(
                    Trust = trust,
                    Reason = %error,
                    "{said}: the certificate is refused; the one before stays, and all settings do"
                );
                return;
            }
            Err(error @ ReconfigureError::Agent(_)) => {
                tracing::error!(Reason = %error, "{said}: the settings are in force only in part");
                return;
            }
            Err(error) => {
                tracing::error!(Reason = %error, "{said}: nothing changed");
                return;
            }
        };
        let (mut changed, mut restart) = (report.changed, report.needs_restart);
        restart.extend(engine_differences(&self.engine, &engine));
        let log = settings.log();
        if log.format != self.log.format {
            restart.push("log:format");
        }
        if !settings.enabled() {
            restart.push("enabled");
        }
        let another_level = log.level != self.log.level;
        if another_level {
            changed.push("log:level");
        }
        let certificates = report.certificates;
        let tell = || {
            tracing::info!(
                Changed = changed.join(", "),
                NeedsRestart = restart.join(", "),
                Certificate = certificates.certificate,
                Trust = certificates.trust,
                Revoked = certificates.revoked,
                "{said}: settings reloaded"
            );
        };
        // Told while the log is at its loudest: a level that hides the line must not do so yet.
        if log.level < self.log.level {
            tell();
        }
        if another_level {
            self.level.set(log.level);
        }
        if log.level >= self.log.level {
            tell();
        }
        self.log.level = log.level;
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.ino(), data.mtime(), data.mtime_nsec(), data.len()))
    };
    paths.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written after the files were looked at is a change, although nobody has waited for the start
    /// to be over; and one that is being written is left alone.
    #[test]
    fn a_change_during_the_start_is_noticed() -> std::io::Result<()> {
        let home = tempfile::tempdir()?;
        let path = home.path().join("node.json");
        std::fs::write(&path, "{}")?;
        let mut files = Files::at(vec![path.clone(), home.path().join("absent.json")]);
        assert!(!files.changed());
        std::fs::write(&path, "{ }")?;
        assert!(!files.changed(), "it may not be whole yet");
        assert!(files.changed());
        std::fs::write(&path, "{  }")?;
        assert!(!files.changed(), "it goes on being written");
        files.take();
        assert!(!files.changed() && !files.changed());
        std::fs::write(home.path().join("absent.json"), "{}")?;
        assert!(!files.changed() && files.changed(), "another file is a change");
        Ok(())
    }
}
