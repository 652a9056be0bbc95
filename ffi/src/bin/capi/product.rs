//! Libraries as C expects them, out of the archive that the compiler makes.
//!
//! The compiler's own shared library exports names of other crates with ours and can carry neither
//! a list of names nor a SONAME, so it is linked anew: from the archive, with what is reachable
//! from our functions and nothing else. The static library is the same, as one object whose other
//! names nobody sees, so that it meets no second copy of a Rust library in a program.
//!
//! Another library, for tests alone, has functions that plant defects besides; it is linked in the
//! same way, and neither installed nor given away.
//!
//! Invariant: both libraries show exactly the functions that the header declares.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::header::Header;
use crate::{Outcome, ask, cargo, read, root, succeed, write};

/// The version of the package; beside it the ABI has one of its own.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What programs include.
pub(crate) const HEADERS: [&str; 2] = ["mesh_gossip.h", "mesh_gossip.hpp"];

/// A directory with `lib`, `include` and `native-static-libs.txt`.
pub(crate) struct Product {
    directory: PathBuf,
    abi: String,
    library: Library,
}

/// Which one.
#[derive(Clone, Copy)]
pub(crate) enum Library {
    Given,
    /// With defects on demand.
    Hooks,
}

impl Library {
    fn name(self) -> &'static str {
        match self {
            Self::Given => "mesh_gossip",
            Self::Hooks => "mesh_gossip_hooks",
        }
    }

    /// Where its headers are, below `ffi`.
    fn headers(self) -> Vec<(&'static str, &'static str)> {
        let given = HEADERS.map(|name| ("include", name));
        match self {
            Self::Given => given.to_vec(),
            Self::Hooks => given.into_iter().chain([("hooks", "mesh_gossip_hooks.h")]).collect(),
        }
    }
}

impl Product {
    /// What was built before.
    pub(crate) fn at(directory: &Path) -> Outcome<Self> {
        let header = Header::parse(&read(&directory.join("include/mesh_gossip.h"))?)?;
        let abi = abi(&header)?;
        Ok(Self { directory: directory.to_path_buf(), abi, library: Library::Given })
    }

    pub(crate) fn build(ffi: &Path, profile: &str, library: Library) -> Outcome<Self> {
        let (archive, libraries) = compile(profile, library)?;
        let mut functions = Vec::new();
        let mut version = None;
        let headers = library.headers();
        for (place, name) in headers.iter().filter(|(_, name)| name.ends_with(".h")) {
            let header = Header::parse(&read(&ffi.join(place).join(name))?)?;
            version = version.or_else(|| abi(&header).ok());
            functions.extend(header.functions.into_iter().map(|each| each.name));
        }
        let target = archive
            .ancestors()
            .skip(1)
            .find(|place| !place.ends_with("examples"))
            .and_then(Path::parent)
            .ok_or("no target directory")?;
        let boxes = match library {
            Library::Given => target.join("capi"),
            Library::Hooks => target.join("capi-hooks"),
        };
        let abi = version.ok_or("the header has no version")?;
        let product = Self { directory: boxes.join(profile), abi, library };
        std::fs::create_dir_all(product.lib()).map_err(|error| error.to_string())?;
        let names: Vec<&str> = functions.iter().map(String::as_str).collect();
        product.link_shared(&archive, &names, &libraries)?;
        product.pack_static(&archive, &names)?;
        write(&product.native_libraries_path(), &format!("{libraries}\n"))?;
        for (place, name) in headers {
            let text = read(&ffi.join(place).join(name))?;
            write(&product.directory.join("include").join(name), &text)?;
        }
        Ok(product)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn lib(&self) -> PathBuf {
        self.directory.join("lib")
    }

    /// What programs ask the loader for.
    pub(crate) fn soname(&self) -> String {
        format!("lib{}.so.{}", self.library.name(), self.abi)
    }

    /// The file itself: ABI, then package.
    pub(crate) fn file(&self) -> String {
        format!("{}.{VERSION}", self.soname())
    }

    /// Links beside it, and what they lead to.
    pub(crate) fn links(&self) -> [(String, String); 2] {
        let plain = format!("lib{}.so", self.library.name());
        [(self.soname(), self.file()), (plain, self.soname())]
    }

    pub(crate) fn shared(&self) -> PathBuf {
        self.lib().join(self.file())
    }

    pub(crate) fn archive(&self) -> PathBuf {
        self.lib().join(format!("lib{}.a", self.library.name()))
    }

    /// What a program has to be linked with beside the static library.
    pub(crate) fn native_libraries(&self) -> Outcome<String> {
        Ok(read(&self.native_libraries_path())?.trim().to_owned())
    }

    fn native_libraries_path(&self) -> PathBuf {
        self.directory.join("native-static-libs.txt")
    }

    fn link_shared(&self, archive: &Path, names: &[&str], libraries: &str) -> Outcome {
        let script = self.directory.join("exports.map");
        let list: String = names.iter().map(|name| format!("    {name};\n")).collect();
        let node = format!("MESH_GOSSIP_{}", self.abi);
        write(&script, &format!("{node} {{\n  global:\n{list}  local:\n    *;\n}};\n"))?;
        let mut link = Command::new("cc");
        link.arg("-shared").arg("-o").arg(self.shared());
        link.args(names.iter().map(|name| format!("-Wl,-u,{name}")));
        link.arg(archive);
        link.arg(format!("-Wl,-soname,{}", self.soname()));
        link.arg(format!("-Wl,--version-script={}", script.display()));
        // Threads and fork handlers of ours outlive a dlclose.
        link.args(["-Wl,-z,nodelete", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,--gc-sections"]);
        link.args(["-Wl,--no-undefined", "-Wl,--as-needed"]).args(libraries.split(' '));
        succeed(&mut link)?;
        for (link, to) in self.links() {
            let link = self.lib().join(link);
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(to, &link)
                .map_err(|error| format!("{}: {error}", link.display()))?;
        }
        Ok(())
    }

    fn pack_static(&self, archive: &Path, names: &[&str]) -> Outcome {
        let whole = self.directory.join("whole.o");
        let own = self.directory.join("mesh_gossip.o");
        let mut link = Command::new("ld");
        link.args(["-r", "--gc-sections", "-o"]).arg(&whole);
        link.args(names.iter().flat_map(|name| ["-u", name])).arg(archive);
        succeed(&mut link)?;
        let mut copy = Command::new("objcopy");
        copy.args(["--wildcard", "--keep-global-symbol=mesh_gossip_*"]);
        // Intermediate code of the standard library, which tools of another LLVM choke on.
        copy.args(["-R", ".llvmbc", "-R", ".llvmcmd"]).arg(&whole).arg(&own);
        succeed(&mut copy)?;
        // `ar` would keep what an older object left there.
        let _ = std::fs::remove_file(self.archive());
        succeed(Command::new("ar").arg("rcs").arg(self.archive()).arg(&own))?;
        for object in [whole, own] {
            std::fs::remove_file(&object)
                .map_err(|error| format!("{}: {error}", object.display()))?;
        }
        Ok(())
    }
}

fn abi(header: &Header) -> Outcome<String> {
    let version = header.constants.iter().find(|(name, _)| name == "MESH_GOSSIP_ABI_VERSION");
    version.map(|(_, value)| value.clone()).ok_or_else(|| "the header has no version".into())
}

/// The archive, and the system's libraries that the compiler says it needs.
fn compile(profile: &str, library: Library) -> Outcome<(PathBuf, String)> {
    let mut build = cargo();
    build.args(["rustc", "-p", "mesh-gossip-ffi", "--profile", profile]);
    match library {
        Library::Given => build.arg("--lib"),
        Library::Hooks => build.args(["--features", "hooks", "--example", library.name()]),
    };
    made(&mut build, library.name())
}

/// Has a library built, and what the compiler says of it.
pub(crate) fn made(build: &mut Command, name: &str) -> Outcome<(PathBuf, String)> {
    build.args(["--message-format", "json-render-diagnostics"]);
    build.args(["--", "--print", "native-static-libs"]);
    let output = build.output().map_err(|error| format!("cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("the library does not compile\n{said}"));
    }
    let libraries = said
        .lines()
        .find_map(|line| line.split_once("native-static-libs: "))
        .map(|(_, libraries)| libraries.trim().to_owned())
        .ok_or_else(|| format!("the compiler named no native libraries\n{said}"))?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let archive = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .filter_map(|message| message["filenames"].as_array().cloned())
        .flatten()
        .filter_map(|name| name.as_str().map(PathBuf::from))
        .find(|name| name.extension().is_some_and(|extension| extension == "a"))
        .ok_or_else(|| format!("the compiler made no lib{name}.a"))?;
    Ok((root().join(archive), libraries))
}

/// The names that a library shows, sorted.
pub(crate) fn symbols(library: &Path, dynamic: bool) -> Outcome<Vec<String>> {
    let mut list = Command::new("nm");
    list.args(["--defined-only", "--extern-only", "--format=posix"]);
    if dynamic {
        list.arg("--dynamic");
    }
    let said = ask(list.arg(library))?;
    let mut names: Vec<String> = said
        .lines()
        .filter_map(|line| {
            let mut parts = line.split_whitespace();
            let (name, kind) = (parts.next()?, parts.next()?);
            // The name of the version itself is absolute.
            (kind != "A").then(|| name.split('@').next().unwrap_or(name).to_owned())
        })
        .collect();
    names.sort();
    Ok(names)
}
