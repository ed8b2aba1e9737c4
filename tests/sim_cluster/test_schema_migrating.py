"""Bringing many agents up at once: cut anywhere, run again, each once; what goes wrong with one is told of that one."""

from __future__ import annotations

import asyncio
import contextlib
import random
from contextlib import AsyncExitStack

import pytest

from tallystick import JSON, Client, Conflict, Invalid, MutationEvent, NotFound, Reason, StaleOwner, ops
from tallystick.schemas import Known, MigrationReport, upcaster
from tallystick.testing import SimCluster
from tests.sim_cluster.schema_kit import BY_NUMBER, PLANS, begin, migrations, run

NEW = {"tasks": {"t0": "look", "t1": "leap"}}


async def assert_each_once(client: Client, names: list[str]) -> None:
    for name in names:
        stored = await client.agent(name).read()
        assert (name, stored.state, stored.state_version) == (name, NEW, 2)
        assert (name, await migrations(client.agent(name))) == (name, 1)


@pytest.mark.parametrize("seed", range(4))
def test_cut_anywhere_and_run_again_it_brings_each_up_once(seed: int) -> None:
    async def scenario(cluster: SimCluster) -> None:
        names = [f"planner-{number:02}" for number in range(30)]
        async with cluster.connect() as plain:
            begins = (await begin(plain, *names)).revision
            async with cluster.connect(schemas=[BY_NUMBER]) as client:
                migrating = asyncio.create_task(client.schemas.migrate("planner-", concurrency=1 + seed))
                async for event in plain.watch(prefix="planner-", after=begins):
                    if isinstance(event, MutationEvent) and event.agent == names[2 + 5 * seed]:
                        break
                migrating.cancel()
                await asyncio.wait((migrating,))
                assert migrating.cancelled()
            await cluster.restart(await cluster.wait_for_leader())
            async with cluster.connect(schemas=[BY_NUMBER]) as client:
                done = [info.state_version async for info in client.agents()].count(2)
                assert 0 < done < len(names)
                report = await client.schemas.migrate("planner-")
                assert (report.migrated, report.skipped, report.failed) == (len(names) - done, done, 0)
                again = await client.schemas.migrate("planner-", 2)
                assert (again.migrated, again.skipped, again.is_complete) == (0, len(names), True)
            await assert_each_once(plain, names)

    run(scenario, nodes=3, seed=seed)


def test_two_at_once_and_a_failover_bring_each_up_once() -> None:
    async def scenario(cluster: SimCluster) -> None:
        names = [f"planner-{number:02}" for number in range(20)]
        connected = [cluster.connect(schemas=[BY_NUMBER]) for _ in range(2)]
        async with cluster.connect() as plain, connected[0] as one, connected[1] as other:
            await begin(plain, *names)
            runs = [asyncio.create_task(client.schemas.migrate("planner-")) for client in (one, other)]
            await cluster.restart(await cluster.wait_for_leader())
            reports = await asyncio.gather(*runs)
            assert all(report.failed == 0 for report in reports)
            await assert_each_once(plain, names)

    run(scenario, nodes=3)


def test_what_goes_wrong_with_one_agent_is_told_and_the_others_go_on() -> None:
    @upcaster(PLANS, from_version=1)
    def picky(state: dict[str, list[str]]) -> dict[str, JSON]:
        if state["tasks"] == ["raises"]:
            raise ValueError("no plan")
        if state["tasks"] == ["wrong"]:
            return {"tasks": "wrong"}
        return {"tasks": {}}

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[picky]) as client:
            await begin(plain, "planner-a", "planner-b", "planner-c", "planner-d", "planner-e")
            for name, tasks in (("planner-b", ["raises"]), ("planner-d", ["wrong"])):
                await plain.agent(name).append(ops.replace({"tasks": tasks}), schema_version=1)
            told: list[MigrationReport] = []
            async with plain.agent("planner-c").lease():
                report = await client.schemas.migrate("planner-", progress=told.append)
            assert (report.migrated, report.failed, report.is_complete) == (2, 3, False)
            failures = {failure.agent: failure.error for failure in report.failures}
            assert isinstance(failures["planner-b"], ValueError)
            assert isinstance(failures["planner-c"], StaleOwner)
            assert isinstance(failures["planner-d"], Invalid)
            assert failures["planner-d"].metadata["path"] == "/tasks"
            assert sorted(each.log for each in told) == [f"planner-{letter}" for letter in "abcde"]
            assert [each.migrated + each.failed for each in told] == [1, 2, 3, 4, 5]
            again = await client.schemas.migrate("planner-")
            assert (again.migrated, again.skipped, again.failed) == (1, 2, 2)

    run(scenario)


def test_agents_of_a_longer_prefix_and_branches_are_left_alone_unless_asked_for() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await begin(plain, "planner-1", "planner-vip-1")
            await plain.agent("planner-1").fork("trial")
            await plain.schemas.register("state of planner-vip-", {"type": "object"})
            report = await client.schemas.migrate("planner-")
            assert (report.migrated, report.skipped) == (1, 0)
            assert (await plain.agent("planner-1", branch="trial").read()).state_version == 1
            told: list[str] = []

            async def progress(so_far: MigrationReport) -> None:
                await asyncio.sleep(0)
                told.append(so_far.log)

            report = await client.schemas.migrate("planner-", branches=True, progress=progress)
            assert (report.migrated, report.skipped) == (1, 1)
            assert sorted(told) == ["planner-1", "planner-1@trial"]
            assert (await plain.agent("planner-1", branch="trial").read()).state == NEW
            assert (await plain.agent("planner-vip-1").read()).state == {"tasks": ["look", "leap"]}

    run(scenario)


def test_a_migration_to_where_no_way_leads_does_not_begin() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            with pytest.raises(NotFound):
                await client.schemas.migrate("planner-")
            await begin(plain, "planner-1")
            for prefix, version in (("planner-", 3), ("plan", 2), ("planner-", 0)):
                with pytest.raises(Invalid):
                    await client.schemas.migrate(prefix, version)
            with pytest.raises(Invalid):
                await plain.schemas.migrate("planner-", 2)
            async with cluster.connect(schemas=[Known(PLANS, 2)]) as gap:
                report = await gap.schemas.migrate("planner-")
                assert isinstance(report.failures[0].error, Invalid)
                assert "no upcaster" in str(report.failures[0].error)

    run(scenario)


def test_nothing_that_another_writes_meanwhile_is_lost() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await begin(plain, "planner-1")
            agent = plain.agent("planner-1")
            written: list[str] = []

            async def busy() -> None:
                with contextlib.suppress(Invalid):  # it is no list any more
                    for number in range(50):
                        await agent.append(ops.append("/tasks", str(number)))
                        written.append(str(number))

            async with asyncio.TaskGroup() as group:
                group.create_task(busy())
                while not (report := await client.schemas.migrate("planner-")).migrated:
                    (failure,) = report.failures  # others came first, each time: nothing is half done
                    assert isinstance(failure.error, Conflict)
                    assert failure.error.reason is Reason.SEQ_CONFLICT
            state = (await agent.read()).state
            assert isinstance(state, dict)
            assert isinstance(state["tasks"], dict)
            assert sorted(map(str, state["tasks"].values())) == sorted(["look", "leap", *written])

    run(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_old_and_new_programs_side_by_side_lose_nothing_that_was_acknowledged(seed: int) -> None:
    async def scenario(cluster: SimCluster) -> None:
        rng = random.Random(seed)
        names = [f"planner-{number}" for number in range(3)]
        written: dict[str, list[str]] = {name: [] for name in names}
        reasons: set[tuple[bool, Reason]] = set()

        async def program(client: Client, number: int, *, is_new: bool) -> None:
            for turn in range(12):
                name, task = rng.choice(names), f"{number}-{turn}"
                await cluster.sleep(rng.random() * 0.2)
                change = ops.set(f"/tasks/{task}", task) if is_new else ops.append("/tasks", task)
                try:
                    await client.agent(name).append(change)
                except Conflict as refused:
                    reasons.add((is_new, refused.reason))
                    continue
                written[name].append(task)

        async with cluster.connect() as plain:
            await begin(plain, *names)
            async with AsyncExitStack() as stack:
                older, newer = Known(PLANS, 1), BY_NUMBER
                open_one = [stack.enter_async_context(cluster.connect(schemas=[each])) for each in (older, newer) * 2]
                old, new, other_old, other_new = await asyncio.gather(*open_one)
                async with asyncio.TaskGroup() as group:
                    for number, client in enumerate((old, other_old)):
                        group.create_task(program(client, number, is_new=False))
                    await cluster.sleep(0.3)
                    for number, client in enumerate((new, other_new), 2):
                        group.create_task(program(client, number, is_new=True))
                    await cluster.restart(await cluster.wait_for_leader())
                    group.create_task(new.schemas.migrate("planner-"))
            assert reasons == {(False, Reason.STATE_VERSION)}
            for name in names:
                stored = await plain.agent(name).read()
                assert isinstance(stored.state, dict)
                assert stored.state_version == 2
                tasks = stored.state["tasks"]
                assert isinstance(tasks, dict)
                assert sorted(map(str, tasks.values())) == sorted(["look", "leap", *written[name]])
                assert await migrations(plain.agent(name)) == 1
                assert len(written[name]) > 3

    run(scenario, nodes=3, seed=seed)
