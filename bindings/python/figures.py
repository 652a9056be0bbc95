"""Prints how long 1,000 records of members take to become objects.

The records are laid out here as the library lays them out: no mesh of that size fits a test. What
is measured is the copy alone, which happens once for each chunk that changed.
"""

import time

from mesh_gossip._abi import ffi
from mesh_gossip._read import members_of

COUNT = 1_000
ROUNDS = 20

records = ffi.new("mesh_gossip_member[]", COUNT)
kept = [
    ffi.new("uint8_t[]", word)
    for word in (b"worker", b"prod", b"eu-1", b"1.0.0", b"10.0.0.1:17421", b"node-0001")
]
for record in records:
    for name, word in zip(
        ("role", "cluster_id", "region", "mesh_version", "endpoint", "node_id"), kept, strict=True
    ):
        held = getattr(record, name)
        held.data, held.len = word, len(word)
times = []
for _ in range(ROUNDS):
    begun = time.perf_counter()
    members_of(records, COUNT, ffi.sizeof("mesh_gossip_member"))
    times.append(time.perf_counter() - begun)
print(f"{COUNT} records to objects: {min(times) * 1000:.2f} ms at best of {ROUNDS}")
