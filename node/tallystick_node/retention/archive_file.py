"""A file of an archive: mutations of one log in a row, as an export that begins behind a base.

The client has the format in `tallystick.history.export_format`, and `tallystick verify export` reads it there: who
checks what is written here shares no code with it. Packed with gzip.

Rules of this file:
- The same part of a log gives the same bytes and the same name, on every node and at every time.
- A name ends in the hash of the last mutation, so that of two agents that bore one name, one after the other, neither
  takes the place of the other.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import orjson

from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import CheckpointTaken, MutationDecided
from tallystick_node.core.values import JsonValue, load_json

SUFFIX: Final = ".jsonl.gz"

_STATE_PIECE_BYTES: Final = 1024 * 1024
_PART_CHARS: Final = 200
_LEVEL: Final = 6


@dataclass(frozen=True, slots=True)
class ArchivePart:
    """What a file holds.

    Attributes:
        base_seq, base_hash: of the mutation before the first; 0 and b"" at the beginning of the log.
        state: the state there, as canonical JSON.
        mutations: at least one, without a gap.
        checkpoints: those taken from `base_seq` on and up to the last mutation, oldest first.
    """

    target: Target
    base_seq: int
    base_hash: bytes
    state: bytes
    mutations: Sequence[MutationDecided]
    checkpoints: Sequence[CheckpointTaken]

    @property
    def last(self) -> MutationDecided:
        """The last mutation."""
        return self.mutations[-1]

    @property
    def name(self) -> str:
        """Namespace, agent and branch as folders; first and last seq, and the beginning of the last hash."""
        folders = "/".join(map(path_part, self.target))
        last = self.last
        return f"{folders}/{self.base_seq + 1:020d}-{last.seq:020d}-{last.hash.hex()[:16]}{SUFFIX}"


def packed(part: ArchivePart) -> bytes:
    """The bytes of the file."""
    return gzip.compress(b"".join(lines(part)), compresslevel=_LEVEL, mtime=0)


def lines(part: ArchivePart) -> Iterator[bytes]:
    """The same, a line at a time, not packed."""
    running = hashlib.sha256()
    for record in _records(part):
        line = _line(record)
        running.update(line)
        yield line
    end: dict[str, JsonValue] = {
        "mutations": len(part.mutations),
        "checkpoints": len(part.checkpoints),
        "hash": part.last.hash.hex(),
        "sha256": running.hexdigest(),
    }
    yield _line({"end": end})


def _records(part: ArchivePart) -> Iterator[dict[str, JsonValue]]:
    pieces = [part.state[at : at + _STATE_PIECE_BYTES] for at in range(0, len(part.state), _STATE_PIECE_BYTES)]
    if part.base_seq == 0:
        pieces = []
    yield _head(part, len(pieces))
    for piece in pieces:
        yield {"state": base64.b64encode(piece).decode()}
    taken = iter(part.checkpoints)
    checkpoint = next(taken, None)
    while checkpoint is not None and checkpoint.seq <= part.base_seq:
        yield {"checkpoint": _checkpoint(checkpoint)}
        checkpoint = next(taken, None)
    for mutation in part.mutations:
        yield _mutation(mutation)
        while checkpoint is not None and checkpoint.seq <= mutation.seq:
            yield {"checkpoint": _checkpoint(checkpoint)}
            checkpoint = next(taken, None)


def _head(part: ArchivePart, pieces: int) -> dict[str, JsonValue]:
    namespace, agent, branch = part.target
    head: dict[str, JsonValue] = {
        "format": "tallystick-export",
        "version": 2 if part.base_seq else 1,
        "namespace": namespace,
        "agent": agent,
        "branch": branch,
        "head_seq": part.last.seq,
    }
    if part.base_seq:
        head["base"] = {
            "seq": part.base_seq,
            "hash": part.base_hash.hex(),
            "state_digest": hashlib.sha256(part.state).hexdigest(),
            "state_pieces": pieces,
        }
    return head


def _mutation(decided: MutationDecided) -> dict[str, JsonValue]:
    return {
        "seq": decided.seq,
        "time_unix_ms": decided.time_unix_ms,
        "actor": decided.actor,
        "hash": decided.hash.hex(),
        "mutation": base64.b64encode(decided.raw).decode(),
    }


def _checkpoint(taken: CheckpointTaken) -> dict[str, JsonValue]:
    return {
        "name": taken.name,
        "seq": taken.seq,
        "step": taken.step,
        "metadata": load_json(taken.metadata) if taken.metadata else {},
        "pending_calls": load_json(taken.pending_calls) if taken.pending_calls else [],
        "state_digest": taken.state_digest.hex(),
        "hash": taken.hash.hex(),
        "actor": taken.actor,
        "time_unix_ms": taken.time_unix_ms,
    }


def _line(record: dict[str, JsonValue]) -> bytes:
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def path_part(name: str) -> str:
    """A name as a part of a path: no slash, no longer than file systems take, and still another for another name."""
    part = quote(name, safe=":@")
    if len(part) <= _PART_CHARS:
        return part
    return f"{part[: _PART_CHARS - 17]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
