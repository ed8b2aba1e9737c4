"""Looks at all that is stored of payloads; a part of `verify.py`.

What nothing refers to is collected: so references and holders are counted again, from the rows that they count. A
hidden row would otherwise take bytes away that are still named.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing

from tallystick_node.core import payloads
from tallystick_node.core.manifests import chunks_of
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.payload_rows import (
    CHUNK_SELECT,
    PAYLOAD_SELECT,
    USAGE_SELECT,
    check_reference,
    chunk_of,
    content_of,
    payload_of,
    usage_of,
)
from tallystick_node.storage.payload_tables import SqlPayloadTables
from tallystick_node.storage.sql import Sql

_HIDDEN = {
    "a payload that nothing refers to": "SELECT count(*) FROM payloads {} WHERE refs = 0",
    "a chunk that no payload has": "SELECT count(*) FROM chunks {} WHERE holders = 0",
}
"""What an index alone leads to."""


def check_payloads(sql: Sql) -> None:
    """Raises DatabaseDamaged where anything of payloads is not what was written, or is not there."""
    stored_bytes: Counter[str] = Counter()
    holders = _check_payloads(sql, _references(sql), stored_bytes)
    _check_chunks(sql, holders, stored_bytes)
    with closing(sql.each(USAGE_SELECT)) as rows:
        usages = {usage.namespace: usage.stored_bytes for usage in (usage_of(sql, row) for row in rows)}
    if usages != dict(stored_bytes):
        raise DatabaseDamaged(sql.path, "the payloads of a namespace take other than it says")
    for what, query in _HIDDEN.items():
        if sql.row(query.format("")) != sql.row(query.format("NOT INDEXED")):
            raise DatabaseDamaged(sql.path, f"{what} is not found by its index")


def _references(sql: Sql) -> Counter[int]:
    """How many places refer to each payload; the logs of all of them are there."""
    found: Counter[int] = Counter()
    with closing(sql.each("SELECT log, seq, payload, sum FROM payload_refs")) as rows:
        for row in rows:
            log, _, position = check_reference(sql, row)
            found[position] += 1
            if sql.row("SELECT 1 FROM logs WHERE number = ?", (log,)) is None:
                raise DatabaseDamaged(sql.path, f"log {log} is not there, and refers to a payload")
    return found


def _check_payloads(sql: Sql, references: Counter[int], stored_bytes: Counter[str]) -> Counter[tuple[str, bytes]]:
    """How many payloads have each chunk."""
    tables = SqlPayloadTables(sql)
    holders: Counter[tuple[str, bytes]] = Counter()
    with closing(sql.each(PAYLOAD_SELECT)) as rows:
        for row in rows:
            record = payload_of(sql, row)
            named = chunks_of(tables.manifest(record))
            sizes = (sum(ref.size_bytes for ref in named), len(named), references.pop(record.position, 0))
            if sizes != (record.size_bytes, record.chunks, record.references):
                raise DatabaseDamaged(sql.path, f"payload {record.id.hex()} is other than it says")
            if sql.row("SELECT hash FROM events WHERE position = ? AND kind = 15", (record.position,)) != (record.id,):
                raise DatabaseDamaged(sql.path, f"payload {record.id.hex()} lacks its event")
            holders.update({(record.namespace, ref.hash) for ref in named})
            stored_bytes[record.namespace] += payloads.payload_cost_bytes(record)
    if references:
        raise DatabaseDamaged(sql.path, "a payload that is referred to is not there")
    if sql.row("SELECT count(*) FROM manifests") != sql.row("SELECT count(*) FROM payloads"):
        raise DatabaseDamaged(sql.path, "a manifest is of no payload")
    return holders


def _check_chunks(sql: Sql, holders: Counter[tuple[str, bytes]], stored_bytes: Counter[str]) -> None:
    with closing(sql.each(CHUNK_SELECT)) as rows:
        for row in rows:
            chunk = chunk_of(sql, row)
            if holders.pop((chunk.namespace, chunk.hash), 0) != chunk.holders:
                raise DatabaseDamaged(sql.path, f"chunk {chunk.hash.hex()} is not held as often as it says")
            content_of(sql, sql.row("SELECT * FROM chunk_contents WHERE number = ?", (chunk.number,)), chunk.hash)
            stored_bytes[chunk.namespace] += payloads.chunk_cost_bytes(chunk.size_bytes)
    if holders:
        raise DatabaseDamaged(sql.path, "a chunk of a payload is not there")
    if sql.row("SELECT count(*) FROM chunk_contents") != sql.row("SELECT count(*) FROM chunks"):
        raise DatabaseDamaged(sql.path, "the content of a chunk is of none")
