"""A log whose past went: payloads that its state, its results and its pinned points still name stay; others go."""

from __future__ import annotations

import pytest

from tallystick import Agent, Client, NotFound, PayloadRef, RetentionPolicy, ops
from tallystick.history import beginning
from tallystick.steps import results
from tallystick.testing import SimCluster

GRACE_S = 8.0
GONE_S = GRACE_S + GRACE_S / 2
LARGE = "x" * (2 * results.INLINE_BYTES)


async def compacted(client: Client, agent: Agent) -> None:
    """All goes but the newest mutations."""
    await client.retention.set(RetentionPolicy(max_mutations=2))
    assert not any([done.failure async for done in client.retention.run()])
    first = await beginning(agent)
    assert first is not None
    assert first.seq > 8


async def is_there(client: Client, ref: PayloadRef) -> bool:
    try:
        await client.payloads.describe(ref)
    except NotFound:
        return False
    return True


@pytest.mark.parametrize("is_pinned", [False, True])
def test_what_is_still_named_stays_and_the_rest_is_collected(is_pinned: bool) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(timeout_s=30.0) as client:
            agent = client.agent("ann")
            old, kept = [await client.payloads.put(content) for content in (b"old", b"kept")]
            await agent.append(ops.set("/report", old), ops.set("/kept", kept))
            if is_pinned:
                await agent.checkpoint("early")
                await agent.pin("early")
            assert await agent.step("s", lambda: LARGE) == LARGE
            await agent.append(ops.set("/report", 1))
            for _ in range(10):
                await agent.append(ops.increment("/n"))
            await compacted(client, agent)
            await cluster.sleep(GONE_S)
            assert [await is_there(client, each) for each in (old, kept)] == [is_pinned, True]
            resumed = client.agent("ann")
            assert await resumed.steps.load() == 1
            assert await resumed.step("s", lambda: "again") == LARGE
            assert (await client.agent("ann").steps.get("s")).result == LARGE
            state = (await agent.read()).state
            assert isinstance(state, dict)
            assert await client.payloads.get(state["kept"]) == b"kept"
            await agent.delete()
            await cluster.sleep(GONE_S)
            assert [info async for info in client.payloads.list()] == []

    with SimCluster(nodes=1, seed=11, retention_every_s=1e6, payload_grace_s=GRACE_S) as cluster:
        cluster.run(scenario)
