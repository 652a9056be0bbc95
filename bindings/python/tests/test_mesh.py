"""Several agents: what they see of each other, and what they hear."""

import asyncio
import time

import pytest
from conftest import wait_until

from mesh_gossip import (
    Agent, Broadcast, Ended, JoinComplete, Joined, LeaveComplete, Left, MemberEvent, Message,
    Overflow, Reason, Status, Suspected, Unreachable, Updated,
)


def sees(agent, *names):
    return sorted(member.node_id for member in agent.snapshot().alive()) == sorted(names)


def about(name, events):
    return [event for event in events if isinstance(event, MemberEvent) and event.member.node_id == name]


def test_three_agents_see_each_other_and_one_that_dies_is_gone(mesh):
    begun = time.monotonic()
    first = mesh.start("node-1")
    others = [mesh.start(name, seedPeers=[first.address]) for name in ("node-2", "node-3")]
    names = ("node-1", "node-2", "node-3")
    wait_until(lambda: all(sees(agent, *names) for agent in (first, *others)))
    print(f"three agents saw each other after {time.monotonic() - begun:.3f} s")
    others[1].stop()
    took = wait_until(lambda: sees(first, "node-1", "node-2") and sees(others[0], "node-1", "node-2"))
    print(f"one that died was gone from both views after {took:.1f} s")
    wait_until(lambda: first.snapshot().named("node-3").status is Status.FAILED)
    told = []

    def told_of_its_end():
        # Events may come a little after the view.
        told.extend(about("node-3", first.take_events()))
        return told and isinstance(told[-1], Left)

    wait_until(told_of_its_end)
    kinds = [type(event) for event in told]
    assert kinds[0] is Joined and told[-1].reason is Reason.FAILED
    assert set(kinds[1:-1]) <= {Suspected, Unreachable}


def test_events_come_in_order_and_end(mesh):
    first, second = mesh.pair()
    for number in range(5):
        second.set_label("n", str(number))
    wait_until(lambda: first.snapshot().named("node-2").labels == {"n": "4"})
    second.leave()
    wait_until(lambda: first.snapshot().named("node-2").status is Status.LEFT)
    second.stop()
    first.stop()
    own = []
    while not own or not isinstance(own[-1], Ended):
        own += second.wait_events(30)
    labels = [e.member.labels.get("n") for e in own if isinstance(e, Updated) and e.member.is_local]
    assert [label for label in labels if label][:5] == ["0", "1", "2", "3", "4"]
    assert any(isinstance(event, JoinComplete) for event in own)
    # A join that was quick to be followed by a goodbye may be complete after it.
    (gone,) = (event for event in own if isinstance(event, LeaveComplete))
    assert gone.acknowledged == 1
    heard = first.take_events(10_000)
    told = about("node-2", heard)
    versions = [event.member.metadata_version for event in told]
    assert versions == sorted(versions)
    assert isinstance(told[0], Joined) and isinstance(told[-1], Left)
    assert told[-1].reason is Reason.LEFT and isinstance(heard[-1], Ended)


def test_what_hosts_say_is_heard(mesh):
    first, second = mesh.pair()
    first.broadcast(7, b"\0to all")
    heard = []

    def came(kind):
        heard.extend(second.take_events())
        return [event for event in heard if isinstance(event, kind)]

    wait_until(lambda: came(Broadcast))
    (said,) = came(Broadcast)
    assert (said.topic, said.payload, said.sender) == (7, b"\0to all", first.snapshot().local_id)

    def until_heard():
        # One datagram may be lost.
        first.send_to(first.snapshot().named("node-2"), 8, bytearray(b"to you"))
        time.sleep(0.05)
        return came(Message)

    wait_until(until_heard)
    said = came(Message)[0]
    assert (said.topic, said.payload) == (8, b"to you")


def test_events_that_nobody_takes_are_counted(mesh):
    first, second = mesh.pair(events_capacity=1, limits__events=1)
    heard = []

    def overflowed():
        second.set_label("n", str(time.monotonic_ns()))
        if second.snapshot().local.metadata_version > 50:
            heard.extend(first.take_events())
        return any(isinstance(event, Overflow) for event in heard)

    wait_until(overflowed)
    (lost, *_) = (event.lost for event in heard if isinstance(event, Overflow))
    assert lost > 0


def test_a_loop_hears_of_events_and_of_the_end(mesh):
    async def run():
        first = Agent.start(mesh.settings("node-1"))
        async with first:
            names, joined = [], asyncio.Event()

            async def listen():
                async for event in first.events():
                    names.append(type(event))
                    if isinstance(event, Joined):
                        joined.set()

            listener = asyncio.create_task(listen())
            second = Agent.start(mesh.settings("node-2", seedPeers=[first.address]))
            async with second:
                await asyncio.wait_for(joined.wait(), 30)
        await asyncio.wait_for(listener, 30)
        assert names[-1] is Ended and names.count(Ended) == 1 and Left in names

    asyncio.run(run())


def test_a_cancelled_listener_loses_nothing(mesh):
    async def run():
        with Agent.start(mesh.settings("node-1"), goodbye=None) as agent:
            async def listen():
                return [event async for event in agent.events()]

            listener = asyncio.create_task(listen())
            await asyncio.sleep(0.05)
            listener.cancel()
            with pytest.raises(asyncio.CancelledError):
                await listener
            agent.set_label("rack", "r7")
            agent.stop()
            return [event async for event in agent.events()]

    heard = asyncio.run(run())
    assert isinstance(heard[0], Updated) and isinstance(heard[-1], Ended)


def test_contacts_tell_round_trip_times(mesh):
    first = mesh.start("node-1")
    second = mesh.start("node-2", seedPeers=[first.address])
    wait_until(lambda: sees(first, "node-1", "node-2") and sees(second, "node-1", "node-2"))
    other = first.snapshot().named("node-2").id
    wait_until(lambda: other in first.contacts() and first.contacts()[other].rtt_ms)
    contact = first.contacts()[other]
    assert 0 < contact.rtt_ms < 10_000 and abs(contact.last_unix_ms / 1000 - time.time()) < 60
