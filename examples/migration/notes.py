"""What an agent notes outside the store, so that the store can be checked against it afterwards.

Two files for each agent process, a JSON object a line, synced line by line:

    ledger   each acknowledgement that it got: an append or a checkpoint, with seq, hash and revision
    work     what it did to files: `started`, `copied` or `found` (already in place), with the batch

`at_s` is the machine's monotonic clock, the same for all its processes.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

STARTED: Final = "started"
COPIED: Final = "copied"
FOUND: Final = "found"


@dataclass(frozen=True, slots=True)
class Ack:
    """An acknowledgement: an append (`checkpoint` is "") or a checkpoint; `hash` and `revision` as text."""

    seq: int
    hash: str
    revision: str
    checkpoint: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Work:
    """What process `pid` did to a batch."""

    did: str
    batch: int
    pid: int
    at_s: float


class Notes:
    """The two files of this process; `who` tells them from those of others."""

    def __init__(self, folder: Path, who: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ledger = (folder / f"{who}.ledger.jsonl").open("ab")
        self._work = (folder / f"{who}.work.jsonl").open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ledger.close()
        self._work.close()

    def acknowledged(self, seq: int, digest: bytes, revision: str, checkpoint: str = "") -> None:
        """Notes what the store acknowledged; on disk when this returns."""
        ack = Ack(seq, digest.hex(), revision, checkpoint, time.monotonic())
        _write(self._ledger.fileno(), asdict(ack))

    def worked(self, did: str, batch: int) -> None:
        """Notes what is done to a batch; on disk when this returns."""
        _write(self._work.fileno(), asdict(Work(did, batch, os.getpid(), time.monotonic())))


def read_ledger(folder: Path) -> list[Ack]:
    """All acknowledgements of all agents, by time."""
    acks = [Ack(**json.loads(line)) for path in folder.glob("*.ledger.jsonl") for line in _lines(path)]
    return sorted(acks, key=lambda ack: ack.at_s)


def read_work(folder: Path) -> list[Work]:
    """All that all agents did, by time."""
    work = [Work(**json.loads(line)) for path in folder.glob("*.work.jsonl") for line in _lines(path)]
    return sorted(work, key=lambda one: one.at_s)


def _write(descriptor: int, note: dict[str, object]) -> None:
    os.write(descriptor, json.dumps(note).encode() + b"\n")
    os.fsync(descriptor)


def _lines(path: Path) -> list[str]:
    """The whole lines: what follows the last newline was being written when its process was killed."""
    return path.read_text().split("\n")[:-1]
