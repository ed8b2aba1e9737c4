"""Reads on every node: one's own writes, through any node, at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tallystick import Consistency, ops
from tests.cluster.harness import Cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("reads")
    async with Cluster(folder, contexts=False) as running:
        yield running


async def test_a_session_read_on_any_node_sees_what_was_written_through_another(cluster: Cluster) -> None:
    leader = await cluster.wait_for_leader()
    async with cluster.connect(nodes=[leader]) as writer:
        for reader_id in cluster.others(leader):
            async with cluster.connect(nodes=[reader_id], consistency=Consistency.SESSION) as reader:
                for n in range(50):
                    appended = await writer.agent("seen").append(ops.set("/n", n))
                    reader.join_session(appended.revision)
                    assert (await reader.agent("seen").read()).state == {"n": n}


async def test_a_write_through_a_follower_is_there_at_once_even_for_local_reads(cluster: Cluster) -> None:
    leader = await cluster.wait_for_leader()
    for follower in cluster.others(leader):
        for n in range(20):
            # A new client each time: one that has learned the leader would write there.
            async with cluster.connect(nodes=[follower]) as client:
                agent = client.agent(f"through-{follower}")
                appended = await agent.append(ops.set("/n", n))
                status = await client.status(cluster.endpoint(follower))
                assert status.revision.position >= appended.revision.position
            async with cluster.connect(nodes=[follower], consistency=Consistency.LOCAL) as client:
                snap = await client.agent(f"through-{follower}").read()
                assert snap.state == {"n": n}
                assert snap.age_ms < 5000


async def test_a_linearizable_read_on_any_node_sees_what_was_acknowledged_elsewhere(cluster: Cluster) -> None:
    async with cluster.connect() as writer:
        for n in range(15):
            await writer.agent("linear").append(ops.set("/n", n))
            for node_id in cluster.node_ids:
                # A new client each time: one that has learned the leader would read there.
                async with cluster.connect(nodes=[node_id]) as reader:
                    assert (await reader.agent("linear").read()).state == {"n": n}


async def test_a_rehydrated_agent_comes_with_its_checkpoint_and_tail(cluster: Cluster) -> None:
    async with cluster.connect() as client:
        agent = client.agent("tail")
        await agent.append(ops.set("/step", 1))
        await agent.checkpoint("one", step=1, metadata={"by": "test"})
        await agent.append(ops.set("/step", 2))
        snap = await agent.rehydrate()
        assert snap.state == {"step": 2}
        assert snap.checkpoint is not None and (snap.checkpoint.name, snap.checkpoint.seq) == ("one", 1)
        assert [mutation.seq for mutation in snap.tail] == [2]
        assert (await agent.read(checkpoint="one")).state == {"step": 1}
