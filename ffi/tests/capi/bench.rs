//! The bench counts what it walks; what it measures is printed and decides nothing.

use std::path::Path;
use std::process::Command;

use crate::support::{Prefix, Scratch, Settings, ffi, has, succeed, tell};

fn bench(scratch: &Scratch, library: &Path, name: &str) -> Command {
    let program = scratch.path().join(name);
    let mut compile = Command::new("gcc");
    compile.args(["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]);
    compile.arg(Prefix::shared().include()).arg(ffi().join("bench/snapshot.c"));
    compile.arg("-L").arg(library).arg("-lmesh_gossip").arg("-o").arg(&program);
    succeed(&mut compile);
    // Cargo has a path of its own for tests, with another library of that name.
    let mut bench = Command::new(program);
    bench.env("LD_LIBRARY_PATH", library);
    bench
}

#[test]
fn a_look_at_the_members_is_measured() {
    if !has("gcc") {
        return;
    }
    let (scratch, settings) = (Scratch::new("bench"), Settings::new("bench"));
    let slices = std::env::var("MESH_GOSSIP_C_SLICES").unwrap_or_else(|_| "3".into());
    let told = |who: &str, bench: &mut Command, members: &str| {
        let said = succeed(bench.arg(settings.file("auto")).arg(&slices));
        assert!(said.starts_with(members), "{said}");
        for line in said.lines() {
            tell(&format!("{who}: {line}"));
        }
    };
    let mut real = bench(&scratch, &Prefix::shared().lib(), "real");
    told("the library", &mut real, "1 members, 1 alive, 160 bytes of records\n");
    // A view of a thousand without a thousand agents: records of the same layout.
    let fake = scratch.path().join("fake");
    succeed(Command::new(ffi().join("fake/compile")).arg(&fake));
    let mut thousand = bench(&scratch, &fake, "thousand");
    thousand.env("MESH_GOSSIP_FAKE", "members=1000");
    told("the fake", &mut thousand, "1000 members, 1000 alive, 160000 bytes of records\n");
}
