"""Does with the Python binding what the lines of its input say; the driver describes them."""

import os
import pathlib
import sys
import time

try:
    import mesh_gossip
except ImportError:
    mesh_gossip = None

options, agents, snapshots = {}, {}, {}


class Failed(Exception):
    """A call that was refused."""


def kind_of(event):
    """`JoinComplete` is `join-complete`."""
    name = type(event).__name__
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


def words_of(event):
    words = [kind_of(event)]
    if isinstance(event, (mesh_gossip.Broadcast, mesh_gossip.Message)):
        words += [str(event.topic), event.payload.decode()]
    elif isinstance(event, (mesh_gossip.Overflow, mesh_gossip.Missed)):
        words.append(str(event.lost))
    elif isinstance(event, mesh_gossip.MemberEvent):
        words.append(event.member.node_id)
        if isinstance(event, mesh_gossip.Left):
            words.append(event.reason.name.lower())
    return words


def member_words(member):
    labels = "".join(f":{key}={value}" for key, value in sorted(member.labels.items()))
    return f"{member.node_id}:{member.status.name.lower()}:{member.lifecycle.name.lower()}{labels}"


def view(snapshot, status=None):
    shown = (m for m in snapshot if status is None or m.status.name.lower() == status)
    return sorted(member_words(member) for member in shown)


def events(agent, ms):
    """Events one by one, as long as they come in time."""
    until = time.monotonic() + int(ms) / 1000
    while True:
        for event in agent.wait_events(max(0.0, until - time.monotonic()), 1):
            yield event
            break
        else:
            return


def awaited(agent, kind, ms):
    for event in events(agent, ms):
        if kind_of(event) == kind:
            return words_of(event)
    raise Failed("TIMEOUT", "-")


def tally(agent, wanted, ms):
    taken = missed = 0
    for event in events(agent, ms):
        taken += isinstance(event, mesh_gossip.Broadcast)
        missed += event.lost if isinstance(event, mesh_gossip.Missed) else 0
        if taken + missed >= int(wanted):
            break
    return [str(taken + missed), "marked" if missed else "whole"]


def forked(agent):
    readable, writable = os.pipe()
    if os.fork() == 0:
        try:
            agent.set_label("a", "b")
            os.write(writable, b"OK")
        except mesh_gossip.MeshGossipError as error:
            os.write(writable, error.code.name.encode())
        os._exit(0)
    os.wait()
    code = os.read(readable, 64).decode()
    if code != "OK":
        raise Failed(code, "-")


def made(name, kind, text):
    make = mesh_gossip.Options.from_file if kind == "file" else mesh_gossip.Options.from_json
    options[name] = make(text)


def started(name, of, capacity):
    agents[name] = mesh_gossip.Agent.start(
        options[of], events_capacity=int(capacity), goodbye=None
    )


def looked(name, snapshot):
    snapshots[snapshot] = agents[name].snapshot()


def health(agent):
    found = agent.health()
    return [
        "ready" if found.ready else "not ready", "draining" if found.draining else "not draining"
    ]


def load():
    if mesh_gossip is None:
        raise Failed("ABI", "-")


ACTS = {
    "load": load,
    "options": made,
    "set": lambda name, key, value=None: options[name].set(key, value) and None,
    "start": started,
    "address": lambda name: [agents[name].address],
    "node": lambda name: [agents[name].node_id],
    "label": lambda name, key, value=None: agents[name].set_label(key, value),
    "lifecycle": lambda name, to: agents[name].set_lifecycle(mesh_gossip.Lifecycle[to.upper()]),
    "reload": lambda name: agents[name].reload(),
    "metadata": lambda name, region, key, value: agents[name].set_metadata(
        region=region, labels={key: value}
    ),
    "certificates": lambda name, *paths: agents[name].reload_certificates(
        *(pathlib.Path(path).read_bytes() for path in paths)
    ),
    "latest": lambda name, topic, key, said: agents[name].broadcast(
        int(topic), said.encode(), latest_of=int(key)
    ),
    "leave": lambda name: agents[name].leave(5.0),
    "stop": lambda name: agents[name].stop(),
    "close": lambda name: agents[name].close(),
    "fork": lambda name: forked(agents[name]),
    "snapshot": looked,
    "members": lambda name: view(snapshots[name]),
    "view": lambda name, status=None: view(agents[name].snapshot(), status),
    "await": lambda name, kind, ms: awaited(agents[name], kind, ms),
    "tally": lambda name, wanted, ms: tally(agents[name], wanted, ms),
    "broadcast": lambda name, topic, said: agents[name].broadcast(int(topic), said.encode()),
    "send": lambda name, topic, said: agents[name].send_to(bytes(16), int(topic), said.encode()),
    "peers": lambda name: [agents[name].peers()["localNodeId"]],
    "leaders": lambda name, scope: agents[name].leaders(scope) and None,
    "health": lambda name: health(agents[name]),
    "contacts": lambda name: [str(len(agents[name].contacts()))],
}


def answer(line):
    # Half of a surrogate pair, and a zero, in the places of their marks.
    line = line.replace("<half>", "\ud800").replace("<zero>", "\0")
    act, *given = line.rstrip("\n").split("\t")
    refused = mesh_gossip.MeshGossipError if mesh_gossip else Failed
    try:
        return ["ok", *(ACTS[act](*given) or [])]
    except Failed as failed:
        return ["error", *failed.args]
    except refused as error:
        return ["error", error.code.name, error.field or "-"]


sys.stdin.reconfigure(encoding="utf-8")
sys.stdout.reconfigure(encoding="utf-8")
for line in sys.stdin:
    print("\t".join(answer(line)), flush=True)
