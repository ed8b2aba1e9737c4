"""Agents kept running by supervisors that know nothing of each other: each in one place at a time, nowhere for long."""

from __future__ import annotations

import asyncio

import pytest

from tallystick import Agent, Client, Invalid, Supervisor, ops, supervise
from tallystick.leases.lease import Lease
from tallystick.supervising import Program, Standing
from tallystick.testing import SimCluster

TTL_S = 5.0


class Counting:
    """A program that counts in its agent's state, and notes where it runs."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.ended: list[str] = []
        self.grew = asyncio.Event()
        self.over = asyncio.Event()

    async def __call__(self, agent: Agent, lease: Lease) -> None:
        try:
            while True:
                await agent.append(
                    ops.increment("/n"), ops.append("/places", self.place), ops.set("/epoch", lease.epoch)
                )
                self.grew.set()
                await asyncio.sleep(0.5)  # of virtual time: what the agent does
        finally:
            self.ended.append(agent.name)
            self.over.set()
            if lease.is_held:
                await agent.checkpoint(f"ended-{lease.epoch}")

    async def runs(self) -> None:
        """Returns when it has run once more."""
        self.grew.clear()
        async with asyncio.timeout(120):
            await self.grew.wait()


def supervised(client: Client, program: Program, *names: str) -> Supervisor:
    return supervise(client, dict.fromkeys(names or ("a",), program), ttl_s=TTL_S, grace_s=2.0)


def test_an_agent_runs_in_one_place_and_goes_on_in_another_when_that_is_stopped() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as here, cluster.connect() as there:
            one, other = Counting("here"), Counting("there")
            async with supervised(here, one) as first, supervised(there, other) as second:
                await asyncio.wait(
                    [asyncio.create_task(one.runs()), asyncio.create_task(other.runs())],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                running, waiting = (first, second) if first.agents["a"].epoch else (second, first)
                program, heir = (one, other) if running is first else (other, one)
                assert waiting.agents["a"].standing is Standing.WAITING
                await running.stop()
                assert running.agents["a"].standing is Standing.STOPPED and program.ended == ["a"]
                await heir.runs()
                state = (await here.agent("a").read()).state
                assert isinstance(state, dict)
                assert state["epoch"] == 2 and state["places"][-1] == heir.place  # type: ignore[index]
                assert (await here.agent("a").get_checkpoint("ended-1")).seq < state["n"]  # type: ignore[operator]

    with SimCluster(nodes=3, seed=1) as cluster:
        cluster.run(scenario)


def test_one_that_is_cut_off_is_cancelled_and_runs_elsewhere() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as here:
            one = Counting("here")
            async with supervised(here, one) as first:
                await one.runs()
                cluster.partition(["clients"], cluster.node_ids)
                async with asyncio.timeout(120):
                    await one.over.wait()
                cluster.heal()
                await one.runs()
                assert first.agents["a"].starts == 2 and first.agents["a"].epoch == 2

    with SimCluster(nodes=3, seed=2) as cluster:
        cluster.run(scenario)


def test_what_fails_is_begun_again_and_what_is_done_is_not() -> None:
    async def scenario(cluster: SimCluster) -> None:
        begun: list[int] = []

        async def fails_twice(agent: Agent, lease: Lease) -> None:
            begun.append(lease.epoch)
            await agent.append(ops.increment("/n"))
            if len(begun) < 3:
                raise ValueError("not\nyet")

        async with cluster.connect() as client, supervised(client, fails_twice) as supervisor:
            async with asyncio.timeout(120):
                await supervisor.wait()
            assert begun == [1, 2, 3]
            seen = supervisor.agents["a"]
            assert (seen.standing, seen.starts, seen.failures) == (Standing.DONE, 3, 0)
            assert seen.error == "ValueError: not yet"
            assert (await client.agent("a").read()).state == {"n": 3}

    with SimCluster(nodes=3, seed=3) as cluster:
        cluster.run(scenario)


def test_a_program_that_does_not_end_never_runs_twice_in_one_place() -> None:
    async def scenario(cluster: SimCluster) -> None:
        running = 0

        async def deaf(agent: Agent, lease: Lease) -> None:
            nonlocal running
            running += 1
            begun.set()
            assert running == 1
            try:
                while True:
                    try:
                        await asyncio.sleep(1.0)
                    except asyncio.CancelledError:
                        if lease.is_held or done.is_set():
                            raise
            finally:
                running -= 1

        begun, done = asyncio.Event(), asyncio.Event()
        async with cluster.connect() as client, supervised(client, deaf) as supervisor:
            async with asyncio.timeout(300):
                await begun.wait()
                cluster.partition(["clients"], cluster.node_ids)
                await asyncio.sleep(60.0)
                assert running == 1 and supervisor.agents["a"].starts == 1
                cluster.heal()
                await asyncio.sleep(60.0)
                assert running == 1 and supervisor.agents["a"].starts == 1
            done.set()

    with SimCluster(nodes=3, seed=4) as cluster:
        cluster.run(scenario)


def test_many_agents_each_for_itself() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async def once(agent: Agent, lease: Lease) -> None:
            if agent.name == "bad" and lease.epoch < 4:
                raise RuntimeError("bad")
            await agent.append(ops.set("/by", lease.holder))

        names = [*(f"agent-{n}" for n in range(20)), "bad"]
        async with cluster.connect() as client, supervised(client, once, *names) as supervisor:
            async with asyncio.timeout(300):
                await supervisor.wait()
            assert {each.standing for each in supervisor.agents.values()} == {Standing.DONE}
            assert [info.name async for info in client.agents()] == sorted(names)

    with SimCluster(nodes=3, seed=5) as cluster:
        cluster.run(scenario)


@pytest.mark.parametrize("count", [1001])
def test_it_is_bounded(count: int) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            with pytest.raises(Invalid, match="at most 1000"):
                supervised(client, Counting("x"), *(str(n) for n in range(count)))

    with SimCluster(nodes=3, seed=6) as cluster:
        cluster.run(scenario)
