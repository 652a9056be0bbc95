//! `omnirelay completions` and `omnirelay man`: both are made from the commands as clap knows
//! them, so that nothing is written twice.
//!
//! Invariant: they read nothing and start nothing, and stdout carries what was asked for alone.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Which shell; bash reads the output with `source <(omnirelay completions bash)`.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Writes one page for each command into this directory, which must exist.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What was made could not be written.
#[derive(Debug)]
pub(crate) enum ManualError {
    /// To stdout.
    Output(io::Error),
    /// Into a directory.
    Directory(PathBuf, io::Error),
}

impl std::fmt::Display for ManualError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Output(error) => write!(f, "cannot write the answer: {error}"),
            Self::Directory(path, error) => write!(
                f,
                "cannot write into {}: {error}; --out names a directory that exists",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ManualError {}

/// Prints a script for a shell.
pub(crate) fn completions(mut command: Command, args: &CompletionsArgs) -> Result<(), ManualError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "omnirelay", &mut script);
    print(&script)
}

/// Prints the page of the command itself, or writes all pages.
pub(crate) fn man(command: Command, args: &ManArgs) -> Result<(), ManualError> {
    if let Some(directory) = &args.out {
        return clap_mangen::generate_to(command, directory)
            .map_err(|error| ManualError::Directory(directory.clone(), error));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(ManualError::Output)?;
    print(&page)
}

fn print(bytes: &[u8]) -> Result<(), ManualError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(ManualError::Output)
}
