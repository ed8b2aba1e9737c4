"""Schemas in simulated clusters: what is decided was checked against them, whoever asks whichever node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from tallystick import Client, Conflict, Invalid, NotFound, Reason, ops
from tallystick._json import JSON
from tallystick.testing import SimCluster

AT_MOST_10: dict[str, JSON] = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 10}}}
DEPLOY: dict[str, JSON] = {"type": "object", "properties": {"to": {"enum": ["prod", "test"]}}, "required": ["to"]}


def run(scenario: Callable[[SimCluster], Awaitable[None]], *, nodes: int = 1) -> None:
    with SimCluster(nodes=nodes, seed=1) as cluster:
        cluster.run(scenario)


async def violation(writing: Awaitable[object]) -> tuple[str, str, str, str]:
    """Subject, version, path and rule of the refusal."""
    with pytest.raises(Invalid) as refused:
        await writing
    assert refused.value.reason is Reason.SCHEMA_VIOLATION
    said = refused.value.metadata
    return said["subject"], said["version"], said["path"], said["rule"]


async def is_allowed(writing: Awaitable[object]) -> bool:
    """Whether it was, and not refused for what its schema says."""
    try:
        await writing
    except Invalid as refused:
        if refused.reason is not Reason.SCHEMA_VIOLATION:
            raise
        return False
    return True


async def move(client: Client, amount: int) -> None:
    """The same to an agent with a schema and to one without."""
    async with client.transaction() as team:
        team.agent("free").append(ops.set("/n", amount))
        team.agent("plan").append(ops.set("/n", amount))


def test_events_are_checked_against_the_version_that_they_name() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            await agent.record("deploy", {"anything": 1})
            await client.schemas.register("event deploy", DEPLOY)
            await client.schemas.register("event deploy", {**DEPLOY, "required": []})
            assert await violation(agent.record("deploy", {"to": "moon"})) == ("event deploy", "2", "/to", "enum")
            assert await violation(agent.record("deploy", {}, schema_version=1)) == (
                "event deploy",
                "1",
                "",
                "required",
            )
            await agent.record("deploy", {})
            await agent.record("another", 1)
            with pytest.raises(NotFound, match="version 3") as unknown:
                await agent.record("deploy", {}, schema_version=3)
            assert unknown.value.reason is Reason.SCHEMA_NOT_FOUND
            assert (await agent.append(ops.set("/n", "free"))).seq == 4

    run(scenario)


def test_states_are_checked_as_they_would_be() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("planner-1")
            await agent.append(ops.set("/n", 9))
            await client.schemas.register("state of planner-", AT_MOST_10)
            assert (await agent.rehydrate()).state_version == 0
            said = await violation(agent.append(ops.increment("/n", 2)))
            assert said == ("state of planner-", "1", "/n", "maximum")
            await agent.append(ops.increment("/n", 1))
            snapshot = await agent.rehydrate()
            assert (snapshot.state, snapshot.state_version, snapshot.seq) == ({"n": 10}, 1, 2)
            assert await violation(client.agent("planner-2").append(ops.set("/n", "x"))) == (*said[:3], "type")
            await client.agent("other").append(ops.set("/n", "x"))

    run(scenario)


def test_a_state_of_a_newer_version_is_not_written_by_an_older_writer() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("planner")
            await client.schemas.register("state of plan", AT_MOST_10)
            await agent.append(ops.set("/n", 1))
            await client.schemas.register("state of plan", {"type": "object", "required": ["m"]}, compatibility="none")
            await agent.append(ops.set("/n", 2))  # 0: the version that it has
            assert await violation(agent.append(ops.set("/n", 3), schema_version=2)) == (
                "state of plan",
                "2",
                "",
                "required",
            )
            await agent.append(ops.set("/m", 1), schema_version=2)
            with pytest.raises(Conflict, match="version 2") as older:
                await agent.append(ops.set("/n", 4), schema_version=1)
            assert older.value.reason is Reason.STATE_VERSION
            assert [(await agent.read(seq=seq)).state_version for seq in (1, 2, 3)] == [1, 1, 2]
            assert [info.state_version async for info in client.agents()] == [2]

    run(scenario)


def test_a_retry_is_answered_as_the_first_time() -> None:
    """Checked anew, it would be refused: the state has gone on, and so has the schema."""

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("planner")
            await client.schemas.register("state of plan", AT_MOST_10)
            await client.schemas.register("event deploy", DEPLOY)
            first = await agent.append(ops.increment("/n", 10), idempotency_key="k")
            event = await agent.record("deploy", {"to": "prod"}, idempotency_key="e")
            await client.schemas.register("event deploy", {"type": "string"}, compatibility="none")
            assert await agent.append(ops.increment("/n", 10), idempotency_key="k") == replace(first, replayed=True)
            again = await agent.record("deploy", {"to": "prod"}, idempotency_key="e")
            assert (again.seq, again.replayed) == (event.seq, True)

    run(scenario)


def test_a_transaction_is_checked_in_all_its_parts() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            await client.schemas.register("state of plan", AT_MOST_10)
            with pytest.raises(Invalid) as refused:
                await move(client, 11)
            assert refused.value.reason is Reason.SCHEMA_VIOLATION
            assert (refused.value.metadata["agent"], refused.value.metadata["part"]) == ("plan", "1")
            await move(client, 10)
            assert (await client.agent("plan").rehydrate()).state_version == 1

    run(scenario)


def test_appends_of_a_stream_are_checked_one_upon_the_other() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            await client.schemas.register("state of plan", AT_MOST_10)
            async with client.agent("plan").stream() as stream:
                asked = [await stream.append(ops.increment("/n", amount)) for amount in (4, 4, 4, 2, 1)]
                fates = [await is_allowed(each) for each in asked]
            assert fates == [True, True, False, True, False]
            assert (await client.agent("plan").rehydrate()).state == {"n": 10}

    run(scenario)


def test_what_is_decided_was_checked_whoever_writes_in_between() -> None:
    """Writers at three nodes go up to the limit together, and not beyond; registrations come in between."""

    async def scenario(cluster: SimCluster) -> None:
        clients = [cluster.connect(nodes=[name]) for name in cluster.node_ids]
        await clients[0].schemas.register("state of plan", AT_MOST_10)

        async def count(client: Client) -> int:
            plan = client.agent("plan")
            return sum([await is_allowed(plan.append(ops.increment("/n", 1))) for _ in range(6)])

        async def register() -> None:
            for number in range(4):
                await clients[0].schemas.register(f"event kind-{number}", DEPLOY)

        registering = asyncio.create_task(register())
        assert sum(await asyncio.gather(*(count(client) for client in clients))) == 10
        await registering
        assert (await clients[0].agent("plan").rehydrate()).state == {"n": 10}
        for client in clients:
            await client.close()

    run(scenario, nodes=3)


def test_registrations_race_and_count_on() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            documents: list[dict[str, JSON]] = [{"title": str(number)} for number in range(5)]
            kept = await asyncio.gather(*(client.schemas.register("event e", each) for each in documents))
            assert sorted(each.version for each in kept) == [1, 2, 3, 4, 5]
            again = await client.schemas.register("event e", max(kept, key=lambda each: each.version).document)  # type: ignore[arg-type]
            assert (again.version, again.replayed) == (5, True)
            with pytest.raises(Conflict) as late:
                await client.schemas.register("event e", {"title": "x"}, version=3)
            assert late.value.reason is Reason.SCHEMA_CONFLICT
            with pytest.raises(Invalid) as narrower:
                await client.schemas.register("event e", {"type": "object"})
            said = narrower.value
            assert (said.reason, said.metadata["rule"]) == (Reason.SCHEMA_INCOMPATIBLE, "type")

    run(scenario)
