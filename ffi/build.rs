//! The compiler's own shared library is told what `capi build` tells the linker, as far as it goes.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Threads and fork handlers of ours outlive a dlclose.
    println!("cargo::rustc-link-arg-cdylib=-Wl,-z,nodelete");
}
