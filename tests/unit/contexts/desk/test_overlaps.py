"""Overlaps: what two edited without knowing of each other is found, named, and listed by page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pycrdt import Map

from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk import limits as own
from tests.unit.contexts.desk.kit import FIRST, PLAN, Asker, Replica, context_id

BEN = FIRST + 1


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    asker = Asker(tmp_path)
    yield asker
    asker.desk.close()


def overlaps(asker: Asker, *, after: int = 0, limit: int = 0) -> context_pb2.ListOverlapsResponse:
    asked = worker_pb2.Overlaps(id=context_id(), after_number=after, limit=limit)
    return asker.ask(worker_pb2.Request(overlaps=asked)).overlaps


def two(asker: Asker) -> tuple[Replica, Replica]:
    """Two replicas with equal content."""
    ann, ben = Replica(), Replica(BEN)
    asker.merge(ann.edit(lambda: ann.text().insert(0, "one two")))
    asker.merge(ann.edit(lambda: ann.map().update({"in": Map({"k": 0})})))
    asker.merge(ann.edit(lambda: ann.sequence().extend([1, 2])))
    ben.hear(asker.whole())
    return ann, ben


def test_of_a_key(asker: Asker) -> None:
    ann, ben = two(asker)
    asker.merge(ann.set("a/b", {"by": "ann"}), actor="ann", cause="x")
    asker.merge(ben.set("a/b", "ben's"), writer=BEN, actor="ben", cause="y")
    asker.reopen()
    (found,) = overlaps(asker).overlaps
    assert (found.kind, found.path, found.number) == ("key", "/tasks/a~1b", 5)
    assert (found.first.actor, found.first.cause, found.first.number, found.first.writer) == ("ann", "x", 4, FIRST)
    assert (found.second.actor, found.second.cause, found.second.number) == ("ben", "y", 5)
    assert (found.first_value, found.second_value) == (b'{"by": "ann"}', b'"ben\'s"')


def test_inside_of_others_and_what_was_seen_is_none(asker: Asker) -> None:
    ann, ben = two(asker)
    update = ann.edit(lambda: ann.map()["in"].update({"k": 1}))
    asker.merge(update)
    asker.merge(ben.edit(lambda: ben.map()["in"].update({"k": 2})), writer=BEN)
    ben.hear(update)
    asker.merge(ben.edit(lambda: ben.map()["in"].update({"k": 3})), writer=BEN)
    assert [(found.path, found.first_value) for found in overlaps(asker).overlaps] == [("/tasks/in/k", b"1")]


def test_of_places_and_deletions(asker: Asker) -> None:
    ann, ben = two(asker)
    asker.merge(ann.edit(lambda: ann.text().insert(3, " and")))
    asker.merge(ben.edit(lambda: ben.text().insert(3, " or")), writer=BEN)
    asker.merge(ann.edit(lambda: ann.sequence().insert(1, "x")))
    asker.merge(ben.edit(lambda: ben.sequence().insert(1, "y")), writer=BEN)
    found = [(each.kind, each.path, each.second_value) for each in overlaps(asker).overlaps]
    assert [each[0] for each in found] == ["insert", "insert"]
    assert found[0][1:] == ("/essay", b'" or"')
    assert found[1][1] in ("/notes/1", "/notes/2")
    asker.merge(ann.edit(lambda: ann.text().insert(len(str(ann.text())) - 1, "!")), actor="ann")
    gone = ben.edit(lambda: ben.text().clear())
    asker.merge(gone, writer=BEN, actor="cem", cause="off")
    last = overlaps(asker, after=7).overlaps[-1]
    assert (last.kind, last.path, last.first.actor, last.second.cause) == ("delete", "/essay", "ann", "off")
    assert (last.first_value, last.second_value) == (b'"!"', b"")


def test_of_what_another_node_took(asker: Asker) -> None:
    ann, ben = two(asker)
    asker.merge(ann.set("k", 1), actor="ann")
    edits = [context_pb2.Edit(writer=BEN, clock=0, end_clock=1, actor="ben", node_id="n2")]
    asker.merge(ben.set("k", 2), origin=worker_pb2.ORIGIN_PEER, writer=BEN, edits=edits)
    (found,) = overlaps(asker).overlaps
    assert (found.first.actor, found.second.actor, found.second.node_id) == ("ann", "ben", "n2")


def test_pages_and_the_bound(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, ben = two(asker)
    for number in range(6):
        key = f"k{number}"
        asker.merge(ann.set(key, 1))
        with ben.doc.transaction():
            ben.map()[key] = 2
            ben.map()[f"{key}+"] = 2
        asker.merge(b"".join(ben.take()), writer=BEN)
        asker.merge(ann.set(f"{key}+", 1))
    numbers, page = [], overlaps(asker, limit=5)
    while True:
        numbers += [found.number for found in page.overlaps]
        if not page.more:
            break
        page = overlaps(asker, limit=5, after=page.overlaps[-1].number)
    assert len(numbers) == 12
    assert numbers == sorted(numbers)
    monkeypatch.setattr(own, "OVERLAPS", 4)
    monkeypatch.setattr(own, "OVERLAPS_TRIMMED", 0)
    asker.reopen()
    late, later = Replica(BEN + 2), Replica(BEN + 3)
    asker.merge(late.set("z", 1), writer=BEN + 2)
    asker.merge(later.set("z", 2), writer=BEN + 3)
    assert len(overlaps(asker).overlaps) == 4
    asker.ask(worker_pb2.Request(forget=worker_pb2.Forget(guid=PLAN)))
    assert not overlaps(asker).overlaps


def test_of_a_document_that_is_not_there(asker: Asker) -> None:
    assert not overlaps(asker).overlaps
