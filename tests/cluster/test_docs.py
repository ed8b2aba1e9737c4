"""The README and the docs as their readers use them: every example runs, on three nodes.

Rules of the pages (see CONTRIBUTING.md):
- A `python` block runs; one with `asyncio.run(` is a program of its own, others go on with the names of those before,
  and with `tallystick`, `ops`, `client` and `agent`. A block with `file=NAME` is a program that readers save.
- In a `console` block, `$ tallystick status|agent|team|schema|context|payload|certs`, `$ tallystick member list|lead`,
  `$ python NAME` and `$ pytest NAME` run; of `serve`, `dev` and the other `member` commands the arguments are checked,
  of `curl` the address; `$ make` has to name a target. Anything else is refused here, so that nothing is left untried.
- A `js` block joins with the stock Yjs client: its address has to be one; `test_yjs` runs such clients.
- A `toml` block is a node's configuration; the `TALLYSTICK_` variables of an `sh` block have to exist.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shlex
import shutil
import signal
import sys
import types
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import pytest
import pytest_asyncio

import tallystick
from tallystick import ops
from tallystick_node.cli import main as cli
from tallystick_node.config.loading import load
from tallystick_node.config.settings import SETTINGS
from tallystick_node.web.server import room_of
from tests.cluster.harness import Cluster

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md")),
)
TUTORIAL: Final = "docs/tutorials/first-agent.md"
BACKUP: Final = "docs/how-to/back-up-and-restore.md"
MEMBERS: Final = "docs/how-to/members.md"
TLS_PAGE: Final = "docs/how-to/tls.md"
DOCUMENTED_ENDPOINTS: Final = "127.0.0.1:7420,127.0.0.1:7430,127.0.0.1:7440"
PROGRAM_S: Final = 30.0
PYTEST_S: Final = 120.0  # it starts clusters of its own
RUN: Final = frozenset(
    {"status", "agent", "lease", "retention", "schema", "team", "context", "payload", "certs", "verify"}
)
CLIENT_VARIABLES: Final = frozenset({"TALLYSTICK_ENDPOINTS", "TALLYSTICK_NAMESPACE"})

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: its language, the rest of the fence's line, and the number of its first line."""

    language: str
    info: str
    text: str
    line: int

    @property
    def file(self) -> str:
        """The name under which readers save it, or nothing."""
        return self.info.removeprefix("file=") if self.info.startswith("file=") else ""


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        if start is None:
            start = number
            continue
        indent = len(lines[start]) - len(lines[start].lstrip())
        language, _, info = lines[start].strip().removeprefix("```").partition(" ")
        text = "".join(inside[indent:] + "\n" for inside in lines[start + 1 : number])
        found.append(Block(language, info, text, start + 2))
        start = None
    assert start is None, f"{page}: a block is not closed"
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Three nodes without TLS, for all pages but one."""
    async with Cluster(tmp_path_factory.mktemp("docs")) as running:
        yield running


class Reader:
    """Does what a page says, in `folder`."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._folder = folder
        self._endpoints = ",".join(cluster.endpoint(node_id) for node_id in cluster.node_ids)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")},
            "TALLYSTICK_ENDPOINTS": self._endpoints,
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "client", "node")),
        }

    def here(self, text: str) -> str:
        """The text with the endpoints of this cluster."""
        return text.replace(DOCUMENTED_ENDPOINTS, self._endpoints)

    async def run(self, page: str, names: dict[str, object]) -> None:
        """Every block, in order."""
        for block in blocks(page):
            try:
                await self._run_block(page, block, names)
            except BaseException as error:
                error.add_note(f"{page}, the block at line {block.line}")
                raise

    async def _run_block(self, page: str, block: Block, names: dict[str, object]) -> None:
        match block.language:
            case "python" if block.file:
                (self._folder / block.file).write_text(
                    self.here(block.text).replace("READING_S = 1.0", "READING_S = 0.0")
                )
            case "python" if "asyncio.run(" in block.text:
                (self._folder / "program.py").write_text(self.here(block.text))
                await self.command(sys.executable, "program.py")
            case "python":
                await self._fragment(page, block, names)
            case "console":
                for line in block.text.splitlines():
                    assert line.startswith("$ "), f"neither a command nor a thing we show: {line}"
                    await self._console(shlex.split(line.removeprefix("$ ")))
            case "toml":
                self._load(block.text)
            case "sh":
                known = CLIENT_VARIABLES | {setting.variable for setting in SETTINGS}
                assert set(re.findall(r"TALLYSTICK_[A-Z_]+", block.text)) <= known
            case "js":
                urls = re.findall(r'WebsocketProvider\("ws://[^/"]+(/[^"]+)", "([^"]+)"', block.text)
                assert urls
                assert all(room_of(f"{path}/{name}") for path, name in urls)
            case other:
                assert other == "mermaid", f"nobody runs a block of {other!r}"

    async def _fragment(self, page: str, block: Block, names: dict[str, object]) -> None:
        text = "\n" * (block.line - 1) + self.here(block.text)
        code = compile(text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = types.FunctionType(code, names)()
        if inspect.isawaitable(result):
            await result

    async def _console(self, words: Sequence[str]) -> None:
        match words:
            case ["openssl", ("genpkey" | "pkey"), *_]:
                await self.command(*words)
            case ["tallystick", name, *_] if name in RUN:
                await self.command(sys.executable, "-m", "tallystick_node.cli", *words[1:])
            case ["tallystick", ("serve" | "dev") as name, *arguments]:
                _command(name).make_context(name, arguments)
            case ["tallystick", "member", ("list" | "lead"), *_]:
                await self.command(sys.executable, "-m", "tallystick_node.cli", *words[1:])
            case ["tallystick", "member", name, *arguments]:
                _command("member", name).make_context(name, arguments)
            case ["curl", "-s", url]:
                assert re.fullmatch(r"http://127\.0\.0\.1:74[234]2/(healthz|metrics)", url)
            case ["python", name]:
                assert (self._folder / name).exists(), f"no block of the page is {name}"
                await self.command(sys.executable, name, within_s=PYTEST_S)
            case ["pytest", name]:
                assert (self._folder / name).exists(), f"no block of the page is {name}"
                await self.command(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", name, within_s=PYTEST_S)
            case ["make", target]:
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
            case _:
                assert list(words) == [".", ".venv/bin/activate"], f"nobody tries {words}"

    async def command(self, *words: str, within_s: float = PROGRAM_S) -> str:
        """Runs a program; what it printed. Its exit code has to be 0."""
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=self._folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(within_s):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        text = out.decode()
        assert process.returncode == 0, f"{' '.join(words)} ended with {process.returncode}:\n{text}"
        return text

    async def start(self, program: str) -> asyncio.subprocess.Process:
        """Starts a program that is to be killed."""
        return await asyncio.create_subprocess_exec(
            sys.executable, program, cwd=self._folder, env=self._environment, stdout=asyncio.subprocess.PIPE
        )

    def _load(self, text: str) -> None:
        """The node's own reading of it, with files where it wants files."""
        folder = self._folder / "etc"
        folder.mkdir(exist_ok=True)
        for name in re.findall(r"/etc/tallystick/([a-z-]+\.pem)", text):
            (folder / name).touch()
        file = folder / "node.toml"
        file.write_text(text.replace("/etc/tallystick", str(folder)))
        needed = {"node_id": "a", "data_folder": "data"}
        given = {name: value for name, value in needed.items() if not re.search(rf"^{name} =", text, re.MULTILINE)}
        load(given, {}, file)


def _command(*names: str) -> click.Command:
    command: click.Command = cli
    for name in names:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"there is no `tallystick {' '.join(names)}`"
        command = found
    return command


def _names(client: tallystick.Client, page: str) -> dict[str, object]:
    """What the fragments of a page may use."""
    return {"tallystick": tallystick, "ops": ops, "client": client, "agent": client.agent(f"of-{Path(page).stem}")}


@pytest.mark.parametrize("page", [page for page in PAGES if page != TLS_PAGE and blocks(page)])
async def test_every_example_of_a_page_runs(
    plain: Cluster, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with plain.connect("demo") as client:
        await Reader(plain, tmp_path).run(page, _names(client, page))


async def test_every_example_about_tls_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    certs = tmp_path / "certs"
    _command("certs").main([str(certs)], standalone_mode=False)
    async with Cluster(tmp_path / "cluster", certs=certs) as cluster, cluster.connect("demo") as client:
        await Reader(cluster, tmp_path).run(TLS_PAGE, _names(client, TLS_PAGE))
    assert "\nann\n" in capsys.readouterr().out


def _program(page: str, changes: Mapping[str, str]) -> str:
    """The one program that readers of the page save, with these texts replaced; each has to be there."""
    (text,) = (block.text for block in blocks(page) if block.file)
    for old, new in changes.items():
        assert old in text, f"{page}: {old} is gone"
        text = text.replace(old, new)
    return text


async def test_the_agent_of_the_tutorial_survives_kill_9(plain: Cluster, tmp_path: Path) -> None:
    reader = Reader(plain, tmp_path)
    # It never comes to the end of page 4 by itself, so the kill certainly hits it there.
    stuck = {
        'namespace="tutorial"': 'namespace="killed"',
        "asyncio.sleep(READING_S)": "asyncio.sleep(600 * (page == 4))",
    }
    (tmp_path / "stuck.py").write_text(reader.here(_program(TUTORIAL, stuck)))
    free = {'namespace="tutorial"': 'namespace="killed"', "READING_S = 1.0": "READING_S = 0.0"}
    (tmp_path / "free.py").write_text(reader.here(_program(TUTORIAL, free)))
    process = await reader.start("stuck.py")
    assert process.stdout is not None
    async with asyncio.timeout(PROGRAM_S):
        while b"page 3 is read" not in await process.stdout.readline():
            pass
        async with plain.connect("killed") as client:
            async for event in client.watch(agent="reader", after=tallystick.Revision(1, 0)):
                if isinstance(event, tallystick.MutationEvent) and event.mutation.payload == {"page": 4}:
                    break
        process.send_signal(signal.SIGKILL)
        await process.wait()
    said = await reader.command(sys.executable, "free.py")
    assert said.startswith("rehydrated at seq 7: page 4 is next\npage 4 was begun and not finished: reading it again\n")
    assert said.endswith("the book is read\n")
    async with plain.connect("killed") as client:
        state = (await client.agent("reader").read()).state
    assert state == {"notes": [f"what page {page} says" for page in range(1, 11)], "page": 11}


async def test_a_lost_cluster_comes_back_as_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "adopt.py").write_text(_program(BACKUP, {}))
    async with Cluster(tmp_path) as cluster, cluster.connect() as client:
        reader = Reader(cluster, tmp_path)
        agent = client.agent("x")
        await agent.append(ops.set("/n", 3))
        stopped = cluster.others(await cluster.wait_for_leader())[0]
        await cluster.wait_equal()

        backup = tmp_path / "backup"
        await cluster.stop(stopped)
        shutil.copytree(tmp_path / stopped, backup)
        await agent.append(ops.set("/n", 4))
        cluster.kill(*cluster.others(stopped))
        for node_id in cluster.node_ids:
            shutil.rmtree(tmp_path / node_id)
            shutil.copytree(backup, tmp_path / node_id)
            await reader.command(sys.executable, "adopt.py", str(tmp_path / node_id), node_id)
            await cluster.start(node_id)
        await cluster.wait_equal()
        async with cluster.connect() as anew:
            assert (await anew.agent("x").read()).state == {"n": 3}


async def test_a_lost_node_is_replaced_as_the_page_says(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster, cluster.connect() as client:
        reader = Reader(cluster, tmp_path)
        await client.agent("x").append(ops.set("/n", 1))
        cluster.kill("b")
        commands = [
            shlex.split(line.strip().removeprefix("$ tallystick "))
            for block in blocks(MEMBERS)
            for line in block.text.splitlines()
            if line.startswith(("$ tallystick member remove b", "$ tallystick member add b"))
        ]
        assert [command[1] for command in commands] == ["remove", "add"], "the page says something else"
        for command in commands:
            await _replacing(cluster, reader, command)
        assert "b" in [member.node_id for member in await client.members.list() if not member.is_learner]
        await cluster.wait_equal()


async def _replacing(cluster: Cluster, reader: Reader, command: Sequence[str]) -> None:
    """A step of the page, with the endpoints of this cluster; between the two the new node is started."""
    here: dict[str, str] = {}
    if command[1] == "add":
        await cluster.remove_node("b")
        await cluster.add_node("b")
        here = {"10.0.0.2:7420": cluster.endpoint("b"), "10.0.0.2:7421": cluster.peer_endpoint("b")}
    words = [here.get(word, word) for word in command]
    await reader.command(sys.executable, "-m", "tallystick_node.cli", *words, within_s=PYTEST_S)
