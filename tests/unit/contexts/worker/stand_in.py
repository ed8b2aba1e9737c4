"""A worker with a stand-in for the desk: keeps updates in a file, and does what its updates say.

    python -m tests.unit.contexts.worker.stand_in --folder F --parent PID

Rules of this file:
- `stored` holds, a line each, what was answered as merged, so that a test sees what outlived a death.
- What is bad for it is said by the update or the guid: `abort`, `kill`, `spin`, `stall`, `bad document`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tallystick.errors import Reason
from tallystick.v1.state_pb2 import Error
from tallystick.worker.v1.worker_pb2 import Data, Done, Merged, Request, Response
from tallystick_node.contexts.worker.process import main
from tallystick_node.storage.errors import DatabaseDamaged, UnknownFormat

STORED: Final = "stored"
DAMAGED: Final = "damaged"
NEWER: Final = "newer"
BAD_DOCUMENT: Final = b"bad document"
DATA_BYTES: Final = 256 * 1024


class StandIn:
    """See the module."""

    def __init__(self, folder: Path) -> None:
        if (folder / DAMAGED).exists():
            raise DatabaseDamaged(folder / DAMAGED, "it is there")
        if (folder / NEWER).exists():
            raise UnknownFormat("version 99")
        self._path = folder / STORED
        self._handles = 0

    def handle(
        self, requests: Sequence[Request], tell_early: Callable[[Sequence[Response]], None] | None = None
    ) -> list[Response]:
        """See `Handler`."""
        del tell_early
        answers = [self._answer(request, len(requests)) for request in requests]
        with self._path.open("a", encoding="ascii") as stored:
            stored.writelines(
                f"{request.merge.id.guid.hex()} {request.merge.update.hex()}\n"
                for request in requests
                if request.HasField("merge")
            )
        return answers

    def close(self) -> None:
        """See `Handler`."""
        print("closed", file=sys.stderr)

    def _answer(self, request: Request, batch: int) -> Response:
        match request.WhichOneof("body"):
            case "merge":
                self._read(request.merge.id.guid)
                self._obey(request.merge.update)
                return Response(id=request.id, merged=Merged(is_novel=True, number=batch))
            case "diff":
                self._read(request.diff.id.guid)
                self._obey(request.diff.state_vector)
                self._handles += 1
                data = b"d" * DATA_BYTES if request.diff.state_vector == b"much" else b""
                return Response(id=request.id, data=Data(data=data, size_bytes=os.getpid(), handle=self._handles))
            case "describe":
                return Response(id=request.id, error=Error(reason=Reason.CONTEXT_NOT_FOUND, message="no such thing"))
            case _:
                return Response(id=request.id, done=Done())

    def _read(self, guid: bytes) -> None:
        if guid == BAD_DOCUMENT:
            os.abort()

    def _obey(self, update: bytes) -> None:
        if update.startswith(b"abort"):
            os.abort()
        if update.startswith(b"kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        while update.startswith(b"spin"):
            pass
        while update.startswith(b"stall"):
            time.sleep(1.0)


def put_aside(folder: Path) -> Path:
    """See `PutAside`."""
    return (folder / DAMAGED).rename(folder / "damaged.aside")


if __name__ == "__main__":
    sys.exit(main(StandIn, put_aside))
