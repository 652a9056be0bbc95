"""Events on their way from the library to whoever takes them.

The library raises a flag, an eventfd, with the first event. A second flag, our own, is raised for
good when there will be no more, so that nobody waits for what cannot come.

Invariant: every event is handed out once, in order, and `Ended` is the last one, even where the
agent was closed before it was taken.
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ._abi import ffi
from ._handle import Handle
from ._library import call, lib
from ._read import Batch
from .errors import DefectError, ErrorCode, StoppedError, error_of
from .events import Ended, Event

_ALL = 2**63 - 1
_LONGEST_POLL_MS = 2**31 - 1


class Inbox:
    """The queue of one agent."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._turn = threading.Lock()
        self._batches: deque[Batch] = deque()
        self._over = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ended = False

    def take(self, most: int) -> list[Event]:
        """What waits, `most` at most."""
        if most < 0:
            raise error_of(ErrorCode.ARGUMENT, f"most is {most}: not below zero", "most")
        self._handle.refuse_child()
        taken: list[Event] = []
        with self._turn:
            while len(taken) < most and not self._ended:
                event = self._pop(most - len(taken))
                if event is None:
                    break
                taken.append(event)
                if isinstance(event, Ended):
                    self._ended = True
                    self._raise()
        return taken

    def wait(self, timeout_ms: int | None, most: int) -> list[Event]:
        """The same, after the first one has come, which another thread may have taken first: then
        after the next one."""
        until = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
        while True:
            taken = self.take(most)
            left = _LONGEST_POLL_MS if until is None else math.ceil((until - time.monotonic()) * 1000)
            if taken or most == 0 or self._ended or left <= 0:
                return taken
            poll = select.poll()
            with self._descriptors() as descriptors:
                for descriptor in descriptors:
                    poll.register(descriptor, select.POLLIN)
                poll.poll(min(left, _LONGEST_POLL_MS))

    async def stream(self) -> AsyncGenerator[Event, None]:
        """One after the other, until the last."""
        while not self._ended:
            for event in self.take(1):
                yield event
                break
            else:
                with self._descriptors() as descriptors:
                    await _readable(descriptors)

    def rouse(self, agent: Any) -> None:
        """Stops the agent: whoever waits is answered, and `Ended` comes."""
        with suppress(DefectError):
            call(lib.mesh_gossip_agent_stop, agent)

    def rescue(self, agent: Any) -> None:
        """Keeps what nobody has taken, which would be lost with the agent."""
        with self._turn:
            try:
                self._batches.append(self._from_library(agent, _ALL))
            except DefectError:
                self._ended = True
        self._raise()

    def _pop(self, wanted: int) -> Event | None:
        if not self._batches:
            try:
                with self._handle.use() as agent:
                    self._batches.append(self._from_library(agent, wanted))
            except StoppedError:
                return None
        while self._batches:
            event = self._batches[0].pop()
            if event is not None:
                return event
            self._batches.popleft()
        return None

    @staticmethod
    def _from_library(agent: Any, most: int) -> Batch:
        out = ffi.new("mesh_gossip_events **")
        call(lib.mesh_gossip_agent_take_events, agent, most, out)
        return Batch(out[0])

    @contextmanager
    def _descriptors(self) -> Iterator[list[int]]:
        """Both flags, as descriptors of our own: those of the agent end with it, and their numbers
        may then mean something else. While it is being closed there is the second one alone, which
        tells that what was left is here."""
        copies: list[int] = []
        try:
            with suppress(StoppedError), self._handle.use() as agent:
                copies.append(os.dup(lib.mesh_gossip_agent_events_fd(agent)))
            copies.append(os.dup(self._over))
            yield copies
        finally:
            for copy in copies:
                os.close(copy)

    def _raise(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_write(self._over, 1)

    def __del__(self) -> None:
        over = getattr(self, "_over", None)
        if over is not None:
            os.close(over)


async def _readable(descriptors: list[int]) -> None:
    """Waits for either. The loop watches them only meanwhile: they stay readable while events
    wait, and would keep it busy."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    for descriptor in descriptors:
        loop.add_reader(descriptor, wake)
    try:
        await ready
    finally:
        for descriptor in descriptors:
            loop.remove_reader(descriptor)
