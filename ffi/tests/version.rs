//! C programs and a Python script load the library that was built with this test.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const EXPECTED: &str = concat!("mesh-gossip ", env!("CARGO_PKG_VERSION"), " abi 1 features 0\n");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace holds us").to_path_buf()
}

/// Builds the library with the profile of this test and returns its directory.
///
/// Cargo builds a C library for whoever asks for it, and not for a test beside it.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    // <target>/<profile>/deps/<test>
    let profile = test.ancestors().nth(2).expect("cargo's layout").to_path_buf();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--offline", "-p", "mesh-gossip-ffi", "--lib"]);
    build.arg("--target-dir").arg(profile.parent().expect("cargo's layout")).current_dir(root());
    match profile.file_name().and_then(OsStr::to_str) {
        None | Some("debug") => {}
        Some(name) => {
            build.args(["--profile", name]);
        }
    }
    let output = build.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(profile.join("libmesh_gossip.so").exists(), "no library in {}", profile.display());
    profile
}

/// Whether `tool` can be run; says so where it cannot.
fn has(tool: &str) -> bool {
    let found = Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        // Past the harness, which swallows what a passing test prints.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {tool} is not installed here");
    }
    found
}

fn run(program: impl AsRef<OsStr>, arguments: &[&OsStr], library_path: &Path) -> Output {
    let program = program.as_ref();
    let output = Command::new(program)
        .args(arguments)
        .env("LD_LIBRARY_PATH", library_path)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.to_string_lossy()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", program.to_string_lossy());
    output
}

#[test]
fn a_c_program_prints_our_version() {
    if !has("cc") {
        return;
    }
    let library = built();
    let directory = scratch("c");
    for standard in ["-std=c99", "-std=c17"] {
        let program = directory.join("version");
        let include = root().join("ffi/include");
        let source = root().join("bindings/c/version.c");
        let arguments: [&OsStr; 12] = [
            standard.as_ref(),
            "-Wall".as_ref(),
            "-Wextra".as_ref(),
            "-Wpedantic".as_ref(),
            "-Werror".as_ref(),
            "-I".as_ref(),
            include.as_ref(),
            source.as_ref(),
            "-o".as_ref(),
            program.as_ref(),
            "-L".as_ref(),
            library.as_ref(),
        ];
        let arguments = [arguments.as_slice(), &["-lmesh_gossip".as_ref()]].concat();
        run("cc", &arguments, &library);
        let output = run(&program, &[], &library);
        assert_eq!(String::from_utf8_lossy(&output.stdout), EXPECTED, "{standard}");
    }
    std::fs::remove_dir_all(directory).expect("our own directory");
}

#[test]
fn the_header_is_cpp_as_well() {
    if !has("c++") {
        return;
    }
    let header = root().join("ffi/include/mesh_gossip.h");
    for standard in ["-std=c++11", "-std=c++20"] {
        let arguments: [&OsStr; 8] = [
            standard.as_ref(),
            "-Wall".as_ref(),
            "-Wpedantic".as_ref(),
            "-Werror".as_ref(),
            "-fsyntax-only".as_ref(),
            "-x".as_ref(),
            "c++".as_ref(),
            header.as_ref(),
        ];
        run("c++", &arguments, &root());
    }
}

#[test]
fn a_python_script_prints_our_version() {
    if !has("python3") {
        return;
    }
    let directory = built();
    let script = root().join("bindings/python/version.py");
    let library = directory.join("libmesh_gossip.so");
    let output = run("python3", &["-B".as_ref(), script.as_ref(), library.as_ref()], &directory);
    assert_eq!(String::from_utf8_lossy(&output.stdout), EXPECTED);
}

/// An agent in a C program: started, read, misused, stopped.
#[test]
fn a_c_program_holds_an_agent() {
    c_program("agent");
}

/// A log, a description, lookups and credentials as bytes, in a C program.
#[test]
fn a_c_program_hosts_an_agent() {
    c_program("host");
}

/// Builds a C program and runs it with settings, certificate, key and trust of an agent.
fn c_program(name: &str) {
    use engine::bootstrap::{CaValidity, CertificateAuthority, Existing, Subject};
    if !has("cc") {
        return;
    }
    let library = built();
    let directory = scratch(name);
    let now = std::time::SystemTime::now();
    let ca = CertificateAuthority::create("td.test", "c1", now, CaValidity::default()).unwrap();
    let day = std::time::Duration::from_secs(86_400);
    let issued = ca.issue(&Subject::new("n1", "worker"), now, day).unwrap();
    let files = issued.write(&directory, Existing::Refuse).unwrap();
    let bundle = directory.join("ca.pem");
    std::fs::write(&bundle, ca.bundle_pem()).unwrap();
    let tls = serde_json::json!({
        "certificatePath": files.certificate, "keyPath": files.key, "caPath": bundle,
        "trustDomain": "td.test"
    });
    let settings = serde_json::json!({"mesh": {"gossip": {
        "nodeId": "n1", "role": "worker", "clusterId": "c1", "bindAddress": "127.0.0.1", "port": 0,
        "control": {"port": 0}, "tls": tls
    }}});
    let file = directory.join("mesh.json");
    std::fs::write(&file, settings.to_string()).unwrap();
    let program = directory.join(name);
    let include = root().join("ffi/include");
    let source = root().join("ffi/tests").join(name).with_extension("c");
    let strict = ["-std=gnu99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"];
    let mut arguments: Vec<&OsStr> = strict.iter().map(OsStr::new).collect();
    arguments.extend([include.as_os_str(), source.as_ref(), "-o".as_ref(), program.as_ref()]);
    arguments.extend(["-L".as_ref(), library.as_os_str(), "-lmesh_gossip".as_ref()]);
    run("cc", &arguments, &library);
    let given = [&file, &files.certificate, &files.key, &bundle].map(|path| path.as_os_str());
    let output = run(&program, &given, &library);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all is well\n");
    std::fs::remove_dir_all(directory).expect("our own directory");
}

fn scratch(name: &str) -> PathBuf {
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("cargo's own directory is writable");
    directory
}
