"""Leases on real nodes, held by real processes: one is frozen and thawed, one is blocking, and a shell looks on.

What needs no processes is in `tests/sim_cluster/test_leases.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from click.testing import CliRunner

import tallystick
from tallystick import Conflict, StaleOwner, ops
from tallystick_node.cli import main
from tests.cluster.harness import Cluster

WAIT_S: Final = 60.0
TTL_S: Final = 4.0
"""Of the one that is to be lost: long enough that a busy machine does not lose it before."""
LINES_BEFORE: Final = 20

WORKER: Final = """
import asyncio, sys
import tallystick
from tallystick import StaleOwner, ops

class Believed:  # a writer that knows of no loss
    is_held = True
    epoch = 1
    def lose(self): pass

async def main():
    async with tallystick.connect(sys.argv[1], namespace=sys.argv[2], actor="frozen") as client:
        agent = client.agent("worker")
        async with agent.lease(ttl_s=float(sys.argv[3])) as lease:
            assert lease.epoch == 1
            try:
                while True:
                    await agent.append(ops.increment("/frozen"))
                    print("wrote", flush=True)
            except StaleOwner:
                print("lost", lease.is_lost, flush=True)
            agent._fence._held = Believed()
            try:
                await agent.append(ops.increment("/frozen"))
            except StaleOwner as error:
                print("refused", error.metadata["epoch"], flush=True)
            agent._fence._held = lease

asyncio.run(main())
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("leases"), contexts=False) as cluster:
        await cluster.wait_for_leader()
        yield cluster


@contextlib.asynccontextmanager
async def worker(cluster: Cluster) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that writes under a lease until it is lost; it has written some."""
    endpoints = ",".join(cluster.endpoint(node_id) for node_id in cluster.node_ids)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, endpoints, cluster.namespace, str(TTL_S),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for _ in range(LINES_BEFORE):
            assert await asyncio.wait_for(process.stdout.readline(), WAIT_S) == b"wrote\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_frozen_worker_that_thaws_writes_nothing(three: Cluster) -> None:
    cluster = await three.begin()
    async with worker(cluster) as frozen, cluster.connect(actor="next") as client:
        agent = client.agent("worker")
        frozen.send_signal(signal.SIGSTOP)
        async with agent.lease(ttl_s=WAIT_S, wait_s=WAIT_S) as lease:
            assert lease.epoch == 2
            taken_over = await agent.append(ops.set("/by", "next"))
            frozen.send_signal(signal.SIGCONT)
            assert frozen.stdout is not None
            said = (await asyncio.wait_for(frozen.stdout.read(), WAIT_S)).decode().splitlines()
            assert said[-2:] == ["lost True", "refused 2"]
            assert await asyncio.wait_for(frozen.wait(), WAIT_S) == 0
            done = await agent.append(ops.set("/by", "next again"))
            assert done.seq == taken_over.seq + 1
            written = [each.revision async for each in agent.log() if each.actor == "frozen"]
            assert len(written) >= LINES_BEFORE
            assert max(revision.position for revision in written) < lease.revision.position


async def test_blocking_code_holds_a_lease(three: Cluster) -> None:
    cluster = await three.begin()
    endpoints = [cluster.endpoint(node_id) for node_id in cluster.node_ids]

    def work() -> None:
        with tallystick.sync.connect(endpoints, namespace=cluster.namespace, timeout_s=WAIT_S) as client:
            agent = client.agent("worker")
            with agent.lease(ttl_s=WAIT_S) as lease:
                agent.append(ops.set("/n", 1))
                assert lease.is_held
                with pytest.raises(Conflict), client.agent("worker").lease(wait_s=0):
                    pass
                with pytest.raises(StaleOwner):
                    client.agent("worker").append(ops.set("/n", 2))
                client.agent("worker").release_lease(lease.epoch)
                with pytest.raises(StaleOwner):
                    agent.append(ops.set("/n", 3))
                assert lease.wait_lost()
            assert not agent.describe_lease().is_held
            agent.append(ops.increment("/n"))
            assert agent.rehydrate().state == {"n": 2}

    await asyncio.wait_for(asyncio.to_thread(work), WAIT_S)


async def test_a_shell_shows_and_ends_leases(three: Cluster, tmp_path: Path) -> None:
    cluster = await three.begin()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")},
        "TALLYSTICK_ENDPOINTS": cluster.endpoint("a"),
        "TALLYSTICK_NAMESPACE": cluster.namespace,
        "TALLYSTICK_TIMEOUT": str(WAIT_S),
    }

    async def shell(*args: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner(env=environment).invoke, main, [*args])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    async with cluster.connect(actor="ann") as client:
        agent = client.agent("worker")
        assert (await shell("lease", "show", "worker")) == (0, "the lease of worker was never acquired\n")
        async with agent.lease(ttl_s=WAIT_S) as lease:
            await agent.append(ops.set("/n", 1))
            _, shown = await shell("lease", "list", "--held", "--json")
            assert [json.loads(line)["holder"] for line in shown.splitlines()] == [lease.holder]
            _, shown = await shell("agent", "list")
            assert f"held by {lease.holder}" in shown
            code, shown = await shell("lease", "release", "worker", "--epoch", "2")
            assert code == 1
            assert "STALE_OWNER" in shown
            code, shown = await shell("lease", "release", "worker", "--epoch", "1", "--json")
            assert (code, json.loads(shown)["change"]) == (0, "released")
            with pytest.raises(StaleOwner):
                await agent.append(ops.set("/n", 2))
        _, shown = await shell("lease", "list", "--held", "--json")
        assert shown == ""
        _, shown = await shell("lease", "list")
        assert "released" in shown
        _, shown = await shell("agent", "log", "worker", "--after", "0")
        assert "set /n" in shown
