//! What the libraries show and need, against the lists that are committed.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;

use crate::header::Header;
use crate::product::{Product, symbols};
use crate::{Outcome, Request, ask, read, write};

const NAMES: &str = "exports.txt";
const LIBRARIES: &str = "native-static-libs.txt";

pub(crate) fn run(request: &Request) -> Outcome {
    let product = request.product()?;
    if !request.check {
        let names = symbols(&product.shared(), true)?;
        write(&request.ffi.join(NAMES), &(names.join("\n") + "\n"))?;
        return write(&request.ffi.join(LIBRARIES), &(product.native_libraries()? + "\n"));
    }
    let mut wrong = String::new();
    let committed: BTreeSet<String> =
        read(&request.ffi.join(NAMES))?.lines().map(str::to_owned).collect();
    let declared = Header::of(request)?.functions.into_iter().map(|each| each.name).collect();
    compare(&mut wrong, "the header declares", &declared, &committed);
    let shared = symbols(&product.shared(), true)?.into_iter().collect();
    compare(&mut wrong, "the shared library exports", &shared, &committed);
    let packed = symbols(&product.archive(), false)?.into_iter().collect();
    compare(&mut wrong, "the static library shows", &packed, &committed);
    let pinned = read(&request.ffi.join(LIBRARIES))?;
    let needed = product.native_libraries()?;
    if pinned.trim() != needed {
        let pinned = pinned.trim();
        let _ = writeln!(wrong, "the static library needs {needed:?}, {LIBRARIES} says {pinned:?}");
    }
    dynamic_section(&mut wrong, &product)?;
    if wrong.is_empty() {
        println!("exports: {} functions in both libraries, header and {NAMES}", committed.len());
        return Ok(());
    }
    Err(format!("exports differ\n{wrong}`capi exports` writes the lists anew"))
}

fn compare(wrong: &mut String, who: &str, is: &BTreeSet<String>, committed: &BTreeSet<String>) {
    for name in is.difference(committed) {
        let _ = writeln!(wrong, "{who} {name}, which is not in {NAMES}");
    }
    for name in committed.difference(is) {
        let _ = writeln!(wrong, "{NAMES} has {name}, but not so: {who} it");
    }
}

/// How the loader is told to treat the shared library.
fn dynamic_section(wrong: &mut String, product: &Product) -> Outcome {
    let said = ask(Command::new("readelf").args(["-dW"]).arg(product.shared()))?;
    let has = |tag: &str, value: &str| {
        said.lines().any(|line| line.contains(tag) && line.contains(value))
    };
    if !has("(SONAME)", &format!("[{}]", product.soname())) {
        let _ = writeln!(wrong, "the shared library's SONAME is not {}", product.soname());
    }
    if !has("(FLAGS_1)", "NODELETE") {
        let _ = writeln!(wrong, "the shared library can be unloaded: NODELETE is missing");
    }
    if !has("(FLAGS_1)", "NOW") {
        let _ = writeln!(wrong, "the shared library is bound late: NOW is missing");
    }
    if has("(TEXTREL)", "") {
        let _ = writeln!(wrong, "the shared library's code has to be written to: TEXTREL");
    }
    // All but what every system with this C library has would have to be installed with ours.
    let system = ["libc.so.", "libm.so.", "libgcc_s.so.", "ld-linux"];
    for line in said.lines().filter(|line| line.contains("(NEEDED)")) {
        let name = line.rsplit('[').next().unwrap_or(line).trim_end_matches(']');
        if !system.iter().any(|known| name.starts_with(known)) {
            let _ = writeln!(wrong, "the shared library needs {name}");
        }
    }
    Ok(())
}
