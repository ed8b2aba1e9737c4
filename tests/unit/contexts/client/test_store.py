"""What a replica keeps: in a file, over kills, against a second holder; and the outbox."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tallystick.contexts import local_store as local_store_module
from tallystick.contexts import outbox as outbox_module
from tallystick.contexts.local_store import LocalStore
from tallystick.contexts.outbox import Outbox
from tallystick.contexts.rows import Level, Row
from tallystick.errors import Conflict, Corrupt, Overloaded, Reason

UPDATES = (
    b"\x01\x01\x80\x80\x80\x80 \x00(\x01\x01m\x01a\x01|?\x80\x00\x00\x00",
    b"\x01\x01\x80\x80\x80\x80 \x01(\x01\x01m\x01b\x01|?\x80\x00\x00\x00",
)


def row(number: int, *, cause: str = "", time_unix_ms: int = 0) -> Row:
    return Row(
        id=number,
        update=UPDATES[(number - 1) % 2],
        is_local=True,
        writer=2**33,
        epoch=1,
        time_unix_ms=time_unix_ms,
        cause=cause,
    )


async def test_rows_levels_and_base_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "plan.db"
    store = LocalStore(path, "me")
    assert (await store.open()).guid == b""
    store.begin(b"g" * 16, 3, b"{}", b"base", [row(1)])
    for number in (2, 3, 4):
        store.add(row(number, cause=f"c{number}"))
    store.reached(local_id=3, quorum_id=2)
    await store.close()
    again = LocalStore(path, "me")
    kept = await again.open()
    assert (kept.guid, kept.epoch, kept.schema, kept.base) == (b"g" * 16, 3, b"{}", b"base")
    assert [each.id for each in kept.rows] == [2, 3, 4]
    assert [(each.id, each.level, each.cause) for each in kept.pending] == [
        (3, Level.LOCAL, "c3"),
        (4, Level.MADE, "c4"),
    ]
    assert not kept.is_pending_in_base
    again.squash(b"new base")
    await again.synced()
    kept = await again.history()
    assert (kept.base, kept.rows, [each.id for each in kept.pending]) == (b"new base", [], [3, 4])
    assert kept.is_pending_in_base
    again.reached(local_id=4, quorum_id=4)
    assert (await again.history()).pending == []
    await again.close()


async def test_a_spare_is_given_once(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "s.db", "me")
    await store.open()
    await store.put_spares([7, 8])
    assert await store.take_spare() == 7
    store._thread.submit(store._close).result()  # as if the process had been killed
    again = LocalStore(tmp_path / "s.db", "me")
    await again.open()
    assert [await again.take_spare(), await again.take_spare()] == [8, None]
    await again.close()


async def test_a_copy_gives_no_spare_of_the_original(tmp_path: Path) -> None:
    path, copy = tmp_path / "plan.db", tmp_path / "copy.db"
    store = LocalStore(path, "me")
    await store.open()
    await store.put_spares([7, 8])
    await store.close()
    shutil.copy(path, copy)
    copied = LocalStore(copy, "me")
    await copied.open()
    assert await copied.take_spare() is None
    await copied.put_spares([9])
    await copied.close()
    for there, given in ((path, 7), (copy, 9)):
        store = LocalStore(there, "me")
        await store.open()
        assert await store.take_spare() == given
        await store.close()


async def test_one_holder_of_one_owner_at_a_time(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "s.db", "me")
    await store.open()
    with pytest.raises(Conflict) as raised:
        await LocalStore(tmp_path / "s.db", "me").open()
    assert raised.value.reason is Reason.WRITER_IN_USE
    await store.close()
    with pytest.raises(Conflict):
        await LocalStore(tmp_path / "s.db", "somebody else").open()
    again = LocalStore(tmp_path / "s.db", "me")
    await again.open()
    await again.close()


async def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"not a database, whatever it is" * 100)
    with pytest.raises(Corrupt, match="damaged"):
        await LocalStore(path, "me").open()


async def test_a_store_that_is_behind_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_store_module, "BACKLOG_BYTES", 40)
    store = LocalStore(tmp_path / "s.db", "me")
    await store.open()
    behind = []
    for number in (1, 2):
        store.add(row(number))
        behind.append(store.is_behind)
    await store.synced()
    assert [*behind, store.is_behind] == [False, True, False]
    await store.close()


async def test_what_is_added_while_a_commit_runs_goes_with_the_next(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "s.db", "me")
    await store.open()
    store.begin(b"g" * 16, 1, b"", b"", [])
    for number in range(1, 101):
        store.add(row(number))
        if not number % 10:
            await asyncio.sleep(0)
    await store.synced()
    assert len((await store.history()).rows) == 100
    assert store.backlog_bytes == 0
    await store.close()


def test_groups_hold_one_cause_one_second_and_go_alone_if_told() -> None:
    outbox = Outbox()
    rows = [row(1), row(2), row(3, cause="x"), row(4, cause="x"), row(5, cause="x", time_unix_ms=5000), row(6)]
    rows[3].goes_alone = True
    for each in rows:
        outbox.add(each)
    groups = []
    while (group := outbox.next_group(0.0)) is not None:
        groups.append(group)
    assert [[each.id for each in group.rows] for group in groups] == [[1, 2], [3], [4], [5], [6]]
    assert [group.number for group in groups] == [1, 2, 3, 4, 5]


def test_acks_are_cumulative_and_only_a_majority_s_end_an_edit() -> None:
    outbox = Outbox()
    for number in range(1, 5):
        outbox.add(row(number, cause=str(number)))
    while outbox.next_group(7.0) is not None:
        pass
    assert outbox.waits_since_s() == 7.0
    outbox.acked(3, Level.LOCAL)
    assert (outbox.local_id, outbox.quorum_id, len(outbox)) == (3, 0, 4)
    outbox.acked(2, Level.QUORUM)
    assert (outbox.local_id, outbox.quorum_id, len(outbox)) == (3, 2, 2)
    outbox.restart()
    assert outbox.next_group(0.0).rows[0].id == 3  # type: ignore[union-attr]
    outbox.done(4)
    assert (outbox.local_id, outbox.quorum_id, len(outbox), outbox.has_unsent) == (4, 4, 0, False)


def test_an_outbox_that_is_full_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "OUTBOX_BYTES", 50)
    outbox = Outbox()
    for number in range(1, 4):
        outbox.check_room()
        outbox.add(row(number))
    with pytest.raises(Overloaded):
        outbox.check_room()


def test_what_a_node_has_is_merged_when_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "MERGE_FROM", 4)
    outbox = Outbox()
    for number in range(1, 4):
        outbox.add(row(number))
    while outbox.next_group(0.0) is not None:
        pass
    outbox.acked(1, Level.LOCAL)
    outbox.add(row(4))
    assert [(each.id, each.level) for each in outbox.rows] == [(3, Level.LOCAL), (4, Level.MADE)]
    outbox.restart()
    assert [each.id for each in outbox.next_group(0.0).rows] == [3, 4]  # type: ignore[union-attr]


def test_edits_that_were_merged_into_one_are_at_quorum_with_the_last_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "MERGE_FROM", 4)
    outbox = Outbox()
    for number in range(1, 4):
        outbox.add(row(number))
    while outbox.next_group(0.0) is not None:
        pass
    outbox.acked(1, Level.LOCAL)
    outbox.add(row(4))  # the three become one
    assert (outbox.local_id, outbox.quorum_id, outbox.first_id) == (3, 0, 1)
    outbox.acked(1, Level.QUORUM)
    assert (outbox.quorum_id, outbox.first_id) == (3, 4)
