"""A cluster that has compacted its journals, made once and copied for each test; what is looked for in data folders.

Node c was stopped early, and a and b have dropped entries that it lacks: it needs a copy of the state. The folders were
left by a clean stop.

    agent "x"     set /n to 0, 1, 2, ... `LAST`; c has those up to `SEEN`
    agent "bulk"  notes of `NOTE_BYTES`, which c lacks
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tallystick import Client, Consistency, Mutation, NodeStatus, ops
from tests.cluster.harness import Cluster
from tests.cluster.harness_node import NodeProcess
from tests.cluster.harness_wait import eventually

SMALL_JOURNAL: Final = ("--journal-segment-bytes=1048576", "--journal-kept-bytes=1048576")
"""The least that is kept: 1000 entries, and the segments that these are in."""
SEEN: Final = 20
LAST: Final = 1120
NOTE_BYTES: Final = 900_000
CATCH_UP_S: Final = 60.0
"""Within which a node has fetched a copy and has what the others have; the machine may be busy."""
_COMPACTED_S: Final = 60.0
_LOOK_S: Final = 0.001
_NOTES_AT_ONCE: Final = 2
_NODES: Final = ("a", "b", "c")


async def make_compacted(folder: Path) -> None:
    """Makes the folders that `copied` copies."""
    async with Cluster(folder, contexts=False, flags=SMALL_JOURNAL) as cluster, cluster.connect() as client:
        for n in range(SEEN + 1):
            await client.agent("x").append(ops.set("/n", n))
        away = await cluster.wait_equal()
        await cluster.stop("c")
        await grow(client, 8)
        for n in range(SEEN + 1, LAST + 1):
            await client.agent("x").append(ops.set("/n", n))

        async def compacted() -> bool:
            return all(status.first_index > away.last_index + 1 for status in await cluster.statuses(("a", "b")))

        await eventually(compacted, within_s=_COMPACTED_S, what="both nodes have dropped what c lacks")
        for node_id in ("a", "b"):
            assert await cluster.stop(node_id) == 0


def copied(source: Path, folder: Path, data_folders: Mapping[str, Path] | None = None) -> None:
    """Puts what `make_compacted` made where a `Cluster(folder)` looks for it."""
    for node_id in _NODES:
        shutil.copytree(source / node_id, (data_folders or {}).get(node_id, folder / node_id))


async def grow(client: Client, notes: int) -> None:
    """Appends large notes, two at once."""
    text = "x" * NOTE_BYTES
    for _ in range(notes // _NOTES_AT_ONCE):
        await client.agent("bulk").append_many([Mutation.event("note", {"text": text})] * _NOTES_AT_ONCE)


def says(node: NodeProcess, event: str) -> list[dict[str, object]]:
    """The lines of this event in a node's log, over all its runs."""
    lines = (line for line in node.log_text().splitlines() if f'"event": "{event}"' in line)
    return [json.loads(line) for line in lines]


async def says_again(node: NodeProcess, event: str, before: int = 0) -> dict[str, object]:
    """Waits until there are more lines of this event than `before`; the newest."""

    async def look() -> bool:
        return len(says(node, event)) > before

    await eventually(look, within_s=CATCH_UP_S, what=f"node {node.node_id} says {event}")
    return says(node, event)[-1]


async def same_as_all(cluster: Cluster, node_id: str) -> NodeStatus:
    """The node has what all have, and answers for itself: a session read and a local one."""
    status = await cluster.wait_equal(within_s=CATCH_UP_S)
    async with cluster.connect() as client, cluster.connect(nodes=[node_id]) as there:
        await client.agent("probe").append(ops.set("/by", node_id))
        expected = await client.agent("x").read()
        there.join_session(*client.session)
        assert (await there.agent("probe").read(consistency=Consistency.SESSION)).state == {"by": node_id}
        for consistency in Consistency:
            found = await there.agent("x").read(consistency=consistency)
            assert (found.state, found.seq) == (expected.state, expected.seq)
        logged = [m.hash async for m in there.agent("x").log(consistency=Consistency.LOCAL)]
        assert logged == [m.hash async for m in client.agent("x").log()]
    return status


async def at_once(look: Callable[[], bool], do: Callable[[], object], *, within_s: float) -> bool:
    """Does something as soon as `look` says so, and at the end of the time; whether it said so."""

    async def until() -> None:
        while not look():  # noqa: ASYNC110 - it looks at files
            await asyncio.sleep(_LOOK_S)

    try:
        async with asyncio.timeout(within_s):
            await until()
    except TimeoutError:
        return False
    finally:
        do()
    return True


def lose_state(folder: Path) -> None:
    """As if the state had been put aside: the node needs a copy from a peer. It must not run."""
    for path in folder.glob("state.db*"):
        path.unlink()


def flip(path: Path, needle: bytes, *, at: int = 0) -> None:
    """Changes one bit in each place of a file where these bytes stand."""
    content = path.read_bytes()
    place = content.find(needle)
    assert place >= 0, f"{needle!r} is not in {path}"
    with path.open("r+b") as file:
        while place >= 0:
            file.seek(place + at)
            file.write(bytes((content[place + at] ^ 0x20,)))
            place = content.find(needle, place + len(needle))
