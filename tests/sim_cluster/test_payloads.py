"""Payloads by the node's calls, in simulated clusters: put, referred to, got in parts, and collected once nothing names
them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tallystick import Client, Conflict, Consistency, Invalid, NotFound, Reason, ops
from tallystick._json import JSON
from tallystick.testing import SimCluster
from tallystick_node.core import limits
from tallystick_node.sim.payload_calls import PayloadCalls

GRACE_S = 8.0
GONE_S = GRACE_S + GRACE_S / 2
"""What nothing names is gone by then: the keeper looks four times within the grace time."""
LOCAL, LINEARIZABLE = Consistency.LOCAL, Consistency.LINEARIZABLE
WORDS = (b"one ", b"two ", b"three")


def run(scenario: Callable[[SimCluster, Client], Awaitable[None]], *, nodes: int = 3, seed: int = 1) -> None:
    async def with_client(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            await scenario(cluster, client)

    with SimCluster(nodes=nodes, seed=seed, payload_grace_s=GRACE_S) as cluster:
        cluster.run(with_client)


def ref(payload_id: bytes) -> JSON:
    return {"$payload": payload_id.hex(), "size_bytes": 13}


def test_put_in_any_order_and_repeated_it_is_one() -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        calls = PayloadCalls(client)
        with pytest.raises(Conflict) as refused:
            await calls.put_payload(WORDS)
        assert (refused.value.reason, refused.value.metadata["missing"]) == (Reason.CHUNK_MISSING, "3")
        assert await calls.missing([*WORDS, *WORDS]) == list(WORDS)
        assert await calls.put_chunks(WORDS[:2]) == 2
        assert await calls.put_chunks(WORDS) == 1
        assert await calls.missing(WORDS) == []
        first = await calls.put_payload(WORDS)
        again = await calls.put_payload(WORDS)
        assert (first.replayed, again.replayed) == (False, True)
        assert (first.payload.id, first.payload.size_bytes, first.payload.chunks) == (again.payload.id, 13, 3)
        assert first.header.node_id
        await cluster.wait_equal()
        for name in cluster.node_ids:
            async with cluster.connect(client.namespace, nodes=[name]) as local:
                listed, stored_bytes = await PayloadCalls(local).list_all(LOCAL)
                assert (listed, stored_bytes) == ([again.payload], 13 + 3 * 36 + 4 * limits.PAYLOAD_OVERHEAD_BYTES)

    run(scenario)


def test_it_is_got_from_any_byte_on_in_parts() -> None:
    async def scenario(_: SimCluster, client: Client) -> None:
        calls = PayloadCalls(client)
        whole = b"".join(WORDS)
        payload_id = await calls.put(WORDS)
        assert [part.data for part in await calls.get(payload_id, LINEARIZABLE)] == list(WORDS)
        for offset in range(len(whole) + 1):
            for length in (0, 1, 5, 99):
                parts = await calls.get(payload_id, LINEARIZABLE, offset=offset, length=length)
                assert b"".join(part.data for part in parts) == whole[offset : offset + length]
                assert [part.header.node_id != "" for part in parts] == [True] + [False] * (len(parts) - 1)
                assert parts[0].offset == offset
        empty = await calls.put([])
        assert [part.data for part in await calls.get(empty, LINEARIZABLE)] == [b""]
        with pytest.raises(Invalid):
            await calls.get(payload_id, LINEARIZABLE, offset=len(whole) + 1)
        with pytest.raises(NotFound) as refused:
            await calls.get(bytes(32), LINEARIZABLE)
        assert refused.value.reason is Reason.PAYLOAD_NOT_FOUND
        with pytest.raises(Invalid):
            await calls.describe(b"short", LINEARIZABLE)

    run(scenario, nodes=1)


def test_what_an_agent_names_must_be_there() -> None:
    async def scenario(_: SimCluster, client: Client) -> None:
        calls, agent = PayloadCalls(client), client.agent("a")
        nothing = ref(bytes(32))

        async def step() -> JSON:
            return nothing

        for attempt in (
            agent.append(ops.set("/n", 1), ops.set("/doc", [nothing])),
            agent.record("seen", {"doc": nothing}),
            agent.step("s", step),
        ):
            with pytest.raises(NotFound) as refused:
                await attempt
            assert refused.value.reason is Reason.PAYLOAD_NOT_FOUND
        payload_id = await calls.put(WORDS)
        await agent.append(ops.set("/doc", ref(payload_id)))
        await agent.record("seen", {"doc": ref(payload_id)})
        assert await agent.step("t", lambda: ref(payload_id)) == ref(payload_id)
        with pytest.raises(NotFound):
            await agent.checkpoint("c", metadata={"doc": nothing})
        await agent.checkpoint("c", metadata={"doc": ref(payload_id)})
        assert (await calls.describe(payload_id, LINEARIZABLE)).payload.references == 3

    run(scenario, nodes=1)


def test_what_nothing_names_is_collected_and_nothing_else() -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        calls, agent = PayloadCalls(client), client.agent("a")
        kept, lost = await calls.put(WORDS), await calls.put(WORDS[:2])
        await calls.put_chunks([b"of no payload"])
        await agent.append(ops.set("/doc", ref(kept)))
        await agent.append(ops.delete("/doc"))  # its past names it
        await asyncio.sleep(GRACE_S / 2)
        touched = await calls.put([b"of no payload"])
        await asyncio.sleep(GONE_S - GRACE_S / 2)
        listed, _ = await calls.list_all(LINEARIZABLE)
        assert {each.id for each in listed} == {kept, touched}
        with pytest.raises(NotFound):
            await agent.append(ops.set("/other", ref(lost)))
        leader = await cluster.wait_for_leader()
        cluster.kill(leader)
        await agent.delete()
        await asyncio.sleep(GONE_S)
        assert await calls.list_all(LINEARIZABLE) == ([], 0)
        assert await calls.missing(WORDS) == list(WORDS)

    run(scenario)
