"""The library: found, checked and called.

Invariant: whoever imports this has a library of the ABI that the package was built for, with every
function, and with records that are at least as long as the package knows them.
"""

from __future__ import annotations

import math
import os
import pathlib
from datetime import timedelta
from typing import Any

from ._abi import ffi
from .errors import ErrorCode, error_of

NAME = "libmesh_gossip.so"
ABI_VERSION: int = ffi.integer_const("MESH_GOSSIP_ABI_VERSION")
_RECORDS = ("member", "label", "event", "contact")
_LONGEST_WAIT_MS = 2**63 - 1


def load(place: str | None = None) -> Any:
    """Loads the library that the package carries; without one, whatever the loader finds."""
    if place is None:
        carried = pathlib.Path(__file__).with_name(NAME)
        place = str(carried) if carried.exists() else NAME
    try:
        library = ffi.dlopen(place)
    except OSError as error:
        raise ImportError(f"{place} was not loaded: {error}", path=place) from error
    check(library, place)
    return library


def check(library: Any, place: str) -> None:
    """Refuses a library that this package cannot speak to."""
    try:
        version = library.mesh_gossip_abi_version()
        if version != ABI_VERSION:
            why = f"{place} implements ABI {version}, this package speaks ABI {ABI_VERSION}"
            raise ImportError(why, path=place)
        for name in dir(library):
            getattr(library, name)
        strides = [(what, getattr(library, f"mesh_gossip_{what}s_stride")()) for what in _RECORDS]
    except AttributeError as error:
        raise ImportError(f"{place} lacks a function: {error}", path=place) from error
    for what, stride in strides:
        known = ffi.sizeof(f"mesh_gossip_{what}")
        if stride < known:
            why = f"{place}: {what}s are {stride} bytes apart, this package reads {known} of each"
            raise ImportError(why, path=place)


lib: Any = load()


def call(function: Any, *arguments: Any) -> None:
    """Calls a function whose last argument takes an error; raises what it tells."""
    err = ffi.new("mesh_gossip_error **")
    code = function(*arguments, err)
    if code == lib.MESH_GOSSIP_OK:
        return
    try:
        message = ffi.string(lib.mesh_gossip_error_message(err[0])).decode("utf-8")
        field = lib.mesh_gossip_error_field(err[0])
        named = None if field == ffi.NULL else ffi.string(field).decode("utf-8")
    finally:
        lib.mesh_gossip_error_free(err[0])
    raise error_of(code, message, named)


def text(value: str, name: str) -> bytes:
    """A string for C, which must not be cut short by a zero within."""
    if "\0" in value:
        raise error_of(ErrorCode.ARGUMENT, f"{name} has a zero character within", name)
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise error_of(ErrorCode.UTF8, f"{name} is not UTF-8: {error}", name) from error


def path_text(value: str | os.PathLike[str], name: str) -> bytes:
    """The same of a path."""
    return text(os.fspath(value), name)


def milliseconds(timeout: float | timedelta, name: str = "timeout") -> int:
    """A wait in seconds as the library counts it; rounded up, so that it is never cut short."""
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
    if math.isnan(seconds) or seconds < 0:
        raise error_of(ErrorCode.ARGUMENT, f"{name} is {seconds} seconds: not below zero", name)
    return _LONGEST_WAIT_MS if seconds > 1e15 else math.ceil(seconds * 1000)


def version() -> str:
    """The version of the library."""
    found: bytes = ffi.string(lib.mesh_gossip_version_string())
    return found.decode("utf-8")


def features() -> int:
    """The optional parts that the library was built with, one bit each."""
    return int(lib.mesh_gossip_features())
