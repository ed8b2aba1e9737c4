"""Looks at all that is stored of schemas; a part of `verify.py`.

A version that is hidden would be registered again, as another; so versions are counted, and each has its event. A
hidden version of a state would let an old writer write: so they rise along a log, and each log is there.
"""

from __future__ import annotations

from contextlib import closing
from typing import Final

from tallystick_node.core.schema_records import Subject
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.registry_rows import SCHEMA_SELECT, STATE_VERSION_SELECT, schema_of, state_version_of
from tallystick_node.storage.sql import Sql

_UNPAIRED: Final = {
    "a schema": "SELECT 1 FROM schemas AS s LEFT JOIN events AS e"
    " ON e.position = s.position AND e.kind = 13 AND e.hash = s.hash AND e.seq = s.version"
    " WHERE e.kind IS NULL LIMIT 1",
    "the version of a state": "SELECT 1 FROM state_versions AS v LEFT JOIN logs AS l ON l.number = v.log"
    " WHERE l.number IS NULL OR v.seq > l.seq LIMIT 1",
}
"""Rows whose other half is missing, where there is any."""


def check_registry(sql: Sql) -> None:
    """Raises DatabaseDamaged where anything is not what was written, or is not there."""
    _check_schemas(sql)
    _check_states(sql)
    for what, query in _UNPAIRED.items():
        if sql.row(query) is not None:
            raise DatabaseDamaged(sql.path, f"{what} lacks its other half")


def _check_schemas(sql: Sql) -> None:
    count = version = 0
    before: tuple[str, Subject] | None = None
    with closing(sql.each(f"{SCHEMA_SELECT} ORDER BY namespace, of, name, version")) as rows:
        for row in rows:
            record = schema_of(sql, row)
            of = (record.namespace, record.subject)
            count, version, before = count + 1, version + 1 if of == before else 1, of
            if record.version != version:
                raise DatabaseDamaged(sql.path, f"version {version} of {str(record.subject)!r} is not there")
    if sql.row("SELECT count(*) FROM events WHERE kind = 13") != (count,):
        raise DatabaseDamaged(sql.path, "a schema that was registered is not there")


def _check_states(sql: Sql) -> None:
    before, newest = 0, None
    with closing(sql.each(f"{STATE_VERSION_SELECT} ORDER BY log, seq")) as rows:
        for row in rows:
            log, seq, schema = state_version_of(sql, row)
            is_same = log == before and newest is not None and newest.prefix == schema.prefix
            if is_same and newest is not None and schema.version <= newest.version:
                raise DatabaseDamaged(sql.path, f"log {log}: the version of its state falls at seq {seq}")
            before, newest = log, schema
