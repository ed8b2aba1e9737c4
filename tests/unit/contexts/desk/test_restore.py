"""Restore: the content is what it was, by a new edit that touches little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Array, Map, Text

from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tests.unit.contexts.desk.kit import FIRST, Asker, Refused, Replica, context_id

RESTORER = FIRST + 500


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    asker = Asker(tmp_path)
    yield asker
    asker.desk.close()


def restore(asker: Asker, *, writer: int = RESTORER, cause: str = "", content: bytes = b"", **at: Any) -> Any:
    asked = worker_pb2.Restore(
        id=context_id(),
        writer=writer,
        edit=context_pb2.Edit(actor="ada", cause=cause, node_id="n1"),
        now_unix_ms=9000,
    )
    if content:
        asked.content = content
    else:
        asked.at.CopyFrom(context_pb2.At(**at))
    return asker.ask(worker_pb2.Request(restore=asked)).done


def fill(replica: Replica) -> None:
    with replica.doc.transaction():
        replica.map()["t1"] = {"state": "open", "n": 1}
        replica.map()["inner"] = Map({"a": 1, "deep": Array([1, Text("x")]), "note": Text("hello")})
        replica.sequence().extend(["one", 2, None, True, b"raw", Map({"k": [1.5]})])
        replica.text().insert(0, "grüße 😀 an alle")
        replica.text().format(0, 2, {"bold": True})
        replica.text("gone").insert(0, "soon")


def change(replica: Replica) -> None:
    with replica.doc.transaction():
        replica.map()["t1"] = {"state": "done", "n": 1}
        replica.map()["t2"] = 2
        replica.map()["inner"]["a"] = 7
        del replica.map()["inner"]["note"][0:3]
        del replica.sequence()[1:3]
        replica.sequence().insert(0, "new")
        replica.text().insert(0, "viele ")
        replica.text("gone").clear()
        replica.map("fresh")["x"] = 1


def whole(replica: Replica) -> bytes:
    update: bytes = replica.doc.get_update()
    return update


def test_the_content_is_what_it_was(asker: Asker) -> None:
    replica = Replica()
    fill(replica)
    asker.merge(whole(replica))
    before = asker.json()
    before_text = replica.text().diff()
    change(replica)
    asker.merge(whole(replica), now=2000)
    assert asker.json() != before
    done = restore(asker, number=1, cause="undo it")
    assert done.changed
    assert (done.merged.edit.writer, done.merged.edit.cause, done.merged.number) == (RESTORER, "undo it", 3)
    # roots that came later are empty, and so they do not show
    assert asker.json() == before
    replica.hear(done.merged.update)
    assert replica.text().diff() == before_text
    assert asker.json(at=context_pb2.At(number=2)) != before
    assert restore(asker, writer=RESTORER + 1, number=2).changed
    assert restore(asker, writer=RESTORER + 2, time_unix_ms=1500).changed
    assert asker.json() == before


def test_what_is_equal_is_not_touched(asker: Asker) -> None:
    replica = Replica()
    replica.text().insert(0, "one two three")
    replica.sequence().extend(list(range(50)))
    asker.merge(whole(replica))
    replica.text().insert(3, " and a half")
    del replica.sequence()[25]
    asker.merge(whole(replica))
    done = restore(asker, number=1)
    assert done.merged.edit.deletes == len(" and a half")
    assert done.merged.edit.end_clock == 1  # the one element


def test_what_others_edit_meanwhile_merges_with_it(asker: Asker) -> None:
    replica = Replica()
    replica.text().insert(0, "one three")
    asker.merge(whole(replica))
    replica.text().insert(4, "two ")
    asker.merge(whole(replica))
    late = replica.edit(lambda: replica.text().insert(0, "zero "))
    restore(asker, number=1)
    asker.merge(late)
    assert asker.json() == b'{"essay":"zero one three"}'


def test_asked_again_it_is_done_once(asker: Asker) -> None:
    replica = Replica()
    asker.merge(replica.set("t1", "open"))
    asker.merge(replica.set("t1", "done"))
    first = restore(asker, number=1)
    asker.merge(replica.set("t2", 2))
    again = restore(asker, number=1)
    assert first.changed
    assert again.changed
    assert not again.merged.is_novel
    assert asker.describe().cursor.number == 4
    assert asker.json() == b'{"tasks":{"t1":"open","t2":2}}'
    with pytest.raises(Refused, match="WRITER_IN_USE"):
        restore(asker, number=1, cause="another")
    with pytest.raises(Refused, match="WRITER_IN_USE"):
        restore(asker, writer=FIRST, number=1)


def test_nothing_to_change(asker: Asker) -> None:
    replica = Replica()
    fill(replica)
    asker.merge(whole(replica))
    done = restore(asker, number=1)
    assert not done.changed
    assert done.merged.number == 1


def test_of_a_version(asker: Asker) -> None:
    replica = Replica()
    fill(replica)
    asker.merge(whole(replica))
    content, before = asker.whole(), asker.json()
    change(replica)
    asker.merge(whole(replica))
    assert restore(asker, content=content).changed
    assert asker.json() == before


def test_a_root_of_another_kind(asker: Asker) -> None:
    replica = Replica()
    asker.merge(replica.set("k", 1, name="r"))
    content = asker.whole()
    asker.ask(worker_pb2.Request(forget=worker_pb2.Forget(guid=context_id().guid)))
    other = Replica(FIRST + 1)
    other.text("r").insert(0, "text")
    asker.merge(whole(other), writer=FIRST + 1)
    assert restore(asker, content=content).changed
    assert asker.json() == b'{"r":{"k":1}}'


def test_what_is_not_kept(asker: Asker) -> None:
    asker.merge(Replica().set("k", 1))
    with pytest.raises(Refused, match="SEQ_NOT_FOUND"):
        restore(asker, number=2)
    with pytest.raises(Refused, match="INVALID_REQUEST"):
        restore(asker)
