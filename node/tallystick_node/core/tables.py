"""What core needs to remember, as an interface: storage keeps it, tests keep it in dicts.

Rules of this file:
- Core changes tables only for a command that it does not refuse, and only after everything that can refuse it.
- Whoever implements `Tables` shows one command's changes to the next, and undoes them all when a transaction fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tallystick_node.core.chain import NO_HASH
from tallystick_node.core.commands import Idempotency, Target
from tallystick_node.core.document import EMPTY_SIZE_BYTES, Document
from tallystick_node.core.outcomes import AgentDeleted, CheckpointTaken, Event, MutationDecided


@dataclass(frozen=True, slots=True)
class LogRecord:
    """What is known of a log without reading it.

    Attributes:
        number: names the log in the tables; never used again.
        seq, hash: of its newest mutation.
        time_unix_ms, position: of its newest event.
        checkpoint: name of the newest checkpoint, or empty.
        log_bytes: all mutations, serialized. state_bytes: the state as compact JSON.
        first_key, next_key: the idempotency keys remembered are those numbered from the one up to the other.
    """

    number: int
    target: Target
    seq: int = 0
    hash: bytes = NO_HASH
    time_unix_ms: int = 0
    position: int = 0
    checkpoint: str = ""
    log_bytes: int = 0
    state_bytes: int = EMPTY_SIZE_BYTES
    first_key: int = 0
    next_key: int = 0


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is remembered of a key: which request it was for, and the event that came of it (of an append, the last)."""

    fingerprint: bytes
    position: int
    mutations: int


class Tables(Protocol):
    """The tables of one group."""

    @property
    def position(self) -> int:
        """Position of the newest event; 0 before the first."""
        ...

    @property
    def last_log(self) -> int:
        """The highest log number ever used."""
        ...

    def log(self, target: Target) -> LogRecord | None:
        """The log of that name."""
        ...

    def document(self, log: LogRecord) -> Document:
        """The state at the log's head, live: core changes it in place, and rolls back what it refuses."""
        ...

    def save_log(self, log: LogRecord, document: Document) -> None:
        """Create or change a log; `document` is its state now."""
        ...

    def add_mutations(self, log_number: int, events: Sequence[MutationDecided]) -> None:
        """Add events at the next positions."""
        ...

    def add_checkpoint(self, log_number: int, event: CheckpointTaken) -> None:
        """Add an event at the next position, and the checkpoint itself."""
        ...

    def has_checkpoint(self, log_number: int, name: str) -> bool:
        """Whether that name is taken."""
        ...

    def event(self, position: int) -> Event:
        """An event that is still kept."""
        ...

    def remember(self, log_number: int, key_number: int, key: str, what: Remembered) -> None:
        """Remember an idempotency key of a log."""
        ...

    def forget_keys(self, log_number: int, below: int) -> None:
        """Forget the keys of a log with numbers below this."""
        ...

    def remembered(self, log_number: int, key: str) -> Remembered | None:
        """What is remembered of a key of a log."""
        ...

    def delete_agent(self, log: LogRecord, event: AgentDeleted, idempotency: Idempotency | None) -> None:
        """Remove the log and all that hangs on it, add the event at the next position, remember its key by the
        agent's name."""
        ...

    def deletion(self, target: Target, key: str) -> tuple[AgentDeleted, bytes] | None:
        """The deletion that was asked for with this key, and its fingerprint."""
        ...
