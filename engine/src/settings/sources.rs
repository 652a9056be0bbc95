//! Where settings come from, weakest first.
//!
//! Transparencies on a pile: each sheet covers what it writes on and lets the rest show through.
//! At the bottom lie the files in the order given, above them the environment, one sheet for each
//! way to spell its variables.
//!
//! Invariant: nothing here looks at the process by itself, save [`Sources::from_process`].

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Files, environment variables and the host's name.
#[derive(Clone, Default)]
pub struct Sources {
    pub(super) files: Vec<FileSource>,
    pub(super) variables: Vec<(String, Zeroizing<String>)>,
    pub(super) host_name: Option<String>,
}

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
        let variables: Vec<(String, String)> = std::env::vars_os()
            .map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            })
            .collect();
        let named = |wanted: &str| {
            let found = variables.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        let environment = named("DOTNET_ENVIRONMENT")
            .or_else(|| named("ASPNETCORE_ENVIRONMENT"))
            .unwrap_or_else(|| "Production".into());
        let mut sources = Self::new()
            .directory(Path::new(""), &environment)
            .host_name(&gethostname::gethostname().to_string_lossy());
        if let Some(path) = config {
            sources = sources.file(path);
        }
        sources.environment(variables)
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

    /// Adds JSON text; errors call it `name`.
    pub fn json(mut self, name: &str, text: &str) -> Self {
        self.files.push(FileSource::Text(name.into(), Zeroizing::new(text.into())));
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
