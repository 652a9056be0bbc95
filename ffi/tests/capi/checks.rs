//! Each check holds for what is committed, and fails with a name for a break that is planted.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Scratch, capi, fail, ffi, product, succeed, tell};

/// A copy of the committed files that breaks are planted in.
struct Copy(Scratch);

impl Copy {
    fn new(name: &str) -> Self {
        let copy = Self(Scratch::new(name));
        std::fs::create_dir_all(copy.ffi().join("include")).unwrap();
        for file in ["exports.txt", "abi.txt", "native-static-libs.txt", "include/mesh_gossip.h"] {
            std::fs::copy(ffi().join(file), copy.ffi().join(file)).unwrap();
        }
        std::fs::create_dir_all(copy.0.path().join("docs")).unwrap();
        std::fs::copy(ffi().join("../docs/c-abi.md"), copy.ffi().join("../docs/c-abi.md")).unwrap();
        copy
    }

    fn ffi(&self) -> PathBuf {
        self.0.path().join("ffi")
    }

    fn command(&self, command: &str) -> Command {
        let mut capi = capi(command);
        capi.arg("--ffi").arg(self.ffi());
        capi
    }

    fn check(&self, command: &str) -> Command {
        let mut capi = self.command(command);
        capi.arg("--check");
        capi
    }

    fn plant(&self, file: &str, from: &str, to: &str) {
        let path = self.ffi().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} holds no {from:?}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
}

/// Has the check fail, and name the break.
fn caught(check: &mut Command, words: &[&str]) {
    let said = fail(check);
    for words in words {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
    let line = said.lines().find(|line| line.contains(words[0])).unwrap_or_default();
    tell(&format!("caught: {}", line.trim()));
}

#[test]
fn exports_are_those_of_the_list_and_no_others() {
    let copy = Copy::new("exports");
    let check = || {
        let mut check = copy.check("exports");
        check.arg("--product").arg(product());
        check
    };
    succeed(&mut check());
    copy.plant("exports.txt", "mesh_gossip_agent_join\n", "");
    let said = "the shared library exports mesh_gossip_agent_join, which is not in exports.txt";
    caught(&mut check(), &[said, "the static library shows mesh_gossip_agent_join"]);
    let copy = Copy::new("declared");
    let more = "void mesh_gossip_planted(void);\n#ifdef __cplusplus\n}";
    copy.plant("include/mesh_gossip.h", "#ifdef __cplusplus\n}", more);
    let mut check = copy.check("exports");
    caught(
        check.arg("--product").arg(product()),
        &["the header declares mesh_gossip_planted, which is not in exports.txt"],
    );
}

#[test]
fn system_libraries_are_those_of_the_list() {
    let copy = Copy::new("native");
    copy.plant("native-static-libs.txt", "-lm ", "-lm -lz ");
    let mut check = copy.check("exports");
    let words = ["the static library needs", "native-static-libs.txt says"];
    caught(check.arg("--product").arg(product()), &words);
}

#[test]
fn a_library_that_was_linked_otherwise_is_refused() {
    let copy = Copy::new("linked");
    let planted = copy.0.path().join("product");
    std::fs::create_dir_all(planted.join("lib")).unwrap();
    std::fs::create_dir_all(planted.join("include")).unwrap();
    for file in ["native-static-libs.txt", "include/mesh_gossip.h", "lib/libmesh_gossip.a"] {
        std::fs::copy(product().join(file), planted.join(file)).unwrap();
    }
    // The name of the real one, which carries both versions.
    let library = std::fs::read_dir(product().join("lib"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| {
            entry.file_type().unwrap().is_file() && !entry.path().ends_with("libmesh_gossip.a")
        })
        .unwrap();
    let source = planted.join("stray.c");
    std::fs::write(&source, "void stray(void);\nvoid stray(void) {}\n").unwrap();
    link(&source, &planted.join("lib").join(library.file_name()));
    let mut check = copy.check("exports");
    let words = [
        "SONAME is not libmesh_gossip.so.1",
        "NODELETE is missing",
        "NOW is missing",
        "the shared library exports stray",
        "exports.txt has mesh_gossip_abi_version, but not so",
    ];
    caught(check.arg("--product").arg(&planted), &words);
}

fn link(source: &Path, library: &Path) {
    let mut link = Command::new("cc");
    succeed(link.args(["-shared", "-fPIC", "-Wl,-z,lazy", "-o"]).arg(library).arg(source));
}

#[test]
fn layouts_numbers_and_signatures_are_those_of_the_description() {
    let copy = Copy::new("abi");
    succeed(&mut copy.check("abi"));
    copy.plant("include/mesh_gossip.h", "uint32_t counter;", "uint64_t counter;");
    copy.plant(
        "include/mesh_gossip.h",
        "#define MESH_GOSSIP_ERR_IO 7",
        "#define MESH_GOSSIP_ERR_IO 8",
    );
    copy.plant("include/mesh_gossip.h", "uint16_t topic,", "uint32_t topic,");
    let words = [
        "broken: field mesh_gossip_member.counter offset 24 size 4",
        "broken: field mesh_gossip_member.status offset 28",
        "broken: constant MESH_GOSSIP_ERR_IO 7",
        "broken: function mesh_gossip_agent_broadcast ",
    ];
    caught(&mut copy.check("abi"), &words);
    // What an older caller cannot live with is not written down either, unless the version rises.
    caught(&mut copy.command("abi"), &["raise MESH_GOSSIP_ABI_VERSION"]);
    copy.plant("include/mesh_gossip.h", "ABI_VERSION 1", "ABI_VERSION 2");
    succeed(&mut copy.command("abi"));
    succeed(&mut copy.check("abi"));
}

#[test]
fn an_addition_is_a_drift_until_it_is_written_down() {
    let copy = Copy::new("added");
    copy.plant(
        "include/mesh_gossip.h",
        "  size_t labels_len;",
        "  size_t labels_len;\n  uint64_t more;",
    );
    caught(&mut copy.check("abi"), &["added:  field mesh_gossip_member.more offset 160 size 8"]);
    succeed(&mut copy.command("abi"));
    succeed(&mut copy.check("abi"));
}

#[test]
fn the_header_is_what_the_sources_say() {
    let copy = Copy::new("header");
    succeed(&mut copy.check("header"));
    copy.plant("include/mesh_gossip.h", "NULL is fine", "NULL is a crash");
    caught(&mut copy.check("header"), &["the header is not what the sources say"]);
}

#[test]
fn the_page_has_a_place_for_every_function() {
    let copy = Copy::new("reference");
    succeed(&mut copy.check("reference"));
    copy.plant("../docs/c-abi.md", "### `mesh_gossip_agent_stop`", "### `mesh_gossip_agent_halt`");
    copy.plant("include/mesh_gossip.h", " Frees a batch; NULL is fine.", " Frees a batch.");
    copy.plant("../docs/c-abi.md", "- Threads: any, at once.\n", "- Threads:\n");
    let words = [
        "mesh_gossip_agent_stop is missing",
        "mesh_gossip_agent_halt is in no header",
        "mesh_gossip_events_free reads otherwise in the header",
        "says nothing after \"- Threads:\"",
    ];
    caught(&mut copy.check("reference"), &words);
}

/// A program that hands each function NULL where it takes a handle, and is run under the tools; and
/// one that has a defect in each.
#[test]
fn no_function_is_left_out_where_bad_input_is_tried_or_a_panic_is_planted() {
    let names = std::fs::read_to_string(ffi().join("exports.txt")).unwrap();
    for file in ["misuse.c", "panics.c"] {
        let program = std::fs::read_to_string(ffi().join("tests").join(file)).unwrap();
        let missing: Vec<&str> =
            names.lines().filter(|name| !program.contains(&format!("{name}("))).collect();
        assert!(missing.is_empty(), "ffi/tests/{file} says nothing of {missing:?}");
    }
}
