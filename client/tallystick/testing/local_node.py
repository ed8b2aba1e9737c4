"""One node as a child process: how it is started, stopped, killed, frozen, and what it said.

Rules of this file:
- A node dies with this process (`--exit-with-parent`), frozen or not. The kernel means the thread that started it, so
  nodes are started on the event loop's thread, and that thread lives as long as the cluster.
- Its log is kept beside its data folder, over all its runs.
- The environment's `TALLYSTICK_*` are not handed on: a node is what its flags say, and its plan's environment.
- Nothing of the node's code is imported: it is a program.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

_TAIL_BYTES: Final = 4000
_STOP_S: Final = 15.0
_NODE_REQUIREMENT: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+).*;.*\bextra == ['\"]node['\"]")
"""A line of the package's metadata, such as `click>=8.1.7; extra == 'node'`."""


class LocalClusterError(RuntimeError):
    """The nodes cannot be run, or one ended by itself; the text says why, with the end of its log."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node as its command line has it, and what its environment has beyond ours.

    Addresses are `host:port`, where the process listens.
    """

    node_id: str
    cluster_id: str
    data_folder: Path
    log_file: Path
    client_address: str
    peer_address: str
    members: tuple[str, ...]
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self) -> list[str]:
        """The command line."""
        return [
            sys.executable, "-m", "tallystick_node.cli", "serve", f"--exit-with-parent={os.getpid()}",
            f"--node-id={self.node_id}", f"--cluster-id={self.cluster_id}", f"--data-folder={self.data_folder}",
            f"--client-address={self.client_address}", f"--peer-address={self.peer_address}",
            *(f"--member={member}" for member in self.members), *self.flags,
        ]  # fmt: skip


class NodeProcess:
    """A node of a local cluster, running or not."""

    def __init__(self, plan: NodePlan) -> None:
        self.plan = plan
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def node_id(self) -> str:
        """Its name."""
        return self.plan.node_id

    @property
    def is_running(self) -> bool:
        """Whether its process lives, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_paused(self) -> bool:
        """Whether its process lives and is frozen."""
        if not self.is_running:
            return False
        # The state follows the program's name, which stands in brackets and may hold anything.
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[0] == "T"

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last."""
        return self._started().pid

    @property
    def exit_code(self) -> int | None:
        """Of the run that ended last; -9 after SIGKILL; None while it runs."""
        return self._started().poll()

    def start(self, extra_flags: Sequence[str] = ()) -> None:
        """Starts the process; whether it serves is another question.

        Raises:
            LocalClusterError: it runs already.
        """
        if self.is_running:
            raise LocalClusterError(f"node {self.node_id} runs already")
        self.plan.data_folder.parent.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")}
        with self.plan.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*self.plan.command(), *extra_flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, **self.plan.environment},
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_S)

    def pause(self) -> None:
        """Freezes it (SIGSTOP), within moments."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Thaws it (SIGCONT)."""
        self.signal(signal.SIGCONT)

    async def wait_exit(self, within_s: float = _STOP_S) -> int:
        """The exit code, once it has ended by itself.

        Raises:
            subprocess.TimeoutExpired: it has not.
        """
        return await asyncio.to_thread(self._started().wait, within_s)

    async def stop(self, within_s: float = _STOP_S) -> int:
        """SIGTERM; its exit code.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        self.signal(signal.SIGTERM)
        return await self.wait_exit(within_s)

    def log_text(self) -> str:
        """All it said, over all its runs."""
        return self.plan.log_file.read_text(errors="replace") if self.plan.log_file.exists() else ""

    def log_tail(self) -> str:
        """The end of it, for a failed test."""
        return self.log_text()[-_TAIL_BYTES:]

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LocalClusterError(f"node {self.node_id} was never started")
        return self._process


def check_installed() -> None:
    """Whether nodes can be run here.

    Raises:
        LocalClusterError: what they need is not installed, as without the extra [node].
    """
    missing = []
    for requirement in _node_requirements():
        try:
            metadata.distribution(requirement)
        except metadata.PackageNotFoundError:
            missing.append(requirement)
    if missing:
        raise LocalClusterError(
            f"the nodes need what is not installed here ({', '.join(missing)}): pip install 'tallystick[node]'"
        )


def _node_requirements() -> list[str]:
    try:
        stated = metadata.requires("tallystick") or []
    except metadata.PackageNotFoundError:  # run from its sources: the node's own log will say what it misses
        return []
    return [found["name"] for line in stated if (found := _NODE_REQUIREMENT.match(line))]
