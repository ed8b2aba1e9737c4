"""Retention while nodes die, stand still and lose each other: whatever is not kept any more is in the archive, whole.

`RETENTION_SEEDS=100` looks at more seeds than a run of the tests does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from tallystick import Agent, Client, RetentionPolicy, TallystickError, ops
from tallystick.history import ExportReader
from tallystick.history.export_format import ExportedBase, ExportedCheckpoint
from tallystick.testing import SimCluster
from tallystick_node.cli import main
from tallystick_node.config.values import ArchiveSetting
from tallystick_node.sim.nemesis import Nemesis, run_script

SEEDS: Final = int(os.environ.get("RETENTION_SEEDS", "3"))
SECONDS: Final = 15.0
KINDS: Final = ("kill", "power_cut", "stop", "partition", "pause", "drop", "blackout")
KEPT: Final = 6
Log = tuple[str, str]


class Writers:
    """Programs that write logs, and the hashes that were acknowledged to them."""

    def __init__(self, cluster: SimCluster, client: Client) -> None:
        self._cluster = cluster
        self._client = client
        self._rng = random.Random(cluster.seed)
        self.hashes: defaultdict[Log, dict[int, bytes]] = defaultdict(dict)

    async def write(self, agent: Agent, ends_s: float) -> None:
        """Appends, with checkpoints and forks now and then, and a lease for a while."""
        while self._cluster.now_s < ends_s:
            with contextlib.suppress(TallystickError):
                await self._once(agent, ends_s)
            await asyncio.sleep(self._rng.uniform(0.0, 0.3))

    async def _once(self, agent: Agent, ends_s: float) -> None:
        draw = self._rng.random()
        if draw < 0.1:
            await agent.checkpoint(f"{agent.branch}-{self._cluster.now_s:.3f}")
        elif draw < 0.13:
            async with agent.lease(ttl_s=2, wait_s=1):
                await self._append(agent)
        elif draw < 0.15 and agent.branch == "main":
            branch = await agent.fork(f"b{self._rng.randrange(1000)}")
            await self.write(branch, min(ends_s, self._cluster.now_s + 4))
        else:
            await self._append(agent)

    async def _append(self, agent: Agent) -> None:
        done = await agent.append(ops.increment("/n"))
        self.hashes[agent.name, agent.branch][done.seq] = done.hash


async def life(cluster: SimCluster) -> dict[Log, tuple[dict[int, bytes], dict[int, bytes], object]]:
    """What was acknowledged, what is kept, and the state, of each log that was written."""
    script = Nemesis.script(cluster.seed, list(cluster.node_ids), SECONDS, KINDS)
    async with cluster.connect(timeout_s=8.0) as client:
        await client.retention.set(RetentionPolicy(max_mutations=KEPT, archive="cold"), timeout_s=30)
        writers = Writers(cluster, client)
        ends_s = cluster.now_s + SECONDS
        striking = asyncio.create_task(run_script(cluster, script))
        await asyncio.gather(*(writers.write(client.agent(name), ends_s) for name in ("ann", "bob", "cid")))
        await striking
        cluster.heal()
        for node_id in cluster.node_ids:
            cluster.resume(node_id)
        while any(node.is_ending for node in cluster.nodes.values()):
            await cluster.sleep(0.1)
        for node in cluster.nodes.values():
            node.start()
        await cluster.wait_for_leader(within_s=60)
    async with cluster.connect(timeout_s=60.0) as client:
        _ = [done async for done in client.retention.run()]
        _ = [done async for done in client.retention.run()]  # what a branch held before it had gone itself
        assert not [plan async for plan in client.retention.plan() if plan.mutations]
        found: dict[Log, tuple[dict[int, bytes], dict[int, bytes], object]] = {}
        for name in ("ann", "bob", "cid"):
            async for branch in client.agent(name).branches():
                agent = client.agent(name, branch=branch.name)
                kept = {mutation.seq: mutation.hash async for mutation in agent.log(raw=True)}
                found[name, branch.name] = (writers.hashes[name, branch.name], kept, (await agent.read()).state)
        await cluster.wait_equal(within_s=60)
        return found


def archived(folder: Path) -> tuple[list[Path], dict[Log, dict[int, bytes]]]:
    """The files, and the hashes that they hold."""
    files = sorted(folder.rglob("*.jsonl.gz"))
    found: defaultdict[Log, dict[int, bytes]] = defaultdict(dict)
    for file in files:
        with gzip.open(file) as lines:
            reader = ExportReader(lines)
            for record in reader:
                if not isinstance(record, (ExportedBase, ExportedCheckpoint)):
                    log = (str(reader.head["agent"]), str(reader.head["branch"]))
                    assert found[log].setdefault(record.seq, record.hash) == record.hash
    return files, found


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_not_kept_is_archived_whatever_fails(tmp_path: Path, seed: int) -> None:
    archive = (ArchiveSetting("cold", tmp_path),)
    with SimCluster(nodes=3, seed=seed, archives=archive, retention_every_s=1.0) as cluster:
        logs = cluster.run(life)
    files, found = archived(tmp_path)
    assert files
    for log, (acknowledged, kept, state) in logs.items():
        all_of_it = {**found[log], **kept}
        assert all(all_of_it[seq] == hash_ for seq, hash_ in {**acknowledged, **kept, **found[log]}.items())
        first = min(all_of_it)  # a branch has its past in its parent's files
        assert list(range(first, max(kept) + 1)) == sorted(all_of_it) and (first == 1 or log[1] != "main")
        assert state == {"n": max(kept)}
    result = CliRunner().invoke(main, ["verify", "export", *map(str, files)])
    assert result.exit_code == 0, result.output
