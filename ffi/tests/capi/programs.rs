//! C programs, in every form that a host may build them in, and under the tools that find what a
//! compiler does not. In the short suite the library itself is not instrumented: what the tools see
//! of it are its calls of the C library, and memory that it shares with the programs. The full one
//! has the library instrumented as well.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Prefix, Scratch, Settings, fail, ffi, has, hooks, run, sanitized, succeed, tell,
};

/// Compilers, and the language that each is asked for.
const C: [&str; 2] = ["gcc", "clang"];
const CPP: [&str; 2] = ["g++", "clang++"];
const STRICT: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"];

/// Those that are C99 and C++17 alike and need nothing but the settings.
const PROGRAMS: [&str; 5] = ["agent", "misuse", "callbacks", "forked", "beside"];
/// Those that build a mesh, and need a directory of settings.
const MESHES: [&str; 2] = ["told", "blocked"];

fn full() -> bool {
    std::env::var_os("MESH_GOSSIP_C_SUITE").is_some_and(|suite| suite == "full")
}

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Linked {
    Shared,
    Static,
}

/// A program to be, and where it goes.
struct Build<'a> {
    compiler: &'a str,
    flags: &'a [&'a str],
    linked: Linked,
    source: PathBuf,
}

impl Build<'_> {
    fn compile(&self, scratch: &Scratch) -> PathBuf {
        let name = self.source.file_stem().unwrap().to_string_lossy().into_owned();
        let flags = self.flags.concat().replace(['-', '=', '+', ','], "");
        let program =
            scratch.path().join(format!("{name}-{}{flags}-{:?}", self.compiler, self.linked));
        let mut compile = Command::new(self.compiler);
        compile.args(STRICT).args(self.flags).arg("-D_DEFAULT_SOURCE");
        if self.compiler.ends_with("++") {
            compile.args(["-x", "c++"]);
        }
        let prefix = Prefix::shared();
        compile.arg("-I").arg(prefix.include()).arg(&self.source).args(["-x", "none", "-o"]);
        compile.arg(&program);
        match self.linked {
            Linked::Shared => {
                compile.arg("-L").arg(prefix.lib()).arg("-lmesh_gossip");
                compile.arg(format!("-Wl,-rpath,{}", prefix.lib().display()));
            }
            Linked::Static => {
                compile.arg(prefix.lib().join("libmesh_gossip.a")).arg("-Wl,--gc-sections");
                compile.args(prefix.native_libraries());
            }
        }
        succeed(compile.args(["-lpthread", "-ldl"]));
        program
    }
}

fn source(name: &str) -> PathBuf {
    ffi().join("tests").join(name)
}

fn all_is_well(command: &mut Command) {
    assert_eq!(succeed(command), "all is well\n", "{command:?}");
}

fn holds(program: &Path, settings: &Settings) {
    all_is_well(Command::new(program).arg(settings.file("auto")));
}

/// The header is C and C++ of every standard that it promises, in the strictest reading.
#[test]
fn the_header_is_c_and_cpp_of_every_standard() {
    let scratch = Scratch::new("standards");
    let text = "#include <mesh_gossip.h>\nint main(void) {\n  return mesh_gossip_check_abi();\n}\n";
    let source = scratch.path().join("header.c");
    std::fs::write(&source, text).unwrap();
    let forms = [
        (C, vec!["c99", "c11", "c17"], "c"),
        (CPP, vec!["c++98", "c++11", "c++14", "c++17", "c++20"], "c++"),
    ];
    for (compilers, standards, language) in forms {
        for compiler in compilers.into_iter().filter(|compiler| has(compiler)) {
            for standard in &standards {
                // The structure of 64-bit integers is older than their name in C++.
                let lenient = if *standard == "c++98" { "-Wno-long-long" } else { "-Wundef" };
                let mut compile = Command::new(compiler);
                compile.args(["-fsyntax-only", "-x", language, lenient]).args(STRICT);
                compile.args(["-Wstrict-aliasing", "-Wcast-align", "-Wshadow"]);
                compile.arg(format!("-std={standard}")).arg("-I").arg(Prefix::shared().include());
                succeed(compile.arg(&source));
            }
        }
    }
}

/// Every program, by every compiler, in the first and last standard, linked both ways. The short
/// suite has each compiler in each of its standards linked both ways, and every program in C and in
/// C++ and linked both ways, but not each with all.
#[test]
fn programs_hold_in_every_form() {
    let (scratch, settings) = (Scratch::new("forms"), Settings::new("forms"));
    let mut count = 0;
    let mut form = |compiler: &str, standard: &str, linked, name: &str| {
        let (flags, source) = ([standard], source(&format!("{name}.c")));
        holds(&Build { compiler, flags: &flags, linked, source }.compile(&scratch), &settings);
        count += 1;
    };
    let languages = [(C, ["-std=c99", "-std=c17"]), (CPP, ["-std=c++17", "-std=c++20"])];
    let mut place = 0;
    for (compilers, standards) in languages {
        for (compiler, standard) in
            compilers.iter().flat_map(|compiler| standards.map(|standard| (*compiler, standard)))
        {
            for linked in [Linked::Shared, Linked::Static] {
                let one = [PROGRAMS[place % PROGRAMS.len()]];
                place += 1;
                if has(compiler) {
                    for &name in if full() { &PROGRAMS[..] } else { &one[..] } {
                        form(compiler, standard, linked, name);
                    }
                }
            }
        }
    }
    tell(&format!("{count} programs held"));
}

/// A real panic within every function, in the library that can plant one.
#[test]
fn a_panic_within_stays_within() {
    if !has("gcc") {
        return;
    }
    let (scratch, settings) = (Scratch::new("panics"), Settings::new("panics"));
    let program = scratch.path().join("panics");
    let mut compile = Command::new("gcc");
    compile.args(STRICT).args(["-std=c99", "-I"]).arg(hooks().join("include"));
    compile.arg(source("panics.c")).arg("-o").arg(&program);
    compile.arg("-L").arg(hooks().join("lib")).arg("-lmesh_gossip_hooks");
    succeed(&mut compile);
    let mut command = Command::new(program);
    all_is_well(command.env("LD_LIBRARY_PATH", hooks().join("lib")).arg(settings.file("auto")));
    // What plants it is in no library that is given away, nor in its header.
    let given = Prefix::shared();
    let mut compile = Command::new("gcc");
    compile.args(STRICT).args(["-std=c99", "-I"]).arg(given.include());
    compile.arg("-I").arg(ffi().join("hooks")).arg(source("panics.c"));
    compile.arg("-o").arg(scratch.path().join("none")).arg("-L").arg(given.lib());
    let said = fail(compile.arg("-lmesh_gossip"));
    assert!(said.contains("mesh_gossip_hooks_panic_next"), "{said}");
    assert!(!given.include().join("mesh_gossip_hooks.h").exists());
}

/// The layer for C++, with exceptions and without.
#[test]
fn the_cpp_layer_holds_in_both_standards() {
    let (scratch, settings) = (Scratch::new("layer"), Settings::new("layer"));
    let forms: &[(&str, &[&str], Linked)] = &[
        ("g++", &["-std=c++17"], Linked::Shared),
        ("clang++", &["-std=c++20", "-fno-exceptions"], Linked::Shared),
        ("g++", &["-std=c++20"], Linked::Static),
        ("g++", &["-std=c++17", "-fno-exceptions"], Linked::Shared),
        ("g++", &["-std=c++20", "-fsanitize=address"], Linked::Shared),
        ("clang++", &["-std=c++17"], Linked::Static),
        ("clang++", &["-std=c++20"], Linked::Shared),
        ("clang++", &["-std=c++17", "-fno-exceptions"], Linked::Shared),
    ];
    for (compiler, flags, linked) in &forms[..if full() { forms.len() } else { 2 }] {
        if has(compiler) {
            let (source, linked) = (source("layer.cpp"), *linked);
            holds(&Build { compiler, flags, linked, source }.compile(&scratch), &settings);
        }
    }
}

/// By address and undefined behaviour, and with leaks at the end.
#[test]
fn programs_hold_under_asan_and_ubsan() {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let names: &[&str] =
        if full() { &["misuse", "callbacks", "forked", "beside"] } else { &["misuse", "beside"] };
    under(&flags, names, &|program, settings| {
        let mut command = Command::new(program);
        command.env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1");
        // Its allocator may be locked by a thread that a fork leaves behind: threads end first.
        all_is_well(command.arg(settings.file("auto")).arg("quiet"));
    });
}

/// By races between what the programs' threads and callbacks do.
#[test]
fn programs_hold_under_tsan() {
    let names: &[&str] =
        if full() { &["agent", "misuse", "callbacks", "beside"] } else { &["callbacks", "beside"] };
    under(&["-fsanitize=thread"], names, &|program, settings| {
        let suppressions = source("tsan.supp");
        let mut command = Command::new(program);
        let options = format!("halt_on_error=1:suppressions={}", suppressions.display());
        all_is_well(command.env("TSAN_OPTIONS", options).arg(settings.file("auto")));
    });
}

/// The library and the programs instrumented: by address, with leaks at the end.
#[test]
fn library_and_programs_hold_under_asan() {
    let names = ["misuse", "callbacks", "beside", "told", "blocked"];
    instrumented("address", &names, "quiet", &[("late", "heap-use-after-free")], &|program| {
        let mut command = Command::new(program);
        command.env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1");
        command
    });
}

/// The same by races, down to the standard library: nothing is passed over. Without the host that is
/// not missed: so much slower, it would be.
#[test]
fn library_and_programs_hold_under_tsan() {
    let names = ["agent", "misuse", "callbacks", "beside", "told"];
    let mistakes = [("race", "data race"), ("reader", "data race")];
    instrumented("thread", &names, "", &mistakes, &|program| {
        let mut command = Command::new(program);
        command.env("TSAN_OPTIONS", "halt_on_error=1:second_deadlock_stack=1");
        command
    });
}

/// Runs programs with a library that was compiled under a sanitizer; and one with mistakes, each of
/// which has to be caught in these words.
fn instrumented(
    sanitizer: &str,
    names: &[&str],
    argument: &str,
    mistakes: &[(&str, &str)],
    under: &dyn Fn(&Path) -> Command,
) {
    if !full() || !has("gcc") {
        return;
    }
    let product = match sanitized(sanitizer) {
        Ok(product) => product,
        Err(why) => return tell(&format!("SKIPPED: the library under {sanitizer}: {why}")),
    };
    let scratch = Scratch::new(&format!("instrumented-{sanitizer}"));
    let settings = Settings::new(&format!("instrumented-{sanitizer}"));
    let build = |name: &str| {
        let (object, program) =
            (scratch.path().join(format!("{name}.o")), scratch.path().join(name));
        let mut compile = Command::new("gcc");
        compile.args(STRICT).args(["-std=gnu99", "-O1", "-fPIE", "-c", "-I"]);
        compile.arg(product.join("include")).arg(format!("-fsanitize={sanitizer}"));
        succeed(compile.arg(source(&format!("{name}.c"))).arg("-o").arg(&object));
        let mut link = Command::new("gcc");
        link.args(["-pie", "-o"]).arg(&program).arg(&object);
        link.arg(product.join("lib/libmesh_gossip.a")).arg("-Wl,--whole-archive");
        link.arg(product.join("lib/libruntime.a")).args(["-Wl,--no-whole-archive", "-rdynamic"]);
        let native = std::fs::read_to_string(product.join("native-static-libs.txt")).unwrap();
        link.args(native.split_whitespace()).args(["-lpthread", "-ldl", "-lrt", "-lm"]);
        succeed(&mut link);
        program
    };
    for name in names {
        let mut command = under(&build(name));
        if MESHES.contains(name) {
            command.arg(settings.mesh(&["a", "b", "c"]));
        } else {
            command.arg(settings.file("auto")).arg(argument);
        }
        let said = succeed(&mut command);
        assert!(said.ends_with("all is well\n"), "{name}: {said}");
        tell(&format!("{name} holds with the library under {sanitizer}"));
    }
    let planted = build("planted");
    for (mistake, words) in mistakes {
        let said = fail(under(&planted).arg(settings.file("mmsg")).arg(mistake));
        assert!(said.contains(words), "{mistake}: {words:?} is not in\n{said}");
        tell(&format!("caught with the library under {sanitizer}: {mistake}: {words}"));
    }
}

fn under(flags: &[&str], names: &[&str], hold: &dyn Fn(&Path, &Settings)) {
    let name = flags.concat().replace(['=', ',', '-'], "");
    let (scratch, settings) = (Scratch::new(&name), Settings::new(&name));
    for compiler in C.into_iter().filter(|compiler| has(compiler)) {
        if !instruments(compiler, flags, &scratch) {
            tell(&format!("SKIPPED: {compiler} has no runtime for {}", flags[0]));
            continue;
        }
        for name in names {
            let source = source(&format!("{name}.c"));
            let build = Build { compiler, flags, linked: Linked::Shared, source };
            hold(&build.compile(&scratch), &settings);
        }
    }
}

/// Whether the compiler's runtime is here; Debian has clang's in a package of its own.
fn instruments(compiler: &str, flags: &[&str], scratch: &Scratch) -> bool {
    let source = scratch.path().join("empty.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let mut compile = Command::new(compiler);
    compile.args(flags).arg(&source).arg("-o").arg(scratch.path().join("empty"));
    run(&mut compile).status.success()
}

/// By reads of what was never written, and by what is left over.
#[test]
fn programs_hold_under_valgrind() {
    if !has("valgrind") || !has("gcc") {
        return;
    }
    let (scratch, settings) = (Scratch::new("valgrind"), Settings::new("valgrind"));
    // A fork is left out: the child would be judged by what its parent holds.
    let names: &[&str] = if full() { &["misuse", "callbacks"] } else { &["misuse"] };
    for name in names {
        let source = source(&format!("{name}.c"));
        let build = Build { compiler: "gcc", flags: &[], linked: Linked::Shared, source };
        // Rings are memory that the kernel writes, which the tool cannot follow.
        all_is_well(valgrind().arg(build.compile(&scratch)).arg(settings.file("mmsg")));
    }
}

fn valgrind() -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--fair-sched=yes"]);
    command.arg("--errors-for-leak-kinds=definite,indirect");
    command
}

/// A tool that found nothing in the library's own calls would hold for everything.
#[test]
fn the_tools_find_mistakes_of_a_host() {
    if !has("gcc") {
        return;
    }
    let (scratch, settings) = (Scratch::new("planted"), Settings::new("planted"));
    let build = |flags: &[&str]| {
        let source = source("planted.c");
        Build { compiler: "gcc", flags, linked: Linked::Shared, source }.compile(&scratch)
    };
    let finds = |command: &mut Command, mistake: &str, words: &str| {
        let said = fail(command.arg(settings.file("mmsg")).arg(mistake));
        assert!(said.contains(words), "{mistake}: {words:?} is not in\n{said}");
        tell(&format!("caught: {mistake}: {words}"));
    };
    let flags = ["-fsanitize=address,undefined"];
    if instruments("gcc", &flags, &scratch) {
        let program = build(&flags);
        finds(&mut Command::new(&program), "late", "heap-use-after-free");
        finds(&mut Command::new(&program), "leak", "LeakSanitizer: detected memory leaks");
    }
    let flags = ["-fsanitize=thread"];
    if instruments("gcc", &flags, &scratch) {
        let mut command = Command::new(build(&flags));
        let options = format!("suppressions={}", source("tsan.supp").display());
        finds(command.env("TSAN_OPTIONS", options), "race", "data race");
    }
    if has("valgrind") {
        let program = build(&[]);
        finds(valgrind().arg(&program), "late", "Invalid read of size 4");
        finds(valgrind().arg(&program), "leak", "definitely lost");
    }
}

/// Two libraries in one process, by namespaces and by a copied file; and a closed one.
#[test]
fn two_libraries_in_one_process_do_not_meet() {
    if !has("gcc") {
        return;
    }
    let (scratch, settings) = (Scratch::new("twice"), Settings::new("twice"));
    let library = Prefix::shared().lib().join("libmesh_gossip.so.1");
    let copy = scratch.path().join("libcopy.so");
    std::fs::copy(&library, &copy).unwrap();
    let build = |flags: &[&str]| {
        let program = scratch.path().join(format!("twice{}", flags.len()));
        let mut compile = Command::new("gcc");
        compile.args(STRICT).args(flags).arg("-std=c99").arg("-I");
        compile.arg(Prefix::shared().include()).arg(source("twice.c")).arg("-o").arg(&program);
        succeed(compile.arg("-ldl"));
        program
    };
    let twice = |program: &Path, one_namespace: bool| {
        let mut command = Command::new(program);
        if one_namespace {
            command.env("MESH_GOSSIP_ONE_NAMESPACE", "1");
        }
        all_is_well(command.arg(settings.file("auto")).arg(&library).arg(&copy));
    };
    let plain = build(&[]);
    twice(&plain, false);
    twice(&plain, true);
    let flags = ["-fsanitize=address,undefined"];
    if instruments("gcc", &flags, &scratch) {
        twice(&build(&flags), true);
    }
}
