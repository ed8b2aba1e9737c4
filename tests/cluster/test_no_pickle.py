"""No pickle: neither on a node's disk nor on the wire between nodes is there anything that `pickle` would load.

Looked for is what pysyncobj would write: pickles of protocol 2 to 5, whole or compressed. The control shows that the
search finds such, and pysyncobj's own framing, where they are.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tallystick import Mutation, ops
from tests.cluster.harness import Cluster

_BEGINNINGS: Final = re.compile(rb"\x80[\x02-\x05]|[\x78\x58][\x01\x5e\x9c\xda]")
_LENGTH_MIN: Final = 8
"""Shorter ones happen by chance: four bytes can be a pickle of None."""


def _pickles(data: bytes) -> Iterator[bytes]:
    """Whatever in the data is a whole pickle, plain or zlib-compressed."""
    for found in _BEGINNINGS.finditer(data):
        part = data[found.start() : found.start() + (1 << 20)]
        if part[0] != 0x80:
            part = _inflate(part)
        length = _pickle_length(part)
        if length >= _LENGTH_MIN:
            yield part[:length]


def _inflate(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, 1 << 20)
    except zlib.error:
        return b""


def _pickle_length(data: bytes) -> int:
    """Of the pickle that the data begin with; 0 if they do not. It is read, not loaded."""
    if not re.match(rb"\x80[\x02-\x05]", data):
        return 0
    stream = io.BytesIO(data)
    try:
        for _ in pickletools.genops(stream):
            pass
    except (ValueError, IndexError, UnicodeError):
        return 0
    return stream.tell()


async def test_no_pickle_on_disk_or_between_nodes(tmp_path: Path) -> None:
    async with Cluster(tmp_path, proxied=True, record=True) as cluster:
        async with cluster.connect() as client:
            agent = client.agent("x")
            for n in range(50):
                await agent.append(ops.set("/n", n), ops.append("/done", f"marker-{n}"))
            await agent.append_many([Mutation.event("note", {"text": "marker" * 100})] * 100)
            await agent.checkpoint("c", metadata={"marker": 1})
            await client.agent("gone").append(ops.set("/n", 1))
            await client.agent("gone").delete()
            leader = await cluster.wait_for_leader()
            cluster.kill(leader)  # votes too
            await agent.append(ops.set("/n", "last"))
            await cluster.start(leader)
        await cluster.wait_equal()
        on_the_wire = cluster.recorded()
    on_disk = b"".join(
        path.read_bytes() for node_id in cluster.node_ids for path in (tmp_path / node_id).rglob("*") if path.is_file()
    )
    for data in (on_the_wire, on_disk):
        assert data.count(b"marker-49") >= 2  # what we look at is what was written
        assert list(_pickles(data)) == []


def test_the_search_finds_pickles() -> None:
    noise = bytes(range(256)) * 4
    message = {"type": "append_entries", "term": 1, "entries": [(b"command", 1, 1)]}
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        dumped = pickle.dumps(message, protocol)
        for framed in (dumped, zlib.compress(dumped, 3), zlib.compress(dumped)):
            assert dumped in list(_pickles(noise + framed + noise)), protocol
