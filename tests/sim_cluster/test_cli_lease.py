"""`tallystick lease show | release` on nodes under virtual time: each branch has a lease of its own."""

from __future__ import annotations

import json
from typing import cast

import pytest

from tallystick import Client, StaleOwner, ops
from tallystick.testing import SimCluster
from tallystick_node.cli.connection import Connection
from tallystick_node.cli.lease import release_one, show_one


class Simulated:
    """A `Connection` to a simulated cluster."""

    as_json = True

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster

    def open(self) -> Client:
        return self._cluster.connect()


def test_the_lease_of_a_branch_is_shown_and_released(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(cluster: SimCluster) -> None:
        connection = cast("Connection", Simulated(cluster))
        async with cluster.connect() as client:
            await client.agent("ann").append(ops.set("/n", 1))
            branch = await client.agent("ann").fork("try")
            async with branch.lease() as lease:
                await show_one(connection, "ann", "try")
                told = json.loads(capsys.readouterr().out)
                assert (told["branch"], told["holder"], told["epoch"]) == ("try", lease.holder, lease.epoch)
                await release_one(connection, "ann", lease.epoch, "try")
                with pytest.raises(StaleOwner):
                    await branch.append(ops.set("/n", 2))

    with SimCluster(nodes=3, seed=1) as cluster:
        cluster.run(scenario)
