"""Watches: each event once and in order, over nodes that break streams anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from random import Random
from typing import TYPE_CHECKING

import pytest

import tallystick
from tallystick import ops
from tallystick.errors import Reason
from tallystick.v1 import common_pb2, state_pb2
from tests.unit.client_kit import DEADLINE_S, endpoints, nodes, refuses

if TYPE_CHECKING:
    from tests.unit.client_kit import Context

BEGINNING = tallystick.Revision(1, 0)


@pytest.mark.parametrize("seed", range(8))
async def test_no_gap_and_no_repeat_wherever_streams_break(seed: int) -> None:
    rng = Random(seed)
    async with nodes(3) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        for node in started:
            node.stream_faults.extend(rng.randrange(4) for _ in range(5))
        agent = client.agent("migrator")

        async def write() -> None:
            for number in range(40):
                await agent.append(ops.set("/n", number), cause=f"c{number}")

        writing = asyncio.create_task(write())
        seen: list[tallystick.Event] = []
        async with asyncio.timeout(DEADLINE_S), aclosing(client.watch(agent="migrator", after=BEGINNING)) as events:
            async for event in events:
                seen.append(event)
                if len(seen) == 40:
                    break
        await writing
    assert [event.revision.position for event in seen] == list(range(1, 41))
    assert all(isinstance(event, tallystick.MutationEvent) for event in seen)


async def test_a_watch_resumes_after_its_cursor_elsewhere() -> None:
    async with nodes(2) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        agent = client.agent("migrator")
        await agent.append(ops.set("/n", 1))
        async with asyncio.timeout(DEADLINE_S), aclosing(client.watch(after=BEGINNING)) as events:
            assert (await anext(events)).revision.position == 1
            serving = next(node for node in started if node.waiting)
            other = next(node for node in started if node is not serving)
            await serving.stop()
            await agent.append(ops.set("/n", 2))
            assert (await anext(events)).revision.position == 2
            assert other.waiting == 1
            watches = [item for item in other.requests if isinstance(item, state_pb2.WatchRequest)]
            assert watches[0].after.position == 1


async def test_a_node_that_repeats_is_not_believed() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        agent = client.agent("migrator")
        await agent.append(ops.set("/n", 1))
        await agent.append(ops.set("/n", 2))
        started[0].history.events.insert(2, started[0].history.events[0])  # again, after the second
        started[0].history.events.append(started[0].history.events[1])
        await agent.append(ops.set("/n", 3))
        async with asyncio.timeout(DEADLINE_S), aclosing(client.watch(after=BEGINNING)) as events:
            positions = [(await anext(events)).revision.position for _ in range(3)]
    assert positions == [1, 2, 5]


async def test_every_kind_of_event_is_typed_and_seen() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        agent = client.agent("migrator")
        await agent.append(ops.set("/n", 1), cause="c")
        await agent.checkpoint("batch-1", metadata={"step": 1})
        await agent.delete()
        async with (
            tallystick.connect(endpoints(started), namespace="demo") as other,
            asyncio.timeout(DEADLINE_S),
            aclosing(other.watch(after=BEGINNING)) as events,
        ):
            mutation, checkpoint, deleted = [await anext(events) for _ in range(3)]
            assert other.session == (tallystick.Revision(1, 3),)
    assert isinstance(mutation, tallystick.MutationEvent)
    assert (mutation.agent, mutation.mutation.seq, mutation.mutation.cause) == ("migrator", 1, "c")
    assert isinstance(checkpoint, tallystick.CheckpointEvent)
    assert checkpoint.checkpoint.metadata == {"step": 1}
    assert isinstance(deleted, tallystick.DeletedEvent)
    assert (deleted.last_seq, deleted.revision) == (1, tallystick.Revision(1, 3))


async def test_from_now_on_has_no_gap_when_the_first_stream_breaks() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        agent = client.agent("migrator")
        await agent.append(ops.set("/n", 1))

        async def appends_and_breaks(context: Context, apply: Callable[[], object]) -> None:
            agent_ref = common_pb2.AgentRef(namespace="demo", agent="migrator")
            request = state_pb2.AppendRequest(agent=agent_ref, mutations=[state_pb2.Mutation()], idempotency_key="x")
            started[0].history.append(request)
            await refuses(Reason.STOPPING)(context, apply)

        started[0].faults.append(lambda _context, _apply: asyncio.sleep(0))  # the present revision is asked for
        started[0].faults.append(appends_and_breaks)
        async with asyncio.timeout(DEADLINE_S), aclosing(client.watch()) as events:
            assert (await anext(events)).revision.position == 2


async def test_a_compacted_cursor_ends_the_watch() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        started[0].faults.append(refuses(Reason.COMPACTED, {"oldest": "1.7"}))
        with pytest.raises(tallystick.Compacted) as caught:
            await anext(client.watch(after=BEGINNING))
    assert caught.value.metadata == {"oldest": "1.7"}


async def test_the_filter_travels() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        await client.agent("migrator").append(ops.set("/n", 1))
        for agent, prefix in (("migrator", None), (None, "mig"), (None, None)):
            async with aclosing(client.watch(agent=agent, prefix=prefix, after=BEGINNING)) as events:
                await anext(events)
        asked = [item for item in started[0].requests if isinstance(item, state_pb2.WatchRequest)]
        with pytest.raises(tallystick.Invalid):
            client.watch(agent="a", prefix="b")
    assert [item.WhichOneof("filter") for item in asked] == ["agent", "agent_prefix", None]
    assert {item.namespace for item in asked} == {"demo"}


async def test_a_watch_that_is_left_is_cancelled_there_too() -> None:
    async with nodes(1) as started, tallystick.connect(endpoints(started), namespace="demo") as client:
        await client.agent("migrator").append(ops.set("/n", 1))
        async with aclosing(client.watch(after=BEGINNING)) as events:
            await anext(events)
            assert started[0].waiting == 1
        await started[0].until(lambda: started[0].waiting == 0)


async def test_a_watch_without_a_cluster_ends_when_it_was_told_to() -> None:
    async with tallystick.connect("127.0.0.1:1", namespace="demo") as client:
        with pytest.raises(tallystick.Unavailable):
            await anext(client.watch(after=BEGINNING, timeout_s=0.2))


async def test_closing_the_client_ends_its_watches() -> None:
    async with nodes(1) as started:
        client = tallystick.connect(endpoints(started), namespace="demo")
        waiting = asyncio.create_task(anext(client.watch(after=BEGINNING)))
        await started[0].until(lambda: started[0].waiting == 1)
        await client.close()
        with pytest.raises(tallystick.Unavailable):
            await asyncio.wait_for(waiting, DEADLINE_S)
