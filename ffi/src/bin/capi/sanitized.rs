//! The library under a sanitizer, for who looks for mistakes in the library itself: the compiler's own
//! instrumentation, and its runtime beside it, since C compilers bring one of another version.
//!
//! For races the standard library is instrumented as well: what its locks, conditions and counted
//! pointers order would be taken for races otherwise. That needs a compiler that has its sources
//! (`rustup component add rust-src`, or `MESH_GOSSIP_RUSTC_WITH_SOURCES`).
//!
//! Invariant: what is built here has a target directory of its own, and is not given away.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::product::made;
use crate::{Outcome, Request, ask, cargo, read, root, write};

/// Those that are of use here.
#[derive(Clone, Copy)]
pub(crate) enum Sanitizer {
    Address,
    Thread,
}

/// A compiler, and what it brings.
struct Compiler {
    program: OsString,
    target: String,
    sysroot: PathBuf,
}

impl Sanitizer {
    pub(crate) fn named(name: &str) -> Outcome<Self> {
        match name {
            "address" => Ok(Self::Address),
            "thread" => Ok(Self::Thread),
            _ => Err(format!("{name} is no sanitizer that is of use here: address or thread")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Thread => "thread",
        }
    }

    fn runtime(self) -> &'static str {
        match self {
            Self::Address => "rt.asan.a",
            Self::Thread => "rt.tsan.a",
        }
    }

    /// Which compiler.
    fn compiler(self) -> Outcome<Compiler> {
        let usual = || std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        match self {
            Self::Address => Compiler::at(usual()),
            Self::Thread => {
                let with_sources = std::env::var_os("MESH_GOSSIP_RUSTC_WITH_SOURCES");
                let compiler = Compiler::at(with_sources.unwrap_or_else(usual))?;
                compiler.sources().map(|_| compiler)
            }
        }
    }
}

impl Compiler {
    fn at(program: OsString) -> Outcome<Self> {
        let said = ask(Command::new(&program).arg("-vV"))?;
        let target = said.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("no host")?;
        let sysroot = ask(Command::new(&program).args(["--print", "sysroot"]))?;
        let (target, sysroot) = (target.to_owned(), PathBuf::from(sysroot.trim()));
        Ok(Self { program, target, sysroot })
    }

    /// Where the standard library is written.
    fn sources(&self) -> Outcome<PathBuf> {
        let sources = self.sysroot.join("lib/rustlib/src/rust/library");
        if sources.join("std/src/lib.rs").exists() {
            return Ok(sources);
        }
        Err(format!(
            "this compiler brings no sources of its standard library: {}",
            sources.display()
        ))
    }

    fn runtime(&self, sanitizer: Sanitizer) -> Outcome<PathBuf> {
        let libraries = self.sysroot.join("lib/rustlib").join(&self.target).join("lib");
        let files = std::fs::read_dir(&libraries)
            .map_err(|error| format!("{}: {error}", libraries.display()))?;
        files
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.to_string_lossy().ends_with(sanitizer.runtime()))
            .ok_or_else(|| format!("this compiler brings no {}", sanitizer.runtime()))
    }
}

/// Builds it; where `include`, `lib/libmesh_gossip.a`, `lib/libruntime.a` and
/// `native-static-libs.txt` are. Objects in C, compiled with `-fsanitize` and linked without, go with
/// both archives, the runtime as a whole.
pub(crate) fn build(request: &Request, sanitizer: Sanitizer) -> Outcome<PathBuf> {
    let compiler = sanitizer.compiler()?;
    // A distribution's compiler has none: then the one that builds all else lends its own.
    let runtime = compiler.runtime(sanitizer).or_else(|missing| {
        let usual = Sanitizer::Address.compiler()?;
        usual.runtime(sanitizer).map_err(|_| missing)
    })?;
    let targets = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let own = targets.unwrap_or_else(|| root().join("target")).join("sanitized");
    let own = own.join(sanitizer.name());
    let mut build = cargo();
    build.args(["rustc", "-p", "mesh-gossip-ffi", "--lib", "--profile", &request.profile]);
    // With a target, so that what runs while it is built is not instrumented.
    build.args(["--target", &compiler.target, "--target-dir"]).arg(&own);
    // Instrumentation is not stable; without this no released compiler knows of it.
    build.env("RUSTC_BOOTSTRAP", "1").env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    build.env("RUSTC", &compiler.program);
    let mut flags = format!("-Zsanitizer={}", sanitizer.name());
    if let Sanitizer::Thread = sanitizer {
        build.arg("-Zbuild-std");
        // The runtime is linked by whoever links the program.
        flags += " -Zexternal-clangrt";
    }
    build.env("RUSTFLAGS", flags);
    let (archive, native) = made(&mut build, "mesh_gossip")?;
    let product = own.join("product");
    write(&product.join("native-static-libs.txt"), &format!("{native}\n"))?;
    let header = read(&request.ffi.join("include/mesh_gossip.h"))?;
    write(&product.join("include/mesh_gossip.h"), &header)?;
    for (from, to) in [(&archive, "libmesh_gossip.a"), (&runtime, "libruntime.a")] {
        put(from, &product.join("lib").join(to))?;
    }
    Ok(product)
}

fn put(from: &Path, to: &Path) -> Outcome {
    let directory = to.parent().ok_or("no directory")?;
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::copy(from, to))
        .map(|_| ())
        .map_err(|error| format!("{}: {error}", from.display()))
}
