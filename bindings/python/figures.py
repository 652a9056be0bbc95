"""Prints how long 1,000 members take to become objects, with the fake library in place of the real
one: it lays them out as the real one does, and no mesh of that size fits a test. `bindings/python/figures`
runs it.

What is measured is the copy of all chunks, which otherwise happens once for each that changed; and,
where there are labels, the same with a look at every one of them.
"""

import os
import statistics
import time

from mesh_gossip import Agent

COUNT = 1_000
ROUNDS = 200
MOST_MS = 2.5


def measure(labels: int, look: bool) -> None:
    """Prints one figure."""
    os.environ["MESH_GOSSIP_FAKE"] = f"members={COUNT};labels={labels}"
    times = []
    with Agent.start({}, goodbye=None) as agent:
        for _ in range(ROUNDS):
            agent._chunks.clear()
            begun = time.perf_counter()
            view = agent.snapshot()
            if look:
                found = sum(len(member.labels) for member in view)
            times.append((time.perf_counter() - begun) * 1000)
            assert len(view) == COUNT and (not look or found == COUNT * labels)
    looked = ", all looked at" if look else ""
    print(
        f"Python: {COUNT} members with {labels} labels each to objects{looked}: {min(times):.2f} ms at"
        f" best, {statistics.median(times):.2f} ms at the median (wanted: {MOST_MS} ms)"
    )


measure(0, look=False)
measure(2, look=False)
measure(2, look=True)
