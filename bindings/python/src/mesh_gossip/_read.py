"""From the library's records to objects.

Invariant: everything is copied; records are stepped through by the library's stride, so that a
newer library may have made them longer.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeVar

from . import events as of
from ._abi import ffi
from ._library import lib
from .model import Contact, Labels, Lifecycle, Member, Reason, Status

_MEMBER = ffi.typeof("mesh_gossip_member *")
_EVENT = ffi.typeof("mesh_gossip_event *")
_BYTE = ffi.typeof("char *")
_MEMBER_SIZE: int = ffi.sizeof("mesh_gossip_member")
_LABEL = ffi.typeof("mesh_gossip_label *")
_LABEL_STRIDE: int = lib.mesh_gossip_labels_stride()
_CONTACT = ffi.typeof("mesh_gossip_contact *")
_NO_LABELS = Labels()
_NOBODY = bytes(16)

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


def members_of(records: Any, count: int, stride: int) -> tuple[Member, ...]:
    """Members of a chunk, `stride` bytes apart."""
    if count and stride < _MEMBER_SIZE:
        raise ImportError(f"members are {stride} bytes apart, this package reads {_MEMBER_SIZE}")
    first = ffi.cast(_BYTE, records)
    return tuple(
        member_of(ffi.cast(_MEMBER, first + index * stride)) for index in range(count)
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
