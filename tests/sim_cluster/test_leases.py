"""Leases in simulated clusters: one writer at a time, whatever stops, is cut off or comes late; epochs only rise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tallystick import Agent, Conflict, Invalid, Lease, LeaseChange, LeaseEvent, Reason, StaleOwner, ops
from tallystick.testing import SimCluster
from tallystick_node.leases.keeper import TICK_S

TTL_S = 3.0
SOON_S = 2.0
"""Longer than what is decided at once takes, an election among it."""


def run(scenario: Callable[[SimCluster], Awaitable[None]], *, seed: int = 1) -> None:
    with SimCluster(nodes=3, seed=seed) as cluster:
        cluster.run(scenario)


async def freeze(lease: Lease) -> None:
    """The program that holds it renews no more, and does not know."""
    assert lease._keeping is not None
    lease._keeping.cancel()
    await asyncio.wait((lease._keeping,))


def believes(agent: Agent, epoch: int) -> None:
    """From now on it writes under this epoch, whatever it knows."""

    class Believed:
        is_held = True

        def __init__(self) -> None:
            self.epoch = epoch

        def lose(self) -> None:
            pass

    agent._fence._held = Believed()


def test_one_writes_and_the_next_waits_its_turn() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(actor="one") as one, cluster.connect(actor="two") as two:
            first, second = one.agent("worker"), two.agent("worker")
            done: list[str] = []

            async def next_one() -> None:
                async with second.lease(ttl_s=TTL_S, wait_s=60) as lease:
                    assert lease.epoch == 2
                    done.append("second")
                    await second.append(ops.append("/by", "two"))

            async with first.lease(ttl_s=TTL_S) as lease:
                assert (lease.epoch, lease.is_held, lease.is_lost) == (1, True, False)
                with pytest.raises(Conflict) as held:
                    async with two.agent("worker").lease(wait_s=0):
                        pass
                assert held.value.reason is Reason.LEASE_HELD
                assert held.value.metadata["holder"] == lease.holder
                waiting = asyncio.create_task(next_one())
                with pytest.raises(StaleOwner):
                    await two.agent("worker").append(ops.set("/by", ["nobody"]))
                await cluster.sleep(4 * TTL_S)
                await first.append(ops.append("/by", "one"))
                await first.checkpoint("c1")
                async with first.stream() as stream:
                    await stream.append(ops.append("/by", "one again"))
                done.append("first")
            await waiting
            assert done == ["first", "second"]
            assert not lease.is_held
            assert not lease.is_lost
            assert not await lease.wait_lost()
            assert (await two.agent("worker").rehydrate()).state == {"by": ["one", "one again", "two"]}
            await first.append(ops.set("/free", 1))

    run(scenario)


def test_who_stops_is_taken_over_from_and_writes_nothing_when_it_comes_back() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(actor="one") as one, cluster.connect(actor="two") as two:
            first, second = one.agent("worker"), two.agent("worker")
            async with first.lease(ttl_s=TTL_S) as lost:
                await first.append(ops.set("/by", "one"))
                await freeze(lost)
                began_s = cluster.now_s
                async with second.lease(ttl_s=TTL_S, wait_s=60) as lease:
                    assert TTL_S <= cluster.now_s - began_s + 2 * TICK_S < TTL_S + SOON_S
                    assert lease.epoch == lost.epoch + 1
                    assert not lost.is_held
                    assert lost.is_lost
                    with pytest.raises(StaleOwner):  # by its own clock
                        await first.append(ops.set("/by", "one, late"))
                    thawed = one.agent("worker")
                    believes(thawed, lost.epoch)
                    for write in (
                        thawed.append(ops.set("/by", "one, late")),
                        thawed.checkpoint("late"),
                        thawed.delete(),
                    ):
                        with pytest.raises(StaleOwner) as stale:
                            await write
                        assert stale.value.metadata["epoch"] == str(lease.epoch)
                    async with thawed.stream() as stream:
                        pending = await stream.append(ops.set("/by", "one, late"))
                        with pytest.raises(StaleOwner):
                            await pending.result()
                    await second.append(ops.set("/by", "two"))
            assert (await second.rehydrate()).state == {"by": "two"}
            assert (await second.rehydrate()).seq == 2

    run(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_a_holder_that_lives_keeps_it_through_a_failover(seed: int) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client, client.agent("worker").lease(ttl_s=TTL_S) as lease:
            for _ in range(3):
                leader = await cluster.wait_for_leader()
                cluster.kill(leader)
                await cluster.sleep(2 * TTL_S)
                assert lease.is_held
                await cluster.start(leader)
            assert (await client.agent("worker").describe_lease()).epoch == 1

    run(scenario, seed=seed)


def test_a_new_leader_ends_the_lease_of_a_holder_that_is_gone() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client, client.agent("worker").lease(ttl_s=TTL_S) as lease:
            await freeze(lease)
            await cluster.sleep(TTL_S / 2)
            leader = await cluster.wait_for_leader()
            cluster.kill(leader)
            led_s = cluster.now_s
            async with client.agent("worker").lease(wait_s=60) as next_one:
                assert next_one.epoch == 2
                assert cluster.now_s - led_s >= TTL_S  # the whole time anew: it saw no renewal, and may have missed one
            await cluster.start(leader)

    run(scenario)


def test_without_a_majority_a_lease_is_lost_by_ones_own_clock() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(timeout_s=2.0) as client:
            agent = client.agent("worker")
            async with agent.lease(ttl_s=TTL_S) as lease:
                await agent.append(ops.set("/n", 1))
                cluster.partition(["a"], ["b"], ["c"])
                cut_s = cluster.now_s
                assert await lease.wait_lost()
                assert cluster.now_s - cut_s <= TTL_S + SOON_S
                with pytest.raises(StaleOwner):
                    await agent.append(ops.set("/n", 2))
                cluster.heal()
            async with agent.lease(wait_s=60) as again:
                assert again.epoch == 2
                await agent.append(ops.set("/n", 3))
            assert (await agent.rehydrate()).state == {"n": 3}

    run(scenario)


def test_what_is_seen_of_leases() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(actor="one") as client:
            agent = client.agent("worker")
            empty = await agent.describe_lease()
            assert (empty.epoch, empty.change, empty.is_held) == (0, None, False)
            events = client.watch(agent="worker", after=(await agent.rehydrate()).revision)
            async with agent.lease(ttl_s=TTL_S) as lease:
                await agent.append(ops.set("/n", 1))
                (listed,) = [info async for info in client.agents()]
                assert listed.lease is not None
                assert (listed.lease.holder, listed.lease.is_held) == (lease.holder, True)
                await freeze(lease)
                await cluster.sleep(TTL_S + SOON_S)
            seen = [await anext(events) for _ in range(3)]
            await events.aclose()
            changes = [event.change for event in seen if isinstance(event, LeaseEvent)]
            assert changes == [LeaseChange.ACQUIRED, LeaseChange.EXPIRED]
            (listed,) = [info async for info in client.agents()]
            assert listed.lease is not None
            assert listed.lease.change is LeaseChange.EXPIRED
            async with client.agent("new").lease(), client.agent("newer").lease():
                infos = [info async for info in client.leases(prefix="new")]
                assert [(info.agent, info.epoch, info.is_held) for info in infos] == [
                    ("new", 1, True),
                    ("newer", 1, True),
                ]
            assert [info.agent async for info in client.leases()] == ["new", "newer", "worker"]

    run(scenario)


def test_a_lease_that_is_taken_away_is_lost() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("worker")
            async with agent.lease(ttl_s=TTL_S) as lease:
                ended = await client.agent("worker").release_lease(lease.epoch)
                assert ended.change is LeaseChange.RELEASED
                with pytest.raises(StaleOwner):
                    await agent.append(ops.set("/n", 1))
                assert lease.is_lost
                with pytest.raises(StaleOwner):
                    await lease.renew()
            async with agent.lease(ttl_s=TTL_S) as lease:
                await agent.append(ops.set("/n", 1))
                await agent.delete()
                assert (await agent.describe_lease()).change is LeaseChange.RELEASED
                assert await lease.wait_lost()

    run(scenario)


def test_an_agent_object_has_one_lease_and_a_lease_is_used_once() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("worker")
            with pytest.raises(Invalid):
                agent.lease(ttl_s=0)
            with pytest.raises(Invalid):
                async with agent.lease(ttl_s=0.5):
                    pass
            async with agent.lease() as lease:
                with pytest.raises(Invalid):
                    async with agent.lease():
                        pass
                await lease.renew()
            with pytest.raises(RuntimeError):
                await lease.__aenter__()

    run(scenario)


def test_of_two_blocks_of_one_object_the_later_one_gives_the_lease_back() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("worker")
            one, other = agent.lease(ttl_s=TTL_S, wait_s=60), agent.lease(ttl_s=TTL_S, wait_s=60)
            entering = {asyncio.create_task(lease.__aenter__()) for lease in (one, other)}
            done, waiting = await asyncio.wait(entering, return_when=asyncio.FIRST_COMPLETED)
            await freeze(next(task.result() for task in done))
            with pytest.raises(Invalid):
                await next(iter(waiting))
            info = await agent.describe_lease()
            assert (info.epoch, info.change) == (2, LeaseChange.RELEASED)

    run(scenario)


def test_an_end_between_the_refusal_and_the_watch_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as one, cluster.connect() as two, one.agent("worker").lease(ttl_s=TTL_S):
            write = two._calls.write

            async def refused_late(*args: Any, **named: Any) -> Any:
                try:
                    return await write(*args, **named)
                except Conflict:
                    await one.agent("worker").release_lease(1)
                    raise

            monkeypatch.setattr(two._calls, "write", refused_late)
            async with two.agent("worker").lease(wait_s=10) as lease:
                assert lease.epoch == 2

    run(scenario)


def test_an_answer_that_comes_too_late_is_asked_for_again() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(timeout_s=60.0) as client:
            agent = client.agent("worker")
            cluster.partition(["a"], ["b"], ["c"])
            lease = agent.lease(ttl_s=TTL_S, wait_s=60)
            entering = asyncio.create_task(lease.__aenter__())
            await cluster.sleep(2 * TTL_S)
            cluster.heal()
            await entering
            assert lease.is_held
            await agent.append(ops.set("/n", 1))
            await lease.__aexit__(None, None, None)

    run(scenario)


def test_who_is_cancelled_while_acquiring_leaves_nothing_held() -> None:
    """At whatever point of the call: nobody waits a whole time to live for a lease that nobody has."""

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(actor="one") as one, cluster.connect(actor="two") as two:

            async def hold(agent: Agent) -> None:
                async with agent.lease(ttl_s=600, wait_s=0):
                    await asyncio.Event().wait()

            for attempt in range(12):
                name = f"worker-{attempt}"
                holding = asyncio.create_task(hold(one.agent(name)))
                await cluster.sleep(0.002 * attempt)
                holding.cancel()
                await asyncio.wait((holding,))
                async with two.agent(name).lease(ttl_s=TTL_S, wait_s=SOON_S) as lease:
                    assert lease.is_held

    run(scenario)
