"""A mesh on loopback, with certificates made for the occasion; and a bound for every test."""

import faulthandler
import json
import os
import pathlib
import subprocess
import time

import pytest

from mesh_gossip import Agent

LONGEST_TEST_SECONDS = 60
ROOT = pathlib.Path(__file__).resolve().parents[3]
OMNIRELAY = os.environ.get("OMNIRELAY", str(ROOT / "target" / "debug" / "omnirelay"))


@pytest.fixture(autouse=True)
def bounded():
    """A test that hangs ends the run and tells where every thread stands."""
    faulthandler.dump_traceback_later(LONGEST_TEST_SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def wait_until(holds, seconds=30):
    """Looks until it holds, and returns how long that took. The bound only ends what hangs."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < seconds, "it never came to hold"
        time.sleep(0.005)
    return time.monotonic() - begun


class Mesh:
    """Issues certificates, and starts agents that are closed when the test ends."""

    def __init__(self, directory):
        self.directory = directory
        self.agents = []
        self._issued = {}
        self._bootstrap("init", "--trust-domain", "example.org", "--cluster", "prod")

    def _bootstrap(self, command, *arguments):
        line = [OMNIRELAY, "mesh", "bootstrap", command, "--dir", "ca", *arguments]
        done = subprocess.run(line, cwd=self.directory, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def settings(self, node, **more):
        """Settings of a node by its own certificate; `__` in a name stands for `:`."""
        if node not in self._issued:
            arguments = ("--node", node, "--role", "worker", "--out", "certs")
            self._issued[node] = self._bootstrap("issue", *arguments)
        settings = json.loads(self._issued[node])
        gossip = settings["mesh"]["gossip"]
        gossip.update({
            "bindAddress": "127.0.0.1",
            "port": 0,
            "control:port": 0,
            "log:level": "error",
            "events:delivery": "immediate",
        })
        gossip.update({name.replace("__", ":"): value for name, value in more.items()})
        return settings

    def start(self, node, events_capacity=0, **more):
        settings = self.settings(node, **more)
        agent = Agent.start(settings, events_capacity=events_capacity, goodbye=None)
        self.agents.append(agent)
        return agent

    def pair(self, events_capacity=0, **more):
        """Two agents that see each other; what is said beyond is about the first."""
        first = self.start("node-1", events_capacity, **more)
        second = self.start("node-2", seedPeers=[first.address])
        wait_until(lambda: len(first.snapshot()) == 2 and len(second.snapshot()) == 2)
        return first, second


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Mesh(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def mesh(authority):
    yield authority
    for agent in authority.agents:
        agent.close()
    authority.agents.clear()
