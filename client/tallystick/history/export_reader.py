"""Reads an export, and follows its chain.

Rules of this file: reading believes nothing: what is not as `export_format` says is `Corrupt`, with the number of the
line.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

import orjson
from google.protobuf.message import DecodeError

from tallystick import _convert
from tallystick._json import JSON
from tallystick._values import DecidedMutation, Revision
from tallystick.errors import Corrupt, Reason
from tallystick.history.chain import Chain
from tallystick.history.export_format import (
    BASED_VERSION,
    FORMAT,
    LINE_BYTES,
    SIGNED,
    STATE_PIECES,
    VERSION,
    ExportedBase,
    ExportedCheckpoint,
    ExportEnd,
    Signature,
)
from tallystick.v1 import state_pb2

_END: Final = frozenset({"mutations", "checkpoints", "hash", "sha256"})
_BASE: Final = frozenset({"seq", "hash", "state_digest", "state_pieces"})
_SIGNATURE: Final = frozenset({"public_key", "signature"})


class ExportReader:
    """Reads an export and follows its chain: iterate over it, then look at `end`.

    Raises, while it is iterated over:
        Corrupt: it is not what was exported; `metadata["line"]` says where.

    Attributes:
        head: namespace, agent and branch of the log, and the seq of its last mutation here.
        base_seq, base_hash: where it begins; 0 and b"" at the beginning of the log.
        end: what the last line says, once it was read.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._running = hashlib.sha256()
        self._number = 0
        self._checkpoints = self._mutations = 0
        self.end: ExportEnd | None = None
        self.head = self._next()
        if self.head.get("format") != FORMAT or self.head.get("version") not in (VERSION, BASED_VERSION):
            raise self._bad(f"no export of format {FORMAT}, version {VERSION} or {BASED_VERSION}")
        base = self.head.get("base")
        if isinstance(base, dict) is not (self.head["version"] == BASED_VERSION):
            raise self._bad("a base that should not be there, or none")
        self._based = base if isinstance(base, dict) else None
        self.base_seq = self._number_of(self._based, "seq") if self._based else 0
        self.base_hash = self._hex(self._based, "hash") if self._based else b""
        self._chain = Chain(seq=self.base_seq, head=self.base_hash)

    def __iter__(self) -> Iterator[DecidedMutation | ExportedCheckpoint | ExportedBase]:
        if self._based is not None:
            yield self._base(self._based)
        while self.end is None:
            before = self._running.digest()
            record = self._next()
            if isinstance(end := record.get("end"), dict):
                self.end = self._checked_end(end, before)
            elif isinstance(checkpoint := record.get("checkpoint"), dict):
                yield self._checkpoint(checkpoint)
            else:
                yield self._mutation(record)
        if next(self._lines, None) is not None:
            raise self._bad("there is more behind the end")

    def _next(self) -> dict[str, JSON]:
        self._number += 1
        line = next(self._lines, b"")
        if not line.endswith(b"\n") or len(line) > LINE_BYTES:
            raise self._bad("the file is cut short" if not line else "not a line of an export")
        self._running.update(line)
        try:
            record: JSON = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise self._bad("not JSON") from error
        if not isinstance(record, dict):
            raise self._bad("not an object")
        return record

    def _base(self, said: dict[str, JSON]) -> ExportedBase:
        """The state at the base, out of the lines behind the head."""
        pieces = self._number_of(said, "state_pieces")
        if not 1 <= pieces <= STATE_PIECES or said.keys() != _BASE:
            raise self._bad("a base that has more or less than it should")
        state = b"".join(self._base64(self._next(), "state") for _ in range(pieces))
        if hashlib.sha256(state).digest() != self._hex(said, "state_digest"):
            raise self._bad("the state is not the one that the head says")
        return ExportedBase(self.base_seq, self.base_hash, state)

    def _mutation(self, record: dict[str, JSON]) -> DecidedMutation:
        raw = self._base64(record, "mutation")
        try:
            inner = _convert.mutation(state_pb2.Mutation.FromString(raw))
        except DecodeError as error:
            raise self._bad("no mutation") from error
        decided = DecidedMutation(
            seq=self._number_of(record, "seq"),
            mutation=inner,
            actor=self._text(record, "actor"),
            time_unix_ms=self._number_of(record, "time_unix_ms"),
            hash=self._hex(record, "hash"),
            revision=Revision(0, 0),
            raw=raw,
        )
        try:
            self._chain.follow(decided)
        except Corrupt as error:
            raise self._bad(error.message) from error
        self._mutations += 1
        return decided

    def _checkpoint(self, record: dict[str, JSON]) -> ExportedCheckpoint:
        self._checkpoints += 1
        found = ExportedCheckpoint(
            name=self._text(record, "name"),
            seq=self._number_of(record, "seq"),
            state_digest=self._hex(record, "state_digest"),
            hash=self._hex(record, "hash"),
        )
        if (found.seq, found.hash) != (self._chain.seq, self._chain.head):
            raise self._bad(f"the checkpoint {found.name!r} is not of this place of the log")
        return found

    def _checked_end(self, record: dict[str, JSON], digest: bytes) -> ExportEnd:
        signature = None
        if record.keys() not in (_END, _END | _SIGNATURE):
            raise self._bad("an end that has more or less than it should")
        if "signature" in record:
            signature = Signature(self._base64(record, "public_key"), self._base64(record, "signature"))
        end = ExportEnd(
            mutations=self._number_of(record, "mutations"),
            checkpoints=self._number_of(record, "checkpoints"),
            hash=self._hex(record, "hash"),
            message=SIGNED + digest,
            signature=signature,
        )
        if self._hex(record, "sha256") != digest:
            raise self._bad("the bytes before the end are not those that were written")
        said = (end.mutations, end.checkpoints, end.hash, self.head.get("head_seq"))
        if said != (self._mutations, self._checkpoints, self._chain.head, self._chain.seq):
            raise self._bad("it ends elsewhere than it says")
        return end

    def _number_of(self, record: dict[str, JSON], name: str) -> int:
        value = record.get(name)
        if type(value) is not int or not 0 <= value < 2**64:
            raise self._bad(f"{name} is no number")
        return value

    def _text(self, record: dict[str, JSON], name: str) -> str:
        value = record.get(name)
        if not isinstance(value, str):
            raise self._bad(f"{name} is no text")
        return value

    def _hex(self, record: dict[str, JSON], name: str) -> bytes:
        text = self._text(record, name)
        try:
            value = bytes.fromhex(text)
        except ValueError:
            value = b""
        if value.hex() != text:
            raise self._bad(f"{name} is not hexadecimal")
        return value

    def _base64(self, record: dict[str, JSON], name: str) -> bytes:
        text = self._text(record, name)
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            value = b""
        if base64.b64encode(value).decode() != text:
            raise self._bad(f"{name} is not base64")
        return value

    def _bad(self, why: str) -> Corrupt:
        return Corrupt(f"line {self._number}: {why}", reason=Reason.CORRUPT, metadata={"line": str(self._number)})
