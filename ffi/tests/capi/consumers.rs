//! Programs that find the library as others would: by pkg-config and by CMake, under a prefix.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Prefix, Scratch, Settings, capi, ffi, has, product, succeed, tell};

/// Runs an example with an input that ends at once; returns what it prints.
fn example(program: &Path, settings: &Settings, input: &str) -> String {
    let mut child = Command::new(program)
        .arg(settings.file("auto"))
        .env("LD_LIBRARY_PATH", Prefix::shared().lib())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}\n{errors}", program.display(), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn examples_build_by_pkg_config_and_join() {
    if !has("pkg-config") || !has("make") || !has("g++") {
        return;
    }
    let (scratch, settings) = (Scratch::new("make"), Settings::new("make"));
    let packages = Prefix::shared().lib().join("pkgconfig");
    let mut make = Command::new("make");
    make.arg("-f").arg(ffi().join("examples/Makefile")).env("CFLAGS", "-Werror");
    succeed(
        make.env("CXXFLAGS", "-Werror")
            .current_dir(scratch.path())
            .env("PKG_CONFIG_PATH", &packages),
    );
    let built = |name: &str| scratch.path().join(name);
    assert_eq!(example(&built("hello"), &settings, "\n"), "1 members\n");
    assert!(example(&built("hello-cpp"), &settings, "\n").starts_with("n1 at "));
    let said = example(&built("epoll"), &settings, "");
    assert!(said.starts_with("member n1 at ") && said.ends_with("event ended\n"), "{said}");
    if !built("uv").exists() {
        tell("SKIPPED: libuv");
        return;
    }
    example(&built("uv"), &settings, "");
}

#[test]
fn pkg_config_knows_what_the_static_library_needs() {
    if !has("pkg-config") || !has("gcc") {
        return;
    }
    let (scratch, settings) = (Scratch::new("static"), Settings::new("static"));
    // A prefix without the shared library, as in a static image; packagers stage it elsewhere.
    let stage = scratch.path().join("stage");
    let mut install = capi("install");
    install.arg("--product").arg(product()).args(["--prefix", "/opt/mesh", "--libdir", "lib64"]);
    succeed(install.arg("--destdir").arg(&stage));
    let lib = stage.join("opt/mesh/lib64");
    let script = std::fs::read_to_string(lib.join("pkgconfig/mesh_gossip.pc")).unwrap();
    assert!(script.contains("prefix=/opt/mesh\nlibdir=${prefix}/lib64\n"), "{script}");
    for entry in std::fs::read_dir(&lib).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.to_string_lossy().contains(".so") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let mut ask = Command::new("pkg-config");
    ask.args(["--cflags", "--libs", "--static", "mesh_gossip"]);
    ask.env("PKG_CONFIG_PATH", lib.join("pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", &stage);
    let flags = succeed(&mut ask);
    let program = scratch.path().join("hello");
    let mut compile = Command::new("gcc");
    compile.arg(ffi().join("examples/hello.c")).args(flags.split_whitespace());
    succeed(compile.arg("-o").arg(&program));
    assert_eq!(example(&program, &settings, "\n"), "1 members\n");
}

#[test]
fn examples_build_by_cmake() {
    if !has("cmake") || !has("make") || !has("g++") {
        return;
    }
    let (scratch, settings) = (Scratch::new("cmake"), Settings::new("cmake"));
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(ffi().join("examples/cmake")).arg("-B").arg(scratch.path());
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", Prefix::shared().path().display()));
    succeed(&mut configure);
    succeed(Command::new("cmake").arg("--build").arg(scratch.path()));
    for name in ["hello-shared", "hello-static"] {
        assert_eq!(example(&scratch.path().join(name), &settings, "\n"), "1 members\n", "{name}");
    }
    assert!(example(&scratch.path().join("hello-cpp"), &settings, "\n").starts_with("n1 at "));
}
