"""What is stored, what is loaded from it, what is kept in memory, and what damage and a full disk do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk import damage, naming
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.desk import Desk
from tallystick_node.contexts.desk.rows import Rows
from tallystick_node.contexts.desk.tables import FILE_NAME
from tallystick_node.storage.errors import DatabaseDamaged, DiskFull, UnknownFormat
from tests.unit.contexts.desk.kit import FIRST, PLAN, Asker, Refused, Replica, context_id, guid_of, merge_request


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    asker = Asker(tmp_path)
    yield asker
    asker.desk.close()


def squash(asker: Asker) -> worker_pb2.Done:
    return asker.ask(worker_pb2.Request(squash=worker_pb2.Squash(guid=PLAN))).done


def forget(asker: Asker, guid: bytes = PLAN) -> worker_pb2.Done:
    return asker.ask(worker_pb2.Request(forget=worker_pb2.Forget(guid=guid))).done


def alter(asker: Asker, statement: str) -> None:
    """Damages rows as a disk would: behind the desk's back."""
    asker.desk.close()
    with sqlite3.connect(asker.folder / FILE_NAME) as connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()
    asker.desk = Desk(asker.folder, **asker.options)


def test_a_batch_is_one_commit_and_synced(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[bool] = []
    real = Rows.commit

    def commit(rows: Rows) -> None:
        commits.append(rows._sql.in_transaction)
        real(rows)

    monkeypatch.setattr(Rows, "commit", commit)
    replica = Replica()
    requests = [merge_request(replica.set("n", number)) for number in range(50)]
    assert all(response.merged.is_novel for response in asker.desk.handle(requests))
    assert commits.count(True) == 1
    assert asker.desk._rows._sql.row("PRAGMA synchronous") == (2,)


def test_a_document_is_loaded_from_its_state_and_what_follows(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "STATE_UPDATES", 10)
    replica = Replica()
    for number in range(25):
        asker.merge(replica.set("n", number))
    loaded = asker.desk._library.peek(PLAN)
    assert loaded is not None
    assert loaded.state_number >= 10
    asker.reopen()
    assert asker.json() == b'{"tasks":{"n":24}}'
    again = asker.desk._library.peek(PLAN)
    assert again is not None
    assert again.tail_updates < 15
    assert asker.json(at=context_pb2.At(number=5)) == b'{"tasks":{"n":4}}'
    assert asker.merge(replica.set("n", 25)).number == 26


def test_the_history_is_bounded_and_its_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "FOLD_UPDATES", 15)
    asker = Asker(tmp_path, history_updates=20)
    replica = Replica()
    asker.desk.handle([merge_request(replica.set("n", number)) for number in range(60)])
    while squash(asker).more:
        pass
    assert asker.describe().size.updates == 20
    history = asker.ask(worker_pb2.Request(history=worker_pb2.History(id=context_id(), limit=3))).history
    assert history.first_number == 41
    assert [edit.number for edit in history.edits] == [41, 42, 43]
    assert history.more
    with pytest.raises(Refused, match="COMPACTED"):
        asker.json(at=context_pb2.At(number=39))
    for _ in range(2):
        assert asker.json(at=context_pb2.At(number=40)) == b'{"tasks":{"n":39}}'
        assert asker.json(at=context_pb2.At(number=50)) == b'{"tasks":{"n":49}}'
        assert asker.json() == b'{"tasks":{"n":59}}'
        asker.reopen()
    assert not squash(asker).changed
    assert asker.merge(replica.set("n", 60)).number == 61
    asker.desk.close()


def test_the_history_is_bounded_in_bytes(tmp_path: Path) -> None:
    asker = Asker(tmp_path, history_bytes=50_000)
    replica = Replica()
    for number in range(30):
        asker.merge(replica.set("n", f"{number:4}" * 1250))
    asker.desk.close()
    asker = Asker(tmp_path, history_bytes=50_000)
    while squash(asker).more:
        pass
    assert asker.desk._rows.document(PLAN).log_bytes <= 55_000  # type: ignore[union-attr]
    assert asker.json() == ('{"tasks":{"n":"' + "  29" * 1250 + '"}}').encode()
    asker.desk.close()


def test_what_is_loaded_is_bounded(tmp_path: Path) -> None:
    asker = Asker(tmp_path, loaded_documents=3)
    replicas = {guid_of(str(number)): Replica(FIRST + number) for number in range(10)}
    for _ in range(2):
        for guid, replica in replicas.items():
            asker.merge(replica.set("n", 1), guid=guid, writer=replica.writer)
            assert asker.desk.loaded <= 3
    asker.reopen()
    assert all(asker.json(guid) == b'{"tasks":{"n":1}}' for guid in replicas)
    asker.desk.close()
    asker = Asker(tmp_path, loaded_bytes=10_000)
    assert all(asker.json(guid) == b'{"tasks":{"n":1}}' for guid in replicas)
    assert asker.desk.loaded <= 3
    asker.desk.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE updates SET data = zeroblob(length(data)) WHERE place % 2 = 0",
        "UPDATE updates SET actor = 'mallory'",
        "DELETE FROM updates WHERE place = (SELECT max(place) FROM updates)",
        "DELETE FROM updates WHERE place = (SELECT max(place) FROM updates) - 1",
        "UPDATE documents SET number = 1",
        "UPDATE documents SET epoch = 3",
    ],
)
def test_a_damaged_document_is_fetched_anew(asker: Asker, statement: str) -> None:
    replica, other = Replica(), Replica(FIRST + 1)
    for number in range(4):
        asker.merge(replica.set("n", number))
    sound = guid_of("sound")
    asker.merge(other.set("n", 1), guid=sound, writer=other.writer)
    asker.compare()
    asker.reopen()
    whose = "" if "documents" not in statement else f" WHERE guid = X'{PLAN.hex()}'"
    if "actor" in statement:
        whose = " WHERE place < (2 << 32)"
    alter(asker, statement.replace("FROM updates)", "FROM updates WHERE place < (2 << 32))") + whose)
    with pytest.raises(Refused, match="CONTEXT_DAMAGED"):
        asker.json()
    with pytest.raises(Refused, match="CONTEXT_DAMAGED"):
        asker.merge(replica.set("n", 9))
    assert asker.json(sound) == b'{"tasks":{"n":1}}'
    assert forget(asker).changed
    merged = asker.merge(replica.doc.get_update(), origin=worker_pb2.ORIGIN_PEER)
    assert merged.number > 3, "numbers that others have heard of are not given again"
    assert asker.json() == b'{"tasks":{"n":9}}'
    listed = asker.ask(worker_pb2.Request(list_documents=worker_pb2.ListDocuments())).documents
    assert {document.guid for document in listed.ids} == {PLAN, sound}


def test_a_damaged_document_shows_in_the_comparison(asker: Asker) -> None:
    replica = Replica()
    asker.merge(replica.set("n", 1))
    before = asker.compare()
    alter(asker, "UPDATE updates SET actor = 'mallory'")
    assert asker.compare() != before


def test_a_full_disk_changes_nothing(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica()
    asker.merge(replica.set("n", 0))
    update = replica.set("n", 1)
    described = worker_pb2.Request(describe=worker_pb2.Describe(id=context_id()))
    for broken in ("add", "commit", "save"):
        with monkeypatch.context() as patch:
            patch.setattr(Rows, broken, _full)
            first, second, third = asker.desk.handle([described, merge_request(update), described])
        assert second.error.reason == "DISK_FULL"
        for answer in (first, third):
            assert answer.described.cursor.number == 1
        assert asker.json() == b'{"tasks":{"n":0}}'
    assert asker.merge(update).number == 2
    asker.reopen()
    assert asker.json() == b'{"tasks":{"n":1}}'


def _full(*_: object) -> None:
    raise DiskFull(28, "no room for the database")


def test_a_damaged_file_is_put_aside(asker: Asker) -> None:
    replica = Replica()
    for number in range(50):
        asker.merge(replica.set(str(number), "x" * 1000))
    asker.desk.close()
    path = asker.folder / FILE_NAME
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * 40_000)
    with pytest.raises(DatabaseDamaged):
        Desk(asker.folder)
    assert damage.put_aside(asker.folder).exists()
    asker.desk = Desk(asker.folder)
    assert asker.json() == b"{}"
    assert asker.merge(replica.doc.get_update()).number > 50


def test_damage_that_shows_while_it_runs_is_told_at_the_next_opening(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise DatabaseDamaged(asker.folder / FILE_NAME, "a page is torn")

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "document", damaged)
        with pytest.raises(DatabaseDamaged):
            asker.json()
    with pytest.raises(DatabaseDamaged):
        Desk(asker.folder)
    damage.put_aside(asker.folder)
    Desk(asker.folder).close()


def test_a_newer_format_is_refused(asker: Asker) -> None:
    asker.desk._rows._sql.execute("PRAGMA user_version = 99")
    with pytest.raises(UnknownFormat):
        Desk(asker.folder)


def test_forgetting_what_is_not_there(asker: Asker) -> None:
    assert not forget(asker).changed


def log_of(asker: Asker) -> bytes:
    """The name of its logs, as cursors say it."""
    described = asker.ask(worker_pb2.Request(describe=worker_pb2.Describe(id=context_id()))).described
    return described.cursor.log


def copy_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith(FILE_NAME)}


def test_an_old_copy_gives_its_numbers_under_another_name(asker: Asker) -> None:
    replica = Replica()
    name = asker.merge(replica.set("a", 1)).log
    assert len(name) == 8
    assert log_of(asker) == name
    asker.desk.close()
    old = copy_of(asker.folder)
    asker.desk = Desk(asker.folder)
    assert log_of(asker) == name
    gone = asker.merge(replica.edit(lambda: replica.map().pop("a")))
    assert (gone.number, gone.log) == (2, name)
    asker.desk.close()
    for path in copy_of(asker.folder):
        (asker.folder / path).unlink()
    for path, data in old.items():
        (asker.folder / path).write_bytes(data)
    asker.desk = Desk(asker.folder)
    again = asker.merge(Replica(FIRST + 1).set("b", 1), writer=FIRST + 1)
    assert again.number == 2
    assert again.log not in (name, b"")
    asker.reopen()
    assert log_of(asker) == again.log


def test_what_is_begun_anew_has_another_name_and_numbers_from_far_above(asker: Asker) -> None:
    replica = Replica()
    before = asker.merge(replica.set("a", 1))
    asker.desk.close()
    damage.put_aside(asker.folder)
    asker.desk = Desk(asker.folder)
    after = asker.merge(replica.doc.get_update())
    assert after.log not in (before.log, b"")
    assert 2**24 < after.number <= 2**25
    asker.reopen()
    assert log_of(asker) == after.log


def test_without_the_mark_beside_it_or_with_a_damaged_name_it_gets_another(asker: Asker) -> None:
    names = [log_of(asker)]
    (asker.folder / naming.BESIDE_NAME).unlink()
    asker.reopen()
    names.append(log_of(asker))
    alter(asker, "UPDATE log SET name = x'00'")
    names.append(log_of(asker))
    assert len(set(names)) == 3


def test_a_database_without_a_name_is_given_one(asker: Asker) -> None:
    asker.merge(Replica().set("a", 1))
    asker.desk._rows._sql.execute("DROP TABLE log")
    asker.reopen()
    assert log_of(asker)
    assert asker.json() == b'{"tasks":{"a":1}}'
