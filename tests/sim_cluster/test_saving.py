"""`agent.save` on real nodes under virtual time: what is appended is the difference, whoever writes meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tallystick import JSON, Agent, Client, Conflict, Invalid, Reason, ops
from tallystick.testing import SimCluster


def run(scenario: Callable[[Client, Agent], Awaitable[None]]) -> None:
    """Runs it with an agent of a fresh cluster."""

    async def with_agent(cluster: SimCluster) -> None:
        async with cluster.connect(actor="me") as client:
            await scenario(client, client.agent("a"))

    with SimCluster(nodes=1, seed=7) as cluster:
        cluster.run(with_agent)


async def appended(agent: Agent) -> list[list[tuple[str, str, JSON]]]:
    """The operations of all mutations."""
    return [[(made.kind.value, made.path, made.value) for made in entry.operations] async for entry in agent.log()]


def test_a_growing_state_costs_its_growth() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        messages: list[JSON] = []
        state: dict[str, JSON] = {"messages": messages}
        assert await agent.save({}) is None
        await agent.save(state)
        for turn in range(3):
            messages.append({"turn": turn})
            saved = await agent.save(state, cause="turn")
            assert saved is not None
            assert saved.seq == turn + 2
        assert await agent.save(state) is None
        assert (await agent.read()).state == state
        assert await appended(agent) == [
            [("set", "/messages", [])],
            [("insert", "/messages/0", {"turn": 0})],
            [("insert", "/messages/1", {"turn": 1})],
            [("insert", "/messages/2", {"turn": 2})],
        ]

    run(scenario)


def test_what_the_caller_changes_afterwards_changes_nothing_that_was_saved() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        inner: list[JSON] = [1]
        await agent.save({"inner": inner})
        inner.append(2)
        await agent.save({"inner": inner})
        assert (await agent.read()).state == {"inner": [1, 2]}

    run(scenario)


def test_only_the_first_save_reads_the_state() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        await agent.save({"n": 1})
        reads = count_reads(agent)
        await agent.save({"n": 2})
        assert reads == []
        await agent.record("note")  # the log moves, the state does not
        await agent.save({"n": 3})
        assert reads == []
        await client.agent("a").append(ops.set("/m", 1))
        await agent.save({"n": 4})
        assert reads == [5]
        assert (await agent.read()).state == {"n": 4}

    run(scenario)


def count_reads(agent: Agent) -> list[int]:
    """Seqs of the states that this object reads from now on."""
    reads: list[int] = []
    read = agent.rehydrate

    async def counted(**options: object) -> object:
        snapshot = await read(**options)  # type: ignore[arg-type]
        reads.append(snapshot.seq)
        return snapshot

    agent.rehydrate = counted  # type: ignore[method-assign, assignment]
    return reads


def test_nothing_to_do_is_known_and_not_believed() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        await agent.save({"n": 1})
        await client.agent("a").append(ops.set("/n", 2))
        assert await agent.save({"n": 1}) is not None
        assert (await agent.read()).state == {"n": 1}
        await client.agent("a").record("note")
        assert await agent.save({"n": 1}) is None

    run(scenario)


def test_who_names_a_seq_is_refused_where_the_log_ends_elsewhere() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        await agent.save({"n": 1}, expected_seq=0)
        with pytest.raises(Conflict) as caught:
            await agent.save({"n": 2}, expected_seq=0)
        assert (caught.value.reason, caught.value.metadata["head_seq"]) == (Reason.SEQ_CONFLICT, "1")
        await agent.save({"n": 2}, expected_seq=1)
        await client.agent("a").append(ops.set("/n", 3))
        with pytest.raises(Conflict):
            await agent.save({"n": 4}, expected_seq=2)  # what was known is out of date
        with pytest.raises(Conflict):
            await agent.save({"n": 2}, expected_seq=2)
        await agent.save({"n": 4}, expected_seq=3)
        assert (await agent.read()).state == {"n": 4}

    run(scenario)


def test_a_state_that_changed_all_over_is_replaced() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        await agent.save({str(key): 0 for key in range(250)})
        await agent.save({str(key): 1 for key in range(250)})
        await agent.save([1, 2])
        assert [[kind for kind, _, _ in each] for each in await appended(agent)] == [["replace"]] * 3
        assert (await agent.read()).state == [1, 2]

    run(scenario)


def test_a_large_state_is_saved_whole_the_first_time() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        state: JSON = {"messages": [{"text": "x" * 10_000, "turn": turn} for turn in range(150)]}
        saved = await agent.save(state)
        assert saved is not None
        assert (saved.first_seq, saved.seq) == (1, 2)  # one append, of two mutations
        assert (await agent.read()).state == state

    run(scenario)


def test_after_a_refusal_and_after_a_deletion_it_is_begun_anew() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        await agent.save({"n": 1})
        with pytest.raises(Invalid):
            await agent.save({"n": "x" * 3_000_000})
        await agent.save({"n": 2})
        await client.agent("a").delete()
        await agent.save({"n": 3})
        assert (await agent.read()).state == {"n": 3}
        await agent.delete()
        await agent.save({"n": 4})
        assert ((await agent.read()).state, (await agent.read()).seq) == ({"n": 4}, 1)

    run(scenario)


def test_a_branch_is_saved_from_where_it_began() -> None:
    async def scenario(client: Client, agent: Agent) -> None:
        await agent.save({"n": 1, "big": "x" * 100})
        branch = await agent.fork("b")
        await branch.save({"n": 2, "big": "x" * 100})
        assert (await appended(branch))[-1] == [("set", "/n", 2)]
        assert (await agent.read()).state == {"n": 1, "big": "x" * 100}

    run(scenario)
