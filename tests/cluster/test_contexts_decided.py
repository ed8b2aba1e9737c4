"""What is decided of contexts, over real nodes: created once, deleted for ever, writer ids nobody had before."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from tallystick import (
    AlreadyExists,
    Client,
    Consistency,
    ContextChange,
    ContextEvent,
    Invalid,
    NotFound,
    Reason,
    Revision,
    ops,
)
from tallystick._backoff import Retry
from tallystick._methods import allocate_writers_method
from tallystick.v1 import context_pb2
from tests.cluster.harness import Cluster

DEADLINE_S = 40.0
GUID = bytes(range(16))


async def _allocate(client: Client, actor: str, count: int) -> range:
    calls = client._calls
    request = context_pb2.AllocateWritersRequest(namespace=client.namespace, actor=actor, count=count)
    retry: Retry = calls.retry(None)
    answer = await calls.change(allocate_writers_method, request, retry)
    return range(answer.first, answer.first + answer.count)


async def _events(client: Client, count: int, *, after: Revision) -> list[tuple[str, ContextChange]]:
    seen = []
    async with asyncio.timeout(DEADLINE_S), aclosing(client.watch(after=after)) as events:
        async for event in events:
            if isinstance(event, ContextEvent):
                seen.append((event.context, event.change))
                if len(seen) == count:
                    break
    return seen


async def test_contexts_come_and_go(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster, cluster.connect() as client, cluster.connect() as other:
        made = await client.create_context("plan", schema={"roots": {"tasks": {"type": "map"}}}, guid=GUID)
        again = await other.create_context("plan", schema={"roots": {"tasks": {"type": "map"}}}, guid=GUID)
        assert made == again
        assert (made.guid, made.epoch, made.is_sealed) == (GUID, 1, False)
        with pytest.raises(AlreadyExists) as taken:
            await other.create_context("plan")
        assert taken.value.reason is Reason.CONTEXT_EXISTS
        assert await other.create_context("plan", exist_ok=True) == made
        await client.create_context("notes")
        await client.agent("plan").append(ops.set("/n", 1))
        listed = [info.name async for info in client.contexts(consistency=Consistency.SESSION)]
        assert listed == ["notes", "plan"]
        assert [info async for info in client.contexts(prefix="p")] == [made]
        assert await client.describe_context("plan", consistency=Consistency.SESSION) == made

        gone = await client.delete_context("plan")
        assert await client.delete_context("plan", guid=GUID) == gone
        with pytest.raises(NotFound) as missing:
            await client.describe_context("plan")
        assert missing.value.reason is Reason.CONTEXT_NOT_FOUND
        with pytest.raises(NotFound):
            await client.create_context("plan", schema={"roots": {"tasks": {"type": "map"}}}, guid=GUID)
        second = await client.create_context("plan")
        assert second.guid != GUID
        with pytest.raises(NotFound):
            await client.delete_context("plan", guid=bytes(16))
        for seed, reason in ((b"\x00\x00", Reason.MALFORMED_UPDATE), (b"x", Reason.MALFORMED_UPDATE)):
            with pytest.raises(Invalid) as refused:
                await client.create_context("seeded", seed=seed)
            assert refused.value.reason is reason

        assert await _events(other, 4, after=Revision(1, 0)) == [
            ("plan", ContextChange.CREATED),
            ("notes", ContextChange.CREATED),
            ("plan", ContextChange.DELETED),
            ("plan", ContextChange.CREATED),
        ]
        async with asyncio.timeout(DEADLINE_S), aclosing(other.watch(prefix="p", after=Revision(1, 0))) as events:
            assert not isinstance(await anext(events), ContextEvent)

        blocks = await asyncio.gather(*(_allocate(each, f"a{n}", 7 + n) for n in range(6) for each in (client, other)))
        ids = [writer for block in blocks for writer in block]
        assert len(set(ids)) == len(ids)
        assert min(ids) == 2**32
        assert max(ids) == 2**32 + len(ids) - 1

        for node_id in cluster.node_ids:
            cluster.kill(node_id)
        for node_id in cluster.node_ids:
            await cluster.start(node_id)
        assert await other.describe_context("plan") == second
        assert min(await _allocate(other, "a", 1)) == max(ids) + 1
