"""Puts the library and what cffi makes of its header into the wheel.

Both are taken from the workspace, or from where MESH_GOSSIP_LIBRARY and MESH_GOSSIP_INCLUDE say.
The wheel bears the version of the library that it carries, and suits every Python 3 of this
platform: cffi's ABI mode compiles nothing against the interpreter.
"""

import ctypes
import os
import pathlib
import re
import shutil

import cffi
from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARY = pathlib.Path(
    os.environ.get("MESH_GOSSIP_LIBRARY", ROOT / "target" / "debug" / "libmesh_gossip.so")
)
HEADER = (
    pathlib.Path(os.environ.get("MESH_GOSSIP_INCLUDE", ROOT / "ffi" / "include")) / "mesh_gossip.h"
)


def declarations(header):
    """What cffi reads of the header: all but the preprocessor's part and the inline function.

    Constants stay, since cffi reads `#define NAME number` by itself.
    """
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)
    text = re.sub(r"#ifdef __cplusplus.*?#endif", "", text, flags=re.DOTALL)
    text = re.sub(r"static inline .*?\n}\n", "", text, flags=re.DOTALL)
    constant = re.compile(r"#define \w+ \d+$")
    kept = (line for line in text.splitlines() if line[:1] != "#" or constant.match(line))
    return "\n".join(line for line in kept if line.strip()) + "\n"


def version():
    """The version of the library, asked of itself."""
    if not LIBRARY.is_file():
        raise SystemExit(
            f"{LIBRARY} is not there: build it with `cargo build -p mesh-gossip-ffi`, or name"
            " another one by MESH_GOSSIP_LIBRARY"
        )
    ask = ctypes.CDLL(str(LIBRARY)).mesh_gossip_version_string
    ask.argtypes, ask.restype = [], ctypes.c_char_p
    return ask().decode("utf-8")


class Build(build_py):
    """Adds the two files."""

    def run(self):
        super().run()
        package = pathlib.Path(self.build_lib) / "mesh_gossip"
        ffi = cffi.FFI()
        ffi.cdef(declarations(HEADER.read_text("utf-8")))
        ffi.set_source("mesh_gossip._abi", None)
        ffi.emit_python_code(str(package / "_abi.py"))
        shutil.copyfile(LIBRARY, package / "libmesh_gossip.so")


class Wheel(bdist_wheel):
    """Any Python 3, without an ABI of Python's, this platform."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class Binary(Distribution):
    """The wheel belongs to a platform, although no extension module is in it."""

    def has_ext_modules(self):
        return True


setup(version=version(), distclass=Binary, cmdclass={"build_py": Build, "bdist_wheel": Wheel})
