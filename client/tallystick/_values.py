"""What goes in and out of the client: immutable values, no gRPC.

Times are kept as the wire has them, in milliseconds since 1970, and given as aware datetimes by a property: most
readers never look, and pay nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tallystick._json import JSON, JSONLike, decode, encode
from tallystick._times import to_time
from tallystick.causality.values import Observed
from tallystick.errors import Invalid

MAIN: Final = "main"
"""The branch where an agent begins."""

STATE: Final = "state"
"""The kind of a mutation that changes the state; any other word is a custom event."""


class Consistency(enum.StrEnum):
    """What a read promises."""

    LINEARIZABLE = "linearizable"
    """Sees every write that was acknowledged before the read began."""
    SESSION = "session"
    """Sees at least what this client wrote and saw; any node that has come that far answers."""
    LOCAL = "local"
    """Some past state, served at once by any node."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A position in the decided history of a group: an opaque token to keep, send back and resume from."""

    group: int
    position: int

    def __str__(self) -> str:
        return f"{self.group}.{self.position}"

    @classmethod
    def parse(cls, text: str) -> Revision:
        """The revision that `str` wrote, for example `1.4711`.

        Raises:
            Invalid: the text is no revision.
        """
        group, dot, position = text.partition(".")
        if not (dot and group.isascii() and group.isdecimal() and position.isascii() and position.isdecimal()):
            raise Invalid(f"not a revision: {text!r}", metadata={"field": "revision"})
        return cls(int(group), int(position))


class OperationKind(enum.StrEnum):
    """What an operation does to the state."""

    SET = "set"
    DELETE = "delete"
    MERGE = "merge"
    APPEND = "append"
    INSERT = "insert"
    INCREMENT = "increment"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Operation:
    """One change of a state; `tallystick.ops` builds them.

    Attributes:
        kind: what is done.
        path: where, a JSON Pointer (RFC 6901).
        value_json: with what, as JSON text; empty for `delete`.
    """

    kind: OperationKind
    path: str
    value_json: bytes = b""

    @property
    def value(self) -> JSON:
        """With what, decoded; None for `delete`."""
        return decode(self.value_json)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One entry of a log, as a client hands it in. Build it with `Mutation.of` or `Mutation.event`.

    Attributes:
        reverts: the seq of the mutation whose effect this one takes back; 0: of none. It is told, not checked.
        id: of one that was made offline: at most 16 bytes, by which its writer knows it again.
        observed: what its writer had read of others, since the one before; filled in by the client where it is None.
    """

    kind: str = STATE
    operations: tuple[Operation, ...] = ()
    payload_json: bytes = b""
    cause: str = ""
    trace_id: str = ""
    schema_version: int = 0
    reverts: int = 0
    id: bytes = b""
    observed: Observed | None = None

    @classmethod
    def of(cls, *operations: Operation, cause: str = "", trace_id: str = "", schema_version: int = 0) -> Mutation:
        """A mutation of the state: these operations, applied in order, all or none."""
        return cls(STATE, operations, b"", cause, trace_id, schema_version)

    @classmethod
    def event(
        cls, kind: str, payload: JSONLike = None, *, cause: str = "", trace_id: str = "", schema_version: int = 0
    ) -> Mutation:
        """A custom event: in the log, without effect on the state.

        Raises:
            Invalid: the kind is empty or `state`, or the payload is not JSON.
        """
        if kind in ("", STATE):
            raise Invalid(f"an event's kind is a word other than {STATE!r}", metadata={"field": "kind"})
        payload_json = b"" if payload is None else encode(payload)
        return cls(kind, (), payload_json, cause, trace_id, schema_version)

    @property
    def payload(self) -> JSON:
        """The payload of a custom event, decoded."""
        return decode(self.payload_json)


@dataclass(frozen=True, slots=True)
class DecidedMutation:
    """A mutation as it was decided: an entry of an agent's log.

    Attributes:
        seq: its place in the log, 1, 2, 3, ...
        hash: SHA-256 over its predecessor's hash and itself.
        revision: its place in the decided history of the group.
        raw: the bytes that were hashed, where they were asked for.
    """

    seq: int
    mutation: Mutation
    actor: str
    time_unix_ms: int
    hash: bytes
    revision: Revision
    raw: bytes = b""

    @property
    def kind(self) -> str:
        """`state`, or the word of a custom event."""
        return self.mutation.kind

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What it did to the state."""
        return self.mutation.operations

    @property
    def payload(self) -> JSON:
        """The payload of a custom event."""
        return self.mutation.payload

    @property
    def cause(self) -> str:
        """What led to it, for example `tool:copy#17`."""
        return self.mutation.cause

    @property
    def time(self) -> datetime:
        """When it was proposed, by the clock of the node that took it; it never falls within a log."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to an append: its mutations are decided and on the disks of a majority.

    Attributes:
        seq: of the last mutation; `first_seq` of the first.
        hash: of the last mutation.
        revision: of the last mutation.
        replayed: the key was known: this is the answer of the first time.
    """

    first_seq: int
    seq: int
    hash: bytes
    revision: Revision
    time_unix_ms: int
    replayed: bool

    @property
    def time(self) -> datetime:
        """When it was proposed, by the clock of the node that took it."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A named, immutable point of an agent's log.

    Attributes:
        seq: of the last mutation that it covers.
        pending_calls: calls begun and not answered when it was made, as handed in.
        state_digest: SHA-256 of the canonical JSON of the state.
        hash: of the mutation at `seq`.
        is_pinned: it stays, with its state, when retention removes the mutations around it.
        observed: what who took it had read of others; None: it was not told.
    """

    name: str
    seq: int
    step: int
    metadata: dict[str, JSON]
    pending_calls: list[JSON]
    state_digest: bytes
    hash: bytes
    actor: str
    time_unix_ms: int
    revision: Revision
    is_pinned: bool = False
    observed: Observed | None = None

    @property
    def time(self) -> datetime:
        """When it was proposed, by the clock of the node that took it."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An agent's state at a point of its log.

    Attributes:
        state: the JSON document.
        seq: of the last mutation in it; 0 for an agent that has none yet.
        revision: watch after this one, and nothing that follows the state is missed.
        hash: of the mutation at `seq`; empty at 0.
        checkpoint: the newest at or before `seq`.
        tail: the mutations after that checkpoint (or from the beginning), oldest first; of a read `at_turn`, those
            after the turn.
        tail_truncated: there are more than the tail holds; `Agent.log` lists them.
        age_ms: of a local read: how long ago its node last heard from a leader.
        open_turn: of a read `at_turn`: the seq that began the turn that was left open; 0: none is.
        state_version: of the schema that the stored state follows; 0: none governed it.
        given_version: of the schema that `state` follows, which upcasters may have brought up.
    """

    state: JSON
    seq: int
    revision: Revision
    hash: bytes = b""
    time_unix_ms: int = 0
    checkpoint: Checkpoint | None = None
    tail: tuple[DecidedMutation, ...] = ()
    tail_truncated: bool = False
    age_ms: int = 0
    open_turn: int = 0
    state_version: int = 0
    given_version: int = 0

    @property
    def time(self) -> datetime | None:
        """When the mutation at `seq` was proposed; None at 0."""
        return to_time(self.time_unix_ms) if self.seq else None


@dataclass(frozen=True, slots=True)
class StateDigest:
    """What an agent's state is at a point of its log, in 32 bytes.

    Attributes:
        seq: of the last mutation in it.
        digest: SHA-256 of its canonical JSON: compact, keys sorted.
        hash: of the mutation at `seq`; empty at 0.
    """

    seq: int
    digest: bytes
    hash: bytes
    revision: Revision
