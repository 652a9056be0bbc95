//! The library under a sanitizer, for who looks for mistakes in the library itself: the compiler's own
//! instrumentation, and its runtime beside it, since C compilers bring one of another version.
//!
//! Invariant: what is built here has a target directory of its own, and is not given away.

use std::path::PathBuf;

use crate::product::made;
use crate::{Outcome, Request, ask, cargo, read, root, write};

/// Those that are of use here. Not the one for races: the standard library comes uninstrumented, so
/// that what its locks and conditions order would be taken for races.
#[derive(Clone, Copy)]
pub(crate) enum Sanitizer {
    Address,
}

impl Sanitizer {
    pub(crate) fn named(name: &str) -> Outcome<Self> {
        match name {
            "address" => Ok(Self::Address),
            _ => Err(format!("{name} is no sanitizer that is of use here: address")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
        }
    }

    fn runtime(self) -> &'static str {
        match self {
            Self::Address => "rt.asan.a",
        }
    }
}

/// Builds it; where `include`, `lib/libmesh_gossip.a`, `lib/libruntime.a` and
/// `native-static-libs.txt` are. Objects in C, compiled with `-fsanitize` and linked without, go with
/// both archives, the runtime as a whole.
pub(crate) fn build(request: &Request, sanitizer: Sanitizer) -> Outcome<PathBuf> {
    let said = ask(rustc().arg("-vV"))?;
    let target = said.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("no host")?;
    let sysroot = ask(rustc().args(["--print", "sysroot"]))?;
    let libraries = PathBuf::from(sysroot.trim()).join("lib/rustlib").join(target).join("lib");
    let runtime = std::fs::read_dir(&libraries)
        .map_err(|error| format!("{}: {error}", libraries.display()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(sanitizer.runtime()))
        .ok_or_else(|| format!("this compiler brings no {}", sanitizer.runtime()))?;
    let targets = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let own = targets.unwrap_or_else(|| root().join("target")).join("sanitized");
    let own = own.join(sanitizer.name());
    let mut build = cargo();
    build.args(["rustc", "-p", "mesh-gossip-ffi", "--lib", "--profile", &request.profile]);
    // With a target, so that what runs while it is built is not instrumented.
    build.args(["--target", target, "--target-dir"]).arg(&own);
    // Instrumentation is not stable; the compiler is the one of everything else all the same.
    build.env("RUSTC_BOOTSTRAP", "1").env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    build.env("RUSTFLAGS", format!("-Zsanitizer={}", sanitizer.name()));
    let (archive, native) = made(&mut build, "mesh_gossip")?;
    let product = own.join("product");
    write(&product.join("native-static-libs.txt"), &format!("{native}\n"))?;
    let header = read(&request.ffi.join("include/mesh_gossip.h"))?;
    write(&product.join("include/mesh_gossip.h"), &header)?;
    let lib = product.join("lib");
    for (from, to) in [(archive, "libmesh_gossip.a"), (runtime, "libruntime.a")] {
        std::fs::create_dir_all(&lib)
            .and_then(|()| std::fs::copy(&from, lib.join(to)))
            .map_err(|error| format!("{}: {error}", from.display()))?;
    }
    Ok(product)
}

fn rustc() -> std::process::Command {
    std::process::Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}
