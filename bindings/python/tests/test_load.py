"""The library is the right one, and the names here mean what its header says."""

import os
import pathlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

import mesh_gossip
from mesh_gossip import ErrorCode, Lifecycle, Reason, Status, _library, _read
from mesh_gossip._abi import ffi
from mesh_gossip._read import members_of


def test_the_package_carries_the_library_of_its_version():
    assert mesh_gossip.ABI_VERSION == _library.lib.mesh_gossip_abi_version() == 1
    assert mesh_gossip.__version__ == mesh_gossip.version()
    assert mesh_gossip.features() >= 0
    assert pathlib.Path(mesh_gossip.__file__).with_name("libmesh_gossip.so").is_file()
    assert pathlib.Path(mesh_gossip.__file__).with_name("py.typed").is_file()


def stand_in(**changed):
    functions = {
        "mesh_gossip_abi_version": lambda: 1,
    }
    for what in ("member", "label", "event", "contact"):
        functions[f"mesh_gossip_{what}s_stride"] = lambda what=what: ffi.sizeof(f"mesh_gossip_{what}")
    return SimpleNamespace(**{**functions, **changed})


def test_another_library_is_refused():
    _library.check(stand_in(), "stand-in")
    with pytest.raises(ImportError, match="implements ABI 2, this package speaks ABI 1"):
        _library.check(stand_in(mesh_gossip_abi_version=lambda: 2), "stand-in")
    for what in ("member", "label", "event", "contact"):
        with pytest.raises(ImportError, match=f"{what}s are 8 bytes apart"):
            _library.check(stand_in(**{f"mesh_gossip_{what}s_stride": lambda: 8}), "stand-in")
    with pytest.raises(ImportError, match="lacks a function"):
        _library.check(SimpleNamespace(), "stand-in")
    with pytest.raises(ImportError, match="not loaded"):
        _library.load("/nowhere/libmesh_gossip.so")


def test_names_stand_for_the_numbers_of_the_header():
    constants = {name: getattr(_library.lib, name) for name in dir(_library.lib) if name.isupper()}

    def named(prefix):
        start = f"MESH_GOSSIP_{prefix}_"
        return {n.removeprefix(start): v for n, v in constants.items() if n.startswith(start)}

    for prefix, enum in (
        ("ERR", ErrorCode), ("STATUS", Status), ("LIFECYCLE", Lifecycle), ("REASON", Reason),
    ):
        assert named(prefix) == {member.name: member.value for member in enum}
    assert sorted(named("EVENT").values()) == sorted(_read._MAKERS)
    assert named("MEMBER") == {"LOCAL": 1, "HTTP3": 2}


def test_records_are_stepped_through_by_the_stride():
    size = ffi.sizeof("mesh_gossip_member")
    stride = size + 24
    memory = ffi.new("char[]", 3 * stride)
    name = ffi.new("uint8_t[]", b"longer")
    for index in range(3):
        record = ffi.cast("mesh_gossip_member *", memory + index * stride)
        record.counter, record.status = index, 77
        record.node_id.data, record.node_id.len = name, 4 + index
    members = members_of(memory, 3, stride)
    assert [member.counter for member in members] == [0, 1, 2]
    assert [member.node_id for member in members] == ["long", "longe", "longer"]
    # A status of a newer library stays a number.
    assert members[0].status == 77 and not isinstance(members[0].status, Status)
    with pytest.raises(ImportError, match="bytes apart"):
        members_of(memory, 3, size - 8)


def test_the_version_program_loads_the_carried_library():
    program = pathlib.Path(__file__).resolve().parents[1] / "version.py"
    library = pathlib.Path(mesh_gossip.__file__).with_name("libmesh_gossip.so")
    line = [sys.executable, "-B", os.fspath(program), os.fspath(library)]
    said = subprocess.run(line, capture_output=True, text=True, timeout=30, check=True).stdout
    assert said.startswith(f"mesh-gossip {mesh_gossip.version()} abi 1 ")
