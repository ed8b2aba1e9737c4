"""`tallystick context`, as real processes against real nodes: what it prints, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from click.testing import CliRunner

from tallystick import JSON
from tallystick.contexts import Context
from tallystick_node.cli import main
from tests.cluster.harness import Cluster

WAIT_S: Final = 60.0
EVIL: Final = "\x1b[31mred\u202e"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Shell:
    """Runs `tallystick context` against a node, or all of them."""

    def __init__(self, cluster: Cluster, node_ids: Sequence[str] = ("a",)) -> None:
        endpoints = ",".join(cluster.endpoint(node_id) for node_id in node_ids)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")}
        self._environment = {**kept, "TALLYSTICK_ENDPOINTS": endpoints, "TALLYSTICK_NAMESPACE": "demo"}
        self._environment["TALLYSTICK_TIMEOUT"] = str(WAIT_S)

    async def start(self, *args: str) -> asyncio.subprocess.Process:
        """As a process of its own."""
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tallystick_node.cli", "context", *args,
            env=self._environment, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def run(self, *args: str) -> Ended:
        """In this process, which spares a second of imports each time."""
        runner = CliRunner(env=self._environment)
        result = await asyncio.wait_for(asyncio.to_thread(runner.invoke, main, ["context", *args]), WAIT_S)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        ended = Ended(result.exit_code, result.stdout, result.stderr)
        assert not any(c in ended.out + ended.err for c in EVIL if not c.isprintable()), "steers the terminal"
        return ended

    async def good(self, *args: str) -> str:
        """What it prints; it must not fail."""
        ended = await self.run(*args)
        assert ended.code == 0, ended.err
        return ended.out

    async def json(self, *args: str) -> JSON:
        """The same as JSON."""
        value: JSON = json.loads(await self.good(*args, "--json"))
        return value

    async def lines(self, *args: str) -> list[dict[str, JSON]]:
        """The same as JSON Lines."""
        return [json.loads(line) for line in (await self.good(*args, "--json")).splitlines()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("cli")) as cluster:
        await cluster.wait_for_leader()
        yield cluster


async def _fill(plan: Context) -> None:
    with plan.transaction("tool:plan#1"):
        plan.map("tasks")["t1"] = EVIL
        plan.map("tasks")["t2"] = {"by": "ann"}
        plan.text("notes").insert(0, "hello")
    await plan.flush()


async def test_a_context_from_its_creation_to_its_end(three: Cluster, tmp_path: Path) -> None:
    shell = Shell(three)
    schema = tmp_path / "schema.json"
    schema.write_text('{"roots": {"tasks": {"type": "map"}, "notes": {"type": "text"}}}')
    made = await shell.json("create", "plan", "--schema", str(schema), "--actor", "op")
    assert isinstance(made, dict)
    assert (made["context"], made["epoch"], made["actor"]) == ("plan", 1, "op")
    assert made["schema"] == json.loads(schema.read_text())
    again = await shell.run("create", "plan")
    assert again.code == 1
    assert "CONTEXT_EXISTS" in again.err
    assert await shell.json("create", "plan", "--exist-ok") == made
    assert [line["context"] for line in await shell.lines("list", "--prefix", "pl")] == ["plan"]
    assert "plan" in await shell.good("list")

    kept = await shell.run("delete", "plan")
    assert kept.code == 2
    assert "--yes" in kept.err
    await shell.good("delete", "plan", "--yes")
    gone = await shell.run("describe", "plan")
    assert gone.code == 1
    assert "CONTEXT_NOT_FOUND" in gone.err
    assert "tallystick context list" in gone.err


async def test_what_is_in_it_by_whom_and_as_it_was(three: Cluster) -> None:
    shell = Shell(three)
    async with three.connect(nodes=["a"], actor="ann") as client, client.context("past") as plan:
        await _fill(plan)
        assert '"hello"' in await shell.good("show", "past")
        assert await shell.json("show", "past") == {"tasks": {"t1": EVIL, "t2": {"by": "ann"}}, "notes": "hello"}
        saved = await shell.json("save", "past", "first", "--actor", "op")
        assert isinstance(saved, dict)
        assert (saved["version"], saved["actor"]) == ("first", "op")

        done = await shell.json("set", "past", "tasks", "t1", '{"n": 1}', "--actor", "op", "--cause", "by hand")
        assert isinstance(done, dict)
        wanted: JSON = {"tasks": {"t1": {"n": 1}, "t2": {"by": "ann"}}, "notes": "hello"}
        elsewhere = Shell(three, ["b"])
        assert await elsewhere.json("show", "past", "--after", json.dumps(done["cursor"])) == wanted
        before = await shell.json("show", "past", "--at", "version:first")
        assert before == {"tasks": {"t1": EVIL, "t2": {"by": "ann"}}, "notes": "hello"}

        lines = await shell.lines("log", "past")
        assert before == await shell.json("show", "past", "--at", str(lines[0]["number"]))
        assert [(line["actor"], line["cause"]) for line in lines] == [("ann", "tool:plan#1"), ("op", "by hand")]
        assert [line["number"] for line in await shell.lines("log", "past", "--limit", "1")] == [lines[-1]["number"]]
        assert [line["actor"] for line in await shell.lines("log", "past", "--only", "ann")] == ["ann"]
        assert "by hand" in await shell.good("log", "past", "--after", str(lines[0]["number"]))
        assert "first" in await shell.good("versions", "past")
        missing = await shell.run("show", "past", "--at", "never")
        assert missing.code == 1
        assert "VERSION_NOT_FOUND" in missing.err


async def test_size_presence_and_upkeep(three: Cluster) -> None:
    shell = Shell(three)
    async with (
        three.connect(nodes=["a"], actor="ann") as ann,
        ann.context("kept") as hers,
    ):
        await _fill(hers)
        hers.presence.set({"doing": EVIL})
        async with asyncio.timeout(WAIT_S):
            while not await shell.json("who", "kept"):
                pass
        assert "ann" in await shell.good("who", "kept")

        size = await shell.json("describe", "kept")
        assert isinstance(size, dict)
        assert isinstance(size["document_size_bytes"], int)
        assert size["document_size_bytes"] > 0
        assert size["node_id"] == "a"
        assert size["subscribers"] == 1
        assert "tombstones" in await shell.good("describe", "kept")

    async with asyncio.timeout(WAIT_S):
        while (await shell.run("verify", "kept")).code != 0:
            pass
    assert "equal" in await shell.good("verify", "kept", "--deep")
    compacted = await shell.json("compact", "kept")
    assert isinstance(compacted, dict)
    assert compacted["epoch"] == 2


async def test_a_log_is_followed(three: Cluster) -> None:
    shell = Shell(three)
    await shell.good("create", "live")
    process = await shell.start("log", "live", "--follow", "--json")
    assert process.stdout is not None
    async with three.connect(nodes=["a"], actor="ann") as client, client.context("live") as live:
        last = 0
        for value in range(3):
            with live.transaction(f"step {value}"):
                live.map("m")["k"] = value
            await live.flush()
            line = json.loads(await asyncio.wait_for(process.stdout.readline(), WAIT_S))
            assert (line["actor"], line["cause"]) == ("ann", f"step {value}")
            assert line["number"] > last
            last = line["number"]
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
