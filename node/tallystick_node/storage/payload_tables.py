"""Core's tables of payloads in SQLite. Each row is written at once: what is put is large, and referred to seldom.

Rules of this file:
- A row that a look-up leads to must be the one that was looked for.
- One statement takes the references of a log, however many; each payload that they were to is then changed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import orjson

from tallystick_node.core.payload_records import ChunkRecord, PayloadRecord, PayloadUsage
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.payload_rows import (
    CHUNK_INSERT,
    CHUNK_SELECT,
    CHUNK_UPDATE,
    PAYLOAD_SELECT,
    PAYLOAD_UPSERT,
    USAGE_SELECT,
    chunk_of,
    chunk_row,
    chunk_update,
    manifest_of,
    payload_of,
    payload_row,
    reference_row,
    usage_of,
    usage_row,
)
from tallystick_node.storage.sql import MAX_INTEGER, Sql, Value
from tallystick_node.storage.sums import row_sum

_LOOKED_UP_AT_ONCE: Final = 500
"""Chunks, with one statement."""

_COUNTED: Final = "SELECT position, id, count(*) FROM payload_refs JOIN payloads ON position = payload"
_OF_AGENT: Final = "log IN (SELECT number FROM logs WHERE namespace = ? AND agent = ?)"
_OF_LOG: Final = "log = ?"
_BELOW: Final = "log = ? AND seq < ? AND seq NOT IN (SELECT value FROM json_each(?))"


class SqlPayloadTables:
    """An implementation of `tallystick_node.core.payload_records.PayloadTables`.

    Args:
        flush: writes the rows that gathered.
    """

    def __init__(self, sql: Sql, flush: Callable[[], None] = lambda: None) -> None:
        self._sql = sql
        self._flush = flush

    def usage(self, namespace: str) -> PayloadUsage:
        """See `PayloadTables`."""
        row = self._sql.row(f"{USAGE_SELECT} WHERE namespace = ?", (namespace,))
        if row is None:
            return PayloadUsage(namespace)
        usage = usage_of(self._sql, row)
        self._check("what payloads take", usage.namespace == namespace)
        return usage

    def save_usage(self, usage: PayloadUsage) -> None:
        """See `PayloadTables`."""
        if usage.stored_bytes:
            self._sql.execute("INSERT OR REPLACE INTO payload_usage VALUES (?, ?, ?)", usage_row(usage))
        else:
            self._sql.execute("DELETE FROM payload_usage WHERE namespace = ?", (usage.namespace,))

    def payload(self, namespace: str, payload_id: bytes) -> PayloadRecord | None:
        """See `PayloadTables`."""
        row = self._sql.row(f"{PAYLOAD_SELECT} WHERE namespace = ? AND id = ?", (namespace, payload_id))
        if row is None:
            return None
        record = payload_of(self._sql, row)
        self._check("a payload", (record.namespace, record.id) == (namespace, payload_id))
        return record

    def manifest(self, record: PayloadRecord) -> bytes:
        """See `PayloadTables`."""
        row = self._sql.row("SELECT * FROM manifests WHERE position = ?", (record.position,))
        return manifest_of(self._sql, row, record)

    def add(self, record: PayloadRecord, manifest: bytes) -> None:
        """See `PayloadTables`."""
        self._sql.execute(
            "INSERT INTO manifests VALUES (?, ?, ?)", (record.position, manifest, row_sum(record.position, manifest))
        )
        self.save(record)

    def save(self, record: PayloadRecord) -> None:
        """See `PayloadTables`."""
        self._sql.execute(PAYLOAD_UPSERT, payload_row(record))

    def remove(self, record: PayloadRecord) -> None:
        """See `PayloadTables`."""
        for table in ("manifests", "payloads"):
            self._sql.execute(f"DELETE FROM {table} WHERE position = ?", (record.position,))  # noqa: S608

    def unreferenced(self, namespace: str, before_unix_ms: int, limit: int) -> Sequence[PayloadRecord]:
        """See `PayloadTables`."""
        rows = self._sql.rows(
            f"{PAYLOAD_SELECT} WHERE refs = 0 AND namespace = ? AND touched_unix_ms < ?"
            " ORDER BY touched_unix_ms, position LIMIT ?",
            (namespace, min(before_unix_ms, MAX_INTEGER), limit),
        )
        found = [payload_of(self._sql, row) for row in rows]
        self._check("payloads that nothing refers to", not any(each.references for each in found))
        return found

    def chunks(self, namespace: str, hashes: Collection[bytes]) -> Mapping[bytes, ChunkRecord]:
        """See `PayloadTables`."""
        found: dict[bytes, ChunkRecord] = {}
        wanted = list(hashes)
        for first in range(0, len(wanted), _LOOKED_UP_AT_ONCE):
            some = wanted[first : first + _LOOKED_UP_AT_ONCE]
            which = ",".join("?" * len(some))
            for row in self._sql.rows(f"{CHUNK_SELECT} WHERE namespace = ? AND hash IN ({which})", (namespace, *some)):
                record = chunk_of(self._sql, row)
                self._check("a chunk", record.namespace == namespace and record.hash in hashes)
                found[record.hash] = record
        return found

    def add_chunk(self, namespace: str, digest: bytes, content: bytes, time_unix_ms: int) -> None:
        """See `PayloadTables`."""
        row = self._sql.row("SELECT max(number) FROM chunks")
        number = (row[0] or 0) + 1 if row is not None else 1
        self._sql.execute("INSERT INTO chunk_contents VALUES (?, ?, ?)", (number, content, row_sum(number, content)))
        record = ChunkRecord(number, namespace, digest, len(content), 0, time_unix_ms)
        self._sql.execute(CHUNK_INSERT, chunk_row(record))

    def save_chunks(self, records: Sequence[ChunkRecord]) -> None:
        """See `PayloadTables`."""
        self._sql.execute_many(CHUNK_UPDATE, [chunk_update(record) for record in records])

    def remove_chunks(self, records: Sequence[ChunkRecord]) -> None:
        """See `PayloadTables`."""
        numbers: list[tuple[Value, ...]] = [(record.number,) for record in records]
        for table in ("chunk_contents", "chunks"):
            self._sql.execute_many(f"DELETE FROM {table} WHERE number = ?", numbers)  # noqa: S608

    def unheld(self, namespace: str, before_unix_ms: int, limit: int) -> Sequence[ChunkRecord]:
        """See `PayloadTables`."""
        rows = self._sql.rows(
            f"{CHUNK_SELECT} WHERE holders = 0 AND namespace = ? AND touched_unix_ms < ?"
            " ORDER BY touched_unix_ms, number LIMIT ?",
            (namespace, min(before_unix_ms, MAX_INTEGER), limit),
        )
        found = [chunk_of(self._sql, row) for row in rows]
        self._check("chunks that no payload has", not any(each.holders for each in found))
        return found

    def add_reference(self, log_number: int, seq: int, position: int) -> bool:
        """See `PayloadTables`."""
        known = "SELECT 1 FROM payload_refs WHERE log = ? AND seq = ? AND payload = ?"
        if self._sql.row(known, (log_number, seq, position)) is not None:
            return False
        self._sql.execute("INSERT INTO payload_refs VALUES (?, ?, ?, ?)", reference_row(log_number, seq, position))
        return True

    def remove_references_of_agent(self, namespace: str, agent: str) -> Mapping[bytes, int]:
        """See `PayloadTables`."""
        self._flush()
        return self._remove_references(_OF_AGENT, (namespace, agent))

    def remove_references(self, log_number: int) -> Mapping[bytes, int]:
        """See `PayloadTables`."""
        return self._remove_references(_OF_LOG, (log_number,))

    def remove_references_below(self, log_number: int, seq: int, staying: Collection[int]) -> Mapping[bytes, int]:
        """See `PayloadTables`."""
        return self._remove_references(_BELOW, (log_number, seq, orjson.dumps(sorted(staying)).decode()))

    def _remove_references(self, which: str, values: tuple[Value, ...]) -> Mapping[bytes, int]:
        rows = self._sql.rows(f"{_COUNTED} WHERE {which} GROUP BY payload ORDER BY payload", values)
        if rows:
            self._sql.execute(f"DELETE FROM payload_refs WHERE {which}", values)  # noqa: S608
        return {payload: count for _, payload, count in rows}

    def _check(self, what: str, is_it: bool) -> None:
        if not is_it:
            raise DatabaseDamaged(self._sql.path, f"looking for {what} leads to another")
