//! A prefix that the product was installed under, and how programs are run.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

pub(crate) fn ffi() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `capi` with this command, for the profile of this test.
pub(crate) fn capi(command: &str) -> Command {
    let mut capi = Command::new(env!("CARGO_BIN_EXE_capi"));
    let test = std::env::current_exe().expect("a test has a path");
    // <target>/<profile>/deps/<test>
    let profile = test.ancestors().nth(2).and_then(Path::file_name).and_then(OsStr::to_str);
    let profile = profile.expect("cargo's layout");
    capi.args([command, "--profile", if profile == "debug" { "dev" } else { profile }]);
    capi
}

/// Where `capi build` put libraries and header.
pub(crate) fn product() -> &'static Path {
    static PRODUCT: LazyLock<PathBuf> = LazyLock::new(|| {
        let said = succeed(&mut capi("build"));
        PathBuf::from(said.trim_end())
    });
    &PRODUCT
}

/// Runs a program that has to succeed; returns what it prints.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let (said, errors) = texts(&output);
    assert!(output.status.success(), "{command:?}: {}\n{said}{errors}", output.status);
    said
}

/// Runs a program that has to fail; returns what it says of it.
pub(crate) fn fail(command: &mut Command) -> String {
    let output = run(command);
    let (said, errors) = texts(&output);
    assert!(!output.status.success(), "{command:?} succeeded\n{said}{errors}");
    errors
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Past the harness, which swallows what a passing test prints.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&directory).expect("cargo's own directory is writable");
        Self(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
