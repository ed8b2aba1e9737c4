"""`tallystick dev` and its children, as real processes: up, used, stopped, found again, killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import tallystick
from tallystick import ops

DEADLINE_S = 60.0
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="pidfd, and the death signal, are Linux's"),
]


def free_port(count: int) -> int:
    """A port p such that p, p + 1, p + 10, p + 11, ... are free, below those that the kernel gives out by itself."""
    for port in range(20_000 + os.getpid() % 250 * 20, 26_000, 10 * count):
        try:
            for number in (port + 10 * i + j for i in range(count) for j in (0, 1)):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port
    raise AssertionError("no free ports")


async def cli(*args: str) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tallystick_node.cli", *args,
        env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


async def run(*args: str) -> tuple[int | None, str]:
    process = await cli(*args)
    out, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    return process.returncode, out.decode()


class Dev:
    """A `tallystick dev` that runs."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, count: int) -> None:
        self.process = process
        self.endpoints = ",".join(f"127.0.0.1:{port + 10 * i}" for i in range(count))
        self.greeting = ""
        self.watched: dict[str, int] = {}

    async def until(self, pattern: str) -> str:
        """What it prints up to a line that matches."""
        seen: list[str] = []
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            while line := (await self.process.stdout.readline()).decode():
                seen.append(line)
                if re.search(pattern, line):
                    return "".join(seen)
        raise AssertionError(f"it ended without {pattern!r}:\n{''.join(seen)}")

    async def ready(self) -> None:
        self.greeting = await self.until(r"Ready\.")
        for node, pid in re.findall(r"^([a-i]) +(?:leader|follower) .* (\d+) +\S+ *$", self.greeting, re.MULTILINE):
            self.watched[node] = os.pidfd_open(int(pid))

    def send(self, node: str, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self.watched[node], number)

    async def end(self, number: signal.Signals) -> tuple[int | None, str]:
        """Signals it as a terminal would, its whole process group; its exit code and what else it printed."""
        os.killpg(self.process.pid, number)
        out, _ = await asyncio.wait_for(self.process.communicate(), DEADLINE_S)
        return self.process.returncode, out.decode()

    def children_gone(self) -> bool:
        """Whether all its nodes have ended, within the deadline."""
        return all(select.select([watched], [], [], DEADLINE_S)[0] for watched in self.watched.values())

    def close(self) -> None:
        for watched in self.watched.values():
            os.close(watched)


@asynccontextmanager
async def dev(data: Path, port: int, *flags: str, count: int = 3) -> AsyncIterator[Dev]:
    process = await cli("dev", "--data", str(data), "--port", str(port), "--nodes", str(count), *flags)
    made = Dev(process, port, count)
    try:
        yield made
    finally:
        if process.returncode is None:
            process.kill()  # its nodes go with it
            await process.communicate()
        made.close()


async def test_up_used_stopped_and_found_again(tmp_path: Path) -> None:
    port = free_port(3)
    async with dev(tmp_path, port) as first:
        await first.ready()
        assert sorted(first.watched) == ["a", "b", "c"]
        assert first.greeting.count("leader") == 1
        assert first.endpoints in first.greeting
        async with tallystick.connect(first.endpoints, namespace="default") as client:
            await client.agent("ann").append(ops.set("/a", 1), cause="test")
            await client.agent("ann").checkpoint("one")
            await client.agent("ann").append(ops.set("/a", 2), ops.set("/b", []))
        code, out = await run("status", "--json", "--endpoint", first.endpoints.split(",")[0])
        assert code == 0
        roles = [one["status"]["role"] for one in json.loads(out)]
        assert sorted(roles) == ["follower", "follower", "leader"]
        code, rest = await first.end(signal.SIGINT)
        assert code == 0, rest
        assert "Traceback" not in rest
        assert first.children_gone()
    for name in "abc":
        log = (tmp_path / f"{name}.log").read_text(encoding="utf-8")
        assert "Traceback" not in log
        assert all(json.loads(line)["event"] for line in log.splitlines())
    async with dev(tmp_path, port) as second:
        await second.ready()
        code, out = await run("agent", "diff", "ann", "one", "--json", "--endpoints", second.endpoints)
        assert code == 0, out
        assert json.loads(out) == [
            {"op": "replace", "path": "/a", "before": 1, "value": 2},
            {"op": "add", "path": "/b", "value": []},
        ]
        code, out = await run("agent", "log", "ann", "--json", "--endpoints", second.endpoints)
        assert [json.loads(line)["seq"] for line in out.splitlines()] == [1, 2]
        code, out = await run("agent", "list", "--endpoints", second.endpoints)
        assert re.search(r"ann +2 +one ", out)
        code, rest = await second.end(signal.SIGTERM)
        assert code == 0, rest
        assert second.children_gone()


async def test_nodes_die_with_a_dev_that_is_killed(tmp_path: Path) -> None:
    async with dev(tmp_path, free_port(3)) as killed:
        await killed.ready()
        killed.process.kill()
        await killed.process.wait()
        assert killed.children_gone()


async def test_a_node_that_dies_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    async with dev(tmp_path, free_port(3)) as running:
        await running.ready()
        running.send("b", signal.SIGKILL)
        said = await running.until(r"b\.log")
        assert "node b was killed by signal 9" in said
        async with tallystick.connect(running.endpoints, namespace="default", timeout_s=DEADLINE_S) as client:
            await client.agent("ann").append(ops.set("/a", 1))
        code, out = await run("status", "--endpoints", running.endpoints)
        assert code == 0
        assert re.search(r"^b .*unreachable", out, re.MULTILINE)
        code, _ = await running.end(signal.SIGINT)
        assert code == 1
        assert running.children_gone()


async def test_a_single_node_shown_as_it_logs(tmp_path: Path) -> None:
    async with dev(tmp_path, free_port(1), "-v", count=1) as running:
        await running.ready()
        assert re.search(r"^a .*node started", running.greeting, re.MULTILINE)
        assert not (tmp_path / "a.log").exists()
        code, rest = await running.end(signal.SIGINT)
        assert code == 0, rest
        assert re.search(r"^a .*node stopped", rest, re.MULTILINE)


async def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    port = free_port(3)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port + 11))
        taken.listen()
        code, out = await run("dev", "--data", str(tmp_path / "data"), "--port", str(port))
    assert code == 3
    assert str(port + 11) in out
    assert not (tmp_path / "data").exists()


async def test_other_nodes_than_the_data_are_refused(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    code, out = await run("dev", "--data", str(tmp_path), "--nodes", "5", "--port", str(free_port(5)))
    assert code == 1
    assert "--nodes 3" in out
