"""Steps and turns as agents use them: the real client and nodes under virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tallystick import Agent, Conflict, Happened, Invalid, NotFound, Reason, StaleOwner, Step, StepStatus, ops
from tallystick._json import JSON
from tallystick.steps import StepError, results
from tallystick.testing import SimCluster


def run(scenario: Callable[[Agent, Effects], Awaitable[None]], nodes: int = 1) -> None:
    """Runs it with an agent of a fresh cluster."""

    async def with_agent(cluster: SimCluster) -> None:
        async with cluster.connect(actor="me") as client:
            await scenario(client.agent("a"), Effects())

    with SimCluster(nodes=nodes, seed=5) as cluster:
        cluster.run(with_agent)


class Effects:
    """Counts what happened."""

    def __init__(self) -> None:
        self.happened: list[object] = []

    async def __call__(self, value: object = None) -> dict[str, list[int]]:
        self.happened.append(value)
        return {"rows": [1, 2]}

    def fails(self) -> None:
        self.happened.append("fails")
        raise ValueError("no rows")


async def left_ambiguous(agent: Agent, name: str = "s") -> Step:
    """As a process leaves it that died in between."""
    begun = await agent.steps.begin(name)
    assert begun.is_granted
    return begun.step


async def refused(step: Awaitable[JSON]) -> Conflict:
    with pytest.raises(Conflict) as caught:
        await step
    return caught.value


def test_a_step_happens_once_and_is_remembered() -> None:
    async def scenario(agent: Agent, effects: Effects) -> None:
        first = await agent.step("copy-1", effects, 1, cause="tool:copy")
        assert first == await agent.step("copy-1", effects, 1) == {"rows": [1, 2]}
        assert effects.happened == [1]
        step = await agent.steps.get("copy-1")
        assert (step.status, step.result, step.attempt, step.actor) == (StepStatus.COMPLETED, first, 1, "me")
        assert step.ended is not None
        assert step.begun <= step.ended
        kinds = [(mutation.kind, mutation.cause) async for mutation in agent.log()]
        assert kinds == [("step.begun", "tool:copy"), ("step.completed", "tool:copy")]
        assert (await agent.read()).state == {}

    run(scenario)


def test_results_are_returned_as_they_will_be_read_back() -> None:
    async def scenario(agent: Agent, _: Effects) -> None:
        def pair() -> tuple[int, None]:
            return 1, None

        assert await agent.step("pair", pair) == [1, None]
        assert await agent.step("pair", pair) == [1, None]

    run(scenario)


def test_an_exception_is_recorded_and_goes_on() -> None:
    async def scenario(agent: Agent, effects: Effects) -> None:
        with pytest.raises(ValueError, match="no rows"):
            await agent.step("s", effects.fails)
        error = await refused(agent.step("s", effects))
        assert (error.reason, error.metadata["error_type"]) == (Reason.STEP_FAILED, "ValueError")
        assert effects.happened == ["fails"]
        step = await agent.steps.get("s")
        assert (step.status, step.error) == (StepStatus.FAILED, StepError("ValueError", "no rows"))
        assert await agent.step("s", effects, on_failed="retry") == {"rows": [1, 2]}
        assert (await agent.steps.get("s")).attempt == 2

    run(scenario)


def test_what_was_begun_is_ambiguous_and_settled_as_it_is_said() -> None:
    async def scenario(agent: Agent, effects: Effects) -> None:
        await left_ambiguous(agent)
        error = await refused(agent.step("s", effects))
        assert (error.reason, error.metadata["attempt"]) == (Reason.STEP_AMBIGUOUS, "1")
        assert effects.happened == []
        assert await agent.step("s", effects, on_ambiguous="retry") == {"rows": [1, 2]}
        assert effects.happened == [None]
        await left_ambiguous(agent, "given-up")
        error = await refused(agent.step("given-up", effects, on_ambiguous="fail"))
        assert error.reason is Reason.STEP_FAILED
        assert (await agent.steps.get("given-up")).error == StepError(
            "Ambiguous", "attempt 1 was begun by me, and given up"
        )
        assert effects.happened == [None]

    run(scenario)


def test_a_probe_looks_whether_it_happened() -> None:
    async def scenario(agent: Agent, effects: Effects) -> None:
        keys = [(await left_ambiguous(agent, name)).effect_key for name in ("did", "did-not")]
        asked = []

        async def probe(step: Step) -> Happened | None:
            asked.append(step.effect_key)
            return Happened({"id": 7}) if step.name == "did" else None

        assert await agent.step("did", effects, on_ambiguous=probe) == {"id": 7}
        assert await agent.step("did-not", effects, on_ambiguous=lambda _: None) == {"rows": [1, 2]}
        assert (effects.happened, asked) == ([None], keys[:1])
        assert await agent.step("did", effects) == {"id": 7}

    run(scenario)


def test_the_effects_key_is_equal_for_all_attempts() -> None:
    async def scenario(agent: Agent, _: Effects) -> None:
        keys = []

        def effect(fails: str, *, effect_key: str) -> str:
            keys.append(effect_key)
            if fails:
                raise ValueError(fails)
            return effect_key

        with pytest.raises(ValueError, match="first"):
            await agent.step("s", effect, "first")
        assert await agent.step("s", effect, "", on_failed="retry") == keys[0] == keys[1]
        assert await agent.step("other", effect, "") != keys[0]

    run(scenario)


def test_what_cannot_be_kept_has_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(agent: Agent, _: Effects) -> None:
        with pytest.raises(Invalid):
            await agent.step("odd", lambda: float("nan"))
        monkeypatch.setattr(results, "RESULT_BYTES", 300_000)
        with pytest.raises(Invalid) as caught:
            await agent.step("large", lambda: "x" * 300_000)
        assert caught.value.reason is Reason.TOO_LARGE
        assert {step.name: step.status async for step in agent.steps.list()} == {
            "odd": StepStatus.BEGUN,
            "large": StepStatus.BEGUN,
        }

    run(scenario)


def test_a_cancelled_effect_is_ambiguous() -> None:
    async def scenario(agent: Agent, _: Effects) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await agent.step("s", asyncio.sleep, 3600)
        assert (await agent.steps.get("s")).status is StepStatus.BEGUN

    run(scenario)


def test_of_two_that_retry_at_once_one_is_granted_the_attempt() -> None:
    async def scenario(agent: Agent, effects: Effects) -> None:
        await left_ambiguous(agent)

        async def effect() -> None:
            await effects()
            await asyncio.sleep(60)

        outcomes = await asyncio.gather(
            *(agent.step("s", effect, on_ambiguous="retry") for _ in range(3)), return_exceptions=True
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Conflict", "NoneType"]
        assert len(effects.happened) == 1
        with pytest.raises(Conflict) as caught:
            await agent.steps.complete("s", 1)
        assert caught.value.reason is Reason.STEP_CONFLICT
        with pytest.raises(NotFound) as missing:
            await agent.steps.begin("never", retry_of=1)
        assert missing.value.reason is Reason.STEP_NOT_FOUND

    run(scenario)


def test_steps_run_side_by_side_and_are_loaded_when_the_agent_is_resumed() -> None:
    async def scenario(cluster: SimCluster) -> None:
        effects = Effects()
        async with cluster.connect() as client:
            agent = client.agent("a")
            assert await agent.steps.load() == 0
            await asyncio.gather(*(agent.step(f"s{number}", effects, number) for number in range(30)))
            assert sorted(map(str, effects.happened)) == sorted(map(str, range(30)))
            await left_ambiguous(agent, "open")
            resumed = client.agent("a")
            assert await resumed.steps.load() == 30
            cluster.kill("a")
            assert [await resumed.step(f"s{number}", effects) for number in range(30)] == [{"rows": [1, 2]}] * 30
            await cluster.start("a")
            assert len([step async for step in resumed.steps.list(results=True) if step.result]) == 30
            await resumed.delete()
            assert await resumed.step("s1", effects, "anew") == {"rows": [1, 2]}
            assert effects.happened[30:] == ["anew"]

    with SimCluster(nodes=1, seed=1) as cluster:
        cluster.run(scenario)


def test_no_client_hands_in_the_mutations_of_steps() -> None:
    async def scenario(agent: Agent, _: Effects) -> None:
        for kind in ("step.completed", "turn.begun", "step.mine"):
            with pytest.raises(Invalid):
                await agent.record(kind, {"step": "s", "attempt": 1})

    run(scenario)


def test_a_turn_ends_with_its_block_and_is_where_the_agent_is_resumed() -> None:
    async def scenario(agent: Agent, _: Effects) -> None:
        assert (await agent.rehydrate(at_turn=True)).seq == 0
        async with agent.turn(note="hello") as turn:
            await agent.append(ops.set("/n", 1))
            assert (turn.seq, turn.is_resumed) == (1, False)

        async def dies() -> None:
            async with agent.turn():
                await agent.append(ops.set("/n", 2))
                raise RuntimeError("died")

        with pytest.raises(RuntimeError, match="died"):
            await dies()
        snap = await agent.rehydrate(at_turn=True)
        assert (snap.seq, snap.state, snap.open_turn) == (3, {"n": 1}, 4)
        assert [mutation.kind for mutation in snap.tail] == ["turn.begun", "state"]
        short = await agent.rehydrate(at_turn=True, tail=1)
        assert ([mutation.seq for mutation in short.tail], short.tail_truncated) == ([4], True)
        assert (await agent.rehydrate()).state == {"n": 2}

    run(scenario)


def test_a_turn_that_was_left_open_is_told_resumed_or_abandoned() -> None:
    async def scenario(agent: Agent, _: Effects) -> None:
        turn = agent.turn()
        await turn.__aenter__()
        with pytest.raises(Conflict) as caught:
            async with agent.turn():
                pass
        assert (caught.value.reason, caught.value.metadata["turn"]) == (Reason.TURN_CONFLICT, "1")
        async with agent.turn(on_open="resume") as resumed:
            assert (resumed.seq, resumed.is_resumed) == (1, True)
            await resumed.end({"answer": 42})
        await agent.turn().__aenter__()
        async with agent.turn(on_open="abandon") as other:
            assert (other.seq, other.is_resumed) == (4, False)
        with pytest.raises(Conflict):
            await turn.end()
        payloads = [mutation.payload async for mutation in agent.log()]
        assert payloads == [
            {"abandons": 0, "note": None},
            {"turn": 1, "note": {"answer": 42}},
            {"abandons": 0, "note": None},
            {"abandons": 3, "note": None},
            {"turn": 4, "note": None},
        ]

    run(scenario)


def test_under_a_lease_steps_and_turns_go_with_it() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            owner, other = client.agent("a"), client.agent("a")
            async with owner.lease(ttl_s=30):
                assert await owner.step("mine", lambda: 1) == 1
                assert (await owner.steps.get("mine")).epoch == 1
                with pytest.raises(StaleOwner):
                    await other.step("mine", lambda: 2)
                with pytest.raises(StaleOwner):
                    await other.turn().__aenter__()
                async with owner.turn():
                    pass
            assert await other.step("mine", lambda: 2) == 1

    with SimCluster(nodes=1, seed=1) as cluster:
        cluster.run(scenario)
