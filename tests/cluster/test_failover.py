"""Leaders that die, freeze, or are cut off: the majority goes on, nobody is told a lie, all are equal afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from tallystick import Consistency, Unavailable, Undecided, ops
from tests.cluster.harness import Cluster
from tests.cluster.harness_load import Writer, progress, writing
from tests.cluster.harness_wait import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAILOVER_S: Final = 10.0
"""Within which the majority must take writes again; elections start after a second at most, the machine may be busy."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("failover"), contexts=False, proxied=True) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(running: Cluster) -> Cluster:
    return await running.begin()


async def _settle(cluster: Cluster, writers: list[Writer]) -> None:
    """All links and nodes are well again: everyone has the same, and no effect is lost or doubled."""
    await cluster.wait_for_leader()
    await cluster.wait_equal()
    async with cluster.connect() as reader:
        for writer in writers:
            await writer.check(reader)


async def test_the_next_acknowledgement_after_the_leader_was_killed(cluster: Cluster) -> None:
    async with cluster.connect() as client:
        async with writing([client, client]) as writers:
            for _ in range(3):
                await progress(writers)
                leader = await cluster.wait_for_leader()
                cluster.kill(leader)
                await progress(writers, acks=1, within_s=FAILOVER_S)
                await cluster.start(leader)
                await cluster.wait_for_leader()
        await _settle(cluster, writers)
        assert not any(writer.undecided for writer in writers)  # the client asked again, with the same key


async def test_a_frozen_leader_is_replaced_and_serves_nothing_stale_when_it_thaws(cluster: Cluster) -> None:
    async with cluster.connect(timeout_s=30) as client:
        frozen = await cluster.wait_for_leader()
        await client.agent("x").append(ops.set("/n", 0))
        async with cluster.connect(nodes=[frozen]) as reader:
            assert (await reader.agent("x").read()).state == {"n": 0}
            cluster.pause(frozen)
            await cluster.wait_for_leader(among=cluster.others(frozen))
            await client.agent("x").append(ops.set("/n", 1))
            stale = asyncio.create_task(reader.agent("x").read())  # waits in the frozen node's socket
            await asyncio.wait((stale,), timeout=0.1)
            cluster.resume(frozen)
            assert (await stale).state == {"n": 1}
        await _settle(cluster, [])
        status = await cluster.status(frozen)
        assert status is not None and status.leader_id in cluster.others(frozen)


@pytest.mark.parametrize("lonely_is", ["cut off", "heard by nobody", "deaf"])
async def test_a_leader_without_its_majority_refuses_while_the_others_go_on(cluster: Cluster, lonely_is: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        lonely = await cluster.wait_for_leader()
        rest = cluster.others(lonely)
        free = await stack.enter_async_context(cluster.connect(nodes=rest, timeout_s=30))
        async with writing([free]) as writers:
            await progress(writers)
            async with cluster.connect(nodes=[lonely]) as client:
                seen = await client.agent("x").append(ops.set("/n", 0))
            for other in rest:
                if lonely_is != "deaf":
                    cluster.cut(lonely, other)
                if lonely_is != "heard by nobody":
                    cluster.cut(other, lonely)
            await cluster.wait_for_leader(among=rest, within_s=FAILOVER_S)
            await progress(writers, within_s=FAILOVER_S)
            await _check_minority(cluster, lonely, seen.revision.position)
        cluster.heal()
        await _settle(cluster, writers)
        assert not any(writer.undecided for writer in writers)


async def _check_minority(cluster: Cluster, lonely: str, position: int) -> None:
    """Writes and linearizable reads are not answered there; session and local reads are."""
    async with cluster.connect(nodes=[lonely], timeout_s=1.5) as client:
        agent = client.agent("x")
        with pytest.raises((Unavailable, Undecided)):
            await agent.append(ops.set("/n", "lost?"), idempotency_key="from-the-minority")
    async with cluster.connect(nodes=[lonely], timeout_s=1.5) as client:
        with pytest.raises(Unavailable):
            await client.agent("x").read()
        assert (await client.agent("x").read(consistency=Consistency.LOCAL)).state == {"n": 0}
        session = await client.agent("x").read(consistency=Consistency.SESSION)
        assert session.state == {"n": 0} and session.revision.position >= position
        status = await cluster.status(lonely)
        assert status is not None and status.leader_id != status.node_id, "it still believes that it leads"


async def test_a_follower_that_misses_its_leader_does_not_depose_the_leader(cluster: Cluster) -> None:
    async with cluster.connect() as client:
        leader = await cluster.wait_for_leader()
        lost = cluster.others(leader)[0]
        async with writing([client]) as writers:
            before = await cluster.status(leader)
            cluster.cut(leader, lost)  # hears no heartbeat, but can ask for votes

            async def has_missed_the_leader() -> bool:
                status = await cluster.status(lost)
                return status is not None and status.leader_id != leader

            await eventually(has_missed_the_leader, within_s=FAILOVER_S, what="the follower misses its leader")
            await progress(writers, acks=50)
            after = await cluster.status(leader)
        cluster.heal()
        await _settle(cluster, writers)
        assert before is not None and after is not None
        assert (after.leader_id, after.term) == (leader, before.term)


async def test_increments_have_one_effect_through_cut_client_links(cluster: Cluster) -> None:
    # The answers are what gets lost here: the write happens, the client does not hear of it and asks again.
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(cluster.connect(timeout_s=30)) for _ in range(3)]
        async with writing(clients) as writers:
            for _ in range(3):
                for node_id in cluster.node_ids:
                    link = cluster.client_link(node_id)
                    await progress(writers, acks=3)
                    await link.reset()
                    await progress(writers, acks=3)
                    link.heal()
        await _settle(cluster, writers)
        assert not any(writer.undecided for writer in writers)
