"""Blame: each key, element and run of characters, with the edit that wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pycrdt import Array, Map, Text

from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk import limits as own
from tests.unit.contexts.desk.kit import FIRST, Asker, Refused, Replica, context_id

BEN = FIRST + 1


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    asker = Asker(tmp_path)
    yield asker
    asker.desk.close()


def blame(asker: Asker, root: str = "", after: str = "") -> context_pb2.BlameResponse:
    return asker.ask(worker_pb2.Request(blame=worker_pb2.Blame(id=context_id(), root=root, after=after))).blame


def pages(asker: Asker) -> list[list[tuple[str, object, int]]]:
    """All pages: path, value, number of the edit."""
    found, after = [], ""
    while True:
        page = blame(asker, after=after)
        found.append([(line.path, json.loads(line.value), line.edit.number) for line in page.lines])
        assert page.more == bool(page.next)
        if not page.more:
            return found
        after = page.next


def told(asker: Asker, root: str = "") -> dict[str, tuple[object, int]]:
    return {line.path: (json.loads(line.value), line.edit.number) for line in blame(asker, root).lines}


def test_keys_elements_and_what_is_inside(asker: Asker) -> None:
    ann = Replica()
    asker.merge(ann.set("t1", {"n": 1}), actor="ann", cause="plan")
    asker.merge(ann.edit(lambda: ann.map().update({"in/side": Map({"l": Array(["x"])}), "t2": 2.5})))
    asker.merge(ann.set("t2", None))
    asker.merge(ann.edit(lambda: ann.sequence().extend([1, None])))
    asker.merge(ann.edit(lambda: ann.sequence().insert(1, b"raw")))
    asker.merge(ann.edit(lambda: ann.map()["in/side"]["l"].insert(0, "w")))
    asker.reopen()
    assert told(asker, "tasks") == {
        "/tasks/t1": ({"n": 1}, 1),
        "/tasks/in~1side": ({}, 2),
        "/tasks/in~1side/l": ([], 2),
        "/tasks/in~1side/l/0": ("w", 6),
        "/tasks/in~1side/l/1": ("x", 2),
        "/tasks/t2": (None, 3),
    }
    assert told(asker, "notes") == {"/notes/0": (1, 4), "/notes/1": ({"$bytes": "cmF3"}, 5), "/notes/2": (None, 4)}
    assert told(asker).keys() == told(asker, "tasks").keys() | told(asker, "notes").keys()
    (first,) = [line for line in blame(asker).lines if line.path == "/tasks/t1"]
    assert (first.edit.actor, first.edit.cause, first.edit.writer) == ("ann", "plan", FIRST)


def test_runs_of_characters(asker: Asker) -> None:
    ann, ben = Replica(), Replica(BEN)
    asker.merge(ann.edit(lambda: ann.text().insert(0, "grü😀")))
    asker.merge(ann.edit(lambda: ann.text().insert(len(ann.text()), "ße!")))
    ben.hear(asker.whole())
    asker.merge(ben.edit(lambda: ben.text().insert(2, "--")), writer=BEN)
    ann.hear(asker.whole())
    asker.merge(ann.edit(lambda: ann.text().format(0, 2, {"bold": True})))
    asker.merge(ann.edit(lambda: ann.text().insert_embed(0, {"image": 1})))
    assert told(asker) == {
        "/essay/0-1": ({"image": 1}, 5),
        "/essay/1-3": ("gr", 1),
        "/essay/3-5": ("--", 3),
        "/essay/5-7": ("ü😀", 1),
        "/essay/7-10": ("ße!", 2),
    }


def test_what_another_node_took(asker: Asker) -> None:
    ann, ben = Replica(), Replica(BEN)
    ann.set("a", 1)
    ben.set("b", Text("hi"))
    ann.doc.apply_update(ben.doc.get_update())
    edits = [
        context_pb2.Edit(writer=FIRST, clock=0, end_clock=1, actor="ann"),
        context_pb2.Edit(writer=BEN, clock=0, end_clock=3, actor="ben"),
    ]
    asker.merge(ann.doc.get_update(), origin=worker_pb2.ORIGIN_PEER, writer=0, edits=edits)
    actors = {line.path: line.edit.actor for line in blame(asker).lines}
    assert actors == {"/tasks/a": "ann", "/tasks/b": "ben", "/tasks/b/0-2": "ben"}


def test_the_bounds(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = Replica()
    asker.merge(ann.edit(lambda: ann.sequence().extend(["x" * 50] * 20)))
    assert not blame(asker).more
    monkeypatch.setattr(own, "BLAME_LINES", 7)
    page = blame(asker)
    assert (len(page.lines), page.more) == (7, True)
    monkeypatch.setattr(own, "BLAME_BYTES", 200)
    assert len(blame(asker).lines) < 7
    monkeypatch.setattr(own, "LAYOUT_BYTES", 100)
    asker.merge(ann.edit(lambda: ann.sequence().append(1)))
    with pytest.raises(Refused, match="TOO_LARGE"):
        blame(asker)


@pytest.mark.parametrize(("lines", "size_bytes"), [(1, 2**20), (2, 2**20), (3, 2**20), (100, 1), (100, 7)])
def test_pages_follow_one_another(asker: Asker, monkeypatch: pytest.MonkeyPatch, lines: int, size_bytes: int) -> None:
    ann, ben = Replica(), Replica(BEN)
    for text in ("a\U0001f600", "b", "cd\u00e9"):  # one item, of three edits
        asker.merge(ann.edit(lambda text=text: ann.text().insert(len(ann.text()), text)))  # type: ignore[misc]
    asker.merge(ann.edit(lambda: ann.sequence().extend([1, 2, 3])))
    ben.hear(asker.whole())
    asker.merge(ben.edit(lambda: ben.text().insert(1, "-")), writer=BEN)
    asker.merge(ben.set("k", Map({"x": 1, "y": Array([1])})), writer=BEN)
    (whole,) = pages(asker)
    monkeypatch.setattr(own, "BLAME_LINES", lines)
    monkeypatch.setattr(own, "BLAME_BYTES", size_bytes)
    some = pages(asker)
    assert [line for page in some for line in page] == whole
    assert len(some) > 2
    assert all(1 <= len(page) <= lines for page in some)


def test_a_page_that_does_not_begin_anywhere(asker: Asker) -> None:
    asker.merge(Replica().set("k", 1))
    for token in ("x", "1", "1.x", "-1.0", "9" * 40 + ".0"):
        with pytest.raises(Refused, match="INVALID_REQUEST"):
            blame(asker, after=token)
    assert not blame(asker, after="5.0").lines


def test_what_is_empty(asker: Asker) -> None:
    assert not blame(asker).lines
    asker.merge(Replica().set("k", 1))
    assert not blame(asker, "another").lines
