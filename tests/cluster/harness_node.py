"""One node as a child process: how it is started, stopped, killed, frozen, and what it said.

Rules of this file:
- A node dies with this process (`--exit-with-parent`). The kernel means the thread that started it, so nodes are
  started on the event loop's thread.
- Its log is kept beside its data folder, over all its runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TAIL_BYTES: Final = 4000
_STOP_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node as its command line has it. Addresses are `host:port`, where the process listens."""

    node_id: str
    cluster_id: str
    data_folder: Path
    log_file: Path
    client_address: str
    peer_address: str
    members: tuple[str, ...]
    flags: tuple[str, ...] = ()

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
    def pid(self) -> int:
        """Of the process that runs, or ran last."""
        assert self._process is not None, f"node {self.node_id} was never started"
        return self._process.pid

    def start(self, extra_flags: Sequence[str] = ()) -> None:
        """Starts the process; whether it serves is another question."""
        assert not self.is_running, f"node {self.node_id} runs"
        self.plan.data_folder.parent.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")}
        with self.plan.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.plan.command(), *extra_flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
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
        """Freezes it (SIGSTOP)."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Thaws it (SIGCONT)."""
        self.signal(signal.SIGCONT)

    async def wait_exit(self, within_s: float = _STOP_S) -> int:
        """The exit code, once it has ended by itself.

        Raises:
            subprocess.TimeoutExpired: it has not.
        """
        assert self._process is not None, f"node {self.node_id} was never started"
        return await asyncio.to_thread(self._process.wait, within_s)

    async def stop(self, within_s: float = _STOP_S) -> int:
        """SIGTERM; its exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait_exit(within_s)

    def log_text(self) -> str:
        """All it said, over all its runs."""
        return self.plan.log_file.read_text(errors="replace") if self.plan.log_file.exists() else ""

    def log_tail(self) -> str:
        """The end of it, for a failed test."""
        return self.log_text()[-_TAIL_BYTES:]
