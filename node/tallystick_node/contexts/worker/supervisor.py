"""`Documents` in a worker process that is started, watched, and started again when it dies.

    documents = Supervisor(folder, has_peers=True, clock=..., unix_ms=...)
    tasks.create_task(documents.run())
    response = await documents.ask(request)

Rules of this file:
- A worker's death is no death of the node: what was under way fails with WORKER_DOWN, and another worker is started.
- What a node must not go on with (its documents were written by a newer version, or are damaged and nobody else has
  them) comes out of `run`.
- Nothing of a payload is logged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tallystick.errors import Reason, Unavailable, error_for
from tallystick.worker.v1.worker_pb2 import Request, Response
from tallystick_node.contexts.port import OnEarly, PortStatus
from tallystick_node.contexts.worker.aside import Aside
from tallystick_node.contexts.worker.child import Child
from tallystick_node.contexts.worker.limits import BACKOFF_S, SILENT_S, SOUND_S, START_S, STOP_S
from tallystick_node.contexts.worker.line import Line
from tallystick_node.contexts.worker.process import READY_ID
from tallystick_node.contexts.worker.running import MakeRunning, Running
from tallystick_node.contexts.worker.suspects import Conviction, Kind, Suspects
from tallystick_node.storage.errors import DatabaseDamaged, UnknownFormat

log = logging.getLogger(__name__)

COMMAND: Final = (sys.executable, "-P", "-m", "tallystick_node.contexts.worker")
"""Runs a worker. -P: no module is taken from the folder in which the node happens to run."""

_LOOKS: Final = 30
"""How often a silent worker is looked at before it is killed."""
_BUSY_SHARE: Final = 0.5
"""A silent worker that used the processor for this part of its silence did it by itself; else a disk may have."""


class Supervisor:
    """See the module.

    Args:
        folder: where the documents are, and what was set aside.
        has_peers: a damaged database is put aside, for other nodes have the documents.
        clock: seconds that never go back.
        unix_ms: the wall clock.
        command: what to run, in place of a worker.
        silent_s: how long a worker that has something to do may be silent.
        make_child: makes each run of a worker.
    """

    def __init__(
        self,
        folder: Path,
        *,
        has_peers: bool,
        clock: Callable[[], float],
        unix_ms: Callable[[], int],
        command: Sequence[str] = COMMAND,
        silent_s: float = SILENT_S,
        make_child: MakeRunning = Child,
    ) -> None:
        peers = ("--has-peers",) if has_peers else ()
        self._folder = folder
        self._command = (*command, f"--folder={folder}", f"--parent={os.getpid()}", *peers)
        self._clock = clock
        self._unix_ms = unix_ms
        self._silent_s = silent_s
        self._aside = Aside(folder)
        self._suspects = Suspects(clock, self._aside.sums())
        self._line = Line(self._suspects, self._send)
        self._make_child = make_child
        self._child: Running | None = None
        self._ready: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._is_up = False
        self._is_stopping = False
        self._starts = 0
        self._set_aside = 0

    @property
    def is_up(self) -> bool:
        """See `Port`."""
        return self._is_up

    @property
    def status(self) -> PortStatus:
        """See `Documents`."""
        return PortStatus(
            pid=self._child.pid if self._child is not None and self._is_up else 0,
            restarts=max(0, self._starts - 1),
            set_aside=self._set_aside,
            requests=self._line.requests,
            request_bytes=self._line.size_bytes,
        )

    async def ask(self, request: Request, on_early: OnEarly | None = None) -> Response:
        """See `Port`."""
        if self._is_stopping:
            raise _stopping()
        if not self._is_up:
            raise _down()
        response = await self._line.ask(request, on_early)
        if response.HasField("error"):
            error = response.error
            raise error_for(error.reason, error.message, error.metadata)
        return response

    async def run(self) -> None:
        """See `Documents`.

        Raises:
            DatabaseDamaged: the database is damaged, and no other node has the documents.
            UnknownFormat: a newer version wrote it.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # not by the worker, which may come too late
        pause_s, longest_s = BACKOFF_S
        while True:
            begun_s = self._clock()
            await self._run_once()
            if self._clock() - begun_s >= SOUND_S:
                pause_s = BACKOFF_S[0]
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)

    def _send(self, request: Request) -> None:
        if self._child is not None:
            self._child.send(request)

    async def _run_once(self) -> None:
        """A worker from its start to its end."""
        child = self._child = self._make_child(self._hear)
        self._ready = asyncio.get_running_loop().create_future()
        self._starts += 1
        was_busy = False
        try:
            await child.start(self._command)
            if await self._until_ready(child):
                was_busy = await self._until_end(child)
        except OSError as error:
            log.error("worker not started", extra={"event": "worker_not_started", "why": str(error)})
        except asyncio.CancelledError:
            await self._ask_to_stop(child)
            raise
        finally:
            self._is_up = False
            code = await child.end()
            if self._is_stopping:
                self._line.fail(_stopping())
        await self._bury(child, code, was_busy=was_busy)

    async def _ask_to_stop(self, child: Running) -> None:
        """What is under way is answered before it stops."""
        self._is_stopping = True
        request = Request()
        request.stop.SetInParent()
        child.send(request)
        await asyncio.wait((child.ended,), timeout=STOP_S)

    def _hear(self, response: Response) -> None:
        if response.is_early:
            self._line.tell_early(response)
        elif response.id != READY_ID:
            self._line.answer(response)
        elif not self._ready.done():
            self._ready.set_result(response)

    async def _until_ready(self, child: Running) -> bool:
        """Whether it is ready; False: it ended before, or took too long."""
        await asyncio.wait((self._ready, child.ended), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            return False
        response = self._ready.result()
        if not response.HasField("done"):
            if response.error.reason == Reason.CORRUPT:
                raise DatabaseDamaged(self._folder, response.error.message)
            raise UnknownFormat(response.error.message)
        if response.HasField("error"):
            log.error("documents put aside", extra={"event": "contexts_put_aside", "why": response.error.message})
        self._is_up = True
        log.info("worker started", extra={"event": "worker_started", "pid": child.pid, "starts": self._starts})
        return True

    async def _until_end(self, child: Running) -> bool:
        """Watches it until it ends; whether it had to be killed, for it was silent and yet busy."""
        answered, silent_looks, cpu_s = self._line.answered, 0, child.cpu_s()
        while not child.ended.done():
            await asyncio.wait((child.ended,), timeout=self._silent_s / _LOOKS)
            # Looks are counted, not seconds: a node that stood itself must not take its worker for silent.
            if answered != self._line.answered or not self._line.is_under_way:
                answered, silent_looks, cpu_s = self._line.answered, 0, child.cpu_s()
                continue
            silent_looks += 1
            if silent_looks >= _LOOKS:
                was_busy = child.cpu_s() - cpu_s >= _BUSY_SHARE * self._silent_s
                log.error("worker silent", extra={"event": "worker_silent", "pid": child.pid, "was_busy": was_busy})
                child.kill()
                await asyncio.wait((child.ended,))
                return was_busy
        return False

    async def _bury(self, child: Running, code: int, *, was_busy: bool) -> None:
        how = "silent" if was_busy else _how(code)
        log.error(
            "worker died",
            extra={
                "event": "worker_died",
                "pid": child.pid,
                "how": how,
                "requests": self._line.requests,
                "complaint": child.complaint,
                "last_words": child.last_words,
            },
        )
        is_own_doing = was_busy or code != -signal.SIGKILL
        conviction = self._line.worker_died(_down(), is_own_doing=is_own_doing)
        if conviction is not None:
            await self._set_it_aside(conviction, how)

    async def _set_it_aside(self, conviction: Conviction, how: str) -> None:
        self._set_aside += 1
        extra = {
            "event": f"{conviction.kind.value}_set_aside",
            "guid": conviction.document.guid.hex(),
            "sha256": conviction.sum.hex(),
            "request": conviction.request.WhichOneof("body"),
            "actor": conviction.request.merge.edit.actor,
            "how": how,
        }
        if conviction.kind is Kind.UPDATE:
            try:
                extra["path"] = str(await asyncio.to_thread(self._aside.put, conviction, how, self._unix_ms()))
            except OSError as error:
                extra["not_kept"] = str(error)
        log.error("what killed the worker is refused from now on", extra=extra)


def _down() -> Unavailable:
    return Unavailable("the node's worker is starting, or died; it is started again", reason=Reason.WORKER_DOWN)


def _stopping() -> Unavailable:
    return Unavailable("the node is stopping", reason=Reason.STOPPING)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
