"""Prints the version of the library.

    python3 bindings/python/version.py target/debug/libmesh_gossip.so

Without an argument the loader searches for it.
"""

import ctypes
import sys

ABI_VERSION = 1


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


def main():
    library = load(sys.argv[1] if len(sys.argv) > 1 else "libmesh_gossip.so")
    version = library.mesh_gossip_version_string().decode("utf-8")
    abi, features = library.mesh_gossip_abi_version(), library.mesh_gossip_features()
    print(f"mesh-gossip {version} abi {abi} features {features}")


if __name__ == "__main__":
    main()
