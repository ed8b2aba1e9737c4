"""What can be asked of payloads: one, its manifest, a page of them, chunks and their contents, what may be collected.

Rules of this file: those of `reads.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tallystick_node.core.payload_records import ChunkRecord, PayloadRecord, PayloadUsage
from tallystick_node.storage.pages import Page
from tallystick_node.storage.payload_rows import PAYLOAD_SELECT, USAGE_SELECT, content_of, payload_of, usage_of
from tallystick_node.storage.payload_tables import SqlPayloadTables
from tallystick_node.storage.sql import Sql


class PayloadReads:
    """The reads of payloads, over the connection of the thread that applies."""

    def __init__(self, sql: Sql, tables: SqlPayloadTables) -> None:
        self._sql = sql
        self._tables = tables

    def payload(self, namespace: str, payload_id: bytes) -> PayloadRecord | None:
        """The payload of that id."""
        return self._tables.payload(namespace, payload_id)

    def manifest(self, record: PayloadRecord) -> bytes:
        """Of what chunks it is."""
        return self._tables.manifest(record)

    def payloads(self, namespace: str, after: bytes, limit: int) -> Page[PayloadRecord]:
        """The payloads of a namespace by id, after one."""
        rows = self._sql.rows(
            f"{PAYLOAD_SELECT} WHERE namespace = ? AND id > ? ORDER BY id LIMIT ?", (namespace, after, limit + 1)
        )
        return Page([payload_of(self._sql, row) for row in rows[:limit]], len(rows) > limit)

    def usage(self, namespace: str) -> PayloadUsage:
        """What the payloads of a namespace take."""
        return self._tables.usage(namespace)

    def usages(self, after: str, limit: int) -> Page[PayloadUsage]:
        """The namespaces where something is stored, by name, after one."""
        rows = self._sql.rows(f"{USAGE_SELECT} WHERE namespace > ? ORDER BY namespace LIMIT ?", (after, limit + 1))
        return Page([usage_of(self._sql, row) for row in rows[:limit]], len(rows) > limit)

    def missing(self, namespace: str, hashes: Sequence[bytes]) -> list[bytes]:
        """Those of these chunks that are not stored, each once, in order."""
        wanted = dict.fromkeys(hashes)
        found = self._tables.chunks(namespace, wanted)
        return [each for each in wanted if each not in found]

    def chunk(self, namespace: str, digest: bytes) -> ChunkRecord | None:
        """A chunk without its content."""
        return self._tables.chunks(namespace, [digest]).get(digest)

    def content(self, chunk: ChunkRecord) -> bytes:
        """What is in a chunk."""
        row = self._sql.row("SELECT * FROM chunk_contents WHERE number = ?", (chunk.number,))
        return content_of(self._sql, row, chunk.hash)

    def is_collectable(self, namespace: str, before_unix_ms: int) -> bool:
        """Whether anything of the namespace would be collected."""
        return bool(
            self._tables.unreferenced(namespace, before_unix_ms, 1) or self._tables.unheld(namespace, before_unix_ms, 1)
        )
