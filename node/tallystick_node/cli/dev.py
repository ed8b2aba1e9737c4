"""`tallystick dev`: a cluster on this machine, for as long as the command runs. Its data stays."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
from rich.text import Text

import tallystick
from tallystick_node.cli import children
from tallystick_node.cli.children import Child, LocalNode
from tallystick_node.cli.exits import ExitCode, Failure
from tallystick_node.cli.output import cell, console, table
from tallystick_node.cli.printable import printable

_NAMES: Final = "abcdefghi"
_STYLES: Final = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta", "white")
_LEADER_S: Final = 60.0
_POLL_S: Final = 0.2


@click.command()
@click.option("--nodes", "count", type=click.IntRange(1, len(_NAMES)), default=3, show_default=True, help="How many.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".tallystick"),
    show_default=True,
    help="Where the nodes keep their data; start again with the same folder to find it again.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535 - 10 * len(_NAMES)),
    default=7420,
    show_default=True,
    help="Clients' port of the first node; others follow in steps of ten; nodes talk one port above, HTTP two.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show what the nodes log, instead of writing it to files.")
def dev(count: int, data: Path, port: int, verbose: bool) -> None:
    """Run a cluster on this machine until Ctrl-C."""
    nodes = plan(count, data, port)
    _check_folders(data, nodes)
    for node in nodes:
        _check_free(node.client_endpoint)
        _check_free(node.peer_endpoint)
        _check_free(node.http_endpoint)
    code = asyncio.run(_Dev(nodes, verbose=verbose).run())
    raise click.exceptions.Exit(code)


def plan(count: int, data: Path, port: int) -> tuple[LocalNode, ...]:
    """The nodes a, b, c, ...: folders under `data`, ports from `port` on."""
    return tuple(
        LocalNode(name, data / name, *(f"127.0.0.1:{port + 10 * i + offset}" for offset in range(3)))
        for i, name in enumerate(_NAMES[:count])
    )


def _check_folders(data: Path, nodes: Sequence[LocalNode]) -> None:
    """Refuses other nodes than those whose data is there: they would not agree on who is a member."""
    there = sorted(name for name in _NAMES if (data / name).is_dir())
    if there and there != [node.node_id for node in nodes]:
        raise Failure(
            f"{data} holds the nodes {', '.join(there)}, not {len(nodes)}",
            ExitCode.REFUSED,
            f"Start it with --nodes {len(there)}, or another cluster with --data.",
        )


def _check_free(endpoint: str) -> None:
    host, _, port = endpoint.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise Failure(
                f"port {port} is in use",
                ExitCode.UNAVAILABLE,
                "Stop what uses it (another `tallystick dev`?), or choose other ports with --port.",
            ) from error


class _Dev:
    """One run of the command."""

    def __init__(self, nodes: Sequence[LocalNode], *, verbose: bool) -> None:
        self._nodes = nodes
        self._verbose = verbose
        self._console = console()
        self._children: list[Child] = []
        self._reported: set[str] = set()
        self._stopped = asyncio.Event()
        self._styles = {node.node_id: style for node, style in zip(nodes, _STYLES, strict=False)}

    async def run(self) -> ExitCode:
        """Until Ctrl-C, SIGTERM, or the end of the last child. Leaves no child behind."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        try:
            await self._start()
            leader = await self._until_leader()
            if leader is not None:
                self._greet(leader)
            while self._running() and not self._stopped.is_set():
                await self._until_news()
        finally:
            if self._running():
                self._console.print(f"stopping {len(self._running())} nodes ...", style="dim")
            self._report_exits()
            await children.stop(self._children)
        return ExitCode.REFUSED if self._reported else ExitCode.DONE

    def _on_signal(self) -> None:
        if self._stopped.is_set():  # asked twice: no more patience
            for child in self._children:
                child.signal(signal.SIGKILL)
        self._stopped.set()

    async def _start(self) -> None:
        sink = self._show_line if self._verbose else None
        for node in self._nodes:
            log_format = "text" if self._verbose else "json"
            command = children.serve_command(node, self._nodes, log_format=log_format)
            self._children.append(await children.start(node, command, sink))

    def _show_line(self, node_id: str, line: str) -> None:
        self._console.print(Text.assemble((f"{node_id} ", self._styles[node_id]), printable(line)), soft_wrap=True)

    def _running(self) -> list[Child]:
        return [child for child in self._children if not child.exited.done()]

    async def _until_news(self, timeout_s: float | None = None) -> None:
        """Until a signal, the end of a child, or the timeout."""
        stopped = asyncio.ensure_future(self._stopped.wait())
        running = [child.exited for child in self._running()]
        try:
            await asyncio.wait([stopped, *running], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if not self._stopped.is_set():
            self._report_exits()

    def _report_exits(self) -> None:
        """Says, once for each, which children have ended by themselves."""
        for child in self._children:
            node = child.node
            if not child.exited.done() or node.node_id in self._reported:
                continue
            self._reported.add(node.node_id)
            code = child.exited.result()
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            self._console.print(Text(f"node {node.node_id} {how}", style="bold red"))
            if not self._verbose:
                self._console.print(Text(f"  its last words: tail {printable(str(node.log_file))}"))

    async def _until_leader(self) -> str | None:
        """Who leads, once all that run answer; None if stopped before. Failure if it takes too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LEADER_S
        endpoints = ",".join(node.client_endpoint for node in self._nodes)
        async with tallystick.connect(endpoints, namespace="default", timeout_s=1.0) as client:
            with self._console.status("starting ...") as progress:
                while not self._stopped.is_set():
                    if len(self._running()) <= len(self._nodes) // 2:
                        raise Failure("too few nodes run to elect a leader", ExitCode.UNAVAILABLE)
                    answers = [found.status for found in await client.statuses() if found.status is not None]
                    leaders = [status.node_id for status in answers if status.role is tallystick.Role.LEADER]
                    if leaders and len(answers) >= len(self._running()):
                        return leaders[0]
                    if loop.time() > deadline:
                        raise Failure(f"no leader after {_LEADER_S:.0f} s", ExitCode.UNAVAILABLE, self._where_to_look())
                    progress.update(f"{len(answers)} of {len(self._nodes)} nodes answer, waiting for a leader ...")
                    await self._until_news(_POLL_S)
        return None

    def _where_to_look(self) -> str:
        return "See " + ", ".join(str(node.log_file) for node in self._nodes) + "."

    def _greet(self, leader: str) -> None:
        rows = [
            [
                cell(child.node.node_id, self._styles[child.node.node_id]),
                cell("leader" if child.node.node_id == leader else "follower"),
                cell(child.node.client_endpoint),
                cell(child.node.peer_endpoint),
                cell(child.pid),
                cell(child.node.folder),
            ]
            for child in self._running()
        ]
        self._console.print(table(("node", "role", "clients", "peers", "pid", "folder"), rows))
        endpoints = ",".join(node.client_endpoint for node in self._nodes)
        self._console.print(
            f'\nPython:  tallystick.connect("{endpoints}", namespace="default")\n'
            f"shell:   tallystick status --endpoints {endpoints}\n"
            "Ctrl-C stops all nodes; their data stays. Ready.",
            soft_wrap=True,
            markup=False,
        )
