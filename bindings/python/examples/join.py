"""Joins a mesh and tells what happens in it, until Ctrl-C.

    python examples/join.py node-2.json 127.0.0.1:17421
"""

import asyncio
import sys

from mesh_gossip import Agent, MemberEvent, Options


async def main(file: str, *seeds: str) -> None:
    with Options.from_file(file) as options:
        agent = Agent.start(options.set("seedPeers", seeds or None))
    async with agent:
        print(f"{agent.node_id} listens on {agent.address}")
        async for event in agent.events():
            who = event.member.node_id if isinstance(event, MemberEvent) else ""
            print(type(event).__name__, who, f"({len(agent.snapshot().alive())} alive)")


try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    pass
