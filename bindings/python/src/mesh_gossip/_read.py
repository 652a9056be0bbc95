"""From the library's records to objects.

Invariant: everything is copied; records are stepped through by the library's stride, so that a
newer library may have made them longer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, TypeVar

from . import events as of
from ._abi import ffi
from ._library import lib
from .errors import error_of
from .model import Contact, Labels, Lifecycle, Member, Reason, Shelf, Status

_EVENT = ffi.typeof("mesh_gossip_event *")
_BYTE = ffi.typeof("char *")
_LABEL = ffi.typeof("mesh_gossip_label *")
_LABEL_STRIDE: int = lib.mesh_gossip_labels_stride()
_CONTACT = ffi.typeof("mesh_gossip_contact *")
_NO_LABELS = Labels()
_NOBODY = bytes(16)
# The records of the header, for `struct`: numbers as they are, pointers with lengths.
_MEMBER_FORM = "@16sQIIIIQ" + 6 * "PN" + "PN"
_LABEL_FORM = "@PNPN"
_STATUSES: dict[int, Status] = {status.value: status for status in Status}
_LIFECYCLES: dict[int, Lifecycle] = {lifecycle.value: lifecycle for lifecycle in Lifecycle}

_Numbered = TypeVar("_Numbered", bound=IntEnum)


def known(kind: type[_Numbered], number: int) -> _Numbered | int:
    """The number by its name, where it has one here."""
    try:
        return kind(number)
    except ValueError:
        return number


def plain_bytes(borrowed: Any) -> bytes:
    """A copy of borrowed bytes."""
    return bytes(ffi.buffer(borrowed.data, borrowed.len)) if borrowed.len else b""


def plain_text(borrowed: Any) -> str:
    """A copy of borrowed UTF-8."""
    return str(ffi.buffer(borrowed.data, borrowed.len), "utf-8") if borrowed.len else ""


def member_of(record: Any) -> Member:
    """One member."""
    count = record.labels_len
    labels = _NO_LABELS
    if count:
        first = ffi.cast(_BYTE, record.labels)
        pairs = (ffi.cast(_LABEL, first + index * _LABEL_STRIDE) for index in range(count))
        labels = Labels({plain_text(pair.key): plain_text(pair.value) for pair in pairs})
    flags = record.flags
    return Member(
        bytes(ffi.buffer(record.id)),
        plain_text(record.node_id),
        plain_text(record.role),
        plain_text(record.cluster_id),
        plain_text(record.region),
        plain_text(record.mesh_version),
        plain_text(record.endpoint),
        known(Status, record.status),
        known(Lifecycle, record.lifecycle),
        bool(flags & lib.MESH_GOSSIP_MEMBER_LOCAL),
        bool(flags & lib.MESH_GOSSIP_MEMBER_HTTP3),
        record.generation,
        record.counter,
        record.metadata_version,
        labels,
    )


def contacts_of(owned: Any) -> dict[bytes, Contact]:
    """Contacts by the member's id."""
    stride = lib.mesh_gossip_contacts_stride()
    first = ffi.cast(_BYTE, lib.mesh_gossip_contacts_at(owned, 0))
    contacts = {}
    for index in range(lib.mesh_gossip_contacts_len(owned)):
        record = ffi.cast(_CONTACT, first + index * stride)
        rtt_ms = record.rtt_us / 1000 if record.rtt_us else None
        contacts[bytes(ffi.buffer(record.id))] = Contact(record.last_unix_ms, rtt_ms)
    return contacts


def chunk_of(view: Any, index: int) -> tuple[Member, ...]:
    """The members of a chunk of a snapshot.

    Records, labels and text are three pieces of memory, and each is copied at once: a call of C for
    every text of every member would cost five times as much.
    """
    records, count, stride = ffi.new("const mesh_gossip_member **"), _size(), _size()
    labels, labels_len = ffi.new("const mesh_gossip_label **"), _size()
    text = ffi.new("mesh_gossip_bytes *")
    for code in (
        lib.mesh_gossip_snapshot_chunk(view, index, records, count, stride),
        lib.mesh_gossip_snapshot_chunk_arena(view, index, labels, labels_len, text),
    ):
        if code != lib.MESH_GOSSIP_OK:
            raise error_of(code, f"chunk {index} of the snapshot cannot be read")
    if not count[0]:
        return ()
    arena = bytes(ffi.buffer(text.data, text.len)) if text.len else b""
    base = int(ffi.cast("uintptr_t", text.data))
    # One character a byte, so that text is cut where it stands.
    whole = arena.decode("latin-1")
    memory = _memory(labels[0], labels_len[0], _LABEL_STRIDE)
    shelf = Shelf(lambda: _labels(memory, whole, base))
    rows = _rows(_MEMBER_FORM, _memory(records[0], count[0], stride[0]), stride[0])
    members = _members(rows, shelf, whole, base)
    return tuple(members if arena.isascii() else map(_in_characters, members))


def _size() -> Any:
    return ffi.new("size_t *")


def _memory(first: Any, count: int, stride: int) -> bytes:
    return bytes(ffi.buffer(ffi.cast(_BYTE, first), count * stride)) if count else b""


def _rows(form: str, memory: bytes, stride: int) -> Iterator[tuple[Any, ...]]:
    return struct.iter_unpack(f"{form}{stride - struct.calcsize(form)}x", memory)


def _labels(memory: bytes, whole: str, base: int) -> list[tuple[str, str]]:
    def text(at: int, length: int) -> str:
        return _characters(whole[at - base : at - base + length])

    rows = _rows(_LABEL_FORM, memory, _LABEL_STRIDE)
    return [
        (text(key, key_len), text(value, value_len)) for key, key_len, value, value_len in rows
    ]


def _members(
    rows: Iterator[tuple[Any, ...]], shelf: Shelf, whole: str, base: int
) -> Iterator[Member]:
    new, statuses, lifecycles, on = tuple.__new__, _STATUSES, _LIFECYCLES, Labels.on
    local, http3 = lib.MESH_GOSSIP_MEMBER_LOCAL, lib.MESH_GOSSIP_MEMBER_HTTP3
    begun = 0
    for (
        id, generation, counter, status, lifecycle, flags, version,
        name, name_len, role, role_len, cluster, cluster_len, region, region_len,
        mesh, mesh_len, endpoint, endpoint_len, _labels, labels_len,
    ) in rows:  # fmt: skip
        labels = _NO_LABELS
        if labels_len:
            labels = on(shelf, begun, begun + labels_len)
            begun += labels_len
        yield new(Member, (
            id,
            whole[name - base : name - base + name_len],
            whole[role - base : role - base + role_len],
            whole[cluster - base : cluster - base + cluster_len],
            whole[region - base : region - base + region_len],
            whole[mesh - base : mesh - base + mesh_len],
            whole[endpoint - base : endpoint - base + endpoint_len],
            statuses.get(status, status),
            lifecycles.get(lifecycle, lifecycle),
            flags & local != 0,
            flags & http3 != 0,
            generation,
            counter,
            version,
            labels,
        ))  # fmt: skip


def _characters(cut: str) -> str:
    """Text for what was one character a byte."""
    return cut if cut.isascii() else cut.encode("latin-1").decode("utf-8")


def _in_characters(member: Member) -> Member:
    return member._replace(
        node_id=_characters(member.node_id),
        role=_characters(member.role),
        cluster_id=_characters(member.cluster_id),
        region=_characters(member.region),
        mesh_version=_characters(member.mesh_version),
        endpoint=_characters(member.endpoint),
    )


class Batch:
    """Events that were taken from the library and not yet handed out."""

    def __init__(self, owned: Any) -> None:
        self._events = ffi.gc(owned, lib.mesh_gossip_events_free)
        self._next = 0
        self._len: int = lib.mesh_gossip_events_len(owned)
        self._first = ffi.cast(_BYTE, lib.mesh_gossip_events_at(owned, 0))
        self._stride: int = lib.mesh_gossip_events_stride()
        if not self._len:
            ffi.release(self._events)

    def pop(self) -> of.Event | None:
        """The oldest that is left; frees the batch with the last one."""
        if self._next == self._len:
            return None
        record = ffi.cast(_EVENT, self._first + self._next * self._stride)
        event = event_of(record)
        self._next += 1
        if self._next == self._len:
            ffi.release(self._events)
        return event


def event_of(record: Any) -> of.Event:
    """One event."""
    make = _MAKERS.get(record.kind)
    return make(record) if make else of.UnknownEvent(record.at_unix_ms, record.kind)


def _id(record: Any) -> bytes:
    return bytes(ffi.buffer(record.id))


def _somebody(id: bytes) -> bytes | None:
    return None if id == _NOBODY else id


def _about(kind: type[of.MemberEvent]) -> Callable[[Any], of.Event]:
    return lambda record: kind(record.at_unix_ms, member_of(record.member))


def _said(kind: type[of.Said]) -> Callable[[Any], of.Event]:
    return lambda record: kind(
        record.at_unix_ms, _id(record), record.topic, plain_bytes(record.payload)
    )


def _recovered(record: Any) -> of.Event:
    previous = known(Status, record.detail)
    return of.Recovered(record.at_unix_ms, member_of(record.member), previous)


def _left(record: Any) -> of.Event:
    reason = known(Reason, record.detail)
    return of.Left(record.at_unix_ms, member_of(record.member), reason)


def _leader_changed(record: Any) -> of.Event:
    return of.LeaderChanged(
        record.at_unix_ms,
        plain_text(record.text),
        _somebody(_id(record)),
        _somebody(bytes(ffi.buffer(record.previous_id))),
        record.count,
    )


_MAKERS: dict[int, Callable[[Any], of.Event]] = {
    lib.MESH_GOSSIP_EVENT_JOINED: _about(of.Joined),
    lib.MESH_GOSSIP_EVENT_RECOVERED: _recovered,
    lib.MESH_GOSSIP_EVENT_SUSPECTED: _about(of.Suspected),
    lib.MESH_GOSSIP_EVENT_UNREACHABLE: _about(of.Unreachable),
    lib.MESH_GOSSIP_EVENT_LEFT: _left,
    lib.MESH_GOSSIP_EVENT_UPDATED: _about(of.Updated),
    lib.MESH_GOSSIP_EVENT_FORGOTTEN: lambda r: of.Forgotten(r.at_unix_ms, _id(r)),
    lib.MESH_GOSSIP_EVENT_LEADER_CHANGED: _leader_changed,
    lib.MESH_GOSSIP_EVENT_REFUTED: _about(of.Refuted),
    lib.MESH_GOSSIP_EVENT_CONFLICT: lambda r: of.Conflict(r.at_unix_ms, _id(r)),
    lib.MESH_GOSSIP_EVENT_ALARM: lambda r: of.Alarm(
        r.at_unix_ms, plain_text(r.text), _somebody(_id(r))
    ),
    lib.MESH_GOSSIP_EVENT_RECORD_REJECTED: lambda r: of.RecordRejected(
        r.at_unix_ms, _id(r), plain_text(r.text)
    ),
    lib.MESH_GOSSIP_EVENT_JOIN_COMPLETE: lambda r: of.JoinComplete(r.at_unix_ms),
    lib.MESH_GOSSIP_EVENT_LEAVE_COMPLETE: lambda r: of.LeaveComplete(r.at_unix_ms, r.count),
    lib.MESH_GOSSIP_EVENT_OVERFLOW: lambda r: of.Overflow(r.at_unix_ms, r.count),
    lib.MESH_GOSSIP_EVENT_BROADCAST: _said(of.Broadcast),
    lib.MESH_GOSSIP_EVENT_MESSAGE: _said(of.Message),
    lib.MESH_GOSSIP_EVENT_MISSED: lambda r: of.Missed(r.at_unix_ms, r.count),
    lib.MESH_GOSSIP_EVENT_ENDED: lambda r: of.Ended(r.at_unix_ms),
}
