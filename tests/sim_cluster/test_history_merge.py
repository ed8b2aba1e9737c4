"""Branches brought together, on real nodes under virtual time."""

from __future__ import annotations

import pytest

from tallystick import NotFound, ops
from tallystick.history import MergeConflict
from tallystick.history.lineage import Parting, parting
from tallystick.testing import SimCluster


def test_what_was_done_on_a_branch_is_brought_home() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            await agent.append(ops.replace({"plan": ["x", "y", "z"], "owner": "ann", "n": 1}))
            trial = await agent.fork("trial")
            await trial.append(ops.append("/plan", "w"), ops.set("/n", 2))
            await agent.append(ops.set("/owner", "bob"), ops.set("/plan/0", "X"))
            result = await agent.history.merge("trial")
            assert result.appended is not None and not result.conflicts
            assert (await agent.read()).state == {"plan": ["X", "y", "z", "w"], "owner": "bob", "n": 2}
            [mutation] = [each async for each in agent.log(after_seq=2)]
            assert mutation.cause == "merge:trial"
            assert (await trial.read()).state == {"plan": ["x", "y", "z", "w"], "owner": "ann", "n": 2}
            again = await agent.history.merge("trial")
            assert again.appended is None and not again.changes and not again.conflicts
            await trial.append(ops.set("/more", 1))
            await agent.history.merge("trial")
            assert (await agent.read()).state == {"plan": ["X", "y", "z", "w"], "owner": "bob", "n": 2, "more": 1}

    with SimCluster(nodes=3, seed=1) as cluster:
        cluster.run(scenario)


def test_conflicts_come_back_as_values() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            agent = client.agent("a")
            await agent.append(ops.set("/n", 1))
            trial = await agent.fork("trial")
            await trial.append(ops.set("/n", 2))
            await agent.append(ops.set("/n", 3))
            result = await agent.history.merge("trial")
            assert result.appended is None and result.conflicts == (MergeConflict("/n", 1, 3, 2),)
            await agent.history.merge("trial", resolve=lambda found: [found.ours, found.theirs])
            assert (await agent.read()).state == {"n": [3, 2]}
            with pytest.raises(NotFound):
                await agent.history.merge("nowhere")

    with SimCluster(nodes=3, seed=2) as cluster:
        cluster.run(scenario)


def test_the_base_is_where_the_two_parted_however_they_came_from_there() -> None:
    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect() as client:
            main = client.agent("a")
            for n in range(1, 6):
                await main.append(ops.set(f"/{n}", n))
            one = await main.fork("one", at=4)
            await one.append(ops.set("/one", 1))
            deep = await one.fork("deep")
            await deep.append(ops.set("/deep", 1))
            early = await one.fork("early", at=2)
            await early.append(ops.set("/early", 1))
            branches = {info.name: info async for info in main.branches()}
            assert parting(branches, "main", "deep") == Parting("main", 4)
            assert parting(branches, "deep", "one") == Parting("one", 5)
            assert parting(branches, "one", "deep") == Parting("one", 5)
            assert parting(branches, "early", "deep") == Parting("one", 2)
            assert parting(branches, "early", "main") == Parting("main", 2)
            await early.history.merge("deep")
            assert (await early.read()).state == {"1": 1, "2": 2, "3": 3, "4": 4, "one": 1, "deep": 1, "early": 1}
            await main.history.merge("early")
            state = (await main.read()).state
            assert state == {**{str(n): n for n in range(1, 6)}, "one": 1, "deep": 1, "early": 1}

    with SimCluster(nodes=3, seed=3) as cluster:
        cluster.run(scenario)
