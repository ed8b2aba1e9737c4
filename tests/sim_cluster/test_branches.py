"""Branches as agents use them: the real client and nodes under virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from tallystick import (
    Agent,
    AlreadyExists,
    BranchDeletedEvent,
    Client,
    Conflict,
    ForkedEvent,
    Invalid,
    MutationEvent,
    NotFound,
    Reason,
    Refused,
    StaleOwner,
    ops,
)
from tallystick._calls import AnswerT, Method, RequestT
from tallystick._methods import fork_method, fork_team_method, list_branches_method
from tallystick.testing import SimCluster
from tallystick.v1 import branch_pb2, common_pb2


def run(scenario: Callable[[Client, Agent], Awaitable[None]], nodes: int = 1) -> None:
    """Runs it with a fresh agent whose log has three mutations and a checkpoint at the second."""

    async def with_agent(cluster: SimCluster) -> None:
        async with cluster.connect(actor="me") as client:
            agent = client.agent("a")
            await agent.append(ops.set("/n", 1))
            await agent.append(ops.set("/n", 2))
            await agent.checkpoint("two")
            await agent.append(ops.set("/n", 3))
            await scenario(client, agent)

    with SimCluster(nodes=nodes, seed=7) as cluster:
        cluster.run(with_agent)


async def names(agent: Agent) -> dict[str, tuple[str, int, int]]:
    return {info.name: (info.parent, info.fork_seq, info.seq) async for info in agent.branches()}


def test_a_branch_shares_the_past_and_goes_its_own_way() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        trial = await agent.fork("trial", at="two")
        assert (trial.name, trial.branch, agent.branch) == ("a", "trial", "main")
        await trial.append(ops.set("/trial", "x"))
        await agent.append(ops.set("/n", 4))
        assert (await trial.read()).state == {"n": 2, "trial": "x"}
        assert (await agent.read()).state == {"n": 4}
        shared = [mutation.hash async for mutation in agent.log()][:2]
        assert [mutation.hash async for mutation in trial.log()][:2] == shared
        assert [checkpoint.name async for checkpoint in trial.checkpoints()] == ["two"]
        snapshot = await client.agent("a", branch="trial").rehydrate()
        assert snapshot.checkpoint is not None
        assert (snapshot.seq, snapshot.checkpoint.name, len(snapshot.tail)) == (3, "two", 1)
        assert await names(agent) == {"main": ("", 0, 4), "trial": ("main", 2, 3)}
        assert [info.name async for info in client.agents()] == ["a"]

    run(scenario, nodes=3)


@pytest.mark.parametrize(("at", "seq"), [(None, 3), (0, 0), (1, 1), ("two", 2), (datetime(2200, 1, 1, tzinfo=UTC), 3)])
def test_where_a_branch_may_begin(at: int | str | datetime | None, seq: int) -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        await agent.fork("b", at=at)
        assert await names(agent) == {"main": ("", 0, 3), "b": ("main", seq, seq)}

    run(scenario)


def test_a_branch_may_begin_where_the_last_turn_ended() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        async with agent.turn():
            await agent.append(ops.set("/n", 4))
        ended = (await agent.read()).seq
        await agent.append(ops.set("/n", 5))
        branch = await agent.fork("b", at_turn=True)
        assert (await branch.read()).seq == ended
        with pytest.raises(Invalid):
            await agent.fork("c", at=1, at_turn=True)

    run(scenario)


def test_a_retry_has_one_effect_and_another_request_is_told() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        await agent.fork("b", idempotency_key="k")
        await agent.append(ops.set("/n", 4))
        again = await agent.fork("b", idempotency_key="k")  # at head, which has moved: the same request all the same
        assert (await again.read()).seq == 3
        with pytest.raises(Invalid) as reused:
            await agent.fork("b", at=1, idempotency_key="k")
        assert reused.value.reason is Reason.KEY_REUSED
        with pytest.raises(AlreadyExists) as taken:
            await agent.fork("b")
        assert taken.value.reason is Reason.BRANCH_EXISTS

    run(scenario)


def test_what_is_not_there() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        missing = client.agent("a", branch="missing")
        writes = (
            missing.append(ops.set("/n", 1)),
            missing.rehydrate(),
            missing.fork("b"),
            missing.delete_branch(),
        )
        for call in writes:
            with pytest.raises(NotFound) as caught:
                await call
            assert caught.value.reason is Reason.BRANCH_NOT_FOUND
        reasons: dict[int | str, Reason] = {"four": Reason.CHECKPOINT_NOT_FOUND, 4: Reason.SEQ_NOT_FOUND}
        for at, reason in reasons.items():
            with pytest.raises(NotFound) as caught:
                await agent.fork("b", at=at)
            assert caught.value.reason is reason
        with pytest.raises(NotFound):
            await client.agent("nobody").fork("b")
        with pytest.raises(NotFound):
            await names(client.agent("nobody"))

    run(scenario)


def test_the_end_of_a_branch_and_of_all() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        trial = await agent.fork("trial")
        deeper = await trial.fork("deeper")
        with pytest.raises(Conflict) as in_use:
            await trial.delete_branch()
        assert in_use.value.reason is Reason.BRANCH_IN_USE
        await deeper.delete_branch(idempotency_key="d")
        await deeper.delete_branch(idempotency_key="d")
        with pytest.raises(Conflict):
            await trial.delete_branch(expected_seq=1)
        await trial.delete_branch(expected_seq=3)
        for wrong in (agent.delete_branch(), (await agent.fork("again")).delete()):
            with pytest.raises(Invalid):
                await wrong
        await agent.delete()
        with pytest.raises(NotFound):
            await client.agent("a", branch="again").read()

    run(scenario)


def test_a_branch_under_a_lease() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        trial = await agent.fork("trial")
        async with trial.lease(ttl_s=10):
            await trial.append(ops.set("/n", 5))
            await agent.append(ops.set("/n", 4))  # a lease is of one branch
            with pytest.raises(StaleOwner):
                await client.agent("a", branch="trial").append(ops.set("/n", 6))
            with pytest.raises(StaleOwner):
                await client.agent("a", branch="trial").delete_branch()
            await trial.fork("beside")  # writes nothing there
            assert (await trial.describe_lease()).branch == "trial"

    run(scenario)


def test_steps_of_the_shared_past_are_not_taken_again() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        async def effect(value: int) -> int:
            happened.append(value)
            return value

        happened: list[int] = []
        assert await agent.step("one", effect, 1) == 1
        trial = await agent.fork("trial")
        assert await agent.step("two", effect, 2) == 2
        assert [await trial.step("one", effect, 10), await trial.step("two", effect, 20)] == [1, 20]
        assert happened == [1, 2, 20]
        assert {step.name: step.result async for step in trial.steps.list(results=True)} == {"one": 1, "two": 20}

    run(scenario)


def test_history_works_on_a_branch() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        trial = await agent.fork("trial", at=2)
        await trial.append(ops.set("/trial", 1))
        await trial.history.undo()
        await trial.history.undo()
        assert (await trial.read()).state == {"n": 1}
        assert (await agent.read()).state == {"n": 3}

    run(scenario)


def test_a_team_is_forked_at_one_revision() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        for number in range(3):
            await client.agent(f"t/{number}").append(ops.set("/n", 1))
        revision = (await client.agent("t/2").read()).revision
        await client.agent("t/0").append(ops.set("/n", 2))
        await client.agent("t/9").append(ops.set("/n", 2))
        forked = await client.fork_team("t/", "then", revision)
        assert [(each.agent, each.branch, each.fork_seq) for each in forked] == [
            (f"t/{number}", "then", 1) for number in range(3)
        ]
        assert (await client.agent("t/0", branch="then").read()).state == {"n": 1}
        now = await client.fork_team("t/", "now")
        assert [(each.agent, each.fork_seq) for each in now] == [("t/0", 2), ("t/1", 1), ("t/2", 1), ("t/9", 1)]
        deeper = await client.fork_team("t/", "deeper", source_branch="then")
        assert [each.parent for each in deeper] == ["then"] * 3
        with pytest.raises(AlreadyExists):
            await client.fork_team("t/", "then")
        with pytest.raises(NotFound):
            await client.fork_team("nobody/", "b")
        assert [each.agent for each in await client.fork_team("", "all")] == ["a", "t/0", "t/1", "t/2", "t/9"]

    run(scenario)


def test_who_watches_an_agent_sees_its_branches() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        revision = (await agent.read()).revision
        trial = await agent.fork("trial", at=1)
        await trial.append(ops.set("/n", 9))
        await agent.append(ops.set("/n", 4))
        await trial.delete_branch()
        await agent.append(ops.set("/n", 5))
        seen: list[tuple[type, str, int]] = []
        async for event in client.watch(agent="a", after=revision):
            match event:
                case MutationEvent():
                    seen.append((MutationEvent, event.branch, event.mutation.seq))
                case ForkedEvent():
                    assert (event.parent, event.actor) == ("main", "me")
                    seen.append((ForkedEvent, event.branch, event.fork_seq))
                case BranchDeletedEvent():
                    seen.append((BranchDeletedEvent, event.branch, event.last_seq))
                case _:
                    raise AssertionError(event)
            if len(seen) == 5:
                break
        assert seen == [
            (ForkedEvent, "trial", 1),
            (MutationEvent, "trial", 2),
            (MutationEvent, "main", 4),
            (BranchDeletedEvent, "trial", 2),
            (MutationEvent, "main", 5),
        ]

    run(scenario)


def test_requests_that_break_a_rule() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        async def refused(method: Method[RequestT, AnswerT], request: RequestT) -> Reason:
            with pytest.raises(Refused) as caught:
                await client._calls.write(method, request, key="", timeout_s=None)
            return caught.value.reason

        ref = common_pb2.AgentRef(namespace=client.namespace, agent="a")
        forks = {
            Reason.SEQ_NOT_FOUND: branch_pb2.ForkRequest(agent=ref, branch="b", seq=2**64 - 1),
            Reason.INVALID_NAME: branch_pb2.ForkRequest(agent=ref, branch=""),
            Reason.TOO_LARGE: branch_pb2.ForkRequest(agent=ref, branch="b", idempotency_key="k" * 65),
            Reason.TIME_NOT_FOUND: branch_pb2.ForkRequest(agent=ref, branch="b", time_unix_ms=0),
            Reason.CHECKPOINT_NOT_FOUND: branch_pb2.ForkRequest(agent=ref, branch="b", checkpoint=""),
        }
        for reason, request in forks.items():
            assert await refused(fork_method, request) is reason
        team = branch_pb2.ForkTeamRequest(namespace=client.namespace, branch="b")
        assert await refused(fork_team_method, team) is Reason.INVALID_REQUEST
        team.revision.CopyFrom(common_pb2.Revision(group=1, position=2**64 - 1))
        assert await refused(fork_team_method, team) is Reason.INVALID_REQUEST
        page = branch_pb2.ListBranchesRequest(agent=ref, limit=1001)
        assert await refused(list_branches_method, page) is Reason.TOO_LARGE
        assert await names(agent) == {"main": ("", 0, 3)}

    run(scenario)


def test_branches_are_listed_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick._branches.PAGE", 2)

    async def scenario(client: Client, agent: Agent) -> None:
        first = await agent.fork("z")
        for name in ("a", "b", "c"):
            await first.fork(name)
        assert [(name, parent) for name, (parent, _, _) in (await names(agent)).items()] == [
            ("a", "z"), ("b", "z"), ("c", "z"), ("main", ""), ("z", "main"),
        ]  # fmt: skip

    run(scenario)
