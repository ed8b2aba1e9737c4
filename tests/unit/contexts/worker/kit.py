"""What the tests of the worker share."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

from tallystick.worker.v1.worker_pb2 import Request
from tallystick_node.contexts.worker.supervisor import Supervisor
from tests.unit.contexts.worker.stand_in import STORED

COMMAND: Final = (sys.executable, "-m", "tests.unit.contexts.worker.stand_in")
GUID: Final = b"0123456789abcdef"
WITHIN_S: Final = 60.0
NOW_MS: Final = 1_767_225_600_000


def merge(update: bytes, guid: bytes = GUID) -> Request:
    """A question to merge an update."""
    request = Request()
    request.merge.id.guid = guid
    request.merge.id.epoch = 1
    request.merge.update = update
    request.merge.edit.actor = "ann"
    return request


def diff(guid: bytes = GUID, state_vector: bytes = b"") -> Request:
    """A question for a document."""
    request = Request()
    request.diff.id.guid = guid
    request.diff.id.epoch = 1
    request.diff.state_vector = state_vector
    return request


def stored(folder: Path) -> list[bytes]:
    """The updates that a stand-in has answered as merged."""
    path = folder / STORED
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return [bytes.fromhex(line.split(" ")[1]) for line in lines]


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Waits for a condition.

    Raises:
        AssertionError: it did not become true within `WITHIN_S`.
    """
    try:
        async with asyncio.timeout(WITHIN_S):
            while not is_so():  # noqa: ASYNC110 - what is looked at has no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {WITHIN_S:g} s: {what}") from None


@contextlib.asynccontextmanager
async def running(
    folder: Path, *, has_peers: bool = True, silent_s: float = 30.0, command: Sequence[str] = COMMAND
) -> AsyncIterator[Supervisor]:
    """A supervisor whose worker is up; nothing is left of it afterwards."""
    supervisor = Supervisor(
        folder,
        has_peers=has_peers,
        clock=time.monotonic,
        unix_ms=lambda: NOW_MS,
        command=command,
        silent_s=silent_s,
    )
    task = asyncio.create_task(supervisor.run())
    try:
        await until(lambda: supervisor.is_up or task.done(), "the worker is up")
        if task.done():
            task.result()
        yield supervisor
    finally:
        task.cancel()
        await asyncio.wait((task,))
        assert supervisor.status.pid == 0
