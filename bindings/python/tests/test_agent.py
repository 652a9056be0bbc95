"""One agent: its view, its commands, its end."""

import asyncio
import gc
import os
import pickle
import queue
import threading

import pytest

from mesh_gossip import (
    Agent, ArgumentError, Ended, ErrorCode, ForkedError, Lifecycle, MeshGossipError, NotFoundError,
    Status, StoppedError,
)
from mesh_gossip._abi import ffi
from mesh_gossip._library import lib


def test_it_sees_itself(mesh):
    agent = mesh.start("node-1", labels={"rack": "r7"})
    view = agent.snapshot()
    (member,) = view
    assert view.local is member and view.named("node-1") is member and member in view
    assert member.is_local and member.status is Status.ALIVE
    assert member.labels == {"rack": "r7"} and member.endpoint == agent.address
    assert pickle.loads(pickle.dumps(view)) == view and hash(view) == hash(agent.snapshot())
    with pytest.raises(AttributeError):
        member.role = "other"


def test_unchanged_chunks_are_the_same_objects(mesh):
    agent = mesh.start("node-1")
    first, second = agent.snapshot(), agent.snapshot()
    assert first.chunks[0] is second.chunks[0]
    agent.set_label("rack", "r7")
    third = agent.snapshot()
    assert third.generation > first.generation and third.local.labels == {"rack": "r7"}
    agent.set_label("rack", None)
    assert first.local.labels == {} == agent.snapshot().local.labels


def test_a_snapshot_outlives_the_agent(mesh):
    agent = mesh.start("node-1")
    view = agent.snapshot()
    raw = lib.mesh_gossip_snapshot_acquire(agent._handle._pointer)
    agent.close()
    del agent
    gc.collect()
    assert view.local.node_id == "node-1" and len(view) == 1
    assert lib.mesh_gossip_snapshot_len(raw) == 1
    lib.mesh_gossip_snapshot_release(raw)


def test_lifecycle_health_and_documents(mesh):
    agent = mesh.start("node-1")
    agent.cordon()
    assert agent.snapshot().local.lifecycle is Lifecycle.CORDONED
    agent.drain()
    assert agent.health().draining and not agent.health().ready
    agent.resume()
    assert not agent.health().draining
    with pytest.raises(ArgumentError) as told:
        agent.set_lifecycle(Lifecycle.LEAVING)
    assert (told.value.code, told.value.field) == (ErrorCode.ARGUMENT, "lifecycle")
    assert agent.peers()["localNodeId"] == "node-1"
    assert agent.leaders()["tokens"] == []
    with pytest.raises(NotFoundError):
        agent.leaders("nothing")
    assert "# TYPE mesh_gossip_" in agent.metrics_text()
    agent.reload()


def test_arguments_out_of_range(mesh):
    agent = mesh.start("node-1")
    for field, misuse in (
        ("topic", lambda: agent.broadcast(65536, b"")),
        ("member", lambda: agent.send_to(b"short", 1, b"")),
        ("timeout", lambda: agent.peers(-1)),
        ("most", lambda: agent.take_events(-1)),
        ("key", lambda: agent.set_label("a\0b", "c")),
    ):
        with pytest.raises(ArgumentError) as told:
            misuse()
        assert told.value.field == field
    with pytest.raises(NotFoundError):
        agent.send_to(bytes(16), 1, b"hello")


def test_stop_twice_and_close_twice(mesh):
    agent = mesh.start("node-1")
    agent.stop()
    agent.stop()
    assert len(agent.snapshot()) == 1
    with pytest.raises(StoppedError) as told:
        agent.set_label("a", "b")
    assert told.value.code is ErrorCode.STOPPED
    agent.close()
    agent.close()
    with pytest.raises(StoppedError):
        agent.snapshot()
    # What was left is handed out even so.
    assert isinstance(agent.take_events()[-1], Ended)
    assert agent.take_events() == [] == agent.wait_events()


def test_one_string_is_no_list_of_seeds(mesh):
    agent = mesh.start("node-1")
    with pytest.raises(TypeError):
        agent.join("127.0.0.1:7946")
    agent.join(iter(["127.0.0.1:7946"]))
    agent.join([])


def test_who_waits_is_not_woken_for_what_another_took(mesh):
    agent = mesh.start("node-1")
    agent.take_events()
    taken = queue.SimpleQueue()

    def wait():
        while events := agent.wait_events(most=1):
            taken.put(len(events))
        taken.put(0)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(20):
        agent.set_label("turn", str(turn))
        assert taken.get(timeout=30) == 1
    agent.close()
    for thread in threads:
        thread.join(30)
    # One of them took the last event; each ended once, and not before there was nothing more.
    rest = [taken.get_nowait() for _ in range(taken.qsize())]
    assert rest.count(0) == 4 and rest[-1] == 0


def test_events_end_beside_a_close(mesh):
    """The loop goes on while another thread closes."""
    agent = mesh.start("node-1")

    async def read():
        return [event async for event in agent.events()]

    async def both():
        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        await asyncio.to_thread(agent.close)
        return await reading

    assert isinstance(asyncio.run(both())[-1], Ended)


def test_a_close_waits_for_calls_and_answers_them(mesh):
    agent = mesh.start("node-1")
    ends = []

    def ask():
        try:
            while True:
                agent.peers()
        except StoppedError as error:
            ends.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    agent.close()
    for thread in threads:
        thread.join(30)
    assert len(ends) == 4


def test_an_agent_that_nobody_closed_is_told_of(mesh):
    agent = Agent.start(mesh.settings("node-1"))
    with pytest.warns(ResourceWarning, match="node-1 was never closed"):
        del agent
        gc.collect()


def test_a_forked_child_is_refused(mesh):
    agent = mesh.start("node-1")
    pointer = agent._handle._pointer
    child = os.fork()
    if child == 0:
        refused = 0
        try:
            for use in (agent.snapshot, agent.stop, agent.take_events, agent.wait_events):
                try:
                    use()
                except ForkedError as error:
                    refused += error.code is ErrorCode.FORKED
            agent.close()
            # The library itself says the same.
            refused += lib.mesh_gossip_agent_stop(pointer, ffi.NULL) == ErrorCode.FORKED
            refused += lib.mesh_gossip_agent_free(pointer) == ErrorCode.FORKED
        finally:
            os._exit(0 if refused == 6 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not agent.closed and len(agent.snapshot()) == 1


@pytest.mark.parametrize(("bad", "code"), [("a\ud800", ErrorCode.UTF8), ("a\0b", ErrorCode.ARGUMENT)])
def test_bad_text_is_refused_by_its_field(mesh, bad, code):
    agent = mesh.start("node-1")
    for field, act in (
        ("key", lambda: agent.set_label(bad, "v")),
        ("value", lambda: agent.set_label("k", bad)),
        ("seeds", lambda: agent.join([bad])),
        ("scope", lambda: agent.leaders(bad)),
        ("region", lambda: agent.set_metadata(region=bad)),
        ("labels", lambda: agent.set_metadata(labels={bad: "v"})),
        ("labels", lambda: agent.set_metadata(labels={"k": bad})),
        ("node_id", lambda: agent.report_leases(bad, None)),
    ):
        with pytest.raises(MeshGossipError) as refused:
            act()
        assert (refused.value.code, refused.value.field) == (code, field)
    agent.set_label("face", "\U0001f600")
    assert agent.snapshot().local.labels == {"face": "\U0001f600"}


def test_leases_are_reported_and_shown(mesh):
    agent = mesh.start("node-1")
    leases = [{"sequenceId": -7, "attempt": 1, "leaseId": "l"}]
    agent.report_leases("queue-9", {"pendingReassignments": 2, "activeLeases": leases})
    told = {peer["peerId"]: peer for peer in agent.lease_health()["peers"]}
    assert told["queue-9"]["activeLeases"] == leases and told["node-1"]["isHealthy"]
    with pytest.raises(ArgumentError) as refused:
        agent.report_leases("queue-9", {"activeLeases": [{}]})
    assert refused.value.field == "activeLeases[0].sequenceId"
    agent.report_leases("queue-9", None)
    assert [peer["peerId"] for peer in agent.lease_health()["peers"]] == ["node-1"]
