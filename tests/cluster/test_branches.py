"""Branches on real nodes: over a failover, from a shell, in a file that verifies, and through a node that was away."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from click.testing import CliRunner, Result

import tallystick.sync
from tallystick import Agent, ops
from tallystick_node.cli import main
from tests.cluster.harness import Cluster


async def says(cluster: Cluster | None, *arguments: str) -> Result:
    endpoints = [] if cluster is None else ["-n", "demo", "-e", ",".join(map(cluster.endpoint, cluster.node_ids))]
    return await asyncio.to_thread(CliRunner().invoke, main, [*arguments, *endpoints])


async def heads(agent: Agent) -> dict[str, tuple[str, int, int]]:
    return {info.name: (info.parent, info.fork_seq, info.seq) async for info in agent.branches()}


async def test_branches_outlive_a_leader_and_a_node_that_was_away(tmp_path: Path) -> None:
    async with Cluster(tmp_path, contexts=False) as cluster, cluster.connect(actor="me") as client:
        agent = client.agent("a")
        for number in range(200):  # enough for a snapshot
            await agent.append(ops.set("/n", number))
        leader = await cluster.wait_for_leader()
        away = cluster.others(leader)[0]
        cluster.kill(away)
        trial = await agent.fork("trial", at=150)
        await trial.append(ops.set("/trial", 1))
        await agent.append(ops.set("/n", 200))
        deeper = await trial.fork("deeper")
        await cluster.start(away)
        await cluster.wait_equal()
        cluster.kill(leader)
        await deeper.append(ops.set("/deeper", 1))
        assert (await deeper.read()).state == {"n": 149, "trial": 1, "deeper": 1}
        assert (await trial.read()).state == {"n": 149, "trial": 1}
        assert (await agent.read()).state == {"n": 200}
        assert await heads(agent) == {
            "main": ("", 0, 201),
            "trial": ("main", 150, 151),
            "deeper": ("trial", 151, 152),
        }
        await cluster.start(leader)
        await cluster.wait_equal()
        verified = await says(cluster, "verify", "cluster", "--json")
        assert verified.exit_code == 0, verified.output
        told = {
            (each["branch"], each["seq"], *each["problems"]) for each in map(json.loads, verified.stdout.splitlines())
        }
        assert told == {("main", 201), ("trial", 151), ("deeper", 152)}


async def test_branches_in_a_shell_and_in_blocking_code(tmp_path: Path) -> None:
    async with Cluster(tmp_path, node_ids=["a"], contexts=False) as cluster, cluster.connect() as client:
        agent = client.agent("ann")
        await agent.append(ops.set("/n", 1))
        await agent.checkpoint("one")
        await agent.append(ops.set("/n", 2))

        forked = await says(cluster, "agent", "fork", "ann", "try", "--at-checkpoint", "one", "--json")
        assert forked.exit_code == 0, forked.output
        assert json.loads(forked.stdout)["fork_seq"] == 1
        again = await says(cluster, "agent", "fork", "ann", "try")
        assert again.exit_code != 0 and "BRANCH_EXISTS" in again.stderr
        await asyncio.to_thread(_append_blocking, cluster.endpoint("a"))

        shown = await says(cluster, "agent", "show", "ann", "--branch", "try", "--json")
        assert json.loads(shown.stdout)["state"] == {"n": 1, "blocking": True}
        log = await says(cluster, "agent", "log", "ann", "--branch", "try", "--json")
        assert [json.loads(line)["branch"] for line in log.stdout.splitlines()] == ["try"] * 2
        listed = await says(cluster, "agent", "branches", "ann")
        assert "main 1" in listed.stdout

        file = tmp_path / "try.export"
        exported = await says(cluster, "agent", "export", "ann", str(file), "--branch", "try")
        assert exported.exit_code == 0, exported.output
        verified = await says(None, "verify", "export", str(file), "--json")
        found = json.loads(verified.stdout)
        assert (found["branch"], found["mutations"], found["states_checked"]) == ("try", 2, 1)

        team = await says(cluster, "agent", "fork-team", "an", "all", "--json")
        assert [json.loads(line)["fork_seq"] for line in team.stdout.splitlines()] == [2]
        deleted = await says(cluster, "agent", "delete-branch", "ann", "try", "--yes")
        assert deleted.exit_code == 0, deleted.output
        assert set(await heads(agent)) == {"main", "all"}


def _append_blocking(endpoint: str) -> None:
    with tallystick.sync.connect(endpoint, namespace="demo") as client:
        client.agent("ann", branch="try").append(ops.set("/blocking", value=True))
        with client.agent("ann").branches() as branches:
            assert [info.name for info in branches] == ["main", "try"]
        assert client.agent("ann").fork("blocked").delete_branch().position > 0
