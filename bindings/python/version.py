"""Prints the version of the library.

    python3 bindings/python/version.py target/debug/libmesh_gossip.so

Without an argument the release and the debug build of this checkout are tried, then wherever the
system's loader looks.
"""

import ctypes
import pathlib
import sys

ABI_VERSION = 1
NAME = "libmesh_gossip.so"
TARGET = pathlib.Path(__file__).resolve().parents[2] / "target"


def load(path):
    """Loads the library and refuses one of another ABI."""
    library = ctypes.CDLL(path)
    library.mesh_gossip_abi_version.argtypes = []
    library.mesh_gossip_abi_version.restype = ctypes.c_uint32
    library.mesh_gossip_version_string.argtypes = []
    library.mesh_gossip_version_string.restype = ctypes.c_char_p
    library.mesh_gossip_features.argtypes = []
    library.mesh_gossip_features.restype = ctypes.c_uint64
    found = library.mesh_gossip_abi_version()
    if found != ABI_VERSION:
        raise ImportError(f"this script speaks ABI {ABI_VERSION}, {path} implements {found}")
    return library


def find(arguments):
    """Loads the library that was named, else the first one found; exits with 1 when there is none."""
    places = arguments[:1] or [str(TARGET / build / NAME) for build in ("release", "debug")] + [NAME]
    tried = []
    for place in places:
        try:
            return load(place)
        except (OSError, AttributeError, ImportError) as error:
            tried.append(f"  {place}: {error}")
    print(f"{NAME} was not loaded. Tried:", *tried, sep="\n", file=sys.stderr)
    print(
        "Build it with `cargo build --release -p mesh-gossip-ffi`, or name it as the argument.",
        file=sys.stderr,
    )
    sys.exit(1)


def main():
    library = find(sys.argv[1:])
    version = library.mesh_gossip_version_string().decode("utf-8")
    abi, features = library.mesh_gossip_abi_version(), library.mesh_gossip_features()
    print(f"mesh-gossip {version} abi {abi} features {features}")


if __name__ == "__main__":
    main()
