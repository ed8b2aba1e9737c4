"""Nodes as child processes of `tallystick dev`.

Rules of this file:
- No child outlives us: each asks the kernel to be killed with this process (`--exit-with-parent`), `stop` ends all.
- Each runs in a session of its own, so that a Ctrl-C at the terminal reaches only us, and we stop them in order.
- The environment's `TALLYSTICK_*` are not handed on: a local cluster is what its flags say.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import Final

from tallystick_node.config.settings import ENVIRONMENT_PREFIX

_LOG_BYTES_MAX: Final = 64 << 20
_LINE_BYTES_MAX: Final = 64 << 10
_STOP_S: Final = 10.0

LineSink = Callable[[str, str], None]
"""Takes a node id and a line that the node logged."""


@dataclass(frozen=True, slots=True)
class LocalNode:
    """A node on this machine."""

    node_id: str
    folder: Path
    client_endpoint: str
    peer_endpoint: str
    http_endpoint: str

    @property
    def log_file(self) -> Path:
        """Where its log goes, unless it is shown: beside the folder, in which a node takes no files but its own."""
        return self.folder.with_suffix(".log")


@dataclass(frozen=True, slots=True)
class Child:
    """A node that runs. `exited` is done, with the exit code, once it no longer does."""

    node: LocalNode
    pid: int
    exited: asyncio.Task[int]

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it still runs."""
        if not self.exited.done():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def serve_command(node: LocalNode, nodes: Sequence[LocalNode], *, log_format: str) -> list[str]:
    """The command line that runs this node of these nodes."""
    members = [f"--member={other.node_id}={other.peer_endpoint},{other.client_endpoint}" for other in nodes]
    return [
        sys.executable, "-m", "tallystick_node.cli", "serve",
        f"--exit-with-parent={os.getpid()}", "--cluster-id=dev", f"--node-id={node.node_id}",
        f"--data-folder={node.folder}", f"--client-address={node.client_endpoint}",
        f"--peer-address={node.peer_endpoint}", f"--http-address={node.http_endpoint}",
        f"--log-format={log_format}", *members,
    ]  # fmt: skip


def environment() -> Mapping[str, str]:
    """What a child inherits."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}


async def start(node: LocalNode, command: Sequence[str], sink: LineSink | None) -> Child:
    """Starts a node. Its log goes to `sink`, or, without one, to the end of its log file."""
    node.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        output = asyncio.subprocess.PIPE if sink is not None else stack.enter_context(_open_log(node.log_file)).fileno()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
        )
    return Child(node, process.pid, asyncio.create_task(_until_exit(node, process, sink)))


async def stop(children: Sequence[Child]) -> None:
    """SIGTERM to all, and SIGKILL to those that still run after ten seconds. Returns when none runs."""
    for child in children:
        child.signal(signal.SIGTERM)
    running = [child.exited for child in children if not child.exited.done()]
    if not running:
        return
    await asyncio.wait(running, timeout=_STOP_S)
    for child in children:
        child.signal(signal.SIGKILL)
    await asyncio.wait(running)


async def _until_exit(node: LocalNode, process: asyncio.subprocess.Process, sink: LineSink | None) -> int:
    if sink is not None and process.stdout is not None:
        await _read_lines(node.node_id, process.stdout, sink)
    return await process.wait()


async def _read_lines(node_id: str, stream: asyncio.StreamReader, sink: LineSink) -> None:
    """Hands on each line; one without end is cut where it becomes too long."""
    rest = b""
    while chunk := await stream.read(_LINE_BYTES_MAX):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LINE_BYTES_MAX:
            lines, rest = [*lines, rest], b""
        for line in lines:
            sink(node_id, line.decode(errors="replace"))
    if rest:
        sink(node_id, rest.decode(errors="replace"))


def _open_log(path: Path) -> BufferedWriter:
    if path.exists() and path.stat().st_size > _LOG_BYTES_MAX:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")
