"""A handle that several threads may use, and that one of them closes.

The library frees a handle only where nobody else is inside it. So whoever calls signs in and out,
and who closes waits for the last one to leave.

Invariant: the pointer is freed once, after the last use, and never used again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ._abi import ffi
from .errors import ErrorCode, error_of

_forks = 0


def _in_child() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_in_child)


def _nothing(pointer: Any) -> None:
    """What there is to do where nobody waits and nothing is lost."""


class Handle:
    """A pointer of the library's, with its end."""

    def __init__(self, owned: Any, free: Any, what: str) -> None:
        self._pointer = ffi.gc(owned, free)
        self._what = what
        self._made_in = _forks
        self._changed = threading.Condition()
        self._users = 0
        self._closing = False
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it can be used no more."""
        return self._closing

    @property
    def forked(self) -> bool:
        """Whether it belongs to a parent process, whose locks may never open in this one."""
        return self._made_in != _forks

    def refuse_child(self) -> None:
        """Raises where it belongs to a parent process."""
        if self.forked:
            why = f"this {self._what} was made before a fork and belongs to the parent process"
            raise error_of(ErrorCode.FORKED, why)

    @contextmanager
    def use(self) -> Iterator[Any]:
        """The pointer, for as long as the block runs."""
        self.refuse_child()
        with self._changed:
            if self._closing:
                raise error_of(ErrorCode.STOPPED, f"this {self._what} is closed")
            self._users += 1
        try:
            yield self._pointer
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def close(
        self,
        rouse: Callable[[Any], None] = _nothing,
        rescue: Callable[[Any], None] = _nothing,
    ) -> None:
        """Frees the pointer. `rouse` makes those leave who wait inside, `rescue` has it to itself
        then. Again, it does nothing, but returns no sooner than the first call."""
        if self.forked:
            self._closing = True
            return
        with self._changed:
            if self._closing:
                self._changed.wait_for(lambda: self._closed)
                return
            self._closing = True
        try:
            rouse(self._pointer)
            with self._changed:
                self._changed.wait_for(lambda: self._users == 0)
            rescue(self._pointer)
        finally:
            with self._changed:
                self._changed.wait_for(lambda: self._users == 0)
                ffi.release(self._pointer)
                self._closed = True
                self._changed.notify_all()
