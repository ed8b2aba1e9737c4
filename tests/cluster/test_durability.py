"""Nothing acknowledged is ever lost: nodes are killed one by one and all at once."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tallystick import Consistency, Mutation
from tests.cluster.harness import Cluster
from tests.cluster.harness_load import Writer, progress, writing


async def _check_on_every_node(cluster: Cluster, writers: list[Writer]) -> None:
    """The acknowledged writes are there on each node, and the nodes are equal."""
    status = await cluster.wait_equal()
    hashes: dict[str, set[bytes]] = {writer.agent: set() for writer in writers}
    for node_id in cluster.node_ids:
        async with cluster.connect(nodes=[node_id], consistency=Consistency.LOCAL) as reader:
            for writer in writers:
                await writer.check(reader, Consistency.LOCAL)
                chain = [mutation.hash async for mutation in reader.agent(writer.agent).log()]
                hashes[writer.agent].add(b"".join(chain))
            assert (await reader.status(cluster.endpoint(node_id))).state_digest == status.state_digest
    assert all(len(chains) == 1 for chains in hashes.values())


async def test_what_was_acknowledged_survives_kills_of_any_node_and_of_all_at_once(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, contextlib.AsyncExitStack() as clients:
        connected = [await clients.enter_async_context(cluster.connect()) for _ in range(4)]
        async with writing(connected) as writers:
            await progress(writers)
            for victim in (*cluster.node_ids, None, None):
                killed = victim or await cluster.wait_for_leader()
                cluster.kill(killed)
                await progress(writers)
                await cluster.start(killed)
                await cluster.wait_for_leader()
            cluster.kill(*cluster.node_ids)
            await cluster.start(*cluster.node_ids)
            await progress(writers)
            cluster.kill(*cluster.node_ids)  # in the middle of writes
            await cluster.start(*cluster.node_ids)
        await cluster.wait_for_leader()
        await _check_on_every_node(cluster, writers)
        assert all(len(writer.acknowledged) >= 30 for writer in writers)


async def test_a_node_that_was_away_for_long_catches_up(tmp_path: Path) -> None:
    # Small segments: the journal is compacted while the node is away, but not beyond what it lacks.
    async with Cluster(tmp_path, contexts=False, flags=["--journal-segment-bytes=1048576"]) as cluster:
        leader = await cluster.wait_for_leader()
        away = cluster.others(leader)[0]
        cluster.kill(away)
        async with cluster.connect() as client:
            writers = [Writer(client, "away")]
            for number in range(5):
                await writers[0].write(number)
            async with client.agent("bulk").stream() as stream:
                for number in range(100):
                    await stream.append_mutation(Mutation.event("note", {"number": number, "text": "x" * 40_000}))
        await cluster.start(away)
        await _check_on_every_node(cluster, writers)
        cluster.kill(*cluster.node_ids)
        await cluster.start(*cluster.node_ids)
        await cluster.wait_for_leader()
        await _check_on_every_node(cluster, writers)
