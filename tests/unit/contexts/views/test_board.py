"""Boards: tasks whose fields merge."""

from __future__ import annotations

import pytest

from tallystick import Invalid, Reason
from tests.unit.contexts.views.kit import Peer, exchange, pair


def test_board_is_a_mapping_of_tasks() -> None:
    peer = Peer()
    board = peer.views.board("b")
    board.add("t2", title="second")
    board.add("t1", status="done", note={"a": [1]})
    board.set("t10", by="x")
    assert len(peer.updates) == 3
    assert list(board) == ["t1", "t10", "t2"]
    assert len(board) == 3
    assert board["t1"] == {"note": {"a": [1]}, "status": "done"}
    assert board["t2"] == {"status": "open", "title": "second"}
    assert "t1" in board
    assert "t" not in board
    assert list(board.tasks(status="open")) == ["t2"]
    with pytest.raises(KeyError):
        board["t"]
    board.set("t2", status="done")
    board.set("t2")
    assert board["t2"] == {"status": "done", "title": "second"}
    assert peer.views.to_json() == {
        "b": {
            "t1": {"note": {"a": [1]}, "status": "done"},
            "t10": {"by": "x"},
            "t2": {"status": "done", "title": "second"},
        }
    }


def test_removing() -> None:
    peer = Peer()
    board = peer.views.board("b")
    board.add("t1", a=1, b=2)
    board.add("t10", a=1)
    board.remove("t1", "a", "never")
    assert board["t1"] == {"b": 2, "status": "open"}
    board.remove("t1")
    assert list(board) == ["t10"]
    edits = len(peer.updates)
    board.remove("t1")
    assert len(peer.updates) == edits


def test_fields_merge() -> None:
    here, there = pair()
    here.views.board("b").add("t", title="T")
    exchange(here, there)
    here.views.board("b").set("t", status="done")
    there.views.board("b").set("t", note="hm")
    exchange(here, there)
    for peer in (here, there):
        assert peer.views.board("b")["t"] == {"note": "hm", "status": "done", "title": "T"}


def test_task_comes_back_with_what_was_set_while_it_was_removed() -> None:
    here, there = pair()
    here.views.board("b").add("t", title="T")
    exchange(here, there)
    here.views.board("b").remove("t")
    there.views.board("b").set("t", note="still needed")
    exchange(here, there)
    assert here.views.board("b").tasks() == there.views.board("b").tasks() == {"t": {"note": "still needed"}}


@pytest.mark.parametrize("task", ["", "a/b", "x" * 257, "\ud800", 5])
def test_name_of_a_task_is_refused(task: str) -> None:
    peer = Peer()
    with pytest.raises(Invalid) as refused:
        peer.views.board("b").add(task, a=1)
    assert refused.value.reason in (Reason.INVALID_NAME, Reason.INVALID_VALUE)
    assert not peer.updates


def test_field_is_refused_before_any_is_set() -> None:
    peer = Peer()
    with pytest.raises(Invalid):
        peer.views.board("b").add("t", fine=1, bad=2**60)
    with pytest.raises(Invalid):
        peer.views.board("b").add("t", **{"x" * 2000: 1})
    assert not peer.updates
