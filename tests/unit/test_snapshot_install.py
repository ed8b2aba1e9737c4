"""A copy of the state takes the place of a node's own: whole, in one step, whatever cuts it short."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tallystick_node.snapshots.catch_up import adopt_staged
from tallystick_node.storage.database import Database
from tallystick_node.storage.errors import DatabaseDamaged, UnknownFormat
from tallystick_node.storage.files import RealFiles
from tallystick_node.storage.install import (
    EXPORT_PREFIX,
    INCOMING_PREFIX,
    NEXT_NAME,
    finish_install,
    recover,
    set_aside,
    stage,
    staged,
)
from tallystick_node.storage.journal import Journal
from tallystick_node.storage.reads import Head
from tests.unit.database_support import append, apply_each, rows_digest, set_op, target
from tests.unit.install_kit import (
    HARD_STATE,
    NEW_INDEX,
    NEW_TERM,
    OLD_INDEX,
    Crash,
    CrashingFiles,
    incoming,
    journal_content,
    make_copy,
    make_journal,
    make_node,
    make_state,
    subsets,
)
from tests.unit.journal_kit import content, fill


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    made = make_copy(folder / "peer", folder / "copy")
    assert (made.index, made.term) == (NEW_INDEX, NEW_TERM)
    assert made.size_bytes == (folder / "copy").stat().st_size
    return folder / "copy"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node's folder that lags behind; to be copied."""
    folder = tmp_path_factory.mktemp("killed")
    make_node(folder / "node", folder / "scratch")
    make_journal(folder / "node", 8).close()
    return folder / "node"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def restart(folder: Path) -> tuple[Journal, Database]:
    """As a node starts."""
    journal = Journal.open(RealFiles(), folder / "journal")
    recover(folder, journal)
    return journal, Database.open(folder / "state.db")


def test_a_lagging_node_gets_the_copy(tmp_path: Path, killed: Path, copy: Path) -> None:
    folder = tmp_path / "node"
    shutil.copytree(killed, folder)
    assert staged(folder) is None
    made = stage(folder, incoming(folder, copy))
    assert staged(folder) == made
    assert NEXT_NAME in names(folder)
    journal, database = restart(folder)
    assert names(folder) == ["journal", "state.db", "state.db-shm", "state.db-wal"]
    assert (database.applied_index, database.applied_term, database.members) == (NEW_INDEX, NEW_TERM, b"four")
    assert (journal.base_index, journal.base_term, journal.last_index) == (NEW_INDEX, NEW_TERM, NEW_INDEX)
    assert journal.hard_state == HARD_STATE
    assert rows_digest(database.path) == rows_digest(copy)
    assert not finish_install(folder, journal)
    apply_each(database, append([set_op("/n", '"behind"')]))
    assert database.reads.read_state(target(), Head()).state == b'{"n":"behind"}'
    database.close()
    journal.close()


@pytest.mark.parametrize("term", [NEW_TERM, 3])
def test_what_the_journal_holds_behind_the_copy_stays_if_it_leads_on_from_there(
    tmp_path: Path, killed: Path, copy: Path, term: int
) -> None:
    folder = tmp_path / "node"
    shutil.copytree(killed, folder)
    shutil.rmtree(folder / "journal")
    journal = make_journal(folder, NEW_INDEX + 3, term=term, base=OLD_INDEX)
    before = content(journal)
    stage(folder, incoming(folder, copy))
    assert finish_install(folder, journal)
    if term == NEW_TERM:
        assert content(journal) == before
    else:  # another history: not one of its entries from there on can have been committed
        assert (journal.base_index, journal.base_term, journal.last_index) == (NEW_INDEX, NEW_TERM, NEW_INDEX)
    journal.close()
    journal, database = restart(folder)
    assert database.applied_index == NEW_INDEX
    assert journal.hard_state == HARD_STATE
    database.close()
    journal.close()


def test_what_the_journal_holds_in_memory_alone_is_on_disk_before_it_counts(
    tmp_path: Path, killed: Path, copy: Path
) -> None:
    folder = tmp_path / "node"
    shutil.copytree(killed, folder)
    shutil.rmtree(folder / "journal")
    journal = make_journal(folder, NEW_INDEX - 1)
    journal.append(NEW_INDEX, NEW_TERM, b"not flushed")
    stage(folder, incoming(folder, copy))
    assert finish_install(folder, journal)
    assert journal.durable_index == NEW_INDEX
    journal.close()
    assert journal_content(folder).entries[-1].data == b"not flushed"


def test_a_copy_that_comes_too_late_is_removed(tmp_path: Path, killed: Path, copy: Path) -> None:
    folder = tmp_path / "node"
    shutil.copytree(killed, folder)
    shutil.rmtree(folder / "journal")
    journal = make_journal(folder, NEW_INDEX + 5, term=NEW_TERM, base=NEW_INDEX + 2)
    before, state = content(journal), (folder / "state.db").read_bytes()
    stage(folder, incoming(folder, copy))
    assert not finish_install(folder, journal)
    assert (content(journal), (folder / "state.db").read_bytes()) == (before, state)
    assert NEXT_NAME not in names(folder)
    journal.close()


def test_a_copy_of_another_history_is_refused(tmp_path: Path, killed: Path, copy: Path) -> None:
    folder = tmp_path / "node"
    shutil.copytree(killed, folder)
    shutil.rmtree(folder / "journal")
    journal = make_journal(folder, NEW_INDEX + 5, term=3, base=NEW_INDEX)
    assert journal.base_index == NEW_INDEX
    stage(folder, incoming(folder, copy))
    with pytest.raises(DatabaseDamaged, match="another term"):
        finish_install(folder, journal)
    assert staged(folder) is not None
    journal.close()


def test_the_term_of_a_vote_does_not_lag_behind_the_log(tmp_path: Path, killed: Path, copy: Path) -> None:
    folder = tmp_path / "node"
    shutil.copytree(killed, folder)
    shutil.rmtree(folder / "journal")
    journal = Journal.open(RealFiles(), folder / "journal")
    stage(folder, incoming(folder, copy))
    assert finish_install(folder, journal)
    assert (journal.hard_state.term, journal.hard_state.voted_for) == (NEW_TERM, None)
    journal.close()


def test_a_crash_at_every_operation_leaves_the_old_state_or_leads_to_the_new_one(
    tmp_path: Path, killed: Path, copy: Path
) -> None:
    """And each name that was not synced may be undone, whichever others are."""
    old_rows, new_rows = _rows(killed, tmp_path / "old"), rows_digest(copy)
    old_journal = journal_content(killed)
    outcomes = set()
    finished = False
    for steps in itertools.count():
        for undone in itertools.count():
            folder = tmp_path / f"node-{steps}-{undone}"
            scratch = tmp_path / f"scratch-{steps}-{undone}"
            shutil.copytree(killed, folder)
            scratch.mkdir()
            files = CrashingFiles(scratch)
            is_staged, finished = _install(files, folder, copy, steps)
            choices = list(subsets(len(files.unsynced)))
            for at in sorted(choices[undone], reverse=True):
                files.unsynced[at].undo()
            journal, database = restart(folder)
            assert journal.hard_state == HARD_STATE
            rows = rows_digest(database.path)
            if database.applied_index == OLD_INDEX:
                assert not is_staged
                assert (rows, content(journal)) == (old_rows, old_journal)
            else:
                assert rows == new_rows
                assert (journal.base_index, journal.base_term, journal.last_index) == (NEW_INDEX, NEW_TERM, NEW_INDEX)
            outcomes.add(database.applied_index)
            database.close()
            journal.close()
            shutil.rmtree(folder)
            shutil.rmtree(scratch)
            if undone + 1 == len(choices):
                break
        if finished:
            break
    assert outcomes == {OLD_INDEX, NEW_INDEX}
    assert steps > 20


def _install(files: CrashingFiles, folder: Path, copy: Path, steps: int) -> tuple[bool, bool]:
    """Whether it was staged, and whether it was finished, before the crash."""
    is_staged = False
    path = incoming(folder, copy)
    journal = Journal.open(files, folder / "journal")
    files.steps_left = steps
    try:
        stage(folder, path, files=files)
        is_staged = True
        finish_install(folder, journal, files=files)
    except Crash:
        return is_staged, False
    finally:
        files.steps_left = None
        journal.close()
    return True, True


def _rows(folder: Path, twin: Path) -> dict[str, str]:
    shutil.copytree(folder, twin)
    Database.open(twin / "state.db").close()
    return rows_digest(twin / "state.db")


def test_what_a_crash_left_of_copies_is_removed(tmp_path: Path, killed: Path) -> None:
    folder = tmp_path / "node"
    shutil.copytree(killed, folder)
    for name in (f"{INCOMING_PREFIX}7", f"{EXPORT_PREFIX}n3", f"{EXPORT_PREFIX}n3-journal"):
        (folder / name).write_bytes(b"half a copy")
    journal, database = restart(folder)
    assert names(folder) == ["journal", "state.db", "state.db-shm", "state.db-wal"]
    assert database.applied_index == OLD_INDEX
    database.close()
    journal.close()


def test_a_running_node_adopts_the_copy(tmp_path: Path, killed: Path, copy: Path) -> None:
    folder = tmp_path / "node"
    shutil.copytree(killed, folder)
    journal, database = restart(folder)
    reads = database.reads
    assert reads.read_state(target(), Head()).state == b'{"n":"old 4"}'  # it is cached now
    assert reads.agent_count == 1
    stage(folder, incoming(folder, copy))
    database.adopt(lambda: None if finish_install(folder, journal) else pytest.fail("there was nothing to install"))
    assert database.reads is reads
    assert reads.read_state(target(), Head()).state == b'{"n":"new 19"}'
    assert (database.applied_index, database.applied_term, database.members) == (NEW_INDEX, NEW_TERM, b"four")
    assert database.durable_index == NEW_INDEX
    assert database.position == reads.position == NEW_INDEX
    assert (database.digest_at(OLD_INDEX), database.digest_at(NEW_INDEX)) == (None, database.digest)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT digest FROM meta").fetchone() == (database.digest,)
    fill(journal, [NEW_INDEX + 1], term=NEW_TERM)
    apply_each(database, append([set_op("/n", '"behind"')]))
    database.checkpoint()
    assert database.durable_index == NEW_INDEX + 1
    database.close()
    journal.close()
    journal, database = restart(folder)
    assert database.reads.read_state(target(), Head()).state == b'{"n":"behind"}'
    database.close()
    journal.close()


def test_a_damaged_state_is_put_away_and_a_new_one_begun(tmp_path: Path, killed: Path, copy: Path) -> None:
    folder = tmp_path / "node"
    shutil.copytree(killed, folder)
    data = bytearray((folder / "state.db").read_bytes())
    data[:16] = bytes(16)
    (folder / "state.db").write_bytes(data)
    (folder / "state.db-wal").unlink()
    with pytest.raises(DatabaseDamaged):
        Database.open(folder / "state.db")
    damaged = set_aside(folder)
    assert damaged.read_bytes() == data
    database = Database.open(folder / "state.db")
    assert (database.applied_index, database.members) == (0, None)
    database.close()
    stage(folder, incoming(folder, copy))
    journal, database = restart(folder)
    assert (database.applied_index, database.members) == (NEW_INDEX, b"four")
    database.close()
    journal.close()


def test_a_crash_while_a_state_is_put_away(tmp_path: Path, killed: Path) -> None:
    """What is left is the old state or none: never one with the write-ahead log of another."""
    found = set()
    for steps in itertools.count():
        folder, scratch = tmp_path / f"node{steps}", tmp_path / f"scratch{steps}"
        shutil.copytree(killed, folder)
        scratch.mkdir()
        files = CrashingFiles(scratch)
        files.steps_left = steps
        try:
            set_aside(folder, files=files)
            finished = True
        except Crash:
            finished = False
        journal, database = restart(folder)
        found.add(database.applied_index)
        database.close()
        journal.close()
        if finished:
            break
    assert found == {0, OLD_INDEX}


def test_a_copy_of_another_format_is_refused(tmp_path: Path, copy: Path) -> None:
    path = incoming(tmp_path, copy)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(UnknownFormat, match="format 99"):
        stage(tmp_path, path)
    assert NEXT_NAME not in names(tmp_path)


def test_what_is_no_copy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{INCOMING_PREFIX}1"
    path.write_bytes(b"")
    with pytest.raises((DatabaseDamaged, UnknownFormat)):
        stage(tmp_path, path)
    path.write_bytes(b"something else" * 1000)
    with pytest.raises(DatabaseDamaged):
        stage(tmp_path, path)
    assert names(tmp_path) == [path.name]


def test_a_copy_that_ends_early_is_refused(tmp_path: Path, copy: Path) -> None:
    path = incoming(tmp_path, copy)
    data = copy.read_bytes()
    for length in range(0, len(data), 4096):
        path.write_bytes(data[:length])
        with pytest.raises((DatabaseDamaged, UnknownFormat)):
            stage(tmp_path, path)
    assert names(tmp_path) == [path.name]


def test_an_empty_state_can_be_copied(tmp_path: Path) -> None:
    database = make_state(tmp_path / "peer.db", 0, term=0, text="", members=b"")
    made = database.export(tmp_path / f"{INCOMING_PREFIX}1")
    assert (made.index, made.term) == (0, 0)
    assert stage(tmp_path, tmp_path / f"{INCOMING_PREFIX}1") == made
    database.close()


def test_a_state_never_goes_back(tmp_path: Path, killed: Path, copy: Path) -> None:
    """The log came further than the copy while that was fetched: what was read and watched here is not undone."""
    folder = tmp_path / "node"
    shutil.copytree(killed, folder)
    shutil.rmtree(folder / "journal")
    journal = make_journal(folder, NEW_INDEX + 3)
    database = Database.open(folder / "state.db")
    database.apply([(NEW_INDEX + 1, NEW_TERM, [], None)])
    stage(folder, incoming(folder, copy))
    database.hold_off()
    assert not adopt_staged(folder, database, journal)
    assert database.applied_index == NEW_INDEX + 1
    assert NEXT_NAME not in names(folder)
    database.checkpoint()
    assert database.durable_index == NEW_INDEX + 1, "what was held off goes on"
    database.close()
    journal.close()
