"""Copies of a database made beside its applies, and its file replaced beside its checkpoints."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tallystick_node.storage.database import Database
from tallystick_node.storage.errors import DiskFull
from tallystick_node.storage.export import ExportStopped
from tallystick_node.storage.install import EXPORT_PREFIX
from tallystick_node.storage.reads import Head
from tests.unit.database_support import append, apply_each, rows_digest, set_op, target

DEADLINE_S = 60
LARGE = '"' + "x" * 30_000 + '"'


def grow(database: Database, entries: int) -> None:
    for _ in range(entries):
        number = database.applied_index
        apply_each(database, append([set_op(f"/k{number % 40}", LARGE), set_op("/n", str(number))]))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "state.db")
    grow(opened, 60)  # more than one step
    yield opened
    opened.close()


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.001)


class Gate:
    """Holds an export between its steps."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        self.arrived = threading.Event()
        self.let_go = threading.Event()
        others = database._others

        def look() -> bool:
            self.steps += 1
            self.arrived.set()
            assert self.let_go.wait(DEADLINE_S)
            return others._held_off

        monkeypatch.setattr(type(others), "is_held_off", property(lambda _: look()))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def gate(database: Database, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    del threads  # they end only once what they wait for is let go
    held = Gate(database, monkeypatch)
    yield held
    held.let_go.set()


def test_a_copy_is_the_state_at_its_index(database: Database, tmp_path: Path) -> None:
    before = rows_digest(database.path)
    copy = tmp_path / f"{EXPORT_PREFIX}1"
    copy.write_bytes(b"an older one" * 10_000)
    made = database.export(copy)
    assert (made.index, made.term, made.size_bytes) == (60, 1, copy.stat().st_size)
    grow(database, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [copy.name, "state.db", "state.db-shm", "state.db-wal"]
    )
    assert rows_digest(copy) == before
    shutil.move(copy, tmp_path / "twin.db")
    twin = Database.open(tmp_path / "twin.db")
    assert (twin.applied_index, twin.digest) == (60, database.digest_at(60))
    grow(twin, 3)
    assert (rows_digest(twin.path), twin.digest) == (rows_digest(database.path), database.digest)
    twin.close()


def test_applies_and_checkpoints_go_on_beside_a_copy(
    database: Database, tmp_path: Path, gate: Gate, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallystick_node.storage.database._TRUNCATE_WAL_BYTES", 1)
    before = rows_digest(database.path)
    copying = threads.submit(database.export, tmp_path / "copy")
    assert gate.arrived.wait(DEADLINE_S)
    checkpointing = [threads.submit(database.checkpoint) for _ in range(3)]
    grow(database, 20)
    for each in checkpointing:
        each.result(DEADLINE_S)
    assert database.durable_index in (0, 60)  # not past what the copy still reads
    gate.let_go.set()
    assert copying.result(DEADLINE_S).index == 60
    assert gate.steps > 1
    assert rows_digest(tmp_path / "copy") == before
    database.checkpoint()
    assert database.durable_index == 80
    assert database.wal_bytes == 0


def test_a_copy_made_while_others_apply_is_of_one_index(
    database: Database, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    copying = threads.submit(lambda: [database.export(tmp_path / f"copy{number}") for number in range(4)])
    while not copying.done():
        grow(database, 1)
    for number, made in enumerate(copying.result(DEADLINE_S)):
        twin = Database.open(tmp_path / f"copy{number}")
        assert twin.applied_index == made.index
        assert twin.digest == database.digest_at(made.index)
        assert twin.reads.log(target()).seq == made.index
        twin.close()


def test_holding_off_stops_a_copy(database: Database, tmp_path: Path, gate: Gate, threads: ThreadPoolExecutor) -> None:
    copying = threads.submit(database.export, tmp_path / "copy")
    assert gate.arrived.wait(DEADLINE_S)
    holding = threads.submit(database.hold_off)
    until(lambda: database._others._held_off)
    assert not holding.done()
    gate.let_go.set()
    holding.result(DEADLINE_S)
    with pytest.raises(ExportStopped):
        copying.result(DEADLINE_S)
    assert not (tmp_path / "copy").exists()
    with pytest.raises(ExportStopped):
        database.export(tmp_path / "copy")
    grow(database, 1)
    database.checkpoint()
    assert database.durable_index == 0
    database.resume()
    database.checkpoint()
    assert database.durable_index == 61
    assert database.export(tmp_path / "copy").index == 61


def test_a_file_is_replaced_only_once_a_checkpoint_is_done(
    database: Database, tmp_path: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is closed after the file was replaced would remove the write-ahead log of the new one."""
    database.export(tmp_path / "copy")
    arrived, let_go = threading.Event(), threading.Event()
    inner: Callable[[], None] = database._checkpoint

    def slow_checkpoint() -> None:
        arrived.set()
        assert let_go.wait(DEADLINE_S)
        inner()

    with monkeypatch.context() as patched:
        patched.setattr(database, "_checkpoint", slow_checkpoint)
        checkpointing = threads.submit(database.checkpoint)
        assert arrived.wait(DEADLINE_S)
        holding = threads.submit(database.hold_off)
        until(lambda: database._others._held_off)
        assert not holding.done()
        let_go.set()
        checkpointing.result(DEADLINE_S)
        holding.result(DEADLINE_S)

    def move() -> None:
        assert not list(tmp_path.glob("state.db-*"))  # no connection is open
        (tmp_path / "copy").replace(database.path)

    database.adopt(move)
    grow(database, 2)
    with closing(sqlite3.connect(database.path)) as connection:
        assert connection.execute("SELECT applied_index FROM meta").fetchone() == (62,)
    assert database.reads.read_state(target(), Head()).seq == 62


def test_what_goes_wrong_while_moving_comes_out_and_the_database_stays_closed(database: Database) -> None:
    def move() -> None:
        raise DiskFull(28, "no room")

    with pytest.raises(DiskFull):
        database.adopt(move)
    with pytest.raises(sqlite3.ProgrammingError):
        database.reads.events(0, 1)
    database.checkpoint()  # does nothing


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
def test_a_copy_that_finds_no_room_leaves_nothing(database: Database, small_disk: Path) -> None:
    with pytest.raises(DiskFull):
        database.export(small_disk / "copy")
    assert list(small_disk.iterdir()) == []
    grow(database, 1)
