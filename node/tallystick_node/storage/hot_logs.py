"""The logs in use: their records and states in memory, least recently used ones dropped first.

Rules of this file:
- Whatever is here can be rebuilt from the database, so dropping any of it is always right.
- The bound on states is by estimated memory; the state used last stays, whatever its size.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from tallystick_node.core.commands import Target
from tallystick_node.core.document import Document
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.snapshots import Marks

_RECORDS: Final = 8192
_BYTES_PER_JSON_BYTE: Final = 6
_BYTES_PER_STATE: Final = 1024


@dataclass(frozen=True, slots=True)
class StoredLog:
    """A log's record and where its snapshots are."""

    record: LogRecord
    marks: Marks


class HotLogs:
    """A bounded cache of records by name and of states by log number."""

    def __init__(self, state_cache_bytes: int) -> None:
        self._limit_bytes = state_cache_bytes
        self._records: OrderedDict[Target, StoredLog] = OrderedDict()
        self._documents: OrderedDict[int, tuple[Document, int]] = OrderedDict()
        self.document_bytes = 0

    def record(self, target: Target) -> StoredLog | None:
        """The record, if it is here."""
        found = self._records.get(target)
        if found is not None:
            self._records.move_to_end(target)
        return found

    def put_record(self, stored: StoredLog) -> None:
        """Keep a record."""
        target = stored.record.target
        self._records[target] = stored
        self._records.move_to_end(target)
        if len(self._records) > _RECORDS:
            self._records.popitem(last=False)

    def document(self, log_number: int) -> Document | None:
        """The state at the log's head, if it is here."""
        found = self._documents.get(log_number)
        if found is None:
            return None
        self._documents.move_to_end(log_number)
        return found[0]

    def put_document(self, log_number: int, document: Document) -> None:
        """Keep a state, and drop others until the bound holds."""
        self._drop_document(log_number)
        size_bytes = document.size_bytes * _BYTES_PER_JSON_BYTE + _BYTES_PER_STATE
        self._documents[log_number] = (document, size_bytes)
        self.document_bytes += size_bytes
        while self.document_bytes > self._limit_bytes and len(self._documents) > 1:
            self._drop_document(next(iter(self._documents)))

    def drop(self, record: LogRecord) -> None:
        """Forget a log."""
        self._records.pop(record.target, None)
        self._drop_document(record.number)

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()
        self._documents.clear()
        self.document_bytes = 0

    def _drop_document(self, log_number: int) -> None:
        dropped = self._documents.pop(log_number, None)
        if dropped is not None:
            self.document_bytes -= dropped[1]
