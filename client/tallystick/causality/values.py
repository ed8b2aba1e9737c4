"""What was read, what happened before what, and what changed since: immutable values, no gRPC."""

from __future__ import annotations

import base64
import binascii
import enum
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

import orjson

from tallystick._times import to_time
from tallystick.errors import Invalid, Reason

if TYPE_CHECKING:
    from tallystick.contexts.cursor import Cursor

_MAIN: Final = "main"


@dataclass(frozen=True, slots=True)
class ObservedLog:
    """An agent's log, read up to a mutation.

    Attributes:
        hash: of the mutation at `seq`; it tells another agent of that name. Empty: not known.
    """

    agent: str
    seq: int
    branch: str = _MAIN
    hash: bytes = b""

    def __str__(self) -> str:
        return str(LogPoint(self.agent, self.seq, self.branch))


@dataclass(frozen=True, slots=True)
class ObservedContext:
    """A shared context, read up to a cursor.

    Attributes:
        guid: of the document that had the name.
        cursor_bytes: the cursor as it is sent.
    """

    name: str
    guid: bytes
    cursor_bytes: bytes

    @property
    def cursor(self) -> Cursor:
        """What of it was read.

        Raises:
            Invalid: it cannot be read.
        """
        from tallystick.causality.convert import cursor_of

        return cursor_of(self.cursor_bytes)


@dataclass(frozen=True, slots=True)
class Observed:
    """What was read of others.

    Each mutation carries what its writer read since its one before; a checkpoint, all of it. To tell another program
    what this one has read, send `to_json` along, and have it `client.observe` that.
    """

    logs: tuple[ObservedLog, ...] = ()
    contexts: tuple[ObservedContext, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.logs or self.contexts)

    def to_json(self) -> str:
        """As JSON text, for a message to another program."""
        logs = [[each.agent, each.branch, each.seq, each.hash.hex()] for each in self.logs]
        contexts = [
            [each.name, each.guid.hex(), base64.b64encode(each.cursor_bytes).decode()] for each in self.contexts
        ]
        return orjson.dumps({"logs": logs, "contexts": contexts}).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote.

        Raises:
            Invalid: it did not.
        """
        try:
            fields = orjson.loads(text)
            logs = [
                ObservedLog(str(agent), int(seq), str(branch), bytes.fromhex(hash_))
                for agent, branch, seq, hash_ in fields["logs"]
            ]
            contexts = [
                ObservedContext(str(name), bytes.fromhex(guid), base64.b64decode(cursor, validate=True))
                for name, guid, cursor in fields["contexts"]
            ]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, binascii.Error) as error:
            raise Invalid(f"not what was observed: {error}", reason=Reason.INVALID_JSON) from error
        return cls(tuple(logs), tuple(contexts))


@dataclass(frozen=True, slots=True)
class LogPoint:
    """A mutation, by its agent and seq. Seq 0: the newest of the log."""

    agent: str
    seq: int = 0
    branch: str = _MAIN

    def __str__(self) -> str:
        branch = f"#{self.branch}" if self.branch != _MAIN else ""
        return f"{self.agent}{branch}@{self.seq or 'head'}"

    @classmethod
    def parse(cls, text: str) -> LogPoint:
        """The point of a text: `planner@12`, `planner#trial@3` of a branch, `planner` for where its log ends.

        Raises:
            Invalid: it names no agent, or seq 0, before which there is nothing.
        """
        name, at, seq = text.rpartition("@")
        if not at or not (seq == "head" or (seq.isascii() and seq.isdecimal())):
            name, seq = text, "head"
        agent, _, branch = name.partition("#")
        if not agent or (seq != "head" and int(seq) == 0):
            raise Invalid(f"not a point of a log (AGENT@SEQ, from 1 on): {text!r}", metadata={"field": "point"})
        return cls(agent, 0 if seq == "head" else int(seq), branch or _MAIN)


class CausalRelation(enum.StrEnum):
    """How one mutation stands to another."""

    SAME = "same"
    """They are one mutation."""
    BEFORE = "before"
    """It happened before the other: who wrote that may have known it."""
    AFTER = "after"
    """It happened after the other."""
    CONCURRENT = "concurrent"
    """Neither knew of the other, as far as was told."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Who wrote the mutation `at` had read `observed`, and all before it in that log."""

    at: LogPoint
    observed: LogPoint


@dataclass(frozen=True, slots=True)
class ComparedMutation:
    """One of two mutations that were compared, as it was decided."""

    point: LogPoint
    hash: bytes
    time_unix_ms: int

    @property
    def time(self) -> datetime:
        """When it was proposed, by the clock of the node that took it."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How mutation `a` stands to mutation `b`.

    Attributes:
        path: by what, from the later one back to the earlier; empty within one log, and if they are concurrent.
        has_gaps: they are concurrent as far as is known, but something that the later one knew is gone, by a deletion
            or by retention: there may have been a path through it.
    """

    relation: CausalRelation
    a: ComparedMutation
    b: ComparedMutation
    path: tuple[Evidence, ...]
    has_gaps: bool


class ChangeKind(enum.StrEnum):
    """What became of something that was read."""

    MORE = "more"
    """There is more than was read."""
    GONE = "gone"
    """It was deleted."""
    ANOTHER = "another"
    """It was deleted, and what has the name now is another one."""


@dataclass(frozen=True, slots=True)
class ChangedLog:
    """A log that is no longer as it was read: up to `seen_seq`, and it ends at `seq` now (0: it is gone)."""

    agent: str
    branch: str
    kind: ChangeKind
    seen_seq: int
    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class ChangedContext:
    """A context that is no longer as it was read. `cursor_bytes`: what the node that answered has now."""

    name: str
    kind: ChangeKind
    guid: bytes
    cursor_bytes: bytes


@dataclass(frozen=True, slots=True)
class Changes:
    """What is no longer as it was read; false if all is."""

    logs: tuple[ChangedLog, ...] = ()
    contexts: tuple[ChangedContext, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.logs or self.contexts)
