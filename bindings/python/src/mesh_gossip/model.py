"""What the binding hands out: values that never change and need no library to live.

Invariant: nothing here refers to memory of the library, so everything may be kept, compared,
pickled and read from any thread, whatever becomes of the agent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import IntEnum
from typing import NamedTuple


class Status(IntEnum):
    """What the agent thinks of a member."""

    ALIVE = 1
    SUSPECT = 2
    FAILED = 3
    LEFT = 4


class Lifecycle(IntEnum):
    """What a member says of the work that it takes."""

    ACTIVE = 0
    CORDONED = 1
    DRAINING = 2
    DRAINED = 3
    LEAVING = 4


class Reason(IntEnum):
    """Why a member is gone."""

    LEFT = 1
    FAILED = 2
    REVOKED = 3


class Shelf:
    """The labels of a chunk of members, one behind the other. They are taken apart when somebody
    looks at the first of them: a host that reads a view a second may never do so."""

    __slots__ = ("_make", "_pairs")

    def __init__(self, make: Callable[[], list[tuple[str, str]]]) -> None:
        self._make = make
        self._pairs: list[tuple[str, str]] | None = None

    def between(self, begin: int, end: int) -> dict[str, str]:
        """Those of one member."""
        if self._pairs is None:
            # Two threads may both make them, and both lists are right.
            self._pairs = self._make()
        return dict(self._pairs[begin:end])


class Labels(Mapping[str, str]):
    """Labels of a member: a mapping that can be hashed and does not change."""

    __slots__ = ("_begin", "_end", "_held", "_shelf")
    _held: dict[str, str] | None
    # Where they stand while `_held` is None.
    _shelf: Shelf
    _begin: int
    _end: int

    def __init__(self, held: Mapping[str, str] | None = None) -> None:
        self._held = dict(held or {})

    @classmethod
    def on(cls, shelf: Shelf, begin: int, end: int) -> Labels:
        """Labels that stand on a shelf until somebody looks."""
        labels = cls.__new__(cls)
        labels._held = None
        labels._shelf = shelf
        labels._begin = begin
        labels._end = end
        return labels

    def _read(self) -> dict[str, str]:
        held = self._held
        if held is None:
            self._held = held = self._shelf.between(self._begin, self._end)
        return held

    def __getitem__(self, key: str) -> str:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __hash__(self) -> int:
        return hash(frozenset(self._read().items()))

    def __reduce__(self) -> tuple[type[Labels], tuple[dict[str, str]]]:
        return Labels, (self._read(),)

    def __repr__(self) -> str:
        return f"Labels({self._read()!r})"


class Member(NamedTuple):
    """One member as of one moment. A tuple, since a view of a thousand has to be made in no time."""

    #: 16 bytes within the mesh.
    id: bytes
    #: Name within the cluster.
    node_id: str
    role: str
    cluster_id: str
    region: str
    #: Version of its mesh software.
    mesh_version: str
    #: `host:port` that it advertises.
    endpoint: str
    #: A plain number where a newer library knows more; so with `lifecycle`.
    status: Status | int
    lifecycle: Lifecycle | int
    #: It is the agent itself.
    is_local: bool
    http3: bool
    #: When this life of it began, Unix milliseconds; may lie ahead of the clock.
    generation: int
    #: Changes within this life.
    counter: int
    #: Rises with every change of what it says of itself.
    metadata_version: int
    labels: Labels


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The members as of one moment; iterates over them.

    Chunks that did not change are shared with the snapshot before.
    """

    #: Rises with every change of the view.
    generation: int
    #: When the view was published, Unix milliseconds.
    at_unix_ms: int
    #: The id of the agent itself.
    local_id: bytes
    chunks: tuple[tuple[Member, ...], ...] = field(repr=False)

    @property
    def at(self) -> datetime:
        """When the view was published."""
        return datetime.fromtimestamp(self.at_unix_ms / 1000, timezone.utc)

    @property
    def members(self) -> tuple[Member, ...]:
        """All of them in one tuple, made anew each time."""
        return tuple(self)

    @property
    def local(self) -> Member | None:
        """The agent itself; None once it is listed no longer."""
        return self.member(self.local_id)

    def member(self, id: bytes) -> Member | None:
        """The member with this id."""
        return next((member for member in self if member.id == id), None)

    def named(self, node_id: str) -> Member | None:
        """The member of this name that is alive, else whichever is listed under it."""
        found = [member for member in self if member.node_id == node_id]
        found.sort(key=lambda member: (member.status, -member.generation))
        return found[0] if found else None

    def alive(self) -> tuple[Member, ...]:
        """The members in touch, those that are doubted left out."""
        return tuple(member for member in self if member.status == Status.ALIVE)

    def __iter__(self) -> Iterator[Member]:
        for chunk in self.chunks:
            yield from chunk

    def __len__(self) -> int:
        return sum(map(len, self.chunks))

    def __contains__(self, member: object) -> bool:
        return any(member in chunk for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Contact:
    """What our own exchanges with one member showed."""

    #: When a datagram of it came last, Unix milliseconds.
    last_unix_ms: int
    #: Smoothed round-trip time; None where none was measured.
    rtt_ms: float | None


@dataclass(frozen=True, slots=True)
class Health:
    """How an agent is."""

    #: The first full exchange with the mesh is done.
    joined: bool
    #: It may be given work: joined, a member in its own view, and not draining.
    ready: bool
    #: It hands its work over, or has done so.
    draining: bool
