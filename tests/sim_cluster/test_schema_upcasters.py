"""Programs of two versions on the same agents: old states come up when they are read and before they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from tallystick import Conflict, Invalid, NotFound, Reason, SchemaEvent, StaleOwner, ops
from tallystick.errors import Refused
from tallystick.schemas import Compatibility, Known, unchanged, upcaster
from tallystick.testing import SimCluster
from tests.sim_cluster.schema_kit import BY_NUMBER, FIRST, PLANS, SECOND, begin, migrations, run

NEW = {"tasks": {"t0": "look", "t1": "leap"}}


def test_an_old_state_comes_up_when_it_is_read_and_is_stored_before_it_is_written() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await begin(plain, "planner-1")
            agent = client.agent("planner-1")
            seen = await agent.rehydrate()
            assert (seen.state, seen.seq, seen.state_version, seen.given_version) == (NEW, 1, 1, 2)
            assert (await agent.read()).state == {"tasks": ["look", "leap"]}
            seen = await agent.rehydrate()

            with pytest.raises(Invalid):  # the state is brought up all the same, and where the program saw it stays
                await agent.append(ops.set("/tasks/t2", 3), expected_seq=seen.seq)
            done = await agent.append(ops.set("/tasks/t2", "rest"), expected_seq=seen.seq)
            assert done.seq == 3
            stored = await plain.agent("planner-1").read()
            assert stored.state == {"tasks": {**NEW["tasks"], "t2": "rest"}}
            assert stored.state_version == 2
            causes = [(mutation.cause, mutation.mutation.schema_version) async for mutation in agent.log()]
            assert causes == [("", 0), ("migrate: state of planner-: 1 to 2", 2), ("", 2)]
            await agent.append(ops.set("/n", 1))
            assert await migrations(agent) == 1
            assert [info.state_version async for info in client.agents()] == [2]

    run(scenario)


def test_who_saw_the_state_as_it_is_stored_is_told_that_it_moved() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await begin(plain, "planner-1")
            agent = client.agent("planner-1")
            await agent.rehydrate()
            seen = await agent.read()
            with pytest.raises(Conflict) as moved:
                await agent.append(ops.set("/n", 1), expected_seq=seen.seq)
            assert (moved.value.reason, moved.value.metadata["head_seq"]) == (Reason.SEQ_CONFLICT, "2")
            with pytest.raises(Conflict):  # this one nobody brought up: it is simply old
                await client.agent("planner-1").append(ops.set("/n", 1), expected_seq=1)
            assert (await agent.read()).state == NEW

    run(scenario)


def test_an_append_that_expects_another_end_brings_nothing_up() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await begin(plain, "planner-1")
            with pytest.raises(Conflict):
                await client.agent("planner-1").append(ops.set("/n", 1), expected_seq=7)
            assert (await plain.agent("planner-1").read()).seq == 1

    run(scenario)


def test_a_newer_state_can_be_read_and_not_written() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await begin(plain, "planner-1")
            async with cluster.connect(schemas=[Known(PLANS, 1)]) as older:
                agent = older.agent("planner-1")
                await agent.append(ops.append("/tasks", "rest"))  # it is theirs, still
                await client.agent("planner-1").migrate()
                seen = await older.agent("planner-1").rehydrate()
                assert (seen.state_version, seen.given_version) == (2, 2)
                assert seen.state == {"tasks": {"t0": "look", "t1": "leap", "t2": "rest"}}
                for writer in (agent, older.agent("planner-1")):  # refused by the nodes; here, before it is sent
                    with pytest.raises(Conflict) as refused:
                        await writer.append(ops.set("/n", 1))
                    assert refused.value.reason is Reason.STATE_VERSION
                    assert refused.value.metadata["version"] == "2"
                await agent.record("note", {"events": "are no states"})
                async with older.agent("planner-1").stream() as stream:
                    with pytest.raises(Conflict):
                        await (await stream.append(ops.set("/n", 1)))
                async with (
                    cluster.connect(schemas=[Known(PLANS, 1)]) as fresh,
                    fresh.agent("planner-1").stream() as stream,
                ):
                    with pytest.raises(Conflict):  # before it is sent
                        await stream.append(ops.set("/n", 1))
                await agent.delete()
                await agent.append(ops.replace({"tasks": ["anew"]}))  # another agent, of an older version
                assert (await agent.read()).state_version == 1

    run(scenario)


def test_what_was_decided_under_a_key_is_answered_though_the_state_is_newer_by_now() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await begin(plain, "planner-1")

            async def write() -> list[bool]:
                """By a program that was begun anew."""
                async with cluster.connect(schemas=[Known(PLANS, 1)]) as older:
                    agent = older.agent("planner-1")
                    done = await agent.append(ops.append("/tasks", "rest"), idempotency_key="append")
                    async with agent.stream() as stream:
                        streamed = await (await stream.append(ops.append("/tasks", "eat"), idempotency_key="stream"))
                    async with older.transaction(idempotency_key="team") as team:
                        team.agent("planner-1").append(ops.append("/tasks", "sleep"))
                    return [done.replayed, streamed.replayed, team.result.replayed]

            assert await write() == [False, False, False]
            await client.agent("planner-1").migrate()
            assert await write() == [True, True, True]

    run(scenario)


def test_another_agent_of_the_same_name_is_looked_at_anew() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await begin(plain, "planner-1")
            await client.agent("planner-1").append(ops.set("/n", 1))
            await plain.agent("planner-1").delete()
            await plain.agent("planner-1").append(ops.replace({"tasks": ["anew"]}), schema_version=1)
            with pytest.raises(Invalid):  # the nodes saw to it: a list is none of version 2
                await client.agent("planner-1").append(ops.set("/n", 2))
            await client.agent("planner-1").append(ops.set("/n", 2))
            assert (await plain.agent("planner-1").read()).state == {"tasks": {"t0": "anew"}, "n": 2}

    run(scenario)


def test_whatever_writes_brings_the_state_up_first(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster) -> None:
        names = [f"planner-{number}" for number in range(7)]
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await begin(plain, *names)
            agents = [client.agent(name) for name in names]
            async with cluster.connect(schemas=[Known(PLANS, 1)]) as older:
                await plain.agent("planner-new").append(ops.replace({"tasks": {}}))
                with pytest.raises(Conflict) as refused:
                    await older.agent("planner-new").outbox(tmp_path / "older").__aenter__()
                assert refused.value.reason is Reason.STATE_VERSION
            async with agents[0].stream() as stream:
                await stream.append(ops.set("/n", 1))
                await stream.append(ops.set("/n", 2))
            async with client.transaction() as team:
                team.agent(names[1]).append(ops.set("/n", 2))
                team.agent(names[2]).append(ops.set("/n", 2))
            async with agents[3].outbox(tmp_path / "box") as box:
                assert box.state == NEW
                await box.append(ops.set("/n", 2))
                await box.go_offline()
                await box.append(ops.set("/tasks/t1", "leap"))
                await box.reconcile()
            await agents[4].save({**NEW, "n": 2})
            async with agents[5].lease():
                await agents[5].append(ops.set("/n", 2))
            trial = await agents[6].fork("trial")
            await trial.append(ops.set("/n", 2))
            await agents[6].history.merge("trial")
            for name in names:
                stored = await plain.agent(name).read()
                assert (name, stored.state, stored.state_version) == (name, {**NEW, "n": 2}, 2)
                assert await migrations(plain.agent(name)) == 1

    run(scenario)


def test_history_works_on_states_of_one_shape() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await plain.schemas.register(PLANS, FIRST)
            old, agent = plain.agent("planner-1"), client.agent("planner-1")
            await old.append(ops.replace({"tasks": ["look"]}))
            await old.append(ops.append("/tasks", "leap"))
            await plain.schemas.register(PLANS, SECOND, compatibility="none")
            assert await agent.drift(NEW) == []
            assert [change.path for change in await agent.drift({"tasks": {"t0": "look"}})] == ["/tasks/t1"]
            await agent.migrate()
            for names in (["t0"], ["t0", "t1"], ["t0"]):
                done = await (agent.history.redo() if len(names) == 2 else agent.history.undo())
                assert done is not None
                assert list((await agent.read()).state["tasks"]) == names  # type: ignore[index, call-overload, arg-type]

    run(scenario)


def test_a_team_that_is_rolled_back_gets_states_of_the_present_shape() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await plain.schemas.register(PLANS, FIRST)
            await plain.agent("planner-1").append(ops.replace({"tasks": ["look", "leap"]}))
            await plain.team("planner-").checkpoint("before")
            await plain.schemas.register(PLANS, SECOND, compatibility="none")
            await client.agent("planner-1").append(ops.set("/n", 1))
            await client.team("planner-").roll_back("before")
            assert (await plain.agent("planner-1").read()).state == NEW

    run(scenario)


def test_a_compatible_change_needs_no_mutation_of_its_own() -> None:
    async def scenario(cluster: SimCluster) -> None:
        wider = {**FIRST, "required": []}
        async with cluster.connect() as plain:
            await plain.schemas.register(PLANS, FIRST)
            await plain.agent("planner-1").append(ops.replace({"tasks": []}))
            await plain.schemas.register(PLANS, wider)
            async with cluster.connect(schemas=[unchanged(PLANS, from_version=1)]) as client:
                agent = client.agent("planner-1")
                assert (await agent.rehydrate()).given_version == 2
                assert (await agent.append(ops.set("/n", 1), expected_seq=1)).seq == 2
                assert (await agent.read()).state_version == 2

    run(scenario)


def test_a_state_from_before_the_first_schema_counts_as_its_first_version() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await plain.agent("planner-1").append(ops.replace({"tasks": ["look", "leap"]}))
            await begin(plain)
            assert (await client.agent("planner-1").rehydrate()).state == NEW
            await client.agent("planner-1").append(ops.set("/n", 1))
            assert (await plain.agent("planner-1").read()).state == {**NEW, "n": 1}

    run(scenario)


def test_an_agent_that_began_with_events_has_no_old_state() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await begin(plain)
            agent = client.agent("planner-1")
            async with agent.turn():
                assert (await agent.rehydrate()).state == {}
                assert (await agent.rehydrate_as(Plan, initial=Plan(n=1))).state == Plan(n=1)
                assert (await client.schemas.migrate("planner-")).skipped == 1
                await agent.append(ops.set("/tasks", {}))
            assert (await agent.rehydrate_as(Plan, initial=Plan(n=1))).state == Plan()
            assert await migrations(agent) == 0

    run(scenario)


def test_under_a_schema_of_a_longer_prefix_a_state_begins_anew() -> None:
    longer = "state of planner-vip-"

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[Known(longer, 1)]) as client:
            await begin(plain)
            agent = plain.agent("planner-vip-1")
            await agent.append(ops.set("/tasks", {}))
            assert (await agent.read()).state_version == 2
            await plain.schemas.register(longer, SECOND)
            assert (await agent.read()).state_version == 0
            assert (await agent.read(seq=1)).state_version == 0
            assert [info.state_version async for info in plain.agents(prefix="planner-vip-1")] == [0]
            await client.agent("planner-vip-1").append(ops.set("/n", 1))
            assert (await agent.read()).state_version == 1

    run(scenario)


def test_nothing_is_written_in_a_version_that_nobody_registered() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            for registered in (False, True):
                if registered:
                    await plain.schemas.register(PLANS, FIRST)
                with pytest.raises(NotFound) as refused:
                    await client.agent("planner-1").append(ops.set("/tasks", {}))
                assert refused.value.reason is Reason.SCHEMA_NOT_FOUND
            await plain.schemas.register(PLANS, SECOND, compatibility="none")
            await client.agent("planner-1").append(ops.set("/tasks", {}))

    run(scenario)


def test_what_upcasters_make_is_checked_as_all_else() -> None:
    @upcaster(PLANS, from_version=1)
    def wrong(_state: object) -> dict[str, int]:
        return {"tasks": 3}

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[wrong]) as client:
            await begin(plain, "planner-1")
            with pytest.raises(Invalid) as refused:
                await client.agent("planner-1").append(ops.set("/n", 1))
            assert refused.value.reason is Reason.SCHEMA_VIOLATION
            assert refused.value.metadata["path"] == "/tasks"
            assert (await plain.agent("planner-1").read()).seq == 1

    run(scenario)


def test_under_the_lease_of_another_nothing_is_brought_up() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[BY_NUMBER]) as client:
            await begin(plain, "planner-1")
            async with plain.agent("planner-1").lease():
                with pytest.raises(StaleOwner):
                    await client.agent("planner-1").append(ops.set("/n", 1))
            await client.agent("planner-1").append(ops.set("/n", 1))

    run(scenario)


class Plan(BaseModel):
    tasks: dict[str, str] = {}
    n: int = 0


class Note(BaseModel):
    text: str


def test_models_are_registered_and_states_come_back_as_models() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(schemas=[Known("state of typed-", 1)]) as client:
            first = await client.schemas.register("state of typed-", Plan)
            again = await client.schemas.register("state of typed-", Plan, version=1)
            assert (first.version, first.replayed, again.version, again.replayed) == (1, False, 1, True)
            agent = client.agent("typed-1")
            plan = await agent.rehydrate_as(Plan, initial=Plan(n=7))
            assert (plan.seq, plan.state) == (0, Plan(n=7))
            await agent.append(ops.replace(plan.state.model_dump(mode="json")))
            assert (await agent.rehydrate_as(Plan)).state == Plan(n=7)
            with pytest.raises(Invalid) as refused:
                await agent.rehydrate_as(Note)
            assert refused.value.metadata == {"path": "/text", "rule": "missing", "version": "1"}
            with pytest.raises(Invalid) as refused:
                await agent.append(ops.set("/n", "seven"))
            assert refused.value.metadata["path"] == "/n"
            assert refused.value.metadata["subject"] == "state of typed-"

            class Longer(Plan):
                owner: str | None = None
                seen: list[Note] = []

            assert (await client.schemas.register("state of typed-", Longer)).version == 2
            with pytest.raises(Invalid) as refused:
                await client.schemas.register("state of typed-", Plan)
            assert refused.value.reason is Reason.SCHEMA_INCOMPATIBLE
            yesterday = await client.schemas.register("state of typed-", Plan, version=1)
            assert (yesterday.version, yesterday.replayed) == (1, True)

    run(scenario)


def test_what_is_registered_is_listed_checked_and_watched() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(actor="ann") as client:
            begins = (await client.agent("watched").append(ops.set("/n", 1))).revision
            await begin(client)
            await client.schemas.register("event note", Note)
            listed = [(str(each.subject), each.version) async for each in client.schemas.list()]
            assert listed == [("event note", 1), (PLANS, 1), (PLANS, 2)]
            assert [each.version async for each in client.schemas.list(PLANS)] == [1, 2]
            newest, first = await client.schemas.get(PLANS), await client.schemas.get(PLANS, 1)
            assert (newest.version, newest.compatibility, newest.actor) == (2, Compatibility.NONE, "ann")
            assert first.document == FIRST
            with pytest.raises(NotFound):
                await client.schemas.get(PLANS, 3)

            check = await client.schemas.check(PLANS, FIRST)
            assert (check.version, check.is_registered, check.is_fine) == (3, False, False)
            with pytest.raises(Refused) as refused:
                await client.schemas.register(PLANS, FIRST)
            assert refused.value.reason is Reason.SCHEMA_INCOMPATIBLE
            assert (await client.schemas.check(PLANS, SECOND)).is_registered
            assert (await client.schemas.check_value(PLANS, {"tasks": {}})).is_fine
            invalid = (await client.schemas.check_value(PLANS, {"tasks": []})).invalid
            assert [(problem.path, problem.rule) for problem in invalid] == [("/tasks", "type")]
            assert (await client.schemas.check_value(PLANS, {"tasks": []}, version=1)).is_fine
            assert not (await client.schemas.check_value(PLANS, None, schema=SECOND)).is_fine

            seen: list[str] = []
            async for event in client.watch(after=begins):
                assert isinstance(event, SchemaEvent)
                seen.append(f"{event.subject} {event.version} {event.compatibility}")
                if len(seen) == 3:
                    break
            assert seen == [f"{PLANS} 1 backward", f"{PLANS} 2 none", "event note 1 backward"]

    run(scenario)


def test_events_are_brought_up_from_the_version_of_their_time() -> None:
    @upcaster("event note", from_version=1)
    def as_text(payload: str) -> dict[str, str]:
        return {"text": payload}

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as plain, cluster.connect(schemas=[as_text]) as client:
            agent = plain.agent("ann")
            await agent.record("note", "before")
            await plain.schemas.register("event note", {"type": "string"})
            await agent.record("note", "unnamed")
            await agent.record("note", "named", schema_version=1)
            await plain.schemas.register("event note", Note, compatibility="none")
            await agent.record("note", {"text": "new"})
            await client.agent("ann").record("note", {"text": "stamped"})
            with pytest.raises(Invalid):
                await client.agent("ann").record("note", "old")
            await agent.record("note", "still", schema_version=1)
            texts = [await client.schemas.payload(mutation) async for mutation in client.agent("ann").log()]
            assert texts == [{"text": text} for text in ("before", "unnamed", "named", "new", "stamped", "still")]

    run(scenario)
