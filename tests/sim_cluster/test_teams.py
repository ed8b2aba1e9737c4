"""Transactions and cuts through teams in simulated clusters: decided as one, read and rolled back at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import pytest

from tallystick import (
    AlreadyExists,
    Client,
    Conflict,
    Invalid,
    NotFound,
    Operation,
    Reason,
    StaleOwner,
    Team,
    TeamCheckpoint,
    TeamCheckpointDeletedEvent,
    TeamCheckpointEvent,
    TeamTransaction,
    Transacted,
    ops,
)
from tallystick.contexts.cursor import Cursor
from tallystick.testing import SimCluster

CURSOR = Cursor(bytes(16), 3, b"\x01\x02", b"d" * 16, "n1", 7)


def run(scenario: Callable[[SimCluster], Awaitable[None]], *, nodes: int = 1) -> None:
    with SimCluster(nodes=nodes, seed=1) as cluster:
        cluster.run(scenario)


async def begin(client: Client, **balances: int) -> None:
    async with client.transaction() as team:
        for name, balance in balances.items():
            team.agent(name).append(ops.set("/n", balance), cause="begin")


async def transact(client: Client, parts: Mapping[str, tuple[Operation, ...]], **expected_seqs: int) -> Transacted:
    """One mutation of each, or none where there are no operations."""
    async with client.transaction() as team:
        for name, operations in parts.items():
            part = team.agent(name, expected_seq=expected_seqs.get(name))
            if operations:
                part.append(*operations)
    return team.result


async def balances(client: Client) -> dict[str, object]:
    return {info.name: (await client.agent(info.name).read()).state async for info in client.agents()}


def test_a_transaction_is_all_or_nothing() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(actor="bank") as client:
            await begin(client, a=10, b=0)
            async with client.transaction() as team:
                team.agent("a", expected_seq=1).append(ops.increment("/n", -3), cause="pay").record("paid", {"to": "b"})
                team.agent("b").append(ops.increment("/n", 3))
                assert team.agent("b") is team.agent("b", expected_seq=1)
            first, second = team.result.parts
            assert (first.agent, first.first_seq, first.seq, second.seq) == ("a", 2, 3, 2)
            assert second.revision == team.result.revision
            assert [mutation.cause async for mutation in client.agent("a").log()] == ["begin", "pay", ""]

            before = await balances(client)
            pay = {"a": (ops.increment("/n", -1),), "b": (ops.increment("/n", 1),)}
            with pytest.raises(Conflict) as stale:
                await transact(client, pay, b=1)
            assert (stale.value.metadata["agent"], stale.value.metadata["head_seq"]) == ("b", "2")
            with pytest.raises(Invalid) as unfit:
                await transact(client, {"new": (ops.set("/n", 1),), "b": (ops.delete("/missing"),)})
            assert (unfit.value.reason, unfit.value.metadata["agent"]) == (Reason.INVALID_OPERATION, "b")
            with pytest.raises(Invalid) as empty:
                await transact(client, {"a": pay["a"], "b": ()})
            assert empty.value.metadata["agent"] == "b"
            with pytest.raises(Invalid):
                await transact(client, {"b": ()}, b=2)
            assert await balances(client) == before == {"a": {"n": 7}, "b": {"n": 3}}

    run(scenario)


def test_a_part_may_only_say_where_its_log_must_end() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            await begin(client, a=1, b=1)
            async with client.agent("b").lease():  # who only looks needs none
                done = await transact(client, {"b": (), "a": (ops.increment("/n", 1),), "new": ()}, b=1, new=0)
            assert [(part.agent, part.seq) for part in done.parts] == [("a", 2)]
            await client.agent("b").append(ops.set("/n", 5))
            for stale in ({"b": 1}, {"b": 2, "new": 1}):
                with pytest.raises(Conflict):
                    await transact(client, {"a": (ops.set("/n", 9),), **dict.fromkeys(stale, ())}, **stale)
            assert await balances(client) == {"a": {"n": 2}, "b": {"n": 5}}

    run(scenario)


@pytest.mark.parametrize("name", ["a", "still"])
def test_a_roll_back_is_refused_when_one_goes_on_meanwhile(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that went on before, and one that was still where the cut has it."""

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client, cluster.connect() as other:
            await begin(client, a=1, still=1)
            team = client.team()
            cut = await team.checkpoint("c1")
            await client.agent("a").append(ops.increment("/n", 1))

            async def meanwhile(_team: Team, _name: str, *, timeout_s: float | None) -> TeamCheckpoint:
                await other.agent(name).append(ops.increment("/n", 1), timeout_s=timeout_s)
                return cut

            with monkeypatch.context() as patched:
                patched.setattr(Team, "get_checkpoint", meanwhile)
                with pytest.raises(Conflict) as refused:
                    await team.roll_back("c1")
            assert refused.value.metadata["agent"] == name
            assert (await client.agent("a").read()).state != {"n": 1}
            assert await team.roll_back("c1") is not None
            assert await balances(client) == {"a": {"n": 1}, "still": {"n": 1}}

    run(scenario)


def test_what_is_not_sent() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            with pytest.raises(ZeroDivisionError):
                async with client.transaction() as team:
                    team.agent("a").append(ops.set("/n", 1 // 0))
            async with client.transaction() as nothing:
                pass
            over: list[TeamTransaction] = [team, nothing]
            for each in over:
                with pytest.raises(Invalid):
                    each.agent("a")
                with pytest.raises(Invalid):
                    _ = each.result
            assert [info async for info in client.agents()] == []

    run(scenario)


def test_a_retry_has_one_effect_and_leases_are_heeded() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            for replayed in (False, True):
                async with client.transaction(idempotency_key="k") as team:
                    team.agent("a").append(ops.increment("/n", 1))
                    team.agent("b").append(ops.increment("/n", 1))
                assert team.result.replayed is replayed
                assert [part.seq for part in team.result.parts] == [1, 1]
            assert await balances(client) == {"a": {"n": 1}, "b": {"n": 1}}
            async with client.agent("b").lease() as lease:
                for epoch in (0, lease.epoch):
                    team = client.transaction()
                    team.agent("a").append(ops.increment("/n", 1))
                    team.agent("b", epoch=epoch).append(ops.increment("/n", 1))
                    if epoch:
                        async with team:
                            pass
                    else:
                        with pytest.raises(StaleOwner):
                            async with team:
                                pass
            assert await balances(client) == {"a": {"n": 2}, "b": {"n": 2}}

            holder, side = client.agent("b"), await client.agent("b").fork("side")
            async with holder.lease() as lease:
                assert (holder.epoch, side.epoch) == (lease.epoch, 0)
                async with client.transaction() as team:
                    team.agent(holder).append(ops.increment("/n", 1))
                    team.agent(side).append(ops.set("/n", 9))
                assert [(part.agent, part.branch) for part in team.result.parts] == [("b", "main"), ("b", "side")]
            assert await balances(client) == {"a": {"n": 2}, "b": {"n": 3}}

    run(scenario)


def test_a_cut_is_read_listed_and_watched() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(actor="me") as client:
            await begin(client, **{"crew/a": 1, "crew/b": 2, "other": 3})
            crew, seen = client.team("crew/"), client.session
            cut = await crew.checkpoint("c1", contexts={"plan": CURSOR}, metadata={"step": 1}, idempotency_key="k")
            assert (cut.prefix, cut.branch, cut.agents, cut.actor) == ("crew/", "main", 2, "me")
            assert [(member.agent, member.seq) for member in cut.members] == [("crew/a", 1), ("crew/b", 1)]
            assert (cut.contexts, cut.metadata) == ({"plan": CURSOR}, {"step": 1})
            again = await crew.checkpoint("c1", contexts={"plan": CURSOR}, metadata={"step": 1}, idempotency_key="k")
            assert again == cut == await crew.get_checkpoint("c1")
            with pytest.raises(AlreadyExists):
                await crew.checkpoint("c1", contexts={"plan": CURSOR}, metadata={"step": 1})
            listed = await client.team().checkpoint("c2", agents=["other"])
            assert (listed.prefix, listed.agents) == (None, 1)
            with pytest.raises(NotFound):
                await crew.get_checkpoint("never")
            assert [each.name async for each in client.team().checkpoints()] == ["c1", "c2"]

            await client.agent("crew/a").append(ops.set("/n", 9))
            await client.agent("crew/b").delete()
            await client.agent("crew/b").append(ops.set("/n", 8))
            states = await crew.rehydrate("c1")
            assert [(state.member.agent, state.state, state.is_gone) for state in states] == [
                ("crew/a", {"n": 1}, False),
                ("crew/b", None, True),
            ]
            assert [state.head_seq for state in states] == [2, 1]
            assert [state.state async for state in client.team().states("c2", changed_only=True)] == []
            async for event in client.watch(after=seen[0]):
                if isinstance(event, TeamCheckpointEvent):
                    assert (event.name, event.agents, event.hash, event.revision) == ("c1", 2, cut.hash, cut.revision)
                    break

    run(scenario)


def test_a_cut_is_removed_once_and_its_name_is_free() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            await begin(client, a=1, b=2)
            team = client.team()
            first = await team.checkpoint("c1")
            gone = await team.delete_checkpoint("c1")
            with pytest.raises(NotFound) as nothing:
                await team.get_checkpoint("c1")
            assert nothing.value.reason is Reason.TEAM_CHECKPOINT_NOT_FOUND
            with pytest.raises(NotFound):
                await team.delete_checkpoint("c1")
            again = await team.checkpoint("c1")
            assert again.revision.position > gone.position
            async for event in client.watch(after=first.revision):
                if isinstance(event, TeamCheckpointDeletedEvent):
                    assert (event.name, event.taken, event.revision) == ("c1", first.revision, gone)
                    break

    run(scenario)


def test_all_go_back_at_once() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            await begin(client, a=1, b=2, still=3)
            team = client.team()
            cut = await team.checkpoint("c1")
            assert await team.roll_back("c1") is None
            await client.agent("a").append(ops.set("/n", 9))
            await client.agent("b").append(ops.replace([1]))
            done = await team.roll_back("c1")
            assert done is not None
            assert [(part.agent, part.seq) for part in done.parts] == [("a", 3), ("b", 3)]
            assert await balances(client) == {"a": {"n": 1}, "b": {"n": 2}, "still": {"n": 3}}
            assert [each.cause async for each in client.agent("b").log()][-1] == "rollback:c1"

            forked = await team.fork("c1", "again")
            assert [(each.agent, each.fork_seq) for each in forked] == [("a", 1), ("b", 1), ("still", 1)]
            assert (await client.agent("b", branch="again").read()).state == {"n": 2}
            branch_cut = await client.team(branch="again").checkpoint("c2")
            assert [member.hash for member in branch_cut.members] == [member.hash for member in cut.members]

            async with client.agent("a").lease() as lease:
                with pytest.raises(StaleOwner):
                    await team.roll_back("c1")
                assert await team.roll_back("c1", epochs={"a": lease.epoch}) is not None
            await client.agent("b").delete()
            with pytest.raises(NotFound) as gone:
                await team.roll_back("c1")
            assert gone.value.metadata["agent"] == "b"
            await client.team().checkpoint("listed", agents=["a"])
            with pytest.raises(Invalid):
                await team.fork("listed", "more")

    run(scenario)


def test_what_is_too_much_for_one_transaction_is_told_to_fork() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            for name in ("a", "b", "c"):
                await client.agent(name).append(ops.set("/text", name * 900_000))
            team = client.team()
            await team.checkpoint("c1")
            for name in ("a", "b", "c"):
                await client.agent(name).append(ops.delete("/text"))
            with pytest.raises(Invalid, match="fork") as refused:
                await team.roll_back("c1")
            assert refused.value.reason is Reason.TOO_LARGE
            assert (await client.agent("a").read()).seq == 2
            assert [len(state.state_json) for state in await team.rehydrate("c1")] == [900_011] * 3

    run(scenario)


def test_more_agents_than_a_page_holds() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            names = [f"a{number:03}" for number in range(150)]
            for half in (names[:100], names[100:]):
                await begin(client, **dict.fromkeys(half, 1))
            team = client.team()
            assert (await team.checkpoint("c1")).agents == 150
            assert [state.member.agent for state in await team.rehydrate("c1")] == names
            await client.agent("a149").append(ops.set("/n", 2))
            assert [state.head_seq async for state in team.states("c1", changed_only=True)] == [2]
            with pytest.raises(Invalid) as refused:
                await begin(client, **dict.fromkeys(names, 1))
            assert refused.value.reason is Reason.TOO_LARGE

    run(scenario)


def test_a_failover_changes_nothing_of_it() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            await begin(client, a=5, b=5)
            await client.team().checkpoint("c1")
            leader = await cluster.wait_for_leader()
            cluster.kill(leader)
            async with client.transaction() as team:
                team.agent("a").append(ops.increment("/n", -5))
                team.agent("b").append(ops.increment("/n", 5))
            await cluster.restart(leader)
            await cluster.wait_equal()
            assert await balances(client) == {"a": {"n": 0}, "b": {"n": 10}}
            assert [state.state for state in await client.team().rehydrate("c1")] == [{"n": 5}, {"n": 5}]

    run(scenario, nodes=3)
