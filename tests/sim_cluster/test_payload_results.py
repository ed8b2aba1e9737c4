"""Payloads by the client, on real nodes under virtual time: named in what agents store, and large results of steps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tallystick import (
    JSON,
    Agent,
    Client,
    Happened,
    JSONLike,
    NotFound,
    PayloadProgress,
    PayloadRef,
    Reason,
    StepStatus,
    ops,
)
from tallystick.steps import results
from tallystick.testing import SimCluster

T = TypeVar("T")
LARGE = {"text": "x" * results.INLINE_BYTES}
CONTENT = random.Random(5).randbytes(900_000)


def run(scenario: Callable[[Client, Agent], Awaitable[None]], *, nodes: int = 1) -> None:
    """Runs it with an agent of a fresh cluster."""

    async def with_agent(cluster: SimCluster) -> None:
        async with cluster.connect(actor="me") as client:
            await scenario(client, client.agent("a"))

    with SimCluster(nodes=nodes, seed=6) as cluster:
        cluster.run(with_agent)


async def references(client: Client) -> dict[int, int]:
    """By size of a payload: how many places name it."""
    return {info.size_bytes: info.references async for info in client.payloads.list()}


def test_a_payload_is_named_in_what_an_agent_stores_and_got_by_that(tmp_path: Path) -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        ref = await client.payloads.put(CONTENT)
        await agent.append(ops.set("/report", ref), ops.append("/all", {"of": ref}))
        await agent.record("made", {"what": ref})
        await agent.checkpoint("c", metadata={"report": ref})
        state = (await agent.read()).state
        assert isinstance(state, dict)
        assert PayloadRef.of(state["report"]) == ref
        assert await client.payloads.get(state["report"]) == CONTENT
        await client.payloads.save(state["report"], tmp_path / "report")
        assert (tmp_path / "report").read_bytes() == CONTENT
        info = await client.payloads.describe(ref)
        assert (info.references, info.actor, info.size_bytes) == (
            2,
            "me",
            len(CONTENT),
        )  # a checkpoint's place is its seq
        assert info.chunks > 5
        assert await client.payloads.stored_bytes() >= len(CONTENT)

    run(scenario, nodes=3)


def test_what_was_never_put_cannot_be_named() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        with pytest.raises(NotFound) as caught:
            await agent.append(ops.set("/report", PayloadRef("0" * 64, 1)))
        assert caught.value.reason is Reason.PAYLOAD_NOT_FOUND

    run(scenario)


def test_a_saved_state_that_names_another_payload_refers_to_that() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        for content in (b"one", b"four"):
            ref = await client.payloads.put(content)
            await agent.save({"report": ref, "other": "x" * 500})
        assert [operation.path async for entry in agent.log() for operation in entry.operations][-1] == "/report"
        assert await references(client) == {3: 1, 4: 1}

    run(scenario)


def test_a_large_result_goes_by_reference_and_comes_back_whole() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        calls: list[int] = []

        def effect() -> JSONLike:
            calls.append(1)
            return LARGE

        assert await agent.step("s", effect) == LARGE
        assert await client.agent("a").step("s", effect) == LARGE
        resumed = client.agent("a")
        assert await resumed.steps.load() == 1
        assert await resumed.step("s", effect) == LARGE
        assert calls == [1]
        assert (await agent.steps.get("s")).result == LARGE
        assert (await agent.steps.begin("s")).step.result == LARGE
        (listed,) = [step async for step in agent.steps.list(results=True)]
        assert listed.payload is not None
        assert len(listed.result_json) < 300
        assert len(await client.payloads.get(listed.payload)) > results.INLINE_BYTES
        assert [*(await references(client)).values()] == [1]

    run(scenario)


def test_a_small_result_stands_in_the_log() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        text = "x" * (results.INLINE_BYTES - 2)
        assert await agent.step("s", lambda: text) == text
        (listed,) = [step async for step in agent.steps.list(results=True)]
        assert (listed.payload, listed.result) == (None, text)
        assert await references(client) == {}

    run(scenario)


def test_what_a_probe_found_may_be_large_too() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        await agent.steps.begin("s")
        assert await agent.step("s", lambda: None, on_ambiguous=lambda _: Happened(LARGE)) == LARGE
        assert (await agent.steps.get("s")).status is StepStatus.COMPLETED
        assert await client.agent("a").step("s", lambda: None) == LARGE

    run(scenario)


def test_payloads_that_a_large_result_names_are_kept() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        refs = [await client.payloads.put(content) for content in (b"one", b"four")]
        result: dict[str, JSONLike] = {"files": [*refs, {"deep": refs[0]}], "$payload": "no name", **LARGE}
        assert await agent.step("s", lambda: result) == await client.agent("a").step("s", lambda: None)
        assert (await references(client)).items() >= {3: 1, 4: 1}.items()

    run(scenario)


def test_a_result_that_looks_like_a_stand_in_is_what_it_is() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        ref = await client.payloads.put(b"other")
        alike: JSON = {"$result": {"$payload": ref.id, "size_bytes": 5}, "names": []}
        for name, result in (("a", alike), ("b", {"$result": 1}), ("c", {"$result": {}, "names": 1})):
            assert await agent.step(name, lambda result=result: result) == result
            assert await client.agent("a").step(name, lambda: None) == result
            assert (await agent.steps.get(name)).result == result

    run(scenario)


def test_put_and_got_while_nodes_are_killed() -> None:
    content = random.Random(8).randbytes(6_000_000)

    async def under_way(work: Callable[[Callable[[PayloadProgress], None]], Awaitable[T]]) -> asyncio.Task[T]:
        """Work that has begun."""
        begun = asyncio.Event()

        async def do() -> T:
            return await work(lambda _: begun.set())

        task = asyncio.create_task(do())
        await begun.wait()
        assert not task.done()
        return task

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            putting = await under_way(lambda tell: client.payloads.put(content, progress=tell))
            leader = await cluster.wait_for_leader()
            cluster.kill(leader)
            ref = await putting
            await cluster.start(leader)
            await cluster.wait_equal()
            for left in cluster.node_ids:  # whoever serves it, twice it is killed
                getting = await under_way(lambda tell: client.payloads.get(ref, progress=tell))
                cluster.kill(*cluster.others(left))
                assert await getting == content
                await cluster.start(*cluster.others(left))
                await cluster.wait_equal()

    with SimCluster(nodes=3, seed=9) as cluster:
        cluster.run(scenario)
