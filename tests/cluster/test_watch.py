"""Watches over real nodes: each event once and in order, whatever happens to the node that sends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from tallystick import Client, Compacted, Event, Mutation, MutationEvent, Revision, ops
from tests.cluster.harness import Cluster
from tests.cluster.harness_load import progress, writing
from tests.cluster.harness_wait import eventually

Seen = tuple[str, int, int]
"""Agent, seq and position of a mutation."""


async def _collect(events: AsyncGenerator[Event, None], seen: list[Seen]) -> None:
    async with aclosing(events):
        async for event in events:
            assert isinstance(event, MutationEvent)
            seen.append((event.agent, event.mutation.seq, event.revision.position))


@asynccontextmanager
async def _watching(*watches: AsyncGenerator[Event, None]) -> AsyncGenerator[list[list[Seen]], None]:
    """Collects what each watch yields while the body runs."""
    seen: list[list[Seen]] = [[] for _ in watches]
    tasks = [asyncio.create_task(_collect(watch, mine)) for watch, mine in zip(watches, seen, strict=True)]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


async def _logged(client: Client, *agents: str) -> list[Seen]:
    """The same events as the logs tell them."""
    found = [
        (agent, mutation.seq, mutation.revision.position)
        for agent in agents
        async for mutation in client.agent(agent).log()
    ]
    return sorted(found, key=lambda event: event[2])


async def test_every_event_once_and_in_order_while_nodes_are_killed(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect() as client, cluster.connect() as watcher:
        start = Revision(1, 0)
        watches = (
            watcher.watch(after=start),
            watcher.watch(agent="writer-0", after=start),
            watcher.watch(prefix="writer-", after=start),
        )
        async with _watching(*watches) as seen:
            async with writing([client, client, client]) as writers:
                for node_id in cluster.node_ids:
                    await progress(writers)
                    cluster.kill(node_id)
                    await progress(writers)
                    await cluster.start(node_id)
                    await cluster.wait_for_leader()
            logged = await _logged(client, *(writer.agent for writer in writers))
            mine = await _logged(client, "writer-0")

            async def all_seen() -> bool:
                return [len(each) for each in seen] == [len(logged), len(mine), len(logged)]

            await eventually(all_seen, within_s=20, what="all events are seen")
        assert seen == [logged, mine, logged]


async def test_a_cursor_that_is_too_old_is_told_so_and_a_new_one_goes_on(tmp_path: Path) -> None:
    async with (
        Cluster(tmp_path, contexts=False, flags=["--watch-history-events=100"]) as cluster,
        cluster.connect() as client,
    ):
        agent = client.agent("x")
        await agent.append_many([Mutation.of(ops.set("/n", n)) for n in range(150)])
        with pytest.raises(Compacted) as refused:
            async with aclosing(client.watch(agent="x", after=Revision(1, 0))) as events:
                await anext(events)
        oldest = int(refused.value.metadata["oldest"])
        assert oldest == 50
        async with aclosing(client.watch(agent="x", after=Revision(1, oldest))) as events:
            assert [(await anext(events)).revision.position for _ in range(100)] == list(range(51, 151))
            snap = await agent.rehydrate()
            await agent.append(ops.set("/n", "next"))
            assert (await anext(events)).revision.position == snap.revision.position + 1


async def test_a_slow_reader_misses_nothing_and_holds_nobody_up(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect() as client, cluster.connect() as slow:
        agent = client.agent("x")
        total = 0
        async with aclosing(slow.watch(agent="x", after=Revision(1, 0))) as events:
            text = "x" * 20_000
            for _ in range(20):  # 20 MB: more than flow control and the ring hold
                await agent.append_many([Mutation.event("note", {"text": text}) for _ in range(50)])
                total += 50
                assert (await anext(events)).revision.position <= total
            read = 20
            while read < total:
                event = await anext(events)
                read += 1
                assert event.revision.position == read
            await agent.record("note", "last")
            assert (await anext(events)).revision.position == total + 1
