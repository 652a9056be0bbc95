"""The library is the right one, and the names here mean what its header says."""

import os
import pathlib
import struct
import subprocess
import sys
from types import SimpleNamespace

import pytest

import mesh_gossip
from mesh_gossip import ErrorCode, Lifecycle, Reason, Status, _library, _read
from mesh_gossip._abi import ffi


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


def test_the_forms_of_struct_are_those_of_the_header():
    for form, record, last in (
        (_read._MEMBER_FORM, "mesh_gossip_member", "labels_len"),
        (_read._LABEL_FORM, "mesh_gossip_label", "value"),
    ):
        fields = dict(ffi.typeof(record).fields)
        assert struct.calcsize(form) == fields[last].offset + ffi.sizeof(fields[last].type)


@pytest.mark.parametrize("word", ["plain ascii", "größer: ü"])
def test_a_chunk_is_copied_by_its_strides(monkeypatch, word):
    size, label_size = ffi.sizeof("mesh_gossip_member"), ffi.sizeof("mesh_gossip_label")
    stride, label_stride = size + 24, label_size + 8
    memory, labels = ffi.new("char[]", 3 * stride), ffi.new("char[]", 2 * label_stride)
    written = word.encode("utf-8")
    text = ffi.new("uint8_t[]", written)

    def point(to, length):
        to.data, to.len = text, length

    for index in range(3):
        record = ffi.cast("mesh_gossip_member *", memory + index * stride)
        record.counter, record.status = index, 77
        point(record.node_id, len(written))
        record.labels_len = 2 if index == 1 else 0
    for index in range(2):
        label = ffi.cast("mesh_gossip_label *", labels + index * label_stride)
        point(label.key, 2 + 2 * index)
        point(label.value, len(written))

    def chunk(view, index, records, count, apart):
        records[0], count[0], apart[0] = ffi.cast("mesh_gossip_member *", memory), 3, stride
        return 0

    def arena(view, index, to, count, into):
        to[0], count[0] = ffi.cast("mesh_gossip_label *", labels), 2
        point(into, len(written))
        return 0

    library = SimpleNamespace(
        mesh_gossip_snapshot_chunk=chunk, mesh_gossip_snapshot_chunk_arena=arena, MESH_GOSSIP_OK=0,
        MESH_GOSSIP_MEMBER_LOCAL=1, MESH_GOSSIP_MEMBER_HTTP3=2,
    )
    monkeypatch.setattr(_read, "lib", library)
    monkeypatch.setattr(_read, "_LABEL_STRIDE", label_stride)
    members = _read.chunk_of(None, 0)
    assert [member.counter for member in members] == [0, 1, 2]
    assert {member.node_id for member in members} == {word}
    assert members[1].labels == {word[:2]: word, written[:4].decode(): word}
    assert members[0].labels == {} == members[2].labels and members[0].role == ""
    # A status of a newer library stays a number.
    assert members[0].status == 77 and not isinstance(members[0].status, Status)


def test_the_version_program_loads_the_carried_library():
    program = pathlib.Path(__file__).resolve().parents[1] / "version.py"
    library = pathlib.Path(mesh_gossip.__file__).with_name("libmesh_gossip.so")
    line = [sys.executable, "-B", os.fspath(program), os.fspath(library)]
    said = subprocess.run(line, capture_output=True, text=True, timeout=30, check=True).stdout
    assert said.startswith(f"mesh-gossip {mesh_gossip.version()} abi 1 ")
