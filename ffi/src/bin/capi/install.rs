//! Libraries, headers and package files under a prefix.

use std::path::Path;

use crate::product::{HEADERS, Product, VERSION};
use crate::{Outcome, Request, write};

pub(crate) fn run(request: &Request) -> Outcome {
    let prefix = request.prefix.as_deref().ok_or("install wants --prefix DIR")?;
    let prefix = std::path::absolute(prefix).map_err(|error| error.to_string())?;
    let product = request.product()?;
    // Packagers collect files somewhere else than they will be.
    let place = |path: &Path| match &request.destdir {
        Some(destdir) => destdir.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_path_buf(),
    };
    let (lib, include) = (prefix.join(&request.libdir), prefix.join("include"));
    let (to_lib, to_include) = (place(&lib), place(&include));
    copy(&product.shared(), &to_lib.join(product.file()))?;
    copy(&product.archive(), &to_lib.join("libmesh_gossip.a"))?;
    for (link, to) in product.links() {
        let link = to_lib.join(link);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(to, &link)
            .map_err(|error| format!("{}: {error}", link.display()))?;
    }
    for name in HEADERS {
        copy(&product.directory().join("include").join(name), &to_include.join(name))?;
    }
    write(&to_lib.join("pkgconfig/mesh_gossip.pc"), &pkg_config(&prefix, &lib, &product)?)?;
    let cmake = to_lib.join("cmake/mesh_gossip");
    write(&cmake.join("mesh_gossip-config.cmake"), &cmake_config(&lib, &include, &product)?)?;
    write(&cmake.join("mesh_gossip-config-version.cmake"), &cmake_version())?;
    println!("installed {VERSION} under {}", place(&prefix).display());
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Outcome {
    if let Some(directory) = to.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    // A library that a program has open must not be written into.
    let _ = std::fs::remove_file(to);
    std::fs::copy(from, to).map_err(|error| format!("{}: {error}", to.display()))?;
    Ok(())
}

fn pkg_config(prefix: &Path, lib: &Path, product: &Product) -> Outcome<String> {
    let lib = match lib.strip_prefix(prefix) {
        Ok(within) => format!("${{prefix}}/{}", within.display()),
        Err(_) => lib.display().to_string(),
    };
    let (prefix, private) = (prefix.display(), product.native_libraries()?);
    Ok(format!(
        "prefix={prefix}\nlibdir={lib}\nincludedir=${{prefix}}/include\n\n\
         Name: mesh_gossip\nDescription: Embeddable gossip membership\nVersion: {VERSION}\n\
         Libs: -L${{libdir}} -lmesh_gossip\nLibs.private: {private}\n\
         Cflags: -I${{includedir}}\n"
    ))
}

fn cmake_config(lib: &Path, include: &Path, product: &Product) -> Outcome<String> {
    let (lib, include) = (lib.display(), include.display());
    let (file, soname) = (product.file(), product.soname());
    let private = product.native_libraries()?.replace("-l", "").replace(' ', ";");
    Ok(format!(
        "# Targets: mesh_gossip::mesh_gossip (shared), mesh_gossip::static.\n\
         if(NOT TARGET mesh_gossip::mesh_gossip)\n  \
         add_library(mesh_gossip::mesh_gossip SHARED IMPORTED)\n  \
         set_target_properties(mesh_gossip::mesh_gossip PROPERTIES\n    \
         IMPORTED_LOCATION \"{lib}/{file}\"\n    \
         IMPORTED_SONAME \"{soname}\"\n    \
         INTERFACE_INCLUDE_DIRECTORIES \"{include}\")\n  \
         add_library(mesh_gossip::static STATIC IMPORTED)\n  \
         set_target_properties(mesh_gossip::static PROPERTIES\n    \
         IMPORTED_LOCATION \"{lib}/libmesh_gossip.a\"\n    \
         INTERFACE_INCLUDE_DIRECTORIES \"{include}\"\n    \
         INTERFACE_LINK_LIBRARIES \"{private}\")\n\
         endif()\n"
    ))
}

/// Until 1.0 a minor version may ask for a new build; the loader goes by the SONAME.
fn cmake_version() -> String {
    let compatible = VERSION.rsplit_once('.').map_or(VERSION, |(first, _)| first);
    format!(
        "set(PACKAGE_VERSION \"{VERSION}\")\n\
         if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)\n  \
         set(PACKAGE_VERSION_EXACT TRUE)\n\
         endif()\n\
         if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION\n   \
         OR PACKAGE_FIND_VERSION VERSION_LESS \"{compatible}\")\n  \
         set(PACKAGE_VERSION_COMPATIBLE FALSE)\n\
         else()\n  \
         set(PACKAGE_VERSION_COMPATIBLE TRUE)\n\
         endif()\n"
    )
}
