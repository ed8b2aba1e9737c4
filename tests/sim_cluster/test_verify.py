"""`tallystick verify cluster` on nodes under virtual time: where they are down, and where agents go meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import cast

import pytest

from tallystick import Agent, BranchInfo, Client, ops
from tallystick.testing import SimCluster
from tallystick_node.cli.connection import Connection
from tallystick_node.cli.verify import verified


class Simulated:
    """A `Connection` to a simulated cluster."""

    as_json = True

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster

    def open(self) -> Client:
        return self._cluster.connect(timeout_s=5.0)

    def open_node(self, endpoint: str) -> Client:
        client = self._cluster.connect(nodes=[endpoint.partition(":")[0]], timeout_s=2.0)
        client._calls.endpoints._pinned = True
        return client


async def filled(client: Client) -> None:
    for name in ("ann", "bob"):
        await client.agent(name).append(ops.set("/n", 1))
    branch = await client.agent("bob").fork("try")
    await branch.append(ops.set("/n", 2))


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_node_that_is_down_is_named_and_is_no_damage(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            await filled(client)
            connection = cast("Connection", Simulated(cluster))
            assert await verified(connection, "") == (0, [])
            told = lines(capsys)
            assert len(told) == 3 and all('"problems":[]' in line for line in told) and '"branch":"try"' in told[2]
            await cluster.stop("c")
            assert await verified(connection, "") == (0, [cluster.endpoint("c")])

    with SimCluster(nodes=3, seed=1) as cluster:
        cluster.run(scenario)


def test_a_node_that_goes_meanwhile_is_named_and_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            await filled(client)
            real = Agent.branches

            async def branches(agent: Agent) -> AsyncGenerator[BranchInfo, None]:
                if agent.name == "bob":
                    await cluster.stop("c")
                async for branch in real(agent):
                    yield branch

            monkeypatch.setattr(Agent, "branches", branches)
            assert await verified(cast("Connection", Simulated(cluster)), "") == (0, [cluster.endpoint("c")])

    with SimCluster(nodes=3, seed=2) as cluster:
        cluster.run(scenario)


@pytest.mark.parametrize("when", ["branches", "log"])
@pytest.mark.parametrize("is_made_anew", [False, True])
def test_an_agent_that_is_deleted_meanwhile_is_no_damage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], when: str, *, is_made_anew: bool
) -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            await filled(client)
            real = getattr(Agent, when)
            is_deleted = False

            async def late(agent: Agent, **options: object) -> AsyncGenerator[object, None]:
                nonlocal is_deleted
                if agent.name == "ann" and not is_deleted:
                    is_deleted = True
                    await client.agent("ann").delete()
                    if is_made_anew:
                        await client.agent("ann").append(ops.set("/other", 1))
                async for item in real(agent, **options):
                    yield item

            monkeypatch.setattr(Agent, when, late)
            assert await verified(cast("Connection", Simulated(cluster)), "") == (0, []), lines(capsys)
            assert is_deleted

    with SimCluster(nodes=3, seed=3) as cluster:
        cluster.run(scenario)
