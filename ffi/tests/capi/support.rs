//! A prefix that the product was installed under, and how programs are run.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use engine::bootstrap::{CaValidity, CertificateAuthority, Existing, Subject};

pub(crate) fn ffi() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The library's.
fn profile() -> String {
    let test = std::env::current_exe().expect("a test has a path");
    // <target>/<profile>/deps/<test>
    let own = test.ancestors().nth(2).and_then(Path::file_name).and_then(OsStr::to_str);
    let own = own.expect("cargo's layout");
    let own = if own == "debug" { "dev" } else { own };
    std::env::var("MESH_GOSSIP_C_PROFILE").unwrap_or_else(|_| own.to_owned())
}

/// `capi` with this command, for the profile of this test unless another one is asked for.
pub(crate) fn capi(command: &str) -> Command {
    let mut capi = Command::new(env!("CARGO_BIN_EXE_capi"));
    capi.args([command, "--profile", &profile()]);
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

/// Where `capi build --hooks` put the library for tests.
pub(crate) fn hooks() -> &'static Path {
    static HOOKS: LazyLock<PathBuf> = LazyLock::new(|| {
        let said = succeed(capi("build").arg("--hooks"));
        PathBuf::from(said.trim_end())
    });
    &HOOKS
}

/// Where `capi build --sanitize` put the instrumented library; what this compiler lacks for it.
pub(crate) fn sanitized(sanitizer: &str) -> Result<PathBuf, String> {
    let output = run(capi("build").args(["--sanitize", sanitizer]));
    let (said, errors) = texts(&output);
    if let Some(line) = errors.lines().find(|line| line.contains("this compiler brings no")) {
        return Err(line.to_owned());
    }
    assert!(output.status.success(), "{errors}");
    Ok(PathBuf::from(said.trim_end()))
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
        Self::at(&format!("{name}-{}", std::process::id()))
    }

    /// One that every run finds again, since nobody drops it.
    pub(crate) fn at(name: &str) -> Self {
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

/// Whether `tool` can be run; says so where it cannot.
pub(crate) fn has(tool: &str) -> bool {
    let mut ask = Command::new(tool);
    let found = ask.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    tell(&format!("SKIPPED: {tool}"));
    false
}

/// Where the product is installed.
pub(crate) struct Prefix(Scratch);

impl Prefix {
    /// One for all tests.
    pub(crate) fn shared() -> &'static Self {
        static PREFIX: LazyLock<Prefix> = LazyLock::new(|| {
            let scratch = Scratch::at(&format!("prefix-{profile}", profile = profile()));
            let mut install = capi("install");
            install.arg("--product").arg(product()).arg("--prefix").arg(scratch.path());
            succeed(&mut install);
            Prefix(scratch)
        });
        &PREFIX
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn lib(&self) -> PathBuf {
        self.path().join("lib")
    }

    pub(crate) fn include(&self) -> PathBuf {
        self.path().join("include")
    }

    /// What the static library needs of the system.
    pub(crate) fn native_libraries(&self) -> Vec<String> {
        let list = std::fs::read_to_string(product().join("native-static-libs.txt")).unwrap();
        list.split_whitespace().map(str::to_owned).collect()
    }
}

/// Certificates of a mesh of one, and settings for it.
pub(crate) struct Settings {
    scratch: Scratch,
    ca: CertificateAuthority,
    tls: serde_json::Value,
}

impl Settings {
    pub(crate) fn new(name: &str) -> Self {
        let scratch = Scratch::new(&format!("settings-{name}"));
        let now = std::time::SystemTime::now();
        let ca = CertificateAuthority::create("td.test", "c1", now, CaValidity::default()).unwrap();
        std::fs::write(scratch.path().join("ca.pem"), ca.bundle_pem()).unwrap();
        let tls = Self::issue(&ca, &scratch, "n1");
        Self { scratch, ca, tls }
    }

    fn issue(ca: &CertificateAuthority, scratch: &Scratch, node: &str) -> serde_json::Value {
        let (now, day) = (std::time::SystemTime::now(), std::time::Duration::from_secs(86_400));
        let issued = ca.issue(&Subject::new(node, "worker"), now, day).unwrap();
        let files = issued.write(scratch.path(), Existing::Refuse).unwrap();
        serde_json::json!({
            "certificatePath": files.certificate, "keyPath": files.key,
            "caPath": scratch.path().join("ca.pem"), "trustDomain": "td.test"
        })
    }

    /// A directory with settings of these members, each with a certificate of its own.
    pub(crate) fn mesh(&self, nodes: &[&str]) -> PathBuf {
        for node in nodes {
            let file = self.scratch.path().join(format!("{node}.json"));
            if file.exists() {
                continue;
            }
            let tls = Self::issue(&self.ca, &self.scratch, node);
            let settings = serde_json::json!({"mesh": {"gossip": {
                "nodeId": node, "role": "worker", "clusterId": "c1", "tls": tls
            }}});
            std::fs::write(file, settings.to_string()).unwrap();
        }
        self.scratch.path().to_path_buf()
    }

    /// A file that asks for this backend.
    pub(crate) fn file(&self, backend: &str) -> PathBuf {
        let settings = serde_json::json!({"mesh": {"gossip": {
            "nodeId": "n1", "role": "worker", "clusterId": "c1", "bindAddress": "127.0.0.1",
            "port": 0, "control": {"port": 0}, "io": {"backend": backend}, "tls": self.tls
        }}});
        let file = self.scratch.path().join(format!("{backend}.json"));
        std::fs::write(&file, settings.to_string()).unwrap();
        file
    }
}
