"""Schemas: the command that adds one, what is known of them, and what core needs to remember of them.

Rules of this file:
- A version of a schema never changes, and none is ever removed.
- What a schema is of is called its subject: the events of a kind, or the states of agents whose names begin so.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from tallystick_node.core.tables import LogRecord


class SchemaOf(enum.IntEnum):
    """What a schema may be of. The numbers are part of the stored format."""

    EVENT = 1
    STATE = 2


class Compatibility(enum.IntEnum):
    """What is made sure of when a version is registered. The numbers are part of the stored format, and the wire's."""

    BACKWARD = 1
    NONE = 2


class Subject(NamedTuple):
    """What a schema is of: `name` is the kind of the events, or how the names of the agents begin (empty: of all)."""

    of: SchemaOf
    name: str

    def __str__(self) -> str:
        """As programs and people write it: `event NAME`, `state of NAME`, `state`."""
        if self.of is SchemaOf.EVENT:
            return f"event {self.name}"
        return f"state of {self.name}" if self.name else "state"


@dataclass(frozen=True, slots=True)
class RegisterSchema:
    """Add a version of a schema. `document`: canonical JSON."""

    time_unix_ms: int
    namespace: str
    subject: Subject
    version: int
    document: bytes
    compatibility: Compatibility = Compatibility.BACKWARD
    actor: str = ""


class SchemaRecord(NamedTuple):
    """A version of a schema. `hash` is the SHA-256 of its document."""

    position: int
    namespace: str
    subject: Subject
    version: int
    document: bytes
    hash: bytes
    compatibility: Compatibility
    actor: str
    time_unix_ms: int


class SchemaRegistered(NamedTuple):
    """A version of a schema in the decided history."""

    position: int
    namespace: str
    subject: Subject
    version: int
    compatibility: Compatibility
    hash: bytes
    time_unix_ms: int
    actor: str


@dataclass(frozen=True, slots=True)
class SchemaKept:
    """The version is registered, or was before."""

    position: int
    record: SchemaRecord
    replayed: bool = False


class StateSchema(NamedTuple):
    """A version of the schema of states of agents whose names begin with `prefix`."""

    prefix: str
    version: int


class SchemaTables(Protocol):
    """The tables of schemas, and of the versions that states follow."""

    def position(self, namespace: str) -> int:
        """Where the newest schema of a namespace was registered; 0: it has none."""
        ...

    def count(self, namespace: str) -> int:
        """Versions of all schemas of a namespace."""
        ...

    def newest_version(self, namespace: str, subject: Subject) -> int:
        """The newest version of a subject; 0: it has no schema."""
        ...

    def schema(self, namespace: str, subject: Subject, version: int) -> SchemaRecord | None:
        """One version."""
        ...

    def add(self, record: SchemaRecord) -> None:
        """Keep a version."""
        ...

    def governing(self, namespace: str, agent: str) -> StateSchema | None:
        """The newest version of the schema of an agent's states: of all whose prefix fits, the longest one's."""
        ...

    def state_version(self, log: LogRecord) -> StateSchema | None:
        """What the state at the log's head follows; None: nothing governed it yet."""
        ...

    def save_state_version(self, log_number: int, seq: int, schema: StateSchema) -> None:
        """What the state follows from this seq on."""
        ...
