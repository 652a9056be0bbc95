//! Where settings come from, weakest first.
//!
//! Transparencies on a pile: each sheet covers what it writes on and lets the rest show through.
//! At the bottom lie the files in the order given, above them the environment, one sheet for each
//! way to spell its variables.
//!
//! Invariant: nothing here looks at the process by itself, save [`Sources::from_process`].

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Files, environment variables and the host's name.
#[derive(Clone, Default)]
pub struct Sources {
    pub(super) files: Vec<FileSource>,
    pub(super) variables: Vec<(String, Zeroizing<String>)>,
    /// Names of variables that are no text; what they hold is kept nowhere.
    pub(super) garbled: Vec<String>,
    pub(super) host_name: Option<String>,
    /// What covers everything, the environment too.
    pub(super) last_words: Vec<FileSource>,
}

/// What names the environment, strongest first.
pub(super) const ENVIRONMENT_NAMES: [&str; 2] = ["DOTNET_ENVIRONMENT", "ASPNETCORE_ENVIRONMENT"];

#[derive(Clone)]
pub(super) enum FileSource {
    /// Read on load; an error when it is absent.
    Required(PathBuf),
    /// Read on load; skipped when it is absent.
    Optional(PathBuf),
    /// Given by the program under a name of its choice.
    Text(String, Zeroizing<String>),
}

impl Sources {
    /// Nothing: every key keeps its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the process was started with: `appsettings.json` and `appsettings.{Environment}.json`
    /// of the working directory, then `config`, then the environment.
    ///
    /// The environment's name is `DOTNET_ENVIRONMENT`, else `ASPNETCORE_ENVIRONMENT`, else
    /// `Production`.
    pub fn from_process(config: Option<&Path>) -> Self {
        let sources = Self::new().environment_os(std::env::vars_os());
        let named = |wanted: &str| {
            let found = sources.variables.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.to_string()).filter(|value| !value.is_empty())
        };
        let environment =
            ENVIRONMENT_NAMES.into_iter().find_map(named).unwrap_or_else(|| "Production".into());
        let sources = sources
            .directory(Path::new(""), &environment)
            .host_name(&gethostname::gethostname().to_string_lossy());
        match config {
            Some(path) => sources.file(path),
            None => sources,
        }
    }

    /// Adds `appsettings.json` and `appsettings.{environment}.json` of a directory, where they
    /// exist.
    pub fn directory(mut self, directory: &Path, environment: &str) -> Self {
        for name in ["appsettings.json".into(), format!("appsettings.{environment}.json")] {
            self.files.push(FileSource::Optional(directory.join(name)));
        }
        self
    }

    /// Adds a file that must exist.
    pub fn file(mut self, path: &Path) -> Self {
        self.files.push(FileSource::Required(path.to_owned()));
        self
    }

    /// The files that are read on load, whether they exist or not.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter_map(|file| match file {
            FileSource::Required(path) | FileSource::Optional(path) => Some(path.as_path()),
            FileSource::Text(_, _) => None,
        })
    }

    /// Adds JSON text; errors call it `name`.
    pub fn json(mut self, name: &str, text: &str) -> Self {
        self.files.push(FileSource::Text(name.into(), Zeroizing::new(text.into())));
        self
    }

    /// Adds JSON text that covers files and environment alike: what the program itself decides.
    /// Errors call it `name`.
    pub fn last_word(mut self, name: &str, text: &str) -> Self {
        self.last_words.push(FileSource::Text(name.into(), Zeroizing::new(text.into())));
        self
    }

    /// Adds environment variables. Those that are not this product's are only looked at when a
    /// `…Secret` key names them.
    pub fn environment<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        let owned = variables.into_iter().map(|(n, v)| (n.into(), Zeroizing::new(v.into())));
        self.variables.extend(owned);
        self
    }

    /// Adds variables as the system holds them. One of ours that is not UTF-8 is an error on load;
    /// of others only those matter that a `…Secret` key names.
    pub fn environment_os(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        for (name, value) in variables {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => self.variables.push((name, Zeroizing::new(value))),
                (Ok(name), Err(_)) => self.garbled.push(name),
                (Err(name), _) => self.garbled.push(name.to_string_lossy().into_owned()),
            }
        }
        self
    }

    /// Sets the name of the host, from which the default node id is made.
    pub fn host_name(mut self, name: &str) -> Self {
        self.host_name = Some(name.to_owned()).filter(|name| !name.is_empty());
        self
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("files", &self.files)
            .field("variables", &self.variables.len())
            .field("host_name", &self.host_name)
            .finish()
    }
}

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required(path) => write!(f, "{}", path.display()),
            Self::Optional(path) => write!(f, "{} (optional)", path.display()),
            Self::Text(name, _) => write!(f, "{name} (text)"),
        }
    }
}
