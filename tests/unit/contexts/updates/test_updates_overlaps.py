"""Overlaps: what two did without knowing of each other, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text

from tallystick_node.contexts.updates.admission import Origin, admit
from tallystick_node.contexts.updates.overlaps import FOUND, Recent
from tallystick_node.contexts.updates.places import Places

Edit = Callable[["Doc[Any]"], object]
A, B = 2**32 + 5, 2**32 + 9


class Node:
    """Merges what replicas write, and says which overlaps it finds."""

    def __init__(self, *, with_places: bool, window: int = 256) -> None:
        self.recent = Recent(window)
        self._places = Places() if with_places else None
        self._known: dict[int, int] = {}
        self.doc: Doc[Any] = Doc(client_id=1)
        self._number = 0

    def merge(self, data: bytes, author: int | None) -> list[tuple[str, int, int | None]]:
        admitted = admit(data, self._known, origin=Origin.PEER, with_structs=True)
        if self._places is not None:
            self._places.add(admitted.update, self._known, may_clash=False)
        self._number += 1
        found = self.recent.merge(admitted.update, self._known, number=self._number, author=author, places=self._places)
        self._known = admitted.after
        self.doc.apply_update(data)
        return [(one.kind.value, one.first.number, one.second.number if one.second else None) for one in found]


class Replica:
    """Edits by itself; hears of others when told."""

    def __init__(self, node: Node, writer: int) -> None:
        self._node = node
        self.doc: Doc[Any] = Doc(client_id=writer)
        self.hear()

    def hear(self) -> None:
        self.doc.apply_update(self._node.doc.get_update(self.doc.get_state()))

    def edit(self, edit: Edit) -> list[tuple[str, int, int | None]]:
        updates: list[bytes] = []
        watching = self.doc.observe(lambda event: updates.append(event.update))
        edit(self.doc)
        self.doc.unobserve(watching)
        return [found for data in updates for found in self._node.merge(data, self.doc.client_id)]


def put(key: str, value: object) -> Edit:
    return lambda doc: doc.get("m", type=Map).__setitem__(key, value)


def drop(key: str) -> Edit:
    return lambda doc: doc.get("m", type=Map).pop(key)


def append(value: object) -> Edit:
    return lambda doc: doc.get("l", type=Array).append(value)


def write(at: int, text: str) -> Edit:
    return lambda doc: doc.get("t", type=Text).insert(at, text)


def cut(start: int, end: int) -> Edit:
    return lambda doc: doc.get("t", type=Text).__delitem__(slice(start, end))


@pytest.fixture(params=[True, False], ids=["places", "no_places"])
def node(request: pytest.FixtureRequest) -> Node:
    return Node(with_places=request.param)


def test_edits_in_turns_do_not_overlap(node: Node) -> None:
    a, b = Replica(node, A), Replica(node, B)
    for turn in range(12):
        now, then = (a, b) if turn % 2 else (b, a)
        for edit in (put("k", turn), append(turn), write(0, "x"), write(turn, "y")):
            assert now.edit(edit) == []
        if turn % 3 == 0:
            assert now.edit(drop("k")) == []
            assert now.edit(cut(0, 1)) == []
        then.hear()


def test_two_first_values_of_a_key_overlap(node: Node) -> None:
    a, b = Replica(node, A), Replica(node, B)
    assert a.edit(put("k", 1)) == []
    assert a.edit(put("other", 1)) == []
    assert b.edit(put("k", 2)) == [("key", 1, 3)]


def test_two_values_over_one_that_both_knew_overlap(node: Node) -> None:
    a = Replica(node, A)
    a.edit(put("k", 0))
    b = Replica(node, B)
    assert a.edit(put("k", 1)) == []
    assert b.edit(put("k", 2)) == [("key", 2, 3)]
    a.hear()
    assert a.edit(put("k", 3)) == []
    b.hear()
    assert b.edit(put("k", 4)) == []


def test_a_value_after_several_unseen_ones_overlaps_with_the_newest(node: Node) -> None:
    a = Replica(node, A)
    a.edit(put("k", 0))
    b = Replica(node, B)
    a.edit(put("k", 1))
    a.edit(put("k", 2))
    assert b.edit(put("k", 9)) == [("key", 3, 4)]


def test_two_insertions_at_one_place_overlap(node: Node) -> None:
    a = Replica(node, A)
    a.edit(write(0, "hello"))
    b = Replica(node, B)
    assert a.edit(write(2, "AA")) == []
    assert b.edit(write(4, "..")) == []
    assert b.edit(write(2, "BB")) == [("insert", 2, 4)]


def test_two_appended_to_a_list_overlap(node: Node) -> None:
    a = Replica(node, A)
    a.edit(append(0))
    b = Replica(node, B)
    a.edit(append(1))
    assert b.edit(append(2)) == [("insert", 2, 3)]


def test_a_value_deleted_that_another_replaced_overlaps(node: Node) -> None:
    a = Replica(node, A)
    a.edit(put("k", 0))
    b = Replica(node, B)
    a.edit(put("k", 1))
    assert b.edit(drop("k")) == [("delete", 2, None)]


def test_text_deleted_around_what_another_inserted_overlaps(node: Node) -> None:
    a = Replica(node, A)
    a.edit(write(0, "hello world"))
    b = Replica(node, B)
    a.edit(write(5, "!"))
    assert b.edit(cut(3, 8)) == [("delete", 2, None)]


def test_deletions_of_a_diff_say_nothing(node: Node) -> None:
    a = Replica(node, A)
    a.edit(put("k", 0))
    a.edit(put("k", 1))
    assert node.merge(a.doc.get_update(), None) == []


def test_memory_is_bounded_and_what_is_older_is_not_compared() -> None:
    node = Node(with_places=False, window=10)
    a, b = Replica(node, A), Replica(node, B)
    a.edit(put("old", 1))
    for turn in range(50):
        a.edit(put(f"k{turn % 20}", turn))
        a.edit(append(turn))
        assert len(node.recent) <= 10
    assert b.edit(put("old", 2)) == []
    indexes = (node.recent._heads, node.recent._keyed, node.recent._spots, node.recent._followers)
    assert all(len(index) <= 11 for index in indexes)


def test_one_update_is_said_to_have_so_many_overlaps_and_no_more() -> None:
    node = Node(with_places=True)
    a, b = Replica(node, A), Replica(node, B)
    for key in range(FOUND + 5):
        a.edit(put(str(key), 1))

    def put_all(doc: Doc[Any]) -> None:
        with doc.transaction():
            for key in range(FOUND + 5):
                doc.get("m", type=Map)[str(key)] = 2

    assert len(b.edit(put_all)) == FOUND
