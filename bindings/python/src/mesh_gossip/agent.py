"""A member of a mesh.

Invariant: what was asked of the library is done when a method returns; objects that it handed out
outlive it.
"""

from __future__ import annotations

import asyncio
import json
import os
import warnings
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress
from datetime import timedelta
from types import TracebackType
from typing import Any

from ._abi import ffi
from ._handle import Handle
from ._inbox import Inbox
from ._library import call, lib, milliseconds, text
from ._read import chunk_of, contacts_of
from .errors import CommandTimeoutError, ErrorCode, ForkedError, StoppedError, error_of
from .events import Event
from .model import Contact, Health, Lifecycle, Member, Snapshot
from .options import Options

#: Seconds, or a span.
Timeout = float | timedelta
#: What is said, and what is read as a file's content.
Content = bytes | bytearray | memoryview


class Agent:
    """A running agent: two threads for the protocol and one for events, none of them Python's.

    Use it as a context, plain or asynchronous: its end says goodbye and frees everything. Any
    thread may call any method; calls that wait let other threads run.
    """

    def __init__(self, owned: Any, goodbye: Timeout | None) -> None:
        self._handle = Handle(owned, lib.mesh_gossip_agent_free, "agent")
        self._goodbye = goodbye
        self._inbox = Inbox(self._handle)
        self._chunks: dict[int, tuple[Member, ...]] = {}
        #: Name within the cluster.
        self.node_id: str = ffi.string(lib.mesh_gossip_agent_node_id(owned)).decode("utf-8")
        #: `address:port` that the agent listens on.
        self.address: str = ffi.string(lib.mesh_gossip_agent_address(owned)).decode("utf-8")

    @classmethod
    def start(
        cls,
        options: Options | Mapping[str, Any] | str | os.PathLike[str],
        *,
        events_capacity: int = 0,
        goodbye: Timeout | None = 5.0,
    ) -> Agent:
        """Starts an agent from options, from a mapping of the JSON shape, or from a file's path.

        Returns once its ports are bound; joining goes on by itself and ends with a `JoinComplete`
        event where there is anybody to join. `goodbye` is how long the end of a context waits
        until others know that it leaves; None: it goes without a word.
        """
        if goodbye is not None:
            milliseconds(goodbye, "goodbye")
        if not isinstance(options, Options):
            if isinstance(options, Mapping):
                made = Options.from_json(options)
            else:
                made = Options.from_file(options)
            with made:
                return cls.start(made, events_capacity=events_capacity, goodbye=goodbye)
        if not 0 <= events_capacity < 2**32:
            why = f"events_capacity is {events_capacity}: not between 0 and 4294967295"
            raise error_of(ErrorCode.ARGUMENT, why, "events_capacity")
        start = ffi.new("mesh_gossip_start_options *")
        lib.mesh_gossip_start_options_init(start, ffi.sizeof("mesh_gossip_start_options"))
        start.events_capacity = events_capacity
        out = ffi.new("mesh_gossip_agent **")
        with options._handle.use() as pointer:
            call(lib.mesh_gossip_agent_start_with, pointer, start, out)
        return cls(out[0], goodbye)

    # The view.

    def snapshot(self) -> Snapshot:
        """The newest view; after a stop, the last one. Members of chunks that did not change are
        the same objects as before."""
        with self._handle.use() as agent:
            out = ffi.new("mesh_gossip_snapshot **")
            call(lib.mesh_gossip_snapshot_try_acquire, agent, out)
            try:
                return self._read(out[0])
            finally:
                lib.mesh_gossip_snapshot_release(out[0])

    def _read(self, view: Any) -> Snapshot:
        before, chunks = self._chunks, {}
        for index in range(lib.mesh_gossip_snapshot_chunk_count(view)):
            generation = lib.mesh_gossip_snapshot_chunk_generation(view, index)
            chunk = before.get(generation)
            if chunk is None:
                chunk = chunk_of(view, index)
            chunks[generation] = chunk
        # Threads may overwrite each other's; both are right, and one of them is the newer.
        self._chunks = chunks
        return Snapshot(
            lib.mesh_gossip_snapshot_generation(view),
            lib.mesh_gossip_snapshot_time(view),
            bytes(ffi.buffer(lib.mesh_gossip_snapshot_local_id(view), 16)),
            tuple(chunks.values()),
        )

    # Events. There is one queue: each event goes to one of those who take them.

    def take_events(self, most: int = 256) -> list[Event]:
        """Takes what waits, the oldest first, without waiting for more. Works after a close as
        well, until `Ended` was taken."""
        return self._inbox.take(most)

    def wait_events(self, timeout: Timeout | None = None, most: int = 256) -> list[Event]:
        """The same, but waits for the first one. Empty after the timeout, and once `Ended` was
        taken."""
        return self._inbox.wait(None if timeout is None else milliseconds(timeout), most)

    async def events(self) -> AsyncGenerator[Event, None]:
        """Events as they come, `async for event in agent.events()`; `Ended` is the last one. No
        thread waits for them: the running loop watches a descriptor."""
        async with aclosing(self._inbox.stream()) as stream:
            async for event in stream:
                yield event

    # Commands.

    def set_label(self, key: str, value: str | None) -> None:
        """Sets a label of this member; None removes it."""
        written = ffi.NULL if value is None else text(value, "value")
        self._call(lib.mesh_gossip_agent_set_label, text(key, "key"), written)

    def set_metadata(
        self,
        *,
        region: str | None = None,
        mesh_version: str | None = None,
        endpoint: str | None = None,
        http3: bool | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Says something else of this member; None leaves what there is. `labels` stand in place of
        all labels."""
        wanted = {
            "region": region, "meshVersion": mesh_version, "endpoint": endpoint,
            "http3Support": http3, "labels": None if labels is None else dict(labels),
        }  # fmt: skip
        # JSON would escape what no member may read; here it has a name.
        texts = {"region": region, "mesh_version": mesh_version, "endpoint": endpoint}
        for name, written in texts.items():
            text(written or "", name)
        for key, value in (labels or {}).items():
            text(key + value, "labels")
        said = json.dumps({key: value for key, value in wanted.items() if value is not None})
        self._call(lib.mesh_gossip_agent_set_metadata, text(said, "json"))

    def report_leases(self, node_id: str, report: Mapping[str, Any] | None) -> None:
        """Tells what the host knows of the work of a peer, in place of what it told before: any of
        `activeAssignments`, `pendingReassignments` and `activeLeases`; None forgets it."""
        written = ffi.NULL if report is None else text(json.dumps(report), "report")
        self._call(lib.mesh_gossip_agent_report_leases, text(node_id, "node_id"), written)

    def set_lifecycle(self, lifecycle: Lifecycle) -> None:
        """Publishes a lifecycle; `LEAVING` is refused, since it is said by `leave`."""
        self._call(lib.mesh_gossip_agent_set_lifecycle, int(lifecycle))

    def cordon(self) -> None:
        """Takes no new work."""
        self.set_lifecycle(Lifecycle.CORDONED)

    def drain(self) -> None:
        """Hands its work over."""
        self.set_lifecycle(Lifecycle.DRAINING)

    def resume(self) -> None:
        """Takes work again."""
        self.set_lifecycle(Lifecycle.ACTIVE)

    def join(self, seeds: Iterable[str]) -> None:
        """Replaces the seeds, `host:port`, that the host named before; those of the settings
        stay beside them. Names are looked up here, which may take a while."""
        if isinstance(seeds, str):
            raise TypeError("seeds: strings are expected, and this is one, not of them")
        # The strings have to live until the call is over.
        kept = [ffi.new("char[]", text(seed, "seeds")) for seed in seeds]
        self._call(lib.mesh_gossip_agent_join, ffi.new("char *[]", kept), len(kept))

    def leave(self, timeout: Timeout = 5.0) -> None:
        """Says goodbye and waits until enough members know. The agent has to be closed all the
        same."""
        self._call(lib.mesh_gossip_agent_leave, milliseconds(timeout))

    def force_leave(self, order: Content) -> None:
        """Obeys an operator's signed order that a member's life is over, and passes it on."""
        self._call(lib.mesh_gossip_agent_force_leave, *_content(order))

    def reload(self) -> None:
        """Reads certificate, key, trust and revocation lists again."""
        self._call(lib.mesh_gossip_agent_reload)

    def reload_certificates(
        self,
        certificate: Content,
        key: Content = b"",
        ca: Content = b"",
        password: str | None = None,
    ) -> None:
        """Puts these in place of certificate, key and trust: a PEM chain (leaf first), its key and
        trust anchors; or a PKCS#12 store as the certificate, with its password. Without a key it is
        within the certificate's content; without trust that in force stays."""
        secret = ffi.NULL if password is None else text(password, "password")
        contents = (*_content(certificate), *_content(key), *_content(ca))
        self._call(lib.mesh_gossip_agent_reload_certificates, *contents, secret)

    def add_revocation_lists(self, lists: Content) -> None:
        """Takes revocation lists, PEM or DER, beside those of the files."""
        self._call(lib.mesh_gossip_agent_add_revocation_lists, *_content(lists))

    def broadcast(self, topic: int, payload: Content, *, latest_of: int | None = None) -> None:
        """Says something to every member's host, which hears of a `Broadcast`. With `latest_of` it
        takes the place of what this member said before under the same topic and number, where that
        is still on its way."""
        if latest_of is None:
            self._call(lib.mesh_gossip_agent_broadcast, _topic(topic), *_content(payload))
            return
        if not 0 <= latest_of < 2**64:
            why = f"latest_of is {latest_of}: not between 0 and 18446744073709551615"
            raise error_of(ErrorCode.ARGUMENT, why, "latest_of")
        said = (_topic(topic), latest_of, *_content(payload))
        self._call(lib.mesh_gossip_agent_broadcast_latest, *said)

    def send_to(self, member: Member | bytes, topic: int, payload: Content) -> None:
        """Says something to one member's host: one datagram, which may be lost."""
        id = member.id if isinstance(member, Member) else member
        if len(id) != 16:
            raise error_of(ErrorCode.ARGUMENT, f"an id has 16 bytes, not {len(id)}", "member")
        self._call(lib.mesh_gossip_agent_send_to, id, _topic(topic), *_content(payload))

    # Documents.

    def peers(self, timeout: Timeout = 5.0) -> dict[str, Any]:
        """What `GET /control/peers` answers."""
        found: dict[str, Any] = json.loads(self.peers_json(timeout))
        return found

    def peers_json(self, timeout: Timeout = 5.0) -> str:
        """The same as text, for who passes it on."""
        return self._document(lib.mesh_gossip_agent_peers_json, milliseconds(timeout))

    def leaders(self, scope: str | None = None, timeout: Timeout = 5.0) -> dict[str, Any]:
        """What `GET /control/leaders` answers, of one scope or of all."""
        found: dict[str, Any] = json.loads(self.leaders_json(scope, timeout))
        return found

    def leaders_json(self, scope: str | None = None, timeout: Timeout = 5.0) -> str:
        """The same as text."""
        named = ffi.NULL if scope is None else text(scope, "scope")
        return self._document(lib.mesh_gossip_agent_leaders_json, named, milliseconds(timeout))

    def lease_health(self, timeout: Timeout = 5.0) -> dict[str, Any]:
        """What `GET /control/lease-health` answers: who may be given work, and what was reported of
        whom."""
        said = self._document(lib.mesh_gossip_agent_lease_health_json, milliseconds(timeout))
        found: dict[str, Any] = json.loads(said)
        return found

    def metrics_text(self, timeout: Timeout = 5.0) -> str:
        """The metrics in Prometheus' text format."""
        return self._document(lib.mesh_gossip_agent_metrics_text, milliseconds(timeout))

    def health(self, timeout: Timeout = 5.0) -> Health:
        """How the agent is; an answer means that it works."""
        out = ffi.new("uint32_t *")
        self._call(lib.mesh_gossip_agent_health, milliseconds(timeout), out)
        bits = (
            lib.MESH_GOSSIP_HEALTH_JOINED,
            lib.MESH_GOSSIP_HEALTH_READY,
            lib.MESH_GOSSIP_HEALTH_DRAINING,
        )
        return Health(*(bool(out[0] & bit) for bit in bits))

    def contacts(self, timeout: Timeout = 5.0) -> dict[bytes, Contact]:
        """Round-trip times and last contacts by member id: of those members that this agent has
        exchanged anything with."""
        out = ffi.new("mesh_gossip_contacts **")
        self._call(lib.mesh_gossip_agent_contacts, milliseconds(timeout), out)
        try:
            return contacts_of(out[0])
        finally:
            lib.mesh_gossip_contacts_free(out[0])

    # The end.

    def stop(self) -> None:
        """Stops without a goodbye; the last view and the events that wait can still be read.
        Again, it does nothing."""
        self._call(lib.mesh_gossip_agent_stop)

    def close(self) -> None:
        """Stops and frees the agent, after the calls under way have ended. Again, it does nothing.
        Not from a signal handler, which may have interrupted such a call."""
        self._handle.close(self._inbox.rouse, self._inbox.rescue)

    @property
    def closed(self) -> bool:
        """Whether the agent was closed."""
        return self._handle.closed

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._goodbye is not None and not self.closed:
                # Whoever cannot be told finds out by itself.
                with suppress(StoppedError, CommandTimeoutError, ForkedError):
                    self.leave(self._goodbye)
        finally:
            self.close()

    async def __aenter__(self) -> Agent:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Goes on in its thread even where this task is cancelled.
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def __del__(self) -> None:
        handle: Handle | None = getattr(self, "_handle", None)
        if handle is not None and not handle.closed and not handle.forked:
            warnings.warn(f"agent {self.node_id} was never closed", ResourceWarning, source=self)

    def __repr__(self) -> str:
        return f"<Agent {self.node_id} at {self.address}{' (closed)' if self.closed else ''}>"

    def _call(self, function: Any, *arguments: Any) -> None:
        with self._handle.use() as agent:
            call(function, agent, *arguments)

    def _document(self, function: Any, *arguments: Any) -> str:
        out = ffi.new("mesh_gossip_text **")
        self._call(function, *arguments, out)
        try:
            data, length = lib.mesh_gossip_text_data(out[0]), lib.mesh_gossip_text_len(out[0])
            return str(ffi.buffer(data, length), "utf-8") if length else ""
        finally:
            lib.mesh_gossip_text_free(out[0])


def _topic(topic: int) -> int:
    if not 0 <= topic < 2**16:
        why = f"topic is {topic}: not between 0 and 65535"
        raise error_of(ErrorCode.ARGUMENT, why, "topic")
    return topic


def _content(content: Content) -> tuple[Any, int]:
    borrowed = ffi.from_buffer("uint8_t[]", content)
    return borrowed, len(borrowed)
