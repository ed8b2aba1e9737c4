"""Core's tables in dicts, for tests that need no disk."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick_node.core.commands import Idempotency, Target
from tallystick_node.core.document import Document
from tallystick_node.core.outcomes import AgentDeleted, CheckpointTaken, Event, MutationDecided
from tallystick_node.core.tables import LogRecord, Remembered


class MemoryTables:
    """An implementation of `tallystick_node.core.tables.Tables`."""

    def __init__(self) -> None:
        self.last_log = 0
        self.events: list[Event] = []
        self.logs: dict[Target, LogRecord] = {}
        self.documents: dict[int, Document] = {}
        self.checkpoints: set[tuple[int, str]] = set()
        self.keys: dict[int, dict[str, tuple[int, Remembered]]] = {}
        self.deletions: dict[tuple[str, str, str], tuple[AgentDeleted, bytes]] = {}

    @property
    def position(self) -> int:
        return len(self.events)

    def log(self, target: Target) -> LogRecord | None:
        return self.logs.get(target)

    def document(self, log: LogRecord) -> Document:
        return self.documents[log.number]

    def save_log(self, log: LogRecord, document: Document) -> None:
        self.last_log = max(self.last_log, log.number)
        self.logs[log.target] = log
        self.documents[log.number] = document

    def add_mutations(self, log_number: int, events: Sequence[MutationDecided]) -> None:
        for event in events:
            assert event.position == len(self.events) + 1
            self.events.append(event)

    def add_checkpoint(self, log_number: int, event: CheckpointTaken) -> None:
        assert event.position == len(self.events) + 1
        self.events.append(event)
        self.checkpoints.add((log_number, event.name))

    def has_checkpoint(self, log_number: int, name: str) -> bool:
        return (log_number, name) in self.checkpoints

    def event(self, position: int) -> Event:
        return self.events[position - 1]

    def remember(self, log_number: int, key_number: int, key: str, what: Remembered) -> None:
        self.keys.setdefault(log_number, {})[key] = (key_number, what)

    def forget_keys(self, log_number: int, below: int) -> None:
        kept = {key: known for key, known in self.keys[log_number].items() if known[0] >= below}
        self.keys[log_number] = kept

    def remembered(self, log_number: int, key: str) -> Remembered | None:
        known = self.keys.get(log_number, {}).get(key)
        return known[1] if known else None

    def delete_agent(self, log: LogRecord, event: AgentDeleted, idempotency: Idempotency | None) -> None:
        assert event.position == len(self.events) + 1
        self.events.append(event)
        del self.logs[log.target]
        if idempotency is not None:
            name = (log.target.namespace, log.target.agent, idempotency.key)
            self.deletions[name] = (event, idempotency.fingerprint)

    def deletion(self, target: Target, key: str) -> tuple[AgentDeleted, bytes] | None:
        return self.deletions.get((target.namespace, target.agent, key))
