"""What a program sees of a log whose past went: what it asked for is answered as before, or it is told so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import cast

import pytest

from tallystick import (
    Agent,
    Client,
    Compacted,
    CompactedEvent,
    Conflict,
    NotFound,
    PinnedEvent,
    RetentionEvent,
    RetentionPolicy,
    Revision,
    StepStatus,
    ops,
)
from tallystick.history import ExportReader, beginning, export
from tallystick.testing import SimCluster
from tallystick_node.cli.connection import Connection
from tallystick_node.cli.verify import verified
from tests.sim_cluster.test_verify import Simulated

Scenario = Callable[[SimCluster, Client], Awaitable[None]]
DEADLINE_S = 30.0


def simulated(scenario: Scenario, *, nodes: int = 1) -> None:
    async def with_client(cluster: SimCluster) -> None:
        async with cluster.connect(timeout_s=30.0) as client:
            await scenario(cluster, client)

    with SimCluster(nodes=nodes, seed=7, retention_every_s=1e6) as cluster:
        cluster.run(with_client)


async def grown(agent: Agent, count: int) -> None:
    for _ in range(count):
        await agent.append(ops.increment("/n"))


async def kept_from(client: Client, agent: Agent, mutations: int = 2) -> int:
    """The seq where what is kept begins, once all went but so many."""
    await client.retention.set(RetentionPolicy(max_mutations=mutations))
    assert not any([done.failure async for done in client.retention.run()])
    first = await beginning(agent)
    return first.seq if first is not None else 0


async def restarted(cluster: SimCluster) -> None:
    """Nothing is at hand any more: what is answered comes from the disk."""
    cluster.kill("a")
    await cluster.start("a")


async def found_from(client: Client, agent: str | None, after: Revision, upto: Revision) -> list[object]:
    found: list[object] = []
    async with aclosing(client.watch(agent=agent, after=after)) as events:
        async for event in events:
            found.append(event)
            if event.revision.position >= upto.position:
                return found
    raise AssertionError("a watch has no end")


def test_a_read_of_what_went_says_where_what_is_kept_begins() -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        agent = client.agent("ann")
        await grown(agent, 4)
        await agent.checkpoint("early")
        start = (await agent.read()).time
        await cluster.sleep(5)
        await grown(agent, 16)
        assert await kept_from(client, agent) == 18
        await restarted(cluster)
        assert [(await agent.read(seq=seq)).state for seq in (18, 19, 20)] == [{"n": 18}, {"n": 19}, {"n": 20}]
        for refused in (agent.read(seq=17), agent.read(seq=0), agent.read(time=start), agent.fork("b", at=4)):
            with pytest.raises(Compacted) as error:
                await refused
            assert error.value.metadata["oldest_seq"] == "18"
        with pytest.raises(Compacted):
            async with aclosing(agent.log(after_seq=3)) as log:
                await anext(log)
        assert [mutation.seq async for mutation in agent.log()] == [19, 20]
        snapshot = await agent.rehydrate()
        assert (snapshot.state, [mutation.seq for mutation in snapshot.tail]) == ({"n": 20}, [19, 20])
        (info,) = [info async for info in client.agents()]
        assert (info.seq, info.first_seq) == (20, 19)
        (listed,) = [branch async for branch in agent.branches()]
        assert 0 < listed.log_size_bytes == info.log_size_bytes < 200  # what two mutations take
        assert (await agent.rehydrate(at_turn=True)).seq == 18  # it has no turns: what is kept begins here

    simulated(scenario)


def test_whatever_was_asked_before_is_answered_as_then() -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        agent, other = client.agent("ann"), client.agent("bob")
        done = await agent.append(ops.increment("/n"), idempotency_key="a")
        taken = await agent.checkpoint("early", idempotency_key="c")
        async with client.transaction(idempotency_key="t") as team:
            team.agent("ann").append(ops.increment("/n"))
            team.agent("bob").append(ops.increment("/n"))
        ran: list[int] = []

        def pays(amount: int) -> dict[str, int]:
            ran.append(amount)
            return {"paid": amount}

        assert await agent.step("pay", pays, 1) == {"paid": 1}
        with pytest.raises(ZeroDivisionError):
            await agent.step("fail", lambda: 1 // 0)
        await grown(agent, 10)
        await grown(other, 10)
        seq = (await agent.read()).seq
        assert await kept_from(client, agent) == seq - 2 and await beginning(other) is not None
        await restarted(cluster)
        again = await agent.append(ops.increment("/n"), idempotency_key="a")
        assert (again.seq, again.hash, again.replayed) == (done.seq, done.hash, True)
        assert (await agent.checkpoint("early", idempotency_key="c")).hash == taken.hash
        async with client.transaction(idempotency_key="t") as team:
            team.agent("ann").append(ops.increment("/n"))
            team.agent("bob").append(ops.increment("/n"))
        assert team.result.replayed and team.result.parts[0].seq == 2
        assert await agent.step("pay", pays, 2) == {"paid": 1}
        assert await agent.steps.load() == 1 and await agent.step("pay", pays, 3) == {"paid": 1}
        with pytest.raises(Conflict):
            await agent.step("fail", pays, 4)
        listed = [(step.name, step.status) async for step in agent.steps.list()]
        assert listed == [("fail", StepStatus.FAILED), ("pay", StepStatus.COMPLETED)]
        assert ran == [1] and (await agent.read()).seq == seq

    simulated(scenario)


def test_a_fork_is_answered_as_before_once_its_point_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick_node.core.limits.KEYS_REMEMBERED", 4)
    monkeypatch.setattr("tallystick_node.core.limits.KEYS_PRUNE_STEP", 1)

    async def scenario(cluster: SimCluster, client: Client) -> None:
        agent = client.agent("ann")
        await grown(agent, 3)
        await agent.checkpoint("early")
        early = (await agent.read()).time
        for branch, at in (("a", "early"), ("b", early)):
            await agent.fork(branch, at=at, idempotency_key="k")
            await grown(client.agent("ann", branch=branch), 1)
        await cluster.sleep(5)
        await grown(agent, 16)
        for branch in "ab":
            await grown(client.agent("ann", branch=branch), 1)
        for _ in range(2):
            await client.retention.set(RetentionPolicy(max_mutations=1))
            assert not any([done.failure async for done in client.retention.run()])
        for branch, at in (("a", "early"), ("b", early)):
            assert (await (await agent.fork(branch, at=at, idempotency_key="k")).read()).state == {"n": 5}
        with pytest.raises(NotFound, match="early"):
            await agent.fork("c", at="early", idempotency_key="k")
        with pytest.raises(Compacted):
            await agent.fork("c", at=early, idempotency_key="k")

    simulated(scenario)


def test_what_is_pinned_and_what_a_cut_binds_stays() -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        agent, team = client.agent("ann"), client.team()
        await grown(agent, 3)
        await agent.checkpoint("three")
        await agent.pin("three")
        await grown(agent, 3)
        await team.checkpoint("cut")
        branch = await agent.fork("side")
        await team.checkpoint("other", agents=["ann"])
        await grown(agent, 14)
        await grown(branch, 14)
        for _ in range(2):  # once the branch begins by itself, its parent's past may go too
            assert await kept_from(client, agent)
        await restarted(cluster)
        assert [first.seq for first in [await beginning(agent), await beginning(branch)] if first] == [18, 18]
        for each in (agent, branch):
            assert (await each.read(checkpoint="three")).state == {"n": 3}
            assert [(taken.name, taken.is_pinned) async for taken in each.checkpoints()] == [("three", True)]
        assert [state.state for state in await team.rehydrate("cut")] == [{"n": 6}]
        past = await agent.fork("past", at="three")
        assert (await past.read()).state == {"n": 3} and [mutation async for mutation in past.log()] == []
        await grown(past, 1)
        assert (await past.read()).state == {"n": 4} and (await past.read(seq=3)).state == {"n": 3}
        await agent.unpin("three")
        await team.delete_checkpoint("cut")
        await team.delete_checkpoint("other")
        await branch.delete_branch()
        await grown(agent, 3)
        await kept_from(client, agent)
        assert not (await agent.get_checkpoint("three")).is_pinned  # a retry is still answered from it
        with pytest.raises(Compacted):
            await agent.read(seq=6)
        assert (await past.read(seq=3)).state == {"n": 3} == (await agent.read(seq=3)).state  # merging starts there

    simulated(scenario)


def test_a_branch_that_begins_alone_has_no_turn_to_go_back_to() -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        agent = client.agent("ann")
        await grown(agent, 2)
        async with agent.turn():
            await grown(agent, 2)
        await grown(agent, 2)
        pinned = await agent.checkpoint("here")
        await agent.pin("here")
        async with agent.turn():
            await grown(agent, 6)
        assert await kept_from(client, agent) > pinned.seq
        past = await agent.fork("past", at="here")
        assert (await past.rehydrate(at_turn=True)).state == {"n": 6}
        await grown(past, 9)
        await kept_from(client, agent)
        first = await beginning(past)
        assert first is not None and first.seq == pinned.seq + 7  # and none that holds it
        assert (await past.rehydrate(at_turn=True)).seq == first.seq

    simulated(scenario)


def test_undo_and_merge_go_on() -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        agent = client.agent("ann")
        await grown(agent, 5)
        branch = await agent.fork("side")
        await grown(agent, 6)
        for _ in range(8):
            await branch.append(ops.increment("/m"))
        for _ in range(2):  # once the branch begins by itself, its parent's past goes too
            await kept_from(client, agent)
        first = await beginning(agent)
        assert first is not None and first.seq == 9
        with pytest.raises(Compacted):
            await agent.read(seq=4)
        merged = await agent.history.merge("side")
        assert merged.conflicts == () and (await agent.read()).state == {"n": 11, "m": 8}
        assert await agent.history.undo() and (await agent.read()).state == {"n": 11}
        assert await agent.history.undo() and (await agent.read()).state == {"n": 10}
        assert await agent.history.undo() and (await agent.read()).state == {"n": 9}
        assert await agent.history.undo() is None  # what was before is gone
        assert await agent.history.redo() and (await agent.read()).state == {"n": 10}

    simulated(scenario)


def test_exports_and_verify_begin_where_the_log_does(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        agent = client.agent("ann")
        await grown(agent, 12)
        await kept_from(client, agent)
        empty = await agent.fork("side", at=10)
        for each, bases in ((agent, 10), (empty, 10)):
            reader = ExportReader([line async for line in export(each)])
            assert (len(list(reader)) > 0, reader.base_seq) == (True, bases)
        await grown(agent, 2)
        await cluster.wait_equal()
        assert await verified(cast("Connection", Simulated(cluster)), "") == (0, [])

    simulated(scenario, nodes=3)
    assert '"problems":[]' in capsys.readouterr().out


def test_a_watch_is_told_and_one_that_missed_something_is_refused() -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        agent, other = client.agent("ann"), client.agent("bob")
        began = (await agent.append(ops.set("/n", 0))).revision
        elsewhere = (await other.append(ops.set("/n", 0))).revision
        await grown(agent, 9)
        await agent.checkpoint("nine")
        await agent.pin("nine")
        assert await kept_from(client, agent) == 8
        await agent.unpin("nine")
        last = (await agent.append(ops.increment("/n"))).revision
        told = await found_from(client, None, began, last)  # all of it is at hand: nothing was missed
        kinds = [type(event) for event in told if isinstance(event, (CompactedEvent, PinnedEvent, RetentionEvent))]
        assert kinds == [PinnedEvent, RetentionEvent, CompactedEvent, PinnedEvent]
        await restarted(cluster)
        for watched in (None, "ann"):
            with pytest.raises(Compacted) as error:
                await asyncio.wait_for(found_from(client, watched, began, last), DEADLINE_S)
            assert int(error.value.metadata["oldest"]) > began.position
        oldest = Revision(began.group, int(error.value.metadata["oldest"]))
        seen = await found_from(client, "ann", oldest, last)
        assert [type(event) for event in seen].count(CompactedEvent) == 1
        after = (await other.append(ops.set("/n", 1))).revision
        assert len(await found_from(client, "bob", elsewhere, after)) == 1  # of bob nothing went

    simulated(scenario)
