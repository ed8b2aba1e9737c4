"""What can be decided: the commands, with everything that deciding them needs.

Rules of this file:
- A command is immutable. Time, names and keys come in with it; core takes none by itself.
- The types of the hot path are named tuples, because a frozen dataclass takes four times as long to make.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from tallystick_node.core.pointer import Tokens

MAIN: Final = "main"
"""The branch where an agent begins."""


class OperationKind(enum.IntEnum):
    """The kinds of operations, by their numbers on the wire."""

    SET = 1
    DELETE = 2
    MERGE = 3
    APPEND = 4
    INSERT = 5
    INCREMENT = 6
    REPLACE = 7


class Operation(NamedTuple):
    """One change of a state. `value` is JSON text, empty for DELETE; `tokens` are those of the path."""

    kind: OperationKind
    tokens: Tokens
    value: bytes


class Mutation(NamedTuple):
    """An entry of a log to be: its bytes, which are hashed and stored as they are, and what it does to the state."""

    raw: bytes
    operations: tuple[Operation, ...]


class Target(NamedTuple):
    """Names one log."""

    namespace: str
    agent: str
    branch: str = MAIN


class Idempotency(NamedTuple):
    """Ties a retry to its first attempt: the key, and 16 bytes that tell one request from another."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Append:
    """Append mutations, all or none. `expected_seq`: refuse unless the log ends there. `epoch`: 0 means no lease."""

    time_unix_ms: int
    target: Target
    mutations: tuple[Mutation, ...]
    idempotency: Idempotency | None = None
    expected_seq: int | None = None
    epoch: int = 0
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Name the point where the log ends. `metadata`: a JSON object, `pending_calls`: a JSON list; each may be empty."""

    time_unix_ms: int
    target: Target
    name: str
    step: int = 0
    metadata: bytes = b""
    pending_calls: bytes = b""
    idempotency: Idempotency | None = None
    expected_seq: int | None = None
    epoch: int = 0
    actor: str = ""


@dataclass(frozen=True, slots=True)
class DeleteAgent:
    """Remove an agent: its log, states and checkpoints."""

    time_unix_ms: int
    target: Target
    idempotency: Idempotency | None = None
    expected_seq: int | None = None
    actor: str = ""


Command: TypeAlias = Append | Checkpoint | DeleteAgent
