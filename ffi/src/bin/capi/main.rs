//! Makes and checks what hosts of the C ABI are given: libraries, header, package files.
//!
//! A shipping department: it takes what the compiler made, puts it into boxes that C knows, and
//! compares each with the sheet in the drawer (`ffi/exports.txt`, `ffi/abi.txt`,
//! `ffi/native-static-libs.txt`). What differs does not leave.
//!
//! Invariant: a check changes no committed file.

mod abi;
mod exports;
mod header;
mod install;
mod product;
mod reference;
mod sanitized;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use product::{Library, Product};
use sanitized::Sanitizer;

/// What went wrong, in words.
type Outcome<T = ()> = Result<T, String>;

const USAGE: &str = "\
usage: capi COMMAND [--profile NAME] [--ffi DIR]

  build [--hooks]         libraries and headers, into <target>/capi/<profile>; or the library for
                          tests, which can plant defects, into <target>/capi-hooks/<profile>
  build --sanitize NAME   the static library under the compiler's sanitizer, address or thread, with
                          its runtime, into <target>/sanitized/NAME/product
  install --prefix DIR    the same under a prefix, with pkg-config and CMake files
          [--libdir DIR] [--destdir DIR] [--product DIR]
  header [--check]        include/mesh_gossip.h from the sources
  exports [--check] [--product DIR]
                          exports.txt and native-static-libs.txt from the libraries
  abi [--check] [--break] abi.txt from the header; --break lets an older caller fail
  reference [--check]     the functions in docs/c-abi.md from the header
  check                   all checks
  test [--full]           C and C++ programs against the libraries, under the tools that are here
  bench                   what a look at the members costs from C

--profile is release unless said otherwise; --ffi is where the committed files are.
";

/// Where things are, and what was asked for.
struct Request {
    check: bool,
    breaks: bool,
    hooks: bool,
    sanitizer: Option<Sanitizer>,
    full: bool,
    profile: String,
    prefix: Option<PathBuf>,
    libdir: PathBuf,
    destdir: Option<PathBuf>,
    product: Option<PathBuf>,
    ffi: PathBuf,
}

impl Request {
    fn read(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut request = Self {
            check: false,
            breaks: false,
            hooks: false,
            sanitizer: None,
            full: false,
            profile: "release".into(),
            prefix: None,
            libdir: "lib".into(),
            destdir: std::env::var_os("DESTDIR").map(PathBuf::from),
            product: None,
            ffi: root().join("ffi"),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word.as_str() {
                "--check" => request.check = true,
                "--break" => request.breaks = true,
                "--sanitize" => request.sanitizer = Some(Sanitizer::named(&value()?)?),
                "--hooks" => request.hooks = true,
                "--full" => request.full = true,
                "--profile" => request.profile = value()?,
                "--prefix" => request.prefix = Some(value()?.into()),
                "--libdir" => request.libdir = value()?.into(),
                "--destdir" => request.destdir = Some(value()?.into()),
                "--product" => request.product = Some(value()?.into()),
                "--ffi" => request.ffi = value()?.into(),
                _ => return Err(format!("{word} is not known\n\n{USAGE}")),
            }
        }
        Ok(request)
    }

    /// What was built before, or is built now.
    fn product(&self) -> Outcome<Product> {
        match &self.product {
            Some(directory) => Product::at(directory),
            None => Product::build(&self.ffi, &self.profile, Library::Given),
        }
    }
}

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Runs a program of which nothing but success is wanted.
fn succeed(command: &mut Command) -> Outcome {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}")) }
}

/// Runs a program and returns what it says.
fn ask(command: &mut Command) -> Outcome<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// The C programs stand with the tests, which can issue certificates for them.
fn suite() -> Command {
    let mut test = cargo();
    test.args(["test", "-p", "mesh-gossip-ffi", "--test", "capi", "--", "--nocapture"]);
    test
}

fn read(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Outcome {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn run() -> Outcome {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    if matches!(command.as_str(), "" | "help" | "-h" | "--help") {
        print!("{USAGE}");
        return Ok(());
    }
    let request = Request::read(words)?;
    match command.as_str() {
        "build" => {
            if let Some(sanitizer) = request.sanitizer {
                println!("{}", sanitized::build(&request, sanitizer)?.display());
                return Ok(());
            }
            let product = if request.hooks {
                Product::build(&request.ffi, &request.profile, Library::Hooks)
            } else {
                request.product()
            };
            println!("{}", product?.directory().display());
            Ok(())
        }
        "install" => install::run(&request),
        "header" => header::run(&request),
        "exports" => exports::run(&request),
        "abi" => abi::run(&request),
        "reference" => reference::run(&request),
        "check" => {
            let request = Request { check: true, ..request };
            header::run(&request)?;
            abi::run(&request)?;
            reference::run(&request)?;
            exports::run(&request)
        }
        "test" => {
            succeed(suite().env("MESH_GOSSIP_C_SUITE", if request.full { "full" } else { "short" }))
        }
        "bench" => {
            let mut bench = suite();
            bench.env("MESH_GOSSIP_C_PROFILE", &request.profile).env("MESH_GOSSIP_C_SLICES", "301");
            succeed(bench.arg("bench::"))
        }
        _ => Err(format!("{command} is not known\n\n{USAGE}")),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("capi: {error}");
            ExitCode::FAILURE
        }
    }
}
