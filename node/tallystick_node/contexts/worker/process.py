"""The worker process: takes requests from its node, has the desk handle them in batches, and answers.

Rules of this file:
- It lives no longer than its node: the kernel kills it with that, and it ends where the wire does.
- What the desk raises ends the process: the node starts another, and finds out who was to blame.
- Signals that are meant for the node (Ctrl-C, a service manager's SIGTERM to all) do not end it: the node will.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import fcntl
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from tallystick.errors import Reason
from tallystick.v1.state_pb2 import Error
from tallystick.worker.v1.worker_pb2 import Done, Request, Response
from tallystick_node.contexts.worker.limits import STACK_BYTES
from tallystick_node.contexts.worker.parent import ParentGone, die_with
from tallystick_node.contexts.worker.pipe import Pipe
from tallystick_node.storage.errors import DatabaseDamaged, UnknownFormat

LOCK_NAME: Final = "LOCK"
READY_ID: Final = 0
"""The answer with this id was not asked for: it says that the worker is ready, or why it never will be."""

_NICENESS: Final = 5
_OOM_SCORE: Final = "500"


class Handler(Protocol):
    """What a worker runs: the desk, or a test's stand-in."""

    def handle(
        self, requests: Sequence[Request], tell_early: Callable[[Sequence[Response]], None] | None = None
    ) -> list[Response]:
        """The answers, in the order of the requests; what they say is stored is on disk. `tell_early` is told before
        that of what may be known already."""
        ...

    def close(self) -> None:
        """Releases the folder."""
        ...


OpenHandler = Callable[[Path], Handler]
"""Opens what is in a folder; may raise `DatabaseDamaged` and `UnknownFormat`."""

PutAside = Callable[[Path], Path]
"""Puts what is damaged in a folder aside; where it is now."""


def main(open_handler: OpenHandler, put_aside: PutAside) -> int:
    """Runs a worker on the socket that is its standard input, as its command line says; the exit code."""
    options = _options()
    try:
        die_with(options.parent)
    except ParentGone:
        return 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    _be_modest()
    with socket.socket(fileno=os.dup(0)) as connection:
        _on_deep_stack(
            lambda: _serve(options.folder, Pipe(connection), open_handler, put_aside if options.has_peers else None)
        )
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tallystick worker", description="Holds a node's documents; run by the node.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True, help="the node's process id")
    parser.add_argument("--has-peers", action="store_true", help="what is damaged is put aside: others have it")
    return parser.parse_args()


def _be_modest() -> None:
    """Consensus goes first; and if the machine is out of memory, a worker costs less than a node."""
    os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")


def _on_deep_stack(job: Callable[[], None]) -> None:
    """Runs a job on a thread whose stack is `STACK_BYTES`, and raises what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - of whatever kind, it ends the process, on the main thread
            raised.append(error)

    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=run, name="desk")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def _serve(folder: Path, pipe: Pipe, open_handler: OpenHandler, put_aside: PutAside | None) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError), _locked(folder):  # the node has gone
        handler, ready = open_up(folder, open_handler, put_aside)
        if handler is None:
            pipe.write([ready])
            return
        with contextlib.closing(handler):
            pipe.write([ready])
            stop_id = _answer(pipe, handler)
        if stop_id is not None:
            pipe.write([Response(id=stop_id, done=Done())])


def _answer(pipe: Pipe, handler: Handler) -> int | None:
    """Answers until the node has gone (None), or asks to stop: by which request."""
    while batch := pipe.read():
        stops = [place for place, request in enumerate(batch) if request.HasField("stop")]
        requests = batch[: stops[0]] if stops else batch
        if requests:
            pipe.write(handler.handle(requests, pipe.write))
        if stops:
            return batch[stops[0]].id
    return None


def open_up(folder: Path, open_handler: OpenHandler, put_aside: PutAside | None) -> tuple[Handler | None, Response]:
    """What handles requests, and what is to be said first; None: it never will be ready, and that says why.

    Args:
        put_aside: None: what is damaged is not put aside, for nobody else has it.
    """
    ready = Response(id=READY_ID, done=Done())
    try:
        return _open(folder, ready, open_handler, put_aside), ready
    except (DatabaseDamaged, UnknownFormat) as error:
        reason = Reason.CORRUPT if isinstance(error, DatabaseDamaged) else Reason.INVALID_REQUEST
        return None, Response(id=READY_ID, error=Error(reason=reason, message=str(error)))


def _open(folder: Path, ready: Response, open_handler: OpenHandler, put_aside: PutAside | None) -> Handler:
    try:
        return open_handler(folder)
    except DatabaseDamaged as error:
        if put_aside is None:
            raise
        ready.error.CopyFrom(Error(reason=Reason.CORRUPT, message=f"{error}; put aside as {put_aside(folder)}"))
        return open_handler(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder, once a former worker that is not quite gone has let go of it."""
    fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
