"""What was read goes along with what is written, is compared, and is looked after: through clients, in simulated
clusters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import cast

import click
import pytest

from tallystick import (
    CausalRelation,
    ChangeKind,
    Changes,
    Client,
    Comparison,
    Invalid,
    LogPoint,
    Mutation,
    NotFound,
    Observed,
    ObservedLog,
    ops,
)
from tallystick.testing import SimCluster
from tallystick_node.cli.causality import compare_points, show_changed
from tallystick_node.cli.connection import Connection

BEFORE, AFTER, CONCURRENT = CausalRelation.BEFORE, CausalRelation.AFTER, CausalRelation.CONCURRENT


def run(scenario: Callable[[SimCluster], Awaitable[None]], *, nodes: int = 1, contexts: bool = False) -> None:
    with SimCluster(nodes=nodes, seed=1, contexts=contexts) as cluster:
        cluster.run(scenario)


async def write(client: Client, name: str, times: int = 1) -> None:
    for _ in range(times):
        await client.agent(name).append(ops.increment("/n", 1))


async def carried(client: Client, name: str) -> list[list[str]]:
    """What each mutation of an agent says was read."""
    log = client.agent(name).log()
    return [[str(each) for each in (entry.mutation.observed or Observed()).logs] async for entry in log]


def path(comparison: Comparison) -> list[str]:
    return [f"{each.at} <- {each.observed}" for each in comparison.path]


def test_each_mutation_carries_what_is_new() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as others, cluster.connect() as client, cluster.connect() as looking:
            await write(others, "a", 2)
            await write(others, "b")
            agent = client.agent("me")
            await agent.append(ops.set("/x", 1))
            snapshot = await client.agent("a").rehydrate()
            assert agent.observed == Observed((ObservedLog("a", 2, hash=snapshot.hash),))
            await agent.append(ops.set("/x", 2))
            await agent.append(ops.set("/x", 3))
            await client.agent("a").read(seq=1)
            await client.agent("b").rehydrate()
            await agent.append(ops.set("/x", 4))
            taken = await agent.checkpoint("c")
            assert [str(each) for each in (taken.observed or Observed()).logs] == ["a@2", "b@1"]
            assert taken == await client.agent("me").get_checkpoint("c")
            await write(client, "other")  # of the same program: it carries all that was read, and of the other log too
            assert await carried(looking, "me") == [[], ["a@2"], [], ["b@1"]]
            assert await carried(looking, "other") == [["a@2", "b@1", "me@4"]]

    run(scenario)


def test_before_after_and_concurrent_with_the_path() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as one, cluster.connect() as two, cluster.connect() as three:
            await write(one, "a", 2)
            await two.agent("a").rehydrate()
            await write(two, "b")
            await write(one, "a")
            await three.agent("b").rehydrate()
            await write(three, "c")
            found = await three.compare("a@2", "c@1")
            assert (found.relation, path(found), found.has_gaps) == (BEFORE, ["c@1 <- b@1", "b@1 <- a@2"], False)
            assert (found.a.point, found.b.point) == (LogPoint("a", 2), LogPoint("c", 1))
            assert (await three.compare("c", "a@1")).relation is AFTER
            assert (await three.compare("a@3", "c@1")).relation is CONCURRENT
            assert (await three.compare("a@1", "a@3")).relation is BEFORE
            assert (await three.compare("a@3", "a")).relation is CausalRelation.SAME
            await one.agent("a").fork("side", at=2)
            assert (await three.compare("a#side", "a@2")).relation is CausalRelation.SAME
            await one.agent("a", branch="side").append(ops.set("/n", 0))
            assert (await three.compare("a#side@3", "a@3")).relation is CONCURRENT
            assert (await three.compare("a#side@3", "a@2")).relation is AFTER
            with pytest.raises(NotFound):
                await three.compare("a@9", "b@1")
            with pytest.raises(NotFound):
                await three.compare("nobody", "b@1")

    run(scenario)


def test_steps_turns_streams_transactions_and_outboxes_carry_it_too(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as others, cluster.connect() as client, cluster.connect() as looking:
            await write(others, "a")

            async def news() -> None:
                await write(others, "a")
                await client.agent("a").rehydrate()

            await news()
            await client.agent("step").step("s", lambda: 1)
            async with client.agent("turn").turn():
                await news()
            async with client.agent("stream").stream() as stream:
                for _ in range(2):
                    await stream.append(ops.increment("/n", 1))
                await news()
                await stream.append(ops.increment("/n", 1))
            async with client.transaction() as team:
                team.agent("part").append(ops.increment("/n", 1)).append(ops.increment("/n", 1))
            async with client.agent("boxed").outbox(tmp_path / "box") as box:
                await box.append(ops.increment("/n", 1))
                await news()
                await box.go_offline()
                await box.append(ops.increment("/n", 1))
                await news()
                await box.reconcile()
            assert await carried(looking, "step") == [["a@2"], []]
            assert await carried(looking, "turn") == [["a@2"], ["a@3"]]
            assert await carried(looking, "stream") == [["a@3"], [], ["a@4"]]
            assert await carried(looking, "part") == [["a@4"], []]
            assert await carried(looking, "boxed") == [["a@4"], ["a@5"]]

    run(scenario)


def test_who_observes_nothing_says_nothing_and_what_cannot_be_counts_for_nothing() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as others, cluster.connect(observe=False) as client:
            await write(others, "a", 3)
            await client.agent("a").rehydrate()
            await write(client, "b")
            assert await carried(client, "b") == [[]]
            for lie in (ObservedLog("a", 9), ObservedLog("a", 2, hash=b"x" * 32), ObservedLog("nobody", 1)):
                told = Mutation("note", observed=Observed((lie,)))
                seq = (await client.agent("b").append_many((told,))).seq
                assert (await client.compare("a@1", f"b@{seq}")).relation is CONCURRENT
            with pytest.raises(Invalid):
                await client.agent("b").append_many(
                    (Mutation("note", observed=Observed((ObservedLog("a", 1), ObservedLog("a", 2)))),)
                )

    run(scenario)


def test_a_retry_may_have_read_more() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as others, cluster.connect() as client:
            await write(others, "a")
            first = await client.agent("me").append(ops.set("/x", 1), idempotency_key="k")
            async with client.transaction(idempotency_key="t") as team:
                team.agent("me").append(ops.set("/x", 2))
            await client.agent("a").rehydrate()
            again = await client.agent("me").append(ops.set("/x", 1), idempotency_key="k")
            assert (again.replayed, again.seq) == (True, first.seq)
            async with client.transaction(idempotency_key="t") as team:
                team.agent("me").append(ops.set("/x", 2))
            assert team.result.replayed
            await client.agent("me").append(ops.set("/x", 3))
            assert await carried(client, "me") == [[], [], ["a@1"]]

    run(scenario)


def test_what_another_program_told_counts() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as one, cluster.connect() as two:
            await write(one, "a")
            await one.agent("a").rehydrate()
            two.observe(Observed.from_json(one.observed.to_json()))
            await write(two, "b")
            assert (await two.compare("a@1", "b@1")).relation is BEFORE
            with pytest.raises(Invalid):
                Observed.from_json('{"logs": [[1]], "contexts": []}')

    run(scenario)


def test_a_deleted_agent_leaves_a_gap() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as one, cluster.connect() as two, cluster.connect() as three:
            await write(one, "a")
            await two.agent("a").rehydrate()
            await write(two, "b")
            await three.agent("b").rehydrate()
            await write(three, "c")
            await two.agent("b").delete()
            found = await three.compare("a@1", "c@1")
            assert (found.relation, found.has_gaps) == (CONCURRENT, True)
            await write(two, "b", 2)
            assert (await three.compare("b@1", "c@1")).relation is CONCURRENT

    run(scenario)


def test_an_agent_made_anew_is_told_again_what_was_read() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as one, cluster.connect() as two:
            await write(one, "a")
            await two.agent("a").rehydrate()
            await write(two, "b")
            await two.agent("b").delete()
            await write(two, "b")
            assert (await two.compare("a@1", "b@1")).relation is BEFORE

    run(scenario)


def test_what_changed_of_what_was_read() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as others, cluster.connect() as client:
            for name in ("same", "more", "gone", "another"):
                await write(others, name, 2)
                await client.agent(name).rehydrate()
            await client.agent("me").rehydrate()
            await write(client, "me", 2)
            await client.agent("me").rehydrate()
            await write(client, "me")
            assert not await client.changed()
            await write(others, "more")
            await others.agent("gone").delete()
            await others.agent("another").delete()
            await write(others, "another", 3)
            await others.agent("later").append(ops.set("/x", 1))
            changes = await client.changed()
            assert {(each.agent, each.kind, each.seen_seq, each.seq) for each in changes.logs} == {
                ("more", ChangeKind.MORE, 2, 3),
                ("gone", ChangeKind.GONE, 2, 0),
                ("another", ChangeKind.ANOTHER, 2, 3),
            }
            many = Observed(tuple(ObservedLog(f"agent-{at}", 1) for at in range(200)))
            assert len((await client.changed(many)).logs) == 200
            await write(others, "me")
            assert [each.agent for each in (await client.changed(client.agent("x").observed)).logs][-1] == "me"

    run(scenario)


def test_a_transaction_of_many_is_not_too_large_by_what_it_carries() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as others, cluster.connect() as client:
            await write(others, "a" * 200)
            await client.agent("a" * 200).rehydrate()
            seen = client.observed.logs[0]
            client.observe(Observed(tuple(ObservedLog(f"{at}-{'x' * 190}", 1, hash=seen.hash) for at in range(63))))
            async with client.transaction() as team:
                for at in range(100):
                    team.agent(f"part-{at}").append(ops.set("/x", "y" * 4000))
            assert len((await carried(client, "part-0"))[0]) == 64
            assert await carried(client, "part-99") == [[]]
            await write(client, "part-99")
            assert len((await carried(client, "part-99"))[1]) == 64

    run(scenario)


async def first(changes: AsyncGenerator[Changes, None]) -> Changes:
    async with asyncio.timeout(20):
        return await anext(changes)


def test_a_watch_of_what_was_read_survives_its_node() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as others, cluster.connect() as client:
            await write(others, "a")
            await write(others, "b")
            await client.agent("a").rehydrate()
            await write(others, "a")
            async with aclosing(client.watch_changed()) as changes:
                told = await first(changes)
                assert [(each.agent, each.seq) for each in told.logs] == [("a", 2)]
                await write(others, "b")
                await write(others, "a")
                assert [(each.agent, each.seq) for each in (await first(changes)).logs] == [("a", 3)]
                for node_id in cluster.node_ids:
                    await cluster.restart(node_id)
                await write(others, "a")
                assert [(each.agent, each.seq) for each in (await first(changes)).logs] == [("a", 4)]
                await others.agent("a").delete()
                assert (await first(changes)).logs[0].kind is ChangeKind.GONE
            with pytest.raises(Invalid):
                await anext(client.watch_changed(Observed(tuple(ObservedLog(f"a-{at}", 1) for at in range(65)))))

    run(scenario, nodes=3)


def test_contexts_that_were_read() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(actor="o") as others, cluster.connect(actor="c") as client:
            async with others.context("plan") as theirs, client.context("plan") as ours:
                theirs.map("tasks")["t1"] = "open"
                await theirs.flush(ack="local")
                while "t1" not in ours.map("tasks"):
                    await cluster.sleep(0.1)
                await cluster.sleep(1)
                await write(client, "me")
                (entry,) = [each async for each in client.agent("me").log()]
                (seen,) = (entry.mutation.observed or Observed()).contexts
                assert (seen.name, seen.guid, seen.cursor.guid) == ("plan", ours.guid, ours.guid)
                assert not await client.changed()
                async with aclosing(client.watch_changed(Observed(contexts=(seen,)))) as changes:
                    del theirs.map("tasks")["t1"]
                    await theirs.flush(ack="local")
                    told = await first(changes)
                    assert [(each.name, each.kind) for each in told.contexts] == [("plan", ChangeKind.MORE)]
                    await others.delete_context("plan")
                    assert [each.kind for each in (await first(changes)).contexts] == [ChangeKind.GONE]
            changed = await client.changed(Observed(contexts=(seen,)))
            assert [each.kind for each in changed.contexts] == [ChangeKind.GONE]

    run(scenario, contexts=True)


class Shown:
    """A `Connection` to a simulated cluster."""

    def __init__(self, cluster: SimCluster, *, as_json: bool) -> None:
        self.as_json = as_json
        self._cluster = cluster

    def open(self) -> Client:
        return self._cluster.connect()


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(cluster: SimCluster) -> None:
        people = cast("Connection", Shown(cluster, as_json=False))
        programs = cast("Connection", Shown(cluster, as_json=True))
        async with cluster.connect() as one, cluster.connect() as two:
            await write(one, "a", 2)
            await two.agent("a").rehydrate()
            await write(two, "b")
        await compare_points(people, "b", "a@1")
        assert capsys.readouterr().out == "b@1 happened after a@1\n  b@1 had read a@2\n"
        await compare_points(programs, "a@2", "b@1")
        told = json.loads(capsys.readouterr().out)
        assert (told["relation"], told["a"]["seq"], told["path"][0]["observed"]["agent"]) == ("before", 2, "a")
        await show_changed(people, ("a@1", "b@1"), follow=False)
        assert "more" in capsys.readouterr().out
        await show_changed(programs, ("a@1", "b@1"), follow=False)
        assert json.loads(capsys.readouterr().out)["logs"][0] | {"hash": ""} == {
            "agent": "a",
            "branch": "main",
            "kind": "more",
            "seen_seq": 1,
            "seq": 2,
            "hash": "",
        }
        for nothing in ("b", "b@head", "b@x"):
            with pytest.raises(click.UsageError, match="AGENT@SEQ"):
                await show_changed(people, (nothing,), follow=False)

    run(scenario)


def test_points_as_text() -> None:
    assert LogPoint.parse("planner@12") == LogPoint("planner", 12)
    assert LogPoint.parse("crew/bob@home#trial@3") == LogPoint("crew/bob@home", 3, "trial")
    assert LogPoint.parse("bob@home") == LogPoint("bob@home")
    assert str(LogPoint.parse("a#side@head")) == "a#side@head"
    with pytest.raises(Invalid):
        LogPoint.parse("#x@1")
    with pytest.raises(Invalid):
        LogPoint.parse("a@0")
