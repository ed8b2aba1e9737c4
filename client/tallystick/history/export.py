"""A log in a file that verifies without any node: JSON Lines, chained, and signed if the writer has a key.

    {"format": "tallystick-export", "version": 1, "namespace": .., "agent": .., "branch": .., "head_seq": ..}
    {"seq": 1, "time_unix_ms": .., "actor": .., "hash": hex, "mutation": base64 of the bytes that were hashed}
    {"checkpoint": {"name": .., "seq": .., "step": .., "state_digest": hex, "hash": hex, ...}}    behind its mutation
    {"end": {"mutations": N, "checkpoints": M, "hash": hex of the head, "sha256": hex of all bytes before this line,
             "public_key": base64, "signature": base64}}                                  the last two if it is signed

The signature (Ed25519, RFC 8032) is over `SIGNED` followed by the 32 bytes of `sha256`. This file makes none itself:
signing and checking are functions that the caller brings, so that the client needs no cryptography.

Rules of this file: reading believes nothing: what is not as above is `Corrupt`, with the number of the line. There is
one way to write a value, so that no byte can be changed unseen.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import orjson
from google.protobuf.message import DecodeError

from tallystick import _convert
from tallystick._json import JSON
from tallystick._values import Checkpoint, DecidedMutation, Revision
from tallystick.errors import Corrupt, Reason
from tallystick.history.chain import Chain
from tallystick.v1 import state_pb2

if TYPE_CHECKING:
    from tallystick._agent import Agent

FORMAT: Final = "tallystick-export"
VERSION: Final = 1
SIGNED: Final = b"tallystick-export-1\n"
"""What a signature covers begins with this, so that it can pass for no other."""

LINE_BYTES: Final = 4 * 1024 * 1024
"""A line is never longer: a mutation has at most 1 MiB, and base64 takes a third more."""


_END: Final = frozenset({"mutations", "checkpoints", "hash", "sha256"})
_SIGNATURE: Final = frozenset({"public_key", "signature"})


@dataclass(frozen=True, slots=True)
class Signature:
    """Who signed: the public key (32 bytes), and the signature (64 bytes)."""

    public_key: bytes
    signature: bytes


Sign: TypeAlias = Callable[[bytes], Signature]
"""Signs a message with Ed25519."""


@dataclass(frozen=True, slots=True)
class ExportedCheckpoint:
    """A checkpoint in an export: where, and what the state was there (SHA-256 of its canonical JSON)."""

    name: str
    seq: int
    state_digest: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class ExportEnd:
    """How an export ends: how much it holds, the hash of the head, and what is signed by whom."""

    mutations: int
    checkpoints: int
    hash: bytes
    message: bytes
    signature: Signature | None


async def export(
    agent: Agent, *, sign: Sign | None = None, timeout_s: float | None = None
) -> AsyncGenerator[bytes, None]:
    """The lines of an export of the log as it is now, its chain checked on the way.

    Example:
        with open("ann.tallylog", "wb") as file:
            async for line in export(agent): file.write(line)

    Raises:
        NotFound: the agent does not exist.
        Corrupt: the log is not what was decided.
    """
    kept = await agent.state_digest(timeout_s=timeout_s)
    running = hashlib.sha256()
    chain = Chain()
    checkpoints = 0
    async with contextlib.aclosing(_records(agent, kept.seq, timeout_s)) as records:
        async for record in records:
            if isinstance(record, DecidedMutation):
                chain.follow(record)
            elif "checkpoint" in record:
                checkpoints += 1
            line = _line(_mutation(record) if isinstance(record, DecidedMutation) else record)
            running.update(line)
            yield line
    if chain.head != kept.hash:
        raise Corrupt(f"the log ends in another hash at seq {chain.seq} than the state says")
    yield _line({"end": _end(chain, checkpoints, running.digest(), sign)})


class ExportReader:
    """Reads an export and follows its chain: iterate over it, then look at `end`.

    Raises, while it is iterated over:
        Corrupt: it is not what was exported; `metadata["line"]` says where.

    Attributes:
        head: namespace, agent and branch of the log, and the seq of its head.
        end: what the last line says, once it was read.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._running = hashlib.sha256()
        self._number = 0
        self._chain = Chain()
        self._checkpoints = 0
        self.end: ExportEnd | None = None
        first = self._next()
        if first.get("format") != FORMAT or first.get("version") != VERSION:
            raise self._bad(f"no export of format {FORMAT} {VERSION}")
        self.head = first

    def __iter__(self) -> Iterator[DecidedMutation | ExportedCheckpoint]:
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
        if said != (self._chain.seq, self._checkpoints, self._chain.head, self._chain.seq):
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


async def _records(
    agent: Agent, head_seq: int, timeout_s: float | None
) -> AsyncGenerator[dict[str, JSON] | DecidedMutation, None]:
    """The head, the mutations up to a seq, and each checkpoint behind its mutation."""
    named: dict[str, JSON] = {"namespace": agent.namespace, "agent": agent.name, "branch": agent.branch}
    yield {"format": FORMAT, "version": VERSION, **named, "head_seq": head_seq}
    taken = agent.checkpoints(timeout_s=timeout_s)
    log = agent.log(raw=True, timeout_s=timeout_s)
    async with contextlib.aclosing(taken), contextlib.aclosing(log):
        checkpoint = await anext(taken, None)
        seq = 0
        while True:
            while checkpoint is not None and checkpoint.seq <= seq:
                yield {"checkpoint": _checkpoint(checkpoint)}
                checkpoint = await anext(taken, None)
            if seq == head_seq:
                return
            mutation = await anext(log, None)
            if mutation is None:
                raise Corrupt(f"the log ends at seq {seq}, not at {head_seq}")
            yield mutation
            seq = mutation.seq


def _mutation(decided: DecidedMutation) -> dict[str, JSON]:
    return {
        "seq": decided.seq,
        "time_unix_ms": decided.time_unix_ms,
        "actor": decided.actor,
        "hash": decided.hash.hex(),
        "mutation": base64.b64encode(decided.raw).decode(),
    }


def _checkpoint(taken: Checkpoint) -> dict[str, JSON]:
    return {
        "name": taken.name,
        "seq": taken.seq,
        "step": taken.step,
        "metadata": taken.metadata,
        "pending_calls": taken.pending_calls,
        "state_digest": taken.state_digest.hex(),
        "hash": taken.hash.hex(),
        "actor": taken.actor,
        "time_unix_ms": taken.time_unix_ms,
    }


def _end(chain: Chain, checkpoints: int, digest: bytes, sign: Sign | None) -> dict[str, JSON]:
    end: dict[str, JSON] = {
        "mutations": chain.seq,
        "checkpoints": checkpoints,
        "hash": chain.head.hex(),
        "sha256": digest.hex(),
    }
    if sign is not None:
        made = sign(SIGNED + digest)
        end["public_key"] = base64.b64encode(made.public_key).decode()
        end["signature"] = base64.b64encode(made.signature).decode()
    return end


def _line(record: dict[str, JSON]) -> bytes:
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
