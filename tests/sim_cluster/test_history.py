"""An agent's history on real nodes under virtual time: undo, redo, revert, drift."""

from __future__ import annotations

import asyncio
import copy
import random

import pytest

from tallystick import JSON, Agent, Invalid, NotFound, ops
from tallystick.history import MergeConflict
from tallystick.history import history as history_module
from tallystick.testing import SimCluster


def test_undo_and_redo_go_through_the_states_as_an_editor_does() -> None:
    async def scenario(cluster: SimCluster) -> None:
        rng = random.Random(5)
        async with cluster.connect() as client:
            agent = client.agent("editor")
            past: list[JSON] = []
            present: JSON = {}
            future: list[JSON] = []
            for step in range(60):
                what = rng.choice(["change", "change", "undo", "undo", "redo"])
                if what == "change":
                    past, future = [*past, present], []
                    await change(agent, rng, step)
                    present = (await agent.read()).state
                elif what == "undo" and past:
                    past, present, future = past[:-1], past[-1], [*future, present]
                    assert await agent.history.undo() is not None
                elif what == "redo" and future:
                    past, present, future = [*past, present], future[-1], future[:-1]
                    assert await agent.history.redo() is not None
                elif what == "undo" and future:
                    assert await agent.history.undo() is None
                elif what == "redo" and past:
                    assert await agent.history.redo() is None
                if past or future:
                    assert (await agent.read()).state == present
        assert step > len(past)

    async def change(agent: Agent, rng: random.Random, step: int) -> None:
        if rng.random() < 0.2:
            await agent.record("note", {"step": step})  # no change of the state: not undone
        await agent.append(
            rng.choice([ops.append("/list", step), ops.set(f"/map/{step % 3}", step), ops.increment("/count")])
        )

    with SimCluster(nodes=3, seed=1) as cluster:
        cluster.run(scenario)


def test_another_process_finds_the_same_stack_and_a_redo_of_many_mutations_is_one() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            await client.agent("a").append(ops.replace({str(n): n for n in range(250)}))
            await client.agent("a").append(ops.replace({"new": True}))
            undone = await client.agent("a").history.undo()
            assert undone is not None and undone.appended is not None
            assert undone.appended.seq - undone.appended.first_seq == 2  # 251 operations, 100 in each mutation
        async with cluster.connect() as client:
            agent = client.agent("a")
            assert (await agent.read()).state == {str(n): n for n in range(250)}
            await agent.history.redo()
            assert (await agent.read()).state == {"new": True}
            assert await agent.history.redo() is None

    with SimCluster(nodes=3, seed=2) as cluster:
        cluster.run(scenario)


def test_what_began_before_the_window_is_not_taken_back_by_half(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [str(number) for number in range(150)]

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            await agent.append(ops.replace(dict.fromkeys(keys, 0)))
            await agent.append(ops.replace(dict.fromkeys(keys, 1)))
            undone = await agent.history.undo()
            assert undone is not None and undone.appended is not None
            assert (undone.appended.first_seq, undone.appended.seq) == (3, 4)
            monkeypatch.setattr(history_module, "UNDO_WINDOW", 1)
            monkeypatch.setattr(history_module, "UNDO_REACH", 1)
            assert await agent.history.undo() is None
            assert (await agent.read()).state == dict.fromkeys(keys, 0)
            monkeypatch.setattr(history_module, "UNDO_REACH", 4)
            assert await agent.history.undo() is not None
            assert (await agent.read()).state == {}

    with SimCluster(nodes=3, seed=5) as cluster:
        cluster.run(scenario)


def test_many_undos_lead_on_to_what_was_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """An undo whose change lies further back than what was looked at is no change to be taken back in turn."""
    monkeypatch.setattr(history_module, "UNDO_WINDOW", 4)

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            for number in range(12):
                await agent.append(ops.set("/n", number))
            for number in reversed(range(11)):
                assert await agent.history.undo() is not None
                assert (await agent.read()).state == {"n": number}
            assert await agent.history.undo() is not None
            assert (await agent.read()).state == {}
            assert await agent.history.undo() is None
            for number in range(12):
                assert await agent.history.redo() is not None
                assert (await agent.read()).state == {"n": number}
            assert await agent.history.redo() is None

    with SimCluster(nodes=3, seed=6) as cluster:
        cluster.run(scenario)


def test_one_mutation_is_taken_back_and_what_came_after_it_stays() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            await agent.append(ops.set("/plan", ["x", "y"]), ops.set("/owner", "ann"))
            wrong = await agent.append(ops.set("/owner", "bob"), ops.append("/plan", "z"))
            await agent.append(ops.set("/plan/0", "X"))
            result = await agent.history.revert(wrong.seq)
            assert result.appended is not None and not result.conflicts
            assert (await agent.read()).state == {"plan": ["X", "y"], "owner": "ann"}
            [mutation] = [each async for each in agent.log(after_seq=3)]
            assert mutation.mutation.reverts == wrong.seq and mutation.cause == f"revert:{wrong.seq}"
            await agent.history.undo()  # of the revert, which is the newest change
            assert (await agent.read()).state == {"plan": ["X", "y", "z"], "owner": "bob"}
            await agent.history.undo()
            assert (await agent.read()).state == {"plan": ["x", "y", "z"], "owner": "bob"}

    with SimCluster(nodes=3, seed=3) as cluster:
        cluster.run(scenario)


def test_what_was_changed_again_is_a_conflict_and_nothing_is_appended() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            await agent.append(ops.set("/n", 1))
            wrong = await agent.append(ops.set("/n", 2))
            head = await agent.append(ops.set("/n", 3))
            result = await agent.history.revert(wrong.seq)
            assert result.appended is None
            assert result.conflicts == (MergeConflict("/n", base=2, ours=3, theirs=1),)
            assert (await agent.read()).seq == head.seq
            await agent.history.revert(wrong.seq, resolve="theirs")
            assert (await agent.read()).state == {"n": 1}
            with pytest.raises(NotFound):
                await agent.history.revert(99)
            with pytest.raises(Invalid):
                await agent.history.revert(0)

    with SimCluster(nodes=3, seed=4) as cluster:
        cluster.run(scenario)


def test_when_the_log_moves_meanwhile_it_is_thought_anew() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            wrong = await agent.append(ops.set("/n", 1), ops.set("/wrong", "yes"))
            asked = 0

            def settle(conflict: MergeConflict) -> JSON:
                nonlocal asked
                asked += 1
                return None

            await agent.append(ops.set("/n", 2))

            async def others() -> None:
                for _ in range(5):
                    await agent.append(ops.increment("/other"))

            await asyncio.gather(others(), agent.history.revert(wrong.seq, resolve=settle))
            assert (await agent.read()).state == {"n": None, "other": 5}
            assert asked > 1

    with SimCluster(nodes=3, seed=5) as cluster:
        cluster.run(scenario)


def test_drift_names_what_differs() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            done = await agent.append(ops.set("/b", {"x": 1, "é": [1.5, None]}), ops.set("/a", 1))
            held: JSON = {"a": 1, "b": {"x": 1, "é": [1.5, None]}}
            assert await agent.drift(held) == []
            bent = copy.deepcopy(held)
            assert isinstance(bent, dict)
            bent["a"], bent["c"] = 2, 3
            assert [(change.op, change.path) for change in await agent.drift(bent)] == [
                ("replace", "/a"),
                ("add", "/c"),
            ]
            await agent.append(ops.set("/a", 7))
            assert await agent.drift(held, at=done.seq) == []
            assert [change.path for change in await agent.drift(held)] == ["/a"]
            told = await agent.state_digest(seq=done.seq)
            kept = await agent.checkpoint("now")
            assert told.seq == done.seq and (await agent.state_digest()).digest == kept.state_digest
            assert [change.path for change in await agent.history.diff(done.seq, "now")] == ["/a"]

    with SimCluster(nodes=3, seed=6) as cluster:
        cluster.run(scenario)
