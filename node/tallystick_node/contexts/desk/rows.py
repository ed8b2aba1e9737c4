"""The rows of `contexts.db`, to and from values.

Rules of this file:
- Whatever writes begins the transaction by itself; `commit` or `roll_back` end it. All of a batch is one.
- A row is believed only once its sum is checked; else `RowDamaged`, which makes one document damaged.
- Reads that may be long are bounded or read row by row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from tallystick.v1 import context_pb2
from tallystick_node.contexts.desk.tables import open_sql
from tallystick_node.contexts.ids import ContextId
from tallystick_node.storage.sql import Sql, Value
from tallystick_node.storage.sums import Column, row_sum

LAST_NUMBER: Final = 2**32 - 1
"""Of one life."""
_NUMBER_BITS: Final = 32


class RowDamaged(Exception):
    """A row is not what was written: its document is to be fetched anew."""


@dataclass(slots=True)
class DocumentRow:
    """A row of `documents`."""

    life: int
    id: ContextId
    number: int
    base_number: int
    """The history begins behind it: a state is stored there, but for 0 and a floor, where there was nothing."""
    log_bytes: int
    merged_unix_ms: int
    digest: bytes | None
    """None: it has changed since it was last taken."""


class OverlapRow(NamedTuple):
    """A row of `overlaps`."""

    number: int
    """Of the edit that came second."""
    kind: str
    first_number: int
    first_writer: int
    first_clock: int
    second_writer: int
    """0: it only deleted."""
    second_clock: int


class Entry(NamedTuple):
    """A row of `updates`."""

    number: int
    edit: bytes
    """A `context_pb2.Edit`, without its number."""
    data: bytes | None
    """None: the update that brought it is a later row's."""

    def to_edit(self) -> context_pb2.Edit:
        """For the wire."""
        edit = context_pb2.Edit.FromString(self.edit)
        edit.number = self.number
        return edit


def bucket_of(guid: bytes) -> int:
    """Which of the 4096 ranges a document is in: the first three nibbles of its guid's hash."""
    return int.from_bytes(hashlib.sha256(guid).digest()[:2], "big") >> 4


def _check(stored: Column, *columns: Column) -> None:
    if row_sum(*columns) != stored:
        raise RowDamaged


class Rows:
    """The database of one folder; belongs to one thread."""

    def __init__(self, folder: Path) -> None:
        """Raises as `open_sql`."""
        self._sql: Sql = open_sql(folder)

    def close(self) -> None:
        """Closes the database."""
        self._sql.close()

    # Transactions.

    def commit(self) -> None:
        """Ends the transaction, if there is one: it is on disk."""
        if self._sql.in_transaction:
            self._sql.execute("COMMIT")

    def roll_back(self) -> None:
        """Undoes the transaction, if there is one."""
        if self._sql.in_transaction:
            self._sql.execute("ROLLBACK")

    def _write(self, statement: str, values: tuple[Value, ...]) -> None:
        if not self._sql.in_transaction:
            self._sql.execute("BEGIN IMMEDIATE")
        self._sql.execute(statement, values)

    # Documents.

    def document(self, guid: bytes) -> DocumentRow | None:
        """Its row. Raises RowDamaged."""
        row = self._sql.row(
            "SELECT life, guid, epoch, bucket, number, base_number, log_bytes, merged_unix_ms, digest, sum"
            " FROM documents WHERE guid = ?",
            (guid,),
        )
        if row is None:
            return None
        _check(row[9], *row[:9])
        return DocumentRow(row[0], ContextId(row[1], row[2]), *row[4:9])

    def begin(self, document: ContextId, number: int) -> DocumentRow:
        """A new life; the guid must not be there."""
        self._write(
            "INSERT INTO documents (guid, epoch, bucket, number, base_number, log_bytes, merged_unix_ms, sum)"
            " VALUES (?, ?, ?, ?, ?, 0, 0, 0)",
            (document.guid, document.epoch, bucket_of(document.guid), number, number),
        )
        life = self._sql.rows("SELECT last_insert_rowid()")[0][0]
        row = DocumentRow(life, document, number, number, 0, 0, None)
        self.save(row)
        return row

    def save(self, row: DocumentRow) -> None:
        """Writes a row of `documents` that has changed."""
        columns: tuple[Value, ...] = (
            row.life, row.id.guid, row.id.epoch, bucket_of(row.id.guid), row.number, row.base_number, row.log_bytes,
            row.merged_unix_ms, row.digest,
        )  # fmt: skip
        self._write(
            "UPDATE documents SET epoch = ?, number = ?, base_number = ?, log_bytes = ?, merged_unix_ms = ?,"
            " digest = ?, sum = ? WHERE life = ?",
            (row.id.epoch, *columns[4:], row_sum(*columns), row.life),
        )

    def remains(self, guid: bytes) -> tuple[int, bytes | None] | None:
        """Life and digest of a document whose row may be damaged."""
        row = self._sql.row("SELECT life, digest FROM documents WHERE guid = ?", (guid,))
        return None if row is None else (row[0], row[1])

    def last_number(self, guid: bytes) -> int:
        """The last that was given to a document, as far as what is stored of it can be read."""
        try:
            row = self.document(guid)
        except RowDamaged:
            row = None
        if row is not None:
            return row.number
        remains = self.remains(guid)
        span = (0, 0) if remains is None else (_place(remains[0], 0), _place(remains[0], LAST_NUMBER))
        last = self._sql.row("SELECT max(place) FROM updates WHERE place BETWEEN ? AND ?", span)
        return 0 if last is None or last[0] is None else last[0] & LAST_NUMBER

    def end(self, life: int) -> None:
        """Removes a life and all that is stored of it."""
        first, last = _place(life, 0), _place(life, LAST_NUMBER)
        for table in ("updates", "states", "overlaps"):
            self._write(f"DELETE FROM {table} WHERE place BETWEEN ? AND ?", (first, last))  # noqa: S608 - names of ours
        for table in ("epochs", "carried", "documents"):
            self._write(f"DELETE FROM {table} WHERE life = ?", (life,))  # noqa: S608 - names of ours

    def each_digest(self) -> Iterator[tuple[bytes, int, bytes | None]]:
        """Guid, bucket and digest of all documents, also of those whose row is damaged."""
        for row in self._sql.each("SELECT guid, bucket, digest FROM documents"):
            yield row[0], bucket_of(row[0]), row[2]

    def listed(self, after_guid: bytes, limit: int) -> list[ContextId]:
        """Documents by guid."""
        rows = self._sql.rows(
            "SELECT guid, epoch FROM documents WHERE guid > ? ORDER BY guid LIMIT ?", (after_guid, limit)
        )
        return [ContextId(*row) for row in rows]

    def in_buckets(self, first: int, last: int, after_guid: bytes, limit: int) -> list[tuple[ContextId, bytes | None]]:
        """Documents of some ranges, by guid."""
        rows = self._sql.rows(
            "SELECT guid, epoch, digest FROM documents WHERE bucket BETWEEN ? AND ? AND guid > ? ORDER BY guid LIMIT ?",
            (first, last, after_guid, limit),
        )
        return [(ContextId(row[0], row[1]), row[2]) for row in rows]

    # The floor of numbers.

    def floor(self) -> int:
        """Numbers of what begins now lie above it."""
        row = self._sql.row("SELECT floor, sum FROM meta")
        if row is None:
            return 0
        _check(row[1], row[0])
        return int(row[0])

    def raise_floor(self, floor: int) -> None:
        """It never falls."""
        self._write(
            "INSERT INTO meta (id, floor, sum) VALUES (1, ?1, ?2)"
            " ON CONFLICT (id) DO UPDATE SET floor = ?1, sum = ?2 WHERE floor < ?1",
            (floor, row_sum(floor)),
        )

    # The name of all logs.

    def log_name(self) -> tuple[bytes, bytes] | None:
        """It, and which opening has the database. Raises RowDamaged."""
        row = self._sql.row("SELECT name, opening, sum FROM log")
        if row is None:
            return None
        _check(row[2], row[0], row[1])
        return row[0], row[1]

    def put_log_name(self, name: bytes, opening: bytes) -> None:
        """Another one, or another opening."""
        self._write("INSERT OR REPLACE INTO log VALUES (1, ?, ?, ?)", (name, opening, row_sum(name, opening)))

    # The update log.

    def add(self, life: int, number: int, edit: context_pb2.Edit, data: bytes | None) -> None:
        """A further row of the log."""
        place = _place(life, number)
        body = edit.SerializeToString()
        total = row_sum(place, edit.actor, edit.merged_unix_ms, body, data)
        self._write(
            "INSERT INTO updates VALUES (?, ?, ?, ?, ?, ?)",
            (place, edit.actor, edit.merged_unix_ms, body, data, total),
        )

    def entries(
        self, life: int, after: int, upto: int, *, actor: str = "", limit: int = -1, newest_first: bool = False
    ) -> Iterator[Entry]:
        """Rows of the log behind `after`, up to `upto`. Raises RowDamaged."""
        select = "SELECT place, actor, merged_unix_ms, edit, data, sum FROM updates WHERE place BETWEEN ? AND ?"
        whose = " AND actor = ?" if actor else ""
        order = " ORDER BY place DESC LIMIT ?" if newest_first else " ORDER BY place LIMIT ?"
        values = (_place(life, after + 1), _place(life, upto), *((actor,) if actor else ()), limit)
        for row in self._sql.each(select + whose + order, values):
            _check(row[5], *row[:5])
            yield Entry(row[0] & LAST_NUMBER, row[3], row[4])

    def number_at(self, row: DocumentRow, time_unix_ms: int) -> int:
        """The newest number that was merged by then; the base's where that is younger."""
        low, high = row.base_number, row.number
        while low < high:
            middle = (low + high + 1) // 2
            found = self._sql.row("SELECT merged_unix_ms FROM updates WHERE place = ?", (_place(row.life, middle),))
            if found is None:
                raise RowDamaged
            if found[0] <= time_unix_ms:
                low = middle
            else:
                high = middle - 1
        return low

    def cut(self, life: int, upto: int) -> int:
        """Removes the log up to a number; the bytes of updates that went with it."""
        span = (_place(life, 0), _place(life, upto))
        total = self._sql.row("SELECT sum(length(data)) FROM updates WHERE place BETWEEN ? AND ?", span)
        self._write("DELETE FROM updates WHERE place BETWEEN ? AND ?", span)
        self._write("DELETE FROM overlaps WHERE place BETWEEN ? AND ?", span)
        return int(total[0] or 0) if total else 0

    # Overlaps.

    def add_overlap(self, life: int, turn: int, row: OverlapRow) -> None:
        """The `turn`-th of an edit."""
        columns = (_place(life, row.number), turn, *row[1:])
        self._write("INSERT INTO overlaps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*columns, row_sum(*columns)))

    def overlaps(self, life: int, after: int) -> Iterator[OverlapRow]:
        """Those behind a number. Raises RowDamaged."""
        for row in self._sql.each(
            "SELECT place, turn, kind, first_number, first_writer, first_clock, second_writer, second_clock, sum"
            " FROM overlaps WHERE place BETWEEN ? AND ? ORDER BY place, turn",
            (_place(life, after + 1), _place(life, LAST_NUMBER)),
        ):
            _check(row[8], *row[:8])
            yield OverlapRow(row[0] & LAST_NUMBER, *row[2:8])

    def keep_overlaps(self, life: int, count: int) -> None:
        """Removes all but the newest so many, and those of the same edit."""
        last = _place(life, LAST_NUMBER)
        row = self._sql.row(
            "SELECT place FROM overlaps WHERE place BETWEEN ? AND ? ORDER BY place DESC LIMIT 1 OFFSET ?",
            (_place(life, 0), last, count - 1),
        )
        if row is not None:
            self._write("DELETE FROM overlaps WHERE place BETWEEN ? AND ?", (_place(life, 0), row[0] - 1))

    # States: a document as it was at a number.

    def put_state(self, life: int, number: int, state: bytes) -> None:
        """Stores one."""
        place = _place(life, number)
        self._write("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", (place, state, row_sum(place, state)))

    def state(self, life: int, upto: int) -> tuple[int, bytes] | None:
        """The newest up to a number. Raises RowDamaged."""
        row = self._sql.row(
            "SELECT place, state, sum FROM states WHERE place BETWEEN ? AND ? ORDER BY place DESC LIMIT 1",
            (_place(life, 0), _place(life, upto)),
        )
        if row is None:
            return None
        _check(row[2], row[0], row[1])
        return row[0] & LAST_NUMBER, row[1]

    def state_bytes(self, life: int) -> int:
        """What all states of a life come to."""
        row = self._sql.row(
            "SELECT sum(length(state)) FROM states WHERE place BETWEEN ? AND ?",
            (_place(life, 0), _place(life, LAST_NUMBER)),
        )
        return int(row[0] or 0) if row else 0

    def drop_states(self, life: int, after: int, before: int) -> None:
        """Removes those strictly between two numbers."""
        self._write(
            "DELETE FROM states WHERE place BETWEEN ? AND ?", (_place(life, after + 1), _place(life, before) - 1)
        )

    # The epoch before.

    def put_epoch(self, life: int, old_state: bytes, base: bytes) -> None:
        """What a life began from."""
        self._write(
            "INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?)", (life, old_state, base, row_sum(life, old_state, base))
        )

    def epoch(self, life: int) -> tuple[bytes, bytes] | None:
        """The last state of the epoch before, and the base of this one. Raises RowDamaged."""
        row = self._sql.row("SELECT life, old_state, base, sum FROM epochs WHERE life = ?", (life,))
        if row is None:
            return None
        _check(row[3], *row[:3])
        return row[1], row[2]

    def carry(self, life: int, writer: int, turn: int, old_update: bytes, new_update: bytes) -> None:
        """An update of the epoch before, and what it became."""
        columns = (life, writer, turn, old_update, new_update)
        self._write("INSERT INTO carried VALUES (?, ?, ?, ?, ?, ?)", (*columns, row_sum(*columns)))

    def turns(self, life: int, writer: int) -> int:
        """How many updates of a writer were carried over."""
        row = self._sql.row("SELECT count(*) FROM carried WHERE life = ? AND writer = ?", (life, writer))
        return int(row[0]) if row else 0

    def carried(self, life: int, writer: int) -> Iterator[tuple[bytes, bytes]]:
        """What was carried over of one writer, in order. Raises RowDamaged."""
        for row in self._sql.each(
            "SELECT life, writer, turn, old_update, new_update, sum FROM carried WHERE life = ? AND writer = ?"
            " ORDER BY turn",
            (life, writer),
        ):
            _check(row[5], *row[:5])
            yield row[3], row[4]


def _place(life: int, number: int) -> int:
    return life << _NUMBER_BITS | number
