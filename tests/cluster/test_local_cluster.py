"""The public kit as its users have it: real nodes, cut, killed and frozen; and nothing left of them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Final

import pytest

from tallystick import Consistency, NotFound, Unavailable, Undecided, ops
from tallystick.testing.local_cluster import LocalCluster
from tallystick.testing.local_node import LocalClusterError
from tallystick.testing.local_wait import eventually

FAILOVER_S: Final = 20.0
PROGRAM_S: Final = 60.0


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_majority_goes_on_and_a_minority_does_not() -> None:
    async with LocalCluster(nodes=3) as cluster, cluster.connect(namespace="demo") as client:
        agent = client.agent("x")
        await agent.append(ops.set("/n", 1))
        leader = await cluster.wait_for_leader()
        rest = cluster.others(leader)
        await cluster.partition([leader], rest)
        assert await cluster.wait_for_leader(among=rest, within_s=FAILOVER_S) in rest
        await agent.append(ops.set("/n", 2))
        async with cluster.connect(nodes=[leader], consistency=Consistency.LOCAL) as cut_off:
            assert (await cut_off.agent("x").read()).state == {"n": 1}
        await cluster.heal()
        assert len((await cluster.wait_equal()).members) == 3

        leader = await cluster.wait_for_leader()
        await cluster.partition([leader, "clients"], cluster.others(leader))
        async with cluster.connect(timeout_s=1.5) as lonely:
            with pytest.raises((Unavailable, Undecided)):
                await lonely.agent("y").append(ops.set("/n", 3))


async def test_lost_answers_are_asked_for_again_and_nothing_happens_twice() -> None:
    async with LocalCluster(nodes=3) as cluster, cluster.connect() as client:
        leader = await cluster.wait_for_leader()
        for _ in range(2):  # the first learns who leads, the second has a connection to it
            await client.agent("x").append(ops.increment("/n"))
        await cluster.cut(leader, "clients")
        assert (await client.agent("x").append(ops.increment("/n"))).replayed
        await cluster.cut("clients", leader)
        await client.agent("x").append(ops.increment("/n"))
        await cluster.heal()
        assert (await client.agent("x").read()).state == {"n": 4}


async def test_frozen_killed_and_stopped_nodes_come_back(tmp_path: Path) -> None:
    async with LocalCluster(nodes=3, folder=tmp_path / "kept") as cluster, cluster.connect() as client:
        agent = client.agent("x")
        await agent.append(ops.increment("/n"))
        frozen = await cluster.wait_for_leader()
        await cluster.pause(frozen)
        assert cluster.nodes[frozen].is_paused and await cluster.status(frozen) is None
        await cluster.wait_for_leader(among=cluster.others(frozen), within_s=FAILOVER_S)
        await agent.append(ops.increment("/n"))
        assert await cluster.stop(frozen) == 0  # frozen as it is
        await cluster.kill(*cluster.others(frozen))
        assert await cluster.leader() is None and not any(node.is_running for node in cluster.nodes.values())
        await cluster.restart(*cluster.node_ids)
        await cluster.restart(frozen)
        assert (await agent.read()).state == {"n": 2}
        with pytest.raises(ValueError, match="'x' is none of a, b, c"):
            await cluster.kill("a", "x")
        assert cluster.nodes["a"].is_running
        await cluster.pause("b")
        await cluster.resume("b")
        await cluster.wait_equal()
    assert (tmp_path / "kept" / "a").is_dir()


async def test_nothing_is_left() -> None:
    with pytest.raises(NotFound) as caught:  # noqa: PT012 - the end of the block is what is tested
        async with LocalCluster(nodes=3) as cluster, cluster.connect() as client:
            pids = [node.pid for node in cluster.nodes.values()]
            await cluster.pause("a")
            await client.agent("nobody").read()
    assert "--- log of node a" in "".join(caught.value.__notes__)
    assert not any(_alive(pid) for pid in pids)
    assert not cluster.folder.exists()
    for endpoint in cluster.endpoints:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*endpoint.split(":"))
    with pytest.raises(LocalClusterError, match="used before"):
        await cluster.__aenter__()


async def test_a_node_that_does_not_start_is_said_at_once() -> None:
    cluster = LocalCluster(nodes=3, flags=["--no-such-flag"])
    with pytest.raises(LocalClusterError, match=r"(?s)ended by itself with exit code \d+.*--no-such-flag"):
        await cluster.__aenter__()
    assert not cluster.folder.exists()


def test_the_blocking_cluster() -> None:
    with LocalCluster(nodes=("one", "two", "three")).sync() as cluster, cluster.connect(namespace="demo") as client:
        agent = client.agent("x")
        agent.append(ops.set("/n", 1))
        leader = cluster.wait_for_leader()
        cluster.partition([leader])
        new = cluster.wait_for_leader(among=cluster.others(leader), within_s=FAILOVER_S)
        agent.append(ops.set("/n", 2))
        cluster.kill(new)
        assert cluster.leader() is None
        cluster.start(new)
        cluster.heal()
        cluster.wait_equal()
        assert agent.read().state == {"n": 2}
        assert {status.node_id for status in cluster.statuses()} == {"one", "two", "three"}
    assert not cluster.folder.exists()


_TO_BE_KILLED: Final = """
import asyncio
from tallystick.testing.local_cluster import LocalCluster

async def main():
    async with LocalCluster(nodes=3) as cluster:
        await cluster.pause("b")
        print(*(node.pid for node in cluster.nodes.values()), cluster.folder, flush=True)
        await asyncio.Event().wait()

def blocking():
    with LocalCluster(nodes=3).sync() as cluster:
        cluster.pause("b")
        print(*(node.pid for node in cluster._inner.nodes.values()), cluster.folder, flush=True)
        input()
"""


@pytest.mark.parametrize("call", ["asyncio.run(main())", "blocking()"])
async def test_nodes_die_with_the_process_that_started_them(tmp_path: Path, call: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"{_TO_BE_KILLED}\n{call}",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PROGRAM_S)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    *pids, folder = line.decode().split()
    assert len(pids) == 3 and folder.startswith(str(tmp_path))

    async def all_gone() -> bool:
        return not any(_alive(int(pid)) for pid in pids)

    await eventually(all_gone, within_s=FAILOVER_S, what="the nodes are gone")


def _pytest(folder: Path, test: str, *options: str) -> tuple[int, str]:
    """A user's own run of pytest, with no plugin but ours and those that the options name."""
    (folder / "test_it.py").write_text(textwrap.dedent(test))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TALLYSTICK_"))}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tallystick.testing.pytest_plugin",
            "-p",
            "no:cacheprovider",
            f"--basetemp={folder / 'basetemp'}",
            "--tallystick-nodes=1",
            "-W",
            "error",
            *options,
            "test_it.py",
        ],
        cwd=folder,
        env={**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_fixture(tmp_path: Path) -> None:
    test = """
        def test_that_passes(tallystick_cluster):
            with tallystick_cluster.connect("demo") as client:
                assert client.agent("x").rehydrate().seq == 0
            assert tallystick_cluster.node_ids == ("a",)
            print("its folder is", tallystick_cluster.folder)

        def test_that_fails(tallystick_cluster):
            assert tallystick_cluster.leader() == "nobody"

        def test_that_has_no_cluster(request):
            assert not request.config.pluginmanager.hasplugin("asyncio")
    """
    code, said = _pytest(tmp_path, test, "-rP")
    assert code == 1 and "1 failed, 2 passed" in said
    assert said.count("- tallystick nodes -") == 1 and "--- log of node a" in said
    assert "left its nodes in" not in said
    folder = re.search(r"its folder is (\S+)", said)
    assert folder is not None and not Path(folder[1]).exists()


def test_the_fixture_for_asyncio_and_what_is_kept(tmp_path: Path) -> None:
    test = """
        import pytest

        @pytest.mark.asyncio
        async def test_that_passes(tallystick_async_cluster):
            async with tallystick_async_cluster.connect("demo") as client:
                assert (await client.agent("x").rehydrate()).seq == 0
    """
    asyncio_options = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")
    code, said = _pytest(tmp_path, test, *asyncio_options, "--tallystick-keep")
    assert code == 0 and "1 passed" in said, said
    kept = re.search(r"test_that_passes left its nodes in (\S+)", said)
    assert kept is not None and (Path(kept[1]) / "a" / "state.db").exists()
    assert Path(kept[1]).is_relative_to(tmp_path)


def test_a_run_without_clusters_takes_no_notice(tmp_path: Path) -> None:
    code, said = _pytest(tmp_path, "def test_it(): pass\n", "-p", "no:asyncio", "--tallystick-keep")
    assert code == 0 and "1 passed" in said and "left" not in said
