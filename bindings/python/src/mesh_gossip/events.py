"""Events, one class for each kind, for `match` and `isinstance`.

Invariant: what a class names is there; a kind that is unknown here is an `UnknownEvent`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from .model import Member, Reason, Status


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened."""

    #: When, Unix milliseconds; zero for `Ended`.
    at_unix_ms: int

    @property
    def at(self) -> datetime:
        """When it happened."""
        return datetime.fromtimestamp(self.at_unix_ms / 1000, timezone.utc)


@dataclass(frozen=True, slots=True)
class MemberEvent(Event):
    """Something happened to a member, which is told as of the event."""

    member: Member


class Joined(MemberEvent):
    """A member that was unknown is alive."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Recovered(MemberEvent):
    """A suspect or departed member is alive."""

    previous: Status | int


class Suspected(MemberEvent):
    """A member is doubted."""

    __slots__ = ()


class Unreachable(MemberEvent):
    """A suspect whom nobody else can tell about either."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Left(MemberEvent):
    """A member is gone."""

    reason: Reason | int


class Updated(MemberEvent):
    """A member says something else of itself."""

    __slots__ = ()


class Refuted(MemberEvent):
    """Others doubted this agent; it answered."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Forgotten(Event):
    """A departed member is listed no longer."""

    id: bytes


@dataclass(frozen=True, slots=True)
class LeaderChanged(Event):
    """Somebody else leads a scope, nobody does, or its leader has taken another term."""

    scope: str
    leader: bytes | None
    previous: bytes | None
    term: int


@dataclass(frozen=True, slots=True)
class Conflict(Event):
    """Two records claim one incarnation of a member."""

    id: bytes


@dataclass(frozen=True, slots=True)
class Alarm(Event):
    """Something that somebody has to look at."""

    what: str
    #: The member that it is about; None where it is about none.
    id: bytes | None


@dataclass(frozen=True, slots=True)
class RecordRejected(Event):
    """A record was refused."""

    sender: bytes
    why: str


class JoinComplete(Event):
    """The first full exchange with the mesh is done."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LeaveComplete(Event):
    """The leave is done."""

    #: How many members know of it.
    acknowledged: int


@dataclass(frozen=True, slots=True)
class Overflow(Event):
    """Events were lost because they were not taken: resynchronise from a snapshot."""

    lost: int


@dataclass(frozen=True, slots=True)
class Said(Event):
    """A member's host said something."""

    sender: bytes
    topic: int
    payload: bytes


class Broadcast(Said):
    """It was said to everybody."""

    __slots__ = ()


class Message(Said):
    """It was said to this agent alone."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Missed(Event):
    """Broadcasts and messages were lost because they were not taken."""

    lost: int


class Ended(Event):
    """The agent has stopped: the last event of all."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class UnknownEvent(Event):
    """A kind that a newer library knows."""

    kind: int
